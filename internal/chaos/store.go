package chaos

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// Store is where the servers keep the runs.
type Store interface {
	// Name is for the report.
	Name() string
	// Shared reports that several servers can use it.
	Shared() bool
	// Start makes an empty store.
	Start(ctx context.Context) error
	// Stop ends it.
	Stop() error
	// Setting is the value of the server's setting "store"; empty for its own
	// in the data directory.
	Setting() string
	// Outages are the ways in which it can go away, each a function that
	// returns once it is back.
	Outages() map[string]func(context.Context) error
	// Open opens it for the checker, when no server runs any more. data is a
	// server's data directory.
	Open(ctx context.Context, data string) (task.Store, error)
}

// SQLite is the file in the server's data directory.
func SQLite() Store { return sqlite{} }

type sqlite struct{}

func (sqlite) Name() string                                    { return "sqlite" }
func (sqlite) Shared() bool                                    { return false }
func (sqlite) Start(context.Context) error                     { return nil }
func (sqlite) Stop() error                                     { return nil }
func (sqlite) Setting() string                                 { return "" }
func (sqlite) Outages() map[string]func(context.Context) error { return nil }

func (sqlite) Open(ctx context.Context, data string) (task.Store, error) {
	return sqlitestore.Open(ctx, filepath.Join(data, "oz.db"), nil)
}

// StoreByName gives the store that a command line names, and how many servers
// to run over it.
func StoreByName(name string) (Store, int, error) {
	switch name {
	case "sqlite":
		return SQLite(), 1, nil
	case "postgres":
		return Postgres(), 2, nil
	}
	return nil, 0, fmt.Errorf("store %q: must be sqlite or postgres", name)
}
