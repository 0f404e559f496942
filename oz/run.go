package oz

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/oz-platform/cloudagents/task"
)

// Run places runs, decides schedules and what arrives, watches leases and supervises the workers until ctx ends;
// then nothing new is taken, and Run returns when all it started has ended.
// What workers leave running is taken up by the next Run. It returns nil after
// ctx has ended, and else what made a worker fail. Run may be called again
// after it returned, but not twice at once.
func (p *Platform) Run(ctx context.Context) error {
	if !p.running.CompareAndSwap(false, true) {
		return task.Errorf(task.CodeConflict, "this platform runs already")
	}
	defer p.running.Store(false)
	p.draining.Store(false)
	drained := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { p.draining.Store(true); close(drained) })
	defer func() {
		if !stop() { // it must not come late and drain the next Run
			<-drained
		}
	}()
	defer p.draining.Store(true)

	group, gctx := errgroup.WithContext(ctx)
	for _, w := range p.opts.Workers {
		info := w.Info()
		group.Go(func() error {
			if err := w.Run(gctx, host{p: p, id: info.ID}); err != nil && gctx.Err() == nil {
				return fmt.Errorf("worker %s: %w", info.ID, err)
			}
			return nil
		})
	}
	group.Go(func() error { p.reap(gctx); return nil })
	group.Go(func() error { p.dispatch(gctx); return nil })
	group.Go(func() error { p.retain(gctx); return nil })
	group.Go(func() error { p.audit(gctx); return nil })
	group.Go(func() error { p.answerRuns(gctx); return nil })
	group.Go(func() error { p.replicas.run(gctx); return nil })
	group.Go(func() error { return p.scheduler.Run(gctx) })
	group.Go(func() error { return p.runTriggers(gctx) })
	err := group.Wait()
	p.mu.Lock()
	clear(p.ready)
	p.mu.Unlock()
	return err
}
