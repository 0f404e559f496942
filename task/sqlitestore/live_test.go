package sqlitestore_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// TestLiveExecutionsAreNeverOlderThanTheDatabase reads an execution from the
// database and then by the ways that are served from memory, while others
// write: what was seen once is not taken back.
func TestLiveExecutionsAreNeverOlderThanTheDatabase(t *testing.T) {
	const writers, turns = 4, 50
	s, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "oz.db"), nil)
	assert.NilError(t, err)
	defer func() { assert.Check(t, s.Close()) }()
	var group sync.WaitGroup
	for range writers {
		id, exec := task.NewID(), task.NewExecutionID()
		until := time.Now().Add(time.Hour)
		_, _, err := s.Create(t.Context(), task.Creation{ID: id, Spec: benchSpec(), Now: time.Now(),
			Commands: []task.Command{task.Offer{Execution: exec, Worker: "w", TokenHash: make([]byte, 32), LeaseUntil: until}, task.Begin{Execution: exec}}})
		assert.NilError(t, err)
		ended := make(chan struct{})
		group.Go(func() {
			defer close(ended)
			for i := range turns {
				_, err := s.Do(context.Background(), id, task.Renew{Execution: exec, Until: until.Add(time.Duration(i+1) * time.Second)})
				assert.Check(t, err)
			}
			_, err := s.Do(context.Background(), id, task.End{Execution: exec, State: task.StateSucceeded, SeenInput: 2})
			assert.Check(t, err)
		})
		group.Go(func() {
			for last := false; !last; {
				select {
				case <-ended:
					last = true
				default:
				}
				checkNotOlder(t, s, id, exec)
			}
			x, err := s.Execution(context.Background(), exec)
			assert.Check(t, err)
			assert.Check(t, !x.Live())
		})
	}
	group.Wait()
	live, err := s.Live(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(live), 0)
}

func checkNotOlder(t *testing.T, s *sqlitestore.Store, id task.ID, exec task.ExecutionID) {
	ctx := context.Background()
	stored, err := s.Executions(ctx, id)
	assert.Check(t, err)
	x, err := s.Execution(ctx, exec)
	assert.Check(t, err)
	assert.Check(t, !x.LeaseUntil.Before(stored[0].LeaseUntil), "%v is older than %v", x.LeaseUntil, stored[0].LeaseUntil)
	assert.Check(t, stored[0].Live() || !x.Live(), "an ended execution lives again")
	live, err := s.Live(ctx)
	assert.Check(t, err)
	for _, l := range live {
		assert.Check(t, l.ID != exec || stored[0].Live(), "an ended execution is among the live ones")
		l.TokenHash[0] = 1 // a caller may do what it wants with its copy
	}
	again, err := s.Execution(ctx, exec)
	assert.Check(t, err)
	assert.Check(t, again.TokenHash[0] == 0, "memory is shared with callers")
}

// TestLiveExecutionsAfterReopening finds them in the database.
func TestLiveExecutionsAfterReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "oz.db")
	exec := task.NewExecutionID()
	s, err := sqlitestore.Open(t.Context(), path, nil)
	assert.NilError(t, err)
	_, _, err = s.Create(t.Context(), task.Creation{ID: task.NewID(), Spec: benchSpec(), Now: time.Now(),
		Commands: []task.Command{task.Offer{Execution: exec, Worker: "w", TokenHash: make([]byte, 32), LeaseUntil: time.Now()}}})
	assert.NilError(t, err)
	before, err := s.Execution(t.Context(), exec)
	assert.NilError(t, err)
	assert.NilError(t, s.Close())
	s, err = sqlitestore.Open(t.Context(), path, nil)
	assert.NilError(t, err)
	defer func() { assert.Check(t, s.Close()) }()
	live, err := s.Live(t.Context())
	assert.NilError(t, err)
	assert.DeepEqual(t, live, []task.Execution{before})
}
