// What stands beside the transcript.
import { html, useEffect, useState } from '../core/html.js';
import { api, enc } from '../core/api.js';
import { apiBase } from '../core/config.js';
import { ago, bytes, clock, duration, exact, link, money, number, plain, plural } from '../core/format.js';
import { href } from '../core/router.js';
import { Area, Badge, Button, Copy, Dialog, Empty, Form, Icon, Input, Loaded, State, Time, toast, useLoad } from '../core/ui.js';
import { Away, Markdown } from './markdown.js';
import { CodeBlock, Json, Long } from './text.js';
import { Explain } from './explain.js';
import { artifactName, phaseName, TodoList, who } from './rows.js';

const sources = { LINEAR: 'Linear', API: 'API', SLACK: 'Slack', LOCAL: 'a terminal', SCHEDULED_AGENT: 'a schedule', WEB_APP: 'the web app', GITHUB_ACTION: 'a GitHub action', CLOUD_MODE: 'a client', CLI: 'the command line', JIRA: 'Jira', SELF_IMPROVEMENT: 'self-improvement', GITHUB_WEBHOOK: 'GitHub', GITLAB_WEBHOOK: 'GitLab', AUTOFIX: 'autofix', RUN_SCORER: 'a scorer', ORCHESTRATION: 'another run' };
export const sourceName = (s) => sources[s] ?? plain(s ?? '');

const Section = ({ title, children, count }) => html`<section class="side-part"><h3>${title}${count !== undefined && html` <span class="count">${count}</span>`}</h3>${children}</section>`;
const Facts = ({ rows }) => html`<dl class="facts">${rows.filter(([, v]) => v !== undefined && v !== null && v !== '' && v !== false).map(([k, v]) => html`<dt>${k}</dt><dd>${v}</dd>`)}</dl>`;

// Overview is what one wants to know first.
export function Overview({ run, log, sums, why }) {
  const first = run.artifacts ?? [];
  return html`<div class="side-body"><${Explain} run=${run} why=${why} />
    ${sums.todos?.length > 0 && html`<${Section} title="Task list" count=${`${sums.todos.filter((t) => t.done).length}/${sums.todos.length}`}><${TodoList} items=${sums.todos} /><//>`}
    ${first.length > 0 && html`<${Section} title="Results" count=${first.length}><${ArtifactList} list=${first} /><//>`}
    <${Section} title="Phases"><${Phases} log=${log} run=${run} /><//>
    <${Section} title="Where it comes from"><${Origin} run=${run} /><//></div>`;
}

function Origin({ run }) {
  const t = run.trigger_url && link(run.trigger_url);
  const a = run.oz?.attachments ?? [];
  return html`<${Facts} rows=${[
    ['Started by', html`${who(run.creator)} <span class="dim">by ${sourceName(run.source)}</span>`],
    run.oz?.requester && ['For', who(run.oz.requester)],
    run.schedule && ['Schedule', html`<a href=${href(`/schedules/${enc(run.schedule.schedule_id)}`)}>${plain(run.schedule.schedule_name)}</a> <code>${plain(run.schedule.cron_schedule)}</code>`],
    t && ['Trigger', html`<${Away} to=${run.trigger_url} said=${run.trigger_url}>${plain(run.trigger_url)}<//>`],
    run.parent_run_id && ['Parent', html`<a href=${href(`/runs/${enc(run.parent_run_id)}`)}>${plain(run.parent_run_id.slice(0, 8))}</a>`],
    run.agent_skill && ['Skill', html`${plain(run.agent_skill.name)} <span class="dim">${plain(run.agent_skill.full_path ?? '')}</span>`],
    ['Created', html`<span title=${exact(run.created_at)}>${exact(run.created_at)}</span>`],
    ['Run', html`<code>${plain(run.run_id)}</code> <${Copy} text=${run.run_id} label="Copy the run's id" />`],
  ].filter(Boolean)} />
  ${a.length > 0 && html`<p class="label">Given with it <${Badge} look="need">untrusted<//></p><p class="hint">Files from outside. The agent is told not to take orders from them.</p><ul class="attached">${a.map((f) => html`<li><${Icon} name="file" size=${14} /> ${plain(f.file_name)} <span class="dim">${plain(f.mime_type)} ${bytes(f.size_bytes)}</span></li>`)}</ul>`}`;
}

// Phases is a bar for each phase that is known, as long as it took.
function Phases({ log, run }) {
  const [head, setHead] = useState([]);
  useEffect(() => { if (log?.state !== 'loading') log?.head()?.then(setHead); }, [log, log?.state]);
  const loaded = log ? log.shown.rows.list : [], phase = (r) => r.kind === 'phase';
  const rows = [...head.filter((r) => phase(r) && r.seq < (log?.shown.first ?? 0)), ...loaded.filter(phase)];
  const [now, tick] = useState(Date.now());
  const running = run.state === 'INPROGRESS' || run.state === 'CLAIMED';
  useEffect(() => { if (!running) return undefined; const t = setInterval(() => tick(Date.now()), 1000); return () => clearInterval(t); }, [running]);
  const since = (r, i) => (running && r.status === 'started' && i === rows.length - 1 ? Math.max(0, now - new Date(r.time)) : 0);
  const items = rows.map((r, i) => ({ r, ms: r.ms || since(r, i) }));
  if (!items.length) return html`<p class="dim">None yet: they begin when a worker takes the run.</p>`;
  const most = Math.max(...items.map((i) => i.ms), 1);
  return html`<ol class="phases">${items.map(({ r, ms }) => html`<li><a href=${`#e${r.seq}`}>${phaseName(r.name)}</a>
    <span class="bar"><i class=${r.status === 'failed' ? 'bad' : r.status === 'started' && running ? 'live' : ''} style=${{ width: `${Math.max(2, ms / most * 100)}%` }}></i></span>
    <span class="num">${ms ? duration(ms) : ''}${r.status === 'failed' ? html` <span class="bad-text">failed</span>` : ''}</span></li>`)}</ol>
    ${!log.shown.start && html`<p class="dim">Of the begin of the log and what is loaded of it.</p>`}`;
}

// ---- artifacts ----

const artifactLink = (a) => {
  const d = a.data, uid = d.artifact_uid;
  const title = d.title || d.filename || d.filepath || d.branch || d.url || uid || '';
  if (['PLAN', 'FILE', 'SCREENSHOT'].includes(a.artifact_type) && uid) return html`<a href=${href(`/artifacts/${enc(uid)}`)}>${plain(title)}</a>`;
  return d.url ? html`<${Away} to=${d.url} said=${title}>${plain(title)}<//>` : plain(title);
};

function ArtifactList({ list }) {
  return html`<ul class="artifacts">${list.map((a) => html`<li><${Badge}>${a.data.reference_type === 'git_branch' ? 'Branch' : artifactName(a.artifact_type)}<//> ${artifactLink(a)}
    ${a.data.size_bytes > 0 && html` <span class="dim">${bytes(a.data.size_bytes)}</span>`}</li>`)}</ul>`;
}

export function Artifacts({ run }) {
  const list = run.artifacts ?? [];
  if (!list.length) return html`<div class="side-body"><${Empty} icon="file" title="Nothing yet">Branches, pull requests, plans, files and screenshots that the agent makes are kept here.<//></div>`;
  return html`<div class="side-body">${list.map((a) => html`<section class="side-part artifact"><h3><${Badge}>${a.data.reference_type === 'git_branch' ? 'Branch' : artifactName(a.artifact_type)}<//> ${artifactLink(a)}</h3>
    ${a.data.description && html`<p class="dim">${plain(a.data.description)}</p>`}
    <${Facts} rows=${[['Branch', a.data.branch && html`<code>${plain(a.data.branch)}</code> <${Copy} text=${a.data.branch} label="Copy the branch's name" />`], ['File', a.data.filepath && html`<code>${plain(a.data.filepath)}</code>`], ['Size', bytes(a.data.size_bytes)], ['Made', html`<${Time} at=${a.created_at} />`]]} />
    ${a.artifact_type === 'SCREENSHOT' && html`<${Preview} uid=${a.data.artifact_uid} />`}</section>`)}</div>`;
}

// Preview shows a picture or a text. Pictures come from this server alone.
export function Preview({ uid, whole }) {
  const got = useLoad((signal) => api.get(`/agent/artifacts/${enc(uid)}`, {}, { signal }), [uid]);
  return html`<${Loaded} from=${got} rows=${2}>${(a) => html`<${Content} artifact=${a} whole=${whole} />`}<//>`;
}

const pictures = ['image/png', 'image/jpeg', 'image/gif', 'image/webp', 'image/avif'];
const textual = (type, name) => /^text\/|json|xml|yaml|javascript|toml|x-sh|x-ndjson/.test(type) || /\.(md|txt|log|diff|patch|go|js|ts|py|rs|java|c|h|css|html|sh|ya?ml|toml|json|csv|sql)$/i.test(name ?? '');
const maxPreview = 2 << 20;

// served gives the path of a signed link on this server, by whichever of its
// addresses the page was opened: another origin is never loaded from.
export const served = (address) => { try { const u = new URL(address, location.href); return u.origin === location.origin || u.pathname.startsWith(`${apiBase}/`) ? u.pathname + u.search : ''; } catch { return ''; } };

export function Content({ artifact, whole }) {
  const d = artifact.data, type = (d.content_type ?? '').split(';')[0].trim().toLowerCase();
  const at = d.download_url ? served(d.download_url) : '';
  if (d.content !== undefined) return html`<div class=${whole ? 'panel doc' : 'doc'}><${Markdown} text=${d.content} /></div>`;
  if (pictures.includes(type) && at) return html`<a class="shot" href=${at} data-native target="_blank" rel="noopener"><img src=${at} alt=${plain(d.description || d.filename || 'Screenshot')} loading="lazy" /></a>`;
  if (textual(type, d.filename) && at) return html`<${TextFile} at=${at} size=${d.size_bytes} name=${d.filename} type=${type} whole=${whole} />`;
  return html`<p class="dim">There is no preview of ${plain(type || 'this kind of file')}.</p>`;
}

function TextFile({ at, size, name, type, whole }) {
  const got = useLoad(async (signal) => {
    const res = await fetch(at, { signal, credentials: 'same-origin', headers: size > maxPreview ? { Range: `bytes=0-${maxPreview - 1}` } : {} });
    if (!res.ok) throw new Error(`The file cannot be read: the server answered ${res.status}`);
    return res.text();
  }, [at]);
  const md = type === 'text/markdown' || /\.md$/i.test(name ?? '');
  return html`<${Loaded} from=${got} rows=${3}>${(text) => html`${size > maxPreview && html`<p class="dim">The first ${bytes(maxPreview)} of ${bytes(size)}.</p>`}
    ${md ? html`<div class=${whole ? 'panel doc' : 'doc'}><${Long} text=${text}>${(part) => html`<${Markdown} text=${part} />`}<//></div>` : html`<${CodeBlock} text=${text} lang=${name} />`}`}<//>`;
}

// ---- plan ----

export const planOf = (run) => { const p = (run.artifacts ?? []).filter((a) => a.artifact_type === 'PLAN').at(-1); return p ? { uid: p.data.artifact_uid ?? p.data.document_uid, title: p.data.title, approved: run.oz?.approved && run.oz.approved === p.data.artifact_uid, by: p.data.metadata?.edited_by, orchestration: p.data.metadata?.orchestration } : null; };

export function Plan({ run, rights, changed }) {
  const plan = planOf(run);
  const [edit, setEdit] = useState(false);
  const [at, setAt] = useState(0);
  const got = useLoad((signal) => api.get(`/oz/artifacts/${enc(plan.uid)}/versions`, {}, { signal }), [plan.uid]);
  return html`<div class="side-body"><${Loaded} from=${got}>${({ versions }) => {
    const v = versions[Math.min(at, versions.length - 1)];
    if (!v) return html`<${Empty} icon="file" title="No plan">The agent has not written one yet.<//>`;
    return html`<div class="row"><h3 class="grow">${plain(v.title || plan.title || 'Plan')}</h3>${plan.approved ? html`<${Badge} look="good">Approved<//>` : html`<${Badge} look="need">Not approved<//>`}</div>
      ${versions.length > 1 && html`<label class="mode">Version <select value=${at} onChange=${(e) => setAt(Number(e.target.value))}>${versions.map((x, i) => html`<option value=${i}>${x.version}${i === 0 ? ' (newest)' : ''} · ${ago(x.created_at)}</option>`)}</select></label>`}
      <div class="row">${rights?.steer && at === 0 && html`<${Button} kind="small" onClick=${() => setEdit(true)}>Edit<//>`}
        ${rights?.steer && at === 0 && !plan.approved && html`<${Button} kind="small primary" icon="check" onClick=${async () => { await api.post(`/oz/runs/${enc(run.run_id)}/plan/approve`, { artifact_uid: plan.uid }); toast('Approved', 'good'); await changed(); }}>Approve<//>`}<${Copy} text=${v.content} label="Copy as Markdown" /></div>
      <div class="doc"><${Markdown} text=${v.content} /></div>
      ${edit && html`<${EditPlan} run=${run} version=${v} onClose=${() => setEdit(false)} done=${async () => { setEdit(false); await changed(); got.reload(); }} />`}`;
  }}<//></div>`;
}

function EditPlan({ run, version, onClose, done }) {
  const [title, setTitle] = useState(version.title ?? ''), [text, setText] = useState(version.content);
  return html`<${Dialog} title="Edit the plan" onClose=${onClose}><${Form} action="Save as a new version" cancel=${onClose} submit=${async () => { await api.put(`/oz/runs/${enc(run.run_id)}/plan`, { title, markdown: text }); await done(); }}>
    ${(errorOf) => html`<${Input} label="Title" value=${title} onInput=${setTitle} error=${errorOf('title')} /><${Area} label="Plan" hint="Markdown. A new version is not approved by being written." rows=${18} class="code" value=${text} onInput=${setText} error=${errorOf('markdown')} />`}<//><//>`;
}

// ---- usage ----

export function Usage({ run }) {
  const u = run.request_usage ?? {}, lines = run.oz?.usage ?? [];
  const sum = (c) => Object.values(c ?? {}).reduce((a, b) => a + (b || 0), 0);
  const unpriced = lines.some((l) => l.unpriced);
  const total = (u.inference_cost_usd ?? lines.reduce((a, l) => a + sum(l.cost_usd) + (l.web_search_cost_usd ?? 0), 0)) + (u.compute_cost_usd ?? 0) + (u.platform_cost_usd ?? 0);
  return html`<div class="side-body"><div class="figures"><div><strong>${unpriced ? '≥ ' : ''}${money(total)}</strong><span class="dim">in all</span></div><div><strong>${number(u.total_tokens ?? 0)}</strong><span class="dim">tokens</span></div><div><strong>${number(lines.reduce((a, l) => a + (l.calls ?? 0), 0))}</strong><span class="dim">model calls</span></div></div>
    <${Facts} rows=${[['Models', u.inference_cost_usd !== undefined && money(u.inference_cost_usd)], ['Computing', u.compute_cost_usd !== undefined && money(u.compute_cost_usd)], ['Platform', u.platform_cost_usd !== undefined && money(u.platform_cost_usd)]]} />
    ${lines.map((l) => html`<${Section} title=${html`<code>${plain(l.model)}</code>`}><${Facts} rows=${[['For', plain(String(l.category).replaceAll('_', ' '))], ['Calls', number(l.calls)], ['Input', number(l.tokens?.input)], ['From cache', number(l.tokens?.input_cache_read)], ['To cache', number(l.tokens?.input_cache_write)], ['Output', number(l.tokens?.output)], ['Web searches', l.web_searches > 0 && number(l.web_searches)], ['Cost', `${money(sum(l.cost_usd))}${l.unpriced ? ' or more: some tokens have no known price' : ''}`]]} /><//>`)}
    ${unpriced && html`<p class="hint">A model without a known price is not counted.</p>`}${!lines.length && html`<p class="dim">No model was called yet.</p>`}</div>`;
}

// ---- configuration ----

const origins = { run: 'this run', agent: 'the agent', environment: 'the environment', default: 'the server', profile: 'the profile' };

export function Configuration({ run }) {
  const c = run.agent_config ?? {}, from = run.oz?.origins ?? {};
  const keys = Object.keys(c).filter((k) => c[k] !== '' && c[k] !== null && !(Array.isArray(c[k]) && !c[k].length && k !== 'secrets'));
  return html`<div class="side-body"><${Section} title="Prompt"><div class="doc"><${Long} text=${run.prompt ?? ''}>${(part) => html`<${Markdown} text=${part} />`}<//></div><//>
    <${Section} title="As it was resolved"><dl class="facts config">${keys.map((k) => html`<dt>${plain(k.replaceAll('_', ' '))}</dt><dd>${typeof c[k] === 'object' ? html`<${Json} value=${c[k]} />` : k === 'environment_id' ? html`<a href=${href('/environments')}>${plain(c[k])}</a>` : html`<span class="as-is">${plain(c[k])}</span>`}
      ${from[k] && html` <span class="dim">from ${plain(origins[from[k]] ?? from[k])}</span>`}</dd>`)}</dl>${!keys.length && html`<p class="dim">Nothing was set: the server's defaults hold.</p>`}<//>
    ${run.oz?.environment && html`<${Section} title="Environment, as of its creation"><${Json} value=${run.oz.environment} /><//>`}
    ${run.metadata && Object.keys(run.metadata).length > 0 && html`<${Section} title="Metadata"><${Json} value=${run.metadata} /><//>`}</div>`;
}

// ---- history ----

export function History({ run, rev }) {
  const x = useLoad((signal) => api.get(`/oz/runs/${enc(run.run_id)}/executions`, {}, { signal }), [run.run_id, run.state, run.oz?.executions]);
  const kids = useLoad((signal) => api.get('/agent/runs', { ancestor_run_id: run.run_id, limit: 50 }, { signal }), [run.run_id, rev]);
  const mail = useLoad((signal) => api.get(`/agent/messages/${enc(run.run_id)}`, { limit: 50 }, { signal }), [run.run_id, rev]);
  return html`<div class="side-body"><${Section} title="Executions"><${Loaded} from=${x} rows=${2}>${({ executions }) => executions.length ? html`<ol class="executions">${executions.map((e) => html`<li><p class="row"><strong>${e.number}</strong> <${Badge} look=${e.state === 'ENDED' ? 'dim' : 'live'}>${e.state.toLowerCase()}<//> <span class="dim">${plain(e.worker)}</span></p>
        <p class="dim">${exact(e.offered_at)}${e.begun_at && e.ended_at ? ` · ${duration(new Date(e.ended_at) - new Date(e.begun_at))}` : ''} · ${plural(e.appended, 'event')}</p>${e.reason && html`<p>${plain(e.reason)}</p>`}</li>`)}</ol>` : html`<p class="dim">None yet.</p>`}<//><//>
    <${Section} title="Children"><${Loaded} from=${kids} rows=${1}>${({ runs }) => runs.length ? html`<ul class="artifacts">${runs.map((r) => html`<li><${State} state=${r.state} /> <a href=${href(`/runs/${enc(r.run_id)}`)}>${plain(r.title || r.run_id.slice(0, 8))}</a></li>`)}</ul>` : html`<p class="dim">It started no other runs.</p>`}<//><//>
    <${Section} title="Mail between agents"><${Loaded} from=${mail} rows=${1}>${(list) => list.length ? html`<ul class="artifacts">${list.map((m) => html`<li><strong>${plain(m.subject)}</strong> <span class="dim">from <a href=${href(`/runs/${enc(m.sender_run_id ?? '')}`)}>${plain(String(m.sender_run_id ?? '').slice(0, 8))}</a> · ${clock(m.sent_at)}${m.read_at ? ' · read' : ''}</span></li>`)}</ul>` : html`<p class="dim">No letters.</p>`}<//><//></div>`;
}
