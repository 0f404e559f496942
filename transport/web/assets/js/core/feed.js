// The feed: one stream per page that tells of every run that changes, and of
// notifications (GET /oz/runs/stream). It is open while somebody listens.
import { stream } from './sse.js';

const listeners = new Set();
let stop = null;
let now = 'waiting'; // live, waiting, failed

const tell = (e) => [...listeners].forEach((f) => f(e));

// onFeed calls f with each event:
//   {event: 'run', data: RunItem}      one has changed
//   {event: 'gone', data: {run_id}}    one may not be seen any more
//   {event: 'notification', data}      somebody is wanted
//   {event: 'resync'}                  load anew: what came before is not known
//   {event: 'state', data}             'live', 'waiting' or 'failed'
export function onFeed(f) {
  listeners.add(f);
  if (!stop) {
    stop = stream('/oz/runs/stream', { numbered: false, event: tell, state: (s) => { now = s; tell({ event: 'state', data: s }); } });
  } else f({ event: 'state', data: now });
  return () => {
    listeners.delete(f);
    if (listeners.size === 0) { stop?.(); stop = null; now = 'waiting'; }
  };
}
