// Agents that work by the clock.
import { api, enc } from '../core/api.js';
import { describe } from '../core/cron.js';
import { plain } from '../core/format.js';
import { html, useState } from '../core/html.js';
import { href, useQuery } from '../core/router.js';
import { Badge, Button, Confirm, Empty, Loaded, Page, Table, Time, toast, useLoad } from '../core/ui.js';
import { Filter, NoMatch, Search, matches, useChoices, usePane } from '../manage/parts.js';
import { ScheduleForm } from '../manage/scheduleform.js';

// Status is how a schedule is.
export const Status = ({ schedule: s }) => !s.enabled ? html`<${Badge} look="dim">Paused<//>` : s.last_spawn_error ? html`<span title=${plain(s.last_spawn_error)}><${Badge} look="bad">Failing<//></span>` : html`<${Badge} look="good">Active<//>`;

// setEnabled pauses or resumes one, and tells.
export async function setEnabled(s, enabled) {
  const now = await api.post(`/agent/schedules/${enc(s.id)}/${enabled ? 'resume' : 'pause'}`);
  toast(enabled ? `${s.name} goes on with its next tick` : `${s.name} is paused`, 'good');
  return now;
}

// RunNow asks and starts a run that is no tick.
export const RunNow = ({ schedule, onClose }) => html`<${Confirm} title=${`Run ${plain(schedule.name)} now?`} action="Run now" onClose=${onClose} onConfirm=${async () => {
  const made = await api.post(`/oz/schedules/${enc(schedule.id)}/run`, undefined, { headers: { 'Oz-Source': 'WEB_APP' } });
  toast('The run is started.', 'good');
  location.assign(href(`/runs/${enc(made.run_id)}`));
}}>It starts at once, beside the ticks of the schedule, with the same prompt and configuration.<//>`;

const shown = { enabled: (s) => s.enabled, paused: (s) => !s.enabled, failing: (s) => s.enabled && s.last_spawn_error };

export default function Schedules() {
  const list = useLoad((signal) => api.get('/agent/schedules', {}, { signal }).then((d) => d.schedules), []);
  const [query, set] = useQuery();
  const pane = usePane();
  const { agents } = useChoices('agents');
  const [running, run] = useState(null);
  const agent = (uid) => agents.find(([a]) => a === uid)?.[1] ?? (uid ? 'Unknown agent' : '');
  const make = html`<${Button} kind="primary" icon="plus" onClick=${() => pane.show('new')}>New schedule<//>`;
  const columns = [
    { name: 'Name', cell: (s) => plain(s.name) },
    { name: 'Frequency', cell: (s) => html`<span title=${s.cron_schedule}>${describe(s.cron_schedule)}</span>${s.oz?.time_zone && html` <span class="dim">${plain(s.oz.time_zone)}</span>`}` },
    { name: 'Next run', cell: (s) => s.history?.next_run ? html`<${Time} at=${s.history.next_run} />` : html`<span class="dim">None</span>` },
    { name: 'Environment', hide: 'phone', cell: (s) => plain(s.environment?.name ?? '') || html`<span class="dim">None</span>` },
    { name: 'Agent', hide: 'phone', cell: (s) => plain(agent(s.agent_uid)) || html`<span class="dim">Quick run</span>` },
    { name: 'Status', cell: (s) => html`<${Status} schedule=${s} />` },
    { name: '', cell: (s) => html`<span class="row tight"><${Button} kind="small" onClick=${() => run(s)}>Run now<span class="sr"> ${plain(s.name)}</span><//>
      <${Button} kind="small quiet" onClick=${async () => { await setEnabled(s, !s.enabled); list.reload(); }}>${s.enabled ? 'Pause' : 'Enable'}<span class="sr"> ${plain(s.name)}</span><//></span>` },
  ];
  return html`<${Page} title="Schedules" lead="Agents that start by the clock. What became of each tick is kept." actions=${make}>
    <${Loaded} from=${list}>${(all) => {
      if (!all.length) return html`<${Empty} icon="schedules" title="No schedules yet" action=${make}>A schedule starts an agent again and again: dependency updates on Mondays, a summary of open issues each morning. Say when, where and what to do.<//>`;
      const rows = all.filter((s) => matches(query.q, s.name, s.prompt, describe(s.cron_schedule), s.environment?.name ?? '') && (!query.status || shown[query.status]?.(s)));
      return html`<${Search} label="Search schedules" value=${query.q} onInput=${(q) => set({ q }, { replace: true })}>
        <${Filter} label="Status" value=${query.status} options=${[['', 'Any status'], ['enabled', 'Active'], ['paused', 'Paused'], ['failing', 'Failing']]} onInput=${(status) => set({ status }, { replace: true })} /><//>
        ${rows.length ? html`<${Table} label="Schedules" columns=${columns} rows=${rows} id=${(s) => s.id} href=${(s) => href(`/schedules/${enc(s.id)}`)} />` : html`<${NoMatch} clear=${() => set({ q: '', status: '' })} />`}`;
    }}<//>
    ${pane.open === 'new' && html`<${ScheduleForm} onClose=${pane.close} done=${() => { pane.close(); list.reload(); }} />`}
    ${running && html`<${RunNow} schedule=${running} onClose=${() => run(null)} />`}<//>`;
}
