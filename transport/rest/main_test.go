package rest_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main(m)) }

// starter is transporttest.Start on some store.
type starter func(testing.TB, *transporttest.Options) *transporttest.Env

// onEachStore runs a test on SQLite and on PostgreSQL.
func onEachStore(t *testing.T, test func(*testing.T, starter)) {
	t.Run("SQLite", func(t *testing.T) { test(t, transporttest.Start) })
	t.Run("PostgreSQL", func(t *testing.T) {
		test(t, func(t testing.TB, opts *transporttest.Options) *transporttest.Env {
			o := transporttest.Options{}
			if opts != nil {
				o = *opts
			}
			dsn := pgtest.DSN(t)
			o.Store = func(t testing.TB) task.Store {
				s, err := pgstore.Open(context.Background(), dsn, nil)
				assert.NilError(t, err)
				return s
			}
			return transporttest.Start(t, &o)
		})
	})
}
