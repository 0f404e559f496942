package pgtest_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main(m)) }

func ask(t *testing.T, dsn, text string) (answer string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	assert.NilError(t, err)
	defer func() { assert.Check(t, conn.Close(t.Context())) }()
	assert.NilError(t, conn.QueryRow(t.Context(), text).Scan(&answer))
	return answer
}

func TestDatabasesAreApartAndDurable(t *testing.T) {
	one, two := pgtest.DSN(t), pgtest.DSN(t)
	assert.Assert(t, ask(t, one, `SELECT current_database()`) != ask(t, two, `SELECT current_database()`))
	assert.Equal(t, ask(t, one, `SHOW fsync`), "on")
	assert.Equal(t, ask(t, one, `SHOW synchronous_commit`), "on")
	assert.Equal(t, ask(t, one, `SHOW server_encoding`), "UTF8")
	assert.Equal(t, ask(t, one, `SHOW listen_addresses`), "")
}

func TestServerKeepsWhatWasCommitted(t *testing.T) {
	s := pgtest.New(t)
	dsn := s.DSN(t)
	conn, err := pgx.Connect(t.Context(), dsn)
	assert.NilError(t, err)
	_, err = conn.Exec(t.Context(), `CREATE TABLE kept AS SELECT 'yes' AS answer`)
	assert.NilError(t, err)
	assert.NilError(t, s.Stop())
	_ = conn.Close(t.Context()) // its server is gone
	assert.NilError(t, s.Start(t.Context()))
	assert.Equal(t, ask(t, dsn, `SELECT answer FROM kept`), "yes")
}
