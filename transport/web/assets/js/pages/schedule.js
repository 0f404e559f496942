// One schedule: what it does, when, and what became of each of its ticks.
import { api, enc } from '../core/api.js';
import { describe } from '../core/cron.js';
import { ownZone, plain } from '../core/format.js';
import { html, useState } from '../core/html.js';
import { go, href, useQuery } from '../core/router.js';
import { Badge, Button, Failure, Loaded, Page, Table, Time, useLoad } from '../core/ui.js';
import { RunList } from '../manage/livelist.js';
import { Delete, Filter, Owned, useChoices, usePane } from '../manage/parts.js';
import { ScheduleForm, inZone } from '../manage/scheduleform.js';
import { RunNow, Status, setEnabled } from './schedules.js';

// outcomes: how each looks, what it is called, and what it means.
const outcomes = {
  fired: ['good', 'Started', 'on time'], caught_up: ['good', 'Caught up', 'late, after the server was away'], queued: ['wait', 'Waiting', 'for an active run to end'],
  skipped: ['dim', 'Skipped', 'another run was at work'], missed: ['need', 'Missed', 'nobody was there to decide in time'], paused: ['dim', 'Paused', 'the schedule was paused'], failed: ['bad', 'Failed', 'the run could not be started'],
};

const ticks = (zone) => [
  { name: 'Due', cell: (t) => html`<time datetime=${t.due_at}>${inZone(t.due_at, zone)}</time>${inZone(t.due_at, zone) !== inZone(t.due_at, ownZone()) && html`<br /><span class="dim">${inZone(t.due_at, ownZone())} for you</span>`}` },
  { name: 'Outcome', cell: (t) => { const [look, name] = outcomes[t.outcome] ?? ['dim', t.outcome]; return html`<${Badge} look=${look}>${name}<//>`; } },
  { name: 'Why', wide: true, cell: (t) => plain(t.reason || outcomes[t.outcome]?.[2] || '') },
  { name: 'Run', cell: (t) => t.run_id ? html`<a href=${href(`/runs/${enc(t.run_id)}`)}>Open run</a>` : html`<span class="dim">None</span>` },
];

function Ledger({ id, zone }) {
  const [query, set] = useQuery();
  const list = useLoad((signal) => api.get(`/oz/schedules/${enc(id)}/ticks`, { limit: 200 }, { signal }).then((d) => d.ticks), [id]);
  return html`<section class="stack" aria-labelledby="ledger"><div class="row"><h2 id="ledger" class="grow">Ticks</h2>
      <${Filter} label="Outcome" value=${query.outcome} options=${[['', 'Any outcome'], ...Object.entries(outcomes).map(([k, [, name]]) => [k, name])]} onInput=${(outcome) => set({ outcome }, { replace: true })} />
      <${Button} kind="quiet small" onClick=${list.reload}>Refresh<//></div>
    <${Loaded} from=${list} rows=${3}>${(all) => {
      const rows = all.filter((t) => !query.outcome || t.outcome === query.outcome);
      return rows.length ? html`<${Table} label="Ticks, newest first" columns=${ticks(zone)} rows=${rows} id=${(t) => t.due_at} />`
        : html`<p class="no-match">${all.length ? 'No tick had this outcome.' : 'It has not ticked yet. Each due moment gets one line here, with what became of it and why.'}</p>`;
    }}<//></section>`;
}

function Runs({ id }) {
  const list = useLoad((signal) => api.get('/agent/runs', { schedule_id: id, limit: 5 }, { signal }).then((d) => d.runs), [id]);
  return html`<section class="panel"><h2>Latest runs</h2><${RunList} from=${list} none="There are none yet." />${list.data?.length > 0 && html`<p><a href=${href(`/runs?schedule=${enc(id)}`)}>All runs of it</a></p>`}</section>`;
}

function Facts({ schedule: s, agent }) {
  const c = s.agent_config ?? {};
  const zone = s.oz?.time_zone || 'UTC';
  const overlap = { skip: 'Skip the tick', queue: 'Wait for the last run', cancel_other: 'Cancel the last run' }[s.oz?.overlap] ?? 'Runs may overlap';
  return html`<section class="panel"><h2>Plan</h2><dl class="facts">
    <dt>Frequency</dt><dd>${describe(s.cron_schedule)} <code>${s.cron_schedule}</code></dd><dt>Time zone</dt><dd>${plain(zone)}</dd>
    <dt>Next run</dt><dd>${s.history?.next_run ? html`${inZone(s.history.next_run, zone)} (<${Time} at=${s.history.next_run} />)` : 'None while it is paused'}</dd>
    ${s.history?.last_ran && html`<dt>Last run</dt><dd><${Time} at=${s.history.last_ran} /></dd>`}
    <dt>Environment</dt><dd>${s.environment ? html`<a href=${href(`/environments?open=${enc(c.environment_id)}`)}>${plain(s.environment.name)}</a>` : c.environment_id ? 'One that you may not see, or that is deleted' : 'None'}</dd>
    <dt>Agent</dt><dd>${s.agent_uid ? html`<a href=${href(`/agents?open=${enc(s.agent_uid)}`)}>${plain(agent)}</a>` : 'Quick run'}</dd>
    ${c.skill_spec && html`<dt>Skill</dt><dd>${plain(c.skill_spec)}</dd>`}${c.model_id && html`<dt>Model</dt><dd>${plain(c.model_id)}</dd>`}${c.worker_host && html`<dt>Host</dt><dd>${plain(c.worker_host)}</dd>`}
    <dt>Overlap</dt><dd>${overlap}</dd>${s.oz?.catch_up_minutes > 0 && html`<dt>Catches up</dt><dd>up to ${s.oz.catch_up_minutes} min late</dd>`}
    <dt>Made by</dt><dd>${plain(s.created_by?.display_name || s.created_by?.uid || '')} <${Owned} scope=${s.scope} /></dd></dl>
    ${s.prompt && html`<h3>Prompt</h3><p class="prose">${plain(s.prompt)}</p>`}</section>`;
}

export default function Schedule({ params }) {
  const one = useLoad((signal) => api.get(`/agent/schedules/${enc(params.id)}`, {}, { signal }), [params.id]);
  const pane = usePane();
  const { agents } = useChoices('agents');
  const [asking, ask] = useState('');
  const s = one.data;
  const back = { href: href('/schedules'), text: 'Schedules' };
  const actions = s && html`<${Button} kind="primary" icon="runs" onClick=${() => ask('run')}>Run now<//>
    <${Button} onClick=${async () => { one.set(await setEnabled(s, !s.enabled)); }}>${s.enabled ? 'Pause' : 'Enable'}<//><${Button} onClick=${() => pane.show('edit')}>Edit<//><${Button} kind="danger" onClick=${() => ask('delete')}>Delete<//>`;
  return html`<${Page} title=${s?.name ?? 'Schedule'} back=${back} lead=${s && html`<${Status} schedule=${s} />`} actions=${actions}>
    <${Loaded} from=${one}>${() => html`
      ${s.last_spawn_error && html`<${Failure} error=${{ message: `The last tick could not start a run: ${s.last_spawn_error}` }} />`}
      <div class="columns"><${Facts} schedule=${s} agent=${agents.find(([a]) => a === s.agent_uid)?.[1] ?? s.agent_uid} /><${Runs} id=${s.id} /></div><${Ledger} id=${s.id} zone=${s.oz?.time_zone} />`}<//>
    ${s && pane.open === 'edit' && html`<${ScheduleForm} schedule=${s} onClose=${pane.close} done=${(saved) => { pane.close(); one.set(saved); }} />`}
    ${asking === 'run' && html`<${RunNow} schedule=${s} onClose=${() => ask('')} />`}
    ${asking === 'delete' && html`<${Delete} what="schedule" name=${s.name} path=${`/agent/schedules/${enc(s.id)}`} onClose=${() => ask('')} done=${() => go('/schedules')}>It starts no more runs. Runs that it has started stay.<//>`}<//>`;
}
