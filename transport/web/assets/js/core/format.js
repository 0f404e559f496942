// How things are written for people.

// ago is how long before now a time was: "3 min ago", "in 2 h".
export function ago(time, now = Date.now()) {
  if (!time) return '';
  const d = Math.round((now - new Date(time).getTime()) / 1000), s = Math.abs(d);
  const text = s < 10 ? 'now' : s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min` : s < 86400 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
  return text === 'now' ? text : d >= 0 ? `${text} ago` : `in ${text}`;
}

// exact is a time in full, in the reader's own zone.
export const exact = (time) => time ? new Date(time).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'long' }) : '';

// ownZone is the reader's time zone.
export const ownZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';

// clock is the time of day with seconds.
export const clock = (time) => time ? new Date(time).toLocaleTimeString(undefined, { hour12: false }) : '';

// duration of milliseconds: "820 ms", "12.4 s", "3 min 20 s".
export function duration(ms) {
  if (ms === undefined || ms === null || Number.isNaN(ms)) return '';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s < 10 ? s.toFixed(1) : Math.round(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${Math.round(s % 3600 / 60)} min`;
}

export function bytes(n) {
  if (n === undefined || n === null) return '';
  for (const [unit, size] of [['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10]]) if (n >= size) return `${(n / size).toFixed(n / size < 10 ? 1 : 0)} ${unit}`;
  return `${n} B`;
}

export const number = (n) => n === undefined || n === null ? '' : n.toLocaleString(undefined, { maximumFractionDigits: 2 });

// money of US dollars.
export const money = (n) => n === undefined || n === null ? '' : `$${n < 0.01 && n > 0 ? n.toFixed(4) : n.toFixed(2)}`;

export const plural = (n, one, many = one + 's') => `${number(n)} ${n === 1 ? one : many}`;

// invisible are characters that change how the text around them reads, or are
// not seen: marks of direction, zero-width ones, controls (Trojan Source).
// eslint-disable-next-line no-control-regex
const invisible = /\r(?!\n)|[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;

// plain shows what a text really holds: such characters as their code points.
// Everything that an agent or a stranger wrote passes it.
export const plain = (text) => String(text ?? '').replace(invisible, (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`);

// link gives an address that may be followed, or nothing: never a script.
export function link(address) {
  try {
    const u = new URL(String(address), location.href);
    return ['http:', 'https:', 'mailto:'].includes(u.protocol) ? u.href : '';
  } catch { return ''; }
}
