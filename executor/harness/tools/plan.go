package tools

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// maxPlanBytes bounds a plan.
const maxPlanBytes = 256 << 10

type planInput struct {
	Title       string       `json:"title"`
	Markdown    string       `json:"markdown"`
	Children    []spawnInput `json:"children"`
	Parallelism int          `json:"parallelism"`
}

// orchestration is the part of the plan that the platform holds the run to.
func (in planInput) orchestration() (*executor.Orchestration, error) {
	if len(in.Children) == 0 {
		if in.Parallelism != 0 {
			return nil, harness.BadInput("parallelism is for plans with children")
		}
		return nil, nil
	}
	o := &executor.Orchestration{Parallelism: in.Parallelism}
	for _, c := range in.Children {
		o.Children = append(o.Children, c.spawn())
	}
	if err := o.Validate(); err != nil {
		return nil, harness.BadInput("%v", err)
	}
	return o, nil
}

func writePlan(s *harness.Session, r *reporter) harness.Tool {
	return harness.DefineTool(harness.Tool{
		Name: NameWritePlan, Category: task.CategoryDocuments, Repeatable: true, When: whilePlanning,
		Description: "Hand in the plan as a Markdown document, or a new version of it. In orchestrate mode children names all runs that you will start: nothing else can be started once a person has approved it.",
		Schema: `{"type":"object","properties":{"title":{"type":"string"},"markdown":{"type":"string"},
			"children":{"type":"array","items":{"type":"object","properties":{` + childSchema + `},"required":["key","prompt"]}},
			"parallelism":{"type":"integer","description":"how many of them may work at once"}},"required":["title","markdown"]}`,
	}, func(ctx context.Context, _ harness.ToolCall, in planInput) (harness.ToolAnswer, error) {
		if strings.TrimSpace(in.Title) == "" || strings.TrimSpace(in.Markdown) == "" || len(in.Markdown) > maxPlanBytes {
			return harness.ToolAnswer{}, harness.BadInput("title and markdown are needed; markdown has at most %d bytes", maxPlanBytes)
		}
		plan, err := in.orchestration()
		if err != nil {
			return harness.ToolAnswer{}, err
		}
		return handIn(ctx, s, r, in.Title, clean(s, in.Markdown), plan)
	})
}

// handIn uploads a version of the plan and reports it.
func handIn(ctx context.Context, s *harness.Session, r *reporter, title, text string, plan *executor.Orchestration) (harness.ToolAnswer, error) {
	art := task.Artifact{Type: task.ArtifactPlan, Title: title, Path: "plan.md", MIMEType: "text/markdown; charset=utf-8",
		DocumentUID: executor.PlanDocument(s.Task.ID)} // a run has one plan, of which each call hands in a version
	parts := []string{"plan", title, text}
	if plan != nil {
		data, err := json.Marshal(executor.PlanMetadata{Orchestration: plan})
		if err != nil {
			return harness.ToolAnswer{}, fmt.Errorf("encode plan: %w", err)
		}
		if names := s.Redactor.Contains(data); len(names) > 0 {
			return harness.ToolAnswer{}, harness.Deny("The plan contains the secret %s; it was not handed in.", strings.Join(names, ", "))
		}
		art.Metadata, parts = data, append(parts, string(data))
	}
	art.UID = uid(s, parts...)
	var err error
	if art.Blob, art.SizeBytes, err = s.Link.Upload(ctx, art.UID, strings.NewReader(text)); err != nil {
		return harness.ToolAnswer{}, harness.RefusedBy("take the plan", err)
	}
	if err := r.report(ctx, art); err != nil {
		return harness.ToolAnswer{}, err
	}
	return harness.ToolAnswer{Text: "The plan is handed in. End your turn now; a person approves it or says what to change.",
		Output: map[string]any{"artifact_uid": art.UID}}, nil
}
