package pgstore_test

import (
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
)

// TestOpenHidesPasswords gives addresses that fail in every way, each with the
// same password.
func TestOpenHidesPasswords(t *testing.T) {
	const password = "hunter2"
	for _, dsn := range []string{
		"", " ",
		"postgres://oz:hunter2@localhost:port/db",
		"postgres://oz:hunter2@localhost/db?sslmode=sometimes",
		"postgres://oz:%zzhunter2@localhost/db",
		"postgres://oz:hunter2@x@y:1:2/db?connect_timeout=soon",
		"postgres://oz@localhost/db?password=hunter2&sslmode=no",
		"postgres://oz@localhost/db?password=hunter2;sslmode=no",
		"host=localhost password=hunter2 sslmode=no",
		"host=localhost password = 'hunter2' port=x",
		"password=hunter2 host",
		"oz:hunter2@localhost/db",
		"mysql://oz:hunter2@localhost/db",
		"postgres://oz:hunter2@/db?host=" + url.QueryEscape(t.TempDir()),
		"host=" + t.TempDir() + " user=oz password=hunter2",
	} {
		_, err := pgstore.Open(t.Context(), dsn, nil)
		code := task.CodeOf(err)
		assert.Assert(t, code == task.CodeInvalidRequest || code == task.CodeResourceUnavailable, "%q: %v", dsn, err)
		for e := err; e != nil; {
			assert.Assert(t, !strings.Contains(e.Error(), password), "%q: %v", dsn, e)
			u, ok := e.(interface{ Unwrap() error })
			if !ok {
				break
			}
			e = u.Unwrap()
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dsn := pgtest.DSN(t)
	elsewhere, err := url.Parse(dsn)
	assert.NilError(t, err)
	elsewhere.Path = "/nowhere"
	_, err = pgstore.Open(t.Context(), elsewhere.String(), nil)
	unavailable(t, err, "no such database")

	_, err = pgstore.Open(t.Context(), "postgres://localhost/db?sslmode=sometimes", nil)
	assert.ErrorContains(t, err, "sslmode")

	conn := admin(t, dsn)
	_, err = conn.Exec(t.Context(), `CREATE ROLE guest LOGIN`) // of the whole server
	assert.NilError(t, err)
	t.Cleanup(func() { run(t, conn, `DROP ROLE guest`) })
	guest := strings.Replace(dsn, "user=oz", "user=guest", 1)
	_, err = pgstore.Open(t.Context(), guest, nil)
	unavailable(t, err, "privilege")

	for name, opts := range map[string]*pgstore.Options{"negative": {Readers: -1}, "Schema": {Schema: `a"b`}} {
		_, err = pgstore.Open(t.Context(), dsn, opts)
		assert.ErrorContains(t, err, name)
	}

	latin := "latin" + strings.ToLower(pgx.Identifier{elsewhere.Path[1:]}[0])
	_, err = conn.Exec(t.Context(), `CREATE DATABASE `+latin+` ENCODING 'LATIN1' TEMPLATE template0`)
	assert.NilError(t, err)
	t.Cleanup(func() { run(t, conn, `DROP DATABASE `+latin+` WITH (FORCE)`) })
	elsewhere.Path = "/" + latin
	_, err = pgstore.Open(t.Context(), elsewhere.String(), nil)
	unavailable(t, err, "UTF8")
}

// TestOpenOfNewerSchema has a newer program migrate the database: this one
// goes on until the newer one says that it cannot.
func TestOpenOfNewerSchema(t *testing.T) {
	dsn := pgtest.DSN(t)
	id := create(t, open(t, dsn, nil))
	conn := admin(t, dsn)
	run(t, conn, `ALTER TABLE oz.runs ADD COLUMN extra text NOT NULL DEFAULT ''`) // expand
	run(t, conn, `INSERT INTO oz.schema_version (version_id, is_applied) VALUES (99999, true)`)
	do(t, open(t, dsn, nil), id, notice("still works"))
	run(t, conn, `UPDATE oz.schema_support SET oldest = 99999`) // contract
	_, err := pgstore.Open(t.Context(), dsn, nil)
	unavailable(t, err, "use a newer program")
}

func TestOpenAtOnce(t *testing.T) {
	dsn := pgtest.DSN(t)
	var all sync.WaitGroup
	stores := make([]*pgstore.Store, 6)
	for i := range stores {
		all.Go(func() {
			var err error
			stores[i], err = pgstore.Open(t.Context(), dsn, nil)
			assert.Check(t, err)
		})
	}
	all.Wait()
	id := create(t, stores[0])
	for _, s := range stores {
		_, err := s.Get(t.Context(), id)
		assert.NilError(t, err)
		assert.NilError(t, s.Close())
	}
}

func TestSchemasAreApart(t *testing.T) {
	dsn := pgtest.DSN(t)
	one, two := open(t, dsn, &pgstore.Options{Schema: "one"}), open(t, dsn, &pgstore.Options{Schema: "two"})
	id := create(t, one)
	_, err := two.Get(t.Context(), id)
	assert.ErrorIs(t, err, task.ErrNotFound)
}
