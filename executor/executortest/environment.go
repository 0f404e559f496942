package executortest

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor"
)

var environmentCases = map[string]func(*testing.T, Harness){
	"CleanEnvironment":    cleanEnvironment,
	"EnvironmentOverride": environmentOverride,
	"OwnDirectories":      ownDirectories,
	"Stdin":               stdin,
	"StdinUnread":         stdinUnread,
	"StdinIsPrivate":      stdinIsPrivate,
	"Limits":              limits,
}

func cleanEnvironment(t *testing.T, h Harness) {
	t.Setenv("OZ_TEST_WORKER_SECRET", "canary")
	e := h.Open(t)
	spec := script("x", "env")
	spec.Env = []string{"A=1", "B=two words\nand a line", "EMPTY=", "A=last"}
	out := "\n" + run(t, e, spec)
	for _, want := range []string{"A=last", "B=two words\nand a line", "EMPTY=", "OZ_SANDBOX_ID=x"} {
		assert.Check(t, cmp.Contains(out, "\n"+want+"\n"))
	}
	assert.Check(t, !strings.Contains(out, "canary"), out)
	assert.Check(t, !strings.Contains(out, "A=1"), out)
	assert.Check(t, cmp.Contains(out, "\nPATH=/"))
}

func environmentOverride(t *testing.T, h Harness) {
	spec := script("x", "hello")
	spec.Env = []string{"PATH=" + os.Getenv("PATH") + ":/no/such/dir", "LANG=C.UTF-8"}
	spec.Command = []string{"sh", "-c", `echo "$PATH" "$LANG"`}
	assert.Equal(t, run(t, h.Open(t), spec), os.Getenv("PATH")+":/no/such/dir C.UTF-8\n")
}

func ownDirectories(t *testing.T, h Harness) {
	e := h.Open(t)
	text := `
	for d in "$HOME" "$TMPDIR" "$PWD"; do test -z "$(ls -A "$d")" && echo x > "$d/file" || echo "bad: $d"; done
	echo "$HOME"; echo "$TMPDIR"; pwd`
	a := strings.Split(strings.TrimSpace(run(t, e, script("a", text))), "\n")
	b := strings.Split(strings.TrimSpace(run(t, e, script("b", text))), "\n")
	assert.Equal(t, len(a), 3, "%q", a)
	assert.Equal(t, len(b), 3, "%q", b)
	for _, dir := range slices.Concat(a, b) {
		assert.Check(t, filepath.IsAbs(dir), dir)
	}
	// With a file system of its own each sandbox may have the same paths: that the second found them empty is enough.
	dirs, want := slices.Concat(a, b), 6
	if executor.CapabilitiesOf(e).OwnFiles {
		dirs, want = a, 3
	}
	dirs = slices.Sorted(slices.Values(dirs))
	assert.Equal(t, len(slices.Compact(dirs)), want, "shared: %q", dirs)
	s, err := e.Open(newContext(t), "a")
	assert.NilError(t, err)
	assert.Equal(t, s.Dir(), a[2])
}

func stdin(t *testing.T, h Harness) {
	e := h.Open(t)
	assert.Equal(t, run(t, e, script("none", "cat; echo end")), "end\n")

	spec := script("small", "cat; echo end")
	spec.Stdin = []byte("to\x00ken\n")
	assert.Equal(t, run(t, e, spec), "to\x00ken\nend\n")
	assert.DeepEqual(t, spec.Stdin, []byte("to\x00ken\n"))

	spec = script("large", "wc -c")
	spec.Stdin = bytes.Repeat([]byte{'x'}, executor.MaxStdinLen)
	assert.Equal(t, strings.TrimSpace(run(t, e, spec)), strconv.Itoa(executor.MaxStdinLen))
}

func stdinUnread(t *testing.T, h Harness) {
	spec := script("x", "exit 3")
	spec.Stdin = bytes.Repeat([]byte{'x'}, executor.MaxStdinLen)
	assert.Equal(t, wait(t, start(t, h.Open(t), spec)), executor.Exit{Code: 3})
}

// stdinIsPrivate looks for the token where others could read it, while the command runs that has read it.
func stdinIsPrivate(t *testing.T, h Harness) {
	token := "token-" + marker()
	// The read is a builtin, so the token gets into no argument of a child.
	spec := script("x", `read -r token; echo "${#token}"; cat /proc/$$/cmdline /proc/$$/environ | tr '\0' '\n'; echo; echo done
		read never; exec sleep 1000`)
	spec.Stdin = []byte(token + "\n")
	s := start(t, h.Open(t), spec)
	out := follow(t, s)
	assert.Equal(t, out.next(), strconv.Itoa(len(token)))
	for line := ""; line != "done"; line = out.next() {
		assert.Assert(t, !strings.Contains(line, token))
	}
	assert.Equal(t, h.marked(t, token), 0, "in an argument")
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	assert.NilError(t, err)
	for _, path := range paths {
		data, _ := os.ReadFile(path) // it may end
		assert.Assert(t, !bytes.Contains(data, []byte(token)), path)
	}
}

func limits(t *testing.T, h Harness) {
	spec := script("x", "ulimit -n")
	spec.Limits = executor.Limits{Memory: 256 << 20, Processes: 100, CPUs: 0.5, OpenFiles: 200}
	e := h.Open(t)
	s := start(t, e, spec)
	out := strings.TrimSpace(output(t, s))
	assert.Equal(t, wait(t, s), executor.Exit{})
	got := s.Limits()
	if got.OpenFiles != 0 {
		assert.Equal(t, out, strconv.Itoa(got.OpenFiles))
		assert.Equal(t, got.OpenFiles, 200)
	}
	for _, held := range []bool{
		got.Memory == 0 || got.Memory == spec.Limits.Memory,
		got.Processes == 0 || got.Processes == spec.Limits.Processes,
		got.CPUs == 0 || got.CPUs == spec.Limits.CPUs,
	} {
		assert.Check(t, held, "%+v", got)
	}

	spec = script("huge", "exit 0")
	spec.Limits = executor.Limits{Memory: 1 << 62, Processes: 1 << 30, CPUs: 1e6, OpenFiles: 1 << 30}
	assert.Equal(t, wait(t, start(t, e, spec)), executor.Exit{}, "limits beyond what the host has fail no run")
	assert.Equal(t, start(t, e, script("none", "exit 0")).Limits(), executor.Limits{})
}
