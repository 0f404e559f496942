package tools

import (
	"context"
	"strings"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

func askUser() harness.Tool {
	type input struct {
		Question string `json:"question"`
	}
	return harness.DefineTool(harness.Tool{
		Name: NameAskUser, Category: task.CategoryDocuments, Repeatable: true,
		Description: "Ask the user and stop until there is an answer. Only for what you cannot find out or decide yourself.",
		Schema:      `{"type":"object","properties":{"question":{"type":"string"}},"required":["question"]}`,
	}, func(_ context.Context, _ harness.ToolCall, in input) (harness.ToolAnswer, error) {
		question := strings.TrimSpace(in.Question)
		if question == "" || len(question) > maxTextBytes {
			return harness.ToolAnswer{}, harness.BadInput("question must have 1 to %d bytes", maxTextBytes)
		}
		return harness.ToolAnswer{Text: "The run waits for the answer. End your turn now.",
			End: &harness.Outcome{State: task.StateBlocked, Status: task.Status{Message: question}}}, nil
	})
}
