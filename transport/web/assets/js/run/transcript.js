// The transcript: rows of a log that is followed, with the search, the jump to
// the newest, and the place that an address names.
import { html, useCallback, useEffect, useMemo, useRef, useState } from '../core/html.js';
import { plural } from '../core/format.js';
import { useSession } from '../core/session.js';
import { Button, copyText, Failure, Icon, Loading, toast } from '../core/ui.js';
import { useOnline } from '../core/online.js';
import { Log } from './log.js';
import { toMarkdown, words } from './fold.js';
import { guess, Row } from './rows.js';
import { VList } from './vlist.js';

// useLog follows the log of a run from its newest events on.
export function useLog(id, { last, event, presence, ready = true }) {
  const [, draw] = useState(0);
  const log = useRef(null), hooks = useRef({});
  const guest = Boolean(useSession()?.guest);
  hooks.current = { event, presence };
  useEffect(() => {
    if (!ready) return undefined;
    const l = new Log(id, { guest, changed: () => draw((n) => n + 1), event: (e, old) => hooks.current.event?.(e, old), presence: (p) => hooks.current.presence?.(p) });
    log.current = l;
    l.open(last);
    return () => { l.close(); log.current = null; };
  }, [id, ready]);
  return log.current;
}

// useFold remembers what the reader has folded, also while it is not in the page.
function useFold() {
  const open = useRef(new Map());
  const [rev, set] = useState(0);
  const toggle = useCallback((key, was) => { open.current.set(key, !was); set((n) => n + 1); }, []);
  return { open: open.current, toggle, rev };
}

const hashSeq = () => Number(/^#e(\d{1,15})$/.exec(location.hash)?.[1] ?? 0);

// Transcript shows a log. live: the run is at work.
export function Transcript({ log, live, execution, empty }) {
  const { open, toggle, rev } = useFold();
  const [follow, setFollow] = useState(true);
  const [seen, setSeen] = useState(0);
  const [find, setFind] = useState(null);
  const [mark, setMark] = useState(hashSeq);
  const control = useRef(), opened = useRef(false);
  const rows = log?.shown.rows.list ?? [];
  const marked = mark && log ? log.rowOf(mark) : null;
  const ctx = useMemo(() => ({ open, toggle, live, execution, mark, marked, Nested }), [rev, live, execution, mark, marked]);

  const goTo = useCallback(async (seq) => {
    if (!log) return;
    try { await log.around(seq); } catch (e) { toast(e, 'bad'); return; }
    const row = log.rowOf(seq);
    setMark(seq);
    if (row) requestAnimationFrame(() => control.current?.to(row.key));
    else toast(`There is no event ${seq} in this log`, 'bad');
  }, [log]);

  // The address may name an event: at first, and when a link to one is followed.
  useEffect(() => {
    const f = () => { const seq = hashSeq(); setMark(seq); if (seq) goTo(seq); };
    if (log && log.state !== 'loading' && !opened.current) { opened.current = true; f(); }
    window.addEventListener('hashchange', f);
    return () => window.removeEventListener('hashchange', f);
  }, [log, log?.state, goTo]);

  useEffect(() => { if (follow && log) setSeen(log.tail.last); }, [follow, log?.rev]);

  // Ctrl+F searches what is not in the page, too; pressed again it is the browser's.
  useEffect(() => {
    const f = (e) => {
      if ((e.ctrlKey || e.metaKey) && !e.altKey && e.key.toLowerCase() === 'f' && !document.querySelector('dialog[open]')) {
        if (find !== null && document.activeElement?.closest('.find')) return;
        e.preventDefault();
        setFind(find ?? '');
        document.querySelector('.find input')?.select();
      }
    };
    document.addEventListener('keydown', f);
    return () => document.removeEventListener('keydown', f);
  }, [find]);

  if (!log || log.state === 'loading') return html`<div class="transcript"><div class="vlist"><${Loading} rows=${8} /></div></div>`;
  const fresh = follow ? 0 : Math.max(0, log.tail.last - seen);
  const toEnd = () => { log.toEnd(); control.current.toEnd(); setSeen(log.tail.last); if (location.hash) { history.replaceState(history.state, '', location.pathname + location.search); setMark(0); } };
  const s = log.shown;
  return html`<div class="transcript">
    ${find !== null && html`<${Find} log=${log} text=${find} setText=${setFind} close=${() => { setFind(null); }} control=${control} goTo=${goTo} />`}
    <${VList} label="Transcript" rows=${rows} rev=${log.rev} guess=${guess} control=${control} onFollow=${setFollow}
      row=${(r) => html`<${Kept} row=${r} rev=${r.rev} ctx=${ctx} />`}
      onStart=${() => log.earlier()} onEnd=${() => log.later()} onDrawn=${() => find && paint(find)}
      before=${html`<div class="edge">${log.trouble ? html`<${Failure} error=${log.trouble} retry=${() => log.earlier({ asked: true })} />` : s.start ? html`<span class="dim">The log begins here</span>` : html`<span class="dim">Loading what came before event ${s.first} …</span>`}</div>`}
      after=${html`<div class="edge">${s !== log.tail ? (log.trouble ? html`<${Button} onClick=${() => log.later({ asked: true })}>Load more<//>` : html`<span class="dim">Loading …</span>`) : rows.length === 0 ? empty : live ? html`<span class="working dim"><i class="dot" aria-hidden="true"></i> At work</span>` : null}</div>`} />
    <div class="jump">${(!follow || s !== log.tail) && html`<${Button} icon="down" onClick=${toEnd}>${fresh ? `${plural(fresh, 'new event')} · ` : ''}Jump to latest<//>`}</div>
    <${Connection} log=${log} /></div>`;
}

// Kept draws a row only when it, or what it depends on, has changed.
function Kept({ row, rev, ctx }) { return useMemo(() => html`<${Row} row=${row} ctx=${ctx} />`, [row, rev, ctx, ctx.open.get(row.key)]); }

// Connection says what is wrong with the connection, if anything.
function Connection({ log }) {
  const [late, set] = useState(false);
  const { away } = useOnline(); // the shell tells of that
  useEffect(() => { // a moment without a connection is nothing to tell
    if (log.state !== 'waiting') { set(false); return undefined; }
    const t = setTimeout(() => set(true), 1500);
    return () => clearTimeout(t);
  }, [log.state]);
  if (log.state === 'failed') return html`<div class="connection"><${Lost} error=${log.error} retry=${() => log.again()} /></div>`;
  return html`<div class="connection" role="status">${late && !away && html`<p class="offline"><${Icon} name="alert" size=${16} /> The server cannot be reached. Nothing is lost: the page goes on where it was.</p>`}</div>`;
}

// Lost says why the log goes on no more.
function Lost({ error, retry }) {
  if (![401, 403, 404].includes(error.status)) return html`<${Failure} error=${error} retry=${retry} />`;
  return html`<div class="failure" role="alert"><${Icon} name="alert" /><div><strong>You may not see this run any more</strong><p>What came until now is still here; nothing more will. Ask whoever shared it with you.</p></div></div>`;
}

// ---- search ----

// paint marks a text in the rows that are in the page. The highlights are the
// browser's: the nodes stay as they are.
export function paint(text) {
  if (!globalThis.Highlight || !CSS.highlights) return;
  const ranges = [];
  const box = document.querySelector('.transcript .vwin'), low = text.toLowerCase();
  if (box && low) {
    const walk = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
    for (let n = walk.nextNode(); n && ranges.length < 500; n = walk.nextNode()) {
      const t = n.data.toLowerCase();
      if (t.length !== n.data.length) continue;
      for (let i = t.indexOf(low); i >= 0 && ranges.length < 500; i = t.indexOf(low, i + low.length)) { const r = new Range(); r.setStart(n, i); r.setEnd(n, i + low.length); ranges.push(r); }
    }
  }
  CSS.highlights.set('found', new Highlight(...ranges));
}

function Find({ log, text, setText, close, control, goTo }) {
  const input = useRef();
  const [at, setAt] = useState(-1);
  const [whole, setWhole] = useState(false); // the whole log is searched
  const low = text.trim().toLowerCase();
  const hits = useMemo(() => (low ? log.shown.rows.list.filter((r) => words(r).toLowerCase().includes(low)) : []), [low, log.rev]);
  useEffect(() => { input.current.focus(); input.current.select(); return () => paint(''); }, []);
  useEffect(() => { paint(low); if (at >= hits.length) setAt(-1); }, [low, log.rev, at]);
  useEffect(() => { if (whole && !log.shown.start) log.earlier(); }, [whole, log.rev]);
  const go = (step) => {
    if (!hits.length) return;
    const i = at < 0 ? (step > 0 ? 0 : hits.length - 1) : (at + step + hits.length) % hits.length;
    setAt(i);
    const r = hits[i];
    control.current.to(r.key);
    requestAnimationFrame(() => paint(low));
  };
  const key = (e) => {
    if (e.key === 'Enter') { e.preventDefault(); go(e.shiftKey ? -1 : 1); }
    if (e.key === 'Escape') { e.preventDefault(); close(); }
  };
  const all = log.shown.start && log.shown === log.tail;
  return html`<div class="find" role="search"><${Icon} name="search" size=${16} />
    <input ref=${input} type="search" aria-label="Find in the transcript" placeholder="Find in the transcript" value=${text} onInput=${(e) => { setText(e.target.value); setAt(-1); }} onKeyDown=${key} />
    <span class="dim num" role="status">${low ? (hits.length ? `${at < 0 ? '' : `${at + 1} of `}${plural(hits.length, 'row')}` : 'Nothing') : ''}</span>
    <${Button} kind="quiet small" label="Previous" icon="up" onClick=${() => go(-1)} /><${Button} kind="quiet small" label="Next" icon="down" onClick=${() => go(1)} />
    ${low && !all && html`<${Button} kind="small" disabled=${whole} onClick=${() => { log.toEnd(); setWhole(true); }}>${whole ? `Searching from event ${log.shown.first} …` : `Search before event ${log.shown.first}, too`}<//>`}
    <${Button} kind="quiet small" icon="close" label="End the search" onClick=${close} /></div>`;
}

// ---- nested ----

// Nested is the transcript of a child run, in its parent's.
export function Nested({ id, last }) {
  const log = useLog(id, { last });
  const { open, toggle, rev } = useFold();
  const live = log?.state === 'live' || log?.state === 'waiting';
  const ctx = useMemo(() => ({ open, toggle, live, nested: true }), [rev, live]);
  if (!log || log.state === 'loading') return html`<${Loading} rows=${2} />`;
  if (log.state === 'failed' && !log.tail.rows.list.length) return html`<${Failure} error=${log.error} />`;
  return html`<${VList} className="nested" label="Transcript of the child run" rows=${log.shown.rows.list} rev=${log.rev} guess=${guess} row=${(r) => html`<${Kept} row=${r} rev=${r.rev} ctx=${ctx} />`} onStart=${() => log.earlier()} />`;
}

// copyMarkdown copies what is loaded of a log.
export async function copyMarkdown(log) {
  await copyText(toMarkdown(log.shown.rows.list));
  toast(log.shown.start && log.shown === log.tail ? 'Copied' : `Copied from event ${log.shown.first} on; the download has all`, 'good');
}
