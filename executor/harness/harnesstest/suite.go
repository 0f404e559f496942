package harnesstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// Tools says how an agent's tools are called, so that one script fits all.
type Tools interface {
	// Command runs a shell command in the working directory.
	Command(line string) scripted.ToolCall
	// Edit replaces text in a file.
	Edit(path, search, replace string) scripted.ToolCall
	// Deliver commits all changes and pushes them to a branch of their own.
	Deliver(message string) []scripted.ToolCall
	// Finish ends the work with success; verified are commands that were run.
	Finish(summary string, verified ...string) []scripted.ToolCall
}

// Harness is what a harness brings to its tests.
type Harness struct {
	// New makes the harness under test.
	New func() harness.Harness
	// Wires are the model protocols it speaks: "anthropic", "openai".
	Wires []string
	// Tools calls its tools.
	Tools Tools
	// ModelID is the model to ask for. Default: Model.
	ModelID string
	// Foreign is an agent of a third party's, which asks the model by itself:
	// what its tools print reaches the model as it is.
	Foreign bool
	// NoExitCodes says that the program tells of no command how it ended.
	NoExitCodes bool
	// RestartStep is for RestartAtEveryWrite; default 1.
	RestartStep int
}

// lab makes a lab for the harness.
func (h Harness) lab(t testing.TB, opts LabOptions) *Lab {
	t.Helper()
	if opts.ModelID == "" {
		opts.ModelID = h.ModelID
	}
	// A step without a call that the agent does not have would be an empty answer.
	opts.Script.Steps = said(opts.Script.Steps...)
	if opts.Wire == "" && len(h.Wires) > 0 {
		opts.Wire = h.Wires[0]
	}
	return NewLab(t, opts)
}

// said leaves out the steps in which nothing is said.
func said(steps ...scripted.Step) []scripted.Step {
	return slices.DeleteFunc(slices.Clone(steps), func(s scripted.Step) bool {
		return s.Text == "" && len(s.ToolCalls) == 0 && s.Thinking == ""
	})
}

// patience bounds what a test waits for.
const patience = 4 * time.Minute

// Run checks that a harness keeps the promises of package harness. Of a third
// party's agent, whose program takes long to start, the first wire alone is
// tried for all faults, unless OZ_TEST_LONG is set.
func Run(t *testing.T, h Harness) {
	for i, wire := range h.Wires {
		h.sub(t, "MendsABug/"+wire, func(t *testing.T) { h.mendsABug(t, wire) })
		if i > 0 && h.Foreign && !long() {
			continue
		}
		h.sub(t, "CutStream/"+wire, func(t *testing.T) { h.cutStream(t, wire) })
		h.sub(t, "WrongKey/"+wire, func(t *testing.T) { h.wrongKey(t, wire) })
	}
	h.sub(t, "RateLimit", h.rateLimit)
	h.sub(t, "ProviderDown", h.providerDown)
	h.sub(t, "UnknownModel", h.unknownModel)
	h.sub(t, "Steering", h.steering)
	h.sub(t, "FollowUp", h.followUp)
	h.sub(t, "TurnLimit", h.turnLimit)
	h.sub(t, "SecretInOutput", h.secretInOutput)
	h.sub(t, "Cancel", h.cancel)
	h.sub(t, "JournalGone", h.journalGone)
	h.sub(t, "LocksLeft", h.locksLeft)
}

// sub runs one case. Those of programs, which wait for much, run beside each
// other, as many as there are processors.
func (h Harness) sub(t *testing.T, name string, f func(*testing.T)) {
	t.Run(name, func(t *testing.T) {
		if h.Foreign {
			t.Parallel()
		}
		f(t)
	})
}

// long reports that nothing is to be left out.
func long() bool { return os.Getenv("OZ_TEST_LONG") != "" }

// run runs the harness to its end.
func (h Harness) run(t *testing.T, s *harness.Session) harness.Outcome {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	out, err := h.New().Run(ctx, s)
	assert.NilError(t, err)
	return out
}

// BuggyModule is a small Go module with a failing test.
func BuggyModule() map[string]string {
	return map[string]string{
		"go.mod":        "module example.com/stats\n\ngo 1.24\n",
		"stats.go":      "package stats\n\n// Mean gives the average of xs, 0 for none.\nfunc Mean(xs []float64) float64 {\n\tif len(xs) == 0 {\n\t\treturn 0\n\t}\n\tsum := 0.0\n\tfor _, x := range xs[1:] {\n\t\tsum += x\n\t}\n\treturn sum / float64(len(xs))\n}\n",
		"stats_test.go": "package stats\n\nimport \"testing\"\n\nfunc TestMean(t *testing.T) {\n\tif got := Mean([]float64{1, 2, 3}); got != 2 {\n\t\tt.Fatalf(\"Mean = %v, want 2\", got)\n\t}\n}\n",
		"README.md":     "# stats\n",
	}
}

func (h Harness) mendsABug(t *testing.T, wire string) {
	const test = "go test ./..."
	calls := func(c ...scripted.ToolCall) []scripted.ToolCall { return c }
	lab := h.lab(t, LabOptions{Wire: wire, Files: BuggyModule(), Script: scripted.Script{Steps: []scripted.Step{
		{Thinking: "The test tells what is wrong.", Text: "I run the tests.", ToolCalls: calls(h.Tools.Command(test))},
		{Text: "The first value is left out.", ToolCalls: calls(h.Tools.Edit("stats.go", "range xs[1:]", "range xs"))},
		{ToolCalls: calls(h.Tools.Command(test))},
		{Text: "The tests pass.", ToolCalls: h.Tools.Deliver("Count the first value in Mean")},
		{ToolCalls: h.Tools.Finish("Mean counts the first value.", test)},
		{Text: "Mean counts the first value."},
	}}})
	lab.Log.Say("The test of Mean fails. Mend it and push a branch.")
	out := h.run(t, lab.Session(t))

	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
	assert.Assert(t, is.Contains(out.Status.Message, "Mean counts the first value"))
	assert.Assert(t, out.Turns >= 5)
	assert.Equal(t, out.SeenInput, int64(1))
	lab.CheckLog(t)

	branches := lab.RemoteBranches(t)
	assert.Equal(t, len(branches), 1, "%v", branches)
	for branch, pushes := range branches {
		assert.Equal(t, pushes, 1)
		fresh := filepath.Join(t.TempDir(), "fresh")
		lab.RunGit(t, lab.Root, "clone", "-q", "-b", branch, lab.Remote, fresh)
		assert.Assert(t, is.Contains(lab.RunGit(t, fresh, "show", "HEAD:stats.go"), "range xs {"))
		lab.checkBranchArtifact(t, branch)
	}
	results := Payloads[*task.ToolResult](lab.Log)
	assert.Assert(t, is.Contains(results[0].Content, "Mean = 1.66"))
}

// checkBranchArtifact wants the branch reported once, with its commit.
func (l *Lab) checkBranchArtifact(t *testing.T, branch string) {
	t.Helper()
	var found []task.Artifact
	for _, p := range Payloads[*task.ArtifactReported](l.Log) {
		if p.Artifact.ReferenceType == task.ReferenceBranch {
			found = append(found, p.Artifact)
		}
	}
	assert.Equal(t, len(found), 1)
	assert.NilError(t, found[0].Validate())
	assert.Assert(t, is.Contains(string(found[0].Metadata), l.RunGit(t, l.Remote, "rev-parse", branch)))
	assert.Assert(t, is.Contains(string(found[0].Metadata), branch))
}

// CheckLog checks what holds of every log: messages delivered once, turns
// numbered without gap, each call with at most one result, and no request that
// a provider would have refused.
func (l *Lab) CheckLog(t *testing.T) {
	t.Helper()
	delivered, ended := map[int64]int{}, 0
	open := 0
	called, result := map[string]bool{}, map[string]int{}
	var pending []string
	for _, e := range l.Log.Events() {
		switch p := e.Payload.(type) {
		case *task.Delivered:
			for _, n := range p.Inputs {
				delivered[n]++
				assert.Equal(t, delivered[n], 1, "message %d was delivered again", n)
			}
		case *task.TurnStarted:
			assert.Equal(t, p.Turn, ended+1)
			open, pending = p.Turn, nil
		case *task.ToolCall:
			pending = append(pending, p.ID)
		case *task.TurnEnded:
			assert.Equal(t, p.Turn, open)
			ended, open = p.Turn, 0
			for _, id := range pending {
				assert.Assert(t, !called[id], "call id %s twice", id)
				called[id] = true
			}
		case *task.ToolResult:
			result[p.CallID]++
			assert.Assert(t, called[p.CallID], "result of an unknown call %s", p.CallID)
			assert.Equal(t, result[p.CallID], 1, "call %s has two results", p.CallID)
		}
	}
	for _, r := range l.Server.Problems() {
		t.Errorf("request %d was refused: %s", r.N, r.Problem)
	}
}

// answers is a script that says one thing.
func answers(text string, faults ...scripted.Fault) scripted.Script {
	return scripted.Script{Steps: []scripted.Step{{Text: text, Faults: faults}}}
}

func (h Harness) cutStream(t *testing.T, wire string) {
	lab := h.lab(t, LabOptions{Wire: wire, NoRepo: true, Script: answers("The answer is forty-two, as everybody knows by now.", scripted.Cut(4), scripted.Cut(1))})
	lab.Log.Say("What is the answer?")
	out := h.run(t, lab.Session(t))
	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
	assert.Equal(t, out.Turns, 1)
	lab.CheckLog(t)
	last := lab.Server.Requests()
	assert.Equal(t, last[len(last)-1].Turn, 0, "a cut answer took part in the conversation")
}

func (h Harness) wrongKey(t *testing.T, wire string) {
	lab := h.lab(t, LabOptions{Wire: wire, NoRepo: true, WrongKey: true, Script: answers("hello")})
	lab.Log.Say("Hello?")
	out := h.run(t, lab.Session(t))
	assert.Equal(t, out.State, task.StateFailed)
	assert.Equal(t, out.Status.ErrorCode, task.CodeExternalAuthRequired, "%+v", out.Status)
	assert.Equal(t, out.Turns, 0)
}

func (h Harness) rateLimit(t *testing.T) {
	lab := h.lab(t, LabOptions{NoRepo: true, Script: answers("Done.", scripted.Fault{Status: 429, RetryAfter: time.Millisecond}, scripted.Fault{Status: 529})})
	lab.Log.Say("Hello?")
	out := h.run(t, lab.Session(t))
	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
}

func (h Harness) providerDown(t *testing.T) {
	lab := h.lab(t, LabOptions{NoRepo: true, Script: answers("never said", scripted.Fault{Status: 500, Times: -1})})
	lab.Log.Say("Hello?")
	out := h.run(t, lab.Session(t))
	assert.Equal(t, out.State, task.StateError, "%+v", out.Status)
	assert.Equal(t, out.Status.ErrorCode, task.CodeResourceUnavailable)
	assert.Assert(t, out.Status.Retryable)
}

func (h Harness) unknownModel(t *testing.T) {
	lab := h.lab(t, LabOptions{NoRepo: true, Server: scripted.Options{Models: []string{"another"}}, Script: answers("never said")})
	lab.Log.Say("Hello?")
	out := h.run(t, lab.Session(t))
	assert.Equal(t, out.State, task.StateFailed, "%+v", out.Status)
	assert.Equal(t, out.Status.ErrorCode, task.CodeInvalidRequest)
	assert.Assert(t, is.Contains(out.Status.Message, lab.model()))
}

// heard matches requests whose newest message has text. Some agents put what a
// person says into the result of the tool call under way.
func heard(text string) func(*scripted.Request) bool {
	return func(r *scripted.Request) bool {
		return slices.ContainsFunc(r.Messages[len(r.Messages)-1].Blocks, func(b scripted.Block) bool { return strings.Contains(b.Text, text) })
	}
}

// steering writes to the agent while a command of its runs.
func (h Harness) steering(t *testing.T) {
	lab := h.lab(t, LabOptions{Script: scripted.Script{Steps: []scripted.Step{
		{ToolCalls: []scripted.ToolCall{h.Tools.Command("echo begun; while [ ! -e ../go ]; do sleep 0.02; done; echo went")}},
		{Match: heard("in French"), Text: "Bonjour.", ToolCalls: h.Tools.Finish("Bonjour.")},
		{Text: "Hello.", ToolCalls: h.Tools.Finish("Hello.")},
		{Text: "Bonjour."},
	}}})
	lab.Log.Say("Greet me.")
	done := make(chan harness.Outcome, 1)
	go func() {
		ctx, stop := context.WithTimeout(t.Context(), patience)
		defer stop()
		out, err := h.New().Run(ctx, lab.Session(t))
		assert.Check(t, err)
		done <- out
	}()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	_, err := lab.Log.Wait(ctx, func(e task.Event) bool {
		_, ok := e.Payload.(*task.TurnEnded)
		return ok
	})
	assert.NilError(t, err)
	seq := lab.Log.Say("Say it in French.")
	assert.NilError(t, os.WriteFile(filepath.Join(lab.Root, "go"), nil, 0o644))
	out := <-done
	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
	assert.Equal(t, out.SeenInput, seq)
	assert.Assert(t, is.Contains(out.Status.Message, "Bonjour"))
	lab.CheckLog(t)
}

// followUp writes after the end; the same session goes on.
func (h Harness) followUp(t *testing.T) {
	lab := h.lab(t, LabOptions{NoRepo: true, Script: scripted.Script{Steps: []scripted.Step{{Text: "First."}, {Text: "Second."}}}})
	lab.Log.Say("FIRST-PROMPT")
	s := lab.Session(t)
	h1 := h.New()
	out, err := h1.Run(t.Context(), s)
	assert.NilError(t, err)
	assert.Assert(t, is.Contains(out.Status.Message, "First."))

	again, err := h1.Run(t.Context(), s)
	assert.NilError(t, err)
	assert.Equal(t, again.State, out.State, "without a new message there is nothing to do")
	assert.Equal(t, again.Turns, out.Turns)

	seq := lab.Log.Say("SECOND-PROMPT")
	out, err = h1.Run(t.Context(), s)
	assert.NilError(t, err)
	assert.Assert(t, is.Contains(out.Status.Message, "Second."))
	assert.Equal(t, out.Turns, 2)
	assert.Equal(t, out.SeenInput, seq)
	lab.CheckLog(t)
	for _, r := range lab.Server.Requests() {
		assert.Equal(t, strings.Count(string(r.Body), "FIRST-PROMPT"), 1)
	}
}

func (h Harness) turnLimit(t *testing.T) {
	var steps []scripted.Step
	for i := range 5 {
		steps = append(steps, scripted.Step{ToolCalls: []scripted.ToolCall{h.Tools.Command(fmt.Sprintf("echo work > file%d.txt", i))}})
	}
	lab := h.lab(t, LabOptions{Limits: task.Limits{MaxTurns: 3}, Script: scripted.Script{Steps: steps}})
	lab.Log.Say("Work.")
	out := h.run(t, lab.Session(t))
	assert.Equal(t, out.State, task.StateBlocked, "%+v", out.Status)
	assert.Equal(t, out.Turns, 3)
	for i := range 3 {
		_, err := os.Stat(filepath.Join(lab.Dir, fmt.Sprintf("file%d.txt", i)))
		assert.NilError(t, err, "work of a stopped run is kept")
	}
}

func (h Harness) secretInOutput(t *testing.T) {
	const value = "Tq7-vX2_pL9zKd4Rw8"
	lab := h.lab(t, LabOptions{NoRepo: true, Secrets: map[string]string{"DEPLOY_KEY": value}, Script: scripted.Script{Steps: []scripted.Step{
		{ToolCalls: []scripted.ToolCall{h.Tools.Command(`echo "key: $DEPLOY_KEY"; printf %s "$DEPLOY_KEY" | base64`)}},
		{Text: "It was " + value + ".", ToolCalls: h.Tools.Finish("Seen " + value)},
		{Text: "It was " + value + "."},
	}}})
	lab.Log.Say("Show the key.")
	out := h.run(t, lab.Session(t))
	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
	assert.Assert(t, is.Len(lab.Redactor.Contains([]byte(out.Status.Message)), 0))
	for _, r := range lab.Server.Requests() {
		assert.Assert(t, h.Foreign || len(lab.Redactor.Contains(r.Body)) == 0, "request %d", r.N)
	}
	var shown bool
	for _, e := range lab.Log.Events() {
		_, data, err := task.MarshalPayload(e.Payload)
		assert.NilError(t, err)
		assert.Assert(t, is.Len(lab.Redactor.Contains(data), 0), "event %d", e.Seq)
		shown = shown || strings.Contains(string(data), "[redacted:DEPLOY_KEY]")
	}
	assert.Assert(t, shown)
}

// cancel ends the context in the middle of a command.
func (h Harness) cancel(t *testing.T) {
	lab := h.lab(t, LabOptions{NoRepo: true, Script: scripted.Script{Steps: []scripted.Step{
		{ToolCalls: []scripted.ToolCall{h.Tools.Command("echo $$ > pid; sleep 600")}},
	}}})
	lab.Log.Say("Wait.")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := h.New().Run(ctx, lab.Session(t))
		done <- err
	}()
	pid := WaitForFile(t, filepath.Join(lab.Root, "pid"))
	cancel()
	select {
	case err := <-done:
		assert.ErrorIs(t, err, context.Canceled)
	case <-time.After(patience):
		t.Fatal("Run does not return")
	}
	assert.Assert(t, !Alive(pid), "process %s is left over", pid)
}

// locksLeft kills an execution in the middle of its git: the next one can commit.
func (h Harness) locksLeft(t *testing.T) {
	lab := h.lab(t, LabOptions{Script: Staged(
		scripted.Step{ToolCalls: []scripted.ToolCall{h.Tools.Command("if [ ! -e ../pid ]; then : > .git/index.lock; : > .git/refs/heads/main.lock; echo $$ > ../pid; sleep 600; fi; git commit -q --allow-empty -m After && echo committed")}},
		scripted.Step{Text: "Done.", ToolCalls: h.Tools.Finish("Done.")},
		scripted.Step{Text: "Done."},
	)})
	lab.Log.Say("Commit.")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := h.New().Run(ctx, lab.Session(t))
		done <- err
	}()
	WaitForFile(t, filepath.Join(lab.Root, "pid"))
	cancel()
	assert.ErrorIs(t, <-done, context.Canceled)
	out := h.run(t, lab.Session(t))
	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
	assert.Equal(t, lab.RunGit(t, lab.Dir, "log", "-1", "--format=%s"), "After")
}

// journalGone fails a write: Run must give the error back, and no outcome.
func (h Harness) journalGone(t *testing.T) {
	for at := 1; at <= 4; at++ {
		if h.Foreign && at == 3 {
			continue // as 2 and 4, in the time of a start
		}
		lab := h.lab(t, LabOptions{NoRepo: true, Script: answers("A long enough answer to have several pieces of it.")})
		lab.Log.Say("Hello?")
		_, err := h.New().Run(t.Context(), lab.CrashingSession(t, Crash{At: at}))
		if !errors.Is(err, ErrCrashed) {
			t.Errorf("write %d: got %v", at, err)
		}
	}
}

// WaitForFile waits until another process has written path, and gives its content.
func WaitForFile(t testing.TB, path string) string {
	t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		data, err := os.ReadFile(path)
		if err == nil && strings.HasSuffix(string(data), "\n") {
			return strings.TrimSpace(string(data))
		}
		time.Sleep(5 * time.Millisecond) // another process writes it; nothing tells us
	}
	t.Fatalf("%s does not appear", path)
	return ""
}

// Alive reports whether a process runs; one that ended and was not reaped does not.
func Alive(pid string) bool {
	data, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(data[strings.LastIndex(string(data), ")")+1:]))
	return len(fields) > 0 && !slices.Contains([]string{"Z", "X"}, fields[0])
}
