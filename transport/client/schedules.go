package client

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

// CreateSchedule stores a schedule.
func (c *Client) CreateSchedule(ctx context.Context, in oz.ScheduleInput) (oz.ScheduleItem, error) {
	s, err := decode[api.ScheduledAgentItem](c.raw.CreateSchedule(ctx, wire.ScheduleInput(in)))
	return wire.ScheduleOf(s), err
}

// Schedule returns one schedule. Its mode is not shown.
func (c *Client) Schedule(ctx context.Context, id string) (oz.ScheduleItem, error) {
	if err := checkID("schedule id", id); err != nil {
		return oz.ScheduleItem{}, err
	}
	s, err := decode[api.ScheduledAgentItem](c.raw.GetSchedule(ctx, id))
	return wire.ScheduleOf(s), err
}

// Schedules lists those that the caller may see, by name.
func (c *Client) Schedules(ctx context.Context) ([]oz.ScheduleItem, error) {
	answer, err := decode[api.ListScheduledAgentsResponse](c.raw.ListSchedules(ctx))
	if err != nil {
		return nil, err
	}
	return wire.Each(answer.Schedules, wire.ScheduleOf), nil
}

// UpdateSchedule changes what runs are made from now on.
func (c *Client) UpdateSchedule(ctx context.Context, id string, change oz.ScheduleChange) (oz.ScheduleItem, error) {
	if err := checkID("schedule id", id); err != nil {
		return oz.ScheduleItem{}, err
	}
	s, err := decode[api.ScheduledAgentItem](c.raw.UpdateSchedule(ctx, id, wire.ScheduleChange(change)))
	return wire.ScheduleOf(s), err
}

// DeleteSchedule removes a schedule. Its runs stay.
func (c *Client) DeleteSchedule(ctx context.Context, id string) error {
	if err := checkID("schedule id", id); err != nil {
		return err
	}
	return done(c.raw.DeleteSchedule(ctx, id))
}

// PauseSchedule keeps a schedule from starting runs.
func (c *Client) PauseSchedule(ctx context.Context, id string) (oz.ScheduleItem, error) {
	if err := checkID("schedule id", id); err != nil {
		return oz.ScheduleItem{}, err
	}
	s, err := decode[api.ScheduledAgentItem](c.raw.PauseSchedule(ctx, id))
	return wire.ScheduleOf(s), err
}

// ResumeSchedule lets it go on with the next tick.
func (c *Client) ResumeSchedule(ctx context.Context, id string) (oz.ScheduleItem, error) {
	if err := checkID("schedule id", id); err != nil {
		return oz.ScheduleItem{}, err
	}
	s, err := decode[api.ScheduledAgentItem](c.raw.ResumeSchedule(ctx, id))
	return wire.ScheduleOf(s), err
}

// RunSchedule makes a run of a schedule at once. Without an IdempotencyKey one
// is made, so that a retry after a lost answer does not make a second run.
func (c *Client) RunSchedule(ctx context.Context, id string, opts oz.ScheduleRun) (task.Task, error) {
	if err := checkID("schedule id", id); err != nil {
		return task.Task{}, err
	}
	if opts.IdempotencyKey == "" {
		opts.IdempotencyKey = uuid.NewString()
	}
	answer, err := decode[api.RunAgentResponse](c.raw.RunSchedule(ctx, id, nil, header("Idempotency-Key", opts.IdempotencyKey),
		header("Prefer", "return=representation"), header("Oz-Source", string(opts.Source))))
	if err != nil {
		return task.Task{}, err
	}
	if answer.Run == nil {
		return c.Get(ctx, task.ID(answer.RunId))
	}
	return wire.Task(*answer.Run)
}

// ScheduleTicks tells what became of the newest ticks, newest first: one line
// for each. limit is 1 to schedule.MaxTicks.
func (c *Client) ScheduleTicks(ctx context.Context, id string, limit int) ([]schedule.Tick, error) {
	if err := checkID("schedule id", id); err != nil {
		return nil, err
	}
	answer, err := decode[api.ListScheduleTicksResponse](c.raw.ListScheduleTicks(ctx, id, nil, query(url.Values{"limit": {strconv.Itoa(limit)}})))
	if err != nil {
		return nil, err
	}
	return wire.Each(answer.Ticks, wire.ScheduleTickOf), nil
}

// PreviewSchedule tells the next ticks of an expression in a time zone (an IANA
// name, empty for UTC), before there is a schedule. limit is 1 to oz.MaxPreview.
func (c *Client) PreviewSchedule(ctx context.Context, expression, zone string, limit int) ([]time.Time, error) {
	answer, err := decode[api.SchedulePreview](c.raw.PreviewSchedule(ctx, nil,
		query(url.Values{"cron_schedule": {expression}, "time_zone": {zone}, "limit": {strconv.Itoa(limit)}})))
	if err != nil {
		return nil, err
	}
	return answer.Next, nil
}
