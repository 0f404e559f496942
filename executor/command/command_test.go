//go:build linux

package command_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/command"
	"github.com/oz-platform/cloudagents/task"
)

// helperRoot makes this test binary a worker that starts one sandbox and waits to be killed.
const helperRoot = "OZ_COMMAND_TEST_ROOT"

func TestMain(m *testing.M) {
	if root := os.Getenv(helperRoot); root != "" {
		e, err := command.New(root, os.Getenv("OZ_COMMAND_TEST_DISPATCH"), nil)
		if err == nil {
			_, err = e.Start(context.Background(), spec("e1"))
		}
		fmt.Println("started", err)
		select {}
	}
	goleak.VerifyTestMain(m)
}

const (
	patience = 60 * time.Second
	token    = "canary-token-5e1f"
)

func newContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func spec(id string) executor.Spec {
	stdin, err := json.Marshal(executor.Handshake{ServerURL: "https://oz.example.com", TaskID: "run-1", ExecutionID: task.ExecutionID(id), Token: token})
	if err != nil {
		panic(err)
	}
	minutes, screen := 5, false
	return executor.Spec{ID: id, Workspace: "run-1", Command: []string{"oz"}, Stdin: stdin, Env: []string{"HOUSE=blue"},
		Limits: executor.Limits{CPUs: 2, Memory: 4 << 30},
		Task: &task.Task{ID: "run-1", Spec: task.Spec{Title: "Greet", Prompt: "Say <hello> & more", Owner: task.Scope{Type: task.ScopeTeam, UID: "team-7"},
			Environment: json.RawMessage(`{"docker_image":"golang:1.26"}`), ConversationID: "conversation-1",
			Config: task.Config{ModelID: "m1", SkillSpec: " triage ", EnvironmentID: "env-1", IdleTimeoutMinutes: &minutes, ComputerUseEnabled: &screen,
				Harness: &task.HarnessConfig{Type: "oz"}}}}}
}

func open(t *testing.T, root, dispatch string, opts *command.Options) *command.Executor {
	t.Helper()
	e, err := command.New(root, dispatch, opts)
	assert.NilError(t, err)
	return e
}

func start(t *testing.T, e *command.Executor, id string) executor.Sandbox {
	t.Helper()
	s, err := e.Start(newContext(t), spec(id))
	assert.NilError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		_ = executor.Reported(ctx, s) // where a test leaves it at work
		assert.NilError(t, s.Remove(ctx))
	})
	return s
}

func wait(t *testing.T, s executor.Sandbox) executor.Exit {
	t.Helper()
	x, err := s.Wait(newContext(t))
	assert.NilError(t, err)
	return x
}

func output(t *testing.T, s executor.Sandbox) string {
	t.Helper()
	r, err := s.Output(newContext(t))
	assert.NilError(t, err)
	defer r.Close()
	all, err := io.ReadAll(r)
	assert.NilError(t, err)
	return string(all)
}

// await waits until a file that a command makes is there, and gives its content.
func await(t *testing.T, path string) string {
	t.Helper()
	ctx := newContext(t)
	for {
		if raw, err := os.ReadFile(path); err == nil && strings.HasSuffix(string(raw), "\n") {
			return string(raw)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not come", path)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// accepted waits until the dispatch command of e1 has ended, and gives the worker a moment to see it.
func accepted(t *testing.T, root string) {
	t.Helper()
	await(t, filepath.Join(root, "e1", "status"))
	ctx := newContext(t)
	for {
		if raw, err := os.ReadFile(filepath.Join(root, "e1", "entry.json")); err == nil && strings.Contains(string(raw), `"accepted"`) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal("the entry does not say that the work was accepted")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// gone waits until no process has an argument that contains mark.
func gone(t *testing.T, mark string) {
	t.Helper()
	ctx := newContext(t)
	for exec.Command("pgrep", "-f", mark).Run() == nil {
		select {
		case <-ctx.Done():
			t.Fatalf("processes of %s are left", mark)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestDispatchContract: the payload is complete and on standard input, the variables are there, and the token is
// nowhere but in the payload: in no argument, no variable, no file.
func TestDispatchContract(t *testing.T) {
	t.Setenv("WARP_API_KEY", "canary-worker-key")
	t.Setenv("INHERITED", "yes")
	dir, root := t.TempDir(), filepath.Join(t.TempDir(), "journal")
	e := open(t, root, `cat >`+dir+`/payload; env >`+dir+`/env; tr '\0' ' ' </proc/$PPID/cmdline >`+dir+`/args; echo to the log; echo >`+dir+`/done`,
		&command.Options{WorkerID: "build-1", Environment: []string{"COLOUR=red", "OZ_RUN_ID=forged"}})
	s := start(t, e, "e1")
	await(t, dir+"/done")

	raw, err := os.ReadFile(dir + "/payload")
	assert.NilError(t, err)
	want, err := os.ReadFile("testdata/payload.json")
	assert.NilError(t, err)
	var pretty strings.Builder
	enc := json.NewEncoder(&pretty)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	var any map[string]any
	assert.NilError(t, json.Unmarshal(raw, &any))
	assert.NilError(t, enc.Encode(any))
	assert.Equal(t, pretty.String(), string(want))
	assert.Assert(t, is.Contains(string(raw), "Say <hello> & more"), "escaped for HTML")

	env, err := os.ReadFile(dir + "/env")
	assert.NilError(t, err)
	for _, v := range []string{"OZ_RUN_ID=run-1", "OZ_EXECUTION_ID=e1", "OZ_WORKER_BACKEND=command", "OZ_SERVER_ROOT_URL=https://oz.example.com",
		"OZ_DOCKER_IMAGE=golang:1.26", "COLOUR=red", "INHERITED=yes"} {
		assert.Assert(t, is.Contains("\n"+string(env), "\n"+v+"\n"))
	}
	args, err := os.ReadFile(dir + "/args")
	assert.NilError(t, err)
	for _, sink := range []string{string(env), string(args)} {
		assert.Assert(t, !strings.Contains(sink, "canary"), sink)
	}
	assert.NilError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		assert.Assert(t, !strings.Contains(string(content), "canary"), path)
		return err
	}))
	assert.NilError(t, executor.Reported(newContext(t), s))
	assert.Assert(t, is.Contains(output(t, s), "to the log\n"))
}

// TestReportedEndsIt: what was taken over counts until the agent reports, and is not cancelled then.
func TestReportedEndsIt(t *testing.T) {
	dir := t.TempDir()
	e := open(t, t.TempDir(), "echo >"+dir+"/dispatched", &command.Options{CancelCommand: "echo >" + dir + "/cancelled"})
	s := start(t, e, "e1")
	await(t, dir+"/dispatched")
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := s.Wait(short)
	assert.ErrorIs(t, err, context.DeadlineExceeded, "it ended without a report")
	assert.ErrorIs(t, e.RemoveWorkspace(newContext(t), "run-1"), executor.ErrInUse)

	assert.NilError(t, executor.Reported(newContext(t), s))
	assert.Equal(t, wait(t, s), executor.Exit{})
	assert.NilError(t, s.Stop(newContext(t), 0))
	assert.NilError(t, s.Remove(newContext(t)))
	_, err = os.Stat(dir + "/cancelled")
	assert.ErrorIs(t, err, os.ErrNotExist)
	ids, err := e.List(newContext(t))
	assert.NilError(t, err)
	assert.Equal(t, len(ids), 0)
	_, err = e.Open(newContext(t), "e1")
	assert.ErrorIs(t, err, executor.ErrNotFound)
	assert.NilError(t, e.RemoveWorkspace(newContext(t), "run-1"))
}

// TestRefused: a dispatch command that fails ends the sandbox with its status, and there is nothing to cancel.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	e := open(t, t.TempDir(), "echo the queue is full >&2; exit 3", &command.Options{CancelCommand: "echo >" + dir + "/cancelled"})
	s := start(t, e, "e1")
	assert.Equal(t, wait(t, s), executor.Exit{Code: 3})
	assert.Equal(t, output(t, s), "the queue is full\n[oz] the dispatch command ended with status 3: the work was refused\n")
	assert.NilError(t, s.Remove(newContext(t)))
	_, err := os.Stat(dir + "/cancelled")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// TestDispatchTimeout: the whole tree is killed, also what has left its group and session, and the cancel command
// follows, since the work may have been taken over.
func TestDispatchTimeout(t *testing.T) {
	dir, mark := t.TempDir(), "9"+fmt.Sprint(os.Getpid())+"1"
	e := open(t, t.TempDir(), "setsid sleep "+mark+" & (setsid sh -c 'trap : TERM; sleep "+mark+"; sleep "+mark+"' &) ; trap : TERM; echo >"+dir+"/began; sleep "+mark,
		&command.Options{DispatchTimeout: 500 * time.Millisecond, CancelCommand: `echo "$OZ_RUN_ID $OZ_EXECUTION_ID $OZ_WORKER_BACKEND $(cat | wc -c)" >` + dir + `/cancelled`})
	s := start(t, e, "e1")
	await(t, dir+"/began")
	assert.Equal(t, wait(t, s).Code, 137)
	gone(t, "sleep "+mark)
	assert.Assert(t, is.Contains(output(t, s), "[oz] the dispatch command did not end within 500ms"))
	assert.NilError(t, s.Remove(newContext(t)))
	assert.Equal(t, await(t, dir+"/cancelled"), "run-1 e1 command 0\n")
}

// TestCancelIsConfirmed: until the cancel command has succeeded the entry stays, and is tried again.
func TestCancelIsConfirmed(t *testing.T) {
	dir := t.TempDir()
	root := t.TempDir()
	e := open(t, root, "true", &command.Options{CancelCommand: "test -e " + dir + "/able && echo >" + dir + "/cancelled"})
	s := start(t, e, "e1")
	accepted(t, root)
	assert.ErrorContains(t, s.Stop(newContext(t), 0), "the cancel command has not confirmed: exit status 1")
	assert.ErrorContains(t, s.Remove(newContext(t)), "has not confirmed")
	ids, err := e.List(newContext(t))
	assert.NilError(t, err)
	assert.DeepEqual(t, ids, []string{"e1"})
	assert.NilError(t, os.WriteFile(dir+"/able", nil, 0o600))
	assert.NilError(t, s.Stop(newContext(t), 0))
	assert.Equal(t, wait(t, s).Code, 143)
	assert.NilError(t, os.Remove(dir+"/cancelled"))
	assert.NilError(t, s.Remove(newContext(t))) // confirmed once is enough
	_, err = os.Stat(dir + "/cancelled")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// TestCancelTimeout: a cancel command that hangs is killed with all it has started.
func TestCancelTimeout(t *testing.T) {
	dir, mark := t.TempDir(), "9"+fmt.Sprint(os.Getpid())+"2"
	e := open(t, t.TempDir(), "echo >"+dir+"/dispatched", &command.Options{CancelTimeout: 300 * time.Millisecond,
		CancelCommand: "setsid sleep " + mark + " & sleep " + mark})
	s := start(t, e, "e1")
	await(t, dir+"/dispatched")
	assert.ErrorContains(t, s.Stop(newContext(t), 0), "the cancel command did not end within 300ms")
	gone(t, "sleep "+mark)
}

// TestCancelWhileDispatching: the dispatch command is killed first.
func TestCancelWhileDispatching(t *testing.T) {
	dir, mark := t.TempDir(), "9"+fmt.Sprint(os.Getpid())+"3"
	e := open(t, t.TempDir(), "setsid sleep "+mark+" & echo >"+dir+"/began; sleep "+mark, &command.Options{CancelCommand: "echo >" + dir + "/cancelled"})
	s := start(t, e, "e1")
	await(t, dir+"/began")
	assert.NilError(t, s.Stop(newContext(t), time.Hour), "nobody is given grace")
	gone(t, "sleep "+mark)
	await(t, dir+"/cancelled")
}

// TestWithoutCancelCommand: there is nobody to be told.
func TestWithoutCancelCommand(t *testing.T) {
	root := t.TempDir()
	s := start(t, open(t, root, "true", nil), "e1")
	accepted(t, root)
	assert.NilError(t, s.Stop(newContext(t), 0))
	assert.Equal(t, wait(t, s).Code, 143)
}

// TestStartedOnce: a second Start of an ID dispatches nothing.
func TestStartedOnce(t *testing.T) {
	dir, root := t.TempDir(), t.TempDir()
	e := open(t, root, "echo x >>"+dir+"/dispatched", nil)
	s := start(t, e, "e1")
	await(t, dir+"/dispatched")
	again, err := e.Start(newContext(t), spec("e1"))
	assert.NilError(t, err)
	assert.Equal(t, again, s)
	assert.NilError(t, executor.Reported(newContext(t), s))
	again, err = open(t, root, "exit 1", nil).Start(newContext(t), spec("e1")) // the next worker
	assert.NilError(t, err)
	assert.Equal(t, wait(t, again), executor.Exit{})
	assert.Equal(t, await(t, dir+"/dispatched"), "x\n")
}

// TestExpiry: an entry that nobody ends counts as lost in the end, and goes although its cancel command never confirms.
func TestExpiry(t *testing.T) {
	e := open(t, t.TempDir(), "true", &command.Options{Lifetime: 300 * time.Millisecond, CancelCommand: "exit 1"})
	s := start(t, e, "e1")
	assert.Equal(t, wait(t, s), executor.Exit{Code: -1, Unknown: true})
	assert.NilError(t, s.Remove(newContext(t)))
}

// TestWorkerKilled kills a worker while its dispatch command is at work: the next one learns how that went, and that
// the work was handed over once.
func TestWorkerKilled(t *testing.T) {
	for _, tt := range []struct {
		name, end string
		want      executor.Exit
	}{{"accepted", "exit 0", executor.Exit{}}, {"refused", "exit 7", executor.Exit{Code: 7}}, {"lost", "kill -9 $PPID $$", executor.Exit{Code: -1, Unknown: true}}} {
		t.Run(tt.name, func(t *testing.T) {
			dir, root := t.TempDir(), t.TempDir()
			dispatch := "cat >" + dir + "/payload; echo x >>" + dir + "/began; until [ -e " + dir + "/go ]; do sleep 0.02; done; " + tt.end
			self, err := os.Executable()
			assert.NilError(t, err)
			worker := exec.Command(self)
			worker.Env = append(os.Environ(), helperRoot+"="+root, "OZ_COMMAND_TEST_DISPATCH="+dispatch)
			out, err := worker.StdoutPipe()
			assert.NilError(t, err)
			assert.NilError(t, worker.Start())
			line, err := bufio.NewReader(out).ReadString('\n')
			assert.NilError(t, err)
			assert.Equal(t, line, "started <nil>\n")
			await(t, dir+"/began")
			assert.NilError(t, worker.Process.Kill())
			_ = worker.Wait()

			cancel := "echo >" + dir + "/cancelled"
			e := open(t, root, dispatch, &command.Options{CancelCommand: cancel})
			s, err := e.Open(newContext(t), "e1")
			assert.NilError(t, err)
			short, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
			_, err = s.Wait(short)
			stop()
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.NilError(t, os.WriteFile(dir+"/go", nil, 0o600))
			if tt.want == (executor.Exit{}) {
				waiting := make(chan executor.Exit, 1)
				go func() { x, _ := s.Wait(newContext(t)); waiting <- x }()
				gone(t, dir+"/began")
				assert.NilError(t, executor.Reported(newContext(t), s))
				assert.Equal(t, <-waiting, tt.want)
			}
			assert.Equal(t, wait(t, s), tt.want)
			assert.Equal(t, await(t, dir+"/began"), "x\n")
			assert.NilError(t, s.Remove(newContext(t)))
		})
	}
}

// TestKilledAtAnyMoment: what is half made is not listed for ever, and can be started.
func TestKilledAtAnyMoment(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	assert.NilError(t, os.Mkdir(filepath.Join(root, "e1"), 0o700)) // killed before the entry was written
	assert.NilError(t, os.Mkdir(filepath.Join(root, "e2"), 0o700))
	assert.NilError(t, os.WriteFile(filepath.Join(root, "e2", "entry.json"), []byte("{"), 0o600)) // not by us
	e := open(t, root, "echo >"+dir+"/dispatched", nil)
	ids, err := e.List(newContext(t))
	assert.NilError(t, err)
	assert.DeepEqual(t, ids, []string{"e2"})
	_, err = e.Open(newContext(t), "e2")
	assert.ErrorContains(t, err, "entry.json")
	s := start(t, e, "e1")
	await(t, dir+"/dispatched")
	assert.NilError(t, executor.Reported(newContext(t), s))
}

// TestOutputIsBounded: a flood of output loses its beginning.
func TestOutputIsBounded(t *testing.T) {
	root := t.TempDir()
	e := open(t, root, "yes 0123456789 | head -c 3000000; sleep 0.5; echo the end; exit 1", &command.Options{OutputLimit: 8 << 10})
	s := start(t, e, "e1")
	wait(t, s)
	out := output(t, s)
	assert.Assert(t, len(out) <= 9<<10, "%d bytes are kept", len(out))
	assert.Assert(t, strings.Contains(out, "bytes of output were dropped") && strings.Contains(out, "the end\n"), out)
}

func TestBadOptions(t *testing.T) {
	for _, tt := range []struct {
		name, dispatch, want string
		opts                 command.Options
	}{
		{"no command", " ", "the dispatch command is empty", command.Options{}},
		{"time-out", "true", "may not be negative", command.Options{DispatchTimeout: -1}},
		{"output", "true", "OutputLimit is 1 bytes, must be at least 4096", command.Options{OutputLimit: 1}},
		{"variable", "true", "Environment[1] is not of the form NAME=value", command.Options{Environment: []string{"A=b", "A b=c"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := command.New(t.TempDir(), tt.dispatch, &tt.opts)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

func TestBadSpecs(t *testing.T) {
	e := open(t, t.TempDir(), "true", nil)
	for _, tt := range []struct {
		name, want string
		change     func(*executor.Spec)
	}{
		{"no ID", "ID must have", func(s *executor.Spec) { s.ID = "" }},
		{"no handshake", "Stdin must be an executor.Handshake", func(s *executor.Spec) { s.Stdin = []byte(token) }},
		{"no token", "must have server_url and token", func(s *executor.Spec) { s.Stdin = []byte(`{"server_url":"https://oz.example.com"}`) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := spec("e1")
			tt.change(&s)
			_, err := e.Start(newContext(t), s)
			assert.ErrorIs(t, err, executor.ErrInvalidSpec)
			assert.ErrorContains(t, err, tt.want)
			assert.Assert(t, !strings.Contains(err.Error(), "canary"))
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := e.Start(ended, spec("e1"))
	assert.ErrorIs(t, err, context.Canceled)
	ids, err := e.List(newContext(t))
	assert.NilError(t, err)
	assert.Equal(t, len(ids), 0)
}

// TestNoSignals: there is no process here that could be told.
func TestNoSignals(t *testing.T) {
	s := start(t, open(t, t.TempDir(), "true", nil), "e1")
	assert.ErrorIs(t, s.Signal(newContext(t), os.Interrupt), executor.ErrUnsupportedSignal)
	assert.NilError(t, executor.Reported(newContext(t), s))
	assert.NilError(t, s.Signal(newContext(t), os.Interrupt))
	assert.NilError(t, s.Remove(newContext(t)))
	assert.ErrorIs(t, s.Signal(newContext(t), os.Interrupt), executor.ErrNotFound)
}
