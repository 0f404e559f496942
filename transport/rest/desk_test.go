package rest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// TestDeskOverHTTP: what an agent can do with people and other runs, it can do
// with a server elsewhere.
func TestDeskOverHTTP(t *testing.T) {
	e := transporttest.Start(t, nil)
	ctx := t.Context()
	_, err := sdk(t, e, transporttest.AdminKey).Submit(ctx, oz.Request{Prompt: "lead"})
	assert.NilError(t, err)
	h := e.Claimed()
	link, err := client.NewLink(h, nil)
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(ctx))
	child, err := link.Spawn(ctx, executor.Spawn{Key: "a", Prompt: "part", Title: "First part"})
	assert.NilError(t, err)
	assert.DeepEqual(t, child, executor.Relative{ID: child.ID, Relation: executor.RelationChild, Key: "a", Title: "First part", State: task.StateQueued})
	again, err := link.Spawn(ctx, executor.Spawn{Key: "a", Prompt: "part", Title: "First part"})
	assert.NilError(t, err)
	assert.Equal(t, again.ID, child.ID)
	_, err = link.Spawn(ctx, executor.Spawn{Key: "a", Prompt: "other"})
	assert.ErrorIs(t, err, task.ErrConflict)
	_, err = link.Spawn(ctx, executor.Spawn{Key: "a/b", Prompt: "other"})
	assert.ErrorContains(t, err, "key")
	family, err := link.Family(ctx)
	assert.NilError(t, err)
	assert.Equal(t, len(family), 1)
	assert.Equal(t, family[0].ID, child.ID)
	assert.NilError(t, link.SendMail(ctx, executor.Mailing{Key: "k", To: []task.ID{child.ID, h.TaskID}, Subject: "hello", Body: "to all"}))
	news, err := link.Await(ctx, executor.Await{Runs: []task.ID{child.ID}, WaitMS: executor.MaxAwaitMS})
	assert.NilError(t, err)
	assert.Equal(t, len(news.Unread), 1)
	assert.Assert(t, !news.Done && news.Runs[0].State.Active())
	mail, err := link.ReadMail(ctx, news.Unread[0].ID)
	assert.NilError(t, err)
	assert.Equal(t, mail.Body+" "+string(mail.From), "to all "+string(h.TaskID))
	assert.NilError(t, link.CancelChild(ctx, child.ID))
	news, err = link.Await(ctx, executor.Await{Runs: []task.ID{child.ID}, WaitMS: executor.MaxAwaitMS})
	assert.NilError(t, err)
	assert.Assert(t, news.Done)
	shown, err := sdk(t, e, transporttest.AdminKey).Get(ctx, child.ID)
	assert.NilError(t, err)
	assert.Equal(t, shown.ChildKey, "a")
	_, err = sdk(t, e, transporttest.AdminKey).Submit(ctx, oz.Request{Prompt: "x", ParentRunID: child.ID})
	assert.ErrorContains(t, err, "parent_run_id")
	for _, path := range []string{"children", "await", "messages"} {
		a := e.Call(transporttest.AdminKey, http.MethodPost, "/api/v1/oz/executions/current/"+path, map[string]any{"key": "a", "to": []string{"x"}, "subject": "s", "body": "b"})
		assert.Equal(t, a.Status, http.StatusForbidden, "%s", a.Body)
	}
}

// TestOutreachOverHTTP: what a program around an agent reports and tells, it does
// with the run's token; nobody else may.
func TestOutreachOverHTTP(t *testing.T) {
	e := transporttest.Start(t, nil)
	ctx := t.Context()
	_, err := sdk(t, e, transporttest.AdminKey).Submit(ctx, oz.Request{Prompt: "mend it"})
	assert.NilError(t, err)
	h := e.Claimed()
	link, err := client.NewLink(h, nil)
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(ctx))
	pull := executor.Report{Type: task.ArtifactPullRequest, Data: executor.ReportData{URL: "https://forge.example/a/b/pull/7", Branch: "mend"}}
	uid, err := link.ReportArtifact(ctx, pull)
	assert.NilError(t, err)
	assert.Equal(t, uid, executor.ArtifactUID(h.TaskID, "pull_request", pull.Data.URL))
	assert.NilError(t, link.NotifyUser(ctx, executor.Note{Message: "Half is done.", Key: "k"}))
	assert.NilError(t, link.NotifyUser(ctx, executor.Note{Message: "Half is done.", Key: "k"}))
	assert.NilError(t, link.NotifyUser(ctx, executor.Note{Message: "All is done."}))
	events, err := sdk(t, e, transporttest.AdminKey).Events(ctx, h.TaskID, 0, 100)
	assert.NilError(t, err)
	var notes []string
	for _, event := range events {
		if n, ok := event.Payload.(*task.Notice); ok && n.Key != "" {
			notes = append(notes, n.Text)
		}
	}
	assert.DeepEqual(t, notes, []string{"Note from the run: Half is done.", "Note from the run: All is done."})

	post := func(key, path string, body any) transporttest.Answer {
		return e.Call(key, http.MethodPost, "/api/v1/oz/executions/current/"+path, body)
	}
	for field, body := range map[string]any{
		"artifact_type": map[string]any{"artifact_type": "FILE", "data": map[string]any{"url": "https://x"}},
		"data.url":      map[string]any{"artifact_type": "PULL_REQUEST", "data": map[string]any{"url": "x", "branch": "b"}},
		"data.branch":   map[string]any{"artifact_type": "PULL_REQUEST", "data": map[string]any{"url": "https://x"}},
	} {
		a := post(h.Token.Reveal(), "artifacts", body)
		assert.Equal(t, a.Status, http.StatusBadRequest, "%s", a.Body)
		assert.Equal(t, a.Problem()["field"], field)
	}
	a := post(h.Token.Reveal(), "notes", map[string]any{"message": ""})
	assert.Equal(t, a.Status, http.StatusBadRequest, "%s", a.Body)
	assert.Equal(t, a.Problem()["field"], "message")
	for path, body := range map[string]any{"artifacts": pull, "notes": executor.Note{Message: "x"}} {
		assert.Equal(t, post(transporttest.AdminKey, path, body).Status, http.StatusForbidden)
		assert.Equal(t, post("", path, body).Status, http.StatusUnauthorized)
	}
	assert.NilError(t, link.End(ctx, task.End{State: task.StateSucceeded, SeenInput: 2}))
	for path, body := range map[string]any{"artifacts": pull, "notes": executor.Note{Message: "x"}} {
		a := post(h.Token.Reveal(), path, body)
		assert.Assert(t, a.Status == http.StatusUnauthorized || a.Status == http.StatusUnprocessableEntity, "%d %s", a.Status, a.Body)
	}
}

// TestAnswerOverHTTP: a run's question is on the run, and answered there.
func TestAnswerOverHTTP(t *testing.T) {
	e := transporttest.Start(t, nil)
	ctx := t.Context()
	_, err := sdk(t, e, transporttest.AdminKey).Submit(ctx, oz.Request{Prompt: "lead"})
	assert.NilError(t, err)
	h := e.Claimed()
	link, err := client.NewLink(h, nil)
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(ctx))
	q := &task.Question{ID: "q", Kind: task.QuestionPerson, Text: "Which?", Choices: []string{"a", "b"}, ExpiresAt: time.Now().Add(time.Hour).UTC().Round(time.Second)}
	assert.NilError(t, link.End(ctx, task.End{State: task.StateBlocked, SeenInput: 2, Status: task.Status{Message: "Which?", Question: q}}))
	admin := sdk(t, e, transporttest.AdminKey)
	got, err := admin.Get(ctx, h.TaskID)
	assert.NilError(t, err)
	assert.DeepEqual(t, got.Open(), q)
	path := "/api/v1/oz/runs/" + string(h.TaskID) + "/answer"
	for field, body := range map[string]any{"choice": map[string]any{"choice": "c"}, "text": map[string]any{}, "question_id": map[string]any{"question_id": "z", "choice": "a"}} {
		a := e.Call(transporttest.AdminKey, http.MethodPost, path, body)
		assert.Assert(t, a.Status == http.StatusBadRequest || a.Status == http.StatusConflict, "%s", a.Body)
		assert.Equal(t, a.Problem()["field"], field)
	}
	assert.Equal(t, e.Call(e.Outsider, http.MethodPost, path, map[string]any{"choice": "a"}).Status, http.StatusNotFound)
	assert.NilError(t, admin.Answer(ctx, h.TaskID, oz.Answer{QuestionID: "q", Choice: "a"}))
	assert.ErrorIs(t, admin.Answer(ctx, h.TaskID, oz.Answer{QuestionID: "q", Choice: "a"}), task.ErrConflict)
	got, err = admin.Get(ctx, h.TaskID)
	assert.NilError(t, err)
	assert.Assert(t, got.Open() == nil && got.State != task.StateBlocked)
}

// TestPlanOverHTTP: a plan is shown with its children, written anew and
// approved.
func TestPlanOverHTTP(t *testing.T) {
	e := transporttest.Start(t, nil)
	ctx, admin := t.Context(), sdk(t, e, transporttest.AdminKey)
	run, err := admin.Submit(ctx, oz.Request{Prompt: "lead", Mode: task.ModeOrchestrate})
	assert.NilError(t, err)
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(ctx))
	blob, size, err := link.Upload(ctx, "v1", strings.NewReader("# Plan"))
	assert.NilError(t, err)
	meta := `{"orchestration":{"children":[{"key":"a","prompt":"do a"}]}}`
	assert.NilError(t, link.Append(ctx, 0, []task.Event{{Payload: &task.ArtifactReported{Artifact: task.Artifact{UID: "v1", Type: task.ArtifactPlan,
		DocumentUID: executor.PlanDocument(run.ID), Title: "T", Blob: blob, SizeBytes: size, Metadata: json.RawMessage(meta)}}}}))
	assert.NilError(t, link.End(ctx, task.End{State: task.StateSucceeded, SeenInput: 2}))
	got, err := admin.Get(ctx, run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.Open().Subject, "v1")
	var shown, sent any
	assert.NilError(t, json.Unmarshal(got.Artifacts[0].Metadata, &shown))
	assert.NilError(t, json.Unmarshal([]byte(meta), &sent))
	assert.DeepEqual(t, shown, sent)
	edited, err := admin.EditPlan(ctx, run.ID, oz.PlanEdit{Markdown: "# Better"})
	assert.NilError(t, err)
	assert.Equal(t, edited.Title+" "+edited.DocumentUID, "T "+executor.PlanDocument(run.ID))
	path := "/api/v1/oz/runs/" + string(run.ID) + "/plan"
	a := e.Call(transporttest.AdminKey, http.MethodPut, path, map[string]any{"markdown": ""})
	assert.Equal(t, a.Status, http.StatusBadRequest, "%s", a.Body)
	assert.Equal(t, a.Problem()["field"], "markdown")
	a = e.Call(transporttest.AdminKey, http.MethodPost, path+"/approve", map[string]any{"artifact_uid": "v9"})
	assert.Equal(t, a.Status, http.StatusNotFound, "%s", a.Body)
	a = e.Call(transporttest.AdminKey, http.MethodPost, path+"/approve", nil)
	assert.Equal(t, a.Status, http.StatusOK, "%s", a.Body)
	got, err = admin.Get(ctx, run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.Approved, edited.UID)
	assert.NilError(t, admin.Approve(ctx, run.ID, oz.Approval{PlanUID: edited.UID}), "again")
}
