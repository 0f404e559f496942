package worker_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/worker"
)

// TestRunOverTheLink: a run goes to a worker of another host, which carries it
// out, and nothing is left there.
func TestRunOverTheLink(t *testing.T) {
	e := start(t, nil)
	h := newHost(t, e)
	w, _ := h.run("succeed", nil)
	run := submit(t, e, task.Config{})
	got := reaches(t, e, run.ID, task.StateSucceeded)
	assert.Equal(t, got.Executions, 1)
	assert.DeepEqual(t, texts(t, e, run.ID), []string{"hello"})
	eventually(t, "the sandbox is gone, and the record says so", func() bool {
		now, err := e.Platform.Get(t.Context(), run.ID)
		return err == nil && len(h.sandboxes()) == 0 && !now.SandboxRunning
	})
	eventually(t, "the place is free", func() bool { return w.Status().Busy == 0 && h.seen.count(worker.EventEnded) == 1 })
	assert.Equal(t, h.seen.count(worker.EventStarted), 1)
	assert.Equal(t, h.seen.count(worker.EventClaimed), 1)
	for _, ev := range h.seen.list {
		if ev.Kind == worker.EventEnded {
			assert.Equal(t, ev.Result, "SUCCEEDED")
			assert.Equal(t, ev.Task, run.ID)
		}
	}
}
