// Whether the server can be reached, and whether it has newer pages than these.
import { apiBase, base, version } from './config.js';
import { useEffect, useState } from './html.js';

const first = 500, last = 10000; // milliseconds between attempts
const look = 300000; // how often a page that is looked at asks for a newer version

let state = { away: false, stale: false };
let wait = first, timer;
const listeners = new Set();
const set = (changes) => { state = { ...state, ...changes }; listeners.forEach((f) => f(state)); };

// away is told by whoever could not reach the server. It is asked until it is back.
export function away() {
  if (state.away) return;
  wait = first;
  set({ away: true });
  later();
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(ask, wait);
  wait = Math.min(last, wait * 1.6);
}

async function ask() {
  try {
    const res = await fetch(`${apiBase}/oz/auth/config`, { cache: 'no-store', signal: AbortSignal.timeout(5000) });
    if (!res.ok) throw new Error('not yet');
  } catch { later(); return; }
  set({ away: false });
  resume();
  compare();
}

// compare asks which version of the pages the server has: it may be another
// program since it came back.
async function compare() {
  if (!version) return;
  try {
    const res = await fetch(`${base}/version.json`, { cache: 'no-store' });
    if (res.ok && (await res.json()).version !== version) set({ stale: true });
  } catch { /* it is asked again */ }
}

let compared = Date.now();
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState !== 'visible' || Date.now() - compared < look) return;
  compared = Date.now();
  compare();
});
window.addEventListener('online', () => { if (state.away) { wait = first; later(); } });

const backs = new Set();

// onBack calls f each time the server is back, or answers again after a sign-in.
export const onBack = (f) => { backs.add(f); return () => backs.delete(f); };
export const resume = () => [...backs].forEach((f) => f());

// useOnline gives {away, stale} as they change.
export function useOnline() {
  const [now, draw] = useState(state);
  useEffect(() => { listeners.add(draw); draw(state); return () => listeners.delete(draw); }, []);
  return now;
}
