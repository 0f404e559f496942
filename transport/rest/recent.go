package rest

import (
	"container/list"
	"context"
	"crypto/sha256"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// Bounds of what is remembered of creates.
const (
	recentAge   = 10 * time.Minute // longer than an SDK's three attempts of 60 s each
	recentCount = 10_000           // about 2 MiB
)

// recentCreates lets a retried create find the run that its first attempt
// made. The official SDKs retry a create after a timeout without an
// idempotency key, and mark it with a count (Oz API, retries). Identical
// creates that are not marked are what they say: several runs.
//
// The memory is this process's, and lets a retry wait for a first attempt that
// is under way. A retry that arrives after a restart, or at another replica,
// finds the run in the store.
type recentCreates struct {
	clock task.Clock

	mu    sync.Mutex
	byKey map[createKey]*list.Element
	order list.List // of *create, newest first
}

// createKey names a request: who sent it, and exactly what.
type createKey struct {
	caller string
	body   [sha256.Size]byte
}

// create is one create, under way or answered.
type create struct {
	key  createKey
	at   time.Time
	done chan struct{} // closed once run and err are set
	run  task.ID
	err  error
}

func newRecentCreates(clock task.Clock) *recentCreates {
	return &recentCreates{clock: clock, byKey: map[createKey]*list.Element{}}
}

// isRetry reports that a client has sent the request before.
func isRetry(r *http.Request) bool {
	n, err := strconv.Atoi(r.Header.Get("X-Stainless-Retry-Count"))
	return err == nil && n > 0
}

// do submits, unless this is a retry of a create that is remembered, here or by
// stored: then it gives that one's run.
func (c *recentCreates) do(ctx context.Context, caller access.Caller, body []byte, retry bool, stored func(since time.Time) (task.Task, bool, error),
	submit func() (task.Task, error)) (t task.Task, id task.ID, err error) {
	key := createKey{caller: string(caller.Principal.Type) + ":" + caller.Principal.UID, body: sha256.Sum256(body)}
	for retry {
		first := c.find(key)
		if first == nil {
			break
		}
		select {
		case <-first.done:
		case <-ctx.Done():
			return task.Task{}, "", ctx.Err()
		}
		if first.err == nil {
			return task.Task{}, first.run, nil
		}
		c.forget(first)
	}
	if retry {
		if t, found, err := stored(c.clock.Now().Add(-recentAge)); err != nil || found {
			return t, t.ID, err
		}
	}
	mine := c.remember(key)
	defer close(mine.done)
	mine.err = context.Canceled // unless submit returns, nothing is known
	t, err = submit()
	mine.run, mine.err = t.ID, err
	return t, t.ID, err
}

func (c *recentCreates) find(key createKey) *create {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok || c.clock.Now().Sub(e.Value.(*create).at) > recentAge {
		return nil
	}
	return e.Value.(*create)
}

// remember notes a create, in place of an older one with the same key.
func (c *recentCreates) remember(key createKey) *create {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		c.order.Remove(e)
	}
	mine := &create{key: key, at: c.clock.Now(), done: make(chan struct{})}
	c.byKey[key] = c.order.PushFront(mine)
	for c.order.Len() > recentCount {
		oldest := c.order.Remove(c.order.Back()).(*create)
		delete(c.byKey, oldest.key)
	}
	return mine
}

// forget drops a create that made no run.
func (c *recentCreates) forget(failed *create) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[failed.key]; ok && e.Value.(*create) == failed {
		c.order.Remove(e)
		delete(c.byKey, failed.key)
	}
}
