//go:build linux

package containerd

import (
	"slices"
	"time"
)

// NamespaceOf is the default namespace of an Executor.
func NamespaceOf(root string) string { return namespaceOf(root) }

// Ready gives the names of the containers that stand ready, and how many are to.
func (e *Executor) Ready() (names []string, want int) {
	e.pool.mu.Lock()
	defer e.pool.mu.Unlock()
	for _, k := range e.pool.kinds {
		want += e.opts.PoolSize
		for _, r := range k.ready {
			names = append(names, r.box.name)
		}
	}
	slices.Sort(names)
	return names, want
}

// Sweep looks for leftovers.
func (e *Executor) Sweep() error { return e.sweep(e.ctx) }

// PruneSoon takes away the time in which no image is removed that was just used.
func (e *Executor) PruneSoon() {
	e.images.mu.Lock()
	defer e.images.mu.Unlock()
	e.images.minUnused = 0
}

// Prune removes images as at a time.
func (e *Executor) Prune(now time.Time) error { return e.pruneImages(e.ctx, now) }

// Unprepared reports that a preparation has failed, and none is under way.
func (e *Executor) Unprepared() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.preparing.under) == 0 && len(e.preparing.failed) > 0
}
