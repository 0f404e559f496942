package runner_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/github/githubsim"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

const pullTitle = "Mend the greeting"

// opener is the mender who opens a pull request, too, and begins with a step.
func opener(first ...scripted.Step) scripted.Script {
	s := mender()
	open := call("open_pull_request", object{"title": pullTitle, "body": "It said helo.\n\nCloses #1, @ann. <!-- oz:hidden -->"})
	open.Match = func(q *scripted.Request) bool {
		return did("git_push", "")(q) && !did("open_pull_request", "Pull request 2")(q)
	}
	s.Steps = append(append(first, open), s.Steps...)
	return s
}

// pullLink dies at a call that opens a pull request: before it, or after it was
// done and before that is written down.
type pullLink struct {
	executor.Link
	executor.GitLender
	before bool

	mu    sync.Mutex
	dead  bool
	spent *bool // whether one of the run's executions has died
}

func (l *pullLink) OpenPullRequest(ctx context.Context, r executor.PullRequest) (executor.PullRequestAnswer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if *l.spent {
		return l.Link.(executor.PullRequester).OpenPullRequest(ctx, r)
	}
	*l.spent, l.dead = true, true
	if !l.before {
		if _, err := l.Link.(executor.PullRequester).OpenPullRequest(ctx, r); err != nil {
			return executor.PullRequestAnswer{}, err
		}
	}
	return executor.PullRequestAnswer{}, errCrashed
}

func (l *pullLink) alive() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return errCrashed
	}
	return nil
}

func (l *pullLink) Append(ctx context.Context, offset int64, events []task.Event) error {
	if err := l.alive(); err != nil {
		return err
	}
	return l.Link.Append(ctx, offset, events)
}

func (l *pullLink) End(ctx context.Context, end task.End) error {
	if err := l.alive(); err != nil {
		return err
	}
	return l.Link.End(ctx, end)
}

// checkPull looks at the one pull request that there is to be, and at what the
// run shows of it.
func (f *forge) checkPull(run task.Task, events []task.Event) {
	f.t.Helper()
	assert.Equal(f.t, run.State, task.StateSucceeded, "%s\n%s", run.Status.Message, describe(events))
	pulls := f.sim.Pulls("acme/app")
	assert.Equal(f.t, len(pulls), 1)
	p := pulls[0]
	assert.DeepEqual(f.t, p.Pull, githubsim.Pull{Head: branch, Base: "main"})
	assert.Equal(f.t, p.Title, pullTitle)
	assert.Equal(f.t, p.Login, "oz-agent[bot]")
	assert.Assert(f.t, strings.HasPrefix(p.Body, "It said helo.\n\nCloses #1, @\u2060ann. &lt;!-- oz:hidden -->\n\n---\n\nOpened by [the run `"+string(run.ID)+"`](https://oz.example.com/runs/"+string(run.ID)+")."), p.Body)
	var shown []task.Artifact
	for _, a := range run.Artifacts {
		if a.Type == task.ArtifactPullRequest {
			shown = append(shown, a)
		}
	}
	assert.Equal(f.t, len(shown), 1)
	assert.Equal(f.t, shown[0].URL, fmt.Sprintf("https://github.com/acme/app/pull/%d", p.Number))
	assert.Equal(f.t, shown[0].Branch, branch)
	var meta struct {
		Number int
		Base   string
	}
	assert.NilError(f.t, json.Unmarshal(shown[0].Metadata, &meta))
	assert.Equal(f.t, meta.Number, p.Number)
	assert.Equal(f.t, meta.Base, "main")
}

// effects are the states of the run's pull request in its log.
func effects(events []task.Event) (list []task.EffectState) {
	for _, p := range payloads[*task.Effect](events) {
		if p.Kind == "pull_request" {
			list = append(list, p.State)
		}
	}
	return list
}

func (f *forge) mention(by string) {
	issue := f.sim.OpenIssue("acme/app", "ann", "The greeting is wrong", "See greeting.txt.")
	f.sim.Comment("acme/app", issue, by, "@oz-agent "+prompt)
}

// TestPullRequest: a run that a comment on GitHub made opens a pull request in
// the app's name, which says what run it is of, and is a result of the run.
func TestPullRequest(t *testing.T) {
	t.Parallel()
	early := call("open_pull_request", object{"title": "Too early", "branch": "oz/none"})
	early.Match = func(q *scripted.Request) bool { return len(q.Messages) == 1 }
	f := newForge(t, setup{script: opener(early), public: "https://oz.example.com"})
	f.integrate("", nil)
	f.mention("ann")
	run, events := f.run()
	f.checkPull(run, events)
	assert.DeepEqual(t, effects(events), []task.EffectState{task.EffectIntended, task.EffectSettled})
	assert.Assert(t, is.Contains(describe(events), "The branch oz/none is not on the remote of app. Push it first."))
	f.nowhere(events)
}

// TestPullRequestIsOpenedOnce: a runner that dies before the platform was asked,
// or after GitHub has opened the pull request and before anything says so, is
// followed by one that makes no second one.
func TestPullRequestIsOpenedOnce(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]bool{"before": true, "after": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var spent bool
			f := newForge(t, setup{script: opener(), public: "https://oz.example.com",
				link: func(_ task.ExecutionID, l executor.Link) executor.Link {
					return &pullLink{Link: l, GitLender: l.(executor.GitLender), before: before, spent: &spent}
				}})
			f.integrate("", nil)
			f.mention("ann")
			run, events := f.run()
			assert.Assert(t, spent)
			f.checkPull(run, events)
			assert.DeepEqual(t, effects(events), []task.EffectState{task.EffectIntended, task.EffectIntended, task.EffectSettled})
		})
	}
}

// TestPullRequestAnswerIsLost: GitHub opens it, is not heard, and has then to be
// left alone for a while: the agent is told so, and its next try finds it.
func TestPullRequestAnswerIsLost(t *testing.T) {
	t.Parallel()
	f := newForge(t, setup{script: opener(), public: "https://oz.example.com"})
	f.sim.Fail(githubsim.Fault{Method: "POST", Path: "/pulls", Status: 403, Done: true, Message: "You have exceeded a secondary rate limit", Header: map[string]string{"Retry-After": "61"}})
	f.integrate("", nil)
	f.mention("ann")
	run, events := f.run()
	f.checkPull(run, events)
	assert.DeepEqual(t, effects(events), []task.EffectState{task.EffectIntended, task.EffectFailed, task.EffectIntended, task.EffectSettled})
	assert.Assert(t, is.Contains(describe(events), "You have exceeded a secondary rate limit. Try again in 1m1s"))
}

// TestStrangersPullRequestWaits: what a stranger set off opens a pull request
// only after a person has approved exactly that one.
func TestStrangersPullRequestWaits(t *testing.T) {
	t.Parallel()
	f := newForge(t, setup{script: patient(), public: "https://oz.example.com"})
	f.public = true
	f.integrate(integration.TrustUntrusted, nil)
	f.mention("stranger")
	d := f.delivery()
	assert.Equal(t, d.Outcome, task.OutcomeStarted, d.Reason)
	id := d.Runs[0]
	var asked []string
	blocked := func() *task.Question {
		t.Helper()
		var q *task.Question
		f.until(id, func(e task.Event) bool {
			c, ok := e.Payload.(*task.StateChanged)
			if !ok || c.To != task.StateBlocked || c.Status.Question == nil || slices.Contains(asked, c.Status.Question.ID) {
				return false
			}
			q = c.Status.Question
			return true
		})
		asked = append(asked, q.ID)
		return q
	}
	push := blocked()
	assert.Assert(t, is.Contains(push.Text, "push the branch"))
	assert.NilError(t, f.ann.Answer(t.Context(), id, oz.Answer{QuestionID: push.ID, Choice: task.ChoiceApprove}))
	pull := blocked()
	for _, part := range []string{"open a pull request of the branch `" + branch + "` to `main`", "**" + pullTitle + "**", "> It said helo."} {
		assert.Assert(t, is.Contains(pull.Text, part))
	}
	assert.Equal(t, len(f.sim.Pulls("acme/app")), 0)
	assert.NilError(t, f.ann.Answer(t.Context(), id, oz.Answer{QuestionID: pull.ID, Choice: task.ChoiceApprove}))
	run, events := f.finish(id)
	f.checkPull(run, events)
}

// patient is the opener that makes each call again once a person has answered.
func patient() scripted.Script {
	s := opener()
	again := call("git_push", object{})
	again.Match = func(q *scripted.Request) bool {
		return did("git_push", "A person must approve")(q) && !did("git_push", "Branch "+branch+" is at")(q)
	}
	for i, step := range s.Steps {
		if step.ToolCalls[0].Name == "open_pull_request" {
			s.Steps[i].Match = func(q *scripted.Request) bool {
				return did("git_push", "Branch "+branch+" is at")(q) && !did("open_pull_request", "Pull request 2")(q)
			}
		}
	}
	s.Steps = append([]scripted.Step{again}, s.Steps...)
	return s
}

// TestThirdPartyPullRequest: agents of third parties have the same tool through
// the platform's MCP server; runs from nowhere have none.
func TestThirdPartyPullRequest(t *testing.T) {
	t.Parallel()
	work := func(ctx context.Context, s *harness.Session, servers map[string]*sdk.ClientSession) (harness.Outcome, error) {
		listed, err := servers["oz"].ListTools(ctx, nil)
		if err != nil {
			return harness.Outcome{}, err
		}
		if !slices.ContainsFunc(listed.Tools, func(t *sdk.Tool) bool { return t.Name == "open_pull_request" }) {
			return harness.Outcome{State: task.StateSucceeded, Status: task.Status{Message: "there is no such tool"}, Turns: 1}, nil
		}
		repo := s.Repos[0].Dir
		for _, args := range [][]string{{"switch", "-q", "-c", branch}, {"commit", "-q", "--allow-empty", "-m", "Work"}} {
			if _, err := s.Git.Run(ctx, repo, args...); err != nil {
				return harness.Outcome{}, err
			}
		}
		if _, err := use(ctx, servers["oz"], "push_branch", object{}); err != nil {
			return harness.Outcome{}, err
		}
		text, err := use(ctx, servers["oz"], "open_pull_request", object{"title": pullTitle, "body": "It said helo.\n\nCloses #1, @ann. <!-- oz:hidden -->"})
		return harness.Outcome{State: task.StateSucceeded, Status: task.Status{Message: text}, Turns: 1}, err
	}
	f := newForge(t, setup{public: "https://oz.example.com", runner: func(o *runner.Options) {
		o.Harnesses = map[string]harness.Harness{"oz": stranger{t, work}}
	}})
	f.integrate("", nil)
	f.mention("ann")
	run, events := f.run()
	assert.Equal(t, run.Status.Message, "Pull request 2 is open, and reported: https://github.com/acme/app/pull/2")
	f.checkPull(run, events)
	run, _ = f.do("x", f.environment(nil))
	assert.Equal(t, run.Status.Message, "there is no such tool")
}
