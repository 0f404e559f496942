package oz_test

import (
	"database/sql"
	"testing"

	"gotest.tools/v3/assert"
	_ "modernc.org/sqlite"
)

// tamper changes the journal of a closed store behind its back. Negative
// numbers are made positive, so that rows can change places.
func tamper(t testing.TB, path, change string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	assert.NilError(t, err)
	defer func() { assert.NilError(t, db.Close()) }()
	_, err = db.Exec(change)
	assert.ErrorContains(t, err, "the journal only grows", "without force")
	for _, statement := range []string{`DROP TRIGGER journal_keeps`, `DROP TRIGGER journal_stays`, change, `UPDATE journal SET seq = -seq WHERE seq < 0`} {
		_, err = db.Exec(statement)
		assert.NilError(t, err, "%s", statement)
	}
}
