package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// steps turns the preparation's progress into events: the phase "workspace"
// for the clones, "setup" for the commands, and the commands' output.
type steps struct {
	ctx    context.Context
	x      *execution
	end    func(error, string) error
	phase  environment.Phase
	cloned []string
	output *secrets.RedactWriter
	left   int // bytes of output that the command may still add to the log
}

// maxSetupOutput bounds what one setup command adds to the log. Its last words
// are in the error when it fails.
const maxSetupOutput = 512 << 10

func newSteps(ctx context.Context, x *execution) *steps { return &steps{ctx: ctx, x: x} }

// outputSink posts the redacted output of a setup command.
type outputSink struct {
	s    *steps
	call string
}

func (o outputSink) Write(b []byte) (int, error) {
	return len(b), o.s.x.journal.Post(o.s.ctx, &task.ToolOutput{CallID: o.call, Text: strings.ToValidUTF8(string(b), "\uFFFD")})
}

// report takes one step. Failures to post end the run by themselves: the
// journal has failed then.
func (s *steps) report(step environment.Step) {
	if step.Phase != s.phase {
		s.enter(step.Phase)
	}
	switch step.Status {
	case environment.StepStarted:
		s.started(step)
	case environment.StepOutput:
		s.printed(step.Output)
	case environment.StepDone, environment.StepFailed:
		s.ended(step)
	}
}

func (s *steps) enter(p environment.Phase) {
	s.leave(nil)
	s.phase = p
	name := task.PhaseWorkspace
	if p == environment.PhaseSetup {
		name = task.PhaseSetup
		crashpoint.Hit(crashpoint.RunnerCloned)
	}
	s.end = s.x.journal.phase(s.ctx, name)
}

// leave ends the phase that is under way.
func (s *steps) leave(err error) {
	if s.end != nil {
		_ = s.end(err, strings.Join(s.cloned, ", "))
	}
	s.end, s.cloned = nil, nil
}

func (s *steps) started(step environment.Step) {
	if step.Phase != environment.PhaseSetup {
		return
	}
	call := fmt.Sprintf("setup-%d", step.Number)
	s.output, s.left = s.x.redactor.Writer(outputSink{s, call}), maxSetupOutput
	input, _ := json.Marshal(map[string]string{"command": step.Text}) // strings cannot fail
	_ = s.x.journal.Post(s.ctx, &task.ToolCall{ID: call, Name: "setup_command", Category: task.CategoryCommand, Input: input})
}

// printed passes output on, up to the limit.
func (s *steps) printed(output []byte) {
	if s.left <= 0 {
		return
	}
	_, _ = s.output.Write(output[:min(len(output), s.left)])
	if s.left -= len(output); s.left <= 0 {
		_, _ = fmt.Fprintf(s.output, "\n[more output than %d KiB is not shown]\n", maxSetupOutput>>10)
	}
}

func (s *steps) ended(step environment.Step) {
	if step.Phase != environment.PhaseSetup {
		if step.Status == environment.StepDone {
			s.cloned = append(s.cloned, fmt.Sprintf("%s from %s", step.Repo, step.From))
		}
		return
	}
	_ = s.output.Close()
	state := task.ToolCompleted
	if step.Status == environment.StepFailed {
		state = task.ToolFailed
	}
	output, _ := json.Marshal(map[string]int{"exit_code": step.ExitCode})
	_ = s.x.journal.Post(s.ctx, &task.ToolResult{CallID: fmt.Sprintf("setup-%d", step.Number), Name: "setup_command",
		Category: task.CategoryCommand, State: state, Content: fmt.Sprintf("exit code %d", step.ExitCode), Output: output, DurationMS: step.Duration.Milliseconds()})
}

// finish closes what is open.
func (s *steps) finish(err error) { s.leave(err) }
