// The kinds of things that the settings have lists of.
import { api, enc } from '../core/api.js';
import { number, plain } from '../core/format.js';
import { html, useState } from '../core/html.js';
import { Area, Button, Form, Input, Loaded, Select, Table, Time, toast, useLoad } from '../core/ui.js';
import { json } from './integrationforms.js';
import { Delete, Lines, More, first, optional, tidy, useChoices } from './parts.js';

const Named = ({ value, put, errorOf }) => html`<${Input} label="Name" required value=${value.name} onInput=${(name) => put({ name })} error=${errorOf('name')} /><${Input} label="Description" value=${value.description} onInput=${(description) => put({ description })} error=${errorOf('description')} />`;
const described = { name: 'Description', wide: true, cell: (i) => plain(i.description ?? '') };
const changed = { name: 'Changed', hide: 'phone', cell: (i) => i.updated_at ? html`<${Time} at=${i.updated_at} />` : '' };
const base = (i) => ({ name: i.name, description: i.description ?? '' });
const text = (field, label, hint, rows = 10) => ({ value, put, errorOf }) => html`<${Named} ...${{ value, put, errorOf }} /><${Area} label=${label} required rows=${rows} value=${value[field]} onInput=${(v) => put({ [field]: v })} error=${errorOf(field)} hint=${hint} />`;

export const prompts = { path: '/oz/prompts', list: 'prompts', what: 'prompt', a: 'a prompt', blank: { name: '', description: '', prompt: '' }, read: (i) => ({ ...base(i), prompt: i.prompt }), fields: text('prompt', 'Prompt', 'Runs can start from it: --saved-prompt on the command line, @name in an integration.'),
  body: ({ name, description, prompt }) => ({ name, description, prompt }), columns: [described, changed], teaches: 'A saved prompt is a task that you ask for again and again, written down once.', warning: 'Runs that start from its name fail from now on.' };

export const rules = { path: '/oz/rules', list: 'rules', what: 'rule', a: 'a rule', blank: { name: '', description: '', rule: '' }, read: (i) => ({ ...base(i), rule: i.rule }), fields: text('rule', 'Rule', 'What every run of its owner has to keep to, beside the rules in repositories.'),
  body: ({ name, description, rule }) => ({ name, description, rule }), columns: [described, changed], teaches: 'Rules hold for all runs: conventions, what to leave alone, how to write a pull request.', warning: 'Runs that start from now on do not know it.' };

const emptyServer = { command: '', args: [], env: '', url: '', headers: '' };
function ServerFields({ value: v, put, errorOf }) {
  const of = (...n) => first(errorOf, ...n.flatMap((x) => [`config.${x}`, x]));
  return html`<${Named} value=${v} put=${put} errorOf=${errorOf} />
    <${Select} label="It is" value=${v.kind} options=${[['url', 'A server with an address'], ['command', 'A program that the run starts']]} onInput=${(kind) => put({ kind })} error=${errorOf('config', true)} />
    ${v.kind === 'url' ? html`<${Input} label="Address" type="url" required value=${v.url} onInput=${(url) => put({ url })} error=${of('url')} placeholder="https://mcp.example.com/mcp" /><${Area} label="Headers, as JSON" class="code" rows=${3} spellcheck="false" value=${v.headers} onInput=${(headers) => put({ headers })} error=${of('headers')} placeholder=${'{"Authorization": "Bearer {{TOKEN}}"}'} hint="In values, the name of a secret in {{ }} stands for it: never type the secret itself." />`
      : html`<${Input} label="Command" class="code" required value=${v.command} onInput=${(command) => put({ command })} error=${of('command')} placeholder="npx" /><${Lines} label="Arguments" class="code" rows=${3} value=${v.args} onInput=${(args) => put({ args })} error=${of('args')} hint="One a line." /><${Area} label="Variables, as JSON" class="code" rows=${3} spellcheck="false" value=${v.env} onInput=${(env) => put({ env })} error=${of('env')} placeholder=${'{"TOKEN": "{{GITHUB_TOKEN}}"}'} hint="In values, the name of a secret in {{ }} stands for it: never type the secret itself." />`}
    <${More} title="Which tools" open=${v.allowed_tools?.length > 0 || v.denied_tools?.length > 0}><${Lines} label="Only these tools" class="code" rows=${2} value=${v.allowed_tools} onInput=${(allowed_tools) => put({ allowed_tools })} error=${of('allowed_tools')} hint="One a line; a * at the end stands for any rest." /><${Lines} label="Not these tools" class="code" rows=${2} value=${v.denied_tools} onInput=${(denied_tools) => put({ denied_tools })} error=${of('denied_tools')} /><//>`;
}
const show = (o) => o && Object.keys(o).length ? JSON.stringify(o, null, 2) : '';
export const servers = { path: '/oz/mcp-servers', list: 'mcp_servers', what: 'MCP server', a: 'an MCP server', icon: 'integrations', blank: { name: '', description: '', kind: 'url', ...emptyServer, rest: {} }, fields: ServerFields,
  read: (i) => ({ ...base(i), ...emptyServer, ...i.config, kind: i.config.url ? 'url' : 'command', env: show(i.config.env), headers: show(i.config.headers), rest: i.config }),
  body: (v) => { const { command, args, env, url, headers, ...rest } = v.rest; return { name: v.name, description: v.description, config: tidy({ ...rest, allowed_tools: v.allowed_tools, denied_tools: v.denied_tools, ...(v.kind === 'url' ? { url: v.url, headers: json(v.headers, 'config.headers') } : { command: v.command, args: v.args, env: json(v.env, 'config.env') }) }) }; },
  columns: [{ name: 'Where', wide: true, cell: (i) => html`<code>${plain(i.config.url || [i.config.command, ...(i.config.args ?? [])].join(' '))}</code>` }, changed], teaches: 'An MCP server gives agents tools: an issue tracker, a database, a browser. Shared here, any run, agent or integration can choose it.', warning: 'Agents and schedules that name it fail until you choose another.' };

function RunnerFields({ value: v, put, errorOf }) {
  const of = (n) => first(errorOf, `config.${n}`, n);
  return html`<${Input} label="Name" required value=${v.name} onInput=${(name) => put({ name })} error=${errorOf('name')} /><${Input} label="Description" maxlength="240" value=${v.description} onInput=${(description) => put({ description })} error=${of('description')} />
    <div class="two"><${Input} label="Processors" type="number" min="0" step="any" value=${v.vcpus} onInput=${(vcpus) => put({ vcpus })} error=${of('vcpus')} /><${Input} label="Memory, GB" type="number" min="0" step="any" value=${v.memory_gb} onInput=${(memory_gb) => put({ memory_gb })} error=${of('memory_gb')} />
      <${Select} label="System" value=${v.os} options=${optional([['linux', 'Linux'], ['macos', 'macOS']], v.os, 'Default')} onInput=${(os) => put({ os })} error=${of('os')} /><${Select} label="Processor type" value=${v.arch} options=${optional([['x86-64', 'x86-64'], ['aarch64', 'ARM 64']], v.arch === 'auto' ? '' : v.arch, 'Any')} onInput=${(arch) => put({ arch })} error=${of('arch')} /></div>
    <${Input} label="Image" class="code" value=${v.docker_image} onInput=${(docker_image) => put({ docker_image })} error=${of('docker_image')} /><${Lines} label="Setup commands" class="code" rows=${3} value=${v.setup_commands} onInput=${(setup_commands) => put({ setup_commands })} error=${of('setup_commands')} />`;
}
export const runners = { path: '/oz/runners', list: 'runners', what: 'runner', a: 'a runner', icon: 'workers', blank: { name: '', description: '', vcpus: '', memory_gb: '', os: '', arch: '', docker_image: '', setup_commands: [] }, read: (i) => ({ vcpus: '', memory_gb: '', ...i.config, name: i.name }), fields: RunnerFields,
  body: ({ name, team, vcpus, memory_gb, ...rest }) => ({ name, config: tidy({ ...rest, vcpus: Number(vcpus) || undefined, memory_gb: Number(memory_gb) || undefined }) }),
  columns: [{ name: 'Size', cell: (i) => i.config.vcpus ? `${i.config.vcpus} processors, ${i.config.memory_gb} GB` : 'Default' }, { name: 'System', hide: 'phone', cell: (i) => plain([i.config.os, i.config.arch].filter(Boolean).join(', ') || 'Default') }, changed], teaches: 'A runner is a size and kind of machine that environments and agents ask for: processors, memory, image.', warning: 'Environments and agents that name it fail until you choose another.' };

const levels = [['', 'The agent decides'], ['always_allow', 'Always allowed'], ['always_ask', 'Always asks'], ['never', 'Never']];
const acts = { apply_diffs: 'Change files', read_files: 'Read files', create_plans: 'Make plans', execute_commands: 'Run commands', interact_with_commands: 'Type into commands', call_mcp_tools: 'Use MCP tools' };
function ProfileFields({ value: v, put, errorOf }) {
  const { models } = useChoices('models');
  const p = v.permissions, set = (c) => put({ permissions: { ...p, ...c } }), of = (n) => first(errorOf, `permissions.${n}`, n);
  return html`<${Named} value=${v} put=${put} errorOf=${errorOf} /><${Select} label="Model" value=${v.base_model} options=${optional(models, v.base_model, 'Default')} onInput=${(base_model) => put({ base_model })} error=${errorOf('base_model')} />
    <div class="two">${Object.entries(acts).map(([k, label]) => html`<${Select} key=${k} label=${label} value=${p[k] === 'agent_decides' ? '' : p[k]} options=${levels} onInput=${(x) => set({ [k]: x || undefined })} error=${of(k)} />`)}</div>
    <${Lines} label="Commands that are never run" class="code" rows=${4} value=${p.command_denylist} onInput=${(command_denylist) => set({ command_denylist })} error=${of('command_denylist')} hint="Regular expressions (RE2) for whole commands, one a line." /><${Lines} label="Commands that are always allowed" class="code" rows=${2} value=${p.command_allowlist} onInput=${(command_allowlist) => set({ command_allowlist })} error=${of('command_allowlist')} />
    <${More} title="Tools" open=${p.tool_allowlist?.length > 0 || p.tool_denylist?.length > 0}><${Lines} label="Tools that are never used" class="code" rows=${2} value=${p.tool_denylist} onInput=${(tool_denylist) => set({ tool_denylist })} error=${of('tool_denylist')} /><${Lines} label="Tools that are always allowed" class="code" rows=${2} value=${p.tool_allowlist} onInput=${(tool_allowlist) => set({ tool_allowlist })} error=${of('tool_allowlist')} /><//>`;
}
export const profiles = { path: '/oz/agent-profiles', list: 'agent_profiles', what: 'profile', a: 'a profile', icon: 'agents', blank: { name: '', description: '', base_model: '', permissions: { command_denylist: ['wget(\\s.*)?', 'curl(\\s.*)?', 'rm(\\s.*)?', 'eval(\\s.*)?'] } }, read: (i) => ({ ...base(i), base_model: i.base_model ?? '', permissions: i.permissions ?? {} }), fields: ProfileFields,
  body: ({ name, description, base_model, permissions }) => ({ name, description, base_model, permissions: { ...permissions, command_denylist: permissions.command_denylist ?? [] } }), columns: [described, changed], locked: (i) => i.built_in, teaches: 'A profile says what agents may do by themselves and what they must ask for.', warning: 'Runs that name it fail until you choose another.' };

const wires = [['openai', 'OpenAI'], ['anthropic', 'Anthropic'], ['gemini', 'Gemini']];
function EndpointFields({ value: v, put, errorOf }) {
  const { secrets } = useChoices('secrets');
  return html`<${Named} value=${v} put=${put} errorOf=${errorOf} /><${Select} label="Speaks like" value=${v.wire} options=${wires} onInput=${(wire) => put({ wire })} error=${errorOf('wire')} />
    <${Input} label="Address" type="url" required value=${v.base_url} onInput=${(base_url) => put({ base_url })} error=${errorOf('base_url')} placeholder="https://llm.example.com/v1" hint="With the version for OpenAI, without it for the others." /><${Select} label="Key" value=${v.secret} options=${optional(secrets, v.secret, 'It wants none')} onInput=${(secret) => put({ secret })} error=${errorOf('secret')} hint="A secret of the team." />
    <${Lines} label="Models" class="code" required rows=${3} value=${v.models} onInput=${(models) => put({ models })} error=${errorOf('models')} placeholder="llama-3.3-70b" hint="IDs, one a line; a * at the end stands for any rest." />`;
}
export const endpoints = { path: '/oz/model-endpoints', list: 'model_endpoints', what: 'endpoint', a: 'an endpoint', icon: 'usage', shared: false, change: false, blank: { name: '', description: '', wire: 'openai', base_url: '', secret: '', models: [] }, read: (i) => ({ ...base(i), wire: i.wire, base_url: i.base_url, secret: i.secret ?? '', models: i.models }), fields: EndpointFields,
  body: ({ team, ...v }) => tidy(v), columns: [{ name: 'Address', wide: true, cell: (i) => plain(i.base_url) }, { name: 'Models', cell: (i) => i.models.map(plain).join(', ') }], teaches: 'Models at an address of your own: a gateway, a private deployment. Their IDs can be chosen like the others\'.', warning: 'Runs that use its models fail from now on.' };

// Memories are what a store holds.
function Memories({ item }) {
  const list = useLoad((signal) => api.get(`/oz/memory-stores/${enc(item.uid)}/memories`, {}, { signal }).then((d) => d.memories), [item.uid]);
  const agents = useLoad((signal) => api.get(`/oz/memory-stores/${enc(item.uid)}/agents`, {}, { signal }).then((d) => d.agents), [item.uid]);
  const [edit, open] = useState(null), [gone, ask] = useState(null);
  const path = `/oz/memory-stores/${enc(item.uid)}/memories`;
  const save = async () => { const body = { content: edit.content, reason: edit.reason, version: edit.version }; await (edit.uid ? api.put(`${path}/${enc(edit.uid)}`, body) : api.post(path, body)); toast('Remembered.', 'good'); open(null); list.reload(); };
  return html`<section class="stack"><h3>Used by</h3><p>${agents.data?.length ? agents.data.map((a) => plain(a.name)).join(', ') : html`<span class="dim">No agent yet: attach it to one in its form.</span>`}</p><div class="row"><h3 class="grow">What it holds</h3>${!edit && html`<${Button} kind="small" icon="plus" onClick=${() => open({ content: '', reason: '' })}>Add<//>`}</div>
    ${edit && html`<${Form} action="Remember" cancel=${() => open(null)} submit=${save}>${(errorOf) => html`<${Area} label="What to remember" required rows=${3} value=${edit.content} onInput=${(content) => open({ ...edit, content })} error=${errorOf('content')} /><${Input} label="Why" required value=${edit.reason} onInput=${(reason) => open({ ...edit, reason })} error=${errorOf('reason')} />`}<//>`}
    <${Loaded} from=${list} rows=${2}>${(all) => all.length ? html`<ul class="plain-list memories">${all.map((m) => html`<li key=${m.uid} class="row"><div class="grow"><p class="prose">${plain(m.content)}</p><p class="dim">${plain(m.reason ?? '')} · version ${number(m.version)}, <${Time} at=${m.written_at} /></p></div><${Button} kind="small quiet" onClick=${() => open({ ...m, reason: m.reason ?? '' })}>Edit<span class="sr"> memory</span><//><${Button} kind="small quiet" icon="close" label="Forget this memory" onClick=${() => ask(m)} /></li>`)}</ul>` : html`<p class="dim">Nothing yet. Agents write here what will help them later; you can, too.</p>`}<//>
    ${gone && html`<${Delete} what="memory" name="this memory" path=${`${path}/${enc(gone.uid)}`} onClose=${() => ask(null)} done=${() => { ask(null); list.reload(); }}>${plain(gone.content).slice(0, 200)}<//>`}</section>`;
}
export const stores = { path: '/oz/memory-stores', list: 'memory_stores', what: 'memory store', a: 'a memory store', blank: { name: '', description: '' }, read: base, fields: Named, body: ({ name, description }) => ({ name, description }), columns: [described, changed], extra: Memories, teaches: 'What agents learn and keep: facts about a project, decisions, what people prefer. Several agents can share a store.', warning: 'All that it holds is lost, and agents that are attached to it do without.' };

// Catalogue is all models that runs can name.
export function Catalogue() {
  const list = useLoad((signal) => api.get('/agent/models', {}, { signal }), []);
  const columns = [{ name: 'Model', cell: (m) => html`${plain(m.display_name || m.id)}${m.disable_reason && html` <span class="tag">${plain(m.disable_reason.toLowerCase().replaceAll('_', ' '))}</span>`}` }, { name: 'ID', cell: (m) => html`<code>${plain(m.id)}</code>` }, { name: 'Provider', hide: 'phone', cell: (m) => plain(m.provider) }, { name: 'Context', num: true, hide: 'phone', cell: (m) => number(m.context_window) }, { name: 'In, per million', num: true, cell: (m) => m.price ? `$${m.price.input_usd}` : '' }, { name: 'Out, per million', num: true, cell: (m) => m.price ? `$${m.price.output_usd}` : '' }];
  return html`<${Loaded} from=${list}>${(d) => d.models.length ? html`<p class="dim">Runs that name none use ${d.default_model_id ? html`<code>${plain(d.default_model_id)}</code>` : 'the first'}.</p><${Table} label="Models" columns=${columns} rows=${d.models} id=${(m) => m.id} />` : html`<p class="no-match">There is no model yet: start the server with the key of a provider, or add an endpoint below.</p>`}<//>`;
}
