// The session that people share: who looks on, who may do what, and how one
// lets others in.
import { html, useCallback, useEffect, useState } from '../core/html.js';
import { api, enc } from '../core/api.js';
import { ago, exact, plain } from '../core/format.js';
import { useSession } from '../core/session.js';
import { Area, Badge, Button, Copy, Dialog, Failure, Form, Input, Loading, Select, toast } from '../core/ui.js';
import { who } from './rows.js';

// useRights asks what the reader may do with a run, and again whenever that may
// have changed.
export function useRights(id, ready, deps) {
  const [rights, set] = useState(null);
  useEffect(() => {
    if (!ready) return undefined;
    const c = new AbortController();
    api.get(`/oz/runs/${enc(id)}/rights`, {}, { signal: c.signal }).then(set, () => {}); // who may not see the run is told by the run itself
    return () => c.abort();
  }, [id, ready, ...deps]);
  return rights;
}

const initials = (name) => { const w = String(name ?? '').trim().split(/\s+/); return plain(((w[0]?.[0] ?? '?') + (w[1]?.[0] ?? '')).toUpperCase()); };
const hue = (s) => { let h = 0; for (const c of String(s)) h = (h * 31 + c.codePointAt(0)) % 6; return h; };

// Presence shows who looks on now.
export function Presence({ who: p, open }) {
  const list = p?.participants ?? [];
  if (list.length + (p?.more ?? 0) < 2 && !p?.edit_requests) return null;
  const names = list.map((x) => `${plain(x.display_name || (x.type === 'guest' ? 'Guest' : x.uid))} (${x.role}${x.terminal ? ', in the terminal' : ''})`);
  const more = (p.more ?? 0) + Math.max(0, list.length - 4);
  return html`<button type="button" class="presence" onClick=${open} title=${names.join('\n')} aria-label=${`${list.length + (p.more ?? 0)} look on: ${names.join(', ')}${p.edit_requests ? `. ${p.edit_requests} ask to edit` : ''}`}>
    ${list.slice(0, 4).map((x) => html`<span class=${`avatar h${hue(x.uid || x.display_name)} ${x.terminal ? 'at-terminal' : ''}`} data-initials=${initials(x.display_name || (x.type === 'guest' ? 'Guest' : x.uid))}></span>`)}
    ${more > 0 && html`<span class="avatar" data-initials=${`+${more}`}></span>`}${p.edit_requests > 0 && html`<${Badge} look="need">${p.edit_requests} ask<//>`}</button>`;
}

// AskToEdit lets a viewer ask for more, and tells what became of it.
export function AskToEdit({ run, rights }) {
  const [mine, set] = useState(null);
  const [open, setOpen] = useState(false);
  const [text, setText] = useState('');
  const load = useCallback(() => api.get(`/oz/runs/${enc(run.run_id)}/edit-requests`).then((a) => set(a.requests.at(-1) ?? null), () => {}), [run.run_id]);
  useEffect(() => { if (rights.request_edit) load(); }, [rights.request_edit, run.updated_at]);
  if (!rights.request_edit) return null;
  if (mine?.state === 'open') return html`<${Badge} look="wait">Asked<//>`;
  return html`${mine?.state === 'refused' && html`<span class="dim">Refused ${ago(mine.decided_at)}</span>`}<${Button} onClick=${() => setOpen(true)}>Ask to edit<//>
    ${open && html`<${Dialog} title="Ask to edit" onClose=${() => setOpen(false)}><${Form} action="Ask" cancel=${() => setOpen(false)} submit=${async () => { set(await api.post(`/oz/runs/${enc(run.run_id)}/edit-requests`, { message: text })); setOpen(false); toast('Whoever may share this run sees it now', 'good'); }}>
      ${(errorOf) => html`<${Area} label="Why, in a few words" hint="You may leave it empty." value=${text} onInput=${setText} error=${errorOf('message')} rows=${3} />`}<//><//>`}`;
}

// Requests are the open ones, for those who decide.
function Requests({ run, count }) {
  const [list, set] = useState([]);
  const load = useCallback(() => api.get(`/oz/runs/${enc(run.run_id)}/edit-requests`).then((a) => set(a.requests.filter((r) => r.state === 'open')), () => {}), [run.run_id]);
  useEffect(() => { load(); }, [count, run.updated_at]);
  if (!list.length) return null;
  const decide = (r, decision) => async () => { await api.post(`/oz/runs/${enc(run.run_id)}/edit-requests/${enc(r.uid)}/decision`, { decision }); await load(); };
  return html`<section class="side-part"><h3>They ask to edit</h3><ul class="people">${list.map((r) => html`<li key=${r.uid}><span class="grow"><strong>${who(r.user)}</strong>${r.message && html`<span class="hint">${plain(r.message)}</span>`}</span>
    <${Button} kind="small primary" onClick=${decide(r, 'approve')}>Approve<//><${Button} kind="small" onClick=${decide(r, 'refuse')}>Refuse<//></li>`)}</ul></section>`;
}

const sees = { private: 'Only who made it, and leaders of the team', team: 'Everybody on the team', link: 'Whoever is signed in and has the address' };
const roles = [['viewer', 'may look on'], ['editor', 'may write to the agent']];

// Share is the dialog by which others are let in, and out.
export function Share({ run, rights, presence, onClose }) {
  const [sharing, set] = useState(null);
  const [error, setError] = useState(null);
  const [people, setPeople] = useState([]);
  const { me } = useSession() ?? {};
  const path = `/oz/runs/${enc(run.run_id)}`;
  useEffect(() => { api.get(`${path}/sharing`).then(set, setError); }, [run.updated_at]);
  useEffect(() => {
    const team = run.scope?.type === 'Team' ? run.scope.uid : me?.teams?.[0]?.uid;
    if (team) api.get(`/oz/teams/${enc(team)}`).then((a) => setPeople(a.members ?? []), () => {});
  }, []);
  const put = async (next) => { set(await api.put(`${path}/sharing`, next)); };
  if (error) return html`<${Dialog} title="Share" onClose=${onClose}><${Failure} error=${error} /><//>`;
  if (!sharing) return html`<${Dialog} title="Share" onClose=${onClose}><${Loading} rows=${3} /><//>`;
  const may = rights?.share, grants = sharing.grants ?? [];
  const nameOf = (g) => { const p = people.find((m) => m.user.uid === g.user_uid); return plain(p?.user.display_name ?? g.user_uid ?? (g.team_uid ? `Team ${g.team_uid}` : '')); };
  return html`<${Dialog} title="Share this run" onClose=${onClose}>
    ${presence?.edit_requests > 0 && html`<${Requests} run=${run} count=${presence.edit_requests} />`}
    <section class="side-part">${!may && html`<h3>Who may see it</h3>`}
      ${may ? html`<${Select} label="Who may see it" value=${sharing.visibility || 'team'} options=${Object.entries(sees)} onInput=${(v) => put({ ...sharing, visibility: v }).catch((e) => toast(e, 'bad'))} />` : html`<p>${sees[sharing.visibility || 'team']}.</p>`}
      ${sharing.visibility === 'link' && may && html`<${Select} label="What the address gives" value=${sharing.link_role || 'viewer'} options=${roles} onInput=${(v) => put({ ...sharing, link_role: v }).catch((e) => toast(e, 'bad'))} />`}
      <div class="row"><code class="grow one-line">${location.origin + location.pathname}</code><${Copy} text=${location.origin + location.pathname} label="Copy the address" /></div></section>
    <section class="side-part"><h3>By name</h3><ul class="people">${grants.map((g) => html`<li key=${g.user_uid ?? g.team_uid}><span class="grow"><strong>${nameOf(g)}</strong> <span class="hint">${g.role === 'editor' ? 'may write to the agent' : 'may look on'}</span></span>
        ${may && html`<${Button} kind="small" onClick=${() => put({ ...sharing, grants: grants.filter((x) => x !== g) })}>Remove<//>`}</li>`)}${!grants.length && html`<li class="dim">Nobody beside these.</li>`}</ul>
      ${may && html`<${Invite} add=${(g) => put({ ...sharing, grants: [...grants.filter((x) => x.user_uid !== g.user_uid), g] })} people=${people} />`}</section>
    ${may && rights.links && html`<${Links} path=${path} />`}
    ${!may && html`<p class="hint">Whoever made the run, or leads the team, may change this.</p>`}<//>`;
}

function Invite({ add, people }) {
  const [user, setUser] = useState(''), [role, setRole] = useState('viewer');
  const list = 'share-people';
  return html`<${Form} action="Add" submit=${async () => { await add({ user_uid: user.trim(), role }); setUser(''); }}>${(errorOf) => html`<div class="two"><${Input} label="Person" list=${list} placeholder="E-mail address or name of the account" value=${user} onInput=${setUser} required error=${errorOf('user_uid') || errorOf('grants')} /><${Select} label="Role" value=${role} options=${roles} onInput=${setRole} /></div>
    <datalist id=${list}>${people.map((m) => html`<option value=${m.user.email || m.user.uid}>${plain(m.user.display_name)}</option>`)}</datalist>`}<//>`;
}

const lives = [['60', '1 hour'], ['1440', '1 day'], ['10080', '7 days'], ['43200', '30 days']];

// Links let somebody in who has no account, until they expire or are revoked.
function Links({ path }) {
  const [list, set] = useState(null);
  const [made, setMade] = useState(null);
  const [role, setRole] = useState('viewer'), [life, setLife] = useState('10080'), [name, setName] = useState('');
  const load = useCallback(() => api.get(`${path}/links`).then((a) => set(a.links), () => set([])), [path]);
  useEffect(() => { load(); }, []);
  const revoke = (l) => async () => { await api.del(`${path}/links/${enc(l.uid)}`); toast('Revoked: whoever came by it is out within seconds', 'good'); await load(); };
  return html`<section class="side-part"><h3>By a link</h3><p class="hint">Whoever has the link comes in without an account. It is shown once.</p>
    ${made && html`<div class="status need"><p><strong>Copy it now:</strong></p><div class="row"><code class="grow as-is">${made.url}</code><${Copy} text=${made.url} label="Copy the link" /></div></div>`}
    ${list?.length > 0 && html`<ul class="people">${list.map((l) => html`<li key=${l.uid}><span class="grow"><strong>${plain(l.name || 'Link')}</strong> <span class="hint">${l.role === 'editor' ? 'may write to the agent' : 'may look on'} · ends <span title=${exact(l.expires_at)}>${ago(l.expires_at)}</span> · by ${who(l.created_by)}</span></span><${Button} kind="small danger" onClick=${revoke(l)}>Revoke<//></li>`)}</ul>`}
    <${Form} action="Make a link" submit=${async () => { setMade(await api.post(`${path}/links`, { role, name, expires_in_minutes: Number(life) })); setName(''); await load(); }}>${(errorOf) => html`<div class="three"><${Input} label="For" placeholder="the review" value=${name} onInput=${setName} error=${errorOf('name')} /><${Select} label="Role" value=${role} options=${roles} onInput=${setRole} error=${errorOf('role')} /><${Select} label="Ends after" value=${life} options=${lives} onInput=${setLife} error=${errorOf('expires_in_minutes')} /></div>`}<//></section>`;
}

// A link's secret outlives a sign-in, in this tab alone.
const kept = 'oz-link';

// takeLink reads a link's secret from the address and takes it out of there, so
// that it stays in no history.
export function takeLink() {
  const m = /^#link=(ozl_[\w-]+)$/.exec(location.hash);
  if (m) history.replaceState(history.state, '', location.pathname + location.search);
  try { const old = sessionStorage.getItem(kept); sessionStorage.removeItem(kept); return m?.[1] ?? old ?? ''; } catch { return m?.[1] ?? ''; }
}

// openLink tells the server of a link; afterwards the browser's requests carry
// it. A server that wants an account, too, is told again after the sign-in.
export async function openLink(token) {
  try { return await api.post('/oz/links/open', { token }); } catch (e) {
    if (e.status === 401) { try { sessionStorage.setItem(kept, token); } catch { /* then the link is opened again by hand */ } }
    throw e;
  }
}
