package oz_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
)

// replica makes a platform with workers on a PostgreSQL database that it may
// share. It does not run.
func replica(t testing.TB, dsn string, workers ...*worker) *oz.Platform {
	t.Helper()
	store, err := pgstore.Open(t.Context(), dsn, nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, store.Close()) })
	opts := &oz.Options{}
	for _, w := range workers {
		opts.Workers = append(opts.Workers, w)
	}
	p, err := oz.New(store, opts)
	assert.NilError(t, err)
	for _, w := range workers {
		w.platform = p
	}
	return p
}

// TestReplicasShareTheQueue has two servers with two workers each take runs from
// one queue that both look at: each run goes to one worker, once, no worker gets
// more than it has room for, and all work.
func TestReplicasShareTheQueue(t *testing.T) {
	const runs, capacity = 60, 3
	dsn := pgtest.DSN(t)
	var mu sync.Mutex
	offers, active := map[task.ID]int{}, map[string]int{}
	var workers []*worker
	for i := range 4 {
		name := fmt.Sprint("w", i)
		workers = append(workers, newWorker(name, capacity, func(ctx context.Context, a oz.Assignment, l executor.Link) {
			mu.Lock()
			offers[a.Task.ID]++
			active[name]++
			assert.Check(t, active[name] <= capacity, "worker %s has %d at once", name, active[name])
			mu.Unlock()
			beat, err := l.Heartbeat(ctx)
			assert.Check(t, err)
			assert.Check(t, l.Begin(ctx))
			mu.Lock()
			active[name]-- // the place is free for the platform once the end is stored
			mu.Unlock()
			end(ctx, l, beat.LastInput, task.StateSucceeded)
		}))
	}
	one, two := replica(t, dsn, workers[:2]...), replica(t, dsn, workers[2:]...)
	var ids []task.ID
	for i := range runs {
		ids = append(ids, submit(t, one, oz.Request{Prompt: fmt.Sprint("run ", i)}).ID)
	}
	start(t, one)
	start(t, two)
	for _, id := range ids {
		follow(t, two, id)
		r, err := two.Get(t.Context(), id)
		assert.NilError(t, err)
		assert.Equal(t, r.State, task.StateSucceeded)
		assert.Equal(t, r.Executions, 1)
		mu.Lock()
		assert.Check(t, offers[id] == 1, "run %s was offered %d times", id, offers[id])
		mu.Unlock()
	}
}

// TestHeldRunWaitsAlone has a run's row locked by somebody else: the other runs
// go on, and it follows when it is free.
func TestHeldRunWaitsAlone(t *testing.T) {
	dsn := pgtest.DSN(t)
	p := replica(t, dsn, newWorker("w", 2, succeed))
	held, free := submit(t, p, oz.Request{Prompt: "held"}), submit(t, p, oz.Request{Prompt: "free"})
	conn, err := pgx.Connect(t.Context(), dsn)
	assert.NilError(t, err)
	defer func() { assert.Check(t, conn.Close(context.Background())) }()
	lock, err := conn.Begin(t.Context())
	assert.NilError(t, err)
	_, err = lock.Exec(t.Context(), `SELECT 1 FROM oz.runs WHERE id = $1 FOR UPDATE`, string(held.ID))
	assert.NilError(t, err)
	start(t, p)
	follow(t, p, free.ID)
	r, err := p.Get(t.Context(), held.ID)
	assert.NilError(t, err)
	assert.Equal(t, r.State, task.StateQueued)
	assert.NilError(t, lock.Rollback(t.Context()))
	follow(t, p, held.ID)
}
