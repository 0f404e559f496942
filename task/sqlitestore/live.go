package sqlitestore

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"

	"github.com/oz-platform/cloudagents/task"
)

// liveSet holds the executions that have not ended, as the last commit left
// them. They are read far more often than anything else: by the dispatcher at
// each look, and at each call of a runner. Only the writer changes runs, so
// what it remembers is true.
type liveSet struct {
	mu   sync.Mutex
	byID map[task.ExecutionID]task.Execution // nil when only the database knows
	// committing is closed when the commit under way is in byID; nil when none
	// is. What a reader could see in the database already must not be older
	// here.
	committing chan struct{}

	pending []task.Execution // of this transaction; belongs to the writer
}

// begin says that a commit of what is pending is under way.
func (l *liveSet) begin() {
	if len(l.pending) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.committing = make(chan struct{})
}

// end takes over what is pending, if the commit has succeeded.
func (l *liveSet) end(committed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !committed:
		l.byID = nil // whether it was undone is not certain
	case l.byID != nil:
		for _, x := range l.pending {
			if x.Live() {
				l.byID[x.ID] = x
			} else {
				delete(l.byID, x.ID)
			}
		}
	}
	clear(l.pending)
	l.pending = l.pending[:0]
	if l.committing != nil {
		close(l.committing)
		l.committing = nil
	}
}

// settled locks the set, and waits before for the commit under way. ok is
// false, and nothing locked, when the database has to be asked.
func (l *liveSet) settled(ctx context.Context) (ok bool) {
	for range 2 {
		l.mu.Lock()
		known, c := l.byID != nil, l.committing
		if known && c == nil {
			return true
		}
		l.mu.Unlock()
		if !known {
			return false
		}
		select {
		case <-c:
		case <-ctx.Done():
			return false
		}
	}
	return false // commit follows commit: rather ask than wait for a gap
}

// all gives the live executions; ok is false when the database has to be asked.
func (l *liveSet) all(ctx context.Context) (out []task.Execution, ok bool) {
	if !l.settled(ctx) {
		return nil, false
	}
	defer l.mu.Unlock()
	for _, x := range l.byID {
		out = append(out, unshared(x))
	}
	return out, true
}

// find gives an execution that is live.
func (l *liveSet) find(ctx context.Context, id task.ExecutionID) (x task.Execution, ok bool) {
	if !l.settled(ctx) {
		return x, false
	}
	defer l.mu.Unlock()
	x, ok = l.byID[id]
	return unshared(x), ok
}

// unshared copies what x refers to.
func unshared(x task.Execution) task.Execution {
	x.TokenHash = bytes.Clone(x.TokenHash)
	return x
}

// loadLive fills the set from the database.
func (w *writer) loadLive() error {
	vals, err := w.c.row(`SELECT json_group_array(json(CAST(data AS TEXT))) FROM executions INDEXED BY executions_live WHERE live = 1`)
	if err != nil {
		return err
	}
	var list []task.Execution
	if err := json.Unmarshal([]byte(vals[0].(string)), &list); err != nil {
		return err
	}
	byID := make(map[task.ExecutionID]task.Execution, len(list))
	for _, x := range list {
		byID[x.ID] = x
	}
	w.live.mu.Lock()
	defer w.live.mu.Unlock()
	w.live.byID = byID
	return nil
}
