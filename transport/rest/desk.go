package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// SpawnChild implements POST /oz/executions/current/children.
func (o operations) SpawnChild(ctx context.Context, r api.SpawnChildRequestObject) (api.SpawnChildResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	child, err := link.Spawn(ctx, *r.Body)
	if err != nil {
		return nil, err
	}
	return api.SpawnChild200JSONResponse(child), nil
}

// ListFamily implements GET /oz/executions/current/family.
func (o operations) ListFamily(ctx context.Context, _ api.ListFamilyRequestObject) (api.ListFamilyResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	runs, err := link.Family(ctx)
	if err != nil {
		return nil, err
	}
	return api.ListFamily200JSONResponse{Runs: runs}, nil
}

// CancelChild implements POST /oz/executions/current/children/{runId}/cancel.
func (o operations) CancelChild(ctx context.Context, r api.CancelChildRequestObject) (api.CancelChildResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	return api.CancelChild200JSONResponse{}, link.CancelChild(ctx, task.ID(r.RunId))
}

// AwaitRuns implements POST /oz/executions/current/await.
func (o operations) AwaitRuns(ctx context.Context, r api.AwaitRunsRequestObject) (api.AwaitRunsResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	news, err := link.Await(ctx, *r.Body)
	if err != nil {
		return nil, err
	}
	return api.AwaitRuns200JSONResponse(news), nil
}

// SendRunMessage implements POST /oz/executions/current/messages.
func (o operations) SendRunMessage(ctx context.Context, r api.SendRunMessageRequestObject) (api.SendRunMessageResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	return api.SendRunMessage200JSONResponse{}, link.SendMail(ctx, *r.Body)
}

// ReadRunMessage implements POST /oz/executions/current/messages/{messageId}/read.
func (o operations) ReadRunMessage(ctx context.Context, r api.ReadRunMessageRequestObject) (api.ReadRunMessageResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	m, err := link.ReadMail(ctx, task.MailID(r.MessageId))
	if err != nil {
		return nil, err
	}
	return api.ReadRunMessage200JSONResponse(wire.Mail(m)), nil
}
