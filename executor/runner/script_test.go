package runner_test

import (
	"strings"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
)

// branch is where the scripted agent pushes to, checkCommand its proof.
const (
	branch       = "oz/mend-greeting"
	checkCommand = "sh check.sh"
)

type object = map[string]any

// call is a step with one call of a tool.
func call(tool string, input object) scripted.Step {
	return scripted.Step{ToolCalls: []scripted.ToolCall{{Name: tool, Input: input}}}
}

// command is a step that runs a command.
func command(line string) scripted.Step { return call("run_command", object{"command": line}) }

// finish is a step that claims success.
func finish(summary string, verified ...string) scripted.Step {
	return call("finish", object{"outcome": "success", "summary": summary, "verification": verified, "not_pushed_because": "nobody asked"})
}

// play is a script of steps, one for each turn.
func play(steps ...scripted.Step) scripted.Script { return scripted.Script{Steps: steps} }

// mender is a model that mends the greeting. It decides each step by what the
// conversation shows as done, so that an agent which was killed anywhere gets
// the step that is due, as from a real model.
func mender() scripted.Script {
	due := func(s scripted.Step, match func(*scripted.Request) bool) scripted.Step {
		s.Match = match
		return s
	}
	return play(
		due(call("finish", object{"outcome": "success", "summary": "The greeting is mended.", "verification": []string{checkCommand}}), did("git_push", "")),
		due(call("git_push", object{}), did("git_commit", "")),
		due(call("git_commit", object{"message": "Mend the greeting", "branch": branch}), did("run_command", "exit code 0")),
		due(command(checkCommand), did("edit_files", "")),
		due(call("edit_files", object{"edits": []object{{"path": "greeting.txt", "search": "helo", "replace": "hello"}}}),
			func(*scripted.Request) bool { return true }),
	)
}

// did reports whether the conversation has a good result of a tool.
func did(tool, contains string) func(*scripted.Request) bool {
	return func(r *scripted.Request) bool {
		calls := map[string]bool{}
		for _, m := range r.Messages {
			for _, b := range m.Blocks {
				switch {
				case b.Type == "tool_use" && b.ToolName == tool:
					calls[b.ToolID] = true
				case b.Type == "tool_result" && calls[b.ToolID] && !b.IsError &&
					!strings.Contains(b.Text, "restarted") && strings.Contains(b.Text, contains):
					return true
				}
			}
		}
		return false
	}
}

// count is how often a conversation has a text in messages of the user.
func count(r scripted.Request, text string) int {
	n := 0
	for _, m := range r.Messages {
		for _, b := range m.Blocks {
			if b.Type == "text" && m.Role == "user" {
				n += strings.Count(b.Text, text)
			}
		}
	}
	return n
}
