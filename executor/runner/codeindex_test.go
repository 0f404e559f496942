package runner_test

import (
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestSearchCodebase: the agent finds code by words, what it has just written
// too, and the index is kept for the next run. Without an index there is no
// such tool.
func TestSearchCodebase(t *testing.T) {
	due := func(s scripted.Step, match func(*scripted.Request) bool) scripted.Step {
		s.Match = match
		return s
	}
	always := func(*scripted.Request) bool { return true }
	script := play(
		due(finish("Found."), did("search_codebase", "Fresh")),
		due(call("search_codebase", object{"query": "fresh"}), did("run_command", "")),
		due(command(`printf 'package a\n\nfunc Fresh() {}\n' > fresh.go`), did("search_codebase", "Total")),
		due(call("search_codebase", object{"query": "where is the total computed", "limit": 3}), always),
	)
	cache := t.TempDir()
	r := newRig(t, setup{script: script, files: map[string]string{"cart.go": "package a\n\nfunc Total() int { return 1 }\n"},
		runner: func(o *runner.Options) { o.CacheDir = cache }})
	run, events := r.finish(r.submit(oz.Request{Prompt: "Find it.", Config: task.Config{EnvironmentID: r.environment(nil)}}))
	assert.Equal(t, run.State, task.StateSucceeded, describe(events))
	var said []string
	for _, res := range payloads[*task.ToolResult](events) {
		if res.Name == "search_codebase" {
			said = append(said, res.Content)
		}
	}
	assert.Equal(t, len(said), 2)
	assert.Assert(t, is.Contains(said[0], "== cart.go:3\n"))
	assert.Assert(t, is.Contains(said[1], "== fresh.go:3\n"))
	kept, err := os.ReadDir(filepath.Join(cache, "codeindex"))
	assert.NilError(t, err)
	assert.Equal(t, len(kept), 1)

	off := newRig(t, setup{script: play(due(finish("None."), always)), runner: func(o *runner.Options) { o.NoCodeIndex = true }})
	run, events = off.finish(off.submit(oz.Request{Prompt: "Find it.", Config: task.Config{EnvironmentID: off.environment(nil)}}))
	assert.Equal(t, run.State, task.StateSucceeded, describe(events))
	for _, tool := range off.model.Requests()[0].Tools {
		assert.Assert(t, tool.Name != "search_codebase")
	}
}
