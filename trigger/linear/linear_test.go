package linear_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/linear"
	"github.com/oz-platform/cloudagents/trigger/linear/linearsim"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	team  = task.Scope{Type: task.ScopeTeam, UID: "red"}
	owner = task.Principal{Type: task.PrincipalUser, UID: "owner"}
	ann   = task.Principal{Type: task.PrincipalUser, UID: "ann"}
)

// bench is a workspace, an engine and an integration between them.
type bench struct {
	*triggertest.Rig
	sim    *linearsim.Sim
	store  *integration.Store
	origin *linear.Origin
	i      integration.Integration
	ann    linearsim.User // linked
	eve    linearsim.User // not linked
}

func newBench(t testing.TB, simOpts *linearsim.Options, settings linear.Settings, change func(*integration.Spec)) *bench {
	t.Helper()
	return newBenchWith(t, simOpts, settings, change, &integration.Options{PublicURL: "https://oz.example.com"})
}

func newBenchWith(t testing.TB, simOpts *linearsim.Options, settings linear.Settings, change func(*integration.Spec), opts *integration.Options) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "oz-linear-")
	if err != nil {
		dir = t.TempDir()
	}
	db, err := sqlitestore.Open(context.Background(), filepath.Join(dir, "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, db.Close()); assert.Check(t, os.RemoveAll(dir)) })
	keys, err := sealed.OpenKeys(filepath.Join(dir, "keys", "secrets.json"))
	assert.NilError(t, err)

	b := &bench{sim: linearsim.New(t, simOpts), store: integration.NewStore(db, sealed.New(db, keys, nil), opts)}
	raw, err := json.Marshal(settings)
	assert.NilError(t, err)
	spec := integration.Spec{Name: "linear", Enabled: true, Prompt: "Be brief.", Settings: raw}
	if change != nil {
		change(&spec)
	}
	b.i, err = b.store.Create(t.Context(), integration.Linear, team, owner, spec,
		map[string]string{linear.SecretToken: b.sim.Token(), linear.SecretSigning: b.sim.SigningSecret()})
	assert.NilError(t, err)
	b.origin = linear.NewOrigin(b.store, &linear.Options{APIURL: b.sim.URL})
	b.Rig = triggertest.New(t, db, []trigger.Origin{b.origin}, nil)
	b.sim.SendTo(b.Rig, b.i.UID)
	b.ann, b.eve = b.sim.Person("Ann Able"), b.sim.Person("Eve Else")
	assert.NilError(t, b.store.SetLink(t.Context(), integration.Link{Provider: integration.Linear, Account: b.ann.ID, Name: "Ann", Person: ann}))
	return b
}

// last waits until the newest event is decided.
func (b *bench) last(t testing.TB) task.Delivery {
	t.Helper()
	events := b.sim.Events()
	e := events[len(events)-1]
	assert.NilError(t, e.Err)
	return b.Decided(e.Reply.Delivery)
}

// said are the texts of comments by the agent, without links.
func (b *bench) said(issue string) (list []string) {
	for _, c := range b.sim.Comments(issue) {
		if c.User == b.sim.App.ID {
			text, _, _ := strings.Cut(c.Body, "\n\n[Open the run]")
			list = append(list, text)
		}
	}
	return list
}

func TestMentionStartsARunAndTheNextGoesOn(t *testing.T) {
	b := newBench(t, nil, linear.Settings{}, nil)
	issue := b.sim.Create(b.ann, linearsim.Issue{Title: "Crash at start", Description: "It crashes.\n```\npanic\n```"})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeIgnored)
	b.sim.Comment(b.eve, issue.ID, "", "Me too, on Debian")
	assert.Equal(t, b.last(t).Outcome, task.OutcomeIgnored)
	c := b.sim.Comment(b.ann, issue.ID, "", "@oz please mend it")
	d := b.last(t)
	assert.Equal(t, d.Outcome, task.OutcomeStarted, d.Reason)
	assert.Equal(t, d.Event, "Comment.create")

	run := b.Runs()[0]
	s, _ := b.Host.Started(run.ID)
	assert.Equal(t, run.Source, task.SourceLinear)
	assert.Equal(t, run.Creator.UID, "ann")
	assert.Equal(t, s.Title, "ENG-1 Crash at start")
	assert.Equal(t, s.URL, "https://linear.app/acme/issue/ENG-1")
	assert.Equal(t, s.Metadata["linear_issue"], "ENG-1")
	assert.Assert(t, strings.HasPrefix(s.Prompt, "Be brief."))
	assert.Assert(t, strings.Contains(s.Prompt, "Ann Able commented on the Linear issue ENG-1 (Crash at start):\n\n@oz please mend it"), s.Prompt)
	assert.Equal(t, s.Files[0].Name, "issue.md")
	file := string(s.Files[0].Data)
	for _, part := range []string{"# ENG-1: Crash at start", "panic", "Comment of eve.else", "Me too, on Debian"} {
		assert.Assert(t, strings.Contains(file, part), "%s\n\nlacks %s", file, part)
	}

	b.sim.Comment(b.ann, issue.ID, c.ID, "Also for ARM, @oz.")
	assert.Equal(t, b.last(t).Outcome, task.OutcomeContinued)
	inputs := b.Inputs(run.ID)
	assert.Equal(t, len(inputs), 2)
	assert.Assert(t, strings.Contains(inputs[1].Text, "Also for ARM"))
	b.Finish(run.ID, task.StateSucceeded, task.Status{Message: "Mended."})
	b.Settle()
	assert.DeepEqual(t, b.said(issue.ID), []string{"I am on it.", "Noted.", "The agent has begun.", "Mended."})
	for _, m := range b.sim.Comments(issue.ID) {
		if m.User == b.sim.App.ID {
			assert.Equal(t, m.Parent, c.ID, "answers stand in the thread")
		}
	}
	assert.Assert(t, strings.Contains(b.sim.Comments(issue.ID)[2].Body+b.sim.Comments(issue.ID)[3].Body, "[Open the run](https://oz.example.com/runs/"+string(run.ID)+")"))
	assert.Equal(t, len(b.Runs()), 1, "what the agent says starts nothing")
}

func TestAssignmentStartsARun(t *testing.T) {
	b := newBench(t, nil, linear.Settings{}, nil)
	issue := b.sim.Create(b.ann, linearsim.Issue{Title: "a"})
	b.sim.Change(b.ann, issue.ID, func(i *linearsim.Issue) { i.Assignee = b.sim.App.ID })
	assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted)
	b.sim.Change(b.ann, issue.ID, func(i *linearsim.Issue) { i.Title = "b" })
	assert.Equal(t, b.last(t).Outcome, task.OutcomeIgnored, "it had the issue before")
	b.sim.Create(b.ann, linearsim.Issue{Title: "c", Assignee: b.sim.App.ID})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted, "assigned from the start")
	b.sim.Create(b.ann, linearsim.Issue{Title: "d", Description: "what would https://linear.app/acme/profiles/oz say"})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted, "mentioned from the start")
	assert.Equal(t, len(b.Runs()), 3)
}

func TestAgentSession(t *testing.T) {
	b := newBench(t, &linearsim.Options{AgentSessions: true}, linear.Settings{AgentSessions: true}, nil)
	issue := b.sim.Create(b.ann, linearsim.Issue{Title: "Crash", Description: "It crashes."})
	b.sim.Change(b.ann, issue.ID, func(i *linearsim.Issue) { i.Delegate = b.sim.App.ID })
	d := b.last(t)
	assert.Equal(t, d.Outcome, task.OutcomeStarted, d.Reason)
	run, x := b.Runs()[0], b.sim.Sessions()[0]
	b.Settle()
	assert.Equal(t, b.sim.Sessions()[0].Status, "active")

	q := &task.Question{ID: "q", Kind: task.QuestionPerson, Text: "Which one?", Choices: []string{"left", "right"}}
	b.Finish(run.ID, task.StateBlocked, task.Status{Message: "waits", Question: q})
	b.Settle()
	assert.Equal(t, b.sim.Sessions()[0].Status, "awaitingInput")
	b.sim.Prompt(b.ann, x.ID, "left", "")
	assert.Equal(t, b.last(t).Outcome, task.OutcomeContinued)
	inputs := b.Inputs(run.ID)
	assert.Assert(t, strings.Contains(inputs[len(inputs)-1].Text, "Ann Able writes to you about the Linear issue ENG-1 (Crash):\n\nleft"))
	b.Begin(run.ID)
	b.Settle()
	b.Note(run.ID, "k", "Half is done.")
	b.Settle()
	assert.Equal(t, b.sim.Sessions()[0].Status, "active")
	b.Finish(run.ID, task.StateFailed, task.Status{Message: "No.", ErrorCode: task.CodeNotFound})
	b.Settle()
	assert.Equal(t, b.sim.Sessions()[0].Status, "error")
	b.sim.Prompt(b.ann, x.ID, "", "stop")
	assert.Equal(t, b.last(t).Outcome, task.OutcomeContinued)
	b.Settle()
	assert.Equal(t, b.sim.Sessions()[0].Status, "complete")
	assert.DeepEqual(t, b.sim.Sessions()[0].URLs, []string{"https://oz.example.com/runs/" + string(run.ID)})

	var kinds, texts []string
	for _, a := range b.sim.Activities(x.ID) {
		text, _, _ := strings.Cut(a.Body, "\n\n[Open the run]")
		kinds, texts = append(kinds, a.Type), append(texts, text)
		if a.Type == "elicitation" {
			assert.Equal(t, a.Signal, "select")
			assert.Equal(t, a.Metadata, `{"options":[{"label":"left","value":"left"},{"label":"right","value":"right"}]}`)
		}
	}
	assert.DeepEqual(t, kinds, []string{"thought", "thought", "elicitation", "prompt", "thought", "thought", "thought", "error", "prompt", "response"})
	assert.Equal(t, texts[9], "Nothing runs any more that I could stop.")
	assert.Equal(t, texts[2], "Which one?")
	assert.Equal(t, texts[6], "Half is done.")
	assert.Equal(t, texts[7], "No. (`resource_not_found`)")
	assert.Equal(t, len(b.Runs()), 1)

	b.sim.Comment(b.ann, issue.ID, "", "@oz and the tests?")
	b.Settle()
	events := b.sim.Events()
	assert.Equal(t, b.Decided(events[len(events)-2].Reply.Delivery).Outcome, task.OutcomeIgnored, "the comment counts as an agent session")
	assert.Equal(t, b.last(t).Outcome, task.OutcomeContinued)
	second := b.sim.Activities(b.sim.Sessions()[1].ID)
	assert.Equal(t, len(second), 1)
	assert.Equal(t, second[0].Type, "response")
	assert.Assert(t, strings.Contains(second[0].Body, "answers where it was started"))
	assert.Equal(t, len(b.Runs()), 1)
}

// TestStopEndsTheRun: the stop of an agent session ends its run, also while it
// works, and says so once.
func TestStopEndsTheRun(t *testing.T) {
	b := newBench(t, &linearsim.Options{AgentSessions: true}, linear.Settings{AgentSessions: true}, nil)
	b.sim.Create(b.ann, linearsim.Issue{Title: "x", Delegate: b.sim.App.ID})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted)
	run := b.Runs()[0]
	b.Begin(run.ID)
	x := b.sim.Sessions()[0]
	for range 2 {
		b.sim.Prompt(b.ann, x.ID, "", "stop")
		d := b.last(t)
		assert.Equal(t, d.Outcome, task.OutcomeContinued)
		assert.DeepEqual(t, d.Runs, []task.ID{run.ID})
	}
	b.Settle()
	got, err := b.Store.Get(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.State, task.StateCancelled)
	assert.Equal(t, len(b.Inputs(run.ID)), 1, "it is told nothing")
	assert.Equal(t, b.sim.Sessions()[0].Status, "complete")
	cancelled := 0
	for _, a := range b.sim.Activities(x.ID) {
		if a.Type == "response" {
			cancelled++
		}
	}
	assert.Equal(t, cancelled, 1)
}

// TestStopStartsNothing: somebody stops what nobody has started.
func TestStopStartsNothing(t *testing.T) {
	b := newBench(t, &linearsim.Options{AgentSessions: true}, linear.Settings{AgentSessions: true}, func(s *integration.Spec) { s.Enabled = false })
	b.sim.Create(b.ann, linearsim.Issue{Title: "x", Delegate: b.sim.App.ID})
	_, err := b.store.Update(t.Context(), b.i.UID, owner, func(s *integration.Spec) error { s.Enabled = true; return nil }, nil)
	assert.NilError(t, err)
	b.sim.Prompt(b.ann, b.sim.Sessions()[0].ID, "", "stop")
	assert.Equal(t, b.last(t).Outcome, task.OutcomeIgnored)
	assert.Equal(t, len(b.Runs()), 0)
}

func TestRules(t *testing.T) {
	agent := []string{linear.Agent}
	for _, c := range []struct {
		name string
		rule linear.Rule
		from linearsim.Issue
		do   func(i *linearsim.Issue)
		want bool
	}{
		{"label added", linear.Rule{Kind: linear.IssueLabeled, LabelIDs: []string{"bug"}}, linearsim.Issue{}, func(i *linearsim.Issue) { i.Labels = []string{"bug"} }, true},
		{"any label", linear.Rule{Kind: linear.IssueLabeled}, linearsim.Issue{}, func(i *linearsim.Issue) { i.Labels = []string{"x"} }, true},
		{"other label added", linear.Rule{Kind: linear.IssueLabeled, LabelIDs: []string{"bug"}}, linearsim.Issue{Labels: []string{"bug"}}, func(i *linearsim.Issue) { i.Labels = []string{"bug", "x"} }, false},
		{"label removed", linear.Rule{Kind: linear.IssueLabeled}, linearsim.Issue{Labels: []string{"a", "bug"}}, func(i *linearsim.Issue) { i.Labels = []string{"bug"} }, false},
		{"state reached", linear.Rule{Kind: linear.IssueStateChanged, StateIDs: []string{"doing"}}, linearsim.Issue{}, func(i *linearsim.Issue) { i.State = "doing" }, true},
		{"other state", linear.Rule{Kind: linear.IssueStateChanged, StateIDs: []string{"doing"}}, linearsim.Issue{}, func(i *linearsim.Issue) { i.State = "done" }, false},
		{"state kept", linear.Rule{Kind: linear.IssueStateChanged, StateIDs: []string{"doing"}}, linearsim.Issue{State: "doing"}, func(i *linearsim.Issue) { i.Title = "x" }, false},
		{"state and label", linear.Rule{Kind: linear.IssueStateChanged, StateIDs: []string{"doing"}, LabelIDs: []string{"bug"}}, linearsim.Issue{Labels: []string{"bug"}}, func(i *linearsim.Issue) { i.State = "doing" }, true},
		{"state without label", linear.Rule{Kind: linear.IssueStateChanged, StateIDs: []string{"doing"}, LabelIDs: []string{"bug"}}, linearsim.Issue{}, func(i *linearsim.Issue) { i.State = "doing" }, false},
		{"assigned", linear.Rule{Kind: linear.IssueAssigned, AssigneeIDs: agent}, linearsim.Issue{}, func(i *linearsim.Issue) { i.Assignee = "agent" }, true},
		{"delegated", linear.Rule{Kind: linear.IssueAssigned, AssigneeIDs: agent}, linearsim.Issue{}, func(i *linearsim.Issue) { i.Delegate = "agent" }, true},
		{"assigned to another", linear.Rule{Kind: linear.IssueAssigned, AssigneeIDs: agent}, linearsim.Issue{}, func(i *linearsim.Issue) { i.Assignee = "eve" }, false},
		{"another beside the agent", linear.Rule{Kind: linear.IssueAssigned, AssigneeIDs: agent}, linearsim.Issue{Delegate: "agent"}, func(i *linearsim.Issue) { i.Assignee = "eve" }, false},
		{"taken away", linear.Rule{Kind: linear.IssueAssigned}, linearsim.Issue{Assignee: "agent"}, func(i *linearsim.Issue) { i.Assignee = "" }, false},
		{"team and project", linear.Rule{Kind: linear.IssueLabeled, TeamIDs: []string{"a", "core"}, ProjectIDs: []string{"p"}}, linearsim.Issue{Team: "core", Project: "p"}, func(i *linearsim.Issue) { i.Labels = []string{"x"} }, true},
		{"other team", linear.Rule{Kind: linear.IssueLabeled, TeamIDs: []string{"a"}}, linearsim.Issue{Team: "core"}, func(i *linearsim.Issue) { i.Labels = []string{"x"} }, false},
		{"no project", linear.Rule{Kind: linear.IssueLabeled, ProjectIDs: []string{"p"}}, linearsim.Issue{Team: "core"}, func(i *linearsim.Issue) { i.Labels = []string{"x"} }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil, linear.Settings{Rules: []linear.Rule{c.rule}}, nil)
			people := map[string]string{"agent": b.sim.App.ID, "eve": b.eve.ID}
			name := func(i *linearsim.Issue) {
				for _, p := range []*string{&i.Assignee, &i.Delegate} {
					if id, ok := people[*p]; ok {
						*p = id
					}
				}
			}
			name(&c.from)
			c.from.Title = "t"
			issue := b.sim.Create(b.ann, c.from)
			b.last(t)
			before := len(b.Runs())
			b.sim.Change(b.ann, issue.ID, func(i *linearsim.Issue) { c.do(i); name(i) })
			d := b.last(t)
			assert.Equal(t, d.Outcome == task.OutcomeStarted || d.Outcome == task.OutcomeContinued, c.want, "%s: %s", d.Outcome, d.Reason)
			if !c.want {
				assert.Equal(t, len(b.Runs()), before)
			}
		})
	}
}

func TestMentions(t *testing.T) {
	b := newBench(t, nil, linear.Settings{}, nil)
	issue := b.sim.Create(b.ann, linearsim.Issue{Title: "t"})
	_, err := b.store.Update(t.Context(), b.i.UID, owner, func(s *integration.Spec) error {
		s.Settings, _ = json.Marshal(linear.Settings{Rules: []linear.Rule{{Kind: linear.CommentCreated, MentionedUserIDs: []string{linear.Agent, b.eve.ID}, TeamIDs: []string{"team-1"}}}})
		return nil
	}, nil)
	assert.NilError(t, err)
	for text, want := range map[string]bool{
		"@oz go": true, "go,@OZ!": true, "(@oz)": true, "see https://linear.app/acme/profiles/oz": true, "@eve.else knows": true,
		"mail me@oz.example": false, "@ozzy": false, "@oz-bot": false, "oz": false, "`@oz`": false, "```\n@oz\n```": false, "```\n@oz": false,
		"@eve": false, "/profiles/ozzy": false, "": false,
	} {
		b.sim.Comment(b.ann, issue.ID, "", text)
		d := b.last(t)
		assert.Equal(t, d.Outcome != task.OutcomeIgnored, want, "%q: %s %s", text, d.Outcome, d.Reason)
	}
}

func TestStrangers(t *testing.T) {
	for trust, want := range map[integration.Trust]task.Outcome{integration.TrustLinked: task.OutcomeFailed, integration.TrustUntrusted: task.OutcomeStarted, integration.TrustHold: task.OutcomeHeld} {
		b := newBench(t, nil, linear.Settings{}, func(s *integration.Spec) { s.Trust = trust })
		issue := b.sim.Create(b.ann, linearsim.Issue{Title: "t"})
		b.sim.Comment(b.eve, issue.ID, "", "@oz go")
		d := b.last(t)
		assert.Equal(t, d.Outcome, want, d.Reason)
		b.Settle()
		switch trust {
		case integration.TrustLinked:
			assert.Equal(t, len(b.Runs()), 0)
			said := b.said(issue.ID)
			assert.Equal(t, len(said), 1)
			assert.Assert(t, strings.Contains(said[0], "Eve Else, your account here is not linked"), said[0])
			assert.Assert(t, strings.Contains(said[0], b.eve.ID))
			assert.Assert(t, !strings.Contains(said[0], "code="), "a comment is for all to see")
		case integration.TrustUntrusted:
			s, _ := b.Host.Started(b.Runs()[0].ID)
			assert.Assert(t, s.Untrusted)
		case integration.TrustHold:
			let, err := b.Engine.Approve(t.Context(), d.ID, ann)
			assert.NilError(t, err)
			assert.Equal(t, b.Decided(let.ID).Outcome, task.OutcomeStarted)
			s, _ := b.Host.Started(b.Runs()[0].ID)
			assert.Assert(t, s.Untrusted)
		}
	}
}

// TestUnlinkedGetsALink: in an agent session Linear shows it to them alone.
func TestUnlinkedGetsALink(t *testing.T) {
	b := newBench(t, &linearsim.Options{AgentSessions: true}, linear.Settings{AgentSessions: true}, nil)
	b.sim.Create(b.eve, linearsim.Issue{Title: "t", Delegate: b.sim.App.ID})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeFailed)
	b.Settle()
	assert.Equal(t, len(b.Runs()), 0)
	x := b.sim.Sessions()[0]
	list := b.sim.Activities(x.ID)
	assert.Equal(t, len(list), 1)
	assert.Equal(t, list[0].Signal, "auth")
	var metadata struct{ URL, UserID string }
	assert.NilError(t, json.Unmarshal([]byte(list[0].Metadata), &metadata))
	assert.Equal(t, metadata.UserID, b.eve.ID)
	assert.Assert(t, !strings.Contains(list[0].Body, "code="))
	_, code, _ := strings.Cut(metadata.URL, "code=")
	_, err := b.store.AcceptLink(t.Context(), code, task.Principal{Type: task.PrincipalUser, UID: "eve"})
	assert.NilError(t, err)
	b.sim.Prompt(b.eve, x.ID, "now?", "")
	assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted)
	assert.Equal(t, b.Runs()[0].Creator.UID, "eve")
}

func TestProgramsStartNothing(t *testing.T) {
	b := newBench(t, nil, linear.Settings{}, nil)
	issue := b.sim.Create(b.ann, linearsim.Issue{Title: "t"})
	body := `{"type":"Comment","action":"create","webhookTimestamp":` + millis() + `,"actor":{"id":"z","type":"Integration","name":"Zap"},
		"data":{"id":"c1","body":"@oz go","issueId":"` + issue.ID + `","botActor":{"name":"Zap"}}}`
	reply, err := b.Post("linear", b.i.UID, signed(b.sim.SigningSecret(), body), []byte(body))
	assert.NilError(t, err)
	assert.Equal(t, reply.Status, 200)
	d := b.Decided(reply.Delivery)
	assert.Equal(t, d.Outcome, task.OutcomeIgnored)
	assert.Equal(t, d.Reason, "its author is a program")
	b.Settle()
	assert.Equal(t, len(b.said(issue.ID)), 0)
}

func millis() string { return strings.TrimSpace(jsonNumber(time.Now().UnixMilli())) }

func jsonNumber(n int64) string { data, _ := json.Marshal(n); return string(data) }

func signed(secret, body string) http.Header {
	h := http.Header{}
	webhook.Linear.Sign([]byte(secret), h, "d", []byte(body), time.Now())
	return h
}

func TestRefusals(t *testing.T) {
	b := newBench(t, nil, linear.Settings{}, nil)
	issue := b.sim.Create(b.ann, linearsim.Issue{Title: "t"})
	b.sim.Comment(b.ann, issue.ID, "", "@oz go")
	b.last(t)
	e := b.sim.Events()[1]
	with := func(change func(http.Header)) http.Header { h := e.Header.Clone(); change(h); return h }
	bodyOf := func(at time.Time) string {
		return `{"type":"Issue","action":"remove","webhookTimestamp":` + jsonNumber(at.UnixMilli()) + `,"data":{"id":"x"}}`
	}
	old, young := bodyOf(time.Now().Add(-6*time.Minute)), bodyOf(time.Now().Add(6*time.Minute))
	for name, c := range map[string]struct {
		uid  string
		h    http.Header
		body []byte
		code task.Code
	}{
		"no signature":    {b.i.UID, nil, e.Body, task.CodeAuthenticationRequired},
		"two signatures":  {b.i.UID, with(func(h http.Header) { h.Add("Linear-Signature", h.Get("Linear-Signature")) }), e.Body, task.CodeAuthenticationRequired},
		"truncated":       {b.i.UID, with(func(h http.Header) { h.Set("Linear-Signature", h.Get("Linear-Signature")[:62]) }), e.Body, task.CodeAuthenticationRequired},
		"other body":      {b.i.UID, e.Header, append(e.Body[:len(e.Body):len(e.Body)], ' '), task.CodeAuthenticationRequired},
		"other secret":    {b.i.UID, signed("other", string(e.Body)), e.Body, task.CodeAuthenticationRequired},
		"too old":         {b.i.UID, signed(b.sim.SigningSecret(), old), []byte(old), task.CodeAuthenticationRequired},
		"from the future": {b.i.UID, signed(b.sim.SigningSecret(), young), []byte(young), task.CodeAuthenticationRequired},
		"other address":   {"nobody", e.Header, e.Body, task.CodeNotFound},
		"longer address":  {b.i.UID + "/x", e.Header, e.Body, task.CodeNotFound},
		"no address":      {"", e.Header, e.Body, task.CodeNotFound},
	} {
		_, err := b.Post("linear", c.uid, c.h, c.body)
		assert.Equal(t, task.CodeOf(err), c.code, "%s: %v", name, err)
	}
	again := with(func(h http.Header) { h.Set("Linear-Delivery", "another") })
	reply, err := b.Post("linear", b.i.UID, again, e.Body)
	assert.NilError(t, err)
	assert.Equal(t, b.Decided(reply.Delivery).Outcome, task.OutcomeDuplicate, "a new name makes no new event")
	assert.Equal(t, len(b.Runs()), 1)

	for name, body := range map[string]string{"no kind": `{"webhookTimestamp":` + millis() + `}`, "no issue": `{"type":"Issue","action":"create","webhookTimestamp":` + millis() + `,"data":[]}`} {
		_, err = b.Post("linear", b.i.UID, signed(b.sim.SigningSecret(), body), []byte(body))
		assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest, name)
	}
	_, err = b.store.Update(t.Context(), b.i.UID, owner, func(s *integration.Spec) error { s.Enabled = false; return nil }, nil)
	assert.NilError(t, err)
	_, err = b.Post("linear", b.i.UID, e.Header, e.Body)
	assert.Equal(t, task.CodeOf(err), task.CodeIntegrationDisabled)
}

// TestAPIFails: what Linear does not answer is asked again, what may have
// arrived is not said twice, and hints are kept.
func TestAPIFails(t *testing.T) {
	b := newBench(t, &linearsim.Options{RetryAfter: 50 * time.Millisecond}, linear.Settings{}, nil)
	issue := b.sim.Create(b.ann, linearsim.Issue{Title: "t"})
	b.last(t)
	b.sim.Fail(linearsim.FaultDown, linearsim.FaultRateLimit)
	b.sim.Comment(b.ann, issue.ID, "", "@oz go")
	assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted)
	b.Settle()
	b.sim.Fail(linearsim.FaultRateLimit, linearsim.FaultRateLimit)
	b.Begin(b.Runs()[0].ID)
	b.Settle()
	assert.DeepEqual(t, b.said(issue.ID), []string{"I am on it.", "The agent has begun."})

	list, err := b.Store.Outgoings(t.Context(), task.OutgoingQuery{Source: b.i.Source(), Limit: 10})
	assert.NilError(t, err)
	assert.Equal(t, len(list), 2)
	for _, o := range list {
		assert.Equal(t, o.State, task.OutgoingSent)
	}
}

// TestNothingIsSaidTwice: the server dies between sending and writing down that
// it has, or the connection breaks.
func TestNothingIsSaidTwice(t *testing.T) {
	for _, sessions := range []bool{false, true} {
		b := newBench(t, &linearsim.Options{AgentSessions: sessions}, linear.Settings{AgentSessions: sessions}, nil)
		issue := b.sim.Create(b.ann, linearsim.Issue{Title: "t"})
		b.sim.Comment(b.ann, issue.ID, "", "@oz go")
		b.last(t)
		b.Settle()
		count := func() int {
			if sessions {
				return len(b.sim.Activities(b.sim.Sessions()[0].ID))
			}
			return len(b.said(issue.ID))
		}
		assert.Equal(t, count(), 1)
		list, err := b.Store.Outgoings(t.Context(), task.OutgoingQuery{Source: b.i.Source(), Limit: 10})
		assert.NilError(t, err)
		sent, err := b.Store.Outgoing(t.Context(), list[0].ID)
		assert.NilError(t, err)
		sent.Attempts = 2
		_, err = b.origin.Send(t.Context(), sent)
		assert.NilError(t, err)
		assert.Equal(t, count(), 1)

		sent.Key, sent.Attempts = "another", 1
		if sessions {
			b.sim.Fail("", linearsim.FaultCut)
		} else {
			b.sim.Fail(linearsim.FaultCut)
		}
		_, err = b.origin.Send(t.Context(), sent)
		assert.ErrorContains(t, err, "EOF")
		sent.Attempts = 2
		_, err = b.origin.Send(t.Context(), sent)
		assert.NilError(t, err)
		assert.Equal(t, count(), 2)
	}
}

func TestBadSettings(t *testing.T) {
	many := make([]linear.Rule, 51)
	for i := range many {
		many[i].Kind = linear.IssueCreated
	}
	tooMany, err := json.Marshal(linear.Settings{Rules: many})
	assert.NilError(t, err)
	for raw, field := range map[string]string{
		`[]`: "settings", `{"rule":[]}`: "settings", `{"rules":[{}]}`: "settings.rules[0].kind", `{"rules":[{"kind":"issue_created"},{"kind":"x"}]}`: "settings.rules[1].kind",
		`{"rules":[{"kind":"issue_created","team_ids":[""]}]}`: "settings.rules[0].team_ids", string(tooMany): "settings.rules",
		`{"rules":[{"kind":"issue_created","label_ids":["` + strings.Repeat("x", 101) + `"]}]}`: "settings.rules[0].label_ids",
	} {
		err := linear.Check(json.RawMessage(raw))
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.ErrorContains(t, err, field)
	}
	for _, raw := range []string{"", "null", "{}", `{"agent_sessions":true,"rules":[{"kind":"issue_labeled","label_ids":["a"]}]}`} {
		assert.NilError(t, linear.Check(json.RawMessage(raw)), raw)
	}
}

// TestProgressIsShown: the task list of a run is the plan of its agent session,
// and below an issue a comment that changes.
func TestProgressIsShown(t *testing.T) {
	b := newBench(t, &linearsim.Options{AgentSessions: true}, linear.Settings{AgentSessions: true}, nil)
	b.sim.Create(b.ann, linearsim.Issue{Title: "Crash at start", Delegate: b.sim.App.ID})
	b.Settle()
	id := b.Runs()[0].ID
	b.Begin(id)
	b.Todos(id, task.Todo{Title: "Look", Done: true}, task.Todo{Title: "Mend"}, task.Todo{Title: "Test"})
	b.Settle()
	assert.DeepEqual(t, b.sim.Sessions()[0].Plan, []linearsim.Step{{Content: "Look", Status: "completed"}, {Content: "Mend", Status: "inProgress"}, {Content: "Test", Status: "pending"}})
	b.sim.Fail(linearsim.FaultCut)
	b.Todos(id, task.Todo{Title: "Mend", Done: true})
	until(t, func() bool { return len(b.sim.Sessions()[0].Plan) == 1 })
	b.Todos(id, make100()...)
	b.Finish(id, task.StateSucceeded, task.Status{Message: "Mended."})
	until(t, func() bool { return len(b.sim.Sessions()[0].Plan) > 1 })
	plan := b.sim.Sessions()[0].Plan
	assert.Equal(t, len(plan), trigger.MaxProgressItems+1)
	assert.Equal(t, plan[len(plan)-1].Content, "and 70 more")
}

func make100() (list []task.Todo) {
	for range 100 {
		list = append(list, task.Todo{Title: "step"})
	}
	return list
}

func until(t *testing.T, met func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !met(); time.Sleep(5 * time.Millisecond) {
		assert.Assert(t, time.Now().Before(end), "waited in vain")
	}
}

// TestProgressIsAComment: without agent sessions it stands in one comment, which
// is made once also when the connection breaks.
func TestProgressIsAComment(t *testing.T) {
	b := newBench(t, nil, linear.Settings{}, nil)
	issue := b.sim.Create(b.ann, linearsim.Issue{Title: "Crash at start", Description: "It crashes."})
	b.sim.Comment(b.ann, issue.ID, "", "@oz please mend it")
	b.last(t)
	id := b.Runs()[0].ID
	b.Begin(id)
	b.Settle()
	b.sim.Fail(linearsim.FaultCut) // of the question whether it is there
	b.Todos(id, task.Todo{Title: "Look", Done: true}, task.Todo{Title: "Mend"})
	until(t, func() bool { return len(b.said(issue.ID)) == 3 })
	assert.DeepEqual(t, b.said(issue.ID), []string{"I am on it.", "The agent has begun.", "I am at work.\n\n1 of 2 done:\n\n- ☑ Look\n- ☐ Mend"})
	b.Settle()
	b.Todos(id, task.Todo{Title: "Look", Done: true}, task.Todo{Title: "Mend", Done: true})
	until(t, func() bool { return strings.Contains(b.said(issue.ID)[2], "2 of 2 done") })
	b.Finish(id, task.StateSucceeded, task.Status{Message: "Mended."})
	b.Settle()
	assert.Assert(t, len(b.said(issue.ID)) == 4 && strings.HasPrefix(b.said(issue.ID)[3], "Mended."), "%q", b.said(issue.ID))
	for _, c := range b.sim.Comments(issue.ID) {
		if strings.HasPrefix(c.Body, "I am at work.") {
			assert.Equal(t, c.Edits, 1)
		}
	}
}

// TestPeopleAreKnownByEmail: who has not linked their account counts as whoever
// of the team has their address; guests, people who have left, and everybody
// where one wants that, must link it.
func TestPeopleAreKnownByEmail(t *testing.T) {
	for name, tt := range map[string]struct {
		change   func(*linearsim.User)
		settings linear.Settings
		address  string // of the team's
		linked   bool   // to somebody else
		want     string // who it is
	}{
		"the same":      {address: "eve@example.com", want: "found"},
		"another":       {address: "ann@example.com"},
		"none":          {change: func(u *linearsim.User) { u.Email = "" }, address: ""},
		"a guest":       {change: func(u *linearsim.User) { u.Guest = true }, address: "eve@example.com"},
		"has left":      {change: func(u *linearsim.User) { u.Left = true }, address: "eve@example.com"},
		"not wanted":    {settings: linear.Settings{NoEmailMatch: true}, address: "eve@example.com"},
		"a link counts": {address: "eve@example.com", linked: true, want: "linked"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBenchWith(t, nil, tt.settings, nil, &integration.Options{PublicURL: "https://oz.example.com",
				ByEmail: func(_ context.Context, email string, owner task.Scope) (task.Principal, bool, error) {
					assert.Check(t, email != "" && owner == team)
					return task.Principal{Type: task.PrincipalUser, UID: "found"}, email == tt.address, nil
				}})
			if tt.change != nil {
				tt.change(&b.eve)
				b.sim.SetUser(b.eve)
			}
			if tt.linked {
				assert.NilError(t, b.store.SetLink(t.Context(), integration.Link{Provider: integration.Linear, Account: b.eve.ID, Name: "Eve", Person: task.Principal{Type: task.PrincipalUser, UID: "linked"}}))
			}
			issue := b.sim.Create(b.ann, linearsim.Issue{Title: "t"})
			b.sim.Comment(b.eve, issue.ID, "", "@oz please mend it")
			d := b.last(t)
			if tt.want == "" {
				assert.Equal(t, d.Outcome, task.OutcomeFailed)
				assert.Equal(t, len(b.Runs()), 0)
				return
			}
			assert.Equal(t, d.Outcome, task.OutcomeStarted, d.Reason)
			assert.Equal(t, b.Runs()[0].Creator.UID, tt.want)
		})
	}
}
