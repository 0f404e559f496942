// What runs, what needs somebody, and what to start.
import { api, enc } from '../core/api.js';
import { ownZone, plain } from '../core/format.js';
import { html, useEffect, useState } from '../core/html.js';
import { newRun } from '../core/newrun.js';
import { go, href } from '../core/router.js';
import { Button, Icon, Loaded, Page, useLoad } from '../core/ui.js';
import { RunList, useRuns } from '../manage/livelist.js';

// panes of the quick actions, loaded when they are opened.
const panes = {
  agent: [() => import('../manage/agentform.js'), 'AgentForm', (a) => `/agents?open=${enc(a.uid)}`],
  schedule: [() => import('../manage/scheduleform.js'), 'ScheduleForm', (s) => `/schedules/${enc(s.id)}`],
  environment: [() => import('./environments.js'), 'EnvironmentForm', () => '/environments'],
};

function Pane({ name, onClose }) {
  const [load, part, to] = panes[name];
  const [m, set] = useState(null);
  useEffect(() => { load().then(set, () => location.reload()); }, []);
  return m && html`<${m[part]} onClose=${onClose} done=${(saved) => go(to(saved ?? {}))} />`;
}

function Actions({ open }) {
  const tile = (icon, name, text, act) => html`<button type="button" class="tile" onClick=${act}><${Icon} name=${icon} size=${22} /><strong>${name}</strong><span class="dim">${text}</span></button>`;
  return html`<div class="tiles">${tile('runs', 'New run', 'Give an agent something to do now', () => newRun())}${tile('agents', 'New agent', 'Instructions, tools and a memory', () => open('agent'))}
    ${tile('schedules', 'New schedule', 'Work that comes back by the clock', () => open('schedule'))}${tile('environments', 'New environment', 'Repositories, image, set-up', () => open('environment'))}</div>`;
}

// Recent draws the last two weeks; its module and its data come after the rest.
function Recent() {
  const zone = ownZone();
  const stats = useLoad((signal) => Promise.all([import('../manage/charts.js'), api.get('/oz/stats', { bucket: 'day', time_zone: zone, from: new Date(Date.now() - 13 * 86400000).toISOString() }, { signal }).catch((e) => { if (e.status === 404) return null; throw e; })]), []);
  return html`<section class="panel"><div class="row"><h2 class="grow">Two weeks</h2><a href=${href('/usage')}>More</a></div><${Loaded} from=${stats} rows=${2}>${([m, s]) => s?.total.runs ? html`
    <p class="big">${m.share(s.total.success_rate)} <span class="dim">of ${s.total.succeeded + s.total.failed + s.total.errors} that ended succeeded</span></p>
    <${m.Bars} title="Runs by outcome" rows=${s.buckets.map((b) => ({ name: m.bucketName(b.start, 'day', zone), values: [b.stats.succeeded, b.stats.failed + b.stats.errors, b.stats.cancelled] }))} series=${[['good', 'Succeeded'], ['bad', 'Failed'], ['dim', 'Cancelled']]} />` : html`<p class="dim">No run has ended yet.</p>`}<//></section>`;
}

function Agents() {
  const list = useLoad((signal) => api.get('/agent/identities', {}, { signal }).then((d) => d.agents.filter((a) => a.available && !a.is_default).sort((a, b) => b.updated_at.localeCompare(a.updated_at)).slice(0, 3)), []);
  return html`<section class="panel"><div class="row"><h2 class="grow">Your agents</h2><a href=${href('/agents')}>All</a></div><${Loaded} from=${list} rows=${2}>${(agents) => agents.length ? html`<ul class="plain-list">${agents.map((a) => html`<li key=${a.uid} class="row"><span class="monogram" aria-hidden="true">${[...a.name][0]?.toUpperCase()}</span><a class="grow" href=${href(`/agents?open=${enc(a.uid)}`)}>${plain(a.name)}</a><${Button} kind="small" onClick=${() => newRun({ agent: a.uid })}>Run<span class="sr"> ${plain(a.name)}</span><//></li>`)}</ul>`
    : html`<p class="dim">An agent has instructions, tools and a memory that all its runs share. You have none yet.</p>`}<//></section>`;
}

function Suggested() {
  const list = useLoad((signal) => api.get('/agent', {}, { signal }).then((d) => d.agents.flatMap((a) => a.variants.filter((v) => v.suggested && !v.error).map((v) => ({ ...v, name: a.name }))).slice(0, 4)), []);
  return html`<section class="panel"><div class="row"><h2 class="grow">Suggested</h2><a href=${href('/skills?tab=suggested')}>All</a></div><${Loaded} from=${list} rows=${2}>${(skills) => skills.length ? html`<ul class="plain-list">${skills.map((s) => html`<li key=${s.id} class="row"><div class="grow"><a href=${href(`/skills?tab=suggested&open=${enc(s.id)}`)}>${plain(s.name)}</a><p class="dim clamp one">${plain(s.description)}</p></div><${Button} kind="small" onClick=${() => newRun({ skill: s.id })}>Run<span class="sr"> ${plain(s.name)}</span><//></li>`)}</ul>` : html`<p class="dim">The server came without skills.</p>`}<//></section>`;
}

const changed = (r) => r.updated_at;
// reads are what many find late. On phones there is no room for them.
const reads = [['/integrations', 'Let events start runs', 'A label on an issue, a red pipeline, an alert.'], ['/settings/profiles', 'What agents may do alone', 'Which commands and tools they must ask for.'], ['/usage?tab=budgets', 'Bound what is spent', 'Budgets of teams and people, kept before each call.'], ['/settings/notifications', 'Be told when you are needed', 'On this device, also while no page is open.']];
const Reads = () => html`<section class="panel hide-phone"><h2>Worth a look</h2><ul class="plain-list">${reads.map(([path, name, text]) => html`<li key=${path}><a href=${href(path)}>${name}</a><p class="dim clamp one">${text}</p></li>`)}</ul></section>`;

const why = (r) => r.status_message?.question?.text || r.status_message?.message || '';

export default function Dashboard() {
  const [pane, open] = useState('');
  const needs = useRuns({ state: 'BLOCKED', limit: 5 }), now = useRuns({ state: ['INPROGRESS', 'CLAIMED', 'PENDING', 'QUEUED'], limit: 6 }), failed = useRuns({ state: ['FAILED', 'ERROR'], limit: 5, sort_by: 'updated_at' });
  const all = [needs, now, failed];
  const fresh = all.every((l) => l.data?.length === 0);
  return html`<${Page} title="Dashboard">
    ${fresh && html`<a class="hint-bar" href=${href('/welcome')}><${Icon} name="question" /><span><strong>New here?</strong> The first steps, with a look at what this server has already.</span><${Icon} name="right" /></a>`}
    <${Actions} open=${open} />
    <div class="dash"><div class="stack">
      <section class="panel"><h2>Needs you</h2><${RunList} at=${changed} from=${needs} none="Nobody waits for an answer." says=${why} /></section>
      <section class="panel"><div class="row"><h2 class="grow">Running now</h2><a href=${href('/runs')}>All runs</a></div><${RunList} at=${changed} from=${now} none="Nothing is at work." /></section>
      <section class="panel"><h2>Failed lately</h2><${RunList} at=${changed} from=${failed} none="Nothing has failed." says=${why} /></section></div>
    <div class="stack"><${Recent} /><${Agents} /><${Suggested} /><${Reads} /></div></div>
    ${pane && html`<${Pane} name=${pane} onClose=${() => open('')} />`}<//>`;
}
