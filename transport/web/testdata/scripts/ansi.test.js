import test from 'node:test';
import assert from 'node:assert/strict';
import { runs, strip } from '../js/run/ansi.js';

const E = '\x1b';
const styles = (text) => runs(text).flat().map((r) => [r.text, r.style]);

test('colours and styles', () => {
  assert.deepEqual(styles(`a${E}[1;31mb${E}[0mc`), [['a', {}], ['b', { bold: true, fg: 'c1' }], ['c', {}]]);
  assert.deepEqual(styles(`${E}[38;5;208mx`), [['x', { fg: '#ff8700' }]]);
  assert.deepEqual(styles(`${E}[48;2;1;2;300mx`), [['x', { bg: '#0102ff' }]]);
  assert.deepEqual(styles(`${E}[97;44mx${E}[39;49my`), [['x', { fg: 'c15', bg: 'c4' }], ['y', {}]]);
  assert.deepEqual(styles(`${E}[38;5;999mx${E}[38mx`), [['x', {}], ['x', {}]]);
});

test('hidden text is shown', () => assert.deepEqual(styles(`${E}[8msecret`), [['secret', {}]]));

test('a carriage return writes the line anew', () => {
  assert.equal(strip('10%\r50%\r100%\nnext'), '100%\nnext');
  assert.equal(strip('one\r\ntwo\r\n'), 'one\ntwo\n');
  assert.equal(strip('ab\bc'), 'ac');
});

for (const [name, text, want] of [
  ['cursor games', `safe${E}[2J${E}[H${E}[1A${E}[2Kevil`, 'safeevil'],
  ['a title with BEL', `a${E}]0;pwned\x07b`, 'ab'],
  ['a title with ST', `a${E}]2;pwned${E}\\b`, 'ab'],
  ['a link of OSC 8', `${E}]8;;https://evil.example${E}\\bank.example${E}]8;;${E}\\`, 'bank.example'],
  ['the clipboard, OSC 52', `${E}]52;c;ZXZpbA==\x07x`, 'x'],
  ['a device string', `${E}Pq#0~${E}\\x`, 'x'],
  ['an open string ends with its line', `${E}]0;open\nnext`, '\nnext'],
  ['an open command at the end', `x${E}[38;5`, 'x'],
  ['a lone escape', `x${E}`, 'x'],
  ['C1 codes', 'x\x9b31my', 'xy'],
  ['a charset switch', `${E}(0lqk${E}(B`, 'lqk'],
  ['a reset', `${E}cx`, 'x'],
]) test(name, () => assert.equal(strip(text), want));

test('any bytes end', () => {
  let seed = 7;
  const next = () => (seed = (seed * 1103515245 + 12345) & 0x7fffffff);
  const alphabet = ['\x1b', '[', ']', ';', 'm', '3', '\\', '\x07', '\n', '\r', '\b', 'a', '\x9b', 'P', '(', '?'];
  for (let i = 0; i < 3000; i++) {
    let s = '';
    for (let k = 0; k < 40; k++) s += alphabet[next() % alphabet.length];
    assert.ok(!strip(s).includes('\x1b'));
  }
});
