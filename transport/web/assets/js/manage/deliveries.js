// What arrived from outside, what became of each and why.
import { api, enc } from '../core/api.js';
import { bytes, exact, plain } from '../core/format.js';
import { html, useEffect, useRef, useState } from '../core/html.js';
import { href, useQuery } from '../core/router.js';
import { Badge, Button, Dialog, Form, Input, Loaded, Table, Time, toast, useLoad } from '../core/ui.js';
import { Filter } from './parts.js';

const outcomes = { waiting: ['wait', 'Waiting'], started: ['good', 'Started a run'], continued: ['good', 'Told a run'], ignored: ['dim', 'Ignored'], held: ['need', 'Held'], released: ['good', 'Let through'], declined: ['dim', 'Turned down'], duplicate: ['dim', 'Duplicate'], rejected: ['bad', 'Rejected'], failed: ['bad', 'Failed'] };
const Outcome = ({ of }) => { const [look, name] = outcomes[of] ?? ['dim', of]; return html`<${Badge} look=${look}>${name}<//>`; };
const size = 50;
const recheck = 1000; // milliseconds between looks at what is not decided yet

// Rehearsal is what a delivery would do, without doing it.
const Rehearsal = ({ of }) => html`<section class="panel"><h3>If it came now</h3>${of.reason && html`<p>${plain(of.reason)}</p>`}${of.held && html`<p>Somebody would have to let it through.</p>`}
  ${of.runs.map((r) => html`<dl class="facts"><dt>${r.continues ? 'Goes on with' : 'Starts'}</dt><dd>${r.continues ? html`<a href=${href(`/runs/${enc(r.continues)}`)}>a run that is there</a>` : plain(r.title || 'a run')}</dd><dt>Prompt</dt><dd class="prose">${plain(r.message || r.prompt)}</dd>
    ${r.entity && html`<dt>About</dt><dd>${plain(r.entity)}</dd>`}<dt>Secrets</dt><dd>${r.secrets?.length ? r.secrets.map(plain).join(', ') : 'None'}</dd>${r.files?.length > 0 && html`<dt>Files</dt><dd>${r.files.map(plain).join(', ')}</dd>`}${r.untrusted && html`<dt>Trust</dt><dd>Untrusted: a person approves what it pushes</dd>`}</dl>`)}</section>`;

// TurnDown asks before a delivery that was held is turned down. send(reason).
function TurnDown({ send, onClose }) {
  const [reason, set] = useState('');
  return html`<${Dialog} title="Turn it down?" onClose=${onClose}><${Form} action="Turn it down" kind="danger" cancel=${onClose} submit=${async () => { await send(reason); onClose(); }}>${(errorOf) => html`<p>It starts nothing and cannot be let through any more: only repeated, as a new delivery.</p>
    <${Input} label="Reason" value=${reason} onInput=${set} error=${errorOf('reason')} autocomplete="off" hint="For whoever looks into the log, beside your name. May be empty." />`}<//><//>`;
}

function Delivery({ id, manage, onClose, changed, show }) {
  const one = useLoad((signal) => api.get(`/oz/deliveries/${enc(id)}`, {}, { signal }), [id]);
  const [rehearsal, set] = useState(null), [asking, ask] = useState(false);
  // post asks for something. What is refused may have been decided elsewhere meanwhile: it is shown as it is.
  const post = async (what, body) => { try { return await api.post(`/oz/deliveries/${enc(id)}/${what}`, body); } catch (err) { if (err.status === 409) { one.reload(); changed(); } throw err; } };
  // What is let through or repeated is a delivery of its own, which one goes on with.
  const act = async (what, words) => { const next = await post(what); toast(words, 'good'); set(null); show(next.delivery_id); changed(); };
  const turnDown = async (reason) => { one.set(await post('reject', reason.trim() ? { reason: reason.trim() } : {})); toast('It is turned down.', 'good'); set(null); changed(); };
  const waits = one.data?.outcome === 'waiting', held = one.data?.outcome === 'held';
  const outcome = useRef();
  // The buttons of what was held go with the decision: who has pressed one reads on at the outcome.
  useEffect(() => { if (!held && !asking && document.activeElement === document.body) outcome.current?.focus(); }, [held, asking]);
  useEffect(() => {
    if (!waits) return undefined;
    const t = setInterval(one.reload, recheck);
    return () => { clearInterval(t); changed(); };
  }, [waits, id]);
  return html`<${Dialog} side title="Delivery" onClose=${onClose}><${Loaded} from=${one}>${(d) => html`<div class="stack">
    ${manage && html`<div class="actions">${held && html`<${Button} kind="primary" onClick=${() => act('approve', 'It is let through.')}>Let it through<//><${Button} kind="danger" onClick=${() => ask(true)}>Turn down<//>`}
      ${!['rejected', 'duplicate'].includes(d.outcome) && html`<${Button} onClick=${async () => set(await api.post(`/oz/deliveries/${enc(id)}/rehearse`))}>Rehearse<//><${Button} onClick=${() => act('repeat', 'It is decided once more, as a new delivery.')}>Repeat<//>`}</div>`}
    <dl class="facts"><dt>Outcome</dt><dd ref=${outcome} tabindex="-1"><${Outcome} of=${d.outcome} /></dd>${d.reason && html`<dt>Why</dt><dd>${plain(d.reason)}</dd>`}<dt>Arrived</dt><dd>${exact(d.received_at)}</dd>${d.decided_at && html`<dt>Decided</dt><dd>${exact(d.decided_at)}</dd>`}
      ${d.event && html`<dt>Event</dt><dd>${plain(d.event)}</dd>`}<dt>Size</dt><dd>${bytes(d.size_bytes)}</dd>${d.attempts > 1 && html`<dt>Attempts</dt><dd>${d.attempts}</dd>`}${d.repeat_of && html`<dt>Repeats</dt><dd><code>${plain(d.repeat_of)}</code></dd>`}<dt>ID</dt><dd><code>${plain(d.delivery_id)}</code></dd>
      ${d.run_ids?.length > 0 && html`<dt>Runs</dt><dd>${d.run_ids.map((r) => html`<a key=${r} href=${href(`/runs/${enc(r)}`)}>${r}</a> `)}</dd>`}</dl>
    ${rehearsal && html`<${Rehearsal} of=${rehearsal} />`}
    ${d.payload !== undefined ? html`<h3>Payload</h3><pre class="block body" tabindex="0"><code>${plain(JSON.stringify(d.payload, null, 2))}</code></pre>` : html`<p class="dim">The payload was not kept.</p>`}</div>`}<//><//>${asking && html`<${TurnDown} send=${turnDown} onClose=${() => ask(false)} />`}`;
}

// Deliveries is the log of a webhook or an integration. path: of the list.
export function Deliveries({ path, manage }) {
  const [query, set] = useQuery();
  const [older, more] = useState([]);
  const [end, setEnd] = useState(false);
  const outcome = outcomes[query.outcome] ? query.outcome : '';
  const list = useLoad((signal) => { more([]); setEnd(false); return api.get(path, { outcome, limit: size }, { signal }).then((d) => d.deliveries); }, [path, outcome]);
  const columns = [{ name: 'Arrived', cell: (d) => html`<${Time} at=${d.received_at} />` }, { name: 'Event', cell: (d) => plain(d.event || '') || html`<span class="dim">None named</span>` }, { name: 'Outcome', cell: (d) => html`<${Outcome} of=${d.outcome} />` },
    { name: 'Why', wide: true, cell: (d) => plain(d.reason ?? '') || (d.run_ids?.length ? html`<a href=${href(`/runs/${enc(d.run_ids[0])}`)}>Open run</a>` : '') }, { name: 'Size', num: true, hide: 'phone', cell: (d) => bytes(d.size_bytes) }];
  const open = (id) => { const q = new URLSearchParams(location.search); q.set('delivery', id); return `${location.pathname}?${q}`; };
  const loadMore = (rows) => async () => { const d = await api.get(path, { outcome, limit: size, before: rows.at(-1).delivery_id }); more((o) => [...o, ...d.deliveries]); setEnd(d.deliveries.length < size); };
  return html`<section class="stack" aria-labelledby="deliveries"><div class="row"><h2 id="deliveries" class="grow">Deliveries</h2><${Filter} label="Outcome" value=${outcome} options=${[['', 'Any outcome'], ...Object.entries(outcomes).map(([k, [, n]]) => [k, n])]} onInput=${(o) => set({ outcome: o }, { replace: true })} /><${Button} kind="quiet small" onClick=${list.reload}>Refresh<//></div>
    <${Loaded} from=${list} rows=${3}>${(first) => { const rows = [...first, ...older]; return rows.length ? html`<${Table} label="Deliveries, newest first" columns=${columns} rows=${rows} id=${(d) => d.delivery_id} href=${(d) => open(d.delivery_id)} />${first.length === size && !end && html`<div class="actions"><${Button} onClick=${loadMore(rows)}>Older ones<//></div>`}`
      : html`<p class="no-match">${outcome ? 'No delivery had this outcome.' : 'Nothing has arrived yet. Each event gets a line here, with what became of it and why.'}</p>`; }}<//>
    ${query.delivery && html`<${Delivery} id=${query.delivery} manage=${manage} changed=${list.reload} show=${(id) => set({ delivery: id }, { replace: true })} onClose=${() => set({ delivery: '' }, { replace: true })} />`}</section>`;
}

const states = { waiting: ['wait', 'Waiting'], sent: ['good', 'Sent'], dead: ['bad', 'Given up'] };

// Messages is what a subscription has sent.
export function Messages({ uid, manage }) {
  const list = useLoad((signal) => api.get(`/oz/subscriptions/${enc(uid)}/messages`, { limit: 200 }, { signal }).then((d) => d.messages), [uid]);
  const columns = [{ name: 'Made', cell: (m) => html`<${Time} at=${m.created_at} />` }, { name: 'State', cell: (m) => { const [look, name] = states[m.state] ?? ['dim', m.state]; return html`<${Badge} look=${look}>${name}<//>`; } }, { name: 'Run', cell: (m) => m.run_id ? html`<a href=${href(`/runs/${enc(m.run_id)}`)}>Open run</a>` : '' },
    { name: 'Attempts', num: true, cell: (m) => m.attempts }, { name: 'Why it failed', wide: true, cell: (m) => plain(m.reason ?? '') }, { name: '', cell: (m) => manage && html`<${Button} kind="small" onClick=${async () => { await api.post(`/oz/subscriptions/${enc(uid)}/messages/${enc(m.message_id)}/replay`); toast('It is sent once more.', 'good'); list.reload(); }}>Replay<span class="sr"> message ${m.message_id}</span><//>` }];
  return html`<section class="stack" aria-labelledby="messages"><div class="row"><h2 id="messages" class="grow">Messages</h2><${Button} kind="quiet small" onClick=${list.reload}>Refresh<//></div><${Loaded} from=${list} rows=${3}>${(rows) => rows.length ? html`<${Table} label="Messages, newest first" columns=${columns} rows=${rows} id=${(m) => m.message_id} />` : html`<p class="no-match">Nothing has been sent yet: no run has done what it waits for.</p>`}<//></section>`;
}
