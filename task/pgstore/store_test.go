package pgstore_test

import (
	"fmt"
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
	for name, opts := range map[string]pgstore.Options{"Defaults": {}, "OneByOne": {MaxBatch: 1, Readers: 1, Writers: 1}} {
		t.Run(name, func(t *testing.T) {
			dsn := pgtest.DSN(t)
			schemas := map[string]string{} // each case has its own: sooner made than a database
			storetest.Run(t, storetest.Harness{Open: func(t *testing.T) task.Store {
				if schemas[t.Name()] == "" {
					schemas[t.Name()] = fmt.Sprintf("case_%d", len(schemas))
				}
				opts.Schema = schemas[t.Name()]
				return open(t, dsn, &opts)
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
