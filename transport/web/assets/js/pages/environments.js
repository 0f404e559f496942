// What agents work in: image, repositories, setup commands.
import { api, enc } from '../core/api.js';
import { plain, plural } from '../core/format.js';
import { html, useState } from '../core/html.js';
import { newRun } from '../core/newrun.js';
import { href, useQuery } from '../core/router.js';
import { Badge, Button, Dialog, Empty, Failure, Form, Input, Loaded, Page, Select, Table, Time, toast, useLoad } from '../core/ui.js';
import { RunList } from '../manage/livelist.js';
import { Delete, Lines, More, NoMatch, Owned, Owner, Search, SecretsField, first, matches, optional, paneHref, tidy, useChoices, useInTeam, usePane } from '../manage/parts.js';

const repoName = (r) => r.owner && r.repo ? `${r.owner}/${r.repo}` : r.url || '';

// repoOf reads what a person types: owner/repo, or an address at any host.
function repoOf({ text, ref }) {
  const t = text.trim(), short = /^([^/\s:]+)\/([^/\s:]+)$/.exec(t);
  if (short) return tidy({ owner: short[1], repo: short[2].replace(/\.git$/, ''), checkout_ref: ref.trim() });
  const path = t.replace(/\/+$/, '').replace(/\.git$/, '').split(/[/:]/).filter(Boolean);
  return tidy({ owner: path.at(-2) ?? '', repo: path.at(-1) ?? '', url: t, checkout_ref: ref.trim() });
}

// Repositories edits the list; each has a branch, tag or commit of its own.
function Repositories({ rows, set, error }) {
  const change = (i, c) => set(rows.map((r, j) => j === i ? { ...r, ...c } : r));
  return html`<fieldset class="ticks"><legend>Repositories</legend><p class="hint">owner/name, or the address at any git host. They are cloned before the agent starts.</p>
    <div class="stack">${rows.map((r, i) => html`<div class="row repo" key=${r.key}><input class="grow" aria-label=${`Repository ${i + 1}`} value=${r.text} placeholder="owner/name" spellcheck="false" autocomplete="off" onInput=${(e) => change(i, { text: e.target.value })} />
      <input class="ref" aria-label=${`Branch, tag or commit of repository ${i + 1}`} value=${r.ref} placeholder="Default branch" spellcheck="false" autocomplete="off" onInput=${(e) => change(i, { ref: e.target.value })} />
      <${Button} kind="quiet" icon="close" label=${`Remove repository ${i + 1}`} onClick=${() => set(rows.filter((_, j) => j !== i))} /></div>`)}</div>
    ${error && html`<p class="field-error">${plain(error)}</p>`}
    <${Button} kind="small" icon="plus" onClick=${() => set([...rows, { text: '', ref: '', key: Math.random() }])}>Add a repository<//></fieldset>`;
}

// Federation lets runs act in a cloud without a key of it.
function Federation({ value, set, errorOf }) {
  const gcp = value?.gcp ?? {}, aws = value?.aws ?? {};
  const put = (g, a) => { const next = tidy({ gcp: tidy(g), aws: tidy(a) }); set(Object.keys(next).length ? next : undefined); };
  const field = (label, name) => html`<${Input} label=${label} value=${gcp[name]} onInput=${(v) => put({ ...gcp, [name]: v }, aws)} error=${errorOf(`providers.gcp.${name}`)} />`;
  return html`<${Input} label="AWS role" value=${aws.role_arn} placeholder="arn:aws:iam::123456789012:role/agents" onInput=${(v) => put(gcp, { role_arn: v })} error=${first(errorOf, 'providers.aws.role_arn', 'providers.aws')} />
    <div class="two">${field('Google project number', 'project_number')}${field('Workload identity pool', 'workload_identity_federation_pool_id')}${field('Workload identity provider', 'workload_identity_federation_provider_id')}${field('Service account', 'service_account_email')}</div>`;
}

// EnvironmentForm creates or changes one.
export function EnvironmentForm({ env, onClose, done }) {
  const team = useInTeam();
  const [value, set] = useState(() => ({ name: '', docker_image: '', description: '', ...env?.config, team }));
  const [repos, setRepos] = useState(() => (env?.config.github_repos ?? [{ owner: '', repo: '' }]).map((r) => ({ text: r.url || repoName(r), ref: r.checkout_ref ?? '', key: Math.random() })));
  const c = useChoices('secrets', 'runners');
  const put = (change) => set((v) => ({ ...v, ...change }));
  const submit = async () => {
    const { team: forTeam, ...rest } = value;
    const minutes = Number(rest.failure_session_retention_minutes);
    const config = { ...tidy(rest), github_repos: repos.filter((r) => r.text.trim()).map(repoOf), setup_commands: rest.setup_commands ?? [], failure_session_retention_minutes: minutes || undefined };
    await (env ? api.put(`/oz/environments/${enc(env.uid)}`, { config, revision: env.revision }) : api.post('/oz/environments', { config, team: forTeam }));
    toast(env ? 'Saved. Runs that start from now on get it.' : 'The environment is made.', 'good');
    done();
  };
  const of = (errorOf) => (...names) => first(errorOf, ...names.flatMap((n) => [n, `config.${n}`]));
  return html`<${Dialog} side title=${env ? 'Edit environment' : 'New environment'} onClose=${onClose}><${Form} action=${env ? 'Save' : 'Create environment'} cancel=${onClose} submit=${submit}>${(e) => { const errorOf = of(e); return html`
    <${Input} label="Name" required value=${value.name} onInput=${(name) => put({ name })} error=${errorOf('name')} />
    <${Input} label="Description" maxlength="240" value=${value.description} onInput=${(description) => put({ description })} error=${errorOf('description')} />
    <${Input} label="Image" class="code" value=${value.docker_image} onInput=${(docker_image) => put({ docker_image })} error=${errorOf('docker_image')} placeholder="docker.io/library/golang:1.24" spellcheck="false" hint="A container image with the tools that the agent needs. Workers without containers use what their host has." />
    <${Repositories} rows=${repos} set=${setRepos} error=${errorOf('github_repos')} />
    <${Lines} label="Setup commands" class="code" rows=${4} value=${value.setup_commands} onInput=${(setup_commands) => put({ setup_commands })} error=${errorOf('setup_commands')} placeholder="make deps" spellcheck="false" hint="One a line, run in order after the clone. A failing one ends the run." />
    <${SecretsField} all="All that the run's owner has" options=${c.secrets} value=${value.secrets} onInput=${(secrets) => put({ secrets })} error=${errorOf('secrets')} />
    <${More} title="Resources, clouds, failed runs">
      <${Select} label="Runner" value=${value.default_runner_uid} options=${optional(c.runners, value.default_runner_uid, 'Default')} onInput=${(v) => put({ default_runner_uid: v })} error=${errorOf('default_runner_uid')} hint="Processors, memory and image of runs that name no runner." />
      <${Input} label="Keep failed runs, minutes" type="number" min="0" max="60" value=${value.failure_session_retention_minutes ?? ''} onInput=${(v) => put({ failure_session_retention_minutes: v })} error=${errorOf('failure_session_retention_minutes')} hint="For how long the workspace of a failed run can be looked at." />
      <${Federation} value=${value.providers} set=${(providers) => put({ providers })} errorOf=${errorOf} />
    <//>
    ${!env && html`<${Owner} what="the environment" value=${value.team} onInput=${(t) => put({ team: t })} />`}`; }}<//><//>`;
}

// useUses finds what names an environment.
function useUses(uid) {
  return useLoad(async (signal) => {
    const [s, a, i] = await Promise.all(['/agent/schedules', '/agent/identities', '/oz/integrations'].map((p) => api.get(p, {}, { signal }).catch(() => ({}))));
    return [...(s.schedules ?? []).filter((x) => x.agent_config?.environment_id === uid).map((x) => [`Schedule ${x.name}`, `/schedules/${enc(x.id)}`]),
      ...(a.agents ?? []).filter((x) => x.environment_id === uid).map((x) => [`Agent ${x.name}`, `/agents?open=${enc(x.uid)}`]),
      ...(i.integrations ?? []).filter((x) => x.config?.environment_id === uid).map((x) => [`Integration ${x.name}`, `/integrations/${enc(x.provider)}/${enc(x.uid)}`])];
  }, [uid]);
}

const UseList = ({ uses }) => html`<ul class="plain-list">${uses.map(([name, path]) => html`<li key=${path}><a href=${href(path)}>${plain(name)}</a></li>`)}</ul>`;

function Details({ env, onClose, edit, remove }) {
  const c = env.config, uses = useUses(env.uid);
  const runs = useLoad((signal) => api.get('/agent/runs', { environment_id: env.uid, limit: 5 }, { signal }).then((d) => d.runs), [env.uid]);
  return html`<${Dialog} side title=${plain(c.name || env.uid)} onClose=${onClose}><div class="stack">
    <div class="actions"><${Button} kind="primary" icon="runs" onClick=${() => { onClose(); newRun({ environment: env.uid }); }}>Run here<//><${Button} onClick=${edit}>Edit<//><${Button} kind="danger" onClick=${remove}>Delete<//></div>
    ${env.setup_failed && html`<${Failure} error=${{ message: 'The setup of its last run failed.' }} />`}${c.description && html`<p>${plain(c.description)}</p>`}
    <dl class="facts"><dt>Image</dt><dd>${c.docker_image ? html`<code>${plain(c.docker_image)}</code>` : 'What the worker has'}</dd>
      <dt>Repositories</dt><dd>${c.github_repos?.length ? html`<ul class="plain-list tight">${c.github_repos.map((r) => html`<li>${plain(repoName(r))}${r.checkout_ref && html` <code>${plain(r.checkout_ref)}</code>`}</li>`)}</ul>` : 'None'}</dd>
      <dt>Secrets</dt><dd>${c.secrets ? c.secrets.map(plain).join(', ') || 'None' : 'All that the owner of the run has'}</dd>
      <dt>Belongs to</dt><dd><${Owned} scope=${env.scope} /></dd><dt>Changed</dt><dd><${Time} at=${env.last_updated} /> ${env.last_editor && `by ${plain(env.last_editor.display_name || env.last_editor.uid)}`}</dd><dt>ID</dt><dd><code>${env.uid}</code></dd></dl>
    ${c.setup_commands?.length > 0 && html`<h3>Setup commands</h3><pre class="block" tabindex="0"><code>${c.setup_commands.map(plain).join('\n')}</code></pre>`}
    <h3>Used by</h3><${Loaded} from=${uses} rows=${1}>${(list) => list.length ? html`<${UseList} uses=${list} />` : html`<p class="dim">No schedule, agent or integration names it.</p>`}<//>
    <h3>Latest runs</h3><${RunList} from=${runs} none="None yet." /></div><//>`;
}

const DeleteEnvironment = ({ env, onClose, done }) => {
  const uses = useUses(env.uid);
  return html`<${Delete} what="environment" name=${env.config.name || env.uid} path=${`/oz/environments/${enc(env.uid)}`} onClose=${onClose} done=${done}>
    ${uses.data?.length ? html`${plural(uses.data.length, 'thing')} that ${uses.data.length === 1 ? 'names' : 'name'} it will fail until you choose another: ${uses.data.map(([n]) => plain(n)).join(', ')}.` : 'Runs at work keep what they have. It cannot be brought back.'}<//>`;
};

const columns = [
  { name: 'Name', cell: (e) => html`${plain(e.config.name || e.uid)}${e.setup_failed && html` <${Badge} look="bad">Setup failed<//>`}` },
  { name: 'Image', cell: (e) => e.config.docker_image ? html`<code>${plain(e.config.docker_image)}</code>` : html`<span class="dim">The worker's own</span>` },
  { name: 'Repositories', cell: (e) => { const r = e.config.github_repos ?? []; return r.length ? `${r.slice(0, 2).map(repoName).map(plain).join(', ')}${r.length > 2 ? ` and ${r.length - 2} more` : ''}` : html`<span class="dim">None</span>`; } },
  { name: 'Setup', hide: 'phone', cell: (e) => e.config.setup_commands?.length ? plural(e.config.setup_commands.length, 'command') : html`<span class="dim">None</span>` },
  { name: 'Last run', hide: 'phone', cell: (e) => e.last_task_run_timestamp ? html`<${Time} at=${e.last_task_run_timestamp} />` : html`<span class="dim">Never</span>` },
  { name: 'Belongs to', hide: 'phone', cell: (e) => html`<${Owned} scope=${e.scope} />` },
];

export default function Environments() {
  const list = useLoad((signal) => api.get('/agent/environments', {}, { signal }).then((d) => d.environments), []);
  const [query, set] = useQuery();
  const pane = usePane(), [doing, act] = useState('');
  const close = () => { act(''); pane.close(); };
  const done = () => { close(); list.reload(); };
  const make = html`<${Button} kind="primary" icon="plus" onClick=${() => pane.show('new')}>New environment<//>`;
  const env = list.data?.find((e) => e.uid === pane.open);
  return html`<${Page} title="Environments" lead="What agents work in: an image, repositories, and the commands that set them up." actions=${make}>
    <${Loaded} from=${list}>${(all) => {
      if (!all.length) return html`<${Empty} icon="environments" title="No environments yet" action=${make}>An environment names the repositories that an agent works on, the image with its tools, and the commands that prepare them. Runs, schedules and integrations choose one. Without any, agents start in an empty workspace.<//>`;
      const rows = all.filter((e) => matches(query.q, e.config.name ?? '', e.config.docker_image ?? '', e.config.description ?? '', (e.config.github_repos ?? []).map(repoName)));
      return html`<${Search} label="Search environments" value=${query.q} onInput=${(q) => set({ q }, { replace: true })} />
        ${rows.length ? html`<${Table} label="Environments" columns=${columns} rows=${rows} id=${(e) => e.uid} href=${(e) => paneHref(e.uid)} />` : html`<${NoMatch} clear=${() => set({ q: '' })} />`}`;
    }}<//>
    ${pane.open === 'new' && html`<${EnvironmentForm} onClose=${close} done=${done} />`}
    ${env && (doing === 'edit' ? html`<${EnvironmentForm} env=${env} onClose=${() => act('')} done=${done} />` : html`<${Details} env=${env} onClose=${close} edit=${() => act('edit')} remove=${() => act('delete')} />`)}
    ${env && doing === 'delete' && html`<${DeleteEnvironment} env=${env} onClose=${() => act('')} done=${done} />`}
    ${pane.open && pane.open !== 'new' && list.data && !env && html`<${Dialog} title="Environment" onClose=${close}><p>There is no such environment, or it is not shared with you.</p><//>`}<//>`;
}
