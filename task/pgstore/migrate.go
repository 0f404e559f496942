package pgstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/oz-platform/cloudagents/task"
)

//go:embed migrations/*.sql
var migrations embed.FS

// minServer is the oldest server version that has what we need
// (pg_xact_status by xid8: PostgreSQL 13).
const minServer = 130000

// migrate checks the server, makes the schema and brings it to this program's
// version. Stores that open at once do so one after the other.
//
// Migrations only add (expand), until no program in use needs what they
// replace; a later one takes that away (contract) and says so in the table
// schema_support. So a program works on the schemas of newer ones until then,
// and replicas can be replaced one by one.
func migrate(ctx context.Context, config *pgx.ConnConfig, schema string) (err error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	// Closing the connection frees the lock, whatever happened.
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if err := checkServer(ctx, conn); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, lockKey(schema, "migrate")); err != nil {
		return err
	}
	if err := makeSchema(ctx, conn, schema); err != nil {
		return err
	}
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	return upgrade(ctx, db)
}

func checkServer(ctx context.Context, conn *pgx.Conn) error {
	var version int
	var encoding string
	err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding')`).Scan(&version, &encoding)
	switch {
	case err != nil:
		return err
	case version < minServer:
		return task.Errorf(task.CodeResourceUnavailable, "the server is PostgreSQL %d; version %d or newer is needed", version/10000, minServer/10000)
	case encoding != "UTF8":
		return task.Errorf(task.CodeResourceUnavailable, "the database has the encoding %s; create one with UTF8", encoding)
	}
	return nil
}

// makeSchema asks first: a user who may not make schemas can be given one.
func makeSchema(ctx context.Context, conn *pgx.Conn, schema string) error {
	var there bool
	err := conn.QueryRow(ctx, `SELECT to_regnamespace($1) IS NOT NULL`, schema).Scan(&there)
	if err == nil && !there {
		_, err = conn.Exec(ctx, `CREATE SCHEMA `+pgx.Identifier{schema}.Sanitize())
	}
	return err
}

func newMigrations(db *sql.DB) (*goose.Provider, error) {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, sub, goose.WithDisableGlobalRegistry(true), goose.WithTableName("schema_version"))
}

func upgrade(ctx context.Context, db *sql.DB) error {
	p, err := newMigrations(db)
	if err != nil {
		return err
	}
	has, knows, err := p.GetVersions(ctx)
	switch {
	case err != nil:
		return err
	case has > knows:
		return checkSupport(ctx, db, has, knows)
	case has < knows:
		_, err = p.Up(ctx)
	}
	return err
}

// checkSupport refuses a schema that has left this program behind.
func checkSupport(ctx context.Context, db *sql.DB, has, knows int64) error {
	var oldest int64
	if err := db.QueryRowContext(ctx, `SELECT oldest FROM schema_support`).Scan(&oldest); err != nil {
		return fmt.Errorf("read which programs the schema supports: %w", err)
	}
	if oldest > knows {
		return task.Errorf(task.CodeResourceUnavailable, "the database has version %d, which needs a program of version %d or newer; this one has %d: use a newer program, or restore an older backup", has, oldest, knows)
	}
	return nil
}
