package servertest

import (
	"strings"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
)

// Talker is a model that does what a word of the prompt asks: "greet" runs
// GreetCommand and succeeds, "refuse" gives up, "wait" runs a command that
// ends when the file named release exists.
func Talker(release string) scripted.Script {
	wait := "echo waiting; until [ -e '" + release + "' ]; do sleep 0.02; done; echo released"
	var steps []scripted.Step
	for word, command := range map[string]string{"greet": GreetCommand, "wait": wait} {
		steps = append(steps,
			scripted.Step{Match: asked(word, true), Text: "I do it.", ToolCalls: call("run_command", map[string]any{"command": command})},
			scripted.Step{Match: asked(word, false), Text: "It is done.", ToolCalls: call("finish", map[string]any{"outcome": "success",
				"summary": "Done: " + word + ".", "verification": []string{command}})})
	}
	steps = append(steps, scripted.Step{Match: asked("refuse", true), Text: "I cannot.",
		ToolCalls: call("finish", map[string]any{"outcome": "failure", "summary": "It cannot be done."})})
	return scripted.Script{Steps: steps}
}

// GreetCommand is what the Talker runs for "greet".
const GreetCommand = "echo hello from the agent"

func call(tool string, input map[string]any) []scripted.ToolCall {
	return []scripted.ToolCall{{Name: tool, Input: input}}
}

// asked matches a conversation whose prompt has word, before or after the
// command was run to its end.
func asked(word string, first bool) func(*scripted.Request) bool {
	return func(r *scripted.Request) bool {
		if ran(r) == first {
			return false
		}
		for _, m := range r.Messages {
			for _, b := range m.Blocks {
				if m.Role == "user" && b.Type == "text" && strings.Contains(b.Text, word) {
					return true
				}
			}
		}
		return false
	}
}

// ran reports that the conversation has the result of a command, and not of
// one that was cut off.
func ran(r *scripted.Request) bool {
	for _, m := range r.Messages {
		for _, b := range m.Blocks {
			if b.Type == "tool_result" && !b.IsError && !strings.Contains(b.Text, "interrupted") {
				return true
			}
		}
	}
	return false
}
