package trigger_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
)

// crossing is a host that says "two" between the moment in which "three" is
// about to be said and that in which it is; then the answer about "two" is lost.
type crossing struct {
	trigger.Host
	threeComes, twoIsSaid chan struct{}
	two, three            sync.Once
}

func (h *crossing) GoOn(ctx context.Context, id task.ID, s trigger.Start, key string, last int64) (err error) {
	first := false
	switch {
	case strings.HasSuffix(s.Message, "two"):
		h.two.Do(func() {
			first = true
			<-h.threeComes
		})
	case strings.HasSuffix(s.Message, "three"):
		h.three.Do(func() {
			close(h.threeComes)
			<-h.twoIsSaid
		})
	}
	err = h.Host.GoOn(ctx, id, s, key, last)
	if first {
		close(h.twoIsSaid)
		if err == nil {
			err = task.Errorf(task.CodeResourceUnavailable, "the answer is lost")
		}
	}
	return err
}

// TestCrossingEventsAreSaidOnce: an event that was said, but is decided again as
// nobody heard of it, is not said twice, whatever came between.
func TestCrossingEventsAreSaidOnce(t *testing.T) {
	c := &chat{}
	r := triggertest.New(t, newStore(t), nil, &trigger.Options{Poll: time.Hour}) // its engine does nothing
	h := &crossing{Host: r.Host, threeComes: make(chan struct{}), twoIsSaid: make(chan struct{})}
	e, err := trigger.New(r.Store, h, []trigger.Origin{c}, &trigger.Options{Poll: 2 * time.Millisecond, Grace: 5 * time.Millisecond, Lease: 100 * time.Millisecond})
	assert.NilError(t, err)
	defer running(t, e)()
	assert.NilError(t, send(t.Context(), e, message{ID: "1", Thread: "a", Text: "one"}))
	r.Settle()
	assert.Equal(t, len(r.Runs()), 1)
	for _, m := range []message{{ID: "2", Thread: "a", Text: "two"}, {ID: "3", Thread: "a", Text: "three"}} {
		assert.NilError(t, send(t.Context(), e, m))
	}
	r.Settle()
	assert.Equal(t, len(r.Runs()), 1)
	said := map[string]int{}
	for _, in := range r.Inputs(r.Runs()[0].ID) {
		said[in.Text]++
	}
	for text, n := range said {
		assert.Equal(t, n, 1, "%q", text)
	}
	assert.Equal(t, len(said), 3, "%v", said)
}
