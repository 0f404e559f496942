package pgstore_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
)

// TestSignalsAcrossReplicas has two stores end runs at the same time while a
// reader follows each: both get every signal once, under the same numbers.
func TestSignalsAcrossReplicas(t *testing.T) {
	const runs = 60
	stores, _ := replicas(t, nil)
	ids, execs := make([]task.ID, runs), make([]task.ExecutionID, runs)
	for i := range runs {
		ids[i], execs[i] = working(t, stores[i%2])
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var all sync.WaitGroup
	for i := range runs {
		all.Go(func() {
			s := stores[(i/2)%2]
			_, err := s.SendMail(ctx, task.Letter{From: ids[i], To: []task.ID{ids[(i+1)%runs]}, Subject: "s", Body: "b"})
			assert.Check(t, err == nil || task.CodeOf(err) == task.CodeOperationNotSupported, "%v", err)
			_, err = s.Do(ctx, ids[i], task.End{Execution: execs[i], State: task.StateSucceeded, SeenInput: 1000})
			assert.Check(t, err)
		})
	}
	var seen [2][]string
	for r := range seen {
		all.Go(func() { seen[r] = followEnds(ctx, t, stores[r], ids) })
	}
	all.Wait()
	// Both stop after the last end; messages to runs that ended are refused, so
	// that nothing comes behind it.
	assert.DeepEqual(t, seen[0], seen[1])
}

// followEnds polls until all runs have ended.
func followEnds(ctx context.Context, t *testing.T, s *pgstore.Store, ids []task.ID) (seen []string) {
	ended := 0
	for after := int64(0); ended < len(ids); {
		page, err := s.Signals(ctx, task.SignalQuery{Tasks: ids, After: after, Limit: 10})
		if !assert.Check(t, err) {
			return nil
		}
		for _, sig := range page {
			assert.Check(t, sig.Seq > after)
			after = sig.Seq
			seen = append(seen, fmt.Sprint(sig.Seq, " ", sig.Type, " ", sig.TaskID))
			if sig.Type == task.SignalSucceeded {
				ended++
			}
		}
	}
	return seen
}

// TestLateSignalIsNotMissed holds a transaction that has its place in the order
// of the writers already, and commits after a reader has gone on.
func TestLateSignalIsNotMissed(t *testing.T) {
	stores, dsn := replicas(t, nil)
	id, x := working(t, stores[0])
	first, err := stores[1].Signals(t.Context(), task.SignalQuery{Tasks: []task.ID{id}, Limit: 10})
	assert.NilError(t, err)
	assert.Equal(t, len(first), 1)

	conn := admin(t, dsn)
	tx, err := conn.Begin(t.Context())
	assert.NilError(t, err)
	_, err = tx.Exec(t.Context(), `INSERT INTO oz.signals (n, type, execution, ref, time) SELECT n, 'new_message', '', 'late', 0 FROM oz.runs WHERE id = $1`, string(id))
	assert.NilError(t, err)
	do(t, stores[0], id, task.End{Execution: x, State: task.StateSucceeded, SeenInput: 1000})
	second, err := stores[1].Signals(t.Context(), task.SignalQuery{Tasks: []task.ID{id}, After: first[0].Seq, Limit: 10})
	assert.NilError(t, err)
	assert.Equal(t, len(second), 1)
	assert.Equal(t, second[0].Type, task.SignalSucceeded)
	assert.NilError(t, tx.Commit(t.Context()))
	third, err := stores[1].Signals(t.Context(), task.SignalQuery{Tasks: []task.ID{id}, After: second[0].Seq, Limit: 10})
	assert.NilError(t, err)
	assert.Equal(t, len(third), 1, "it was committed behind a reader's back")
	assert.Equal(t, third[0].Ref, "late")
}

// TestJournalAcrossReplicas appends at two stores at once: one chain comes of it.
func TestJournalAcrossReplicas(t *testing.T) {
	const writers, each = 8, 20
	stores, _ := replicas(t, nil)
	var all sync.WaitGroup
	var done atomic.Int64
	for w := range writers {
		all.Go(func() {
			for i := range each {
				_, err := stores[w%2].AppendJournal(t.Context(), []byte(fmt.Sprint(w, " ", i)))
				if assert.Check(t, err) {
					done.Add(1)
				}
			}
		})
	}
	all.Wait()
	var last task.JournalEntry
	page, err := stores[0].Journal(t.Context(), 0, 2*writers*each)
	assert.NilError(t, err)
	for _, e := range page {
		want := task.Chain(last, e.Body)[0]
		assert.Assert(t, e.Seq == want.Seq && e.Hash == want.Hash, "the chain breaks at %d", e.Seq)
		last = e
	}
	assert.Equal(t, last.Seq, done.Load())
}

// TestJournalOutlivesTerminatedBackends breaks all connections of two stores
// while they append: what was acknowledged is in the chain once, what was
// refused is not, and the chain has no break.
func TestJournalOutlivesTerminatedBackends(t *testing.T) {
	const writers, kills = 4, 10
	stores, dsn := replicas(t, nil)
	conn := admin(t, dsn)
	var stop atomic.Bool
	progress := make(chan struct{}, writers)
	var all sync.WaitGroup
	var mu sync.Mutex
	want := map[string]int{} // how often each body must be there
	for w := range writers {
		all.Go(func() {
			for i := 0; !stop.Load(); i++ {
				body := fmt.Sprint(w, " ", i)
				_, err := stores[(w+i)%2].AppendJournal(t.Context(), []byte(body))
				assert.Check(t, err == nil || task.CodeOf(err) == task.CodeResourceUnavailable, "%v", err)
				mu.Lock()
				want[body] = 0
				if err == nil {
					want[body] = 1
				}
				mu.Unlock()
				if err == nil {
					select {
					case progress <- struct{}{}:
					default:
					}
				}
			}
		})
	}
	for range kills {
		for range 2 * writers { // in the middle of work
			<-progress
		}
		run(t, conn, terminateAll)
	}
	stop.Store(true)
	all.Wait()
	var page []task.JournalEntry
	eventually(t, func() (err error) {
		page, err = stores[0].Journal(t.Context(), 0, 1_000_000)
		return err
	})
	got := map[string]int{}
	for body := range want {
		got[body] = 0
	}
	var last task.JournalEntry
	for _, e := range page {
		next := task.Chain(last, e.Body)[0]
		assert.Assert(t, e.Seq == next.Seq && e.Hash == next.Hash, "the chain breaks at %d", e.Seq)
		got[string(e.Body)]++
		last = e
	}
	assert.DeepEqual(t, got, want)
}
