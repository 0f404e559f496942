package sqlitestore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/laws"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// TestBackupUnderLoad copies a database that is written to all the while: the
// copy has every run that was acknowledged before, each with a sound record.
func TestBackupUnderLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "oz.db")
	s := open(t, path, nil)
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	var made atomic.Int64
	for range 8 {
		writers.Go(func() {
			for ctx.Err() == nil {
				if work(t, s) {
					made.Add(1)
				}
			}
		})
	}
	for made.Load() < 100 {
		time.Sleep(time.Millisecond)
	}
	before := made.Load()
	copied := filepath.Join(dir, "copy.db")
	assert.NilError(t, sqlitestore.Backup(t.Context(), path, copied))
	stop()
	writers.Wait()

	info, err := os.Stat(copied)
	assert.NilError(t, err)
	assert.Equal(t, info.Mode().Perm(), os.FileMode(0o600))
	r := open(t, copied, nil)
	assert.Assert(t, int64(checkAll(t, r)) >= before)
	work(t, r)
	assert.ErrorContains(t, sqlitestore.Backup(t.Context(), path, copied), "exists already")
	assert.ErrorContains(t, sqlitestore.Backup(t.Context(), filepath.Join(dir, "none.db"), filepath.Join(dir, "x.db")), "no such file")
	left, err := filepath.Glob(filepath.Join(dir, ".backup-*"))
	assert.NilError(t, err)
	assert.Equal(t, len(left), 0, "%v", left)
}

// work makes a run, carries it out, and reports whether it did.
func work(t *testing.T, s task.Store) bool {
	ctx := context.Background()
	id, x := task.NewID(), task.NewExecutionID()
	_, _, err := s.Create(ctx, task.Creation{ID: id, Now: time.Now(), Spec: task.Spec{Title: "t", Prompt: "p"}})
	for _, c := range []task.Command{task.Offer{Execution: x, Worker: "w", LeaseUntil: time.Now()}, task.Accept{Execution: x}, task.Begin{Execution: x},
		task.Append{Execution: x, Events: []task.Event{{Payload: &task.Delivered{Inputs: []int64{2}}}, {Payload: &task.Message{ID: "m", Text: "done"}}}},
		task.End{Execution: x, State: task.StateSucceeded, SeenInput: 2}} {
		if err == nil {
			_, err = s.Do(ctx, id, c)
		}
	}
	return assert.Check(t, err)
}

// checkAll holds every run of a store against the laws, and counts those that
// have ended.
func checkAll(t *testing.T, s task.Store) (ended int) {
	t.Helper()
	q := task.Query{Sort: task.SortCreatedAt, Limit: task.MaxPageSize}
	for {
		page, err := s.List(t.Context(), q)
		assert.NilError(t, err)
		for _, run := range page.Tasks {
			r := laws.Record{Task: run}
			r.Executions, err = s.Executions(t.Context(), run.ID)
			assert.NilError(t, err)
			r.Events, err = s.Events(t.Context(), run.ID, 0, 1000)
			assert.NilError(t, err)
			assert.Equal(t, len(laws.Check(r)), 0, fmt.Sprint(laws.Check(r)))
			if run.State.Ended() {
				ended++
			}
		}
		if q.After = page.Next; q.After == nil {
			return ended
		}
	}
}
