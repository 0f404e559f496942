package deploy_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/internal/yamlfile"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// bin holds oz, ozd and oz-worker.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if bin, err = os.MkdirTemp("", "oz-deploy-test-"); err == nil {
			defer os.RemoveAll(bin)
			err = servertest.Build(bin, "oz", "ozd", "oz-worker")
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// newServer starts a server.
func newServer(t *testing.T) *servertest.Server {
	t.Helper()
	s := servertest.New(t, filepath.Join(bin, "ozd"), servertest.Talker(filepath.Join(t.TempDir(), "release")))
	s.Start()
	return s
}

// environ is what recipes have: our programs before others.
func environ(s *servertest.Server, vars ...string) []string {
	env := servertest.Environ(append([]string{"HOME=" + s.Dir, "PATH=" + bin + ":" + os.Getenv("PATH")}, vars...)...)
	return env[1:] // the first PATH
}

// teamKey makes a key of the team.
func teamKey(t *testing.T, s *servertest.Server, kind access.KeyType) string {
	t.Helper()
	key, _, err := s.Client().CreateKey(t.Context(), access.KeySpec{Name: string(kind), Type: kind})
	assert.NilError(t, err)
	return key
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	assert.NilError(t, err)
	return path
}

// script runs a recipe's program in a directory.
func script(t *testing.T, dir string, env []string, path string, args ...string) (code int, out string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), servertest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env = dir, env
	raw, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(raw)
}

// runs lists the runs of the server.
func runs(t *testing.T, s *servertest.Server) []task.Task {
	t.Helper()
	page, err := s.Client().List(t.Context(), task.Query{})
	assert.NilError(t, err)
	return page.Tasks
}

// TestOrchestratorOfYourOwn runs the CI recipe: its exit code is the agent's, its
// log is whole, and the server has the run.
func TestOrchestratorOfYourOwn(t *testing.T) {
	s := newServer(t)
	checkout := t.TempDir()
	agent := absolute(t, "ci/agent.sh")
	env := environ(s, "WARP_API_KEY="+teamKey(t, s, access.KeyTeam), "WARP_SERVER_ROOT_URL="+s.URL)
	code, out := script(t, checkout, env, agent, "greet us")
	assert.Equal(t, code, 0, out)
	log, err := os.ReadFile(filepath.Join(checkout, "oz-agent.ndjson"))
	assert.NilError(t, err)
	assert.Assert(t, is.Contains(string(log), "hello from the agent"))
	code, out = script(t, checkout, env, agent, "refuse it")
	assert.Equal(t, code, 1, out)
	assert.Assert(t, is.Contains(out, "the agent did not succeed (exit code 1)"))
	list := runs(t, s)
	assert.Equal(t, len(list), 2)
	assert.Equal(t, list[1].State, task.StateSucceeded)
	assert.Equal(t, list[0].State, task.StateFailed)

	code, out = script(t, checkout, environ(s), agent, "greet us")
	assert.Assert(t, code != 0 && strings.Contains(out, "WARP_API_KEY: is needed"), out)
	code, _ = script(t, checkout, env, agent)
	assert.Equal(t, code, 2)
}

// workflow is the part of a GitHub workflow that the recipe uses.
type workflow struct {
	Name string `yaml:"name"`
	On   struct {
		Dispatch struct {
			Inputs map[string]struct {
				Description string `yaml:"description"`
				Required    bool   `yaml:"required"`
				Type        string `yaml:"type"`
			} `yaml:"inputs"`
		} `yaml:"workflow_dispatch"`
	} `yaml:"on"`
	Permissions map[string]string `yaml:"permissions"`
	Jobs        map[string]struct {
		RunsOn  string            `yaml:"runs-on"`
		Timeout int               `yaml:"timeout-minutes"`
		Env     map[string]string `yaml:"env"`
		Steps   []struct {
			Name string            `yaml:"name"`
			Uses string            `yaml:"uses"`
			If   string            `yaml:"if"`
			Run  string            `yaml:"run"`
			With map[string]string `yaml:"with"`
		} `yaml:"steps"`
	} `yaml:"jobs"`
}

// TestWorkflow reads the workflow strictly, and runs the shell of its last step
// that has some: the prompt of a person is never part of the shell's text.
func TestWorkflow(t *testing.T) {
	raw, err := os.ReadFile("ci/github.yaml")
	assert.NilError(t, err)
	var w workflow
	assert.NilError(t, yamlfile.Unmarshal(raw, &w))
	job := w.Jobs["agent"]
	var shell string
	for _, step := range job.Steps {
		assert.Assert(t, !strings.Contains(step.Run, "${{"), "an expression in a shell text is a way in")
		if step.Run != "" {
			shell = step.Run
		}
	}
	s := newServer(t)
	checkout := t.TempDir()
	assert.NilError(t, os.CopyFS(filepath.Join(checkout, "ci"), os.DirFS("ci")))
	assert.NilError(t, os.Chmod(filepath.Join(checkout, "ci", "agent.sh"), 0o755))
	env := environ(s, "WARP_API_KEY="+teamKey(t, s, access.KeyTeam), "WARP_SERVER_ROOT_URL="+s.URL, `PROMPT=greet us; "$(touch owned)"`)
	for name := range job.Env {
		assert.Assert(t, strings.Contains(strings.Join(env, "\n"), name+"="), name)
	}
	code, out := script(t, checkout, env, "/bin/sh", "-e", "-c", shell)
	assert.Equal(t, code, 0, out)
	_, err = os.Stat(filepath.Join(checkout, "owned"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

// worker is a worker at work.
type worker struct {
	t   *testing.T
	cmd *exec.Cmd
	out *servertest.Buffer
}

// startWorker starts a worker by a recipe's configuration, with another server,
// key and address, and what is said besides.
func startWorker(t *testing.T, s *servertest.Server, file string, env []string, prefix []string, args ...string) *worker {
	t.Helper()
	key := filepath.Join(t.TempDir(), "worker.key")
	assert.NilError(t, os.WriteFile(key, []byte(teamKey(t, s, access.KeyWorker)), 0o600))
	line := append(append(prefix, filepath.Join(bin, "oz-worker"), "--config-file", file, "--server", s.URL, "--api-key-file", key, "--state-dir", filepath.Join(s.Dir, "worker")), args...)
	w := &worker{t: t, cmd: exec.Command(line[0], line[1:]...), out: &servertest.Buffer{}}
	w.cmd.Env, w.cmd.Stdout, w.cmd.Stderr = environ(s, env...), w.out, w.out
	assert.NilError(t, w.cmd.Start())
	t.Cleanup(func() {
		_ = w.cmd.Process.Signal(os.Interrupt)
		err := w.cmd.Wait()
		if assert.Check(t, err); t.Failed() {
			t.Logf("the worker:\n%s", w.out)
		}
	})
	return w
}

// carriesOut submits a run for a worker and waits for its success.
func carriesOut(t *testing.T, s *servertest.Server, c task.Config) task.Task {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), servertest.Patience)
	defer cancel()
	run, err := s.Client().Submit(ctx, oz.Request{Prompt: "greet", Config: c})
	assert.NilError(t, err)
	for !run.State.Ended() {
		select {
		case <-ctx.Done():
			t.Fatalf("the run does not end: %s", run.State)
		case <-time.After(20 * time.Millisecond):
		}
		run, err = s.Client().Get(ctx, run.ID)
		assert.NilError(t, err)
	}
	assert.Equal(t, run.State, task.StateSucceeded, "%s", run.Status.Message)
	return run
}

// TestPool runs the recipe's worker beside the server: runs for its labels come
// to it.
func TestPool(t *testing.T) {
	s := newServer(t)
	startWorker(t, s, "pool/oz-worker.yaml", nil, nil, "--listen", servertest.FreeAddress(t))
	run := carriesOut(t, s, task.Config{WorkerLabels: []string{"large"}})
	executions, err := s.Client().Executions(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.Assert(t, is.Contains(executions[0].Worker, "build-1"))
}

// TestServersConfiguration: the recipe's file is one that ozd takes.
func TestServersConfiguration(t *testing.T) {
	s := newServer(t)
	ctx, cancel := context.WithTimeout(t.Context(), servertest.Patience)
	defer cancel()
	address := servertest.FreeAddress(t)
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "ozd"), "--config", "pool/ozd.yaml", "--data", filepath.Join(t.TempDir(), "data"), "--listen", address)
	cmd.Env = environ(s, "ANTHROPIC_API_KEY=a-key-of-no-use-4711")
	out := &servertest.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	assert.NilError(t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	err := servertest.AwaitHealthy(ctx, "http://"+address, ended)
	_ = cmd.Process.Signal(os.Interrupt)
	<-ended
	assert.NilError(t, err, "%s", out)
	assert.Assert(t, is.Contains(out.String(), "models  anthropic (default claude-sonnet-4-5)"))
}

// TestService has systemd read the unit.
func TestService(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	raw, err := os.ReadFile("systemd/oz-worker.service")
	assert.NilError(t, err)
	unit := filepath.Join(t.TempDir(), "oz-worker.service")
	text := strings.ReplaceAll(string(raw), "/usr/local/bin/oz-worker", filepath.Join(bin, "oz-worker"))
	assert.NilError(t, os.WriteFile(unit, []byte(text), 0o600))
	code, out := script(t, ".", os.Environ(), "systemd-analyze", "verify", unit)
	assert.Equal(t, code, 0, out)
	assert.Assert(t, !strings.Contains(out, "Unknown"), out)
	assert.Assert(t, is.Contains(text, "\nKillMode=process\n"), "a restart would kill agents")
}

// inPlace gives a recipe's configuration with its scripts where they are here.
func inPlace(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	assert.NilError(t, err)
	path := filepath.Join(t.TempDir(), "oz-worker.yaml")
	assert.NilError(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(raw), "/etc/oz/", absolute(t, ".")+"/")), 0o600))
	return path
}

// tokenOf gives the token that an environment file holds.
func tokenOf(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	assert.NilError(t, err)
	_, token, ok := strings.Cut(string(raw), "WARP_API_KEY=")
	assert.Assert(t, ok, "%s", raw)
	token, _, _ = strings.Cut(token, "\n")
	return token
}

// TestDockerDispatch hands runs over to containers. The docker here is played:
// it starts what would run in the container, with the container's environment
// and nothing else. Where there is a real one, it takes the same arguments.
func TestDockerDispatch(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	play(t, dir, "docker", `[ "$1" != rm ] || exit 0
printf '%s\n' "$@" >`+dir+`/args
[ "$1" = run ]
while [ "$1" != --entrypoint ]; do
	[ "$1" != --env-file ] || cp "$2" `+dir+`/env
	shift
done
shift 3 # the program and the image
mkdir -p `+dir+`/work
cd `+dir+`/work
setsid env -i PATH="$PATH" HOME=`+dir+` $(cat `+dir+`/env) `+bin+`/oz "$@" >`+dir+`/out 2>&1 </dev/null &
echo $!`)
	real, _ := exec.LookPath("docker")
	startWorker(t, s, inPlace(t, "docker/oz-worker.yaml"), []string{"PATH=" + dir + ":" + bin + ":" + os.Getenv("PATH")}, nil)
	carriesOut(t, s, task.Config{WorkerHost: "docker-1"})
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(string(args), tokenOf(t, filepath.Join(dir, "env"))), "the token is in the arguments")
	assert.Assert(t, is.Contains(string(args), "\nubuntu:22.04\nagent\nrun\n"))
	if real == "" {
		return
	}
	list := strings.Split(strings.TrimSuffix(string(args), "\n"), "\n")
	for i := range list {
		if i > 0 && list[i-1] == "--env-file" {
			list[i] = filepath.Join(dir, "env") // the script has removed its own
		}
	}
	env := append(os.Environ(), "DOCKER_HOST=unix://"+filepath.Join(dir, "no-daemon"))
	code, out := script(t, dir, env, real, list...)
	assert.Assert(t, code != 0 && strings.Contains(out, "docker daemon"), "the real docker does not take the arguments: %s", out)
}

// play puts a program of that name into a directory.
func play(t *testing.T, dir, name, text string) {
	t.Helper()
	assert.NilError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\nset -eu\n"+text+"\n"), 0o700))
}

// job is the part of a Job that the recipes use; anything else is a mistake.
type job struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name         string            `yaml:"name"`
		GenerateName string            `yaml:"generateName"`
		Labels       map[string]string `yaml:"labels"`
	} `yaml:"metadata"`
	Spec struct {
		BackoffLimit *int `yaml:"backoffLimit"`
		Deadline     int  `yaml:"activeDeadlineSeconds"`
		TTL          int  `yaml:"ttlSecondsAfterFinished"`
		Template     struct {
			Metadata struct {
				Labels map[string]string `yaml:"labels"`
			} `yaml:"metadata"`
			Spec pod `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

type pod struct {
	RestartPolicy string         `yaml:"restartPolicy"`
	Automount     *bool          `yaml:"automountServiceAccountToken"`
	Security      map[string]any `yaml:"securityContext"`
	Containers    []struct {
		Name       string   `yaml:"name"`
		Image      string   `yaml:"image"`
		Command    []string `yaml:"command"`
		Args       []string `yaml:"args"`
		WorkingDir string   `yaml:"workingDir"`
		Env        []struct {
			Name      string `yaml:"name"`
			Value     string `yaml:"value"`
			ValueFrom *struct {
				Secret struct {
					Name string `yaml:"name"`
					Key  string `yaml:"key"`
				} `yaml:"secretKeyRef"`
			} `yaml:"valueFrom"`
		} `yaml:"env"`
		EnvFrom []struct {
			Secret struct {
				Name string `yaml:"name"`
			} `yaml:"secretRef"`
		} `yaml:"envFrom"`
		Resources struct {
			Requests map[string]string `yaml:"requests"`
			Limits   map[string]string `yaml:"limits"`
		} `yaml:"resources"`
		Security struct {
			Escalation   *bool               `yaml:"allowPrivilegeEscalation"`
			Capabilities map[string][]string `yaml:"capabilities"`
		} `yaml:"securityContext"`
		Mounts []struct {
			Name string `yaml:"name"`
			Path string `yaml:"mountPath"`
		} `yaml:"volumeMounts"`
	} `yaml:"containers"`
	Volumes []struct {
		Name  string `yaml:"name"`
		Empty struct {
			SizeLimit string `yaml:"sizeLimit"`
		} `yaml:"emptyDir"`
	} `yaml:"volumes"`
}

func readJob(t *testing.T, path string) job {
	t.Helper()
	raw, err := os.ReadFile(path)
	assert.NilError(t, err)
	var j job
	assert.NilError(t, yamlfile.Unmarshal(raw, &j))
	assert.Equal(t, j.APIVersion+" "+j.Kind, "batch/v1 Job")
	assert.Assert(t, j.Spec.BackoffLimit != nil && *j.Spec.BackoffLimit == 0, "a pod that failed would be started again, with the same token")
	assert.Equal(t, j.Spec.Template.Spec.RestartPolicy, "Never")
	assert.Equal(t, len(j.Spec.Template.Spec.Containers), 1)
	return j
}

// TestKubernetesJob reads the Job strictly, and runs its command with its
// environment.
func TestKubernetesJob(t *testing.T) {
	s := newServer(t)
	c := readJob(t, "kubernetes/job.yaml").Spec.Template.Spec.Containers[0]
	var env []string
	for _, v := range c.Env {
		switch {
		case v.ValueFrom != nil:
			assert.Equal(t, v.Name+v.ValueFrom.Secret.Name+v.ValueFrom.Secret.Key, "WARP_API_KEYoz-keyWARP_API_KEY")
			env = append(env, v.Name+"="+teamKey(t, s, access.KeyTeam))
		case v.Name == "WARP_SERVER_ROOT_URL":
			env = append(env, v.Name+"="+s.URL)
		}
	}
	code, out := script(t, t.TempDir(), environ(s, env...), filepath.Join(bin, c.Command[0]), c.Args...)
	assert.Equal(t, code, 0, out)
	assert.Equal(t, runs(t, s)[0].State, task.StateSucceeded)
}

// TestKubernetesDispatch hands runs over to Jobs. The kubectl here is played: it
// keeps what it is given, and starts the container's command with the Secret.
func TestKubernetesDispatch(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	play(t, dir, "kubectl", `printf '%s\n' "$@" >>`+dir+`/args
case " $* " in
*/job.json*) cp "$5" `+dir+`/job.json; echo uid-1 ;;
*/secret.json*)
	cp "$5" `+dir+`/secret.json
	jq -r '.stringData | to_entries[] | "\(.key)=\(.value)"' "$5" >`+dir+`/env
	eval "set -- $(jq -r '.spec.template.spec.containers[0].args | @sh' `+dir+`/job.json)"
	mkdir -p `+dir+`/work
	cd `+dir+`/work
	setsid env -i PATH="$PATH" HOME=`+dir+` $(cat `+dir+`/env) `+bin+`/oz "$@" >`+dir+`/out 2>&1 </dev/null & ;;
esac`)
	startWorker(t, s, inPlace(t, "kubernetes/oz-worker.yaml"), []string{"PATH=" + dir + ":" + bin + ":" + os.Getenv("PATH")}, nil)
	run := carriesOut(t, s, task.Config{WorkerHost: "cluster-1"})
	j := readJob(t, filepath.Join(dir, "job.json"))
	c := j.Spec.Template.Spec.Containers[0]
	assert.Equal(t, c.Image, "registry.example.com/oz-agent:1")
	assert.Equal(t, c.EnvFrom[0].Secret.Name, j.Metadata.Name)
	assert.Equal(t, j.Metadata.Labels["oz-run"], string(run.ID))
	var secret struct {
		APIVersion string            `yaml:"apiVersion"`
		Kind       string            `yaml:"kind"`
		Type       string            `yaml:"type"`
		StringData map[string]string `yaml:"stringData"`
		Metadata   struct {
			Name   string              `yaml:"name"`
			Owners []map[string]string `yaml:"ownerReferences"`
		} `yaml:"metadata"`
	}
	raw, err := os.ReadFile(filepath.Join(dir, "secret.json"))
	assert.NilError(t, err)
	assert.NilError(t, yamlfile.Unmarshal(raw, &secret))
	assert.Equal(t, secret.Metadata.Name, j.Metadata.Name)
	assert.DeepEqual(t, secret.Metadata.Owners, []map[string]string{{"apiVersion": "batch/v1", "kind": "Job", "name": j.Metadata.Name, "uid": "uid-1"}})
	token := tokenOf(t, filepath.Join(dir, "env"))
	for _, name := range []string{"args", "job.json"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		assert.NilError(t, err)
		assert.Assert(t, !strings.Contains(string(text), token), "the token is in %s", name)
		assert.Assert(t, name != "args" || strings.Contains(string(text), "--namespace\nagents\n"), "%s", text)
	}
}
