package executortest

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
)

// The cases of what only some drivers can do. Those that a driver does not claim are skipped; that it refuses them is the
// case Unsupported.
var placeCases = map[string]func(*testing.T, Harness){
	"ImageMissing":       imageMissing,
	"MountReadOnly":      mountReadOnly,
	"MountWritable":      mountWritable,
	"MountMissing":       mountMissing,
	"UserNumber":         userNumber,
	"UserUnknown":        userUnknown,
	"NetworkNone":        networkNone,
	"OwnFileSystem":      ownFileSystem,
	"MemoryLimit":        memoryLimit,
	"ProcessLimit":       processLimit,
	"DiskLimit":          diskLimit,
	"ExecStreams":        execStreams,
	"ExecEndsWith":       execEndsWith,
	"ExecContext":        execContext,
	"HiddenChildrenMany": hiddenChildrenMany,
	"WarmIgnored":        warmIgnored,
}

// needs skips a case that the driver does not claim.
func needs(t *testing.T, e executor.Executor, what string, has func(executor.Capabilities) bool) {
	t.Helper()
	if !has(executor.CapabilitiesOf(e)) {
		t.Skipf("the driver has no %s", what)
	}
}

func imageMissing(t *testing.T, h Harness) {
	e := h.Open(t)
	needs(t, e, "images", func(c executor.Capabilities) bool { return c.Images })
	spec := script("x", "exit 0")
	spec.Image = executor.Image{Reference: "registry.invalid/no/such:image", Pull: executor.PullNever}
	_, err := e.Start(newContext(t), spec)
	assert.ErrorIs(t, err, executor.ErrImage)
	assert.ErrorContains(t, err, "registry.invalid/no/such:image")
	ids, err := e.List(newContext(t))
	assert.NilError(t, err)
	assert.Equal(t, len(ids), 0)
}

// mounted is a directory of the host with a file, which everybody may write to.
func mounted(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "f"), []byte("precious\n"), 0o666))
	assert.NilError(t, os.Chmod(filepath.Join(dir, "f"), 0o666))
	assert.NilError(t, os.Chmod(dir, 0o777))
	return dir
}

func mountReadOnly(t *testing.T, h Harness) {
	e := h.Open(t)
	needs(t, e, "mounts", func(c executor.Capabilities) bool { return c.Mounts })
	spec := script("x", "cat /mounted/f; (echo x > /mounted/f) 2>/dev/null || echo refused")
	spec.Mounts = []executor.Mount{{Source: mounted(t), Target: "/mounted"}}
	assert.Equal(t, run(t, e, spec), "precious\nrefused\n")
}

func mountWritable(t *testing.T, h Harness) {
	e := h.Open(t)
	needs(t, e, "mounts", func(c executor.Capabilities) bool { return c.Mounts })
	dir := mounted(t)
	spec := script("x", "echo changed > /mounted/f")
	spec.Mounts = []executor.Mount{{Source: dir, Target: "/mounted", Writable: true}}
	run(t, e, spec)
	data, err := os.ReadFile(filepath.Join(dir, "f"))
	assert.NilError(t, err)
	assert.Equal(t, string(data), "changed\n")
}

func mountMissing(t *testing.T, h Harness) {
	e := h.Open(t)
	needs(t, e, "mounts", func(c executor.Capabilities) bool { return c.Mounts })
	spec := script("x", "exit 0")
	spec.Mounts = []executor.Mount{{Source: filepath.Join(t.TempDir(), "missing"), Target: "/mounted"}}
	_, err := e.Start(newContext(t), spec)
	assert.ErrorIs(t, err, executor.ErrInvalidSpec)
	assert.ErrorContains(t, err, "Source")
}

func userNumber(t *testing.T, h Harness) {
	e := h.Open(t)
	needs(t, e, "users", func(c executor.Capabilities) bool { return c.Users })
	spec := script("x", `id -u; test "$(ls -A "$HOME")" = "" && : > "$HOME/f" && : > f && : > "$TMPDIR/f" && echo writable`)
	spec.User = "4711"
	assert.Equal(t, run(t, e, spec), "4711\nwritable\n")
}

func userUnknown(t *testing.T, h Harness) {
	e := h.Open(t)
	needs(t, e, "users", func(c executor.Capabilities) bool { return c.Users })
	spec := script("x", "exit 0")
	spec.User = "nobody-has-this-name"
	_, err := e.Start(newContext(t), spec)
	assert.ErrorContains(t, err, spec.User)
}

func networkNone(t *testing.T, h Harness) {
	e := h.Open(t)
	needs(t, e, "network of its own", func(c executor.Capabilities) bool { return slices.Contains(c.Networks, executor.NetworkNone) })
	spec := script("x", `tr -d ' ' < /proc/net/dev | while IFS=: read -r name rest; do case "$name" in Inter*|face*) ;; *) echo "$name";; esac; done`)
	spec.Network = executor.NetworkNone
	for _, name := range strings.Fields(run(t, e, spec)) {
		assert.Assert(t, name == "lo" || !strings.HasPrefix(name, "e"), "a device %s", name)
	}
}

func ownFileSystem(t *testing.T, h Harness) {
	e := h.Open(t)
	needs(t, e, "file system of its own", func(c executor.Capabilities) bool { return c.OwnFiles })
	spec := script("a", "echo mine > /tmp/shared; cat /tmp/shared")
	assert.Equal(t, run(t, e, spec), "mine\n")
	assert.Equal(t, run(t, e, script("b", "test -e /tmp/shared || echo none")), "none\n")
}

// enforced starts a spec and skips the case if a limit of it does not hold.
func enforced(t *testing.T, e executor.Executor, spec executor.Spec, holds func(executor.Limits) bool) executor.Sandbox {
	t.Helper()
	s := start(t, e, spec)
	if !holds(s.Limits()) {
		assert.NilError(t, s.Stop(newContext(t), 0))
		t.Skip("the driver does not enforce this limit here")
	}
	return s
}

// memoryLimit: who eats all memory is killed, and it is told so.
func memoryLimit(t *testing.T, h Harness) {
	// Small pieces and not for ever, in case that the limit does not hold.
	spec := script("x", `x=0123456789abcdef; while [ ${#x} -lt 500000000 ]; do x=$x$x; done; sleep 1000`)
	spec.Limits.Memory = 64 << 20
	exit := wait(t, enforced(t, h.Open(t), spec, func(l executor.Limits) bool { return l.Memory > 0 }))
	assert.Equal(t, exit, executor.Exit{Code: 137, Signal: syscall.SIGKILL, OOM: true})
}

// processLimit: who starts too many processes gets no more.
func processLimit(t *testing.T, h Harness) {
	spec := script("x", `i=0; while [ $i -lt 300 ]; do sleep 1000 & i=$((i+1)); done; echo all`)
	spec.Limits.Processes = 60
	s := enforced(t, h.Open(t), spec, func(l executor.Limits) bool { return l.Processes > 0 })
	r, err := s.Output(newContext(t))
	assert.NilError(t, err)
	defer r.Close()
	buf := make([]byte, 4096)
	n, err := r.Read(buf)
	assert.NilError(t, err)
	assert.Assert(t, !bytes.HasPrefix(buf[:n], []byte("all")))
}

// diskLimit: who writes too much is killed, and it is told so.
func diskLimit(t *testing.T, h Harness) {
	spec := script("x", `i=0; while [ $i -lt 600 ]; do head -c 1000000 /dev/zero >> full; i=$((i+1)); sleep 0.02; done; sleep 1000`)
	spec.Limits.Disk = 8 << 20
	exit := wait(t, enforced(t, h.Open(t), spec, func(l executor.Limits) bool { return l.Disk > 0 }))
	assert.Equal(t, exit, executor.Exit{Code: 137, Signal: syscall.SIGKILL, Disk: true})
}

// execer starts a sandbox in which further commands can be run.
func execer(t *testing.T, h Harness) (executor.Sandbox, executor.Execer) {
	t.Helper()
	e := h.Open(t)
	needs(t, e, "exec", func(c executor.Capabilities) bool { return c.Exec })
	spec := script("x", "echo kept > file; echo ready; exec sleep 1000")
	spec.Env = []string{"FROM_SPEC=yes"}
	s := start(t, e, spec)
	assert.Equal(t, follow(t, s).next(), "ready")
	x, ok := s.(executor.Execer)
	assert.Assert(t, ok, "the driver claims Exec")
	return s, x
}

func execStreams(t *testing.T, h Harness) {
	_, x := execer(t, h)
	var stdout, stderr bytes.Buffer
	exit, err := x.Exec(newContext(t), executor.ExecSpec{Command: []string{"sh", "-c", `cat file; cat; echo "$FROM_SPEC $MORE"; echo bad >&2; exit 7`},
		Env: []string{"MORE=too"}, Stdin: strings.NewReader("typed\n"), Stdout: &stdout, Stderr: &stderr})
	assert.NilError(t, err)
	assert.Equal(t, exit, executor.Exit{Code: 7})
	assert.Equal(t, stdout.String(), "kept\ntyped\nyes too\n")
	assert.Equal(t, stderr.String(), "bad\n")
}

func execEndsWith(t *testing.T, h Harness) {
	s, x := execer(t, h)
	assert.NilError(t, s.Stop(newContext(t), 0))
	_, err := x.Exec(newContext(t), executor.ExecSpec{Command: []string{"true"}})
	assert.ErrorIs(t, err, executor.ErrNotFound)
}

func execContext(t *testing.T, h Harness) {
	_, x := execer(t, h)
	ctx, cancel := contextFor(t, 200*time.Millisecond)
	defer cancel()
	mark := marker()
	_, err := x.Exec(ctx, executor.ExecSpec{Command: []string{"sh", "-c", "sleep 1000; :", mark}})
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Equal(t, h.marked(t, mark), 0, "the command is left over")
}

// hiddenChildrenMany: cancelling leaves no process, many times over and several at once.
func hiddenChildrenMany(t *testing.T, h Harness) {
	e := h.Open(t)
	tries := 20
	if testing.Short() {
		tries = 4
	}
	mark := marker()
	for range tries {
		s := start(t, e, script("x", trees["Daemon"]+"\n"+trees["CleanDaemon"]+grown+"while :; do sleep 1000; done", mark))
		assert.Equal(t, follow(t, s).next(), "grown")
		assert.NilError(t, s.Stop(newContext(t), 0))
		assert.Equal(t, h.marked(t, mark), 0, "processes are left over")
		assert.NilError(t, s.Remove(newContext(t)))
		assert.NilError(t, e.RemoveWorkspace(newContext(t), "w-x"))
	}
}

// warmIgnored: a driver may keep states or not; the sandbox is the one that was asked for, and says from what it came.
func warmIgnored(t *testing.T, h Harness) {
	e := h.Open(t)
	spec := script("x", "echo hello")
	spec.Warm = &executor.Warm{Key: strings.Repeat("ab", 16), Prepare: []string{"true"}}
	s := start(t, e, spec)
	assert.Equal(t, output(t, s), "hello\n")
	if executor.OriginOf(s) != executor.OriginCold {
		needs(t, e, "warm states, but claims to have used one", func(c executor.Capabilities) bool { return c.Warm })
	}
}
