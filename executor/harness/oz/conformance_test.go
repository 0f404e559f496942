package ozagent_test

import (
	"testing"
	"time"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	ozagent "github.com/oz-platform/cloudagents/executor/harness/oz"
)

// object is a tool's input.
type object = map[string]any

func call(name string, input object) scripted.ToolCall {
	return scripted.ToolCall{Name: name, Input: input}
}

// builtin calls the built-in agent's tools.
type builtin struct{}

func (builtin) Command(line string) scripted.ToolCall {
	return call("run_command", object{"command": line})
}

func (builtin) Edit(path, search, replace string) scripted.ToolCall {
	return call("edit_files", object{"edits": []any{object{"path": path, "search": search, "replace": replace}}})
}

func (builtin) Deliver(message string) []scripted.ToolCall {
	return []scripted.ToolCall{call("git_commit", object{"message": message}), call("git_push", object{})}
}

func (builtin) Finish(summary string, verified ...string) []scripted.ToolCall {
	in := object{"outcome": "success", "summary": summary}
	if len(verified) > 0 {
		in["verification"] = verified
	}
	return []scripted.ToolCall{call("finish", in)}
}

func newAgent() harness.Harness {
	return ozagent.New(&ozagent.Options{RetryPause: time.Millisecond})
}

var conformance = harnesstest.Harness{New: newAgent, Wires: []string{"anthropic", "openai"}, Tools: builtin{}}

func TestBuiltinConformance(t *testing.T) { harnesstest.Run(t, conformance) }

func TestRestartAtEveryWrite(t *testing.T) { harnesstest.RestartAtEveryWrite(t, conformance) }
