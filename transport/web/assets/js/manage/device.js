// What concerns this browser: how pages look, and what it is told.
import { api, enc } from '../core/api.js';
import { base } from '../core/config.js';
import { html, useEffect, useId, useState } from '../core/html.js';
import { keep, kept, setTheme, theme } from '../core/keep.js';
import { href } from '../core/router.js';
import { Badge, Button, Failure } from '../core/ui.js';

const themes = [['system', 'As the system has it'], ['light', 'Light'], ['dark', 'Dark']];

export function Appearance() {
  const [now, set] = useState(theme());
  const name = useId();
  return html`<section class="panel"><h2>Colours</h2><fieldset class="plain-set" aria-label="Colours"><div class="radios">${themes.map(([v, text]) => html`<label key=${v}><input type="radio" name=${name} value=${v} checked=${now === v} onChange=${() => { setTheme(v); set(v); }} /><span>${text}</span></label>`)}</div></fieldset><p class="dim">Kept in this browser. Motion follows the system's setting.</p></section>`;
}

const bytesOf = (text) => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));

// worker registers the service worker, which shows what is pushed. The policy
// of the pages lets one such policy be made, once; it takes this one address.
let registered;
function worker() {
  const address = `${base}/sw.js`;
  const make = () => {
    const policy = window.trustedTypes?.createPolicy('oz-worker', { createScriptURL: (u) => { if (u !== address) throw new TypeError('not the worker'); return u; } });
    return policy ? policy.createScriptURL(address) : address;
  };
  registered ??= make();
  return navigator.serviceWorker.register(registered, { scope: `${base}/` });
}

async function subscribe() {
  if (await Notification.requestPermission() !== 'granted') throw new Error('The browser does not allow notifications from this address: change that in its settings for the page.');
  const { public_key: key } = await api.get('/oz/push/key');
  await worker();
  const ready = await navigator.serviceWorker.ready;
  const s = await ready.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytesOf(key) });
  const { endpoint, keys } = s.toJSON();
  keep('push', (await api.post('/oz/push/subscriptions', { endpoint, keys })).id);
}

async function unsubscribe() {
  const id = kept('push');
  if (id) await api.del(`/oz/push/subscriptions/${enc(id)}`).catch((e) => { if (e.status !== 404) throw e; });
  keep('push', null);
  const r = await navigator.serviceWorker.getRegistration(`${base}/`);
  await (await r?.pushManager.getSubscription())?.unsubscribe();
}

// Push says whether this browser is told of notifications while no page is open.
export function Push() {
  const [state, set] = useState('asking'); // asking, on, off, missing (in the browser), none (on the server)
  const [error, fail] = useState(null);
  const look = async () => {
    if (!('serviceWorker' in navigator) || !('PushManager' in window) || !('Notification' in window)) { set('missing'); return; }
    try { await api.get('/oz/push/key'); } catch (e) { if (e.status === 404) { set('none'); return; } fail(e); return; }
    const r = await navigator.serviceWorker.getRegistration(`${base}/`);
    set(await r?.pushManager.getSubscription() && kept('push') ? 'on' : 'off');
  };
  useEffect(() => { look(); }, []);
  const act = (f) => async () => { fail(null); try { await f(); } catch (e) { fail(e); } await look(); };
  const words = { asking: 'Looking…', missing: 'This browser cannot be pushed to. On an iPhone, add the page to the home screen first; elsewhere the address must begin with https.', none: 'This server pushes nothing.', on: 'This browser is told, also while no page is open.', off: 'This browser is told only while a page is open.' };
  return html`<section class="panel stack"><h2>On this device</h2><div class="row"><${Badge} look=${state === 'on' ? 'good' : 'dim'}>${state === 'on' ? 'On' : 'Off'}<//><span class="grow">${words[state]}</span>
    ${state === 'off' && html`<${Button} kind="primary" icon="bell" onClick=${act(subscribe)}>Notify me here<//>`}${state === 'on' && html`<${Button} onClick=${act(unsubscribe)}>Stop<//>`}</div>${error && html`<${Failure} error=${error} />`}
    <p class="dim">You hear when a run of yours ends, fails, or needs you. What is pushed is the run's title and state, and nothing that was said in it. To tell a program, make a <a href=${href('/integrations?tab=subscriptions')}>subscription</a>.</p></section>`;
}
