package tools_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	"github.com/oz-platform/cloudagents/executor/harness/tools"
	"github.com/oz-platform/cloudagents/task"
)

// pullDesk is a platform that answers as it is told. The real one is behind the
// runner's tests.
type pullDesk struct {
	asked  []executor.PullRequest
	answer executor.PullRequestAnswer
	err    error
}

func (p *pullDesk) OpenPullRequest(_ context.Context, r executor.PullRequest) (executor.PullRequestAnswer, error) {
	p.asked = append(p.asked, r)
	return p.answer, p.err
}

// pullLab is a lab whose branch oz/work is pushed, and the host of its remote.
func pullLab(t *testing.T, o harnesstest.LabOptions) (lab *harnesstest.Lab, host string) {
	t.Helper()
	o.Served = true
	lab = harnesstest.NewLab(t, o)
	lab.RunGit(t, lab.Dir, "switch", "-q", "-c", "oz/work")
	assert.NilError(t, os.WriteFile(filepath.Join(lab.Dir, "file.txt"), []byte("one\n"), 0o644))
	lab.RunGit(t, lab.Dir, "add", "--all")
	lab.RunGit(t, lab.Dir, "commit", "-q", "-m", "Work")
	lab.RunGit(t, lab.Dir, "push", "-q", "origin", "oz/work")
	host, _, _ = strings.Cut(strings.TrimPrefix(lab.RemoteURL, "http://"), "/")
	return lab, host
}

// TestOpenPullRequest: it is of the branch that is checked out to the one that
// the run began on, without secrets, once, and a result of the run.
func TestOpenPullRequest(t *testing.T) {
	const secret = "Tq7-vX2_pL9zKd4Rw8"
	lab, host := pullLab(t, harnesstest.LabOptions{Secrets: map[string]string{"DEPLOY_KEY": secret}})
	desk := &pullDesk{answer: executor.PullRequestAnswer{URL: "https://forge.example/pull/7", Number: 7}}
	session := func() *harness.Session {
		s := lab.Session(t)
		s.Tools = tools.For(s, tools.PullRequests(desk, []string{host}))
		return s
	}
	refused := func(want string, state task.ToolState, in object) {
		t.Helper()
		_, no := do(t, session(), tools.NameOpenPull, in)
		assert.Assert(t, no != nil)
		assert.Equal(t, no.State, state)
		assert.Assert(t, is.Contains(no.Message, want))
		assert.Equal(t, len(desk.asked), 0)
	}
	refused("title", task.ToolFailed, object{"title": " "})
	refused("title", task.ToolFailed, object{"title": strings.Repeat("x", executor.MaxPullTitle+1)})
	refused("title", task.ToolFailed, object{"title": "two\nlines"})
	refused("body", task.ToolFailed, object{"title": "t", "body": strings.Repeat("x", executor.MaxPullBody+1)})
	refused("branch", task.ToolFailed, object{"title": "t", "branch": "a..b"})
	refused("base", task.ToolFailed, object{"title": "t", "base": "oz/work"})
	refused("reviewers[1]", task.ToolFailed, object{"title": "t", "reviewers": []string{"bob", "@ann"}})
	refused("reviewers[0]", task.ToolFailed, object{"title": "t", "reviewers": []string{"a/b/c"}})
	refused("reviewers[0]", task.ToolFailed, object{"title": "t", "reviewers": []string{strings.Repeat("x", 101)}})
	refused("labels[0]", task.ToolFailed, object{"title": "t", "labels": []string{"a,b"}})
	refused("labels[0]", task.ToolFailed, object{"title": "t", "labels": []string{" a"}})
	refused("labels[0]", task.ToolFailed, object{"title": "t", "labels": []string{""}})
	refused("labels[0]", task.ToolFailed, object{"title": "t", "labels": []string{strings.Repeat("ä", 51)}})
	refused("labels: are 11", task.ToolFailed, object{"title": "t", "labels": strings.Split(strings.Repeat("x ", 10)+"x", " ")})
	refused("secret DEPLOY_KEY", task.ToolDenied, object{"title": "t", "labels": []string{secret}})
	refused("repo must be one of demo", task.ToolFailed, object{"title": "t", "repo": "other"})
	refused("oz/none is not on the remote of demo", task.ToolFailed, object{"title": "t", "branch": "oz/none"})
	refused("the secret DEPLOY_KEY", task.ToolDenied, object{"title": "t", "branch": "oz/" + secret})
	refused("unknown field", task.ToolFailed, object{"title": "t", "force": true})

	lab.RunGit(t, lab.Dir, "commit", "-q", "--allow-empty", "-m", "More")
	in := object{"title": " Mend " + secret + " ", "body": "It was " + secret, "draft": true}
	answer, no := do(t, session(), tools.NameOpenPull, in)
	assert.Assert(t, no == nil, "%v", no)
	assert.Assert(t, is.Contains(answer.Text, "Pull request 7 is open, and reported: https://forge.example/pull/7 The work tree is at "))
	want := executor.PullRequest{Remote: lab.RemoteURL, Branch: "oz/work", Base: "main", Title: "Mend [redacted:DEPLOY_KEY]", Body: "It was [redacted:DEPLOY_KEY]", Draft: true}
	assert.DeepEqual(t, desk.asked, []executor.PullRequest{want})
	answer, no = do(t, session(), tools.NameOpenPull, in) // as another execution
	assert.Assert(t, no == nil, "%v", no)
	assert.Assert(t, is.Contains(answer.Text, "Pull request 7 is open"))
	assert.Equal(t, len(desk.asked), 1)
	reported := harnesstest.Payloads[*task.ArtifactReported](lab.Log)
	assert.Equal(t, len(reported), 1)
	art := reported[0].Artifact
	assert.Equal(t, art.Type, task.ArtifactPullRequest)
	assert.Equal(t, art.URL+" "+art.Branch, "https://forge.example/pull/7 oz/work")
	assert.Equal(t, art.UID, executor.ArtifactUID(lab.Session(t).Task.ID, "pull_request", art.URL), "as report_artifact names it")
}

// TestOpenPullRequestSurvivesAnyCrash: whichever event the runner dies at, the
// next execution opens none that the platform does not know of, and the run
// shows one.
func TestOpenPullRequestSurvivesAnyCrash(t *testing.T) {
	lab, host := pullLab(t, harnesstest.LabOptions{})
	for at := 1; ; at++ {
		for _, late := range []bool{false, true} {
			desk := &pullDesk{answer: executor.PullRequestAnswer{URL: "https://forge.example/pull/7", Number: 7}}
			lab.Log = harnesstest.NewLog(lab.Session(t).Task.ID)
			s := lab.CrashingSession(t, harnesstest.Crash{At: at, Late: late})
			s.Tools = tools.For(s, tools.PullRequests(desk, []string{host}))
			_, err := s.Tools[0].Run(t.Context(), harness.ToolCall{ID: "c1", Input: []byte(`{"title":"t"}`)})
			if err == nil {
				assert.Assert(t, at > 3, "there are three events to die at")
				return
			}
			assert.ErrorIs(t, err, harnesstest.ErrCrashed)
			s = lab.Session(t)
			s.Tools = tools.For(s, tools.PullRequests(desk, []string{host}))
			_, no := do(t, s, tools.NameOpenPull, object{"title": "t"})
			assert.Assert(t, no == nil, "%v", no)
			assert.Equal(t, len(harnesstest.Payloads[*task.ArtifactReported](lab.Log)), 1, "at %d", at)
			assert.Assert(t, len(desk.asked) <= 2)
			for _, r := range desk.asked {
				assert.DeepEqual(t, r, desk.asked[0]) // so that the platform gives the same
			}
		}
	}
}

// TestOpenPullRequestFails: the agent is told what the platform says, and to
// come again later where that helps; an own one that was there is said to be.
func TestOpenPullRequestFails(t *testing.T) {
	lab, host := pullLab(t, harnesstest.LabOptions{})
	desk := &pullDesk{err: task.Errorf(task.CodeOperationNotSupported, "the pull request is refused: No commits between main and oz/work")}
	s := lab.Session(t)
	s.Tools = tools.For(s, tools.PullRequests(desk, []string{host}))
	_, no := do(t, s, tools.NameOpenPull, object{"title": "t"})
	assert.Assert(t, no != nil)
	assert.Assert(t, is.Contains(no.Message, "No commits between"))
	desk.answer, desk.err = executor.PullRequestAnswer{WaitMS: 90_000, Reason: "GitHub says 429: slow down"}, nil
	_, no = do(t, s, tools.NameOpenPull, object{"title": "t"})
	assert.Assert(t, no != nil)
	assert.Assert(t, is.Contains(no.Message, "GitHub says 429: slow down. Try again in 1m30s"))
	assert.Equal(t, len(harnesstest.Payloads[*task.ArtifactReported](lab.Log)), 0)
	desk.answer = executor.PullRequestAnswer{URL: "https://forge.example/pull/7", Number: 7, Existing: true}
	answer, no := do(t, s, tools.NameOpenPull, object{"title": "t"})
	assert.Assert(t, no == nil, "%v", no)
	assert.Assert(t, is.Contains(answer.Text, "Pull request 7 was there already"))

	lost := &pullDesk{err: task.ErrFenced}
	s = lab.Session(t)
	s.Tools = tools.For(s, tools.PullRequests(lost, []string{host}))
	_, err := s.Tools[0].Run(t.Context(), harness.ToolCall{ID: "c2", Input: []byte(`{"title":"t","base":"other"}`)})
	assert.ErrorIs(t, err, task.ErrFenced, "who has lost the lease stops")
}

// TestOpenPullRequestIsOffered: to runs whose platform opens any where one of
// their repositories is, while they work.
func TestOpenPullRequestIsOffered(t *testing.T) {
	s := harnesstest.NewLab(t, harnesstest.LabOptions{}).Session(t)
	for remote, want := range map[string]bool{"https://forge.example/a/b.git": true, "ssh://git@forge.example:2222/a/b": true, "https://Forge.Example/a/b": true,
		"https://forge.example:8443/a/b": false, "https://other.example/a/b": false, "file:///a/b": false, "": false} {
		s.Repos[0].Remote = remote
		list := tools.For(s, tools.PullRequests(&pullDesk{}, []string{"other.host", "forge.example"}))
		assert.Equal(t, len(list) == 1, want, remote)
		if want {
			assert.Assert(t, list[0].Offered(task.ModeNormal))
			assert.Assert(t, !list[0].Offered(task.ModePlan))
		}
	}
	s.Repos[0].Remote = "https://forge.example/a/b.git"
	assert.Equal(t, len(tools.For(s, tools.PullRequests(nil, []string{"forge.example"}))), 0)
	assert.Equal(t, len(tools.For(s, tools.PullRequests(&pullDesk{}, nil))), 0)
}

// TestStrangersPullRequestIsShown: a person approves exactly what will be said;
// another text is another question, and a no stays one.
func TestStrangersPullRequestIsShown(t *testing.T) {
	lab, host := pullLab(t, harnesstest.LabOptions{Untrusted: true})
	desk := &pullDesk{answer: executor.PullRequestAnswer{URL: "https://forge.example/pull/7", Number: 7}}
	open := func(in object) (harness.ToolAnswer, *harness.ToolError) {
		t.Helper()
		s := lab.Session(t)
		s.Tools = tools.For(s, tools.PullRequests(desk, []string{host}))
		return do(t, s, tools.NameOpenPull, in)
	}
	asked := func(in object) *task.Question {
		t.Helper()
		answer, no := open(in)
		assert.Assert(t, no == nil, "%v", no)
		assert.Assert(t, answer.End != nil, answer.Text)
		q := answer.End.Status.Question
		assert.NilError(t, q.Validate())
		assert.Assert(t, strings.HasPrefix(q.Subject, executor.OutwardSubject))
		return q
	}
	say := func(q *task.Question, choice string) {
		t.Helper()
		j := lab.Log.Journal("", lab.Redactor, harnesstest.Crash{})
		assert.NilError(t, j.Post(t.Context(), &task.Input{Text: choice, Question: q.ID, Choice: choice}))
		assert.NilError(t, j.Flush(t.Context()))
	}
	_, no := open(object{"title": "t", "body": strings.Repeat("x", harness.MaxShownBody+1)})
	assert.Assert(t, no != nil && no.Input)
	assert.Assert(t, is.Contains(no.Message, "a person has to read it first"))
	most := object{"title": strings.Repeat("t", executor.MaxPullTitle), "body": strings.Repeat("\n", harness.MaxShownBody)} // the longest
	for range executor.MaxPullNames {
		most["reviewers"] = append(asStrings(most["reviewers"]), strings.Repeat("r", 100))
		most["labels"] = append(asStrings(most["labels"]), strings.Repeat("😀", 50))
	}
	asked(most)

	first := asked(object{"title": "Mend it", "body": "one\ntwo"})
	for _, part := range []string{"open a pull request of the branch `oz/work` to `main`", lab.RemoteURL, "> **Mend it**", "> one\n> two"} {
		assert.Assert(t, is.Contains(first.Text, part))
	}
	second := asked(object{"title": "Mend it", "body": "one\nthree"})
	assert.Assert(t, second.ID != first.ID)
	assert.Assert(t, asked(object{"title": "Mend it", "body": "one\ntwo", "draft": true}).ID != first.ID)
	dressed := asked(object{"title": "Mend it", "body": "one\ntwo", "reviewers": []string{"bob"}, "labels": []string{"bug"}})
	assert.Assert(t, dressed.ID != first.ID)
	assert.Assert(t, is.Contains(dressed.Text, "ask `bob` for a review. It would have the labels `bug`."))
	say(second, task.ChoiceReject)
	_, no = open(object{"title": "Mend it", "body": "one\nthree"})
	assert.Assert(t, no != nil)
	assert.Equal(t, no.State, task.ToolDenied)
	assert.Equal(t, len(desk.asked), 0)
	say(first, task.ChoiceApprove)
	_, no = open(object{"title": "Mend it", "body": "one\ntwo"})
	assert.Assert(t, no == nil, "%v", no)
	assert.Equal(t, len(desk.asked), 1)
}

func asStrings(v any) []string { list, _ := v.([]string); return list }

// TestOpenPullRequestTellsNotes: what the service has not taken.
func TestOpenPullRequestTellsNotes(t *testing.T) {
	lab, host := pullLab(t, harnesstest.LabOptions{})
	desk := &pullDesk{answer: executor.PullRequestAnswer{URL: "https://forge.example/pull/7", Number: 7, Notes: []string{"no review was asked of eve: not a collaborator"}}}
	s := lab.Session(t)
	s.Tools = tools.For(s, tools.PullRequests(desk, []string{host}))
	answer, no := do(t, s, tools.NameOpenPull, object{"title": "t", "reviewers": []string{"eve", "acme/core"}, "labels": []string{"bug"}})
	assert.Assert(t, no == nil, "%v", no)
	assert.Assert(t, is.Contains(answer.Text, "Note: no review was asked of eve"))
	assert.DeepEqual(t, desk.asked[0].Reviewers, []string{"eve", "acme/core"})
	assert.DeepEqual(t, desk.asked[0].Labels, []string{"bug"})
}
