// What the management pages share: panes whose name is in the address, lists
// that are searched, fields for what all runs can be given.
import { api } from '../core/api.js';
import { plain } from '../core/format.js';
import { html, useEffect, useId, useRef, useState } from '../core/html.js';
import { here, href, useQuery } from '../core/router.js';
import { useSession } from '../core/session.js';
import { Area, Confirm, Copy, Field, Icon, Input, Select, toast, useChosen } from '../core/ui.js';

// usePane keeps which pane is open in the address (?open=new, ?open=ID), so
// that Back closes it and a link leads to it. name: of the parameter.
export function usePane(name = 'open') {
  const [query, set] = useQuery();
  return { open: query[name], show: (id) => set({ [name]: id }), close: () => set({ [name]: '' }, { replace: true }) };
}

// paneHref is the address of this page with a pane.
export function paneHref(id, name = 'open') {
  const { path, query } = here();
  query.set(name, id);
  return href(`${path}?${query}`);
}

// Search narrows a list that is there as a whole.
export function Search({ label, value, onInput, children }) {
  const id = useId();
  return html`<div class="toolbar" role="search"><label class="seek" for=${id}><span class="sr">${label}</span><${Icon} name="search" size=${16} />
    <input id=${id} type="search" placeholder=${label} value=${value ?? ''} onInput=${(e) => onInput(e.target.value)} /></label>${children}</div>`;
}

// Filter is a select of the toolbar: its label is for listeners, its first
// option says what it filters by.
export const Filter = ({ label, value, options, onInput }) => html`<select ref=${useChosen(value ?? '')} class="filter" aria-label=${label} onChange=${(e) => onInput(e.target.value)}>
  ${options.map(([v, text]) => html`<option value=${v} selected=${v === (value ?? '')}>${text}</option>`)}</select>`;

// matches reports that each word of a search is in one of the texts.
export function matches(search, ...texts) {
  const all = texts.flat().join('\n').toLowerCase();
  return (search ?? '').toLowerCase().split(/\s+/).every((w) => all.includes(w));
}

export const NoMatch = ({ clear }) => html`<p class="no-match">Nothing matches. <button type="button" class="as-link" onClick=${clear}>Show all</button></p>`;

// PageTabs are links between pages that belong together: [path, name] pairs.
export const PageTabs = ({ label, tabs, current }) => html`<nav class="tabs page-tabs" aria-label=${label}>${tabs.map(([path, name]) => html`<a key=${path} href=${href(path)} aria-current=${path === current ? 'page' : undefined}>${name}</a>`)}</nav>`;

// Owned says whose something is.
export const Owned = ({ scope }) => scope ? html`<span class="tag">${String(scope.type).toLowerCase() === 'team' ? 'Team' : 'Personal'}</span>` : null;

// Owner asks whose something new is to be, where there is a choice. value: true
// for the team's.
export function Owner({ value, onInput, what }) {
  const { me } = useSession();
  if (!me.teams?.length) return null;
  return html`<${Select} label="Belongs to" value=${value ? 'team' : 'me'} options=${[['team', 'The team'], ['me', 'Me']]} onInput=${(v) => onInput(v === 'team')}
    hint=${value ? `Everyone in the team can use ${what}.` : `Only you can use ${what}.`} />`;
}

// useInTeam says whether something new belongs to the team unless asked otherwise.
export function useInTeam() { return (useSession().me.teams?.length ?? 0) > 0; }

// Lines edits a list of texts, one a line.
export function Lines({ value, onInput, ...rest }) {
  const [text, set] = useState((value ?? []).join('\n'));
  return html`<${Area} ...${rest} value=${text} onInput=${(t) => { set(t); onInput(t.split('\n').map((l) => l.trim()).filter(Boolean)); }} />`;
}

// Choices is a group of boxes to tick. What is chosen but no option any more
// stays, so that saving does not lose what the person cannot see.
export function Choices({ label, hint, options, value, onInput, error, empty }) {
  const id = useId();
  const all = [...options, ...(value ?? []).filter((v) => !options.some(([o]) => o === v)).map((v) => [v, v])];
  const flip = (v, on) => onInput(on ? [...(value ?? []), v] : value.filter((o) => o !== v));
  return html`<fieldset class="ticks" aria-describedby=${error ? `${id}-error` : undefined}><legend>${label}</legend>${hint && html`<p class="hint">${hint}</p>`}
    ${all.length ? html`<div class="ticks-list">${all.map(([v, text]) => html`<label key=${v}><input type="checkbox" checked=${(value ?? []).includes(v)} onChange=${(e) => flip(v, e.target.checked)} /><span>${plain(text)}</span></label>`)}</div>`
      : html`<p class="hint">${empty ?? 'There are none.'}</p>`}
    ${error && html`<p class="field-error" id=${`${id}-error`}>${plain(error)}</p>`}</fieldset>`;
}

// More folds what is seldom needed. open: whether it is unfolded at first.
export const More = ({ title = 'More', open, children }) => html`<details class="unfold" open=${open}><summary>${title}</summary><div class="stack">${children}</div></details>`;

// Suggested is an input with suggestions: [value, text] pairs.
export function Suggested({ options, ...rest }) {
  const id = useId();
  return html`<${Input} ...${rest} list=${id} autocomplete="off" /><datalist id=${id}>${options.map(([v, text]) => html`<option value=${v}>${text}</option>`)}</datalist>`;
}

// Once shows a secret that is told this one time.
export const Once = ({ label, value, children }) => html`<div class="once" role="status"><p><strong>${label}</strong> ${children ?? 'Copy it now: it is not shown again.'}</p>
  <div class="row"><code class="grow">${value}</code><${Copy} text=${value} label=${`Copy ${label.toLowerCase()}`} /></div></div>`;

// Code is something to copy into a terminal or a form elsewhere.
export const Code = ({ children, label = 'Copy' }) => html`<div class="code-box"><pre tabindex="0"><code>${children}</code></pre><${Copy} text=${children} label=${label} /></div>`;

// Delete asks, deletes, tells, and goes on with done.
export const Delete = ({ what, name, path, query, children, onClose, done }) => html`<${Confirm} title=${`Delete ${plain(name)}?`} action=${`Delete ${what}`} onClose=${onClose}
  onConfirm=${async () => { await api.del(path, query); toast(`Deleted ${name}`, 'good'); done(); }}>${children}<//>`;

// first gives the error of the first of several names by which the server may
// call a field.
export const first = (errorOf, ...names) => names.map(errorOf).find(Boolean) ?? '';

const none = { environments: [], models: [], agents: [], skills: [], secrets: [], servers: [], workers: [], profiles: [], runners: [], stores: [] };
const sources = {
  environments: ['/agent/environments', (d) => d.environments.map((e) => [e.uid, e.config.name || e.uid])],
  models: ['/agent/models', (d) => d.models.filter((m) => !m.disable_reason).map((m) => [m.id, m.display_name || m.id])],
  agents: ['/agent/identities', (d) => d.agents.map((a) => [a.uid, a.name])],
  skills: ['/agent', (d) => d.agents.flatMap((a) => a.variants.filter((v) => !v.error).map((v) => [v.id, a.name]))],
  secrets: ['/oz/secrets', (d) => [...new Set(d.secrets.map((s) => s.name))].map((n) => [n, n])],
  servers: ['/oz/mcp-servers', (d) => d.mcp_servers.map((s) => [s.uid, s.name])],
  workers: ['/oz/workers', (d) => [...new Set(d.workers.map((w) => w.id))].map((w) => [w, w])],
  profiles: ['/oz/agent-profiles', (d) => d.agent_profiles.map((p) => [p.uid, p.name])],
  runners: ['/oz/runners', (d) => d.runners.map((r) => [r.uid, r.name])],
  stores: ['/oz/memory-stores', (d) => d.memory_stores.map((s) => [s.uid, s.name])],
};

// useChoices loads what a form lets people choose from. A list that cannot be
// read is empty: the form still works, and the server judges what is sent.
export function useChoices(...names) {
  const [got, set] = useState(none);
  useEffect(() => {
    const c = new AbortController();
    for (const name of names) {
      const [path, pairs] = sources[name];
      api.get(path, {}, { signal: c.signal }).then((d) => set((g) => ({ ...g, [name]: pairs(d) })), () => {});
    }
    return () => c.abort();
  }, []);
  return got;
}

export const harnesses = [['', 'Default'], ['oz', 'Oz (built in)'], ['claude', 'Claude Code'], ['codex', 'Codex'], ['gemini', 'Gemini CLI'], ['opencode', 'OpenCode']];

// optional puts "none" before the options, and keeps a value that is no option
// (any more) in sight.
export const optional = (options, value, none = 'None') => [['', none], ...options, ...(value && !options.some(([o]) => o === value) ? [[value, value]] : [])];

// sharedServers are those of a configuration's MCP servers that are shared ones,
// by their uid.
export const sharedServers = (all) => Object.values(all ?? {}).map((s) => s.warp_id).filter(Boolean);

// withServers is the configuration with these shared servers; those that are
// written out in it stay as they are, and those that were there keep their names.
export function withServers(all, uids, names) {
  const entries = Object.entries(all ?? {}), old = new Map(entries.map(([name, s]) => [s.warp_id, name]));
  return Object.fromEntries([...entries.filter(([, s]) => !s.warp_id), ...uids.map((u) => [old.get(u) ?? names.find(([n]) => n === u)?.[1] ?? u, { warp_id: u }])]);
}

// ConfigFields are the fields of a run's configuration (AmbientAgentConfig):
// where, with what and by which agent program it works. Fields that it does not
// show keep their values. skill: ask for one, too.
export function ConfigFields({ value, set, errorOf, skill }) {
  const c = useChoices('environments', 'models', 'secrets', 'servers', 'workers', 'skills');
  const put = (change) => set({ ...value, ...change });
  const of = (...names) => first(errorOf, ...names.flatMap((n) => [n, `config.${n}`, `agent_config.${n}`]));
  const limit = (name, v) => put({ limits: { ...value.limits, [name]: v === '' ? undefined : Number(v) } });
  return html`
    <${Select} label="Environment" value=${value.environment_id} options=${optional(c.environments, value.environment_id)} onInput=${(v) => put({ environment_id: v })} error=${of('environment_id')}
      hint="Image, repositories and setup commands. Without one the agent starts in an empty workspace." />
    ${skill && html`<${Select} label="Skill" value=${value.skill_spec} options=${optional(c.skills, value.skill_spec)} onInput=${(v) => put({ skill_spec: v })} error=${of('skill_spec', 'skill')} />`}
    <div class="two"><${Select} label="Model" value=${value.model_id} options=${optional(c.models, value.model_id, 'Default')} onInput=${(v) => put({ model_id: v })} error=${of('model_id')} />
      <${Select} label="Agent program" value=${value.harness?.type} options=${harnesses} onInput=${(v) => put({ harness: v ? { ...value.harness, type: v } : undefined })} error=${of('harness', 'harness.type')} /></div>
    <${More} title="Secrets, tools, host and limits">
      <${SecretsField} all="All that its owner and environment have" options=${c.secrets} value=${value.secrets} onInput=${(v) => put({ secrets: v })} error=${of('secrets')} />
      <${Choices} label="MCP servers" options=${c.servers} value=${sharedServers(value.mcp_servers)} onInput=${(v) => put({ mcp_servers: withServers(value.mcp_servers, v, c.servers) })} error=${of('mcp_servers')} empty="There are no shared servers yet: add them in the settings." />
      <${Suggested} label="Host" value=${value.worker_host} options=${c.workers} onInput=${(v) => put({ worker_host: v || undefined })} error=${of('worker_host')} hint="The ID of a worker. Empty: any that is free." />
      <div class="two"><${Input} label="At most, US dollars" type="number" min="0" step="any" value=${value.limits?.max_cost_usd} onInput=${(v) => limit('max_cost_usd', v)} error=${of('limits.max_cost_usd')} />
        <${Input} label="At most, minutes" type="number" min="0" value=${value.limits?.max_minutes} onInput=${(v) => limit('max_minutes', v)} error=${of('limits.max_minutes', 'limits')} /></div>
    <//>`;
}

// SecretsField asks which secrets reach the agent. undefined: all; an empty list
// is none, so that the two must not be mixed up.
export function SecretsField({ value, options, onInput, error, all }) {
  return html`<${Select} label="Secrets" value=${value ? 'some' : 'all'} options=${[['all', all], ['some', 'Only those ticked here']]} onInput=${(v) => onInput(v === 'all' ? undefined : [])} error=${value ? '' : error} />
    ${value && html`<${Choices} label="Secrets that it gets" hint=${value.length ? '' : 'Nothing is ticked: it gets none.'} options=${options} value=${value} onInput=${onInput} error=${error} empty="There are no secrets yet." />`}`;
}

// tidy leaves out what is empty, for requests. An empty list of secrets means
// none of them, and stays.
export function tidy(o) {
  return Object.fromEntries(Object.entries(o).filter(([k, v]) => k === 'secrets' ? v !== undefined : v !== undefined && v !== '' && v !== null && !(Array.isArray(v) && !v.length) && !(typeof v === 'object' && !Array.isArray(v) && !Object.keys(v).length)));
}

// FileField takes a text from a file of the person's machine.
export function FileField({ label, hint, onText, max = 1 << 20 }) {
  const ref = useRef();
  const [error, set] = useState('');
  const read = async (file) => {
    set('');
    if (!file) return;
    if (file.size > max) { set(`The file has ${file.size} bytes; at most ${max} are taken.`); return; }
    try { onText(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await file.arrayBuffer()), file.name); } catch { set('The file is no text in UTF-8.'); }
    ref.current.value = '';
  };
  return html`<${Field} label=${label} hint=${hint} error=${error}>${(a) => html`<input type="file" ...${a} ref=${ref} onChange=${(e) => read(e.target.files[0])} />`}<//>`;
}
