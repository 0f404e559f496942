package oz

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

// Metadata of the runs of a schedule: the schedule as it was then.
const (
	metaScheduleID   = "schedule_id"
	metaScheduleName = "schedule_name"
	metaScheduleCron = "cron_schedule"
)

// ScheduleInput asks for a schedule (Oz API, CreateScheduledAgentRequest).
type ScheduleInput struct {
	schedule.Spec
	// Team says whose it is, as in Request; that never changes.
	Team *bool
}

// ScheduleChange is a new version of a schedule. What is nil keeps its value,
// what is empty clears it (Oz API, UpdateScheduledAgentRequest).
type ScheduleChange struct {
	Name, Cron string
	Enabled    bool
	Prompt     *string
	Config     *task.Config
	AgentUID   *string
	Metadata   *map[string]string
	Mode       *task.Mode
	Timing     *schedule.Timing
}

// ScheduleItem is a schedule with what is told of it (Oz API,
// ScheduledAgentItem).
type ScheduleItem struct {
	schedule.Schedule
	// Environment is the configuration of the one that Config names; nil when
	// it names none that the caller may see.
	Environment *environment.Config
	// NextRun is the next tick; zero when the schedule is paused.
	NextRun time.Time
	// Manageable says that the caller may change it.
	Manageable bool
}

// CreateSchedule stores a schedule. Its runs are made as its creator, or as its
// agent when it names one. It fails with task.CodeInvalidRequest.
func (c *Client) CreateSchedule(ctx context.Context, in ScheduleInput) (ScheduleItem, error) {
	owner, err := c.owner(ctx, access.ScheduleCreate, in.Team)
	if err != nil {
		return ScheduleItem{}, err
	}
	if err := in.Validate(); err != nil {
		return ScheduleItem{}, err
	}
	if err := c.Entitled(ctx, FeatureSchedule, owner); err != nil {
		return ScheduleItem{}, err
	}
	if err := c.judgeSchedule(ctx, owner, in.Spec); err != nil {
		return ScheduleItem{}, err
	}
	d := &deed{action: access.ScheduleCreate, kind: "schedule", owner: owner, details: map[string]string{"name": in.Name}}
	s, err := doing(ctx, c, d, func() (schedule.Schedule, error) {
		s, err := c.p.schedules.Create(ctx, owner, c.caller.Principal, in.Spec)
		d.id = s.ID
		return s, err
	})
	if err != nil {
		return ScheduleItem{}, err
	}
	return c.scheduleItem(ctx, s)
}

// Schedule returns one schedule.
func (c *Client) Schedule(ctx context.Context, id string) (ScheduleItem, error) {
	s, err := c.schedule(ctx, id, access.ScheduleView)
	if err != nil {
		return ScheduleItem{}, err
	}
	return c.scheduleItem(ctx, s)
}

// schedule reads one and checks that the caller may do a to it.
func (c *Client) schedule(ctx context.Context, id string, a access.Action) (schedule.Schedule, error) {
	s, err := c.p.schedules.Get(ctx, id)
	if err == nil {
		err = c.allowTo(ctx, a, access.Object{Owner: s.Owner, Creator: s.Creator}, "schedule", id)
	} else {
		err = c.absent(ctx, a, "schedule", id, err)
	}
	if errors.Is(err, task.ErrNotFound) { // the same words for none and for a hidden one
		err = task.Errorf(task.CodeNotFound, "schedule %.50q does not exist, or you may not see it", id)
	}
	if err != nil {
		return schedule.Schedule{}, err
	}
	return s, nil
}

// Schedules lists those that the caller may see, by name.
func (c *Client) Schedules(ctx context.Context) ([]ScheduleItem, error) {
	if err := c.allow(ctx, access.ScheduleView, access.Object{}); err != nil {
		return nil, err
	}
	owners := c.caller.Scopes()
	if c.caller.System {
		owners = []task.Scope{c.p.opts.Owner}
	}
	list, err := c.p.schedules.List(ctx, owners...)
	if err != nil {
		return nil, err
	}
	known := environments{}
	items := make([]ScheduleItem, 0, len(list))
	for _, s := range list {
		item, err := c.scheduleItemWith(ctx, s, known)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// UpdateSchedule changes what runs are made from now on. Runs that exist keep
// what they were created with.
func (c *Client) UpdateSchedule(ctx context.Context, id string, change ScheduleChange) (ScheduleItem, error) {
	return c.changeSchedule(ctx, id, "update", func(owner task.Scope, spec *schedule.Spec) error {
		change.apply(spec)
		if err := spec.Validate(); err != nil {
			return err
		}
		return c.judgeSchedule(ctx, owner, *spec)
	})
}

func (ch ScheduleChange) apply(spec *schedule.Spec) {
	spec.Name, spec.Cron, spec.Enabled = ch.Name, ch.Cron, ch.Enabled
	set(&spec.Prompt, ch.Prompt)
	set(&spec.Config, ch.Config)
	set(&spec.AgentUID, ch.AgentUID)
	set(&spec.Metadata, ch.Metadata)
	set(&spec.Mode, ch.Mode)
	set(&spec.Timing, ch.Timing)
}

// PauseSchedule keeps a schedule from starting runs. Pausing a paused one is
// no error.
func (c *Client) PauseSchedule(ctx context.Context, id string) (ScheduleItem, error) {
	return c.changeSchedule(ctx, id, "pause", func(_ task.Scope, spec *schedule.Spec) error { spec.Enabled = false; return nil })
}

// ResumeSchedule lets it go on with the next tick. Resuming an enabled one is
// no error.
func (c *Client) ResumeSchedule(ctx context.Context, id string) (ScheduleItem, error) {
	return c.changeSchedule(ctx, id, "resume", func(_ task.Scope, spec *schedule.Spec) error { spec.Enabled = true; return nil })
}

func (c *Client) changeSchedule(ctx context.Context, id, what string, change func(task.Scope, *schedule.Spec) error) (ScheduleItem, error) {
	s, err := c.schedule(ctx, id, access.ScheduleManage)
	if err != nil {
		return ScheduleItem{}, err
	}
	s, err = doing(ctx, c, scheduleDeed(s, what), func() (schedule.Schedule, error) {
		return c.p.schedules.Update(ctx, id, c.caller.Principal, func(spec *schedule.Spec) error { return change(s.Owner, spec) })
	})
	if err != nil {
		return ScheduleItem{}, err
	}
	return c.scheduleItem(ctx, s)
}

// DeleteSchedule removes a schedule with its ledger. Its runs stay.
func (c *Client) DeleteSchedule(ctx context.Context, id string) error {
	s, err := c.schedule(ctx, id, access.ScheduleManage)
	if err != nil {
		return err
	}
	return c.audited(ctx, scheduleDeed(s, "delete"), func() error { return c.p.schedules.Delete(ctx, id) })
}

// ScheduleTicks tells what became of the newest ticks, newest first: one line
// for each. limit is 1 to schedule.MaxTicks.
func (c *Client) ScheduleTicks(ctx context.Context, id string, limit int) ([]schedule.Tick, error) {
	if _, err := c.schedule(ctx, id, access.ScheduleView); err != nil {
		return nil, err
	}
	return c.p.schedules.Ticks(ctx, id, limit)
}

// MaxPreview is the most ticks that PreviewSchedule tells.
const MaxPreview = 50

// PreviewSchedule tells the next ticks of an expression in a time zone (an IANA
// name, empty for UTC) from now on, before there is a schedule. limit is 1 to
// MaxPreview. It fails with task.CodeInvalidRequest as CreateSchedule would.
func (c *Client) PreviewSchedule(ctx context.Context, expression, zone string, limit int) ([]time.Time, error) {
	if err := c.allow(ctx, access.ScheduleView, access.Object{}); err != nil {
		return nil, err
	}
	if limit < 1 || limit > MaxPreview {
		return nil, task.Invalid("limit", "must be 1 to %d", MaxPreview)
	}
	return schedule.Upcoming(expression, zone, c.p.opts.Clock.Now(), limit)
}

// ScheduleRun says how a schedule is run by hand. The zero value is ready to use.
type ScheduleRun struct {
	// IdempotencyKey and Source are as in Request.
	IdempotencyKey string
	Source         task.Source
}

// RunSchedule makes a run of a schedule at once, also of a paused one. It is
// no tick: the ledger does not tell of it. It gets the secrets that a tick's
// run gets.
func (c *Client) RunSchedule(ctx context.Context, id string, opts ScheduleRun) (task.Task, error) {
	s, err := c.schedule(ctx, id, access.ScheduleManage)
	if err != nil {
		return task.Task{}, err
	}
	as := c.p.As(narrowed(c.caller, s.Owner))
	if c.caller.System || s.AgentUID != "" {
		if as, err = c.p.scheduleClient(ctx, s); err != nil {
			return task.Task{}, err
		}
	}
	r := scheduleRequest(s.Owner, s.Spec)
	spec, err := as.draftScheduled(ctx, s, r)
	if err != nil {
		return task.Task{}, err
	}
	r.IdempotencyKey, r.Metadata = opts.IdempotencyKey, spec.Metadata
	key, err := as.idempotencyKey(r)
	if err != nil {
		return task.Task{}, err
	}
	if err := checkLine("Idempotency-Key", opts.IdempotencyKey, maxIdempotencyKey); err != nil {
		return task.Task{}, err
	}
	r.Source = opts.Source
	var t task.Task
	err = c.audited(ctx, scheduleDeed(s, "run"), func() (err error) {
		t, err = as.create(ctx, r, task.Creation{Spec: spec, From: source(r), Key: key, MaxWaiting: c.p.opts.MaxWaiting})
		return err
	})
	return t, err
}

func scheduleDeed(s schedule.Schedule, what string) *deed {
	return &deed{action: access.ScheduleManage, kind: "schedule", id: s.ID, owner: s.Owner, details: map[string]string{"act": what, "name": s.Name}}
}

// environments are those that were looked up already, by id.
type environments map[string]*environment.Config

func (c *Client) scheduleItem(ctx context.Context, s schedule.Schedule) (ScheduleItem, error) {
	return c.scheduleItemWith(ctx, s, environments{})
}

func (c *Client) scheduleItemWith(ctx context.Context, s schedule.Schedule, known environments) (ScheduleItem, error) {
	item := ScheduleItem{Schedule: s, NextRun: s.NextDue(c.p.opts.Clock.Now()),
		Manageable: access.Allow(c.caller, access.ScheduleManage, access.Object{Owner: s.Owner, Creator: s.Creator}) == nil}
	id := s.Config.EnvironmentID
	if id == "" {
		return item, nil
	}
	if found, ok := known[id]; ok {
		item.Environment = found
		return item, nil
	}
	env, err := c.p.environments.Get(ctx, id)
	if err == nil && access.Allow(c.caller, access.EnvironmentView, access.Object{Owner: env.Owner, Creator: env.Creator}) == nil {
		item.Environment = &env.Config
	}
	if err != nil && !errors.Is(err, task.ErrNotFound) {
		return ScheduleItem{}, err
	}
	known[id] = item.Environment
	return item, nil
}

// judgeSchedule judges what the runs of a schedule would be, so far as it can
// be told today: it is refused now rather than at every tick.
func (c *Client) judgeSchedule(ctx context.Context, owner task.Scope, spec schedule.Spec) error {
	if strings.TrimSpace(spec.Prompt) == "" && spec.Config.SkillSpec == "" && len(spec.Config.Skills) == 0 {
		return task.Invalid("prompt", "say what to do: a schedule needs a prompt, unless agent_config names a skill")
	}
	for _, key := range []string{metaScheduleID, metaScheduleName, metaScheduleCron} {
		if _, ok := spec.Metadata[key]; ok {
			return task.Invalid("metadata", "the key %s is set by the schedule itself; choose another name", key)
		}
	}
	return scheduleField(c.judgeAutomation(ctx, owner, spec.AgentUID, "schedule", scheduleRequest(owner, spec)))
}

// judgeAutomation judges what something would ask for that starts runs by
// itself: it is refused now rather than at every start.
func (c *Client) judgeAutomation(ctx context.Context, owner task.Scope, agentUID, what string, r Request) error {
	agent, err := c.automationAgent(ctx, owner, agentUID, what)
	if err != nil {
		return err
	}
	err = r.check(c.p.opts.MaxAttachmentBytes)
	draft := task.Spec{Title: r.Title, Prompt: r.Prompt, Mode: r.Mode, Owner: owner, Creator: c.caller.Principal}
	if err == nil {
		err = c.configure(ctx, r.Config, agent, &draft)
	}
	if err == nil {
		err = c.refer(ctx, &draft, r)
	}
	if err == nil {
		err = c.configureSkills(ctx, access.RunCreate, r, &draft)
	}
	r.Prompt = draft.Prompt
	if err == nil {
		err = c.p.checkPolicy(ctx, r)
	}
	return err
}

// automationAgent is the agent that is to carry out a schedule or the like; nil
// for none.
func (c *Client) automationAgent(ctx context.Context, owner task.Scope, uid, what string) (*access.Agent, error) {
	if uid == "" {
		return nil, nil
	}
	if owner.Type != task.ScopeTeam {
		return nil, task.Invalid("agent_uid", "an agent carries out a team's %ss only; leave team out or set it to true", what)
	}
	a, err := c.agent(ctx, uid, access.AgentView)
	if errors.Is(err, task.ErrNotFound) || err == nil && a.Scope() != owner {
		return nil, &task.Error{Code: task.CodeNotFound, Field: "agent_uid", Message: "there is no such agent in the " + what + "'s team"}
	}
	return &a, err
}

// scheduleField names the field of a refused run as schedules call it.
func scheduleField(err error) error {
	var e *task.Error
	if !errors.As(err, &e) || !strings.HasPrefix(e.Field, "config") {
		return err
	}
	named := *e
	named.Field = "agent_" + e.Field
	return &named
}

// scheduleRequest is what a schedule asks for at each tick.
func scheduleRequest(owner task.Scope, spec schedule.Spec) Request {
	team := owner.Type == task.ScopeTeam
	return Request{Prompt: spec.Prompt, Title: spec.Name, Config: spec.Config, Team: &team, Metadata: maps.Clone(spec.Metadata), Mode: spec.Mode}
}

// draftScheduled makes the Spec of a schedule's run.
func (c *Client) draftScheduled(ctx context.Context, s schedule.Schedule, r Request) (task.Spec, error) {
	spec, err := c.draft(ctx, access.RunCreate, r)
	if err != nil {
		return task.Spec{}, scheduleField(err)
	}
	if spec.Owner != s.Owner {
		return task.Spec{}, task.Errorf(task.CodeNotAuthorized, "the schedule belongs to %s, for which its creator cannot act any more", s.Owner)
	}
	if spec.Metadata == nil {
		spec.Metadata = map[string]string{}
	}
	spec.Metadata[metaScheduleID], spec.Metadata[metaScheduleName], spec.Metadata[metaScheduleCron] = s.ID, s.Name, s.Cron
	if c.p.opts.PublicURL != "" {
		spec.TriggerURL = strings.TrimRight(c.p.opts.PublicURL, "/") + "/schedules/" + s.ID
	}
	return spec, nil
}
