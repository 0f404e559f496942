// The page of somebody who came by a link and has no account: one run, and
// nothing of the shell around it.
import { html } from '../core/html.js';
import { call, enc } from '../core/api.js';
import { href } from '../core/router.js';
import { title } from '../core/config.js';
import { Session } from '../core/session.js';
import { Toasts } from '../core/ui.js';
import RunPage from '../pages/run.js';
import { openLink, takeLink } from './live.js';

const nobody = { me: { principal: { type: 'guest', uid: '', display_name: 'Guest' }, teams: [] }, guest: true, reload: () => {} };

// admit opens the link in the address, if there is one, and asks whether the
// browser may see the run without an account, by that or an earlier link.
export async function admit(id) {
  const token = takeLink();
  if (token) { try { return (await openLink(token)).guest; } catch { return false; } }
  try { return (await call('GET', `/oz/runs/${enc(id)}/rights`)).guest; } catch { return false; }
}

export function Guest({ id, signIn }) {
  return html`<${Session.Provider} value=${nobody}><a class="skip" href="#main">To the content</a>
    <div class="shell guest"><div class="topbar shown"><span class="brand"><img src=${document.querySelector('link[rel="icon"]').href} alt="" />${title}</span><span class="grow"></span><a class="button" href=${href('/')} onClick=${(e) => { e.preventDefault(); signIn(); }}>Sign in</a></div>
      <main id="main" tabindex="-1"><${RunPage} params=${{ id }} /></main></div><${Toasts} /><//>`;
}
