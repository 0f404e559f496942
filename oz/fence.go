package oz

import (
	"context"
	"crypto/subtle"
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
	redactor *secrets.Redactor // nil until it is needed; guarded by fences.mu
	missed   bool              // by the last look at the live executions; guarded by fences.mu
	issued   int               // identity tokens; guarded by fences.mu

	// run and token are the execution's, once it is known that they belong
	// together; guarded by fences.mu. Neither ever changes.
	run   task.ID
	token string
	// payer is what of the run its budgets depend on, which never changes; nil
	// until it is needed; guarded by fences.mu.
	payer *task.Task

	mu     sync.Mutex
	loaded bool // the run's secrets are in it
}

// of finds or makes the fence of an execution, with its redactor.
func (f *fences) of(id task.ExecutionID) *fence {
	f.mu.Lock()
	defer f.mu.Unlock()
	fence := f.entry(id)
	if fence.redactor == nil {
		fence.redactor = secrets.NewRedactor(nil)
		fence.addToken()
	}
	return fence
}

// entry finds or makes a fence that may have no redactor yet: many executions
// say nothing that needs one. f.mu is held.
func (f *fences) entry(id task.ExecutionID) *fence {
	if f.m == nil {
		f.m = map[task.ExecutionID]*fence{}
	}
	if f.m[id] == nil {
		f.m[id] = &fence{}
	}
	return f.m[id]
}

// addToken makes the token one of the secrets. fences.mu is held.
func (f *fence) addToken() {
	if f.token != "" {
		_ = f.redactor.Add("run-token", f.token) // of 256 random bits: never refused
	}
}

// issue counts an identity token, unless the execution has had too many.
func (f *fences) issue(id task.ExecutionID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	fence := f.entry(id)
	if fence.issued >= maxIdentityTokens {
		return false
	}
	fence.issued++
	return true
}

// payer gives what setPayer has kept, nil when it has not.
func (f *fences) payer(id task.ExecutionID) *task.Task {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.entry(id).payer
}

func (f *fences) setPayer(id task.ExecutionID, t *task.Task) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entry(id).payer = t
}

// token makes the execution's token, which was found good, one of its secrets.
func (f *fences) token(id task.ExecutionID, run task.ID, token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fence := f.entry(id)
	fence.run, fence.token = run, token
	if fence.redactor != nil {
		fence.addToken()
	}
}

// runOf gives the run of an execution whose token was found good before.
func (f *fences) runOf(id task.ExecutionID, token string) (task.ID, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fence := f.m[id]
	if fence == nil || fence.token == "" || subtle.ConstantTimeCompare([]byte(fence.token), []byte(token)) != 1 {
		return "", false
	}
	return fence.run, true
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
	if _, _, err := p.models(ctx, t, f.redactor); err != nil {
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
