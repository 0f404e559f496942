// The rows of a list of runs, kept up to date.
import { useCallback, useEffect, useRef, useState } from '../core/html.js';
import { api } from '../core/api.js';
import { onFeed } from '../core/feed.js';
import { onBack } from '../core/online.js';

const size = 25; // rows per page
const most = 500; // rows in one question
const calm = 700; // milliseconds between two reloads
const poll = 5000; // milliseconds, for a server without a feed

// useRuns gives {rows, error, loading, more, busy, next, reload}. ask is the
// question of query.js; a new one begins anew.
export function useRuns(ask) {
  const key = JSON.stringify(ask);
  const [state, set] = useState({ loading: true });
  const at = useRef({ key, rows: [], round: 0 });

  // load asks for as many rows as are shown, or for the next ones.
  const load = useCallback(async (cursor) => {
    const { nothing, ...query } = JSON.parse(key);
    if (nothing) { at.current = { ...at.current, key, rows: [] }; set({ rows: [], more: false }); return; }
    const round = ++at.current.round;
    const limit = cursor ? size : Math.min(most, Math.max(size, at.current.rows.length));
    try {
      const page = await api.get('/agent/runs', { ...query, limit, cursor });
      if (round !== at.current.round) return; // somebody has asked since
      const before = cursor ? at.current.rows : [];
      const seen = new Set(before.map((r) => r.run_id));
      at.current.rows = [...before, ...page.runs.filter((r) => !seen.has(r.run_id))];
      set({ rows: at.current.rows, more: page.page_info.has_next_page, cursor: page.page_info.next_cursor });
    } catch (error) {
      if (round === at.current.round) set((s) => ({ ...s, error, loading: false, busy: false }));
    }
  }, [key]);

  useEffect(() => {
    at.current = { key, rows: [], round: at.current.round };
    set({ loading: true });
    load();
  }, [load]);

  useEffect(() => {
    let timer, last = 0, polling;
    const soon = () => {
      if (timer) return;
      timer = setTimeout(() => { timer = null; last = Date.now(); load(); }, Math.max(0, calm - (Date.now() - last)));
    };
    const change = (run) => {
      const i = at.current.rows.findIndex((r) => r.run_id === run.run_id);
      if (i >= 0) { // it is shown at once; whether it still fits, the server knows
        at.current.rows = at.current.rows.with(i, run);
        set((s) => ({ ...s, rows: at.current.rows }));
      }
      soon();
    };
    const off = onFeed((e) => {
      if (e.event === 'run') change(e.data);
      else if (e.event === 'gone' || e.event === 'resync') soon();
      else if (e.event === 'state') {
        clearInterval(polling);
        if (e.data === 'failed') polling = setInterval(() => { if (document.visibilityState === 'visible') soon(); }, poll);
      }
    });
    const back = onBack(soon);
    return () => { off(); back(); clearTimeout(timer); clearInterval(polling); };
  }, [load]);

  const next = async () => { set((s) => ({ ...s, busy: true })); await load(state.cursor); };
  return { ...state, next, reload: load };
}

// cancelAll cancels runs, a few at a time. It gives how many it did and what
// went wrong with the others.
export async function cancelAll(ids) {
  const queue = [...ids], failures = [];
  let done = 0;
  const worker = async () => {
    for (let id = queue.shift(); id; id = queue.shift()) {
      try { await api.post(`/agent/runs/${encodeURIComponent(id)}/cancel`); done++; } catch (e) { failures.push(e); }
    }
  };
  await Promise.all(Array.from({ length: 4 }, worker));
  return { done, failures };
}
