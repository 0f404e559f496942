package runner

import (
	"context"
	"time"
)

// refillGrace is how long a runner stays for the repository cache after its
// run has ended. It is below what a worker leaves a runner to go.
const refillGrace = 8 * time.Second

// refill brings the repository cache up to date beside the agent's work. The
// returned function ends it, after the grace if it is not done by then: what
// was begun, the next run's refill sweeps away. That it failed means only that
// the next run clones.
func (x *execution) refill(ctx context.Context, ws *workspace) (end func()) {
	if ws.refill == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = ws.refill(ctx)
	}()
	return func() {
		select {
		case <-done:
		case <-x.opts.Clock.After(refillGrace):
		}
		cancel()
		<-done
	}
}
