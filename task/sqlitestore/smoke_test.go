package sqlitestore_test

import (
	"path/filepath"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

func TestSmoke(t *testing.T) {
	path := filepath.Join(t.TempDir(), "oz.db")
	ctx := t.Context()
	st := time.Now()
	s, err := sqlitestore.Open(ctx, path, nil)
	assert.NilError(t, err)
	t.Log("open", time.Since(st))
	_, err = sqlitestore.Open(ctx, path, nil)
	t.Log(err)
	assert.Assert(t, err != nil)
	id := task.NewID()
	tk, _, err := s.Create(ctx, task.Creation{ID: id, Now: time.Now(), Spec: task.Spec{Title: "Fix the bug", Prompt: "mend OAuth now", Metadata: map[string]string{"a": "b"}, Config: task.Config{SkillSpec: "x", Name: "nm", ModelID: "m"}}})
	assert.NilError(t, err)
	t.Logf("%+v", tk)
	x := task.NewExecutionID()
	for _, c := range []task.Command{task.Offer{Execution: x, Worker: "w"}, task.Begin{Execution: x}, task.Append{Execution: x, Events: []task.Event{{Payload: &task.Message{Text: "hi"}},
		{Payload: &task.ArtifactReported{Artifact: task.Artifact{UID: "u", Type: task.ArtifactPlan}}}}}} {
		_, err := s.Do(ctx, id, c)
		assert.NilError(t, err)
	}
	ev, err := s.Events(ctx, id, 0, 100)
	assert.NilError(t, err)
	assert.Equal(t, len(ev), 7)
	for range 2 {
		for _, sort := range []task.SortKey{task.SortAgent, task.SortCreatedAt, task.SortTitle, task.SortUpdatedAt} {
			for _, q := range []task.Query{{}, {Text: "auth fix"}, {Text: "bu"}, {Metadata: map[string]string{"a": "b"}}, {ArtifactType: task.ArtifactPlan}, {Name: "nm"}, {States: task.States()}, {Owners: []task.Scope{{}}},
				{Owners: []task.Scope{{}}, States: task.States()}, {ModelID: "m"}, {Skill: "x"}} {
				q.Sort = sort
				p, err := s.List(ctx, q)
				assert.NilError(t, err)
				assert.Equal(t, len(p.Tasks), 1, "%+v", q)
			}
		}
		s.Do(ctx, id, task.End{Execution: x, State: task.StateSucceeded, SeenInput: 2})
	}
	assert.NilError(t, s.Close())
	assert.NilError(t, s.Close())
	st = time.Now()
	s, err = sqlitestore.Open(ctx, path, nil)
	assert.NilError(t, err)
	t.Log("open", time.Since(st))
	tk, err = s.Get(ctx, id)
	assert.NilError(t, err)
	t.Logf("%+v", tk)
	assert.NilError(t, s.Close())
}
