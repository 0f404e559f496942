package oz

import (
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

const (
	// absenceAge is for how long a scope without a budget of its own is taken
	// to have none: each new run and each call of a model asks, and most scopes
	// never have one. A budget that another replica sets is kept here this
	// much later; one that is there is read each time.
	absenceAge = time.Second
	// maxAbsences bounds the scopes that are remembered.
	maxAbsences = 4096
)

// absences are the scopes that had no budget of their own a moment ago.
type absences struct {
	mu     sync.Mutex
	seen   map[task.Scope]time.Time
	writes int // of budgets by this process
}

// has reports that a scope has no budget. When it is not known, it gives what
// note needs after the store was asked.
func (a *absences) has(s task.Scope, now time.Time) (none bool, writes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, known := a.seen[s]
	age := now.Sub(at) // below 0 after the clock was set back
	return known && age >= 0 && age < absenceAge, a.writes
}

// note remembers that a scope had no budget when the store was asked, unless
// this process has written one meanwhile.
func (a *absences) note(s task.Scope, asked time.Time, writes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if writes != a.writes {
		return
	}
	if a.seen == nil || len(a.seen) >= maxAbsences {
		a.seen = map[task.Scope]time.Time{}
	}
	a.seen[s] = asked
}

// written forgets what is known of a scope whose budget was set.
func (a *absences) written(s task.Scope) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writes++
	delete(a.seen, s)
}
