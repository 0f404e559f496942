package harnesstest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// RunForeign checks, beside what Run does, what can befall a third party's
// program: it is killed, its model is lost, it leaves processes behind, its
// session's files are gone.
func RunForeign(t *testing.T, h Harness) {
	h.sub(t, "ToolFails", h.toolFails)
	h.sub(t, "ModelLost", func(t *testing.T) { h.modelGone(t, 500, task.StateError, task.CodeResourceUnavailable) })
	h.sub(t, "KeyRevoked", func(t *testing.T) { h.modelGone(t, 401, task.StateFailed, task.CodeExternalAuthRequired) })
	h.sub(t, "BudgetReached", h.budgetReached)
	h.sub(t, "ProgramKilled", h.programKilled)
	h.sub(t, "LeavesNoProcess", h.leavesNoProcess)
	h.sub(t, "RestartInTool", func(t *testing.T) { h.restartInTool(t, false) })
	h.sub(t, "RestartWithoutSession", func(t *testing.T) { h.restartInTool(t, true) })
	h.sub(t, "Instructions", h.instructions)
	h.sub(t, "FourAtOnce", h.fourAtOnce)
}

func steps(s ...scripted.Step) scripted.Script { return scripted.Script{Steps: s} }

func (h Harness) toolFails(t *testing.T) {
	lab := h.lab(t, LabOptions{NoRepo: true, Script: steps(
		scripted.Step{ToolCalls: []scripted.ToolCall{h.Tools.Command("echo oops; exit 3")}}, scripted.Step{Text: "It failed."})})
	lab.Log.Say("Try it.")
	out := h.run(t, lab.Session(t))
	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
	results := Payloads[*task.ToolResult](lab.Log)
	assert.Equal(t, len(results), 1)
	assert.Assert(t, is.Contains(results[0].Content, "oops"))
	if !h.NoExitCodes {
		assert.Equal(t, results[0].State, task.ToolFailed)
		assert.Assert(t, is.Contains(string(results[0].Output), `"exit_code":3`))
	}
	lab.CheckLog(t)
}

// modelGone takes the model away after the first turn.
func (h Harness) modelGone(t *testing.T, status int, state task.State, code task.Code) {
	lab := h.lab(t, LabOptions{NoRepo: true, Script: steps(
		scripted.Step{ToolCalls: []scripted.ToolCall{h.Tools.Command("echo worked > file.txt")}},
		scripted.Step{Text: "never said", Faults: []scripted.Fault{{Status: status, Times: -1}}})})
	lab.Log.Say("Work.")
	begun := time.Now()
	out := h.run(t, lab.Session(t))
	assert.Equal(t, out.State, state, "%+v", out.Status)
	assert.Equal(t, out.Status.ErrorCode, code, "%+v", out.Status)
	assert.Equal(t, out.Turns, 1)
	assert.Assert(t, time.Since(begun) < patience/2, "a program that retries for ever is stopped")
	_, err := os.Stat(filepath.Join(lab.Root, "file.txt"))
	assert.NilError(t, err, "its work is kept")
}

func (h Harness) budgetReached(t *testing.T) {
	const spent = 500_000 // fits the larger models' windows: some programs end by themselves beyond it
	lab := h.lab(t, LabOptions{NoRepo: true, Budget: gateway.Budget{MaxTokens: spent + 1000}, Script: steps(
		scripted.Step{ToolCalls: []scripted.ToolCall{h.Tools.Command("echo worked > file.txt")}, Usage: &scripted.Usage{Input: spent}},
		scripted.Step{Text: "never said"})})
	lab.Log.Say("Work.")
	out := h.run(t, lab.Session(t))
	assert.Equal(t, out.State, task.StateBlocked, "%+v", out.Status)
	assert.Equal(t, out.Status.ErrorCode, task.CodeBudgetExceeded)
	assert.Equal(t, out.Turns, 1)
	_, err := os.Stat(filepath.Join(lab.Root, "file.txt"))
	assert.NilError(t, err, "its work is kept")
}

// programKilled kills the program in the middle of a command of its own, and
// lets it go on in a new one.
func (h Harness) programKilled(t *testing.T) {
	kill := h.Tools.Command("echo $$ > pid; kill -9 $PPID; sleep 600")
	lab := h.lab(t, LabOptions{NoRepo: true, Script: scripted.Script{Steps: []scripted.Step{
		{Match: heard("Go on now"), Text: "Done after all."}, {ToolCalls: []scripted.ToolCall{kill}}, {Text: "never said"}}}})
	lab.Log.Say("FIRST-PROMPT")
	out := h.run(t, lab.Session(t))
	assert.Equal(t, out.State, task.StateError, "%+v", out.Status)
	assert.Equal(t, out.Status.ErrorCode, task.CodeAgentProcessFailed)
	assert.Assert(t, is.Contains(out.Status.Message, "killed"))
	pid := WaitForFile(t, filepath.Join(lab.Root, "pid"))
	assert.Assert(t, !Alive(pid), "process %s is left over", pid)
	results := Payloads[*task.ToolResult](lab.Log) // a program that died at once has not told of the call
	assert.Equal(t, len(results), len(Payloads[*task.ToolCall](lab.Log)))
	for _, r := range results {
		assert.Equal(t, r.State, task.ToolFailed)
	}

	lab.Log.Say("Go on now.")
	out = h.run(t, lab.Session(t))
	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
	assert.Assert(t, is.Contains(out.Status.Message, "Done after all"))
	lab.CheckLog(t)
	lab.checkSaidOnce(t, "FIRST-PROMPT")
}

// checkSaidOnce wants a person's words exactly once in what the model was sent last.
func (l *Lab) checkSaidOnce(t *testing.T, words string) {
	t.Helper()
	all := l.Server.Requests()
	last := all[len(all)-1]
	n := 0
	for _, m := range last.Messages {
		for _, b := range m.Blocks {
			n += strings.Count(b.Text, words)
		}
	}
	assert.Equal(t, n, 1, "%q in the last request", words)
}

// leavesNoProcess starts something in the background, in a session of its own.
func (h Harness) leavesNoProcess(t *testing.T) {
	lab := h.lab(t, LabOptions{NoRepo: true, Script: steps(
		scripted.Step{ToolCalls: []scripted.ToolCall{h.Tools.Command(`setsid sh -c 'echo $$ > pid; sleep 600' >/dev/null 2>&1 </dev/null & while [ ! -s pid ]; do sleep 0.02; done`)}},
		scripted.Step{Text: "Done."})})
	lab.Log.Say("Start it.")
	out := h.run(t, lab.Session(t))
	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
	pid := WaitForFile(t, filepath.Join(lab.Root, "pid"))
	assert.Assert(t, !Alive(pid), "process %s is left over", pid)
}

// restartInTool ends an execution in the middle of a command, as a kill of the
// runner does, and lets a new one go on: with the program's session, or
// without it.
func (h Harness) restartInTool(t *testing.T, lost bool) {
	wait := h.Tools.Command("echo $$ > pid; sleep 600")
	lab := h.lab(t, LabOptions{NoRepo: true, Script: scripted.Script{Steps: []scripted.Step{
		{Match: heard("was restarted while"), Text: "Done."}, {Text: "I wait.", ToolCalls: []scripted.ToolCall{wait}}, {Text: "never said"}}}})
	lab.Log.Say("FIRST-PROMPT")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := h.New().Run(ctx, lab.Session(t))
		done <- err
	}()
	pid := WaitForFile(t, filepath.Join(lab.Root, "pid"))
	waiting, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	_, err := lab.Log.Wait(waiting, func(e task.Event) bool { _, ok := e.Payload.(*task.TurnEnded); return ok })
	assert.NilError(t, err)
	cancel()
	assert.ErrorIs(t, <-done, context.Canceled)
	assert.Assert(t, !Alive(pid))

	s := lab.Session(t)
	if lost {
		assert.NilError(t, os.RemoveAll(s.StateDir))
	}
	out := h.run(t, s)
	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
	assert.Equal(t, out.SeenInput, int64(1))
	lab.CheckLog(t)
	results := Payloads[*task.ToolResult](lab.Log)
	assert.Equal(t, len(results), 1)
	assert.Assert(t, is.Contains(results[0].Content, "outcome is unknown"))
	lab.checkSaidOnce(t, "FIRST-PROMPT")
	sessions := map[string]bool{}
	for _, p := range Payloads[*task.AgentSession](lab.Log) {
		sessions[p.ID] = true
	}
	want := 1
	if lost {
		want = 2
	}
	assert.Equal(t, len(sessions), want)
}

func (h Harness) instructions(t *testing.T) {
	lab := h.lab(t, LabOptions{NoRepo: true, Instructions: "Speak like a pirate.\nALWAYS-\"quoted\"-\\and-Ünicode", Script: steps(scripted.Step{Text: "Aye."})})
	lab.Log.Say("Hello.")
	out := h.run(t, lab.Session(t))
	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
	first := lab.Server.Requests()[0]
	var said strings.Builder
	said.WriteString(first.System)
	for _, m := range first.Messages {
		for _, b := range m.Blocks {
			said.WriteString(b.Text)
		}
	}
	assert.Assert(t, strings.Contains(said.String(), `ALWAYS-"quoted"-\and-Ünicode`))
}

// fourAtOnce runs one harness in four sessions at the same time.
func (h Harness) fourAtOnce(t *testing.T) {
	one := h.New()
	var all sync.WaitGroup
	labs, outs, errs := make([]*Lab, 4), make([]harness.Outcome, 4), make([]error, 4)
	for i := range labs {
		labs[i] = h.lab(t, LabOptions{NoRepo: true, Script: steps(
			scripted.Step{ToolCalls: []scripted.ToolCall{h.Tools.Command(fmt.Sprintf("echo %d > file.txt", i))}}, scripted.Step{Text: fmt.Sprintf("Done with %d.", i)})})
		labs[i].Log.Say("Work.")
	}
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	for i, lab := range labs {
		s := lab.Session(t)
		all.Go(func() { outs[i], errs[i] = one.Run(ctx, s) })
	}
	all.Wait()
	for i, lab := range labs {
		assert.NilError(t, errs[i])
		assert.Equal(t, outs[i].State, task.StateSucceeded, "%+v", outs[i].Status)
		assert.Equal(t, outs[i].Status.Message, fmt.Sprintf("Done with %d.", i))
		data, err := os.ReadFile(filepath.Join(lab.Root, "file.txt"))
		assert.NilError(t, err)
		assert.Equal(t, string(data), fmt.Sprintf("%d\n", i))
		lab.CheckLog(t)
	}
}
