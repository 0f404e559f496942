// Lists of things with a few fields each: prompts, rules, servers and so on.
// One component for all, so that they work the same way.
import { api, enc } from '../core/api.js';
import { plain } from '../core/format.js';
import { html, useState } from '../core/html.js';
import { useQuery } from '../core/router.js';
import { Button, Dialog, Empty, Form, Loaded, Table, toast, useLoad } from '../core/ui.js';
import { Delete, NoMatch, Owned, Owner, Search, matches, paneHref, useInTeam, usePane } from './parts.js';

// Registry shows and edits one kind of thing.
//   path, list     of the API, and the member of its answer
//   what, a        "rule", "a rule"
//   blank          the values of a new one
//   read(item)     the values of an existing one
//   fields         component of {value, put, errorOf, item}
//   body(value)    what is sent
//   columns        beside name and owner; Empty's text is in teaches
//   shared         whether the owner is asked for; change: whether it can be changed
//   extra(item)    what its pane has below the form
//   warning        what deleting it means
export function Registry({ path, list: member, what, a, blank, read, fields: Fields, body, columns, teaches, icon = 'plus', shared = true, change = true, extra, warning, locked = () => false }) {
  const list = useLoad((signal) => api.get(path, {}, { signal }).then((d) => d[member]), [path]);
  const [query, set] = useQuery();
  const pane = usePane(), [gone, ask] = useState(null);
  const done = () => { ask(null); pane.close(); list.reload(); };
  const make = html`<${Button} kind="primary" icon="plus" onClick=${() => pane.show('new')}>New ${what}<//>`;
  const item = list.data?.find((i) => i.uid === pane.open);
  const all = [{ name: 'Name', cell: (i) => plain(i.name) }, ...columns, { name: 'Belongs to', hide: 'phone', cell: (i) => i.built_in ? html`<span class="tag">Built in</span>` : html`<${Owned} scope=${i.scope} />` }];
  return html`<${Loaded} from=${list}>${(items) => {
    if (!items.length) return html`<${Empty} icon=${icon} title=${`No ${what}s yet`} action=${make}>${teaches}<//>`;
    const rows = items.filter((i) => matches(query.q, i.name, i.description ?? ''));
    return html`<div class="toolbar">${items.length > 6 && html`<${Search} label=${`Search ${what}s`} value=${query.q} onInput=${(q) => set({ q }, { replace: true })} />`}${make}</div>
      ${rows.length ? html`<${Table} label=${`All ${what}s`} columns=${all} rows=${rows} id=${(i) => i.uid} href=${(i) => paneHref(i.uid)} />` : html`<${NoMatch} clear=${() => set({ q: '' })} />`}`;
  }}<//>
  ${(pane.open === 'new' || item) && html`<${Editor} key=${pane.open} ...${{ item, path, what, a, blank, read, Fields, body, shared, extra }} change=${change && !(item && locked(item))} remove=${item && !locked(item) ? () => ask(item) : null} onClose=${pane.close} done=${done} />`}
  ${gone && html`<${Delete} what=${what} name=${gone.name} path=${`${path}/${enc(gone.uid)}`} onClose=${() => ask(null)} done=${done}>${warning}<//>`}`;
}

function Editor({ item, path, what, a, blank, read, Fields, body, shared, extra: Extra, change, remove, onClose, done }) {
  const team = useInTeam();
  const [value, set] = useState(() => item ? read(item) : { ...blank, team });
  const put = (c) => set((v) => ({ ...v, ...c }));
  const submit = async () => {
    const sent = body(value);
    if (item) await api.put(`${path}/${enc(item.uid)}`, { ...sent, ...(item.revision === undefined ? {} : { revision: item.revision }) });
    else await api.post(path, { ...sent, ...(shared ? { team: value.team } : {}) });
    toast(item ? 'Saved.' : `${value.name} is made.`, 'good');
    done();
  };
  const can = !item || change;
  return html`<${Dialog} side title=${item ? plain(item.name) : `New ${what}`} onClose=${onClose}>
    ${item && !can && html`<p class="dim">${item.built_in ? 'It came with the server and cannot be changed.' : `${a[0].toUpperCase()}${a.slice(1)} cannot be changed: delete it and make another.`}</p>`}
    <${Form} action=${!can ? 'Close' : item ? 'Save' : `Create ${what}`} cancel=${can && onClose} submit=${can ? submit : async () => onClose()}>${(errorOf) => html`<fieldset class="plain-set" disabled=${!can}>
      <${Fields} value=${value} put=${put} errorOf=${errorOf} item=${item} />${!item && shared && html`<${Owner} what="it" value=${value.team} onInput=${(t) => put({ team: t })} />`}</fieldset>`}<//>
    ${item && Extra && html`<${Extra} item=${item} />`}
    ${remove && html`<div class="row"><${Button} kind="danger" onClick=${remove}>Delete this ${what}<//></div>`}<//>`;
}
