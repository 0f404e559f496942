package oz

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// fences keeps, for each execution, the redactor that its words pass before
// they are stored. The runner redacts first, where secrets may be cut in two
// by streaming; this second fence does not trust it.
type fences struct {
	mu sync.Mutex
	m  map[task.ExecutionID]*fence
}

type fence struct {
	redactor *secrets.Redactor
	missed   bool // by the last look at the live executions; guarded by fences.mu

	mu     sync.Mutex
	loaded bool // the run's secrets are in it
}

// of finds or makes the fence of an execution.
func (f *fences) of(id task.ExecutionID) *fence {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m == nil {
		f.m = map[task.ExecutionID]*fence{}
	}
	if f.m[id] == nil {
		f.m[id] = &fence{redactor: secrets.NewRedactor(nil)}
	}
	return f.m[id]
}

// token makes the execution's token one of its secrets.
func (f *fences) token(id task.ExecutionID, token string) {
	_ = f.of(id).redactor.Add("run-token", token) // of 256 random bits: never refused
}

// keep forgets the executions that are missing among the live ones twice in a
// row: one that is missing once may have begun after they were read.
func (f *fences) keep(live []task.Execution) {
	ids := make(map[task.ExecutionID]bool, len(live))
	for _, e := range live {
		ids[e.ID] = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, fence := range f.m {
		if fence.missed && !ids[id] {
			delete(f.m, id)
		}
		fence.missed = !ids[id]
	}
}

// redactor gives the execution's redactor with all its secrets in it. After a
// restart of the platform they are resolved anew.
func (p *Platform) redactor(ctx context.Context, e task.Execution) (*secrets.Redactor, error) {
	f := p.fences.of(e.ID)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.loaded {
		return f.redactor, nil
	}
	t, err := p.store.Get(ctx, e.TaskID)
	if err != nil {
		return nil, err
	}
	if _, _, err := p.variables(ctx, t, f.redactor); err != nil {
		return nil, err
	}
	f.loaded = true
	return f.redactor, nil
}

// guardOwn adds what belongs to the platform itself: the keys of the models
// and of git. New has checked that they can be found in a text.
func (p *Platform) guardOwn(r *secrets.Redactor) error {
	add := func(name, value string) error {
		if value == "" {
			return nil
		}
		if err := r.Add(name, value); err != nil {
			return fmt.Errorf("keep %s out of what is stored: %w", name, err)
		}
		return nil
	}
	var errs []error
	for i, m := range p.opts.Models.Providers {
		errs = append(errs, add(fmt.Sprintf("model-key-%d", i+1), m.APIKey.Reveal()))
	}
	for i, g := range p.opts.GitCredentials {
		errs = append(errs, add(fmt.Sprintf("git-password-%d", i+1), g.Password.Reveal()))
	}
	return errors.Join(errs...)
}
