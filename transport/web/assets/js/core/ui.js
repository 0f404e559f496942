// The parts that all pages are made of. Classes are in app.css.
import { html, useCallback, useEffect, useId, useRef, useState } from './html.js';
import { ago, exact, plain } from './format.js';
import { APIError } from './api.js';
import { title } from './config.js';
import { onBack } from './online.js';

// ---- data ----

// useLoad calls load(signal) now and whenever deps change. It gives
// {data, error, loading, reload}; older answers never replace newer ones.
export function useLoad(load, deps) {
  const [state, set] = useState({ loading: true });
  const [round, again] = useState(0);
  useEffect(() => {
    const c = new AbortController();
    set((s) => ({ ...s, loading: true }));
    load(c.signal).then(
      (data) => { if (!c.signal.aborted) set({ data, loading: false }); },
      (error) => { if (!c.signal.aborted) set((s) => ({ data: s.data, error, loading: false })); },
    );
    return () => c.abort();
  }, [...deps, round]);
  const reload = useCallback(() => again((n) => n + 1), []);
  const failed = state.error?.status === 0 || state.error?.status === 401 || state.error?.status >= 500;
  useEffect(() => failed ? onBack(reload) : undefined, [failed]); // what failed by the server's absence mends itself
  return { ...state, reload, set: (data) => set({ data, loading: false }) };
}

// useTitle names the document.
export function useTitle(text) {
  useEffect(() => { document.title = text ? `${plain(text)} · ${title}` : title; }, [text]);
}

// useNow draws anew every so many milliseconds, so that ages stay true.
export function useNow(every = 15000) {
  const [now, set] = useState(Date.now);
  useEffect(() => { const t = setInterval(() => set(Date.now()), every); return () => clearInterval(t); }, [every]);
  return now;
}

// ---- small things ----

const icons = {
  dashboard: 'M3 3h7v9H3zM14 3h7v5h-7zM14 12h7v9h-7zM3 16h7v5H3z', runs: 'M5 4l14 8-14 8z', agents: 'M12 3v3M7 8h10a2 2 0 012 2v7a2 2 0 01-2 2H7a2 2 0 01-2-2v-7a2 2 0 012-2zM9 13v1M15 13v1',
  schedules: 'M12 7v5l3 3M21 12a9 9 0 11-18 0 9 9 0 0118 0z', environments: 'M12 3l9 5v8l-9 5-9-5V8zM3 8l9 5 9-5M12 13v8', integrations: 'M9 3v5M15 3v5M6 8h12v4a6 6 0 01-12 0zM12 18v3',
  secrets: 'M6 11h12v9H6zM9 11V8a3 3 0 016 0v3', workers: 'M4 5h16v5H4zM4 14h16v5H4zM8 7.5h0M8 16.5h0', usage: 'M4 20V10M10 20V4M16 20v-7M21 20H3', settings: 'M12 9a3 3 0 100 6 3 3 0 000-6zM12 3v3M12 18v3M3 12h3M18 12h3M5.6 5.6l2.1 2.1M16.3 16.3l2.1 2.1M18.4 5.6l-2.1 2.1M7.7 16.3l-2.1 2.1',
  bell: 'M6 16V11a6 6 0 0112 0v5l2 2H4zM10 20h4', plus: 'M12 5v14M5 12h14', close: 'M6 6l12 12M18 6L6 18', check: 'M5 12l5 5 9-10', copy: 'M9 9h11v11H9zM5 15H4V4h11v1', menu: 'M4 7h16M4 12h16M4 17h16',
  search: 'M11 4a7 7 0 100 14 7 7 0 000-14zM16 16l4 4', more: 'M5 12h0M12 12h0M19 12h0', link: 'M10 14a4 4 0 005.7 0l3-3a4 4 0 00-5.7-5.7l-1 1M14 10a4 4 0 00-5.7 0l-3 3A4 4 0 0011 18.7l1-1', down: 'M6 9l6 6 6-6', right: 'M9 6l6 6-6 6',
  download: 'M12 4v11M7 11l5 5 5-5M4 20h16', stop: 'M7 7h10v10H7z', share: 'M4 12v7h16v-7M12 15V4M8 7l4-4 4 4', terminal: 'M4 5h16v14H4zM7 9l3 3-3 3M12 15h5', user: 'M12 4a4 4 0 100 8 4 4 0 000-8zM5 20a7 7 0 0114 0', alert: 'M12 4l9 16H3zM12 10v4M12 17h0', moon: 'M20 14A8 8 0 0110 4a8 8 0 1010 10z', sun: 'M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1 1M18 18l1 1M19 5l-1 1M6 18l-1 1',
  contrast: 'M12 3a9 9 0 100 18 9 9 0 000-18zM12 3v18M12 7l7 3M12 12h9M12 17l7-2', out: 'M10 4H4v16h6M15 8l4 4-4 4M19 12H9', keyboard: 'M3 6h18v12H3zM7 10h0M11 10h0M15 10h0M8 14h8M18 10h0', filter: 'M4 5h16l-6 8v6l-4-2v-4z', clip: 'M8 12l6-6a3 3 0 014 4l-8 8a5 5 0 01-7-7l8-8',
  file: 'M6 3h8l4 4v14H6zM14 3v4h4', send: 'M4 12l16-8-6 16-3-7z', up: 'M6 15l6-6 6 6', people: 'M9 5a3.5 3.5 0 100 7 3.5 3.5 0 000-7zM3 20a6 6 0 0112 0M16 5.5a3.5 3.5 0 010 6.5M17 14.5a6 6 0 014 5.5', panel: 'M4 5h16v14H4zM15 5v14',
  branch: 'M7 4v16M7 15c8 0 10-3 10-7M17 4a2 2 0 100 4 2 2 0 000-4zM7 20a0 0 0 100 0', image: 'M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h0',
  question: 'M9 9a3 3 0 114 3c-1 .6-1 1-1 2M12 17h0M21 12a9 9 0 11-18 0 9 9 0 0118 0z', webhook: 'M12 4a4 4 0 00-2 7l-3 5M12 8l4 6h5M7 16h8',
};

// Icon draws one; it means nothing to a screen reader: the text beside it does.
export const Icon = ({ name, size = 18 }) => html`<svg class="icon" width=${size} height=${size} viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2"
  stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false"><path d=${icons[name]} /></svg>`;

// Button. kind: primary, quiet, danger. An async onClick keeps it busy until it
// is done, and shows its failure as a toast. What is busy does nothing but is not
// disabled: that would take the focus from who has pressed it by keyboard.
export function Button({ kind = '', icon, busy, children, onClick, type = 'button', label, ...rest }) {
  const [working, set] = useState(false);
  const held = Boolean(busy || working);
  const click = async (e) => {
    if (held) { e.preventDefault(); return; }
    const r = onClick?.(e);
    if (!r?.then) return;
    set(true);
    try { await r; } catch (err) { toast(err, 'bad'); } finally { set(false); }
  };
  return html`<button type=${type} class=${`button ${kind} ${children ? '' : 'only-icon'}`} aria-label=${label} title=${label} aria-busy=${held} aria-disabled=${held || undefined} ...${rest} onClick=${click}>
    ${icon && html`<${Icon} name=${icon} />`}${children}</button>`;
}

export const LinkButton = ({ href, kind = '', icon, children, ...rest }) => html`<a class=${`button ${kind}`} href=${href} ...${rest}>${icon && html`<${Icon} name=${icon} />`}${children}</a>`;

// states of runs: how each looks, and what it is called.
const looks = { QUEUED: 'wait', PENDING: 'wait', CLAIMED: 'wait', INPROGRESS: 'live', SUCCEEDED: 'good', FAILED: 'bad', ERROR: 'bad', BLOCKED: 'need', CANCELLED: 'dim' };
const names = { QUEUED: 'Queued', PENDING: 'Pending', CLAIMED: 'Claimed', INPROGRESS: 'In progress', SUCCEEDED: 'Succeeded', FAILED: 'Failed', ERROR: 'Error', BLOCKED: 'Needs you', CANCELLED: 'Cancelled' };
export const stateName = (s) => names[s] ?? s;
export const ended = (s) => ['SUCCEEDED', 'FAILED', 'ERROR', 'CANCELLED'].includes(s);

// State is a run's state: a shape beside the colour, for who sees no colours.
export const State = ({ state }) => html`<${Badge} look=${looks[state] ?? 'dim'}>${stateName(state)}<//>`;
export const Badge = ({ look = 'dim', children }) => html`<span class=${`badge ${look}`}><i class="dot" aria-hidden="true"></i>${children}</span>`;

// Time is an age, with the exact time to who hovers or listens.
export function Time({ at }) {
  const now = useNow();
  return at ? html`<time datetime=${at} title=${exact(at)}>${ago(at, now)}</time>` : null;
}

// copyText puts a text on the clipboard. A browser has one for pages by https
// and on this machine only.
export async function copyText(text) {
  if (!navigator.clipboard) throw new Error('The browser copies only from pages whose address begins with https: select the text and copy it by hand.');
  await navigator.clipboard.writeText(text);
}

export function Copy({ text, label = 'Copy' }) {
  const [done, set] = useState(false);
  return html`<${Button} kind="quiet small" icon=${done ? 'check' : 'copy'} label=${done ? 'Copied' : label} onClick=${async () => {
    await copyText(text);
    set(true);
    setTimeout(() => set(false), 1500);
  }} />`;
}

// ---- pages ----

// Page is a page's head and body. actions stand to the right of its heading.
export function Page({ title, lead, actions, children, back }) {
  useTitle(typeof title === 'string' ? title : '');
  return html`<div class="page">
    <header class="page-head">
      <div>${back && html`<a class="back" href=${back.href}>${back.text}</a>`}<h1 tabindex="-1">${typeof title === 'string' ? plain(title) : title}</h1>${lead && html`<p class="lead">${lead}</p>`}</div>
      ${actions && html`<div class="actions">${actions}</div>`}
    </header>${children}</div>`;
}

// Empty teaches what belongs here and how to make the first one.
export const Empty = ({ icon = 'plus', title, children, action }) => html`<div class="empty"><${Icon} name=${icon} size=${28} /><h2>${title}</h2><p>${children}</p>${action}</div>`;

// Failure says what went wrong, what to do, and by which ID the server's log knows it.
export function Failure({ error, retry }) {
  if (!error) return null;
  const id = error instanceof APIError ? error.requestId : '';
  const next = error.status === 403 ? 'Ask an owner of it, or an admin of your team.' : error.status === 404 ? 'It may have been deleted, or it is not shared with you.'
    : error.status === 0 || error.status >= 500 ? 'Try again in a moment.' : '';
  return html`<div class="failure" role="alert"><${Icon} name="alert" /><div><strong>${plain(error.message)}</strong>${next && html`<p>${next}</p>`}
    ${id && html`<p class="dim">Request <code>${id}</code></p>`}</div>${retry && html`<${Button} onClick=${retry}>Try again<//>`}</div>`;
}

export const Loading = ({ rows = 4 }) => html`<div class="loading" role="status" aria-label="Loading">${Array.from({ length: rows }, () => html`<div class="bone"></div>`)}</div>`;

// Loaded shows what useLoad gave: bones, a failure, or children(data). A failure
// leaves what was there before in sight.
export const Loaded = ({ from, rows, children }) => html`${from.error && html`<${Failure} error=${from.error} retry=${from.reload} />`}
  ${from.data !== undefined ? children(from.data) : !from.error && html`<${Loading} rows=${rows} />`}`;

// Table. columns: {name, cell(row), wide, num, hide ('phone')}. A row's href makes its
// first cell a link that covers the row.
export const Table = ({ label, columns, rows, href, id }) => html`<div class="table-box"><table aria-label=${label}>
  <thead><tr>${columns.map((c) => html`<th scope="col" class=${`${c.num ? 'num' : ''} ${c.hide ? `hide-${c.hide}` : ''}`}>${c.name || html`<span class="sr">Actions</span>`}</th>`)}</tr></thead>
  <tbody>${rows.map((row) => html`<tr key=${id?.(row)} class=${href ? 'linked' : ''}>${columns.map((c, i) => html`<td data-name=${c.name} class=${`${c.num ? 'num' : ''} ${c.wide ? 'wide' : ''} ${c.hide ? `hide-${c.hide}` : ''}`}>
    ${i === 0 && href ? html`<a class="row-link" href=${href(row)}>${c.cell(row)}</a>` : c.cell(row)}</td>`)}</tr>`)}</tbody></table></div>`;

// Tabs within a page; which one is the caller's to keep (in the address).
export function Tabs({ tabs, value, onChange, label }) {
  const ref = useRef();
  const key = (e) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (!step) return;
    e.preventDefault();
    const i = (tabs.findIndex((t) => t.id === value) + step + tabs.length) % tabs.length;
    onChange(tabs[i].id);
    ref.current.querySelectorAll('button')[i].focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${label} ref=${ref} onKeyDown=${key}>${tabs.map((t) => html`<button type="button" role="tab" aria-selected=${t.id === value} tabindex=${t.id === value ? 0 : -1}
    onClick=${() => onChange(t.id)}>${t.name}${t.count !== undefined && html` <span class="count">${t.count}</span>`}</button>`)}</div>`;
}

// ---- forms ----

// Field is a labelled control. children: a function of the attributes that tie
// the control to its label, hint and error.
export function Field({ label, hint, error, children, required }) {
  const id = useId();
  const by = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(' ') || undefined;
  return html`<div class="field"><label for=${id}>${label}${required && html` <span class="dim">(required)</span>`}</label>
    ${children({ id, 'aria-describedby': by, 'aria-invalid': error ? 'true' : undefined, required })}
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}${error && html`<p class="field-error" id=${`${id}-error`}>${plain(error)}</p>`}</div>`;
}

export const Input = ({ label, hint, error, required, value, onInput, ...rest }) => html`<${Field} ...${{ label, hint, error, required }}>${(a) => html`<input ...${a} ...${rest} value=${value ?? ''} onInput=${(e) => onInput(e.target.value)} />`}<//>`;
export const Area = ({ label, hint, error, required, value, onInput, rows = 4, ...rest }) => html`<${Field} ...${{ label, hint, error, required }}>${(a) => html`<textarea ...${a} rows=${rows} ...${rest} value=${value ?? ''} onInput=${(e) => onInput(e.target.value)}></textarea>`}<//>`;
// useChosen keeps a select at its value: also after a choice that was refused.
export function useChosen(value) {
  const ref = useRef();
  useEffect(() => { if ([...ref.current.options].some((o) => o.value === value)) ref.current.value = value; });
  return ref;
}
// Select. options: [value, text] pairs.
export function Select({ label, hint, error, required, value, options, onInput, ...rest }) {
  const ref = useChosen(value ?? '');
  return html`<${Field} ...${{ label, hint, error, required }}>${(a) => html`<select ref=${ref} ...${a} ...${rest} onChange=${(e) => onInput(e.target.value)}>
  ${options.map(([v, text]) => html`<option value=${v} selected=${v === (value ?? '')}>${text}</option>`)}</select>`}<//>`;
}
export const Check = ({ label, hint, checked, onInput, ...rest }) => { const id = useId(); return html`<div class="check"><input type="checkbox" id=${id} checked=${checked} onChange=${(e) => onInput(e.target.checked)} ...${rest} /><label for=${id}>${label}${hint && html`<span class="hint">${hint}</span>`}</label></div>`; };

// Form calls submit() once at a time and shows what the server refused: next to
// the field that it names, which gets the focus, with the request's ID above the
// buttons; or else all of it there. children: (errorOf) => fields, where
// errorOf(name) is what was refused of a field or a part of it; errorOf(name, true)
// of the field itself only.
export function Form({ submit, action = 'Save', cancel, children, kind = 'primary' }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const form = useRef();
  const field = error?.problem?.field;
  const shown = useRef(new Set());
  shown.current = new Set();
  const about = (name, alone) => field === name || !alone && (field?.startsWith(name + '.') || field?.startsWith(name + '['));
  const errorOf = (name, alone) => { if (about(name, alone)) shown.current.add(field); return about(name, alone) ? error.message.replace(`${field}: `, '') : ''; };
  const send = async (e) => {
    e.preventDefault();
    if (busy) return;
    setBusy(true); setError(null);
    try { await submit(); } catch (err) { setError(err); } finally { setBusy(false); }
  };
  useEffect(() => { if (error) lead(form.current); }, [error]);
  const fields = children(errorOf);
  const quick = (e) => { if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) { e.preventDefault(); e.currentTarget.requestSubmit(); } };
  return html`<form ref=${form} onSubmit=${send} onKeyDown=${quick}>${fields}${error && html`<${Refused} error=${error} shown=${() => shown.current.has(field)} />`}
    <div class="form-actions">${cancel && html`<${Button} kind="quiet" onClick=${cancel}>Cancel<//>`}<${Button} kind=${kind} type="submit" busy=${busy}>${action}<//></div></form>`;
}

// Refused is drawn after the fields, which only then have said what they show.
const Refused = ({ error, shown }) => !shown() ? html`<${Failure} error=${error} />`
  : html`<p class="refused" role="alert"><${Icon} name="alert" size=${16} /> Mend the field that is marked, and try again.${error.requestId && html` <span class="dim">Request <code>${error.requestId}</code></span>`}</p>`;

// lead takes who sends a form to the first field that was refused, also out of
// what is folded away.
function lead(form) {
  const at = form?.querySelector('.field-error');
  if (!at) return;
  for (let d = at.closest('details'); d; d = d.parentElement.closest('details')) d.open = true;
  at.parentElement.querySelector('input, select, textarea, button')?.focus();
}

// Dialog is modal: focus stays in it, Escape closes it, and focus returns to
// where it was. side: a pane from the edge.
export function Dialog({ title, onClose, children, side }) {
  const ref = useRef();
  const id = useId();
  useEffect(() => {
    const d = ref.current, before = document.activeElement;
    d.showModal();
    d.querySelector('form :is(input, select, textarea), form button')?.focus(); // and not the button that closes it
    return () => { d.close(); before?.focus?.(); };
  }, []);
  return html`<dialog ref=${ref} class=${side ? 'side' : ''} aria-labelledby=${id} onCancel=${(e) => { e.preventDefault(); onClose(); }} onMouseDown=${(e) => { if (e.target === ref.current) onClose(); }}>
    <div class="dialog-body"><header><h2 id=${id}>${title}</h2><${Button} kind="quiet" icon="close" label="Close" onClick=${onClose} /></header>${children}</div><${Toasts} /></dialog>`;
}

// Confirm asks before something that cannot be taken back.
export const Confirm = ({ title, children, action, onConfirm, onClose }) => html`<${Dialog} title=${title} onClose=${onClose}>
  <${Form} action=${action} kind="danger" cancel=${onClose} submit=${async () => { await onConfirm(); onClose(); }}>${() => html`<p>${children}</p>`}<//><//>`;

// ---- toasts ----

const toasts = new Set();
const stays = 6000, failureStays = 30000; // milliseconds
const places = []; // where they can be drawn; it is done in the last: what a dialog covers is neither seen nor heard
const show = () => places.forEach((draw) => draw());
const drop = (t) => { toasts.delete(t); show(); };
// toast tells something in passing: a text, or what went wrong, which stays longer
// and can be closed. look: '', 'good', 'bad'.
export function toast(what, look = '') {
  const t = { text: what.message ?? what, id: what.requestId, look, key: Math.random() };
  toasts.add(t);
  show();
  setTimeout(() => drop(t), look === 'bad' ? failureStays : stays);
}
// Toasts is the place for them, in the shell and in each dialog.
export function Toasts() {
  const [, set] = useState(0);
  const draw = useCallback(() => set((n) => n + 1), []);
  useEffect(() => { places.push(draw); show(); return () => { places.splice(places.indexOf(draw), 1); show(); }; }, []);
  return html`<div class="toasts" role="status" aria-live="polite">${places.at(-1) === draw && [...toasts].map((t) => html`<div key=${t.key} class=${`toast ${t.look}`}><span class="grow">${plain(t.text)}${t.id && html` <span class="dim">Request <code>${t.id}</code></span>`}</span>
    ${t.look === 'bad' && html`<${Button} kind="quiet small" icon="close" label="Close this message" onClick=${() => drop(t)} />`}</div>`)}</div>`;
}
