// Markdown as nodes. marked only reads it: its tokens are turned into elements
// here, so that no HTML is ever made of a string. HTML in a text is shown as the
// text that it is; images are never loaded; links lead to http, https, mailto.
import { html, useMemo } from '../core/html.js';
import { link, plain } from '../core/format.js';
import { lexer } from '../../lib/marked.js';
import { CodeBlock } from './text.js';

// What is longer, or more deeply nested, than people write is shown as plain
// text: reading it could take minutes.
const maxLength = 200_000, maxDepth = 24;
const deep = /^(?:[ \t]*(?:>|[-*+]|\d+[.)])[ \t]*){12}/m;
const odd = /([*_~`[\]()<!\\&])\1{199}|(?:\[[^\]]{0,2}){60}/;

// Markdown shows a text that somebody else has written.
export function Markdown({ text }) {
  const nodes = useMemo(() => read(text), [text]);
  return nodes ? html`<div class="md">${nodes}</div>` : html`<div class="md as-is">${plain(text)}</div>`;
}

function read(text) {
  if (text.length > maxLength || deep.test(text) || odd.test(text)) return null;
  try { return blocks(lexer(text, { gfm: true, breaks: false }), 0); } catch { return null; }
}

const blocks = (tokens, depth) => {
  if (depth > maxDepth) throw new Error('too deep');
  return tokens.map((t) => block(t, depth + 1));
};

function block(t, depth) {
  switch (t.type) {
    case 'space': case 'def': return null;
    case 'heading': return heading(t.depth, inline(t.tokens, depth));
    case 'paragraph': return html`<p>${inline(t.tokens, depth)}</p>`;
    case 'text': return t.tokens ? inline(t.tokens, depth) : words(t.text);
    case 'code': return html`<${CodeBlock} text=${t.text} lang=${t.lang} />`;
    case 'blockquote': return html`<blockquote>${blocks(t.tokens, depth)}</blockquote>`;
    case 'hr': return html`<hr />`;
    case 'list': return list(t, depth);
    case 'table': return table(t, depth);
    case 'html': return html`<p class="as-is">${plain(t.raw.trimEnd())}</p>`;
  }
  return html`<p>${plain(t.raw)}</p>`;
}

// heading: a transcript's headings stand below those of the page.
const heading = (depth, content) => html`<p class=${`h h${depth}`} role="heading" aria-level=${Math.min(6, depth + 2)}>${content}</p>`;

function list(t, depth) {
  const items = t.items.map((i) => html`<li class=${i.task ? 'task' : ''}>${i.task && html`<span aria-hidden="true">${i.checked ? '☑' : '☐'}</span><span class="sr">${i.checked ? 'Done: ' : 'Open: '}</span>`}
    ${blocks(i.tokens.filter((x) => x.type !== 'checkbox'), depth)}</li>`);
  return t.ordered ? html`<ol start=${Number.isSafeInteger(t.start) ? t.start : 1}>${items}</ol>` : html`<ul>${items}</ul>`;
}

const table = (t, depth) => html`<div class="md-table"><table><thead><tr>${t.header.map((c) => html`<th scope="col">${inline(c.tokens, depth)}</th>`)}</tr></thead>
  <tbody>${t.rows.map((r) => html`<tr>${r.map((c) => html`<td>${inline(c.tokens, depth)}</td>`)}</tr>`)}</tbody></table></div>`;

const inline = (tokens, depth) => {
  if (depth > maxDepth) throw new Error('too deep');
  return (tokens ?? []).map((t) => span(t, depth + 1));
};

function span(t, depth) {
  switch (t.type) {
    case 'text': return t.tokens ? inline(t.tokens, depth) : words(t.text);
    case 'escape': return plain(t.text);
    case 'strong': return html`<strong>${inline(t.tokens, depth)}</strong>`;
    case 'em': return html`<em>${inline(t.tokens, depth)}</em>`;
    case 'del': return html`<del>${inline(t.tokens, depth)}</del>`;
    case 'codespan': return html`<code>${plain(t.text)}</code>`;
    case 'br': return html`<br />`;
    case 'link': return html`<${Away} to=${t.href} said=${t.text}>${inline(t.tokens, depth)}<//>`;
    case 'image': return html`<span class="no-image">Image${t.text ? ': ' : ''}${words(t.text)} <${Away} to=${t.href} said=${''}>${plain(t.href)}<//></span>`;
  }
  return plain(t.raw); // html, and whatever else
}

// words of a text token: marked leaves entities as they are written.
const words = (text) => plain(unescape(text));
const entities = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: ' ' };
const unescape = (s) => s.replace(/&(?:(amp|lt|gt|quot|apos|nbsp)|#(\d{1,7})|#x([0-9a-f]{1,6}));/gi, (all, name, dec, hex) => {
  if (name) return entities[name.toLowerCase()];
  const n = dec ? parseInt(dec, 10) : parseInt(hex, 16);
  return n > 0 && n <= 0x10ffff && !(n >= 0xd800 && n <= 0xdfff) ? String.fromCodePoint(n) : all;
});

// Away is a link that somebody else has written: where it leads is told beside
// it, unless the text says so itself. What is no address for people is text.
export function Away({ to, said, children }) {
  const href = link(to);
  if (!href || !/^(https?:|mailto:)/i.test(to)) return html`<span class="no-link">${children}${to && said !== to ? html` <span class="dim">(${plain(to)})</span>` : ''}</span>`;
  const same = said === to || said === href || href === `${said}/` || href === `mailto:${said}`;
  return html`<a href=${href} target="_blank" rel="noopener noreferrer nofollow" title=${href}>${children}</a>${!same && html`<span class="target"> (${where(href)})</span>`}`;
}

// where names a link's target so that it cannot be mistaken: the host as it is
// looked up, and only http if it is not https.
function where(href) {
  const u = new URL(href);
  if (u.protocol === 'mailto:') return plain(u.pathname);
  return `${u.protocol === 'http:' ? 'http://' : ''}${u.username ? '…@' : ''}${u.host}`;
}
