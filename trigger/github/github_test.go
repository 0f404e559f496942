package github_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/github"
	"github.com/oz-platform/cloudagents/trigger/github/githubsim"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// TestMentionOnAnIssue: the run, what it knows, and what the issue sees of it.
func TestMentionOnAnIssue(t *testing.T) {
	b := newBench(t, with{spec: integration.Spec{Prompt: "Be brief."}})
	n := b.sim.OpenIssue(repo, "carol", "It crashes", "On an empty file.", "bug", "parser")
	b.sim.Comment(repo, n, "carol", "Only on Tuesdays.")
	id := b.sim.Comment(repo, n, "bob", "@oz-agent mend it, please")
	run := b.one()
	assert.Equal(t, run.Source, task.SourceGitHubWebhook)
	assert.Equal(t, run.Title, "acme/app#1: It crashes")
	assert.Equal(t, run.Creator, bob)
	assert.Equal(t, run.Metadata["github_repo"], repo)
	contains(t, run.TriggerURL, "https://github.com/acme/app/issues/1#issuecomment-")
	contains(t, run.Prompt, "Be brief.", "came from outside", "@bob wrote, in acme/app on issue #1", "mend it, please", "https://github.com/acme/app.git")
	start, _ := b.Host.Started(run.ID)
	contains(t, file(t, start, "github-context.md"), "It is data", "Issue: #1 It crashes", "Labels: bug, parser", "State: open", "On an empty file.", "Only on Tuesdays.")

	list := b.comments(n, "oz-agent")
	assert.Equal(t, len(list), 1)
	contains(t, list[0].Body, "**Started.**", "https://oz.example.com/runs/"+string(run.ID))
	i := slices.IndexFunc(b.sim.Comments(repo, n), func(c githubsim.Comment) bool { return c.ID == id })
	assert.DeepEqual(t, b.sim.Comments(repo, n)[i].Reactions, []string{"oz-agent eyes"})

	b.Begin(run.ID)
	list = b.comments(n, "oz-agent")
	assert.Equal(t, len(list), 1)
	contains(t, list[0].Body, "**Working on it.**")

	b.sim.Comment(repo, n, "bob", "@oz-agent and add a test")
	assert.Equal(t, len(b.comments(n, "oz-agent")), 1)
	assert.Equal(t, len(b.Runs()), 1)
	inputs := b.Inputs(run.ID)
	contains(t, inputs[len(inputs)-1].Text, "and add a test")

	b.Finish(run.ID, task.StateSucceeded, task.Status{Message: "Mended in one line."})
	list = b.comments(n, "oz-agent")
	assert.Equal(t, len(list), 2)
	contains(t, list[0].Body, "**Done.**")
	contains(t, list[1].Body, "Mended in one line.")

	b.sim.Comment(repo, n, "bob", "@oz-agent thanks, now the docs")
	list = b.comments(n, "oz-agent")
	assert.Equal(t, len(b.Runs()), 1, "an ended run goes on")
	assert.Equal(t, len(list), 2)
	contains(t, list[0].Body, "**Working on it.**")
}

// TestReviewThread: a thread has its own conversation, and gets its answers.
// TestNotesAreComments: what an agent says before its end is a comment of its
// own, once, and calls nobody.
func TestNotesAreComments(t *testing.T) {
	b := newBench(t, with{})
	n := b.sim.OpenIssue(repo, "carol", "It crashes", "")
	b.sim.Comment(repo, n, "bob", "@oz-agent mend it, please")
	run := b.one()
	b.Begin(run.ID)
	b.Note(run.ID, "k", "Half is **done**, @carol")
	b.Note(run.ID, "k", "Half is **done**, @carol")
	list := b.comments(n, "oz-agent")
	assert.Equal(t, len(list), 2)
	contains(t, list[0].Body, "**Working on it.**")
	contains(t, list[1].Body, "A note from the run:\n\n> Half is **done**, @\u2060carol")
}

func TestReviewThread(t *testing.T) {
	b := newBench(t, with{})
	n := b.sim.OpenPull(repo, "carol", "Faster", "Trust me.", githubsim.Pull{Head: "fast", Files: map[string]string{"a.go": "@@ -1 +1 @@\n-slow\n+fast", "b.go": "@@ other @@"}})
	first := b.sim.Review(repo, n, "carol", "a.go", "@@ hunk @@", "Is this right?", 0)
	b.sim.Review(repo, n, "bob", "a.go", "@@ hunk @@", "@oz-agent look", first)
	run := b.one()
	start, _ := b.Host.Started(run.ID)
	contains(t, file(t, start, "github-context.md"), "Pull request: #1 Faster", "Branch: fast at ", "to go to main", "## Review thread", "Is this right?", "a.go, line 1")
	diff := file(t, start, "github-diff.patch")
	contains(t, diff, "+++ b/a.go", "+fast")
	assert.Assert(t, !strings.Contains(diff, "other"))
	b.Finish(run.ID, task.StateSucceeded, task.Status{Message: "It is."})
	b.Settle()
	assert.Equal(t, len(b.sim.Comments(repo, n)), 0)
	reviews := b.sim.Reviews(repo, n)
	assert.Equal(t, len(reviews), 4)
	for _, c := range reviews[1:] {
		assert.Equal(t, c.ReplyTo, first)
	}
	contains(t, reviews[2].Body, "**Done.**")
	contains(t, reviews[3].Body, "It is.")
	b.sim.Review(repo, n, "bob", "a.go", "@@ hunk @@", "@oz-agent sure?", first)
	b.Settle()
	assert.Equal(t, len(b.Runs()), 1)
	b.sim.Review(repo, n, "bob", "b.go", "@@ other @@", "@oz-agent and here?", 0)
	b.sim.Comment(repo, n, "bob", "@oz-agent and all of it?")
	b.Settle()
	assert.Equal(t, len(b.Runs()), 3, "another thread, and the pull request itself")
}

func TestMentionInANewPullRequest(t *testing.T) {
	b := newBench(t, with{})
	n := b.sim.OpenPull(repo, "bob", "Faster", "@oz-agent review this", githubsim.Pull{Head: "fast", Base: "next", Fork: "bob/app"})
	run := b.one()
	start, _ := b.Host.Started(run.ID)
	contains(t, file(t, start, "github-context.md"), "to go to next", "in the fork bob/app")
	assert.DeepEqual(t, b.sim.Reactions(repo, n), []string{"oz-agent eyes"})
	b.sim.Comment(repo, n, "bob", "@oz-agent and this")
	b.Settle()
	assert.Equal(t, len(b.Runs()), 1)
}

// TestWhatStartsNothing: each of these is a line in the log and no more.
func TestWhatStartsNothing(t *testing.T) {
	b := newBench(t, with{})
	n := b.sim.OpenIssue(repo, "bob", "@oz-agent", "@oz-agent in the body of an issue")
	id := b.sim.Comment(repo, n, "bob", "nothing")
	b.sim.EditComment(repo, n, "bob", id, "@oz-agent edited")
	b.sim.EditTitle(repo, n, "bob", "@oz-agent again", "@oz-agent")
	b.sim.Comment(repo, n, "renovate[bot]", "@oz-agent merge")
	b.sim.Comment(repo, n, "oz-agent", "@oz-agent by its own account")
	b.sim.Comment(repo, n, "bob", "`@oz-agent` is the handle, mail me@oz-agent or @oz-agent/team\n```\n@oz-agent\n```\n> @oz-agent said")
	b.sim.Label(repo, n, "bob", "bug")
	b.sim.EndChecks(repo, "main", "failure")
	b.Settle()
	assert.Equal(t, len(b.Runs()), 0)
	assert.Equal(t, len(b.comments(n, "oz-agent")), 1)
	for _, line := range b.outcomes() {
		assert.Assert(t, strings.HasSuffix(line, " ignored"), line)
	}
	_, err := b.Post("github", b.in.UID, signed("ping", []byte(`{"zen":"x"}`)), []byte(`{"zen":"x"}`))
	assert.NilError(t, err)
}

func signed(kind string, body []byte) http.Header {
	return githubsim.Sign(secret, kind, body).Header
}

// TestUnlinkedPeople: they get a link where no stranger reads it, once, and no
// run.
func TestUnlinkedPeople(t *testing.T) {
	for _, private := range []bool{true, false} {
		b := newBench(t, with{private: private})
		n := b.sim.OpenIssue(repo, "mallory", "x", "y")
		b.sim.Comment(repo, n, "mallory", "@oz-agent do it")
		b.sim.Comment(repo, n, "mallory", "@oz-agent do it now")
		list := b.comments(n, "oz-agent")
		assert.Equal(t, len(b.Runs()), 0)
		assert.Equal(t, len(list), 1)
		contains(t, list[0].Body, "@mallory, your GitHub account is not linked")
		_, code, ok := strings.Cut(list[0].Body, "https://oz.example.com/link?code=")
		assert.Equal(t, ok, private)
		if !ok {
			continue
		}
		code, _, _ = strings.Cut(code, ")")
		code, err := url.QueryUnescape(code)
		assert.NilError(t, err)
		_, err = b.store.AcceptLink(t.Context(), code, ann)
		assert.NilError(t, err)
		b.sim.Comment(repo, n, "mallory", "@oz-agent and now?")
		assert.Equal(t, b.one().Creator, ann)
	}
}

func TestStrangersWithTrust(t *testing.T) {
	b := newBench(t, with{spec: integration.Spec{Trust: integration.TrustUntrusted}})
	n := b.sim.OpenIssue(repo, "mallory", "x", "y")
	b.sim.Comment(repo, n, "mallory", "@oz-agent do it")
	start, _ := b.Host.Started(b.one().ID)
	assert.Assert(t, start.Untrusted)

	b = newBench(t, with{spec: integration.Spec{Trust: integration.TrustHold}})
	n = b.sim.OpenIssue(repo, "mallory", "x", "y")
	b.sim.Comment(repo, n, "mallory", "@oz-agent do it")
	assert.DeepEqual(t, b.outcomes(), []string{"issues.opened ignored", "issue_comment.created held"})
	list, err := b.Store.Deliveries(t.Context(), task.DeliveryQuery{Source: b.in.Source(), Limit: 1})
	assert.NilError(t, err)
	_, err = b.Engine.Approve(t.Context(), list[0].ID, ann)
	assert.NilError(t, err)
	assert.Equal(t, b.one().Creator, ann)
}

// TestRefusedArrivals: bad signatures, bodies and integrations.
func TestRefusedArrivals(t *testing.T) {
	b := newBench(t, with{})
	good := []byte(`{"action":"created"}`)
	post := func(uid string, h http.Header, body []byte) task.Code {
		_, err := b.Post("github", uid, h, body)
		return task.CodeOf(err)
	}
	assert.Equal(t, post(b.in.UID, githubsim.Sign("other", "issues", good).Header, good), task.CodeAuthenticationRequired)
	assert.Equal(t, post(b.in.UID, http.Header{}, good), task.CodeAuthenticationRequired)
	assert.Equal(t, post(b.in.UID, signed("issues", good), append(good, ' ')), task.CodeAuthenticationRequired)
	assert.Equal(t, post("00000000-0000-0000-0000-000000000000", signed("issues", good), good), task.CodeNotFound)
	for _, body := range []string{"", "x", `{}`, `[]`, `{"action":"created","repository":{"id":1,"full_name":"../x"},"sender":{"id":1,"login":"x"}}`,
		`{"action":"opened","repository":{"id":1,"full_name":"a/b"},"sender":{"id":1,"login":"x"}}`} {
		assert.Equal(t, post(b.in.UID, signed("issues", []byte(body)), []byte(body)), task.CodeInvalidRequest, body)
	}
	h := signed("issues", good)
	h.Del("X-GitHub-Delivery")
	assert.Equal(t, post(b.in.UID, h, good), task.CodeInvalidRequest)
	_, err := b.store.Update(t.Context(), b.in.UID, ann, func(s *integration.Spec) error { s.Enabled = false; return nil }, nil)
	assert.NilError(t, err)
	assert.Equal(t, post(b.in.UID, signed("issues", good), good), task.CodeIntegrationDisabled)
	assert.Equal(t, len(b.Runs()), 0)
}

// TestFormPayloads: GitHub sends forms, too, when it is told to. What does not
// count is not kept.
func TestFormPayloads(t *testing.T) {
	b := newBench(t, with{})
	n := b.sim.OpenIssue(repo, "carol", "x", "y")
	issue := b.sim.Deliveries()[0].Body
	body := []byte("payload=" + url.QueryEscape(strings.Replace(string(issue), `"opened"`, `"labeled"`, 1)))
	h := signed("issues", body)
	h.Set("Content-Type", "application/x-www-form-urlencoded")
	reply, err := b.Post("github", b.in.UID, h, body)
	assert.NilError(t, err)
	assert.Equal(t, b.Decided(reply.Delivery).Event, "issues.labeled")
	push := []byte(`{"ref":"refs/heads/main","commits":[{"message":"@oz-agent private"}]}`)
	reply, err = b.Post("github", b.in.UID, signed("push", push), push)
	assert.NilError(t, err)
	assert.Equal(t, string(b.Decided(reply.Delivery).Body), "{}")
	assert.Equal(t, n, 1)
}

// TestRepeatedDeliveries: the same comment counts once, also when a repository
// and its organisation both send it, and when GitHub sends it again.
func TestRepeatedDeliveries(t *testing.T) {
	b := newBench(t, with{})
	b.sim.AddHook(secret, b.deliver)
	n := b.sim.OpenIssue(repo, "carol", "x", "y")
	b.sim.Comment(repo, n, "bob", "@oz-agent do it")
	for _, d := range b.sim.Deliveries() {
		b.sim.Redeliver(d.ID)
	}
	run := b.one()
	assert.Equal(t, len(b.Inputs(run.ID)), 1)
	assert.Equal(t, len(b.comments(n, "oz-agent")), 1)
}

// TestGitHubIsDown: nothing is lost, nothing said twice, and its hints count.
func TestGitHubIsDown(t *testing.T) {
	b := newBench(t, with{options: fast})
	n := b.sim.OpenIssue(repo, "carol", "x", "y")
	b.Settle()
	b.sim.Fail(githubsim.Fault{Method: http.MethodGet, Path: "/comments", Status: 502})
	b.sim.Comment(repo, n, "bob", "@oz-agent do it")
	run := b.one()
	start, _ := b.Host.Started(run.ID)
	contains(t, file(t, start, "github-context.md"), "@oz-agent do it")
	assert.Equal(t, len(b.comments(n, "oz-agent")), 1)

	b.sim.Fail(githubsim.Fault{Method: http.MethodPatch, Status: 403, Header: map[string]string{"Retry-After": "1"}, Message: "You have exceeded a secondary rate limit"})
	before := time.Now()
	b.Begin(run.ID)
	until(t, func() bool { return strings.Contains(b.sim.Comments(repo, n)[1].Body, "Working") })
	assert.Assert(t, time.Since(before) >= time.Second)
}

// TestAnswerIsLost: GitHub posts a comment and its answer is lost. The comment
// is found by its mark.
func TestAnswerIsLost(t *testing.T) {
	b := newBench(t, with{options: fast})
	n := b.sim.OpenIssue(repo, "carol", "x", "y")
	b.Settle()
	b.sim.Fail(githubsim.Fault{Method: http.MethodPost, Path: "/issues/1/comments", Done: true})
	b.sim.Comment(repo, n, "bob", "@oz-agent do it")
	b.Settle()
	run := b.one()
	b.sim.Fail(githubsim.Fault{Method: http.MethodPost, Path: "/issues/1/comments", Done: true})
	b.Finish(run.ID, task.StateFailed, task.Status{Message: "no such branch", ErrorCode: task.CodeEnvironmentSetupFailed, Retryable: true})
	ours := func() (list []githubsim.Comment) {
		for _, c := range b.sim.Comments(repo, n) {
			if c.Login == "oz-agent" {
				list = append(list, c)
			}
		}
		return list
	}
	until(t, func() bool { return len(ours()) == 2 && b.sent() })
	contains(t, ours()[0].Body, "**Failed** (`environment_setup_failed`)")
	contains(t, ours()[1].Body, "> no such branch", "may work later")
}

// sent reports that no message waits.
func (b *bench) sent() bool {
	next, err := b.Store.NextOutgoing(b.t.Context())
	assert.NilError(b.t, err)
	return next.IsZero()
}

func until(t testing.TB, met func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

// TestOthersCannotBorrowOurMark: whoever copies it is not taken for us.
func TestOthersCannotBorrowOurMark(t *testing.T) {
	b := newBench(t, with{})
	n := b.sim.OpenIssue(repo, "carol", "x", "y")
	b.sim.Comment(repo, n, "bob", "@oz-agent do it")
	run := b.one()
	status := b.comments(n, "oz-agent")[0]
	mark, _, _ := strings.Cut(status.Body, "\n")
	theirs := b.sim.Comment(repo, n, "mallory", mark+"\nAll is well.")
	b.sim.DeleteComment(repo, n, "carol", status.ID)
	b.Begin(run.ID)
	list := b.comments(n, "mallory")
	assert.Equal(t, len(list), 1)
	assert.Equal(t, list[0].ID, theirs)
	contains(t, list[0].Body, "All is well.")
	ours := b.comments(n, "oz-agent")
	assert.Equal(t, len(ours), 1, "a status comment that somebody removed is written anew")
	contains(t, ours[0].Body, "Working")
}

func TestBlockedRunsAsk(t *testing.T) {
	b := newBench(t, with{})
	n := b.sim.OpenIssue(repo, "carol", "x", "y")
	b.sim.Comment(repo, n, "bob", "@oz-agent do it")
	run := b.one()
	q := &task.Question{ID: "q", Kind: task.QuestionPerson, Text: "Which one?", Choices: []string{"this", "that"}}
	b.Finish(run.ID, task.StateBlocked, task.Status{Message: q.Text, Question: q})
	list := b.comments(n, "oz-agent")
	assert.Equal(t, len(list), 2)
	contains(t, list[0].Body, "**Waiting for an answer.**")
	contains(t, list[1].Body, "> Which one?", "- this", "- that")
	b.sim.Comment(repo, n, "bob", "@oz-agent that")
	b.Settle()
	inputs := b.Inputs(run.ID)
	contains(t, inputs[len(inputs)-1].Text, "that")
}

// TestRunThatCannotStart: who asked is told why.
func TestRunThatCannotStart(t *testing.T) {
	b := newBench(t, with{})
	b.Host.Refuse(refuseAll)
	n := b.sim.OpenIssue(repo, "carol", "x", "y")
	b.sim.Comment(repo, n, "bob", "@oz-agent do it")
	list := b.comments(n, "oz-agent")
	assert.Equal(t, len(list), 1)
	contains(t, list[0].Body, "@bob, no run could be started (`resource_not_found`)", "the environment is gone")
}

// TestGitHubApp: an app gets its tokens on demand, keeps them while they are
// good, and gets a new one when GitHub does not want them any more.
func TestGitHubApp(t *testing.T) {
	c := &clock{now: time.Now()}
	sim := githubsim.New(&githubsim.Options{Clock: c})
	app := sim.AddApp("oz-agent")
	b := newBench(t, with{sim: sim, clock: c, settings: github.Settings{AppID: app.ID, InstallationID: app.InstallationID},
		secrets: map[string]string{github.SecretPrivateKey: string(app.PrivateKey)}, options: fast})
	minted := func() (n int) {
		for _, r := range sim.Requests() {
			if strings.HasSuffix(r, "/access_tokens") {
				n++
			}
		}
		return n
	}
	n := sim.OpenIssue(repo, "carol", "x", "y")
	sim.Comment(repo, n, "bob", "@oz-agent do it")
	run := b.one()
	assert.Equal(t, len(b.comments(n, "oz-agent[bot]")), 1)
	assert.Equal(t, minted(), 1)
	token, err := b.origin.Token(t.Context(), b.in)
	assert.NilError(t, err)
	c.add(56 * time.Minute)
	next, err := b.origin.Token(t.Context(), b.in)
	assert.NilError(t, err)
	assert.Assert(t, next.Value != token.Value && next.ExpiresAt.After(token.ExpiresAt))
	assert.Equal(t, minted(), 2)
	sim.RevokeTokens()
	b.Finish(run.ID, task.StateSucceeded, task.Status{Message: "Mended."})
	until(t, func() bool { return b.sent() && len(sim.Comments(repo, n)) == 3 })
	assert.Equal(t, minted(), 3)

	_, err = b.store.Update(t.Context(), b.in.UID, ann, nil, map[string]string{github.SecretPrivateKey: "no key"})
	assert.NilError(t, err)
	_, err = b.origin.Token(t.Context(), b.in)
	assert.Equal(t, task.CodeOf(err), task.CodeIntegrationNotConfigured)
	assert.Assert(t, !strings.Contains(err.Error(), "no key\""))
}

// TestAutomations: each kind of event, with a filter that matches and one that
// does not.
func TestAutomations(t *testing.T) {
	f := func(fs ...string) (f github.Filter) {
		for i := 0; i < len(fs); i += 2 {
			raw, err := json.Marshal(map[string][]string{fs[i]: {fs[i+1]}})
			assert.NilError(t, err)
			assert.NilError(t, json.Unmarshal(raw, &f))
		}
		return f
	}
	for _, c := range []struct {
		on       github.Kind
		yes, not github.Filter
		do       func(s *githubsim.Server, issue, pull int)
	}{
		{github.IssueCreated, f("labels", "bug", "repos", "acme/*"), f("labels", "bug", "repos", "other/*"), func(s *githubsim.Server, _, _ int) { s.OpenIssue(repo, "bob", "x", "y", "Bug") }},
		{github.IssueLabeled, f("labels", "triage"), f("labels", "bug"), func(s *githubsim.Server, i, _ int) { s.Label(repo, i, "bob", "triage") }},
		{github.IssueMentioned, f("mentioned", "someone"), f(), func(s *githubsim.Server, i, _ int) { s.Comment(repo, i, "bob", "ask @Someone") }},
		{github.IssueAssigned, f("assignees", "oz-agent"), f("assignees", "carol"), func(s *githubsim.Server, i, _ int) { s.Assign(repo, i, "bob", "oz-agent") }},
		{github.PullOpened, f("base_branches", "release/*"), f("base_branches", "main"), func(s *githubsim.Server, _, _ int) {
			s.OpenPull(repo, "bob", "x", "y", githubsim.Pull{Base: "release/1/2"})
		}},
		{github.PullReady, f("branches", "topic"), f("branches", "to"), func(s *githubsim.Server, _, p int) { s.Ready(repo, p, "bob") }},
		{github.PullClosed, f("labels", "big"), f("labels", "small"), func(s *githubsim.Server, _, p int) { s.Close(repo, p, "bob", false) }},
		{github.PullMerged, f("labels", "big"), f("reviewers", "x"), func(s *githubsim.Server, _, p int) { s.Close(repo, p, "bob", true) }},
		{github.PullMentioned, f(), f("mentioned", "x"), func(s *githubsim.Server, _, p int) { s.Comment(repo, p, "bob", "@oz-agent") }},
		{github.PullAssigned, f("assignees", "carol"), f("assignees", "bob"), func(s *githubsim.Server, _, p int) { s.Assign(repo, p, "bob", "carol") }},
		{github.PullReviewRequested, f("reviewers", "oz-agent"), f("reviewers", "bob"), func(s *githubsim.Server, _, p int) { s.RequestReview(repo, p, "bob", "oz-agent") }},
		{github.PullReviewRequested, f("reviewer_teams", "core"), f("reviewers", "core"), func(s *githubsim.Server, _, p int) { s.RequestReview(repo, p, "bob", "team:core") }},
		{github.CheckSuiteCompleted, f("conclusions", "failure", "branches", "main"), f("conclusions", "success"), func(s *githubsim.Server, _, _ int) { s.EndChecks(repo, "main", "failure") }},
		{github.WorkflowCompleted, f("workflows", "ci.yml", "conclusions", "failure"), f("workflows", "other"), func(s *githubsim.Server, _, _ int) {
			s.EndWorkflow(repo, githubsim.Workflow{Name: "CI", File: "ci.yml", Branch: "main", Conclusion: "failure"})
		}},
	} {
		t.Run(string(c.on), func(t *testing.T) {
			b := newBench(t, with{settings: github.Settings{IgnoreMentions: true, Automations: []github.Automation{
				{Name: "yes", On: []github.Kind{c.on}, Filter: c.yes, Prompt: "Look at it."},
				{Name: "not", On: []github.Kind{c.on}, Filter: c.not, Prompt: "Never."},
				{Name: "off", On: []github.Kind{c.on}, Filter: c.yes, Prompt: "Never.", Disabled: true},
			}}})
			issue := b.sim.OpenIssue(repo, "dependabot[bot]", "x", "y")
			pull := b.sim.OpenPull(repo, "dependabot[bot]", "x", "y", githubsim.Pull{}, "big")
			b.Settle()
			assert.Equal(t, len(b.Runs()), 0)
			c.do(b.sim, issue, pull)
			run := b.one()
			assert.Equal(t, run.Metadata["automation"], "yes")
			contains(t, run.Prompt, "Look at it.")
		})
	}
}

// TestSeveralAutomations: each makes its own run, which the next event about
// the same thing goes on with, and mentions speak to the one that joins.
func TestSeveralAutomations(t *testing.T) {
	on := []github.Kind{github.PullOpened, github.PullReady}
	b := newBench(t, with{settings: github.Settings{Automations: []github.Automation{
		{Name: "review", On: on, Prompt: "Review.", Join: true},
		{Name: "docs", On: on, Prompt: "Document.", Quiet: true, AgentUID: "writer"},
	}}})
	n := b.sim.OpenPull(repo, "bob", "x", "y", githubsim.Pull{Draft: true})
	b.Settle()
	assert.Equal(t, len(b.Runs()), 2)
	assert.Equal(t, len(b.comments(n, "oz-agent")), 1, "one of them is quiet")
	b.sim.Ready(repo, n, "bob")
	b.sim.Comment(repo, n, "bob", "@oz-agent a question")
	b.Settle()
	runs := b.Runs()
	assert.Equal(t, len(runs), 2)
	for _, r := range runs {
		start, _ := b.Host.Started(r.ID)
		want := map[string]int{"review": 3, "docs": 2}[start.Name]
		assert.Equal(t, len(b.Inputs(r.ID)), want, start.Name)
		assert.Equal(t, start.AgentUID == "writer", start.Name == "docs")
	}
}

// TestAutomationsAndStrangers: what they set off is ignored without a word, and
// so are checks of their forks.
func TestAutomationsAndStrangers(t *testing.T) {
	b := newBench(t, with{settings: github.Settings{Automations: []github.Automation{
		{Name: "a", On: []github.Kind{github.PullOpened, github.WorkflowCompleted}, Prompt: "Review."}}}})
	n := b.sim.OpenPull(repo, "mallory", "x", "y", githubsim.Pull{Fork: "mallory/app"})
	b.sim.EndWorkflow(repo, githubsim.Workflow{Name: "CI", File: "ci.yml", Branch: "x", Conclusion: "failure", Fork: "mallory/app"})
	b.Settle()
	assert.Equal(t, len(b.Runs()), 0)
	assert.Equal(t, len(b.comments(n, "oz-agent")), 0)
	b.sim.EndWorkflow(repo, githubsim.Workflow{Name: "CI", File: "ci.yml", Branch: "x", Conclusion: "failure", Pulls: []int{n}})
	assert.Equal(t, b.one().Creator, ann)
	assert.Equal(t, len(b.comments(n, "oz-agent")), 1)
}

// TestRepositoriesOfAnIntegration: elsewhere it does nothing, and tells those of
// the team who ask.
func TestRepositoriesOfAnIntegration(t *testing.T) {
	b := newBench(t, with{settings: github.Settings{Repositories: []string{"acme/lib*"}, Automations: []github.Automation{
		{Name: "a", On: []github.Kind{github.IssueCreated}, Prompt: "x"}}}})
	b.sim.AddRepo("acme/library", false)
	n := b.sim.OpenIssue(repo, "bob", "x", "y")
	b.sim.Comment(repo, n, "mallory", "@oz-agent do it")
	assert.Equal(t, len(b.comments(n, "oz-agent")), 0)
	b.sim.Comment(repo, n, "bob", "@oz-agent do it")
	list := b.comments(n, "oz-agent")
	assert.Equal(t, len(list), 1)
	contains(t, list[0].Body, "not set up for acme/app", "administrator")
	assert.Equal(t, len(b.Runs()), 0)
	b.sim.OpenIssue("acme/library", "bob", "x", "y")
	assert.Equal(t, b.one().Metadata["github_repo"], "acme/library")
}

// TestMentionsOfAnAutomation: they make its run and no other, and strangers are
// told.
func TestMentionsOfAnAutomation(t *testing.T) {
	b := newBench(t, with{settings: github.Settings{Automations: []github.Automation{
		{Name: "a", On: []github.Kind{github.IssueMentioned}, Filter: github.Filter{Labels: []string{"bug"}}, Prompt: "Triage."}}}})
	n := b.sim.OpenIssue(repo, "carol", "x", "@oz-agent", "bug")
	contains(t, b.comments(n, "oz-agent")[0].Body, "@carol, your GitHub account is not linked")
	b.sim.Comment(repo, n, "bob", "@oz-agent do it")
	run := b.one()
	assert.Equal(t, run.Metadata["automation"], "a")
	contains(t, run.Prompt, "Triage.", "do it")
}

func TestBadSettings(t *testing.T) {
	for _, c := range []struct{ settings, field string }{
		{`{}`, "settings.handle"},
		{`{"handle":"@oz"}`, "settings.handle"},
		{`{"handle":"oz","color":1}`, "settings"},
		{`{"handle":"oz"} {}`, "settings"},
		{`{"handle":"oz","app_id":1}`, "settings.app_id"},
		{`{"handle":"oz","repositories":["x"]}`, "settings.repositories"},
		{`{"handle":"oz","automations":[{"name":"A"}]}`, "settings.automations[0].name"},
		{`{"handle":"oz","automations":[{"name":"a","prompt":"x"}]}`, "settings.automations[a].on"},
		{`{"handle":"oz","automations":[{"name":"a","on":["issue_eaten"],"prompt":"x"}]}`, "settings.automations[a].on"},
		{`{"handle":"oz","automations":[{"name":"a","on":["issue_created"],"prompt":" "}]}`, "settings.automations[a].prompt"},
		{`{"handle":"oz","automations":[{"name":"a","on":["issue_created"],"prompt":"x","filter":{"workflows":["x"]}}]}`, "settings.automations[a].filter.workflows"},
		{`{"handle":"oz","automations":[{"name":"a","on":["issue_created"],"prompt":"x","filter":{"authors":["x"]}}]}`, "settings"},
		{`{"handle":"oz","automations":[{"name":"a","on":["issue_created"],"prompt":"x","filter":{"repos":["a/[b]"]}}]}`, "settings.automations[a].filter.repos"},
		{`{"handle":"oz","automations":[{"name":"a","on":["issue_created"],"prompt":"x"},{"name":"a","on":["issue_created"],"prompt":"x"}]}`, "settings.automations[a]"},
	} {
		err := github.Check(json.RawMessage(c.settings))
		var e *task.Error
		assert.Assert(t, errors.As(err, &e), c.settings)
		assert.Equal(t, e.Field, c.field, c.settings)
	}
}

// TestProgressIsShown: the status comment shows the task list of the run, in
// place, and what was written last of it when the run has ended.
func TestProgressIsShown(t *testing.T) {
	b := newBench(t, with{})
	n := b.sim.OpenIssue(repo, "carol", "It crashes", "")
	b.sim.Comment(repo, n, "bob", "@oz-agent mend it, please")
	run := b.one()
	b.Begin(run.ID)
	b.Todos(run.ID, task.Todo{Title: "Ask @carol <!-- oz:", Done: true}, task.Todo{Title: "Mend\nit"})
	list := b.comments(n, "oz-agent")
	assert.Equal(t, len(list), 1)
	contains(t, list[0].Body, "**Working on it.** [Follow the run]", "\n\n1 of 2 done:\n\n- [x] Ask @\u2060carol &lt;!-- oz:\n- [ ] Mend it")
	b.Todos(run.ID, task.Todo{Title: "Mend it", Done: true})
	list = b.comments(n, "oz-agent")
	contains(t, list[0].Body, "1 of 1 done:\n\n- [x] Mend it")
	b.Finish(run.ID, task.StateFailed, task.Status{Message: "No."})
	list = b.comments(n, "oz-agent")
	assert.Equal(t, len(list), 2)
	contains(t, list[0].Body, "**Failed**", "- [x] Mend it")
}
