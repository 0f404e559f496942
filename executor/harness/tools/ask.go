package tools

import (
	"context"
	"strings"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// askUser puts a question to a person. The run is BLOCKED until the answer
// comes; nobody's answer in time fails it, or sends the agent on, as it said.
func askUser(s *harness.Session) harness.Tool {
	type input struct {
		Question string   `json:"question"`
		Choices  []string `json:"choices"`
		Optional bool     `json:"optional"`
	}
	return harness.DefineTool(harness.Tool{
		Name: NameAskUser, Category: task.CategoryDocuments, Repeatable: true,
		Description: "Ask the user and stop until there is an answer. Only for what you cannot find out or decide yourself. " +
			"With optional, you go on without an answer when nobody gives one within a day; else the run fails then.",
		Schema: `{"type":"object","properties":{"question":{"type":"string"},
			"choices":{"type":"array","items":{"type":"string"},"description":"possible answers, if they are few"},
			"optional":{"type":"boolean"}},"required":["question"]}`,
	}, func(ctx context.Context, c harness.ToolCall, in input) (harness.ToolAnswer, error) {
		q := task.Question{ID: questionID(s, c), Kind: task.QuestionPerson, Text: clean(s, strings.TrimSpace(in.Question))}
		if q.Text == "" || len(q.Text) > task.MaxQuestionBytes {
			return harness.ToolAnswer{}, harness.BadInput("question must have 1 to %d bytes", task.MaxQuestionBytes)
		}
		for _, choice := range in.Choices {
			q.Choices = append(q.Choices, clean(s, strings.TrimSpace(choice)))
		}
		if in.Optional {
			q.OnExpiry = task.ExpiryContinue
		}
		return ask(ctx, s, q, "The run waits for the answer. End your turn now.")
	})
}

// ask puts a question and ends the agent's work by it.
func ask(ctx context.Context, s *harness.Session, q task.Question, text string) (harness.ToolAnswer, error) {
	q = s.Desk.Prepare(q)
	if err := q.Validate(); err != nil {
		return harness.ToolAnswer{}, harness.BadInput("%v", err)
	}
	if err := s.Desk.Ask(ctx, q); err != nil {
		return harness.ToolAnswer{}, harness.Refuse("%v", err)
	}
	return harness.ToolAnswer{Text: text, End: &harness.Outcome{State: task.StateBlocked, Status: task.Status{Message: q.Text, Question: &q}}}, nil
}

// questionID is the same when a call is made again.
func questionID(s *harness.Session, c harness.ToolCall) string {
	if c.ID == "" {
		return uuid.NewString()
	}
	return uid(s, "question", c.ID)
}
