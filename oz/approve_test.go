package oz_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/fileblob"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// withBlobs makes a platform that keeps files.
func withBlobs(t testing.TB) (*oz.Platform, *sqlitestore.Store) {
	t.Helper()
	blobs, err := fileblob.Open(t.TempDir(), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, blobs.Close()) })
	return newPlatform(t, &oz.Options{Blobs: blobs})
}

// planner writes plans of a run, as its agent does.
type planner struct {
	executor.Link
	run    task.ID
	offset int64
}

func (l *planner) plan(t testing.TB, uid, text string, o *executor.Orchestration) {
	t.Helper()
	blob, size, err := l.Upload(t.Context(), uid, strings.NewReader(text))
	assert.NilError(t, err)
	a := task.Artifact{UID: uid, Type: task.ArtifactPlan, Title: "The plan", DocumentUID: executor.PlanDocument(l.run), Blob: blob, SizeBytes: size}
	if o != nil {
		a.Metadata, err = json.Marshal(executor.PlanMetadata{Orchestration: o})
		assert.NilError(t, err)
	}
	assert.NilError(t, l.Append(t.Context(), l.offset, []task.Event{{Payload: &task.ArtifactReported{Artifact: a}}}))
	l.offset++
}

// finish ends the execution as its agent sees it, in success.
func (l *planner) finish(t testing.TB) {
	t.Helper()
	beat, err := l.Heartbeat(t.Context())
	assert.NilError(t, err)
	assert.NilError(t, l.End(t.Context(), task.End{State: task.StateSucceeded, SeenInput: beat.LastInput, Status: task.Status{Message: "planned"}}))
}

// lastInput is the newest message of a run.
func lastInput(t testing.TB, p *oz.Platform, run task.Task) *task.Input {
	t.Helper()
	events, err := p.Events(t.Context(), run.ID, run.LastInput-1, 1)
	assert.NilError(t, err)
	return events[0].Payload.(*task.Input)
}

func get(t testing.TB, p *oz.Platform, id task.ID) task.Task {
	t.Helper()
	got, err := p.Get(t.Context(), id)
	assert.NilError(t, err)
	return got
}

// TestPlanIsApproved: a run in plan mode ends by asking for approval of the
// plan's newest version; a rejected one is written anew, an approved one is
// carried out in normal mode.
func TestPlanIsApproved(t *testing.T) {
	p, store := withBlobs(t)
	all := people(t, p)
	ann := all["ann"]
	run := submit(t, ann, oz.Request{Prompt: "plan it", Mode: task.ModePlan})
	assert.Equal(t, task.CodeOf(ann.Approve(t.Context(), run.ID, oz.Approval{})), task.CodeNotFound)
	l := &planner{Link: deskOf(t, p, store, run.ID), run: run.ID}
	_, err := l.Spawn(t.Context(), executor.Spawn{Key: "a", Prompt: "early"})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	l.plan(t, "v1", "# One", nil)
	l.plan(t, "v2", "# Two", nil)
	l.finish(t)
	assert.NilError(t, l.End(t.Context(), task.End{State: task.StateSucceeded, SeenInput: 2, Status: task.Status{Message: "planned"}}), "the answer was lost")
	got := get(t, p, run.ID)
	assert.Equal(t, got.State, task.StateBlocked)
	q := got.Open()
	assert.Equal(t, string(q.Kind)+" "+q.Subject, "approval v2")
	assert.Assert(t, time.Until(q.ExpiresAt) > 6*24*time.Hour)

	assert.ErrorContains(t, ann.Answer(t.Context(), run.ID, oz.Answer{Text: "fine"}), "say approve or reject")
	assert.NilError(t, ann.Answer(t.Context(), run.ID, oz.Answer{Choice: "reject", Text: "smaller steps"}))
	got = get(t, p, run.ID)
	assert.Equal(t, got.Approved+got.Rejected, "v2")
	assert.Equal(t, got.CurrentMode(), task.ModePlan)
	assert.Assert(t, strings.HasSuffix(lastInput(t, p, got).Text, ": reject\nsmaller steps"))

	l = &planner{Link: deskOf(t, p, store, run.ID), run: run.ID}
	l.plan(t, "v3", "# Three", nil)
	l.finish(t)
	got = get(t, p, run.ID)
	assert.Equal(t, got.Open().Subject, "v3")
	var group sync.WaitGroup
	won := make(chan error, 8)
	for range 8 {
		group.Go(func() { won <- ann.Approve(t.Context(), run.ID, oz.Approval{Text: "and be quick"}) })
	}
	group.Wait()
	for range 8 { // who comes too late finds it approved, or is told that it was answered
		if err := <-won; err != nil {
			assert.ErrorIs(t, err, task.ErrConflict)
		}
	}
	got = get(t, p, run.ID)
	assert.Equal(t, got.State, task.StateQueued)
	assert.Equal(t, got.Approved, "v3")
	assert.Equal(t, got.CurrentMode(), task.ModeNormal)
	assert.Equal(t, lastInput(t, p, got).Text, "Your plan \"The plan\" is approved. Carry it out now.\n\nand be quick")
	events, err := p.Events(t.Context(), run.ID, 0, 100)
	assert.NilError(t, err)
	approvals := 0
	for _, e := range events {
		if in, ok := e.Payload.(*task.Input); ok && in.Approves != "" {
			approvals++
		}
	}
	assert.Equal(t, approvals, 1)
	(&planner{Link: deskOf(t, p, store, run.ID)}).finish(t)
	assert.Equal(t, get(t, p, run.ID).State, task.StateSucceeded)
}

// TestRejectedPlanMayEnd: an agent that gives up after a rejection is not
// asked about the same plan again.
func TestRejectedPlanMayEnd(t *testing.T) {
	p, store := withBlobs(t)
	run := submit(t, p, oz.Request{Prompt: "plan it", Mode: task.ModePlan})
	l := &planner{Link: deskOf(t, p, store, run.ID), run: run.ID}
	l.plan(t, "v1", "# One", nil)
	l.finish(t)
	assert.NilError(t, p.Answer(t.Context(), run.ID, oz.Answer{Choice: "reject"}))
	(&planner{Link: deskOf(t, p, store, run.ID)}).finish(t)
	assert.Equal(t, get(t, p, run.ID).State, task.StateSucceeded)
}

// TestOrchestration: a run that orchestrates starts what its approved plan
// names, as it names it, and nothing before (Oz platform, MAO-7).
func TestOrchestration(t *testing.T) {
	p, store := withBlobs(t)
	ann := people(t, p)["ann"]
	run := submit(t, ann, oz.Request{Prompt: "lead", Mode: task.ModeOrchestrate, Config: task.Config{ModelID: "claude-sonnet-4-5", WorkerHost: "pool"}})
	l := &planner{Link: deskOf(t, p, store, run.ID), run: run.ID}
	_, err := l.Spawn(t.Context(), executor.Spawn{Key: "a", Prompt: "x"})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	assert.ErrorContains(t, err, "hand in a plan")
	l.plan(t, "v1", "# Parts", &executor.Orchestration{Parallelism: 2, Config: executor.ChildConfig{ModelID: "claude-haiku-4-5"}, Children: []executor.Spawn{
		{Key: "a", Prompt: "do a"}, {Key: "b", Prompt: "do b", Config: executor.ChildConfig{ModelID: "claude-opus-4-1"}}, {Key: "c", Prompt: "do c"}}})
	_, err = l.Spawn(t.Context(), executor.Spawn{Key: "a"})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized, "not approved yet")
	l.finish(t)
	assert.NilError(t, ann.Answer(t.Context(), run.ID, oz.Answer{Choice: "approve"}))
	got := get(t, p, run.ID)
	assert.Equal(t, got.CurrentMode(), task.ModeOrchestrate)
	assert.Assert(t, strings.Contains(lastInput(t, p, got).Text, "Start its children by their keys (a, b, c)"))

	l = &planner{Link: deskOf(t, p, store, run.ID), run: run.ID}
	for want, s := range map[string]executor.Spawn{
		"has no child": {Key: "d", Prompt: "more"}, "is started as the approved plan has it": {Key: "a", Prompt: "something else"},
	} {
		_, err := l.Spawn(t.Context(), s)
		assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
		assert.ErrorContains(t, err, want)
	}
	models := map[string]string{"a": "claude-haiku-4-5", "b": "claude-opus-4-1"}
	for _, key := range []string{"a", "b"} {
		r, err := l.Spawn(t.Context(), executor.Spawn{Key: key})
		assert.NilError(t, err)
		child := get(t, p, r.ID)
		assert.Equal(t, child.Prompt, "do "+key)
		assert.Equal(t, child.Config.ModelID, models[key])
		assert.Equal(t, child.Config.WorkerHost, "pool")
		assert.Equal(t, child.CurrentMode(), task.ModeNormal)
	}
	_, err = l.Spawn(t.Context(), executor.Spawn{Key: "c"})
	assert.ErrorContains(t, err, "no more than 2 may be at once")
	l.finish(t)
	assert.Equal(t, get(t, p, run.ID).State, task.StateSucceeded, "its own work is done, whatever its children do")
}

// TestPlanIsEdited: a person may write the plan anew; it is theirs that holds,
// and the agent is given it.
func TestPlanIsEdited(t *testing.T) {
	p, store := withBlobs(t)
	all := people(t, p)
	ann := all["ann"]
	run := submit(t, ann, oz.Request{Prompt: "lead", Mode: task.ModeOrchestrate})
	_, err := ann.EditPlan(t.Context(), run.ID, oz.PlanEdit{Markdown: "x"})
	assert.ErrorIs(t, err, task.ErrNotFound)
	l := &planner{Link: deskOf(t, p, store, run.ID), run: run.ID}
	l.plan(t, "v1", "# Parts", &executor.Orchestration{Children: []executor.Spawn{{Key: "a", Prompt: "do a"}}})
	l.finish(t)
	for field, edit := range map[string]oz.PlanEdit{
		"markdown": {Markdown: " "}, "title": {Markdown: "x", Title: "a\nb"}, "children": {Markdown: "x", Orchestration: &executor.Orchestration{}},
		"children[1].key": {Markdown: "x", Orchestration: &executor.Orchestration{Children: []executor.Spawn{{Key: "a", Prompt: "x"}, {Key: "a", Prompt: "y"}}}},
	} {
		_, err := ann.EditPlan(t.Context(), run.ID, edit)
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.ErrorContains(t, err, field)
	}
	_, err = all["cid"].EditPlan(t.Context(), run.ID, oz.PlanEdit{Markdown: "x"})
	assert.ErrorIs(t, err, task.ErrNotFound)
	edited, err := ann.EditPlan(t.Context(), run.ID, oz.PlanEdit{Markdown: "# Fewer parts", Orchestration: &executor.Orchestration{Children: []executor.Spawn{{Key: "z", Prompt: "do z"}}}})
	assert.NilError(t, err)
	versions, err := ann.PlanVersions(t.Context(), edited.UID)
	assert.NilError(t, err)
	assert.Equal(t, len(versions), 2)
	assert.Equal(t, versions[0].UID, edited.UID)
	assert.NilError(t, ann.Approve(t.Context(), run.ID, oz.Approval{}))
	got := get(t, p, run.ID)
	assert.Equal(t, got.Approved, edited.UID)
	assert.Assert(t, strings.HasSuffix(lastInput(t, p, got).Text, "A person has changed it; this is the version that holds:\n\n# Fewer parts"))
	l = &planner{Link: deskOf(t, p, store, run.ID), run: run.ID}
	_, err = l.Spawn(t.Context(), executor.Spawn{Key: "a"})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	_, err = l.Spawn(t.Context(), executor.Spawn{Key: "z"})
	assert.NilError(t, err)
}

// TestUnreadMailComesFirst: a run does not succeed over a letter that it has
// not read.
func TestUnreadMailComesFirst(t *testing.T) {
	p, store := newPlatform(t, nil)
	parent := submit(t, p, oz.Request{Prompt: "lead"})
	l := deskOf(t, p, store, parent.ID)
	r, err := l.Spawn(t.Context(), executor.Spawn{Key: "a", Prompt: "x"})
	assert.NilError(t, err)
	child := deskOf(t, p, store, r.ID)
	assert.NilError(t, child.SendMail(t.Context(), executor.Mailing{Key: "k", To: []task.ID{parent.ID}, Subject: "result", Body: "42"}))
	err = l.End(t.Context(), task.End{State: task.StateSucceeded, SeenInput: 2})
	assert.ErrorIs(t, err, task.ErrUnseenInput)
	got := get(t, p, parent.ID)
	assert.Assert(t, strings.HasSuffix(lastInput(t, p, got).Text, "Subject: result\n\n42"))
	assert.NilError(t, l.End(t.Context(), task.End{State: task.StateSucceeded, SeenInput: got.LastInput}))
	assert.Equal(t, get(t, p, parent.ID).State, task.StateSucceeded)
}
