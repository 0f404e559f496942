// The form of a schedule: presets or an expression, with what it means and when
// it ticks next, as the server says.
import { api, enc } from '../core/api.js';
import { describe, parse } from '../core/cron.js';
import { ownZone } from '../core/format.js';
import { html, useEffect, useState } from '../core/html.js';
import { Area, Check, Dialog, Failure, Form, Input, Select, toast } from '../core/ui.js';
import { ConfigFields, More, Owner, Suggested, first, optional, tidy, useChoices, useInTeam } from './parts.js';

const zones = () => ['UTC', ...(Intl.supportedValuesOf?.('timeZone') ?? [])].map((z) => [z, '']);

// inZone writes a time as a clock in a zone shows it; unknown zones as UTC.
export function inZone(time, zone) {
  const how = { weekday: 'short', day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23', timeZoneName: 'short' };
  try { return new Date(time).toLocaleString(undefined, { ...how, timeZone: zone || 'UTC' }); } catch { return new Date(time).toLocaleString(undefined, { ...how, timeZone: 'UTC' }); }
}

const presets = [['hourly', 'Every hour'], ['daily', 'Every day'], ['weekdays', 'Monday to Friday'], ['weekly', 'Once a week'], ['monthly', 'Once a month'], ['custom', 'Custom expression']];
const weekdays = [['1', 'Monday'], ['2', 'Tuesday'], ['3', 'Wednesday'], ['4', 'Thursday'], ['5', 'Friday'], ['6', 'Saturday'], ['0', 'Sunday']];

// presetOf finds the preset that an expression is, with its parts.
function presetOf(cron) {
  const m = /^(\d{1,2}) (\*|\d{1,2}) (\*|\d{1,2}) \* (\*|1-5|[0-6])$/.exec(cron.trim());
  const at = m && parse(cron) && { minute: m[1], time: `${m[2].padStart(2, '0')}:${m[1].padStart(2, '0')}`, weekday: m[4], day: m[3] };
  if (!at) return { preset: 'custom' };
  if (m[2] === '*') return m[3] === '*' && m[4] === '*' ? { ...at, preset: 'hourly' } : { preset: 'custom' };
  if (m[3] !== '*') return m[4] === '*' ? { ...at, preset: 'monthly' } : { preset: 'custom' };
  return { ...at, preset: m[4] === '*' ? 'daily' : m[4] === '1-5' ? 'weekdays' : 'weekly' };
}

// cronOf is the other way round.
function cronOf({ preset, minute = '0', time = '09:00', weekday = '1', day = '1' }) {
  const [h, m] = time.split(':').map(Number);
  if (Number.isNaN(h) || Number.isNaN(m)) return '';
  return { hourly: `${Number(minute) || 0} * * * *`, daily: `${m} ${h} * * *`, weekdays: `${m} ${h} * * 1-5`, weekly: `${m} ${h} * * ${/^[0-6]$/.test(weekday) ? weekday : 1}`, monthly: `${m} ${h} ${/^\d+$/.test(day) ? day : 1} * *` }[preset];
}

// Preview tells what an expression means. An answer that is overtaken is dropped.
function Preview({ cron, zone, onError }) {
  const [next, set] = useState(null);
  useEffect(() => {
    const c = new AbortController();
    const t = setTimeout(() => api.get('/oz/schedule-preview', { cron_schedule: cron, time_zone: zone, limit: 4 }, { signal: c.signal }).then(
      (d) => { set(d.next); onError(null); }, (e) => { if (e.name !== 'AbortError') { set(null); onError(e); } }), 250);
    return () => { clearTimeout(t); c.abort(); };
  }, [cron, zone]);
  const words = describe(cron), mine = ownZone();
  return html`<div class="preview" role="status"><strong>${next ? words : 'No ticks to show'}</strong>${next && html`<ol>${next.map((t) => html`<li key=${t}><time datetime=${t}>${inZone(t, zone)}</time>
    ${inZone(t, zone) !== inZone(t, mine) && html` <span class="dim">= ${inZone(t, mine)} for you</span>`}</li>`)}</ol>`}</div>`;
}

function When({ value, put, errorOf }) {
  const [parts, setParts] = useState(() => presetOf(value.cron));
  const [bad, setBad] = useState(null);
  const change = (c) => { const p = { ...parts, ...c }; setParts(p); const cron = cronOf(p); if (cron) put({ cron }); };
  const wrong = (name) => bad?.problem?.field === name ? bad.message.replace(`${name}: `, '') : '';
  const shown = ['cron_schedule', 'oz.time_zone'];
  return html`
    <${Select} label="How often" value=${parts.preset} options=${presets} onInput=${(preset) => change({ preset })} />
    <div class="two">
      ${parts.preset === 'hourly' && html`<${Input} label="Minute" type="number" min="0" max="59" value=${parts.minute ?? '0'} onInput=${(minute) => change({ minute })} error=${first(errorOf, 'cron_schedule') || wrong('cron_schedule')} />`}
      ${parts.preset === 'weekly' && html`<${Select} label="Day" value=${parts.weekday ?? '1'} options=${weekdays} onInput=${(weekday) => change({ weekday })} />`}
      ${parts.preset === 'monthly' && html`<${Input} label="Day of the month" type="number" min="1" max="31" value=${parts.day ?? '1'} onInput=${(day) => change({ day })} hint=${Number(parts.day) > 28 ? 'Months without this day are left out.' : ''} error=${wrong('cron_schedule')} />`}
      ${['daily', 'weekdays', 'weekly', 'monthly'].includes(parts.preset) && html`<${Input} label="Time" type="time" value=${parts.time ?? '09:00'} onInput=${(time) => change({ time })} />`}
      ${parts.preset === 'custom' && html`<${Input} label="Expression" class="code" required value=${value.cron} onInput=${(cron) => put({ cron })} error=${first(errorOf, 'cron_schedule') || wrong('cron_schedule')} spellcheck="false" autocomplete="off"
        hint="minute hour day-of-month month day-of-week; L is the last day" />`}
      <${Suggested} label="Time zone" value=${value.oz.time_zone} options=${zones()} onInput=${(z) => put({ oz: { ...value.oz, time_zone: z } })} error=${first(errorOf, 'oz.time_zone') || wrong('oz.time_zone')} placeholder="UTC" />
    </div>
    <${Preview} cron=${value.cron} zone=${value.oz.time_zone} onError=${setBad} />
    ${bad && !shown.includes(bad.problem?.field) && html`<${Failure} error=${bad} />`}`;
}

// ScheduleForm creates or changes one. schedule: the item, or undefined.
export function ScheduleForm({ schedule, onClose, done }) {
  const team = useInTeam();
  const [value, set] = useState(() => ({
    name: schedule?.name ?? '', cron: schedule?.cron_schedule ?? '0 9 * * 1-5', prompt: schedule?.prompt ?? '', enabled: schedule?.enabled ?? true,
    agent_uid: schedule?.agent_uid ?? '', agent_config: schedule?.agent_config ?? {}, mode: schedule?.mode, team, oz: { overlap: 'allow', ...(schedule ? {} : { time_zone: ownZone() }), ...schedule?.oz },
  }));
  const { agents } = useChoices('agents');
  const put = (change) => set((v) => ({ ...v, ...change }));
  const timing = (name) => (v) => put({ oz: { ...value.oz, [name]: v } });
  const submit = async () => {
    const body = { name: value.name, cron_schedule: value.cron, enabled: value.enabled, prompt: value.prompt, agent_uid: value.agent_uid, agent_config: tidy(value.agent_config),
      oz: { ...tidy(value.oz), catch_up_minutes: Number(value.oz.catch_up_minutes) || 0, jitter_seconds: Number(value.oz.jitter_seconds) || 0 } };
    const saved = schedule ? await api.put(`/agent/schedules/${enc(schedule.id)}`, body) : await api.post('/agent/schedules', { ...tidy(body), enabled: value.enabled, team: value.team });
    toast(schedule ? 'Saved. It counts from the next tick on.' : 'The schedule is made.', 'good');
    done(saved);
  };
  return html`<${Dialog} side title=${schedule ? 'Edit schedule' : 'New schedule'} onClose=${onClose}><${Form} action=${schedule ? 'Save' : 'Create schedule'} cancel=${onClose} submit=${submit}>${(errorOf) => html`
    <${Input} label="Name" required maxlength="200" value=${value.name} onInput=${(name) => put({ name })} error=${errorOf('name')} />
    <${When} value=${value} put=${put} errorOf=${errorOf} />
    <${Area} label="Prompt" rows=${5} value=${value.prompt} onInput=${(prompt) => put({ prompt })} error=${errorOf('prompt')} hint="What to do at each tick. Each run starts afresh. It may be empty when a skill is chosen." />
    <${Select} label="Agent" value=${value.agent_uid} options=${optional(agents, value.agent_uid, 'None: quick run')} onInput=${(agent_uid) => put({ agent_uid })} error=${errorOf('agent_uid')} />
    <${ConfigFields} skill value=${value.agent_config} set=${(agent_config) => put({ agent_config })} errorOf=${errorOf} />
    <${More} title="Overlap and missed ticks" open=${value.oz.overlap !== 'allow' || value.oz.catch_up_minutes > 0 || value.oz.jitter_seconds > 0}>
      <${Select} label="When the last run is still at work" value=${value.oz.overlap} options=${[['allow', 'Start another beside it'], ['skip', 'Skip the tick'], ['queue', 'Wait for it to end'], ['cancel_other', 'Cancel it and start anew']]} onInput=${timing('overlap')} error=${errorOf('oz.overlap')} />
      <div class="two"><${Input} label="Catch up, minutes" type="number" min="0" value=${value.oz.catch_up_minutes ?? 0} onInput=${timing('catch_up_minutes')} error=${errorOf('oz.catch_up_minutes')} hint="How late a tick may start that was missed while the server was away." />
        <${Input} label="Spread, seconds" type="number" min="0" value=${value.oz.jitter_seconds ?? 0} onInput=${timing('jitter_seconds')} error=${errorOf('oz.jitter_seconds')} hint="Delays each start by a fixed part of this, so that not all start together." /></div>
    <//>
    ${!schedule && html`<${Owner} what="the schedule" value=${value.team} onInput=${(t) => put({ team: t })} />`}
    <${Check} label="Enabled" checked=${value.enabled} onInput=${(enabled) => put({ enabled })} hint="A paused schedule keeps its plan and starts nothing." />`}<//><//>`;
}
