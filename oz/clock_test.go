package oz_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// skewed is a clock that is wrong by a constant.
type skewed time.Duration

func (s skewed) Now() time.Time                         { return time.Now().Add(time.Duration(s)) }
func (s skewed) After(d time.Duration) <-chan time.Time { return time.After(d) }

// TestClocksMayDiffer lets two replicas share a store, whose clocks are an hour
// apart: neither takes a run from a runner that renews its lease with the
// other, and both notice one that is silent.
func TestClocksMayDiffer(t *testing.T) {
	for _, skew := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(fmt.Sprint(skew), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := openStore(t)
				silent, lost := make(chan time.Time, 1), make(chan error, 1)
				w := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
					assert.Check(t, l.Begin(ctx))
					for range 30 { // five minutes
						beat, err := l.Heartbeat(ctx)
						assert.Check(t, err)
						time.Sleep(time.Duration(beat.IntervalMS) * time.Millisecond)
					}
					silent <- time.Now()
					time.Sleep(5 * time.Minute)
					_, err := l.Heartbeat(ctx)
					lost <- err
				})
				here, err := oz.New(store, &oz.Options{Workers: []oz.Worker{w}, Clock: skewed(skew), MaxAttempts: 1})
				assert.NilError(t, err)
				w.platform = here
				there, err := oz.New(store, &oz.Options{MaxAttempts: 1})
				assert.NilError(t, err)
				run := submit(t, there, oz.Request{Prompt: "work"})
				stopHere, stopThere := start(t, here), start(t, there)
				events := follow(t, there, run.ID)
				quiet := time.Since(<-silent)
				assert.Assert(t, quiet > 20*time.Second && quiet < 45*time.Second, "given up %v after the last heartbeat", quiet)
				got, err := there.Get(t.Context(), run.ID)
				assert.NilError(t, err)
				assert.Equal(t, got.State, task.StateError)
				assert.Equal(t, got.Executions, 1, "%v", events)
				assert.ErrorIs(t, <-lost, task.ErrFenced)
				stopHere()
				stopThere()
			})
		})
	}
}

// TestRunsPutOffByAWrongClock: a run that was put off by a clock that was an
// hour ahead does not wait for that hour.
func TestRunsPutOffByAWrongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := openStore(t)
		refused := make(chan struct{}, 1)
		no := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
			select {
			case refused <- struct{}{}:
			default:
			}
			<-ctx.Done()
		})
		ahead, err := oz.New(store, &oz.Options{Workers: []oz.Worker{no}, Clock: skewed(time.Hour), FirstBackoff: time.Minute, MaxAttempts: 9})
		assert.NilError(t, err)
		no.platform = ahead
		run := submit(t, ahead, oz.Request{Prompt: "wait"})
		stop := start(t, ahead)
		<-refused
		time.Sleep(40 * time.Second) // its lease is lost, the run is put off
		stop()
		got, err := ahead.Get(t.Context(), run.ID)
		assert.NilError(t, err)
		assert.Equal(t, got.Execution, task.ExecutionID(""))

		yes := newWorker("v", 1, succeed)
		right, err := oz.New(store, &oz.Options{Workers: []oz.Worker{yes}})
		assert.NilError(t, err)
		yes.platform = right
		began := time.Now()
		stop = start(t, right)
		follow(t, right, run.ID)
		assert.Assert(t, time.Since(began) < 2*time.Minute, "waited for %v", time.Since(began))
		stop()
	})
}

// awayStore is a store that can be away.
type awayStore struct {
	task.Store
	away atomic.Bool
}

func (s *awayStore) err() error {
	if s.away.Load() {
		return task.Errorf(task.CodeResourceUnavailable, "the database is away")
	}
	return nil
}

func (s *awayStore) Live(ctx context.Context) ([]task.Execution, error) {
	if err := s.err(); err != nil {
		return nil, err
	}
	return s.Store.Live(ctx)
}

func (s *awayStore) Do(ctx context.Context, id task.ID, c task.Command) (task.Head, error) {
	if err := s.err(); err != nil {
		return task.Head{}, err
	}
	return s.Store.Do(ctx, id, c)
}

// TestLeasesOutliveAnOutage: while the store is away nobody can renew a lease,
// so that none is lost by it, however long it lasts. Who is silent afterwards
// is noticed.
func TestLeasesOutliveAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &awayStore{Store: openStore(t)}
		begun, silent := make(chan struct{}), make(chan time.Time, 1)
		w := newWorker("w", 1, func(ctx context.Context, _ oz.Assignment, l executor.Link) {
			assert.Check(t, l.Begin(ctx))
			close(begun)
			var err error
			for range 20 { // 200 seconds, of which half are an outage
				_, err = l.Heartbeat(ctx)
				time.Sleep(10 * time.Second)
			}
			assert.Check(t, err)
			silent <- time.Now()
			<-ctx.Done()
		})
		p, err := oz.New(store, &oz.Options{Workers: []oz.Worker{w}, MaxAttempts: 1})
		assert.NilError(t, err)
		w.platform = p
		stop := start(t, p)
		run := submit(t, p, oz.Request{Prompt: "work"})
		<-begun
		time.Sleep(15 * time.Second) // the platform has seen the heartbeat of the tenth
		store.away.Store(true)
		time.Sleep(98 * time.Second) // the platform looks again before the runner speaks
		store.away.Store(false)
		follow(t, p, run.ID)
		lost := time.Since(<-silent)
		assert.Assert(t, lost > 0 && lost < 45*time.Second, "given up %v after the runner fell silent", lost)
		stop()
	})
}
