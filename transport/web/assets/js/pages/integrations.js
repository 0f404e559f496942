// What starts runs from outside, and who is told of them.
import { api, enc } from '../core/api.js';
import { plain } from '../core/format.js';
import { html, useState } from '../core/html.js';
import { go, href, useQuery } from '../core/router.js';
import { Badge, Button, Dialog, Empty, Loaded, Page, Table, Tabs, Time, useLoad } from '../core/ui.js';
import { Delete, Once, usePane } from '../manage/parts.js';
import { absolute, providers, signers } from '../manage/providers.js';
import { IntegrationForm, SubscriptionForm, WebhookForm } from '../manage/integrationforms.js';

const Enabled = ({ item }) => item.enabled ? html`<${Badge} look="good">Enabled<//>` : html`<span title=${plain(item.disabled_reason ?? '')}><${Badge} look=${item.disabled_reason ? 'bad' : 'dim'}>${item.disabled_reason ? 'Switched off' : 'Disabled'}<//></span>`;

function Services({ pane }) {
  const list = useLoad((signal) => api.get('/oz/integrations', {}, { signal }).then((d) => d.integrations), []);
  return html`<${Loaded} from=${list}>${(all) => html`<ul class="cards">${Object.entries(providers).map(([id, p]) => { const mine = all.filter((i) => i.provider === id); return html`<li class="card" key=${id}><div class="row"><span class="monogram" aria-hidden="true">${p.name[0]}</span><h2 class="grow">${p.name}</h2>${mine.length > 0 && html`<${Badge} look=${mine.some((i) => i.enabled) ? 'good' : 'dim'}>${mine.some((i) => i.enabled) ? 'Connected' : 'Disabled'}<//>`}</div><p class="dim">${p.what}</p>
      ${mine.length > 0 && html`<ul class="plain-list">${mine.map((i) => html`<li key=${i.uid} class="row"><a class="grow" href=${href(`/integrations/${enc(i.provider)}/${enc(i.uid)}`)}>${plain(i.name)}</a>${!i.enabled && html`<${Enabled} item=${i} />`}</li>`)}</ul>`}
      <div class="foot"><${Button} icon="plus" onClick=${() => pane.show(id)}>${mine.length ? 'Connect another' : 'Connect'}<span class="sr"> ${p.name}</span><//></div></li>`; })}</ul>`}<//>`;
}

const created = { name: 'Created', hide: 'phone', cell: (s) => html`<${Time} at=${s.created_at} />` };
const proofs = { token: 'Token', url_token: 'Secret in the address', signature: 'Signature' };

function Webhooks({ pane }) {
  const list = useLoad((signal) => api.get('/oz/webhooks', {}, { signal }).then((d) => d.webhooks), []);
  const make = html`<${Button} kind="primary" icon="plus" onClick=${() => pane.show('webhook')}>New webhook<//>`;
  const columns = [{ name: 'Name', cell: (w) => plain(w.name) }, { name: 'Proof', cell: (w) => w.auth_mode === 'signature' ? `Signature of ${signers.find(([k]) => k === w.provider)?.[1] ?? w.provider}` : proofs[w.auth_mode] ?? w.auth_mode },
    { name: 'Filter', hide: 'phone', cell: (w) => w.filter || w.condition ? 'Some events' : 'All events' }, { name: 'Status', cell: (w) => w.enabled && !w.has_secret ? html`<${Badge} look="need">Needs its secret<//>` : html`<${Enabled} item=${w} />` }, created];
  return html`<${Loaded} from=${list}>${(all) => all.length ? html`<div class="actions">${make}</div><${Table} label="Webhooks" columns=${columns} rows=${all} id=${(w) => w.uid} href=${(w) => href(`/integrations/webhooks/${enc(w.uid)}`)} />`
    : html`<${Empty} icon="webhook" title="No webhooks yet" action=${make}>A webhook is an address that any program can send events to: an alert, a failed build, a new ticket. Each event that passes the filter starts a run with your prompt.<//>`}<//>`;
}

function Subscriptions({ pane }) {
  const list = useLoad((signal) => api.get('/oz/subscriptions', {}, { signal }).then((d) => d.subscriptions), []);
  const make = html`<${Button} kind="primary" icon="plus" onClick=${() => pane.show('subscription')}>New subscription<//>`;
  const columns = [{ name: 'Name', cell: (s) => plain(s.name) }, { name: 'Address', wide: true, cell: (s) => plain(s.url) }, { name: 'Events', hide: 'phone', cell: (s) => s.events?.length ? String(s.events.length) : 'All' }, { name: 'Status', cell: (s) => html`<${Enabled} item=${s} />` }, created];
  return html`<${Loaded} from=${list}>${(all) => all.length ? html`<div class="actions">${make}</div><${Table} label="Subscriptions" columns=${columns} rows=${all} id=${(s) => s.uid} href=${(s) => href(`/integrations/subscriptions/${enc(s.uid)}`)} />`
    : html`<${Empty} icon="share" title="No subscriptions yet" action=${make}>A subscription tells a program of yours when runs start, end, or need somebody. Messages are signed, tried again until they arrive, and can be replayed.<//>`}<//>`;
}

function Links() {
  const list = useLoad((signal) => api.get('/oz/links', {}, { signal }).then((d) => d.links), []);
  const [gone, ask] = useState(null);
  const columns = [{ name: 'Account', cell: (l) => plain(l.name || l.account) }, { name: 'Service', cell: (l) => providers[l.provider]?.name ?? l.provider }, { name: 'Linked', cell: (l) => html`<${Time} at=${l.linked_at} />` }, { name: '', cell: (l) => html`<${Button} kind="small quiet" onClick=${() => ask(l)}>Unlink<span class="sr"> ${plain(l.name || l.account)}</span><//>` }];
  return html`<${Loaded} from=${list}>${(all) => all.length ? html`<${Table} label="Linked accounts" columns=${columns} rows=${all} id=${(l) => l.provider + l.account} />`
    : html`<${Empty} icon="link" title="No linked accounts">When you first speak to an agent from Slack, GitHub, Linear or Jira it sends you a link. Following it shows here which account is yours, so that runs act in your name.<//>`}<//>
    ${gone && html`<${Delete} what="link" name=${gone.name || gone.account} path="/oz/links" query=${{ provider: gone.provider, account: gone.account }} onClose=${() => ask(null)} done=${() => { ask(null); list.reload(); }}>What this account asks for from there starts nothing any more until it is linked again.<//>`}`;
}

const tabs = [{ id: 'services', name: 'Services' }, { id: 'webhooks', name: 'Webhooks' }, { id: 'subscriptions', name: 'Subscriptions' }, { id: 'links', name: 'Linked accounts' }];
const parts = { services: Services, webhooks: Webhooks, subscriptions: Subscriptions, links: Links };

// Secret is shown once after something was made; then one goes on to its page.
const Secret = ({ item, path, onClose }) => html`<${Dialog} title=${plain(item.name)} onClose=${onClose}><div class="stack">${item.secret && html`<${Once} label="Secret" value=${item.secret} />`}
  ${path.includes('/webhooks/') && html`<p>Send events to <code>${absolute(item.url)}</code>${item.auth_mode === 'token' && html` with the header <code>Authorization: Bearer SECRET</code>`}.</p>`}<div class="form-actions"><${Button} kind="primary" onClick=${onClose}>Go on<//></div></div><//>`;

export default function Integrations() {
  const [query, set] = useQuery();
  const pane = usePane('new');
  const [fresh, show] = useState(null); // [item, path]
  const tab = parts[query.tab] ? query.tab : 'services';
  const done = (path) => (item) => { const to = `/integrations/${path}/${enc(item.uid)}`; if (item.secret) { pane.close(); show([item, to]); } else go(to, { replace: true }); };
  const close = () => { const [, to] = fresh; show(null); go(to); };
  return html`<${Page} title="Integrations" lead="What starts runs from outside, and who is told of them.">
    <${Tabs} label="Kinds of integrations" tabs=${tabs} value=${tab} onChange=${(t) => set({ tab: t === 'services' ? '' : t }, { replace: true })} /><${parts[tab]} pane=${pane} />
    ${providers[pane.open] && html`<${IntegrationForm} provider=${pane.open} onClose=${pane.close} done=${done(pane.open)} />`}
    ${pane.open === 'webhook' && html`<${WebhookForm} onClose=${pane.close} done=${done('webhooks')} />`}${pane.open === 'subscription' && html`<${SubscriptionForm} onClose=${pane.close} done=${done('subscriptions')} />`}
    ${fresh && html`<${Secret} item=${fresh[0]} path=${fresh[1]} onClose=${close} />`}<//>`;
}
