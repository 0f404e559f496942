// Where to go and what to do, by typing a part of its name; and the list of shortcuts.
import { html, useEffect, useId, useMemo, useState } from '../core/html.js';
import { api } from '../core/api.js';
import { plain } from '../core/format.js';
import { keep } from '../core/keep.js';
import { newRun } from '../core/newrun.js';
import { go } from '../core/router.js';
import { Check, Dialog, Icon, State } from '../core/ui.js';
import { entries } from './nav.js';
import { singleKeys } from './keys.js';

const most = 12; // rows

const actions = () => [
  { name: 'New run', icon: 'plus', act: () => newRun() },
  ...entries.map((e) => ({ name: `Go to ${e.name}`, icon: e.icon ?? e.id, act: () => go(e.path) })),
  { name: 'API keys', icon: 'settings', act: () => go('/settings/keys') },
  { name: 'Audit log', icon: 'settings', act: () => go('/settings/audit') },
];

// useRuns finds runs by their titles, a moment after the typing ends.
function useRuns(text) {
  const [runs, set] = useState([]);
  useEffect(() => {
    if (text.trim().length < 2) { set([]); return undefined; }
    const c = new AbortController();
    const t = setTimeout(() => api.get('/agent/runs', { q: text.trim(), limit: 6 }, { signal: c.signal }).then((a) => set(a.runs ?? []), () => {}), 200);
    return () => { clearTimeout(t); c.abort(); };
  }, [text]);
  return runs;
}

export function Palette({ onClose }) {
  const [text, setText] = useState('');
  const [at, setAt] = useState(0);
  const id = useId();
  const runs = useRuns(text);
  const rows = useMemo(() => {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = actions().filter((a) => words.every((w) => a.name.toLowerCase().includes(w)));
    return [...found, ...runs.map((r) => ({ name: plain(r.title || r.prompt || r.run_id), state: r.state, icon: 'runs', act: () => go(`/runs/${r.run_id}`) }))].slice(0, most);
  }, [text, runs]);
  const chosen = Math.min(at, rows.length - 1);
  const take = (row) => { onClose(); row?.act(); };
  const key = (e) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (step) { e.preventDefault(); setAt((chosen + step + rows.length) % Math.max(1, rows.length)); }
    if (e.key === 'Enter') { e.preventDefault(); take(rows[chosen]); }
  };
  return html`<${Dialog} title="Go to" onClose=${onClose}><div class="palette">
    <input type="text" role="combobox" aria-label="Page, action or run" aria-expanded="true" aria-controls=${id} aria-activedescendant=${rows[chosen] ? `${id}-${chosen}` : undefined} autocomplete="off" autofocus
      placeholder="Page, action or run" value=${text} onInput=${(e) => { setText(e.target.value); setAt(0); }} onKeyDown=${key} />
    <ul role="listbox" id=${id} aria-label="Results">${rows.map((r, i) => html`<li key=${r.name + i} id=${`${id}-${i}`} role="option" aria-selected=${i === chosen} onMouseDown=${(e) => e.preventDefault()} onClick=${() => take(r)}>
      <${Icon} name=${r.icon} /><span class="grow">${r.name}</span>${r.state && html`<${State} state=${r.state} />`}</li>`)}</ul>
    ${rows.length === 0 && html`<p class="dim">Nothing has this name.</p>`}</div><//>`;
}

export function Help({ onClose }) {
  const [on, set] = useState(singleKeys);
  const rows = [['?', 'Show these'], ['n', 'New run'], ['/', 'Search on the page'], ['Ctrl K', 'Go to a page, an action or a run'], ['Ctrl Enter', 'Send what is being written'], ['Esc', 'Close what is open'],
    ...entries.map((e) => [`g ${e.key}`, e.name])];
  return html`<${Dialog} title="Keyboard shortcuts" onClose=${onClose}>
    <dl class="shortcuts">${rows.map(([k, what]) => html`<div><dt>${k.split(' ').map((x) => html`<kbd>${x}</kbd>`)}</dt><dd>${what}</dd></div>`)}</dl>
    <${Check} label="Single keys act" hint="Off: only those with Ctrl and Esc do." checked=${on} onInput=${(v) => { keep('keys', v); set(v); }} /><//>`;
}
