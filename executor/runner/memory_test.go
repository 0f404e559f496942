package runner_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestAgentRemembers: what the agent keeps in one run it is told at the start
// of the next, and finds it when it asks.
func TestAgentRemembers(t *testing.T) {
	due := func(s scripted.Step, match func(*scripted.Request) bool) scripted.Step {
		s.Match = match
		return s
	}
	r := newRig(t, setup{script: play(
		due(finish("It is blue."), did("recall", "blue")),
		due(call("recall", object{"query": "colour of the door"}), func(q *scripted.Request) bool { return strings.Contains(q.System, "The door is blue") }),
		due(finish("Kept."), did("remember", "Kept as")),
		due(call("remember", object{"content": "The door is blue.", "reason": "asked for"}), func(*scripted.Request) bool { return true }),
	)})
	store, err := r.CreateMemoryStore(t.Context(), oz.MemoryStoreInput{Name: "facts"})
	assert.NilError(t, err)
	config := task.Config{EnvironmentID: r.environment(nil), MemoryStores: []byte(`[{"uid":"` + store.UID + `","access":"read_write","instructions":"Facts of the house"}]`)}
	first, events := r.finish(r.submit(oz.Request{Prompt: "The door is blue. Remember that.", Config: config}))
	assert.Equal(t, first.State, task.StateSucceeded, describe(events))
	assert.Assert(t, is.Contains(r.model.Requests()[0].System, "Facts of the house\nIt is empty so far."))
	list, err := r.Memories(t.Context(), store.UID)
	assert.NilError(t, err)
	assert.Equal(t, len(list), 1)
	assert.Equal(t, list[0].RunID, first.ID)
	second, events := r.finish(r.submit(oz.Request{Prompt: "Which colour has the door?", Config: config}))
	assert.Equal(t, second.State, task.StateSucceeded, describe(events))
	asked := false
	for _, res := range payloads[*task.ToolResult](events) {
		asked = asked || res.Name == "recall" && strings.Contains(res.Content, list[0].UID)
	}
	assert.Assert(t, asked, describe(events))
}
