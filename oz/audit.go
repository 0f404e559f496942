package oz

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/laws"
)

const (
	// auditInterval is how soon after its end a run is checked.
	auditInterval = 10 * time.Second

	// maxAuditEvents bounds the logs that are checked, and maxAudits how many
	// runs wait for it: beyond either a run goes unchecked.
	maxAuditEvents = 20_000
	maxAudits      = 1000
)

// audits are runs whose execution ended here and that are still to be checked
// against the laws.
type audits struct {
	mu  sync.Mutex
	due []task.ID
}

func (a *audits) add(id task.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.due) < maxAudits && !slices.Contains(a.due, id) {
		a.due = append(a.due, id)
	}
}

func (a *audits) take() []task.ID {
	a.mu.Lock()
	defer a.mu.Unlock()
	due := a.due
	a.due = nil
	return due
}

// audit holds the records of runs that have ended against the laws, until ctx
// ends. It changes nothing: a violation is a fault of this program or its
// store, for people to look at.
func (p *Platform) audit(ctx context.Context) {
	for {
		select {
		case <-p.opts.Clock.After(auditInterval):
		case <-ctx.Done():
			return
		}
		for _, id := range p.audits.take() {
			if err := p.auditRun(ctx, id); err != nil && ctx.Err() == nil {
				p.opts.Logger.Warn("check the record of a run", zap.String("task_id", string(id)), zap.Error(err))
			}
		}
	}
}

func (p *Platform) auditRun(ctx context.Context, id task.ID) error {
	var r laws.Record
	var err error
	if r.Task, err = p.store.Get(ctx, id); err != nil {
		return err
	}
	if r.Task.LastSeq > maxAuditEvents {
		return nil
	}
	if r.Executions, err = p.store.Executions(ctx, id); err != nil {
		return err
	}
	for e, err := range p.history(ctx, id) {
		if err != nil {
			return err
		}
		r.Events = append(r.Events, laws.Essence(e))
	}
	for _, v := range laws.Check(r) {
		p.opts.Logger.Error("invariant violated", zap.String("law", string(v.Law)), zap.String("task_id", string(id)), zap.String("detail", v.Detail))
		if p.opts.OnViolation != nil {
			p.opts.OnViolation(v)
		}
	}
	return nil
}
