// Texts of programs: code, output, and what is too long to show at once.
import { html, useMemo, useState } from '../core/html.js';
import { bytes, plain } from '../core/format.js';
import { Copy } from '../core/ui.js';
import { runs, strip } from './ansi.js';

// step is how much of a text is shown at once, in characters.
const step = 64 << 10;

// Long shows a text piece by piece: 10 MiB in one go would stop the page.
// from: 'begin' or 'end' (of output, the last is what matters).
export function Long({ text, from = 'begin', children }) {
  const [shown, show] = useState(step);
  if (text.length <= shown) return children(text);
  const part = from === 'end' ? text.slice(text.length - shown) : text.slice(0, shown);
  const more = html`<p class="more"><span>${bytes(text.length - shown)} ${from === 'end' ? 'before this' : 'more'}</span>
    <button type="button" class="button small" onClick=${() => show(shown * 2)}>Show more</button> <${Copy} text=${text} label="Copy all" /></p>`;
  return from === 'end' ? html`${more}${children(part)}` : html`${children(part)}${more}`;
}

// CodeBlock is code as it is.
export const CodeBlock = ({ text, lang }) => html`<div class="code-block"><div class="code-head"><span>${plain((lang ?? '').split(/\s/)[0].slice(0, 40))}</span><${Copy} text=${text} label="Copy code" /></div>
  <${Long} text=${text}>${(part) => html`<pre tabindex="0" aria-label="Code"><code>${plain(part)}</code></pre>`}<//></div>`;

// Output is what a program printed, with its colours.
export const Output = ({ text }) => html`<div class="output"><${Long} text=${text} from="end">${(part) => html`<${Screen} text=${part} />`}<//>
  <div class="corner"><${Copy} text=${strip(text)} label="Copy output" /></div></div>`;

function Screen({ text }) {
  const lines = useMemo(() => runs(text.endsWith('\n') ? text.slice(0, -1) : text), [text]);
  return html`<pre class="screen" tabindex="0" aria-label="Output">${lines.map((line, i) => html`${i > 0 && '\n'}${line.map(piece)}`)}</pre>`;
}

function piece({ text, style }) {
  const { fg, bg, bold, dim, italic, underline, strike, invert } = style;
  if (!(fg || bg || bold || dim || italic || underline || strike || invert)) return plain(text);
  const [front, back] = invert ? [bg ?? 'bg', fg ?? 'fg'] : [fg, bg];
  const named = [bold && 'b', dim && 'd', italic && 'i', underline && 'u', strike && 's', cls('f', front), cls('g', back)].filter(Boolean).join(' ');
  const own = {};
  if (front?.[0] === '#') own.color = readable(front, back);
  if (back?.[0] === '#') own.background = back;
  return html`<span class=${named} style=${own}>${plain(text)}</span>`;
}

const cls = (prefix, color) => (color && color[0] !== '#' ? prefix + color : '');

// readable keeps a colour of the program's own where it can be read on the dark
// screen, or on its own background; else it is left to the style sheet.
function readable(front, back) {
  const ground = back?.[0] === '#' ? light(back) : 0.012;
  const a = light(front);
  return (Math.max(a, ground) + 0.05) / (Math.min(a, ground) + 0.05) >= 4.5 ? front : ground > 0.2 ? '#000000' : '#e6edee';
}

// light is the relative luminance of a colour (WCAG 2).
function light(c) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16) / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

// Json shows a value that a tool was given.
export const Json = ({ value }) => html`<${CodeBlock} text=${typeof value === 'string' ? value : JSON.stringify(value, null, 2) ?? ''} lang="json" />`;
