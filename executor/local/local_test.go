//go:build linux

package local_test

import (
	"context"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/executortest"
	"github.com/oz-platform/cloudagents/executor/local"
)

// helperRoot is the variable that makes this test binary a worker.
const helperRoot = "OZ_LOCAL_TEST_WORKER_ROOT"

func helperWorker(string) int { return 0 }

// roots gives each test one root, however often it asks.
type roots map[*testing.T]string

func (r roots) of(t *testing.T) string {
	if r[t] == "" {
		r[t] = t.TempDir()
		assert.NilError(t, makePrivate(r[t]))
	}
	return r[t]
}

func TestLocalConformance(t *testing.T) {
	roots := roots{}
	executortest.Run(t, executortest.Harness{
		OutputLimit: 1 << 20,
		Open: func(t *testing.T) executor.Executor {
			e, err := local.New(roots.of(t), &local.Options{OutputLimit: 1 << 20})
			assert.NilError(t, err)
			t.Cleanup(func() { assert.NilError(t, e.Close()) })
			return e
		},
	})
}

var _ = context.Background
