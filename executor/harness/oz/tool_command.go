package ozagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

const (
	// maxCommandBytes is below the 128 KiB that Linux gives one argument.
	maxCommandBytes = 64 << 10
	// settleTime is how long a background command is watched for an early end.
	settleTime = 300 * time.Millisecond
	// maxOutputWait bounds how long command_output waits.
	maxOutputWait = 2 * time.Minute
)

// commandResult is what is shown of a command.
type commandResult struct {
	Status     string `json:"status"` // "complete", "running" or "timed_out"
	Command    string `json:"command,omitempty"`
	CommandID  string `json:"command_id,omitempty"`
	ExitCode   *int   `json:"exit_code,omitempty"`
	OutputFile string `json:"output_file,omitempty"`
	OutputSize int64  `json:"output_bytes"`
}

type runCommandInput struct {
	Command        string `json:"command"`
	Cwd            string `json:"cwd"`
	TimeoutSeconds int    `json:"timeout_seconds"`
	Background     bool   `json:"background"`
}

func runCommandTool() tool {
	return define(tool{
		name:     toolRunCommand,
		category: task.CategoryCommand,
		description: "Run a shell command (bash) and wait for its end. There is no terminal and no standard input. " +
			"Processes it leaves behind are killed when it ends. Default time limit 120 seconds. " +
			"For servers and other long work set background: the command goes on, and command_output, write_to_command and stop_command work with its id. " +
			"Every call starts in the working directory (or cwd) with a fresh shell.",
		schema: `{"type":"object","properties":{
			"command":{"type":"string","description":"the command line"},
			"cwd":{"type":"string","description":"directory to run in, default the working directory"},
			"timeout_seconds":{"type":"integer","description":"time limit of this command"},
			"background":{"type":"boolean","description":"do not wait for the end"}},
			"required":["command"]}`,
	}, runCommand)
}

func runCommand(ctx context.Context, a *agent, k *toolCall, in runCommandInput) (result, error) {
	limit, err := a.commandLimit(in)
	if err != nil {
		return result{}, err
	}
	dir, err := a.files.directory(in.Cwd)
	if err != nil {
		return result{}, err
	}
	kept := a.newCapture(k.id)
	if in.Background {
		return a.runInBackground(ctx, dir, in, kept)
	}
	p, err := a.procs.start(dir, in.Command, false, kept, a.live(ctx, k.id))
	if err != nil {
		return result{}, refuse("The command could not be started: %v", err)
	}
	a.procs.await(ctx, p, limit)
	timedOut := p.running()
	if timedOut {
		p.stop()
	}
	if p.err != nil || ctx.Err() != nil {
		return result{}, errors.Join(p.err, context.Cause(ctx))
	}
	return commandEnded(p, in, limit, timedOut), nil
}

func (a *agent) commandLimit(in runCommandInput) (time.Duration, error) {
	longest := int(a.opts.MaxCommandTimeout / time.Second)
	switch {
	case strings.TrimSpace(in.Command) == "":
		return 0, badInput("command is empty")
	case len(in.Command) > maxCommandBytes:
		return 0, badInput("command has %d bytes, at most %d are possible: put the text into a file", len(in.Command), maxCommandBytes)
	case strings.Contains(in.Command, "\x00"):
		return 0, badInput("command contains a NUL character")
	case in.TimeoutSeconds < 0 || in.TimeoutSeconds > longest:
		return 0, badInput("timeout_seconds must be 1 to %d; use background for longer work", longest)
	case in.TimeoutSeconds > 0:
		return time.Duration(in.TimeoutSeconds) * time.Second, nil
	}
	return a.opts.CommandTimeout, nil
}

// live posts a command's output to the log, up to a limit.
func (a *agent) live(ctx context.Context, callID string) func(string) error {
	posted := 0
	return func(text string) error {
		switch {
		case posted >= maxLiveBytes:
			return nil
		case posted+len(text) >= maxLiveBytes:
			text = fmt.Sprintf("%s\n[more output than %d KiB is not shown live]\n", bounded(text, maxLiveBytes-posted), maxLiveBytes>>10)
			posted = maxLiveBytes
		default:
			posted += len(text)
		}
		return a.post(ctx, &task.ToolOutput{CallID: callID, Text: text})
	}
}

func commandEnded(p *process, in runCommandInput, limit time.Duration, timedOut bool) result {
	out := commandResult{Status: "complete", Command: in.Command, OutputFile: p.kept.path(), OutputSize: p.kept.size()}
	if timedOut {
		out.Status = "timed_out"
		return result{task.ToolFailed, fmt.Sprintf("Stopped at its time limit of %v, with everything it had started. "+
			"Give timeout_seconds, or use background.\n%s", limit, p.kept.text()), out}
	}
	code := p.exitCode()
	out.ExitCode = &code
	return resultOK(fmt.Sprintf("exit code %d\n%s", code, p.kept.text()), out)
}

func (a *agent) runInBackground(ctx context.Context, dir string, in runCommandInput, kept *capture) (result, error) {
	if !a.procs.room() {
		return result{}, refuse("%d commands run in the background already; stop one first.", maxBackground)
	}
	p, err := a.procs.start(dir, in.Command, true, kept, nil)
	if err != nil {
		return result{}, refuse("The command could not be started: %v", err)
	}
	a.procs.keep(p)
	a.procs.await(ctx, p, settleTime)
	return a.progress(p, in.Command), nil
}

// progress tells how a background command stands, with its new output.
func (a *agent) progress(p *process, command string) result {
	out := commandResult{Status: "running", Command: command, CommandID: p.id}
	ended := !p.running() // before the output is read, so that nothing is missed
	text := p.kept.fresh()
	out.OutputFile, out.OutputSize = p.kept.path(), p.kept.size()
	if text == "" {
		text = "(no new output)"
	}
	if !ended {
		return resultOK(fmt.Sprintf("Command %s is running.\n%s", p.id, text), out)
	}
	code := p.exitCode()
	out.Status, out.ExitCode = "complete", &code
	return resultOK(fmt.Sprintf("Command %s has ended with exit code %d.\n%s", p.id, code, text), out)
}

func commandOutputTool() tool {
	type input struct {
		CommandID   string `json:"command_id"`
		WaitSeconds int    `json:"wait_seconds"`
	}
	return define(tool{
		name:        "command_output",
		category:    task.CategoryCommand,
		description: "Give the new output of a background command and whether it still runs. wait_seconds waits up to that long for its end.",
		schema: `{"type":"object","properties":{
			"command_id":{"type":"string"},
			"wait_seconds":{"type":"integer","description":"0 to 120, default 0"}},
			"required":["command_id"]}`,
	}, func(ctx context.Context, a *agent, _ *toolCall, in input) (result, error) {
		wait := time.Duration(in.WaitSeconds) * time.Second
		if wait < 0 || wait > maxOutputWait {
			return result{}, badInput("wait_seconds must be 0 to %d", int(maxOutputWait/time.Second))
		}
		p, err := a.procs.find(in.CommandID)
		if err != nil {
			return result{}, err
		}
		a.procs.await(ctx, p, wait)
		return a.progress(p, ""), nil
	})
}

func writeToCommandTool() tool {
	type input struct {
		CommandID string `json:"command_id"`
		Input     string `json:"input"`
		Close     bool   `json:"close"`
	}
	return define(tool{
		name:        "write_to_command",
		category:    task.CategoryCommand,
		description: "Write to the standard input of a background command. Lines need their line feed. close ends the input.",
		schema: `{"type":"object","properties":{
			"command_id":{"type":"string"},"input":{"type":"string"},"close":{"type":"boolean"}},
			"required":["command_id","input"]}`,
	}, func(ctx context.Context, a *agent, _ *toolCall, in input) (result, error) {
		p, err := a.procs.find(in.CommandID)
		if err != nil {
			return result{}, err
		}
		if err := p.feed(in.Input); err != nil {
			return result{}, err
		}
		if in.Close {
			p.closeInput()
		}
		a.procs.await(ctx, p, settleTime)
		return a.progress(p, ""), nil
	})
}

// feed writes to the command's standard input. A command that does not read
// must not hold up the agent.
func (p *process) feed(text string) error {
	if text == "" {
		return nil
	}
	err := p.stdin.SetWriteDeadline(time.Now().Add(stopGrace))
	if err == nil {
		_, err = p.stdin.WriteString(text)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse("The command does not read its input; only a part of it was written.")
	case err != nil:
		return refuse("The command takes no input any more: %v", err)
	}
	return nil
}

func stopCommandTool() tool {
	type input struct {
		CommandID string `json:"command_id"`
	}
	return define(tool{
		name:        "stop_command",
		category:    task.CategoryCommand,
		description: "Stop a background command and everything it started.",
		schema:      `{"type":"object","properties":{"command_id":{"type":"string"}},"required":["command_id"]}`,
	}, func(_ context.Context, a *agent, _ *toolCall, in input) (result, error) {
		p, err := a.procs.find(in.CommandID)
		if err != nil {
			return result{}, err
		}
		p.stop()
		return a.progress(p, ""), nil
	})
}
