package github_test

import (
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/github"
	"github.com/oz-platform/cloudagents/trigger/github/githubsim"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
)

// newApp is a bench of an app that makes check runs.
func newApp(t *testing.T, w with) (*bench, githubsim.App) {
	t.Helper()
	w.sim = githubsim.New(&githubsim.Options{Clock: w.clock})
	app := w.sim.AddApp("oz-agent")
	w.settings.AppID, w.settings.InstallationID, w.settings.CheckRuns = app.ID, app.InstallationID, true
	w.secrets = map[string]string{github.SecretPrivateKey: string(app.PrivateKey)}
	return newBench(t, w), app
}

// check is the only check run there is, when all is told.
func (b *bench) check() githubsim.CheckRun {
	b.t.Helper()
	b.Settle()
	until(b.t, b.sent)
	list := b.sim.CheckRuns(repo)
	assert.Equal(b.t, len(list), 1)
	return list[0]
}

// TestCheckRun: a run about a pull request has one check run, which goes along
// with it to each kind of end.
func TestCheckRun(t *testing.T) {
	for _, c := range []struct {
		end               task.State
		status            task.Status
		conclusion, title string
		words             string
	}{
		{task.StateSucceeded, task.Status{Message: "Mended."}, "success", "Done.", "Mended."},
		{task.StateFailed, task.Status{Message: "no such branch", ErrorCode: task.CodeEnvironmentSetupFailed}, "failure", "Failed (environment_setup_failed).", "no such branch"},
		{task.StateCancelled, task.Status{}, "cancelled", "Cancelled.", "Cancelled"},
		{task.StateBlocked, task.Status{Message: "Which?", Question: &task.Question{ID: "q", Kind: task.QuestionPerson, Text: "Which?"}}, "action_required", "Waiting for an answer.", "> Which?"},
	} {
		t.Run(c.conclusion, func(t *testing.T) {
			b, app := newApp(t, with{})
			n := b.sim.OpenPull(repo, "carol", "x", "y", githubsim.Pull{})
			b.sim.Comment(repo, n, "bob", "@oz-agent do it")
			run := b.one()
			made := b.check()
			assert.Equal(t, made.Name, "oz-agent")
			assert.Equal(t, made.App, app.ID)
			assert.Equal(t, made.ExternalID, "oz run "+string(run.ID))
			contains(t, made.DetailsURL, "https://oz.example.com", string(run.ID))
			b.Begin(run.ID)
			assert.Equal(t, b.check().Status, "in_progress")
			b.Finish(run.ID, c.end, c.status)
			ended := b.check()
			assert.Equal(t, ended.ID, made.ID)
			assert.Equal(t, ended.Conclusion, c.conclusion)
			assert.Equal(t, ended.Title, c.title)
			contains(t, ended.Summary, c.words)
			assert.Equal(t, ended.States[0], "queued")
		})
	}
}

// TestCheckRunGoesOn: who speaks to a run again gets no second check run.
func TestCheckRunGoesOn(t *testing.T) {
	b, _ := newApp(t, with{})
	n := b.sim.OpenPull(repo, "carol", "x", "y", githubsim.Pull{})
	b.sim.Comment(repo, n, "bob", "@oz-agent do it")
	run := b.one()
	b.Begin(run.ID)
	b.Settle()
	b.sim.Comment(repo, n, "bob", "@oz-agent and that")
	b.Finish(run.ID, task.StateSucceeded, task.Status{Message: "Mended."})
	assert.Equal(t, b.check().Conclusion, "success")
	assert.Equal(t, b.one().ID, run.ID)
}

// TestWhereCheckRunsAre: a check of a branch gets one without a comment; issues,
// quiet automations and integrations that do not want any get none.
func TestWhereCheckRunsAre(t *testing.T) {
	b, _ := newApp(t, with{settings: github.Settings{Automations: []github.Automation{
		{Name: "mend", On: []github.Kind{github.WorkflowCompleted}, Prompt: "Mend it."},
		{Name: "hush", On: []github.Kind{github.PullOpened}, Prompt: "Look.", Quiet: true},
		{Name: "triage", On: []github.Kind{github.IssueCreated}, Prompt: "Look."}}}})
	b.sim.OpenIssue(repo, "bob", "x", "y")
	b.sim.OpenPull(repo, "bob", "x", "y", githubsim.Pull{})
	b.Settle()
	assert.Equal(t, len(b.Runs()), 2)
	assert.Equal(t, len(b.sim.CheckRuns(repo)), 0)
	b.sim.EndWorkflow(repo, githubsim.Workflow{Name: "CI", File: "ci.yml", Branch: "main", Conclusion: "failure"})
	b.Settle()
	assert.Equal(t, b.check().Name, "oz-agent / mend")

	off := newBench(t, with{})
	n := off.sim.OpenPull(repo, "carol", "x", "y", githubsim.Pull{})
	off.sim.Comment(repo, n, "bob", "@oz-agent do it")
	off.one()
	assert.Equal(t, len(off.sim.CheckRuns(repo)), 0)
}

// TestOwnChecksStartNothing: the end of our own checks is no event, or a run
// that waits for checks would start itself.
func TestOwnChecksStartNothing(t *testing.T) {
	b, _ := newApp(t, with{settings: github.Settings{Automations: []github.Automation{
		{Name: "mend", On: []github.Kind{github.CheckSuiteCompleted}, Prompt: "Mend it."}}}})
	b.sim.EndChecks(repo, "main", "failure")
	run := b.one()
	b.Finish(run.ID, task.StateFailed, task.Status{Message: "I could not."})
	assert.Equal(t, b.check().Conclusion, "failure")
	b.Settle()
	suites := 0
	for _, d := range b.sim.Deliveries() {
		if d.Event == "check_suite" {
			suites++
		}
	}
	assert.Equal(t, suites, 2)
	assert.Equal(t, b.one().ID, run.ID)
}

// TestCheckRunsWithoutTheRight: the account's token and an app without the
// permission make none. The note says what to do, and the run is told of as ever.
func TestCheckRunsWithoutTheRight(t *testing.T) {
	try := func(b *bench, login string) {
		t.Helper()
		n := b.sim.OpenPull(repo, "carol", "x", "y", githubsim.Pull{})
		b.sim.Comment(repo, n, "bob", "@oz-agent do it")
		run := b.one()
		b.Finish(run.ID, task.StateSucceeded, task.Status{Message: "Mended."})
		list := b.comments(n, login)
		assert.Equal(t, len(list), 2)
		contains(t, list[1].Body, "Mended.")
		until(t, b.sent)
		assert.Equal(t, len(b.sim.CheckRuns(repo)), 0)
		dead, err := b.Store.Outgoings(t.Context(), task.OutgoingQuery{Source: b.in.Source(), States: []task.OutgoingState{task.OutgoingDead}, Limit: 10})
		assert.NilError(t, err)
		assert.Assert(t, len(dead) > 0)
		for _, o := range dead {
			assert.Equal(t, o.Kind, "github.check")
			contains(t, o.Reason, "403", `"Checks: read and write"`, "check_runs")
		}
	}
	try(newBench(t, with{settings: github.Settings{CheckRuns: true}}), "oz-agent")
	b, app := newApp(t, with{})
	b.sim.Deny(app.ID, "checks")
	try(b, "oz-agent[bot]")
}

// TestCheckRunIsMadeOnce: GitHub's answer is lost, GitHub asks to wait, and who
// sends is killed before it has noted that: there is one check run, and it ends.
func TestCheckRunIsMadeOnce(t *testing.T) {
	b, _ := newApp(t, with{still: true})
	store := &forgetful{Store: newStore(t), seen: map[task.OutgoingID]bool{}}
	b.Rig = triggertest.New(t, store, []trigger.Origin{github.NewOrigin(b.store, &github.Options{APIURL: b.web.URL, HTTPClient: b.web.Client(), RepairEvery: -1})},
		&trigger.Options{Lease: 300 * time.Millisecond})
	b.sim.AddHook(secret, b.deliver)
	n := b.sim.OpenPull(repo, "carol", "x", "y", githubsim.Pull{})
	b.Settle()
	b.sim.Fail(githubsim.Fault{Method: "POST", Path: "/check-runs", Done: true})
	b.sim.Fail(githubsim.Fault{Method: "PATCH", Path: "/check-runs", Status: 403, Header: map[string]string{"Retry-After": "1"}, Message: "You have exceeded a secondary rate limit"})
	b.sim.Comment(repo, n, "bob", "@oz-agent do it")
	until(t, func() bool { return len(b.sim.CheckRuns(repo)) == 1 })
	run := b.Runs()[0]
	b.Finish(run.ID, task.StateSucceeded, task.Status{Message: "Mended."})
	until(t, func() bool { return b.sim.CheckRuns(repo)[0].Conclusion == "success" && b.sent() })
	assert.Equal(t, len(b.sim.CheckRuns(repo)), 1)
	posts := 0
	for _, r := range b.sim.Requests() {
		if r == "POST /repos/"+repo+"/check-runs" {
			posts++
		}
	}
	assert.Equal(t, posts, 1, strings.Join(b.sim.Requests(), "\n"))
}
