package executortest

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
)

var lifecycleCases = map[string]func(*testing.T, Harness){
	"ExitStatus":          exitStatus,
	"InvalidSpec":         invalidSpec,
	"Unsupported":         unsupported,
	"CommandNotFound":     commandNotFound,
	"UnknownID":           unknownID,
	"StartTwice":          startTwice,
	"StartCancelled":      startCancelled,
	"StartAtOnce":         startAtOnce,
	"List":                list,
	"Signal":              signal,
	"SignalUnsupported":   signalUnsupported,
	"WaitByMany":          waitByMany,
	"WaitEndsWithContext": waitEndsWithContext,
	"StopWithGrace":       stopWithGrace,
	"StopWithoutGrace":    stopWithoutGrace,
	"StopEnded":           stopEnded,
	"Reopen":              reopen,
	"ReopenEnded":         reopenEnded,
	"Remove":              remove,
	"RemoveRunning":       removeRunning,
	"AfterRemove":         afterRemove,
	"CancelledContext":    cancelledContext,
}

func exitStatus(t *testing.T, h Harness) {
	e := h.Open(t)
	for _, tt := range []struct {
		name, script string
		want         executor.Exit
	}{
		{"zero", "exit 0", executor.Exit{}},
		{"three", "exit 3", executor.Exit{Code: 3}},
		{"highest", "exit 255", executor.Exit{Code: 255}},
		{"term", "kill -TERM $$", executor.Exit{Code: 128 + 15, Signal: syscall.SIGTERM}},
		{"kill", "kill -KILL $$", executor.Exit{Code: 128 + 9, Signal: syscall.SIGKILL}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := wait(t, start(t, e, script(tt.name, tt.script)))
			assert.Equal(t, got, tt.want)
			assert.Equal(t, got.Success(), tt.name == "zero")
		})
	}
}

func invalidSpec(t *testing.T, h Harness) {
	e := h.Open(t)
	for _, tt := range []struct {
		name   string
		change func(*executor.Spec)
		field  string // named by the error
	}{
		{"no ID", func(s *executor.Spec) { s.ID = "" }, "ID"},
		{"dots", func(s *executor.Spec) { s.ID = ".." }, "ID"},
		{"traversal", func(s *executor.Spec) { s.ID = "../../x" }, "ID"},
		{"slash", func(s *executor.Spec) { s.ID = "a/b" }, "ID"},
		{"dash first", func(s *executor.Spec) { s.ID = "-rf" }, "ID"},
		{"NUL", func(s *executor.Spec) { s.ID = "a\x00" }, "ID"},
		{"long ID", func(s *executor.Spec) { s.ID = strings.Repeat("a", executor.MaxNameLen+1) }, "ID"},
		{"no workspace", func(s *executor.Spec) { s.Workspace = "" }, "Workspace"},
		{"workspace traversal", func(s *executor.Spec) { s.Workspace = "../sandboxes" }, "Workspace"},
		{"no command", func(s *executor.Spec) { s.Command = nil }, "Command"},
		{"empty command", func(s *executor.Spec) { s.Command = []string{""} }, "Command"},
		{"NUL in argument", func(s *executor.Spec) { s.Command = []string{"sh", "\x00"} }, "Command[1]"},
		{"long argument", func(s *executor.Spec) {
			s.Command = []string{"sh", strings.Repeat("a", executor.MaxStringLen+1)}
		}, "Command[1]"},
		{"no equals sign", func(s *executor.Spec) { s.Env = []string{"A=1", "B"} }, "Env[1]"},
		{"no name", func(s *executor.Spec) { s.Env = []string{"=1"} }, "Env[0]"},
		{"NUL in value", func(s *executor.Spec) { s.Env = []string{"A=secret\x00"} }, "A"},
		{"HOME", func(s *executor.Spec) { s.Env = []string{"HOME=/root"} }, "HOME"},
		{"too much", func(s *executor.Spec) {
			s.Env = slices.Repeat([]string{"A=" + strings.Repeat("a", 100_000)}, 12)
		}, "Env"},
		{"long stdin", func(s *executor.Spec) { s.Stdin = make([]byte, executor.MaxStdinLen+1) }, "Stdin"},
		{"negative limit", func(s *executor.Spec) { s.Limits.Memory = -1 }, "Limits"},
		{"negative disk", func(s *executor.Spec) { s.Limits.Disk = -1 }, "Limits"},
		{"image with a blank", func(s *executor.Spec) { s.Image.Reference = "a b" }, "Image.Reference"},
		{"long image", func(s *executor.Spec) { s.Image.Reference = strings.Repeat("a", executor.MaxImageLen+1) }, "Image.Reference"},
		{"platform alone", func(s *executor.Spec) { s.Image.Platform = "linux/amd64" }, "Image.Reference"},
		{"bad platform", func(s *executor.Spec) { s.Image = executor.Image{Reference: "a", Platform: "linux"} }, "Image.Platform"},
		{"bad pull policy", func(s *executor.Spec) { s.Image = executor.Image{Reference: "a", Pull: "often"} }, "Image.Pull"},
		{"relative mount", func(s *executor.Spec) { s.Mounts = []executor.Mount{{Source: "/a", Target: "b"}} }, "Mounts[0].Target"},
		{"mount with dots", func(s *executor.Spec) { s.Mounts = []executor.Mount{{Source: "/a/../b", Target: "/b"}} }, "Mounts[0].Source"},
		{"mount over all", func(s *executor.Spec) { s.Mounts = []executor.Mount{{Source: "/a", Target: "/"}} }, "Mounts[0].Target"},
		{"many mounts", func(s *executor.Spec) { s.Mounts = make([]executor.Mount, executor.MaxMounts+1) }, "Mounts"},
		{"user with a blank", func(s *executor.Spec) { s.User = "a b" }, "User"},
		{"unknown network", func(s *executor.Spec) { s.Network = "internet" }, "Network"},
		{"many labels", func(s *executor.Spec) {
			s.Labels = map[string]string{}
			for i := range executor.MaxLabels + 1 {
				s.Labels[strconv.Itoa(i)] = ""
			}
		}, "Labels"},
		{"long label", func(s *executor.Spec) {
			s.Labels = map[string]string{"a": strings.Repeat("a", executor.MaxLabelLen+1)}
		}, "Labels"},
		{"short warm key", func(s *executor.Spec) { s.Warm = &executor.Warm{Key: "ab", Prepare: []string{"a"}} }, "Warm.Key"},
		{"warm traversal", func(s *executor.Spec) {
			s.Warm = &executor.Warm{Key: "../../../../../../", Prepare: []string{"a"}}
		}, "Warm.Key"},
		{"warm without command", func(s *executor.Spec) { s.Warm = &executor.Warm{Key: "0123456789abcdef"} }, "Warm.Prepare"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := script("x", "exit 0")
			tt.change(&spec)
			_, err := e.Start(newContext(t), spec)
			assert.ErrorIs(t, err, executor.ErrInvalidSpec)
			assert.ErrorContains(t, err, tt.field)
			assert.Assert(t, !strings.Contains(err.Error(), "secret"))
		})
	}
	ids, err := e.List(newContext(t))
	assert.NilError(t, err)
	assert.Equal(t, len(ids), 0)
}

// unsupported: what a driver does not say that it can do, it refuses, and the ID stays free.
func unsupported(t *testing.T, h Harness) {
	e := h.Open(t)
	can := executor.CapabilitiesOf(e)
	for _, tt := range []struct {
		can    bool
		field  string
		change func(*executor.Spec)
	}{
		{can.Images, "Image", func(s *executor.Spec) { s.Image.Reference = "busybox" }},
		{can.Mounts, "Mounts", func(s *executor.Spec) { s.Mounts = []executor.Mount{{Source: "/etc", Target: "/mnt"}} }},
		{can.Users, "User", func(s *executor.Spec) { s.User = "1000" }},
		{slices.Contains(can.Networks, executor.NetworkHost), "Network", func(s *executor.Spec) { s.Network = executor.NetworkHost }},
		{slices.Contains(can.Networks, executor.NetworkNone), "Network", func(s *executor.Spec) { s.Network = executor.NetworkNone }},
		{slices.Contains(can.Networks, executor.NetworkBridge), "Network", func(s *executor.Spec) { s.Network = executor.NetworkBridge }},
	} {
		if tt.can {
			continue // its own cases show it
		}
		spec := script("x", "exit 0")
		tt.change(&spec)
		_, err := e.Start(newContext(t), spec)
		assert.ErrorIs(t, err, executor.ErrUnsupported)
		assert.ErrorContains(t, err, tt.field)
		ids, err := e.List(newContext(t))
		assert.NilError(t, err)
		assert.Equal(t, len(ids), 0)
	}
}

func commandNotFound(t *testing.T, h Harness) {
	e := h.Open(t)
	for _, command := range []string{"no-such-program", "/no/such/program", "./no-such-program"} {
		spec := script("x", "")
		spec.Command = []string{command}
		_, err := e.Start(newContext(t), spec)
		assert.ErrorContains(t, err, command)
		ids, err := e.List(newContext(t))
		assert.NilError(t, err)
		assert.Equal(t, len(ids), 0, "the ID is taken")
	}
	assert.Equal(t, run(t, e, script("x", "echo now")), "now\n")
}

func unknownID(t *testing.T, h Harness) {
	e := h.Open(t)
	_, err := e.Open(newContext(t), "nobody")
	assert.ErrorIs(t, err, executor.ErrNotFound)
	_, err = e.Open(newContext(t), "../nobody")
	assert.ErrorIs(t, err, executor.ErrInvalidSpec)
}

func startTwice(t *testing.T, h Harness) {
	e := h.Open(t)
	first := start(t, e, script("x", "echo once; cat; read never <&-; exit 4"))
	second, err := e.Start(newContext(t), script("x", "echo twice"))
	assert.NilError(t, err)
	assert.Equal(t, second.ID(), "x")
	assert.Equal(t, second.Dir(), first.Dir())
	assert.Equal(t, output(t, second), "once\n")
	assert.Equal(t, wait(t, second), executor.Exit{Code: 4})
	// An ended sandbox is not started again either, by no worker.
	third, err := h.Open(t).Start(newContext(t), script("x", "echo thrice"))
	assert.NilError(t, err)
	assert.Equal(t, output(t, third), "once\n")
	assert.Equal(t, wait(t, third), executor.Exit{Code: 4})
}

func startAtOnce(t *testing.T, h Harness) {
	e := h.Open(t)
	spec := script("x", "echo started >> count; wc -l < count")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			_, err := e.Start(newContext(t), spec)
			assert.Check(t, err)
		})
	}
	group.Wait()
	s := start(t, e, spec)
	assert.Equal(t, strings.TrimSpace(output(t, s)), "1")
}

// startCancelled ends the context at various moments of a Start. Either there is a sandbox then, or nothing.
func startCancelled(t *testing.T, h Harness) {
	e := h.Open(t)
	started := 0
	for i := range 40 {
		mark := marker()
		spec := script("x", "sleep 1000; :", mark)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*250*time.Microsecond)
		s, err := e.Start(ctx, spec)
		cancel()
		if err == nil {
			started++
			assert.NilError(t, s.Remove(newContext(t)))
		} else {
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		}
		ids, err := e.List(newContext(t))
		assert.NilError(t, err)
		assert.Equal(t, len(ids), 0)
		assert.Equal(t, h.marked(t, mark), 0)
	}
	t.Logf("%d of 40 started", started)
	assert.Equal(t, run(t, e, script("x", "echo now")), "now\n")
}

func list(t *testing.T, h Harness) {
	e := h.Open(t)
	start(t, e, script("b", "exit 0"))
	start(t, e, script("a", "sleep 1000"))
	for _, e := range []executor.Executor{e, h.Open(t)} {
		ids, err := e.List(newContext(t))
		assert.NilError(t, err)
		assert.DeepEqual(t, ids, []string{"a", "b"})
		keys, err := e.Workspaces(newContext(t))
		assert.NilError(t, err)
		assert.DeepEqual(t, keys, []string{"w-a", "w-b"})
	}
}

// trapping announces itself, reports signals in the order they come and ends at SIGTERM.
const trapping = `
trap 'echo HUP' HUP; trap 'echo INT' INT; trap 'echo QUIT' QUIT; trap 'echo USR1' USR1; trap 'echo USR2' USR2
trap 'echo TERM; exit 7' TERM
echo ready
while :; do sleep 1000 & wait $!; kill $!; done`

func signal(t *testing.T, h Harness) {
	s := start(t, h.Open(t), script("x", trapping))
	out := follow(t, s)
	assert.Equal(t, out.next(), "ready")
	for _, tt := range []struct {
		signal syscall.Signal
		want   string
	}{
		{syscall.SIGHUP, "HUP"}, {syscall.SIGINT, "INT"}, {syscall.SIGQUIT, "QUIT"},
		{syscall.SIGUSR1, "USR1"}, {syscall.SIGUSR2, "USR2"}, {syscall.SIGTERM, "TERM"},
	} {
		assert.NilError(t, s.Signal(newContext(t), tt.signal))
		assert.Equal(t, out.next(), tt.want)
	}
	assert.Equal(t, wait(t, s), executor.Exit{Code: 7})
	assert.NilError(t, s.Signal(newContext(t), os.Interrupt), "ended")
}

func signalUnsupported(t *testing.T, h Harness) {
	s := start(t, h.Open(t), script("x", "sleep 1000"))
	assert.ErrorIs(t, s.Signal(newContext(t), syscall.SIGSEGV), executor.ErrUnsupportedSignal)
}

func waitByMany(t *testing.T, h Harness) {
	e := h.Open(t)
	s := start(t, e, script("x", trapping))
	assert.Equal(t, follow(t, s).next(), "ready")
	again, err := h.Open(t).Open(newContext(t), "x")
	assert.NilError(t, err)
	var group sync.WaitGroup
	for i := range 32 {
		group.Go(func() {
			exit, err := []executor.Sandbox{s, again}[i%2].Wait(newContext(t))
			assert.Check(t, err)
			assert.Check(t, exit == executor.Exit{Code: 7}, "%+v", exit)
		})
	}
	assert.NilError(t, s.Signal(newContext(t), syscall.SIGTERM))
	group.Wait()
	assert.Equal(t, wait(t, s), executor.Exit{Code: 7}, "after all")
}

func waitEndsWithContext(t *testing.T, h Harness) {
	s := start(t, h.Open(t), script("x", trapping))
	assert.Equal(t, follow(t, s).next(), "ready")
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := s.Wait(ctx)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	err = s.Stop(ctx, time.Hour)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

func stopWithGrace(t *testing.T, h Harness) {
	s := start(t, h.Open(t), script("x", trapping))
	assert.Equal(t, follow(t, s).next(), "ready")
	assert.NilError(t, s.Stop(newContext(t), patience))
	assert.Equal(t, wait(t, s), executor.Exit{Code: 7})
}

func stopWithoutGrace(t *testing.T, h Harness) {
	killed := executor.Exit{Code: 128 + 9, Signal: syscall.SIGKILL}
	e := h.Open(t)
	for name, grace := range map[string]time.Duration{"negative": -1, "none": 0, "short": 20 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			s := start(t, e, script(name, `trap '' TERM; echo ready; while :; do sleep 1000; done`))
			assert.Equal(t, follow(t, s).next(), "ready")
			assert.NilError(t, s.Stop(newContext(t), grace))
			assert.Equal(t, wait(t, s), killed)
		})
	}
}

func stopEnded(t *testing.T, h Harness) {
	s := start(t, h.Open(t), script("x", "exit 3"))
	assert.Equal(t, wait(t, s), executor.Exit{Code: 3})
	for range 2 {
		assert.NilError(t, s.Stop(newContext(t), time.Hour))
	}
	assert.Equal(t, wait(t, s), executor.Exit{Code: 3})
}

func reopen(t *testing.T, h Harness) {
	first := start(t, h.Open(t), script("x", trapping))
	assert.Equal(t, follow(t, first).next(), "ready")

	e := h.Open(t)
	s, err := e.Open(newContext(t), "x")
	assert.NilError(t, err)
	assert.Equal(t, s.ID(), "x")
	assert.Equal(t, s.Dir(), first.Dir())
	assert.Equal(t, s.Limits(), first.Limits())
	out := follow(t, s)
	assert.Equal(t, out.next(), "ready", "output from the start")
	assert.NilError(t, s.Signal(newContext(t), syscall.SIGINT))
	assert.Equal(t, out.next(), "INT")
	assert.NilError(t, s.Stop(newContext(t), patience))
	assert.Equal(t, wait(t, s), executor.Exit{Code: 7})
	assert.Equal(t, wait(t, first), executor.Exit{Code: 7})
}

func reopenEnded(t *testing.T, h Harness) {
	wait(t, start(t, h.Open(t), script("x", "echo done; exit 9")))
	s, err := h.Open(t).Open(newContext(t), "x")
	assert.NilError(t, err)
	assert.Equal(t, wait(t, s), executor.Exit{Code: 9})
	assert.Equal(t, output(t, s), "done\n")
}

func remove(t *testing.T, h Harness) {
	e := h.Open(t)
	fill := `ls -A "$HOME" "$TMPDIR" | tr -d '\n'; mkdir -p "$HOME/a/b/c" "$TMPDIR/d"; echo x > "$HOME/a/b/c/f"; chmod -R a-w "$HOME/a"`
	fresh := run(t, e, script("x", fill))
	s, err := e.Open(newContext(t), "x")
	assert.NilError(t, err)
	for range 2 {
		assert.NilError(t, s.Remove(newContext(t)))
		ids, err := e.List(newContext(t))
		assert.NilError(t, err)
		assert.Equal(t, len(ids), 0)
	}
	assert.Equal(t, run(t, e, script("x", fill)), fresh, "the ID is free, and nothing is left of the first one")
}

func removeRunning(t *testing.T, h Harness) {
	e := h.Open(t)
	mark := marker()
	s := start(t, e, script("x", `trap '' TERM HUP INT; echo ready; while :; do sleep 1000; done`, mark))
	assert.Equal(t, follow(t, s).next(), "ready")
	other, err := h.Open(t).Open(newContext(t), "x")
	assert.NilError(t, err)
	var group sync.WaitGroup
	for _, s := range []executor.Sandbox{s, s, other, other} {
		group.Go(func() { assert.Check(t, s.Remove(newContext(t))) })
	}
	group.Wait()
	assert.Equal(t, h.marked(t, mark), 0)
}

func afterRemove(t *testing.T, h Harness) {
	e := h.Open(t)
	s := start(t, e, script("x", "exit 3"))
	wait(t, s)
	assert.NilError(t, s.Remove(newContext(t)))
	assert.Equal(t, wait(t, s), executor.Exit{Code: 3})
	_, err := s.Output(newContext(t))
	assert.ErrorIs(t, err, executor.ErrNotFound)
	assert.ErrorIs(t, s.Signal(newContext(t), os.Interrupt), executor.ErrNotFound)
	assert.ErrorIs(t, s.Stop(newContext(t), 0), executor.ErrNotFound)
	_, err = e.Open(newContext(t), "x")
	assert.ErrorIs(t, err, executor.ErrNotFound)
}

func cancelledContext(t *testing.T, h Harness) {
	e := h.Open(t)
	s := start(t, e, script("x", "sleep 1000"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls := map[string]func() error{
		"Start":           func() error { _, err := e.Start(ctx, script("y", "exit 0")); return err },
		"Open":            func() error { _, err := e.Open(ctx, "x"); return err },
		"List":            func() error { _, err := e.List(ctx); return err },
		"Workspaces":      func() error { _, err := e.Workspaces(ctx); return err },
		"RemoveWorkspace": func() error { return e.RemoveWorkspace(ctx, "w-x") },
		"Output":          func() error { _, err := s.Output(ctx); return err },
		"Signal":          func() error { return s.Signal(ctx, os.Interrupt) },
		"Wait":            func() error { _, err := s.Wait(ctx); return err },
		"Stop":            func() error { return s.Stop(ctx, 0) },
		"Remove":          func() error { return s.Remove(ctx) },
	}
	for name, call := range calls {
		assert.ErrorIs(t, call(), context.Canceled, name)
	}
	ids, err := e.List(newContext(t))
	assert.NilError(t, err)
	assert.DeepEqual(t, ids, []string{"x"})
}
