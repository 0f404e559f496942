// Cron expressions in English. What is said is derived from the sets of minutes,
// hours, days and months that an expression means (trigger/schedule/cron.go), so
// that it is never wrong; what has no short name stays an expression.

const months = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];
const weekdays = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const fields = [[0, 59], [0, 23], [1, 31], [1, 12, months], [0, 7, weekdays]];

// value reads a number or a name of three letters.
function value(text, [min, max, names]) {
  if (/^\d{1,2}$/.test(text) && +text >= min && +text <= max) return +text;
  const i = names ? names.findIndex((n) => n.slice(0, 3).toLowerCase() === text.toLowerCase()) : -1;
  return i < 0 ? NaN : min + i;
}

// item gives the values of "*", "n", "n-m", with or without "/step", or null.
function item(text, field, i) {
  const [body, step, ...more] = text.split('/');
  const by = step === undefined ? 1 : Number(step);
  if (more.length || step !== undefined && (!/^\d{1,2}$/.test(step) || by < 1 || by > field[1] - field[0])) return null;
  let [from, to] = [field[0], i === 4 ? 6 : field[1]];
  if (body !== '*' && !(body === '?' && step === undefined && (i === 2 || i === 4))) {
    const [low, high, ...rest] = body.split('-');
    from = value(low, field);
    if (high !== undefined) to = value(high, field);
    else if (step === undefined) to = from;
    if (i === 4 && high !== undefined && to === 0 && from > 0) to = 7;
    if (rest.length || Number.isNaN(from) || Number.isNaN(to) || to < from) return null;
  }
  const out = [];
  for (let v = from; v <= to; v += by) out.push(v);
  return out;
}

// parse gives {minute, hour, day, month, weekday: sorted values, last: days
// before the last of a month, anyDay, anyWeekday}, or null.
export function parse(text) {
  const parts = String(text).trim().split(/[ \t]+/);
  if (parts.length !== 5) return null;
  const last = new Set();
  const sets = [];
  for (const [i, part] of parts.entries()) {
    const set = new Set();
    for (const one of part.split(',')) {
      const end = i === 2 && /^l(?:-(\d{1,2}))?$/i.exec(one);
      if (end) {
        if (end[1] !== undefined && (+end[1] < 1 || +end[1] > 30)) return null;
        last.add(Number(end[1] ?? 0));
        continue;
      }
      const values = item(one, fields[i], i);
      if (!values) return null;
      values.forEach((v) => set.add(i === 4 && v === 7 ? 0 : v));
    }
    sets.push([...set].sort((a, b) => a - b));
  }
  const any = (part) => part === '*' || part === '?';
  return { minute: sets[0], hour: sets[1], day: sets[2], month: sets[3], weekday: sets[4], last: [...last].sort((a, b) => a - b), anyDay: any(parts[2]), anyWeekday: any(parts[4]) };
}

const two = (n) => String(n).padStart(2, '0');
const time = (h, m) => `${two(h)}:${two(m)}`;
const and = (list, word = 'and') => list.length < 2 ? list.join('') : `${list.slice(0, -1).join(', ')} ${word} ${list.at(-1)}`;
const run = (list) => list.at(-1) - list[0] === list.length - 1;

// stride gives the distance between values that divide the whole field evenly.
function stride(list, size) {
  const step = size / list.length;
  return Number.isInteger(step) && list.every((v, i) => v === list[0] + i * step) ? step : 0;
}

// times says when within a day: [words, whether they name single times of day].
function times({ minute, hour }) {
  const allDay = hour.length === 24, every = stride(minute, 60);
  if (minute.length * hour.length <= 4) return [`at ${and(hour.flatMap((h) => minute.map((m) => time(h, m))))}`, true];
  if (every && minute.length > 1 && (minute[0] === 0 || every === 1)) {
    const words = every === 1 ? 'every minute' : `every ${every} minutes`;
    if (allDay) return [words, false];
    return run(hour) ? [`${words} from ${time(hour[0], 0)} to ${time(hour.at(-1), minute.at(-1))}`, false] : null;
  }
  if (minute.length > 1) return allDay && minute.length <= 6 ? [`at ${and(minute.map((m) => ':' + two(m)))} of every hour`, false] : null;
  if (allDay) return [minute[0] ? `every hour at :${two(minute[0])}` : 'every hour', false];
  if (run(hour)) return [`every hour from ${time(hour[0], minute[0])} to ${time(hour.at(-1), minute[0])}`, false];
  const hours = stride(hour, 24);
  return hours ? [`every ${hours} hours from ${time(hour[0], minute[0])}`, false] : null;
}

const ordinal = (n) => `${n}${n % 10 === 1 && n !== 11 ? 'st' : n % 10 === 2 && n !== 12 ? 'nd' : n % 10 === 3 && n !== 13 ? 'rd' : 'th'}`;

function daysOfMonth({ day, last }) {
  const ends = last.map((n) => n === 0 ? 'the last day' : n === 1 ? 'the day before the last' : `${n} days before the last`);
  if (day.length > 6 && !run(day)) return null;
  const list = day.length > 2 && run(day) ? [`the ${ordinal(day[0])} to the ${ordinal(day.at(-1))}`] : day.map((d) => `the ${ordinal(d)}`);
  return `${and([...list, ...ends])} of the month`;
}

// daysOfWeek gives the words and whether they are a range.
function daysOfWeek({ weekday }) {
  const monday = [...weekday].sort((a, b) => (a || 7) - (b || 7)); // weeks begin on Monday
  const numbers = monday.map((d) => d || 7);
  if (monday.length > 2 && run(numbers)) return [`${weekdays[monday[0]]} to ${weekdays[monday.at(-1)]}`, true];
  return [and(monday.map((d) => weekdays[d])), false];
}

// days says on which days, '' for all, null when it takes too many words.
function days(c) {
  const wholeMonth = c.day.length === 31, wholeWeek = c.weekday.length === 7;
  const both = c.anyDay || c.anyWeekday; // else either is enough
  if (both ? wholeMonth && wholeWeek : wholeMonth || wholeWeek) return '';
  const month = wholeMonth ? '' : daysOfMonth(c), [week, range] = wholeWeek ? ['', false] : daysOfWeek(c);
  if (month === null) return null;
  if (!month) return range ? `, ${week}` : ` on ${week}`;
  if (!week) return ` on ${month}`;
  return both ? null : ` on ${month}, and on ${week}`;
}

// describe gives the frequency in words: "At 09:00, Monday to Friday". What it
// has no words for comes back as it is.
export function describe(expression) {
  const c = parse(expression);
  const t = c && times(c), d = c && days(c);
  if (!t || d === null) return String(expression);
  let when = '';
  if (c.month.length < 12) when = c.month.length > 2 && run(c.month) ? `, from ${months[c.month[0] - 1]} to ${months[c.month.at(-1) - 1]}` : `, in ${and(c.month.map((m) => months[m - 1]))}`;
  const daily = t[1] && !d && !when;
  const words = `${daily ? 'every day ' : ''}${t[0]}${d}${when}`;
  return words[0].toUpperCase() + words.slice(1);
}
