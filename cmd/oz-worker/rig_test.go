package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

const workerID = "build-1"

// rig is a server, and a worker of it, as real processes.
type rig struct {
	*servertest.Server
	t       testing.TB
	ctx     context.Context
	release string // a file that ends the agents of "wait"
	key     string
	file    string // configuration
	status  string // address of /healthz and /metrics
	cmd     *exec.Cmd
	ended   chan struct{}
	out     *servertest.Buffer
}

// newRig starts a server, with more in its configuration, and writes a
// configuration of a worker with more in it, where "{release}" stands for the
// directory of the file that ends the agents of "wait".
func newRig(t *testing.T, more string, server ...string) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*servertest.Patience)
	t.Cleanup(cancel)
	release := filepath.Join(t.TempDir(), "release")
	r := &rig{Server: servertest.New(t, serverProgram, servertest.Talker(release)), t: t, ctx: ctx, release: release, out: &servertest.Buffer{}, status: servertest.FreeAddress(t)}
	config, err := os.OpenFile(filepath.Join(r.Dir, "ozd.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	assert.NilError(t, err)
	_, err = config.WriteString(strings.Join(server, "\n") + "\n")
	assert.NilError(t, err)
	assert.NilError(t, config.Close())
	r.Start()
	r.key, _, err = r.Client().CreateKey(ctx, access.KeySpec{Name: workerID, Type: access.KeyWorker})
	assert.NilError(t, err)
	keyFile := filepath.Join(r.Dir, "worker.key")
	assert.NilError(t, os.WriteFile(keyFile, []byte(r.key+"\n"), 0o600))
	r.file = filepath.Join(r.Dir, "oz-worker.yaml")
	text := fmt.Sprintf("server: %s\napi_key_file: %s\nworker_id: %s\nstate_dir: %s\nlisten: %s\n%s\n",
		r.URL, keyFile, workerID, filepath.Join(r.Dir, "state"), r.status, strings.ReplaceAll(more, "{release}", filepath.Dir(release)))
	assert.NilError(t, os.WriteFile(r.file, []byte(text), 0o600))
	t.Cleanup(func() {
		if r.cmd != nil {
			r.cmd.Process.Kill()
			<-r.ended
		}
		if t.Failed() {
			t.Logf("the worker:\n%s", r.out)
		}
	})
	return r
}

// work starts the worker.
func (r *rig) work(args ...string) {
	r.t.Helper()
	r.cmd, r.ended = exec.Command(program, append([]string{"--config-file", r.file}, args...)...), make(chan struct{})
	r.cmd.Env = servertest.Environ("HOME="+r.Dir, "WORKERS_OWN=canary-of-the-worker")
	r.cmd.Stdout, r.cmd.Stderr = r.out, r.out
	assert.NilError(r.t, r.cmd.Start())
	cmd, ended := r.cmd, r.ended
	go func() { _ = cmd.Wait(); close(ended) }()
}

// signal tells the worker something.
func (r *rig) signal(s syscall.Signal) {
	r.t.Helper()
	assert.NilError(r.t, r.cmd.Process.Signal(s))
}

// exit waits for the end of the worker, and gives its code.
func (r *rig) exit() int {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-r.ctx.Done():
		r.t.Fatal("the worker does not end")
	}
	code := r.cmd.ProcessState.ExitCode()
	r.cmd = nil
	return code
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	for !ok() {
		select {
		case <-r.ctx.Done():
			r.t.Fatalf("%s: not in time", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// get asks the worker's own address.
func (r *rig) get(path string) (int, string) {
	resp, err := http.Get("http://" + r.status + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	assert.NilError(r.t, err)
	return resp.StatusCode, string(body)
}

// health asks how the worker is.
func (r *rig) health() (int, health) {
	code, body := r.get("/healthz")
	var h health
	if code != 0 {
		assert.NilError(r.t, json.Unmarshal([]byte(body), &h), body)
	}
	return code, h
}

func (r *rig) healthy() {
	r.t.Helper()
	r.eventually("the worker is well", func() bool { code, _ := r.health(); return code == http.StatusOK })
}

// metrics reads the worker's own series.
func (r *rig) metrics() map[string]string {
	r.t.Helper()
	code, body := r.get("/metrics")
	assert.Equal(r.t, code, http.StatusOK, body)
	m := map[string]string{}
	for s := bufio.NewScanner(strings.NewReader(body)); s.Scan(); {
		if i := strings.LastIndex(s.Text(), " "); strings.HasPrefix(s.Text(), "oz_worker_") {
			m[s.Text()[:i]] = s.Text()[i+1:]
		}
	}
	return m
}

// submit asks for a run that names the worker.
func (r *rig) submit(prompt string) task.ID {
	r.t.Helper()
	run, err := r.Client().Submit(r.ctx, oz.Request{Prompt: prompt, Config: task.Config{WorkerHost: workerID}})
	assert.NilError(r.t, err)
	return run.ID
}

func (r *rig) run(id task.ID) task.Task {
	r.t.Helper()
	run, err := r.Client().Get(r.ctx, id)
	assert.NilError(r.t, err)
	return run
}

// finished waits for the end of a run.
func (r *rig) finished(id task.ID) task.Task {
	r.t.Helper()
	r.eventually("the run ends", func() bool { return r.run(id).State.Ended() })
	return r.run(id)
}

// waits waits until the agent of a run of "wait" waits for its release.
func (r *rig) waits(id task.ID) {
	r.t.Helper()
	for e, err := range r.Client().Watch(r.ctx, id, 0) {
		assert.NilError(r.t, err)
		if p, ok := e.Payload.(*task.ToolOutput); ok && strings.Contains(p.Text, "waiting") {
			return
		}
	}
	r.t.Fatal("the agent does not begin")
}

func (r *rig) free() { assert.NilError(r.t, os.WriteFile(r.release, nil, 0o600)) }
