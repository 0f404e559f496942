package ozagent_test

import (
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	ozagent "github.com/oz-platform/cloudagents/executor/harness/oz"
)

// bench calls tools and fails the test on a fault of the platform.
type bench struct {
	t *testing.T
	*ozagent.Bench
}

func openBench(t *testing.T, lab *harnesstest.Lab) bench {
	t.Helper()
	b, err := ozagent.OpenBench(lab.Session(t))
	assert.NilError(t, err)
	t.Cleanup(b.Close)
	return bench{t, b}
}

func (b bench) call(name string, input any) ozagent.Called {
	b.t.Helper()
	got, err := b.Call(b.t.Context(), name, input, false)
	assert.NilError(b.t, err)
	return got
}

// again calls as after a restart that cut off the same call.
func (b bench) again(name string, input any) ozagent.Called {
	b.t.Helper()
	got, err := b.Call(b.t.Context(), name, input, true)
	assert.NilError(b.t, err)
	return got
}

func write(t *testing.T, lab *harnesstest.Lab, name, content string) {
	t.Helper()
	path := filepath.Join(lab.Dir, name)
	assert.NilError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	assert.NilError(t, os.WriteFile(path, []byte(content), 0o644))
}

func read(t *testing.T, lab *harnesstest.Lab, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(lab.Dir, name))
	assert.NilError(t, err)
	return string(data)
}
