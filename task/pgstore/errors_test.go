package pgstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
)

// TestErrorsOfADatabaseThatIsAway: however its loss is told, a caller may try again.
func TestErrorsOfADatabaseThatIsAway(t *testing.T) {
	for name, err := range map[string]error{
		"shut down":      &pgconn.PgError{Code: "57P01"},
		"starting":       &pgconn.PgError{Code: "57P03"},
		"connection":     &pgconn.PgError{Code: "08006"},
		"end of file":    fmt.Errorf("read: %w", io.ErrUnexpectedEOF),
		"bad connection": fmt.Errorf("failed to get latest version: %w", driver.ErrBadConn),
		"closed twice":   errors.Join(fmt.Errorf("failed to get latest version: %w", driver.ErrBadConn), sql.ErrConnDone),
		"closed":         fmt.Errorf("unlock: %w", sql.ErrConnDone),
	} {
		got := pgstore.Explain("open store", err)
		assert.Equal(t, task.CodeOf(got), task.CodeResourceUnavailable, "%s: %v", name, got)
		assert.ErrorContains(t, got, "cannot be reached", name)
	}
	for name, err := range map[string]error{
		"password":  &pgconn.PgError{Code: "28P01"},
		"privilege": &pgconn.PgError{Code: "42501"},
		"fault":     errors.New("something else"),
	} {
		got := pgstore.Explain("open store", err)
		assert.Assert(t, !strings.Contains(got.Error(), "cannot be reached"), "%s: %v", name, got)
	}
	assert.ErrorIs(t, pgstore.Explain("open store", context.Canceled), context.Canceled)
}
