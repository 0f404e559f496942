package oz_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/fileblob"
)

const png = "\x89PNG\r\n\x1a\n and so on"

func openBlobs(t testing.TB) *fileblob.Store {
	t.Helper()
	blobs, err := fileblob.Open(t.TempDir(), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, blobs.Close()) })
	return blobs
}

func models() executor.Models {
	return executor.Models{Default: "small", Providers: []executor.ModelProvider{
		{Name: "one", Wire: "anthropic", APIKey: "sk-one-0123456789abcdef", Models: []string{"small", "claude-*"}},
		{Name: "two", Wire: "openai", APIKey: "sk-two-0123456789abcdef", Models: []string{"gpt-large"}},
	}}
}

func TestSubmitValidates(t *testing.T) {
	p, store := newPlatform(t, &oz.Options{Blobs: openBlobs(t), Models: models(), MaxAttachmentBytes: 1000})
	clients := people(t, p)
	bob := clients["bob"]
	parent := submit(t, bob, oz.Request{Prompt: "parent"})
	child := submit(t, bob, oz.Request{Prompt: "child", ParentRunID: parent.ID})
	foreign := submit(t, clients["cid"], oz.Request{Prompt: "foreign"})
	personal, err := bob.CreateEnvironment(t.Context(), environment.Config{Name: "mine"}, ptr(false))
	assert.NilError(t, err)
	theirs, err := clients["cid"].CreateEnvironment(t.Context(), environment.Config{Name: "theirs"}, nil)
	assert.NilError(t, err)

	many := map[string]string{}
	for i := range 21 {
		many[fmt.Sprint("k", i)] = ""
	}
	image := oz.AttachmentInput{FileName: "a.png", MIMEType: "image/png", Data: []byte(png)}
	with := func(change func(*oz.AttachmentInput)) []oz.AttachmentInput {
		a := image
		change(&a)
		return []oz.AttachmentInput{a}
	}
	config := func(c task.Config) oz.Request { return oz.Request{Prompt: "x", Config: c} }
	mcp := func(raw string) oz.Request {
		return config(task.Config{MCPServers: map[string]json.RawMessage{"m": json.RawMessage(raw)}})
	}
	for _, c := range []struct {
		name  string
		r     oz.Request
		code  task.Code
		field string
	}{
		{"nothing to do", oz.Request{}, task.CodeInvalidRequest, "prompt"},
		{"blank prompt", oz.Request{Prompt: " \n\t"}, task.CodeInvalidRequest, "prompt"},
		{"prompt of 10 MiB", oz.Request{Prompt: strings.Repeat("x", 10<<20)}, task.CodeInvalidRequest, "prompt"},
		{"invalid UTF-8", oz.Request{Prompt: "a\xff"}, task.CodeInvalidRequest, "prompt"},
		{"NUL", oz.Request{Prompt: "a\x00b"}, task.CodeInvalidRequest, "prompt"},
		{"long title", oz.Request{Prompt: "x", Title: strings.Repeat("x", 301)}, task.CodeInvalidRequest, "title"},
		{"title of two lines", oz.Request{Prompt: "x", Title: "a\nb"}, task.CodeInvalidRequest, "title"},
		{"odd source", oz.Request{Prompt: "x", Source: "FAX"}, task.CodeInvalidRequest, "source"},
		{"odd mode", oz.Request{Prompt: "x", Mode: "loud"}, task.CodeInvalidRequest, "mode"},
		{"skill", oz.Request{Skill: "org/repo:skill"}, task.CodeFeatureNotAvailable, "skill"},
		{"skill twice", config(task.Config{SkillSpec: "a", Skills: []string{"b"}}), task.CodeInvalidRequest, "config.skill_spec"},
		{"on behalf of", oz.Request{Prompt: "x", OnBehalfOf: "ann"}, task.CodeNotAuthorized, "on_behalf_of"},
		{"identity", oz.Request{Prompt: "x", AgentIdentityUID: "i"}, task.CodeNotFound, "agent_identity_uid"},
		{"identity on a personal run", oz.Request{Prompt: "x", AgentIdentityUID: "i", Team: ptr(false)}, task.CodeInvalidRequest, "agent_identity_uid"},
		{"long key", oz.Request{Prompt: "x", IdempotencyKey: strings.Repeat("k", 256)}, task.CodeInvalidRequest, "Idempotency-Key"},
		{"unknown conversation", oz.Request{ConversationID: "c"}, task.CodeNotFound, "conversation_id"},
		{"foreign conversation", oz.Request{ConversationID: string(foreign.ID)}, task.CodeNotFound, "conversation_id"},
		{"known conversation", oz.Request{ConversationID: string(parent.ID)}, task.CodeInvalidRequest, "conversation_id"},
		{"unknown parent", oz.Request{Prompt: "x", ParentRunID: "p"}, task.CodeInvalidRequest, "parent_run_id"},
		{"foreign parent", oz.Request{Prompt: "x", ParentRunID: foreign.ID}, task.CodeInvalidRequest, "parent_run_id"},
		{"grandchild", oz.Request{Prompt: "x", ParentRunID: child.ID}, task.CodeInvalidRequest, "parent_run_id"},

		{"21 metadata keys", oz.Request{Prompt: "x", Metadata: many}, task.CodeInvalidRequest, "metadata"},
		{"empty metadata key", oz.Request{Prompt: "x", Metadata: map[string]string{"": ""}}, task.CodeInvalidRequest, "metadata"},
		{"long metadata key", oz.Request{Prompt: "x", Metadata: map[string]string{strings.Repeat("k", 65): ""}}, task.CodeInvalidRequest, "metadata"},
		{"odd metadata key", oz.Request{Prompt: "x", Metadata: map[string]string{"a b": ""}}, task.CodeInvalidRequest, "metadata"},
		{"long metadata value", oz.Request{Prompt: "x", Metadata: map[string]string{"a": strings.Repeat("v", 257)}}, task.CodeInvalidRequest, "metadata"},
		{"NUL in metadata", oz.Request{Prompt: "x", Metadata: map[string]string{"a": "\x00"}}, task.CodeInvalidRequest, "metadata"},
		{"metadata not UTF-8", oz.Request{Prompt: "x", Metadata: map[string]string{"a": "\xff"}}, task.CodeInvalidRequest, "metadata"},

		{"six attachments", oz.Request{Prompt: "x", Attachments: []oz.AttachmentInput{image, image, image, image, image, image}}, task.CodeInvalidRequest, "attachments"},
		{"path as file name", oz.Request{Prompt: "x", Attachments: with(func(a *oz.AttachmentInput) { a.FileName = "../a.png" })}, task.CodeInvalidRequest, "attachments[0].file_name"},
		{"no file name", oz.Request{Prompt: "x", Attachments: with(func(a *oz.AttachmentInput) { a.FileName = "" })}, task.CodeInvalidRequest, "attachments[0].file_name"},
		{"type of attachment", oz.Request{Prompt: "x", Attachments: with(func(a *oz.AttachmentInput) { a.MIMEType = "text/html" })}, task.CodeInvalidRequest, "attachments[0].mime_type"},
		{"empty attachment", oz.Request{Prompt: "x", Attachments: with(func(a *oz.AttachmentInput) { a.Data = nil })}, task.CodeInvalidRequest, "attachments[0].data"},
		{"large attachment", oz.Request{Prompt: "x", Attachments: with(func(a *oz.AttachmentInput) { a.Data = append(a.Data, make([]byte, 1000)...) })}, task.CodeInvalidRequest, "attachments[0].data"},
		{"attachment of another type", oz.Request{Prompt: "x", Attachments: with(func(a *oz.AttachmentInput) { a.Data = []byte("<html>") })}, task.CodeInvalidRequest, "attachments[0].data"},

		{"idle of 0", config(task.Config{IdleTimeoutMinutes: ptr(0)}), task.CodeInvalidRequest, "config.idle_timeout_minutes"},
		{"idle of 61", config(task.Config{IdleTimeoutMinutes: ptr(61)}), task.CodeInvalidRequest, "config.idle_timeout_minutes"},
		{"unknown model", config(task.Config{ModelID: "gpt-9"}), task.CodeInvalidRequest, "config.model_id"},
		{"unknown harness", config(task.Config{Harness: &task.HarnessConfig{Type: "hal"}}), task.CodeInvalidRequest, "config.harness.type"},
		{"model of two lines", config(task.Config{Harness: &task.HarnessConfig{Type: "opencode", ModelID: "a\nb"}}), task.CodeInvalidRequest, "config.harness.model_id"},
		{"model of the built-in harness", config(task.Config{Harness: &task.HarnessConfig{Type: "oz", ModelID: "m"}}), task.CodeInvalidRequest, "config.harness.model_id"},
		{"credential strategy", config(task.Config{CredentialStrategy: "NOBODY"}), task.CodeInvalidRequest, "config.credential_strategy"},
		{"reserved worker", config(task.Config{WorkerHost: "warp-7"}), task.CodeInvalidRequest, "config.worker_host"},
		{"odd worker", config(task.Config{WorkerHost: "a b"}), task.CodeInvalidRequest, "config.worker_host"},
		{"runner", config(task.Config{RunnerID: "r"}), task.CodeNotFound, "config.runner_id"},
		{"memory", config(task.Config{MemoryStores: json.RawMessage(`[{"uid":"u"}]`)}), task.CodeInvalidRequest, "config.memory_stores[0].access"},
		{"broken JSON", config(task.Config{MemoryStores: json.RawMessage(`[`)}), task.CodeInvalidRequest, "config"},
		{"huge configuration", config(task.Config{BasePrompt: strings.Repeat("x", 3<<20)}), task.CodeInvalidRequest, "config"},
		{"negative limit", config(task.Config{Limits: &task.Limits{MaxTurns: -1}}), task.CodeInvalidRequest, "config.limits"},
		{"secret name", config(task.Config{Secrets: &[]string{"A B"}}), task.CodeInvalidRequest, "config.secrets[0]"},
		{"MCP without transport", mcp(`{}`), task.CodeInvalidRequest, `config.mcp_servers["m"]`},
		{"MCP with two transports", mcp(`{"command":"a","url":"http://b"}`), task.CodeInvalidRequest, `config.mcp_servers["m"]`},
		{"MCP with args of nothing", mcp(`{"url":"http://b","args":["x"]}`), task.CodeInvalidRequest, `config.mcp_servers["m"]`},

		{"unknown environment", config(task.Config{EnvironmentID: strings.Repeat("a", 22)}), task.CodeNotFound, "config.environment_id"},
		{"malformed environment", config(task.Config{EnvironmentID: "e"}), task.CodeNotFound, "config.environment_id"},
		{"foreign environment", config(task.Config{EnvironmentID: theirs.UID}), task.CodeNotFound, "config.environment_id"},
		{"personal environment, team run", config(task.Config{EnvironmentID: personal.UID}), task.CodeInvalidRequest, "config.environment_id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := bob.Submit(t.Context(), c.r)
			assert.Equal(t, task.CodeOf(err), c.code, "%v", err)
			var e *task.Error
			assert.Assert(t, errors.As(err, &e))
			assert.Equal(t, e.Field, c.field)
			assert.Assert(t, len(e.Message) < 500, "the message repeats its input: %d bytes", len(e.Message))
		})
	}
	page, err := store.List(t.Context(), task.Query{})
	assert.NilError(t, err)
	assert.Equal(t, len(page.Tasks), 3, "what is refused leaves nothing")
}

func TestSubmitOwners(t *testing.T) {
	p, _ := newPlatform(t, nil)
	clients := people(t, p)
	r := p.Registry()
	assert.NilError(t, r.PutUser(t.Context(), access.User{UID: "eve", Teams: []access.Membership{{UID: "red", Role: access.RoleMember}, {UID: "blue", Role: access.RoleMember}}}))
	eve, err := r.Caller(t.Context(), "eve")
	assert.NilError(t, err)
	key := p.As(access.Caller{Key: "k", Principal: task.Principal{Type: task.PrincipalServiceAccount, UID: "k"},
		Teams: []access.Membership{{UID: "red", Role: access.RoleMember}}})
	runner := p.As(access.Caller{Execution: "e", TaskID: "t"})
	red, bob := task.Scope{Type: task.ScopeTeam, UID: "red"}, task.Scope{Type: task.ScopeUser, UID: "bob"}
	for _, c := range []struct {
		name string
		as   *oz.Client
		team *bool
		want task.Scope
		code task.Code
	}{
		{"one team, nothing said", clients["bob"], nil, red, ""},
		{"one team, personal", clients["bob"], ptr(false), bob, ""},
		{"one team, team", clients["bob"], ptr(true), red, ""},
		{"no team, nothing said", clients["dan"], nil, task.Scope{Type: task.ScopeUser, UID: "dan"}, ""},
		{"no team, team", clients["dan"], ptr(true), task.Scope{}, task.CodeInvalidRequest},
		{"two teams, nothing said", p.As(eve), nil, task.Scope{Type: task.ScopeUser, UID: "eve"}, ""},
		{"two teams, team", p.As(eve), ptr(true), task.Scope{}, task.CodeInvalidRequest},
		{"team key", key, nil, red, ""},
		{"team key, personal", key, ptr(false), task.Scope{}, task.CodeInvalidRequest},
		{"embedding program", p.Client, nil, task.Scope{Type: task.ScopeTeam, UID: access.DefaultTeam}, ""},
		{"embedding program, personal", p.Client, ptr(false), task.Scope{}, task.CodeInvalidRequest},
		{"nobody", p.As(access.Caller{}), nil, task.Scope{}, task.CodeAuthenticationRequired},
		{"a runner", runner, nil, task.Scope{}, task.CodeNotAuthorized},
	} {
		t.Run(c.name, func(t *testing.T) {
			run, err := c.as.Submit(t.Context(), oz.Request{Prompt: "x", Team: c.team})
			assert.Equal(t, task.CodeOf(err), c.code, "%v", err)
			assert.Equal(t, run.Owner, c.want)
		})
	}
}

func TestSubmitResolvesConfiguration(t *testing.T) {
	p, _ := newPlatform(t, &oz.Options{
		Models: models(), Limits: task.Limits{MaxTurns: 100, MaxTokens: 1000},
		DefaultConfig: task.Config{BasePrompt: "be kind", IdleTimeoutMinutes: ptr(5)},
	})
	env, err := p.CreateEnvironment(t.Context(), environment.Config{Name: "e", Secrets: &[]string{"NPM_TOKEN"}, SetupCommands: []string{"make"}}, nil)
	assert.NilError(t, err)
	asked := task.Config{EnvironmentID: env.UID, ModelID: "claude-x", Limits: &task.Limits{MaxTurns: 7}}
	run := submit(t, p, oz.Request{Prompt: "go", Config: asked, Metadata: map[string]string{"a": "1", "b": "2"}})
	assert.DeepEqual(t, run.Config, task.Config{
		EnvironmentID: env.UID, ModelID: "claude-x", BasePrompt: "be kind", IdleTimeoutMinutes: ptr(5),
		Harness: &task.HarnessConfig{Type: "oz"}, Secrets: &[]string{"NPM_TOKEN"},
		Limits: &task.Limits{MaxTurns: 7, MaxTokens: 1000},
	})
	assert.DeepEqual(t, run.Origins, map[string]string{
		"environment_id": "run", "model_id": "run", "limits": "run", "base_prompt": "default",
		"idle_timeout_minutes": "default", "harness": "default", "secrets": "environment",
	})
	assert.Equal(t, run.ConversationID, string(run.ID))

	// Later edits change nothing of it.
	_, err = p.UpdateEnvironment(t.Context(), env.UID, environment.Config{Name: "other"}, env.Revision)
	assert.NilError(t, err)
	got, err := p.Get(t.Context(), run.ID)
	assert.NilError(t, err)
	var snapshot environment.Config
	assert.NilError(t, json.Unmarshal(got.Environment, &snapshot))
	assert.DeepEqual(t, snapshot, env.Config)

	own := submit(t, p, oz.Request{Prompt: "go", Config: task.Config{EnvironmentID: env.UID, Secrets: &[]string{}}})
	assert.Equal(t, len(*own.Config.Secrets), 0, "a run's empty list grants none")
	assert.Equal(t, own.Origins["secrets"], "run")

	child := submit(t, p, oz.Request{Prompt: "go", ParentRunID: run.ID, Metadata: map[string]string{"b": "3", "c": "4"}})
	assert.DeepEqual(t, child.Metadata, map[string]string{"a": "1", "b": "3", "c": "4"})
	assert.Equal(t, child.Source, task.SourceOrchestration)
}

func TestTitles(t *testing.T) {
	p, _ := newPlatform(t, nil)
	long := strings.Repeat("wörter ", 30)
	for prompt, want := range map[string]string{
		"Fix it":                         "Fix it",
		"\n\n  Fix\tthe   bug  \nplease": "Fix the bug",
		long:                             strings.TrimSpace(strings.Repeat("wörter ", 11)) + "…",
		strings.Repeat("x", 200):         strings.Repeat("x", 79) + "…",
		"bell\x07rings":                  "bell rings",
	} {
		run := submit(t, p, oz.Request{Prompt: prompt})
		assert.Equal(t, run.Title, want)
		assert.Assert(t, utf8.RuneCountInString(run.Title) <= 80)
	}
	assert.Equal(t, submit(t, p, oz.Request{Prompt: "x", Title: "Given"}).Title, "Given")
}

func TestSubmitIsIdempotent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := openBlobs(t)
		p, store := newPlatform(t, &oz.Options{Blobs: blobs})
		clients := people(t, p)
		bob := clients["bob"]
		request := oz.Request{Prompt: "once", IdempotencyKey: "k1", Metadata: map[string]string{"a": "1", "b": "2"},
			Attachments: []oz.AttachmentInput{{FileName: "a.png", MIMEType: "image/png", Data: []byte(png)}}}
		first := submit(t, bob, request)

		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				again, err := bob.Submit(t.Context(), request)
				assert.Check(t, err)
				assert.Check(t, again.ID == first.ID)
			})
		}
		group.Wait()
		page, err := store.List(t.Context(), task.Query{})
		assert.NilError(t, err)
		assert.Equal(t, len(page.Tasks), 1)
		f, err := blobs.OpenBlob(t.Context(), first.Attachments[0].Blob)
		assert.NilError(t, err, "the first run keeps its file")
		assert.NilError(t, f.Close())

		for name, change := range map[string]func(*oz.Request){
			"prompt":     func(r *oz.Request) { r.Prompt = "twice" },
			"metadata":   func(r *oz.Request) { r.Metadata = map[string]string{"a": "1"} },
			"config":     func(r *oz.Request) { r.Config.Name = "n" },
			"source":     func(r *oz.Request) { r.Source = task.SourceCLI },
			"attachment": func(r *oz.Request) { r.Attachments[0].FileName = "b.png" },
		} {
			other := request
			other.Attachments = []oz.AttachmentInput{request.Attachments[0]}
			change(&other)
			_, err := bob.Submit(t.Context(), other)
			assert.ErrorIs(t, err, task.ErrConflict, name)
		}
		assert.Assert(t, submit(t, clients["ann"], request).ID != first.ID, "the key is bob's")
		request.IdempotencyKey = ""
		assert.Assert(t, submit(t, bob, request).ID != first.ID)

		request.IdempotencyKey = "k1"
		time.Sleep(23 * time.Hour)
		assert.Equal(t, submit(t, bob, request).ID, first.ID)
		time.Sleep(2 * time.Hour)
		assert.Assert(t, submit(t, bob, request).ID != first.ID, "forgotten after a day")
	})
}

// unsureStore makes runs, or does not, and cannot tell.
type unsureStore struct {
	task.Store
	makes bool
}

func (s unsureStore) Create(ctx context.Context, c task.Creation) (task.Task, bool, error) {
	if s.makes {
		if _, _, err := s.Store.Create(ctx, c); err != nil {
			return task.Task{}, false, err
		}
	}
	return task.Task{}, false, task.Errorf(task.CodeResourceUnavailable, "the database went away")
}

// TestAttachmentsStayWithTheirRun: when it is not known whether a run was made,
// its files are deleted only if it was not.
func TestAttachmentsStayWithTheirRun(t *testing.T) {
	for _, makes := range []bool{true, false} {
		dir := t.TempDir()
		blobs, err := fileblob.Open(dir, nil)
		assert.NilError(t, err)
		p, err := oz.New(unsureStore{openStore(t), makes}, &oz.Options{Blobs: blobs})
		assert.NilError(t, err)
		_, err = p.Submit(t.Context(), oz.Request{Prompt: "x",
			Attachments: []oz.AttachmentInput{{FileName: "a.png", MIMEType: "image/png", Data: []byte(png)}}})
		assert.Equal(t, task.CodeOf(err), task.CodeResourceUnavailable)
		assert.Equal(t, files(t, dir) == 1, makes)
		assert.NilError(t, blobs.Close())
	}
}

func TestSubmitRefusesWhenFull(t *testing.T) {
	p, _ := newPlatform(t, &oz.Options{MaxWaiting: 2})
	submit(t, p, oz.Request{Prompt: "x"})
	submit(t, p, oz.Request{Prompt: "x"})
	_, err := p.Submit(t.Context(), oz.Request{Prompt: "x"})
	assert.Equal(t, task.CodeOf(err), task.CodeResourceUnavailable)
}

func TestPolicy(t *testing.T) {
	p, _ := newPlatform(t, &oz.Options{Policy: func(_ context.Context, r oz.Request) error {
		switch r.Prompt {
		case "bad":
			return errors.New("matched rule 7 of the secret list")
		case "dear":
			return task.Errorf(task.CodeBudgetExceeded, "no budget is left this month")
		}
		return nil
	}})
	submit(t, p, oz.Request{Prompt: "good"})
	_, err := p.Submit(t.Context(), oz.Request{Prompt: "bad"})
	assert.Equal(t, task.CodeOf(err), task.CodeContentPolicyViolation)
	assert.Assert(t, !strings.Contains(err.Error(), "rule 7"), "the message stays general")
	_, err = p.Submit(t.Context(), oz.Request{Prompt: "dear"})
	assert.Equal(t, task.CodeOf(err), task.CodeBudgetExceeded)
}

func TestDrainingTakesNothingNew(t *testing.T) {
	p, _ := newPlatform(t, nil)
	run := submit(t, p, oz.Request{Prompt: "x"})
	assert.Assert(t, !p.Draining())
	assert.NilError(t, p.Healthy(t.Context()))
	start(t, p)()
	assert.Assert(t, p.Draining())
	_, err := p.Submit(t.Context(), oz.Request{Prompt: "x"})
	assert.Equal(t, task.CodeOf(err), task.CodeResourceUnavailable)
	assert.Equal(t, task.CodeOf(p.FollowUp(t.Context(), run.ID, oz.Message{Text: "x"})), task.CodeResourceUnavailable)
	_, err = p.Get(t.Context(), run.ID)
	assert.NilError(t, err, "reading goes on")
}

func TestRunsAreHiddenFromOthers(t *testing.T) {
	p, _ := newPlatform(t, nil)
	clients := people(t, p)
	ctx := t.Context()
	team := submit(t, clients["bob"], oz.Request{Prompt: "team"})
	own := submit(t, clients["bob"], oz.Request{Prompt: "own", Team: ptr(false)})
	for _, c := range []struct {
		as  string
		run task.ID
		see bool
	}{{"ann", team.ID, true}, {"ann", own.ID, false}, {"bob", own.ID, true}, {"cid", team.ID, false}, {"dan", team.ID, false}} {
		_, err := clients[c.as].Get(ctx, c.run)
		assert.Equal(t, err == nil, c.see, "%s: %v", c.as, err)
		if c.see {
			continue
		}
		unknown := fmt.Sprint(clients[c.as].Cancel(ctx, "no-such-run"))
		for name, err := range map[string]error{
			"get": err, "cancel": clients[c.as].Cancel(ctx, c.run),
			"follow up": clients[c.as].FollowUp(ctx, c.run, oz.Message{Text: "x"}),
		} {
			assert.ErrorIs(t, err, task.ErrNotFound, name)
			assert.Equal(t, strings.ReplaceAll(err.Error(), string(c.run), "no-such-run"), unknown, "a hidden run and none answer alike")
		}
		_, err = clients[c.as].Events(ctx, c.run, 0, 10)
		assert.ErrorIs(t, err, task.ErrNotFound)
		_, err = clients[c.as].Executions(ctx, c.run)
		assert.ErrorIs(t, err, task.ErrNotFound)
		for _, err := range clients[c.as].Watch(ctx, c.run, 0) {
			assert.ErrorIs(t, err, task.ErrNotFound)
		}
	}
	assert.Equal(t, task.CodeOf(p.As(access.Caller{}).Cancel(ctx, own.ID)), task.CodeAuthenticationRequired)
	for who, want := range map[string]int{"ann": 1, "bob": 2, "cid": 0, "dan": 0} {
		page, err := clients[who].List(ctx, task.Query{})
		assert.NilError(t, err)
		assert.Equal(t, len(page.Tasks), want, who)
		// Asking for others' runs by name gives no more.
		page, err = clients[who].List(ctx, task.Query{Owners: []task.Scope{team.Owner, own.Owner}})
		assert.NilError(t, err)
		assert.Equal(t, len(page.Tasks), want, who)
	}
	_, err := clients["cid"].List(ctx, task.Query{AncestorID: team.ID})
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, err = clients["dan"].List(ctx, task.Query{Limit: 501})
	assert.ErrorIs(t, err, task.ErrInvalid)

	// A member of the team who did not start the run may not end it; its owner may.
	teamRun := submit(t, clients["ann"], oz.Request{Prompt: "ann's"})
	assert.Equal(t, task.CodeOf(clients["bob"].Cancel(ctx, teamRun.ID)), task.CodeNotAuthorized)
	assert.NilError(t, clients["ann"].Cancel(ctx, team.ID))
}

// TestCursorsTellNothingOfHiddenRuns: a cursor that somebody makes themselves
// does not place a run of others among their own.
func TestCursorsTellNothingOfHiddenRuns(t *testing.T) {
	p, _ := newPlatform(t, nil)
	clients := people(t, p)
	run := submit(t, clients["bob"], oz.Request{Prompt: "x", Title: "plan for Monday"})
	list := func(as string, id task.ID) error {
		_, err := clients[as].List(t.Context(), task.Query{Sort: task.SortTitle, Asc: true,
			After: &task.Cursor{Sort: task.SortTitle, Asc: true, ID: id}})
		return err
	}
	assert.NilError(t, list("ann", run.ID))
	none := list("cid", "no-such-run")
	assert.ErrorIs(t, none, task.ErrInvalid)
	assert.Error(t, list("cid", run.ID), none.Error())
}

// TestRepeatedSubmitOfOneWhoLeft: the answer to a repeated request is no way
// back to the runs of a team.
func TestRepeatedSubmitOfOneWhoLeft(t *testing.T) {
	p, _ := newPlatform(t, nil)
	bob, request := people(t, p)["bob"], oz.Request{Prompt: "x", IdempotencyKey: "k"}
	first := submit(t, bob, request)
	assert.NilError(t, p.Registry().PutUser(t.Context(), access.User{UID: "bob", DisplayName: "Bob"}))
	left, err := p.Registry().Caller(t.Context(), "bob")
	assert.NilError(t, err)
	_, err = p.As(left).Get(t.Context(), first.ID)
	assert.ErrorIs(t, err, task.ErrNotFound)
	_, err = p.As(left).Submit(t.Context(), request)
	assert.ErrorIs(t, err, task.ErrNotFound)
}

func TestModels(t *testing.T) {
	all := models()
	all.Providers = append(all.Providers, executor.ModelProvider{Name: "three", Wire: "openai", BaseURL: "https://models.example.com/v1",
		Models: []string{"*", "qwen-coder", "small"}, Prices: []catalog.Price{{Models: []string{"qwen-*"}, AsOf: "2026-11-01", Source: "us",
			Rates: catalog.Rates{Input: ptr(0.5), Output: ptr(1.5)}, ContextWindow: 128000, MaxOutput: 8000}}})
	all.Disabled = []string{"claude-3*"}
	p, _ := newPlatform(t, &oz.Options{Models: all})
	list, def, err := p.Models(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, def, "small")
	byID := map[string]oz.ModelInfo{}
	for _, m := range list {
		assert.Assert(t, byID[m.ID].ID == "", "%s is listed twice", m.ID)
		byID[m.ID] = m
	}
	assert.DeepEqual(t, byID["small"], oz.ModelInfo{ID: "small", DisplayName: "small", Provider: "UNKNOWN", Harnesses: []string{"oz", "claude", "opencode", "codex"}})
	assert.Equal(t, byID["gpt-large"].Provider, "OPENAI")
	haiku := byID["claude-haiku-4-5"] // known of a family that a provider serves
	assert.Equal(t, haiku.Provider, "ANTHROPIC")
	assert.Equal(t, haiku.DisableReason, "")
	assert.Equal(t, haiku.ContextWindow, int64(200000))
	assert.Equal(t, *haiku.Price, oz.ModelPrice{Input: 1, Output: 5, AsOf: "2026-10-10", Source: haiku.Price.Source})
	assert.Assert(t, haiku.Price.Source != "")
	assert.Equal(t, byID["claude-3-opus"].DisableReason, "ADMIN_DISABLED")
	assert.Equal(t, *byID["qwen-coder"].Price, oz.ModelPrice{Input: 0.5, Output: 1.5, AsOf: "2026-11-01", Source: "us"})
	assert.Assert(t, byID["gpt-5"].ID == "", "a provider that serves every id is known to have none of a vendor's")
	assert.Equal(t, byID["auto"].Description, "The server's default model, or the nearest to it that the agent can use. Now small.")
	assert.Assert(t, strings.HasSuffix(byID["auto-efficient"].Description, "Now claude-haiku-4-5 or small."), byID["auto-efficient"].Description)
	assert.Assert(t, strings.HasSuffix(byID["auto-open"].Description, "Now qwen-coder."), byID["auto-open"].Description)
	assert.DeepEqual(t, byID["auto-open"].Harnesses, []string{"oz", "codex", "opencode"})
	_, _, err = p.As(access.Caller{}).Models(t.Context())
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
}

// A run is refused whose model nobody serves, or not to its agent.
func TestSubmitChecksTheModel(t *testing.T) {
	m := models()
	m.Disabled = []string{"claude-3-opus"}
	p, _ := newPlatform(t, &oz.Options{Models: m})
	ask := func(model string) error {
		_, err := p.Submit(t.Context(), oz.Request{Prompt: "x", Config: task.Config{ModelID: model}})
		return err
	}
	for _, ok := range []string{"", "auto", "auto-efficient", "auto-genius", "small", "claude-3-haiku", "gpt-large"} {
		assert.NilError(t, ask(ok), ok)
	}
	for model, want := range map[string]string{
		"gpt-small":     `no model is called "gpt-small"; use one of small, claude-*, gpt-large`,
		"claude-3-opus": "switched the model \"claude-3-opus\" off",
		"auto-open":     "no provider lists a model with public weights",
		"auto-best":     "no model is called",
	} {
		err := ask(model)
		assert.ErrorContains(t, err, want)
		assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest)
	}
}

func TestEnvironments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
			_ = l.End(ctx, task.End{State: task.StateFailed, Status: task.Status{Message: "make failed", ErrorCode: task.CodeEnvironmentSetupFailed}})
		})
		p, _ := with(t, &oz.Options{}, w)
		clients := people(t, p)
		ctx := t.Context()
		bob, ann, cid := clients["bob"], clients["ann"], clients["cid"]
		env, err := ann.CreateEnvironment(ctx, environment.Config{Name: "e"}, nil)
		assert.NilError(t, err)
		_, err = bob.Environment(ctx, env.UID)
		assert.NilError(t, err)
		_, err = cid.Environment(ctx, env.UID)
		assert.ErrorIs(t, err, task.ErrNotFound)
		_, err = bob.UpdateEnvironment(ctx, env.UID, environment.Config{Name: "f"}, env.Revision)
		assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized, "it is ann's")
		assert.Equal(t, task.CodeOf(bob.DeleteEnvironment(ctx, env.UID)), task.CodeNotAuthorized)
		assert.ErrorIs(t, cid.DeleteEnvironment(ctx, env.UID), task.ErrNotFound)

		items, err := bob.Environments(ctx)
		assert.NilError(t, err)
		assert.Equal(t, len(items), 1)
		assert.Assert(t, items[0].LastTask == nil && !items[0].SetupFailed)
		run := submit(t, bob, oz.Request{Prompt: "x", Config: task.Config{EnvironmentID: env.UID}})
		defer start(t, p)()
		follow(t, p, run.ID)
		items, err = bob.Environments(ctx)
		assert.NilError(t, err)
		assert.Equal(t, items[0].LastTask.ID, run.ID)
		assert.Assert(t, items[0].SetupFailed)
		items, err = cid.Environments(ctx)
		assert.NilError(t, err)
		assert.Equal(t, len(items), 0)
		assert.NilError(t, ann.DeleteEnvironment(ctx, env.UID))
	})
}

// TestWeakCredentialsAreRefused: a key that no redactor could find in a text is
// refused before there is a run, by an error that does not show it.
func TestWeakCredentialsAreRefused(t *testing.T) {
	for _, tt := range []struct {
		field string
		opts  oz.Options
	}{
		{"Models", oz.Options{Models: executor.Models{Providers: []executor.ModelProvider{{Name: "house", APIKey: "weak1"}}}}},
		{"GitCredentials", oz.Options{GitCredentials: []executor.GitCredential{{Host: "h", Password: "weak1"}}}},
	} {
		_, err := oz.New(openStore(t), &tt.opts)
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.ErrorContains(t, err, tt.field)
		assert.Assert(t, !strings.Contains(err.Error(), "weak1"), "%v", err)
	}
}
