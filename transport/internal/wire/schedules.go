package wire

import (
	"maps"
	"time"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

// Schedule gives a schedule as the wire shows it (Oz API, ScheduledAgentItem).
// What may be credentials in its MCP servers is for those who may change it.
func Schedule(item oz.ScheduleItem) api.ScheduledAgentItem {
	s := item.Schedule
	config := Config(s.Config)
	if !item.Manageable {
		config.McpServers = maskMCP(config.McpServers)
	}
	out := api.ScheduledAgentItem{
		Id: s.ID, Name: s.Name, CronSchedule: s.Cron, Prompt: s.Prompt, Enabled: s.Enabled, AgentConfig: &config, AgentUid: s.AgentUID,
		Metadata: maps.Clone(s.Metadata), CreatedAt: s.CreatedAt.UTC(), UpdatedAt: s.UpdatedAt.UTC(), CreatedBy: profile(s.Creator),
		UpdatedBy: profile(s.LastEditor), Scope: optionalScope(s.Owner), Oz: timing(s.Timing),
		History: &api.ScheduleHistory{LastRan: optionalTime(s.LastRanAt), NextRun: optionalTime(item.NextRun)},
	}
	if s.LastError != "" {
		out.LastSpawnError = &s.LastError
	}
	if item.Environment != nil {
		env := EnvironmentConfig(*item.Environment)
		out.Environment = &env
	}
	return out
}

// ScheduleOf reads a schedule. What the wire does not show (mode, the last
// run's ID) stays empty.
func ScheduleOf(a api.ScheduledAgentItem) oz.ScheduleItem {
	item := oz.ScheduleItem{Schedule: schedule.Schedule{ID: a.Id, Owner: scopeOf(a.Scope), Creator: principal(a.CreatedBy),
		LastEditor: principal(a.UpdatedBy), CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt}}
	item.Spec = schedule.Spec{Name: a.Name, Cron: a.CronSchedule, Prompt: a.Prompt, Enabled: a.Enabled, AgentUID: a.AgentUid,
		Metadata: maps.Clone(a.Metadata), Timing: TimingOf(a.Oz)}
	if a.AgentConfig != nil {
		item.Config = ConfigOf(*a.AgentConfig)
	}
	if a.History != nil {
		item.LastRanAt, item.NextRun = timeOf(a.History.LastRan), timeOf(a.History.NextRun)
	}
	if a.LastSpawnError != nil {
		item.LastError = *a.LastSpawnError
	}
	if a.Environment != nil {
		env := EnvironmentConfigOf(*a.Environment)
		item.Environment = &env
	}
	return item
}

// ScheduleInput gives what asks for a schedule (Oz API,
// CreateScheduledAgentRequest).
func ScheduleInput(in oz.ScheduleInput) api.CreateScheduledAgentRequest {
	config := Config(in.Config)
	return api.CreateScheduledAgentRequest{Name: in.Name, CronSchedule: in.Cron, Enabled: &in.Enabled, Prompt: in.Prompt, AgentConfig: &config,
		AgentUid: in.AgentUID, Metadata: maps.Clone(in.Metadata), Mode: api.RunMode(in.Mode), Team: clone(in.Team), Oz: timing(in.Timing)}
}

// ScheduleInputOf reads what asks for a schedule.
func ScheduleInputOf(a api.CreateScheduledAgentRequest) oz.ScheduleInput {
	in := oz.ScheduleInput{Team: clone(a.Team), Spec: schedule.Spec{Name: a.Name, Cron: a.CronSchedule, Enabled: a.Enabled == nil || *a.Enabled,
		Prompt: a.Prompt, AgentUID: a.AgentUid, Metadata: maps.Clone(a.Metadata), Mode: task.Mode(a.Mode), Timing: TimingOf(a.Oz)}}
	if a.AgentConfig != nil {
		in.Config = ConfigOf(*a.AgentConfig)
	}
	return in
}

// ScheduleChange gives a new version of a schedule (Oz API,
// UpdateScheduledAgentRequest).
func ScheduleChange(ch oz.ScheduleChange) api.UpdateScheduledAgentRequest {
	out := api.UpdateScheduledAgentRequest{Name: ch.Name, CronSchedule: ch.Cron, Enabled: ch.Enabled, Prompt: clone(ch.Prompt),
		AgentUid: clone(ch.AgentUID), Metadata: cloneMap(ch.Metadata), Mode: (*api.RunMode)(clone(ch.Mode))}
	if ch.Config != nil {
		config := Config(*ch.Config)
		out.AgentConfig = &config
	}
	if ch.Timing != nil {
		out.Oz = timing(*ch.Timing)
	}
	return out
}

// ScheduleChangeOf reads a new version of a schedule.
func ScheduleChangeOf(a api.UpdateScheduledAgentRequest) oz.ScheduleChange {
	ch := oz.ScheduleChange{Name: a.Name, Cron: a.CronSchedule, Enabled: a.Enabled, Prompt: clone(a.Prompt), AgentUID: clone(a.AgentUid),
		Metadata: cloneMap(a.Metadata), Mode: (*task.Mode)(clone(a.Mode))}
	if a.AgentConfig != nil {
		config := ConfigOf(*a.AgentConfig)
		ch.Config = &config
	}
	if a.Oz != nil {
		t := TimingOf(a.Oz)
		ch.Timing = &t
	}
	return ch
}

func cloneMap(m *map[string]string) *map[string]string {
	if m == nil {
		return nil
	}
	out := map[string]string{} // an empty map stays one: it clears
	maps.Copy(out, *m)
	return &out
}

func timing(t schedule.Timing) *api.ScheduleOptions {
	return &api.ScheduleOptions{TimeZone: t.TimeZone, Overlap: api.ScheduleOptionsOverlap(t.Overlap),
		CatchUpMinutes: int(t.CatchUp / time.Minute), JitterSeconds: int(t.Jitter / time.Second)}
}

// TimingOf reads the options of a schedule. Numbers that are too large for a
// duration become one that is refused.
func TimingOf(o *api.ScheduleOptions) schedule.Timing {
	if o == nil {
		return schedule.Timing{}
	}
	return schedule.Timing{TimeZone: o.TimeZone, Overlap: schedule.Overlap(o.Overlap),
		CatchUp: span(o.CatchUpMinutes, time.Minute), Jitter: span(o.JitterSeconds, time.Second)}
}

// span is n units, or the longest time there is.
func span(n int, unit time.Duration) time.Duration {
	const longest = 1<<63 - 1
	switch {
	case n < 0:
		return -unit
	case int64(n) > int64(longest/unit):
		return longest
	}
	return time.Duration(n) * unit
}

// ScheduleTick gives a line of a ledger.
func ScheduleTick(t schedule.Tick) api.ScheduleTick {
	return api.ScheduleTick{DueAt: t.Due.UTC(), Outcome: api.ScheduleTickOutcome(t.Outcome), Reason: t.Reason, RunId: string(t.RunID), At: optionalTime(t.At)}
}

// ScheduleTickOf reads a line of a ledger.
func ScheduleTickOf(a api.ScheduleTick) schedule.Tick {
	return schedule.Tick{Due: a.DueAt, Outcome: schedule.Outcome(a.Outcome), Reason: a.Reason, RunID: task.ID(a.RunId), At: timeOf(a.At)}
}
