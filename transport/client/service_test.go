package client_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

func ptr[T any](v T) *T { return &v }

// request uses every member that a plain server takes.
func request() oz.Request {
	return oz.Request{
		Prompt: "Mend the test\nand say why", Title: "mend", Mode: task.ModePlan, Interactive: true,
		Metadata: map[string]string{"ticket.id": "VIS-238", "empty": ""},
		Config: task.Config{Name: "mender", BasePrompt: "Be brief", WorkerHost: "test", IdleTimeoutMinutes: ptr(7), Secrets: ptr([]string{}),
			ComputerUseEnabled: ptr(false), Limits: &task.Limits{MaxTurns: 9, MaxTokens: 1 << 40, MaxCostUSD: 0.25, MaxMinutes: 30}},
		Attachments: []oz.AttachmentInput{{FileName: "a.png", MIMEType: "image/png", Data: []byte("\x89PNG\r\n\x1a\n")}},
	}
}

// serviceProgram is written against oz.Service and cannot tell what is behind.
func serviceProgram(ctx context.Context, t *testing.T, s oz.Service) {
	run, err := s.Submit(ctx, request())
	assert.NilError(t, err)
	assert.Equal(t, run.State, task.StateQueued)
	got, err := s.Get(ctx, run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.Prompt, request().Prompt)
	page, err := s.List(ctx, task.Query{Metadata: map[string]string{"ticket.id": "VIS-238"}, States: []task.State{task.StateQueued}})
	assert.NilError(t, err)
	assert.Assert(t, slices.ContainsFunc(page.Tasks, func(t task.Task) bool { return t.ID == run.ID }))
	assert.NilError(t, s.FollowUp(ctx, run.ID, oz.Message{Text: "and a test", Mode: task.ModeNormal}))
	assert.NilError(t, s.Cancel(ctx, run.ID))
	assert.ErrorIs(t, s.Cancel(ctx, run.ID), task.ErrInvalid)
	var inputs []string
	for event, err := range s.Watch(ctx, run.ID, 0) {
		assert.NilError(t, err)
		if in, ok := event.Payload.(*task.Input); ok {
			inputs = append(inputs, in.Text)
		}
	}
	assert.DeepEqual(t, inputs, []string{request().Prompt, "and a test"})
	_, err = s.Get(ctx, "nothing")
	assert.ErrorIs(t, err, task.ErrNotFound)
	_, err = s.Submit(ctx, oz.Request{})
	assert.ErrorIs(t, err, task.ErrInvalid)
	first := request()
	first.IdempotencyKey = "the-key"
	a, err := s.Submit(ctx, first)
	assert.NilError(t, err)
	b, err := s.Submit(ctx, first)
	assert.NilError(t, err)
	assert.Equal(t, a.ID, b.ID)
	first.Prompt = "another"
	_, err = s.Submit(ctx, first)
	assert.ErrorIs(t, err, task.ErrConflict)
}

func TestOneProgramForBothServices(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		e := transporttest.Start(t, &transporttest.Options{Idle: true})
		serviceProgram(t.Context(), t, e.Platform)
	})
	t.Run("remote", func(t *testing.T) {
		e := transporttest.Start(t, &transporttest.Options{Idle: true})
		serviceProgram(t.Context(), t, connect(t, e.URL))
	})
}

// sameTask asks that a run that came over the wire is the one of the store,
// but for the keys of files and the fingerprint, which stay at home.
func sameTask(t *testing.T, remote, stored task.Task) {
	t.Helper()
	stored.Fingerprint = nil
	stored.Attachments = slices.Clone(stored.Attachments)
	for i := range stored.Attachments {
		stored.Attachments[i].Blob = ""
	}
	stored.Artifacts = slices.Clone(stored.Artifacts)
	for i := range stored.Artifacts {
		stored.Artifacts[i].Blob = ""
	}
	assert.DeepEqual(t, remote, stored, gocmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }),
		gocmp.Comparer(func(a, b time.Duration) bool { return a.Milliseconds() == b.Milliseconds() }))
}

// TestRunsAreWhole follows one run through its life: what the client shows is
// what is stored.
func TestRunsAreWhole(t *testing.T) {
	e := transporttest.Start(t, patient())
	ctx, c := t.Context(), connect(t, e.URL)
	compare := func(id task.ID) task.Task {
		t.Helper()
		remote, err := c.Get(ctx, id)
		assert.NilError(t, err)
		stored, err := local(e).Get(ctx, id)
		assert.NilError(t, err)
		sameTask(t, remote, stored)
		return remote
	}
	env, err := c.CreateEnvironment(ctx, environment.Config{Name: "demo", SetupCommands: []string{"true"}}, nil)
	assert.NilError(t, err)
	r := request()
	r.Config.EnvironmentID = env.UID
	run, err := c.Submit(ctx, r)
	assert.NilError(t, err)
	assert.Equal(t, run.State, task.StateQueued)
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)
	claimed := compare(run.ID)
	assert.Assert(t, len(claimed.Environment) > 0)
	assert.Equal(t, len(claimed.Attachments), 1)
	assert.NilError(t, link.Begin(ctx))
	compare(run.ID)
	blob, size, err := link.Upload(ctx, "file-1", strings.NewReader("body"))
	assert.NilError(t, err)
	assert.NilError(t, link.Append(ctx, 0, []task.Event{
		{Payload: &task.UsageReport{Category: "agent", Model: "m-1", Calls: 2, Tokens: task.TokenCount{Input: 1, CacheRead: 2, CacheWrite: 3, Output: 4},
			Cost: task.CostUSD{Input: 0.1, Output: 0.2}, Priced: true}},
		{Payload: &task.UsageReport{Category: "agent", Model: "m-2", Calls: 1, Tokens: task.TokenCount{Output: 4}}},
		{Payload: &task.ArtifactReported{Artifact: task.Artifact{UID: "file-1", Type: task.ArtifactFile, Path: "out/a.txt", MIMEType: "text/plain",
			SizeBytes: size, Blob: blob, Title: "A", Description: "B"}}},
		{Payload: &task.ArtifactReported{Artifact: task.Artifact{UID: "pr-1", Type: task.ArtifactPullRequest, URL: "https://example.com/1", Branch: "fix"}}},
		{Payload: &task.ArtifactReported{Artifact: task.Artifact{UID: "ref-1", Type: task.ArtifactReference, ReferenceType: task.ReferenceBranch,
			URL: "https://example.com/2", Metadata: json.RawMessage(`{"a":1}`)}}},
	}))
	working := compare(run.ID)
	assert.Equal(t, len(working.Artifacts), 3)
	assert.Equal(t, len(working.Usage.Models), 2)
	assert.NilError(t, link.End(ctx, task.End{State: task.StateFailed, SeenInput: 1 << 40,
		Status: task.Status{Message: "the tests fail", ErrorCode: task.CodeEnvironmentSetupFailed}}))
	ended := compare(run.ID)
	assert.Equal(t, ended.Status.ErrorCode, task.CodeEnvironmentSetupFailed)

	page, err := c.List(ctx, task.Query{})
	assert.NilError(t, err)
	assert.Equal(t, len(page.Tasks), 1)
	sameTask(t, page.Tasks[0], ended)
	assert.Assert(t, page.Next == nil)

	remote, err := c.Executions(ctx, run.ID)
	assert.NilError(t, err)
	stored, err := local(e).Executions(ctx, run.ID)
	assert.NilError(t, err)
	for i := range stored {
		stored[i].TokenHash = nil
	}
	assert.DeepEqual(t, remote, stored, gocmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }))
	assert.Equal(t, len(remote), 1)

	events, err := c.Events(ctx, run.ID, 2, 3)
	assert.NilError(t, err)
	kept, err := local(e).Events(ctx, run.ID, 2, 3)
	assert.NilError(t, err)
	assert.Equal(t, len(events), 3)
	assert.DeepEqual(t, events, kept, gocmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }))
	all, err := c.Events(ctx, run.ID, 0, 0)
	assert.NilError(t, err)
	assert.Equal(t, int64(len(all)), ended.LastSeq)

	raw, err := c.RunJSON(ctx, run.ID)
	assert.NilError(t, err)
	var item map[string]any
	assert.NilError(t, json.Unmarshal(raw, &item))
	assert.Equal(t, item["run_id"], string(run.ID))
	raw, err = c.RunsJSON(ctx, task.Query{Limit: 5})
	assert.NilError(t, err)
	assert.NilError(t, json.Unmarshal(raw, &item))
	assert.Equal(t, len(item["runs"].([]any)), 1)
}

// TestListWalks pages through every filter-free order as the embedded platform
// does.
func TestListWalks(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	ctx, c := t.Context(), connect(t, e.URL)
	for range 7 {
		_, err := c.Submit(ctx, request())
		assert.NilError(t, err)
	}
	walk := func(s oz.Service, q task.Query) (ids []task.ID) {
		for {
			page, err := s.List(ctx, q)
			assert.NilError(t, err)
			for _, run := range page.Tasks {
				ids = append(ids, run.ID)
			}
			if q.After = page.Next; q.After == nil {
				return ids
			}
		}
	}
	for _, q := range []task.Query{{Limit: 2}, {Limit: 3, Sort: task.SortTitle, Asc: true}, {Limit: 1, Sort: task.SortCreatedAt}, {Limit: 7}, {Limit: 4, Sort: task.SortAgent}} {
		ids := walk(c, q)
		assert.Equal(t, len(ids), 7)
		assert.DeepEqual(t, ids, walk(local(e), q))
	}
	_, err := c.List(ctx, task.Query{Owners: []task.Scope{{Type: task.ScopeTeam, UID: "x"}}})
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, err = c.List(ctx, task.Query{Limit: 501})
	assert.ErrorIs(t, err, task.ErrInvalid)
}

func TestConversations(t *testing.T) {
	e := transporttest.Start(t, patient())
	ctx, c := t.Context(), connect(t, e.URL)
	id, link := begin(t, e)
	assert.NilError(t, link.Append(ctx, 0, []task.Event{{Payload: &task.Message{ID: "m1", Text: "I have mended it."}}}))
	want, err := local(e).Conversation(ctx, id)
	assert.NilError(t, err)
	got, err := c.RunConversation(ctx, id)
	assert.NilError(t, err)
	wantJSON, err := json.Marshal(want)
	assert.NilError(t, err)
	gotJSON, err := json.Marshal(got)
	assert.NilError(t, err)
	assert.Equal(t, string(gotJSON), string(wantJSON))
	assert.Assert(t, strings.Contains(string(gotJSON), "I have mended it."))
	same, err := c.Conversation(ctx, string(id))
	assert.NilError(t, err)
	sameJSON, err := json.Marshal(same)
	assert.NilError(t, err)
	assert.Equal(t, string(sameJSON), string(wantJSON))
	_, err = c.Conversation(ctx, "nothing")
	assert.ErrorIs(t, err, task.ErrNotFound)
}

func TestEnvironments(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	ctx, c := t.Context(), connect(t, e.URL)
	cfg := environment.Config{Name: "api", Description: "the API", DockerImage: "golang:1.26", SetupCommands: []string{"go mod download"},
		Repos:   []environment.Repo{{Owner: "acme", Name: "api", Ref: "main"}, {Name: "lib", URL: "https://git.example.com/lib.git"}},
		Secrets: ptr([]string{"A_TOKEN"}), FailureSessionRetentionMinutes: ptr(10),
		Providers: &environment.Providers{AWS: &environment.AWSProvider{RoleARN: "arn:aws:iam::123456789012:role/oz"}}}
	made, err := c.CreateEnvironment(ctx, cfg, ptr(false))
	assert.NilError(t, err)
	assert.Equal(t, made.Owner.Type, task.ScopeUser)
	assert.DeepEqual(t, made.Config, cfg)
	got, err := c.Environment(ctx, made.UID)
	assert.NilError(t, err)
	assert.DeepEqual(t, got, made)
	cfg.Name = "api-2"
	changed, err := c.UpdateEnvironment(ctx, made.UID, cfg, made.Revision)
	assert.NilError(t, err)
	assert.Equal(t, changed.Config.Name, "api-2")
	_, err = c.UpdateEnvironment(ctx, made.UID, cfg, made.Revision)
	assert.ErrorIs(t, err, task.ErrConflict)
	_, err = c.UpdateEnvironment(ctx, made.UID, cfg, 0)
	assert.NilError(t, err)
	run, err := c.Submit(ctx, oz.Request{Prompt: "x", Team: ptr(false), Config: task.Config{EnvironmentID: made.UID}})
	assert.NilError(t, err)
	items, err := c.Environments(ctx)
	assert.NilError(t, err)
	assert.Equal(t, len(items), 1)
	assert.Equal(t, items[0].LastTask.ID, run.ID)
	assert.NilError(t, c.DeleteEnvironment(ctx, made.UID))
	assert.ErrorIs(t, c.DeleteEnvironment(ctx, made.UID), task.ErrNotFound)
	_, err = c.Environment(ctx, made.UID)
	assert.ErrorIs(t, err, task.ErrNotFound)
	kept, err := c.Get(ctx, run.ID)
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(string(kept.Environment), "api-2"), "a run keeps its environment")
}

func TestSecrets(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	ctx, c := t.Context(), connect(t, e.URL)
	const value, second = "k3J9-xQ2m-Zp7v-Rt5w", "Qz81-mmPw-77Ya-Lk0d"
	for _, team := range []*bool{ptr(false), ptr(true)} {
		made, err := c.CreateSecret(ctx, oz.SecretInput{Name: "DEPLOY_TOKEN", Value: value, Description: "for deploys", Team: team})
		assert.NilError(t, err)
		assert.Equal(t, made.Owner.Type == task.ScopeTeam, *team)
		_, err = c.CreateSecret(ctx, oz.SecretInput{Name: "DEPLOY_TOKEN", Value: value, Team: team})
		assert.ErrorIs(t, err, task.ErrConflict)
		assert.Assert(t, !strings.Contains(err.Error(), value))
		changed, err := c.UpdateSecret(ctx, "DEPLOY_TOKEN", team, oz.SecretChange{Value: ptr(executor.Sensitive(second)), Description: ptr("new")})
		assert.NilError(t, err)
		assert.Equal(t, changed.Description, "new")
		assert.Assert(t, changed.Version > made.Version)
	}
	list, err := c.Secrets(ctx)
	assert.NilError(t, err)
	assert.Equal(t, len(list), 2)
	assert.NilError(t, c.DeleteSecret(ctx, "DEPLOY_TOKEN", ptr(true)))
	assert.NilError(t, c.DeleteSecret(ctx, "DEPLOY_TOKEN", ptr(false)))
	assert.ErrorIs(t, c.DeleteSecret(ctx, "DEPLOY_TOKEN", ptr(true)), task.ErrNotFound)
	_, err = c.CreateSecret(ctx, oz.SecretInput{Name: "SHORT", Value: "x"})
	assert.ErrorIs(t, err, task.ErrInvalid)
}

func TestKeysAndAccounts(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true, Platform: oz.Options{Models: executor.Models{Default: "m-1",
		Providers: []executor.ModelProvider{{Name: "p", Wire: "openai", BaseURL: "http://127.0.0.1:1", Models: []string{"m-1", "m-2*"}}}}}})
	ctx, c := t.Context(), connect(t, e.URL)
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	raw, key, err := c.CreateKey(ctx, access.KeySpec{Name: "ci", Type: access.KeyTeam, ExpiresAt: until})
	assert.NilError(t, err)
	assert.Equal(t, key.ExpiresAt, until)
	keys, err := c.Keys(ctx)
	assert.NilError(t, err)
	found := slices.IndexFunc(keys, func(k access.Key) bool { return k.UID == key.UID })
	assert.Assert(t, found >= 0)
	assert.Equal(t, keys[found].Owner, key.Owner)

	ci := with(t, e.URL, client.Options{APIKey: raw})
	me, err := ci.Whoami(ctx)
	assert.NilError(t, err)
	assert.Equal(t, me.Principal.Type, task.PrincipalServiceAccount)
	mine, err := c.Whoami(ctx)
	assert.NilError(t, err)
	caller := e.Caller(transporttest.AdminKey)
	slices.SortFunc(mine.Teams, func(a, b access.Membership) int { return cmp.Compare(a.UID, b.UID) })
	assert.DeepEqual(t, mine.Principal, caller.Principal)
	assert.DeepEqual(t, mine.Teams, caller.Teams)

	assert.NilError(t, c.RevokeKey(ctx, key.UID))
	_, err = ci.Whoami(ctx)
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)

	models, defaultID, err := c.Models(ctx)
	assert.NilError(t, err)
	assert.Equal(t, defaultID, "m-1")
	assert.Equal(t, models[0].ID, "m-1")
	assert.DeepEqual(t, models[0].Harnesses, []string{"oz", "codex", "opencode"})
	direct, _, err := local(e).Models(ctx)
	assert.NilError(t, err)
	assert.DeepEqual(t, models, direct)
}

// TestErrorsSurviveTheWire compares what fails in the embedded platform with
// what a program far from it sees.
func TestErrorsSurviveTheWire(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true, Platform: oz.Options{MaxWaiting: 2}})
	ctx := t.Context()
	run, err := local(e).Submit(ctx, oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	ended, err := local(e).Submit(ctx, oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	assert.NilError(t, local(e).Cancel(ctx, ended.ID))
	_, err = local(e).Submit(ctx, oz.Request{Prompt: "fills the queue"})
	assert.NilError(t, err)
	type call func(oz.Service) error
	for _, tt := range []struct {
		name string
		key  string
		call call
		is   error
	}{
		{"unknown run", transporttest.AdminKey, func(s oz.Service) error { _, err := s.Get(ctx, "nothing"); return err }, task.ErrNotFound},
		{"odd id", transporttest.AdminKey, func(s oz.Service) error { _, err := s.Get(ctx, "a/b c%?#"); return err }, task.ErrNotFound},
		{"hidden run", e.Outsider, func(s oz.Service) error { return s.Cancel(ctx, run.ID) }, task.ErrNotFound},
		{"not the creator", e.Member, func(s oz.Service) error { return s.Cancel(ctx, run.ID) }, &task.Error{Code: task.CodeNotAuthorized}},
		{"ended", transporttest.AdminKey, func(s oz.Service) error { return s.Cancel(ctx, ended.ID) }, task.ErrInvalid},
		{"bad mode", transporttest.AdminKey, func(s oz.Service) error { return s.FollowUp(ctx, run.ID, oz.Message{Mode: "odd"}) }, task.ErrInvalid},
		{"no prompt", transporttest.AdminKey, func(s oz.Service) error { _, err := s.Submit(ctx, oz.Request{}); return err }, task.ErrInvalid},
		{"bad metadata", transporttest.AdminKey, func(s oz.Service) error {
			_, err := s.Submit(ctx, oz.Request{Prompt: "x", Metadata: map[string]string{"a b": ""}})
			return err
		}, task.ErrInvalid},
		{"queue full", transporttest.AdminKey, func(s oz.Service) error { _, err := s.Submit(ctx, oz.Request{Prompt: "x"}); return err },
			&task.Error{Code: task.CodeResourceUnavailable}},
		{"unknown environment", transporttest.AdminKey, func(s oz.Service) error {
			_, err := s.Submit(ctx, oz.Request{Prompt: "x", Config: task.Config{EnvironmentID: "nothing"}})
			return err
		}, task.ErrNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			near := tt.call(e.Platform.As(e.Caller(tt.key)))
			far := tt.call(with(t, e.URL, client.Options{APIKey: tt.key, Clock: transporttest.NewClock()}))
			var n, f *task.Error
			assert.Assert(t, errors.As(near, &n), "%v", near)
			assert.Assert(t, errors.As(far, &f), "%v", far)
			assert.ErrorIs(t, near, tt.is)
			assert.ErrorIs(t, far, tt.is)
			assert.Equal(t, f.Code, n.Code)
			assert.Equal(t, f.Field, n.Field)
			assert.Equal(t, f.Error(), n.Error())
		})
	}
}

// TestNewRefuses names what is wrong with an address or a key and repeats
// neither.
func TestNewRefuses(t *testing.T) {
	for address, says := range map[string]string{
		"": "https://oz.example.com", "oz.example.com": "https://oz.example.com", "ftp://oz.example.com": "https://oz.example.com",
		"https://user:hunter2@oz.example.com": "credentials", "https://oz.example.com?key=hunter2": "query", "https://oz.example.com/#hunter2": "fragment",
		"http://[::1": "https://oz.example.com",
	} {
		_, err := client.New(address, nil)
		assert.ErrorContains(t, err, says)
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.Assert(t, !strings.Contains(err.Error(), "hunter2"), "%v", err)
	}
	for _, o := range []client.Options{{APIKey: "hunter2\n"}, {APIKey: "hun\x00ter2"}, {UserAgent: "a\r\nX: hunter2"}, {Timeout: -1}, {StreamIdle: -1}} {
		_, err := client.New("https://oz.example.com", &o)
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.Assert(t, !strings.Contains(err.Error(), "hunter2"), "%v", err)
	}
	for address, base := range map[string]string{
		"https://oz.example.com": "https://oz.example.com/api/v1", " https://oz.example.com/ ": "https://oz.example.com/api/v1",
		"https://example.com/oz/api/v1/": "https://example.com/oz/api/v1",
	} {
		c, err := client.New(address, nil)
		assert.NilError(t, err)
		assert.Equal(t, c.BaseURL(), base)
	}
}

// TestIDsCannotChangeThePath tries ids that would reach another route.
func TestIDsCannotChangeThePath(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	ctx, c := t.Context(), connect(t, e.URL)
	calls := map[string]func(string) error{
		"Get":             func(id string) error { _, err := c.Get(ctx, task.ID(id)); return err },
		"RunJSON":         func(id string) error { _, err := c.RunJSON(ctx, task.ID(id)); return err },
		"Cancel":          func(id string) error { return c.Cancel(ctx, task.ID(id)) },
		"FollowUp":        func(id string) error { return c.FollowUp(ctx, task.ID(id), oz.Message{}) },
		"RunConversation": func(id string) error { _, err := c.RunConversation(ctx, task.ID(id)); return err },
		"Conversation":    func(id string) error { _, err := c.Conversation(ctx, id); return err },
		"Executions":      func(id string) error { _, err := c.Executions(ctx, task.ID(id)); return err },
		"Events":          func(id string) error { _, err := c.Events(ctx, task.ID(id), 0, 0); return err },
		"Transcript":      func(id string) error { return c.Transcript(ctx, task.ID(id), &strings.Builder{}, "") },
		"Artifact":        func(id string) error { _, err := c.Artifact(ctx, id); return err },
		"Download":        func(id string) error { return c.Download(ctx, id, &strings.Builder{}) },
		"Environment":     func(id string) error { _, err := c.Environment(ctx, id); return err },
		"UpdateEnvironment": func(id string) error {
			_, err := c.UpdateEnvironment(ctx, id, environment.Config{Name: "x"}, 0)
			return err
		},
		"DeleteEnvironment": func(id string) error { return c.DeleteEnvironment(ctx, id) },
		"UpdateSecret":      func(id string) error { _, err := c.UpdateSecret(ctx, id, nil, oz.SecretChange{}); return err },
		"DeleteSecret":      func(id string) error { return c.DeleteSecret(ctx, id, nil) },
		"RevokeKey":         func(id string) error { return c.RevokeKey(ctx, id) },
	}
	for name, call := range calls {
		for _, id := range []string{"", ".", ".."} {
			assert.ErrorIs(t, call(id), task.ErrInvalid, "%s %q", name, id)
		}
		for _, id := range []string{"../runs", "a/../../b", "x?y=1", "x#y", "%2e%2e", "a b", "ä", "x/cancel"} {
			err := call(id)
			assert.Assert(t, errors.Is(err, task.ErrNotFound) || errors.Is(err, task.ErrInvalid), "%s %q: %v", name, id, err)
		}
	}
}
