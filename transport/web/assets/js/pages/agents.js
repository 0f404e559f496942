// Saved agents: who they are, what they work with, and their runs.
import { api, enc } from '../core/api.js';
import { plain } from '../core/format.js';
import { html, useState } from '../core/html.js';
import { newRun } from '../core/newrun.js';
import { href, useQuery } from '../core/router.js';
import { Badge, Button, Dialog, Empty, Loaded, Page, Time, useLoad } from '../core/ui.js';
import { AgentForm } from '../manage/agentform.js';
import { RunList } from '../manage/livelist.js';
import { Delete, NoMatch, PageTabs, Search, matches, paneHref, useChoices, usePane } from '../manage/parts.js';

export const agentTabs = [['/agents', 'Agents'], ['/skills', 'Skills']];

const initial = (name) => [...name.trim()][0]?.toUpperCase() ?? '?';
const nameIn = (pairs, id) => pairs.find(([v]) => v === id)?.[1] ?? id;

// Card is an agent in the list. The heading leads to its pane.
function Card({ agent: a, environments }) {
  const facts = [a.environment_id && nameIn(environments, a.environment_id), a.base_model, a.harness?.type].filter(Boolean);
  return html`<li class="card"><div class="row"><span class="monogram" aria-hidden="true">${initial(a.name)}</span><h2 class="grow"><a href=${paneHref(a.uid)}>${plain(a.name)}</a></h2>${a.is_default && html`<span class="tag">Default</span>`}${!a.available && html`<${Badge} look="dim">Not available<//>`}</div>
    <p class="dim clamp">${plain(a.description || a.prompt || 'No instructions of its own: it does what each run asks.')}</p>${facts.length > 0 && html`<div class="tags">${facts.map((f) => html`<span class="tag" key=${f}>${plain(f)}</span>`)}</div>`}
    <div class="foot"><${Button} icon="runs" disabled=${!a.available} onClick=${() => newRun({ agent: a.uid })}>Run<span class="sr"> ${plain(a.name)}</span><//><a href=${href(`/runs?agent=${enc(a.uid)}`)}>Its runs<span class="sr">: ${plain(a.name)}</span></a></div></li>`;
}

const listed = (items) => items.length ? items.map(plain).join(', ') : 'None';

function Details({ agent: a, onClose, edit, remove }) {
  const c = useChoices('environments', 'stores');
  const runs = useLoad((signal) => api.get('/agent/runs', { executor: a.uid, limit: 5 }, { signal }).then((d) => d.runs), [a.uid]);
  const stores = a.memory?.attached_stores ?? [];
  return html`<${Dialog} side title=${plain(a.name)} onClose=${onClose}><div class="stack">
    <div class="actions"><${Button} kind="primary" icon="runs" disabled=${!a.available} onClick=${() => { onClose(); newRun({ agent: a.uid }); }}>Run<//><${Button} onClick=${edit}>Edit<//>${!a.is_default && html`<${Button} kind="danger" onClick=${remove}>Delete<//>`}</div>
    ${a.description && html`<p>${plain(a.description)}</p>`}
    <dl class="facts"><dt>Environment</dt><dd>${a.environment_id ? html`<a href=${href(`/environments?open=${enc(a.environment_id)}`)}>${plain(nameIn(c.environments, a.environment_id))}</a>` : 'None'}</dd>
      <dt>Model</dt><dd>${plain(a.base_model || 'Default')}</dd><dt>Agent program</dt><dd>${plain(a.harness?.type || 'Default')}</dd><dt>Skills</dt><dd>${listed(a.skills)}</dd><dt>Secrets</dt><dd>${listed(a.secrets.map((s) => s.name))}</dd>
      <dt>MCP servers</dt><dd>${listed(Object.keys(a.mcp_servers ?? {}))}</dd><dt>Memory</dt><dd>${a.memory?.auto_memory?.store ? html`<a href=${href(`/settings/memory?open=${enc(a.memory.auto_memory.store.uid)}`)}>Its own</a>${stores.length > 0 && ', '}` : stores.length ? '' : 'None'}${stores.map((s, i) => html`${i > 0 && ', '}<a href=${href(`/settings/memory?open=${enc(s.uid)}`)}>${plain(nameIn(c.stores, s.uid))}</a>`)}</dd>
      ${a.worker_host && html`<dt>Host</dt><dd>${plain(a.worker_host)}</dd>`}<dt>Changed</dt><dd><${Time} at=${a.updated_at} /></dd><dt>ID</dt><dd><code>${a.uid}</code></dd></dl>
    ${a.prompt && html`<h3>Standing instructions</h3><p class="prose">${plain(a.prompt)}</p>`}
    <h3>Latest runs</h3><${RunList} from=${runs} none="None yet." /></div><//>`;
}

export default function Agents() {
  const list = useLoad((signal) => api.get('/agent/identities', {}, { signal }).then((d) => d.agents), []);
  const { environments } = useChoices('environments');
  const [query, set] = useQuery();
  const pane = usePane(), [doing, act] = useState('');
  const close = () => { act(''); pane.close(); }, done = () => { close(); list.reload(); };
  const make = html`<${Button} kind="primary" icon="plus" onClick=${() => pane.show('new')}>New agent<//>`;
  const agent = list.data?.find((a) => a.uid === pane.open);
  return html`<${Page} title="Agents" lead="Agents that you have given a name, standing instructions, tools and a memory." actions=${make}>
    <${PageTabs} label="Agents and skills" tabs=${agentTabs} current="/agents" />
    <${Loaded} from=${list}>${(all) => {
      if (!all.length) return html`<${Empty} icon="agents" title="No agents yet" action=${make}>A saved agent is a colleague with a job: the reviewer, the keeper of dependencies. It has instructions, secrets and a memory of its own, and its runs act in its name. Runs work without one, too.<//>`;
      const rows = all.filter((a) => matches(query.q, a.name, a.description ?? '', a.prompt ?? ''));
      return html`<${Search} label="Search agents" value=${query.q} onInput=${(q) => set({ q }, { replace: true })} />
        ${rows.length ? html`<ul class="cards">${rows.map((a) => html`<${Card} key=${a.uid} agent=${a} environments=${environments} />`)}</ul>` : html`<${NoMatch} clear=${() => set({ q: '' })} />`}`;
    }}<//>
    ${pane.open === 'new' && html`<${AgentForm} onClose=${close} done=${done} />`}
    ${agent && (doing === 'edit' ? html`<${AgentForm} agent=${agent} onClose=${() => act('')} done=${done} />` : html`<${Details} agent=${agent} onClose=${close} edit=${() => act('edit')} remove=${() => act('delete')} />`)}
    ${agent && doing === 'delete' && html`<${Delete} what="agent" name=${agent.name} path=${`/agent/identities/${enc(agent.uid)}`} onClose=${() => act('')} done=${done}>Its API keys end with it. Its runs stay. Schedules and integrations that name it fail until you choose another.<//>`}<//>`;
}
