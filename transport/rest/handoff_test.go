package rest_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// kept makes a run whose first execution has kept one file and ended.
func kept(t *testing.T, e *transporttest.Env, admin *client.Client) (task.Task, task.SnapshotFile) {
	t.Helper()
	run, err := admin.Submit(t.Context(), oz.Request{Prompt: "work"})
	assert.NilError(t, err)
	shake := e.Claimed()
	link, err := client.NewLink(shake, nil)
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(t.Context()))
	f := task.SnapshotFile{UID: "snap-1", Kind: task.SnapshotPatch, Name: "app.patch", MIMEType: "text/x-patch", Repo: "app", Commit: strings.Repeat("a", 40)}
	f.Blob, f.SizeBytes, err = link.Upload(t.Context(), f.UID, strings.NewReader("the patch"))
	assert.NilError(t, err)
	assert.NilError(t, link.Append(t.Context(), 0, []task.Event{{Payload: &task.SnapshotTaken{Files: []task.SnapshotFile{f}}}}))
	files, err := admin.HandoffFiles(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.Equal(t, len(files), 0, "the execution has not ended")
	session, err := admin.LiveSession(t.Context(), run.ConversationID)
	assert.NilError(t, err)
	assert.Equal(t, session, string(shake.ExecutionID))
	blob, err := link.OpenBlob(t.Context(), f.Blob)
	assert.NilError(t, err)
	data, err := io.ReadAll(blob)
	assert.NilError(t, err)
	assert.NilError(t, blob.Close())
	assert.Equal(t, string(data), "the patch")
	for _, foreign := range []string{"artifacts/other/snap-1", "attachments/x/0", "../oz.db"} {
		_, err := link.OpenBlob(t.Context(), foreign)
		assert.ErrorIs(t, err, task.ErrNotFound, foreign)
	}
	assert.NilError(t, link.End(t.Context(), task.End{State: task.StateSucceeded, Status: task.Status{Message: "done"}, SeenInput: 1 << 40}))
	run, err = admin.Get(t.Context(), run.ID)
	assert.NilError(t, err)
	return run, f
}

func adminClient(t *testing.T, e *transporttest.Env) *client.Client {
	t.Helper()
	admin, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(t, err)
	return admin
}

func TestHandoffAttachments(t *testing.T) {
	e := transporttest.Start(t, nil)
	admin := adminClient(t, e)
	run, f := kept(t, e, admin)
	files, err := admin.HandoffFiles(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.Equal(t, len(files), 1)
	assert.Equal(t, files[0].Name, "app.patch")
	var text strings.Builder
	assert.NilError(t, admin.DownloadHandoffFile(t.Context(), files[0], &text))
	assert.Equal(t, text.String(), "the patch")

	link, err := url.Parse(files[0].URL)
	assert.NilError(t, err)
	q := link.Query()
	q.Set("signature", "AAAA")
	a := e.Call("", http.MethodGet, link.Path+"?"+q.Encode(), nil)
	assert.Equal(t, a.Code(), task.CodeNotAuthorized)
	a = e.Call("", http.MethodGet, strings.Replace(link.RequestURI(), f.UID, "snap-2", 1), nil)
	assert.Equal(t, a.Code(), task.CodeNotAuthorized, "a signature is for one file")
	for _, key := range []string{e.Outsider} {
		a := e.Call(key, http.MethodGet, "/agent/runs/"+string(run.ID)+"/handoff/attachments", nil)
		assert.Equal(t, a.Code(), task.CodeNotFound)
	}
	a = e.Call(transporttest.AdminKey, http.MethodGet, "/agent/runs/nothing/handoff/attachments", nil)
	assert.Equal(t, a.Code(), task.CodeNotFound)
}

func TestRedirects(t *testing.T) {
	e := transporttest.Start(t, nil)
	admin := adminClient(t, e)
	run, _ := kept(t, e, admin)
	list, err := e.Platform.Executions(t.Context(), run.ID)
	assert.NilError(t, err)
	session := string(list[0].ID)
	for _, path := range []string{"/agent/conversations/" + run.ConversationID + "/redirect", "/agent/conversations/nothing/redirect", "/agent/sessions/nothing/redirect"} {
		a := e.Call("", http.MethodGet, path, nil) // needs no key
		assert.Equal(t, a.Status, http.StatusOK, path)
		assert.Equal(t, strings.TrimSpace(string(a.Body)), "{}", path)
	}
	_, err = e.Store.Do(t.Context(), run.ID, task.SandboxGone{Execution: list[0].ID})
	assert.NilError(t, err)
	conversation, err := admin.EndedSession(t.Context(), session)
	assert.NilError(t, err)
	assert.Equal(t, conversation, run.ConversationID)
	live, err := admin.LiveSession(t.Context(), run.ConversationID)
	assert.NilError(t, err)
	assert.Equal(t, live, "")
}

func TestFilesOfPeople(t *testing.T) {
	e := transporttest.Start(t, nil)
	admin := adminClient(t, e)
	run, _ := kept(t, e, admin)
	uid, err := admin.AddFile(t.Context(), run.ID, oz.FileInput{Name: "notes.txt", Description: "from a person", Content: strings.NewReader("hello")})
	assert.NilError(t, err)
	f, err := admin.Artifact(t.Context(), uid)
	assert.NilError(t, err)
	assert.Equal(t, f.Name, "notes.txt")
	assert.Equal(t, f.ContentType, "text/plain; charset=utf-8")
	var text strings.Builder
	assert.NilError(t, admin.Download(t.Context(), uid, &text))
	assert.Equal(t, text.String(), "hello")
	run, err = admin.Get(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.Equal(t, run.State, task.StateSucceeded, "a file does not move the run")
	assert.Equal(t, len(run.Artifacts), 1)

	path := "/oz/runs/" + string(run.ID) + "/artifacts"
	for name, want := range map[string]string{"": "filename", "..": "filename", "a/b": "filename", "x\ny": "filename"} {
		a := e.Call(transporttest.AdminKey, http.MethodPost, path+"?filename="+url.QueryEscape(name), []byte("x"))
		assert.Equal(t, a.Status, http.StatusBadRequest, "%q: %s", name, a.Body)
		assert.Assert(t, strings.Contains(string(a.Body), want), "%s", a.Body)
	}
	a := e.Call(e.Outsider, http.MethodPost, path+"?filename=x", []byte("x"))
	assert.Equal(t, a.Code(), task.CodeNotFound)
}

func TestUploadsOfPeopleAreBounded(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Platform: oz.Options{MaxUploadBytes: 10}})
	admin := adminClient(t, e)
	run, err := admin.Submit(t.Context(), oz.Request{Prompt: "work"})
	assert.NilError(t, err)
	a := e.Call(transporttest.AdminKey, http.MethodPost, "/oz/runs/"+string(run.ID)+"/artifacts?filename=x", []byte("more than ten"))
	assert.Equal(t, a.Status, http.StatusBadRequest)
	run, err = admin.Get(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.Equal(t, len(run.Artifacts), 0)
}

func TestPlanVersions(t *testing.T) {
	e := transporttest.Start(t, nil)
	admin := adminClient(t, e)
	_, err := admin.Submit(t.Context(), oz.Request{Prompt: "plan", Mode: task.ModePlan})
	assert.NilError(t, err)
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(t.Context()))
	for i, text := range []string{"# One", "# Two"} {
		uid := "plan-v" + string(rune('1'+i))
		blob, size, err := link.Upload(t.Context(), uid, strings.NewReader(text))
		assert.NilError(t, err)
		assert.NilError(t, link.Append(t.Context(), int64(i), []task.Event{{Payload: &task.ArtifactReported{Artifact: task.Artifact{
			UID: uid, DocumentUID: "plan-of-it", Type: task.ArtifactPlan, Title: text, Blob: blob, SizeBytes: size}}}}))
	}
	versions, err := admin.PlanVersions(t.Context(), "plan-v1")
	assert.NilError(t, err)
	assert.Equal(t, len(versions), 2)
	assert.Equal(t, versions[0].Content, "# Two")
	assert.Equal(t, versions[0].Version, 2)
	assert.Equal(t, versions[1].Content, "# One")
	a := e.Call(e.Outsider, http.MethodGet, "/oz/artifacts/plan-v1/versions", nil)
	assert.Equal(t, a.Code(), task.CodeNotFound)
}

// TestHandoffEndsWithTheRight lets somebody go on with a conversation that was
// shared with them: what it leaves behind later is not theirs any more when it
// is taken back.
func TestHandoffEndsWithTheRight(t *testing.T) {
	e := transporttest.Start(t, nil)
	ctx, admin := t.Context(), adminClient(t, e)
	run, f := kept(t, e, admin)
	share := func(v task.Visibility) {
		_, err := admin.Share(ctx, run.ID, task.Sharing{Visibility: v})
		assert.NilError(t, err)
	}
	share(task.VisibilityLink)
	outsider := sdk(t, e, e.Outsider)
	_, err := outsider.Submit(ctx, oz.Request{Prompt: "go on", ConversationID: run.ConversationID})
	assert.NilError(t, err)
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)
	open := func() error {
		blob, err := link.OpenBlob(ctx, f.Blob)
		if err == nil {
			assert.NilError(t, blob.Close())
		}
		return err
	}
	assert.NilError(t, open())
	share(task.VisibilityTeam)
	assert.ErrorIs(t, open(), task.ErrNotFound)
	bundle, err := link.Bundle(ctx)
	assert.NilError(t, err)
	assert.Assert(t, bundle.Snapshot == nil)
}

// TestPlanVersionsAreBounded asks for more text than an answer may have.
func TestPlanVersionsAreBounded(t *testing.T) {
	e := transporttest.Start(t, nil)
	admin := adminClient(t, e)
	_, err := admin.Submit(t.Context(), oz.Request{Prompt: "plan", Mode: task.ModePlan})
	assert.NilError(t, err)
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(t.Context()))
	text := strings.Repeat("x", 4<<20)
	for i := range 6 {
		uid := "plan-v" + string(rune('1'+i))
		blob, size, err := link.Upload(t.Context(), uid, strings.NewReader(text))
		assert.NilError(t, err)
		assert.NilError(t, link.Append(t.Context(), int64(i), []task.Event{{Payload: &task.ArtifactReported{Artifact: task.Artifact{
			UID: uid, DocumentUID: "plan-of-it", Type: task.ArtifactPlan, Title: uid, Blob: blob, SizeBytes: size}}}}))
	}
	versions, err := admin.PlanVersions(t.Context(), "plan-v1")
	assert.NilError(t, err)
	assert.Equal(t, len(versions), 4)
	assert.Equal(t, versions[0].Version, 6)
	assert.Equal(t, versions[0].Title, "plan-v6")
}
