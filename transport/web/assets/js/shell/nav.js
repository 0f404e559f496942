// The navigation: beside the page, or on phones a drawer above it.
import { html, useEffect, useRef, useState } from '../core/html.js';
import { api } from '../core/api.js';
import { title } from '../core/config.js';
import { forget, setTheme, theme, themes } from '../core/keep.js';
import { newRun } from '../core/newrun.js';
import { href } from '../core/router.js';
import { Button, Icon } from '../core/ui.js';

// entries in order; key is the second key of their shortcut, after g.
export const entries = [
  { id: 'dashboard', path: '/', name: 'Dashboard', key: 'd' },
  { id: 'runs', path: '/runs', name: 'Runs', key: 'r' },
  { id: 'agents', path: '/agents', name: 'Agents', key: 'a' },
  { id: 'schedules', path: '/schedules', name: 'Schedules', key: 's' },
  { id: 'environments', path: '/environments', name: 'Environments', key: 'e' },
  { id: 'integrations', path: '/integrations', name: 'Integrations', key: 'i' },
  { id: 'secrets', path: '/secrets', name: 'Secrets', key: 'x' },
  { id: 'workers', path: '/workers', name: 'Workers', key: 'w' },
  { id: 'usage', path: '/usage', name: 'Usage', key: 'u' },
  { id: 'notifications', path: '/notifications', name: 'Notifications', icon: 'bell', key: 'n' },
  { id: 'settings', path: '/settings', name: 'Settings', key: ',' },
];

// Theme goes round: as the system has it, light, dark.
function Theme() {
  const [now, set] = useState(theme);
  const next = themes[(themes.indexOf(now) + 1) % themes.length];
  const names = { system: 'as the system', light: 'light', dark: 'dark' };
  return html`<${Button} kind="quiet" icon=${now === 'dark' ? 'moon' : now === 'light' ? 'sun' : 'contrast'} label=${`Colours: ${names[now]}. Change to ${names[next]}`} onClick=${() => { setTheme(next); set(next); }} />`;
}

// signOut ends the session and forgets drafts: the browser may be shared.
async function signOut() {
  await api.post('/oz/auth/logout');
  forget(['oz-theme', 'oz-keys']);
}

function Who({ me, signedOut }) {
  const who = me.principal?.display_name || me.principal?.email || me.principal?.uid || 'Signed in';
  const team = me.teams?.[0];
  return html`<div class="who"><${Icon} name="user" /><div class="grow"><strong>${who}</strong>${team && html`<span class="dim">${team.name || team.uid}</span>`}</div>
    <${Button} kind="quiet" icon="out" label="Sign out" onClick=${async () => { await signOut(); signedOut(); }} /></div>`;
}

export function Nav({ current, open, close, me, unread, signedOut, help }) {
  const ref = useRef();
  useEffect(() => {
    if (!open) return undefined;
    ref.current.querySelector('a, button').focus();
    const key = (e) => { if (e.key === 'Escape') { e.preventDefault(); close(); } };
    document.addEventListener('keydown', key);
    // The button was inert meanwhile, and has lost the focus.
    return () => { document.removeEventListener('keydown', key); document.querySelector('.topbar button')?.focus(); };
  }, [open]);
  return html`<nav ref=${ref} class=${`nav ${open ? 'open' : ''}`} aria-label="Main" id="nav" onClick=${(e) => { if (e.target.closest('a, .primary')) close(); }}>
    <a class="brand" href=${href('/')}><img src=${document.querySelector('link[rel="icon"]').href} alt="" />${title}</a>
    <${Button} kind="primary" icon="plus" onClick=${() => newRun()} aria-keyshortcuts="n">New run<//>
    ${entries.map((e) => html`<a key=${e.id} class="item" href=${href(e.path)} aria-current=${current === e.id ? 'page' : undefined}><${Icon} name=${e.icon ?? e.id} />${e.name}
      ${e.id === 'notifications' && unread > 0 && html` <span class="count">${unread > 99 ? '99+' : unread}<span class="sr"> unread</span></span>`}</a>`)}
    <div class="foot"><div class="row tools"><${Theme} /><${Button} kind="quiet" icon="keyboard" label="Keyboard shortcuts" aria-keyshortcuts="?" onClick=${help} /></div>
      <${Who} me=${me} signedOut=${signedOut} /></div></nav>`;
}
