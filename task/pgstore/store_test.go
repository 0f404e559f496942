package pgstore_test

import (
	"testing"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
	"github.com/oz-platform/cloudagents/task/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main(m)) }

func TestStoreConformance(t *testing.T) {
	for name, opts := range map[string]*pgstore.Options{"Defaults": nil, "OneByOne": {MaxBatch: 1, Readers: 1, Writers: 1}} {
		t.Run(name, func(t *testing.T) {
			addresses := map[string]string{}
			storetest.Run(t, storetest.Harness{Open: func(t *testing.T) task.Store {
				if addresses[t.Name()] == "" {
					addresses[t.Name()] = pgtest.DSN(t)
				}
				return open(t, addresses[t.Name()], opts)
			}})
		})
	}
}

func open(t testing.TB, dsn string, opts *pgstore.Options) *pgstore.Store {
	t.Helper()
	s, err := pgstore.Open(t.Context(), dsn, opts)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, s.Close()) })
	return s
}
