package runner_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

const (
	noteText   = "The check is wrong, too: this takes longer. @bob"
	noteLogged = "Note from the run: " + noteText
)

// herald is the mender who tells people something first.
func herald() scripted.Script {
	s := mender()
	tell := call("notify_user", object{"message": noteText})
	tell.Match = func(q *scripted.Request) bool { return !did("notify_user", "Told.")(q) }
	s.Steps = append([]scripted.Step{tell}, s.Steps...)
	return s
}

// noteLink dies when a note was told, before anything says so.
type noteLink struct {
	*pullLink
	executor.Outreach
}

func (l *noteLink) NotifyUser(ctx context.Context, n executor.Note) error {
	err := l.Outreach.NotifyUser(ctx, n)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && !*l.spent {
		*l.spent, l.dead = true, true
		err = errCrashed
	}
	return err
}

// notes are the comments that tell of a note below the issue, once the run's
// last one is there.
func (f *forge) notes(last string) (list []string) {
	f.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		list = nil
		ended := false
		for _, c := range f.sim.Comments("acme/app", 1) {
			ended = ended || strings.Contains(c.Body, last)
			if strings.Contains(c.Body, "A note from the run:") {
				list = append(list, c.Body)
			}
		}
		if ended {
			return list
		}
		assert.Assert(f.t, time.Now().Before(end), "the run's end was not told")
	}
}

// logged counts the notes of a run's log.
func logged(events []task.Event) (n int) {
	for _, p := range payloads[*task.Notice](events) {
		if p.Text == noteLogged {
			n++
		}
	}
	return n
}

// TestAgentTellsPeople: what an agent tells before its end stands in the log and
// where the run was asked for, once, although the runner died right after it.
func TestAgentTellsPeople(t *testing.T) {
	t.Parallel()
	var spent bool
	f := newForge(t, setup{script: herald(), link: func(_ task.ExecutionID, l executor.Link) executor.Link {
		return &noteLink{&pullLink{Link: l, GitLender: l.(executor.GitLender), spent: &spent}, l.(executor.Outreach)}
	}})
	f.integrate("", nil)
	f.mention("ann")
	run, events := f.run()
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Status.Message, describe(events))
	assert.Assert(t, spent)
	assert.Equal(t, logged(events), 1, describe(events))
	told := f.notes("The greeting is mended.")
	assert.Equal(t, len(told), 1, "%q", told)
	assert.Assert(t, is.Contains(told[0], "> The check is wrong, too: this takes longer. @\u2060bob"))
}

// TestStrangersAgentTellsNobody: a run that a stranger set off has no such tool.
func TestStrangersAgentTellsNobody(t *testing.T) {
	t.Parallel()
	f := newForge(t, setup{script: play(finish("Nothing to do.")), public: "https://oz.example.com"})
	f.public = true
	f.integrate(integration.TrustUntrusted, nil)
	f.mention("stranger")
	run, events := f.run()
	assert.Equal(t, run.State, task.StateSucceeded, describe(events))
	assert.Equal(t, len(f.notes("Nothing to do.")), 0)
	for _, q := range f.model.Requests() {
		has := func(name string) bool {
			return slices.ContainsFunc(q.Tools, func(t scripted.Tool) bool { return t.Name == name })
		}
		assert.Assert(t, has("ask_user") && !has("notify_user"))
	}
}

// TestThirdPartyTellsPeople: agents of third parties have the tool through the
// platform's MCP server, and say the same only once.
func TestThirdPartyTellsPeople(t *testing.T) {
	t.Parallel()
	var answers []string
	r := newRig(t, setup{runner: func(o *runner.Options) {
		o.Harnesses = map[string]harness.Harness{"oz": stranger{t, func(ctx context.Context, _ *harness.Session, servers map[string]*sdk.ClientSession) (harness.Outcome, error) {
			for range 2 {
				text, err := use(ctx, servers["oz"], "notify_user", object{"message": noteText})
				if err != nil {
					return harness.Outcome{}, err
				}
				answers = append(answers, text)
			}
			return success, nil
		}}}
	}})
	run, events := r.finish(r.submit(oz.Request{Prompt: "x"}))
	assert.Equal(t, run.State, task.StateSucceeded, describe(events))
	assert.DeepEqual(t, answers, []string{"Told. Go on with the work.", "Told. Go on with the work."})
	assert.Equal(t, logged(events), 1, describe(events))
}
