// Signing in, with an API key or at an identity provider. The key goes to the
// server, which answers with a cookie that scripts cannot read.
import { html, useEffect, useState } from '../core/html.js';
import { api } from '../core/api.js';
import { apiBase, title } from '../core/config.js';
import { Dialog, Failure, Form, Input, Loading, useLoad, useTitle } from '../core/ui.js';

// takeCode takes the code of a sign-in link out of the address, so that it
// stays neither in sight nor in the history.
export function takeCode() {
  const code = /^#sign-in=([\w-]+)$/.exec(location.hash)?.[1];
  if (code) history.replaceState({}, '', location.pathname + location.search);
  return code;
}

export const signInWithCode = (code) => api.post('/oz/auth/session', { code });

// back is where an identity provider sends the browser afterwards.
const back = () => location.pathname + location.search;

function Ways({ done }) {
  const [key, setKey] = useState('');
  const ways = useLoad((signal) => api.get('/oz/auth/config', undefined, { signal }), []);
  useEffect(() => { if (ways.data) document.querySelector('input[name="key"]')?.focus(); }, [ways.data]);
  if (ways.error) return html`<${Failure} error=${ways.error} retry=${ways.reload} />`;
  if (!ways.data) return html`<${Loading} rows=${2} />`;
  const submit = async () => { await api.post('/oz/auth/session', { key: key.trim() }); setKey(''); await done(); };
  return html`${ways.data.oidc && html`<a class="button primary big" data-native href=${`${apiBase}/oz/auth/login?next=${encodeURIComponent(back())}`}>Sign in with ${ways.data.provider}</a>
    <p class="or"><span>or with an API key</span></p>`}
    <${Form} submit=${submit} action="Sign in" kind=${ways.data.oidc ? '' : 'primary'}>${(errorOf) => html`<${Input} label="API key" type="password" name="key" autocomplete="current-password" spellcheck="false" required value=${key}
      onInput=${setKey} error=${errorOf('key')} hint="The server printed one at its first start; others are made in Settings, under API keys." />`}<//>`;
}

// SignIn is the page for whoever is not signed in.
export function SignIn({ done, problem }) {
  useTitle('Sign in');
  return html`<main class="signin" id="main"><div class="panel"><div class="signin-head"><img src=${document.querySelector('link[rel="icon"]').href} alt="" width="44" height="44" /><h1>Sign in to ${title}</h1></div>
    ${problem && html`<${Failure} error=${problem} />`}<${Ways} done=${done} /></div></main>`;
}

// Again asks whoever's session is over to sign in, above the page they are on:
// what they were writing stays.
export function Again({ done, onClose }) {
  return html`<${Dialog} title="Your session is over" onClose=${onClose}><p>Sign in again to go on where you are. What you have written stays.</p><${Ways} done=${done} /><//>`;
}
