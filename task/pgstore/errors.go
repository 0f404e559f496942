package pgstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/oz-platform/cloudagents/task"
)

// errClosed is what every call fails with after Close.
var errClosed error = &task.Error{Code: task.CodeResourceUnavailable, Message: "the store is closed"}

// errUnknown is the cause when nobody can tell whether a write has happened.
var errUnknown = errors.New("the connection broke while the transaction was committed, and its outcome could not be read since")

// sqlState gives the code of an error of the server (PostgreSQL manual,
// appendix A), "" for others.
func sqlState(err error) string {
	var db *pgconn.PgError
	if errors.As(err, &db) {
		return db.Code
	}
	return ""
}

// away reports that the server could not be reached, or has hung up.
func away(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	state := sqlState(err)
	switch {
	case strings.HasPrefix(state, "08"), strings.HasPrefix(state, "57P"), state == "53300": // connection; shut down; too many connections
		return true
	case state != "":
		return false
	}
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.Timeout(err) || pgconn.SafeToRetry(err) ||
		errors.Is(err, net.ErrClosed) || isEOF(err) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) // what database/sql makes of it, for migrations
}

// passing reports that the same transaction may succeed when it is tried again
// at once: another one was in its way, or its connection broke.
func passing(err error) bool {
	if errors.Is(err, errUnknown) { // it may have happened
		return false
	}
	switch sqlState(err) {
	case "40001", "40P01", // serialization failure, deadlock
		"23505", // unique: another store was first; the next try reads what it wrote
		"55000", // a cached plan or a prepared statement is out of date
		"0A000", // "cached plan must not change result type"
		"26000": // prepared statement does not exist: the server forgot it
		return true
	}
	return away(err)
}

// explain turns an error of the database into what a caller can act on: doing
// says what was attempted. Errors of the contract and of contexts pass.
func explain(doing string, err error) error {
	var known *task.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	}
	if advice := advise(err); advice != "" {
		return &task.Error{Code: task.CodeResourceUnavailable, Message: doing + ": " + advice, Err: err}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// advise says what to do about an error that is not the caller's fault and
// may pass; "" for others.
func advise(err error) string {
	state := sqlState(err)
	switch {
	case errors.Is(err, errUnknown):
		return "it is not known whether this was done, because the database went away; read the run before you repeat it"
	case state == "25006":
		return "the database is read-only; check whether it is a standby or default_transaction_read_only is on"
	case strings.HasPrefix(state, "28"):
		return "the database refused the user or the password; check them"
	case state == "3D000":
		return "there is no such database; create it or correct its name"
	case state == "42501":
		return "the database user lacks a privilege; it must be able to create a schema in the database, or own the one given"
	case state == "53100":
		return "the database server's disk is full; make room and try again"
	case state == "53300":
		return "the database has no free connection; raise max_connections or lower the store's options Readers and Writers"
	case strings.HasPrefix(state, "53"), strings.HasPrefix(state, "58"):
		return "the database server is short of resources or has a fault; check its log, then try again"
	case state == "55P03", state == "57014":
		return "the database took too long; another transaction may hold the run; try again"
	case strings.HasPrefix(state, "40"):
		return "other transactions were in the way again and again; try again"
	case away(err):
		return "the database cannot be reached; check that it runs and its address, then try again"
	}
	return ""
}

// isEOF reports that the other end closed the connection.
func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
