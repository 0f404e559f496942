// The filters above the list. All of them live in the address.
import { html, useEffect, useRef, useState } from '../core/html.js';
import { api } from '../core/api.js';
import { plain } from '../core/format.js';
import { useQuery } from '../core/router.js';
import { useSession } from '../core/session.js';
import { Button, Icon, Input, Select, stateName, useLoad } from '../core/ui.js';
import { filters, quick, sorts, sources, sourceName, states } from './query.js';

const typing = 250; // milliseconds after the last key

// Search changes the address a moment after the typing ends.
function Search({ value, onChange }) {
  const [text, set] = useState(value);
  const timer = useRef();
  useEffect(() => { set(value); }, [value]);
  const put = (v) => { set(v); clearTimeout(timer.current); timer.current = setTimeout(() => onChange(v.trim()), typing); };
  useEffect(() => () => clearTimeout(timer.current), []);
  return html`<div class="search" role="search"><${Icon} name="search" /><input type="search" aria-label="Search runs by title, prompt or skill" placeholder="Search title, prompt, skill" value=${text}
    onInput=${(e) => put(e.target.value)} onKeyDown=${(e) => { if (e.key === 'Enter') { clearTimeout(timer.current); onChange(text.trim()); } }} /></div>`;
}

// useNames loads what the filters choose from, when they are first opened.
function useNames(wanted) {
  const { me } = useSession();
  return useLoad(async (signal) => {
    if (!wanted) return { environments: [], agents: [], people: [] };
    const [environments, agents, team] = await Promise.all([
      api.get('/agent/environments', { sort_by: 'name' }, { signal }), api.get('/agent/identities', {}, { signal }),
      me.teams?.[0] ? api.get(`/oz/teams/${encodeURIComponent(me.teams[0].uid)}`, {}, { signal }).catch(() => ({})) : {},
    ]);
    const people = team.members?.map((m) => [m.user?.uid ?? m.uid, m.user?.display_name ?? m.display_name ?? m.uid]) ?? [[me.principal.uid, me.principal.display_name]];
    return { environments: environments.environments.map((e) => [e.uid, e.config.name]), agents: (agents.agents ?? []).map((a) => [a.uid, a.name]), people };
  }, [wanted]);
}

const nameIn = (pairs, id) => plain(pairs?.find(([v]) => v === id)?.[1] ?? id);

// Chips show each filter that is set, to be taken away.
function Chips({ query, set, names }) {
  const chips = [];
  for (const f of filters) {
    for (const v of query.getAll(f)) {
      const text = f === 'state' ? stateName(v) : f === 'source' ? `from ${sourceName(v)}` : f === 'environment' ? `in ${v === 'empty-environment' ? 'no environment' : nameIn(names?.environments, v)}`
        : f === 'agent' ? `by ${nameIn(names?.agents, v)}` : f === 'creator' ? `asked by ${nameIn(names?.people, v)}` : f === 'schedule' ? 'of one schedule' : f === 'from' ? `since ${v}` : f === 'to' ? `until ${v}` : `skill ${v}`;
      chips.push({ f, v, text: plain(text) });
    }
  }
  if (!chips.length) return null;
  return html`<ul class="chips" aria-label="Filters that are set">${chips.map((c) => html`<li key=${c.f + c.v}><span>${c.text}</span><button type="button" aria-label=${`Remove the filter ${c.text}`}
    onClick=${() => set({ [c.f]: query.getAll(c.f).filter((v) => v !== c.v) })}><${Icon} name="close" size=${14} /></button></li>`)}
    <li class="clear"><button type="button" onClick=${() => set(Object.fromEntries(filters.map((f) => [f, ''])))}>Clear all</button></li></ul>`;
}

function Advanced({ query, set, names }) {
  const get = (f) => query.get(f) ?? '';
  const any = (text, pairs) => [['', text], ...pairs];
  const chosen = query.getAll('state');
  return html`<div class="advanced panel" id="advanced">
    <fieldset class="states"><legend>Status</legend>${states.map((s) => html`<label key=${s}><input type="checkbox" checked=${chosen.includes(s)}
      onChange=${(e) => set({ state: e.target.checked ? [...chosen, s] : chosen.filter((x) => x !== s) })} />${stateName(s)}</label>`)}</fieldset>
    <div class="fields">
      <${Select} label="Source" value=${get('source')} options=${any('Any', Object.entries(sources))} onInput=${(v) => set({ source: v })} />
      <${Select} label="Asked by" value=${get('creator')} options=${any('Anybody', names.people)} onInput=${(v) => set({ creator: v })} />
      <${Select} label="Environment" value=${get('environment')} options=${any('Any', [['empty-environment', 'None'], ...names.environments])} onInput=${(v) => set({ environment: v })} />
      <${Select} label="Agent" value=${get('agent')} options=${any('Any', names.agents)} onInput=${(v) => set({ agent: v })} />
      <${Input} label="Skill" value=${get('skill')} placeholder="owner/repo:path" onInput=${(v) => set({ skill: v.trim() })} />
      <${Input} label="Since" type="date" value=${get('from')} onInput=${(v) => set({ from: v })} />
      <${Input} label="Until" type="date" value=${get('to')} onInput=${(v) => set({ to: v })} />
    </div></div>`;
}

export function Filters() {
  const [values, put, query] = useQuery();
  const set = (changes) => put(changes, { replace: true });
  const count = filters.reduce((n, f) => n + query.getAll(f).length, 0);
  const [open, setOpen] = useState(false);
  const names = useNames(open || count > 0);
  const here = quick.some((f) => f.id === values.view) ? values.view : 'all';
  const to = (id) => { const q = new URLSearchParams(query); if (id === 'all') q.delete('view'); else q.set('view', id); const s = q.toString(); return location.pathname + (s ? `?${s}` : ''); };
  return html`<div class="filters">
    <nav class="quick" aria-label="Quick filters">${quick.map((f) => html`<a key=${f.id} href=${to(f.id)} aria-current=${here === f.id ? 'true' : undefined}>${f.name}</a>`)}</nav>
    <div class="row tools"><${Search} value=${values.q ?? ''} onChange=${(v) => set({ q: v })} />
      <${Button} icon="filter" aria-expanded=${open} aria-controls="advanced" onClick=${() => setOpen(!open)}>Filters${count > 0 && html` <span class="count">${count}</span>`}<//>
      <label class="sort"><span class="sr">Sort by</span><select onChange=${(e) => set({ sort: e.target.value === 'created_at' ? '' : e.target.value })}>${Object.entries(sorts).map(([v, text]) => html`<option value=${v} selected=${(values.sort ?? 'created_at') === v}>${text}</option>`)}</select></label></div>
    ${open && names.data && html`<${Advanced} query=${query} set=${set} names=${names.data} />`}
    <${Chips} query=${query} set=${set} names=${names.data} /></div>`;
}
