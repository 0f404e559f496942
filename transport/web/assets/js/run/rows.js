// The rows of a transcript.
import { html, useEffect, useState } from '../core/html.js';
import { api, enc } from '../core/api.js';
import { bytes, clock, duration, exact, plain } from '../core/format.js';
import { href } from '../core/router.js';
import { Badge, Copy, Failure, Icon, Loading, State } from '../core/ui.js';
import { Away, Markdown } from './markdown.js';
import { Long, Output } from './text.js';
import { childrenOf, opensItself, ToolBody, ToolHead } from './tools.js';

const phaseNames = { sandbox: 'Sandbox', bundle: 'What it needs', workspace: 'Workspace', setup: 'Setup', agent: 'Agent', finish: 'Finish' };
export const phaseName = (n) => phaseNames[n] ?? plain(n);
export const who = (p) => plain(p?.display_name || p?.email || p?.uid || 'The platform');

const look = {
  message: 'agents', reasoning: 'more', input: 'user', tool: 'settings', phase: 'schedules', state: 'runs', error: 'alert', notice: 'bell', todos: 'check', artifact: 'file', effect: 'link',
  compaction: 'more', snapshot: 'download', handoff: 'share', shared: 'share', terminal: 'terminal', agent_session: 'agents', pruned: 'close', execution: 'workers',
};

// Row draws one. ctx: {open (a Map of what the reader folded), toggle(key, was),
// live, run, mark (the number that the address names), nested}.
export function Row({ row, ctx }) {
  const Body = bodies[row.kind] ?? Other;
  return html`<article id=${ctx.nested ? undefined : `e${row.seq}`} class=${`ev ev-${row.kind} ${row.cut ? 'cut' : ''} ${ctx.mark >= row.seq && ctx.mark <= row.last && ctx.marked === row ? 'marked' : ''}`} aria-label=${names[row.kind] ?? row.kind}>
    <span class="ev-icon"><${Icon} name=${look[row.kind] ?? 'more'} size=${16} /></span>
    <div class="ev-body">${row.cut && html`<p class="dim">Cut off by a fault, and done again below.</p>`}<${Body} row=${row} ctx=${ctx} /></div>
    ${!ctx.nested && html`<a class="ev-time" href=${`#e${row.seq}`} title=${`${exact(row.time)} · event ${row.seq}`}>${clock(row.time)}</a>`}</article>`;
}

const names = { message: 'The agent says', reasoning: 'The agent thinks', input: 'A message', tool: 'A tool call', phase: 'A phase', state: 'A change of state', error: 'An error', notice: 'A notice', todos: 'The task list', artifact: 'An artifact', effect: 'An outward act', terminal: 'A terminal', execution: 'A new execution' };

const isOpen = (ctx, row, own) => ctx.open.get(row.key) ?? own;

// Fold is a row with a head that folds and unfolds it.
function Fold({ row, ctx, head, own = false, children }) {
  const open = isOpen(ctx, row, own), id = `b${row.key}`;
  return html`<button type="button" class="fold" aria-expanded=${open} aria-controls=${id} onClick=${() => ctx.toggle(row.key, open)}><${Icon} name=${open ? 'down' : 'right'} size=${14} />${head}</button>
    <div id=${id}>${open && children()}</div>`;
}

function Message({ row }) {
  return html`<${Long} text=${row.text}>${(part) => html`<${Markdown} text=${part} />`}<//>${row.more && html`<span class="typing" aria-label="Still writing"><i></i><i></i><i></i></span>`}
    <span class="ev-tools"><${Copy} text=${row.text} label="Copy as Markdown" /></span>`;
}

const Reasoning = ({ row, ctx }) => html`<${Fold} row=${row} ctx=${ctx} own=${row.more && ctx.live} head=${html`<span>Thought</span> <span class="dim one-line">${plain(row.text.slice(0, 140).replaceAll('\n', ' '))}</span>`}>
  ${() => html`<div class="thought"><${Long} text=${row.text}>${(part) => html`<${Markdown} text=${part} />`}<//></div>`}<//>`;

function Input({ row, ctx }) {
  const waiting = !row.delivered && ctx.live;
  return html`<div class="said"><p class="said-head"><strong>${who(row.from)}</strong>
      ${row.question && html`<span class="dim">answered</span>`}${row.approves && html`<span class="dim">approved the plan</span>`}${row.mode && row.mode !== 'normal' && html`<${Badge}>${plain(row.mode)}<//>`}
      ${waiting ? html`<${Badge} look="wait">Queued<//>` : html`<span class="delivered dim" title="The agent has it"><${Icon} name="check" size=${14} /><span class="sr">Delivered</span></span>`}</p>
    ${row.choice && html`<p><${Badge} look="live">${plain(row.choice)}<//></p>`}
    ${row.text && html`<${Long} text=${row.text}>${(part) => html`<${Markdown} text=${part} />`}<//>`}
    ${row.attachments.length > 0 && html`<ul class="attached">${row.attachments.map((a) => html`<li><${Icon} name="file" size=${14} /> ${plain(a.file_name)} <span class="dim">${plain(a.mime_type)} ${bytes(a.size_bytes)}</span></li>`)}</ul>`}</div>`;
}

function Tool({ row, ctx }) {
  const live = ctx.live && (!row.execution || row.execution === ctx.execution);
  const open = isOpen(ctx, row, opensItself(row, live)), id = `b${row.key}`;
  return html`<${ToolHead} row=${row} live=${live} open=${open} id=${id} onToggle=${() => ctx.toggle(row.key, open)} />
    <div class="tool-body" id=${id} hidden=${!open}>${open && html`<${ToolBody} row=${row} />`}</div>
    ${!ctx.nested && childrenOf(row).map((c) => html`<${Child} key=${c.id} id=${c.id} name=${c.name} ctx=${ctx} />`)}`;
}

// Child is a run that this one started, with its own transcript below it.
function Child({ id, name, ctx }) {
  const key = `child ${id}`, open = ctx.open.get(key) ?? false;
  const [run, set] = useState(null);
  const [failed, fail] = useState(null);
  useEffect(() => {
    const c = new AbortController();
    api.get(`/agent/runs/${enc(id)}`, {}, { signal: c.signal }).then(set, (e) => { if (e.name !== 'AbortError') fail(e); });
    return () => c.abort();
  }, [id, open]);
  return html`<div class="child"><div class="child-head"><button type="button" class="fold" aria-expanded=${open} onClick=${() => ctx.toggle(key, open)}><${Icon} name=${open ? 'down' : 'right'} size=${14} />
      <strong>${plain(run?.title || name || 'Child run')}</strong></button>${run && html`<${State} state=${run.state} />`}<a href=${href(`/runs/${enc(id)}`)}>Open</a></div>
    ${open && (run ? html`<${ctx.Nested} id=${id} last=${run.oz?.last_seq ?? 0} />` : failed ? html`<${Failure} error=${failed} />` : html`<${Loading} rows=${2} />`)}</div>`;
}

function Phase({ row, ctx }) {
  const running = row.status === 'started' && ctx.live;
  const [word, kind] = row.status === 'done' ? ['done', 'good'] : row.status === 'failed' ? ['failed', 'bad'] : running ? ['running', 'live'] : ['begun', 'dim'];
  return html`<p class="line"><strong>${phaseName(row.name)}</strong> <span class=${`tool-state ${kind}`}><i class="dot" aria-hidden="true"></i>${word}</span> ${row.ms > 0 && html`<span class="dim">${duration(row.ms)}</span>`} ${row.detail && html`<span class="dim">${plain(row.detail.slice(0, 2000))}</span>`}</p>`;
}

function StateRow({ row }) {
  const d = row.data, msg = d.status?.message;
  return html`<p class="line"><${State} state=${d.to} /> ${d.worker && html`<span class="dim">worker ${plain(d.worker)}</span>`} ${d.reason && d.reason.toUpperCase() !== d.to && html`<span class="dim">${plain(d.reason)}</span>`}</p>
    ${msg && !d.status.question && html`<div class=${`status ${d.to === 'FAILED' || d.to === 'ERROR' ? 'bad' : ''}`}><${Markdown} text=${String(msg).slice(0, 20000)} />${d.status.error_code && html`<p class="dim"><code>${plain(d.status.error_code)}</code></p>`}</div>`}
    ${d.status?.question && html`<div class="status need"><${Markdown} text=${d.status.question.text} /></div>`}`;
}

const ErrorRow = ({ row }) => html`<p class="line"><strong>${row.data.fatal ? 'The execution failed' : 'Something went wrong'}</strong> <code>${plain(row.data.code)}</code></p><p class="as-is">${plain(row.data.message)}</p>`;
const Notice = ({ row }) => html`<p class="as-is dim">${plain(row.data.text)}</p>`;

function Todos({ row, ctx }) {
  const items = row.data.items ?? [], done = items.filter((i) => i.done).length;
  return html`<${Fold} row=${row} ctx=${ctx} head=${html`<span>Task list</span> <span class="dim">${done} of ${items.length} done</span>`}>${() => html`<${TodoList} items=${items} />`}<//>`;
}

export const TodoList = ({ items }) => html`<ul class="todos">${items.map((i) => html`<li class=${i.done ? 'done' : ''}><span aria-hidden="true">${i.done ? '☑' : '☐'}</span><span class="sr">${i.done ? 'Done: ' : 'Open: '}</span><span>${plain(i.title)}${i.description && html`<span class="hint">${plain(i.description)}</span>`}</span></li>`)}</ul>`;

function Artifact({ row }) {
  const a = row.data.artifact ?? {};
  const inside = ['PLAN', 'FILE', 'SCREENSHOT'].includes(a.artifact_type);
  const title = a.title || a.filepath || a.branch || a.url || a.artifact_uid;
  return html`<p class="line"><strong>${artifactName(a.artifact_type)}</strong> ${inside ? html`<a href=${href(`/artifacts/${enc(a.artifact_uid)}`)}>${plain(title)}</a>` : a.url ? html`<${Away} to=${a.url} said=${title}>${plain(title)}<//>` : plain(title)}
    ${a.size_bytes > 0 && html` <span class="dim">${bytes(a.size_bytes)}</span>`}</p>${a.description && html`<p class="dim">${plain(a.description)}</p>`}`;
}

export const artifactName = (t) => ({ PLAN: 'Plan', PULL_REQUEST: 'Pull request', SCREENSHOT: 'Screenshot', FILE: 'File', EXTERNAL_REFERENCE: 'Reference' })[t] ?? plain(t);

const Effect = ({ row, ctx }) => html`<${Fold} row=${row} ctx=${ctx} head=${html`<span>${plain(String(row.name).replaceAll('_', ' '))}</span> <span class=${`tool-state ${row.state === 'settled' ? 'good' : row.state === 'failed' ? 'bad' : 'live'}`}><i class="dot" aria-hidden="true"></i>${row.state === 'settled' ? 'done' : plain(row.state)}</span>`}>
  ${() => html`<dl class="facts">${Object.entries(row.detail).map(([k, v]) => html`<dt>${plain(k)}</dt><dd><code>${plain(typeof v === 'string' ? v : JSON.stringify(v))}</code></dd>`)}</dl>`}<//>`;

const Compaction = ({ row, ctx }) => html`<${Fold} row=${row} ctx=${ctx} head=${html`<span>The conversation was summed up to make room</span>`}>${() => html`<div class="thought"><${Markdown} text=${row.data.summary ?? ''} /></div>`}<//>`;
const Handoff = ({ row, ctx }) => html`<${Fold} row=${row} ctx=${ctx} head=${html`<span>Goes on from another run</span> <a href=${href(`/runs/${enc(row.data.from)}`)}>${plain(String(row.data.from).slice(0, 8))}</a>`}>${() => html`<div class="thought"><${Markdown} text=${row.data.text ?? ''} /></div>`}<//>`;
const Snapshot = ({ row }) => html`<p class="line">The workspace was kept <span class="dim">${(row.data.files ?? []).map((f) => plain(f.path ?? f.name ?? f.kind)).join(', ')}</span></p>${(row.data.skipped ?? []).map((s) => html`<p class="dim">Not kept: ${plain(s)}</p>`)}`;
const Shared = ({ row }) => html`<p class="line"><strong>${who(row.data.by)}</strong> changed who may see this <span class="dim">${plain(row.data.sharing?.visibility || 'team')}${row.data.sharing?.grants?.length ? `, ${row.data.sharing.grants.length} by name` : ''}</span></p>`;
const Session = ({ row }) => html`<p class="line dim">${plain(row.data.harness)} ${plain(row.data.version ?? '')} keeps the conversation in a session of its own</p>`;
const Pruned = ({ row }) => html`<p class="line dim">Events 1 to ${row.data.through} were removed for their age.</p>`;
const Execution = () => html`<p class="line dim">A new execution begins</p>`;

function Terminal({ row, ctx }) {
  const live = !row.closed && ctx.live, open = isOpen(ctx, row, live), id = `b${row.key}`;
  return html`<button type="button" class="tool-head" aria-expanded=${open} aria-controls=${id} onClick=${() => ctx.toggle(row.key, open)}><span class="tool-name">Terminal</span><code class="tool-title">${who(row.by)}</code>
      <span class=${`tool-state ${live ? 'live' : 'dim'}`}><i class="dot" aria-hidden="true"></i>${row.closed ? plain(row.closed.reason || 'closed') : live ? 'open' : 'closed'}</span><${Icon} name=${open ? 'down' : 'right'} size=${16} /></button>
    <div class="tool-body" id=${id} hidden=${!open}>${open && (row.output ? html`<${Output} text=${row.output} />` : html`<p class="dim">Nothing was printed.</p>`)}</div>`;
}

const Other = ({ row, ctx }) => html`<${Fold} row=${row} ctx=${ctx} head=${html`<span>${plain(row.kind)}</span>`}>${() => html`<pre class="screen">${plain(JSON.stringify(row.data, null, 2).slice(0, 20000))}</pre>`}<//>`;

const bodies = {
  message: Message, reasoning: Reasoning, input: Input, tool: Tool, phase: Phase, state: StateRow, error: ErrorRow, notice: Notice, todos: Todos, artifact: Artifact, effect: Effect,
  compaction: Compaction, handoff: Handoff, snapshot: Snapshot, shared: Shared, agent_session: Session, pruned: Pruned, execution: Execution, terminal: Terminal,
};

// guess is the height that a row will have, roughly.
export function guess(row) {
  switch (row.kind) {
    case 'message': return 24 + Math.min(4000, Math.ceil(row.text.length / 90) * 22 + (row.text.split('\n', 200).length - 1) * 10);
    case 'input': return 70 + Math.ceil(Math.min(row.text.length, 20000) / 90) * 22;
    case 'tool': return 44;
  }
  return 34;
}
