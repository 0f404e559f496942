package oz_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// jumping is a machine's clock, of which somebody sets the time: the wall
// clock jumps, and the monotonic reading goes on. In the bubble of a test,
// where time has no monotonic reading, it lends that of a real clock.
type jumping struct {
	real time.Time // from outside of the bubble
	base time.Time // what the bubble's time was then
	by   atomic.Int64
}

func (j *jumping) After(d time.Duration) <-chan time.Time { return time.After(d) }

func (j *jumping) Now() time.Time {
	now := time.Now()
	t := j.real.Add(now.Sub(j.base))
	return setWall(t, now.Sub(t.Round(0))+time.Duration(j.by.Load()))
}

// setWall moves the wall clock's reading of t alone, by whole seconds. Package
// time has no way to do so: beside a monotonic reading, it keeps them above the
// 30 bits of the nanoseconds.
func setWall(t time.Time, by time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t))
	*wall += uint64(by/time.Second) << 30
	return t
}

func TestSetWall(t *testing.T) {
	now := time.Now()
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		moved := setWall(now, by)
		assert.Equal(t, moved.Sub(now), time.Duration(0), "the monotonic reading")
		assert.Equal(t, moved.Round(0).Sub(now.Round(0)), by, "the wall clock")
	}
}

// TestClockJumps sets the server's clock an hour off while runs work: the one
// whose runner renews its lease goes on, the one whose runner falls silent is
// given up in time, and new runs are done at once.
func TestClockJumps(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(fmt.Sprint(by), func(t *testing.T) {
			machine := time.Now()
			synctest.Test(t, func(t *testing.T) {
				clock := &jumping{real: machine, base: time.Now()}
				silent := make(chan time.Time, 1)
				w := newWorker("w", 3, func(ctx context.Context, a oz.Assignment, l executor.Link) {
					switch a.Task.Prompt {
					case "be quick":
						succeed(ctx, a, l)
					case "fall silent":
						assert.Check(t, l.Begin(ctx))
						assert.Check(t, beat(ctx, l, 9))
						silent <- time.Now()
						<-ctx.Done()
					default:
						assert.Check(t, l.Begin(ctx))
						assert.Check(t, beat(ctx, l, 30))
						succeed(ctx, a, l)
					}
				})
				p, _ := with(t, &oz.Options{Clock: clock, MaxAttempts: 1}, w)
				stop := start(t, p)
				steady, quiet := submit(t, p, oz.Request{Prompt: "work for five minutes"}), submit(t, p, oz.Request{Prompt: "fall silent"})
				time.Sleep(time.Minute)
				clock.by.Store(int64(by))

				began := time.Now()
				quick := submit(t, p, oz.Request{Prompt: "be quick"})
				follow(t, p, quick.ID)
				assert.Assert(t, time.Since(began) < time.Minute, "a new run took %s", time.Since(began))
				follow(t, p, quiet.ID)
				given := time.Since(<-silent)
				assert.Assert(t, given > 20*time.Second && given < 45*time.Second, "given up %s after the last heartbeat", given)
				follow(t, p, steady.ID)
				for id, want := range map[task.ID]task.State{quick.ID: task.StateSucceeded, quiet.ID: task.StateError, steady.ID: task.StateSucceeded} {
					got, err := p.Get(t.Context(), id)
					assert.NilError(t, err)
					assert.Equal(t, got.State, want, "%s", got.Prompt)
					assert.Equal(t, got.Executions, 1, "%s", got.Prompt)
				}
				stop()
			})
		})
	}
}

// beat renews a lease n times, as often as the platform asks for.
func beat(ctx context.Context, l executor.Link, n int) error {
	for range n {
		b, err := l.Heartbeat(ctx)
		if err != nil {
			return err
		}
		time.Sleep(time.Duration(b.IntervalMS) * time.Millisecond)
	}
	return nil
}
