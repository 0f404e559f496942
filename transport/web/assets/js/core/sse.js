// Server-sent events over fetch, so that the status of a refusal can be seen.
import { APIError, refused, url } from './api.js';
import { away, onBack } from './online.js';

const first = 300, last = 15000; // milliseconds between attempts
const silence = 45000; // three heartbeats of the server: the connection is dead
// A browser has six connections to a server (HTTP/1.1) for all its tabs: those
// that nobody looks at give theirs back after a while.
const unseen = 10000;

// stream follows path until stop() is called or the server ends it with an
// error that does not mend itself. It goes on after the last event that it has
// given, so that none is missed or repeated.
//   after    number of the last event that the caller has
//   numbered false: the ids are no numbers, and only for the server to read
//   event    ({id, event, data}) for each; data is decoded JSON
//   state    ('live' | 'waiting' | 'ended' | 'failed', error)
//   ended    (data) => boolean: whether nothing more is to come
export function stream(path, { query, after = 0, numbered = true, event, state = () => {}, ended = () => false }) {
  let stopped = false, asleep = false, controller, wake, rest, wait = first, at = after;
  const look = () => {
    clearTimeout(rest);
    if (document.visibilityState !== 'visible') { rest = setTimeout(() => { asleep = true; controller?.abort(); }, unseen); return; }
    if (asleep) { asleep = false; wait = first; wake?.(); }
  };
  const loop = async () => {
    while (!stopped) {
      if (asleep) { await new Promise((r) => { wake = r; }); continue; }
      controller = new AbortController();
      try {
        const done = await follow(path, { query, after: at, signal: controller.signal, abort: () => controller.abort(),
          open: () => { state('live'); },
          event: (e) => {
            wait = first;
            if (e.id && numbered) { if (Number(e.id) <= at) return false; at = Number(e.id); } else if (e.id) at = e.id;
            event(e);
            return ended(e);
          } });
        if (stopped) return;
        if (done) { state('ended'); return; }
      } catch (e) {
        if (stopped) return;
        if (asleep) { state('waiting'); continue; }
        if (e instanceof APIError && e.status === 401) { // it goes on after the next sign-in
          refused(e);
          state('waiting', e);
          await new Promise((r) => { const off = onBack(() => { off(); r(); }); wake = () => { off(); r(); }; });
          continue;
        }
        if (e instanceof TypeError) away(); // what fetch throws when nobody answers
        if (e instanceof APIError && e.status >= 400 && e.status < 500 && e.status !== 408 && e.status !== 429) { state('failed', e); return; }
      }
      state('waiting');
      await new Promise((r) => { wake = r; setTimeout(r, wait * (0.5 + Math.random())); });
      wait = Math.min(last, wait * 2);
    }
  };
  // A page that is left may be kept for the way back, with its connections: of
  // those a browser has six for a server, and the next page would wait for one.
  const leave = () => { clearTimeout(rest); asleep = true; controller?.abort(); };
  const off = onBack(() => { wait = first; wake?.(); });
  document.addEventListener('visibilitychange', look);
  window.addEventListener('pagehide', leave);
  window.addEventListener('pageshow', look);
  look();
  loop();
  return () => { stopped = true; clearTimeout(rest); controller?.abort(); wake?.(); off(); document.removeEventListener('visibilitychange', look);
    window.removeEventListener('pagehide', leave); window.removeEventListener('pageshow', look); };
}

// follow reads one connection. It gives true when event said that it was the last.
async function follow(path, { query, after, signal, abort, open, event }) {
  const res = await fetch(url(path, query), { signal, credentials: 'same-origin',
    headers: { Accept: 'text/event-stream', ...(after ? { 'Last-Event-ID': String(after) } : {}) } });
  if (!res.ok) {
    let problem = {};
    try { problem = await res.json(); } catch { /* the status says enough */ }
    throw new APIError(res.status, problem, res.headers.get('X-Request-Id'));
  }
  open();
  const reader = res.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '', timer;
  const alive = () => { clearTimeout(timer); timer = setTimeout(abort, silence); };
  try {
    for (alive(); ;) {
      const { value, done } = await reader.read();
      if (done) return false;
      alive();
      const parts = (rest + value).split('\n\n');
      rest = parts.pop();
      for (const part of parts) {
        const e = parse(part);
        if (e && event(e)) return true;
      }
    }
  } finally {
    clearTimeout(timer);
    reader.cancel().catch(() => {});
  }
}

// parse reads one event (HTML standard, section 9.2); comments give null.
export function parse(text) {
  const e = { id: '', event: 'message', data: '' };
  let some = false;
  for (const line of text.split('\n')) {
    if (line === '' || line[0] === ':') continue;
    const i = line.indexOf(':');
    const field = i < 0 ? line : line.slice(0, i);
    const value = i < 0 ? '' : line.slice(line[i + 1] === ' ' ? i + 2 : i + 1);
    if (field === 'id') e.id = value;
    else if (field === 'event') e.event = value;
    else if (field === 'data') { e.data += (some ? '\n' : '') + value; some = true; }
  }
  if (!some) return null;
  try { e.data = JSON.parse(e.data); } catch { /* text is data, too */ }
  return e;
}
