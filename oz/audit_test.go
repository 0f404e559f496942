package oz_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/laws"
)

// forgetful loses one event of every log.
type forgetful struct {
	task.Store
	lose int64
}

func (s forgetful) Events(ctx context.Context, id task.ID, after int64, limit int) ([]task.Event, error) {
	events, err := s.Store.Events(ctx, id, after, limit)
	for i, e := range events {
		if e.Seq == s.lose {
			events = append(events[:i:i], events[i+1:]...)
			break
		}
	}
	return events, err
}

// TestBrokenLawsAreReported: the record of every run is checked after its end,
// and what is wrong with it is told to the operator.
func TestBrokenLawsAreReported(t *testing.T) {
	for _, tt := range []struct {
		name string
		lose int64
		want []laws.Law
	}{{"sound", 0, nil}, {"an event is lost", 4, []laws.Law{laws.Gapless, laws.EndedOnce}}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				found := map[laws.Law]bool{}
				w := newWorker("w", 1, func(ctx context.Context, _ oz.Assignment, l executor.Link) {
					assert.Check(t, l.Begin(ctx))
					beat, err := l.Heartbeat(ctx)
					assert.Check(t, err)
					assert.Check(t, l.Append(ctx, 0, []task.Event{{Payload: &task.Delivered{Inputs: []int64{beat.LastInput}}}}))
					end(ctx, l, beat.LastInput, task.StateSucceeded)
				})
				p, err := oz.New(forgetful{openStore(t), tt.lose}, &oz.Options{Workers: []oz.Worker{w}, OnViolation: func(v laws.Violation) {
					mu.Lock()
					defer mu.Unlock()
					found[v.Law] = true
				}})
				assert.NilError(t, err)
				w.platform = p
				stop := start(t, p)
				submit(t, p, oz.Request{Prompt: "do it"})
				time.Sleep(time.Minute)
				stop()
				for _, law := range tt.want {
					assert.Assert(t, found[law], "%v", found)
				}
				if tt.want == nil {
					assert.Equal(t, len(found), 0, "%v", found)
				}
			})
		})
	}
}
