package ozagent

import (
	"context"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// Limits of the task list, so that it stays one that a person reads.
const (
	maxTodos     = 50
	maxTodoBytes = 1000 // title and description each
)

func updateTodosTool() tool {
	type input struct {
		Todos []struct {
			Title       string `json:"title"`
			Description string `json:"description"`
			Done        bool   `json:"done"`
		} `json:"todos"`
	}
	return define(tool{
		name: "update_todos", category: task.CategoryDocuments, repeatable: true,
		description: "Replace the task list that people see. Use it for work of several steps, and mark steps done as they are.",
		schema: `{"type":"object","properties":{"todos":{"type":"array","items":{"type":"object","properties":{
			"title":{"type":"string"},"description":{"type":"string"},"done":{"type":"boolean"}},
			"required":["title"]}}},"required":["todos"]}`,
	}, func(ctx context.Context, a *agent, _ *toolCall, in input) (result, error) {
		if len(in.Todos) > maxTodos {
			return result{}, badInput("todos has %d entries, at most %d are possible", len(in.Todos), maxTodos)
		}
		list := &task.Todos{Items: []task.Todo{}}
		done := 0
		for i, t := range in.Todos {
			title := strings.TrimSpace(t.Title)
			if title == "" || len(title) > maxTodoBytes || len(t.Description) > maxTodoBytes {
				return result{}, badInput("todos[%d]: title is needed, title and description have at most %d bytes", i, maxTodoBytes)
			}
			if t.Done {
				done++
			}
			list.Items = append(list.Items, task.Todo{
				Title: a.s.Redactor.String(title), Description: a.s.Redactor.String(t.Description), Done: t.Done,
			})
		}
		if err := a.post(ctx, list); err != nil {
			return result{}, err
		}
		return resultOK(fmt.Sprintf("%d of %d done.", done, len(list.Items)), nil), nil
	})
}
