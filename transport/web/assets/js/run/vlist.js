// A list of any length, of which only what is in sight is in the page. Heights
// are measured once a row is drawn, and guessed before. Where the reader looks
// stays where it is: rows that come before it, or turn out higher than guessed,
// move nothing.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../core/html.js';

const blockSize = 256;
const ahead = 900, slack = 400; // pixels drawn beyond the window, and when to draw anew
const near = 1200; // pixels from an edge, where more is asked for

// Heights adds up the heights of rows: where one begins, and which is at a place.
class Heights {
  constructor() { this.rows = []; this.h = []; this.sums = []; this.index = new Map(); this.known = new Map(); this.total = 0; }

  // sync takes the rows as they are now.
  sync(rows, guess) {
    const old = this.rows.length;
    const grown = old > 0 && rows.length >= old && rows[0] === this.rows[0] && rows[old - 1] === this.rows[old - 1];
    if (!grown) { this.rows = []; this.h = []; this.sums = []; this.index = new Map(); this.total = 0; }
    for (let i = this.rows.length; i < rows.length; i++) {
      const row = rows[i], h = this.known.get(row.key) ?? guess(row);
      this.rows.push(row); this.h.push(h); this.index.set(row.key, i);
      this.sums[(i / blockSize) | 0] = (this.sums[(i / blockSize) | 0] ?? 0) + h;
      this.total += h;
    }
  }

  // measured tells a row's true height and whether it is news.
  measured(key, h) {
    this.known.set(key, h);
    const i = this.index.get(key);
    if (i === undefined || Math.abs(this.h[i] - h) < 0.5) return false;
    this.sums[(i / blockSize) | 0] += h - this.h[i];
    this.total += h - this.h[i];
    this.h[i] = h;
    return true;
  }

  top(i) {
    let y = 0;
    const b = (i / blockSize) | 0;
    for (let k = 0; k < b; k++) y += this.sums[k];
    for (let k = b * blockSize; k < i; k++) y += this.h[k];
    return y;
  }

  at(y) {
    let b = 0;
    while (b < this.sums.length - 1 && y >= this.sums[b]) y -= this.sums[b++];
    let i = b * blockSize;
    while (i < this.h.length - 1 && y >= this.h[i]) y -= this.h[i++];
    return Math.max(0, i);
  }
}

// VList shows rows. rev changes whenever they do. row(r) draws one; guess(r) is
// its height as far as one can tell. onStart and onEnd are called when the
// reader comes near an edge; onFollow(bool) when the end begins or ceases to be
// kept in sight. control receives {toEnd(), to(key)}.
export function VList({ rows, rev, row, guess, label, before, after, onStart, onEnd, onFollow, onDrawn, control, className = '' }) {
  const box = useRef(), space = useRef(), win = useRef();
  const v = useRef();
  v.current ??= { heights: new Heights(), follow: true, anchors: [], last: 0, width: 0, drawn: [0, 0] };
  const me = v.current;
  const [range, setRange] = useState([0, 0]);
  me.heights.sync(rows, guess);
  const count = rows.length;
  const from = Math.min(range[0], count), to = Math.min(Math.max(range[1], from), count);

  const self = useMemo(() => {
    const lead = () => space.current.offsetTop;
    // look finds what has to be drawn for where the reader is now.
    const look = (force) => {
      const b = box.current, H = me.heights;
      if (!b || !H.rows.length) return;
      const top = b.scrollTop - lead(), bottom = top + b.clientHeight;
      const [f, t] = me.drawn;
      const fits = !force && t > f && (f === 0 || H.top(f) < top - slack) && (t >= H.rows.length || H.top(t) > bottom + slack);
      if (fits) return;
      const next = [H.at(Math.max(0, top - ahead)), Math.min(H.rows.length, H.at(Math.max(0, bottom + ahead)) + 1)];
      if (next[0] !== f || next[1] !== t) setRange(next);
    };
    // edges tells when the reader is near one, also without having scrolled.
    const edges = () => {
      const b = box.current;
      if (!b || !me.heights.rows.length) return;
      if (b.scrollTop < near) me.onStart?.();
      if (b.scrollTop + b.clientHeight > b.scrollHeight - near) me.onEnd?.();
    };
    // place puts the drawn rows where they belong and keeps the reader's place.
    const place = () => {
      const b = box.current, H = me.heights;
      if (!b) return;
      space.current.style.height = `${H.total}px`;
      win.current.style.transform = `translateY(${H.top(me.drawn[0])}px)`;
      let want = b.scrollTop;
      if (me.follow) want = b.scrollHeight - b.clientHeight;
      else {
        for (const a of me.anchors) a.delta += b.scrollTop - me.last; // what the reader scrolled and no event has told yet
        const a = me.anchors.find((x) => H.index.has(x.key));
        if (a) want = lead() + H.top(H.index.get(a.key)) + a.delta;
      }
      if (Math.abs(want - b.scrollTop) >= 1) { b.scrollTop = want; }
      me.last = b.scrollTop;
    };
    // hold remembers the first rows in sight: more than one, since one may become
    // part of another when older ones come. One that was never drawn is no hold:
    // its height is not known.
    const hold = () => {
      const b = box.current, H = me.heights;
      me.anchors = [];
      if (!b || !H.rows.length) return;
      const y = b.scrollTop - lead();
      let first = H.at(Math.max(0, y));
      if (first < me.drawn[0] && H.top(me.drawn[0]) < y + b.clientHeight) first = me.drawn[0];
      for (let i = first; i < Math.min(first + 4, H.rows.length); i++) me.anchors.push({ key: H.rows[i].key, delta: y - H.top(i) });
    };
    const scrolled = () => {
      const b = box.current;
      if (!b) return; // it has left the page
      const end = b.scrollTop + b.clientHeight >= b.scrollHeight - 32;
      const was = me.follow;
      if (end) me.follow = true;
      else if (b.scrollTop < me.last - 1) me.follow = false;
      me.last = b.scrollTop;
      hold();
      look(false);
      if (was !== me.follow) me.onFollow?.(me.follow);
      edges();
    };
    return { look, place, hold, scrolled, edges };
  }, []);
  Object.assign(me, { onFollow, onStart, onEnd });

  if (control) control.current = {
    toEnd() { me.follow = true; onFollow?.(true); self.place(); self.look(true); },
    // to brings a row into sight, some way below the top.
    to(key, gap = 90) {
      if (!me.heights.index.has(key)) return false;
      me.follow = false; onFollow?.(false);
      me.anchors = [{ key, delta: -gap }];
      self.place(); self.look(true);
      return true;
    },
  };

  useLayoutEffect(() => {
    // What is new above the reader would push down what is in sight, for a frame,
    // if it were not measured at once.
    for (const el of win.current.children) if (!me.heights.known.has(el.dataset.key)) me.heights.measured(el.dataset.key, el.getBoundingClientRect().height);
    me.drawn = [from, to]; self.place(); self.look(false); self.edges(); onDrawn?.(win.current);
  });

  useEffect(() => {
    const size = new ResizeObserver((entries) => {
      let news = false;
      for (const e of entries) {
        if (e.target === box.current) {
          if (me.width && Math.abs(me.width - e.contentRect.width) > 1) me.heights.known.clear();
          me.width = e.contentRect.width;
          news = true;
        } else if (e.target.isConnected && me.heights.measured(e.target.dataset.key, e.borderBoxSize[0].blockSize)) news = true;
      }
      if (news) { self.place(); self.look(false); }
    });
    me.size = size;
    size.observe(box.current);
    for (const el of win.current.children) size.observe(el);
    return () => { size.disconnect(); me.size = null; };
  }, []);

  // Each row is watched while it is in the page.
  const watch = useMemo(() => { const seen = new Map(); return (key) => {
    if (!seen.has(key)) { let el = null; seen.set(key, (next) => { if (el && el !== next) { me.size?.unobserve(el); seen.delete(key); } el = next; if (next) me.size?.observe(next); }); }
    return seen.get(key);
  }; }, []);

  const drawn = [];
  for (let i = from; i < to; i++) { const r = rows[i]; drawn.push(html`<div class="vrow" key=${r.key} data-key=${r.key} ref=${watch(r.key)}>${row(r)}</div>`); }
  return html`<div class=${`vlist ${className}`} ref=${box} onScroll=${self.scrolled} tabindex="0" role="region" aria-label=${label} data-rows=${count}>
    ${before}<div class="vspace" ref=${space}><div class="vwin" ref=${win}>${drawn}</div></div>${after}</div>`;
}
