package runner_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// TestWorkspaceOfAnEarlierWorker: a run works at one worker, goes on at
// another, and comes back to the first, where its old workspace still is. That
// lacks what was done meanwhile: it must be made anew, and the agent be told.
func TestWorkspaceOfAnEarlierWorker(t *testing.T) {
	var r *rig
	executions := 0
	r = newRig(t, setup{script: mender(), link: func(_ task.ExecutionID, l executor.Link) executor.Link {
		executions++
		if executions > 2 {
			return l
		}
		return &movingLink{Link: l, r: r, execution: executions}
	}})
	run, events := r.do(prompt, r.environment(nil))
	assert.Equal(t, run.Executions, 3)
	told := 0
	for _, n := range payloads[*task.Notice](events) {
		told += strings.Count(n.Text, "made anew")
	}
	assert.Equal(t, told, 2, "once at each change of the worker")
	_, err := os.Stat(filepath.Join(r.workspace(run.ID), "old-worker"))
	assert.Assert(t, os.IsNotExist(err), "what only the old workspace had is gone: %v", err)
	checkLog(t, events)
}

// movingLink dies after the first result of a tool, and moves the run between
// two workers: the workspace is put aside after the first execution, and put
// back after the second.
type movingLink struct {
	executor.Link
	r         *rig
	execution int
	dead      bool
}

func (l *movingLink) Append(ctx context.Context, offset int64, events []task.Event) error {
	if l.dead {
		return errCrashed
	}
	if err := l.Link.Append(ctx, offset, events); err != nil {
		return err
	}
	for _, e := range events {
		if p, ok := e.Payload.(*task.ToolResult); ok && !strings.HasPrefix(p.CallID, "setup-") {
			l.dead = true
			l.move()
			return errCrashed
		}
	}
	return nil
}

func (l *movingLink) move() {
	b, err := l.Link.Bundle(context.Background())
	if !checkNoError(l.r.t, err) {
		return
	}
	here := l.r.workspace(b.Task.ID)
	aside := here + "-aside"
	if l.execution == 1 {
		checkNoError(l.r.t, os.WriteFile(filepath.Join(here, "old-worker"), nil, 0o600))
		checkNoError(l.r.t, os.Rename(here, aside))
		return
	}
	checkNoError(l.r.t, os.RemoveAll(here))
	checkNoError(l.r.t, os.Rename(aside, here))
}

func (l *movingLink) End(ctx context.Context, end task.End) error {
	if l.dead {
		return errCrashed
	}
	return l.Link.End(ctx, end)
}

func checkNoError(t *testing.T, err error) bool {
	t.Helper()
	return assert.Check(t, err)
}
