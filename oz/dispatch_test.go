package oz_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

func TestConcurrencyLimitHolds(t *testing.T) {
	for _, c := range []struct {
		name          string
		capacity      []int
		maxConcurrent int
		want          int
	}{
		{"one worker", []int{4}, 0, 4},
		{"two workers and a global limit", []int{4, 4}, 5, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			var (
				mu          sync.Mutex
				active, top int
			)
			opts := &oz.Options{MaxConcurrent: c.maxConcurrent}
			var workers []*worker
			for i, capacity := range c.capacity {
				workers = append(workers, newWorker(fmt.Sprint("w", i), capacity, func(ctx context.Context, a oz.Assignment, l executor.Link) {
					mu.Lock()
					active++
					top = max(top, active)
					mu.Unlock()
					// The place is free for the platform once End is stored.
					beat, err := l.Heartbeat(ctx)
					assert.Check(t, err)
					assert.Check(t, l.Begin(ctx))
					mu.Lock()
					active--
					mu.Unlock()
					end(ctx, l, beat.LastInput, task.StateSucceeded)
				}))
			}
			p, store := with(t, opts, workers...)
			var runs []task.Task
			for i := range 50 {
				runs = append(runs, submit(t, p, oz.Request{Prompt: fmt.Sprint("run ", i)}))
			}
			start(t, p)
			for _, r := range runs {
				follow(t, p, r.ID)
				got, err := p.Get(t.Context(), r.ID)
				assert.NilError(t, err)
				assert.Equal(t, got.State, task.StateSucceeded)
				assert.Equal(t, got.Executions, 1, "no run needs two executions")
			}
			mu.Lock()
			defer mu.Unlock()
			assert.Assert(t, top <= c.want, "%d at once", top)
			assert.Assert(t, top > 1, "the limit is made use of")
			live, err := store.Live(t.Context())
			assert.NilError(t, err)
			assert.Equal(t, len(live), 0)
		})
	}
}

func TestLostExecutionIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		starts, fences := make(chan time.Duration, 9), make(chan error, 9)
		w := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
			starts <- time.Since(began)
			assert.Check(t, l.Begin(ctx))
			time.Sleep(10 * time.Minute) // virtual; without a heartbeat
			_, err := l.Heartbeat(context.Background())
			fences <- err
		})
		p, _ := with(t, &oz.Options{MaxAttempts: 3, FirstBackoff: time.Minute, MaxBackoff: 20 * time.Minute}, w)
		w.info.Capacity = 0
		run := submit(t, p, oz.Request{Prompt: "get lost"})
		stop := start(t, p)
		events := follow(t, p, run.ID)
		got, err := p.Get(t.Context(), run.ID)
		assert.NilError(t, err)
		assert.Equal(t, got.State, task.StateError)
		assert.Equal(t, got.Status.ErrorCode, task.CodeAgentProcessFailed)
		assert.Assert(t, got.Status.Retryable)
		assert.Equal(t, got.Executions, 3)
		first, second, third := <-starts, <-starts, <-starts
		// Lease 30 s, looked at every 10 s, then 1 and 2 minutes, each give or take a fifth.
		assert.Assert(t, second-first >= 78*time.Second && second-first <= 120*time.Second, "%v", second-first)
		assert.Assert(t, third-second >= 126*time.Second && third-second <= 200*time.Second, "%v", third-second)
		assertGapless(t, events, 0)
		for range 3 {
			assert.ErrorIs(t, <-fences, task.ErrFenced)
		}
		stop()
	})
}

func assertGapless(t testing.TB, events []task.Event, after int64) {
	t.Helper()
	for i, e := range events {
		assert.Equal(t, e.Seq, after+int64(i)+1)
	}
}

func TestNoReapRightAfterStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := openStore(t)
		// An execution begins, and then its platform is down for an hour.
		begun := make(chan executor.Link, 1)
		first := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
			assert.Check(t, l.Begin(ctx))
			begun <- l
		})
		p, err := oz.New(store, &oz.Options{Workers: []oz.Worker{first}})
		assert.NilError(t, err)
		first.platform = p
		run := submit(t, p, oz.Request{Prompt: "survive"})
		stop := start(t, p)
		<-begun
		stop()
		time.Sleep(time.Hour)

		// The runner has outlived it and comes back within the first lease.
		second := newWorker("w", 1, succeed)
		p, err = oz.New(store, &oz.Options{Workers: []oz.Worker{second}})
		assert.NilError(t, err)
		second.platform = p
		stop = start(t, p)
		defer stop()
		time.Sleep(29 * time.Second)
		got, err := p.Get(t.Context(), run.ID)
		assert.NilError(t, err)
		assert.Equal(t, got.Executions, 1, "given up although nobody could renew")
		execs, err := p.Executions(t.Context(), run.ID)
		assert.NilError(t, err)
		assert.Equal(t, execs[0].State, task.ExecutionWorking)

		// It does not come back: after the first lease it is given up.
		follow(t, p, run.ID)
		got, err = p.Get(t.Context(), run.ID)
		assert.NilError(t, err)
		assert.Equal(t, got.State, task.StateSucceeded)
		assert.Equal(t, got.Executions, 2)
	})
}

func TestHeartbeatKeepsTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
			assert.Check(t, l.Begin(ctx))
			var beat executor.Heartbeat
			for range 3 * 12 { // three hours
				var err error
				beat, err = l.Heartbeat(ctx)
				assert.Check(t, err)
				time.Sleep(time.Duration(beat.IntervalMS) * time.Millisecond)
			}
			end(ctx, l, beat.LastInput, task.StateSucceeded)
		})
		p, _ := with(t, &oz.Options{Lease: 15 * time.Minute}, w)
		run := submit(t, p, oz.Request{Prompt: "take your time"})
		defer start(t, p)()
		follow(t, p, run.ID)
		got, err := p.Get(t.Context(), run.ID)
		assert.NilError(t, err)
		assert.Equal(t, got.State, task.StateSucceeded)
		assert.Equal(t, got.Executions, 1)
		assert.Equal(t, got.RunTime, 3*time.Hour)
	})
}

func TestLongestRuntimeEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fenced := make(chan error, 1)
		w := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
			assert.Check(t, l.Begin(ctx))
			for {
				if _, err := l.Heartbeat(ctx); err != nil {
					fenced <- err
					return
				}
				time.Sleep(time.Minute)
			}
		})
		p, _ := with(t, &oz.Options{MaxRuntime: time.Hour, Lease: 3 * time.Minute}, w)
		run := submit(t, p, oz.Request{Prompt: "never end"})
		defer start(t, p)()
		follow(t, p, run.ID)
		got, err := p.Get(t.Context(), run.ID)
		assert.NilError(t, err)
		assert.Equal(t, got.State, task.StateError)
		assert.Equal(t, got.Status.ErrorCode, task.CodeInfrastructureTimeout)
		assert.Assert(t, got.RunTime > time.Hour && got.RunTime < time.Hour+3*time.Minute, "%v", got.RunTime)
		assert.ErrorIs(t, <-fenced, task.ErrFenced)
	})
}

func TestUserFaultsAreNotRetried(t *testing.T) {
	for _, c := range []struct {
		code       task.Code
		state      task.State
		executions int
	}{
		{task.CodeEnvironmentSetupFailed, task.StateFailed, 1},
		{task.CodeBudgetExceeded, task.StateFailed, 1},
		{task.CodeInternal, task.StateError, 3},
		{task.CodeResourceUnavailable, task.StateError, 3},
		{task.CodeAgentProcessFailed, task.StateError, 1}, // the runner itself says that there is no hope
	} {
		t.Run(string(c.code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
					assert.Check(t, l.Begin(ctx))
					assert.Check(t, l.End(ctx, task.End{State: c.state, Status: task.Status{Message: "so it went", ErrorCode: c.code}}))
				})
				p, _ := with(t, &oz.Options{}, w)
				run := submit(t, p, oz.Request{Prompt: "fail"})
				defer start(t, p)()
				follow(t, p, run.ID)
				got, err := p.Get(t.Context(), run.ID)
				assert.NilError(t, err)
				assert.Equal(t, got.State, c.state)
				assert.Equal(t, got.Executions, c.executions)
				assert.Equal(t, got.Status.ErrorCode, c.code)
				assert.Equal(t, got.Status.Message, "so it went")
			})
		})
	}
}

// refusing says no a number of times first.
type refusing struct {
	*worker
	mu  sync.Mutex
	nos int
}

func (r *refusing) Offer(ctx context.Context, a oz.Assignment) error {
	r.mu.Lock()
	r.nos--
	no := r.nos >= 0
	r.mu.Unlock()
	if no {
		return oz.ErrAtCapacity
	}
	return r.worker.Offer(ctx, a)
}

func TestRefusalIsNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &refusing{worker: newWorker("w", 1, succeed), nos: 20}
		p, _ := newPlatform(t, &oz.Options{MaxAttempts: 2, Workers: []oz.Worker{w}})
		w.platform = p
		run := submit(t, p, oz.Request{Prompt: "be patient"})
		defer start(t, p)()
		events := follow(t, p, run.ID)
		assertGapless(t, events, 0)
		got, err := p.Get(t.Context(), run.ID)
		assert.NilError(t, err)
		assert.Equal(t, got.State, task.StateSucceeded)
		assert.Equal(t, got.Attempts, 0)
		assert.Equal(t, got.Executions, 21)
	})
}

// silent is a worker that holds its answers back and counts who asks.
type silent struct {
	*worker
	asked atomic.Int64
}

func (s *silent) Offer(ctx context.Context, _ oz.Assignment) error {
	s.asked.Add(1)
	<-ctx.Done()
	return ctx.Err()
}

// TestOffersOnTheirWayTakePlaces: a worker whose one place is busy with an
// execution that has ended, and that has an offer on its way to the other, is
// not asked again.
func TestOffersOnTheirWayTakePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &silent{worker: newWorker("w", 2, nil)}
		s.info.Busy = 1
		p, _ := newPlatform(t, &oz.Options{Workers: []oz.Worker{s}})
		s.platform = p
		submit(t, p, oz.Request{Prompt: "one"})
		submit(t, p, oz.Request{Prompt: "two"})
		start(t, p)
		time.Sleep(5 * time.Second) // virtual: several rounds of the dispatcher, within the time for an answer
		assert.Equal(t, s.asked.Load(), int64(1))
	})
}

func TestRunWaitsForItsWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		took := map[task.ID]string{}
		note := func(name string) func(context.Context, oz.Assignment, executor.Link) {
			return func(ctx context.Context, a oz.Assignment, l executor.Link) {
				mu.Lock()
				took[a.Task.ID] = name
				mu.Unlock()
				succeed(ctx, a, l)
			}
		}
		own, gpu := newWorker("own", 2, note("own")), newWorker("gpu", 2, note("gpu"))
		gpu.info.Dedicated = true
		p, _ := with(t, &oz.Options{}, own, gpu)
		// So many wait for a worker that never comes that they fill the first look.
		var stuck []task.Task
		for range 300 {
			stuck = append(stuck, submit(t, p, oz.Request{Prompt: "x", Config: task.Config{WorkerHost: "laptop"}}))
		}
		anywhere := submit(t, p, oz.Request{Prompt: "anywhere"})
		warp := submit(t, p, oz.Request{Prompt: "own", Config: task.Config{WorkerHost: "warp"}})
		named := submit(t, p, oz.Request{Prompt: "gpu", Config: task.Config{WorkerHost: "gpu"}})
		defer start(t, p)()
		for _, r := range []task.Task{anywhere, warp, named} {
			follow(t, p, r.ID)
		}
		mu.Lock()
		defer mu.Unlock()
		assert.DeepEqual(t, took, map[task.ID]string{anywhere.ID: "own", warp.ID: "own", named.ID: "gpu"})
		got, err := p.Get(t.Context(), stuck[0].ID)
		assert.NilError(t, err)
		assert.Equal(t, got.State, task.StateQueued)
	})
}

func TestOwnersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		w := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
			mu.Lock()
			order = append(order, a.Task.Owner.UID)
			mu.Unlock()
			succeed(ctx, a, l)
		})
		p, _ := with(t, &oz.Options{}, w)
		clients := people(t, p)
		var runs []task.Task
		for range 20 { // red floods the queue before blue comes
			runs = append(runs, submit(t, clients["ann"], oz.Request{Prompt: "red"}))
		}
		for range 5 {
			runs = append(runs, submit(t, clients["cid"], oz.Request{Prompt: "blue"}))
		}
		defer start(t, p)()
		for _, r := range runs {
			follow(t, p, r.ID)
		}
		mu.Lock()
		defer mu.Unlock()
		blue := 0
		for _, owner := range order[:12] {
			if owner == "blue" {
				blue++
			}
		}
		assert.Assert(t, blue >= 4, "blue waits behind red: %v", order)
	})
}

// TestNewOwnerGetsATurn while the runs of another one fill the queue and the
// worker asks for the next as soon as it has ended one.
func TestNewOwnerGetsATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		under := make(chan struct{})
		w := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
			mu.Lock()
			if order = append(order, a.Task.Owner.UID); len(order) == 20 {
				close(under)
			}
			mu.Unlock()
			time.Sleep(time.Millisecond)
			succeed(ctx, a, l)
		})
		p, _ := with(t, &oz.Options{}, w)
		clients := people(t, p)
		for range 200 {
			submit(t, clients["ann"], oz.Request{Prompt: "red"})
		}
		defer start(t, p)()
		<-under
		for range 3 {
			follow(t, p, submit(t, clients["cid"], oz.Request{Prompt: "blue"}).ID)
		}
		mu.Lock()
		defer mu.Unlock()
		assert.Assert(t, len(order) < 120, "blue waits behind red: %v", order)
	})
}

// TestBackoffStaysAtItsBound however often a run has failed.
func TestBackoffStaysAtItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began []time.Time
		w := newWorker("w", 1, func(ctx context.Context, _ oz.Assignment, l executor.Link) {
			began = append(began, time.Now())
			assert.Check(t, l.Begin(ctx))
			assert.Check(t, l.End(ctx, task.End{State: task.StateError, Status: task.Status{ErrorCode: task.CodeInternal, Message: "odd"}}))
		})
		p, _ := with(t, &oz.Options{MaxAttempts: 40, FirstBackoff: time.Minute, MaxBackoff: 20 * time.Minute}, w)
		stop := start(t, p)
		run := submit(t, p, oz.Request{Prompt: "x"})
		until(t, p, run.ID, becomes(task.StateError))
		stop()
		assert.Equal(t, len(began), 40)
		for i := 10; i < len(began); i++ {
			pause := began[i].Sub(began[i-1])
			assert.Assert(t, pause > 15*time.Minute && pause < 25*time.Minute, "attempt %d came after %v", i+1, pause)
		}
	})
}
