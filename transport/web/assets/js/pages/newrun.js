// The pane for a new run. What one writes is kept until it is sent.
import { html, useEffect, useRef, useState } from '../core/html.js';
import { api } from '../core/api.js';
import { bytes, plain } from '../core/format.js';
import { keep, kept } from '../core/keep.js';
import { go } from '../core/router.js';
import { Area, Button, Check, Dialog, Failure, Form, Icon, Input, Loading, Select, toast, useLoad } from '../core/ui.js';

const maxFiles = 5, maxFile = 10 * 2 ** 20; // of the API
const images = ['image/jpeg', 'image/png', 'image/gif', 'image/webp'];
const draft = 'draft-run';
const empty = { agent: '', skill: '', prompt: '', environment: '', mode: 'normal', model: '', harness: '', host: '', computer: false, secrets: null, mcp: [], cost: '', minutes: '', title: '', owner: '' };

// some gives what a list answers, or nothing: a choice that cannot be loaded
// must not keep anybody from starting a run.
const some = (promise, name) => promise.then((a) => a[name] ?? [], (e) => { if (e.name === 'AbortError' || e.status === 401) throw e; return []; });

const choices = (signal) => Promise.all([
  some(api.get('/agent/identities', {}, { signal }), 'agents'), some(api.get('/agent/environments', { sort_by: 'name' }, { signal }), 'environments'),
  api.get('/agent/models', {}, { signal }).catch(() => ({ models: [] })), some(api.get('/oz/workers', {}, { signal }), 'workers'),
  some(api.get('/oz/secrets', {}, { signal }), 'secrets'), some(api.get('/oz/mcp-servers', {}, { signal }), 'mcp_servers'),
]).then(([agents, environments, models, workers, secrets, mcp]) => ({ agents, environments, models, workers, secrets, mcp }));

// useDraft gives what is being written and a setter; it is kept at each change.
function useDraft(preset) {
  const [d, set] = useState(() => ({ ...empty, ...kept(draft, {}), ...Object.fromEntries(Object.entries(preset).filter(([k]) => k in empty)) }));
  const change = (part) => set((before) => { const next = { ...before, ...part }; keep(draft, next); return next; });
  return [d, change];
}

const encode = (file) => new Promise((resolve, reject) => {
  const r = new FileReader();
  r.onload = () => resolve({ file_name: file.name, mime_type: file.type || 'application/octet-stream', data: String(r.result).split(',', 2)[1] ?? '' });
  r.onerror = () => reject(new Error(`${file.name} cannot be read`));
  r.readAsDataURL(file);
});

// Files takes files by the chooser, by drag and drop, and by paste into the prompt.
function Files({ files, set, error }) {
  const [over, setOver] = useState(false);
  const input = useRef();
  return html`<div class="field"><div class=${`drop ${over ? 'over' : ''}`} onDragOver=${(e) => { e.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)}
      onDrop=${(e) => { e.preventDefault(); setOver(false); set(e.dataTransfer.files); }}>
      <input ref=${input} id="new-run-files" type="file" multiple accept=${images.join()} onChange=${(e) => { set(e.target.files); e.target.value = ''; }} aria-describedby=${error ? 'new-run-files-error' : undefined} />
      <label class="button small" for="new-run-files"><${Icon} name="clip" />Attach images</label><span>or drop them here: at most ${maxFiles}, each up to ${bytes(maxFile)}</span></div>
    ${files.length > 0 && html`<ul class="files" aria-label="Attached images">${files.map((f) => html`<li key=${f.name}><span class="grow">${plain(f.name)}</span><span class="dim">${bytes(f.size)}</span>
      <${Button} kind="quiet small" icon="close" label=${`Remove ${plain(f.name)}`} onClick=${() => set(null, f)} /></li>`)}</ul>`}
    ${error && html`<p class="field-error" id="new-run-files-error" role="alert">${error}</p>`}</div>`;
}

// useFiles keeps the chosen files within the API's limits.
function useFiles() {
  const [files, setFiles] = useState([]);
  const [error, setError] = useState('');
  const set = (list, without) => {
    if (without) { setFiles((all) => all.filter((f) => f !== without)); setError(''); return; }
    const chosen = [...list];
    const other = chosen.find((f) => !images.includes(f.type));
    const large = chosen.find((f) => f.size > maxFile);
    const all = [...files, ...chosen.filter((f) => f.size <= maxFile && images.includes(f.type) && !files.some((x) => x.name === f.name && x.size === f.size))];
    setError(other ? `${plain(other.name)} is no image: put other material into the repository.` : large ? `${plain(large.name)} has ${bytes(large.size)}; ${bytes(maxFile)} are possible.` : all.length > maxFiles ? `A run takes ${maxFiles} images; the others were left out.` : '');
    setFiles(all.slice(0, maxFiles));
  };
  return { files, error, set };
}

const modes = [['normal', 'Do it', 'The agent works until it is done.'], ['plan', 'Plan first', 'It writes a plan and waits for your approval.'], ['orchestrate', 'Orchestrate', 'It splits the work among runs of its own.']];

const Modes = ({ value, set }) => html`<fieldset class="choices"><legend>How</legend>${modes.map(([id, name, hint]) => html`<label key=${id}><input type="radio" name="mode" checked=${value === id} onChange=${() => set(id)} /><span>${name}<span class="hint">${hint}</span></span></label>`)}</fieldset>`;

// Some chooses among names; null stands for all of them.
function Some({ legend, all, value, names, set }) {
  return html`<fieldset class="choices"><legend>${legend}</legend>${all && html`<label><input type="checkbox" checked=${value === null} onChange=${(e) => set(e.target.checked ? null : [])} /><span>${all}</span></label>`}
    ${value !== null && names.map(([id, name]) => html`<label key=${id}><input type="checkbox" checked=${value.includes(id)} onChange=${(e) => set(e.target.checked ? [...value, id] : value.filter((v) => v !== id))} /><span>${plain(name)}</span></label>`)}</fieldset>`;
}

// request is what the API gets.
export function request(d, attachments) {
  const config = {
    environment_id: d.environment || undefined, model_id: d.model || undefined, worker_host: d.host || undefined,
    harness: d.harness ? { type: d.harness } : undefined, computer_use_enabled: d.computer || undefined, secrets: d.secrets ?? undefined,
    mcp_servers: d.mcp.length ? Object.fromEntries(d.mcp.map((m) => [m.name, { warp_id: m.uid }])) : undefined,
    limits: d.cost || d.minutes ? { max_cost_usd: d.cost ? Number(d.cost) : undefined, max_minutes: d.minutes ? Number(d.minutes) : undefined } : undefined,
  };
  return {
    prompt: d.prompt, title: d.title.trim() || undefined, skill: d.skill.trim() || undefined, agent_identity_uid: d.agent || undefined, mode: d.mode === 'normal' ? undefined : d.mode,
    team: d.owner ? d.owner === 'team' : undefined, attachments: attachments.length ? attachments : undefined, config: Object.values(config).some((v) => v !== undefined) ? config : undefined,
  };
}

const unique = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');

// useSkills gives the ids of skills to choose from. They come from repositories,
// which may take a while: nobody waits for them.
function useSkills() {
  const [ids, set] = useState([]);
  useEffect(() => {
    const c = new AbortController();
    api.get('/agent', {}, { signal: c.signal }).then((a) => set((a.agents ?? []).flatMap((x) => x.variants.map((v) => [v.id, v.description]))), () => {});
    return () => c.abort();
  }, []);
  return ids;
}

function Fields({ d, set, of, files, errorOf }) {
  const err = (...names) => names.map(errorOf).find(Boolean) ?? '';
  const harnesses = [...new Set(of.models.models.flatMap((m) => m.harnesses ?? []))].filter((h) => h !== 'oz');
  const hosts = [...new Set(of.workers.map((w) => w.id))];
  const usable = of.models.models.filter((m) => !m.disable_reason && (!m.harnesses || m.harnesses.includes(d.harness || 'oz')));
  const advanced = Boolean(d.model || d.harness || d.host || d.computer || d.secrets || d.mcp.length || d.cost || d.minutes || d.title || d.owner);
  const skills = useSkills();
  const servers = of.mcp.map((m) => [m.uid, m.name]);
  return html`
    <${Select} label="Agent" value=${d.agent} error=${err('agent_identity_uid')} hint="A saved agent brings its own prompt, skills and settings." options=${[['', 'Quick run, without a saved agent'], ...of.agents.map((a) => [a.uid, plain(a.name)])]} onInput=${(v) => set({ agent: v })} />
    <div onPaste=${(e) => { if (e.clipboardData?.files?.length) files.set(e.clipboardData.files); }}>
      <${Area} label="What shall be done?" rows=${7} value=${d.prompt} error=${err('prompt')} required=${!d.skill} autofocus placeholder="Say what you want, and how one can tell that it is done." onInput=${(v) => set({ prompt: v })} /></div>
    <${Files} files=${files.files} set=${files.set} error=${files.error || err('attachments')} />
    <${Select} label="Environment" value=${d.environment} error=${err('config.environment_id', 'environment_id')} hint="Repositories, image and setup that the work needs."
      options=${[['', d.agent ? "The agent's own, or none" : 'None: an empty directory'], ...of.environments.map((e) => [e.uid, plain(e.config.name)])]} onInput=${(v) => set({ environment: v })} />
    <${Modes} value=${d.mode} set=${(v) => set({ mode: v })} />
    <${Input} label="Skill" value=${d.skill} error=${err('skill')} placeholder="owner/repo:skill" hint="Starts with the instructions of a skill. Optional." spellcheck="false" autocapitalize="off" list="new-run-skills" onInput=${(v) => set({ skill: v })} />
    <datalist id="new-run-skills">${skills.map(([id, what]) => html`<option key=${id} value=${id}>${plain(what).slice(0, 100)}</option>`)}</datalist>
    <details class="more" open=${advanced}><summary><${Icon} name="right" />More settings</summary><div>
      <${Input} label="Title" value=${d.title} error=${err('title')} hint="Made from the prompt when empty." onInput=${(v) => set({ title: v })} />
      <div class="two"><${Select} label="Harness" value=${d.harness} error=${err('config.harness', 'config.harness.type', 'harness')} options=${[['', 'Built in'], ...harnesses.map((h) => [h, h])]} onInput=${(v) => set({ harness: v, model: '' })} />
        <${Select} label="Model" value=${d.model} error=${err('config.model_id', 'model_id')} options=${[['', of.models.default_model_id ? `Default (${of.models.default_model_id})` : 'Default'], ...usable.map((m) => [m.id, plain(m.display_name)])]} onInput=${(v) => set({ model: v })} /></div>
      <div class="two"><${Select} label="Host" value=${d.host} error=${err('config.worker_host', 'worker_host')} options=${[['', 'Any worker'], ...hosts.map((h) => [h, plain(h)])]} onInput=${(v) => set({ host: v })} />
        <${Select} label="Belongs to" value=${d.owner} error=${err('team')} options=${[['', 'Default'], ['team', 'The team'], ['me', 'Me alone']]} onInput=${(v) => set({ owner: v })} /></div>
      <div class="two"><${Input} label="At most, in US dollars" type="number" min="0" step="0.01" inputmode="decimal" value=${d.cost} error=${err('config.limits.max_cost_usd', 'limits.max_cost_usd', 'config.limits')} onInput=${(v) => set({ cost: v })} />
        <${Input} label="At most, in minutes" type="number" min="1" step="1" inputmode="numeric" value=${d.minutes} error=${err('config.limits.max_minutes', 'limits.max_minutes')} onInput=${(v) => set({ minutes: v })} /></div>
      <${Check} label="Computer use" hint="The agent may see and use a screen, where the worker has one." checked=${d.computer} onInput=${(v) => set({ computer: v })} />
      ${of.secrets.length > 0 && html`<${Some} legend="Secrets" all="All that the run may use" value=${d.secrets} names=${of.secrets.map((s) => [s.name, s.name])} set=${(v) => set({ secrets: v })} />`}
      ${servers.length > 0 && html`<${Some} legend="MCP servers" value=${d.mcp.map((m) => m.uid)} names=${servers} set=${(v) => set({ mcp: of.mcp.filter((m) => v.includes(m.uid)).map((m) => ({ uid: m.uid, name: m.name })) })} />`}
    </div></details>`;
}

export function NewRun({ preset = {}, onClose }) {
  const of = useLoad(choices, []);
  const [d, set] = useDraft(preset);
  const files = useFiles();
  const key = useRef(unique());
  // The same request again, after a lost answer, makes no second run; a changed
  // one is another.
  const sent = useRef('');
  useEffect(() => { if (of.data) document.querySelector('dialog.side textarea')?.focus(); }, [Boolean(of.data)]);
  const submit = async () => {
    const body = request(d, await Promise.all(files.files.map(encode)));
    const text = JSON.stringify(body);
    if (sent.current && sent.current !== text) key.current = unique();
    sent.current = text;
    const run = await api.post('/agent/runs', body, { headers: { 'Idempotency-Key': key.current, 'Oz-Source': 'WEB_APP' } });
    keep(draft, null);
    if (run.at_capacity) toast('All places are taken: the run waits for one.');
    onClose();
    go(`/runs/${run.run_id}`);
  };
  return html`<${Dialog} title="New run" side onClose=${onClose}>${of.error && html`<${Failure} error=${of.error} retry=${of.reload} />`}
    ${of.data ? html`<${Form} submit=${submit} action="Start run" cancel=${onClose}>${(errorOf) => html`<${Fields} ...${{ d, set, of: of.data, files, errorOf }} />`}<//>` : !of.error && html`<${Loading} rows=${6} />`}<//>`;
}
