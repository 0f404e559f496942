// Charts as inline SVG, each with the table that it is drawn from: for who
// cannot see it, and for exact numbers.
import { html } from '../core/html.js';
import { money, number } from '../core/format.js';
import { Table } from '../core/ui.js';

const height = 100; // of the drawing, in units of its own

// Frame is a figure: caption, drawing, first and last name below, table behind.
function Frame({ title, note, max, names, legend, table, children }) {
  return html`<figure class="chart"><figcaption><strong>${title}</strong>${note && html` <span class="dim">${note}</span>`}</figcaption>
    ${legend?.length > 1 && html`<ul class="legend">${legend.map(([look, name]) => html`<li key=${name}><i class=${`key ${look}`} aria-hidden="true"></i>${name}</li>`)}</ul>`}
    <div class="plot"><span class="axis dim" aria-hidden="true">${max}</span>${children}</div>
    <div class="axis-x dim" aria-hidden="true"><span>${names[0] ?? ''}</span><span>${names.length > 1 ? names.at(-1) : ''}</span></div>
    <details><summary>As a table</summary>${table}</details></figure>`;
}

const table = (title, first, rows, series, format) => html`<${Table} label=${title} rows=${rows} id=${(r) => r.name} columns=${[{ name: first, cell: (r) => r.name }, ...series.map(([, name], i) => ({ name, num: true, cell: (r) => format(r.values[i]) }))]} />`;

// Bars are columns of stacked parts. rows: [{name, values}], series: [[look, name]]
// in the order of values; looks are good, bad, need, live, accent, dim.
export function Bars({ title, note, first = 'Day', rows, series, format = number }) {
  const sum = (r) => r.values.reduce((a, b) => a + (b ?? 0), 0);
  const top = Math.max(...rows.map(sum), 0), width = 100 / Math.max(rows.length, 1);
  const say = (r) => `${r.name}: ${series.map(([, n], i) => `${format(r.values[i] ?? 0)} ${n.toLowerCase()}`).join(', ')}`;
  return html`<${Frame} title=${title} note=${note} max=${format(top)} names=${rows.map((r) => r.name)} legend=${series} table=${table(title, first, rows, series, (v) => format(v ?? 0))}>
    <svg viewBox=${`0 0 100 ${height}`} preserveAspectRatio="none" role="img" aria-label=${`${title}. ${top === 0 ? 'Nothing yet.' : `At most ${format(top)}.`}`}>${rows.map((r, i) => { let y = height; return html`<g key=${r.name}><title>${say(r)}</title><rect class="hit" x=${i * width} y="0" width=${width} height=${height} />${r.values.map((v, j) => { const h = top ? (v ?? 0) / top * (height - 2) : 0; y -= h; return h > 0 && html`<rect class=${`fill ${series[j][0]}`} x=${i * width + width * 0.12} y=${y} width=${width * 0.76} height=${h} />`; })}</g>`; })}</svg><//>`;
}

// Lines are values over time; a missing one leaves a gap.
export function Lines({ title, note, first = 'Day', rows, series, format = number, most }) {
  const top = most ?? Math.max(...rows.flatMap((r) => r.values.filter((v) => v !== undefined)), 0), step = 100 / Math.max(rows.length, 1);
  const x = (i) => (i + 0.5) * step, y = (v) => height - 1 - (top ? v / top * (height - 2) : 0);
  const path = (j) => rows.map((r, i) => r.values[j] === undefined ? '' : `${i > 0 && rows[i - 1].values[j] !== undefined ? 'L' : 'M'}${x(i).toFixed(2)} ${y(r.values[j]).toFixed(2)}`).join('');
  return html`<${Frame} title=${title} note=${note} max=${format(top)} names=${rows.map((r) => r.name)} legend=${series} table=${table(title, first, rows, series, (v) => v === undefined ? '–' : format(v))}>
    <svg viewBox=${`0 0 100 ${height}`} preserveAspectRatio="none" role="img" aria-label=${`${title}. ${rows.some((r) => r.values.some((v) => v !== undefined)) ? `At most ${format(top)}.` : 'Nothing yet.'}`}>${series.map(([look, name], j) => html`<g key=${name}><path class=${`line ${look}`} d=${path(j)} vector-effect="non-scaling-stroke" />${rows.map((r, i) => r.values[j] !== undefined && html`<path class=${`point ${look}`} d=${`M${x(i)} ${y(r.values[j])}h0`} vector-effect="non-scaling-stroke"><title>${`${r.name}: ${format(r.values[j])} ${name.toLowerCase()}`}</title></path>`)}</g>`)}</svg><//>`;
}

// Ranks are rows with a bar each, longest first. rows: [{name, value, href, key}]
export function Ranks({ title, rows, format = number, first = 'Name', look = 'accent' }) {
  const top = Math.max(...rows.map((r) => r.value), 0);
  return html`<section class="panel"><h2>${title}</h2>${rows.length ? html`<ul class="ranks">${rows.map((r) => html`<li key=${r.key ?? r.name}><span class="rank-name">${r.href ? html`<a href=${r.href}>${r.name}</a>` : r.name}</span><span class="rank-value">${format(r.value)}</span>
    <svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="6" /><rect class=${`fill ${look}`} width=${top ? r.value / top * 100 : 0} height="6" /></svg></li>`)}</ul>` : html`<p class="dim">Nothing in this time.</p>`}</section>`;
}

export const share = (n) => n === undefined || n === null ? '–' : `${Math.round(n * 1000) / 10} %`;
export const dollars = (n) => n === 0 ? '$0' : money(n);

// bucketName writes a bucket's start in the zone that it was made in.
export function bucketName(start, bucket, zone) {
  const how = bucket === 'hour' ? { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } : { day: 'numeric', month: 'short' };
  return new Date(start).toLocaleString(undefined, { ...how, timeZone: zone });
}
