// What the agents did and cost, over time and by what.
import { api, enc } from '../core/api.js';
import { duration, number, ownZone, plain } from '../core/format.js';
import { html, useState } from '../core/html.js';
import { newRun } from '../core/newrun.js';
import { href, useQuery } from '../core/router.js';
import { useSession } from '../core/session.js';
import { Button, Dialog, Empty, Form, Input, Loaded, Page, Select, Table, Tabs, Time, toast, useLoad } from '../core/ui.js';
import { Bars, Lines, Ranks, bucketName, dollars, share } from '../manage/charts.js';
import { Delete, Filter, usePane } from '../manage/parts.js';

const day = 86400000;
const zone = ownZone();
const ranges = { '1': ['Last 24 hours', 'hour'], '7': ['Last 7 days', 'day'], '30': ['Last 30 days', 'day'], '90': ['Last 90 days', 'week'], '365': ['Last year', 'week'] };
const groupings = [['agent', 'Agent'], ['source', 'Trigger'], ['environment', 'Environment'], ['creator', 'Person'], ['harness', 'Agent program'], ['model', 'Model']];
const nothing = { agent: 'Without an agent', source: 'Unknown', environment: 'Without an environment', creator: 'Unknown', harness: 'Default', model: 'No model' };
// the parameter of the list of runs that a group's key is a value of
const filters = { agent: 'agent', source: 'source', environment: 'environment', creator: 'creator' };
const codes = (c) => c.replaceAll('_', ' ').replace(/^./, (x) => x.toUpperCase());

const Tile = ({ name, value, note }) => html`<div class="panel figure-tile"><span class="dim">${name}</span><strong>${value}</strong>${note && html`<span class="dim">${note}</span>`}</div>`;

function Tiles({ t }) {
  const ended = t.succeeded + t.failed + t.errors;
  return html`<div class="stat-tiles"><${Tile} name="Runs that ended" value=${number(t.runs)} note=${t.cancelled ? `${number(t.cancelled)} cancelled` : ''} /><${Tile} name="Success rate" value=${share(t.success_rate)} note=${ended ? `of ${number(ended)}` : ''} />
    <${Tile} name="Time at work" value=${t.run_time.count ? duration(t.run_time.p50_ms) : '–'} note=${t.run_time.count ? `95 of 100 within ${duration(t.run_time.p95_ms)}` : ''} /><${Tile} name="Time in the queue" value=${t.queue_time.count ? duration(t.queue_time.p50_ms) : '–'} note=${t.queue_time.count ? `95 of 100 within ${duration(t.queue_time.p95_ms)}` : ''} />
    <${Tile} name="Cost" value=${dollars(t.cost_usd)} note=${t.unpriced ? 'at least: some models have no price' : ''} /></div>`;
}

function Charts({ s }) {
  const rows = (values) => s.buckets.map((b) => ({ name: bucketName(b.start, s.bucket, s.time_zone), values: values(b.stats) }));
  const first = s.bucket === 'hour' ? 'Hour' : s.bucket === 'week' ? 'Week from' : 'Day';
  const times = (t) => t.count ? [t.p50_ms, t.p95_ms] : [undefined, undefined];
  const both = [['accent', 'Half within'], ['need', '95 of 100 within']];
  return html`<div class="chart-grid"><section class="panel"><${Bars} title="Runs by outcome" first=${first} rows=${rows((x) => [x.succeeded, x.failed, x.errors, x.cancelled])} series=${[['good', 'Succeeded'], ['bad', 'Failed'], ['need', 'Error'], ['dim', 'Cancelled']]} /></section>
    <section class="panel"><${Lines} title="Success rate" first=${first} most=${1} format=${share} rows=${rows((x) => [x.success_rate])} series=${[['accent', 'Success rate']]} /></section>
    <section class="panel"><${Lines} title="Time at work" first=${first} format=${duration} rows=${rows((x) => times(x.run_time))} series=${both} /></section><section class="panel"><${Lines} title="Time in the queue" first=${first} format=${duration} rows=${rows((x) => times(x.queue_time))} series=${both} /></section>
    <section class="panel"><${Bars} title="Cost" first=${first} format=${dollars} rows=${rows((x) => [x.cost_usd])} series=${[['accent', 'Cost']]} /></section>
    <${Ranks} title="Why runs failed" look="bad" rows=${s.total.failures.map((f) => ({ name: codes(f.code), key: f.code, value: f.count }))} /></div>`;
}

function Groups({ s, by }) {
  const name = (g) => plain(g.name || g.key || nothing[by]);
  const link = (g) => g.key && filters[by] ? href(`/runs?${filters[by]}=${enc(g.key)}&from=${s.from.slice(0, 10)}`) : '';
  const columns = [{ name: groupings.find(([k]) => k === by)[1], cell: (g) => link(g) ? html`<a href=${link(g)}>${name(g)}</a>` : name(g) }, { name: 'Runs', num: true, cell: (g) => number(g.stats.runs) }, { name: 'Success', num: true, cell: (g) => share(g.stats.success_rate) }, { name: 'At work', num: true, cell: (g) => g.stats.run_time.count ? duration(g.stats.run_time.p50_ms) : '–' },
    { name: 'In the queue', num: true, hide: 'phone', cell: (g) => g.stats.queue_time.count ? duration(g.stats.queue_time.p50_ms) : '–' }, { name: 'Most common failure', hide: 'phone', cell: (g) => g.stats.failures[0] ? `${codes(g.stats.failures[0].code)} (${g.stats.failures[0].count})` : '' }, { name: 'Cost', num: true, cell: (g) => dollars(g.stats.cost_usd) }];
  return html`${s.groups.length ? html`<${Table} label="By group" columns=${columns} rows=${s.groups} id=${(g) => g.key} />` : html`<p class="no-match">Nothing in this time.</p>`}${s.truncated && html`<p class="dim">There are more; these have the most runs.</p>`}`;
}

function Figures() {
  const [query, set] = useQuery();
  const range = ranges[query.range] ? query.range : '30', by = groupings.some(([k]) => k === query.by) ? query.by : 'agent', bucket = ranges[range][1];
  const stats = useLoad((signal) => api.get('/oz/stats', { group_by: by, bucket, time_zone: zone, from: new Date(Date.now() - range * day).toISOString(), limit: 20 }, { signal }), [range, by]);
  return html`<div class="toolbar"><${Filter} label="Time" value=${range} options=${Object.entries(ranges).sort((a, b) => a[0] - b[0]).map(([k, [n]]) => [k, n])} onInput=${(r) => set({ range: r === '30' ? '' : r }, { replace: true })} /><span class="dim">in ${zone}</span></div>
    <${Loaded} from=${stats}>${(s) => s.total.runs === 0 ? html`<${Empty} icon="usage" title="Nothing has ended in this time" action=${html`<${Button} kind="primary" icon="plus" onClick=${() => newRun()}>New run<//>`}>Here is how often runs succeed, how long they work and wait, what they cost and why they fail: as soon as the first has ended. Or choose a longer time.<//>` : html`<${Tiles} t=${s.total} /><${Charts} s=${s} />
      <section class="stack"><div class="row"><h2 class="grow">Compared</h2><${Filter} label="Group by" value=${by} options=${groupings.map(([k, n]) => [k, `By ${n.toLowerCase()}`])} onInput=${(b) => set({ by: b === 'agent' ? '' : b }, { replace: true })} /></div><${Groups} s=${s} by=${by} /></section>`}<//>`;
}

const kinds = [['total', 'In all'], ['day', 'Day'], ['user', 'Person'], ['team', 'Team'], ['model', 'Model'], ['agent', 'Agent'], ['source', 'Trigger']];
const tokens = (t) => t.input + t.input_cache_read + t.input_cache_write + t.output;

// Spending is what was used, tokens and all, as it is accounted.
function Spending() {
  const [query, set] = useQuery();
  const by = kinds.some(([k]) => k === query.by) ? query.by : 'model', range = ranges[query.range] ? query.range : '30';
  const usage = useLoad((signal) => api.get('/oz/usage', { group_by: by, after: new Date(Date.now() - range * day).toISOString() }, { signal }), [by, range]);
  const columns = [{ name: kinds.find(([k]) => k === by)[1], cell: (r) => plain(r.name || r.key || 'None') }, { name: 'Runs', num: true, cell: (r) => number(r.runs) }, { name: 'Calls', num: true, hide: 'phone', cell: (r) => number(r.calls) }, { name: 'Tokens', num: true, cell: (r) => html`<span title=${`${number(r.tokens.input)} in, ${number(r.tokens.input_cache_read)} from the cache, ${number(r.tokens.input_cache_write)} into it, ${number(r.tokens.output)} out`}>${number(tokens(r.tokens))}</span>` }, { name: 'At work', num: true, hide: 'phone', cell: (r) => duration(r.run_time_ms) }, { name: 'Cost', num: true, cell: (r) => `${r.unpriced ? 'at least ' : ''}${dollars(r.cost_usd)}` }];
  return html`<div class="toolbar"><${Filter} label="Time" value=${range} options=${Object.entries(ranges).sort((a, b) => a[0] - b[0]).map(([k, [n]]) => [k, n])} onInput=${(r) => set({ range: r === '30' ? '' : r }, { replace: true })} /><${Filter} label="Group by" value=${by} options=${kinds.map(([k, n]) => [k, k === 'total' ? n : `By ${n.toLowerCase()}`])} onInput=${(b) => set({ by: b }, { replace: true })} /></div>
    <${Loaded} from=${usage}>${(u) => u.rows.length ? html`<${Table} label="Usage" columns=${columns} rows=${u.rows} id=${(r) => r.key} />${u.truncated && html`<p class="dim">There are more rows than are shown.</p>`}` : html`<p class="no-match">Nothing was used in this time.</p>`}<//>`;
}

// scopeName is a budget's scope by name, where it is one of one's own.
function scopeName(me, scope) {
  const type = String(scope.type).toLowerCase();
  if (type === 'user' && scope.uid === me.principal.uid) return 'Me';
  return plain(type === 'team' ? `Team ${me.teams?.find((t) => t.uid === scope.uid)?.name || scope.uid}` : `${scope.type} ${scope.uid}`);
}

function BudgetForm({ item, onClose, done }) {
  const { me } = useSession();
  const scopes = [...(me.teams ?? []).map((t) => [`Team:${t.uid}`, `Team ${t.name || t.uid}`]), [`User:${me.principal.uid}`, 'Me']];
  const [v, set] = useState({ scope: item ? `${item.scope.type}:${item.scope.uid}` : scopes[0][0], usd: item?.limit_usd ?? '', tokens: item?.limit_tokens ?? '', period: item?.period ?? 'month' });
  const put = (c) => set((o) => ({ ...o, ...c }));
  const submit = async () => {
    const [type, ...uid] = v.scope.split(':');
    await api.put(`/oz/budgets/${enc(type)}/${enc(uid.join(':'))}`, { period: v.period, ...(v.usd === '' ? {} : { limit_usd: Number(v.usd) }), ...(v.tokens === '' ? {} : { limit_tokens: Number(v.tokens) }) });
    toast('The budget holds from now on.', 'good');
    done();
  };
  return html`<${Dialog} side title=${item ? 'Change the budget' : 'New budget'} onClose=${onClose}><${Form} action="Save" cancel=${onClose} submit=${submit}>${(errorOf) => html`
    ${item ? html`<p>For ${scopeName(me, item.scope)}</p>` : html`<${Select} label="For" value=${v.scope} options=${scopes} onInput=${(scope) => put({ scope })} error=${errorOf('scope')} />`}
    <${Input} label="At most, US dollars" type="number" min="0" step="any" value=${v.usd} onInput=${(usd) => put({ usd })} error=${errorOf('limit_usd')} /><${Input} label="At most, tokens" type="number" min="0" value=${v.tokens} onInput=${(x) => put({ tokens: x })} error=${errorOf('limit_tokens')} hint="At least one of the two." />
    <${Select} label="Each" value=${v.period} options=${[['day', 'Day'], ['month', 'Month'], ['total', 'Once and for all']]} onInput=${(period) => put({ period })} error=${errorOf('period')} hint="Days and months are those of UTC." />`}<//><//>`;
}

function Budgets() {
  const { me } = useSession();
  const list = useLoad((signal) => api.get('/oz/budgets', {}, { signal }).then((d) => d.budgets), []);
  const pane = usePane(), [gone, ask] = useState(null);
  const id = (b) => `${b.scope.type}:${b.scope.uid}`;
  const make = html`<${Button} kind="primary" icon="plus" onClick=${() => pane.show('new')}>New budget<//>`;
  const item = list.data?.find((b) => id(b) === pane.open), done = () => { ask(null); pane.close(); list.reload(); };
  const bar = (spent, limit, format) => limit === undefined ? html`<span class="dim">No limit</span>` : html`<span class="load"><progress max=${limit || 1} value=${spent} aria-label="Spent">${format(spent)}</progress>${format(spent)} of ${format(limit)}</span>`;
  const columns = [{ name: 'For', cell: (b) => scopeName(me, b.scope) }, { name: 'Each', cell: (b) => ({ day: 'Day', month: 'Month', total: 'In all' })[b.period] ?? b.period }, { name: 'Dollars', cell: (b) => bar(b.spent_usd + b.reserved_usd, b.limit_usd, dollars) }, { name: 'Tokens', cell: (b) => bar(b.spent_tokens + b.reserved_tokens, b.limit_tokens, number) }, { name: 'Starts anew', hide: 'phone', cell: (b) => b.resets_at ? html`<${Time} at=${b.resets_at} />` : 'Never' },
    { name: '', cell: (b) => html`<span class="row tight"><${Button} kind="small" onClick=${() => pane.show(id(b))}>Change<span class="sr"> budget of ${scopeName(me, b.scope)}</span><//><${Button} kind="small quiet" onClick=${() => ask(b)}>Delete<span class="sr"> budget of ${scopeName(me, b.scope)}</span><//></span>` }];
  return html`<${Loaded} from=${list}>${(all) => all.length ? html`<div class="actions">${make}</div><${Table} label="Budgets" columns=${columns} rows=${all} id=${id} />` : html`<${Empty} icon="usage" title="No budgets" action=${make}>A budget bounds what a team or a person may spend on models. It is reserved before each call, so that runs stop before it is passed.<//>`}<//>
    ${(pane.open === 'new' || item) && html`<${BudgetForm} item=${item} onClose=${pane.close} done=${done} />`}${gone && html`<${Delete} what="budget" name=${`the budget of ${scopeName(me, gone.scope)}`} path=${`/oz/budgets/${enc(gone.scope.type)}/${enc(gone.scope.uid)}`} onClose=${() => ask(null)} done=${done}>Spending is not bounded by it any more.<//>`}`;
}

const tabs = [{ id: 'figures', name: 'How it goes' }, { id: 'spending', name: 'Spending' }, { id: 'budgets', name: 'Budgets' }];
const parts = { figures: Figures, spending: Spending, budgets: Budgets };

export default function Usage() {
  const [query, set] = useQuery();
  const tab = parts[query.tab] ? query.tab : 'figures';
  return html`<${Page} title="Usage" lead="What the agents did, how well, and what it cost. Of runs that you may see."><${Tabs} label="Usage" tabs=${tabs} value=${tab} onChange=${(t) => set({ tab: t === 'figures' ? '' : t, by: '', open: '' }, { replace: true })} /><${parts[tab]} /><//>`;
}
