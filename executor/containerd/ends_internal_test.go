//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

// TestContextEnds: a call that was cut off is known as such in each of the words that containerd, its client and its shims
// have for it.
func TestContextEnds(t *testing.T) {
	for text, want := range map[string]error{
		"context deadline exceeded: unknown":              context.DeadlineExceeded,
		"rpc error: code = DeadlineExceeded desc = slow":  context.DeadlineExceeded,
		"failed to start: context canceled: unknown":      context.Canceled,
		"rpc error: code = Canceled desc = going away":    context.Canceled,
		"rpc error: code = Unavailable desc = no service": nil,
	} {
		err := errors.New(text)
		assert.Equal(t, contextEnd(err), want, text)
		if want != nil {
			assert.ErrorIs(t, plainError(err), want)
			assert.ErrorContains(t, plainError(err), text)
		}
	}
	assert.Equal(t, contextEnd(nil), nil)
}

// TestEnvironment: a process that becomes another program over and over always has its environment, and one that has ended
// is not there.
func TestEnvironment(t *testing.T) {
	text := `[ -e "$2" ] && exec /bin/sh -c "$0" "$0" x "$2"`
	flag := filepath.Join(t.TempDir(), "go-on")
	assert.NilError(t, os.WriteFile(flag, nil, 0o600))
	cmd := exec.Command("/bin/sh", "-c", text, text, "x", flag)
	cmd.Env = []string{"ONE=1", "TWO="}
	assert.NilError(t, cmd.Start())
	for range 3000 {
		env, err := environment(t.Context(), cmd.Process.Pid)
		assert.NilError(t, err)
		assert.Assert(t, slices.Contains(env, "ONE=1") && slices.Contains(env, "TWO="), "%q", env)
	}
	assert.NilError(t, os.Remove(flag))
	for { // it becomes a zombie
		at, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		assert.NilError(t, err)
		if strings.Contains(string(at), ") Z ") {
			break
		}
		time.Sleep(time.Millisecond)
	}
	_, err := environment(t.Context(), cmd.Process.Pid)
	assert.Assert(t, err != nil)
	_ = cmd.Wait()
}

func TestParseEnvironment(t *testing.T) {
	assert.DeepEqual(t, parseEnvironment([]byte("A=1\x00=2\x00\x00title\x00B=\x00C=x=y")), []string{"A=1", "B=", "C=x=y"})
	assert.Assert(t, parseEnvironment(nil) == nil)
}
