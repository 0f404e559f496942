package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/laws"
)

// settings appends to a server's configuration.
func settings(t *testing.T, s *servertest.Server, lines ...string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(s.Dir, "ozd.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	assert.NilError(t, err)
	_, err = f.WriteString(strings.Join(lines, "\n") + "\n")
	assert.NilError(t, err)
	assert.NilError(t, f.Close())
}

// replicas makes two servers on one PostgreSQL database, each with a data
// directory of its own, and the first one's key file.
func replicas(t *testing.T, release string) (a, b *servertest.Server) {
	t.Helper()
	dsn := pgtest.DSN(t)
	a, b = servertest.New(t, program, servertest.Talker(release)), servertest.New(t, program, servertest.Talker(release))
	for _, s := range []*servertest.Server{a, b} {
		settings(t, s, fmt.Sprintf("store: %q", dsn), "lease: 3s")
	}
	settings(t, a, "worker: {id: worker-a}")
	settings(t, b, "worker: {id: worker-b}", fmt.Sprintf("secrets_key: %q", filepath.Join(a.Dir, "data", "secrets.key")))
	a.Start()
	b.Start()
	return a, b
}

// finished follows a run through a server to its end, and holds its record
// against the laws.
func finished(ctx context.Context, t *testing.T, s *servertest.Server, id task.ID) (task.Task, []task.Execution) {
	t.Helper()
	var r laws.Record
	for e, err := range s.Client().Watch(ctx, id, 0) {
		assert.NilError(t, err)
		r.Events = append(r.Events, e)
	}
	var err error
	r.Task, err = s.Client().Get(ctx, id)
	assert.NilError(t, err)
	r.Executions, err = s.Client().Executions(ctx, id)
	assert.NilError(t, err)
	r.Task.LastSeq = int64(len(r.Events)) // not on the wire
	assert.Equal(t, len(laws.Check(r)), 0, "%v", laws.Check(r))
	return r.Task, r.Executions
}

// TestReplicasShareADatabase: a client of one server sees what runs through
// another, and a run whose server died goes on through the other one.
func TestReplicasShareADatabase(t *testing.T) {
	release := filepath.Join(t.TempDir(), "release")
	a, b := replicas(t, release)
	ctx, cancel := context.WithTimeout(t.Context(), servertest.Patience)
	defer cancel()

	for _, host := range []string{"worker-a", "worker-b", ""} {
		run, err := a.Client().Submit(ctx, oz.Request{Prompt: "greet", Config: task.Config{WorkerHost: host}})
		assert.NilError(t, err)
		got, executions := finished(ctx, t, b, run.ID)
		assert.Equal(t, got.State, task.StateSucceeded, "%s\n%s\n%s", got.Status.Message, a.Output(), b.Output())
		assert.Equal(t, len(executions), 1)
		if host != "" {
			assert.Equal(t, executions[0].Worker, host)
		}
	}

	// The server that has the runner dies and stays away: the other one waits
	// for the lease, and then has the work done again.
	run, err := a.Client().Submit(ctx, oz.Request{Prompt: "wait"})
	assert.NilError(t, err)
	awaitOutput(ctx, t, b, run.ID, "waiting")
	executions, err := b.Client().Executions(ctx, run.ID)
	assert.NilError(t, err)
	dead, alive := a, b
	if executions[0].Worker == "worker-b" {
		dead, alive = b, a
	}
	dead.Kill()
	again := func(e task.Event) bool { return e.ExecutionID != "" && e.ExecutionID != executions[0].ID }
	for e, err := range alive.Client().Watch(ctx, run.ID, 0) {
		assert.NilError(t, err)
		if again(e) {
			break
		}
	}
	assert.NilError(t, os.WriteFile(release, nil, 0o600))
	got, executions := finished(ctx, t, alive, run.ID)
	assert.Equal(t, got.State, task.StateSucceeded, "%s\n%s", got.Status.Message, alive.Output())
	assert.Equal(t, len(executions), 2)
	assert.Assert(t, executions[0].Worker != executions[1].Worker)

	dead.Start() // finds its old runner, and ends it
	run, err = dead.Client().Submit(ctx, oz.Request{Prompt: "greet"})
	assert.NilError(t, err)
	got, _ = finished(ctx, t, alive, run.ID)
	assert.Equal(t, got.State, task.StateSucceeded)
}

// TestTakeOverAcrossReplicas: a person at one server takes over in a run whose
// worker is at another, and both tell that they are there.
func TestTakeOverAcrossReplicas(t *testing.T) {
	release := filepath.Join(t.TempDir(), "release")
	a, b := replicas(t, release)
	ctx, cancel := context.WithTimeout(t.Context(), servertest.Patience)
	defer cancel()
	run, err := a.Client().Submit(ctx, oz.Request{Prompt: "wait", Config: task.Config{WorkerHost: "worker-b"}})
	assert.NilError(t, err)
	awaitOutput(ctx, t, a, run.ID, "waiting")
	conn, err := a.Client().Terminal(ctx, run.ID, executor.TerminalSize{Cols: 80, Rows: 24})
	assert.NilError(t, err, "%s\n%s", a.Output(), b.Output())
	defer func() { _ = conn.Close() }()
	assert.NilError(t, conn.Send(ctx, executor.TerminalFrame{Data: []byte("echo it is $((40 + 2))\n")}))
	for shown := ""; !strings.Contains(shown, "it is 42"); {
		f, err := conn.Receive(ctx)
		assert.NilError(t, err, shown)
		assert.Assert(t, f.Closed == nil, "%+v", f.Closed)
		shown += string(f.Data)
	}
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for there := false; !there; <-look.C { // each tells the other within a second
		p, err := b.Client().Presence(ctx, run.ID)
		assert.NilError(t, err)
		there = len(p.Participants) == 1 && p.Participants[0].Terminal
	}
	assert.NilError(t, os.WriteFile(release, nil, 0o600))
	got, _ := finished(ctx, t, a, run.ID)
	assert.Equal(t, got.State, task.StateSucceeded, "%s\n%s", a.Output(), b.Output())
}

// TestReplicaWithAnotherKeyIsRefused: a server that could not read the secrets
// says so at its start, and what to do.
func TestReplicaWithAnotherKeyIsRefused(t *testing.T) {
	dsn := pgtest.DSN(t)
	first := servertest.New(t, program, servertest.Talker(""))
	settings(t, first, fmt.Sprintf("store: %q", dsn))
	first.Start()
	second := exec.CommandContext(t.Context(), program, "--listen", "127.0.0.1:0", "--data", t.TempDir())
	second.Env = servertest.Environ("OZ_STORE=" + dsn)
	out, err := second.CombinedOutput()
	assert.ErrorContains(t, err, "exit status 1")
	assert.Assert(t, strings.Contains(string(out), "sealed with another key file") && strings.Contains(string(out), "--secrets-key"), "%s", out)
}
