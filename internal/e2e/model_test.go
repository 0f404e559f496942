package e2e_test

import (
	"strings"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
)

// branch is where the scripted agent pushes to.
const branch = "oz/mend-greeting"

// checkCommand proves that the bug is mended.
const checkCommand = "sh check.sh"

// mender is a model that mends the greeting. It decides each step by what the
// conversation shows as done, so that an agent which was killed anywhere gets
// the step that is due, as from a real model.
func mender() scripted.Script {
	call := func(name string, input map[string]any) []scripted.ToolCall {
		return []scripted.ToolCall{{Name: name, Input: input}}
	}
	step := func(text string, due func(*scripted.Request) bool, calls []scripted.ToolCall) scripted.Step {
		return scripted.Step{Text: text, Match: due, ToolCalls: calls}
	}
	return scripted.Script{Steps: []scripted.Step{
		step("Done.", did("git_push", ""), call("finish", map[string]any{"outcome": "success",
			"summary": "The greeting is mended.", "verification": []string{checkCommand}})),
		step("I push it.", did("git_commit", ""), call("git_push", map[string]any{})),
		step("I commit it.", did("run_command", "exit code 0"), call("git_commit", map[string]any{"message": "Mend the greeting", "branch": branch})),
		step("I check it.", did("edit_files", ""), call("run_command", map[string]any{"command": checkCommand})),
		step("I mend it.", func(*scripted.Request) bool { return true }, call("edit_files", map[string]any{"title": "Mend the greeting",
			"edits": []map[string]any{{"path": "greeting.txt", "search": "helo", "replace": "hello"}}})),
	}}
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
					!strings.Contains(b.Text, "interrupted") && strings.Contains(b.Text, contains):
					return true
				}
			}
		}
		return false
	}
}

// promptCount is how often a conversation has the prompt.
func promptCount(r scripted.Request, prompt string) int {
	n := 0
	for _, m := range r.Messages {
		for _, b := range m.Blocks {
			if b.Type == "text" && m.Role == "user" {
				n += strings.Count(b.Text, prompt)
			}
		}
	}
	return n
}
