// Members of teams and what they may do.
import { api, enc } from '../core/api.js';
import { plain } from '../core/format.js';
import { html, useState } from '../core/html.js';
import { useQuery } from '../core/router.js';
import { leads, useSession } from '../core/session.js';
import { Button, Check, Confirm, Dialog, Empty, Form, Input, Loaded, Select, Table, toast, useLoad } from '../core/ui.js';
import { Filter, Once, first } from './parts.js';

const roles = [['member', 'Member: runs agents, sees what the team has'], ['admin', 'Admin: also people, keys and limits'], ['owner', 'Owner: also other owners']];
const short = { member: 'Member', admin: 'Admin', owner: 'Owner' };

function Add({ team, onClose, done }) {
  const [v, set] = useState({ email: '', display_name: '', role: 'member', issue_key: false }), [made, show] = useState(null);
  const put = (c) => set((o) => ({ ...o, ...c }));
  const submit = async () => { const a = await api.post(`/oz/teams/${enc(team.uid)}/members`, v); if (a.key) show(a); else { toast('They are on the team.', 'good'); done(); } };
  if (made) return html`<${Dialog} title="Their first key" onClose=${done}><div class="stack"><${Once} label="API key" value=${made.key}>Give it to them on a safe way: it is not shown again.<//><div class="form-actions"><${Button} kind="primary" onClick=${done}>Done<//></div></div><//>`;
  return html`<${Dialog} side title="Add a member" onClose=${onClose}><${Form} action="Add" cancel=${onClose} submit=${submit}>${(errorOf) => html`
    <${Input} label="E-mail address" type="email" required value=${v.email} onInput=${(email) => put({ email })} error=${first(errorOf, 'email', 'user_uid')} autocomplete="off" /><${Input} label="Name" value=${v.display_name} onInput=${(display_name) => put({ display_name })} error=${errorOf('display_name')} autocomplete="off" />
    <${Select} label="Role" value=${v.role} options=${roles} onInput=${(role) => put({ role })} error=${errorOf('role')} /><${Check} label="Make a first key for them" checked=${v.issue_key} onInput=${(issue_key) => put({ issue_key })} hint="For somebody who is new here and cannot sign in through your provider." />`}<//><//>`;
}

function NewTeam({ team, onClose, done }) {
  const [name, set] = useState(team?.name ?? '');
  return html`<${Dialog} title=${team ? 'Rename the team' : 'New team'} onClose=${onClose}><${Form} action=${team ? 'Save' : 'Create team'} cancel=${onClose} submit=${async () => { await (team ? api.put(`/oz/teams/${enc(team.uid)}`, { name }) : api.post('/oz/teams', { name })); done(); }}>${(errorOf) => html`<${Input} label="Name" required value=${name} onInput=${set} error=${errorOf('name')} />`}<//><//>`;
}

function Members({ uid, reload }) {
  const { me } = useSession();
  const one = useLoad((signal) => api.get(`/oz/teams/${enc(uid)}`, {}, { signal }), [uid]);
  const [doing, act] = useState(null);
  const close = () => act(null), done = () => { close(); one.reload(); reload(); };
  const lead = leads(me, uid);
  const role = async (m, r) => { try { await api.put(`/oz/teams/${enc(uid)}/members/${enc(m.user.uid)}`, { role: r }); toast('The role is changed.', 'good'); } catch (e) { toast(e, 'bad'); } one.reload(); };
  const columns = [{ name: 'Person', cell: (m) => html`${plain(m.user.display_name || m.user.uid)}${m.user.uid === me.principal.uid && html` <span class="tag">You</span>`}` }, { name: 'E-mail', hide: 'phone', cell: (m) => plain(m.user.email ?? '') },
    { name: 'Role', cell: (m) => lead ? html`<${Filter} label=${`Role of ${plain(m.user.display_name || m.user.uid)}`} value=${m.role} options=${Object.entries(short)} onInput=${(r) => role(m, r)} />` : short[m.role] ?? m.role }, ...(lead ? [{ name: '', cell: (m) => html`<${Button} kind="small quiet" onClick=${() => act(['remove', m])}>Remove<span class="sr"> ${plain(m.user.display_name || m.user.uid)}</span><//>` }] : [])];
  return html`<${Loaded} from=${one}>${(team) => html`<section class="stack" aria-label=${plain(team.name)}><div class="row"><h2 class="grow">${plain(team.name)}</h2>${lead && html`<${Button} kind="quiet" onClick=${() => act(['rename'])}>Rename<//><${Button} kind="primary" icon="plus" onClick=${() => act(['add'])}>Add a member<//>`}</div>
    ${team.members ? html`<${Table} label=${`Members of ${plain(team.name)}`} columns=${columns} rows=${team.members} id=${(m) => m.user.uid} />` : html`<p class="no-match">Only members see who is on this team.</p>`}</section>
    ${doing?.[0] === 'add' && html`<${Add} team=${team} onClose=${close} done=${done} />`}${doing?.[0] === 'rename' && html`<${NewTeam} team=${team} onClose=${close} done=${done} />`}
    ${doing?.[0] === 'remove' && html`<${Confirm} title=${`Remove ${plain(doing[1].user.display_name || doing[1].user.uid)}?`} action="Remove" onClose=${close} onConfirm=${async () => { await api.del(`/oz/teams/${enc(uid)}/members/${enc(doing[1].user.uid)}`); toast('They are off the team.', 'good'); one.reload(); }}>They see nothing of the team any more. What they made for it stays.<//>`}`}<//>`;
}

export function Team() {
  const list = useLoad((signal) => api.get('/oz/teams', {}, { signal }).then((d) => d.teams), []);
  const [query, set] = useQuery();
  const [making, make] = useState(false);
  const button = html`<${Button} icon="plus" onClick=${() => make(true)}>New team<//>`;
  return html`<${Loaded} from=${list}>${(teams) => { const uid = teams.find((t) => t.uid === query.team)?.uid ?? teams[0]?.uid; return uid ? html`<div class="toolbar">${teams.length > 1 && html`<${Filter} label="Team" value=${uid} options=${teams.map((t) => [t.uid, plain(t.name)])} onInput=${(team) => set({ team })} />`}${button}</div><${Members} key=${uid} uid=${uid} reload=${list.reload} />`
    : html`<${Empty} icon="people" title="You are on no team" action=${button}>A team shares environments, secrets, schedules and runs. Integrations and workers belong to teams.<//>`; }}<//>
    ${making && html`<${NewTeam} onClose=${() => make(false)} done=${() => { make(false); list.reload(); }} />`}`;
}
