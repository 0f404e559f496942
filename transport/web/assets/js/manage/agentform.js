// The form of a saved agent.
import { api, enc } from '../core/api.js';
import { html, useState } from '../core/html.js';
import { Area, Check, Dialog, Form, Input, Select, toast } from '../core/ui.js';
import { Choices, More, Suggested, first, harnesses, optional, sharedServers, useChoices, withServers } from './parts.js';

const strategies = [['', 'Default'], ['CREATOR', 'That of who made the run'], ['EXECUTOR', 'Its own']];

// stores that are chosen keep what they say; new ones are read and written. The
// one that learns is written to as well.
function withStores(old, uids, names, learns) {
  return uids.map((uid) => {
    const { extract, ...store } = old.find((s) => s.uid === uid) ?? { uid, access: 'read_write', instructions: `What is known in ${names.find(([n]) => n === uid)?.[1] ?? 'the store'}.` };
    return uid === learns ? { ...store, access: 'read_write', extract: true } : store;
  });
}

// own stands for the memory of its own that a new agent gets.
const own = 'own';

// AgentForm creates or changes one. agent: as the server gave it, or undefined.
export function AgentForm({ agent, onClose, done }) {
  const [v, set] = useState(() => ({
    name: agent?.name ?? '', description: agent?.description ?? '', prompt: agent?.prompt ?? '', base_model: agent?.base_model ?? '', harness: agent?.harness, environment_id: agent?.environment_id ?? '', worker_host: agent?.worker_host ?? '',
    default_runner_uid: agent?.default_runner_uid ?? '', skills: agent?.skills ?? [], secrets: (agent?.secrets ?? []).map((s) => s.name), servers: sharedServers(agent?.mcp_servers), credential_strategy: agent?.credential_strategy ?? '',
    on_behalf_of_enabled: agent?.on_behalf_of_enabled ?? false, stores: (agent?.memory?.attached_stores ?? []).map((s) => s.uid), own: true,
    learns: agent?.memory?.attached_stores?.find((s) => s.extract)?.uid ?? '',
  }));
  const c = useChoices('environments', 'models', 'skills', 'secrets', 'servers', 'workers', 'runners', 'stores');
  const put = (change) => set((old) => ({ ...old, ...change }));
  // A store that is to learn is attached with that.
  const self = agent?.memory?.auto_memory?.store?.uid;
  const learners = [['', 'No'], ...(!agent && v.own ? [[own, 'Yes: into a memory of its own']] : []), ...c.stores.map(([uid, name]) => [uid, `Yes: into ${uid === self ? 'its own memory' : name}`]), ...(v.learns && v.learns !== own && !c.stores.some(([uid]) => uid === v.learns) ? [[v.learns, v.learns]] : [])];
  const learn = (uid) => put({ learns: uid, ...(uid && uid !== own && !v.stores.includes(uid) ? { stores: [...v.stores, uid] } : {}) });
  const submit = async () => {
    const memory = { attached_stores: withStores(agent?.memory?.attached_stores ?? [], v.stores, c.stores, v.learns), ...(agent ? {} : { auto_memory: { enabled: v.own, ...(v.own && v.learns === own ? { extract: true } : {}) } }) };
    const body = { name: v.name, description: v.description, prompt: v.prompt, base_model: v.base_model, harness: v.harness ?? (agent?.harness ? {} : undefined), environment_id: v.environment_id, worker_host: v.worker_host, default_runner_uid: v.default_runner_uid,
      skills: v.skills, secrets: v.secrets.map((name) => ({ name })), mcp_servers: withServers(agent?.mcp_servers, v.servers, c.servers), credential_strategy: v.credential_strategy, on_behalf_of_enabled: v.on_behalf_of_enabled, memory };
    const saved = agent ? await api.put(`/agent/identities/${enc(agent.uid)}`, body) : await api.post('/agent/identities', Object.fromEntries(Object.entries(body).filter(([, x]) => x !== '' && x !== undefined)));
    toast(agent ? 'Saved. Runs that start from now on get it.' : `${v.name} is made.`, 'good');
    done(saved);
  };
  return html`<${Dialog} side title=${agent ? 'Edit agent' : 'New agent'} onClose=${onClose}><${Form} action=${agent ? 'Save' : 'Create agent'} cancel=${onClose} submit=${submit}>${(errorOf) => html`
    <${Input} label="Name" required value=${v.name} onInput=${(name) => put({ name })} error=${errorOf('name')} />
    <${Input} label="Description" value=${v.description} onInput=${(description) => put({ description })} error=${errorOf('description')} hint="What to call it for." />
    <${Area} label="Standing instructions" rows=${6} value=${v.prompt} onInput=${(prompt) => put({ prompt })} error=${first(errorOf, 'prompt', 'base_prompt')} hint="It has them in each of its runs, before what is asked then." />
    <${Select} label="Environment" value=${v.environment_id} options=${optional(c.environments, v.environment_id)} onInput=${(environment_id) => put({ environment_id })} error=${errorOf('environment_id')} />
    <div class="two"><${Select} label="Model" value=${v.base_model} options=${optional(c.models, v.base_model, 'Default')} onInput=${(base_model) => put({ base_model })} error=${first(errorOf, 'base_model', 'model_id')} />
      <${Select} label="Agent program" value=${v.harness?.type} options=${harnesses} onInput=${(type) => put({ harness: type ? { ...v.harness, type } : undefined })} error=${first(errorOf, 'harness', 'harness.type')} /></div>
    <${Choices} label="Skills" options=${c.skills} value=${v.skills} onInput=${(skills) => put({ skills })} error=${errorOf('skills')} empty="No skills were found in the environments." />
    <${More} title="Secrets, tools and memory" open=${v.secrets.length > 0 || v.servers.length > 0 || v.stores.length > 0}>
      <${Choices} label="Secrets" options=${c.secrets} value=${v.secrets} onInput=${(secrets) => put({ secrets })} error=${errorOf('secrets')} empty="There are no secrets yet." />
      <${Choices} label="MCP servers" options=${c.servers} value=${v.servers} onInput=${(servers) => put({ servers })} error=${errorOf('mcp_servers')} empty="There are no shared servers yet: add them in the settings." />
      <${Choices} label="Memory stores" options=${c.stores} value=${v.stores} onInput=${(stores) => put({ stores, ...(v.learns === own || stores.includes(v.learns) ? {} : { learns: '' }) })} error=${first(errorOf, 'memory', 'memory.attached_stores')} empty="There are no shared stores yet: add them in the settings." />
      ${!agent && html`<${Check} label="A memory of its own" checked=${v.own} onInput=${(on) => put({ own: on, ...(on || v.learns !== own ? {} : { learns: '' }) })} hint="It keeps what helps it in later runs." />`}
      <${Select} label="Learns from its conversations" value=${v.learns} options=${learners} onInput=${learn} error=${errorOf('memory.auto_memory.extract')} hint="When one has ended, its model is asked what is worth keeping, on the run's account." /><//>
    <${More} title="Host and credentials" open=${!!v.worker_host || !!v.default_runner_uid || !!v.credential_strategy || v.on_behalf_of_enabled}>
      <${Suggested} label="Host" value=${v.worker_host} options=${c.workers} onInput=${(worker_host) => put({ worker_host })} error=${errorOf('worker_host')} hint="The ID of a worker. Empty: any that is free." />
      <${Select} label="Runner" value=${v.default_runner_uid} options=${optional(c.runners, v.default_runner_uid, 'Default')} onInput=${(default_runner_uid) => put({ default_runner_uid })} error=${errorOf('default_runner_uid')} />
      <${Select} label="Access to repositories" value=${v.credential_strategy} options=${optional(strategies.slice(1), v.credential_strategy, 'Default')} onInput=${(credential_strategy) => put({ credential_strategy })} error=${errorOf('credential_strategy')} />
      <${Check} label="May act on behalf of people" checked=${v.on_behalf_of_enabled} onInput=${(on_behalf_of_enabled) => put({ on_behalf_of_enabled })} /><//>`}<//><//>`;
}
