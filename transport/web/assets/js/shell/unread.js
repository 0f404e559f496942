// How many notifications wait to be read.
import { useEffect, useState } from '../core/html.js';
import { api } from '../core/api.js';
import { onFeed } from '../core/feed.js';

// useUnread counts them, and follows as they come and are read. A server
// without notifications has none.
export function useUnread() {
  const [n, set] = useState(0);
  useEffect(() => {
    const c = new AbortController();
    const load = () => api.get('/oz/notifications', { filter: 'unread', limit: 1 }, { signal: c.signal }).then((a) => set(a.unread ?? 0), () => {});
    load();
    const off = onFeed((e) => { if (e.event === 'notification' || e.event === 'resync') load(); });
    window.addEventListener('oz-notifications', load); // the page of them tells what was read
    return () => { c.abort(); off(); window.removeEventListener('oz-notifications', load); };
  }, []);
  return n;
}
