// A run: watch it, steer it, look at what came of it.
import { html, useCallback, useEffect, useRef, useState } from '../core/html.js';
import { api, enc, url } from '../core/api.js';
import { duration, exact, money, number, plain } from '../core/format.js';
import { href, useQuery } from '../core/router.js';
import { Button, Confirm, copyText, ended, Empty, Failure, LinkButton, Loading, State, stateName, Tabs, toast, useLoad, useTitle } from '../core/ui.js';
import { Composer } from '../run/composer.js';
import { AskToEdit, openLink, Presence, Share, takeLink, useRights } from '../run/live.js';
import { Artifacts, Configuration, History, Overview, Plan, planOf, sourceName, Usage } from '../run/panels.js';
import { who } from '../run/rows.js';
import { copyMarkdown, Transcript, useLog } from '../run/transcript.js';
import { cost, working } from '../runs/query.js';

// useRun loads a run and loads it anew when its log says that something about it
// has changed, a few times a second at most.
function useRun(id) {
  const [state, set] = useState({});
  const timer = useRef(), busy = useRef(false), again = useRef(false), gone = useRef(false);
  const load = useCallback(async () => {
    if (busy.current) { again.current = true; return; }
    busy.current = true;
    try { const run = await api.get(`/agent/runs/${enc(id)}`); if (!gone.current) set({ run }); } catch (error) { if (!gone.current) set((s) => ({ run: s.run, error })); }
    busy.current = false;
    if (again.current && !gone.current) { again.current = false; soon(); }
  }, [id]);
  const soon = useCallback(() => { if (!timer.current) timer.current = setTimeout(() => { timer.current = undefined; load(); }, 400); }, [load]);
  useEffect(() => { gone.current = false; load(); return () => { gone.current = true; clearTimeout(timer.current); }; }, [load]);
  return { ...state, load, soon, patch: (f) => set((s) => (s.run ? { ...s, run: f(s.run) } : s)) };
}

const telling = new Set(['state', 'artifact', 'usage', 'shared', 'input', 'pruned', 'terminal']);

export default function RunPage({ params }) {
  const [token] = useState(takeLink);
  const opened = useLoad(() => (token ? openLink(token) : Promise.resolve(null)), [token]);
  if (opened.error) return html`<div class="page"><h1 tabindex="-1">A link to a run</h1><${Failure} error=${opened.error} /></div>`;
  if (opened.loading) return html`<div class="page"><${Loading} rows=${8} /></div>`;
  return html`<${Run} id=${params.id} />`;
}

function Run({ id }) {
  const { run, error, load, soon, patch } = useRun(id);
  const [sums, setSums] = useState({ todos: null });
  const [why, setWhy] = useState('');
  const [presence, setPresence] = useState(null);
  const [query, setQuery] = useQuery();
  const event = useCallback((e, old) => {
    if (e.type === 'todos') setSums((s) => ({ ...s, todos: e.data.items ?? [] }));
    if (e.type === 'state') { if (e.data.reason) setWhy(e.data.reason); if (!old) patch((r) => ({ ...r, state: e.data.to })); }
    if (!old && telling.has(e.type)) soon();
  }, [soon]);
  const log = useLog(id, { last: run?.oz?.last_seq ?? 0, event, presence: setPresence, ready: Boolean(run) });
  const rights = useRights(id, Boolean(run), [run?.state, run?.oz?.execution_id, JSON.stringify(run?.oz?.sharing), presence?.edit_requests]);
  // A run that had ended may have been taken on by somebody else.
  useEffect(() => {
    if (log?.state !== 'ended') return undefined;
    const t = setInterval(load, 10000);
    return () => clearInterval(t);
  }, [log?.state]);
  useEffect(() => { if (log?.state === 'ended' && run && (run.oz?.last_seq ?? 0) > log.tail.last) log.again(); }, [run?.oz?.last_seq, log?.state]);
  useTitle(run ? `${run.title || 'Run'}` : '');
  // The heading comes with the run, after the shell has looked for it.
  useEffect(() => { if (document.activeElement === document.body) document.querySelector('main h1')?.focus({ preventScroll: true }); }, [Boolean(run || error)]);

  if (!run) return error ? html`<div class="page"><h1 tabindex="-1" class="sr">Run</h1><${Failure} error=${error} retry=${error.status === 404 || error.status === 403 ? undefined : load} /></div>` : html`<div class="page"><${Loading} rows=${8} /></div>`;
  const live = !ended(run.state) && run.state !== 'BLOCKED';
  const plan = planOf(run);
  const tab = query.tab ?? 'overview';
  const tabs = [{ id: 'transcript', name: 'Transcript' }, { id: 'overview', name: 'Overview' }, plan && { id: 'plan', name: 'Plan' }, { id: 'artifacts', name: 'Results', count: run.artifacts?.length || undefined }, { id: 'usage', name: 'Usage' }, { id: 'config', name: 'Setup' }, { id: 'history', name: 'History' }].filter(Boolean);
  const waitsForPlan = plan && !plan.approved && run.oz?.mode_now === 'plan' && run.state !== 'INPROGRESS' ? plan : null;
  const phone = query.tab ? query.tab !== 'transcript' : false;
  const sent = async () => { await load(); log?.again(); };
  return html`<div class=${`run-page ${query.side === 'no' ? 'no-side' : ''} ${phone ? 'phone-side' : 'phone-main'}`}>
    <${Head} run=${run} log=${log} rights=${rights} presence=${presence} load=${load} setQuery=${setQuery} side=${query.side !== 'no'} />
    <div class="run-tabs"><${Tabs} label="Parts of the run" tabs=${tabs} value=${phone || matchMedia('(min-width: 1001px)').matches ? tab : 'transcript'} onChange=${(t) => setQuery({ tab: t === 'overview' && matchMedia('(min-width: 1001px)').matches ? '' : t }, { replace: true })} /></div>
    <div class="run-main"><${Transcript} log=${log} live=${live} execution=${run.oz?.execution_id} empty=${html`<${Empty} icon="runs" title="Nothing happened yet">What the agent thinks, calls and prints appears here as it happens.<//>`} />
      <${Composer} run=${run} rights=${rights} sent=${sent} plan=${waitsForPlan} ask=${rights && html`<${AskToEdit} run=${run} rights=${rights} />`} /></div>
    <aside class="run-side" aria-label="About the run">${error && html`<${Failure} error=${error} retry=${load} />`}
      ${tab === 'plan' && plan ? html`<${Plan} run=${run} rights=${rights} changed=${sent} />`
    : tab === 'artifacts' ? html`<${Artifacts} run=${run} />`
    : tab === 'usage' ? html`<${Usage} run=${run} />`
    : tab === 'config' ? html`<${Configuration} run=${run} />`
    : tab === 'history' ? html`<${History} run=${run} rev=${run.updated_at} />`
    : html`<${Overview} run=${run} log=${log} sums=${sums} why=${why} />`}</aside></div>`;
}

// Clock is how long a run has worked, live.
function Clock({ run }) {
  const running = run.state === 'INPROGRESS';
  const [now, tick] = useState(Date.now());
  useEffect(() => { if (!running) return undefined; const t = setInterval(() => tick(Date.now()), 1000); return () => clearInterval(t); }, [running]);
  const ms = working(run, now);
  return ms > 0 ? html`<span class="num" title=${run.started_at ? `Began ${exact(run.started_at)}` : ''}>${duration(ms)}</span>` : null;
}

function Head({ run, log, rights, presence, load, setQuery, side }) {
  const [dialog, open] = useState('');
  const tokens = run.request_usage?.total_tokens, usd = cost(run);
  const close = () => open('');
  const canCancel = !ended(run.state) && run.state !== 'BLOCKED' && run.is_run_type_cancellable !== false && rights?.cancel;
  const q = run.status_message?.question;
  return html`<header class="run-head"><span class="sr" role="status">${stateName(run.state)}${run.state === 'BLOCKED' && q ? `: ${plain(q.text)}` : ''}</span>
    <div class="run-title"><a class="back" href=${href('/runs')}>Runs</a><h1 tabindex="-1">${plain(run.title || run.prompt?.slice(0, 80) || 'Run')}</h1>
      <p class="run-facts"><${State} state=${run.state} /><${Clock} run=${run} />${tokens > 0 && html`<span class="num">${number(tokens)} tokens</span>`}${usd > 0 && html`<span class="num">${money(usd)}</span>`}
        <span class="dim">${who(run.creator)} by ${sourceName(run.source)}</span></p></div>
    <div class="actions"><${Presence} who=${presence} open=${() => open('share')} />
      ${rights?.terminal && rights.take_over && html`<${LinkButton} icon="terminal" class="button only-icon" aria-label="Take over in a terminal" title="Take over in a terminal" href=${href(`/runs/${enc(run.run_id)}/terminal`)} target="_blank" data-native />`}
      ${canCancel && html`<${Button} kind="danger" icon="stop" label="Cancel the run" onClick=${() => open('cancel')}><span class="hide-phone">Cancel</span><//>`}
      ${!rights?.guest && html`<${Button} icon="share" label="Share" onClick=${() => open('share')} />`}
      <${More} run=${run} log=${log} />
      <${Button} icon="panel" label=${side ? 'Hide the side' : 'Show the side'} aria-pressed=${side} class="button only-icon hide-phone" onClick=${() => setQuery({ side: side ? 'no' : '' }, { replace: true })} /></div>
    ${dialog === 'share' && html`<${Share} run=${run} rights=${rights} presence=${presence} onClose=${close} />`}
    ${dialog === 'cancel' && html`<${Confirm} title="Cancel this run?" action="Cancel the run" onClose=${close} onConfirm=${async () => { await api.post(`/agent/runs/${enc(run.run_id)}/cancel`); await load(); }}>The agent is stopped and what it has not pushed is lost unless the workspace is kept. A follow-up can take it on again.<//>`}</header>`;
}

// More are the actions that one needs now and then.
function More({ run, log }) {
  const [open, set] = useState(false);
  const box = useRef();
  useEffect(() => {
    if (!open) return undefined;
    const away = (e) => { if (!box.current?.contains(e.target)) set(false); };
    const key = (e) => { if (e.key === 'Escape') { set(false); box.current.querySelector('button').focus(); } };
    document.addEventListener('pointerdown', away); document.addEventListener('keydown', key);
    return () => { document.removeEventListener('pointerdown', away); document.removeEventListener('keydown', key); };
  }, [open]);
  const copy = (text, said) => async () => { await copyText(text); toast(said, 'good'); set(false); };
  return html`<div class="more-menu" ref=${box}><${Button} icon="more" label="More" aria-expanded=${open} onClick=${() => set(!open)} />
    ${open && html`<div class="menu">
      <${Button} kind="quiet" icon="copy" onClick=${async () => { await copyMarkdown(log); set(false); }}>Copy as Markdown<//>
      <${LinkButton} kind="quiet" icon="download" href=${url(`/agent/runs/${enc(run.run_id)}/transcript`, { format: 'markdown' })} data-native download onClick=${() => set(false)}>Download as Markdown<//>
      <${LinkButton} kind="quiet" icon="download" href=${url(`/agent/runs/${enc(run.run_id)}/transcript`)} data-native download onClick=${() => set(false)}>Download the raw log<//>
      <${Button} kind="quiet" icon="terminal" onClick=${copy(`oz session attach ${run.run_id}`, 'Paste it in a terminal to watch from there')}>Copy: watch in a terminal<//>
      <${Button} kind="quiet" icon="out" onClick=${copy(`oz run fork ${run.run_id}`, 'Paste it in a terminal, in your copy of the repository')}>Copy: go on with it on your machine<//></div>`}</div>`;
}
