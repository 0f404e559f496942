// One integration, webhook or subscription: how it is set up, and its log.
import { api, enc } from '../core/api.js';
import { plain } from '../core/format.js';
import { html, useState } from '../core/html.js';
import { go, href } from '../core/router.js';
import { Area, Badge, Button, Dialog, Empty, Failure, Form, Input, Loaded, Page, toast, useLoad } from '../core/ui.js';
import { sentence } from '../manage/automations.js';
import { Deliveries, Messages } from '../manage/deliveries.js';
import { IntegrationForm, SubscriptionForm, WebhookForm, json } from '../manage/integrationforms.js';
import { Code, Delete, Once, Owned, useChoices, usePane } from '../manage/parts.js';
import { absolute, providers, signers } from '../manage/providers.js';

// kinds: where each kind lives in the API and which tab it is on.
const kinds = {
  webhooks: { path: '/oz/webhooks', tab: 'webhooks', what: 'webhook', form: WebhookForm },
  subscriptions: { path: '/oz/subscriptions', tab: 'subscriptions', what: 'subscription', form: SubscriptionForm },
};
const kindOf = (k) => kinds[k] ?? (providers[k] ? { path: '/oz/integrations', tab: '', what: 'integration', form: IntegrationForm } : null);

function Work({ item }) {
  const { environments, agents } = useChoices('environments', 'agents');
  const c = item.config ?? {}, named = (list, id) => plain(list.find(([v]) => v === id)?.[1] ?? id);
  return html`<dt>Environment</dt><dd>${c.environment_id ? html`<a href=${href(`/environments?open=${enc(c.environment_id)}`)}>${named(environments, c.environment_id)}</a>` : 'None'}</dd><dt>Agent</dt><dd>${item.agent_uid ? html`<a href=${href(`/agents?open=${enc(item.agent_uid)}`)}>${named(agents, item.agent_uid)}</a>` : 'Quick run'}</dd>
    ${c.model_id && html`<dt>Model</dt><dd>${plain(c.model_id)}</dd>`}${c.worker_host && html`<dt>Host</dt><dd>${plain(c.worker_host)}</dd>`}`;
}

const trusts = { untrusted: 'Start runs without secrets', hold: 'Start runs that somebody lets through' };

function Setup({ item, provider }) {
  const p = providers[provider];
  const missing = p.secrets.filter((s) => s.name !== 'private_key' && s.name !== 'token' && !item.secret_names?.includes(s.name)).concat(item.secret_names?.some((n) => n === 'token' || n === 'private_key') ? [] : [p.secrets[1]]);
  return html`<section class="panel"><h2>Set-up</h2>${missing.length > 0 && html`<p class="need-text">Still missing: ${missing.map((s) => s.label.toLowerCase()).join(', ')}. Add it under Edit.</p>`}<h3>The address</h3><${Code} label="Copy the address">${absolute(item.url)}<//>
    <h3>In ${p.name}</h3><ol class="guide">${p.after.map((s) => html`<li key=${s}>${s}</li>`)}</ol></section>`;
}

// ByItself lists the automations.
const ByItself = ({ item, spec }) => spec && html`<h3>${spec.title}</h3>${item.settings?.[spec.field]?.length ? html`<ul class="plain-list">${item.settings[spec.field].map((r) => html`<li><strong>${plain(r.name ?? '')}</strong>${r.disabled && html` <span class="tag">Off</span>`} ${plain(sentence(spec, r))}</li>`)}</ul>` : html`<p class="dim">${spec.one ? 'None of its own: a mention of the agent starts a run, and an issue that is assigned to it.' : 'None: add them under Edit.'}</p>`}`;

const IntegrationFacts = ({ item, kind }) => html`<div class="columns"><${Setup} item=${item} provider=${kind} /><section class="panel"><h2>What it starts</h2><dl class="facts"><${Work} item=${item} /><dt>Strangers</dt><dd>${trusts[item.trust] ?? 'Start nothing'}</dd>
  ${Object.entries(item.settings ?? {}).filter(([k]) => k !== providers[kind].rules?.field).map(([k, v]) => html`<dt>${plain(providers[kind].settings.find((s) => s.name === k)?.label ?? k)}</dt><dd>${v === true ? 'Yes' : Array.isArray(v) ? v.map(plain).join(', ') : plain(v)}</dd>`)}
  <dt>Secrets</dt><dd>${item.secret_names?.length ? item.secret_names.map((n) => html`<span class="tag">${plain(n)}</span> `) : 'None'}</dd><dt>Belongs to</dt><dd><${Owned} scope=${item.scope} /></dd></dl>${item.prompt && html`<h3>Added to each prompt</h3><p class="prose">${plain(item.prompt)}</p>`}<${ByItself} item=${item} spec=${providers[kind].rules} /></section></div>`;

function curlOf(w) {
  const head = w.auth_mode === 'token' ? " -H 'Authorization: Bearer SECRET'" : '';
  return `curl -X POST${head} -H 'Content-Type: application/json' -d '{"level":"error"}' ${absolute(w.url)}${w.auth_mode === 'url_token' ? '/SECRET' : ''}`;
}

const WebhookFacts = ({ item: w }) => html`<div class="columns"><section class="panel"><h2>Address</h2><${Code} label="Copy the address">${absolute(w.url)}<//>
    ${w.auth_mode === 'signature' ? html`<p>Give ${plain(signers.find(([k]) => k === w.provider)?.[1] ?? w.provider)} this address and the secret; it signs what it sends.${!w.has_secret && html` <strong>The secret is missing: add it with Rotate.</strong>`}</p>` : html`<h3>Try it</h3><${Code}>${curlOf(w)}<//>`}
    ${w.filter && html`<h3>Filter</h3><pre class="block" tabindex="0"><code>${plain(JSON.stringify(w.filter, null, 2))}</code></pre>`}${w.condition && html`<h3>Condition</h3><pre class="block" tabindex="0"><code>${plain(w.condition)}</code></pre>`}</section>
  <section class="panel"><h2>What it starts</h2><dl class="facts"><${Work} item=${w} />${w.skill && html`<dt>Skill</dt><dd>${plain(w.skill)}</dd>`}${w.entity && html`<dt>About</dt><dd><code>${plain(w.entity)}</code></dd>`}<dt>At most</dt><dd>${w.rate_per_minute || 60} a minute</dd>${w.untrusted && html`<dt>Trust</dt><dd>Untrusted: no secrets</dd>`}<dt>Belongs to</dt><dd><${Owned} scope=${w.scope} /></dd></dl>
    ${w.prompt && html`<h3>Prompt</h3><p class="prose">${plain(w.prompt)}</p>`}</section></div>`;

const SubscriptionFacts = ({ item: s }) => html`<section class="panel"><h2>What it sends</h2>${s.disabled_reason && html`<${Failure} error=${{ message: s.disabled_reason }} />`}<dl class="facts"><dt>Address</dt><dd><code>${plain(s.url)}</code></dd><dt>Events</dt><dd>${s.events?.length ? s.events.map((e) => html`<span class="tag">${plain(e)}</span> `) : 'All'}</dd><dt>Belongs to</dt><dd><${Owned} scope=${s.scope} /></dd></dl></section>`;

// Try asks whether a payload would start a run.
function Try({ webhook, onClose }) {
  const [payload, set] = useState('{\n  \n}'), [answer, tell] = useState(null);
  return html`<${Dialog} side title="Test the filter" onClose=${onClose}><${Form} action="Test" cancel=${onClose} submit=${async () => { tell(null); tell(await api.post(`/oz/webhooks/${enc(webhook.uid)}/test`, { payload: json(payload, 'payload') ?? null })); }}>${(errorOf) => html`
    <p class="dim">Nothing is started. Deliveries that are stored can be rehearsed from the log.</p><${Area} label="Payload, as JSON" class="code" rows=${12} spellcheck="false" value=${payload} onInput=${set} error=${errorOf('payload')} />
    <div role="status">${answer && html`<p><${Badge} look=${answer.matches ? 'good' : 'dim'}>${answer.matches ? 'It would start a run' : 'It would start nothing'}<//> ${plain(answer.reason ?? '')}</p>`}</div>`}<//><//>`;
}

// Rotate replaces the secret; the old one is refused from then on.
function Rotate({ item, kind, onClose, done }) {
  const [secret, set] = useState(''), [fresh, show] = useState(null);
  const given = kind === 'webhooks' && item.auth_mode === 'signature';
  const path = `${kinds[kind].path}/${enc(item.uid)}/rotate`;
  if (fresh) return html`<${Dialog} title="The new secret" onClose=${done}><div class="stack">${fresh.secret ? html`<${Once} label="Secret" value=${fresh.secret} />` : html`<p>The secret is replaced.</p>`}<div class="form-actions"><${Button} kind="primary" onClick=${done}>Done<//></div></div><//>`;
  return html`<${Dialog} title="Replace the secret?" onClose=${onClose}><${Form} action="Replace it" kind="danger" cancel=${onClose} submit=${async () => show(await api.post(path, given && secret ? { secret } : {}))}>${(errorOf) => html`<p>The old one is refused at once: whoever sends with it must be told.</p>
    ${given && html`<${Input} label="Secret of the provider" type="password" autocomplete="off" value=${secret} onInput=${set} error=${errorOf('secret')} hint="Empty: one is made here." />`}`}<//><//>`;
}

export default function Integration({ params }) {
  const kind = kindOf(params.kind);
  if (!kind) return html`<${Page} title="No such integration" back=${{ href: href('/integrations'), text: 'Integrations' }}><${Empty} icon="question" title="There is nothing here">The address names a kind of integration that does not exist.<//><//>`;
  return html`<${One} kind=${kind} name=${params.kind} uid=${params.uid} />`;
}

function One({ kind, name, uid }) {
  const one = useLoad((signal) => api.get(`${kind.path}/${enc(uid)}`, {}, { signal }), [uid]);
  const pane = usePane(), [asking, ask] = useState('');
  const item = one.data, manage = item?.manageable;
  const close = () => ask('');
  const back = { href: href(`/integrations${kind.tab ? `?tab=${kind.tab}` : ''}`), text: 'Integrations' };
  const toggle = async () => { one.set(await api.put(`${kind.path}/${enc(uid)}`, { enabled: !item.enabled })); toast(item.enabled ? 'It is switched off.' : 'It is switched on.', 'good'); };
  const actions = manage && html`${name === 'webhooks' && html`<${Button} onClick=${() => ask('try')}>Test<//>`}<${Button} onClick=${toggle}>${item.enabled ? 'Disable' : 'Enable'}<//><${Button} onClick=${() => pane.show('edit')}>Edit<//>${kinds[name] && html`<${Button} onClick=${() => ask('rotate')}>Rotate<//>`}<${Button} kind="danger" onClick=${() => ask('delete')}>Delete<//>`;
  return html`<${Page} title=${item?.name ?? 'Integration'} back=${back} lead=${item && html`<${Badge} look=${item.enabled ? 'good' : 'dim'}>${item.enabled ? 'Enabled' : 'Disabled'}<//>`} actions=${actions}>
    <${Loaded} from=${one}>${() => html`${name === 'webhooks' ? html`<${WebhookFacts} item=${item} />` : name === 'subscriptions' ? html`<${SubscriptionFacts} item=${item} />` : html`<${IntegrationFacts} item=${item} kind=${name} />`}
      ${name === 'subscriptions' ? html`<${Messages} uid=${uid} manage=${manage} />` : html`<${Deliveries} path=${`${kind.path}/${enc(uid)}/deliveries`} manage=${manage} />`}`}<//>
    ${item && pane.open === 'edit' && html`<${kind.form} item=${item} provider=${name} onClose=${pane.close} done=${() => { pane.close(); one.reload(); }} />`}
    ${asking === 'try' && html`<${Try} webhook=${item} onClose=${close} />`}${asking === 'rotate' && html`<${Rotate} item=${item} kind=${name} onClose=${close} done=${() => { close(); one.reload(); }} />`}
    ${asking === 'delete' && html`<${Delete} what=${kind.what} name=${item.name} path=${`${kind.path}/${enc(uid)}`} onClose=${close} done=${() => go(`/integrations${kind.tab ? `?tab=${kind.tab}` : ''}`)}>What comes to its address is refused from now on. Runs that it has started stay.<//>`}<//>`;
}
