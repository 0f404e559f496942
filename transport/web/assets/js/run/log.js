// A run's log in the browser: its newest part and what comes, and older parts
// as far as they are looked at. Numbers have no gaps; what would make one is
// fetched again.
import { api, enc } from '../core/api.js';
import { stream } from '../core/sse.js';
import { Rows } from './fold.js';

const pageSize = 500;

// Log follows a run's log.
//   changed()      something is different
//   event(e)       each new event, once, in order, for who keeps sums
//   presence(p)    who looks at the run
//   guest          nobody can sign in again: who is refused is out
export class Log {
  constructor(id, { changed, guest = false, event = () => {}, presence = () => {} }) {
    Object.assign(this, { id, guest, changed, onEvent: event, onPresence: presence });
    this.tail = { rows: new Rows(), first: 1, last: 0, start: true };
    this.shown = this.tail;
    this.state = 'loading'; // live, waiting, ended, failed, closed
    this.error = null;
    this.rev = 0;
    this.behind = []; // events that came and are not in rows yet
    this.busy = { earlier: null, later: null };
  }

  // open loads the end of the log and follows it. last: the newest number known.
  async open(last) {
    [this.upTo, this.state, this.error] = [last, 'loading', null];
    try {
      const after = Math.max(0, last - pageSize);
      const events = await this.#page(after, last);
      this.#begin(events, after);
      this.opened = true;
      this.#follow();
    } catch (e) { this.#fail(e); }
    this.#news();
  }

  #begin(events, after) {
    const first = events[0]?.seq ?? after + 1;
    this.tail = { rows: new Rows(), first, last: events.at(-1)?.seq ?? after, start: after === 0 || first > after + 1 };
    this.tail.rows.add(events);
    this.shown = this.tail;
    for (const e of events) this.onEvent(e, true);
  }

  #fail(e) { if (e.name !== 'AbortError' && !this.closed) { this.state = 'failed'; this.error = e; } }
  #news() { this.rev++; if (!this.closed) this.changed(); }

  // page gives the events after a number up to another; the server may cut
  // pages short.
  async #page(after, upTo) {
    const all = [];
    while (after < upTo) {
      const { events, more } = await api.get(`/oz/runs/${enc(this.id)}/events`, { after, limit: Math.min(1000, upTo - after) });
      for (const e of events) if (e.seq <= upTo) all.push(e);
      if (!events.length || (!more && events.at(-1).seq >= upTo)) break;
      after = events.at(-1).seq;
    }
    return all;
  }

  #follow() {
    this.stop?.();
    this.stop = stream(`/oz/runs/${enc(this.id)}/events`, {
      query: { presence: 'true' }, after: this.tail.last,
      event: (e) => this.#take(e),
      state: (s, error) => {
        this.#flush();
        [this.state, this.error] = [s, error ?? null];
        if (error?.status === 401 && this.guest) { this.state = 'failed'; this.stop(); }
        this.#news();
      },
      ended: (e) => e.event === 'end',
    });
  }

  #take(e) {
    if (e.event === 'presence') { this.onPresence(e.data); return; }
    if (!e.id || !e.data?.seq) return;
    this.behind.push(e.data);
    this.timer ??= setTimeout(() => this.#flush(), 16);
  }

  #flush() {
    clearTimeout(this.timer); this.timer = undefined;
    const events = this.behind;
    this.behind = [];
    if (!events.length || this.closed) return;
    const good = [];
    for (const e of events) {
      if (e.seq <= this.tail.last) continue;
      if (e.seq !== this.tail.last + 1 && this.tail.last > 0 && e.type !== 'pruned') { this.#follow(); break; } // never a gap: from the last good one
      this.tail.last = e.seq;
      good.push(e);
    }
    if (this.tail.rows.list.length === 0 && good.length) this.tail.first = good[0].seq;
    this.tail.rows.add(good);
    for (const e of good) this.onEvent(e, false);
    this.#news();
  }

  // again follows anew: after the end, when the run was taken on, and after a
  // failure.
  again() {
    if (this.closed || (this.state !== 'ended' && this.state !== 'failed')) return;
    if (this.opened) { [this.state, this.error] = ['waiting', null]; this.#follow(); } else this.open(this.upTo);
    this.#news();
  }

  // head gives the rows of a long log's begin, where its phases are, without
  // showing them.
  head() {
    if (this.tail.start || this.shown.start) return null;
    return this.begin ??= this.#page(0, Math.min(300, this.tail.first - 1)).then((events) => { const rows = new Rows(); rows.add(events); return rows.list; }, () => []);
  }

  // earlier loads the page before what is shown. After a failure it waits to be
  // asked by a person.
  earlier({ asked = false } = {}) {
    const s = this.shown;
    if (s.start || this.state === 'loading' || (this.trouble && !asked)) return null;
    return this.busy.earlier ??= (async () => {
      try {
        const upTo = s.first - 1, after = Math.max(0, upTo - pageSize);
        const events = await this.#page(after, upTo);
        if (events.length) {
          const older = new Rows();
          older.add(events);
          s.rows.before(older);
          s.first = events[0].seq;
        }
        s.start = after === 0 || !events.length || events[0].seq > after + 1;
        this.trouble = null;
      } catch (e) { this.trouble = e; } finally { this.busy.earlier = null; }
      this.#news();
    })();
  }

  // later loads the page behind what is shown, up to the end.
  later({ asked = false } = {}) {
    const s = this.shown;
    if (s === this.tail || (this.trouble && !asked)) return null;
    return this.busy.later ??= (async () => {
      try {
        const upTo = Math.min(s.last + pageSize, this.tail.first - 1);
        const events = await this.#page(s.last, upTo);
        s.rows.add(events);
        s.last = upTo;
        if (s.last + 1 >= this.tail.first) this.#join(s);
        this.trouble = null;
      } catch (e) { this.trouble = e; } finally { this.busy.later = null; }
      this.#news();
    })();
  }

  #join(s) {
    this.tail.rows.before(s.rows);
    this.tail.first = s.first; this.tail.start = s.start;
    if (this.shown === s) this.shown = this.tail;
  }

  // around shows the part of the log that has an event.
  async around(seq) {
    if (seq >= this.tail.first) this.shown = this.tail;
    else if (this.shown === this.tail || seq < this.shown.first || seq > this.shown.last) {
      const after = Math.max(0, seq - 1 - pageSize / 2), upTo = Math.min(after + pageSize, this.tail.first - 1);
      const events = await this.#page(after, upTo);
      const rows = new Rows();
      rows.add(events);
      const s = { rows, first: events[0]?.seq ?? after + 1, last: upTo, start: after === 0 || (events[0]?.seq ?? 0) > after + 1 };
      if (s.last + 1 >= this.tail.first) { this.shown = s; this.#join(s); } else this.shown = s;
    }
    this.#news();
  }

  // toEnd shows the newest part.
  toEnd() { if (this.shown !== this.tail) { this.shown = this.tail; this.#news(); } }

  // rowOf finds the row that an event is part of.
  rowOf(seq) {
    const list = this.shown.rows.list;
    let lo = 0, hi = list.length - 1, best = null;
    while (lo <= hi) { const mid = (lo + hi) >> 1; if (list[mid].seq <= seq) { best = list[mid]; lo = mid + 1; } else hi = mid - 1; }
    if (best?.seq === seq) return best;
    // A piece, an output, a result: the row that holds it began before.
    for (let i = lo - 1, n = 0; i >= 0 && n < 400; i--, n++) if (list[i].last >= seq) return list[i];
    return best;
  }

  close() { this.closed = true; this.stop?.(); clearTimeout(this.timer); }
}
