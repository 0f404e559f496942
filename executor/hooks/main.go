package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

// invocation is the first argument of a process that a sandbox starts in the agent runner's place.
const invocation = "oz-hooks"

// jobVariable holds what that process is to do. Other users cannot read a process's environment, but its arguments.
const jobVariable = "OZ_HOOKS_JOB"

// job is what happens before the agent runner.
type job struct {
	Setup   string `json:"setup"`
	Dir     string `json:"dir"` // where to work; empty is where it is
	Run     string `json:"run"`
	Backend string `json:"backend"`
}

// Exit statuses of Main where it is not the setup command's own.
const (
	statusUnusable = 78 // EX_CONFIG: the directory or the environment file
	statusNotFound = 127
)

// Main prepares for the agent runner and becomes it. A program that uses New calls it first in its main:
//
//	if code, ok := hooks.Main(); ok {
//		os.Exit(code)
//	}
//
// ok is false when the process was not started for that.
func Main() (code int, ok bool) {
	if len(os.Args) < 3 || os.Args[1] != invocation {
		return 0, false
	}
	return prepare(os.Args[2:]), true
}

// prepare returns only if the agent runner could not be started.
func prepare(command []string) int {
	env, j, err := takeJob()
	if err != nil {
		return complain(statusUnusable, "%v", err)
	}
	dir, err := os.Getwd()
	if j.Dir != "" {
		dir, err = j.Dir, os.Chdir(j.Dir)
	}
	if err != nil {
		return complain(statusUnusable, "the directory of the agent: %v", err)
	}
	env = append(env, "OZ_WORKSPACE_ROOT="+dir, "OZ_RUN_ID="+j.Run, "OZ_WORKER_BACKEND="+j.Backend)
	if j.Setup != "" {
		made, code := j.setUp(env)
		if code != 0 {
			return code
		}
		env = append(env, made...)
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return complain(statusNotFound, "start the agent: %v", err)
	}
	return complain(statusNotFound, "start the agent: %v", syscall.Exec(path, command, lastOfEach(env)))
}

// lastOfEach drops entries that a later one with the same name replaces: execve(2) does not.
func lastOfEach(env []string) []string {
	last := make(map[string]int, len(env))
	for i, v := range env {
		name, _, _ := strings.Cut(v, "=")
		last[name] = i
	}
	var kept []string
	for i, v := range env {
		if name, _, _ := strings.Cut(v, "="); last[name] == i {
			kept = append(kept, v)
		}
	}
	return kept
}

// takeJob takes the job out of the environment.
func takeJob() (env []string, j job, err error) {
	raw := os.Getenv(jobVariable)
	env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, jobVariable+"=") })
	if err := json.Unmarshal([]byte(raw), &j); err != nil {
		return nil, j, errors.New("this program is started by a worker: " + jobVariable + " is missing")
	}
	return env, j, nil
}

// setUp runs the setup command, and gives the variables that it leaves.
func (j job) setUp(env []string) (made []string, code int) {
	f, err := os.CreateTemp("", "oz-env-") // 0600, in the sandbox's own directory
	if err != nil {
		return nil, complain(statusUnusable, "the environment file: %v", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	cmd := shell(context.Background(), j.Setup) // it ends with the sandbox
	cmd.Env, cmd.Stdout, cmd.Stderr = append(slices.Clone(env), "OZ_ENVIRONMENT_FILE="+f.Name()), os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return nil, complain(statusNotFound, "the setup command: %v", err)
		}
		code = exit.ExitCode()
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			code = 128 + int(status.Signal())
		}
		return nil, complain(code, "the setup command ended with %v: the agent was not started", err)
	}
	if made, err = readEnvironment(f.Name()); err != nil {
		return nil, complain(statusUnusable, "the file OZ_ENVIRONMENT_FILE of the setup command: %v", err)
	}
	return made, 0
}

// readEnvironment reads an environment file, by its name: the command may have put another one in its place.
func readEnvironment(path string) ([]string, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxEnvironmentFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxEnvironmentFile {
		return nil, fmt.Errorf("it has more than the %d bytes that are read", MaxEnvironmentFile)
	}
	return ParseEnvironment(string(text))
}

// complain tells the people who read the sandbox's output, and gives code.
func complain(code int, format string, args ...any) int {
	_, _ = io.WriteString(os.Stderr, fmt.Sprintf("[oz] "+format+"\n", args...))
	return code
}

// shell is a command for /bin/sh.
func shell(ctx context.Context, text string) *exec.Cmd {
	return exec.CommandContext(ctx, "/bin/sh", "-c", text)
}
