// Forms of integrations, webhooks and outbound subscriptions.
import { api, enc } from '../core/api.js';
import { html, useState } from '../core/html.js';
import { Area, Check, Dialog, Form, Input, Select, toast } from '../core/ui.js';
import { Rules, read, written } from './automations.js';
import { Choices, ConfigFields, Lines, More, Owner, first, optional, tidy, useChoices, useInTeam } from './parts.js';
import { providers, signers } from './providers.js';

// json reads what was typed, and fails like a refusal of the server.
export function json(text, field) {
  if (!text.trim()) return undefined;
  try { return JSON.parse(text); } catch (e) { const bad = new Error(`This is no JSON: ${e.message}`); bad.problem = { field }; throw bad; }
}
const pretty = (v) => v === undefined || v === null ? '' : JSON.stringify(v, null, 2);

const Steps = ({ steps }) => html`<ol class="guide">${steps.map((s) => html`<li key=${s}>${s}</li>`)}</ol>`;

function Setting({ s, value, put, errorOf }) {
  const error = errorOf(`settings.${s.name}`);
  if (s.type === 'check') return html`<${Check} label=${s.label} hint=${s.hint} checked=${!!value} onInput=${(v) => put(v || undefined)} />`;
  if (s.type === 'lines') return html`<${Lines} label=${s.label} hint=${s.hint} rows=${2} placeholder=${s.placeholder} value=${value} onInput=${put} error=${error} />`;
  return html`<${Input} label=${s.label} hint=${s.hint} required=${s.required} placeholder=${s.placeholder} inputmode=${s.type === 'number' ? 'numeric' : undefined} value=${value} onInput=${(v) => put(s.type === 'number' && /^\d+$/.test(v) ? Number(v) : v)} error=${error} />`;
}

// Runs are the fields of what integrations and webhooks start.
function Runs({ v, put, errorOf, required }) {
  const { agents } = useChoices('agents');
  return html`<${Area} label="Prompt" rows=${4} value=${v.prompt} onInput=${(prompt) => put({ prompt })} error=${errorOf('prompt')} hint=${required ? 'What to do with each event. The event comes as a file, marked as not to be trusted.' : 'Added to what people ask.'} />
    <${Select} label="Agent" value=${v.agent_uid} options=${optional(agents, v.agent_uid, 'None: quick run')} onInput=${(agent_uid) => put({ agent_uid })} error=${errorOf('agent_uid')} />
    <${ConfigFields} value=${v.config} set=${(config) => put({ config })} errorOf=${errorOf} />`;
}

// IntegrationForm connects a service, or changes how it is.
export function IntegrationForm({ provider, item, onClose, done }) {
  const p = providers[provider];
  const [v, set] = useState(() => ({ name: item?.name ?? p.name, enabled: item?.enabled ?? true, prompt: item?.prompt ?? '', agent_uid: item?.agent_uid ?? '', config: item?.config ?? {}, trust: item?.trust ?? '', settings: item?.settings ?? {}, secrets: {} }));
  const [rules, setRules] = useState(() => p.rules && read(item?.settings?.[p.rules.field]));
  const { agents } = useChoices('agents');
  const put = (change) => set((old) => ({ ...old, ...change }));
  const submit = async () => {
    const settings = tidy(v.settings);
    if (p.rules) { const list = written(rules, `settings.${p.rules.field}`); if (list) settings[p.rules.field] = list; else delete settings[p.rules.field]; }
    const body = { name: v.name, enabled: v.enabled, prompt: v.prompt, agent_uid: v.agent_uid, config: tidy(v.config), trust: v.trust, settings, secrets: tidy(v.secrets) };
    if (!Object.keys(body.secrets).length) delete body.secrets;
    const saved = await (item ? api.put(`/oz/integrations/${enc(item.uid)}`, body) : api.post('/oz/integrations', { ...tidy(body), enabled: v.enabled, settings, provider }));
    toast(item ? 'Saved.' : `${v.name} is connected on this side. Go on with the steps.`, 'good');
    done(saved);
  };
  const there = (s) => item?.secret_names?.includes(s.name);
  return html`<${Dialog} side title=${item ? `Edit ${p.name}` : `Connect ${p.name}`} onClose=${onClose}><${Form} action=${item ? 'Save' : `Connect ${p.name}`} cancel=${onClose} submit=${submit}>${(errorOf) => html`
    ${!item && html`<section class="guide-box"><h3>First, in ${p.name}</h3><${Steps} steps=${p.before} /></section>`}
    <${Input} label="Name" required value=${v.name} onInput=${(name) => put({ name })} error=${errorOf('name')} />
    ${p.settings.map((s) => html`<${Setting} key=${s.name} s=${s} value=${v.settings[s.name]} put=${(x) => put({ settings: { ...v.settings, [s.name]: x } })} errorOf=${errorOf} />`)}
    ${p.secrets.map((s) => html`<${s.many ? Area : Input} key=${s.name} label=${s.label} rows=${3} type=${s.many ? undefined : 'password'} autocomplete="off" spellcheck="false" value=${v.secrets[s.name]} placeholder=${there(s) ? 'Stored; type to replace it' : ''} onInput=${(x) => put({ secrets: { ...v.secrets, [s.name]: x } })} hint=${s.hint} error=${errorOf(`secrets.${s.name}`)} />`)}
    ${p.rules && html`<${Rules} spec=${p.rules} value=${rules} onInput=${setRules} errorOf=${errorOf} agents=${agents} />`}
    <${Runs} v=${v} put=${put} errorOf=${errorOf} />
    <${Select} label="People who are not on the team" value=${v.trust} options=${[['', 'Start nothing'], ['untrusted', 'Start runs without secrets'], ['hold', 'Start runs that somebody lets through']]} onInput=${(trust) => put({ trust })} error=${errorOf('trust')} />
    <${Check} label="Enabled" checked=${v.enabled} onInput=${(enabled) => put({ enabled })} />`}<//><//>`;
}

// WebhookForm makes or changes an address that anything can send events to.
// preset: {provider, name} for a new one.
export function WebhookForm({ item, preset = {}, onClose, done }) {
  const team = useInTeam();
  const [v, set] = useState(() => ({ name: preset.name ?? '', auth_mode: preset.provider ? 'signature' : 'token', provider: preset.provider ?? 'github', secret: '', condition: '', entity: '', delivery_id_header: '', rate_per_minute: 60, untrusted: false, prompt: '', skill: '', agent_uid: '', enabled: true, team, ...item, config: item?.config ?? {} }));
  const [filter, setFilter] = useState(() => pretty(item?.filter));
  const put = (change) => set((old) => ({ ...old, ...change }));
  const submit = async () => {
    const shared = { name: v.name, enabled: v.enabled, delivery_id_header: v.delivery_id_header, condition: v.condition, entity: v.entity, rate_per_minute: Number(v.rate_per_minute) || 0, untrusted: v.untrusted, prompt: v.prompt, skill: v.skill, agent_uid: v.agent_uid, config: tidy(v.config) };
    const f = json(filter, 'filter');
    const made = { ...tidy(shared), enabled: v.enabled, auth_mode: v.auth_mode, team: v.team, ...(f === undefined ? {} : { filter: f }), ...(v.auth_mode === 'signature' ? tidy({ provider: v.provider, secret: v.secret }) : {}) };
    const saved = await (item ? api.put(`/oz/webhooks/${enc(item.uid)}`, { ...shared, filter: f ?? null }) : api.post('/oz/webhooks', made));
    toast(item ? 'Saved. It counts from the next delivery on.' : 'The webhook is made.', 'good');
    done(saved);
  };
  return html`<${Dialog} side title=${item ? 'Edit webhook' : 'New webhook'} onClose=${onClose}><${Form} action=${item ? 'Save' : 'Create webhook'} cancel=${onClose} submit=${submit}>${(errorOf) => html`
    <${Input} label="Name" required value=${v.name} onInput=${(name) => put({ name })} error=${errorOf('name')} />
    ${!item && html`<${Select} label="How senders prove themselves" value=${v.auth_mode} options=${[['token', 'A token in the Authorization header'], ['url_token', 'A secret at the end of the address'], ['signature', 'A signature of the provider']]} onInput=${(auth_mode) => put({ auth_mode })} error=${errorOf('auth_mode')} />
      ${v.auth_mode === 'signature' && html`<div class="two"><${Select} label="Provider" value=${v.provider} options=${signers} onInput=${(provider) => put({ provider })} error=${errorOf('provider')} />
        <${Input} label="Its signing secret" type="password" autocomplete="off" value=${v.secret} onInput=${(secret) => put({ secret })} error=${errorOf('secret')} hint="If the provider chooses it. It may be added later, under Rotate." /></div>`}`}
    <${Runs} v=${v} put=${put} errorOf=${errorOf} required />
    <${More} title="Which events count" open=${!!filter || !!v.condition || !!v.entity}>
      <${Area} label="Filter, as JSON" class="code" rows=${4} spellcheck="false" value=${filter} onInput=${setFilter} error=${errorOf('filter')} placeholder=${'{"level": ["error", "fatal"]}'} hint="Shaped like the payload: all keys must match, of a list any value; or in, not_in, exists. Empty: all events." />
      <${Input} label="Condition" class="code" spellcheck="false" value=${v.condition} onInput=${(condition) => put({ condition })} error=${errorOf('condition')} placeholder=${'body.level == "error"'} hint="CEL over body and event." />
      <${Input} label="About what" class="code" spellcheck="false" value=${v.entity} onInput=${(entity) => put({ entity })} error=${errorOf('entity')} placeholder="data.issue.id" hint="Path in the payload. Events about the same thing go on with one run." /><//>
    <${More} title="Limits and trust" open=${v.untrusted}><div class="two"><${Input} label="At most, a minute" type="number" min="1" value=${v.rate_per_minute} onInput=${(x) => put({ rate_per_minute: x })} error=${errorOf('rate_per_minute')} />
      <${Input} label="Header that tells deliveries apart" value=${v.delivery_id_header} onInput=${(x) => put({ delivery_id_header: x })} error=${errorOf('delivery_id_header')} placeholder="X-Request-Id" /></div>
      <${Check} label="Untrusted" checked=${v.untrusted} onInput=${(untrusted) => put({ untrusted })} hint="Its runs get no secrets, and a person approves what they push." /><//>
    ${!item && html`<${Owner} what="the webhook" value=${v.team} onInput=${(t) => put({ team: t })} />`}
    <${Check} label="Enabled" checked=${v.enabled} onInput=${(enabled) => put({ enabled })} />`}<//><//>`;
}

const events = [['run_in_progress', 'Starts to work'], ['run_succeeded', 'Succeeds'], ['run_failed', 'Fails'], ['run_errored', 'Ends by an error'], ['run_blocked', 'Needs somebody'], ['run_cancelled', 'Is cancelled']];

// SubscriptionForm tells another program of what runs do.
export function SubscriptionForm({ item, onClose, done }) {
  const team = useInTeam();
  const [v, set] = useState(() => ({ name: item?.name ?? '', url: item?.url ?? '', events: item?.events ?? [], enabled: item?.enabled ?? true, team }));
  const put = (change) => set((old) => ({ ...old, ...change }));
  const submit = async () => {
    const { team: forTeam, ...body } = v;
    const saved = await (item ? api.put(`/oz/subscriptions/${enc(item.uid)}`, body) : api.post('/oz/subscriptions', { ...tidy(body), enabled: v.enabled, team: forTeam }));
    toast(item ? 'Saved.' : 'The subscription is made.', 'good');
    done(saved);
  };
  return html`<${Dialog} side title=${item ? 'Edit subscription' : 'New subscription'} onClose=${onClose}><${Form} action=${item ? 'Save' : 'Create subscription'} cancel=${onClose} submit=${submit}>${(errorOf) => html`
    <${Input} label="Name" required value=${v.name} onInput=${(name) => put({ name })} error=${errorOf('name')} />
    <${Input} label="Address" type="url" required value=${v.url} onInput=${(url) => put({ url })} error=${errorOf('url')} placeholder="https://example.com/hooks/oz" hint="Messages are signed as Standard Webhooks has it. Private addresses are refused." />
    <${Choices} label="When a run" hint="Without a choice: all of these." options=${events} value=${v.events} onInput=${(list) => put({ events: list })} error=${first(errorOf, 'events')} />
    ${!item && html`<${Owner} what="the subscription" value=${v.team} onInput=${(t) => put({ team: t })} />`}
    <${Check} label="Enabled" checked=${v.enabled} onInput=${(enabled) => put({ enabled })} />`}<//><//>`;
}
