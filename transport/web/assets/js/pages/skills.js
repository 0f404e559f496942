// Skills: what is written down for agents in the repositories of environments,
// and what came with the server.
import { api, enc } from '../core/api.js';
import { plain, plural } from '../core/format.js';
import { html } from '../core/html.js';
import { newRun } from '../core/newrun.js';
import { href, useQuery } from '../core/router.js';
import { Badge, Button, Dialog, Empty, Loaded, Page, Tabs, Time, useLoad } from '../core/ui.js';
import { Filter, NoMatch, PageTabs, Search, matches, paneHref, usePane } from '../manage/parts.js';
import { agentTabs } from './agents.js';

// An agent writes a new skill: one that came with the server tells it how.
const addSkill = 'oz/bundled:add-skill/SKILL.md';

// flat makes one row of each variant: the same name may be in several repositories.
const flat = (agents) => agents.flatMap((a) => a.variants.map((v) => ({ ...v, name: a.name })));

const where = (s) => s.suggested ? 'Came with the server' : `${s.source.owner}/${s.source.name}`;
const run = (s) => newRun(s.environments.length === 1 ? { skill: s.id, environment: s.environments[0].uid } : { skill: s.id });

function Card({ skill: s }) {
  return html`<li class=${`card ${s.error ? 'bad' : ''}`}><div class="row"><h2 class="grow"><a href=${paneHref(s.id)}>${plain(s.name)}</a></h2>${s.error && html`<${Badge} look="bad">Cannot be read<//>`}</div>
    <p class="dim clamp">${plain(s.error || s.description || 'No description.')}</p><div class="tags"><span class="tag">${plain(where(s))}</span>${s.environments.map((e) => html`<span class="tag" key=${e.uid}>${plain(e.name)}</span>`)}</div>
    ${!s.error && html`<div class="foot"><${Button} icon="runs" onClick=${() => run(s)}>Run<span class="sr"> ${plain(s.name)}</span><//>${s.last_run_timestamp && html`<span class="dim">Last run <${Time} at=${s.last_run_timestamp} /></span>`}</div>`}</li>`;
}

function Details({ skill: s, onClose }) {
  return html`<${Dialog} side title=${plain(s.name)} onClose=${onClose}><div class="stack">${!s.error && html`<div class="actions"><${Button} kind="primary" icon="runs" onClick=${() => { onClose(); run(s); }}>Run<//></div>`}
    ${s.error && html`<div class="failure"><div><strong>It cannot be read</strong><p>${plain(s.error)}</p><p>Mend the file in its repository: agents do not see it until then.</p></div></div>`}${s.description && html`<p>${plain(s.description)}</p>`}
    <dl class="facts"><dt>From</dt><dd>${plain(where(s))}</dd><dt>File</dt><dd><code>${plain(s.source.skill_path)}</code></dd><dt>Environments</dt><dd>${s.environments.length ? s.environments.map((e, i) => html`${i > 0 && ', '}<a href=${href(`/environments?open=${enc(e.uid)}`)}>${plain(e.name)}</a>`) : 'Any'}</dd>
      ${s.source.worker_host && html`<dt>Host</dt><dd>${plain(s.source.worker_host)}</dd>`}${s.last_run_timestamp && html`<dt>Last run</dt><dd><${Time} at=${s.last_run_timestamp} /></dd>`}<dt>ID</dt><dd><code>${plain(s.id)}</code></dd></dl>
    ${s.base_prompt && html`<h3>What it says</h3><pre class="block body" tabindex="0"><code>${plain(s.base_prompt)}</code></pre>`}</div><//>`;
}

const Unreachable = ({ list }) => html`<div class="failure"><div><strong>${plural(list.length, 'repository', 'repositories')} could not be read</strong><ul>${list.map((u) => html`<li key=${u.repository}>${plain(u.repository)}: ${plain(u.error)}</li>`)}</ul><p>Check the address in the environment, and the credentials of the server for its host.</p></div></div>`;

const teaches = html`<${Empty} icon="agents" title="No skills in your environments" action=${html`<a href=${href('/environments')}>To the environments</a>`}>A skill is a folder with a <code>SKILL.md</code> in a repository, such as <code>.agents/skills/release/SKILL.md</code>: a name, a description, and the steps. Put one into a repository of an environment and it appears here; with New skill an agent writes it there. Those that came with the server are under Suggested.<//>`;

export default function Skills() {
  const [query, set] = useQuery();
  const list = useLoad((signal) => api.get('/agent', { include_malformed_skills: true, refresh: query.fresh === '1' || undefined }, { signal }), []);
  const pane = usePane();
  const tab = query.tab === 'suggested' ? 'suggested' : 'all';
  return html`<${Page} title="Skills" lead="Steps that are written down once and carried out by any agent." actions=${html`${flat(list.data?.agents ?? []).some((s) => s.id === addSkill) && html`<${Button} kind="primary" icon="plus" onClick=${() => newRun({ skill: addSkill })}>New skill<//>`}<${Button} onClick=${async () => list.set(await api.get('/agent', { include_malformed_skills: true, refresh: true }))}>Look again<//>`}>
    <${PageTabs} label="Agents and skills" tabs=${agentTabs} current="/skills" />
    <${Loaded} from=${list}>${({ agents, unreachable }) => {
      const all = flat(agents), own = all.filter((s) => !s.suggested), suggested = all.filter((s) => s.suggested);
      const environments = [...new Map(own.flatMap((s) => s.environments).map((e) => [e.uid, e.name]))];
      const from = tab === 'all' ? own : suggested;
      const rows = from.filter((s) => matches(query.q, s.name, s.description, s.id) && (tab === 'suggested' || !query.environment || s.environments.some((e) => e.uid === query.environment)));
      const open = all.find((s) => s.id === pane.open);
      return html`<${Tabs} label="Which skills" value=${tab} onChange=${(t) => set({ tab: t === 'all' ? '' : t }, { replace: true })} tabs=${[{ id: 'all', name: 'From environments', count: own.length }, { id: 'suggested', name: 'Suggested', count: suggested.length }]} />
        ${unreachable?.length > 0 && tab === 'all' && html`<${Unreachable} list=${unreachable} />`}
        ${from.length === 0 ? tab === 'all' ? teaches : html`<p class="no-match">The server came without skills.</p>` : html`<${Search} label="Search skills" value=${query.q} onInput=${(q) => set({ q }, { replace: true })}>
          ${tab === 'all' && environments.length > 1 && html`<${Filter} label="Environment" value=${query.environment} options=${[['', 'Any environment'], ...environments]} onInput=${(environment) => set({ environment }, { replace: true })} />`}<//>
          ${rows.length ? html`<ul class="cards">${rows.map((s) => html`<${Card} key=${s.id} skill=${s} />`)}</ul>` : html`<${NoMatch} clear=${() => set({ q: '', environment: '' })} />`}`}
        ${open && html`<${Details} skill=${open} onClose=${pane.close} />`}`;
    }}<//><//>`;
}
