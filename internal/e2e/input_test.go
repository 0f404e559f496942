package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// problem is an error as the API says it.
type problem struct {
	Status int    `json:"status"`
	Code   string `json:"error_code"`
	Error  string `json:"error"`
	Detail string `json:"detail"`
}

// TestBadRequests: what cannot be a run is refused at the door, with the code
// of the contract and a word that says what to do.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t, mender())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r.serve()
	r.insist(ctx, func() error { _, err := r.client.Whoami(ctx); return err })
	big, err := json.Marshal(map[string]string{"prompt": strings.Repeat("x", 10<<20)})
	assert.NilError(t, err)
	tests := []struct {
		name, key string
		body      []byte
		status    int
		code      task.Code
		says      string
	}{
		{"a prompt of 10 MiB", apiKey, big, 400, task.CodeInvalidRequest, "prompt"},
		{"invalid UTF-8", apiKey, []byte("{\"prompt\": \"mend \xff\xfe\"}"), 400, task.CodeInvalidRequest, "UTF-8"},
		{"a field of the wrong kind", apiKey, []byte(`{"prompt": 7}`), 400, task.CodeInvalidRequest, "prompt"},
		{"no JSON", apiKey, []byte(`{"prompt": "mend`), 400, task.CodeInvalidRequest, ""},
		{"no prompt", apiKey, []byte(`{}`), 400, task.CodeInvalidRequest, "prompt"},
		{"an environment that is not there", apiKey, []byte(`{"prompt": "mend", "config": {"environment_id": "AAAAAAAAAAAAAAAAAAAAAA"}}`), 404, task.CodeNotFound, "environment"},
		{"a model that nobody serves", apiKey, []byte(`{"prompt": "mend", "config": {"model_id": "no-such-model"}}`), 400, task.CodeInvalidRequest, "no-such-model"},
		{"a limit below zero", apiKey, []byte(`{"prompt": "mend", "config": {"limits": {"max_turns": -1}}}`), 400, task.CodeInvalidRequest, "config.limits"},
		{"a wrong key", "wrong key, and long enough", []byte(`{"prompt": "mend"}`), 401, task.CodeAuthenticationRequired, "key"},
		{"no key", "", []byte(`{"prompt": "mend"}`), 401, task.CodeAuthenticationRequired, "key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, body := r.post(ctx, tt.key, tt.body)
			assert.Equal(t, status, tt.status, "%.500s", body)
			var p problem
			assert.NilError(t, json.Unmarshal(body, &p), "%.500s", body)
			assert.Equal(t, p.Code, string(tt.code), "%.500s", body)
			assert.Assert(t, is.Contains(string(body), tt.says))
			assert.Assert(t, len(body) < 4096, "an error is no echo: %d bytes", len(body))
		})
	}
	page, err := r.client.List(ctx, task.Query{})
	assert.NilError(t, err)
	assert.Equal(t, len(page.Tasks), 0, "nothing was stored")

	// A field that this server does not know comes from a newer client, and
	// the wire's clients rely on its being passed over (Oz API).
	status, body := r.post(ctx, apiKey, []byte(`{"prompt": "`+prompt+`", "from_the_future": {"a": 1}}`))
	assert.Equal(t, status, http.StatusOK, "%s", body)
	r.checkQuiet(ctx)
}

// post asks for a run with a body as it is.
func (r *rig) post(ctx context.Context, key string, body []byte) (int, []byte) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.addr+"/api/v1/agent/runs", bytes.NewReader(body))
	assert.NilError(r.t, err)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	assert.NilError(r.t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	assert.NilError(r.t, err)
	return resp.StatusCode, answer
}

// TestBadEnvironments: what is wrong with an environment ends the run FAILED,
// with a word that says what to do; a setup that hangs can be cancelled.
// Nothing is left at work.
func TestBadEnvironments(t *testing.T) {
	t.Parallel()
	r := newRig(t, beginner())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r.serve()
	empty := filepath.Join(r.dir, "empty.git")
	git(t, r.dir, "init", "-q", "--bare", "-b", "main", empty)

	run := func(c environment.Config) (task.ID, func() (task.Task, []task.Event)) {
		c.Name = "bad"
		var id task.ID
		r.insist(ctx, func() error {
			env, err := r.client.CreateEnvironment(ctx, c, nil)
			if err != nil {
				return err
			}
			t, err := r.client.Submit(ctx, oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: env.UID}})
			id = t.ID
			return err
		})
		return id, func() (task.Task, []task.Event) { return r.await(ctx, id) }
	}
	repo := func(path string) []environment.Repo {
		return []environment.Repo{{Owner: "demo", Name: "thing", URL: "file://" + path}}
	}
	hangs, hung := run(environment.Config{SetupCommands: []string{"echo waiting; setsid sleep 600 & sleep 600"}})
	_, missing := run(environment.Config{Repos: repo(filepath.Join(r.dir, "missing.git"))})
	_, fails := run(environment.Config{Repos: repo(r.remote), SetupCommands: []string{"echo no luck; exit 7"}})
	_, begun := run(environment.Config{Repos: repo(empty)})

	for text, ended := range map[string]func() (task.Task, []task.Event){"missing.git": missing, "exit code 7": fails} {
		got, events := ended()
		assert.Equal(t, got.State, task.StateFailed, "%s", describe(events))
		assert.Equal(t, got.Head.Status.ErrorCode, task.CodeEnvironmentSetupFailed)
		assert.Assert(t, is.Contains(got.Head.Status.Message, text))
		r.checkLog(events, task.StateFailed)
	}
	got, events := begun()
	assert.Equal(t, got.State, task.StateSucceeded, "%s\n%s", got.Head.Status.Message, describe(events))
	assert.Equal(t, git(t, empty, "for-each-ref", "--format=%(refname)"), "refs/heads/main")

	r.awaitOutput(ctx, hangs, "waiting")
	assert.NilError(t, r.client.Cancel(ctx, hangs))
	got, events = hung()
	assert.Equal(t, got.State, task.StateCancelled)
	r.checkLog(events, task.StateCancelled)
	r.checkQuiet(ctx)
	r.checkNoLocks()
}

// beginner is a model that puts the first commit into a repository.
func beginner() scripted.Script {
	call := func(name string, input map[string]any) scripted.Step {
		return scripted.Step{ToolCalls: []scripted.ToolCall{{Name: name, Input: input}}}
	}
	return scripted.Script{Steps: []scripted.Step{
		call("write_file", map[string]any{"path": "hello.txt", "content": "hello\n"}),
		call("run_command", map[string]any{"command": "cat hello.txt"}),
		call("git_commit", map[string]any{"message": "Begin"}),
		call("git_push", map[string]any{}),
		call("finish", map[string]any{"outcome": "success", "summary": "Begun.", "verification": []string{"cat hello.txt"}}),
	}}
}

// checkNoLocks looks for what git leaves when it is cut off.
func (r *rig) checkNoLocks() {
	r.t.Helper()
	for _, dir := range []string{"run", "mirrors"} {
		err := filepath.WalkDir(filepath.Join(r.dir, "data", dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(d.Name(), ".lock") {
				r.t.Errorf("left: %s", path)
			}
			return err
		})
		assert.Assert(r.t, err == nil || os.IsNotExist(err), "%v", err)
	}
}

// TestLimitsStopARun: a run at its limit waits for a person, says why, and its
// files are there for the message that lets it go on.
func TestLimitsStopARun(t *testing.T) {
	t.Parallel()
	r := newRig(t, mender())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r.serve()
	id := r.submit(ctx, oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: r.environment(ctx), Limits: &task.Limits{MaxTurns: 3}}})
	run, events := r.await(ctx, id)
	assert.Equal(t, run.State, task.StateBlocked, "%s", describe(events))
	assert.Assert(t, is.Contains(run.Head.Status.Message, "has used its 3 turns"))
	assert.Assert(t, is.Contains(run.Head.Status.Message, "follow-up"))
	r.checkLog(events, task.StateBlocked)
	r.checkQuiet(ctx)
	kept, err := filepath.Glob(filepath.Join(r.dir, "data", "run", "workspaces", "*", "greeting", "greeting.txt"))
	assert.NilError(t, err)
	assert.Equal(t, len(kept), 1, "%q", kept)
	text, err := os.ReadFile(kept[0])
	assert.NilError(t, err)
	assert.Equal(t, string(text), "hello world\n")

	assert.NilError(t, r.client.FollowUp(ctx, id, oz.Message{Text: "Go on."}))
	run, events = r.await(ctx, id)
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Head.Status.Message, describe(events))
	assert.Equal(t, git(t, r.remote, "show", branch+":greeting.txt"), "hello world")
	r.checkQuiet(ctx)
	r.checkNoLocks()
}

// TestFlood: an agent that prints 1 GiB gets on with its work; the log and the
// runner's memory stay small.
func TestFlood(t *testing.T) {
	t.Parallel()
	call := func(name string, input map[string]any) scripted.Step {
		return scripted.Step{ToolCalls: []scripted.ToolCall{{Name: name, Input: input}}}
	}
	peak := filepath.Join(t.TempDir(), "peak")
	r := newRig(t, scripted.Script{Steps: []scripted.Step{
		call("run_command", map[string]any{"command": "yes 'a line of ordinary text, as programs print it' | head -c 1073741824", "timeout_seconds": 600}),
		// The runner is the shell's parent.
		call("run_command", map[string]any{"command": "grep VmHWM /proc/$PPID/status > " + peak}),
		call("finish", map[string]any{"outcome": "success", "summary": "Printed."}),
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	r.serve()
	id := r.submit(ctx, oz.Request{Prompt: prompt})
	run, events := r.await(ctx, id)
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%.2000s", run.Head.Status.Message, describe(events))
	size, last := 0, ""
	for _, e := range events {
		raw, err := e.MarshalJSON()
		assert.NilError(t, err)
		size += len(raw)
		if p, ok := e.Payload.(*task.ToolResult); ok && last == "" {
			last = p.Content
		}
	}
	assert.Assert(t, size < 1<<20, "the log has %d bytes", size)
	assert.Assert(t, is.Contains(last, "exit code 0"))
	assert.Assert(t, is.Contains(last, "bytes left out"))
	memory, err := os.ReadFile(peak)
	assert.NilError(t, err)
	var kib int
	_, err = fmt.Sscanf(string(memory), "VmHWM: %d kB", &kib)
	assert.NilError(t, err, "%s", memory)
	t.Logf("log %d KiB, runner's peak %d MiB", size>>10, kib>>10)
	assert.Assert(t, kib < 150<<10, "the runner took %d KiB", kib)
}
