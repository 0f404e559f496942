// The shell: who is signed in, where one is, and the page for it.
import { html, render, useCallback, useEffect, useErrorBoundary, useRef, useState } from './core/html.js';
import { onSignedOut } from './core/api.js';
import { base, title } from './core/config.js';
import { onNewRun } from './core/newrun.js';
import { onBack, resume, useOnline } from './core/online.js';
import { follow, go, here, href, match, useLocation } from './core/router.js';
import { Session, whoami } from './core/session.js';
import { Button, Empty, Failure, Icon, Loading, Toasts } from './core/ui.js';
import { listen } from './shell/keys.js';
import { Nav } from './shell/nav.js';
import { useUnread } from './shell/unread.js';

// routes: each page is a module of its own with a default export, loaded when
// it is first opened: a component of {params, query}.
const routes = [
  { path: '/', load: () => import('./pages/dashboard.js'), nav: 'dashboard' },
  { path: '/runs', load: () => import('./pages/runs.js'), nav: 'runs' },
  { path: '/runs/:id', load: () => import('./pages/run.js'), nav: 'runs' },
  { path: '/artifacts/:uid', load: () => import('./pages/artifact.js'), nav: 'runs' },
  { path: '/agents', load: () => import('./pages/agents.js'), nav: 'agents' },
  { path: '/skills', load: () => import('./pages/skills.js'), nav: 'agents' },
  { path: '/schedules', load: () => import('./pages/schedules.js'), nav: 'schedules' },
  { path: '/schedules/:id', load: () => import('./pages/schedule.js'), nav: 'schedules' },
  { path: '/environments', load: () => import('./pages/environments.js'), nav: 'environments' },
  { path: '/integrations', load: () => import('./pages/integrations.js'), nav: 'integrations' },
  { path: '/integrations/:kind/:uid', load: () => import('./pages/integration.js'), nav: 'integrations' },
  { path: '/secrets', load: () => import('./pages/secrets.js'), nav: 'secrets' },
  { path: '/workers', load: () => import('./pages/workers.js'), nav: 'workers' },
  { path: '/usage', load: () => import('./pages/usage.js'), nav: 'usage' },
  { path: '/settings', load: () => import('./pages/settings.js'), nav: 'settings' },
  { path: '/settings/:tab', load: () => import('./pages/settings.js'), nav: 'settings' },
  { path: '/notifications', load: () => import('./pages/notifications.js'), nav: 'notifications' },
  { path: '/welcome', load: () => import('./pages/welcome.js'), nav: 'dashboard' },
];

// Pages loads the module of the address and draws it. Focus goes to the new
// page's heading, as it would after a page load.
function Pages({ path, query, found }) {
  const [page, setPage] = useState(null);
  const [failed, reset] = useErrorBoundary();
  useEffect(() => {
    let gone = false;
    reset?.();
    found?.route.load().then((m) => { if (!gone) setPage({ route: found.route, view: m.default }); }, (error) => { if (!gone) setPage({ route: found.route, error }); });
    return () => { gone = true; };
  }, [found?.route]);
  useEffect(() => {
    if (!page) return;
    window.scrollTo(0, 0);
    document.querySelector('main h1')?.focus({ preventScroll: true });
  }, [page, path]);
  if (failed) return html`<${Failure} error=${failed} retry=${reset} />`;
  if (!found) return html`<${Empty} icon="question" title="There is no such page" action=${html`<a href=${href('/')}>To the dashboard</a>`}>The address <code>${path}</code> leads nowhere.<//>`;
  if (!page || page.route !== found.route) return html`<${Loading} />`;
  if (page.error) return html`<${Failure} error=${page.error} retry=${() => location.reload()} />`;
  return html`<${page.view} key=${found.route.path + JSON.stringify(found.params)} params=${found.params} query=${query} />`;
}

const Bell = ({ unread }) => html`<span class="bell"><${Icon} name="bell" />${unread > 0 && html`<span class="count" aria-hidden="true">${unread > 99 ? '99+' : unread}</span>`}</span>`;

// Later draws a part of the shell whose module is loaded when it is first needed.
function Later({ load, part, ...props }) {
  const [m, set] = useState(null);
  useEffect(() => { load().then(set, (error) => set({ error })); }, []);
  if (m?.error) return html`<div class="banner" role="alert">A part of the page could not be loaded. <${Button} kind="small" onClick=${() => location.reload()}>Reload<//></div>`;
  return m && html`<${m[part]} ...${props} />`;
}

// Banner says when what is seen may be old.
function Banner() {
  const { away, stale } = useOnline();
  return html`<div class="banners" role="status">${away && html`<div class="banner need">The server cannot be reached. What you see may be old; it is asked again and again.</div>`}
    ${stale && !away && html`<div class="banner">The server has newer pages. <${Button} kind="small" onClick=${() => location.reload()}>Reload<//></div>`}</div>`;
}

// useMe finds out who is signed in. me: undefined is not known yet, null nobody.
// over: the session of whom was signed in has ended.
function useMe() {
  const [me, setMe] = useState(undefined);
  const [error, setError] = useState(null);
  const [over, setOver] = useState(false);
  const known = useRef(null);
  const load = useCallback(async () => {
    try {
      const m = await whoami();
      if (known.current && known.current.principal?.uid !== m.principal?.uid) { location.reload(); return; } // nothing of one person's is shown to another
      known.current = m;
      setError(null); setMe(m); setOver((was) => { if (was) setTimeout(resume); return false; });
    } catch (e) { if (e.status === 401) { if (!known.current) setMe(null); } else setError(e); }
  }, []);
  useEffect(() => onSignedOut(() => { if (known.current) setOver(true); else setMe((m) => m ?? null); }), []);
  const signedOut = () => { known.current = null; setOver(false); setMe(null); };
  return { me, error, over, load, signedOut, setMe };
}

// useCode signs in with the code of a link, if the address has one, and then
// finds out who that is.
function useCode(load) {
  const [problem, set] = useState(null);
  useEffect(() => {
    const begin = async () => {
      if (location.hash.startsWith('#sign-in=')) {
        const { signInWithCode, takeCode } = await import('./shell/signin.js');
        const code = takeCode();
        // The link is that of a new server: its first steps come first.
        if (code) await signInWithCode(code).then(() => { if (here().path === '/') go('/welcome', { replace: true }); }, (e) => set(e));
      }
      await load();
    };
    begin();
  }, []);
  return problem;
}

function Shell({ me, over, load, signedOut }) {
  const { path, query } = useLocation();
  const [open, setOpen] = useState(false);
  const [above, setAbove] = useState(null); // {part: 'run' | 'help' | 'palette', preset}
  const close = useCallback(() => setAbove(null), []);
  const unread = useUnread();
  const found = match(routes, path);
  useEffect(() => onNewRun((preset) => setAbove({ part: 'run', preset })), []);
  useEffect(() => listen({ help: () => setAbove({ part: 'help' }), palette: () => setAbove((a) => a ?? { part: 'palette' }) }), []);
  useEffect(() => setOpen(false), [path]);
  return html`<${Session.Provider} value=${{ me, reload: load }}>
    <a class="skip" href="#main" inert=${open}>To the content</a>
    <div class="shell">
      <div class="topbar" inert=${open}><${Button} kind="quiet" icon="menu" label="Menu" aria-expanded=${open} aria-controls="nav" onClick=${() => setOpen(!open)} /><a class="brand" href=${href('/')}>${title}</a><span class="grow"></span>
        <a class="button quiet only-icon" href=${href('/notifications')} aria-label=${unread ? `Notifications, ${unread} unread` : 'Notifications'}><${Bell} unread=${unread} /></a></div>
      ${open && html`<div class="scrim" onClick=${() => setOpen(false)}></div>`}
      <${Nav} ...${{ current: found?.route.nav, open, me, unread, signedOut }} close=${() => setOpen(false)} help=${() => setAbove({ part: 'help' })} />
      <main id="main" tabindex="-1" inert=${open}><${Banner} /><${Pages} ...${{ path, query, found }} /></main>
    </div>
    ${above?.part === 'help' && html`<${Later} load=${() => import('./shell/palette.js')} part="Help" onClose=${close} />`}
    ${above?.part === 'palette' && html`<${Later} load=${() => import('./shell/palette.js')} part="Palette" onClose=${close} />`}
    ${above?.part === 'run' && html`<${Later} load=${() => import('./pages/newrun.js')} part="NewRun" preset=${above.preset} onClose=${close} />`}
    ${over && html`<${Later} load=${() => import('./shell/signin.js')} part="Again" done=${load} onClose=${signedOut} />`}
    <${Toasts} /><//>`;
}

// Door is what somebody sees who is not signed in: a run, if a link leads there
// without an account, or else the way to sign in.
function Door({ load, problem }) {
  const { path } = useLocation();
  const id = /^\/runs\/([^/]+)$/.exec(path)?.[1];
  const [guest, set] = useState(undefined); // undefined: it is asked
  useEffect(() => {
    if (!id || problem) { set(false); return; }
    import('./run/guest.js').then((m) => m.admit(decodeURIComponent(id)).then((ok) => set(ok && m)), () => set(false));
  }, [id]);
  if (guest === undefined) return html`<main class="alone" id="main"><${Loading} /></main>`;
  if (guest) return html`<${guest.Guest} id=${decodeURIComponent(id)} signIn=${() => set(false)} />`;
  return html`<${Later} load=${() => import('./shell/signin.js')} part="SignIn" done=${load} problem=${problem} />`;
}

function App() {
  const { me, error, over, load, signedOut } = useMe();
  const problem = useCode(load);
  useEffect(() => { document.addEventListener('click', follow); return () => document.removeEventListener('click', follow); }, []);
  useEffect(() => error ? onBack(load) : undefined, [error]);
  if (error && !me) return html`<main class="alone" id="main"><h1>${title}</h1><${Failure} error=${error} retry=${load} /></main>`;
  if (me === undefined) return html`<main class="alone" id="main"><${Loading} /></main>`;
  if (me === null) return html`<${Door} load=${load} problem=${problem} />`;
  return html`<${Shell} ...${{ me, over, load, signedOut }} />`;
}

document.documentElement.dataset.base = base;
render(html`<${App} />`, document.getElementById('app'));
