package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestWorkerRunsAgents follows a run that names the worker from its claim to
// its end, with what is around it: the operator's commands, health, metrics.
func TestWorkerRunsAgents(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, fmt.Sprintf(`max_concurrent_tasks: 2
labels: [gpu]
backend:
  direct:
    workspace_root: %[1]s/workspaces
    setup_command: echo "prepared $OZ_RUN_ID" >>%[1]s/setup; echo MOOD=good >>"$OZ_ENVIRONMENT_FILE"; env >>%[1]s/env
    teardown_command: pwd >>%[1]s/teardown
    environment: [{name: COLOUR, value: red}, {name: WORKERS_OWN}]
`, dir))
	assert.NilError(t, os.MkdirAll(dir+"/workspaces/others", 0o755))
	r.work()
	r.eventually("the worker listens", func() bool { code, _ := r.get("/healthz"); return code != 0 })
	before := r.metrics()
	checkPublished(t, before)
	r.healthy()
	code, h := r.health()
	assert.Equal(t, code, http.StatusOK)
	assert.Equal(t, h.Status+h.WorkerID+h.Backend, "ok"+workerID+"direct")
	assert.Assert(t, h.Connected && !h.Draining && h.Capacity == 2 && h.Busy == 0 && len(h.Reasons) == 0, "%+v", h)

	id := r.submit("greet")
	run := r.finished(id)
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Status.Message, r.out)
	executions, err := r.Client().Executions(r.ctx, id)
	assert.NilError(t, err)
	assert.Equal(t, len(executions), 1)
	r.eventually("the place is free", func() bool { _, h := r.health(); return h.Busy == 0 })
	read := func(name string) string {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		assert.NilError(t, err)
		return string(raw)
	}
	assert.Equal(t, read("setup"), "prepared "+string(id)+"\n")
	assert.Equal(t, read("teardown"), filepath.Join(dir, "workspaces", workerID, "workspaces", string(id))+"\n")
	env := read("env")
	for _, v := range []string{"COLOUR=red", "WORKERS_OWN=canary-of-the-worker", "GIT_TERMINAL_PROMPT=0", "GH_PROMPT_DISABLED=1", "WARP_SERVER_ROOT_URL=" + r.URL} {
		assert.Assert(t, is.Contains("\n"+env, "\n"+v+"\n"))
	}
	assert.Assert(t, !strings.Contains(env, r.key), "the worker's key is in the environment of agents")

	labelled, err := r.Client().Submit(r.ctx, oz.Request{Prompt: "greet", Config: task.Config{WorkerLabels: []string{"gpu"}}})
	assert.NilError(t, err)
	assert.Equal(t, r.finished(labelled.ID).State, task.StateSucceeded)
	r.eventually("the metrics count", func() bool { return r.metrics()[`oz_worker_tasks_completed_total{result="succeeded"}`] == "2" })
	m := r.metrics()
	assert.Equal(t, m["oz_worker_tasks_claimed_total"], "2")
	assert.Equal(t, m["oz_worker_connected"], "1")
	assert.Equal(t, m["oz_worker_tasks_active"], "0")
	assert.Equal(t, m["oz_worker_tasks_max_concurrent"], "2")
	assert.Equal(t, m[`oz_worker_task_duration_seconds_count{result="succeeded"}`], "2")

	r.signal(syscall.SIGTERM)
	assert.Equal(t, r.exit(), 0)
	_, err = os.Stat(dir + "/workspaces/others")
	assert.NilError(t, err, "the worker has removed what is not its own")
	assert.Assert(t, !strings.Contains(r.out.String(), r.key), "the key is in the log")
}

// checkPublished holds the series before the first run against the published
// list (Oz worker protocol, 12).
func checkPublished(t *testing.T, m map[string]string) {
	t.Helper()
	want := []string{"oz_worker_connected", "oz_worker_tasks_active", "oz_worker_tasks_max_concurrent", "oz_worker_tasks_claimed_total",
		`oz_worker_tasks_rejected_total{reason="at_capacity"}`, `oz_worker_websocket_reconnects_total{reason="dial_failed"}`,
		`oz_worker_websocket_reconnects_total{reason="remote_close"}`}
	for _, result := range []string{"succeeded", "failed", "cancelled", "dispatched"} {
		want = append(want, fmt.Sprintf("oz_worker_tasks_completed_total{result=%q}", result))
	}
	for _, name := range want {
		value, ok := m[name]
		assert.Assert(t, ok, "%s is missing", name)
		if !slices.Contains([]string{"oz_worker_connected", "oz_worker_tasks_max_concurrent"}, name) {
			assert.Equal(t, value, "0", name)
		}
	}
	failures, info := 0, ""
	for name, value := range m {
		if strings.HasPrefix(name, "oz_worker_task_failures_total{") {
			failures++
			assert.Equal(t, value, "0", name)
		}
		if strings.HasPrefix(name, "oz_worker_info{") {
			info = name
			assert.Equal(t, value, "1")
		}
	}
	assert.Equal(t, failures, 87)
	for _, label := range []string{`backend="direct"`, `worker_id="build-1"`, `version="`} {
		assert.Assert(t, is.Contains(info, label))
	}
}

// TestDrain: after SIGTERM nothing new is taken, the run at work ends in peace,
// and then the worker ends with 0.
func TestDrain(t *testing.T) {
	r := newRig(t, "drain_timeout: 10m")
	r.work()
	r.healthy()
	id := r.submit("wait")
	r.waits(id)
	r.signal(syscall.SIGTERM)
	r.eventually("it drains", func() bool { _, h := r.health(); return h.Draining })
	code, h := r.health()
	assert.Equal(t, code, http.StatusServiceUnavailable)
	assert.DeepEqual(t, h.Reasons, []string{"draining: nothing new is taken"})
	assert.Equal(t, h.Busy, 1)
	next := r.submit("greet")
	r.free()
	assert.Equal(t, r.exit(), 0)
	assert.Equal(t, r.run(id).State, task.StateSucceeded)
	assert.Equal(t, r.run(next).State, task.StateQueued)
	assert.Equal(t, len(r.Runners()), 0)

	r.work() // and the next start takes what has waited
	assert.Equal(t, r.finished(next).State, task.StateSucceeded)
	r.signal(syscall.SIGINT)
	assert.Equal(t, r.exit(), 0)
}

// TestRunsOutliveTheWorker: a run goes on while its worker stops waiting for
// it, or is killed, and is taken up by the next start, without a second
// execution.
func TestRunsOutliveTheWorker(t *testing.T) {
	for _, tt := range []struct {
		name, config string
		end          func(*rig)
	}{
		{"second signal", "drain_timeout: 10m", func(r *rig) {
			r.signal(syscall.SIGTERM)
			r.eventually("it drains", func() bool { _, h := r.health(); return h.Draining })
			r.signal(syscall.SIGTERM)
			assert.Equal(t, r.exit(), 0)
		}},
		{"time is over", "drain_timeout: 0s", func(r *rig) { r.signal(syscall.SIGTERM); assert.Equal(t, r.exit(), 0) }},
		{"killed", "", func(r *rig) { r.signal(syscall.SIGKILL); r.exit() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.config)
			r.work()
			r.healthy()
			id := r.submit("wait")
			r.waits(id)
			tt.end(r)
			runners := r.Runners()
			assert.Equal(t, len(runners), 1, "%v", runners)
			r.work()
			r.healthy()
			assert.DeepEqual(t, r.Runners(), runners)
			r.eventually("it is taken up", func() bool { _, h := r.health(); return h.Busy == 1 })
			r.free()
			run := r.finished(id)
			assert.Equal(t, run.State, task.StateSucceeded, "%s", run.Status.Message)
			executions, err := r.Client().Executions(r.ctx, id)
			assert.NilError(t, err)
			assert.Equal(t, len(executions), 1)
			r.signal(syscall.SIGTERM)
			assert.Equal(t, r.exit(), 0)
			assert.Equal(t, len(r.Runners()), 0)
		})
	}
}

// TestStopOnShutdown: what is at work is stopped and given back, and counts as
// nobody's fault.
func TestStopOnShutdown(t *testing.T) {
	r := newRig(t, "drain_timeout: 0s\nstop_on_shutdown: true")
	r.work()
	r.healthy()
	id := r.submit("wait")
	r.waits(id)
	r.signal(syscall.SIGTERM)
	assert.Equal(t, r.exit(), 0)
	assert.Equal(t, len(r.Runners()), 0)
	executions, err := r.Client().Executions(r.ctx, id)
	assert.NilError(t, err)
	assert.Equal(t, len(executions), 1)
	assert.Equal(t, executions[0].State, task.ExecutionEnded)
	assert.Equal(t, executions[0].Reason, "the worker shut down")
	r.free()
	r.work()
	assert.Equal(t, r.finished(id).State, task.StateSucceeded)
	r.signal(syscall.SIGTERM)
	assert.Equal(t, r.exit(), 0)
}

// TestOneShot: one run, then the end with 0; the next one waits for another.
func TestOneShot(t *testing.T) {
	r := newRig(t, "")
	first, second := r.submit("greet"), r.submit("greet")
	r.work("--one-shot")
	assert.Equal(t, r.exit(), 0)
	states := []task.State{r.run(first).State, r.run(second).State}
	slices.Sort(states)
	assert.DeepEqual(t, states, []task.State{task.StateQueued, task.StateSucceeded})
}

// TestServerAway: the worker says that it is not connected, its agent goes on,
// and its end is told when the server is back.
func TestServerAway(t *testing.T) {
	r := newRig(t, "")
	r.work()
	r.healthy()
	id := r.submit("wait")
	r.waits(id)
	r.Kill()
	r.eventually("the worker notices", func() bool { code, _ := r.health(); return code == http.StatusServiceUnavailable })
	_, h := r.health()
	assert.Equal(t, len(h.Reasons), 1)
	assert.Assert(t, is.Contains(h.Reasons[0], "not connected to the server: "))
	r.Server.Start()
	r.healthy()
	r.free()
	assert.Equal(t, r.finished(id).State, task.StateSucceeded)
	m := r.metrics()
	assert.Equal(t, m[`oz_worker_websocket_reconnects_total{reason="remote_close"}`], "1")
	r.signal(syscall.SIGTERM)
	assert.Equal(t, r.exit(), 0)
}

// TestRefusedKey: the worker goes on asking, and says why it has no work, in
// its health and its log, without the key.
func TestRefusedKey(t *testing.T) {
	r := newRig(t, "")
	wrong := "wrong-key-canary-77"
	r.work("--api-key", wrong)
	r.eventually("it says so", func() bool {
		code, h := r.health()
		return code == http.StatusServiceUnavailable && len(h.Reasons) == 1 && strings.Contains(h.Reasons[0], "refuses this worker: 401")
	})
	assert.Assert(t, is.Contains(r.out.String(), "refuses this worker: 401"))
	assert.Assert(t, is.Contains(r.out.String(), "the command line shows the key"))
	assert.Assert(t, !strings.Contains(r.out.String(), wrong))
	r.signal(syscall.SIGTERM)
	assert.Equal(t, r.exit(), 0)
}

// TestTwoWorkersOneState: the second is told what to do.
func TestTwoWorkersOneState(t *testing.T) {
	r := newRig(t, "")
	r.work()
	r.healthy()
	first, ended := r.cmd, r.ended
	r.work("--listen", "")
	assert.Equal(t, r.exit(), 1)
	assert.Assert(t, is.Contains(r.out.String(), "another worker uses "))
	r.cmd, r.ended = first, ended
	r.healthy()
	r.signal(syscall.SIGTERM)
	assert.Equal(t, r.exit(), 0)
}

// TestBrokenBackend: health says so while the executor cannot work.
func TestBrokenBackend(t *testing.T) {
	r := newRig(t, "")
	r.work()
	r.healthy()
	sandboxes := filepath.Join(r.Dir, "state", "workspaces", workerID, "sandboxes")
	assert.NilError(t, os.Rename(sandboxes, sandboxes+".away"))
	code, h := r.health()
	assert.Equal(t, code, http.StatusServiceUnavailable)
	assert.Assert(t, is.Contains(h.Reasons[0], "the back-end direct is broken: "))
	assert.Equal(t, r.metrics()["oz_worker_healthy"], "0")
	assert.NilError(t, os.Rename(sandboxes+".away", sandboxes))
	code, _ = r.health()
	assert.Equal(t, code, http.StatusOK)
	r.signal(syscall.SIGTERM)
	assert.Equal(t, r.exit(), 0)
}

// dispatcher writes a dispatch command that starts the published argument list,
// once the file first exists, in a directory named for the execution. It gives
// the back-end's section of the configuration.
func dispatcher(t *testing.T, dir, first string) string {
	t.Helper()
	dispatch := filepath.Join(dir, "dispatch")
	assert.NilError(t, os.WriteFile(dispatch, []byte(`#!/bin/sh
set -eu
run=`+dir+`/$OZ_EXECUTION_ID
mkdir "$run" "$run/work" && cat >"$run/payload"
jq -r '.base_args[]' "$run/payload" >"$run/args"
jq -r '.env | to_entries[] | "\(.key)=\(.value)"' "$run/payload" >"$run/env"
jq -c '{server_url: .server_root_url, task_id: .run_id, execution_id, token: .env.WARP_API_KEY}' "$run/payload" >"$run/handshake"
set -- ; while read -r a; do set -- "$@" "$a"; done <"$run/args"
cd "$run/work"
until_first() { until [ -e `+first+` ]; do sleep 0.05; done; exec env -i PATH="$PATH" HOME="$run" $(cat "$run/env") `+client+` "$@" <"$run/handshake"; }
until_first "$@" >"$run/out" 2>&1 &
echo $$ >"$run/session"
`), 0o700))
	return fmt.Sprintf(`backend:
  command:
    dispatch_command: setsid %s
    cancel_command: pkill -9 -s $(cat %[2]s/$OZ_EXECUTION_ID/session) && echo $OZ_RUN_ID >>%[2]s/cancelled
`, dispatch, dir)
}

// TestCommandBackend hands runs over to a command that starts the published
// argument list, and to its cancel command.
func TestCommandBackend(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, "max_concurrent_tasks: 1\n"+dispatcher(t, dir, dir))
	r.work()
	r.healthy()
	id := r.submit("wait")
	r.waits(id)
	next := r.submit("greet") // the place is taken until the agent has reported
	_, h := r.health()
	assert.Equal(t, h.Busy, 1)
	assert.Equal(t, r.run(next).State, task.StateQueued)
	r.free()
	for _, id := range []task.ID{id, next} {
		run := r.finished(id)
		assert.Equal(t, run.State, task.StateSucceeded, "%s", run.Status.Message)
	}
	_, err := os.Stat(dir + "/cancelled")
	assert.ErrorIs(t, err, os.ErrNotExist)

	assert.NilError(t, os.Remove(r.release))
	id = r.submit("wait")
	r.waits(id)
	assert.NilError(t, r.Client().Cancel(r.ctx, id))
	r.eventually("the cancel command runs", func() bool {
		raw, _ := os.ReadFile(dir + "/cancelled")
		return string(raw) == string(id)+"\n"
	})
	r.eventually("nothing is left", func() bool { _, h := r.health(); return h.Busy == 0 })
	left, err := os.ReadDir(filepath.Join(r.Dir, "state", workerID, "dispatched"))
	assert.NilError(t, err)
	assert.Equal(t, len(left), 0)
	r.signal(syscall.SIGTERM)
	assert.Equal(t, r.exit(), 0)
}

// TestHandedOverMayWait: what waits for its turn elsewhere, for longer than a
// lease, stays the one execution of its run.
func TestHandedOverMayWait(t *testing.T) {
	const lease = 2 * time.Second
	dir := t.TempDir()
	r := newRig(t, dispatcher(t, dir, dir+"/turn"), "lease: "+lease.String())
	r.work()
	r.healthy()
	id := r.submit("greet")
	r.eventually("it is handed over", func() bool { return r.run(id).State == task.StateClaimed })
	time.Sleep(3 * lease) // nothing may happen meanwhile
	assert.Equal(t, r.run(id).State, task.StateClaimed)
	assert.NilError(t, os.WriteFile(dir+"/turn", nil, 0o600))
	assert.Equal(t, r.finished(id).State, task.StateSucceeded)
	executions, err := r.Client().Executions(r.ctx, id)
	assert.NilError(t, err)
	assert.Equal(t, len(executions), 1)
	r.signal(syscall.SIGTERM)
	assert.Equal(t, r.exit(), 0)
}
