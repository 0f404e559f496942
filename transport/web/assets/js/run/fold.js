// From a log's events to the rows of a transcript: pieces of a text become one
// text, a tool's call, output and result one row. Nothing here touches a page.

// quiet are events that have no row of their own: others, and the panels, tell
// what they say.
const quiet = new Set(['turn_ended', 'usage']);

// maxOutput is how much of a tool's output is kept, in characters; the last of
// it, since that is where a program says how it ended.
const maxOutput = 2 << 20;

// Rows is a stretch of a log as rows. Each row has a key (stable), a seq (its
// first event), a rev (grows when it changes) and a kind.
export class Rows {
  constructor() {
    this.list = [];
    this.texts = new Map(); // message and reasoning rows by kind and ID
    this.calls = new Map(); // tool rows by call ID
    this.shells = new Map(); // terminal rows by ID
    this.phases = new Map(); // the open phases by execution and name
    this.inputs = new Map(); // input rows by event number
    this.delivered = new Set(); // numbers of inputs that the agent has
    this.effects = new Map();
    this.turns = new Map(); // open turns by number: their rows
    this.turn = null;
    this.execution = '';
  }

  // add takes the next events, in order.
  add(events) { for (const e of events) this.#one(e); }

  // before takes the rows of the events just before these; what a stretch's
  // edge has cut in two becomes one again.
  before(older) {
    const gone = new Set();
    const join = (mine, theirs, how) => {
      for (const [k, row] of mine) {
        const old = theirs.get(k);
        if (old && row.headless) { how(old, row); old.rev++; gone.add(row); }
        mine.set(k, old && row.headless ? old : row);
      }
      for (const [k, row] of theirs) if (!mine.has(k)) mine.set(k, row);
    };
    join(this.texts, older.texts, (a, b) => { a.text += b.text; a.more = b.more; a.last = b.last; });
    join(this.calls, older.calls, (a, b) => { a.output = cut(a.output + b.output); a.result = b.result ?? a.result; a.last = b.last; });
    join(this.shells, older.shells, (a, b) => { a.output = cut(a.output + b.output); a.closed = b.closed ?? a.closed; a.last = b.last; });
    join(this.phases, older.phases, (a, b) => { a.status = b.status; a.detail = b.detail; a.ms = b.ms; a.last = b.last; });
    join(this.effects, older.effects, (a, b) => { a.state = b.state; a.detail = { ...a.detail, ...b.detail }; a.last = b.last; });
    for (const [seq, row] of older.inputs) { this.inputs.set(seq, row); if (this.delivered.has(seq)) { row.delivered = true; row.rev++; } }
    for (const seq of older.delivered) this.delivered.add(seq);
    const rest = gone.size ? this.list.filter((r) => !gone.has(r)) : this.list;
    if (rest.length && rest[0].kind === 'execution' && rest[0].id === older.execution) rest.shift();
    this.list = older.list.concat(rest);
  }

  // push adds a row.
  #push(e, kind, fields) {
    if (e.execution_id && e.execution_id !== this.execution) {
      if (kind !== 'execution') this.list.push({ key: `x${e.seq}`, kind: 'execution', seq: e.seq, last: e.seq, rev: 0, time: e.time, id: e.execution_id });
      this.execution = e.execution_id;
    }
    const row = { key: `e${e.seq}`, kind, seq: e.seq, last: e.seq, rev: 0, time: e.time, execution: e.execution_id, ...fields };
    this.list.push(row);
    if (this.turn) this.turn.push(row);
    return row;
  }

  // piece adds to the row that map has at id, or makes one without a head.
  #piece(e, map, id, kind, fields, change) {
    let row = map.get(id);
    if (!row) { row = this.#push(e, kind, { ...fields, headless: true }); map.set(id, row); }
    change(row);
    row.last = e.seq;
    row.rev++;
    return row;
  }

  #one(e) {
    const d = e.data ?? {};
    switch (e.type) {
      case 'message': case 'reasoning': {
        const id = `${e.type} ${d.id}`;
        const row = this.#piece(e, this.texts, id, e.type, { text: '', more: true }, (r) => { r.text += d.text ?? ''; r.more = !!d.more; });
        if (!d.more) { row.text = row.text.trimEnd(); }
        return;
      }
      case 'tool_call':
        this.calls.set(d.id, this.#push(e, 'tool', { id: d.id, name: d.name, category: d.category, input: d.input, output: '', result: null }));
        return;
      case 'tool_output':
        this.#piece(e, this.calls, d.call_id, 'tool', { id: d.call_id, name: '', output: '', result: null }, (r) => { r.output = cut(r.output + (d.text ?? '')); });
        return;
      case 'tool_result':
        this.#piece(e, this.calls, d.call_id, 'tool', { id: d.call_id, name: d.name, category: d.category, output: '', result: null }, (r) => { r.result = d; r.name ||= d.name; r.category ||= d.category; });
        return;
      case 'terminal':
        if (d.state === 'opened') this.shells.set(d.terminal_id, this.#push(e, 'terminal', { id: d.terminal_id, by: d.by, output: '', closed: null }));
        else this.#piece(e, this.shells, d.terminal_id, 'terminal', { id: d.terminal_id, by: d.by, output: '', closed: null }, (r) => { r.closed = d; });
        return;
      case 'terminal_output':
        this.#piece(e, this.shells, d.terminal_id, 'terminal', { id: d.terminal_id, output: '', closed: null }, (r) => { r.output = cut(r.output + (d.text ?? '')); });
        return;
      case 'phase': return this.#phase(e, d);
      case 'input': {
        const row = this.#push(e, 'input', { text: d.text ?? '', from: d.from, mode: d.mode, attachments: d.attachments ?? [], question: d.question, choice: d.choice, approves: d.approves, delivered: this.delivered.has(e.seq) });
        this.inputs.set(e.seq, row);
        return;
      }
      case 'input_delivered':
        for (const seq of d.inputs ?? []) {
          this.delivered.add(seq);
          const row = this.inputs.get(seq);
          if (row) { row.delivered = true; row.rev++; }
        }
        return;
      case 'turn_started': {
        // A turn that begins again was cut off before: it never took part.
        for (const row of this.turns.get(d.turn) ?? []) { row.cut = true; row.rev++; }
        this.turn = [];
        this.turns.set(d.turn, this.turn);
        return;
      }
      case 'turn_ended': this.turns.delete(d.turn); this.turn = null; return;
      case 'effect': {
        const old = this.effects.get(d.key);
        if (old) { Object.assign(old, { state: d.state, detail: { ...old.detail, ...d.detail }, last: e.seq, rev: old.rev + 1 }); return; }
        this.effects.set(d.key, this.#push(e, 'effect', { name: d.kind, state: d.state, detail: d.detail ?? {}, headless: d.state !== 'intended' }));
        return;
      }
      case 'input_agent': return;
    }
    if (!quiet.has(e.type)) this.#push(e, e.type, { data: d });
  }

  #phase(e, d) {
    const id = `${e.execution_id} ${d.name}`;
    if (d.status === 'started') { this.phases.set(id, this.#push(e, 'phase', { name: d.name, status: d.status, detail: d.detail, ms: 0 })); return; }
    this.#piece(e, this.phases, id, 'phase', { name: d.name }, (r) => { r.status = d.status; r.detail = d.detail || r.detail; r.ms = d.duration_ms; });
  }
}

function cut(text) { return text.length <= maxOutput ? text : text.slice(text.length - maxOutput); }

// title is what a tool call does, in one line.
export function toolTitle(row) {
  const i = row.input ?? {};
  const list = (v) => (Array.isArray(v) ? v.map((x) => (typeof x === 'string' ? x : x?.path ?? x?.file_path ?? JSON.stringify(x))).join(', ') : String(v ?? ''));
  const command = typeof i.command === 'string' ? i.command : Array.isArray(i.command) ? i.command.join(' ') : '';
  if (command) return command;
  const paths = i.files ?? i.paths ?? i.file_path ?? i.path ?? i.notebook_path;
  if (i.queries || i.pattern || i.patterns || i.query) return list(i.queries ?? i.pattern ?? i.patterns ?? i.query);
  if (i.edits) return i.title || [...new Set(i.edits.map((e) => e.path ?? e.file_path ?? ''))].join(', ');
  if (paths) return list(paths);
  for (const k of ['title', 'url', 'name', 'description', 'summary', 'message', 'prompt', 'text', 'command_id']) if (typeof i[k] === 'string' && i[k]) return i[k];
  return '';
}

// toMarkdown gives rows as Markdown, for whoever copies them.
export function toMarkdown(rows) {
  const fence = (text) => { let f = '```'; while (text.includes(f)) f += '`'; return `${f}\n${text.replace(/\n$/, '')}\n${f}`; };
  const out = [];
  for (const r of rows) {
    if (r.cut) continue;
    if (r.kind === 'message') out.push(r.text);
    else if (r.kind === 'reasoning') out.push(r.text.split('\n').map((l) => `> ${l}`).join('\n'));
    else if (r.kind === 'input') out.push(`**${r.from?.display_name || r.from?.uid || 'User'}:** ${r.text || r.choice || ''}`);
    else if (r.kind === 'tool') out.push(`\`${(r.name || 'tool').replaceAll('`', '')}\` ${toolTitle(r).split('\n')[0].slice(0, 200)}\n\n${fence((r.output || r.result?.content || '').slice(0, 20000))}`);
    else if (r.kind === 'notice') out.push(`*${r.data.text}*`);
    else if (r.kind === 'error') out.push(`**Error** ${r.data.message}`);
  }
  return out.join('\n\n') + '\n';
}

// words gives all text of a row, for the search.
export function words(r) {
  switch (r.kind) {
    case 'tool': return `${r.name}\n${r.input ? JSON.stringify(r.input, null, 1).replaceAll('\\n', '\n') : ''}\n${r.output}\n${r.result?.content ?? ''}`;
    case 'terminal': return r.output;
    case 'phase': return `${r.name} ${r.detail ?? ''}`;
    case 'effect': return `${r.name} ${JSON.stringify(r.detail)}`;
  }
  return r.text ?? (r.data ? JSON.stringify(r.data) : '');
}
