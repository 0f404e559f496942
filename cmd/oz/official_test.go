package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

// official stands for the official worker with its direct backend: it starts
// the agent with the arguments and the environment of the worker protocol,
// section 8, and says what became of it.
type official struct {
	d  *desk
	ws *websocket.Conn
	// after is what is run once the agent has exited, as entrypoint.sh would.
	after []string
	// around is what the agent's program does before, with oz.
	around func(oz func(args ...string) (string, error))
	// agent, if set, replaces the agent.
	agent []string
}

// assigned is what of an assignment the worker uses.
type assigned struct {
	TaskID string            `json:"task_id"`
	Env    map[string]string `json:"env_vars"`
	OzArgs []string          `json:"additional_oz_args"`
	Task   struct {
		ID     string `json:"id"`
		Config struct {
			Model   string `json:"model_id"`
			Skill   string `json:"skill_spec"`
			Screen  *bool  `json:"computer_use_enabled"`
			Idle    int    `json:"idle_timeout_minutes"`
			Harness *struct {
				Type string `json:"type"`
			} `json:"harness"`
			Environment string `json:"environment_id"`
		} `json:"agent_config_snapshot"`
	} `json:"task"`
}

func newOfficial(t *testing.T, d *desk, id string) *official {
	t.Helper()
	c, err := client.New(d.server.URL, &client.Options{APIKey: servertest.APIKey})
	assert.NilError(t, err)
	key, _, err := c.CreateKey(t.Context(), access.KeySpec{Name: "rack", Type: access.KeyWorker})
	assert.NilError(t, err)
	ws, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(d.server.URL, "http")+"/api/v1/selfhosted/worker/ws?worker_id="+url.QueryEscape(id),
		&websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + key}}})
	assert.NilError(t, err)
	t.Cleanup(func() { _ = ws.CloseNow() })
	return &official{d: d, ws: ws}
}

// arguments is the vector of section 8.1.
func (a assigned) arguments(server string) []string {
	c := a.Task.Config
	args := []string{"agent", "run", "--share", "team:edit", "--task-id", a.Task.ID, "--sandboxed", "--server-root-url", server}
	if c.Model != "" && (c.Harness == nil || c.Harness.Type == "oz") {
		args = append(args, "--model", c.Model)
	}
	if c.Skill != "" {
		args = append(args, "--skill", c.Skill)
	}
	if c.Screen == nil || *c.Screen {
		args = append(args, "--computer-use")
	} else {
		args = append(args, "--no-computer-use")
	}
	args = append(args, "--bedrock-inference-role", "arn:aws:iam::1:role/x")
	if c.Harness != nil {
		args = append(args, "--harness", c.Harness.Type)
	}
	args = append(args, "--snapshot-upload-timeout", "60s", "--snapshot-script-timeout", "10s")
	if c.Environment != "" {
		args = append(args, "--environment", c.Environment)
	}
	args = append(append(args, a.OzArgs...), "--idle-on-complete")
	if c.Idle > 0 {
		args = append(args, fmt.Sprintf("%dm", c.Idle))
	}
	return append(args, "--session-sharing-server-url", "wss://example.com")
}

// one carries out one task.
func (o *official) one(t *testing.T) (a assigned, out string) {
	t.Helper()
	_, raw, err := o.ws.Read(t.Context())
	assert.NilError(t, err)
	var f struct {
		Type string   `json:"type"`
		Data assigned `json:"data"`
	}
	assert.NilError(t, json.Unmarshal(raw, &f))
	assert.Equal(t, f.Type, "task_assignment", "%s", raw)
	a = f.Data
	o.say(t, "task_claimed", map[string]any{"task_id": a.TaskID, "worker_id": "w1"})
	dir := filepath.Join(t.TempDir(), a.TaskID)
	assert.NilError(t, os.Mkdir(dir, 0o700))
	run := func(args []string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "oz"), args...)
		cmd.Dir = dir
		cmd.Env = []string{"HOME=" + o.d.dir, "PATH=" + os.Getenv("PATH"), "TASK_ID=" + a.Task.ID, "GIT_TERMINAL_PROMPT=0", "GH_PROMPT_DISABLED=1",
			"WARP_SERVER_ROOT_URL=" + o.d.server.URL}
		for name, value := range a.Env {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		return cmd.CombinedOutput() // standard input is the null device
	}
	args := a.arguments(o.d.server.URL)
	for _, arg := range args {
		assert.Assert(t, !strings.Contains(arg, "ozr_"), "a secret among the arguments")
	}
	if o.agent != nil {
		args = o.agent
	}
	if o.around != nil {
		o.around(func(args ...string) (string, error) {
			said, err := run(args)
			return string(said), err
		})
	}
	said, failed := run(args)
	out = string(said)
	if o.after != nil {
		more, err := run(o.after)
		assert.NilError(t, err, "%s", more)
		return a, out + string(more)
	}
	if failed != nil {
		o.say(t, "task_failed", map[string]any{"task_id": a.TaskID, "message": "Failed to execute task: oz agent exited with error", "failure_reason": "agent_invocation", "exit_code": 1})
		return a, out
	}
	o.say(t, "task_completed", map[string]any{"task_id": a.TaskID, "message": "Task completed successfully"})
	return a, out
}

func (o *official) say(t *testing.T, kind string, data map[string]any) {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"type": kind, "data": data})
	assert.NilError(t, err)
	assert.NilError(t, o.ws.Write(context.WithoutCancel(t.Context()), websocket.MessageText, raw))
}

// TestAgentOfTheOfficialWorker: the official worker starts this oz as its agent,
// which carries the run out with what it finds in arguments and environment.
func TestAgentOfTheOfficialWorker(t *testing.T) {
	d := newDesk(t)
	o := newOfficial(t, d, "w1")
	run := d.object("agent", "run-cloud", "-p", "please greet", "--no-environment", "--host", "w1")
	a, out := o.one(t)
	assert.Equal(t, a.TaskID, run["run_id"])
	assert.Assert(t, !strings.Contains(out, "ozr_"), out)
	got := d.object("run", "get", a.TaskID)
	assert.Equal(t, got["state"], "SUCCEEDED", "%v: %s", got["status_message"], out)
	d.ok("worker", "get", "w1")
	assert.Assert(t, strings.Contains(d.ok("worker", "list"), "oz-agent-worker"))
	d.fails(1, `no worker "w2" is connected`, "worker", "get", "w2")
}

// TestHarnessSupport: a program that carries a run out with the run's token
// reports what it makes and tells people how it goes, and what it says wrong is
// refused with the reason.
func TestHarnessSupport(t *testing.T) {
	d := newDesk(t)
	o := newOfficial(t, d, "w1")
	o.agent = []string{"harness-support", "finish-task", "--status", "success", "--summary", "all done"}
	run := d.object("agent", "run-cloud", "-p", "please greet", "--no-environment", "--host", "w1")
	id := run["run_id"].(string)
	const pull = "https://forge.example/acme/shop/pull/7"
	var uid string
	o.around = func(oz func(args ...string) (string, error)) {
		ok := func(args ...string) string {
			out, err := oz(append([]string{"harness-support"}, args...)...)
			assert.NilError(t, err, "%s", out)
			return out
		}
		fails := func(code int, message string, args ...string) {
			t.Helper()
			out, err := oz(append([]string{"harness-support"}, args...)...)
			var exit *exec.ExitError
			assert.Assert(t, errors.As(err, &exit) && exit.ExitCode() == code, "%v: %v: %s", args, err, out)
			assert.Assert(t, strings.Contains(out, message), "%v: %s", args, out)
		}
		ok("ping")
		assert.Equal(t, ok("notify-user", "--message", "Half is **done**."), "The note is on its way.\n")
		assert.Equal(t, ok("--output-format", "json", "notify-user", "--message", "Half is **done**."), "{}\n")
		said := ok("report-artifact", "pull-request", "--url", pull, "--branch", "mend")
		uid = strings.TrimSuffix(strings.TrimPrefix(said, "Reported as artifact "), ".\n")
		assert.Equal(t, ok("--output-format", "json", "report-artifact", "pull-request", "--url", pull, "--branch", "mend"),
			"{\n  \"artifact_uid\": \""+uid+"\"\n}\n", "the same again")
		ok("report-external-reference", "--url", "https://linear.app/acme/issue/SHOP-7", "--reference-type", "LINEAR_ISSUE", "--title", "The shop is shut", "--metadata", `{"team":"shop"}`)

		fails(2, "--message is needed", "notify-user")
		fails(2, "--url and --branch are needed", "report-artifact", "pull-request", "--url", pull)
		fails(2, "--url and --reference-type are needed", "report-external-reference", "--url", pull)
		fails(2, "--metadata must be a JSON object", "report-external-reference", "--url", pull, "--reference-type", "X", "--metadata", "[]")
		fails(1, "data.url: must be an absolute URL", "report-artifact", "pull-request", "--url", "pull/7", "--branch", "mend")
		fails(1, "data.url: must have 1 to 2048 bytes", "report-external-reference", "--url", pull+strings.Repeat("7", 2048), "--reference-type", "X")
		fails(1, "data.reference_type: must have 1 to 256 bytes", "report-external-reference", "--url", pull, "--reference-type", strings.Repeat("x", 257))
		fails(1, "message: has 8193 bytes, at most 8192 are allowed", "notify-user", "--message", strings.Repeat("x", 8193))
		fails(1, "is not for run another", "--run-id", "another", "notify-user", "--message", "x")
	}
	o.one(t)
	got := d.object("run", "get", id)
	assert.Equal(t, got["state"], "SUCCEEDED", "%v", got)
	artifacts := got["artifacts"].([]any)
	assert.Equal(t, len(artifacts), 2)
	first, second := artifacts[0].(map[string]any), artifacts[1].(map[string]any)
	assert.Equal(t, first["artifact_type"], "PULL_REQUEST")
	assert.DeepEqual(t, first["data"], map[string]any{"artifact_uid": uid, "url": pull, "branch": "mend"})
	assert.Equal(t, second["artifact_type"], "EXTERNAL_REFERENCE")
	assert.Equal(t, second["data"].(map[string]any)["title"], "The shop is shut")
	c, err := client.New(d.server.URL, &client.Options{APIKey: servertest.APIKey})
	assert.NilError(t, err)
	events, err := c.Events(t.Context(), task.ID(id), 0, 100)
	assert.NilError(t, err)
	notes := 0
	for _, e := range events {
		if n, ok := e.Payload.(*task.Notice); ok && n.Text == "Note from the run: Half is **done**." {
			notes++
		}
	}
	assert.Equal(t, notes, 2)
	d.fails(1, "only the run itself may report", "harness-support", "--run-id", id, "notify-user", "--message", "x")
}

// TestReportShutdown: where no worker can tell, the program around the agent
// says that it is over, and the run does not hang.
func TestReportShutdown(t *testing.T) {
	d := newDesk(t)
	o := newOfficial(t, d, "w1")
	o.agent = []string{"--version"} // an agent that ends without a word
	o.after = []string{"harness-support", "--run-id", "", "report-shutdown", "--error-category", "oom", "--error-message", "killed for memory"}
	run := d.object("agent", "run-cloud", "-p", "please greet", "--no-environment", "--host", "w1")
	id := run["run_id"].(string)
	o.after[2] = id
	_, out := o.one(t)
	assert.Assert(t, strings.Contains(out, "The shutdown is recorded."), out)
	got := d.object("run", "get", id)
	assert.Equal(t, got["state"], "ERROR")
	assert.Assert(t, strings.Contains(fmt.Sprint(got["status_message"]), "killed for memory"), "%v", got)

	o = newOfficial(t, d, "w3")
	o.agent = []string{"harness-support", "finish-task", "--status", "success", "--summary", "all done"}
	o.after = []string{"harness-support", "report-shutdown"} // finds the run by its environment, and it ended before
	run = d.object("agent", "run-cloud", "-p", "please greet", "--no-environment", "--host", "w3")
	_, out = o.one(t)
	assert.Assert(t, strings.Contains(out, "The execution has ended before."), out)
	assert.Equal(t, d.object("run", "get", run["run_id"].(string))["state"], "SUCCEEDED")

	d.fails(1, "only the run itself may report", "harness-support", "--run-id", id, "report-shutdown")
	d.fails(2, "--run-id, or OZ_RUN_ID, is needed", "harness-support", "report-shutdown")
	d.fails(2, "are needed together", "harness-support", "--run-id", id, "report-shutdown", "--error-category", "oom")
	d.fails(2, `"maybe" is neither success nor failure`, "harness-support", "--run-id", id, "finish-task", "--status", "maybe")
}
