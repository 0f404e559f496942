package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
)

// database is the one that the servers share.
const database = "postgres"

// Postgres is a private PostgreSQL server, which is started with the rig. Start
// fails with pgtest.ErrNotInstalled when there is none on this machine.
func Postgres() Store { return &postgres{} }

type postgres struct{ server *pgtest.Server }

func (p *postgres) Name() string { return "postgres" }
func (p *postgres) Shared() bool { return true }

func (p *postgres) Start(ctx context.Context) (err error) {
	p.server, err = pgtest.Start(ctx)
	return err
}

func (p *postgres) Stop() error {
	if p.server == nil {
		return nil
	}
	err := p.server.Close()
	p.server = nil
	return err
}

func (p *postgres) Setting() string { return p.server.Address(database) }

func (p *postgres) Open(ctx context.Context, _ string) (task.Store, error) {
	return pgstore.Open(ctx, p.Setting(), nil)
}

func (p *postgres) Outages() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"crashes":           p.crash,
		"loses connections": p.terminate,
		"is read-only":      p.readOnly,
	}
}

// away is how long the database is away: below the lease or above it.
func away(ctx context.Context) error {
	select {
	case <-time.After(time.Duration(rand.IntN(3000)) * time.Millisecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// crash stops the server as a crash does, and starts it again.
func (p *postgres) crash(ctx context.Context) error {
	return errors.Join(p.server.Stop(), away(ctx), p.server.Start(context.WithoutCancel(ctx)))
}

// terminate ends all connections but its own.
func (p *postgres) terminate(ctx context.Context) error {
	return p.exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")
}

// readOnly refuses all writes for a while, as a standby does that takes over
// too early.
func (p *postgres) readOnly(ctx context.Context) error {
	set := func(ctx context.Context, value string) error {
		return errors.Join(p.exec(ctx, "ALTER SYSTEM SET default_transaction_read_only = "+value), p.exec(ctx, "SELECT pg_reload_conf()"))
	}
	return errors.Join(set(ctx, "on"), away(ctx), set(context.WithoutCancel(ctx), "off"))
}

func (p *postgres) exec(ctx context.Context, text string) error {
	conn, err := pgx.Connect(ctx, p.Setting()+"&options=-c%20default_transaction_read_only%3Doff")
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	_, err = conn.Exec(ctx, text)
	return errors.Join(err, conn.Close(ctx))
}
