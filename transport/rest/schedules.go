package rest

import (
	"context"
	"encoding/json"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// defaultTicks is how many ticks are told when nobody says how many.
const defaultTicks = 50

// ListSchedules implements GET /agent/schedules.
func (o operations) ListSchedules(ctx context.Context, _ api.ListSchedulesRequestObject) (api.ListSchedulesResponseObject, error) {
	list, err := callOf(ctx).client.Schedules(ctx)
	if err != nil {
		return nil, err
	}
	return api.ListSchedules200JSONResponse{Schedules: wire.Each(list, wire.Schedule)}, nil
}

// CreateSchedule implements POST /agent/schedules.
func (o operations) CreateSchedule(ctx context.Context, r api.CreateScheduleRequestObject) (api.CreateScheduleResponseObject, error) {
	s, err := callOf(ctx).client.CreateSchedule(ctx, wire.ScheduleInputOf(*r.Body))
	if err != nil {
		return nil, err
	}
	return api.CreateSchedule201JSONResponse(wire.Schedule(s)), nil
}

// GetSchedule implements GET /agent/schedules/{scheduleId}.
func (o operations) GetSchedule(ctx context.Context, r api.GetScheduleRequestObject) (api.GetScheduleResponseObject, error) {
	s, err := callOf(ctx).client.Schedule(ctx, r.ScheduleId)
	if err != nil {
		return nil, err
	}
	return api.GetSchedule200JSONResponse(wire.Schedule(s)), nil
}

// UpdateSchedule implements PUT /agent/schedules/{scheduleId}.
func (o operations) UpdateSchedule(ctx context.Context, r api.UpdateScheduleRequestObject) (api.UpdateScheduleResponseObject, error) {
	c := callOf(ctx)
	var given struct { // absent is not false: it would pause the schedule
		Enabled *bool `json:"enabled"`
	}
	if err := json.Unmarshal(c.body, &given); err != nil {
		return nil, err
	}
	if given.Enabled == nil {
		return nil, task.Invalid("enabled", "is required")
	}
	s, err := c.client.UpdateSchedule(ctx, r.ScheduleId, wire.ScheduleChangeOf(*r.Body))
	if err != nil {
		return nil, err
	}
	return api.UpdateSchedule200JSONResponse(wire.Schedule(s)), nil
}

// DeleteSchedule implements DELETE /agent/schedules/{scheduleId}.
func (o operations) DeleteSchedule(ctx context.Context, r api.DeleteScheduleRequestObject) (api.DeleteScheduleResponseObject, error) {
	if err := callOf(ctx).client.DeleteSchedule(ctx, r.ScheduleId); err != nil {
		return nil, err
	}
	return api.DeleteSchedule200JSONResponse{Success: true}, nil
}

// PauseSchedule implements POST /agent/schedules/{scheduleId}/pause.
func (o operations) PauseSchedule(ctx context.Context, r api.PauseScheduleRequestObject) (api.PauseScheduleResponseObject, error) {
	s, err := callOf(ctx).client.PauseSchedule(ctx, r.ScheduleId)
	if err != nil {
		return nil, err
	}
	return api.PauseSchedule200JSONResponse(wire.Schedule(s)), nil
}

// ResumeSchedule implements POST /agent/schedules/{scheduleId}/resume.
func (o operations) ResumeSchedule(ctx context.Context, r api.ResumeScheduleRequestObject) (api.ResumeScheduleResponseObject, error) {
	s, err := callOf(ctx).client.ResumeSchedule(ctx, r.ScheduleId)
	if err != nil {
		return nil, err
	}
	return api.ResumeSchedule200JSONResponse(wire.Schedule(s)), nil
}

// RunSchedule implements POST /oz/schedules/{scheduleId}/run.
func (o operations) RunSchedule(ctx context.Context, r api.RunScheduleRequestObject) (api.RunScheduleResponseObject, error) {
	c := callOf(ctx)
	t, err := c.client.RunSchedule(ctx, r.ScheduleId, oz.ScheduleRun{IdempotencyKey: c.request.Header.Get("Idempotency-Key"),
		Source: sourceOf(c.request, task.SourceCLI, task.SourceWebApp, task.SourceCloudMode)})
	if err != nil {
		return nil, err
	}
	answer, err := o.created(c, t)
	return api.RunSchedule200JSONResponse{RunCreatedJSONResponse: api.RunCreatedJSONResponse(answer)}, err
}

// ListScheduleTicks implements GET /oz/schedules/{scheduleId}/ticks.
func (o operations) ListScheduleTicks(ctx context.Context, r api.ListScheduleTicksRequestObject) (api.ListScheduleTicksResponseObject, error) {
	c, limit := callOf(ctx), r.Params.Limit
	if !c.request.URL.Query().Has("limit") {
		limit = defaultTicks
	}
	list, err := c.client.ScheduleTicks(ctx, r.ScheduleId, limit)
	if err != nil {
		return nil, err
	}
	return api.ListScheduleTicks200JSONResponse{Ticks: wire.Each(list, wire.ScheduleTick)}, nil
}

// defaultPreview is how many ticks a preview tells when nobody says how many.
const defaultPreview = 5

// PreviewSchedule implements GET /oz/schedule-preview.
func (o operations) PreviewSchedule(ctx context.Context, r api.PreviewScheduleRequestObject) (api.PreviewScheduleResponseObject, error) {
	c, limit := callOf(ctx), r.Params.Limit
	if !c.request.URL.Query().Has("limit") {
		limit = defaultPreview
	}
	next, err := c.client.PreviewSchedule(ctx, r.Params.CronSchedule, r.Params.TimeZone, limit)
	if err != nil {
		return nil, err
	}
	return api.PreviewSchedule200JSONResponse{Next: next}, nil
}
