package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// link gives the runner's side of the platform; it fails for callers that are
// no run token.
func (o operations) link(ctx context.Context) (executor.Link, error) {
	return o.platform.Link(callOf(ctx).caller)
}

// GetExecutionBundle implements GET /oz/executions/current/bundle.
func (o operations) GetExecutionBundle(ctx context.Context, _ api.GetExecutionBundleRequestObject) (api.GetExecutionBundleResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	bundle, err := link.Bundle(ctx)
	if err != nil {
		return nil, err
	}
	return api.GetExecutionBundle200JSONResponse(*bundle), nil
}

// BeginExecution implements POST /oz/executions/current/begin.
func (o operations) BeginExecution(ctx context.Context, _ api.BeginExecutionRequestObject) (api.BeginExecutionResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	return api.BeginExecution200JSONResponse{}, link.Begin(ctx)
}

// AppendExecutionEvents implements POST /oz/executions/current/events.
func (o operations) AppendExecutionEvents(ctx context.Context, r api.AppendExecutionEventsRequestObject) (api.AppendExecutionEventsResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	return api.AppendExecutionEvents200JSONResponse{}, link.Append(ctx, r.Body.Offset, r.Body.Events)
}

// ListExecutionEvents implements GET /oz/executions/current/events.
func (o operations) ListExecutionEvents(ctx context.Context, r api.ListExecutionEventsRequestObject) (api.ListExecutionEventsResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	events, err := link.Events(ctx, r.Params.After, pageSize(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	return eventPage(events), nil
}

// HeartbeatExecution implements POST /oz/executions/current/heartbeat.
func (o operations) HeartbeatExecution(ctx context.Context, _ api.HeartbeatExecutionRequestObject) (api.HeartbeatExecutionResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	beat, err := link.Heartbeat(ctx)
	return api.HeartbeatExecution200JSONResponse(beat), err
}

// UploadArtifact implements PUT /oz/executions/current/uploads/{artifactUid}.
// The platform bounds what is read.
func (o operations) UploadArtifact(ctx context.Context, r api.UploadArtifactRequestObject) (api.UploadArtifactResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	blob, size, err := link.Upload(ctx, r.ArtifactUid, r.Body)
	if err != nil {
		return nil, err
	}
	return api.UploadArtifact200JSONResponse{Blob: blob, SizeBytes: size}, nil
}

// ReserveBudget implements POST /oz/executions/current/reserve.
func (o operations) ReserveBudget(ctx context.Context, r api.ReserveBudgetRequestObject) (api.ReserveBudgetResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	reserved, err := link.Reserve(ctx, *r.Body)
	if err != nil {
		return nil, err
	}
	return api.ReserveBudget200JSONResponse(reserved), nil
}

// EndExecution implements POST /oz/executions/current/end.
func (o operations) EndExecution(ctx context.Context, r api.EndExecutionRequestObject) (api.EndExecutionResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	return api.EndExecution200JSONResponse{}, link.End(ctx, wire.EndOf(*r.Body))
}

// outreach is a link of a platform that takes word from programs around an
// agent.
func (o operations) outreach(ctx context.Context) (executor.Outreach, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	r, ok := link.(executor.Outreach)
	if !ok {
		return nil, task.Errorf(task.CodeFeatureNotAvailable, "this server takes reports from the agent's own runner only")
	}
	return r, nil
}

// ReportArtifact implements POST /oz/executions/current/artifacts.
func (o operations) ReportArtifact(ctx context.Context, r api.ReportArtifactRequestObject) (api.ReportArtifactResponseObject, error) {
	link, err := o.outreach(ctx)
	if err != nil {
		return nil, err
	}
	uid, err := link.ReportArtifact(ctx, *r.Body)
	if err != nil {
		return nil, err
	}
	return api.ReportArtifact200JSONResponse{ArtifactUid: uid}, nil
}

// NotifyUser implements POST /oz/executions/current/notes.
func (o operations) NotifyUser(ctx context.Context, r api.NotifyUserRequestObject) (api.NotifyUserResponseObject, error) {
	link, err := o.outreach(ctx)
	if err != nil {
		return nil, err
	}
	return api.NotifyUser200JSONResponse{}, link.NotifyUser(ctx, *r.Body)
}
