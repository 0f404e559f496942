import test from 'node:test';
import assert from 'node:assert/strict';
import { count, parse, replaced } from '../js/run/diff.js';

test('two files with their numbers', () => {
  const files = parse('--- a/x.go\n+++ b/x.go\n@@ -3,3 +3,4 @@ func f() {\n a\n-b\n+c\n+d\n e\n--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+one\n');
  assert.deepEqual(files.map((f) => f.path), ['x.go', 'new']);
  assert.deepEqual(files[0].lines.map((l) => [l.kind, l.old, l.new]), [['hunk', undefined, undefined], ['same', 3, 3], ['del', 4, undefined], ['add', undefined, 4], ['add', undefined, 5], ['same', 5, 6]]);
  assert.deepEqual(count(files), { add: 3, del: 1 });
});

test('lines that look like heads are lines', () => {
  const [f] = parse('--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n--- old\n+++ new\n same\n');
  assert.deepEqual(f.lines.slice(1).map((l) => [l.kind, l.text]), [['del', '-- old'], ['add', '++ new'], ['same', 'same']]);
});

test('a removed file keeps its name', () => assert.equal(parse('--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n')[0].path, 'gone'));
test('no diff', () => { assert.equal(parse('hello'), null); assert.equal(parse(''), null); assert.equal(parse('--- a'), null); });
test('a replacement', () => assert.deepEqual(replaced('p', 'a\nb\nc', 'a\nX\nc').lines.map((l) => l.kind + l.text), ['samea', 'delb', 'addX', 'samec']));
