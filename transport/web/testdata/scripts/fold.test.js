import test from 'node:test';
import assert from 'node:assert/strict';
import { Rows, toMarkdown, toolTitle } from '../js/run/fold.js';

let seq = 0;
const ev = (type, data, execution_id = 'x1') => ({ seq: ++seq, time: '2026-01-01T00:00:00Z', type, data, execution_id });

// log is a log with everything that can be cut in two by a page's edge.
function log() {
  seq = 0;
  return [
    ev('state', { to: 'QUEUED' }, ''), ev('input', { text: 'Do it', from: { uid: 'ann' } }, ''),
    ev('phase', { name: 'agent', status: 'started' }), ev('input_delivered', { inputs: [2] }), ev('turn_started', { turn: 1 }),
    ev('message', { id: 'm', text: 'One ', more: true }), ev('message', { id: 'm', text: 'two ', more: true }), ev('message', { id: 'm', text: 'three' }),
    ev('tool_call', { id: 'c', name: 'run_command', category: 'command', input: { command: 'ls' } }), ev('tool_output', { call_id: 'c', text: 'a\n' }), ev('tool_output', { call_id: 'c', text: 'b\n' }),
    ev('tool_result', { call_id: 'c', name: 'run_command', category: 'command', state: 'completed', content: 'ok' }),
    ev('effect', { key: 'k', kind: 'git_push', state: 'intended', detail: { branch: 'b' } }), ev('effect', { key: 'k', kind: 'git_push', state: 'settled', detail: { commit: 'c' } }),
    ev('terminal', { terminal_id: 't', state: 'opened', by: { uid: 'ann' } }), ev('terminal_output', { terminal_id: 't', text: '$ ' }), ev('terminal', { terminal_id: 't', state: 'closed', code: 'exited' }),
    ev('usage', {}), ev('turn_ended', { turn: 1 }), ev('phase', { name: 'agent', status: 'done', duration_ms: 5 }), ev('state', { to: 'SUCCEEDED' }, ''),
  ];
}

const seen = (rows) => rows.list.map((r) => [r.key, r.kind, r.seq, r.last, r.text, r.output, r.state, r.status, r.delivered, r.result?.content, r.closed?.code]);

test('pieces become rows', () => {
  const rows = new Rows();
  rows.add(log());
  assert.deepEqual(rows.list.map((r) => r.kind), ['state', 'input', 'execution', 'phase', 'message', 'tool', 'effect', 'terminal', 'state']);
  const [, input, , phase, message, tool, effect, shell] = rows.list;
  assert.equal(input.delivered, true);
  assert.deepEqual([phase.status, phase.ms], ['done', 5]);
  assert.deepEqual([message.text, message.more], ['One two three', false]);
  assert.deepEqual([tool.output, tool.result.content, toolTitle(tool)], ['a\nb\n', 'ok', 'ls']);
  assert.deepEqual([effect.state, effect.detail], ['settled', { branch: 'b', commit: 'c' }]);
  assert.deepEqual([shell.output, shell.closed.code], ['$ ', 'exited']);
  assert.match(toMarkdown(rows.list), /\*\*ann:\*\* Do it[\s\S]*One two three[\s\S]*```\na\nb\n```/);
});

test('wherever a log is cut, and read backwards, the rows are the same', () => {
  const whole = new Rows();
  whole.add(log());
  const events = log();
  for (let a = 1; a < events.length; a++) {
    for (let b = a; b < events.length; b++) {
      const parts = [events.slice(0, a), events.slice(a, b), events.slice(b)].filter((p) => p.length);
      const last = new Rows();
      last.add(parts.pop());
      while (parts.length) { const older = new Rows(); older.add(parts.pop()); last.before(older); }
      assert.deepEqual(seen(last), seen(whole), `cut at ${a} and ${b}`);
    }
  }
});

test('what goes on after an edge was joined', () => {
  const events = log(), older = new Rows(), newer = new Rows();
  older.add(events.slice(0, 6));
  newer.add(events.slice(6, 7));
  newer.before(older);
  newer.add(events.slice(7));
  assert.equal(newer.list.find((r) => r.kind === 'message').text, 'One two three');
});

test('a turn that was cut off is marked', () => {
  seq = 0;
  const rows = new Rows();
  rows.add([ev('turn_started', { turn: 1 }), ev('message', { id: 'a', text: 'x' }), ev('turn_started', { turn: 1 }, 'x2'), ev('message', { id: 'b', text: 'x' }, 'x2'), ev('turn_ended', { turn: 1 }, 'x2')]);
  assert.deepEqual(rows.list.filter((r) => r.kind === 'message').map((r) => Boolean(r.cut)), [true, false]);
});

test('strange payloads are no fault', () => {
  const rows = new Rows();
  seq = 0;
  rows.add([ev('message', null), ev('tool_call', {}), ev('tool_result', {}), ev('todos', {}), ev('brand_new', { a: 1 }), ev('input', {}), ev('input_delivered', {}), ev('effect', {})]);
  assert.ok(rows.list.length > 3);
  for (const r of rows.list) if (r.kind === 'tool') toolTitle(r);
});
