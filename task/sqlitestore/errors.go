package sqlitestore

import (
	"context"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/oz-platform/cloudagents/task"
)

// errClosed is what every call fails with after Close.
var errClosed error = &task.Error{Code: task.CodeResourceUnavailable, Message: "the store is closed"}

// explain turns an error of the database into what a caller can act on: doing
// says what was attempted. Errors of the contract and of contexts pass.
func explain(doing string, err error) error {
	var known *task.Error
	var db *sqlite.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case !errors.As(err, &db):
		return fmt.Errorf("%s: %w", doing, err)
	}
	if db.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE { // runs and executions: asking before would cost more
		return &task.Error{Code: task.CodeConflict, Message: doing + ": its ID, or that of an execution, was used before; take a new one", Err: err}
	}
	advice := ""
	switch db.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		advice = "the disk or the database is full; make room and try again"
	case sqlite3.SQLITE_READONLY:
		advice = "the database cannot be written to; check the file's and directory's permissions and whether the file system is mounted read-only"
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		advice = "the disk reports an error; check it and its free space, then try again"
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		advice = "another program holds the database; close it and try again"
	case sqlite3.SQLITE_NOMEM:
		advice = "memory is short; try again"
	case sqlite3.SQLITE_INTERRUPT:
		return fmt.Errorf("%s: %w", doing, context.Canceled)
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
	return &task.Error{Code: task.CodeResourceUnavailable, Message: doing + ": " + advice, Err: err}
}
