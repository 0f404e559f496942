//go:build linux

package local_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/local"
)

// helperRoot is the variable that makes this test binary a worker, which starts sandboxes until it is killed.
const helperRoot = "OZ_LOCAL_TEST_WORKER_ROOT"

// helperIsolation is the variable with its Options.Isolation.
const helperIsolation = "OZ_LOCAL_TEST_WORKER_ISOLATION"

// helperWorker starts what it is told on its standard input, one "ID SCRIPT" per line, and answers with the ID.
func helperWorker(root string) int {
	e, err := local.New(root, &local.Options{Isolation: local.Isolation(os.Getenv(helperIsolation))})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		id, text, _ := strings.Cut(lines.Text(), " ")
		if _, err := e.Start(context.Background(), script(id, text)); err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println(id)
	}
	return 0
}

// worker is another process that runs helperWorker.
type worker struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

func startWorker(t *testing.T, root string, isolation local.Isolation) *worker {
	t.Helper()
	exe, err := os.Executable()
	assert.NilError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), helperRoot+"="+root, helperIsolation+"="+string(isolation))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	assert.NilError(t, err)
	out, err := cmd.StdoutPipe()
	assert.NilError(t, err)
	assert.NilError(t, cmd.Start())
	w := &worker{cmd: cmd, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() { w.kill() })
	return w
}

// order has the worker start a sandbox.
func (w *worker) order(t *testing.T, id, text string) {
	t.Helper()
	_, err := fmt.Fprintln(w.in, id, text)
	assert.NilError(t, err)
}

// started waits for the answer.
func (w *worker) started(t *testing.T, id string) {
	t.Helper()
	line, err := w.out.ReadString('\n')
	assert.NilError(t, err)
	assert.Equal(t, line, id+"\n")
}

func (w *worker) kill() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

func TestReadoptAfterWorkerRestart(t *testing.T) {
	eachIsolation(t, "Readopt", testReadopt)
}

// testReadopt: the next worker may be set up in another way, which changes nothing for what runs.
func testReadopt(t *testing.T, opts *local.Options) {
	root := newRoot(t)
	w := startWorker(t, root, opts.Isolation)
	sandboxes := map[string]string{
		"running": `trap "exit 7" TERM; trap "echo usr" USR1; echo ready; while :; do sleep 1000 & wait $!; done`,
		"ended":   `echo ready; exit 5`,
		"ending":  `trap "exit 6" USR1; echo ready; while :; do sleep 1000 & wait $!; done`,
	}
	for id, text := range sandboxes {
		w.order(t, id, text)
		w.started(t, id)
	}
	supervisors := childrenNamed(t, w.cmd.Process.Pid, "oz-sandbox-supervisor")
	w.kill()

	e := open(t, root, nil)
	ids, err := e.List(newContext(t))
	assert.NilError(t, err)
	assert.DeepEqual(t, ids, []string{"ended", "ending", "running"})
	adopted := map[string]executor.Sandbox{}
	for _, id := range ids {
		s, err := e.Open(newContext(t), id)
		assert.NilError(t, err)
		t.Cleanup(func() { assert.NilError(t, s.Remove(context.WithoutCancel(t.Context()))) })
		ready(t, s)
		assert.Equal(t, executor.IsolationOf(s) == executor.IsolationNone, opts.Isolation == local.IsolationOff)
		adopted[id] = s
	}
	assert.Equal(t, wait(t, adopted["ended"]), executor.Exit{Code: 5})
	assert.NilError(t, adopted["ending"].Signal(newContext(t), syscall.SIGUSR1))
	assert.Equal(t, wait(t, adopted["ending"]), executor.Exit{Code: 6})

	// The third goes on, and is not started again by whoever repeats the order.
	again, err := e.Start(newContext(t), script("running", "exit 1"))
	assert.NilError(t, err)
	assert.NilError(t, again.Signal(newContext(t), syscall.SIGUSR1))
	assert.ErrorIs(t, e.RemoveWorkspace(newContext(t), "w"), executor.ErrInUse)
	assert.NilError(t, adopted["running"].Stop(newContext(t), patience))
	assert.Equal(t, wait(t, adopted["running"]), executor.Exit{Code: 7})
	assert.Equal(t, output(t, adopted["running"]), "ready\nusr\n")

	// Two supervisors were at work, one may have been, and one was in reserve, which went with its worker.
	assert.Assert(t, len(supervisors) == 3 || len(supervisors) == 4, "%v", supervisors)
	eventually(t, "all supervisors end", func() bool {
		for _, pid := range supervisors {
			if syscall.Kill(pid, 0) == nil && !zombie(pid) {
				return false
			}
		}
		return true
	})
}

// childrenNamed returns the children of a process whose argv[0] is name.
func childrenNamed(t *testing.T, parent int, name string) []int {
	t.Helper()
	var children []int
	for _, pid := range marked(t, name) {
		fields := statFields(pid)
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			children = append(children, pid)
		}
	}
	return children
}

func zombie(pid int) bool {
	fields := statFields(pid)
	return len(fields) == 0 || fields[0] == "Z"
}

// statFields returns the fields of /proc/PID/stat from the state on.
func statFields(pid int) []string {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil
	}
	return strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
}

// TestWorkerKilledWhileStarting kills workers somewhere in a Start. Whatever has come of it, each command has run at
// most once, the next worker can start what was not started, and nothing is left after Remove.
func TestWorkerKilledWhileStarting(t *testing.T) {
	root := newRoot(t)
	mark := marker()
	text := fmt.Sprintf(`echo run >> "$OZ_SANDBOX_ID"; exec sh -c 'while :; do sleep 1000; done' %s`, mark)
	const rounds, each = 6, 4
	for round := range rounds {
		w := startWorker(t, root, "")
		for i := range each {
			w.order(t, fmt.Sprintf("s-%d-%d", round, i), text)
		}
		w.started(t, fmt.Sprintf("s-%d-0", round)) // the others are under way
		w.kill()
	}
	e := open(t, root, nil)
	var sandboxes []executor.Sandbox
	for round := range rounds {
		for i := range each {
			spec := script(fmt.Sprintf("s-%d-%d", round, i), text)
			s, err := e.Start(newContext(t), spec)
			assert.NilError(t, err)
			sandboxes = append(sandboxes, s)
			count := filepath.Join(root, "workspaces", "w", spec.ID)
			if _, err := s.Wait(ended(t)); err != nil { // it runs
				eventually(t, "the command runs", func() bool { _, err := os.Stat(count); return err == nil })
			}
			data, err := os.ReadFile(count)
			assert.Check(t, err == nil || os.IsNotExist(err))
			assert.Check(t, string(data) == "run\n" || len(data) == 0, "%q", data)
		}
	}
	for _, s := range sandboxes {
		assert.NilError(t, s.Remove(newContext(t)))
	}
	assert.Equal(t, len(marked(t, mark)), 0)
	assert.NilError(t, e.RemoveWorkspace(newContext(t), "w"))
}

// ended returns a context for asking whether a sandbox has ended.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20_000_000)
	t.Cleanup(cancel)
	return ctx
}
