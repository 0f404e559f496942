package oz_test

import (
	"context"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestRefusedLinksAreClosed: a run that was shared with whoever knows its
// address is not shared so while its team or the server wants no links, and
// both together refuse no less than each.
func TestRefusedLinksAreClosed(t *testing.T) {
	ctx := t.Context()
	w := newWorker("w", 2, func(ctx context.Context, _ oz.Assignment, l executor.Link) {
		if l.Begin(ctx) == nil {
			<-ctx.Done()
		}
	})
	store := openStore(t)
	p, err := oz.New(store, &oz.Options{Workers: []oz.Worker{w}})
	assert.NilError(t, err)
	w.platform = p
	off, err := oz.New(store, &oz.Options{NoLinks: true})
	assert.NilError(t, err)
	users := people(t, p)
	start(t, p)
	red := task.Scope{Type: task.ScopeTeam, UID: "red"}
	var runs []task.ID
	for _, r := range []struct {
		by    string
		owner task.Scope
	}{{"ann", red}, {"cid", task.Scope{Type: task.ScopeUser, UID: "cid"}}} {
		personal := r.owner.Type == task.ScopeUser
		run := submit(t, users[r.by], oz.Request{Prompt: "x", Team: ptr(!personal)})
		assert.Equal(t, run.Owner, r.owner)
		_, err := users[r.by].Share(ctx, run.ID, task.Sharing{Visibility: task.VisibilityLink})
		assert.NilError(t, err)
		runs = append(runs, run.ID)
	}
	live := func() int {
		list, err := users["dan"].WorkerList(ctx)
		assert.NilError(t, err)
		return len(list[0].Executions)
	}
	sees := func(p *oz.Platform, name string, id task.ID) bool {
		_, err := p.As(users[name].Caller()).Get(ctx, id)
		if err != nil {
			assert.ErrorIs(t, err, task.ErrNotFound)
		}
		return err == nil
	}
	eventually(t, "both are at work", func() bool { return live() == 2 })
	for _, id := range runs {
		assert.Assert(t, sees(p, "dan", id))
		assert.Assert(t, !sees(off, "dan", id), "the server wants no links")
	}
	_, err = users["ann"].SetTeamLinks(ctx, "red", true)
	assert.NilError(t, err)
	assert.Assert(t, !sees(p, "dan", runs[0]) && !sees(off, "dan", runs[0]))
	assert.Assert(t, sees(p, "dan", runs[1]), "that is nobody's of the team")
	assert.Equal(t, live(), 1)
	got, err := p.As(users["bob"].Caller()).Get(ctx, runs[0])
	assert.NilError(t, err, "the team goes on seeing it")
	assert.Equal(t, got.Sharing.Of(got.Owner).Visibility, task.VisibilityTeam)
	got, err = off.As(users["cid"].Caller()).Get(ctx, runs[1])
	assert.NilError(t, err)
	assert.Equal(t, got.Sharing.Of(got.Owner).Visibility, task.VisibilityPrivate)
	_, err = users["ann"].SetTeamLinks(ctx, "red", false)
	assert.NilError(t, err)
	assert.Assert(t, sees(p, "dan", runs[0]))
	assert.Equal(t, live(), 2)
}
