// Settings: keys, people, what runs can choose from, and this browser.
import { html, useEffect, useRef, useState } from '../core/html.js';
import { href } from '../core/router.js';
import { Empty, Failure, Loading, Page } from '../core/ui.js';

const things = () => import('../manage/things.js');
const registry = (name) => async () => { const [{ Registry }, t] = await Promise.all([import('../manage/registry.js'), things()]); return () => html`<${Registry} ...${t[name]} />`; };

// tabs in groups: [id, name, lead, loads a component].
const groups = [
  ['Access', [['keys', 'API keys', 'How programs, workers and the command line sign in.', () => import('../manage/keys.js').then((m) => m.Keys)], ['team', 'Members', 'Who is on the team, and what they may do.', () => import('../manage/team.js').then((m) => m.Team)], ['admin', 'Administration', 'What the team allows, and what the server has decided.', () => import('../manage/admin.js').then((m) => m.Admin)], ['audit', 'Audit log', 'Who did what, and whether it was allowed.', () => import('../manage/audit.js').then((m) => m.Audit)]]],
  ['For runs', [['models', 'Models', 'What agents can think with.', async () => { const [R, t] = await Promise.all([registry('endpoints')(), things()]); return () => html`<${t.Catalogue} /><h2>Endpoints of your own</h2><${R} />`; }],
    ['mcp', 'MCP servers', 'Tools that agents can choose.', registry('servers')], ['prompts', 'Saved prompts', 'Tasks that are asked for again and again.', registry('prompts')], ['rules', 'Rules', 'What all runs have to keep to.', registry('rules')],
    ['profiles', 'Agent profiles', 'What agents may do by themselves.', registry('profiles')], ['memory', 'Memory stores', 'What agents learn and keep.', registry('stores')], ['runners', 'Runners', 'Sizes and kinds of machines.', registry('runners')]]],
  ['This browser', [['appearance', 'Appearance', 'How the pages look.', () => import('../manage/device.js').then((m) => m.Appearance)], ['notifications', 'Notifications', 'What you are told, and where.', () => import('../manage/device.js').then((m) => m.Push)]]],
];
const tabs = groups.flatMap(([, list]) => list);

export default function Settings({ params }) {
  const id = params.tab ?? 'keys';
  const tab = tabs.find(([t]) => t === id);
  const [part, set] = useState(null);
  useEffect(() => { let gone = false; tab?.[3]().then((view) => { if (!gone) set({ view }); }, (error) => { if (!gone) set({ error }); }); return () => { gone = true; }; }, []);
  const strip = useRef();
  // On phones the tabs are a strip, of which the current one must be in sight.
  useEffect(() => { const at = strip.current?.querySelector('[aria-current]'); if (at) strip.current.scrollLeft = at.offsetLeft - strip.current.offsetLeft - 40; }, [id]);
  const menu = html`<nav ref=${strip} class="side-tabs" aria-label="Settings">${groups.map(([group, list]) => html`<div key=${group} role="group" aria-label=${group}><span class="group dim">${group}</span>${list.map(([t, name]) => html`<a key=${t} href=${href(`/settings/${t}`)} aria-current=${t === id ? 'page' : undefined}>${name}</a>`)}</div>`)}</nav>`;
  return html`<${Page} title=${tab ? tab[1] : 'Settings'} lead=${tab?.[2]}><div class="with-side">${menu}<div class="stack gap">${!tab ? html`<${Empty} icon="question" title="There is no such setting">Choose one of the list.<//>` : part?.error ? html`<${Failure} error=${part.error} retry=${() => location.reload()} />` : part ? html`<${part.view} />` : html`<${Loading} />`}</div></div><//>`;
}
