package ozagent_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	"github.com/oz-platform/cloudagents/task"
)

func TestRunCommand(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true})
	b := openBench(t, lab)
	assert.NilError(t, os.Mkdir(filepath.Join(lab.Root, "sub"), 0o755))
	for _, tt := range []struct {
		name  string
		in    object
		state task.ToolState
		exit  any
		want  string
	}{
		{"ok", object{"command": "echo out; echo err >&2"}, task.ToolCompleted, 0.0, "exit code 0\nout\nerr\n"},
		{"exit code", object{"command": "exit 3"}, task.ToolCompleted, 3.0, "exit code 3"},
		{"signal", object{"command": "kill -9 $$"}, task.ToolCompleted, 137.0, "exit code 137"},
		{"cwd", object{"command": "basename $PWD", "cwd": "sub"}, task.ToolCompleted, 0.0, "sub\n"},
		{"no input", object{"command": "cat"}, task.ToolCompleted, 0.0, "exit code 0"},
		{"not UTF-8", object{"command": `printf 'a\377b\000c'`}, task.ToolCompleted, 0.0, "a\ufffdbc"},
		{"not found", object{"command": "no-such-program-here"}, task.ToolCompleted, 127.0, "not found"},
		{"empty", object{"command": " "}, task.ToolFailed, nil, "command is empty"},
		{"missing directory", object{"command": "true", "cwd": "nope"}, task.ToolFailed, nil, "does not exist"},
		{"directory outside", object{"command": "true", "cwd": "/etc"}, task.ToolDenied, nil, "outside the workspace"},
		{"limit too long", object{"command": "true", "timeout_seconds": 100000}, task.ToolFailed, nil, "timeout_seconds must be"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := b.call("run_command", tt.in)
			assert.Equal(t, got.State, tt.state, got.Content)
			assert.Equal(t, got.Output["exit_code"], tt.exit)
			assert.Assert(t, is.Contains(got.Content, tt.want))
		})
	}
}

// TestCommandEnvironment: the session's environment and the mark, nothing of
// the test's own process.
func TestCommandEnvironment(t *testing.T) {
	t.Setenv("OZ_TEST_LEAK", "leaked")
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true})
	got := openBench(t, lab).call("run_command", object{"command": "env -0 | tr '\\0' '\\n'"})
	var names []string
	for line := range strings.Lines(got.Content) {
		if name, _, ok := strings.Cut(line, "="); ok {
			names = append(names, name)
		}
	}
	for _, v := range lab.Env() {
		name, _, _ := strings.Cut(v, "=")
		assert.Assert(t, is.Contains(names, name))
	}
	allowed := []string{"OZ_COMMAND_ID", "PWD", "SHLVL", "_", "OLDPWD"} // the last four are the shell's own
	for _, n := range names {
		known := slices.ContainsFunc(lab.Env(), func(v string) bool { return strings.HasPrefix(v, n+"=") })
		assert.Assert(t, known || slices.Contains(allowed, n), "%s should not be there", n)
	}
}

// TestCommandTreeIsKilled: at the time limit nothing of the command's tree is
// left, also of what changed its session, forked twice or ignores signals.
func TestCommandTreeIsKilled(t *testing.T) {
	const tree = `trap '' TERM
echo $$ > self
sleep 600 & echo $! > child
setsid sh -c 'echo $$ > session; exec sleep 600' &
(setsid sh -c 'trap "" TERM HUP; echo $$ > orphan; while :; do sleep 1; done' > /dev/null 2>&1 < /dev/null &)
for f in self child session orphan; do while [ ! -s $f ]; do sleep 0.01; done; done
echo ready > ready
`
	pids := func(t *testing.T, lab *harnesstest.Lab) []string {
		var out []string
		for _, f := range []string{"self", "child", "session", "orphan"} {
			out = append(out, harnesstest.WaitForFile(t, filepath.Join(lab.Root, f)))
		}
		return out
	}
	gone := func(t *testing.T, pids []string) {
		t.Helper()
		for _, pid := range pids {
			assert.Assert(t, !harnesstest.Alive(pid), "process %s is left", pid)
		}
	}
	t.Run("time limit", func(t *testing.T) {
		lab := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true})
		got := openBench(t, lab).call("run_command", object{"command": tree + "sleep 600", "timeout_seconds": 3})
		assert.Equal(t, got.State, task.ToolFailed)
		assert.Assert(t, is.Contains(got.Content, "time limit"))
		assert.Equal(t, got.Output["status"], "timed_out")
		gone(t, pids(t, lab))
	})
	t.Run("end of the command", func(t *testing.T) {
		lab := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true})
		got := openBench(t, lab).call("run_command", object{"command": tree + "echo done"})
		assert.Equal(t, got.State, task.ToolCompleted, got.Content)
		gone(t, pids(t, lab))
	})
	t.Run("end of the context", func(t *testing.T) {
		lab := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true})
		b := openBench(t, lab)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := b.Call(ctx, "run_command", object{"command": tree + "sleep 600"}, false)
			done <- err
		}()
		harnesstest.WaitForFile(t, filepath.Join(lab.Root, "ready"))
		begun := time.Now()
		cancel()
		assert.ErrorIs(t, <-done, context.Canceled)
		assert.Assert(t, time.Since(begun) < 2*time.Second, "took %v", time.Since(begun))
		gone(t, pids(t, lab))
	})
	t.Run("background at the end of the run", func(t *testing.T) {
		lab := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true})
		b := openBench(t, lab)
		got := b.call("run_command", object{"command": tree + "sleep 600", "background": true})
		assert.Equal(t, got.Output["status"], "running", got.Content)
		harnesstest.WaitForFile(t, filepath.Join(lab.Root, "ready"))
		b.Bench.Close()
		gone(t, pids(t, lab))
	})
}

func TestBackgroundCommand(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true})
	b := openBench(t, lab)
	got := b.call("run_command", object{"command": "echo hello; while read l; do echo got $l; done; echo bye; exit 4", "background": true})
	assert.Equal(t, got.State, task.ToolCompleted, got.Content)
	id := got.Output["command_id"].(string)

	assert.Assert(t, is.Contains(b.call("write_to_command", object{"command_id": id, "input": "one\n"}).Content, "got one"))
	assert.Assert(t, !strings.Contains(b.call("command_output", object{"command_id": id}).Content, "got one"), "output is given once")
	b.call("write_to_command", object{"command_id": id, "input": "", "close": true})
	got = b.call("command_output", object{"command_id": id, "wait_seconds": 60})
	assert.Equal(t, got.Output["exit_code"], 4.0, got.Content)

	got = b.call("write_to_command", object{"command_id": id, "input": "x"})
	assert.Equal(t, got.State, task.ToolFailed, got.Content)

	got = b.call("run_command", object{"command": "sleep 600", "background": true})
	id = got.Output["command_id"].(string)
	got = b.call("stop_command", object{"command_id": id})
	assert.Equal(t, got.Output["exit_code"], 143.0, got.Content)

	for _, name := range []string{"command_output", "stop_command"} {
		got = b.call(name, object{"command_id": "cmd-99"})
		assert.Equal(t, got.State, task.ToolFailed)
		assert.Assert(t, is.Contains(got.Content, "do not survive a restart"))
	}
}

// TestLongOutput: the model gets both ends and the name of the file with all.
func TestLongOutput(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{})
	b := openBench(t, lab)
	got := b.call("run_command", object{"command": "seq 1 20000"})
	assert.Assert(t, len(got.Content) < 30<<10)
	assert.Assert(t, is.Contains(got.Content, "exit code 0\n1\n2\n"))
	assert.Assert(t, strings.HasSuffix(got.Content, "\n19999\n20000\n"))
	assert.Assert(t, is.Contains(got.Content, "bytes left out"))
	file := got.Output["output_file"].(string)
	data, err := os.ReadFile(filepath.Join(lab.Root, file))
	assert.NilError(t, err)
	var want strings.Builder
	for i := 1; i <= 20000; i++ {
		fmt.Fprintln(&want, i)
	}
	assert.Equal(t, string(data), want.String())
	got = b.call("read_files", object{"files": []object{{"path": filepath.Join(lab.Root, file), "lines": "10000-10001"}}})
	assert.Assert(t, is.Contains(got.Content, " 10000\t10000\n 10001\t10001\n"))
}

// TestSecretInOutputIsRedacted: no form of the value reaches model, log or
// file, wherever the command's writes are cut.
func TestSecretInOutputIsRedacted(t *testing.T) {
	const value = "Zk8-Rm3_vQ6wLx1Tn5Hd"
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true, Secrets: map[string]string{"API_TOKEN": value}})
	b := openBench(t, lab)
	got := b.call("run_command", object{"command": `for i in $(seq 1 ${#API_TOKEN}); do printf %s "${API_TOKEN:0:i}"; sleep 0.01; printf '%s\n' "${API_TOKEN:i}"; done
		printf %s "$API_TOKEN" | base64; printf %s "$API_TOKEN" | od -An -tx1 -v | tr -d ' \n'; echo
		for i in $(seq 1 2000); do echo "$API_TOKEN line $i"; done`})
	assert.Equal(t, got.State, task.ToolCompleted, got.Content)
	assert.Assert(t, is.Contains(got.Content, "[redacted:API_TOKEN]"))
	assert.Assert(t, is.Len(lab.Redactor.Contains([]byte(got.Content)), 0))
	data, err := os.ReadFile(filepath.Join(lab.Root, got.Output["output_file"].(string)))
	assert.NilError(t, err)
	assert.Assert(t, is.Len(lab.Redactor.Contains(data), 0))
	live := 0
	for _, e := range harnesstest.Payloads[*task.ToolOutput](lab.Log) {
		live += len(e.Text)
		assert.Assert(t, is.Len(lab.Redactor.Contains([]byte(e.Text)), 0))
	}
	// Bench does not flush; what is checked above is what the model and the file got.
	assert.Assert(t, live == 0 || live > 1000)
}
