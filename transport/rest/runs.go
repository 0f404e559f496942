package rest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// operations implements the generated server interface. Each method reads the
// request, calls the platform as the caller, and shows the result; who may do
// it is decided by the platform's access table.
type operations struct{ *Handler }

var _ api.StrictServerInterface = operations{}

// CreateRun implements POST /agent/runs.
func (o operations) CreateRun(ctx context.Context, r api.CreateRunRequestObject) (api.CreateRunResponseObject, error) {
	answer, err := o.create(ctx, *r.Body)
	return api.CreateRun200JSONResponse{RunCreatedJSONResponse: api.RunCreatedJSONResponse(answer)}, err
}

// CreateRunAlias implements the deprecated POST /agent/run.
func (o operations) CreateRunAlias(ctx context.Context, r api.CreateRunAliasRequestObject) (api.CreateRunAliasResponseObject, error) {
	answer, err := o.create(ctx, *r.Body)
	return api.CreateRunAlias200JSONResponse{RunCreatedJSONResponse: api.RunCreatedJSONResponse(answer)}, err
}

func (o operations) create(ctx context.Context, body api.RunAgentRequest) (api.RunAgentResponse, error) {
	c := callOf(ctx)
	req := wire.RequestOf(body)
	req.IdempotencyKey = c.request.Header.Get("Idempotency-Key")
	req.Source = sourceOf(c.request, task.SourceCLI, task.SourceWebApp, task.SourceCloudMode)
	t, err := o.submit(ctx, c, req)
	if err != nil {
		return api.RunAgentResponse{}, err
	}
	return o.created(c, t)
}

// created answers for a run that was made.
func (o operations) created(c *call, t task.Task) (api.RunAgentResponse, error) {
	answer := wire.Created(t)
	answer.AtCapacity = t.State == task.StateQueued && o.platform.AtCapacity()
	if wantsRun(c.request) {
		run, err := o.item(c, t)
		if err != nil {
			return api.RunAgentResponse{}, err
		}
		answer.Run = &run
	}
	return answer, nil
}

// submit stores a run, or finds the one that the first attempt of a retried
// request has made.
func (o operations) submit(ctx context.Context, c *call, req oz.Request) (task.Task, error) {
	if req.IdempotencyKey != "" {
		return c.client.Submit(ctx, req)
	}
	stored := func(since time.Time) (task.Task, bool, error) { return c.client.Submitted(ctx, req, since) }
	submit := func() (task.Task, error) { return c.client.Submit(ctx, req) }
	t, id, err := o.recent.do(ctx, c.caller, c.body, isRetry(c.request), stored, submit)
	if err != nil || t.ID != "" {
		return t, err
	}
	return c.client.Get(ctx, id)
}

// sourceOf reads what the caller says made the run; only what is allowed
// counts, since a source can decide what may be done with a run.
func sourceOf(r *http.Request, allowed ...task.Source) task.Source {
	s := task.Source(r.Header.Get("Oz-Source"))
	if slices.Contains(allowed, s) {
		return s
	}
	return ""
}

// wantsRun reports whether the run itself is to be part of the answer (RFC 7240).
func wantsRun(r *http.Request) bool {
	return slices.ContainsFunc(r.Header.Values("Prefer"), func(s string) bool { return strings.Contains(s, "return=representation") })
}

// item shows a run to the caller. What may be credentials in it is for those
// only who may change the run.
func (h *Handler) item(c *call, t task.Task) (api.RunItem, error) {
	mayManage := access.Allow(c.caller, access.RunCancel, access.OfRun(t)) == nil
	return wire.RunItem(t, wire.RunView{Now: h.opts.Clock.Now(), PublicURL: h.platform.PublicURL(), MaskMCP: !mayManage})
}

// GetRun implements GET /agent/runs/{runId}.
func (o operations) GetRun(ctx context.Context, r api.GetRunRequestObject) (api.GetRunResponseObject, error) {
	c := callOf(ctx)
	t, err := c.client.Get(ctx, task.ID(r.RunId))
	if err != nil {
		return nil, err
	}
	item, err := o.item(c, t)
	return api.GetRun200JSONResponse(item), err
}

// ListRuns implements GET /agent/runs; readQuery has read its query.
func (o operations) ListRuns(ctx context.Context, _ api.ListRunsRequestObject) (api.ListRunsResponseObject, error) {
	c := callOf(ctx)
	answer := api.ListRuns200JSONResponse{Runs: []api.RunItem{}}
	if c.list.Nothing {
		return answer, nil
	}
	page, err := c.client.List(ctx, c.list.Query)
	if err != nil {
		return nil, err
	}
	for _, t := range page.Tasks {
		item, err := o.item(c, t)
		if err != nil {
			return nil, err
		}
		answer.Runs = append(answer.Runs, item)
	}
	if page.Next != nil {
		answer.PageInfo = api.PageInfo{HasNextPage: true, NextCursor: page.Next.String()}
	}
	return answer, nil
}

// CancelRun implements POST /agent/runs/{runId}/cancel.
func (o operations) CancelRun(ctx context.Context, r api.CancelRunRequestObject) (api.CancelRunResponseObject, error) {
	if err := callOf(ctx).client.Cancel(ctx, task.ID(r.RunId)); err != nil {
		return nil, err
	}
	return api.CancelRun200JSONResponse(r.RunId), nil
}

// FollowUpRun implements POST /agent/runs/{runId}/followups.
func (o operations) FollowUpRun(ctx context.Context, r api.FollowUpRunRequestObject) (api.FollowUpRunResponseObject, error) {
	var m oz.Message
	if r.Body != nil {
		m = oz.Message{Text: r.Body.Message, Mode: task.Mode(r.Body.Mode)}
	}
	if err := callOf(ctx).client.FollowUp(ctx, task.ID(r.RunId), m); err != nil {
		return nil, err
	}
	return api.FollowUpRun200JSONResponse{}, nil
}

// ListRunExecutions implements GET /oz/runs/{runId}/executions.
func (o operations) ListRunExecutions(ctx context.Context, r api.ListRunExecutionsRequestObject) (api.ListRunExecutionsResponseObject, error) {
	list, err := callOf(ctx).client.Executions(ctx, task.ID(r.RunId))
	if err != nil {
		return nil, err
	}
	return api.ListRunExecutions200JSONResponse{Executions: wire.Executions(list)}, nil
}

// CreateLocalRun implements POST /oz/local-runs.
func (o operations) CreateLocalRun(ctx context.Context, r api.CreateLocalRunRequestObject) (api.CreateLocalRunResponseObject, error) {
	c := callOf(ctx)
	if r.Body == nil {
		return nil, errors.New("no body")
	}
	req := wire.RequestOf(*r.Body)
	req.IdempotencyKey = c.request.Header.Get("Idempotency-Key")
	req.Source = sourceOf(c.request, task.SourceCLI, task.SourceLocal, task.SourceGitHubAction)
	t, handshake, err := c.client.StartLocal(ctx, req)
	if err != nil {
		return nil, err
	}
	item, err := o.item(c, t)
	if err != nil {
		return nil, err
	}
	return api.CreateLocalRun200JSONResponse{Run: item, ExecutionId: string(handshake.ExecutionID), Token: handshake.Token.Reveal()}, nil
}

// AnswerRun implements POST /oz/runs/{runId}/answer.
func (o operations) AnswerRun(ctx context.Context, r api.AnswerRunRequestObject) (api.AnswerRunResponseObject, error) {
	a := oz.Answer{QuestionID: r.Body.QuestionId, Choice: r.Body.Choice, Text: r.Body.Text}
	if err := callOf(ctx).client.Answer(ctx, task.ID(r.RunId), a); err != nil {
		return nil, err
	}
	return api.AnswerRun200JSONResponse{}, nil
}

// ApprovePlan implements POST /oz/runs/{runId}/plan/approve.
func (o operations) ApprovePlan(ctx context.Context, r api.ApprovePlanRequestObject) (api.ApprovePlanResponseObject, error) {
	var a oz.Approval
	if r.Body != nil {
		a = oz.Approval{PlanUID: r.Body.ArtifactUid, Text: r.Body.Text}
	}
	if err := callOf(ctx).client.Approve(ctx, task.ID(r.RunId), a); err != nil {
		return nil, err
	}
	return api.ApprovePlan200JSONResponse{}, nil
}

// EditPlan implements PUT /oz/runs/{runId}/plan.
func (o operations) EditPlan(ctx context.Context, r api.EditPlanRequestObject) (api.EditPlanResponseObject, error) {
	a, err := callOf(ctx).client.EditPlan(ctx, task.ID(r.RunId), oz.PlanEdit{Title: r.Body.Title, Markdown: r.Body.Markdown, Orchestration: r.Body.Orchestration})
	if err != nil {
		return nil, err
	}
	item, err := wire.ArtifactItem(a)
	if err != nil {
		return nil, err
	}
	return editedPlan(item), nil
}

// editedPlan is the answer to EditPlan; the generated type would lose the
// encoding of the union.
type editedPlan api.ArtifactItem

// VisitEditPlanResponse implements api.EditPlanResponseObject.
func (p editedPlan) VisitEditPlanResponse(w http.ResponseWriter) error {
	data, err := api.ArtifactItem(p).MarshalJSON()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(data)
	return err
}
