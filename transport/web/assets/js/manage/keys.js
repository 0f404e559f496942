// API keys: shown once, revoked at once.
import { api, enc } from '../core/api.js';
import { plain } from '../core/format.js';
import { html, useState } from '../core/html.js';
import { Badge, Button, Confirm, Dialog, Empty, Form, Input, Loaded, Select, Table, Time, toast, useLoad } from '../core/ui.js';
import { Once, first, optional, useChoices, useInTeam, usePane } from './parts.js';

const types = { personal: ['Personal', 'Acts as you.'], team: ['Team', 'Acts for the team, as nobody: it gets the team\'s secrets only.'], agent: ['Agent', 'Acts as a saved agent.'], worker: ['Worker', 'Connects workers, and does nothing else.'] };
const lives = [['30', '30 days'], ['1', '1 day'], ['90', '90 days'], ['', 'Never']];

function NewKey({ onClose, done }) {
  const team = useInTeam();
  const [v, set] = useState({ name: '', type: 'personal', agent: '', days: '30' }), [made, show] = useState(null);
  const { agents } = useChoices('agents');
  const put = (c) => set((o) => ({ ...o, ...c }));
  const submit = async () => show(await api.post('/oz/api-keys', { name: v.name, type: v.type, ...(v.type === 'agent' ? { agent: v.agent } : {}), ...(v.days ? { expires_at: new Date(Date.now() + v.days * 86400000).toISOString() } : {}) }));
  if (made) return html`<${Dialog} title="Your new key" onClose=${done}><div class="stack"><${Once} label="API key" value=${made.key}>Copy it now and keep it like a password: it is not shown again.<//><p>Programs send it as <code>Authorization: Bearer KEY</code>; the command line reads it from <code>OZ_API_KEY</code>.</p><div class="form-actions"><${Button} kind="primary" onClick=${done}>I have copied it<//></div></div><//>`;
  return html`<${Dialog} side title="New API key" onClose=${onClose}><${Form} action="Create key" cancel=${onClose} submit=${submit}>${(errorOf) => html`
    <${Input} label="Name" required value=${v.name} onInput=${(name) => put({ name })} error=${errorOf('name')} hint="Where it is used, so that you know what breaks when you revoke it." />
    <${Select} label="Type" value=${v.type} options=${Object.entries(types).filter(([k]) => team || k === 'personal').map(([k, [n]]) => [k, n])} onInput=${(type) => put({ type })} error=${first(errorOf, 'type', 'team')} hint=${types[v.type][1]} />
    ${v.type === 'agent' && html`<${Select} label="Agent" required value=${v.agent} options=${optional(agents, v.agent, 'Choose one')} onInput=${(agent) => put({ agent })} error=${errorOf('agent')} />`}
    <${Select} label="Expires after" value=${v.days} options=${lives} onInput=${(days) => put({ days })} error=${errorOf('expires_at')} />`}<//><//>`;
}

export function Keys() {
  const list = useLoad((signal) => api.get('/oz/api-keys', {}, { signal }).then((d) => d.keys), []);
  const pane = usePane(), [gone, ask] = useState(null);
  const make = html`<${Button} kind="primary" icon="plus" onClick=${() => pane.show('new')}>New API key<//>`;
  const expired = (k) => k.expires_at && new Date(k.expires_at) < new Date();
  const columns = [{ name: 'Name', cell: (k) => plain(k.name) }, { name: 'Type', cell: (k) => types[k.type]?.[0] ?? k.type }, { name: 'Key', hide: 'phone', cell: (k) => html`<code>…${plain(k.suffix ?? '')}</code>` }, { name: 'Made by', hide: 'phone', cell: (k) => plain(k.creator?.display_name || k.creator?.uid || '') },
    { name: 'Last used', cell: (k) => k.last_used_at ? html`<${Time} at=${k.last_used_at} />` : html`<span class="dim">Never</span>` }, { name: 'Expires', cell: (k) => expired(k) ? html`<${Badge} look="bad">Expired<//>` : k.expires_at ? html`<${Time} at=${k.expires_at} />` : 'Never' },
    { name: '', cell: (k) => html`<${Button} kind="small quiet" onClick=${() => ask(k)}>Revoke<span class="sr"> ${plain(k.name)}</span><//>` }];
  return html`<${Loaded} from=${list}>${(keys) => keys.length ? html`<div class="actions">${make}</div><${Table} label="API keys" columns=${columns} rows=${keys} id=${(k) => k.uid} />` : html`<${Empty} icon="secrets" title="No API keys" action=${make}>Programs, the command line and workers sign in with a key.<//>`}<//>
    ${pane.open === 'new' && html`<${NewKey} onClose=${pane.close} done=${() => { pane.close(); list.reload(); }} />`}
    ${gone && html`<${Confirm} title=${`Revoke ${plain(gone.name)}?`} action="Revoke key" onClose=${() => ask(null)} onConfirm=${async () => { await api.del(`/oz/api-keys/${enc(gone.uid)}`); toast('The key is refused from now on.', 'good'); list.reload(); }}>Whoever uses it is refused at once, browsers that signed in with it, too.<//>`}`;
}
