// The mailbox: what is done, what needs somebody, what went wrong.
import { api, enc } from '../core/api.js';
import { onFeed } from '../core/feed.js';
import { plain } from '../core/format.js';
import { html, useEffect, useRef } from '../core/html.js';
import { href, useQuery } from '../core/router.js';
import { Badge, Button, Empty, Loaded, Page, Tabs, Time, useLoad } from '../core/ui.js';

const kinds = { complete: ['good', 'Complete'], request: ['need', 'Needs you'], error: ['bad', 'Error'] };
const reasons = { question: 'Question', approval: 'Approval', blocked: 'Waits for you', edit_request: 'Wants to edit' };
const filters = ['all', 'unread', 'errors'];

// told lets the shell count anew.
const told = () => window.dispatchEvent(new Event('oz-notifications'));

function Item({ n, read }) {
  const [look, name] = kinds[n.kind] ?? ['dim', n.kind];
  return html`<li class=${`note ${n.read ? '' : 'unread'}`}><${Badge} look=${look}>${reasons[n.reason] ?? name}<//><div class="grow"><a href=${href(`/runs/${enc(n.run_id)}`)} onClick=${() => { if (!n.read) read(n); }}>${plain(n.title)}</a>${!n.read && html`<span class="sr"> (unread)</span>`}${n.text && html`<p class="dim clamp">${plain(n.text)}</p>`}</div>
    <span class="dim"><${Time} at=${n.created_at} /></span>${!n.read && html`<${Button} kind="quiet small" icon="check" label=${`Mark as read: ${plain(n.title)}`} onClick=${() => read(n)} />`}</li>`;
}

export default function Notifications() {
  const [query, set] = useQuery();
  const filter = filters.includes(query.filter) ? query.filter : 'all';
  const list = useLoad((signal) => api.get('/oz/notifications', { filter }, { signal }).catch((e) => { if (e.status === 404) return { notifications: [], unread: 0 }; throw e; }), [filter]);
  const reload = useRef(list.reload);
  reload.current = list.reload;
  useEffect(() => onFeed((e) => { if (e.event === 'notification' || e.event === 'resync') reload.current(); }), []);
  const read = async (n) => {
    await api.post(`/oz/notifications/${enc(n.id)}/read`);
    list.set({ ...list.data, unread: Math.max(0, list.data.unread - 1), notifications: list.data.notifications.map((o) => o.id === n.id ? { ...o, read: true } : o) });
    told();
  };
  const readAll = async () => { await api.post('/oz/notifications/read-all'); list.reload(); told(); };
  const unread = list.data?.unread ?? 0;
  return html`<${Page} title="Notifications" lead="What your runs have to tell you." actions=${html`<${Button} disabled=${!unread} onClick=${readAll}>Mark all as read<//><a class="button" href=${href('/settings/notifications')}>Settings</a>`}>
    <${Tabs} label="Which notifications" value=${filter} onChange=${(f) => set({ filter: f === 'all' ? '' : f }, { replace: true })} tabs=${[{ id: 'all', name: 'All' }, { id: 'unread', name: 'Unread', count: unread || undefined }, { id: 'errors', name: 'Errors' }]} />
    <${Loaded} from=${list}>${({ notifications: all }) => all.length ? html`<ul class="notes">${all.map((n) => html`<${Item} key=${n.id} n=${n} read=${read} />`)}</ul>`
      : html`<${Empty} icon="bell" title=${filter === 'all' ? 'Nothing yet' : filter === 'unread' ? 'All is read' : 'No errors'}>When a run of yours ends, fails, or needs an answer, a line comes here. <a href=${href('/settings/notifications')}>The settings</a> bring it to this device, too.<//>`}<//><//>`;
}
