//go:build linux

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/internal/containerdtest"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// containerRig is a rig whose runs work in containers of a private containerd. settings are added to the worker's.
func containerRig(t *testing.T, script scripted.Script, settings ...string) (*rig, *containerdtest.Daemon) {
	t.Helper()
	d := containerdtest.New(t)
	r := newRig(t, script)
	archive := filepath.Join(d.Dir(), "tools.tar")
	img := containerdtest.Image(t, containerdtest.Tools(t), nil)
	assert.NilError(t, os.WriteFile(archive, containerdtest.Archive(t, "docker.io/library/tools:1", img), 0o600))
	// The remote is reached by its path, and agents are no longer root.
	assert.NilError(t, os.Chmod(r.dir, 0o755))
	assert.NilError(t, filepath.WalkDir(r.remote, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, 1000, 1000)
	}))
	r.configure(fmt.Sprintf(`
worker:
  executor: containerd
  containerd:
    address: %s
    image: tools:1
    import: [%s]
    mounts: ["%s:%s:rw"]
    %s
`, d.Address(), archive, r.remote, r.remote, strings.Join(settings, "\n    ")))
	return r, d
}

// TestRunInContainer: from the prompt to the pushed branch, in a container, as an ordinary user; afterwards there is no
// container.
func TestRunInContainer(t *testing.T) {
	t.Parallel()
	r, d := containerRig(t, mender())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r.serve()
	id := r.submit(ctx, oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: r.environment(ctx, "id -u > uid.txt && cat uid.txt && test -x /.oz/bin/oz")}})
	run, events := r.await(ctx, id)
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s\n%s", run.Head.Status.Message, describe(events), r.log.String())
	assert.Equal(t, gitAs(t, r.remote, "show", branch+":greeting.txt"), "hello world")
	uid, err := filepath.Glob(filepath.Join(r.dir, "data/run/workspaces/*/greeting/uid.txt"))
	assert.NilError(t, err)
	assert.Equal(t, len(uid), 1)
	text, err := os.ReadFile(uid[0])
	assert.NilError(t, err)
	assert.Equal(t, string(text), "1000\n")
	r.checkContainersGone(ctx, d)
}

// TestContainerSurvivesServer: a server that is killed and started again finds the run at work in its container.
func TestContainerSurvivesServer(t *testing.T) {
	t.Parallel()
	r, d := containerRig(t, mender())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r.serve()
	begun, mark := filepath.Join(r.remote, "begun"), filepath.Join(r.remote, "go")
	id := r.submit(ctx, oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: r.environment(ctx,
		fmt.Sprintf("touch %s; while ! test -e %s; do sleep 0.05; done", begun, mark))}})
	for _, err := os.Stat(begun); err != nil; _, err = os.Stat(begun) {
		assert.NilError(t, ctx.Err(), r.log.String())
		time.Sleep(20 * time.Millisecond)
	}
	r.signal(syscall.SIGKILL)
	assert.NilError(t, os.WriteFile(mark, nil, 0o644))
	run, events := r.await(ctx, id)
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s\n%s", run.Head.Status.Message, describe(events), r.log.String())
	executions := map[task.ExecutionID]bool{}
	for _, e := range events {
		if e.ExecutionID != "" {
			executions[e.ExecutionID] = true
		}
	}
	assert.Equal(t, len(executions), 1, "the same agent went on")
	r.checkContainersGone(ctx, d)
}

// TestSetupFailsInContainer: the run fails and says which command failed how; nothing of it is left.
func TestSetupFailsInContainer(t *testing.T) {
	t.Parallel()
	r, d := containerRig(t, mender(), "warm_states: 2")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r.serve()
	id := r.submit(ctx, oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: r.environment(ctx,
		"(setsid sleep 1000 &); echo the tool is missing; exit 7")}})
	run, events := r.await(ctx, id)
	assert.Equal(t, run.State, task.StateFailed, "%s", describe(events))
	assert.Equal(t, run.Head.Status.ErrorCode, task.CodeEnvironmentSetupFailed)
	assert.Assert(t, is.Contains(run.Head.Status.Message, "failed with exit code 7"))
	assert.Assert(t, is.Contains(run.Head.Status.Message, "the tool is missing"))
	r.checkContainersGone(ctx, d)
	for { // the preparation beside the run ends by itself
		states, err := filepath.Glob(filepath.Join(r.dir, "data/run/warm/*"))
		assert.NilError(t, err)
		if len(states) == 0 {
			break
		}
		assert.NilError(t, ctx.Err(), "%q", states)
		time.Sleep(20 * time.Millisecond)
	}
	r.checkContainersGone(ctx, d)
}

// TestSetupLeavesProcess: a state could not have the process that a setup command leaves running, so none is kept.
func TestSetupLeavesProcess(t *testing.T) {
	t.Parallel()
	r, d := containerRig(t, mender(), "warm_states: 2")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r.serve()
	run, events := r.await(ctx, r.submit(ctx, oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: r.environment(ctx,
		"(setsid sleep 1000 >/dev/null 2>&1 &)")}}))
	assert.Equal(t, run.State, task.StateSucceeded, "%s", describe(events))
	for !strings.Contains(r.log.String(), "left processes running, which a state cannot keep: sleep") {
		assert.NilError(t, ctx.Err(), r.log.String())
		time.Sleep(20 * time.Millisecond)
	}
	r.checkContainersGone(ctx, d)
	states, err := filepath.Glob(filepath.Join(r.dir, "data/run/warm/*/state.json"))
	assert.NilError(t, err)
	assert.Equal(t, len(states), 0)
}

// sandboxDetail is what the log says of how a run's sandbox was started.
func sandboxDetail(events []task.Event) string {
	for _, e := range events {
		if p, ok := e.Payload.(*task.Phase); ok && p.Name == task.PhaseSandbox && p.Status == task.PhaseDone {
			return p.Detail
		}
	}
	return ""
}

// TestWarmRun: the second run of an environment starts from what the first one's preparation left: its setup is not run
// again, and its log says so. With secrets the setup runs again, with them, and no state ever has them.
func TestWarmRun(t *testing.T) {
	t.Parallel()
	const canary = "cnry-warm-run-5c1f"
	r, d := containerRig(t, mender(), "warm_states: 2")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r.serve()
	trace := filepath.Join(r.remote, "setups")
	env := r.environment(ctx, fmt.Sprintf(`echo "secret:$CANARY" >> %s; echo "$CANARY" > ~/mine; echo "$CANARY" > ../mine; touch ~/prepared`, trace))
	runs := 0
	do := func() []task.Event {
		t.Helper()
		runs++
		run, events := r.await(ctx, r.submit(ctx, oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: env}, IdempotencyKey: fmt.Sprintf("warm %d", runs)}))
		assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s\n%s", run.Head.Status.Message, describe(events), r.log.String())
		assert.Equal(t, gitAs(t, r.remote, "show", branch+":greeting.txt"), "hello world")
		gitAs(t, r.remote, "branch", "-D", branch)
		return events
	}
	setups := func() string {
		t.Helper()
		text, err := os.ReadFile(trace)
		assert.NilError(t, err)
		return string(text)
	}
	assert.Assert(t, is.Contains(sandboxDetail(do()), "from the bare image (cold)"))
	for {
		states, err := filepath.Glob(filepath.Join(r.dir, "data/run/warm/*/state.json"))
		assert.NilError(t, err)
		if len(states) == 1 {
			break
		}
		assert.NilError(t, ctx.Err(), r.log.String())
		time.Sleep(20 * time.Millisecond)
	}
	assert.Equal(t, setups(), "secret:\nsecret:\n", "the run's and the preparation's")
	assert.Assert(t, is.Contains(sandboxDetail(do()), "from a prepared state (warm)"))
	assert.Equal(t, setups(), "secret:\nsecret:\n", "nothing was done again")

	_, err := r.client.CreateSecret(ctx, oz.SecretInput{Name: "CANARY", Value: canary})
	assert.NilError(t, err)
	assert.Assert(t, is.Contains(sandboxDetail(do()), "from a prepared state (warm)"))
	assert.Equal(t, setups(), "secret:\nsecret:\nsecret:"+canary+"\n")
	r.checkContainersGone(ctx, d)
	for {
		found := holds(t, canary, filepath.Join(r.dir, "data/run/warm"), filepath.Join(d.Dir(), "root"))
		if len(found) == 0 {
			break // containerd takes a moment to remove the files of a container
		}
		assert.NilError(t, ctx.Err(), "%q", found)
		time.Sleep(20 * time.Millisecond)
	}
}

// TestPooledRun: with warm_pool the run after a prepared state was kept takes a container that stood ready in it, its setup
// done, and its log says so; no secret of a run is in those that stand ready.
func TestPooledRun(t *testing.T) {
	t.Parallel()
	const canary = "cnry-pooled-run-88e2"
	r, d := containerRig(t, mender(), "warm_states: 2", "warm_pool: 1")
	r.env = append(r.env, "OZ_LOG_LEVEL=info")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r.serve()
	_, err := r.client.CreateSecret(ctx, oz.SecretInput{Name: "CANARY", Value: canary})
	assert.NilError(t, err)
	env := r.environment(ctx, "touch prepared")
	for i, want := range []string{"from the bare image (cold)", "from the pool of ready sandboxes (pool)", "from the pool of ready sandboxes (pool)"} {
		run, events := r.await(ctx, r.submit(ctx, oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: env}, IdempotencyKey: fmt.Sprintf("pooled %d", i)}))
		assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s\n%s", run.Head.Status.Message, describe(events), r.log.String())
		assert.Assert(t, is.Contains(sandboxDetail(events), want))
		gitAs(t, r.remote, "branch", "-D", branch)
		for strings.Count(r.log.String(), "a sandbox stands ready") <= i {
			assert.NilError(t, ctx.Err(), r.log.String())
			time.Sleep(20 * time.Millisecond)
		}
		dirs := r.standReady(t)
		assert.Equal(t, len(dirs), 1)
		for _, dir := range dirs {
			found := holds(t, canary, dir)
			assert.Equal(t, len(found), 0, "%q", found)
		}
	}
	r.signal(syscall.SIGKILL) // what stands ready goes with the server
	r.checkContainersGone(ctx, d)
	for len(r.standReady(t)) > 0 {
		assert.NilError(t, ctx.Err(), r.log.String())
		time.Sleep(20 * time.Millisecond)
	}
}

// standReady names the workspaces of the containers that stand ready in the prepared state.
func (r *rig) standReady(t *testing.T) (dirs []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(r.dir, "data/run/workspaces/.new-*/greeting/prepared"))
	assert.NilError(t, err)
	for _, path := range found {
		dirs = append(dirs, filepath.Dir(filepath.Dir(path)))
	}
	return dirs
}

// holds names the files below dirs that have text in them.
func holds(t *testing.T, text string, dirs ...string) (found []string) {
	t.Helper()
	for _, dir := range dirs {
		assert.NilError(t, filepath.WalkDir(dir, func(path string, f os.DirEntry, err error) error {
			if errors.Is(err, os.ErrNotExist) || err == nil && !f.Type().IsRegular() {
				return nil
			}
			if err != nil {
				return err
			}
			data, err := os.ReadFile(path)
			if err == nil && strings.Contains(string(data), text) {
				found = append(found, path)
			}
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			return err
		}))
	}
	return found
}

// TestImageMissing: a run whose image is not there fails at once, and says what the user can do.
func TestImageMissing(t *testing.T) {
	t.Parallel()
	r, d := containerRig(t, mender())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	reg := containerdtest.NewRegistry(t, nil)
	r.serve()
	var uid string
	r.insist(ctx, func() error {
		env, err := r.client.CreateEnvironment(ctx, environment.Config{Name: "gone", DockerImage: reg.Host + "/team/gone:1"}, nil)
		uid = env.UID
		return err
	})
	run, events := r.await(ctx, r.submit(ctx, oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: uid}}))
	assert.Equal(t, run.State, task.StateFailed, "%s", describe(events))
	assert.Equal(t, run.Head.Status.ErrorCode, task.CodeEnvironmentSetupFailed)
	assert.Assert(t, is.Contains(run.Head.Status.Message, "there is no image "+reg.Host+"/team/gone:1"))
	r.checkContainersGone(ctx, d)
}

// gitAs reads a repository that belongs to somebody else.
func gitAs(t *testing.T, dir string, args ...string) string {
	t.Helper()
	return git(t, dir, append([]string{"-c", "safe.directory=*"}, args...)...)
}

// checkContainersGone waits until the worker has removed everything of its runs.
func (r *rig) checkContainersGone(ctx context.Context, d *containerdtest.Daemon) {
	r.t.Helper()
	for {
		boxes, err := filepath.Glob(filepath.Join(r.dir, "data/run/boxes/*"))
		assert.NilError(r.t, err)
		left := append(boxes, d.Mounts()...)
		if len(left) == 0 && len(d.Shims()) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("left: %q, %d shims\n%s", left, len(d.Shims()), r.log.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
