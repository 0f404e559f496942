package ozagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/task"
)

// Names of the tools that other code asks for.
const (
	toolRunCommand = "run_command"
	toolEditFiles  = "edit_files"
	toolWriteFile  = "write_file"
	toolGitCommit  = "git_commit"
	toolGitPush    = "git_push"
	toolFinish     = "finish"
	toolAskUser    = "ask_user"
)

// maxResultBytes bounds what the model is told of one call. Tools cut their
// own output with more sense; this is the fence behind them.
const maxResultBytes = 96 << 10

// tool is something the model can do.
type tool struct {
	name, description string
	category          task.ToolCategory
	schema            string // JSON schema of the input, an object
	// repeatable calls may be made again when a restart cut them off.
	repeatable bool
	// when says in which modes it is offered.
	when func(task.Mode) bool
	run  func(ctx context.Context, a *agent, k *toolCall) (result, error)
}

// toolCall is what a tool is given.
type toolCall struct {
	id    string
	input json.RawMessage
	// again says that an earlier try was cut off by a restart.
	again bool
	// touched are the files that the call has read or changed, as the model
	// spells them. The tool fills it in.
	touched []string
}

// result is what a call gave.
type result struct {
	state   task.ToolState
	content string // what the model is told
	output  any    // for display; may be nil
}

func resultOK(content string, output any) result {
	return result{task.ToolCompleted, content, output}
}
func resultFailed(content string) result { return result{task.ToolFailed, content, nil} }

// refuse makes the error of a call that failed.
func refuse(format string, args ...any) error { return harness.Refuse(format, args...) }

// deny makes the error of a call that the rules forbid.
func deny(format string, args ...any) error { return harness.Deny(format, args...) }

// badInput names what is wrong with the input.
func badInput(format string, args ...any) error { return harness.BadInput(format, args...) }

// define makes a tool of a function over its decoded input.
func define[In any](t tool, run func(ctx context.Context, a *agent, k *toolCall, in In) (result, error)) tool {
	t.run = func(ctx context.Context, a *agent, k *toolCall) (result, error) {
		var in In
		if err := decodeInput(k.input, &in); err != nil {
			return result{}, err
		}
		return run(ctx, a, k, in)
	}
	return t
}

func decodeInput(raw json.RawMessage, v any) error {
	if err := unreadable(raw); err != nil {
		return err
	}
	return harness.DecodeInput(raw, v)
}

// unreadable is the error of an input that the log could not keep as it was.
func unreadable(raw json.RawMessage) error {
	var broken map[string]json.RawMessage
	if json.Unmarshal(raw, &broken) == nil && len(broken) == 1 {
		switch {
		case broken[invalidInput] != nil:
			return badInput("the input is not a JSON object")
		case broken[overlongInput] != nil:
			return badInput("the input has %s bytes, more than one call can take; work in smaller pieces", broken[overlongInput])
		}
	}
	return nil
}

// fromPlatform makes a tool of one of the platform's.
func fromPlatform(t harness.Tool) tool {
	return tool{name: t.Name, description: t.Description, category: t.Category, schema: t.Schema, repeatable: t.Repeatable, when: t.When,
		run: func(ctx context.Context, _ *agent, k *toolCall) (result, error) {
			if err := unreadable(k.input); err != nil {
				return result{}, err
			}
			answer, err := t.Run(ctx, harness.ToolCall{ID: k.id, Input: k.input, Again: k.again})
			if err != nil {
				return result{}, err
			}
			if answer.End != nil {
				return resultOK(answer.Text, finishedBy(*answer.End)), nil
			}
			return resultOK(answer.Text, answer.Output), nil
		}}
}

// schemaObject is the schema as both SDKs want it.
func (t tool) schemaObject() map[string]any {
	var v map[string]any
	if err := json.Unmarshal([]byte(t.schema), &v); err != nil {
		panic(fmt.Sprintf("schema of tool %s: %v", t.name, err)) // a bug here; TestTools finds it
	}
	return v
}

// toolbox holds the tools by name.
type toolbox map[string]tool

// newToolbox joins the agent's own tools and the platform's. Of two with one
// name the agent's own is taken: it knows more of the agent.
func newToolbox(platform []harness.Tool) toolbox {
	box := toolbox{}
	for _, t := range platform {
		box[t.Name] = fromPlatform(t)
	}
	for _, t := range []tool{
		runCommandTool(), commandOutputTool(), writeToCommandTool(), stopCommandTool(),
		readFilesTool(), editFilesTool(), writeFileTool(), grepTool(), fileGlobTool(),
		gitCommitTool(), gitPushTool(), finishTool(),
	} {
		box[t.name] = t
	}
	return box
}

// inNormalMode keeps tools that change things out of plan mode.
func inNormalMode(m task.Mode) bool { return m != task.ModePlan }

// offered lists the tools of a mode in a fixed order, for the provider's cache.
func (b toolbox) offered(m task.Mode) []tool {
	var out []tool
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if t := b[name]; t.when == nil || t.when(m) {
			out = append(out, t)
		}
	}
	return out
}

func (b toolbox) category(name string) task.ToolCategory {
	if t, ok := b[name]; ok {
		return t.category
	}
	return task.CategoryIntegration
}

func (b toolbox) repeatable(name string) bool { return b[name].repeatable }

// bytes is what the tools take up in a request.
func (b toolbox) bytes() int {
	n := 0
	for _, t := range b {
		n += len(t.description) + len(t.schema)
	}
	return n
}

// runCall makes one call and puts its result into the log.
func (a *agent) runCall(ctx context.Context, k *call, again bool) error {
	crashpoint.Hit(crashpoint.AgentToolCalled)
	begun := a.s.Clock.Now()
	res, err := a.dispatch(ctx, k, again)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		if res, err = a.explain(k, err); err != nil {
			return err
		}
	}
	if err := a.settle(ctx, k, res, a.s.Clock.Now().Sub(begun)); err != nil {
		return err
	}
	crashpoint.Hit(crashpoint.AgentToolDone)
	return nil
}

func (a *agent) dispatch(ctx context.Context, k *call, again bool) (result, error) {
	for _, t := range a.tools.offered(a.conv.mode) {
		if t.name == k.name {
			c := &toolCall{id: k.id, input: k.input, again: again}
			res, err := t.run(ctx, a, c)
			if err == nil {
				res.content += a.nestedRules(c.touched)
			}
			return res, err
		}
	}
	var names []string
	for _, t := range a.tools.offered(a.conv.mode) {
		names = append(names, t.name)
	}
	return result{}, badInput("there is no tool %q here; there are %s", bounded(k.name, 64), strings.Join(names, ", "))
}

// explain makes a result of an error that the model should know, and gives
// back one that is the platform's.
func (a *agent) explain(k *call, err error) (result, error) {
	var no *harness.ToolError
	if !errors.As(err, &no) {
		return result{}, fmt.Errorf("%s: %w", k.name, err)
	}
	if no.Input {
		reason := a.s.Redactor.String(no.Message)
		return result{task.ToolFailed, fmt.Sprintf("Invalid call of %s: %s.", k.name, reason), misuse{true, reason}}, nil
	}
	return result{state: no.State, content: no.Message}, nil
}

// settle puts a call's result into the log, redacted and bounded.
func (a *agent) settle(ctx context.Context, k *call, res result, took time.Duration) error {
	r := &task.ToolResult{
		CallID: k.id, Name: k.name, Category: a.tools.category(k.name), State: res.state, DurationMS: took.Milliseconds(),
		Content: clean(a.s.Redactor.String(cutMiddle(res.content, maxResultBytes/2, maxResultBytes/2))),
	}
	if res.output != nil {
		raw, err := json.Marshal(res.output)
		if err != nil {
			return fmt.Errorf("encode result of %s: %w", k.name, err)
		}
		r.Output = redactJSON(a.s, raw)
	}
	if err := a.record(ctx, r); err != nil {
		return err
	}
	if k.result == nil {
		return fmt.Errorf("the result of call %s did not reach the run's log", k.id)
	}
	return nil
}
