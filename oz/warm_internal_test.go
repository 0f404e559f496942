package oz

import (
	"encoding/json"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// keeper is an executor that keeps states.
type keeper struct {
	executor.Executor
	warm bool
}

// Capabilities implements executor.Capable.
func (k keeper) Capabilities() executor.Capabilities { return executor.Capabilities{Warm: k.warm} }

// TestWarmAsked: a run may start from a kept state only where there is something to prepare and no secret could be kept,
// and only from one that was made of the same for the same owner.
func TestWarmAsked(t *testing.T) {
	ask := func(change func(*supervisor, *task.Task)) *executor.Warm {
		t.Helper()
		w, err := NewLocalWorker(keeper{warm: true}, &LocalWorkerOptions{Prepare: []string{"oz", "prepare"}, Env: []string{"TZ=UTC", "HTTP_PROXY=http://proxy:3128"}})
		assert.NilError(t, err)
		s := &supervisor{LocalWorker: w}
		var run task.Task
		run.Owner, run.Environment = task.Scope{Type: "TEAM", UID: "a"}, json.RawMessage(`{"name":"n","setup_commands":["make"],"secrets":["A"]}`)
		change(s, &run)
		return s.warm(run)
	}
	first := ask(func(*supervisor, *task.Task) {})
	assert.Assert(t, first != nil)
	spec := executor.Spec{ID: "x", Workspace: "x", Command: []string{"x"}, Warm: first}
	assert.NilError(t, spec.Validate())
	assert.Equal(t, string(first.Stdin), `{"environment":{"setup_commands":["make"]},"repository_base":"https://github.com"}`)
	same := ask(func(_ *supervisor, r *task.Task) {
		r.ID, r.Prompt, r.Environment = "other", "other", json.RawMessage(`{"name":"m","setup_commands":["make"]}`)
	})
	assert.Equal(t, same.Key, first.Key, "what has no part in the preparation")

	for name, change := range map[string]func(*supervisor, *task.Task){
		"owner":   func(_ *supervisor, r *task.Task) { r.Owner.UID = "b" },
		"command": func(_ *supervisor, r *task.Task) { r.Environment = json.RawMessage(`{"setup_commands":["make all"]}`) },
		"ref": func(_ *supervisor, r *task.Task) {
			r.Environment = json.RawMessage(`{"setup_commands":["make"],"github_repos":[{"owner":"a","repo":"b","checkout_ref":"c"}]}`)
		},
		"base":   func(s *supervisor, _ *task.Task) { s.opts.RepositoryBase = "https://git.example.com" },
		"server": func(s *supervisor, _ *task.Task) { s.opts.ServerURL = "https://other.example.com" },
	} {
		other := ask(change)
		assert.Assert(t, other != nil && other.Key != first.Key, name)
	}
	for name, change := range map[string]func(*supervisor, *task.Task){
		"no environment":       func(_ *supervisor, r *task.Task) { r.Environment = nil },
		"nothing to prepare":   func(_ *supervisor, r *task.Task) { r.Environment = json.RawMessage(`{"docker_image":"debian"}`) },
		"unreadable":           func(_ *supervisor, r *task.Task) { r.Environment = json.RawMessage(`[]`) },
		"no command":           func(s *supervisor, _ *task.Task) { s.opts.Prepare = nil },
		"executor keeps none":  func(s *supervisor, _ *task.Task) { s.ex = keeper{} },
		"a variable may be it": func(s *supervisor, _ *task.Task) { s.opts.Env = []string{"NPM_TOKEN=" + strings.Repeat("x", 20)} },
		"a proxy's password":   func(s *supervisor, _ *task.Task) { s.opts.Env = []string{"HTTP_PROXY=http://me:pass@proxy:3128"} },
	} {
		assert.Assert(t, ask(change) == nil, name)
	}
}
