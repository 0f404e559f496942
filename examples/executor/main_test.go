package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/executortest"
	"github.com/oz-platform/cloudagents/executor/local"
)

func TestMain(m *testing.M) {
	if code, ok := local.Supervise(); ok {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

// TestDriverOfOnesOwn: the example keeps every promise of an executor, in under 150 lines.
func TestDriverOfOnesOwn(t *testing.T) {
	const limit = 1 << 20
	roots := map[*testing.T]string{}
	executortest.Run(t, executortest.Harness{OutputLimit: limit, Open: func(t *testing.T) executor.Executor {
		if roots[t] == "" {
			roots[t] = filepath.Join(t.TempDir(), "root")
		}
		below, err := local.New(roots[t], &local.Options{OutputLimit: limit})
		assert.NilError(t, err)
		t.Cleanup(func() { assert.Check(t, below.Close()) })
		return &careful{Executor: below, root: roots[t]}
	}})
	text, err := os.ReadFile("main.go")
	assert.NilError(t, err)
	assert.Assert(t, bytes.Count(text, []byte("\n")) < 150)
}

// TestExample: what it prints, and that it refuses to fill the disk.
func TestExample(t *testing.T) {
	var out strings.Builder
	assert.NilError(t, run(t.Context(), []string{"sh", "-c", "echo hello from $OZ_SANDBOX_ID; exit 3"}, 1, &out))
	assert.Assert(t, strings.HasPrefix(out.String(), "hello from example\nexample took "), out.String())
	assert.Assert(t, strings.HasSuffix(out.String(), ", status 3\n"), out.String())
	assert.ErrorIs(t, run(t.Context(), []string{"true"}, math.MaxUint64, &out), ErrFull)
}
