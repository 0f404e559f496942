package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/fileblob"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/rest"
)

// staleWrites is how often an execution that has lost its lease tries to write.
const staleWrites = 1000

// assignments is a worker that hands what it takes to the test.
type assignments chan oz.Assignment

func (assignments) Info() oz.WorkerInfo                      { return oz.WorkerInfo{ID: "test"} }
func (assignments) Cancel(context.Context, task.ExecutionID) {}

func (a assignments) Offer(ctx context.Context, offered oz.Assignment) error {
	select {
	case a <- offered:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (assignments) Run(ctx context.Context, h oz.WorkerHost) error {
	h.Ready()
	<-ctx.Done()
	return nil
}

// fenceRig is a platform behind HTTP whose leases are short.
type fenceRig struct {
	*oz.Platform
	worker assignments
	url    string
}

func newFenceRig(t *testing.T) *fenceRig {
	t.Helper()
	dir := t.TempDir()
	store, err := sqlitestore.Open(t.Context(), filepath.Join(dir, "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, store.Close()) })
	blobs, err := fileblob.Open(filepath.Join(dir, "blobs"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, blobs.Close()) })
	r := &fenceRig{worker: make(assignments)}
	r.Platform, err = oz.New(store, &oz.Options{Workers: []oz.Worker{r.worker}, Blobs: blobs,
		Lease: 500 * time.Millisecond, FirstBackoff: time.Millisecond})
	assert.NilError(t, err)
	handler, err := rest.New(r.Platform, nil)
	assert.NilError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	r.url = server.URL
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() { stop(); assert.Check(t, <-done) })
	return r
}

// claim takes the next execution of a run and begins it.
func (r *fenceRig) claim(ctx context.Context, t *testing.T) (executor.Link, task.ExecutionID) {
	t.Helper()
	select {
	case a := <-r.worker:
		link, err := client.NewLink(executor.Handshake{ServerURL: r.url, TaskID: a.Task.ID, ExecutionID: a.Execution, Token: a.Token}, nil)
		assert.NilError(t, err)
		for { // until the yes to the offer is stored
			err := link.Begin(ctx)
			if !errors.Is(err, task.ErrConflict) {
				assert.NilError(t, err)
				return link, a.Execution
			}
		}
	case <-ctx.Done():
		t.Fatal("no execution was offered")
		return nil, ""
	}
}

// TestFencing lets an execution whose lease has run out, and whose run another
// one has, go on writing over HTTP: each write is refused, and the log and the
// outcome have nothing of them.
func TestFencing(t *testing.T) {
	t.Parallel()
	r := newFenceRig(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	run, err := r.Submit(ctx, oz.Request{Prompt: prompt})
	assert.NilError(t, err)

	old, oldID := r.claim(ctx, t)
	assert.NilError(t, old.Append(ctx, 0, []task.Event{{Payload: &task.Message{ID: "m1", Text: "written in time"}}}))
	fresh, freshID := r.claim(ctx, t) // no heartbeat came, the lease ran out
	assert.Assert(t, oldID != freshID)

	// The other keeps its own lease meanwhile.
	beating, stopBeating := context.WithCancel(ctx)
	var beats sync.WaitGroup
	beats.Go(func() {
		for beating.Err() == nil {
			if _, err := fresh.Heartbeat(beating); err != nil {
				assert.Check(t, beating.Err() != nil, "the live execution: %v", err)
				return
			}
			select {
			case <-beating.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	refused := writeStale(ctx, t, old)
	assert.Equal(t, refused, int64(staleWrites))
	stopBeating()
	beats.Wait()

	assert.NilError(t, fresh.Append(ctx, 0, []task.Event{{Payload: &task.Message{ID: "m2", Text: "written by the next"}}}))
	assert.NilError(t, fresh.End(ctx, task.End{State: task.StateSucceeded, SeenInput: run.LastInput}))

	var said []string
	next := int64(1)
	for e, err := range r.Watch(ctx, run.ID, 0) {
		assert.NilError(t, err)
		assert.Equal(t, e.Seq, next)
		next++
		if m, ok := e.Payload.(*task.Message); ok {
			said = append(said, m.Text)
		}
	}
	assert.DeepEqual(t, said, []string{"written in time", "written by the next"})
	run, err = r.Get(ctx, run.ID)
	assert.NilError(t, err)
	assert.Equal(t, run.State, task.StateSucceeded)
	assert.Equal(t, len(run.Artifacts), 0)
}

// writeStale tries every kind of write, from several goroutines, and counts
// the refusals.
func writeStale(ctx context.Context, t *testing.T, old executor.Link) int64 {
	stale := task.Event{Time: time.Now(), Payload: &task.Message{ID: "m3", Text: "written too late"}}
	writes := []func(n int64) error{
		func(n int64) error { return old.Append(ctx, n%3, []task.Event{stale}) },
		func(int64) error { _, err := old.Heartbeat(ctx); return err },
		func(int64) error { return old.Begin(ctx) },
		func(n int64) error {
			_, _, err := old.Upload(ctx, fmt.Sprintf("00000000-0000-4000-8000-%012d", n), strings.NewReader("too late"))
			return err
		},
		func(int64) error { return old.End(ctx, task.End{State: task.StateFailed, SeenInput: 1 << 40}) },
	}
	var tried, refused atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for n := tried.Add(1); n <= staleWrites; n = tried.Add(1) {
				err := writes[n%int64(len(writes))](n)
				if assert.Check(t, errors.Is(err, task.ErrFenced), "stale write %d: %v", n, err) {
					refused.Add(1)
				}
			}
		})
	}
	group.Wait()
	return refused.Load()
}
