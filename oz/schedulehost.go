package oz

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

// scheduleHost makes the runs of schedules.
type scheduleHost struct{ p *Platform }

var _ schedule.Host = scheduleHost{}

// Start implements schedule.Host.
func (h scheduleHost) Start(ctx context.Context, s schedule.Schedule, id task.ID, _ time.Time) error {
	err := h.start(ctx, s, id)
	if err == nil {
		return nil
	}
	if found, lookErr := h.Started(ctx, id); lookErr == nil && found { // another replica, or an earlier try
		return nil
	}
	return err
}

func (h scheduleHost) start(ctx context.Context, s schedule.Schedule, id task.ID) error {
	c, err := h.p.scheduleClient(ctx, s)
	if err != nil {
		return err
	}
	spec, err := c.draftScheduled(ctx, s, scheduleRequest(s.Owner, s.Spec))
	if err != nil {
		return err
	}
	spec.ConversationID = string(id)
	crashpoint.Hit(crashpoint.SubmitStart)
	_, _, err = h.p.store.Create(ctx, task.Creation{ID: id, Spec: spec, From: task.SourceScheduledAgent,
		Now: h.p.opts.Clock.Now(), MaxWaiting: h.p.opts.MaxWaiting})
	crashpoint.Hit(crashpoint.SubmitCommitted)
	return err
}

// Started implements schedule.Host.
func (h scheduleHost) Started(ctx context.Context, id task.ID) (bool, error) {
	_, err := h.p.store.Get(ctx, id)
	if errors.Is(err, task.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// maxActive bounds the runs that one tick looks at or cancels.
const maxActive = 100

// Active implements schedule.Host. Runs that were started by hand count, and
// so do children.
func (h scheduleHost) Active(ctx context.Context, s schedule.Schedule) ([]task.ID, error) {
	page, err := h.p.store.List(ctx, task.Query{Owners: []task.Scope{s.Owner}, ScheduleID: s.ID, Limit: maxActive,
		States: []task.State{task.StateQueued, task.StatePending, task.StateClaimed, task.StateInProgress}})
	if err != nil {
		return nil, err
	}
	ids := make([]task.ID, 0, len(page.Tasks))
	for _, t := range page.Tasks {
		ids = append(ids, t.ID)
	}
	return ids, nil
}

// Cancel implements schedule.Host.
func (h scheduleHost) Cancel(ctx context.Context, s schedule.Schedule, id task.ID) error {
	_, err := h.p.store.Do(ctx, id, task.Cancel{By: s.Creator, Reason: "cancelled: schedule " + s.Name + " was due again"})
	crashpoint.Hit(crashpoint.CancelCommitted)
	if err == nil {
		return nil
	}
	if t, lookErr := h.p.store.Get(ctx, id); lookErr == nil && t.State.Ended() {
		return nil
	}
	return err
}

// scheduleClient acts as whoever the runs of a schedule are made as.
func (p *Platform) scheduleClient(ctx context.Context, s schedule.Schedule) (*Client, error) {
	return p.actingClient(ctx, "schedule", s.Owner, s.AgentUID, s.Creator)
}

func memberships(team string) []access.Membership {
	return []access.Membership{{UID: team, Role: access.RoleMember}}
}

// narrowed is a caller who acts for the owner of something only.
func narrowed(c access.Caller, owner task.Scope) access.Caller {
	if owner.Type == task.ScopeTeam {
		c.Teams = slices.DeleteFunc(slices.Clone(c.Teams), func(m access.Membership) bool { return m.UID != owner.UID })
	}
	return c
}

// withoutPerson reports that no person started the run: one that an event made,
// or one of a schedule, also when somebody set it off by hand, since others
// decide what it does. Children take that over with their parent's metadata.
func withoutPerson(t task.Task) bool {
	return t.Origin != nil || t.Source == task.SourceScheduledAgent || t.Metadata[metaScheduleID] != ""
}
