package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

const stream = `{"Action":"run","Package":"github.com/oz-platform/cloudagents/task","Test":"TestA"}
{"Action":"output","Package":"github.com/oz-platform/cloudagents/task","Test":"TestA","Output":"noise\n"}
{"Action":"pass","Package":"github.com/oz-platform/cloudagents/task","Test":"TestA"}
{"Action":"skip","Package":"github.com/oz-platform/cloudagents/task","Test":"TestB"}
{"Action":"output","Package":"github.com/oz-platform/cloudagents/task","Test":"TestC","Output":"boom\n"}
{"Action":"fail","Package":"github.com/oz-platform/cloudagents/task","Test":"TestC"}
{"Action":"pass","Package":"github.com/oz-platform/cloudagents/task","Elapsed":1.5}
`

func TestPromisesAreHeldAgainstTheTests(t *testing.T) {
	for _, tt := range []struct {
		name, spec, want string
		ok               bool
	}{
		{"held", "- It works. `task.TestA`", "1 promises, 0 not held", false}, // TestC is red all the same
		{"skipped", "- It works. `task.TestB`", "PROMISE task.TestB: skip", false},
		{"red", "- It works. `task.TestC`", "PROMISE task.TestC: fail", false},
		{"missing", "- It works. `task.TestD`", "PROMISE task.TestD: no such test was run", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "S.md")
			assert.NilError(t, os.WriteFile(path, []byte("# S\n\n"+tt.spec+"\n"), 0o600))
			var out strings.Builder
			err := run([]string{path}, strings.NewReader(stream), &out)
			assert.ErrorContains(t, err, "1 tests or packages failed")
			assert.Assert(t, strings.Contains(out.String(), tt.want), out.String())
			assert.Assert(t, strings.Contains(out.String(), "boom"))
			assert.Assert(t, !strings.Contains(out.String(), "noise"))
			assert.Assert(t, strings.HasSuffix(out.String(), "1 passed, 1 failed, 1 skipped\n"))
		})
	}
}

func TestAPromiseMustNameATest(t *testing.T) {
	_, err := promises("# S\n\n- It works.\n")
	assert.ErrorContains(t, err, "names no test")
	_, err = promises("# S\n")
	assert.ErrorContains(t, err, "makes no promise")
}
