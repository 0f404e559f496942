package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

// patience bounds what should take seconds.
const patience = 2 * time.Minute

// shell is a model that runs commands, one a turn, and then finishes.
func shell(commands ...string) scripted.Script {
	var s scripted.Script
	for _, c := range commands {
		s.Steps = append(s.Steps, scripted.Step{ToolCalls: []scripted.ToolCall{{Name: "run_command",
			Input: map[string]any{"command": c, "timeout_seconds": 600}}}})
	}
	s.Steps = append(s.Steps, scripted.Step{ToolCalls: []scripted.ToolCall{{Name: "finish",
		Input: map[string]any{"outcome": "success", "summary": "Done."}}}})
	return s
}

// newServer prepares a server with crash points and more settings.
func newServer(t *testing.T, script scripted.Script, settings string) *servertest.Server {
	t.Helper()
	s := servertest.New(t, program, script)
	path := filepath.Join(s.Dir, "ozd.yaml")
	text, err := os.ReadFile(path)
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(path, []byte(string(text)+settings), 0o600))
	return s
}

// pid finds the server's process.
func pid(t *testing.T, s *servertest.Server) int {
	t.Helper()
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		args, err := os.ReadFile(filepath.Join(d, "cmdline"))
		if err == nil && strings.HasPrefix(string(args), program+"\x00--config\x00"+s.Dir) {
			n, err := strconv.Atoi(filepath.Base(d))
			assert.NilError(t, err)
			return n
		}
	}
	t.Fatal("the server does not run")
	return 0
}

// memory reads a figure in bytes from proc_pid_status(5), such as VmHWM; 0
// when the process is gone.
func memory(pid int, field string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}

// await returns once ok holds.
func await(ctx context.Context, t *testing.T, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ended follows a run to its end and gives it with its events.
func ended(ctx context.Context, t *testing.T, c *client.Client, id task.ID) (task.Task, []task.Event) {
	t.Helper()
	var events []task.Event
	for e, err := range c.Watch(ctx, id, 0) {
		assert.NilError(t, err)
		assert.Equal(t, e.Seq, int64(len(events)+1))
		events = append(events, e)
	}
	run, err := c.Get(ctx, id)
	assert.NilError(t, err)
	return run, events
}

// output reports that a tool of the run has printed text.
func output(ctx context.Context, t *testing.T, c *client.Client, id task.ID, text string) {
	t.Helper()
	for e, err := range c.Watch(ctx, id, 0) {
		assert.NilError(t, err)
		if p, ok := e.Payload.(*task.ToolOutput); ok && strings.Contains(p.Text, text) {
			return
		}
	}
	t.Fatalf("the run ended without printing %q", text)
}

// mountSmall makes the server's data directory a file system of its own.
func mountSmall(t *testing.T, s *servertest.Server, options string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may mount a small file system")
	}
	data := filepath.Join(s.Dir, "data")
	assert.NilError(t, os.Mkdir(data, 0o700))
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "tmpfs", data).CombinedOutput(); err != nil {
		t.Skipf("this system does not let us mount: %v: %s", err, out)
	}
	return data
}

// unmount ends a mount of mountSmall; deferred, it comes before the clean-up
// of the test's directory and after the server's end.
func unmount(t *testing.T, data string) {
	if err := syscall.Unmount(data, syscall.MNT_DETACH); err != nil {
		t.Errorf("unmount: %v", err)
	}
}

// fill takes all room on a file system and gives it back when told.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	assert.NilError(t, err)
	chunk := make([]byte, 4<<10)
	for err == nil {
		_, err = f.Write(chunk)
	}
	assert.Assert(t, errors.Is(err, syscall.ENOSPC), "%v", err)
	_ = f.Close()
	return func() { assert.NilError(t, os.Remove(path)) }
}

// TestDiskFull takes all room of the data directory while a run works. New
// work is refused with the reason, the run waits, and both go on by themselves
// when there is room again.
func TestDiskFull(t *testing.T) {
	go_ := filepath.Join(t.TempDir(), "go")
	s := newServer(t, shell("echo started; until test -e "+go_+"; do sleep 0.1; done; seq 1 20000", "echo over"), "lease: 5m\n")
	data := mountSmall(t, s, "size=64m,mode=700")
	t.Cleanup(func() { unmount(t, data) })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s.Start()
	defer func() { assert.Check(t, s.Stop()) }()
	c := s.Client()
	run, err := c.Submit(ctx, oz.Request{Prompt: "Work for a while."})
	assert.NilError(t, err)
	output(ctx, t, c, run.ID, "started")

	free := fill(t, data)
	hasty, err := client.New(s.URL, &client.Options{APIKey: servertest.APIKey, MaxRetries: -1})
	assert.NilError(t, err)
	var refused *task.Error
	for { // what the database has left in its own file may take a few
		_, err := hasty.Submit(ctx, oz.Request{Prompt: strings.Repeat("More work. ", 1000)})
		if errors.As(err, &refused) {
			break
		}
		assert.NilError(t, err)
	}
	assert.Equal(t, refused.Code, task.CodeResourceUnavailable)
	assert.Assert(t, refused.Code.Retryable())
	assert.Assert(t, strings.Contains(refused.Message, "full"), "says what to do: %s", refused.Message)
	assert.NilError(t, os.WriteFile(go_, nil, 0o600)) // the run writes into the full disk
	_, err = c.Get(ctx, run.ID)
	assert.NilError(t, err, "reads go on")

	free()
	got, events := ended(ctx, t, c, run.ID)
	assert.Equal(t, got.State, task.StateSucceeded, "%s", got.Status.Message)
	assert.Equal(t, got.Executions, 1, "the run was paused, not lost")
	assert.Assert(t, len(events) > 0)
	again, err := c.Submit(ctx, oz.Request{Prompt: "And now?"})
	assert.NilError(t, err)
	got, _ = ended(ctx, t, c, again.ID)
	assert.Equal(t, got.State, task.StateSucceeded, "%s", got.Status.Message)
}

// TestReadOnlyData: a server that cannot write says so at its start.
func TestReadOnlyData(t *testing.T) {
	s := newServer(t, shell(), "")
	data := mountSmall(t, s, "size=1m,ro")
	defer unmount(t, data)
	cmd := exec.Command(program, "--config", filepath.Join(s.Dir, "ozd.yaml"))
	cmd.Env = servertest.Environ("OZ_BOOTSTRAP_API_KEY=" + servertest.APIKey)
	out, err := cmd.CombinedOutput()
	assert.Assert(t, err != nil, "it started")
	assert.Assert(t, strings.Contains(string(out), "read-only") && strings.Contains(string(out), data), "%s", out)
}

// maxFlooded bounds the memory of a process that floods pass through: far
// below the flood. The floor of the programs is 40 to 70 MiB.
const maxFlooded = 300 << 20

// TestFlood lets an agent print more than 1 GiB. The run goes on, and neither
// the server nor the runner keeps it.
func TestFlood(t *testing.T) {
	const flood = 1100 << 20
	s := newServer(t, shell(fmt.Sprintf("yes 'an agent that prints and prints and prints' | head -c %d", flood), "echo over"), "")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s.Start()
	c := s.Client()
	run, err := c.Submit(ctx, oz.Request{Prompt: "Print."})
	assert.NilError(t, err)
	var runner int
	await(ctx, t, "the runner runs", func() bool {
		for _, p := range s.Runners() {
			id, args, _ := strings.Cut(p, " ")
			if strings.Contains(args, string(run.ID)) {
				runner, _ = strconv.Atoi(id)
			}
		}
		return runner != 0
	})
	peak := int64(0)
	await(ctx, t, "the runner has ended", func() bool {
		now := memory(runner, "VmHWM")
		peak = max(peak, now)
		return now == 0
	})
	got, events := ended(ctx, t, c, run.ID)
	assert.Equal(t, got.State, task.StateSucceeded, "%s", got.Status.Message)
	server := memory(pid(t, s), "VmHWM")
	t.Logf("peaks for %d MiB printed: runner %d MiB, server %d MiB; %d events", flood>>20, peak>>20, server>>20, len(events))
	assert.Assert(t, peak > 0 && peak < maxFlooded, "the runner took %d MiB", peak>>20)
	assert.Assert(t, server < maxFlooded, "the server took %d MiB", server>>20)
	size := int64(0)
	_ = filepath.WalkDir(filepath.Join(s.Dir, "data"), func(path string, d fs.DirEntry, err error) error {
		if info, err := os.Lstat(path); err == nil && !d.IsDir() {
			size += info.Size()
		}
		return nil // what is being removed is not there
	})
	assert.Assert(t, size < maxFlooded, "the data directory has %d MiB", size>>20)
}

// TestSlowSubscriber: one who asks for a run's events and never reads them
// holds up neither the run nor the others, and costs little memory.
func TestSlowSubscriber(t *testing.T) {
	var commands []string
	for i := range 9 {
		commands = append(commands, fmt.Sprintf("seq %d00000 %d99999", i+1, i+1))
	}
	s := newServer(t, shell(commands...), "")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s.Start()
	c := s.Client()
	run, err := c.Submit(ctx, oz.Request{Prompt: "Print a lot."})
	assert.NilError(t, err)
	const sleepers = 20
	for range sleepers {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		assert.NilError(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "GET /api/v1/agent/runs/%s/events HTTP/1.1\r\nHost: oz\r\nAccept: text/event-stream\r\nAuthorization: Bearer %s\r\n\r\n", run.ID, servertest.APIKey)
		assert.NilError(t, err)
	}
	got, events := ended(ctx, t, c, run.ID)
	assert.Equal(t, got.State, task.StateSucceeded, "%s", got.Status.Message)
	bytes := 0
	for _, e := range events {
		if p, ok := e.Payload.(*task.ToolOutput); ok {
			bytes += len(p.Text)
		}
	}
	assert.Assert(t, bytes > 4<<20, "the run printed %d bytes: too little to hold up anybody", bytes)
	server := memory(pid(t, s), "VmHWM")
	t.Logf("%d MiB of events, %d readers that do not read: the server's peak is %d MiB", bytes>>20, sleepers, server>>20)
	assert.Assert(t, server < maxFlooded, "the server took %d MiB", server>>20)
}
