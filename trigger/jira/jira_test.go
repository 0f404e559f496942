package jira_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/jira"
	"github.com/oz-platform/cloudagents/trigger/jira/jirasim"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	team  = task.Scope{Type: task.ScopeTeam, UID: "red"}
	owner = task.Principal{Type: task.PrincipalUser, UID: "owner"}
	ann   = task.Principal{Type: task.PrincipalUser, UID: "ann"}
)

// bench is a site, an engine and an integration between them.
type bench struct {
	*triggertest.Rig
	sim    *jirasim.Sim
	store  *integration.Store
	origin *jira.Origin
	i      integration.Integration
	ann    jirasim.Account // linked
	eve    jirasim.Account // not linked
}

func newBench(t testing.TB, simOpts *jirasim.Options, change func(*integration.Spec, *jira.Settings)) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "oz-jira-")
	if err != nil {
		dir = t.TempDir()
	}
	db, err := sqlitestore.Open(context.Background(), filepath.Join(dir, "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, db.Close()); assert.Check(t, os.RemoveAll(dir)) })
	keys, err := sealed.OpenKeys(filepath.Join(dir, "keys", "secrets.json"))
	assert.NilError(t, err)

	b := &bench{sim: jirasim.New(t, simOpts), store: integration.NewStore(db, sealed.New(db, keys, nil), &integration.Options{PublicURL: "https://oz.example.com"})}
	settings := jira.Settings{Site: "https://acme.atlassian.net", Email: b.sim.Email()}
	spec := integration.Spec{Name: "jira", Enabled: true, Prompt: "Be brief."}
	if change != nil {
		change(&spec, &settings)
	}
	spec.Settings, err = json.Marshal(settings)
	assert.NilError(t, err)
	b.i, err = b.store.Create(t.Context(), integration.Jira, team, owner, spec,
		map[string]string{jira.SecretToken: b.sim.Token(), jira.SecretSigning: b.sim.SigningSecret()})
	assert.NilError(t, err)
	b.origin = jira.NewOrigin(b.store, &jira.Options{APIURL: b.sim.URL})
	b.Rig = triggertest.New(t, db, []trigger.Origin{b.origin}, nil)
	b.sim.SendTo(b.Rig, b.i.UID)
	b.ann, b.eve = b.sim.Person("Ann Able"), b.sim.Person("Eve Else")
	assert.NilError(t, b.store.SetLink(t.Context(), integration.Link{Provider: integration.Jira, Account: b.ann.ID, Name: "Ann", Person: ann}))
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

// said are the texts of comments by the agent, their first lines.
func (b *bench) said(issue string) (list []string) {
	for _, c := range b.sim.Comments(issue) {
		if c.Author.ID == b.sim.Agent.ID {
			text, _, _ := strings.Cut(jirasim.TextOf(c.Body), "\n")
			list = append(list, text)
		}
	}
	return list
}

const description = `{"type":"doc","version":1,"content":[
 {"type":"heading","attrs":{"level":2},"content":[{"type":"text","text":"Steps"}]},
 {"type":"orderedList","content":[{"type":"listItem","content":[{"type":"paragraph","content":[{"type":"text","text":"Export"}]}]}]},
 {"type":"codeBlock","attrs":{"language":"go"},"content":[{"type":"text","text":"panic(1)"}]}]}`

func TestLabelStartsARunAndTheNextGoesOn(t *testing.T) {
	b := newBench(t, nil, nil)
	issue := b.sim.Create(b.ann, jirasim.Issue{Summary: "The export is empty", Description: json.RawMessage(description), Labels: []string{"bug"}})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeIgnored)
	b.sim.Comment(b.eve, issue.ID, "Me too")
	b.sim.Comment(b.ann, issue.ID, "Hello "+jirasim.Mention(b.sim.Agent))
	assert.Equal(t, b.last(t).Outcome, task.OutcomeIgnored, "there is no run to go on with")
	b.sim.Label(b.ann, issue.ID, "bug", "warp-agent")
	d := b.last(t)
	assert.Equal(t, d.Outcome, task.OutcomeStarted, d.Reason)
	assert.Equal(t, d.Event, "jira:issue_updated")

	run := b.Runs()[0]
	s, _ := b.Host.Started(run.ID)
	assert.Equal(t, run.Source, task.SourceJira)
	assert.Equal(t, run.Creator.UID, "ann")
	assert.Equal(t, s.Title, "WEB-1 The export is empty")
	assert.Equal(t, s.URL, "https://acme.atlassian.net/browse/WEB-1")
	assert.Assert(t, strings.HasPrefix(s.Prompt, "Be brief."))
	assert.Assert(t, strings.Contains(s.Prompt, "Ann Able put the label warp-agent on the Jira issue WEB-1 (The export is empty)"), s.Prompt)
	file := string(s.Files[0].Data)
	for _, part := range []string{"# WEB-1: The export is empty", "## Steps\n\n", "1. Export", "```go\npanic(1)\n```", "Comment of Eve Else", "Me too", "Labels: bug, warp-agent"} {
		assert.Assert(t, strings.Contains(file, part), "%s\n\nlacks %q", file, part)
	}

	b.sim.Comment(b.ann, issue.ID, "Also as CSV, "+jirasim.Mention(b.sim.Agent))
	assert.Equal(t, b.last(t).Outcome, task.OutcomeContinued)
	b.sim.Comment(b.ann, issue.ID, "Between us")
	assert.Equal(t, b.last(t).Outcome, task.OutcomeIgnored)
	inputs := b.Inputs(run.ID)
	assert.Equal(t, len(inputs), 2)
	assert.Assert(t, strings.Contains(inputs[1].Text, "Also as CSV"))
	b.Begin(run.ID)
	b.Settle()
	b.Note(run.ID, "k", "Half is done.")
	b.Finish(run.ID, task.StateSucceeded, task.Status{Message: "Mended.\n\n```\nok\n```"})
	b.Settle()
	assert.DeepEqual(t, b.said(issue.ID), []string{"I am on it.", "Noted. The run about this issue goes on with it.", "The agent has begun.", "Half is done.", "Mended."})
	list := b.sim.Comments(issue.ID)
	assert.Equal(t, jirasim.TextOf(list[len(list)-1].Body), "Mended.\nok\nOpen the run (https://oz.example.com/runs/"+string(run.ID)+")")

	b.sim.Label(b.ann, issue.ID, "bug")
	assert.Equal(t, b.last(t).Outcome, task.OutcomeIgnored)
	b.sim.Label(b.ann, issue.ID, "bug", "warp-agent")
	assert.Equal(t, b.last(t).Outcome, task.OutcomeContinued, "the label was added again")
	assert.Equal(t, len(b.Runs()), 1)
	b.sim.Create(b.ann, jirasim.Issue{Summary: "x", Labels: []string{"warp-agent"}})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted, "labelled from the start")
}

func TestQuestionsAndPullRequests(t *testing.T) {
	b := newBench(t, nil, nil)
	issue := b.sim.Create(b.ann, jirasim.Issue{Summary: "x", Labels: []string{"warp-agent"}})
	b.last(t)
	run := b.Runs()[0]
	b.Finish(run.ID, task.StateBlocked, task.Status{Question: &task.Question{ID: "q", Kind: task.QuestionPerson, Text: "Which one?", Choices: []string{"left", "right"}}})
	b.Settle()
	list := b.sim.Comments(issue.ID)
	assert.Assert(t, strings.HasPrefix(jirasim.TextOf(list[len(list)-1].Body), "Which one?\nleft\nright\n"), "%s", list[len(list)-1].Body)
	b.sim.Comment(b.ann, issue.ID, jirasim.Mention(b.sim.Agent)+" left")
	assert.Equal(t, b.last(t).Outcome, task.OutcomeContinued)
}

// TestStartFailureEditsTheComment: a run that fails before an agent has worked
// takes the place of its announcement.
func TestStartFailureEditsTheComment(t *testing.T) {
	b := newBench(t, nil, nil)
	issue := b.sim.Create(b.ann, jirasim.Issue{Summary: "x", Labels: []string{"warp-agent"}})
	b.last(t)
	b.Settle()
	run := b.Runs()[0]
	x, lease := task.NewExecutionID(), time.Now().Add(time.Hour)
	for _, c := range []task.Command{task.Offer{Execution: x, Worker: "w", LeaseUntil: lease}, task.Accept{Execution: x, LeaseUntil: lease},
		task.End{Execution: x, State: task.StateFailed, Status: task.Status{Message: "No such image.", ErrorCode: task.CodeEnvironmentSetupFailed}}} {
		_, err := b.Store.Do(t.Context(), run.ID, c)
		assert.NilError(t, err)
	}
	b.Settle()
	assert.DeepEqual(t, b.said(issue.ID), []string{"No such image. (`environment_setup_failed`)"})
	assert.Assert(t, b.sim.Comments(issue.ID)[0].Edited)

	b.sim.Label(b.ann, issue.ID)
	b.sim.Label(b.ann, issue.ID, "warp-agent")
	assert.Equal(t, b.last(t).Outcome, task.OutcomeContinued)
	b.Settle()
	assert.Equal(t, len(b.said(issue.ID)), 2, "another attempt has a comment of its own")
}

func TestRefusedStartIsTold(t *testing.T) {
	b := newBench(t, nil, nil)
	b.Host.Refuse(func(trigger.Start) error { return task.Errorf(task.CodeNotFound, "the environment is gone") })
	issue := b.sim.Create(b.ann, jirasim.Issue{Summary: "x", Labels: []string{"warp-agent"}})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeFailed)
	b.Settle()
	assert.DeepEqual(t, b.said(issue.ID), []string{"I cannot start: start a run: the environment is gone"})
	b.Host.Refuse(nil)
	b.sim.Label(b.ann, issue.ID)
	b.sim.Label(b.ann, issue.ID, "warp-agent")
	assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted, "the label was added again")
}

// TestUnlinkedGetsALink: by an e-mail, which nobody else reads.
func TestUnlinkedGetsALink(t *testing.T) {
	b := newBench(t, nil, nil)
	issue := b.sim.Create(b.eve, jirasim.Issue{Summary: "x", Labels: []string{"warp-agent"}})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeFailed)
	b.Settle()
	assert.Equal(t, len(b.Runs()), 0)
	said := b.said(issue.ID)
	assert.Equal(t, len(said), 1)
	assert.Assert(t, strings.HasPrefix(said[0], "Eve Else, your account here is not linked yet") && !strings.Contains(said[0], "code="), said[0])
	mails := b.sim.Mails()
	assert.Equal(t, len(mails), 1)
	assert.Equal(t, mails[0].To, b.eve.ID)
	_, rest, _ := strings.Cut(mails[0].Text, "code=")
	code, _, _ := strings.Cut(rest, "\n")
	_, err := b.store.AcceptLink(t.Context(), code, task.Principal{Type: task.PrincipalUser, UID: "eve"})
	assert.NilError(t, err)
	b.sim.Label(b.eve, issue.ID)
	b.sim.Label(b.eve, issue.ID, "warp-agent")
	assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted)
	assert.Equal(t, b.Runs()[0].Creator.UID, "eve")
}

func TestStrangersAndPrograms(t *testing.T) {
	for trust, want := range map[integration.Trust]task.Outcome{integration.TrustUntrusted: task.OutcomeStarted, integration.TrustHold: task.OutcomeHeld} {
		b := newBench(t, nil, func(s *integration.Spec, _ *jira.Settings) { s.Trust = trust })
		b.sim.Create(b.eve, jirasim.Issue{Summary: "x", Labels: []string{"warp-agent"}})
		d := b.last(t)
		assert.Equal(t, d.Outcome, want, d.Reason)
		if want == task.OutcomeHeld {
			let, err := b.Engine.Approve(t.Context(), d.ID, ann)
			assert.NilError(t, err)
			assert.Equal(t, b.Decided(let.ID).Outcome, task.OutcomeStarted)
		}
		s, _ := b.Host.Started(b.Runs()[0].ID)
		assert.Assert(t, s.Untrusted)
	}
	b := newBench(t, nil, nil)
	issue := b.sim.Create(jirasim.Account{ID: "x", Name: "Robot", Type: "app"}, jirasim.Issue{Summary: "x", Labels: []string{"warp-agent"}})
	assert.Equal(t, b.last(t).Reason, "its author is a program")
	b.sim.Label(b.sim.Agent, issue.ID)
	b.sim.Label(b.sim.Agent, issue.ID, "warp-agent")
	assert.Equal(t, b.last(t).Reason, "the agent itself did this")
	b.Settle()
	assert.Equal(t, len(b.said(issue.ID)), 0)
	assert.Equal(t, len(b.Runs()), 0)
}

func TestProjectsAndLabels(t *testing.T) {
	b := newBench(t, nil, func(_ *integration.Spec, s *jira.Settings) { s.Projects, s.Label = []string{"WEB"}, "go" })
	for key, want := range map[string]bool{"WEB-7": true, "APP-7": false} {
		b.sim.Create(b.ann, jirasim.Issue{Key: key, Summary: "x", Labels: []string{"go"}})
		assert.Equal(t, b.last(t).Outcome == task.OutcomeStarted, want)
	}
	b.sim.Create(b.ann, jirasim.Issue{Key: "WEB-8", Summary: "x", Labels: []string{"warp-agent", "going"}})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeIgnored)
}

// TestOAuthApp: a bearer's token, and webhooks with JWTs.
func TestOAuthApp(t *testing.T) {
	oauth := func(_ *integration.Spec, s *jira.Settings) {
		s.Email, s.CloudID, s.Proof = "", "0b1a8d5e-4b0e-4a55-9d1e-2f0c1c0f3a11", jira.ProofJWT
	}
	b := newBench(t, &jirasim.Options{OAuth: true, JWT: true, SigningSecret: strings.Repeat("s", 64)}, oauth)
	b.sim.Create(b.ann, jirasim.Issue{Summary: "x", Labels: []string{"warp-agent"}})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted)

	body := []byte(`{"webhookEvent":"x","timestamp":` + strconv.FormatInt(time.Now().UnixMilli(), 10) + `}`)
	now := time.Now()
	token := func(secret string, alg jose.SignatureAlgorithm, issued, expires time.Time) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: []byte(secret)}, nil)
		assert.NilError(t, err)
		s, err := jwt.Signed(signer).Claims(jwt.Claims{IssuedAt: jwt.NewNumericDate(issued), Expiry: jwt.NewNumericDate(expires)}).Serialize()
		assert.NilError(t, err)
		return s
	}
	good := strings.Repeat("s", 64)
	for name, value := range map[string]string{
		"none": "", "word": "Bearer x", "other secret": "Bearer " + token(strings.Repeat("o", 64), jose.HS256, now, now.Add(time.Minute)),
		"other algorithm": "Bearer " + token(good, jose.HS512, now, now.Add(time.Minute)), "over": "Bearer " + token(good, jose.HS256, now.Add(-time.Hour), now.Add(-10*time.Minute)),
		"not yet": "Bearer " + token(good, jose.HS256, now.Add(10*time.Minute), now.Add(20*time.Minute)), "too long": "Bearer " + token(good, jose.HS256, now, now.Add(2*time.Hour)),
		"basic": "Basic " + token(good, jose.HS256, now, now.Add(time.Minute)), "not signed": "Bearer eyJhbGciOiJub25lIn0.eyJpYXQiOjF9.",
	} {
		_, err := b.Post("jira", b.i.UID, http.Header{"Authorization": {value}}, body)
		assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired, "%s: %v", name, err)
	}
	_, err := b.Post("jira", b.i.UID, http.Header{"Authorization": {"Bearer " + token(good, jose.HS256, now, now.Add(time.Minute))}}, body)
	assert.NilError(t, err)
}

func TestRefusals(t *testing.T) {
	b := newBench(t, nil, nil)
	b.sim.Create(b.ann, jirasim.Issue{Summary: "x", Labels: []string{"warp-agent"}})
	b.last(t)
	e := b.sim.Events()[0]
	signed := func(body string) http.Header {
		h := http.Header{}
		assert.NilError(t, b.sim.Sign(h, []byte(body)))
		return h
	}
	with := func(change func(http.Header)) http.Header { h := e.Header.Clone(); change(h); return h }
	old := `{"webhookEvent":"x","timestamp":` + strconv.FormatInt(time.Now().Add(-25*time.Hour).UnixMilli(), 10) + `}`
	for name, c := range map[string]struct {
		uid  string
		h    http.Header
		body []byte
		code task.Code
	}{
		"no signature":   {b.i.UID, nil, e.Body, task.CodeAuthenticationRequired},
		"two signatures": {b.i.UID, with(func(h http.Header) { h.Add("X-Hub-Signature", h.Get("X-Hub-Signature")) }), e.Body, task.CodeAuthenticationRequired},
		"truncated":      {b.i.UID, with(func(h http.Header) { h.Set("X-Hub-Signature", h.Get("X-Hub-Signature")[:60]) }), e.Body, task.CodeAuthenticationRequired},
		"no method":      {b.i.UID, with(func(h http.Header) { h.Set("X-Hub-Signature", h.Get("X-Hub-Signature")[7:]) }), e.Body, task.CodeAuthenticationRequired},
		"a JWT":          {b.i.UID, http.Header{"Authorization": {"Bearer x"}}, e.Body, task.CodeAuthenticationRequired},
		"other body":     {b.i.UID, e.Header, append(e.Body[:len(e.Body):len(e.Body)], ' '), task.CodeAuthenticationRequired},
		"too old":        {b.i.UID, signed(old), []byte(old), task.CodeAuthenticationRequired},
		"no time":        {b.i.UID, signed(`{"webhookEvent":"x"}`), []byte(`{"webhookEvent":"x"}`), task.CodeAuthenticationRequired},
		"no JSON":        {b.i.UID, signed(`{`), []byte(`{`), task.CodeInvalidRequest},
		"other address":  {"nobody", e.Header, e.Body, task.CodeNotFound},
		"no address":     {"", e.Header, e.Body, task.CodeNotFound},
	} {
		_, err := b.Post("jira", c.uid, c.h, c.body)
		assert.Equal(t, task.CodeOf(err), c.code, "%s: %v", name, err)
	}
	again := b.sim.Redeliver(e)
	assert.NilError(t, again.Err)
	assert.Equal(t, b.Decided(again.Reply.Delivery).Outcome, task.OutcomeDuplicate)
	assert.Equal(t, len(b.Runs()), 1)
	_, err := b.store.Update(t.Context(), b.i.UID, owner, func(s *integration.Spec) error { s.Enabled = false; return nil }, nil)
	assert.NilError(t, err)
	assert.Equal(t, task.CodeOf(b.sim.Redeliver(e).Err), task.CodeIntegrationDisabled)
}

func TestAPIFails(t *testing.T) {
	b := newBench(t, nil, nil)
	b.sim.Fail(jirasim.FaultDown, "", jirasim.FaultRateLimit)
	issue := b.sim.Create(b.ann, jirasim.Issue{Summary: "x", Labels: []string{"warp-agent"}})
	assert.Equal(t, b.last(t).Outcome, task.OutcomeStarted)
	b.Settle()
	b.sim.Fail(jirasim.FaultRateLimit)
	b.Begin(b.Runs()[0].ID)
	for end := time.Now().Add(time.Minute); len(b.said(issue.ID)) < 2; time.Sleep(20 * time.Millisecond) {
		assert.Assert(t, time.Now().Before(end), "a second was asked for")
	}
	assert.DeepEqual(t, b.said(issue.ID), []string{"I am on it.", "The agent has begun."})
}

// TestNothingIsSaidTwice: the server dies between sending and writing down that
// it has, or the connection breaks.
func TestNothingIsSaidTwice(t *testing.T) {
	b := newBench(t, nil, nil)
	issue := b.sim.Create(b.ann, jirasim.Issue{Summary: "x", Labels: []string{"warp-agent"}})
	b.last(t)
	b.Settle()
	list, err := b.Store.Outgoings(t.Context(), task.OutgoingQuery{Source: b.i.Source(), Limit: 10})
	assert.NilError(t, err)
	sent, err := b.Store.Outgoing(t.Context(), list[0].ID)
	assert.NilError(t, err)
	assert.Equal(t, len(b.said(issue.ID)), 1)
	sent.Attempts = 2
	_, err = b.origin.Send(t.Context(), sent)
	assert.NilError(t, err)
	assert.Equal(t, len(b.said(issue.ID)), 1)

	sent.Key, sent.Attempts = "another", 1
	b.sim.Fail(jirasim.FaultCut)
	_, err = b.origin.Send(t.Context(), sent)
	assert.ErrorContains(t, err, "EOF")
	sent.Attempts = 2
	result, err := b.origin.Send(t.Context(), sent)
	assert.NilError(t, err)
	comments := b.sim.Comments(issue.ID)
	assert.Equal(t, len(comments), 2)
	assert.Equal(t, string(result), `{"id":"`+comments[1].ID+`"}`)
}

func TestBadSettings(t *testing.T) {
	const good = `"site":"https://acme.atlassian.net","email":"a@example.com"`
	for raw, field := range map[string]string{
		``: "settings.site", `{}`: "settings.site", `[]`: "settings", `{"x":1}`: "settings",
		`{"site":"http://acme.atlassian.net"}`: "settings.site", `{"site":"https://acme.atlassian.net.evil.example"}`: "settings.site",
		`{"site":"https://10.0.0.1"}`: "settings.site", `{"site":"https://acme.atlassian.net"}`: "settings.cloud_id",
		`{` + good + `,"cloud_id":"0b1a8d5e-4b0e-4a55-9d1e-2f0c1c0f3a11"}`: "settings.cloud_id", `{"site":"https://acme.atlassian.net","cloud_id":"../x"}`: "settings.cloud_id",
		`{"site":"https://acme.atlassian.net","email":"a:b@x"}`: "settings.email", `{` + good + `,"proof":"x"}`: "settings.proof",
		`{"site":"https://acme.atlassian.net","email":"ann"}`: "settings.email", `{"site":"https://acme.atlassian.net","email":"a b@x"}`: "settings.email",
		`{` + good + `,"label":"a b"}`: "settings.label", `{` + good + `,"label":"a\u200bb"}`: "settings.label",
		`{` + good + `,"label":"` + strings.Repeat("é", 256) + `"}`: "settings.label", `{` + good + `,"projects":["web"]}`: "settings.projects",
	} {
		err := jira.Check(json.RawMessage(raw))
		assert.ErrorIs(t, err, task.ErrInvalid, raw)
		assert.ErrorContains(t, err, field)
	}
	assert.NilError(t, jira.Check(json.RawMessage(`{`+good+`,"label":"`+strings.Repeat("é", 255)+`","projects":["WEB"],"proof":"jwt"}`)))
}

func TestText(t *testing.T) {
	for raw, want := range map[string]string{
		`null`: "", `"plain"`: "plain", `3`: "", description: "## Steps\n\n1. Export\n\n```go\npanic(1)\n```",
		`{"type":"doc","content":[{"type":"paragraph","content":[{"type":"text","text":"a","marks":[{"type":"strong"}]},{"type":"hardBreak"},{"type":"text","text":"b","marks":[{"type":"link","attrs":{"href":"https://x"}}]},{"type":"mention","attrs":{"id":"1","text":"@Ann"}},{"type":"inlineCard","attrs":{"url":"https://y"}}]}]}`: "**a**\n[b](https://x)@Annhttps://y",
		`{"type":"doc","content":[{"type":"bulletList","content":[{"type":"listItem","content":[{"type":"paragraph","content":[{"type":"text","text":"a"}]},{"type":"bulletList","content":[{"type":"listItem","content":[{"type":"paragraph","content":[{"type":"text","text":"b"}]}]}]}]}]}]}`:                                          "- a\n  - b",
		`{"type":"doc","content":[{"type":"taskList","content":[{"type":"taskItem","attrs":{"state":"DONE"},"content":[{"type":"text","text":"a"}]},{"type":"taskItem","content":[{"type":"text","text":"b"}]}]}]}`:                                                                                                                       "- [x] a\n- [ ] b",
		`{"type":"doc","content":[{"type":"table","content":[{"type":"tableRow","content":[{"type":"tableHeader","content":[{"type":"paragraph","content":[{"type":"text","text":"h"}]}]},{"type":"tableCell","content":[]}]}]}]}`:                                                                                                        "| h |  |",
		`{"type":"doc","content":[{"type":"panel","content":[{"type":"paragraph","content":[{"type":"text","text":"p"}]}]},{"type":"blockquote","content":[{"type":"paragraph","content":[{"type":"text","text":"q"}]}]},{"type":"mediaSingle","content":[{"type":"media","attrs":{"alt":"shot.png"}}]}]}`:                                "p\n\n> q\n\n[image shot.png]",
	} {
		assert.Equal(t, jira.Text(json.RawMessage(raw)), want, raw)
	}
}

// TestProgressIsShown: the comment that says that the agent has begun comes to
// show its task list.
func TestProgressIsShown(t *testing.T) {
	b := newBench(t, nil, nil)
	issue := b.sim.Create(b.ann, jirasim.Issue{Summary: "The export is empty"})
	b.sim.Label(b.ann, issue.ID, "warp-agent")
	b.last(t)
	id := b.Runs()[0].ID
	b.Begin(id)
	b.Settle()
	b.Todos(id, task.Todo{Title: "Look", Done: true}, task.Todo{Title: "Mend"})
	b.Settle()
	assert.DeepEqual(t, b.said(issue.ID), []string{"I am on it.", "I am at work."})
	list := b.sim.Comments(issue.ID)
	text := jirasim.TextOf(list[len(list)-1].Body)
	for _, part := range []string{"1 of 2 done:", "☑ Look", "☐ Mend", "Open the run"} {
		assert.Assert(t, strings.Contains(text, part), text)
	}
	b.Todos(id, task.Todo{Title: "Look", Done: true}, task.Todo{Title: "Mend", Done: true})
	b.Settle()
	b.Finish(id, task.StateSucceeded, task.Status{Message: "Mended."})
	b.Settle()
	assert.DeepEqual(t, b.said(issue.ID), []string{"I am on it.", "I am at work.", "Mended."})
	list = b.sim.Comments(issue.ID)
	assert.Assert(t, strings.Contains(jirasim.TextOf(list[len(list)-2].Body), "2 of 2 done:"))
}
