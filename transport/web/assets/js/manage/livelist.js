// Lists of runs that follow what happens.
import { api, enc } from '../core/api.js';
import { onFeed } from '../core/feed.js';
import { plain } from '../core/format.js';
import { html, useEffect, useRef } from '../core/html.js';
import { href } from '../core/router.js';
import { Loaded, State, Time, useLoad } from '../core/ui.js';

const pause = 500; // milliseconds in which changes are gathered before the list is read again

// useRuns reads runs by a query of GET /agent/runs, and again when runs change.
export function useRuns(query, deps = []) {
  const list = useLoad((signal) => api.get('/agent/runs', query, { signal }).then((d) => d.runs), deps);
  const reload = useRef(list.reload);
  reload.current = list.reload;
  useEffect(() => {
    let timer;
    const off = onFeed((e) => { if (['run', 'gone', 'resync'].includes(e.event)) { clearTimeout(timer); timer = setTimeout(() => reload.current(), pause); } });
    return () => { off(); clearTimeout(timer); };
  }, []);
  return list;
}

// RunList is a short list. at: which of a run's times is told; says: what to add
// to each run, or nothing.
export const RunList = ({ from, none, at = (r) => r.created_at, says }) => html`<${Loaded} from=${from} rows=${2}>${(runs) => runs.length ? html`<ul class="plain-list run-list">${runs.map((r) => html`<li key=${r.run_id}><div class="row"><${State} state=${r.state} /><a class="grow" href=${href(`/runs/${enc(r.run_id)}`)}>${plain(r.title || r.prompt)}</a><span class="dim"><${Time} at=${at(r)} /></span></div>${says?.(r) && html`<p class="dim clamp">${plain(says(r))}</p>`}</li>`)}</ul>` : html`<p class="dim">${none}</p>`}<//>`;
