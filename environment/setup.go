package environment

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/internal/proc"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// setupVar tags the processes of a setup command, so that they can be
	// found after this process, or their parents, are gone.
	setupVar = "OZ_SETUP_COMMAND"
	// tailBytes is how much of a failed command's output its error shows.
	tailBytes = 4 << 10
	// shownRunes is how much of a command's text its error shows.
	shownRunes = 300
)

// setUp runs the commands that have not finished yet, in their order.
func (r *preparation) setUp(ctx context.Context, dir string) error {
	commands := r.o.Config.SetupCommands
	if r.marker.SetupDone >= len(commands) {
		return nil
	}
	shell, err := findShell()
	if err != nil {
		return err
	}
	for i := r.marker.SetupDone; i < len(commands); i++ {
		if err := isWorkingDir(dir); err != nil {
			return err
		}
		r.marker.Running = rand.Text()
		if err := r.marker.save(); err != nil {
			return err
		}
		c := &setupCommand{number: i + 1, of: len(commands), text: commands[i], shell: shell, dir: dir,
			tag: r.marker.Running, limit: r.opts.CommandTimeout, secrets: r.o.Secrets}
		if err := c.run(ctx, r.o.Env, r.report); err != nil {
			return err
		}
		r.marker.SetupDone, r.marker.Running = i+1, ""
		if err := r.marker.save(); err != nil {
			return err
		}
	}
	return nil
}

func findShell() (string, error) {
	for _, name := range []string{"bash", "sh"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", task.Errorf(task.CodeEnvironmentSetupFailed, "the sandbox has neither bash nor sh: use an image that has a shell")
}

// setupCommand is one command of an environment on its way.
type setupCommand struct {
	number, of int
	text       string
	shell, dir string
	tag        string
	limit      time.Duration
	secrets    map[string]string
}

// errCommandLimit is the cause of a context that ended at a command's limit.
var errCommandLimit = errors.New("setup command reached its time limit")

// run runs the command to its end. After a failure nothing of it is left.
func (c *setupCommand) run(ctx context.Context, env []string, report *reporter) error {
	limited, cancel := context.WithTimeoutCause(ctx, c.limit, errCommandLimit)
	defer cancel()
	step := Step{Phase: PhaseSetup, Number: c.number, Text: c.text}
	out := &outputWriter{step: step, report: report, tail: proc.Tail{Limit: tailBytes + proc.LongestBytes(c.secretValues())}}
	cmd := exec.CommandContext(limited, c.shell, "-c", c.text)
	proc.Group(cmd)
	cmd.Dir, cmd.Env = c.dir, c.environment(env)
	cmd.Stdout, cmd.Stderr = out, out

	end := report.begin(step)
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success() {
		err = nil // something goes on in the background
	}
	step.ExitCode = -1
	if cmd.ProcessState != nil {
		step.ExitCode = cmd.ProcessState.ExitCode()
	}
	if err != nil {
		_ = proc.KillGroup(cmd)
		proc.KillMarked(setupVar, c.tag)
		err = c.failure(limited, err, step.ExitCode, out.tail.String())
	}
	end(step, err)
	return err
}

// environment puts secrets over env, and what must not be changed over both.
func (c *setupCommand) environment(env []string) []string {
	full := append([]string{}, env...)
	for name, value := range c.secrets {
		full = append(full, name+"="+value)
	}
	return append(full, "CI=true", "PWD="+c.dir, "GIT_TERMINAL_PROMPT=0", "GH_PROMPT_DISABLED=1", setupVar+"="+c.tag)
}

func (c *setupCommand) secretValues() []string { return slices.Collect(maps.Values(c.secrets)) }

// failure says which command failed how, and what to do.
func (c *setupCommand) failure(ctx context.Context, err error, exitCode int, output string) error {
	what := fmt.Sprintf("setup command %d of %d (%s)", c.number, c.of, shorten(c.text))
	last := "It printed nothing."
	if output = strings.TrimSpace(proc.Mask(output, c.secretValues(), tailBytes)); output != "" {
		last = "Its last output:\n" + output
	}
	var exit *exec.ExitError
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errCommandLimit):
		return &task.Error{Code: task.CodeEnvironmentSetupFailed, Err: context.DeadlineExceeded, Message: fmt.Sprintf(
			"%s did not end within the limit of %v in the setup phase and was killed. Make it faster, start servers in the background, and let it wait for no input. %s",
			what, c.limit, last)}
	case cause != nil:
		return fmt.Errorf("%s: %w", what, cause)
	case errors.As(err, &exit) && exitCode >= 0:
		return &task.Error{Code: task.CodeEnvironmentSetupFailed, Err: err, Message: fmt.Sprintf(
			"%s failed with exit code %d. Mend the command in the environment and start the run again. %s", what, exitCode, last)}
	}
	return &task.Error{Code: task.CodeEnvironmentSetupFailed, Err: err, Message: fmt.Sprintf(
		"%s ended: %v. The shell was killed or did not start; check the sandbox's memory limit and the command. %s", what, err, last)}
}

// outputWriter passes output on in bounded chunks and keeps its end. Only the
// goroutine that copies the command's pipe writes to it.
type outputWriter struct {
	step   Step
	report *reporter
	tail   proc.Tail
}

func (w *outputWriter) Write(p []byte) (int, error) {
	n := len(p)
	_, _ = w.tail.Write(p) // never fails
	w.step.Status = StepOutput
	for len(p) > 0 {
		size := min(len(p), MaxOutputChunk)
		w.step.Output, p = p[:size], p[size:]
		w.report.send(w.step)
	}
	return n, nil
}

func shorten(text string) string {
	text = strings.TrimSpace(text)
	if utf8.RuneCountInString(text) <= shownRunes {
		return text
	}
	return string([]rune(text)[:shownRunes]) + "…"
}

// exists reports whether there is anything at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
