package rest_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// TestListIsFollowedOverHTTP by the SDK: new runs and their ends arrive, those
// of others do not, and a reader who comes back goes on where it was.
func TestListIsFollowedOverHTTP(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	admin, outsider := sdk(t, e, transporttest.AdminKey), sdk(t, e, e.Outsider)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var run, foreign task.Task
	position := ""
	for change, err := range admin.WatchRuns(ctx, "") {
		assert.NilError(t, err)
		switch {
		case change.Kind == oz.RunsResync:
			foreign, err = outsider.Submit(ctx, oz.Request{Prompt: "theirs", Team: ptr(false)})
			assert.NilError(t, err)
			run, err = admin.Submit(ctx, oz.Request{Prompt: "ours", Title: "Ours"})
			assert.NilError(t, err)
		case change.RunID == foreign.ID:
			t.Fatal("a foreign run")
		}
		if position = change.Position; change.RunID == run.ID && run.ID != "" {
			assert.Equal(t, change.Run.Title, "Ours")
			assert.Equal(t, change.Run.State, task.StateQueued)
			break
		}
	}
	assert.NilError(t, admin.Cancel(ctx, run.ID))
	first := true
	for change, err := range admin.WatchRuns(ctx, position) {
		assert.NilError(t, err)
		if change.Kind == oz.RunsResync {
			assert.Assert(t, first) // nobody followed meanwhile, so the position may be gone
			got, err := admin.Get(ctx, run.ID)
			assert.NilError(t, err)
			change = oz.RunChange{RunID: run.ID, Run: got}
		}
		if first = false; change.RunID == run.ID && change.Run.State == task.StateCancelled {
			break
		}
	}
}

func TestListStreamRefusals(t *testing.T) {
	e := transporttest.Start(t, nil)
	assert.Equal(t, e.Call("", http.MethodGet, "/api/v1/oz/runs/stream", nil).Status, http.StatusUnauthorized)
	a := e.Call(transporttest.AdminKey, http.MethodGet, "/api/v1/oz/runs/stream", nil)
	assert.Equal(t, a.Status, http.StatusBadRequest, "%s", a.Body)
	assert.Equal(t, a.Problem()["field"], "Accept")
	admin := sdk(t, e, transporttest.AdminKey)
	for _, err := range admin.WatchRuns(t.Context(), "nonsense") {
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.ErrorContains(t, err, "Last-Event-ID")
	}
}

// TestListStreamEndsWithTheKey: a key that was revoked reads no more.
func TestListStreamEndsWithTheKey(t *testing.T) {
	e := transporttest.Start(t, nil)
	admin := sdk(t, e, transporttest.AdminKey)
	raw, key, err := admin.CreateKey(t.Context(), access.KeySpec{Name: "twin", Type: access.KeyPersonal})
	assert.NilError(t, err)
	twin := sdk(t, e, raw)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for change, err := range twin.WatchRuns(ctx, "") {
		if err != nil {
			assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired, "%v", err)
			return
		}
		if change.Kind == oz.RunsResync {
			assert.NilError(t, admin.RevokeKey(ctx, key.UID))
		}
	}
	t.Fatal("the stream ended without a reason")
}

// TestListStreamEndsWithTheLink: a stream whose request carries a link ends, as
// each of its requests fails, when the link's team wants none any more: it is
// asked again who the caller is before anything else is looked at.
func TestListStreamEndsWithTheLink(t *testing.T) {
	e := transporttest.Start(t, guests())
	admin := sdk(t, e, transporttest.AdminKey)
	run, err := admin.Submit(t.Context(), oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	token, _, _, err := admin.CreateRunLink(t.Context(), run.ID, oz.RunLinkSpec{Role: task.RoleViewer})
	assert.NilError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for change, err := range withLink(t, e, e.Outsider, token).WatchRuns(ctx, "") {
		if err != nil {
			assert.Equal(t, task.CodeOf(err), task.CodeFeatureNotAvailable, "%v", err)
			return
		}
		if change.Kind == oz.RunsResync {
			_, err := admin.SetTeamLinks(t.Context(), access.DefaultTeam, true)
			assert.NilError(t, err)
		}
	}
	t.Fatal("the stream ended without a reason")
}
