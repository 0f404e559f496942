// What a team allows, what the operator of the server has decided, and where
// the other limits are.
import { api, enc } from '../core/api.js';
import { plain } from '../core/format.js';
import { html, useState } from '../core/html.js';
import { href, useQuery } from '../core/router.js';
import { leads, useSession } from '../core/session.js';
import { Check, Empty, Loaded, toast, useLoad } from '../core/ui.js';
import { Filter } from './parts.js';

const decided = {
  off: 'The operator of this server has switched links off for everybody.',
  accounts: 'On this server a link opens a run to whoever is signed in and has it.',
  guests: 'On this server a link opens a run to whoever has it, also without an account.',
};

function Sharing({ team, reload }) {
  const { me } = useSession();
  const [busy, set] = useState(false);
  const lead = leads(me, team.uid), off = me.server?.run_links === 'off';
  const flip = async (on) => {
    set(true);
    try { await api.put(`/oz/teams/${enc(team.uid)}`, { no_links: !on }); toast(on ? 'Runs can be shared by link.' : 'Links to the team\u2019s runs are closed.', 'good'); } catch (e) { toast(e, 'bad'); }
    set(false);
    reload();
  };
  return html`<section class="panel stack" aria-label="Sharing"><h2>Sharing</h2>
    <${Check} label="Runs of the team may be shared by link" checked=${!team.no_links && !off} disabled=${!lead || off} aria-busy=${busy} onInput=${(on) => { if (!busy) flip(on); }}
      hint="Switched off, no new links are made and those that exist open nothing, within seconds. Runs can still be shared with persons and teams." />
    <p class="dim">${decided[me.server?.run_links] ?? ''}${!lead && !off ? ' Only admins and owners of the team change this.' : ''}</p></section>`;
}

function Storage() {
  const days = useSession().me.server?.retention_days ?? 0;
  return html`<section class="panel stack" aria-label="Storage"><h2>Storage</h2>
    <p>${days ? `Transcripts and files of a run are removed ${days === 1 ? 'a day' : `${Math.round(days * 100) / 100} days`} after its last change. The run itself stays in the lists.` : 'Transcripts and files of runs are kept for good.'}</p>
    <p class="dim">This is set by the operator of the server (<code>retention_days</code>).</p></section>`;
}

const elsewhere = [['/usage?tab=budgets', 'Budgets', 'What the team and each person may spend on models.'], ['/integrations', 'GitHub and other services', 'Which accounts and organisations are connected, and which of their repositories may set agents off.'],
  ['/settings/keys', 'API keys', 'Who and what signs in by key; revoke what is not needed.'], ['/settings/team', 'Members', 'Who is on the team, and who leads it.'], ['/settings/audit', 'Audit log', 'Every change here is written there.']];

const Elsewhere = () => html`<section class="panel stack" aria-label="Elsewhere"><h2>Elsewhere</h2><ul class="plain-list">${elsewhere.map(([path, name, what]) => html`<li key=${path}><a href=${href(path)}>${name}</a> <span class="dim">${what}</span></li>`)}</ul></section>`;

function OfTeam({ uid }) {
  const one = useLoad((signal) => api.get(`/oz/teams/${enc(uid)}`, {}, { signal }), [uid]);
  return html`<${Loaded} from=${one}>${(team) => html`<${Sharing} team=${team} reload=${one.reload} />`}<//>`;
}

export function Admin() {
  const list = useLoad((signal) => api.get('/oz/teams', {}, { signal }).then((d) => d.teams), []);
  const [query, set] = useQuery();
  return html`<${Loaded} from=${list}>${(teams) => {
    const uid = teams.find((t) => t.uid === query.team)?.uid ?? teams[0]?.uid;
    if (!uid) return html`<${Empty} icon="people" title="You are on no team">What a team shares, spends and allows is decided here by its admins. Make a team under Members.<//>`;
    return html`${teams.length > 1 && html`<div class="toolbar"><${Filter} label="Team" value=${uid} options=${teams.map((t) => [t.uid, plain(t.name)])} onInput=${(team) => set({ team })} /></div>`}<${OfTeam} key=${uid} uid=${uid} />`;
  }}<//><${Storage} /><${Elsewhere} />`;
}
