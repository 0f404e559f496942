package oz_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/fileblob"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// stage is a platform with everything, and no worker: runs are carried out by
// the test through StartLocal.
type stage struct {
	*oz.Platform
	store   *sqlitestore.Store
	sealed  *sealed.Store
	clients map[string]*oz.Client
	dir     string
}

func newStage(t testing.TB, change func(*oz.Options)) *stage {
	t.Helper()
	dir := t.TempDir()
	store, err := sqlitestore.Open(context.Background(), filepath.Join(dir, "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, store.Close()) })
	keys, err := sealed.OpenKeys(filepath.Join(t.TempDir(), "keys", "secrets.json"))
	assert.NilError(t, err)
	blobs, err := fileblob.Open(filepath.Join(dir, "blobs"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, blobs.Close()) })
	s := &stage{store: store, sealed: sealed.New(store, keys, nil), dir: dir}
	opts := &oz.Options{Sealed: s.sealed, Blobs: blobs, Models: models()}
	if change != nil {
		change(opts)
	}
	s.Platform, err = oz.New(store, opts)
	assert.NilError(t, err)
	s.clients = people(t, s.Platform)
	return s
}

// act starts a run that the test carries out, and gives its link and token.
func (s *stage) act(t testing.TB, c *oz.Client, r oz.Request) (task.Task, executor.Link, string) {
	t.Helper()
	run, h, err := c.StartLocal(context.Background(), r)
	assert.NilError(t, err)
	token := h.Token.Reveal()
	caller, err := s.Authenticate(context.Background(), token)
	assert.NilError(t, err)
	assert.Equal(t, caller.TaskID, run.ID)
	l, err := s.Link(caller)
	assert.NilError(t, err)
	return run, l, token
}

func TestStartLocal(t *testing.T) {
	s := newStage(t, nil)
	ctx := t.Context()
	run, l, _ := s.act(t, s.clients["bob"], oz.Request{Prompt: "here"})
	assert.Equal(t, run.State, task.StateClaimed)
	assert.Equal(t, run.Where, task.LocationLocal)
	assert.Equal(t, run.Source, task.SourceLocal)
	waiting, err := s.store.Waiting(ctx, time.Now().Add(time.Hour), 10)
	assert.NilError(t, err)
	assert.Equal(t, len(waiting), 0, "no worker gets it")
	assert.Equal(t, task.CodeOf(s.clients["bob"].Cancel(ctx, run.ID)), task.CodeOperationNotSupported)
	assert.NilError(t, l.Begin(ctx))
	assert.NilError(t, l.Begin(ctx), "once more after a lost answer")
	end := task.End{State: task.StateSucceeded, SeenInput: run.LastInput}
	assert.NilError(t, l.End(ctx, end))
	assert.NilError(t, l.End(ctx, end), "once more after a lost answer")
	got, err := s.Get(ctx, run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.State, task.StateSucceeded)
	_, _, err = s.clients["bob"].StartLocal(ctx, oz.Request{Prompt: "x", IdempotencyKey: "k"})
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, _, err = s.As(access.Caller{}).StartLocal(ctx, oz.Request{Prompt: "x"})
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)

	// A platform fault that the runner reports is the end: nobody else can go on.
	run, l, _ = s.act(t, s.clients["bob"], oz.Request{Prompt: "here"})
	assert.NilError(t, l.Begin(ctx))
	assert.NilError(t, l.End(ctx, task.End{State: task.StateError, Status: task.Status{Message: "no disk", ErrorCode: task.CodeInternal}}))
	got, err = s.Get(ctx, run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.State, task.StateError)
	assert.Equal(t, got.Status.Message, "no disk")
}

func TestRunTokens(t *testing.T) {
	s := newStage(t, nil)
	ctx := t.Context()
	run, l, token := s.act(t, s.clients["bob"], oz.Request{Prompt: "x"})
	other, _, _ := s.act(t, s.clients["bob"], oz.Request{Prompt: "y"})
	for name, bad := range map[string]string{
		"cut": token[:len(token)-1], "longer": token + "A", "no secret": token[:strings.IndexByte(token, '.')+1],
		"unknown execution": "ozr_nothing." + token[strings.IndexByte(token, '.')+1:], "empty": "ozr_", "dot": "ozr_.",
	} {
		_, err := s.Authenticate(ctx, bad)
		assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired, name)
		assert.Assert(t, !strings.Contains(err.Error(), token[len(token)-20:]))
	}
	caller, err := s.Authenticate(ctx, token)
	assert.NilError(t, err)
	c := s.As(caller)
	for name, err := range map[string]error{
		"submit":      func() error { _, err := c.Submit(ctx, oz.Request{Prompt: "x"}); return err }(),
		"list":        func() error { _, err := c.List(ctx, task.Query{}); return err }(),
		"own run":     func() error { _, err := c.Get(ctx, run.ID); return err }(),
		"other run":   func() error { _, err := c.Get(ctx, other.ID); return err }(),
		"cancel":      c.Cancel(ctx, run.ID),
		"secrets":     func() error { _, err := c.Secrets(ctx); return err }(),
		"new secret":  func() error { _, err := c.CreateSecret(ctx, oz.SecretInput{Name: "A"}); return err }(),
		"models":      func() error { _, _, err := c.Models(ctx); return err }(),
		"environment": func() error { _, err := c.Environments(ctx); return err }(),
		"local run":   func() error { _, _, err := c.StartLocal(ctx, oz.Request{Prompt: "x"}); return err }(),
	} {
		code := task.CodeOf(err)
		assert.Assert(t, code == task.CodeNotAuthorized || code == task.CodeNotFound, "%s: %v", name, err)
	}
	_, err = s.Link(access.System())
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized, "not even the embedding program is a runner")
	// A caller who claims another run's execution gets nowhere.
	forged := caller
	forged.TaskID = other.ID
	fl, err := s.Link(forged)
	assert.NilError(t, err)
	_, err = fl.Bundle(ctx)
	assert.ErrorIs(t, err, task.ErrFenced)
	assert.ErrorIs(t, fl.Begin(ctx), task.ErrFenced)

	assert.NilError(t, l.Begin(ctx))
	assert.NilError(t, l.End(ctx, task.End{State: task.StateFailed}))
	_, err = s.Authenticate(ctx, token)
	assert.NilError(t, err, "its runner must learn that it has ended, not that its token is bad")
	assertFenced(t, l)
}

// assertFenced tries everything that a runner can do.
func assertFenced(t testing.TB, l executor.Link) {
	t.Helper()
	ctx := context.Background()
	_, err := l.Bundle(ctx)
	assert.ErrorIs(t, err, task.ErrFenced)
	assert.ErrorIs(t, l.Begin(ctx), task.ErrFenced)
	assert.ErrorIs(t, l.Append(ctx, 0, []task.Event{{Payload: &task.Notice{Text: "late"}}}), task.ErrFenced)
	_, err = l.Events(ctx, 0, 10)
	assert.ErrorIs(t, err, task.ErrFenced)
	_, err = l.Heartbeat(ctx)
	assert.ErrorIs(t, err, task.ErrFenced)
	_, _, err = l.Upload(ctx, "a", strings.NewReader("late"))
	assert.ErrorIs(t, err, task.ErrFenced)
	assert.ErrorIs(t, l.End(ctx, task.End{State: task.StateSucceeded, SeenInput: 100}), task.ErrFenced)
	assert.ErrorIs(t, l.End(ctx, task.End{State: task.StateError, Status: task.Status{ErrorCode: task.CodeInternal}}), task.ErrFenced)
}

func TestPersonalSecretsStayPersonal(t *testing.T) {
	s := newStage(t, nil)
	ctx := t.Context()
	ann, bob, cid, dan := s.clients["ann"], s.clients["bob"], s.clients["cid"], s.clients["dan"]
	put := func(c *oz.Client, name, value string, team *bool) {
		_, err := c.CreateSecret(ctx, oz.SecretInput{Name: name, Value: executor.Sensitive(value), Team: team})
		assert.NilError(t, err)
	}
	put(ann, "SHARED", "team-red-value-81723", nil)
	put(ann, "CLASH", "team-red-clash-55120", nil)
	put(ann, "ANNS", "ann-personal-value-0917", ptr(false))
	put(bob, "BOBS", "bob-personal-value-4410", ptr(false))
	put(bob, "CLASH", "bob-personal-clash-7745", ptr(false))
	put(cid, "BLUE", "team-blue-value-99231", nil)
	put(dan, "DANS", "dan-personal-value-3381", nil)
	key := s.As(access.Caller{Key: "k", Principal: task.Principal{Type: task.PrincipalServiceAccount, UID: "k"},
		Teams: []access.Membership{{UID: "red", Role: access.RoleMember}}})

	for _, c := range []struct {
		name    string
		as      *oz.Client
		r       oz.Request
		want    map[string]string
		missing []string
	}{
		{"bob's team run", bob, oz.Request{}, map[string]string{"SHARED": "team-red-value-81723", "BOBS": "bob-personal-value-4410", "CLASH": "bob-personal-clash-7745"}, nil},
		{"bob's own run", bob, oz.Request{Team: ptr(false)}, map[string]string{"SHARED": "team-red-value-81723", "BOBS": "bob-personal-value-4410", "CLASH": "bob-personal-clash-7745"}, nil},
		{"ann's team run", ann, oz.Request{}, map[string]string{"SHARED": "team-red-value-81723", "ANNS": "ann-personal-value-0917", "CLASH": "team-red-clash-55120"}, nil},
		{"the team's key", key, oz.Request{}, map[string]string{"SHARED": "team-red-value-81723", "CLASH": "team-red-clash-55120"}, nil},
		{"another team", cid, oz.Request{}, map[string]string{"BLUE": "team-blue-value-99231"}, nil},
		{"nobody's member", dan, oz.Request{}, map[string]string{"DANS": "dan-personal-value-3381"}, nil},
		{"a list", bob, oz.Request{Config: task.Config{Secrets: &[]string{"SHARED", "ANNS"}}}, map[string]string{"SHARED": "team-red-value-81723"}, []string{"ANNS"}},
		{"an empty list", bob, oz.Request{Config: task.Config{Secrets: &[]string{}}}, map[string]string{}, nil},
		{"the embedding program", s.Client, oz.Request{}, map[string]string{}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.r.Prompt = "x"
			_, l, _ := s.act(t, c.as, c.r)
			b, err := l.Bundle(ctx)
			assert.NilError(t, err)
			got := map[string]string{}
			for _, v := range b.Secrets {
				got[v.Name] = v.Value.Reveal()
			}
			assert.DeepEqual(t, got, c.want)
			assert.DeepEqual(t, b.MissingSecrets, c.missing)
			assert.Assert(t, !strings.Contains(fmt.Sprintf("%v %+v %#v", b.Secrets, b.Secrets, b.Secrets), "value-"), "a bundle does not print")
		})
	}
	// Metadata only, and each sees their own.
	list, err := bob.Secrets(ctx)
	assert.NilError(t, err)
	var names []string
	for _, i := range list {
		names = append(names, string(i.Owner.Type)+" "+i.Name)
	}
	assert.DeepEqual(t, names, []string{"User BOBS", "User CLASH", "Team CLASH", "Team SHARED"})
	assert.Equal(t, task.CodeOf(bob.DeleteSecret(ctx, "SHARED", nil)), task.CodeNotAuthorized)
	_, err = bob.UpdateSecret(ctx, "SHARED", nil, oz.SecretChange{Description: ptr("mine")})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	assert.ErrorIs(t, bob.DeleteSecret(ctx, "ANNS", ptr(false)), task.ErrNotFound)
	changed, err := bob.UpdateSecret(ctx, "BOBS", ptr(false), oz.SecretChange{Value: ptr(executor.Sensitive("bob-personal-value-new1"))})
	assert.NilError(t, err)
	assert.Equal(t, changed.Version, int64(2))
	_, err = bob.CreateSecret(ctx, oz.SecretInput{Name: "WEAK", Value: "abc", Team: ptr(false)})
	assert.ErrorIs(t, err, task.ErrInvalid)
	assert.NilError(t, bob.DeleteSecret(ctx, "BOBS", ptr(false)))
}

func TestBundle(t *testing.T) {
	s := newStage(t, func(o *oz.Options) {
		o.Limits = task.Limits{MaxTurns: 9}
		o.MaxRuntime = 2 * time.Hour
		o.GitCredentials = []executor.GitCredential{{Host: "git.example", Username: "u", Password: "git-password-18273"}}
	})
	run, l, _ := s.act(t, s.clients["bob"], oz.Request{Prompt: "x", Config: task.Config{Limits: &task.Limits{MaxTokens: 5}}})
	b, err := l.Bundle(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, b.Task.ID, run.ID)
	assert.Equal(t, b.Execution.ID, run.Execution)
	assert.Equal(t, len(b.Execution.TokenHash), 0)
	assert.DeepEqual(t, b.Limits, task.Limits{MaxTurns: 9, MaxTokens: 5, MaxMinutes: 120})
	assert.Equal(t, b.Models.Default, "small")
	assert.Equal(t, b.RepositoryBase, "https://github.com")
	assert.Equal(t, b.GitIdentity.Name, "Oz Agent")
	assert.Equal(t, b.GitCredentials[0].Password.Reveal(), "git-password-18273")
}

// leaky provides a value that no redactor can find in a text.
type leaky struct{ secrets.Provider }

func (leaky) Values(_ context.Context, owner task.Scope) ([]secrets.Value, error) {
	v := secrets.Value{Name: "PIN", Scope: owner}
	return []secrets.Value{v.With("1234")}, nil
}

func TestWhatCannotBeRedactedIsWithheld(t *testing.T) {
	s := newStage(t, func(o *oz.Options) { o.Secrets = []secrets.Provider{leaky{}} })
	_, l, _ := s.act(t, s.clients["bob"], oz.Request{Prompt: "x"})
	b, err := l.Bundle(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(b.Secrets), 0)
	assert.DeepEqual(t, b.MissingSecrets, []string{"PIN"})
}

// TestAppendRedacts plays a runner that does not redact, after a restart of the
// platform, and then looks for the secrets in every file.
func TestAppendRedacts(t *testing.T) {
	const canary = "canary-secret-0x8f1e77ab"
	s := newStage(t, func(o *oz.Options) {
		o.GitCredentials = []executor.GitCredential{{Host: "h", Username: "u", Password: "git-password-18273"}}
	})
	ctx := t.Context()
	_, err := s.clients["bob"].CreateSecret(ctx, oz.SecretInput{Name: "CANARY", Value: canary})
	assert.NilError(t, err)
	run, _, token := s.act(t, s.clients["bob"], oz.Request{Prompt: "x"})

	again, err := oz.New(s.store, &oz.Options{Sealed: s.sealed, Models: models(),
		GitCredentials: []executor.GitCredential{{Host: "h", Username: "u", Password: "git-password-18273"}}})
	assert.NilError(t, err)
	caller, err := again.Authenticate(ctx, token)
	assert.NilError(t, err)
	l, err := again.Link(caller)
	assert.NilError(t, err)
	assert.NilError(t, l.Begin(ctx))
	spoken := []string{canary, base64.StdEncoding.EncodeToString([]byte(canary)), token, "sk-one-0123456789abcdef", "git-password-18273", `"` + canary + `\n"`}
	var events []task.Event
	for i, text := range spoken {
		quoted, err := json.Marshal(map[string]string{"command": "echo " + text})
		assert.NilError(t, err)
		events = append(events,
			task.Event{Payload: &task.Message{ID: fmt.Sprint(i), Text: "it is " + text + "."}},
			task.Event{Payload: &task.ToolCall{ID: fmt.Sprint(i), Name: "run_command", Input: quoted}},
			task.Event{Payload: &task.ToolResult{CallID: fmt.Sprint(i), Content: text, Output: quoted}})
	}
	assert.NilError(t, l.Append(ctx, 0, events))
	assert.NilError(t, l.End(ctx, task.End{State: task.StateFailed, Status: task.Status{Message: "could not use " + canary, ErrorCode: task.CodeInvalidRequest}}))

	log := follow(t, s, run.ID)
	n := 0
	for _, e := range log {
		if m, ok := e.Payload.(*task.Message); ok {
			n++
			assert.Assert(t, strings.HasPrefix(m.Text, "it is ") && strings.Contains(m.Text, "[redacted:"), m.Text)
		}
	}
	assert.Equal(t, n, len(spoken))
	got, err := s.Get(ctx, run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.Status.Message, "could not use [redacted:CANARY]")
	var transcript bytes.Buffer
	assert.NilError(t, s.Transcript(ctx, run.ID, &transcript, oz.TranscriptJSONLines))
	assert.NilError(t, s.Transcript(ctx, run.ID, &transcript, oz.TranscriptMarkdown))
	assertAbsent(t, "transcript", transcript.Bytes(), spoken)
	assert.NilError(t, filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		assertAbsent(t, path, content, spoken)
		return err
	}))
}

func assertAbsent(t testing.TB, where string, content []byte, secrets []string) {
	t.Helper()
	for _, s := range secrets[:5] {
		assert.Check(t, !bytes.Contains(content, []byte(s)), "%s holds %s", where, s)
	}
}

func TestAppendIsBounded(t *testing.T) {
	s := newStage(t, nil)
	ctx := t.Context()
	run, l, _ := s.act(t, s.clients["bob"], oz.Request{Prompt: "x"})
	assert.NilError(t, l.Begin(ctx))
	notice := task.Event{Payload: &task.Notice{Text: "x"}}
	many := make([]task.Event, task.MaxAppendEvents+1)
	for i := range many {
		many[i] = notice
	}
	for name, c := range map[string]struct {
		offset int64
		events []task.Event
		code   task.Code
	}{
		"too many":       {0, many, task.CodeInvalidRequest},
		"too large":      {0, []task.Event{{Payload: &task.Notice{Text: strings.Repeat("x", task.MaxEventBytes)}}}, task.CodeInvalidRequest},
		"nothing":        {0, []task.Event{{}}, task.CodeInvalidRequest},
		"platform's own": {0, []task.Event{notice, {Payload: &task.StateChanged{To: task.StateSucceeded}}}, task.CodeInvalidRequest},
		"a person's":     {0, []task.Event{{Payload: &task.Input{Text: "I approve"}}}, task.CodeInvalidRequest},
		"a gap":          {1, []task.Event{notice}, task.CodeConflict},
		"a bad artifact": {0, []task.Event{{Payload: &task.ArtifactReported{Artifact: task.Artifact{UID: "a", Type: "ODD"}}}}, task.CodeInvalidRequest},
		"broken JSON":    {0, []task.Event{{Payload: &task.ToolCall{ID: "a", Input: json.RawMessage("{")}}}, task.CodeInvalidRequest},
	} {
		err := l.Append(ctx, c.offset, c.events)
		assert.Equal(t, task.CodeOf(err), c.code, "%s: %v", name, err)
	}
	got, err := s.Get(ctx, run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.LastSeq, run.LastSeq+1, "INPROGRESS and nothing else")
	_, err = l.Events(ctx, 0, 0)
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, err = l.Events(ctx, -1, 10)
	assert.ErrorIs(t, err, task.ErrInvalid)
	assert.ErrorIs(t, l.End(ctx, task.End{State: task.StateFailed, Status: task.Status{ErrorCode: "odd"}}), task.ErrInvalid)
}

func TestArtifactsBelongToTheirRun(t *testing.T) {
	s := newStage(t, func(o *oz.Options) { o.MaxUploadBytes = 1000 })
	ctx := t.Context()
	bob, cid := s.clients["bob"], s.clients["cid"]
	mine, ml, _ := s.act(t, bob, oz.Request{Prompt: "x"})
	_, tl, _ := s.act(t, cid, oz.Request{Prompt: "y"})
	assert.NilError(t, ml.Begin(ctx))
	assert.NilError(t, tl.Begin(ctx))
	uid := uuid.NewString()
	blob, n, err := ml.Upload(ctx, uid, strings.NewReader("the report"))
	assert.NilError(t, err)
	assert.Equal(t, n, int64(10))
	report := task.Artifact{UID: uid, Type: task.ArtifactFile, Path: "report.txt", MIMEType: "text/plain", SizeBytes: n, Blob: blob}
	batch := []task.Event{{Payload: &task.ArtifactReported{Artifact: report}}}
	assert.NilError(t, ml.Append(ctx, 0, batch))
	assert.NilError(t, ml.Append(ctx, 0, batch), "once more after a lost answer")

	found, id, err := bob.Artifact(ctx, uid)
	assert.NilError(t, err)
	assert.Equal(t, id, mine.ID)
	f, err := bob.OpenBlob(ctx, found)
	assert.NilError(t, err)
	content, err := io.ReadAll(f)
	assert.NilError(t, errors.Join(err, f.Close()))
	assert.Equal(t, string(content), "the report")
	_, _, err = cid.Artifact(ctx, uid)
	assert.ErrorIs(t, err, task.ErrNotFound)
	_, err = cid.OpenBlob(ctx, found)
	assert.ErrorIs(t, err, task.ErrNotFound)
	_, _, err = bob.Artifact(ctx, "unknown")
	assert.ErrorIs(t, err, task.ErrNotFound)

	// Another run can neither take over the UID nor point to the file.
	steal := report
	assert.ErrorIs(t, tl.Append(ctx, 0, []task.Event{{Payload: &task.ArtifactReported{Artifact: steal}}}), task.ErrInvalid)
	steal.UID = uuid.NewString()
	assert.ErrorIs(t, tl.Append(ctx, 0, []task.Event{{Payload: &task.ArtifactReported{Artifact: steal}}}), task.ErrInvalid)
	steal.Blob = ""
	assert.ErrorIs(t, tl.Append(ctx, 0, []task.Event{{Payload: &task.ArtifactReported{Artifact: task.Artifact{UID: uid, Type: task.ArtifactFile}}}}), task.ErrInvalid)

	_, _, err = ml.Upload(ctx, "../x", strings.NewReader("x"))
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, _, err = ml.Upload(ctx, "large", strings.NewReader(strings.Repeat("x", 1001)))
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, n, err = ml.Upload(ctx, "full", strings.NewReader(strings.Repeat("x", 1000)))
	assert.NilError(t, err)
	assert.Equal(t, n, int64(1000))
}

func TestUploadsWithoutLimit(t *testing.T) {
	s := newStage(t, func(o *oz.Options) { o.MaxUploadBytes = math.MaxInt64 })
	_, l, _ := s.act(t, s.clients["bob"], oz.Request{Prompt: "x"})
	_, n, err := l.Upload(t.Context(), "report", strings.NewReader("the report"))
	assert.NilError(t, err)
	assert.Equal(t, n, int64(10))
	_, err = oz.New(s.store, &oz.Options{MaxUploadBytes: -1})
	assert.ErrorIs(t, err, task.ErrInvalid)
}

// held gives its text, and tells its end only when it may.
type held struct {
	io.Reader
	reached chan<- struct{}
	leave   <-chan struct{}
}

func (h *held) Read(b []byte) (int, error) {
	n, err := h.Reader.Read(b)
	if errors.Is(err, io.EOF) {
		close(h.reached)
		<-h.leave
	}
	return n, err
}

// TestUploadsEndWithTheirExecution: an upload that was under way when its
// execution ended replaces nothing.
func TestUploadsEndWithTheirExecution(t *testing.T) {
	s := newStage(t, nil)
	ctx := t.Context()
	_, l, _ := s.act(t, s.clients["bob"], oz.Request{Prompt: "x"})
	assert.NilError(t, l.Begin(ctx))
	blob, _, err := l.Upload(ctx, "report", strings.NewReader("good"))
	assert.NilError(t, err)
	report := task.Artifact{UID: "report", Type: task.ArtifactFile, Path: "report.txt", Blob: blob}
	assert.NilError(t, l.Append(ctx, 0, []task.Event{{Payload: &task.ArtifactReported{Artifact: report}}}))
	reached, leave, late := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		_, _, err := l.Upload(ctx, "report", &held{strings.NewReader("late"), reached, leave})
		late <- err
	}()
	<-reached
	assert.NilError(t, l.End(ctx, task.End{State: task.StateFailed}))
	close(leave)
	assert.ErrorIs(t, <-late, task.ErrFenced)
	f, err := s.OpenBlob(ctx, report)
	assert.NilError(t, err)
	content, err := io.ReadAll(f)
	assert.NilError(t, errors.Join(err, f.Close()))
	assert.Equal(t, string(content), "good")
}

// slowLive is a store whose lists of live executions come late.
type slowLive struct {
	task.Store
	gate chan struct{}
}

func (s *slowLive) Live(ctx context.Context) ([]task.Execution, error) {
	live, err := s.Store.Live(ctx)
	<-s.gate
	return live, err
}

// TestRedactorOutlivesALateLook: an execution that begins while the platform
// reads which ones are live keeps the secrets hidden that it was given.
func TestRedactorOutlivesALateLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		store := &slowLive{Store: openStore(t), gate: make(chan struct{})}
		keys, err := sealed.OpenKeys(filepath.Join(t.TempDir(), "keys", "secrets.json"))
		assert.NilError(t, err)
		s := &stage{}
		s.Platform, err = oz.New(store, &oz.Options{Sealed: sealed.New(store, keys, nil)})
		assert.NilError(t, err)
		const first, second = "9w8e7r6t5y4u3i2o", "m1n2b3v4c5x6z7l8"
		clients := people(t, s.Platform)
		bob := clients["bob"]
		_, err = bob.CreateSecret(ctx, oz.SecretInput{Name: "KEY", Value: first})
		assert.NilError(t, err)
		stop := start(t, s.Platform)
		synctest.Wait() // it has read that there are none
		run, l, _ := s.act(t, bob, oz.Request{Prompt: "x"})
		assert.NilError(t, l.Begin(ctx))
		_, err = l.Bundle(ctx)
		assert.NilError(t, err)
		close(store.gate)
		synctest.Wait()
		_, err = clients["ann"].UpdateSecret(ctx, "KEY", nil, oz.SecretChange{Value: ptr(executor.Sensitive(second))})
		assert.NilError(t, err)
		assert.NilError(t, l.Append(ctx, 0, []task.Event{{Payload: &task.Notice{Text: "I was given " + first}}}))
		log, err := bob.Events(ctx, run.ID, run.LastSeq, 10)
		assert.NilError(t, err)
		assert.Assert(t, !strings.Contains(fmt.Sprint(log[len(log)-1].Payload), first), "%v", log[len(log)-1].Payload)
		stop()
	})
}

func TestConversation(t *testing.T) {
	s := newStage(t, nil)
	ctx := t.Context()
	run, l, _ := s.act(t, s.clients["bob"], oz.Request{Prompt: "say hello"})
	assert.NilError(t, l.Begin(ctx))
	assert.NilError(t, l.Append(ctx, 0, []task.Event{
		{Payload: &task.TurnStarted{Turn: 1}}, {Payload: &task.Message{ID: "m", Text: "hello"}}, {Payload: &task.TurnEnded{Turn: 1}}}))
	c, err := s.clients["bob"].Conversation(ctx, task.ID(run.ConversationID))
	assert.NilError(t, err)
	data, err := json.Marshal(c)
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(string(data), "say hello") && strings.Contains(string(data), `"hello"`), "%s", data)
	_, err = s.clients["cid"].Conversation(ctx, run.ID)
	assert.ErrorIs(t, err, task.ErrNotFound)
	assert.ErrorIs(t, s.clients["bob"].Transcript(ctx, run.ID, io.Discard, "pdf"), task.ErrInvalid)
}

// TestBundleHasMCPServers: the runner gets what is shared as it is now. One that
// is gone keeps its name, and the run goes on.
func TestBundleHasMCPServers(t *testing.T) {
	s := newStage(t, nil)
	ctx := t.Context()
	shared, err := s.clients["ann"].CreateMCPServer(ctx, oz.MCPServerInput{Name: "tickets",
		Config: json.RawMessage(`{"url":"https://x.example","headers":{"X-Key":"${K}"},"denied_tools":["write"]}`)})
	assert.NilError(t, err)
	ref := `{"warp_id":"` + shared.UID + `","denied_tools":["delete"],"required":true}`
	_, l, _ := s.act(t, s.clients["bob"], oz.Request{Prompt: "x", Config: task.Config{MCPServers: map[string]json.RawMessage{
		"mcpServers": json.RawMessage(`{"m":` + ref + `,"own":{"command":"x"}}`)}}})
	b, err := l.Bundle(ctx)
	assert.NilError(t, err)
	assert.Equal(t, string(b.Task.Config.MCPServers["m"]), `{"url":"https://x.example","headers":{"X-Key":"${K}"},"denied_tools":["write","delete"],"required":true}`)
	assert.Equal(t, string(b.Task.Config.MCPServers["own"]), `{"command":"x"}`)
	_, err = s.clients["ann"].UpdateMCPServer(ctx, shared.UID, oz.MCPServerChange{Config: json.RawMessage(`{"command":"y"}`)})
	assert.NilError(t, err)
	b, err = l.Bundle(ctx)
	assert.NilError(t, err)
	assert.Equal(t, string(b.Task.Config.MCPServers["m"]), `{"command":"y","denied_tools":["delete"],"required":true}`)
	assert.NilError(t, s.clients["ann"].DeleteMCPServer(ctx, shared.UID))
	b, err = l.Bundle(ctx)
	assert.NilError(t, err)
	assert.Equal(t, string(b.Task.Config.MCPServers["m"]), ref)
}
