package tools

import (
	"context"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// Limits of the task list, so that it stays one that a person reads.
const (
	maxTodos     = 50
	maxTodoBytes = 1000 // title and description each
)

type todosInput struct {
	Todos []struct {
		Title       string `json:"title"`
		Description string `json:"description"`
		Done        bool   `json:"done"`
	} `json:"todos"`
}

func updateTodos(s *harness.Session) harness.Tool {
	return harness.DefineTool(harness.Tool{
		Name: NameUpdateTodos, Category: task.CategoryDocuments, Repeatable: true,
		Description: "Replace the task list that people see. Use it for work of several steps, and mark steps done as they are.",
		Schema: `{"type":"object","properties":{"todos":{"type":"array","items":{"type":"object","properties":{
			"title":{"type":"string"},"description":{"type":"string"},"done":{"type":"boolean"}},
			"required":["title"]}}},"required":["todos"]}`,
	}, func(ctx context.Context, _ harness.ToolCall, in todosInput) (harness.ToolAnswer, error) {
		if len(in.Todos) > maxTodos {
			return harness.ToolAnswer{}, harness.BadInput("todos has %d entries, at most %d are possible", len(in.Todos), maxTodos)
		}
		list := &task.Todos{Items: []task.Todo{}}
		done := 0
		for i, t := range in.Todos {
			title := strings.TrimSpace(t.Title)
			if title == "" || len(title) > maxTodoBytes || len(t.Description) > maxTodoBytes {
				return harness.ToolAnswer{}, harness.BadInput("todos[%d]: title is needed, title and description have at most %d bytes", i, maxTodoBytes)
			}
			if t.Done {
				done++
			}
			list.Items = append(list.Items, task.Todo{Title: clean(s, title), Description: clean(s, t.Description), Done: t.Done})
		}
		if err := s.Journal.Post(ctx, list); err != nil {
			return harness.ToolAnswer{}, err
		}
		return harness.ToolAnswer{Text: fmt.Sprintf("%d of %d done.", done, len(list.Items))}, nil
	})
}
