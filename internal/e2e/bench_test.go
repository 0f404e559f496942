package e2e_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// BenchmarkFirstEvent gives the median time from submitting a run over HTTP to
// its first events as a watcher gets them: the first that the runner sent, the
// start of its agent, and the agent's first words. exec-ms is the start of the
// same binary as a process; beyond-ms is the start of the agent without it, for
// the limit of 100 ms.
func BenchmarkFirstEvent(b *testing.B) {
	program := filepath.Join(binaries, "ozd")
	s := servertest.New(b, program, servertest.Talker(""))
	s.Start()
	c := s.Client()
	ctx, cancel := context.WithTimeout(b.Context(), 10*patience)
	defer cancel()
	var runner, agent, words, execs, beyond []time.Duration
	for b.Loop() {
		began := time.Now()
		assert.NilError(b, exec.CommandContext(ctx, program, "--version").Run())
		process := time.Since(began)

		began = time.Now()
		t, err := c.Submit(ctx, oz.Request{Prompt: "greet"})
		assert.NilError(b, err)
		var first firsts
		for e, err := range c.Watch(ctx, t.ID, 0) {
			assert.NilError(b, err)
			first.note(e, time.Since(began))
		}
		assert.Assert(b, first.words > 0, "the agent said nothing")
		runner, agent, words = append(runner, first.runner), append(agent, first.agent), append(words, first.words)
		execs, beyond = append(execs, process), append(beyond, first.agent-process)
	}
	b.ReportMetric(0, "ns/op")
	for unit, list := range map[string][]time.Duration{"runner-ms": runner, "agent-ms": agent, "words-ms": words, "exec-ms": execs, "beyond-ms": beyond} {
		slices.Sort(list)
		b.ReportMetric(float64(list[len(list)/2].Microseconds())/1000, unit)
	}
}

// firsts are the times of the first events of each kind.
type firsts struct{ runner, agent, words time.Duration }

func (f *firsts) note(e task.Event, after time.Duration) {
	set := func(d *time.Duration) {
		if *d == 0 {
			*d = after
		}
	}
	switch p := e.Payload.(type) {
	case *task.Phase:
		if p.Name == task.PhaseBundle {
			set(&f.runner)
		}
		if p.Name == task.PhaseAgent {
			set(&f.agent)
		}
	case *task.Message:
		set(&f.words)
	}
}
