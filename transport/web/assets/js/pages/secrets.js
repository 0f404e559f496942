// Secrets: names only. A value is typed once and never comes back.
import { api, enc } from '../core/api.js';
import { plain } from '../core/format.js';
import { html, useState } from '../core/html.js';
import { useQuery } from '../core/router.js';
import { Button, Dialog, Empty, Field, Form, Input, Loaded, Page, Select, Table, Time, toast, useLoad } from '../core/ui.js';
import { Delete, FileField, NoMatch, Owned, Owner, Search, matches, useInTeam } from '../manage/parts.js';

// types of secrets and the parts of each: [name in the value, label, needed].
const types = {
  raw_value: ['Any value', []],
  anthropic_api_key: ['Anthropic API key', []],
  openai_api_key: ['OpenAI API key', [['value', 'API key', true], ['base_url', 'Base URL', false]]],
  anthropic_bedrock_api_key: ['Bedrock API key', [['value', 'API key', true], ['region', 'Region', true]]],
  anthropic_bedrock_access_key: ['Bedrock access key', [['access_key_id', 'Access key ID', true], ['secret_access_key', 'Secret access key', true], ['region', 'Region', true], ['session_token', 'Session token', false]]],
};
const open = ['region', 'base_url', 'access_key_id']; // parts that may be seen while they are typed

const isTeam = (s) => String(s.scope.type).toLowerCase() === 'team';

// Value takes a value without ever showing one that was kept. parts: what has
// been typed so far, by the name of the part ('' is the only one).
function Value({ type, parts, set, error }) {
  const [seen, see] = useState(false), [many, setMany] = useState(false);
  const names = types[type]?.[1] ?? [];
  const put = (name, v) => set({ ...parts, [name]: v });
  if (names.length) return html`${names.map(([name, label, needed], i) => html`<${Input} key=${name} label=${label} required=${needed} type=${open.includes(name) || seen ? 'text' : 'password'} autocomplete="off" spellcheck="false" value=${parts[name]} onInput=${(v) => put(name, v)} error=${i === 0 ? error : ''} />`)}
    <${Button} kind="quiet small" onClick=${() => see(!seen)}>${seen ? 'Hide what is typed' : 'Show what is typed'}<//>`;
  return html`<${Field} label="Value" required error=${error} hint="Sealed when it is stored, and never shown again.">${(a) => many
      ? html`<textarea ...${a} class="code" rows="6" autocomplete="off" spellcheck="false" value=${parts[''] ?? ''} onInput=${(e) => put('', e.target.value)}></textarea>`
      : html`<input ...${a} type=${seen ? 'text' : 'password'} autocomplete="off" spellcheck="false" value=${parts[''] ?? ''} onInput=${(e) => put('', e.target.value)} />`}<//>
    <div class="row">${!many && html`<${Button} kind="quiet small" onClick=${() => see(!seen)}>${seen ? 'Hide what is typed' : 'Show what is typed'}<//>`}<${Button} kind="quiet small" onClick=${() => setMany(!many)}>${many ? 'One line' : 'Several lines'}<//></div>
    <${FileField} label="Or from a file" hint="Key files, certificates. The file is read here and sent as the value." onText=${(text, name) => { setMany(text.includes('\n')); put('', text); toast(`The value is that of ${name}`); }} />`;
}

// valueOf is the value as the server takes it: parts become a JSON object.
function valueOf(type, parts) {
  const names = types[type]?.[1] ?? [];
  if (!names.length) return parts[''] ?? '';
  const given = Object.fromEntries(names.map(([n]) => [n, (parts[n] ?? '').trim()]).filter(([, v]) => v));
  return type === 'openai_api_key' && !given.base_url ? given.value ?? '' : JSON.stringify(given);
}

function NewSecret({ onClose, done }) {
  const team = useInTeam();
  const [v, set] = useState({ name: '', description: '', type: 'raw_value', team });
  const [parts, setParts] = useState({});
  const put = (change) => set((old) => ({ ...old, ...change }));
  const submit = async () => {
    await api.post('/oz/secrets', { name: v.name, description: v.description, type: v.type, team: v.team, value: valueOf(v.type, parts) });
    toast(`${v.name} is stored`, 'good');
    done();
  };
  return html`<${Dialog} side title="New secret" onClose=${onClose}><${Form} action="Store secret" cancel=${onClose} submit=${submit}>${(errorOf) => html`
    <${Input} label="Name" class="code" required value=${v.name} onInput=${(name) => put({ name })} error=${errorOf('name')} placeholder="GITHUB_TOKEN" spellcheck="false" autocomplete="off" hint="Agents find it as the environment variable of this name." />
    <${Select} label="Type" value=${v.type} options=${Object.entries(types).map(([k, [name]]) => [k, name])} onInput=${(type) => { put({ type }); setParts({}); }} error=${errorOf('type')} />
    <${Value} type=${v.type} parts=${parts} set=${setParts} error=${errorOf('value')} />
    <${Input} label="Description" value=${v.description} onInput=${(description) => put({ description })} error=${errorOf('description')} hint="What it is for, so that others know when to renew it." />
    <${Owner} what="it in runs" value=${v.team} onInput=${(t) => put({ team: t })} />`}<//><//>`;
}

function Rotate({ secret, onClose, done }) {
  const [parts, setParts] = useState({});
  const [description, describe] = useState(secret.description ?? '');
  const typed = Object.values(parts).some(Boolean);
  const submit = async () => {
    await api.put(`/oz/secrets/${enc(secret.name)}`, { description, ...(typed ? { value: valueOf(secret.type, parts) } : {}) }, { query: { team: isTeam(secret) } });
    toast(typed ? `${secret.name} has a new value. Runs that start from now on get it.` : 'Saved.', 'good');
    done();
  };
  return html`<${Dialog} side title=${plain(secret.name)} onClose=${onClose}><${Form} action="Save" cancel=${onClose} submit=${submit}>${(errorOf) => html`
    <p class="dim">The value that is stored cannot be shown. Type a new one to replace it; leave it empty to change the description alone.</p>
    <${Value} type=${secret.type} parts=${parts} set=${setParts} error=${errorOf('value')} />
    <${Input} label="Description" value=${description} onInput=${describe} error=${errorOf('description')} />`}<//><//>`;
}

// useUses maps names to the environments and agents that name them.
const useUses = () => useLoad(async (signal) => {
  const [e, a] = await Promise.all(['/agent/environments', '/agent/identities'].map((p) => api.get(p, {}, { signal }).catch(() => ({}))));
  const uses = {};
  for (const x of e.environments ?? []) for (const n of x.config.secrets ?? []) (uses[n] ??= []).push(x.config.name || x.uid);
  for (const x of a.agents ?? []) for (const s of x.secrets ?? []) (uses[s.name] ??= []).push(x.name);
  return uses;
}, []);

export default function Secrets() {
  const list = useLoad((signal) => api.get('/oz/secrets', {}, { signal }).then((d) => d.secrets), []);
  const uses = useUses().data ?? {};
  const [query, set] = useQuery();
  const [doing, act] = useState(null); // [what, secret]
  const close = () => act(null), done = () => { close(); list.reload(); };
  const make = html`<${Button} kind="primary" icon="plus" onClick=${() => act(['new'])}>New secret<//>`;
  const columns = [
    { name: 'Name', cell: (s) => html`<code>${plain(s.name)}</code>` },
    { name: 'Description', cell: (s) => plain(s.description ?? '') || html`<span class="dim">None</span>` },
    { name: 'Type', hide: 'phone', cell: (s) => types[s.type]?.[0] ?? s.type },
    { name: 'Named by', hide: 'phone', cell: (s) => uses[s.name]?.map(plain).join(', ') ?? html`<span class="dim">Nothing by name</span>` },
    { name: 'Belongs to', cell: (s) => html`<${Owned} scope=${s.scope} />` },
    { name: 'Changed', cell: (s) => html`<${Time} at=${s.updated_at} />` },
    { name: '', cell: (s) => html`<span class="row tight"><${Button} kind="small" onClick=${() => act(['rotate', s])}>Replace<span class="sr"> ${plain(s.name)}</span><//><${Button} kind="small quiet" onClick=${() => act(['delete', s])}>Delete<span class="sr"> ${plain(s.name)}</span><//></span>` },
  ];
  const [what, secret] = doing ?? [];
  return html`<${Page} title="Secrets" lead="Keys and tokens that agents get as environment variables. Names can be seen, values never." actions=${make}>
    <${Loaded} from=${list}>${(all) => {
      if (!all.length) return html`<${Empty} icon="secrets" title="No secrets yet" action=${make}>Store what agents need to sign in elsewhere: a token for a git host, a key for a service. Values are sealed, hidden in transcripts, and given only to runs that may have them.<//>`;
      const rows = all.filter((s) => matches(query.q, s.name, s.description ?? '', uses[s.name] ?? []));
      return html`<${Search} label="Search secrets" value=${query.q} onInput=${(q) => set({ q }, { replace: true })} />
        ${rows.length ? html`<${Table} label="Secrets" columns=${columns} rows=${rows} id=${(s) => s.scope.type + s.name} />` : html`<${NoMatch} clear=${() => set({ q: '' })} />`}`;
    }}<//>
    ${what === 'new' && html`<${NewSecret} onClose=${close} done=${done} />`}${what === 'rotate' && html`<${Rotate} secret=${secret} onClose=${close} done=${done} />`}
    ${what === 'delete' && html`<${Delete} what="secret" name=${secret.name} path=${`/oz/secrets/${enc(secret.name)}`} query=${{ team: isTeam(secret) }} onClose=${close} done=${done}>Runs that start from now on do not have it. The value is lost.${uses[secret.name] && ` It is named by ${uses[secret.name].map(plain).join(', ')}.`}<//>`}<//>`;
}
