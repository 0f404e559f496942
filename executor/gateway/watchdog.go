package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// watchdog cancels a context when nobody has touched it for a time. One
// goroutine waits; stop ends it.
type watchdog struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	clock  task.Clock
	limit  time.Duration
	done   chan struct{}

	mu   sync.Mutex
	last time.Time
}

func newWatchdog(ctx context.Context, clock task.Clock, limit time.Duration) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{ctx: ctx, cancel: cancel, clock: clock, limit: limit, done: make(chan struct{}), last: clock.Now()}
	go w.run()
	return ctx, w
}

func (w *watchdog) run() {
	defer close(w.done)
	for {
		left := w.limit - w.clock.Now().Sub(w.lastTouch())
		if left <= 0 {
			w.cancel(errSilent)
			return
		}
		select {
		case <-w.clock.After(left):
		case <-w.ctx.Done():
			return
		}
	}
}

func (w *watchdog) lastTouch() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// touch says that something moved.
func (w *watchdog) touch() {
	now := w.clock.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = now
}

// explain gives errSilent in place of the error it caused.
func (w *watchdog) explain(err error) error {
	if errors.Is(context.Cause(w.ctx), errSilent) {
		return errSilent
	}
	return err
}

// stop ends the watch and the context, and waits for the goroutine.
func (w *watchdog) stop() {
	w.cancel(nil)
	<-w.done
}
