// The HTTP API (transport/openapi.yaml). The session is a cookie that scripts
// cannot read; the server takes changes from its own pages only.
import { apiBase } from './config.js';
import { away } from './online.js';

// APIError is a problem (RFC 9457) that the server answered with, or a failure
// to reach it (status 0).
export class APIError extends Error {
  constructor(status, problem, requestId) {
    super(problem.detail || problem.title || problem.error || `The server answered ${status}`);
    this.status = status;
    this.code = problem.error || problem.type?.split('/').filter(Boolean).pop() || '';
    this.problem = problem;
    this.requestId = problem.request_id || requestId || '';
  }
}

// listeners hear of an answer that says that nobody is signed in.
const signedOut = new Set();
export const onSignedOut = (f) => { signedOut.add(f); return () => signedOut.delete(f); };
export const refused = (err) => { if (err.status === 401) signedOut.forEach((f) => f(err)); };

// url makes an address of the API. Empty values in query are left out; lists
// are repeated.
export function url(path, query) {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(query ?? {})) {
    for (const one of Array.isArray(v) ? v : [v]) {
      if (one !== undefined && one !== null && one !== '') q.append(k, one);
    }
  }
  const s = q.toString();
  return apiBase + path + (s ? '?' + s : '');
}

// call sends one request and gives the decoded answer. options: query, body
// (sent as JSON), signal, headers, raw (gives the Response itself).
export async function call(method, path, { query, body, signal, headers, raw } = {}) {
  let res;
  try {
    res = await fetch(url(path, query), {
      method, signal, credentials: 'same-origin', redirect: 'follow',
      headers: { Accept: 'application/json', ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    away();
    throw new APIError(0, { title: 'The server cannot be reached', detail: 'The server cannot be reached. What you see may be old; it is tried again.' });
  }
  if (res.ok && raw) return res;
  const text = await res.text();
  let data;
  try { data = text ? JSON.parse(text) : {}; } catch { data = { detail: text.slice(0, 300) }; }
  if (res.ok) return data;
  const err = new APIError(res.status, data, res.headers.get('X-Request-Id'));
  refused(err);
  throw err;
}

export const api = {
  get: (path, query, options) => call('GET', path, { query, ...options }),
  post: (path, body, options) => call('POST', path, { body: body ?? {}, ...options }),
  put: (path, body, options) => call('PUT', path, { body, ...options }),
  patch: (path, body, options) => call('PATCH', path, { body, ...options }),
  del: (path, query, options) => call('DELETE', path, { query, ...options }),
};

// enc makes a value safe as one segment of a path.
export const enc = encodeURIComponent;
