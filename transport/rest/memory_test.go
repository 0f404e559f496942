package rest_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// TestMemoryOverHTTP drives each operation with the SDK, and compares with what
// the platform itself says.
func TestMemoryOverHTTP(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	ctx := t.Context()
	c, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(t, err)
	inside := e.Platform.As(e.Caller(transporttest.AdminKey))

	s, err := c.CreateMemoryStore(ctx, oz.MemoryStoreInput{Name: "facts", Team: ptr(true)})
	assert.NilError(t, err)
	s, err = c.UpdateMemoryStore(ctx, s.UID, oz.MemoryStoreChange{Description: ptr("d"), Revision: s.Revision})
	assert.NilError(t, err)
	want, err := inside.MemoryStore(ctx, s.UID)
	assert.NilError(t, err)
	assert.DeepEqual(t, s, want)
	stores, err := c.MemoryStores(ctx)
	assert.NilError(t, err)
	assert.DeepEqual(t, stores, []oz.MemoryStore{want})
	agents, err := c.MemoryStoreAgents(ctx, s.UID)
	assert.NilError(t, err)
	assert.Equal(t, len(agents), 0)

	m, err := c.CreateMemory(ctx, s.UID, oz.MemoryInput{Content: "The door is blue.", Reason: "seen"})
	assert.NilError(t, err)
	m2, err := c.UpdateMemory(ctx, s.UID, m.UID, oz.MemoryInput{Content: "The door is red.", Reason: "painted", Version: 1})
	assert.NilError(t, err)
	_, err = c.UpdateMemory(ctx, s.UID, m.UID, oz.MemoryInput{Content: "x", Reason: "x", Version: 1})
	assert.ErrorIs(t, err, task.ErrConflict)
	versions, err := c.MemoryVersions(ctx, s.UID, m.UID)
	assert.NilError(t, err)
	assert.DeepEqual(t, versions, []task.Memory{m2, m})
	list, err := c.Memories(ctx, s.UID)
	assert.NilError(t, err)
	assert.DeepEqual(t, list, []task.Memory{m2})
	assert.NilError(t, c.DeleteMemory(ctx, s.UID, m.UID))
	assert.ErrorIs(t, c.DeleteMemory(ctx, s.UID, m.UID), task.ErrNotFound)
	a := e.Call(transporttest.AdminKey, "POST", "/oz/memory-stores/"+s.UID+"/memories", `{"content":"","reason":"x"}`)
	assert.Equal(t, a.Status, 400, "%s", a.Body)
	assert.NilError(t, c.DeleteMemoryStore(ctx, s.UID))
}

// TestRunRemembersOverHTTP: a runner reaches its run's stores with its token.
func TestRunRemembersOverHTTP(t *testing.T) {
	e := transporttest.Start(t, nil)
	ctx := t.Context()
	c, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(t, err)
	s, err := c.CreateMemoryStore(ctx, oz.MemoryStoreInput{Name: "facts"})
	assert.NilError(t, err)
	_, err = c.Submit(ctx, oz.Request{Prompt: "x", Config: task.Config{MemoryStores: []byte(`[{"uid":"` + s.UID + `","access":"read_write","instructions":"facts"}]`)}})
	assert.NilError(t, err)
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)
	bundle, err := link.Bundle(ctx)
	assert.NilError(t, err)
	assert.Equal(t, bundle.Memory[0].UID, s.UID)
	m, err := link.Remember(ctx, executor.Remembering{Key: "1", Content: "The door is blue."})
	assert.NilError(t, err)
	again, err := link.Remember(ctx, executor.Remembering{Key: "1", Content: "The door is blue."})
	assert.NilError(t, err)
	assert.DeepEqual(t, again, m)
	found, err := link.Recall(ctx, executor.Recall{Query: "door"})
	assert.NilError(t, err)
	assert.DeepEqual(t, found, []task.Memory{m})
}
