package oz_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// refs attaches memory stores, as the wire has it.
func refs(access string, uids ...string) json.RawMessage {
	var list []string
	for _, uid := range uids {
		list = append(list, fmt.Sprintf(`{"uid":%q,"access":%q,"instructions":"What we know"}`, uid, access))
	}
	return json.RawMessage("[" + strings.Join(list, ",") + "]")
}

// TestMemoryLifeCycle: a memory has versions, of which a late writer is told; a
// colleague may write to the team's store and not remove it; a stranger sees
// nothing.
func TestMemoryLifeCycle(t *testing.T) {
	p, _ := newPlatform(t, nil)
	who, ctx := people(t, p), t.Context()
	store, err := who["ann"].CreateMemoryStore(ctx, oz.MemoryStoreInput{Name: "shop", Team: ptr(true)})
	assert.NilError(t, err)
	m, err := who["bob"].CreateMemory(ctx, store.UID, oz.MemoryInput{Content: "Releases are cut on Mondays.", Reason: "said so"})
	assert.NilError(t, err)
	assert.Equal(t, m.Author.UID, "bob")
	again, err := who["ann"].CreateMemory(ctx, store.UID, oz.MemoryInput{Content: " Releases are cut on Mondays.\n", Reason: "heard"})
	assert.NilError(t, err)
	assert.Equal(t, again.UID, m.UID, "not kept twice")
	m2, err := who["ann"].UpdateMemory(ctx, store.UID, m.UID, oz.MemoryInput{Content: "Releases are cut on Tuesdays.", Reason: "moved", Version: 1})
	assert.NilError(t, err)
	assert.Equal(t, m2.Version, 2)
	_, err = who["bob"].UpdateMemory(ctx, store.UID, m.UID, oz.MemoryInput{Content: "x", Reason: "y", Version: 1})
	assert.ErrorIs(t, err, task.ErrConflict)
	versions, err := who["bob"].MemoryVersions(ctx, store.UID, m.UID)
	assert.NilError(t, err)
	assert.DeepEqual(t, versions, []task.Memory{m2, m})

	for name, tt := range map[string]struct {
		store, content, reason, field string
	}{
		"no content": {store.UID, " ", "x", "content"}, "no reason": {store.UID, "x", " ", "reason"},
		"long": {store.UID, strings.Repeat("x", task.MaxMemoryBytes+1), "x", "content"}, "NUL": {store.UID, "a\x00", "x", "content"},
	} {
		_, err := who["bob"].CreateMemory(ctx, tt.store, oz.MemoryInput{Content: tt.content, Reason: tt.reason})
		assert.ErrorIs(t, err, task.ErrInvalid, name)
		assert.Equal(t, err.(*task.Error).Field, tt.field, name)
	}
	for _, err := range []error{fault(who["dan"].MemoryStore(ctx, store.UID)), fault(who["dan"].Memories(ctx, store.UID)),
		fault(who["dan"].CreateMemory(ctx, store.UID, oz.MemoryInput{Content: "x", Reason: "x"})), fault(who["dan"].MemoryVersions(ctx, store.UID, m.UID)),
		who["dan"].DeleteMemory(ctx, store.UID, m.UID), who["dan"].DeleteMemoryStore(ctx, store.UID),
		who["bob"].DeleteMemory(ctx, store.UID, "../x"), fault(who["bob"].UpdateMemory(ctx, store.UID, store.UID, oz.MemoryInput{Content: "x", Reason: "x"}))} {
		assert.ErrorIs(t, err, task.ErrNotFound)
	}
	assert.Equal(t, task.CodeOf(who["bob"].DeleteMemoryStore(ctx, store.UID)), task.CodeNotAuthorized)
	assert.NilError(t, who["bob"].DeleteMemory(ctx, store.UID, m.UID))
	assert.ErrorIs(t, who["bob"].DeleteMemory(ctx, store.UID, m.UID), task.ErrNotFound)
	_, err = who["bob"].CreateMemory(ctx, store.UID, oz.MemoryInput{Content: "x", Reason: "x"})
	assert.NilError(t, err)
	assert.NilError(t, who["ann"].DeleteMemoryStore(ctx, store.UID))
	_, err = who["ann"].Memories(ctx, store.UID)
	assert.ErrorIs(t, err, task.ErrNotFound)
}

// TestMemoryVersionsAreBounded: of many writers at once each is counted, and the
// newest versions are kept.
func TestMemoryVersionsAreBounded(t *testing.T) {
	p, _ := newPlatform(t, nil)
	c, ctx := people(t, p)["ann"], t.Context()
	store, err := c.CreateMemoryStore(ctx, oz.MemoryStoreInput{Name: "s"})
	assert.NilError(t, err)
	m, err := c.CreateMemory(ctx, store.UID, oz.MemoryInput{Content: "0", Reason: "x"})
	assert.NilError(t, err)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 6 {
				_, err := c.UpdateMemory(ctx, store.UID, m.UID, oz.MemoryInput{Content: fmt.Sprintf("%d of %d", i, w), Reason: "x"})
				assert.Check(t, err)
			}
		})
	}
	wg.Wait()
	versions, err := c.MemoryVersions(ctx, store.UID, m.UID)
	assert.NilError(t, err)
	assert.Equal(t, len(versions), 20)
	for i, v := range versions {
		assert.Equal(t, v.Version, 25-i)
	}
}

// TestAgentMemory: a new agent has a store of its own unless that is declined,
// and its runs have that beside those attached; a run's own choice wins, and
// what belongs to others is refused.
func TestAgentMemory(t *testing.T) {
	p, _ := newPlatform(t, nil)
	who, ctx := people(t, p), t.Context()
	team, err := who["ann"].CreateMemoryStore(ctx, oz.MemoryStoreInput{Name: "team", Team: ptr(true)})
	assert.NilError(t, err)
	own, err := who["ann"].CreateMemoryStore(ctx, oz.MemoryStoreInput{Name: "own", Team: ptr(false)})
	assert.NilError(t, err)
	attach := func(raw json.RawMessage) *json.RawMessage {
		m := json.RawMessage(`{"attached_stores":` + string(raw) + `}`)
		return &m
	}
	a, err := who["bob"].CreateAgent(ctx, oz.AgentInput{Name: ptr("clerk"), Memory: attach(refs("read_only", team.UID))})
	assert.NilError(t, err)
	assert.Assert(t, a.AutoMemory != "")
	run := submit(t, who["bob"], oz.Request{Prompt: "x", AgentIdentityUID: a.UID})
	assert.Assert(t, strings.Contains(string(run.Config.MemoryStores), team.UID))
	assert.Assert(t, strings.Contains(string(run.Config.MemoryStores), a.AutoMemory))
	agents, err := who["bob"].MemoryStoreAgents(ctx, team.UID)
	assert.NilError(t, err)
	assert.Equal(t, len(agents), 1)
	run = submit(t, who["bob"], oz.Request{Prompt: "x", AgentIdentityUID: a.UID, Config: task.Config{MemoryStores: refs("read_write", team.UID)}})
	assert.Assert(t, !strings.Contains(string(run.Config.MemoryStores), a.AutoMemory), "the run says which")

	off := json.RawMessage(`{"auto_memory":{"enabled":false}}`)
	none, err := who["bob"].CreateAgent(ctx, oz.AgentInput{Name: ptr("none"), Memory: &off})
	assert.NilError(t, err)
	assert.Equal(t, none.AutoMemory, "")
	cleared, err := who["bob"].UpdateAgent(ctx, a.UID, oz.AgentInput{Memory: attach(json.RawMessage("[]"))})
	assert.NilError(t, err)
	assert.Equal(t, string(cleared.Config.MemoryStores), "")
	assert.Equal(t, cleared.AutoMemory, a.AutoMemory)

	for name, tt := range map[string]struct {
		raw   json.RawMessage
		code  task.Code
		field string
	}{
		"of a person":       {refs("read_only", own.UID), task.CodeInvalidRequest, "[0].uid"},
		"none":              {refs("read_only", team.UID, "nope"), task.CodeNotFound, "[1].uid"},
		"twice":             {refs("read_only", team.UID, team.UID), task.CodeInvalidRequest, "[1].uid"},
		"access":            {refs("all", team.UID), task.CodeInvalidRequest, "[0].access"},
		"learns, read-only": {json.RawMessage(`[{"uid":"` + team.UID + `","access":"read_only","instructions":"x","extract":true}]`), task.CodeInvalidRequest, "[0].extract"},
		"two learn": {json.RawMessage(`[{"uid":"` + team.UID + `","access":"read_write","instructions":"x","extract":true},{"uid":"y","access":"read_write","instructions":"x","extract":true}]`),
			task.CodeInvalidRequest, "[1].extract"},
		"extract is no switch": {json.RawMessage(`[{"uid":"` + team.UID + `","access":"read_write","instructions":"x","extract":"yes"}]`), task.CodeInvalidRequest, ""},
		"no list":              {json.RawMessage(`{"uid":1}`), task.CodeInvalidRequest, ""},
		"no instructions":      {json.RawMessage(`[{"uid":"x","access":"read_only"}]`), task.CodeInvalidRequest, "[0].instructions"},
	} {
		_, err := who["ann"].Submit(ctx, oz.Request{Prompt: "x", Team: ptr(true), Config: task.Config{MemoryStores: tt.raw}})
		assert.Equal(t, task.CodeOf(err), tt.code, "%s: %v", name, err)
		assert.Equal(t, err.(*task.Error).Field, "config.memory_stores"+tt.field, name)
		_, err = who["ann"].UpdateAgent(ctx, a.UID, oz.AgentInput{Memory: attach(tt.raw)})
		assert.Equal(t, task.CodeOf(err), tt.code, "%s: %v", name, err)
		assert.Equal(t, err.(*task.Error).Field, "memory.attached_stores"+tt.field, name)
	}
}

// TestAgentsOwnMemoryLearns: a new agent's own store may learn from its
// conversations, and is one of those attached then; one store of a run learns.
func TestAgentsOwnMemoryLearns(t *testing.T) {
	p, _ := newPlatform(t, nil)
	who, ctx := people(t, p), t.Context()
	team, err := who["ann"].CreateMemoryStore(ctx, oz.MemoryStoreInput{Name: "team", Team: ptr(true)})
	assert.NilError(t, err)
	create := func(name, memory string) (access.Agent, error) {
		return who["bob"].CreateAgent(ctx, oz.AgentInput{Name: &name, Memory: ptr(json.RawMessage(memory))})
	}
	keeper, err := create("keeper", `{"auto_memory":{"enabled":true,"extract":true},"attached_stores":`+string(refs("read_only", team.UID))+`}`)
	assert.NilError(t, err)
	run := submit(t, who["bob"], oz.Request{Prompt: "x", AgentIdentityUID: keeper.UID})
	var has []struct {
		UID     string
		Extract bool
	}
	assert.NilError(t, json.Unmarshal(run.Config.MemoryStores, &has))
	assert.Equal(t, len(has), 2)
	assert.Assert(t, has[0].UID == keeper.AutoMemory && has[0].Extract && has[1].UID == team.UID && !has[1].Extract, "%v", has)

	stores, err := who["bob"].MemoryStores(ctx)
	assert.NilError(t, err)
	var many []string
	for i := range 10 {
		many = append(many, fmt.Sprint(i))
	}
	for _, tt := range []struct{ field, memory string }{
		{"memory.attached_stores", `{"attached_stores":` + string(refs("read_only", many...)) + `}`}, // its own is the eleventh
		{"memory.auto_memory.extract", `{"auto_memory":{"enabled":false,"extract":true}}`},
		{"memory.auto_memory.extract", `{"auto_memory":{"extract":true},"attached_stores":[{"uid":"` + team.UID + `","access":"read_write","instructions":"x","extract":true}]}`},
		{"memory", `{"auto_memory":{"extract":"yes"}}`},
	} {
		_, err := create("bad", tt.memory)
		assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest, "%s: %v", tt.memory, err)
		assert.Equal(t, err.(*task.Error).Field, tt.field, "%v", err)
	}
	_, err = who["bob"].UpdateAgent(ctx, keeper.UID, oz.AgentInput{Memory: ptr(json.RawMessage(`{"auto_memory":{"enabled":true,"extract":true}}`))})
	assert.ErrorContains(t, err, "memory.auto_memory.extract: is for a new agent")
	after, err := who["bob"].MemoryStores(ctx)
	assert.NilError(t, err)
	assert.Equal(t, len(after), len(stores), "a refused agent leaves no store")
}

// TestRunRemembers: an execution reads its stores, writes to those that it may
// write to, once for each key, without secrets, and its bundle has what fits
// the task.
func TestRunRemembers(t *testing.T) {
	s := newStage(t, nil)
	c, ctx := s.clients["ann"], t.Context()
	_, err := c.CreateSecret(ctx, oz.SecretInput{Name: "SHOP_TOKEN", Value: "Jd4-Wq8_zT2nVb6Rk9Ls"})
	assert.NilError(t, err)
	store := func(name string) string {
		m, err := c.CreateMemoryStore(ctx, oz.MemoryStoreInput{Name: name})
		assert.NilError(t, err)
		return m.UID
	}
	facts, notes, other := store("facts"), store("notes"), store("other")
	for i := range 60 {
		_, err := c.CreateMemory(ctx, facts, oz.MemoryInput{Content: fmt.Sprintf("Fact %d: %s", i, strings.Repeat("filler ", 60)), Reason: "x"})
		assert.NilError(t, err)
	}
	wanted, err := c.CreateMemory(ctx, facts, oz.MemoryInput{Content: "The checkout tests need a database.", Reason: "seen"})
	assert.NilError(t, err)
	_, err = c.CreateMemory(ctx, facts, oz.MemoryInput{Content: "Newest of all.", Reason: "x"})
	assert.NilError(t, err)
	both := append(append(json.RawMessage{}, refs("read_only", facts)[:len(refs("read_only", facts))-1]...), ',')
	both = append(both, refs("read_write", notes)[1:]...)
	run, link, _ := s.act(t, c, oz.Request{Prompt: "Mend the test of the checkout", Config: task.Config{MemoryStores: both}})
	bundle, err := link.Bundle(ctx)
	assert.NilError(t, err)
	assert.Equal(t, len(bundle.Memory), 2)
	assert.Equal(t, bundle.Memory[0].Memories[0].UID, wanted.UID)
	assert.Assert(t, bundle.Memory[0].More, "bounded")
	told := 0
	for _, m := range bundle.Memory[0].Memories {
		told += len(m.Content)
	}
	assert.Assert(t, told <= 12<<10, "%d bytes", told)

	r := link.(executor.Rememberer)
	found, err := r.Recall(ctx, executor.Recall{Query: "database for testing"})
	assert.NilError(t, err)
	assert.Equal(t, len(found), 1)
	found, err = r.Recall(ctx, executor.Recall{Limit: 1})
	assert.NilError(t, err)
	assert.Equal(t, found[0].Content, "Newest of all.")

	keep := executor.Remembering{Key: "c1", Content: "The token is Jd4-Wq8_zT2nVb6Rk9Ls, they say.", Reason: "asked"}
	kept, err := r.Remember(ctx, keep)
	assert.NilError(t, err)
	assert.Equal(t, kept.Store, notes)
	assert.Equal(t, kept.RunID, run.ID)
	assert.Assert(t, !strings.Contains(kept.Content, "Jd4"), kept.Content)
	again, err := r.Remember(ctx, keep)
	assert.NilError(t, err)
	assert.DeepEqual(t, again, kept)
	better, err := r.Remember(ctx, executor.Remembering{Key: "c2", Content: "There is a token.", Replaces: kept.UID})
	assert.NilError(t, err)
	assert.Equal(t, better.Version, 2)
	list, err := c.Memories(ctx, notes)
	assert.NilError(t, err)
	assert.DeepEqual(t, list, []task.Memory{better})

	for name, tt := range map[string]struct {
		in   executor.Remembering
		code task.Code
	}{
		"read-only":     {executor.Remembering{Key: "k", Content: "x", Store: facts}, task.CodeNotAuthorized},
		"not the run's": {executor.Remembering{Key: "k", Content: "x", Store: other}, task.CodeNotFound},
		"no key":        {executor.Remembering{Content: "x"}, task.CodeInvalidRequest},
		"empty":         {executor.Remembering{Key: "k"}, task.CodeInvalidRequest},
		"replaces none": {executor.Remembering{Key: "k", Content: "x", Replaces: wanted.UID}, task.CodeNotFound},
	} {
		_, err := r.Remember(ctx, tt.in)
		assert.Equal(t, task.CodeOf(err), tt.code, "%s: %v", name, err)
	}
	_, err = r.Recall(ctx, executor.Recall{Limit: 51})
	assert.ErrorIs(t, err, task.ErrInvalid)
	assert.NilError(t, c.DeleteMemoryStore(ctx, notes))
	bundle, err = link.Bundle(ctx)
	assert.NilError(t, err)
	assert.Equal(t, len(bundle.Memory), 1, "it goes on without")
	assert.NilError(t, link.End(ctx, task.End{State: task.StateFailed, Status: task.Status{Message: "enough"}, SeenInput: run.LastInput}))
	_, err = r.Remember(ctx, executor.Remembering{Key: "late", Content: "x"})
	assert.ErrorIs(t, err, task.ErrFenced)
}
