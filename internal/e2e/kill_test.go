package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestKillServerWorkerRunner kills the server, which is the worker too, and
// the runner with its supervisor, when the run's log has reached lengths drawn
// by lot. What dies is drawn as well. The run must end once, with everything
// done once.
func TestKillServerWorkerRunner(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 7))
			r := newRig(t, mender())
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			r.serve()
			id := r.submit(ctx, oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: r.environment(ctx)}})

			// Each death may cost an execution, also that of a server which is
			// starting one: the rig allows for as many.
			kills := map[int64]func(){}
			for range 3 {
				kills[2+rnd.Int64N(30)] = func() { r.signal(syscall.SIGKILL) }
			}
			for _, program := range []string{"oz-agent-runner", ""} {
				kills[6+rnd.Int64N(26)] = func() { r.killSandboxed(program) }
			}
			run, events := r.follow(ctx, id, func(e task.Event) {
				if kill := kills[e.Seq]; kill != nil {
					kill()
				}
			})
			r.checkSuccess(run, events)
			r.checkQuiet(ctx)
			r.mu.Lock()
			defer r.mu.Unlock()
			t.Logf("%d starts of the server, %d executions", r.starts, run.Executions)
		})
	}
}

// killSandboxed kills the processes of sandboxes whose command line has a
// text; the empty one kills all, supervisor included.
func (r *rig) killSandboxed(text string) {
	for _, p := range r.processesLeft() {
		pid, args, _ := strings.Cut(p, " ")
		if n, err := strconv.Atoi(pid); err == nil && strings.Contains(args, text) {
			_ = syscall.Kill(n, syscall.SIGKILL) // it may be gone
		}
	}
}
