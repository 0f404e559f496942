package oz

import (
	"context"

	"github.com/oz-platform/cloudagents/task"
)

// Join makes m one of the platform's workers until leave is called: runs are
// offered to it beside Options.Workers. Its Info().ID must not change, and be
// that of no other worker, else Join fails with task.CodeConflict. What m says
// of itself goes through the host.
//
// After leave no offer is made; one under way may still be answered. What m has
// taken goes on: it is given up by lease, or taken up by a worker of the same
// ID that joins later.
func (p *Platform) Join(m Member) (h WorkerHost, leave func(), err error) {
	id := m.Info().ID
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.opts.Workers {
		if w.Info().ID == id {
			return nil, nil, task.Errorf(task.CodeConflict, "a worker of this server is called %q", id)
		}
	}
	if id == "" || id == callerWorker || p.pool[id] != nil {
		return nil, nil, task.Errorf(task.CodeConflict, "there is a worker %q already", id)
	}
	p.pool[id] = m
	p.wake()
	return host{p: p, id: id}, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.pool[id] == m {
			delete(p.pool, id)
		}
	}, nil
}

// Live lists the executions of all workers that have not ended.
func (p *Platform) Live(ctx context.Context) ([]task.Execution, error) {
	live, err := p.store.Live(ctx)
	for i := range live {
		live[i].TokenHash = nil
	}
	return live, err
}

// Changes tells when an execution may have ended, see task.Store.
func (p *Platform) Changes() (changed <-chan struct{}, cancel func()) { return p.store.Subscribe("") }

// members are the workers that take offers now.
func (p *Platform) members() []Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Member, 0, len(p.opts.Workers)+len(p.pool))
	for _, w := range p.opts.Workers {
		if p.ready[w.Info().ID] {
			list = append(list, w)
		}
	}
	for _, m := range p.pool {
		list = append(list, m)
	}
	return list
}
