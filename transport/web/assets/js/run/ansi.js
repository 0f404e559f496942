// Text with terminal escapes, as a terminal that only ever appends would show
// it: colours and styles become spans, carriage returns write a line anew, all
// other commands (cursor games, titles, links, queries) do nothing.

const normal = Object.freeze({});

// runs gives lines of {text, style} pieces. style: {fg, bg, bold, dim, italic,
// underline, strike, invert}; fg and bg are 'c0' to 'c15', or '#rrggbb'.
export function runs(text) {
  const lines = [];
  let line = [], style = normal, at = 0;
  const end = () => { lines.push(line); line = []; };
  const put = (s) => { if (s) line.push({ text: s, style }); };
  while (at < text.length) {
    const next = nextControl(text, at);
    put(text.slice(at, next));
    if (next >= text.length) break;
    const c = text[next];
    at = next + 1;
    if (c === '\n') end();
    else if (c === '\r') { if (text[at] !== '\n') line = []; } // what comes now is written over it
    else if (c === '\b') back(line);
    else if (c === '\t') put('\t');
    else if (c === '\x1b' || c === '\x9b') {
      const seq = escape(text, next);
      at = seq.end;
      if (seq.sgr !== undefined) style = sgr(style, seq.sgr);
    } else put(c); // shown as what it is by plain()
  }
  end();
  return lines;
}

// strip gives the text alone.
export const strip = (text) => runs(text).map((l) => l.map((r) => r.text).join('')).join('\n');

// eslint-disable-next-line no-control-regex
const control = /[\n\r\b\t\x1b\x9b]/g;
function nextControl(text, from) {
  control.lastIndex = from;
  const m = control.exec(text);
  return m ? m.index : text.length;
}

// back takes the last character of a line away, as programs do that draw a
// spinner.
function back(line) {
  const last = line.at(-1);
  if (!last) return;
  const rest = [...last.text.slice(-2)].slice(0, -1).join('');
  const text = last.text.slice(0, -2) + rest;
  if (text) line[line.length - 1] = { text, style: last.style };
  else line.pop();
}

// maxEscape bounds one command; what is longer is no command that a terminal
// would take, and is dropped up to here.
const maxEscape = 4096;

// escape reads one command (ECMA-48) that begins at i. It gives where it ends,
// and the parameters of an SGR.
function escape(text, i) {
  let c = text[i] === '\x9b' ? '[' : text[i + 1];
  let at = text[i] === '\x9b' ? i + 1 : i + 2;
  if (c === '[') {
    const from = at;
    while (at < text.length && at - from < maxEscape && text[at] >= ' ' && text[at] <= '?') at++;
    if (text[at] >= '@' && text[at] <= '~') return { end: at + 1, ...(text[at] === 'm' && /^[\d;:]*$/.test(text.slice(from, at)) ? { sgr: text.slice(from, at) } : {}) };
    return { end: at };
  }
  if (c === ']' || c === 'P' || c === 'X' || c === '^' || c === '_') { // strings, up to BEL or ST
    const limit = Math.min(text.length, at + maxEscape);
    while (at < limit) {
      if (text[at] === '\x07') return { end: at + 1 };
      if (text[at] === '\x1b') return { end: text[at + 1] === '\\' ? at + 2 : at };
      if (text[at] === '\x9c') return { end: at + 1 };
      if (text[at] === '\n') return { end: at }; // never a whole screen for one bad byte
      at++;
    }
    return { end: at };
  }
  while (c >= ' ' && c <= '/' && at < text.length && at - i < 8) { c = text[at]; at++; }
  return { end: Math.min(at, text.length) };
}

const flags = { 1: 'bold', 2: 'dim', 3: 'italic', 4: 'underline', 7: 'invert', 9: 'strike' };
const off = { 22: ['bold', 'dim'], 23: ['italic'], 24: ['underline'], 27: ['invert'], 29: ['strike'], 39: ['fg'], 49: ['bg'] };

// sgr gives the style after a command. 8 (concealed) is not followed: what is
// in the output is shown.
function sgr(style, params) {
  const p = params.split(/[;:]/).map((n) => (n === '' ? 0 : Number(n)));
  let s = { ...style };
  for (let i = 0; i < p.length; i++) {
    const n = p[i];
    if (n === 0) s = {};
    else if (flags[n]) s[flags[n]] = true;
    else if (off[n]) off[n].forEach((k) => delete s[k]);
    else if (n >= 30 && n <= 37) s.fg = `c${n - 30}`;
    else if (n >= 90 && n <= 97) s.fg = `c${n - 82}`;
    else if (n >= 40 && n <= 47) s.bg = `c${n - 40}`;
    else if (n >= 100 && n <= 107) s.bg = `c${n - 92}`;
    else if (n === 38 || n === 48) {
      const color = p[i + 1] === 5 ? indexed(p[i + 2]) : p[i + 1] === 2 ? rgb(p.slice(i + 2, i + 5)) : '';
      i += p[i + 1] === 5 ? 2 : p[i + 1] === 2 ? 4 : 0;
      if (color) s[n === 38 ? 'fg' : 'bg'] = color;
    }
  }
  return Object.keys(s).length ? s : normal;
}

const hex = (n) => Math.max(0, Math.min(255, n | 0)).toString(16).padStart(2, '0');
const rgb = (c) => (c.length === 3 ? `#${c.map(hex).join('')}` : '');

// indexed is a colour of the 256 that terminals have.
function indexed(n) {
  if (!(n >= 0 && n <= 255)) return '';
  if (n < 16) return `c${n}`;
  if (n >= 232) return rgb(Array(3).fill(8 + 10 * (n - 232)));
  const step = (v) => (v ? 55 + 40 * v : 0);
  return rgb([step(Math.floor((n - 16) / 36)), step(Math.floor((n - 16) / 6) % 6), step((n - 16) % 6)]);
}
