// Addresses below the app's base, with the history API. Filters live in the
// query, so that an address can be passed on.
import { base } from './config.js';
import { useEffect, useState } from './html.js';

const listeners = new Set();

export const href = (path) => base + path;

// go moves to a path of the app. replace: without a new entry in the history.
export function go(path, { replace = false } = {}) {
  history[replace ? 'replaceState' : 'pushState']({}, '', href(path));
  listeners.forEach((f) => f());
}

// here gives the path below base and the query of the address.
export function here() {
  let path = location.pathname;
  if (path.startsWith(base)) path = path.slice(base.length);
  return { path: path || '/', query: new URLSearchParams(location.search) };
}

// useLocation draws anew when the address changes.
export function useLocation() {
  const [at, set] = useState(here);
  useEffect(() => {
    const f = () => set(here());
    listeners.add(f);
    window.addEventListener('popstate', f);
    return () => { listeners.delete(f); window.removeEventListener('popstate', f); };
  }, []);
  return at;
}

// useQuery gives the query as an object and a setter that keeps the rest;
// empty values are left out of the address.
export function useQuery() {
  const { path, query } = useLocation();
  const set = (changes, options) => {
    const q = new URLSearchParams(location.search);
    for (const [k, v] of Object.entries(changes)) {
      q.delete(k);
      for (const one of Array.isArray(v) ? v : [v]) if (one !== undefined && one !== null && one !== '') q.append(k, one);
    }
    const s = q.toString();
    go(path + (s ? '?' + s : ''), options);
  };
  return [Object.fromEntries(query), set, query];
}

// match finds the route of a path: patterns like /runs/:id.
export function match(routes, path) {
  const parts = path.replace(/\/+$/, '').split('/');
  for (const route of routes) {
    const want = route.path.replace(/\/+$/, '').split('/');
    if (want.length !== parts.length) continue;
    const params = {};
    const fits = want.every((w, i) => {
      if (w[0] !== ':') return w === parts[i];
      try { params[w.slice(1)] = decodeURIComponent(parts[i]); } catch { return false; }
      return parts[i] !== '';
    });
    if (fits) return { route, params };
  }
  return null;
}

// follow lets links inside the app move without loading the page anew.
export function follow(event) {
  const a = event.target.closest?.('a[href]');
  if (!a || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  if (a.target || a.hasAttribute('download') || a.origin !== location.origin) return;
  if (!a.pathname.startsWith(base + '/') || a.pathname.startsWith(base + '/assets/') || a.dataset.native !== undefined) return;
  if (a.pathname === location.pathname && a.search === location.search && a.hash) return;
  event.preventDefault();
  go(a.pathname.slice(base.length) + a.search + a.hash);
}
