// Who carries runs out, and how to add one more.
import { api, enc } from '../core/api.js';
import { plain, plural } from '../core/format.js';
import { html, useEffect, useState } from '../core/html.js';
import { href, useQuery } from '../core/router.js';
import { Badge, Button, Dialog, Empty, Loaded, Page, State, Table, Time, useLoad } from '../core/ui.js';
import { apiBase } from '../core/config.js';
import { RunList } from '../manage/livelist.js';
import { Code, NoMatch, Search, matches, usePane } from '../manage/parts.js';

const every = 5000; // milliseconds between looks, while the page is seen

const Health = ({ worker: w }) => w.draining ? html`<${Badge} look="need">Draining<//>` : w.ready ? html`<${Badge} look="good">Ready<//>` : html`<${Badge} look="wait">Not ready<//>`;

// Load is how many places are taken, as a bar with its words.
function Load({ worker: w }) {
  const words = w.capacity ? `${w.active} of ${w.capacity}` : `${w.active}, no limit`;
  return html`<span class="load">${w.capacity > 0 && html`<progress max=${w.capacity} value=${w.active} aria-label="Places taken">${words}</progress>`}${words}</span>`;
}

function Add({ onClose }) {
  const server = location.origin + apiBase.replace(/\/api\/v1$/, '');
  return html`<${Dialog} side title="Add a worker" onClose=${onClose}><div class="stack steps"><p>A worker is a program on a Linux host of yours. It connects out to this server: no port needs to be open there.</p>
    <ol><li><h3>Make a key for it</h3><p>A key of the type <em>Worker</em>, in <a href=${href('/settings/keys')}>API keys</a>, or with the command line:</p><${Code}>${'oz api-key create build-1 --worker --no-expiration'}<//><p>Write it into the file <code>worker.key</code> on the host, readable to the worker alone.</p></li>
      <li><h3>See what the host lacks</h3><${Code}>${`oz-worker doctor --server ${server} --worker-id build-1 --api-key-file worker.key`}<//></li>
      <li><h3>Start it</h3><${Code}>${`oz-worker --server ${server} --worker-id build-1 --api-key-file worker.key`}<//><p>It appears in the list as soon as it is connected. <code>--label gpu</code> gives it a label that runs can ask for; <code>oz-worker --help</code> shows back-ends and limits.</p></li>
      <li><h3>Use it</h3><p>Runs that name <code>build-1</code> as their host go to it; those that name none go to any worker with a free place.</p></li></ol></div><//>`;
}

// Work lists what runs on workers of an id.
function Work({ id, count }) {
  const runs = useLoad((signal) => api.get('/agent/runs', { state: ['INPROGRESS', 'CLAIMED', 'PENDING'], limit: 50 }, { signal }).then(async (d) => {
    const all = await Promise.all(d.runs.map(async (r) => [r, await api.get(`/oz/runs/${enc(r.run_id)}/executions`, {}, { signal }).then((e) => e.executions, () => [])]));
    return all.filter(([, list]) => list.some((e) => e.worker === id && e.state !== 'ENDED')).map(([r]) => r);
  }), [id, count]);
  return html`<${RunList} from=${runs} none="Nothing that you may see." at=${(r) => r.started_at || r.created_at} />`;
}

function Details({ workers, id, onClose }) {
  const active = workers.reduce((n, w) => n + w.active, 0);
  return html`<${Dialog} side title=${plain(id)} onClose=${onClose}><div class="stack">
    ${workers.map((w) => html`<div class="panel" key=${w.instance}><dl class="facts"><dt>State</dt><dd><${Health} worker=${w} /></dd><dt>Places taken</dt><dd><${Load} worker=${w} /></dd><dt>Kept workspaces</dt><dd>${w.idle ?? 0} for follow-ups, ${w.retained ?? 0} of failed runs</dd>
      <dt>Where</dt><dd>${w.remote ? 'On another host' : 'In the server'}</dd>${w.platform && html`<dt>Platform</dt><dd>${plain(w.platform)}</dd>`}${w.backend && html`<dt>Back-end</dt><dd>${plain(w.backend)}</dd>`}${w.version && html`<dt>Version</dt><dd>${plain(w.version)}</dd>`}
      ${w.connected_since && html`<dt>Connected</dt><dd><${Time} at=${w.connected_since} /></dd>`}${w.instance && html`<dt>Instance</dt><dd><code>${plain(w.instance)}</code></dd>`}
      <dt>Takes</dt><dd>${w.dedicated ? 'Only runs that name it or one of its labels' : 'Any run'}${w.team && ` of team ${plain(w.team)}`}</dd><dt>Labels</dt><dd>${w.labels?.length ? html`<span class="tags">${w.labels.map((l) => html`<span class="tag">${plain(l)}</span>`)}</span>` : 'None'}</dd></dl></div>`)}
    <h3>At work here</h3><${Work} id=${id} count=${active} /></div><//>`;
}

const columns = [
  { name: 'Worker', cell: (w) => plain(w.id) }, { name: 'State', cell: (w) => html`<${Health} worker=${w} />` }, { name: 'Places taken', cell: (w) => html`<${Load} worker=${w} />` },
  { name: 'Labels', hide: 'phone', cell: (w) => html`<span class="tags">${(w.labels ?? []).map((l) => html`<span class="tag">${plain(l)}</span>`)}</span>` },
  { name: 'Where', cell: (w) => w.remote ? plain(w.platform || 'Another host') : 'In the server' }, { name: 'Back-end', hide: 'phone', cell: (w) => plain(w.backend || 'local') }, { name: 'Version', hide: 'phone', cell: (w) => plain(w.version ?? '') },
  { name: 'Connected', hide: 'phone', cell: (w) => w.connected_since ? html`<${Time} at=${w.connected_since} />` : html`<span class="dim">With the server</span>` },
];

export default function Workers() {
  const list = useLoad((signal) => api.get('/oz/workers', {}, { signal }).then((d) => d.workers), []);
  const [query, set] = useQuery();
  const pane = usePane();
  const [adding, add] = useState(false);
  useEffect(() => { const t = setInterval(() => { if (!document.hidden) list.reload(); }, every); return () => clearInterval(t); }, []);
  const more = html`<${Button} kind="primary" icon="plus" onClick=${() => add(true)}>Add a worker<//>`;
  const here = list.data?.filter((w) => w.id === pane.open) ?? [];
  return html`<${Page} title="Workers" lead="The hosts that carry runs out." actions=${more}>
    <${Loaded} from=${list}>${(all) => {
      if (!all.length) return html`<${Empty} icon="workers" title="No worker is connected" action=${more}>Runs wait in the queue until a worker with a free place comes. Start one on any Linux host: it connects out to this server.<//>`;
      const rows = all.filter((w) => matches(query.q, w.id, w.labels ?? [], w.backend ?? '', w.platform ?? ''));
      const free = all.filter((w) => w.ready && !w.draining).reduce((n, w) => n + (w.capacity ? Math.max(0, w.capacity - w.active) : Infinity), 0);
      return html`<p class="dim">${plural(all.length, 'worker')}, ${Number.isFinite(free) ? `${plural(free, 'free place')}` : 'no limit'}.</p>
        ${all.length > 5 && html`<${Search} label="Search workers" value=${query.q} onInput=${(q) => set({ q }, { replace: true })} />`}
        ${rows.length ? html`<${Table} label="Workers" columns=${columns} rows=${rows} id=${(w) => w.id + w.instance} href=${(w) => href(`/workers?open=${enc(w.id)}`)} />` : html`<${NoMatch} clear=${() => set({ q: '' })} />`}`;
    }}<//>
    ${here.length > 0 && html`<${Details} id=${pane.open} workers=${here} onClose=${pane.close} />`}${adding && html`<${Add} onClose=${() => add(false)} />`}<//>`;
}
