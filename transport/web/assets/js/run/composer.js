// Where a person speaks to the agent: messages while it works, answers to its
// questions, follow-ups after its end.
import { html, useEffect, useRef, useState } from '../core/html.js';
import { api, enc } from '../core/api.js';
import { ago, plain } from '../core/format.js';
import { keep, kept } from '../core/keep.js';
import { Button, ended, Failure, Icon } from '../core/ui.js';
import { Markdown } from './markdown.js';

const draft = (run) => `draft-${run.run_id}`;

// Composer sends messages to a run. sent() is called after each.
export function Composer({ run, rights, sent, plan, ask }) {
  const [text, setText] = useState(() => String(kept(draft(run), '')));
  const [mode, setMode] = useState('');
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const area = useRef();
  const q = run.state === 'BLOCKED' ? run.status_message?.question : null;
  const answerable = q && q.kind !== 'runs';
  const change = (v) => { setText(v); keep(draft(run), v || null); };
  useEffect(() => { const a = area.current; if (!a) return; a.style.height = 'auto'; a.style.height = `${Math.min(220, a.scrollHeight + 2)}px`; }, [text]);
  const act = async (f) => {
    if (busy) return;
    setBusy(true); setError(null);
    try { await f(); if (area.current?.value === text) change(''); /* else more was typed meanwhile */ setMode(''); await sent(); } catch (e) { setError(e); } finally { setBusy(false); area.current?.focus(); }
  };
  const send = () => act(async () => {
    if (answerable) await api.post(`/oz/runs/${enc(run.run_id)}/answer`, { question_id: q.id, text });
    else await api.post(`/agent/runs/${enc(run.run_id)}/followups`, { message: text, ...(mode ? { mode } : {}) });
  });
  const choose = (choice) => act(() => api.post(`/oz/runs/${enc(run.run_id)}/answer`, { question_id: q.id, choice, ...(text.trim() ? { text } : {}) }));
  const approvePlan = () => act(() => api.post(`/oz/runs/${enc(run.run_id)}/plan/approve`, { artifact_uid: plan.uid, ...(text.trim() ? { text } : {}) }));
  if (!rights) return null;
  if (!rights.steer) return html`<div class="composer locked"><${Icon} name="secrets" size=${16} /><p>${rights.guest ? 'You came by a link and may look on.' : 'You may look on. Whoever may edit can write to the agent.'}</p>${ask}</div>`;
  const over = ended(run.state), approval = q?.kind === 'approval'; // which takes a choice and nothing else
  const say = over ? 'Follow up: a new execution goes on from here' : answerable ? (q.choices?.length ? 'Say more, or answer in words' : 'Your answer') : run.state === 'BLOCKED' ? 'Take it on with a message' : 'Steer the agent: your message is folded in at its next step';
  const key = (e) => { if (e.key === 'Enter' && (e.ctrlKey || e.metaKey) && text.trim()) { e.preventDefault(); if (!approval) send(); } };
  return html`<form class="composer" aria-label="Write to the agent" onSubmit=${(e) => { e.preventDefault(); if (text.trim() && !approval) send(); }}>
    ${q && html`<${Question} q=${q} choose=${choose} busy=${busy} />`}
    ${plan && !approval && html`<div class="ask"><p><strong>The plan waits for your approval.</strong> Read it beside this, change it, or approve it as it is.</p><div class="choices"><${Button} kind="primary" icon="check" disabled=${busy} onClick=${approvePlan}>Approve the plan<//></div></div>`}
    ${error && html`<${Failure} error=${error} />`}
    <div class="composer-row"><textarea ref=${area} rows="1" aria-label=${say} placeholder=${say} value=${text} onInput=${(e) => change(e.target.value)} onKeyDown=${key}></textarea>
      ${!approval && html`<${Button} kind="primary" type="submit" icon="send" busy=${busy} disabled=${!text.trim()} aria-keyshortcuts="Control+Enter">${answerable ? 'Answer' : over ? 'Follow up' : 'Send'}<//>`}</div>
    <div class="composer-foot dim">${!answerable && html`<label class="mode">Mode <select value=${mode} onChange=${(e) => setMode(e.target.value)}><option value="">as before</option><option value="normal">normal</option><option value="plan">plan first</option><option value="orchestrate">orchestrate</option></select></label>`}
      <span class="hide-phone"><kbd>Ctrl</kbd> <kbd>Enter</kbd> sends</span></div></form>`;
}

// Question is what the agent asks, with its choices as buttons.
function Question({ q, choose, busy }) {
  const name = (c) => (q.kind === 'approval' ? { approve: 'Approve', reject: 'Reject' }[c] ?? c : c);
  return html`<div class="ask" role="group" aria-label="The agent asks"><div class="ask-text"><${Markdown} text=${q.text} /></div>
    ${q.kind === 'approval' && q.detail && html`<pre class="screen" tabindex="0" aria-label="What is to be approved">${plain(typeof q.detail.command === 'string' ? q.detail.command : JSON.stringify(q.detail, null, 2))}</pre>`}
    ${q.kind === 'runs' && html`<p class="dim">It goes on by itself once ${q.all ? 'all of' : 'one of'} ${q.runs?.length ?? 0} runs ended.</p>`}
    ${(q.choices ?? []).length > 0 && html`<div class="choices">${q.choices.map((c) => html`<${Button} kind=${q.kind !== 'approval' ? '' : c === 'approve' ? 'primary' : c === 'reject' ? 'danger' : ''} disabled=${busy} onClick=${() => choose(c)}>${plain(name(c))}<//>`)}</div>`}
    ${q.expires_at && html`<p class="dim">${q.on_expiry === 'continue' ? 'Without an answer it goes on' : 'Without an answer it fails'} ${ago(q.expires_at)}.</p>`}</div>`;
}
