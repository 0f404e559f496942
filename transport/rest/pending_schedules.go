package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/transport/api"
)

// ListSchedules is not served yet.
func (o operations) ListSchedules(context.Context, api.ListSchedulesRequestObject) (api.ListSchedulesResponseObject, error) {
	return nil, errNotServed()
}

// CreateSchedule is not served yet.
func (o operations) CreateSchedule(context.Context, api.CreateScheduleRequestObject) (api.CreateScheduleResponseObject, error) {
	return nil, errNotServed()
}

// DeleteSchedule is not served yet.
func (o operations) DeleteSchedule(context.Context, api.DeleteScheduleRequestObject) (api.DeleteScheduleResponseObject, error) {
	return nil, errNotServed()
}

// GetSchedule is not served yet.
func (o operations) GetSchedule(context.Context, api.GetScheduleRequestObject) (api.GetScheduleResponseObject, error) {
	return nil, errNotServed()
}

// UpdateSchedule is not served yet.
func (o operations) UpdateSchedule(context.Context, api.UpdateScheduleRequestObject) (api.UpdateScheduleResponseObject, error) {
	return nil, errNotServed()
}

// PauseSchedule is not served yet.
func (o operations) PauseSchedule(context.Context, api.PauseScheduleRequestObject) (api.PauseScheduleResponseObject, error) {
	return nil, errNotServed()
}

// ResumeSchedule is not served yet.
func (o operations) ResumeSchedule(context.Context, api.ResumeScheduleRequestObject) (api.ResumeScheduleResponseObject, error) {
	return nil, errNotServed()
}

// RunSchedule is not served yet.
func (o operations) RunSchedule(context.Context, api.RunScheduleRequestObject) (api.RunScheduleResponseObject, error) {
	return nil, errNotServed()
}

// ListScheduleTicks is not served yet.
func (o operations) ListScheduleTicks(context.Context, api.ListScheduleTicksRequestObject) (api.ListScheduleTicksResponseObject, error) {
	return nil, errNotServed()
}
