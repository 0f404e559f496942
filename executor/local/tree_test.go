//go:build linux

package local_test

import (
	"os/exec"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/local"
)

// hidden leaves a daemon by all rules, which ignores SIGTERM, has forgotten its parents, session and environment and
// holds no descriptor of the sandbox; and an ordinary child.
const hidden = `
(env -i PATH="$PATH" setsid sh -c '
	(env -i PATH="$PATH" setsid sh -c "trap : TERM; exec <&- >/dev/null 2>&1; cd /; : > \"\$1\"; while :; do sleep 1000; done" "$0" "$1" &) &
' "$1" "$PWD/grown" &)
sh -c 'sleep 1000; :' "$1" &
while ! test -e grown; do sleep 0.01; done
echo ready`

const forever = "\nwhile :; do sleep 1000; done"

// comet is a process that never is: each one lives for the fraction of a millisecond that it takes to make the next
// one, in a session of its own, and leaves before anyone can look it up.
const comet = `for i in 1 2 3; do perl -e 'use POSIX; while (1) { exit if fork; POSIX::setsid() }' "$1" & done; echo ready`

func TestWholeTreeIsKilled(t *testing.T) {
	killed := executor.Exit{Code: 128 + 9, Signal: syscall.SIGKILL}
	unknown := executor.Exit{Code: -1, Unknown: true}
	for _, tt := range []struct {
		name, script string
		end          func(t *testing.T, root string, s executor.Sandbox)
		want         executor.Exit
	}{
		{"Stop", hidden + forever, func(t *testing.T, _ string, s executor.Sandbox) {
			assert.NilError(t, s.Stop(newContext(t), 0))
		}, killed},
		{"MainExits", hidden + "\nexit 3", func(t *testing.T, _ string, s executor.Sandbox) {}, executor.Exit{Code: 3}},
		{"SupervisorKilled", hidden + forever, func(t *testing.T, root string, _ executor.Sandbox) {
			assert.NilError(t, syscall.Kill(supervisorOf(t, root, "x"), syscall.SIGKILL))
		}, unknown},
		{"SupervisorKilledFromWithin", "trap 'kill -KILL $PPID' USR1" + hidden + "\nwhile :; do sleep 1000 & wait; done", func(t *testing.T, _ string, s executor.Sandbox) {
			assert.NilError(t, s.Signal(newContext(t), syscall.SIGUSR1))
		}, unknown},
		{"SupervisorStopped", hidden + forever, func(t *testing.T, root string, s executor.Sandbox) {
			assert.NilError(t, syscall.Kill(supervisorOf(t, root, "x"), syscall.SIGSTOP))
			assert.NilError(t, s.Stop(newContext(t), 0))
		}, killed},
		{"Comets", comet + forever, func(t *testing.T, _ string, s executor.Sandbox) {
			assert.NilError(t, s.Stop(newContext(t), 0))
		}, killed},
		{"CometsWithoutSupervisor", comet + forever, func(t *testing.T, root string, _ executor.Sandbox) {
			assert.NilError(t, syscall.Kill(supervisorOf(t, root, "x"), syscall.SIGKILL))
		}, unknown},
	} {
		eachIsolation(t, tt.name, func(t *testing.T, opts *local.Options) {
			if _, err := exec.LookPath("perl"); err != nil {
				t.Skip("needs perl, which comes with git")
			}
			if opts.Isolation != local.IsolationOff && tt.name == "SupervisorKilledFromWithin" {
				t.Skip("the first process of a namespace cannot be killed from within")
			}
			root := newRoot(t)
			mark := marker()
			s := start(t, open(t, root, opts), script("x", tt.script, mark))
			ready(t, s)
			tt.end(t, root, s)
			assert.Equal(t, wait(t, s), tt.want)
			assert.Equal(t, len(marked(t, mark)), 0)
			// The next worker comes to the same result.
			again, err := open(t, root, opts).Open(newContext(t), "x")
			assert.NilError(t, err)
			assert.Equal(t, wait(t, again), tt.want)
		})
	}
}

// TestSupervisorKilledWhileWaiting: whoever waits learns of it.
func TestSupervisorKilledWhileWaiting(t *testing.T) {
	root := newRoot(t)
	s := start(t, open(t, root, nil), script("x", "echo ready"+forever))
	ready(t, s)
	results := make(chan executor.Exit)
	for range 4 {
		go func() {
			exit, err := s.Wait(newContext(t))
			assert.Check(t, err)
			results <- exit
		}()
	}
	assert.NilError(t, syscall.Kill(supervisorOf(t, root, "x"), syscall.SIGKILL))
	for range 4 {
		assert.Equal(t, <-results, executor.Exit{Code: -1, Unknown: true})
	}
	assert.Equal(t, output(t, s), "ready\n")
}
