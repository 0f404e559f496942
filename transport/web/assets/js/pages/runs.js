// All runs, as they change.
import { html, useEffect, useRef, useState } from '../core/html.js';
import { api } from '../core/api.js';
import { duration, money, plain, plural } from '../core/format.js';
import { newRun } from '../core/newrun.js';
import { go, href, useLocation } from '../core/router.js';
import { useSession } from '../core/session.js';
import { Button, Confirm, Empty, Failure, Icon, Loading, Page, State, Time, toast, useNow } from '../core/ui.js';
import { Filters } from '../runs/filters.js';
import { cancelAll, useRuns } from '../runs/list.js';
import { cancellable, cost, filters, question, sourceName, working } from '../runs/query.js';

const kinds = { PULL_REQUEST: ['pull request', 'branch'], PLAN: ['plan', 'check'], SCREENSHOT: ['screenshot', 'image'], FILE: ['file', 'file'], EXTERNAL_REFERENCE: ['reference', 'link'] };

// Artifacts counts them by kind.
function Artifacts({ list }) {
  const by = Map.groupBy(list ?? [], (a) => a.artifact_type);
  return html`<span class="made">${[...by].map(([kind, all]) => { const [name, icon] = kinds[kind] ?? [kind, 'file']; const text = plural(all.length, name);
    return html`<span key=${kind} title=${text}><${Icon} name=${icon} size=${15} /><span aria-hidden="true">${all.length}</span><span class="sr">${text}</span></span>`; })}</span>`;
}

// why is the line below a title: what it waits for or failed by, or the prompt.
function why(run) {
  const said = run.status_message?.message;
  if (said && ['FAILED', 'ERROR', 'BLOCKED'].includes(run.state)) return said;
  const title = (run.title ?? '').replace(/(…|\.\.\.)$/, ''), prompt = run.prompt ?? '';
  return !prompt.startsWith(title) ? prompt : prompt.length > title.length + 40 ? prompt.slice(title.length).trim() : said ?? '';
}

const who = (p) => plain(p?.display_name || p?.email || p?.uid || '');

function Row({ run, now, picked, pick, names }) {
  const ms = working(run, now), usd = cost(run), environment = run.agent_config?.environment_id;
  return html`<li class="run" data-state=${run.state}>
    <label class="pick"><input type="checkbox" checked=${picked} disabled=${!cancellable(run)} onClick=${(e) => pick(run, e.target.checked, e.shiftKey)} aria-label=${`Select ${plain(run.title)}`} /></label>
    <div class="what"><a class="row-link" href=${href(`/runs/${run.run_id}`)}>${plain(run.title || run.prompt || 'Untitled')}</a><p class="why dim">${plain(why(run)).slice(0, 300)}</p></div>
    <div class="state"><${State} state=${run.state} /></div>
    <dl class="of">
      <div><dt>Source</dt><dd>${run.schedule ? plain(run.schedule.schedule_name) : sourceName(run.source)}</dd></div>
      <div><dt>Asked by</dt><dd>${who(run.creator)}</dd></div>
      <div><dt>Environment</dt><dd>${environment ? plain(names.get(environment) ?? run.oz?.environment?.name ?? 'deleted') : html`<span class="dim">none</span>`}</dd></div>
    </dl>
    <div class="figures"><${Artifacts} list=${run.artifacts} />${usd !== undefined && html`<span title="Cost of models"><span class="sr">cost </span>${money(usd)}</span>`}${ms > 0 && html`<span title="Working time"><span class="sr">worked </span>${duration(ms)}</span>`}</div>
    <div class="when dim"><${Time} at=${run.created_at} /></div></li>`;
}

// useEnvironments knows the environments by uid; rows do without until then.
function useEnvironments() {
  const [names, set] = useState(new Map());
  useEffect(() => {
    api.get('/agent/environments').then((a) => set(new Map(a.environments.map((e) => [e.uid, e.config.name]))), () => {});
  }, []);
  return names;
}

function Nothing({ filtered }) {
  if (filtered) return html`<${Empty} icon="search" title="No run fits" action=${html`<${Button} onClick=${() => go('/runs')}>Clear the filters<//>`}>Loosen the filters, or search for another word of the title, the prompt or the skill.<//>`;
  return html`<${Empty} icon="runs" title="No runs yet" action=${html`<${Button} kind="primary" icon="plus" onClick=${() => newRun()}>Start the first run<//>`}>
    A run is one piece of work of an agent: you say what is to be done, it works in a sandbox, and you can watch, steer and follow up. Runs also start by schedules, webhooks, Slack, and from a terminal: <code>oz agent run-cloud --prompt "…"</code><//>`;
}

// Bar is what can be done with the runs that are selected.
function Bar({ picked, rows, clear }) {
  const [asking, ask] = useState(false);
  const ids = rows.filter((r) => picked.has(r.run_id) && cancellable(r)).map((r) => r.run_id);
  const cancel = async () => {
    const { done, failures } = await cancelAll(ids);
    if (done) toast(`${plural(done, 'run')} cancelled`, 'good');
    if (failures.length) toast(`${plural(failures.length, 'run')} could not be cancelled: ${failures[0].message}`, 'bad');
    clear();
  };
  return html`<div class="bar" role="region" aria-label="Selected runs">${ids.length > 0 && html`<strong>${plural(ids.length, 'run')} selected</strong><${Button} kind="danger" icon="stop" onClick=${() => ask(true)}>Cancel ${ids.length === 1 ? 'it' : 'them'}<//>
    <${Button} kind="quiet" onClick=${clear}>Clear<//>`}
    ${asking && html`<${Confirm} title=${`Cancel ${plural(ids.length, 'run')}?`} action="Cancel runs" onConfirm=${cancel} onClose=${() => ask(false)}>Agents stop where they are. What they have done so far stays, and a follow-up can take each of them on.<//>`}</div>`;
}

function List({ runs }) {
  const { rows } = runs;
  const [picked, setPicked] = useState(new Set());
  const last = useRef(null);
  const names = useEnvironments();
  const now = useNow(rows.some((r) => r.state === 'INPROGRESS') ? 1000 : 30000);
  // With shift, all rows since the last one follow.
  const pick = (run, on, shift) => {
    const at = rows.indexOf(run), from = shift && last.current ? rows.findIndex((r) => r.run_id === last.current) : at;
    const [a, b] = [Math.min(at, from < 0 ? at : from), Math.max(at, from)];
    const next = new Set(picked);
    rows.slice(a, b + 1).filter(cancellable).forEach((r) => (on ? next.add(r.run_id) : next.delete(r.run_id)));
    last.current = run.run_id;
    setPicked(next);
  };
  const able = rows.filter(cancellable);
  const all = able.length > 0 && able.every((r) => picked.has(r.run_id));
  return html`<div class="runs-head">${able.length > 0 && html`<label class="pick"><input type="checkbox" checked=${all} onChange=${() => setPicked(all ? new Set() : new Set(able.map((r) => r.run_id)))} /><span>Select all that can be cancelled</span></label>`}
      <${Bar} picked=${picked} rows=${rows} clear=${() => setPicked(new Set())} /></div>
    <ul class="runs" aria-label="Runs">${rows.map((r) => html`<${Row} key=${r.run_id} run=${r} now=${now} names=${names} picked=${picked.has(r.run_id)} pick=${pick} />`)}</ul>
    ${runs.more && html`<div class="row center"><${Button} busy=${runs.busy} onClick=${runs.next}>Show more<//></div>`}`;
}

export default function Runs() {
  const { me } = useSession();
  const { query } = useLocation();
  const runs = useRuns(question(query, me.principal?.uid));
  const filtered = ['q', 'view', ...filters].some((f) => query.get(f));
  return html`<${Page} title="Runs" lead="What agents do and have done." actions=${html`<${Button} kind="primary phone-only" icon="plus" onClick=${() => newRun()}>New run<//>`}>
    <${Filters} />
    ${runs.error && html`<${Failure} error=${runs.error} retry=${() => runs.reload()} />`}
    ${runs.rows === undefined ? !runs.error && html`<${Loading} rows=${6} />` : runs.rows.length === 0 ? html`<${Nothing} filtered=${filtered} />` : html`<${List} key=${query.toString()} runs=${runs} />`}<//>`;
}
