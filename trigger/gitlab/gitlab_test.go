package gitlab_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/gitlab"
	"github.com/oz-platform/cloudagents/trigger/gitlab/gitlabsim"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	team  = task.Scope{Type: task.ScopeTeam, UID: "red"}
	owner = task.Principal{Type: task.PrincipalUser, UID: "owner"}
	annID = task.Principal{Type: task.PrincipalUser, UID: "ann"}
)

// bench is a GitLab, an engine and an integration between them.
type bench struct {
	*triggertest.Rig
	sim   *gitlabsim.Sim
	store *integration.Store
	i     integration.Integration
	ann   gitlabsim.Account // linked
	eve   gitlabsim.Account // not linked
}

func newBench(t testing.TB, simOpts *gitlabsim.Options, change func(*integration.Spec, *gitlab.Settings)) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "oz-gitlab-")
	if err != nil {
		dir = t.TempDir()
	}
	db, err := sqlitestore.Open(context.Background(), filepath.Join(dir, "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, db.Close()); assert.Check(t, os.RemoveAll(dir)) })
	keys, err := sealed.OpenKeys(filepath.Join(dir, "keys", "secrets.json"))
	assert.NilError(t, err)
	b := &bench{sim: gitlabsim.New(t, simOpts), store: integration.NewStore(db, sealed.New(db, keys, nil), &integration.Options{PublicURL: "https://oz.example.com"})}
	settings := gitlab.Settings{Handle: "oz-agent"}
	spec := integration.Spec{Name: "gitlab", Enabled: true, Prompt: "Be brief."}
	if change != nil {
		change(&spec, &settings)
	}
	spec.Settings, err = json.Marshal(settings)
	assert.NilError(t, err)
	b.i, err = b.store.Create(t.Context(), integration.GitLab, team, owner, spec,
		map[string]string{gitlab.SecretToken: b.sim.Token(), gitlab.SecretSigning: b.sim.Secret()})
	assert.NilError(t, err)
	b.Rig = triggertest.New(t, db, []trigger.Origin{gitlab.NewOrigin(b.store, &gitlab.Options{APIURL: b.sim.URL})}, nil)
	b.sim.SendTo(b.Rig, b.i.UID)
	b.ann, b.eve = b.sim.Person("ann"), b.sim.Person("eve")
	assert.NilError(t, b.store.SetLink(t.Context(), integration.Link{Provider: integration.GitLab, Account: gitlab.AccountKey(gitlab.DefaultURL, b.ann.ID), Name: "ann", Person: annID}))
	return b
}

// newest is the newest event that somebody has set off.
func (b *bench) newest(by ...gitlabsim.Account) gitlabsim.Event {
	for _, e := range slices.Backward(b.sim.Events()) {
		if len(by) == 0 && e.By != b.sim.Agent || slices.Contains(by, e.By) {
			return e
		}
	}
	return gitlabsim.Event{}
}

// last waits until the newest event is decided that is not the agent's.
func (b *bench) last(t testing.TB) task.Delivery {
	t.Helper()
	e := b.newest()
	assert.NilError(t, e.Err)
	return b.Decided(e.Reply.Delivery)
}

// said are the comments of the agent on something, without their marks.
func (b *bench) said(id int64) (list []string) {
	for _, n := range b.sim.Notes(id) {
		if n.Author == b.sim.Agent {
			_, text, _ := strings.Cut(n.Body, "\n")
			list = append(list, text)
		}
	}
	return list
}

func page(run task.Task) string { return "https://oz.example.com/runs/" + string(run.ID) }

func TestMentionOnAnIssue(t *testing.T) {
	b := newBench(t, nil, nil)
	issue := b.sim.Open(b.ann, gitlabsim.Thing{Title: "The export\nis empty", Description: "Since monday", Labels: []string{"bug"}})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeIgnored)
	b.sim.Comment(b.eve, gitlabsim.Note{On: issue.ID, Body: "Me too"})
	asked := b.sim.Comment(b.ann, gitlabsim.Note{On: issue.ID, Body: "Please mend it, @oz-agent."})
	d := b.last(t)
	assert.Equal(t, d.Outcome, task.OutcomeStarted, d.Reason)
	assert.Equal(t, d.Event, "note.create")

	run := b.Runs()[0]
	s, _ := b.Host.Started(run.ID)
	assert.Equal(t, run.Source, task.SourceGitLabWebhook)
	assert.Equal(t, run.Creator.UID, "ann")
	assert.Equal(t, s.Title, "group/project#1: The export is empty")
	assert.Equal(t, s.URL, fmt.Sprintf("https://gitlab.com/group/project/-/issues/1#note_%d", asked.ID))
	assert.Assert(t, strings.HasPrefix(s.Prompt, "Be brief."))
	assert.Assert(t, strings.Contains(s.Prompt, "@ann wrote, in group/project on issue #1"), s.Prompt)
	assert.Assert(t, strings.Contains(s.Prompt, "Please mend it, @oz-agent."))
	assert.Assert(t, strings.Contains(s.Prompt, "https://gitlab.com/group/project.git"))
	for _, part := range []string{"# group/project#1: The export is empty", "Labels: bug", "Since monday", "Comment of @eve", "Me too"} {
		assert.Assert(t, strings.Contains(string(s.Files[0].Data), part), "%s\n\nlacks %q", s.Files[0].Data, part)
	}

	b.Settle()
	assert.DeepEqual(t, b.sim.Awards(), []string{fmt.Sprintf("eyes on note %d", asked.ID)})
	assert.DeepEqual(t, b.said(issue.ID), []string{"**Started.** The agent begins as soon as there is room for it. [Follow the run](" + page(run) + ")."})
	b.sim.Comment(b.ann, gitlabsim.Note{On: issue.ID, Discussion: asked.Discussion, Body: "Also as CSV, @oz-agent"})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeContinued)
	assert.Assert(t, strings.Contains(b.Inputs(run.ID)[1].Text, "Also as CSV"))
	b.Note(run.ID, "k", "Half is done, @all")
	b.Finish(run.ID, task.StateSucceeded, task.Status{Message: "Mended. @all look <!-- oz:"})
	b.Settle()
	assert.DeepEqual(t, b.said(issue.ID), []string{"**Done.** [Follow the run](" + page(run) + ").",
		"A note from the run:\n\n> Half is done, @\u2060all",
		"Mended. @\u2060all look &lt;!-- oz:\n\n[The run](" + page(run) + ")"})
	for _, n := range b.sim.Notes(issue.ID) {
		assert.Assert(t, n.Author != b.sim.Agent || n.Discussion == asked.Discussion, "an answer is in its thread")
	}
	assert.Equal(t, len(b.sim.Statuses()), 0)
	assert.Equal(t, len(b.Runs()), 1)
}

func TestThreadsOnChangesHaveTheirOwnRuns(t *testing.T) {
	b := newBench(t, nil, nil)
	merge := b.sim.Open(b.ann, gitlabsim.Thing{Merge: true, Title: "Faster"})
	b.last(t)
	first := b.sim.Comment(b.ann, gitlabsim.Note{On: merge.ID, Body: "@oz-agent why?", Diff: "@@ -1 +1 @@\n-a\n+b", Path: "a.go"})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted)
	b.sim.Comment(b.ann, gitlabsim.Note{On: merge.ID, Body: "@oz-agent and here?", Diff: "@@ -9 +9 @@\n-c\n+d", Path: "b.go"})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted)
	b.sim.Comment(b.ann, gitlabsim.Note{On: merge.ID, Discussion: first.Discussion, Body: "@oz-agent sure?", Diff: "@@ -1 +1 @@\n-a\n+b", Path: "a.go"})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeContinued)
	runs := b.Runs()
	assert.Equal(t, len(runs), 2)
	s, _ := b.Host.Started(runs[0].ID)
	assert.Equal(t, s.Title, "group/project!1: Faster")
	assert.Equal(t, string(s.Files[1].Data), "a.go:3\n@@ -1 +1 @@\n-a\n+b\n")
	assert.Assert(t, strings.Contains(string(s.Files[0].Data), "Branch: feature at "+merge.Commit+", to go to main"))
}

func TestCommitStatus(t *testing.T) {
	b := newBench(t, nil, func(_ *integration.Spec, s *gitlab.Settings) { s.CommitStatus = true })
	merge := b.sim.Open(b.ann, gitlabsim.Thing{Merge: true, Title: "Faster", Description: "@oz-agent review this"})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted)
	run := b.Runs()[0]
	b.Begin(run.ID)
	b.Settle()
	b.sim.Comment(b.ann, gitlabsim.Note{On: merge.ID, Body: "@oz-agent quickly"})
	b.last(t)
	b.Finish(run.ID, task.StateFailed, task.Status{Message: "No such image.", ErrorCode: task.CodeEnvironmentSetupFailed})
	b.Settle()
	var states []string
	for _, s := range b.sim.Statuses() {
		assert.Equal(t, s.Commit, merge.Commit)
		assert.Equal(t, s.Name, "oz-agent")
		assert.Equal(t, s.URL, page(run))
		states = append(states, s.State)
	}
	assert.DeepEqual(t, states, []string{"pending", "running", "pending", "failed"})
	said := b.said(merge.ID)
	assert.Assert(t, strings.HasPrefix(said[0], "**Failed** (`environment_setup_failed`)."), "%q", said)
	assert.Assert(t, strings.HasPrefix(said[1], "The run failed (`environment_setup_failed`).\n\n> No such image."), "%q", said)
}

func TestBlockedRunsAsk(t *testing.T) {
	b := newBench(t, nil, nil)
	issue := b.sim.Open(b.ann, gitlabsim.Thing{Title: "x", Description: "@oz-agent go"})
	b.last(t)
	run := b.Runs()[0]
	b.Finish(run.ID, task.StateBlocked, task.Status{Question: &task.Question{ID: "q", Kind: task.QuestionPerson, Text: "Which one?", Choices: []string{"left", "right"}}})
	b.Settle()
	said := b.said(issue.ID)
	assert.Assert(t, strings.Contains(said[1], "> Which one?\n- left\n- right"), said[1])
	b.sim.Comment(b.ann, gitlabsim.Note{On: issue.ID, Body: "@oz-agent left"})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeContinued)
}

func TestWhatStartsNothing(t *testing.T) {
	b := newBench(t, nil, func(s *integration.Spec, _ *gitlab.Settings) { s.Trust = integration.TrustUntrusted })
	issue := b.sim.Open(b.ann, gitlabsim.Thing{Title: "@oz-agent in a title"})
	for name, do := range map[string]func(){
		"title": func() {},
		"code": func() {
			b.sim.Comment(b.ann, gitlabsim.Note{On: issue.ID, Body: "`@oz-agent`\n\n> @oz-agent\n\n```\n@oz-agent\n```"})
		},
		"other": func() {
			b.sim.Comment(b.ann, gitlabsim.Note{On: issue.ID, Body: "@oz-agent.too @oz-agents @oz-agent/team a@oz-agent"})
		},
		"token": func() {
			b.sim.Comment(b.sim.Person("project_7_bot_0a1b"), gitlabsim.Note{On: issue.ID, Body: "@oz-agent go"})
		},
		"our mark":  func() { b.sim.Comment(b.ann, gitlabsim.Note{On: issue.ID, Body: "<!-- oz:1 -->\n@oz-agent go"}) },
		"an update": func() { b.sim.Change(b.ann, issue.ID, "update", nil, map[string]any{"description": "@oz-agent go"}) },
		"a closure": func() { b.sim.Change(b.ann, issue.ID, "close", nil, map[string]any{"description": "@oz-agent go"}) },
		"pipeline":  func() { b.sim.Pipeline(b.ann, "failed", 0) },
	} {
		do()
		d := b.last(t)
		assert.Equal(t, d.Outcome, task.OutcomeIgnored, "%s: %s", name, d.Reason)
		assert.Assert(t, d.Reason != "", name)
	}
	b.sim.Comment(b.sim.Agent, gitlabsim.Note{On: issue.ID, Body: "@oz-agent go"})
	itself := b.Decided(b.newest(b.sim.Agent).Reply.Delivery)
	assert.Equal(t, itself.Reason, "this integration did it")
	for _, body := range []string{
		`{"object_kind":"note","user":{"id":1,"username":"a"},"project":{"id":7,"path_with_namespace":"g/p"},"object_attributes":{"id":1,"note":"@oz-agent","noteable_type":"Issue","system":true},"issue":{"id":1,"iid":1}}`,
		`{"object_kind":"note","user":{"id":1,"username":"a"},"project":{"id":7,"path_with_namespace":"g/p"},"object_attributes":{"id":2,"note":"@oz-agent","noteable_type":"Issue","action":"update"},"issue":{"id":1,"iid":1}}`,
		`{"object_kind":"note","user":{"id":1,"username":"a"},"project":{"id":7,"path_with_namespace":"g/p"},"object_attributes":{"id":3,"note":"@oz-agent","noteable_type":"Commit"}}`,
	} {
		reply, err := b.Post("gitlab", b.i.UID, http.Header{"X-Gitlab-Event": {"Note Hook"}, "X-Gitlab-Token": {b.sim.Secret()}}, []byte(body))
		assert.NilError(t, err)
		assert.Equal(t, b.Decided(reply.Delivery).Outcome, task.OutcomeIgnored, body)
	}
	reply, err := b.Post("gitlab", b.i.UID, http.Header{"X-Gitlab-Event": {"Push Hook"}, "X-Gitlab-Token": {b.sim.Secret()}}, []byte(`{"secret":1}`))
	assert.NilError(t, err)
	d := b.Decided(reply.Delivery)
	assert.Equal(t, d.Outcome, task.OutcomeIgnored)
	assert.Equal(t, string(d.Body), "{}", "of what does not count nothing is kept")
	assert.Equal(t, len(b.Runs()), 0)
}

// automations has one for each kind.
func automations(_ *integration.Spec, s *gitlab.Settings) {
	for _, k := range gitlab.Kinds() {
		s.Automations = append(s.Automations, gitlab.Automation{Name: string(k), On: []gitlab.Kind{k}, Prompt: "Because of " + string(k)})
	}
}

func TestAutomations(t *testing.T) {
	b := newBench(t, nil, automations)
	who := func(names ...string) []map[string]any {
		list := []map[string]any{}
		for _, n := range names {
			list = append(list, map[string]any{"id": 1, "username": n})
		}
		return list
	}
	added := func(names ...string) map[string]any {
		return map[string]any{"previous": who(), "current": who(names...)}
	}
	issue := b.sim.Open(b.ann, gitlabsim.Thing{Title: "x"})
	merge := b.sim.Open(b.ann, gitlabsim.Thing{Merge: true, Title: "y"})
	b.Settle()
	for _, row := range []struct {
		want string
		do   func()
	}{
		{"issue_created", func() { b.sim.Open(b.ann, gitlabsim.Thing{Title: "x"}) }},
		{"issue_created issue_mentioned", func() { b.sim.Open(b.ann, gitlabsim.Thing{Title: "x", Description: "@OZ-agent"}) }},
		{"issue_labeled", func() { b.sim.Label(b.ann, issue.ID, "bug") }},
		{"issue_assigned", func() { b.sim.Change(b.ann, issue.ID, "update", map[string]any{"assignees": added("ann")}, nil) }},
		{"issue_mentioned", func() { b.sim.Comment(b.ann, gitlabsim.Note{On: issue.ID, Body: "@oz-agent"}) }},
		{"merge_request_opened", func() { b.sim.Open(b.ann, gitlabsim.Thing{Merge: true, Title: "z"}) }},
		{"merge_request_mentioned", func() { b.sim.Comment(b.ann, gitlabsim.Note{On: merge.ID, Body: "@oz-agent"}) }},
		{"merge_request_reopened", func() { b.sim.Change(b.ann, merge.ID, "reopen", nil, nil) }},
		{"merge_request_updated", func() { b.sim.Change(b.ann, merge.ID, "update", nil, map[string]any{"oldrev": "abc"}) }},
		{"merge_request_ready", func() {
			b.sim.Change(b.ann, merge.ID, "update", map[string]any{"draft": map[string]any{"previous": true, "current": false}}, nil)
		}},
		{"", func() {
			b.sim.Change(b.ann, merge.ID, "update", map[string]any{"draft": map[string]any{"previous": false, "current": true}}, nil)
		}},
		{"merge_request_labeled", func() { b.sim.Label(b.ann, merge.ID, "bug") }},
		{"merge_request_assigned merge_request_review_requested", func() {
			b.sim.Change(b.ann, merge.ID, "update", map[string]any{"assignees": added("a"), "reviewers": added("b")}, nil)
		}},
		{"merge_request_approved", func() { b.sim.Change(b.ann, merge.ID, "approved", nil, nil) }},
		{"merge_request_closed", func() { b.sim.Change(b.ann, merge.ID, "close", nil, nil) }},
		{"merge_request_merged", func() { b.sim.Change(b.ann, merge.ID, "merge", nil, nil) }},
		{"pipeline_completed", func() { b.sim.Pipeline(b.ann, "failed", merge.ID) }},
		{"", func() { b.sim.Pipeline(b.ann, "running", merge.ID) }},
	} {
		row.do()
		d := b.last(t)
		var names []string
		for _, id := range d.Runs {
			s, ok := b.Host.Started(id)
			assert.Assert(t, ok)
			names = append(names, s.Name)
		}
		slices.Sort(names)
		assert.Equal(t, strings.Join(names, " "), row.want, d.Reason)
	}
}

func TestFilters(t *testing.T) {
	b := newBench(t, nil, func(_ *integration.Spec, s *gitlab.Settings) {
		s.Automations = []gitlab.Automation{
			{Name: "label", On: []gitlab.Kind{gitlab.IssueLabeled}, Filter: gitlab.Filter{Labels: []string{"BUG"}, Projects: []string{"group/*"}}, Prompt: "p"},
			{Name: "branch", On: []gitlab.Kind{gitlab.MergeOpened}, Filter: gitlab.Filter{Branches: []string{"fix/*"}, TargetBranches: []string{"main"}}, Prompt: "p", Quiet: true},
			{Name: "red", On: []gitlab.Kind{gitlab.PipelineCompleted}, Filter: gitlab.Filter{Statuses: []string{"failed"}, Branches: []string{"main"}}, Prompt: "p"},
			{Name: "off", Disabled: true, On: []gitlab.Kind{gitlab.IssueLabeled, gitlab.MergeOpened}, Prompt: "p"},
		}
	})
	issue := b.sim.Open(b.ann, gitlabsim.Thing{Title: "x"})
	want := func(n int) {
		t.Helper()
		assert.Equal(t, len(b.last(t).Runs), n)
	}
	b.sim.Label(b.ann, issue.ID, "later")
	want(0)
	b.sim.Label(b.ann, issue.ID, "bug")
	want(1)
	b.sim.Label(b.ann, issue.ID, "later") // bug was there before
	want(0)
	b.sim.Open(b.ann, gitlabsim.Thing{Merge: true, Title: "x", Source: "fix/a/b", Target: "dev"})
	want(0)
	quiet := b.sim.Open(b.ann, gitlabsim.Thing{Merge: true, Title: "x", Source: "fix/a/b", Target: "main"})
	want(1)
	b.sim.Pipeline(b.ann, "success", 0)
	want(0)
	b.sim.Pipeline(b.eve, "failed", 0) // who may push, may set it off
	want(1)
	b.sim.Pipeline(b.ann, "failed", quiet.ID)
	want(0)
	b.Settle()
	assert.Equal(t, len(b.said(quiet.ID)), 0)
}

func TestPipelinesOfForks(t *testing.T) {
	b := newBench(t, nil, automations)
	merge := b.sim.Open(b.ann, gitlabsim.Thing{Merge: true, Title: "x", Fork: true})
	b.sim.Pipeline(b.eve, "failed", merge.ID)
	d := b.last(t)
	assert.Equal(t, d.Outcome, task.OutcomeIgnored)
	assert.Assert(t, strings.Contains(d.Reason, "@eve may start nothing"), d.Reason)
}

func TestUnlinkedPeople(t *testing.T) {
	for visibility, link := range map[int]bool{0: true, 20: false} {
		b := newBench(t, &gitlabsim.Options{Visibility: visibility}, nil)
		issue := b.sim.Open(b.ann, gitlabsim.Thing{Title: "x"})
		for range 3 {
			b.sim.Comment(b.eve, gitlabsim.Note{On: issue.ID, Discussion: "d1", Body: "@oz-agent go"})
			assert.Equal(t, b.last(t).Outcome, task.OutcomeFailed)
		}
		b.Settle()
		said := b.said(issue.ID)
		assert.Equal(t, len(said), 1, "once in a thread is enough: %q", said)
		assert.Assert(t, strings.HasPrefix(said[0], "@eve, your GitLab account is not linked"), said[0])
		assert.Equal(t, strings.Contains(said[0], "https://oz.example.com/link?code="), link, said[0])
		assert.Equal(t, len(b.Runs()), 0)
		if !link {
			continue
		}
		_, code, _ := strings.Cut(said[0], "code=")
		code, _, _ = strings.Cut(code, ")")
		_, err := b.store.AcceptLink(t.Context(), code, task.Principal{Type: task.PrincipalUser, UID: "eve"})
		assert.NilError(t, err)
		b.sim.Comment(b.eve, gitlabsim.Note{On: issue.ID, Body: "@oz-agent go"})
		assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted)
		assert.Equal(t, b.Runs()[0].Creator.UID, "eve")
	}
}

func TestStrangersWithTrust(t *testing.T) {
	b := newBench(t, nil, func(s *integration.Spec, _ *gitlab.Settings) { s.Trust = integration.TrustUntrusted })
	b.sim.Open(b.eve, gitlabsim.Thing{Title: "x", Description: "@oz-agent go"})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted)
	s, _ := b.Host.Started(b.Runs()[0].ID)
	assert.Assert(t, s.Untrusted)
	assert.Equal(t, s.Creator, owner)

	b = newBench(t, nil, func(s *integration.Spec, _ *gitlab.Settings) { s.Trust = integration.TrustHold })
	b.sim.Open(b.eve, gitlabsim.Thing{Title: "x", Description: "@oz-agent go"})
	d := b.last(t)
	assert.Equal(t, d.Outcome, task.OutcomeHeld)
	let, err := b.Engine.Approve(t.Context(), d.ID, annID)
	assert.NilError(t, err)
	assert.Equal(t, b.Decided(let.ID).Outcome, task.OutcomeStarted)
	assert.Equal(t, b.Runs()[0].Creator, annID)
}

func TestProjectsOfAnIntegration(t *testing.T) {
	b := newBench(t, nil, func(_ *integration.Spec, s *gitlab.Settings) { s.Projects = []string{"other/*"} })
	issue := b.sim.Open(b.ann, gitlabsim.Thing{Title: "x", Description: "@oz-agent go"})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeFailed)
	b.Settle()
	assert.Assert(t, strings.Contains(b.said(issue.ID)[0], "not set up for group/project"), "%q", b.said(issue.ID))
}

func TestRepeatedDeliveries(t *testing.T) {
	b := newBench(t, nil, nil)
	issue := b.sim.Open(b.ann, gitlabsim.Thing{Title: "x"})
	b.sim.Comment(b.ann, gitlabsim.Note{On: issue.ID, Body: "@oz-agent go"})
	first := b.last(t)
	e := b.newest()
	again := b.sim.Redeliver(e)
	assert.Equal(t, b.Decided(again.Reply.Delivery).RepeatOf, first.ID)
	e.Header = e.Header.Clone() // the group's webhook sends the same under a name of its own
	e.Header.Set("Idempotency-Key", "another")
	assert.Equal(t, b.Decided(b.sim.Redeliver(e).Reply.Delivery).RepeatOf, first.ID)
	assert.Equal(t, len(b.Runs()), 1)
}

func TestRefusals(t *testing.T) {
	b := newBench(t, nil, nil)
	body := []byte(`{"object_kind":"issue","user":{"id":1,"username":"a"},"project":{"id":7,"path_with_namespace":"g/p"},"object_attributes":{"id":1,"iid":1,"action":"open"}}`)
	post := func(change func(http.Header), body []byte) error {
		h := http.Header{"X-Gitlab-Event": {"Issue Hook"}, "X-Gitlab-Token": {b.sim.Secret()}}
		change(h)
		_, err := b.Post("gitlab", b.i.UID, h, body)
		return err
	}
	assert.NilError(t, post(func(http.Header) {}, body))
	for name, change := range map[string]func(http.Header){
		"none":      func(h http.Header) { h.Del("X-Gitlab-Token") },
		"wrong":     func(h http.Header) { h.Set("X-Gitlab-Token", "gitlab-secreT") },
		"truncated": func(h http.Header) { h.Set("X-Gitlab-Token", "gitlab-secre") },
		"longer":    func(h http.Header) { h.Set("X-Gitlab-Token", "gitlab-secret ") },
		"doubled":   func(h http.Header) { h.Add("X-Gitlab-Token", b.sim.Secret()) },
		"a signature instead": func(h http.Header) {
			h.Del("X-Gitlab-Token")
			h.Set("Webhook-Signature", "v1,YQ==")
		},
	} {
		assert.Equal(t, task.CodeOf(post(change, body)), task.CodeAuthenticationRequired, name)
	}
	for name, bad := range map[string]string{"no JSON": `{`, "no UTF-8": "{\"a\":\"\xff\"}", "other kind": `{"object_kind":"push"}`,
		"no project": `{"object_kind":"issue"}`, "a wild project": strings.Replace(string(body), "g/p", "g/*", 1), "no number": strings.Replace(string(body), `"iid":1`, `"iid":0`, 1)} {
		assert.ErrorIs(t, post(func(http.Header) {}, []byte(bad)), task.ErrInvalid, name)
	}
	assert.ErrorIs(t, post(func(h http.Header) { h.Del("X-Gitlab-Event") }, body), task.ErrInvalid)
	_, err := b.Post("gitlab", "nobody", nil, body)
	assert.ErrorIs(t, err, task.ErrNotFound)
	_, err = b.store.Update(t.Context(), b.i.UID, owner, func(s *integration.Spec) error { s.Enabled = false; return nil }, nil)
	assert.NilError(t, err)
	assert.Equal(t, task.CodeOf(post(func(http.Header) {}, body)), task.CodeIntegrationDisabled)
}

func TestSignedWebhooks(t *testing.T) {
	b := newBench(t, &gitlabsim.Options{Secret: "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}, nil)
	b.sim.Open(b.ann, gitlabsim.Thing{Title: "x", Description: "@oz-agent go"})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted)
	good := b.newest()
	for name, change := range map[string]func(e *gitlabsim.Event){
		"the secret as it is": func(e *gitlabsim.Event) {
			e.Header = http.Header{"X-Gitlab-Event": {"Issue Hook"}, "X-Gitlab-Token": {b.sim.Secret()}}
		},
		"another body": func(e *gitlabsim.Event) { e.Body = append(slices.Clone(e.Body), ' ') },
		"another id":   func(e *gitlabsim.Event) { e.Header.Set("Webhook-Id", "x") },
		"old": func(e *gitlabsim.Event) {
			e.Header.Set("Webhook-Timestamp", fmt.Sprint(time.Now().Add(-6*time.Minute).Unix()))
		},
		"no signature": func(e *gitlabsim.Event) { e.Header.Del("Webhook-Signature") },
		"cut":          func(e *gitlabsim.Event) { e.Header.Set("Webhook-Signature", e.Header.Get("Webhook-Signature")[:20]) },
		"doubled":      func(e *gitlabsim.Event) { e.Header.Add("Webhook-Signature", e.Header.Get("Webhook-Signature")) },
	} {
		e := good
		e.Header = good.Header.Clone()
		change(&e)
		assert.Equal(t, task.CodeOf(b.sim.Redeliver(e).Err), task.CodeAuthenticationRequired, name)
	}
}

func TestGitLabIsDown(t *testing.T) {
	b := newBench(t, nil, nil)
	issue := b.sim.Open(b.ann, gitlabsim.Thing{Title: "x"})
	b.last(t)
	b.sim.Fail(gitlabsim.FaultDown, gitlabsim.FaultRateLimit) // while it is asked who we are
	b.sim.Comment(b.ann, gitlabsim.Note{On: issue.ID, Body: "@oz-agent go"})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted)
	b.Settle()
	run := b.Runs()[0]
	b.sim.Fail(gitlabsim.FaultRateLimit, gitlabsim.FaultRateLimit)
	b.Finish(run.ID, task.StateSucceeded, task.Status{Message: "Mended."})
	for len(b.said(issue.ID)) < 2 {
		b.Settle() // what waits for another attempt does not count
		time.Sleep(20 * time.Millisecond)
	}
	b.Settle()
	assert.Equal(t, len(b.said(issue.ID)), 2)
}

// TestNothingIsSaidTwice when connections break after GitLab did what it was
// asked.
func TestNothingIsSaidTwice(t *testing.T) {
	for skip := range 5 {
		b := newBench(t, nil, nil)
		issue := b.sim.Open(b.ann, gitlabsim.Thing{Title: "x", Description: "@oz-agent go"})
		b.last(t)
		b.Settle()
		faults := make([]gitlabsim.Fault, skip+1)
		faults[skip] = gitlabsim.FaultCut
		b.sim.Fail(faults...)
		run := b.Runs()[0]
		b.Finish(run.ID, task.StateSucceeded, task.Status{Message: "Mended."})
		b.all(t)
		assert.DeepEqual(t, b.said(issue.ID), []string{"**Done.** [Follow the run](" + page(run) + ").", "Mended.\n\n[The run](" + page(run) + ")"})
	}
}

// all waits until everything was told, other attempts included.
func (b *bench) all(t testing.TB) {
	t.Helper()
	for {
		b.Settle()
		next, err := b.Store.NextOutgoing(t.Context())
		assert.NilError(t, err)
		if next.IsZero() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestBadSettings(t *testing.T) {
	for field, raw := range map[string]string{
		"settings.handle":                         `{"handle":"@oz"}`,
		"settings.url":                            `{"handle":"oz","url":"http://gitlab.example.com"}`,
		"settings":                                `{"handle":"oz","colour":"red"}`,
		"settings.projects":                       `{"handle":"oz","projects":["alone"]}`,
		"settings.automations[0].name":            `{"handle":"oz","automations":[{"name":"A B"}]}`,
		"settings.automations[a].on":              `{"handle":"oz","automations":[{"name":"a","on":["push"],"prompt":"p"}]}`,
		"settings.automations[a].prompt":          `{"handle":"oz","automations":[{"name":"a","on":["issue_created"]}]}`,
		"settings.automations[a]":                 `{"handle":"oz","automations":[{"name":"a","on":["issue_created"],"prompt":"p"},{"name":"a","on":["issue_created"],"prompt":"p"}]}`,
		"settings.automations[a].filter.statuses": `{"handle":"oz","automations":[{"name":"a","on":["issue_created"],"prompt":"p","filter":{"statuses":["failed"]}}]}`,
		"settings.automations[a].filter.labels":   `{"handle":"oz","automations":[{"name":"a","on":["issue_created"],"prompt":"p","filter":{"labels":[""]}}]}`,
		"settings.automations[a].filter.projects": `{"handle":"oz","automations":[{"name":"a","on":["issue_created"],"prompt":"p","filter":{"projects":["a/[b]"]}}]}`,
	} {
		err := gitlab.Check(json.RawMessage(raw))
		assert.ErrorIs(t, err, task.ErrInvalid, raw)
		assert.Assert(t, strings.HasPrefix(err.Error(), field+" ") || strings.HasPrefix(err.Error(), field+":"), "%s: %v", field, err)
	}
	s, err := gitlab.Parse(json.RawMessage(`{"handle":"oz.agent_1","url":"https://git.example.com/"}`))
	assert.NilError(t, err)
	assert.Equal(t, s.URL, "https://git.example.com")
}

// TestProgressIsShown: the status comment shows the task list of the run, in
// place.
func TestProgressIsShown(t *testing.T) {
	b := newBench(t, nil, nil)
	issue := b.sim.Open(b.ann, gitlabsim.Thing{Title: "The export is empty"})
	b.sim.Comment(b.ann, gitlabsim.Note{On: issue.ID, Body: "Please mend it, @oz-agent."})
	b.last(t)
	run := b.Runs()[0]
	b.Begin(run.ID)
	b.Todos(run.ID, task.Todo{Title: "Ask @eve", Done: true}, task.Todo{Title: "Mend it"})
	b.Settle()
	said := b.said(issue.ID)
	assert.Equal(t, len(said), 1, "%q", said)
	assert.Assert(t, strings.Contains(said[0], "**Working on it.**") && strings.HasSuffix(said[0], "1 of 2 done:\n\n- [x] Ask @\u2060eve\n- [ ] Mend it"), said[0])
	b.Finish(run.ID, task.StateSucceeded, task.Status{Message: "Mended."})
	b.Settle()
	said = b.said(issue.ID)
	assert.Equal(t, len(said), 2, "%q", said)
	assert.Assert(t, strings.HasPrefix(said[0], "**Done.**") && strings.HasSuffix(said[0], "- [ ] Mend it"), said[0])
}
