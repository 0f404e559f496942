package pgstore_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
)

// patience bounds every wait: a test that waits longer hangs.
const patience = time.Minute

var noon = time.Date(2026, 2, 3, 12, 0, 0, 0, time.UTC)

// replicas are two stores on one database.
func replicas(t *testing.T, opts *pgstore.Options) (stores [2]*pgstore.Store, dsn string) {
	t.Helper()
	dsn = pgtest.DSN(t)
	return [2]*pgstore.Store{open(t, dsn, opts), open(t, dsn, opts)}, dsn
}

func creation() task.Creation {
	return task.Creation{ID: task.NewID(), Now: noon, Spec: task.Spec{Title: "title", Prompt: "prompt", Owner: task.Scope{Type: task.ScopeTeam, UID: "team"}}}
}

func create(t *testing.T, s *pgstore.Store) task.ID {
	t.Helper()
	c := creation()
	_, _, err := s.Create(t.Context(), c)
	assert.NilError(t, err)
	return c.ID
}

func offer(x task.ExecutionID) task.Offer {
	return task.Offer{Execution: x, Worker: "worker", TokenHash: []byte{1}, LeaseUntil: noon}
}

// working makes a run that an execution works on.
func working(t *testing.T, s *pgstore.Store) (task.ID, task.ExecutionID) {
	t.Helper()
	id, x := create(t, s), task.NewExecutionID()
	do(t, s, id, offer(x), task.Begin{Execution: x})
	return id, x
}

func do(t *testing.T, s *pgstore.Store, id task.ID, commands ...task.Command) {
	t.Helper()
	for _, c := range commands {
		_, err := s.Do(t.Context(), id, c)
		assert.NilError(t, err)
	}
}

func notice(text string) task.Log {
	return task.Log{Payloads: []task.Payload{&task.Notice{Text: text}}}
}

func message(text string) []task.Event {
	return []task.Event{{Payload: &task.Message{ID: "m", Text: text}}}
}

// log reads a whole log and checks its numbers.
func log(t *testing.T, s *pgstore.Store, id task.ID) (all []task.Event) {
	t.Helper()
	for {
		page, err := s.Events(t.Context(), id, int64(len(all)), 1000)
		assert.NilError(t, err)
		if len(page) == 0 {
			return all
		}
		for _, e := range page {
			all = append(all, e)
			assert.Equal(t, e.Seq, int64(len(all)), "a gap in the log")
		}
	}
}

// signalled waits for a signal of a subscription.
func signalled(t *testing.T, changed <-chan struct{}) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(patience):
		t.Fatal("no signal")
	}
}

// race has both stores do something many times at once, and counts successes.
// Failures are of the kind that losers have.
func race(t *testing.T, stores [2]*pgstore.Store, each int, lose task.Code, try func(s *pgstore.Store, i int) error) (won int) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 2 * each {
		all.Go(func() {
			err := try(stores[i%2], i)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
				return
			}
			assert.Check(t, task.CodeOf(err) == lose, "%v", err)
		})
	}
	all.Wait()
	return won
}

func TestReplicasOfferOnce(t *testing.T) {
	stores, _ := replicas(t, nil)
	const runs = 20
	var ids []task.ID
	for range runs {
		ids = append(ids, create(t, stores[0]))
	}
	// Each run is offered by eight dispatchers, four on either store.
	won := race(t, stores, 4*runs, task.CodeConflict, func(s *pgstore.Store, i int) error {
		_, err := s.Do(t.Context(), ids[(i/2)%runs], offer(task.NewExecutionID()))
		return err
	})
	assert.Equal(t, won, runs)
	for _, id := range ids {
		all, err := stores[1].Executions(t.Context(), id)
		assert.NilError(t, err)
		assert.Equal(t, len(all), 1)
	}
	live, err := stores[1].Live(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(live), runs)
	waiting, err := stores[0].Waiting(t.Context(), noon.Add(time.Hour), 100)
	assert.NilError(t, err)
	assert.Equal(t, len(waiting), 0)
}

func TestReplicasClaimAllThatWaits(t *testing.T) {
	stores, _ := replicas(t, nil)
	const runs = 100
	for range runs {
		create(t, stores[0])
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	claims := map[task.ID]int{}
	for _, s := range stores {
		for range 2 {
			all.Go(func() { // a dispatcher, until nothing waits
				for {
					waiting, err := s.Waiting(t.Context(), noon, 10)
					if !assert.Check(t, err) || len(waiting) == 0 {
						return
					}
					for _, w := range waiting {
						_, err := s.Do(t.Context(), w.ID, offer(task.NewExecutionID()))
						if errors.Is(err, task.ErrConflict) {
							continue
						}
						assert.Check(t, err)
						mu.Lock()
						claims[w.ID]++
						mu.Unlock()
					}
				}
			})
		}
	}
	all.Wait()
	assert.Equal(t, len(claims), runs)
	for id, n := range claims {
		assert.Equal(t, n, 1, "run %s", id)
	}
}

func TestReplicasNumberEventsWithoutGaps(t *testing.T) {
	stores, _ := replicas(t, nil)
	const runs, rounds = 4, 30
	var all sync.WaitGroup
	var ids []task.ID
	for range runs {
		id, x := working(t, stores[0])
		ids = append(ids, id)
		for i := range rounds {
			all.Go(func() { // people and the platform, through both
				_, err := stores[i%2].Do(t.Context(), id, task.AddInput{Input: task.Input{Text: "steer"}})
				assert.Check(t, err)
				_, err = stores[(i+1)%2].Do(t.Context(), id, notice("note"))
				assert.Check(t, err)
			})
		}
		all.Go(func() { // the worker sends each batch to both, as after a lost answer
			for i := range rounds {
				var batch sync.WaitGroup
				for _, s := range stores {
					batch.Go(func() {
						_, err := s.Do(t.Context(), id, task.Append{Execution: x, Offset: int64(i), Events: message(fmt.Sprint(i))})
						assert.Check(t, err)
					})
				}
				batch.Wait()
			}
		})
	}
	all.Wait()
	for _, id := range ids {
		count := map[task.EventType]int{}
		for _, e := range log(t, stores[1], id) { // checks the numbers
			if m, ok := e.Payload.(*task.Message); ok {
				assert.Equal(t, m.Text, fmt.Sprint(count[m.Type()]))
			}
			count[e.Payload.Type()]++
		}
		for _, p := range []task.Payload{&task.Message{}, &task.Notice{}} {
			assert.Equal(t, count[p.Type()], rounds, "%T", p)
		}
		assert.Equal(t, count[(&task.Input{}).Type()], rounds+1) // with the prompt
	}
}

func TestReplicasShareLimitsKeysAndNames(t *testing.T) {
	stores, _ := replicas(t, nil)
	t.Run("MaxWaiting", func(t *testing.T) {
		const most = 10
		won := race(t, stores, 20, task.CodeResourceUnavailable, func(s *pgstore.Store, _ int) error {
			c := creation()
			c.MaxWaiting = most
			_, _, err := s.Create(t.Context(), c)
			return err
		})
		assert.Equal(t, won, most)
	})
	t.Run("IdempotencyKey", func(t *testing.T) {
		for round := range 5 {
			made := 0
			var mu sync.Mutex
			ids := map[task.ID]bool{}
			key := &task.IdempotencyKey{Principal: "p", Key: fmt.Sprint(round), KeepUntil: noon.Add(time.Hour)}
			won := race(t, stores, 8, "", func(s *pgstore.Store, _ int) error {
				c := creation()
				c.Key = key
				got, replayed, err := s.Create(t.Context(), c)
				mu.Lock()
				defer mu.Unlock()
				ids[got.ID] = true
				if !replayed {
					made++
				}
				return err
			})
			assert.Equal(t, won, 16)
			assert.Equal(t, made, 1)
			assert.Equal(t, len(ids), 1)
		}
	})
	t.Run("RunID", func(t *testing.T) {
		id := task.NewID()
		won := race(t, stores, 8, task.CodeConflict, func(s *pgstore.Store, _ int) error {
			c := creation()
			c.ID = id
			_, _, err := s.Create(t.Context(), c)
			return err
		})
		assert.Equal(t, won, 1)
	})
	t.Run("ExecutionID", func(t *testing.T) {
		x := task.NewExecutionID()
		var ids []task.ID
		for range 16 {
			ids = append(ids, create(t, stores[0]))
		}
		won := race(t, stores, 8, task.CodeConflict, func(s *pgstore.Store, i int) error {
			_, err := s.Do(t.Context(), ids[i], offer(x))
			return err
		})
		assert.Equal(t, won, 1)
	})
	t.Run("Record", func(t *testing.T) {
		for round := range int64(5) {
			won := race(t, stores, 8, task.CodeConflict, func(s *pgstore.Store, _ int) error {
				_, err := s.PutRecord(t.Context(), task.Record{Kind: "a", Key: "k", Revision: round, UpdatedAt: noon})
				return err
			})
			assert.Equal(t, won, 1)
		}
	})
}

func TestReplicasHearOfEachOther(t *testing.T) {
	// No look at the tables within the test: the messages must do.
	stores, _ := replicas(t, &pgstore.Options{PollInterval: time.Hour})
	work, cancelWork := stores[1].Subscribe("")
	defer cancelWork()
	c := creation()
	changed, cancel := stores[1].Subscribe(c.ID)
	defer cancel()
	_, _, err := stores[0].Create(t.Context(), c)
	assert.NilError(t, err)
	signalled(t, changed)
	signalled(t, work)
	do(t, stores[0], c.ID, offer("x"), task.Begin{Execution: "x"})
	signalled(t, changed)
	do(t, stores[0], c.ID, task.End{Execution: "x", State: task.StateSucceeded, SeenInput: 2}) // frees an execution
	signalled(t, work)
}

// TestReplicasFollow has readers at one store follow logs written at another.
func TestReplicasFollow(t *testing.T) {
	stores, _ := replicas(t, &pgstore.Options{PollInterval: time.Hour})
	const runs, events = 8, 100
	var all sync.WaitGroup
	for range runs {
		id, x := working(t, stores[0])
		all.Go(func() {
			changed, cancel := stores[1].Subscribe(id)
			defer cancel()
			deadline := time.After(patience)
			for seen := int64(0); seen < events; {
				page, err := stores[1].Events(t.Context(), id, seen, 7)
				if !assert.Check(t, err) {
					return
				}
				if seen += int64(len(page)); len(page) > 0 {
					continue
				}
				select {
				case <-changed:
				case <-deadline:
					t.Errorf("a reader waits for event %d and nobody wakes it", seen+1)
					return
				}
			}
		})
		all.Go(func() {
			for i := range events {
				_, err := stores[0].Do(t.Context(), id, task.Append{Execution: x, Offset: int64(i), Events: message("m")})
				assert.Check(t, err)
			}
		})
	}
	all.Wait()
}

// TestLooksForWhatNobodyTold changes rows as a store does that dies before it
// can tell.
func TestLooksForWhatNobodyTold(t *testing.T) {
	dsn := pgtest.DSN(t)
	s := open(t, dsn, &pgstore.Options{PollInterval: 10 * time.Millisecond})
	id := create(t, s)
	changed, cancel := s.Subscribe(id)
	defer cancel()
	work, cancelWork := s.Subscribe("")
	defer cancelWork()
	conn, err := pgx.Connect(t.Context(), dsn)
	assert.NilError(t, err)
	defer func() { assert.Check(t, conn.Close(t.Context())) }()
	signalled(t, changed) // the first look knows of nothing yet
	signalled(t, work)
	for range 3 {
		_, err = conn.Exec(t.Context(), `UPDATE oz.runs SET version = version + 1, ready_at = ready_at + 1`)
		assert.NilError(t, err)
		signalled(t, changed)
		signalled(t, work)
	}
}

func TestManyChangesAtOnceAreHeard(t *testing.T) {
	stores, _ := replicas(t, &pgstore.Options{PollInterval: time.Hour})
	var all sync.WaitGroup
	for range 250 {
		c := creation()
		changed, cancel := stores[1].Subscribe(c.ID)
		all.Go(func() {
			defer cancel()
			_, _, err := stores[0].Create(t.Context(), c)
			assert.Check(t, err)
			select {
			case <-changed:
			case <-time.After(patience):
				t.Error("no signal")
			}
		})
	}
	all.Wait()
}

// TestPlacePassesOverLockedRows has another transaction hold a run: what else
// waits is offered without waiting for it.
func TestPlacePassesOverLockedRows(t *testing.T) {
	stores, dsn := replicas(t, nil)
	held, free := create(t, stores[0]), create(t, stores[0])
	conn := admin(t, dsn)
	run(t, conn, `BEGIN`)
	run(t, conn, `SELECT 1 FROM oz.runs WHERE id = $1 FOR UPDATE`, string(held))
	place := func() []task.Task {
		t.Helper()
		placed, err := stores[1].Place(t.Context(), []task.Placement{
			{ID: held, Offer: offer(task.NewExecutionID())}, {ID: free, Offer: offer(task.NewExecutionID())}})
		assert.NilError(t, err)
		return placed
	}
	placed := place()
	assert.Equal(t, len(placed), 1)
	assert.Equal(t, placed[0].ID, free)
	run(t, conn, `ROLLBACK`)
	placed = place()
	assert.Equal(t, len(placed), 1)
	assert.Equal(t, placed[0].ID, held)
}
