// The rules by which integrations start runs by themselves: a form for people,
// and the JSON that the server keeps for who knows it.
import { plain } from '../core/format.js';
import { html, useRef, useState } from '../core/html.js';
import { Area, Button, Check, Input, Select } from '../core/ui.js';
import { Choices, Lines, optional, tidy } from './parts.js';

let last = 0;
const keyed = (value) => ({ key: last += 1, value });

// read gives the list that Rules edits, from the settings of an integration.
export const read = (list) => ({ items: (list ?? []).map(keyed), text: null });

// written gives the list that the server gets. It fails like a refusal of the
// server for JSON that is no list. Without rules there is none.
export function written({ items, text }, field) {
  let list = items.map((i) => trim(i.value));
  if (text !== null) {
    try { list = JSON.parse(text.trim() || '[]'); } catch (e) { throw refused(`This is no JSON: ${e.message}`, field); }
    if (!Array.isArray(list)) throw refused('This must be a list: begin with [ and end with ].', field);
  }
  return list.length ? list : undefined;
}

function refused(text, field) { const bad = new Error(text); bad.problem = { field }; return bad; }

// trim leaves out what is empty, also in the filter.
const trim = (v) => tidy({ ...v, ...(v.filter ? { filter: tidy(v.filter) } : {}) });

// sentence says in words when a rule starts a run, for lists.
export function sentence(spec, v) {
  const kinds = spec.one ? [v.kind] : v.on ?? [];
  const names = kinds.map((k) => spec.kinds.find(([id]) => id === k)?.[1] ?? k);
  const where = spec.filters.filter(([name]) => bag(spec, v)[name]?.length).map(([name, label]) => `${label.toLowerCase()}: ${bag(spec, v)[name].join(', ')}`);
  return [names.join(', or ') || 'Nothing yet', ...where].join('; ');
}

// bag is where the filters of a rule are.
const bag = (spec, v) => (spec.one ? v : v.filter) ?? {};

// Rules edits a list. spec: see providers.js, its rules; value: what read gives.
export function Rules({ spec, value, onInput, errorOf, agents }) {
  const field = `settings.${spec.field}`, { items, text } = value;
  const [bad, setBad] = useState('');
  const add = useRef();
  const expert = () => { setBad(''); onInput({ items, text: JSON.stringify(items.map((i) => trim(i.value)), null, 2) }); };
  const form = () => { setBad(''); try { onInput(read(written(value, field))); } catch (e) { setBad(e.message); } };
  if (text !== null) return html`<section class="stack" aria-label=${spec.title}><${Area} label=${`${spec.title}, as JSON`} class="code" rows=${12} spellcheck="false" value=${text} onInput=${(t) => onInput({ items, text: t })} hint=${spec.json} error=${bad || errorOf(field) || errorOf('settings', true)} />
    <div class="actions"><${Button} kind="small" onClick=${form}>Back to the form<//></div></section>`;
  const put = (key, v) => onInput({ items: items.map((i) => i.key === key ? { key, value: v } : i), text: null });
  const remove = (key) => { onInput({ items: items.filter((i) => i.key !== key), text: null }); add.current?.querySelector('button').focus(); };
  return html`<section class="stack" aria-label=${spec.title}><h3>${spec.title}</h3><p class="hint">${spec.teaches}</p>
    ${items.map((i, n) => html`<${Rule} key=${i.key} ...${{ spec, agents, errorOf }} value=${i.value} at=${n} field=${field} put=${(v) => put(i.key, v)} remove=${() => remove(i.key)} open=${i.fresh} />`)}
    <div class="actions" ref=${add}><${Button} kind="small" icon="plus" onClick=${() => onInput({ items: [...items, { ...keyed(spec.one ? { kind: spec.kinds[0][0] } : { name: '', on: [], prompt: '' }), fresh: true }], text: null })}>Add ${spec.what}<//><${Button} kind="small quiet" onClick=${expert}>Edit as JSON<//></div></section>`;
}

// Rule is one of them, folded: its line says what it does.
function Rule({ spec, value: v, at, field, put, remove, errorOf, agents, open }) {
  const [first] = useState(open);
  // The server names a rule by its name where it has one of its own, and else by its place.
  const of = (name) => errorOf(`${field}[${at}].${name}`) || (v.name && errorOf(`${field}[${v.name}].${name}`)) || '';
  const twice = v.name && errorOf(`${field}[${v.name}]`, true);
  const kinds = spec.one ? [v.kind] : v.on ?? [], filter = bag(spec, v);
  const narrow = (name, list) => put(spec.one ? { ...v, [name]: list } : { ...v, filter: { ...v.filter, [name]: list } });
  const path = (name) => spec.one ? name : `filter.${name}`;
  const shown = spec.filters.filter(([name, , , fits]) => filter[name]?.length || kinds.some((k) => fits.test(k)));
  return html`<details class="unfold rule" open=${first}><summary><span><strong>${plain(v.name || `${spec.noun} ${at + 1}`)}</strong>${v.disabled && html` <span class="tag">Off</span>`} <span class="dim">${plain(sentence(spec, v))}</span></span></summary><div class="stack">
    ${!spec.one && html`<${Input} label="Name of the automation" value=${v.name} onInput=${(name) => put({ ...v, name })} error=${of('name') || twice} hint="Small letters, digits, - and _." spellcheck="false" autocapitalize="off" />`}
    ${spec.one ? html`<${Select} label="When" value=${v.kind} options=${spec.kinds} onInput=${(kind) => put({ ...v, kind })} error=${of('kind')} />` : html`<${Choices} label="When" options=${spec.kinds} value=${v.on ?? []} onInput=${(on) => put({ ...v, on })} error=${of('on')} />`}
    ${shown.length > 0 && html`<fieldset class="ticks"><legend>Only if</legend><p class="hint">${spec.only}</p><div class="two">${shown.map(([name, label, placeholder]) => html`<${Lines} key=${name} label=${label} class="code" rows=${2} spellcheck="false" placeholder=${placeholder} value=${filter[name]} onInput=${(list) => narrow(name, list)} error=${of(path(name))} />`)}</div></fieldset>`}
    ${!spec.one && html`<${Area} label="What to do" rows=${4} value=${v.prompt} onInput=${(prompt) => put({ ...v, prompt })} error=${of('prompt')} placeholder="Find out why the check failed, mend it, and push to the branch." />
      <${Select} label="Carried out by" value=${v.agent_uid ?? ''} options=${optional(agents, v.agent_uid, 'The integration\'s agent')} onInput=${(agent_uid) => put({ ...v, agent_uid })} error=${of('agent_uid')} />
      <${Check} label="Mentions there speak to its run" checked=${!!v.join} onInput=${(join) => put({ ...v, join: join || undefined })} hint="Else they start one of their own." /><${Check} label="Say nothing there" checked=${!!v.quiet} onInput=${(quiet) => put({ ...v, quiet: quiet || undefined })} hint="It posts no comment about the run." />
      <${Check} label="Switched off" checked=${!!v.disabled} onInput=${(disabled) => put({ ...v, disabled: disabled || undefined })} />`}
    <div class="actions"><${Button} kind="small danger" onClick=${remove}>Remove<span class="sr"> ${plain(v.name || `${spec.noun} ${at + 1}`)}</span><//></div></div></details>`;
}
