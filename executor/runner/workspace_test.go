package runner_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestPreparationFails: what is wrong with an environment is its owner's to
// mend, and the run says how.
func TestPreparationFails(t *testing.T) {
	tests := []struct {
		name   string
		config func(*environment.Config)
		says   []string
		phase  string
	}{
		{"no such repository", func(c *environment.Config) { c.Repos[0].URL += "/missing" }, []string{"missing", "not"}, task.PhaseWorkspace},
		{"no such branch", func(c *environment.Config) { c.Repos[0].Ref = "nowhere" }, []string{"nowhere"}, task.PhaseWorkspace},
		{"setup fails", func(c *environment.Config) { c.SetupCommands = []string{"true", "echo because of this; exit 3"} },
			[]string{"setup command 2 of 2", "exit code 3", "because of this", "Mend the command"}, task.PhaseSetup},
		{"setup hangs", func(c *environment.Config) { c.SetupCommands = []string{"echo waiting; sleep 600 & sleep 600"} },
			[]string{"did not end within the limit", "waiting"}, task.PhaseSetup},
		{"setup is no program", func(c *environment.Config) { c.SetupCommands = []string{"no-such-program-here"} },
			[]string{"exit code 127", "no-such-program-here"}, task.PhaseSetup},
		{"setup kills its shell", func(c *environment.Config) { c.SetupCommands = []string{"kill -9 $$"} }, []string{"setup command 1 of 1", "killed"}, task.PhaseSetup},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, setup{script: mender(), runner: func(o *runner.Options) {
				if tt.name == "setup hangs" {
					o.SetupTimeout = 200 * time.Millisecond
				}
			}})
			run, events := r.do(prompt, r.environment(tt.config))
			assert.Equal(t, run.State, task.StateFailed, "%+v", run.Head.Status)
			assert.Equal(t, run.Head.Status.ErrorCode, task.CodeEnvironmentSetupFailed)
			assert.Assert(t, !run.Head.Status.Retryable)
			for _, text := range tt.says {
				assert.Assert(t, is.Contains(run.Head.Status.Message, text))
			}
			failed := payloads[*task.Phase](events)
			last := failed[len(failed)-1]
			assert.Equal(t, last.Name+" "+string(last.Status), tt.phase+" failed")
			assert.Equal(t, len(r.model.Requests()), 0, "no model was asked")
			assert.Equal(t, run.Executions, 1, "nobody tries again what the user must mend")
			checkLog(t, events)
			assert.Equal(t, len(processesIn(t, r.workspace(run.ID))), 0)
		})
	}
}

// processesIn lists the processes that work below a directory.
func processesIn(t *testing.T, dir string) (pids []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	assert.NilError(t, err)
	for _, l := range links {
		if cwd, err := os.Readlink(l); err == nil && strings.HasPrefix(cwd, dir) {
			pids = append(pids, filepath.Base(filepath.Dir(l)))
		}
	}
	return pids
}

// TestSecondRunTakesFromTheCache: each run leaves a checkout for the next.
func TestSecondRunTakesFromTheCache(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{cache: true, script: play(finish("Nothing to do."), finish("Nothing to do."))})
	env := r.environment(nil)
	for i, from := range []string{"remote", "spare", "spare"} {
		run, events := r.do(prompt, env)
		assert.Equal(t, run.State, task.StateSucceeded, run.Head.Status.Message)
		var got string
		for _, p := range payloads[*task.Phase](events) {
			if p.Name == task.PhaseWorkspace && p.Status == task.PhaseDone {
				got = p.Detail
			}
		}
		assert.Equal(t, got, "demo/greeting from "+from)
		r.worker.ended(i + 1) // it stays for the cache
	}
}

// TestEmptyRepository: a repository without a commit gets its first.
func TestEmptyRepository(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{files: map[string]string{}, script: play(
		call("write_file", object{"path": "hello.txt", "content": "hello\n"}),
		command("grep hello hello.txt"),
		call("git_commit", object{"message": "Begin"}),
		call("git_push", object{}),
		call("finish", object{"outcome": "success", "summary": "Begun.", "verification": []string{"grep hello hello.txt"}}),
	)})
	run, events := r.do(prompt, r.environment(nil))
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Head.Status.Message, describe(events))
	assert.Equal(t, r.git(r.remote, "show", "HEAD:hello.txt"), "hello")
}

// TestSetupFlood: what a setup command prints is bounded in the log, whatever
// it prints, and the run goes on.
func TestSetupFlood(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: mender()})
	run, events := r.do(prompt, r.environment(func(c *environment.Config) {
		c.SetupCommands = []string{"head -c 1073741824 /dev/zero | tr '\\0' 'x'", "echo the next is shown"}
	}))
	assert.Equal(t, run.State, task.StateSucceeded, run.Head.Status.Message)
	size := 0
	for _, o := range payloads[*task.ToolOutput](events) {
		size += len(o.Text)
	}
	assert.Assert(t, size > 500<<10 && size < 600<<10, "%d bytes in the log", size)
	assert.Assert(t, slices.ContainsFunc(events, prints("[more output than 512 KiB is not shown]")))
	assert.Assert(t, slices.ContainsFunc(events, prints("the next is shown")))
}

// TestNoHarness and TestNoModel: what the server cannot do ends the run at once.
func TestNoHarness(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: mender(), runner: func(o *runner.Options) {
		o.Harnesses["claude"] = o.Harnesses["oz"]
		delete(o.Harnesses, "oz")
	}})
	run, _ := r.do(prompt, "")
	assert.Equal(t, run.State, task.StateFailed)
	assert.Equal(t, run.Head.Status.ErrorCode, task.CodeFeatureNotAvailable)
	assert.Assert(t, is.Contains(run.Head.Status.Message, `no harness "oz"`))
}

func TestNoModel(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: mender(), models: func(m *executor.Models) { *m = executor.Models{} }})
	run, _ := r.do(prompt, "")
	assert.Equal(t, run.State, task.StateFailed)
	assert.Equal(t, run.Head.Status.ErrorCode, task.CodeExternalAuthRequired)
	assert.Assert(t, is.Contains(run.Head.Status.Message, "ANTHROPIC_API_KEY"))
}

// TestMissingSecret: a name without a value is said, and the run goes on.
func TestMissingSecret(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(finish("Nothing to do."))})
	run, events := r.finish(r.submit(oz.Request{Prompt: prompt, Config: task.Config{Secrets: &[]string{"DEPLOY_KEY"}}}))
	assert.Equal(t, run.State, task.StateSucceeded, run.Head.Status.Message)
	assert.Assert(t, slices.ContainsFunc(payloads[*task.Notice](events), func(n *task.Notice) bool {
		return strings.Contains(n.Text, "DEPLOY_KEY") && strings.Contains(n.Text, "does not exist")
	}))
}

func TestReadHandshake(t *testing.T) {
	whole := `{"server_url":"http://127.0.0.1:1","task_id":"t","execution_id":"e","token":"secret-token-1"}`
	h, err := runner.ReadHandshake(strings.NewReader(whole))
	assert.NilError(t, err)
	assert.Equal(t, h.Token.Reveal(), "secret-token-1")
	for _, text := range []string{"", "{", "[]", strings.Replace(whole, "secret-token-1", "", 1), strings.Replace(whole, "execution_id", "x", 1)} {
		_, err := runner.ReadHandshake(strings.NewReader(text))
		assert.ErrorContains(t, err, "handshake")
		assert.Assert(t, !strings.Contains(err.Error(), "secret-token-1"))
	}
}

func TestRunWantsAHarness(t *testing.T) {
	_, err := runner.Run(t.Context(), nil, &runner.Options{})
	assert.ErrorContains(t, err, "no harness")
}
