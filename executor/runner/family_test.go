package runner_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestQuestion: an agent's question stops the run with its choices on record;
// the answer takes the same run on, in its workspace.
func TestQuestion(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(command("echo kept > note"),
		call("ask_user", object{"question": "Which branch?", "choices": []string{"main", "next"}}),
		command("cat note"), finish("Took next."))})
	run, _ := r.do(prompt, "")
	assert.Equal(t, run.State, task.StateBlocked)
	q := run.Open()
	assert.Assert(t, q != nil)
	assert.Equal(t, q.Text+" "+strings.Join(q.Choices, "|"), "Which branch? main|next")
	assert.NilError(t, r.Answer(t.Context(), run.ID, oz.Answer{QuestionID: q.ID, Choice: "next", Text: "and hurry"}))
	run, events := r.finish(run.ID)
	assert.Equal(t, run.State, task.StateSucceeded, run.Head.Status.Message)
	assert.Equal(t, run.Executions, 2, "%s", describe(events))
	requests := r.model.Requests()
	assert.Equal(t, len(requests), 4)
	assert.Equal(t, count(requests[3], `Answer to your question "Which branch?": next`), 1)
	assert.Assert(t, is.Contains(requests[3].LastToolResults()[0].Text, "kept"))
	r.checkRequests()
}

// when gives a step a condition on the conversation.
func when(s scripted.Step, match func(*scripted.Request) bool) scripted.Step {
	s.Match = match
	return s
}

// told reports whether people have said something.
func told(text string) func(*scripted.Request) bool {
	return func(r *scripted.Request) bool { return count(*r, text) > 0 }
}

func both(a, b func(*scripted.Request) bool) func(*scripted.Request) bool {
	return func(r *scripted.Request) bool { return a(r) && b(r) }
}

// last reports whether the newest message has a result of a tool.
func last(tool string) func(*scripted.Request) bool {
	return func(r *scripted.Request) bool {
		name := ""
		for _, m := range r.Messages {
			for _, b := range m.Blocks {
				if b.Type == "tool_use" {
					name = b.ToolName
				}
			}
		}
		return name == tool
	}
}

// leader is a model that leads a and b, and is also the model of these two.
func leader() scripted.Script {
	lead := told("LEAD")
	child := func(key string) []scripted.Step {
		return []scripted.Step{
			when(finish("did "+key), both(told("PART "+key), did("send_message", "Sent"))),
			when(call("send_message", object{"subject": "result " + key, "body": "the result of " + key}), told("PART "+key)),
		}
	}
	steps := []scripted.Step{
		when(finish("All parts are there."), both(lead, both(did("read_messages", "the result of a"), did("read_messages", "the result of b")))),
		when(call("read_messages", object{}), both(lead, last("wait_for_runs"))),
		when(call("wait_for_runs", object{"runs": []string{"a", "b"}}), both(lead, did("spawn_run", "(b)"))),
		when(call("spawn_run", object{"key": "b"}), both(lead, did("spawn_run", "(a)"))),
		when(call("spawn_run", object{"key": "a"}), both(lead, told("is approved"))),
		when(finish("Planned."), both(lead, did("write_plan", "handed in"))),
		when(call("write_plan", object{"title": "Two parts", "markdown": "# Parts\na and b", "children": []object{
			{"key": "a", "prompt": "PART a"}, {"key": "b", "prompt": "PART b", "title": "The second"}}}), lead),
	}
	return play(append(append(steps, child("a")...), child("b")...)...)
}

// TestOrchestrate: a run that orchestrates plans, waits for a person, starts
// its children, hears from them and ends after them.
func TestOrchestrate(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: leader()})
	id := r.submit(oz.Request{Prompt: "LEAD", Mode: task.ModeOrchestrate})
	run, events := r.finish(id)
	assert.Equal(t, run.State, task.StateBlocked, "%s", describe(events))
	assert.Equal(t, run.Open().Kind, task.QuestionApproval)
	assert.Equal(t, run.Artifacts[0].Type, task.ArtifactPlan)
	assert.NilError(t, r.Approve(t.Context(), id, oz.Approval{}))
	run, events = r.finish(id)
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Head.Status.Message, describe(events))
	page, err := r.List(t.Context(), task.Query{AncestorID: id, Sort: task.SortCreatedAt, Asc: true})
	assert.NilError(t, err)
	var got []string
	for _, c := range page.Tasks {
		_, events := r.finish(c.ID)
		checkLog(t, events)
		c, err := r.Get(t.Context(), c.ID)
		assert.NilError(t, err)
		got = append(got, fmt.Sprintf("%s %s %s", c.ChildKey, c.Title, c.State))
	}
	assert.DeepEqual(t, got, []string{"a PART a SUCCEEDED", "b The second SUCCEEDED"})
}

// TestLongWait: a parent that waits for long lets go of its place and is taken
// up again when its child has ended; it takes no turn meanwhile.
func TestLongWait(t *testing.T) {
	t.Parallel()
	lead := told("LEAD")
	r := newRig(t, setup{script: play(
		when(finish("It is there."), both(lead, told("The runs that you waited for have ended"))),
		when(call("wait_for_runs", object{"runs": []string{"slow"}}), both(lead, did("spawn_run", "(slow)"))),
		when(call("spawn_run", object{"key": "slow", "prompt": "PART slow"}), lead),
		when(finish("did it"), both(told("PART"), did("run_command", "went on"))),
		when(command("until test -e go-on; do sleep 0.05; done; echo went on"), told("PART")),
	), runner: func(o *runner.Options) { o.WaitPatience = 10 * time.Millisecond }})
	id := r.submit(oz.Request{Prompt: "LEAD"})
	run, _ := r.finish(id)
	assert.Equal(t, run.State, task.StateBlocked)
	q := run.Open()
	assert.Equal(t, q.Kind, task.QuestionRuns)
	assert.ErrorContains(t, r.Answer(t.Context(), id, oz.Answer{Text: "x"}), "waits for other runs")
	assert.NilError(t, os.WriteFile(filepath.Join(r.workspace(q.Runs[0]), "go-on"), nil, 0o600))
	deadline := time.Now().Add(patience)
	for run.State != task.StateSucceeded && time.Now().Before(deadline) {
		run, _ = r.finish(id)
	}
	assert.Equal(t, run.State, task.StateSucceeded)
	assert.Equal(t, run.Executions, 2)
}
