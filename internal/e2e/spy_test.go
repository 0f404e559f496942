package e2e_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// nobody is a user without rights. Root may look at all processes, so a test
// that runs as root lets the server be somebody else.
const nobody = 65534

// spy looks into the processes that the agent's command comes from: runner
// with the gateway in it, supervisor and server.
const spy = `{
cat /proc/$$/environ | tr '\0' '\n'
pid=$PPID
for step in 1 2 3; do
  echo "process $pid: $(tr '\0' ' ' < /proc/$pid/cmdline)"
  cat /proc/$pid/environ | tr '\0' '\n'
  for f in environ maps mem auxv; do ( : < /proc/$pid/$f ) && echo "OPEN: $f of $pid"; done
  ls /proc/$pid/fd && echo "OPEN: descriptors of $pid"
  pid=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$pid/status)
done
} > ../spied.txt 2> /dev/null; echo spied`

// TestAgentCannotSpyOnTheServer: an agent runs as the same user as the server
// and the runner, and still finds neither the model's key nor the platform's
// in the environment or the memory of their processes.
func TestAgentCannotSpyOnTheServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, scripted.Script{Steps: []scripted.Step{
		{ToolCalls: []scripted.ToolCall{{Name: "run_command", Input: map[string]any{"command": spy}}}},
		{ToolCalls: []scripted.ToolCall{{Name: "finish", Input: map[string]any{"outcome": "success", "summary": "Spied."}}}},
	}})
	if os.Getuid() == 0 {
		r.giveTo(nobody)
	}
	r.configure("worker: {isolation: \"off\"}\n") // else the agent sees no process of the server at all
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r.serve()
	id := r.submit(ctx, oz.Request{Prompt: prompt})
	run, events := r.await(ctx, id)
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s\n%s", run.Head.Status.Message, describe(events), r.log.String())
	found, err := filepath.Glob(filepath.Join(r.dir, "data", "run", "workspaces", "spied.txt"))
	assert.NilError(t, err)
	assert.Equal(t, len(found), 1)
	data, err := os.ReadFile(found[0])
	assert.NilError(t, err)
	spied := string(data)
	assert.Assert(t, is.Contains(spied, "OZ_RUN_ID="), "it reads the environment of its own processes")
	for _, program := range []string{"oz-agent-runner", "oz-sandbox-supervisor", "ozd --config"} {
		assert.Assert(t, is.Contains(spied, program), "it finds the process")
	}
	for _, key := range []string{"scripted-model-key-123456", apiKey, "OPEN: "} {
		assert.Assert(t, !strings.Contains(spied, key), "found %q in\n%s", key, spied)
	}
}

// giveTo makes the server run as another user, to whom its files belong.
func (r *rig) giveTo(uid uint32) {
	r.t.Helper()
	r.as = &syscall.Credential{Uid: uid, Gid: uid}
	assert.NilError(r.t, os.Chmod(filepath.Dir(r.dir), 0o711))
	err := filepath.WalkDir(r.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(uid), int(uid))
	})
	assert.NilError(r.t, err)
}
