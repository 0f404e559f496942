// The shell: who is signed in, where one is, and the page for it.
import { html, render, useEffect, useErrorBoundary, useState } from './core/html.js';
import { onSignedOut } from './core/api.js';
import { base, title } from './core/config.js';
import { follow, href, match, useLocation } from './core/router.js';
import { Session, whoami } from './core/session.js';
import { Button, Empty, Failure, Icon, Loading, Toasts } from './core/ui.js';

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

// entries of the navigation, in order.
const entries = [
  { id: 'dashboard', path: '/', name: 'Dashboard' },
  { id: 'runs', path: '/runs', name: 'Runs' },
  { id: 'agents', path: '/agents', name: 'Agents' },
  { id: 'schedules', path: '/schedules', name: 'Schedules' },
  { id: 'environments', path: '/environments', name: 'Environments' },
  { id: 'integrations', path: '/integrations', name: 'Integrations' },
  { id: 'secrets', path: '/secrets', name: 'Secrets' },
  { id: 'workers', path: '/workers', name: 'Workers' },
  { id: 'usage', path: '/usage', name: 'Usage' },
  { id: 'notifications', path: '/notifications', name: 'Notifications', icon: 'bell' },
  { id: 'settings', path: '/settings', name: 'Settings' },
];

function Nav({ current, open, close, foot }) {
  return html`<nav class=${`nav ${open ? 'open' : ''}`} aria-label="Main" id="nav" onClick=${close}>
    <a class="brand" href=${href('/')}><img src=${document.querySelector('link[rel="icon"]').href} alt="" />${title}</a>
    ${entries.map((e) => html`<a key=${e.id} class="item" href=${href(e.path)} aria-current=${current === e.id ? 'page' : undefined}><${Icon} name=${e.icon ?? e.id} />${e.name}</a>`)}
    <div class="foot">${foot}</div></nav>`;
}

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

function App() {
  const { path, query } = useLocation();
  const [me, setMe] = useState(undefined); // undefined: not known yet, null: nobody
  const [error, setError] = useState(null);
  const [open, setOpen] = useState(false);
  const load = () => whoami().then((m) => { setError(null); setMe(m); }, (e) => { if (e.status !== 401) setError(e); else setMe(null); });
  useEffect(() => { load(); return onSignedOut(() => setMe(null)); }, []);
  useEffect(() => { document.addEventListener('click', follow); return () => document.removeEventListener('click', follow); }, []);
  if (error) return html`<main><${Failure} error=${error} retry=${load} /></main>`;
  if (me === undefined) return html`<main><${Loading} /></main>`;
  if (me === null) return html`<main><${Empty} icon="user" title="Sign in">Sign in first.<//></main>`;
  const found = match(routes, path);
  return html`<${Session.Provider} value=${{ me, reload: load }}>
    <a class="skip" href="#main">To the content</a>
    <div class="shell">
      <div class="topbar"><${Button} kind="quiet" icon="menu" label="Menu" aria-expanded=${open} aria-controls="nav" onClick=${() => setOpen(!open)} /><a class="brand" href=${href('/')}>${title}</a></div>
      <${Nav} current=${found?.route.nav} open=${open} close=${() => setOpen(false)} />
      <main id="main" tabindex="-1"><${Pages} ...${{ path, query, found }} /></main>
    </div><${Toasts} /><//>`;
}

document.documentElement.dataset.base = base;
render(html`<${App} />`, document.getElementById('app'));
