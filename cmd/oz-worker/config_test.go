package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/internal/yamlfile"
	"github.com/oz-platform/cloudagents/oz"
)

// vars is an environment in a test.
func vars(list ...string) func(string) string {
	return func(name string) string {
		for _, v := range list {
			if n, value, _ := strings.Cut(v, "="); n == name {
				return value
			}
		}
		return ""
	}
}

// parse loads a configuration as the program does.
func parse(t *testing.T, env []string, args ...string) (config, error) {
	t.Helper()
	var c config
	f := pflag.NewFlagSet("oz-worker", pflag.ContinueOnError)
	c.register(f)
	if err := f.Parse(args); err != nil {
		return c, usageError{err}
	}
	err := c.load(f, vars(append(env, "HOME="+t.TempDir(), "STATE_DIRECTORY=/state")...))
	return c, err
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "oz-worker.yaml")
	assert.NilError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

const key = "WARP_API_KEY=the-key"

// TestPrecedence: flags win over variables, these over the file, that over
// defaults; lists of -e keep their commas, and a flag lifts a limit.
func TestPrecedence(t *testing.T) {
	file := writeFile(t, `
server: https://file.example.com
worker_id: file-1
labels: [from-file]
max_concurrent_tasks: 3
idle_on_complete: 20m
log_level: warn
drain_timeout: 1m
cleanup: true
backend:
  direct:
    target_dir: /tmp
    environment:
      - {name: A, value: "file"}
      - {name: B, value: ""}
      - {name: PASSED}
      - {name: UNSET}
`)
	c, err := parse(t, []string{key, "OZ_WORKER_CONFIG=" + file, "PASSED=on"})
	assert.NilError(t, err)
	assert.Equal(t, c.Server, "https://file.example.com")
	assert.Equal(t, c.WorkerID, "file-1")
	assert.DeepEqual(t, c.Labels, []string{"from-file"})
	assert.Equal(t, c.capacity(), 3)
	assert.Equal(t, c.idleLimit(), 20*time.Minute)
	assert.Equal(t, c.LogFormat, "json")
	assert.Equal(t, c.backend, "direct")
	assert.Equal(t, c.Backend.Direct.WorkspaceRoot, "/state/workspaces")
	assert.Equal(t, c.home(), "/state/file-1")
	assert.DeepEqual(t, c.environment(c.Backend.Direct.Environment, vars("PASSED=on")), []string{"A=file", "B=", "PASSED=on", "UNSET="})

	dir := t.TempDir()
	c, err = parse(t, []string{key, "OZ_WORKER_CONFIG=/nonexistent", "WARP_SERVER_ROOT_URL=https://variable.example.com/", "OZ_WORKER_ID=variable-1", "OZ_LOG_LEVEL=error", "HOST=h"},
		"--config-file", file, "--worker-id", "flag-1", "--label", "a", "--label", "b=c", "--max-concurrent-tasks", "0", "--idle-on-complete", "0s", "--no-cleanup",
		"-e", "LIST=a,b", "-e", "HOST", "-e", "A=flag", "--target-dir", dir, "--drain-timeout", "0", "--stop-on-shutdown")
	assert.NilError(t, err)
	assert.Equal(t, c.Server, "https://variable.example.com")
	assert.Equal(t, c.WorkerID, "flag-1")
	assert.Equal(t, c.LogLevel, "error")
	assert.DeepEqual(t, c.Labels, []string{"a", "b=c"})
	assert.Equal(t, c.capacity(), oz.NoLimit)
	assert.Equal(t, c.idleLimit(), time.Duration(-1))
	assert.Equal(t, c.Cleanup, false)
	assert.Equal(t, c.DrainTimeout, time.Duration(0))
	assert.Equal(t, c.StopOnShutdown, true)
	assert.Equal(t, c.Backend.Direct.TargetDir, dir)
	assert.DeepEqual(t, c.environment(c.Backend.Direct.Environment, vars("HOST=h")), []string{"A=file", "B=", "PASSED=", "UNSET=", "LIST=a,b", "HOST=h", "A=flag"})

	// A back-end without settings is named all the same, and the flag wins over
	// the file's.
	c, err = parse(t, []string{key}, "--config-file", writeFile(t, "worker_id: w\nbackend:\n  local:\n"))
	assert.NilError(t, err)
	assert.Equal(t, c.backend, "local")
	c, err = parse(t, []string{key}, "--backend", "direct", "--config-file", writeFile(t, "worker_id: w\nbackend:\n  command: {dispatch_command: x}\n"))
	assert.NilError(t, err)
	assert.Equal(t, c.backend, "direct")
	c, err = parse(t, []string{key}, "--worker-id", "Warpdrive", "--server-root-url", "http://hidden.example.com", "--one-shot", "--max-concurrent-tasks", "9")
	assert.NilError(t, err)
	assert.Equal(t, c.Server, "http://hidden.example.com")
	assert.Equal(t, c.capacity(), 1)
	c, err = parse(t, []string{key, "OTEL_METRICS_EXPORTER=prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT=9999"}, "--worker-id", "w")
	assert.NilError(t, err)
	assert.Equal(t, c.Listen, "localhost:9999")
}

// TestKey: where it comes from, and that a flag shows it.
func TestKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	assert.NilError(t, os.WriteFile(file, []byte("file-key\n"), 0o600))
	for _, tt := range []struct {
		name, want string
		env, args  []string
		exposed    bool
	}{
		{"variable", "the-key", []string{key}, nil, false},
		{"flag", "flag-key", []string{key}, []string{"--api-key", "flag-key"}, true},
		{"file", "file-key", nil, []string{"--api-key-file", file}, false},
		{"file flag over variable", "file-key", []string{key}, []string{"--api-key-file", file}, false},
		{"variable over file of the configuration", "the-key", []string{key}, []string{"--config-file", writeFile(t, "api_key_file: "+file)}, false},
		{"file of the configuration", "file-key", nil, []string{"--config-file", writeFile(t, "api_key_file: "+file)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parse(t, tt.env, append(tt.args, "--worker-id", "w")...)
			assert.NilError(t, err)
			assert.Equal(t, c.key.Reveal(), tt.want)
			assert.Equal(t, c.exposed, tt.exposed)
		})
	}
}

// TestBadConfiguration: each mistake is named with its place and the rule.
func TestBadConfiguration(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	assert.NilError(t, os.WriteFile(empty, nil, 0o600))
	for _, tt := range []struct {
		name, file, want string
		args             []string
		usage            bool
	}{
		{name: "unknown key", file: "worker_id: w\nmax_concurent_tasks: 1\n", want: `[2:1] unknown field "max_concurent_tasks"`},
		{name: "unknown key within", file: "worker_id: w\nbackend:\n  direct:\n    workspace: /x\n", want: `[4:5] unknown field "workspace"`},
		{name: "unknown key of a back-end that is refused", file: "worker_id: w\nbackend:\n  kubernetes:\n    node_selector: {}\n", want: `[4:5] unknown field "node_selector"`},
		{name: "wrong type", file: "worker_id: w\nmax_concurrent_tasks: many\n", want: "[2:23] this must be a whole number"},
		{name: "duration without unit", file: "worker_id: w\nbackend:\n  command: {dispatch_command: x, dispatch_timeout: 5}\n", want: "[3:"},
		{name: "two back-ends", file: "worker_id: w\nbackend:\n  direct: {}\n  command: {dispatch_command: x}\n", want: "backend: at most one may be named, and these are: direct, command"},
		{name: "two, one empty", file: "worker_id: w\nbackend:\n  direct:\n  docker:\n", want: "these are: direct, docker"},
		{name: "unknown back-end", file: "worker_id: w\nbackend:\n  podman: {}\n", want: `[3:3] unknown field "podman"`},
		{name: "docker", file: "worker_id: w\nbackend:\n  docker: {volumes: [\"a:b\"]}\n", want: "backend.docker: this worker drives no Docker daemon; name"},
		{name: "kubernetes", file: "worker_id: w\nbackend:\n  kubernetes: {namespace: x, pod_template: {a: 1}}\n", want: "backend.kubernetes: this worker makes no Jobs by itself; name backend.command"},
		{name: "no file", args: []string{"--config-file", "/nonexistent.yaml"}, want: "configuration: open /nonexistent.yaml"},
		{name: "no id", file: "cleanup: true\n", want: "--worker-id, or worker_id in the file, is needed", usage: true},
		{name: "reserved id", file: "worker_id: warp-1\n", want: "worker_id: "},
		{name: "id with a slash", file: "worker_id: a/b\n", want: "worker_id: "},
		{name: "id of dots", file: "worker_id: ..\n", want: `worker_id: ".." is no name`},
		{name: "server", file: "worker_id: w\nserver: oz.example.com\n", want: "server: must be an http or https URL"},
		{name: "repository base", file: "worker_id: w\nrepository_base: github.com\n", want: "repository_base: must be a URL"},
		{name: "repository base with a password", file: "worker_id: w\nrepository_base: https://a:hunter2@git.example.com\n", want: "repository_base: must be a URL without credentials"},
		{name: "server with a password", file: "worker_id: w\nserver: https://a:hunter2@oz.example.com\n", want: "server: must be an http or https URL without credentials"},
		{name: "label", file: "worker_id: w\nlabels: [a b]\n", want: `labels: "a b" is no label`},
		{name: "idle", file: "worker_id: w\nidle_on_complete: soon\n", want: `idle_on_complete: "soon" is no time`},
		{name: "drain", file: "worker_id: w\ndrain_timeout: -1s\n", want: "drain_timeout: must not be negative"},
		{name: "log level", file: "worker_id: w\nlog_level: loud\n", want: `log_level: "loud" is none of`},
		{name: "log format", file: "worker_id: w\nlog_format: xml\n", want: `log_format: "xml" is neither`},
		{name: "listen", file: "worker_id: w\nlisten: here\n", want: `listen: "here" is no address`},
		{name: "listen port", file: "worker_id: w\nlisten: 127.0.0.1:70000\n", want: "is no address"},
		{name: "no dispatch command", file: "worker_id: w\nbackend: {command: {cancel_command: x}}\n", want: "backend.command.dispatch_command: is needed"},
		{name: "no command section", args: []string{"--backend", "command", "--worker-id", "w"}, want: "backend.command.dispatch_command: is needed"},
		{name: "negative time-out", file: "worker_id: w\nbackend: {command: {dispatch_command: x, lifetime: -1s}}\n", want: "must not be negative"},
		{name: "target", file: "worker_id: w\nbackend: {direct: {target_dir: /nonexistent}}\n", want: "backend.direct.target_dir: /nonexistent must be a directory that exists"},
		{name: "oz_path", file: "worker_id: w\nbackend: {direct: {oz_path: " + empty + "}}\n", want: "backend.direct.oz_path: " + empty + " must be a program"},
		{name: "environment without a name", file: "worker_id: w\nbackend: {direct: {environment: [{name: A}, {value: hunter2}]}}\n", want: "backend.direct.environment[1].name: a name without blanks"},
		{name: "environment with a blank", file: "worker_id: w\nbackend: {command: {dispatch_command: x, environment: [{name: A B}]}}\n", want: "backend.command.environment[0].name"},
		{name: "HOME", file: "worker_id: w\nbackend: {direct: {environment: [{name: HOME, value: /root}]}}\n", want: "HOME is each sandbox's own"},
		{name: "limits without a cgroup", file: "worker_id: w\nbackend: {local: {memory_gb: 1}}\n", want: "need cgroup"},
		{name: "negative limit", file: "worker_id: w\nbackend: {local: {cpus: -1}}\n", want: "must not be negative"},
		{name: "empty key file", file: "worker_id: w\napi_key_file: " + empty + "\n", want: "is empty", args: []string{"--api-key-file", empty}},
		{name: "key with a line break", args: []string{"--worker-id", "w", "--api-key", "a\nb"}, want: "the key: has a space or a control character"},
		{name: "-e", args: []string{"--worker-id", "w", "-e", "=hunter2"}, want: "--env: a name without blanks and = is needed", usage: true},
		{name: "backend flag", args: []string{"--worker-id", "w", "--backend", "podman"}, want: `--backend: "podman" is none of direct, local`, usage: true},
		{name: "volumes", args: []string{"--worker-id", "w", "-v", "/a:/b"}, want: "--volumes: is for back-ends with containers", usage: true},
		{name: "target with another back-end", args: []string{"--worker-id", "w", "--backend", "local", "--target-dir", "/tmp"}, want: "--target-dir: is for the back-end direct", usage: true},
		{name: "flag of the wrong type", args: []string{"--max-concurrent-tasks", "many"}, want: "invalid argument", usage: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := tt.args
			if tt.file != "" {
				args = append(args, "--config-file", writeFile(t, tt.file))
			}
			_, err := parse(t, []string{key}, args...)
			assert.ErrorContains(t, err, tt.want)
			assert.Assert(t, !strings.Contains(err.Error(), "hunter2"), "%v", err)
			var usage usageError
			assert.Equal(t, errors.As(err, &usage), tt.usage)
		})
	}
	_, err := parse(t, nil, "--worker-id", "w")
	assert.ErrorContains(t, err, "a worker key or a team key is needed: set WARP_API_KEY")
}

// indented gives the indented block that follows a line of the help.
func indented(t *testing.T, after string) string {
	t.Helper()
	_, rest, ok := strings.Cut(longHelp, after+"\n\n")
	assert.Assert(t, ok, "the help has no %q", after)
	var block strings.Builder
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, "    ") {
			break
		}
		block.WriteString(strings.TrimPrefix(line, "    "))
	}
	return block.String()
}

// keysOf lists the keys of the file below a struct that this worker drives.
func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("yaml")
		if key == "" || key == backendDocker || key == backendKubernetes {
			continue
		}
		if key != ",inline" {
			keys = append(keys, key)
		}
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			keys = append(keys, keysOf(inner)...)
		}
	}
	return keys
}

// TestHelpIsTrue reads the files that the help shows: the first names every
// setting with its default, the others are valid; nothing is left out.
func TestHelpIsTrue(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), program, "--help").CombinedOutput()
	assert.NilError(t, err)
	assert.Assert(t, is.Contains(string(out), longHelp))
	for flag, variable := range variables {
		assert.Assert(t, is.Contains(string(out), "--"+flag+" "))
		assert.Assert(t, is.Contains(string(out), "(env "+variable+")"))
	}
	for _, flag := range hidden {
		assert.Assert(t, !strings.Contains(string(out), "--"+flag+" "), flag)
	}
	var shown config
	assert.NilError(t, yamlfile.Unmarshal([]byte(indented(t, "All settings of the file, with their defaults:")), &shown))
	if diff := cmp.Diff(defaultConfig(), shown, cmp.AllowUnexported(config{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("defaults and help differ (-code +help):\n%s", diff)
	}
	for _, key := range keysOf(reflect.TypeFor[config]()) {
		assert.Assert(t, strings.Contains(longHelp, key+":"), "the help does not show %s", key)
	}
	keyFile := filepath.Join(t.TempDir(), "worker.key")
	assert.NilError(t, os.WriteFile(keyFile, []byte("k"), 0o600))
	for _, example := range []string{"An example that runs agents on this host:", "An example with limits (Delegate=yes in the unit):",
		"An example with containers (Linux, root, containerd, a worker built with CGO_ENABLED=0):", "An example that hands runs over:"} {
		text := strings.ReplaceAll(indented(t, example), "/etc/oz/worker.key", keyFile)
		_, err := parse(t, []string{key}, "--config-file", writeFile(t, text))
		assert.NilError(t, err, example)
	}
}

// TestMistakesInTheCommandLine: the codes of the official worker.
func TestMistakesInTheCommandLine(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		code       int
		args       []string
	}{
		{"no key", "a worker key or a team key is needed", 80, []string{"--worker-id", "w"}},
		{"unknown flag", "unknown flag: --bogus", 80, []string{"--bogus"}},
		{"argument", `unknown argument "start"`, 80, []string{"start"}},
		{"doctor's argument", `unknown argument "x"`, 80, []string{"doctor", "x"}},
		{"doctor's format", `--output-format: "xml" is neither`, 80, []string{"doctor", "--output-format", "xml"}},
		{"bad file", "configuration: open", 1, []string{"--config-file", "/nonexistent"}},
		{"state", "state_dir: mkdir", 1, []string{"--worker-id", "w", "--api-key", "k", "--state-dir", "/proc/x"}},
		{"address in use", "listen: ", 1, []string{"--worker-id", "w", "--api-key", "k", "--state-dir", t.TempDir(), "--listen", "192.0.2.1:1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), program, tt.args...)
			cmd.Env = servertest.Environ("HOME=" + t.TempDir())
			out, err := cmd.CombinedOutput()
			assert.ErrorContains(t, err, "exit status")
			assert.Equal(t, cmd.ProcessState.ExitCode(), tt.code, "%s", out)
			assert.Assert(t, is.Contains(string(out), tt.want))
		})
	}
	out, err := exec.CommandContext(t.Context(), program, "--version").Output()
	assert.NilError(t, err)
	assert.Assert(t, strings.HasPrefix(string(out), "oz-worker version "), "%s", out)
}
