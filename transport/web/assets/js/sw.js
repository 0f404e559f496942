// The service worker: it shows what is pushed and opens the run. It keeps no
// pages and answers no requests.
const base = new URL('.', self.location).pathname.replace(/\/$/, '');
const text = (v, max) => String(v ?? '').slice(0, max);
const words = { complete: 'It is done.', request: 'It needs you.', error: 'It went wrong.' };

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (e) => e.waitUntil(self.clients.claim()));

self.addEventListener('push', (e) => {
  let n = {};
  try { n = e.data?.json() ?? {}; } catch { /* something is better than nothing */ }
  const run = /^[A-Za-z0-9-]{1,64}$/.test(n.run_id ?? '') ? n.run_id : '';
  e.waitUntil(self.registration.showNotification(text(n.title, 200) || 'A run has news', { body: words[n.kind] ?? '', tag: run || undefined, data: { run } }));
});

self.addEventListener('notificationclick', (e) => {
  e.notification.close();
  const run = e.notification.data?.run;
  const path = `${base}${run ? `/runs/${encodeURIComponent(run)}` : '/notifications'}`;
  e.waitUntil((async () => {
    for (const c of await self.clients.matchAll({ type: 'window', includeUncontrolled: true })) {
      if (new URL(c.url).pathname === path) return c.focus();
    }
    return self.clients.openWindow(path);
  })());
});
