// How the calls of tools are shown: each kind of work in a form of its own, and
// whatever else as what it was given and what it answered.
import { html } from '../core/html.js';
import { duration, plain } from '../core/format.js';
import { Icon } from '../core/ui.js';
import { CodeBlock, Json, Long, Output } from './text.js';
import { count, parse, replaced } from './diff.js';
import { toolTitle } from './fold.js';
import { Markdown } from './markdown.js';

const icons = { command: 'terminal', files: 'file', search: 'search', integration: 'integrations', documents: 'file', computer: 'dashboard', review: 'check', skill: 'agents' };
const said = { command: 'Command', files: 'Files', search: 'Search', integration: 'Integration', documents: 'Document', computer: 'Computer', review: 'Review', skill: 'Skill' };

// stateOf is how a call stands, as a word and a look.
function stateOf(row, live) {
  if (!row.result) return live ? ['running', 'live'] : ['no result', 'dim'];
  const code = row.result.output?.exit_code;
  if (row.result.state === 'denied') return ['denied', 'need'];
  if (row.result.state === 'failed') return [code ? `exit ${code}` : 'failed', 'bad'];
  return [code ? `exit ${code}` : 'done', code ? 'need' : 'good'];
}

// opensItself tells whether a call is unfolded unless the reader says otherwise:
// what runs now, and what failed.
export const opensItself = (row, live) => (!row.result && live) || row.result?.state === 'failed' || isEdit(row);

const isEdit = (row) => Boolean(diffOf(row, true));

// ToolHead is the line of a folded call.
export function ToolHead({ row, live, open, onToggle, id }) {
  const [word, look] = stateOf(row, live);
  const title = toolTitle(row);
  const d = diffOf(row);
  const n = d && count(d);
  return html`<button type="button" class="tool-head" aria-expanded=${open} aria-controls=${id} onClick=${onToggle}>
    <${Icon} name=${icons[row.category] ?? 'settings'} size=${16} />
    <span class="tool-name">${plain(row.name || said[row.category] || 'Tool')}</span>
    <code class="tool-title">${plain(title.slice(0, 300).replaceAll('\n', ' ↵ '))}</code>
    ${n && html`<span class="tally"><span class="add">+${n.add}</span> <span class="del">−${n.del}</span></span>`}
    <span class=${`tool-state ${look}`}><i class="dot" aria-hidden="true"></i>${word}</span>
    ${row.result?.duration_ms > 0 && html`<span class="dim num">${duration(row.result.duration_ms)}</span>`}
    <${Icon} name=${open ? 'down' : 'right'} size=${16} /></button>`;
}

// ToolBody is what a call was given and what came of it.
export function ToolBody({ row }) {
  const i = row.input ?? {}, content = row.result?.content ?? '';
  const title = toolTitle(row);
  const diff = diffOf(row);
  if (diff) return html`<${Diff} files=${diff} />${row.result?.state !== 'completed' && content && html`<${Plain} text=${content} />`}`;
  if (row.category === 'command' || typeof i.command === 'string') {
    return html`${(title.length > 90 || title.includes('\n')) && html`<${CodeBlock} text=${title} lang="sh" />`}
      ${i.cwd && html`<p class="dim">in <code>${plain(i.cwd)}</code></p>`}
      ${row.output ? html`<${Output} text=${row.output} />` : content ? html`<${Output} text=${content} />` : html`<p class="dim">${row.result ? 'It printed nothing.' : 'Nothing was printed yet.'}</p>`}
      ${row.result && row.result.state !== 'completed' && content && row.output && html`<${Plain} text=${content} />`}`;
  }
  if (typeof i.content === 'string' && (i.path || i.file_path)) return html`<${CodeBlock} text=${i.content} lang=${i.path ?? i.file_path} />${content && html`<${Plain} text=${content} />`}`;
  if (row.name === 'finish' || typeof i.summary === 'string') return html`<${Markdown} text=${String(i.summary ?? '')} />${i.verification && html`<ul>${i.verification.map((v) => html`<li>${plain(v)}</li>`)}</ul>`}${row.result?.state === 'failed' && html`<${Plain} text=${content} />`}`;
  return html`${Object.keys(i).length > 0 && html`<p class="label">Given</p><${Json} value=${i} />`}
    ${row.output && html`<p class="label">Printed</p><${Output} text=${row.output} />`}
    ${content && html`<p class="label">Answer</p><${Plain} text=${content} />`}`;
}

const Plain = ({ text }) => html`<div class="output light"><${Long} text=${text}>${(part) => html`<pre class="screen" tabindex="0" aria-label="Answer">${plain(part)}</pre>`}<//></div>`;

// diffOf finds the change that a call made: as its result tells it, or else as
// it was asked for.
const diffs = new WeakMap();
function diffOf(row) {
  const stamp = row.result ? 1 : 0, known = diffs.get(row);
  if (known?.stamp === stamp) return known.diff;
  let diff = null;
  const i = row.input ?? {}, told = row.result?.output?.diff;
  if (typeof told === 'string' && told) diff = parse(told);
  else if (typeof i.patch === 'string') diff = parse(i.patch);
  else if (typeof i.old_string === 'string' && typeof i.new_string === 'string') diff = [replaced(i.file_path ?? i.path ?? '', i.old_string, i.new_string)];
  else if (Array.isArray(i.edits) && i.edits.every((e) => typeof (e?.old_string ?? e?.search) === 'string')) {
    diff = i.edits.slice(0, 200).map((e) => replaced(e.path ?? i.file_path ?? '', e.old_string ?? e.search, String(e.new_string ?? e.replace ?? '')));
  }
  diffs.set(row, { stamp, diff });
  return diff;
}

const maxLines = 400;

// Diff shows changes with the numbers of both sides. What is added or removed
// has a sign, too, not a colour alone.
function Diff({ files }) {
  let left = maxLines;
  return html`<div class="diff">${files.map((f) => {
    const lines = f.lines.slice(0, Math.max(0, left));
    left -= f.lines.length;
    const n = count([f]);
    return html`<div class="diff-file"><p class="diff-name"><code>${plain(f.path || 'change')}</code><span class="tally"><span class="add">+${n.add}</span> <span class="del">−${n.del}</span></span></p>
      <div class="diff-lines" tabindex="0" role="region" aria-label=${`Change of ${plain(f.path)}`}><table><tbody>${lines.map((l) => html`<tr class=${l.kind}><td class="no">${l.old ?? ''}</td><td class="no">${l.new ?? ''}</td>
        <td class="sign">${l.kind === 'add' ? '+' : l.kind === 'del' ? '−' : ''}</td><td class="code">${plain(l.text.slice(0, 2000))}</td></tr>`)}</tbody></table></div>
      ${lines.length < f.lines.length && html`<p class="dim">${f.lines.length - lines.length} more lines</p>`}</div>`;
  })}</div>`;
}

// childrenOf gives the runs that a call started.
export function childrenOf(row) {
  const o = row.result?.output;
  if (!/spawn|start|create|launch/i.test(row.name)) return []; // others only tell of runs
  if (!o || typeof o !== 'object') return [];
  const found = [];
  for (const one of [o, ...(Array.isArray(o.runs) ? o.runs : []), ...(Array.isArray(o.children) ? o.children : []), ...(Array.isArray(o.started) ? o.started : [])]) {
    const id = one?.run_id ?? one?.task_id;
    if (typeof id === 'string' && /^[0-9a-f-]{36}$/.test(id) && !found.some((f) => f.id === id)) found.push({ id, name: String(one.name ?? one.key ?? one.title ?? '') });
  }
  return found;
}
