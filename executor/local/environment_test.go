//go:build linux

package local_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/local"
)

func TestCleanEnvironment(t *testing.T) {
	for _, name := range []string{"LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		t.Setenv(name, "")
		assert.NilError(t, os.Unsetenv(name))
	}
	t.Setenv("PATH", "/usr/bin:/bin")
	t.Setenv("TZ", "Europe/Berlin")
	t.Setenv("OZ_TEST_SECRET", "canary")
	t.Setenv("GODEBUG", "asyncpreemptoff=0")
	root := newRoot(t)
	home := func(id, name string) string { return filepath.Join(root, "sandboxes", id, name) }
	variables := func(id string, opts *local.Options, env ...string) []string {
		spec := script(id, "")
		// The program itself, not a shell, which has variables of its own.
		spec.Command = []string{"env"}
		spec.Env = env
		lines := strings.Split(strings.TrimSuffix(output(t, start(t, open(t, root, opts), spec)), "\n"), "\n")
		slices.Sort(lines)
		return lines
	}
	assert.DeepEqual(t, variables("default", nil, "A=1", "PATH=/bin:/usr/bin", "A=2"), []string{
		"A=2", "HOME=" + home("default", "home"), "OZ_SANDBOX_ID=default", "PATH=/bin:/usr/bin",
		"TMPDIR=" + home("default", "tmp"), "TZ=Europe/Berlin",
	})
	assert.DeepEqual(t, variables("none", &local.Options{InheritEnv: []string{}}), []string{
		"HOME=" + home("none", "home"), "OZ_SANDBOX_ID=none",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=" + home("none", "tmp"),
	})
	assert.DeepEqual(t, variables("chosen", &local.Options{InheritEnv: []string{"OZ_TEST_SECRET", "NOT_SET"}}, "PATH=/bin"), []string{
		"HOME=" + home("chosen", "home"), "OZ_SANDBOX_ID=chosen", "OZ_TEST_SECRET=canary", "PATH=/bin",
		"TMPDIR=" + home("chosen", "tmp"),
	})
}

// TestInheritedState: what a process has beside its environment.
func TestInheritedState(t *testing.T) {
	// A descriptor that this process got without close-on-exec, as from a careless parent.
	fd, err := syscall.Open("/etc/passwd", syscall.O_RDONLY, 0)
	assert.NilError(t, err)
	defer syscall.Close(fd)
	s := start(t, open(t, newRoot(t), nil), script("x", `
		ls /proc/$$/fd
		umask
		# Not by another program: a shell that waits for one blocks signals.
		while read -r key value; do
			case $key in NoNewPrivs: | SigIgn: | SigBlk:) echo "$key $value" ;; esac
		done < /proc/$$/status
		cat /proc/$$/oom_score_adj
		read -r pid name state parent group session terminal rest < /proc/$$/stat
		test "$session" = $$ && test "$group" = $$ && test "$terminal" = 0 && echo own session
		pwd`))
	lines := strings.Split(output(t, s), "\n")
	for i := range lines {
		lines[i] = strings.Join(strings.Fields(lines[i]), " ")
		// Signals 32 and 33 are glibc's own, which programs like make leave ignored in what they start.
		if mask, ok := strings.CutPrefix(lines[i], "SigIgn: "); ok {
			bits, err := strconv.ParseUint(mask, 16, 64)
			assert.NilError(t, err)
			lines[i] = fmt.Sprintf("SigIgn: %016x", bits&^(1<<31|1<<32))
		}
	}
	assert.DeepEqual(t, lines, []string{
		"0", "1", "2", "0077", "SigBlk: 0000000000000000", "SigIgn: 0000000000000000", "NoNewPrivs: 1", "500", "own session", s.Dir(), "",
	})
}
