package sqlitestore_test

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/task/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStoreConformance(t *testing.T) {
	for name, opts := range map[string]*sqlitestore.Options{"Defaults": nil, "OneByOne": sqlitestore.OneByOne()} {
		t.Run(name, func(t *testing.T) {
			paths := map[string]string{}
			storetest.Run(t, storetest.Harness{Open: func(t *testing.T) task.Store {
				if paths[t.Name()] == "" {
					paths[t.Name()] = filepath.Join(t.TempDir(), "oz.db")
				}
				return open(t, paths[t.Name()], opts)
			}})
		})
	}
}

func open(t testing.TB, path string, opts *sqlitestore.Options) *sqlitestore.Store {
	t.Helper()
	s, err := sqlitestore.Open(t.Context(), path, opts)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, s.Close()) })
	return s
}
