// Unified diffs as lines with their numbers.

// parse gives files of {path, lines}; a line is {kind, old, new, text} with kind
// 'add', 'del', 'same', 'hunk' or 'note'. It gives null for what is no diff.
export function parse(text) {
  const files = [];
  let file, o = 0, n = 0, oldLeft = 0, newLeft = 0;
  for (const raw of text.split('\n')) {
    if (oldLeft > 0 || newLeft > 0) {
      const body = raw.slice(1);
      if (raw[0] === '+') { file.lines.push({ kind: 'add', new: n++, text: body }); newLeft--; continue; }
      if (raw[0] === '-') { file.lines.push({ kind: 'del', old: o++, text: body }); oldLeft--; continue; }
      if (raw[0] === ' ' || raw === '') { file.lines.push({ kind: 'same', old: o++, new: n++, text: body }); oldLeft--; newLeft--; continue; }
    }
    const hunk = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(.*)$/.exec(raw);
    if (hunk) {
      if (!file) files.push(file = { path: '', lines: [] });
      [o, oldLeft, n, newLeft] = [+hunk[1], +(hunk[2] ?? 1), +hunk[3], +(hunk[4] ?? 1)];
      file.lines.push({ kind: 'hunk', text: raw });
    } else if (raw.startsWith('--- ')) {
      files.push(file = { path: name(raw), lines: [] });
    } else if (raw.startsWith('+++ ') && file && file.lines.length === 0) {
      if (name(raw) !== '/dev/null') file.path = name(raw);
    } else if (raw !== '' && file) file.lines.push({ kind: 'note', text: raw });
  }
  return files.some((f) => f.lines.length) ? files : null;
}

const name = (line) => { const p = line.slice(4).split('\t')[0]; return /^[ab]\//.test(p) ? p.slice(2) : p; };

// count gives how many lines were added and removed.
export function count(files) {
  let add = 0, del = 0;
  for (const f of files) for (const l of f.lines) { if (l.kind === 'add') add++; else if (l.kind === 'del') del++; }
  return { add, del };
}

// replaced is the diff of a replacement that a tool was asked for: all old
// lines, then all new ones, without their common begin and end.
export function replaced(path, before, after) {
  const a = before === '' ? [] : before.split('\n'), b = after === '' ? [] : after.split('\n');
  let head = 0, tail = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const lines = [];
  for (let i = Math.max(0, head - 3); i < head; i++) lines.push({ kind: 'same', text: a[i] });
  for (let i = head; i < a.length - tail; i++) lines.push({ kind: 'del', text: a[i] });
  for (let i = head; i < b.length - tail; i++) lines.push({ kind: 'add', text: b[i] });
  for (let i = a.length - tail; i < Math.min(a.length, a.length - tail + 3); i++) lines.push({ kind: 'same', text: a[i] });
  return { path, lines };
}
