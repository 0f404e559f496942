package main

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
)

// told collects what the trigger says.
type told struct {
	mu    sync.Mutex
	lines []string
}

func (w *told) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, strings.TrimSpace(string(p)))
	return len(p), nil
}

// TestBuilds posts builds as the build server would, and looks at what becomes
// of them.
func TestBuilds(t *testing.T) {
	store, err := sqlitestore.Open(context.Background(), filepath.Join(t.TempDir(), "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, store.Close()) })
	out := &told{}
	origin := &builds{owner: task.Scope{Type: task.ScopeTeam, UID: "team"}, token: "secret", out: out}
	r := triggertest.New(t, store, []trigger.Origin{origin}, nil)
	post := func(token, body string) task.Delivery {
		reply, err := r.Post("builds", "", http.Header{"Build-Token": {token}}, []byte(body))
		assert.NilError(t, err)
		return r.Decided(reply.Delivery)
	}

	d := post("secret", `{"id":"1","project":"api","branch":"main","status":"failed","log":"undefined: x"}`)
	assert.Equal(t, d.Outcome, task.OutcomeStarted)
	assert.Equal(t, post("secret", `{"id":"1","project":"api","branch":"main","status":"failed"}`).Outcome, task.OutcomeDuplicate)
	assert.Equal(t, post("secret", `{"id":"2","project":"api","branch":"main","status":"failed"}`).Outcome, task.OutcomeContinued)
	assert.Equal(t, post("secret", `{"id":"3","project":"api","branch":"main","status":"passed"}`).Outcome, task.OutcomeIgnored)
	_, err = r.Post("builds", "", http.Header{"Build-Token": {"guess"}}, []byte(`{"id":"4"}`))
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)

	runs := r.Runs()
	assert.Equal(t, len(runs), 1)
	r.Finish(runs[0].ID, task.StateSucceeded, task.Status{})
	r.Settle()
	out.mu.Lock()
	defer out.mu.Unlock()
	assert.DeepEqual(t, out.lines, []string{"api#main: started", "api#main: continued", "api#main: run in progress", "api#main: run succeeded"})
}
