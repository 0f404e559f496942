package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/executor"
)

// quietPatience is how long the processes of setup commands may take to end
// after these.
const quietPatience = 2 * time.Second

// prepareState prepares the current directory for runs to start from. It has no
// credentials and no secrets, so that none can be in what is kept: what needs
// them fails here, and its runs start cold.
func prepareState(ctx context.Context, stdin io.Reader, out io.Writer) error {
	var p executor.Preparation
	if err := json.NewDecoder(io.LimitReader(stdin, maxHandshakeBytes)).Decode(&p); err != nil {
		return fmt.Errorf("read what to prepare from standard input (this program is started by a worker): %w", err)
	}
	var config environment.Config
	if err := json.Unmarshal(p.Environment, &config); err != nil {
		return fmt.Errorf("decode the environment: %w", err)
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	g, err := git.Open(ctx, nil)
	if err != nil {
		return fmt.Errorf("open git: %w", err)
	}
	preparer := environment.NewPreparer(g, &environment.PreparerOptions{Forge: p.RepositoryBase})
	_, err = preparer.Prepare(ctx, environment.Options{Dir: root, Config: config, Keep: true, Env: preparedEnviron(),
		Report: func(s environment.Step) {
			if s.Status == environment.StepOutput {
				_, _ = out.Write(s.Output) // for the worker's log
			}
		}})
	if err := errors.Join(err, g.Close()); err != nil {
		return err
	}
	return alone(ctx)
}

// preparedEnviron is that of setup commands in a run, without what names the
// run.
func preparedEnviron() []string {
	var env []string
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); !hiddenVariable(name) {
			env = append(env, v)
		}
	}
	return append(env, "GIT_TERMINAL_PROMPT=0", "GH_PROMPT_DISABLED=1")
}

// alone fails when a setup command has left a process running: a run that starts
// from the state would not have it.
func alone(ctx context.Context) error {
	for end := time.Now().Add(quietPatience); ; {
		others, err := otherProcesses()
		if err != nil || len(others) == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("a setup command has left processes running, which a state cannot keep: %s", strings.Join(others, ", "))
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// otherProcesses names the processes of this sandbox but for this one and the
// first. It makes sense in a sandbox with processes of its own only.
func otherProcesses() ([]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
	var others []string
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == 1 || pid == os.Getpid() {
			continue
		}
		name, err := os.ReadFile("/proc/" + e.Name() + "/comm")
		if err != nil {
			continue // it has just ended
		}
		others = append(others, strings.TrimSpace(string(name)))
	}
	return others, nil
}
