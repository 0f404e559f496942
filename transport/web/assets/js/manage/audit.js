// The audit log, newest first: who did what to what, and whether it was allowed.
import { api } from '../core/api.js';
import { exact, plain } from '../core/format.js';
import { html, useState } from '../core/html.js';
import { useQuery } from '../core/router.js';
import { Badge, Button, Loaded, Table, Time, useLoad } from '../core/ui.js';
import { Filter, NoMatch, Search, matches } from './parts.js';

const size = 200;
// decode reads an entry; of those of others one sees only that they are there.
const decode = (e) => { let b = {}; try { b = JSON.parse(e.body ?? '{}'); } catch { /* its hash still counts */ } return { seq: e.seq, hidden: !e.body, ...b }; };
const page = async (last, signal) => (await api.get('/oz/audit', { after: Math.max(0, last - size), limit: Math.min(size, last) }, { signal })).entries.filter((e) => e.seq <= last).map(decode).reverse();

// newest reads how long the log is, and its end.
async function newest(signal) {
  const { last_seq: last = 0 } = await api.get('/oz/audit', { limit: 1 }, { signal });
  return last ? page(last, signal) : [];
}

const looks = { done: 'good', denied: 'bad', failed: 'bad', begun: 'wait' };
const named = (o) => o.charAt(0).toUpperCase() + o.slice(1);
const who = (e) => e.actor ? e.actor.display_name || e.actor.uid : '';
const what = (e) => [e.object?.type, e.object?.id].filter(Boolean).join(' ');
const more = (e) => Object.entries(e.details ?? {}).map(([k, v]) => `${k}: ${typeof v === 'string' ? v : JSON.stringify(v)}`).join(', ') + (e.reason ? ` ${e.reason}` : '');

export function Audit() {
  const [query, set] = useQuery();
  const [older, add] = useState([]);
  const list = useLoad((signal) => { add([]); return newest(signal); }, []);
  const columns = [{ name: 'When', cell: (e) => html`<span title=${exact(e.time)}><${Time} at=${e.time} /></span>` }, { name: 'Who', cell: (e) => plain(who(e)) }, { name: 'Did', cell: (e) => html`<code>${plain(e.action ?? '')}</code>` }, { name: 'To', cell: (e) => html`${plain(e.object?.type ?? '')} ${e.object?.id && html`<code title=${plain(e.object.id)}>${plain(e.object.id.length > 20 ? `${e.object.id.slice(0, 8)}…` : e.object.id)}</code>`}` },
    { name: 'Outcome', cell: (e) => html`<${Badge} look=${looks[e.outcome] ?? 'dim'}>${plain(named(e.outcome ?? ''))}<//>` }, { name: 'Details', hide: 'phone', wide: true, cell: (e) => html`<span class="dim">${plain(more(e))}</span>` }];
  return html`<p class="dim">Each entry is chained to the one before it, so that none can be changed or taken out unseen. <code>oz audit</code> checks and exports it.</p><${Loaded} from=${list}>${(firstPage) => {
    const read = [...firstPage, ...older], settled = new Set(read.map((e) => e.of).filter(Boolean));
    const all = read.filter((e) => !settled.has(e.seq) && !e.hidden), hidden = read.filter((e) => e.hidden).length; // what was begun is told by how it ended
    const outcomes = [...new Set(all.map((e) => e.outcome).filter(Boolean))];
    const rows = all.filter((e) => matches(query.q, who(e), e.action ?? '', what(e), more(e)) && (!query.outcome || e.outcome === query.outcome));
    return html`<${Search} label="Search by person, action or object" value=${query.q} onInput=${(q) => set({ q }, { replace: true })}><${Filter} label="Outcome" value=${query.outcome} options=${[['', 'Any outcome'], ...outcomes.map((o) => [o, named(o)])]} onInput=${(outcome) => set({ outcome }, { replace: true })} /><//>
      ${rows.length ? html`<${Table} label="Audit log, newest first" columns=${columns} rows=${rows} id=${(e) => e.seq} />` : all.length ? html`<${NoMatch} clear=${() => set({ q: '', outcome: '' })} />` : html`<p class="no-match">Nothing is recorded yet.</p>`}
      ${hidden > 0 && html`<p class="dim">Between these are ${hidden} of others, which admins of their teams see.</p>`}
      ${read.at(-1)?.seq > 1 && html`<div class="actions"><${Button} onClick=${async () => add([...older, ...await page(read.at(-1).seq - 1)])}>Older ones<//></div>`}`;
  }}<//>`;
}
