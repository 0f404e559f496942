package wire

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// RunView says how a run is shown.
type RunView struct {
	// Now is the time that a working run's working time is counted to.
	Now time.Time
	// PublicURL is the root of the server's own pages, for session_link; ""
	// leaves the link out.
	PublicURL string
	// MaskMCP replaces the environment and headers of MCP servers, which may
	// hold credentials, by "***".
	MaskMCP bool
}

// RunItem gives a run as the wire shows it (Oz API, RunItem).
func RunItem(t task.Task, v RunView) (api.RunItem, error) {
	artifacts, err := artifactItems(t.Artifacts)
	if err != nil {
		return api.RunItem{}, err
	}
	config := Config(t.Config)
	if v.MaskMCP {
		config.McpServers = maskMCP(config.McpServers)
	}
	id := string(t.ID)
	return api.RunItem{
		RunId: id, TaskId: id,
		Title: t.Title, Prompt: t.Prompt, State: api.RunState(t.State),
		CreatedAt: t.CreatedAt.UTC(), UpdatedAt: t.UpdatedAt.UTC(), StartedAt: optionalTime(t.StartedAt),
		RunTime:           runTime(t.Head, v.Now),
		ExecutionLocation: api.ExecutionLocation(t.Where), Source: api.RunSourceType(t.Source),
		StatusMessage: runStatus(t),
		Schedule:      scheduleInfo(t.Metadata),
		SessionLink:   sessionLink(v.PublicURL, id), TriggerUrl: t.TriggerURL,
		Creator: profile(t.Creator), Executor: profile(t.Executor), Scope: optionalScope(t.Owner),
		RequestUsage: requestUsage(t.Usage), AgentConfig: &config, AgentSkill: agentSkill(t.Skill),
		ConversationId: t.ConversationID, ParentRunId: string(t.ParentID),
		IsSandboxRunning: t.SandboxRunning, IsRunTypeCancellable: t.Cancellable(),
		Artifacts: artifacts, Metadata: maps.Clone(t.Metadata),
		Oz: extension(t),
	}, nil
}

// Task reads a run. What the wire does not show (blob keys) stays empty.
func Task(r api.RunItem) (task.Task, error) {
	artifacts, err := artifactsOf(r.Artifacts)
	if err != nil {
		return task.Task{}, err
	}
	t := task.Task{ID: task.ID(r.RunId), Artifacts: artifacts}
	t.Title, t.Prompt, t.TriggerURL = r.Title, r.Prompt, r.TriggerUrl
	t.Owner, t.Creator, t.Executor = scopeOf(r.Scope), principal(r.Creator), principal(r.Executor)
	t.ConversationID, t.ParentID, t.Metadata = r.ConversationId, task.ID(r.ParentRunId), maps.Clone(r.Metadata)
	t.Skill = agentSkillOf(r.AgentSkill)
	if r.AgentConfig != nil {
		t.Config = ConfigOf(*r.AgentConfig)
	}
	t.State, t.Where, t.Source = task.State(r.State), task.Location(r.ExecutionLocation), task.Source(r.Source)
	t.CreatedAt, t.UpdatedAt, t.StartedAt = r.CreatedAt, r.UpdatedAt, timeOf(r.StartedAt)
	t.Status, t.SandboxRunning = statusOf(r.StatusMessage), r.IsSandboxRunning
	if r.Oz != nil {
		extend(&t, *r.Oz)
	}
	return t, nil
}

// extend fills in what only this server's own member tells.
func extend(t *task.Task, x api.RunExtension) {
	t.LastSeq, t.LastInput, t.PrunedTo, t.Executions, t.Attempts = x.LastSeq, x.LastInput, x.PrunedTo, x.Executions, x.Attempts
	t.RunTime, t.BegunAt, t.ReadyAt = time.Duration(x.RunTimeMs)*time.Millisecond, timeOf(x.BegunAt), timeOf(x.ReadyAt)
	t.EndedAt = timeOf(x.EndedAt)
	t.Execution, t.Mode, t.Interactive = task.ExecutionID(x.ExecutionId), task.Mode(x.Mode), x.Interactive
	t.Requester = principal(x.Requester)
	t.ChildKey, t.Approved, t.ModeNow = x.ChildKey, x.Approved, task.Mode(x.ModeNow)
	if x.Sharing != nil {
		t.Sharing = SharingOf(*x.Sharing)
	}
	t.Origins, t.Environment, t.Usage = maps.Clone(x.Origins), slices.Clone(x.Environment), usageOf(x.Usage)
	for _, a := range x.Attachments {
		t.Attachments = append(t.Attachments, task.Attachment{FileName: a.FileName, MIMEType: a.MimeType, SizeBytes: a.SizeBytes})
	}
}

// Created is the answer to a create (Oz API, RunAgentResponse).
func Created(t task.Task) api.RunAgentResponse {
	return api.RunAgentResponse{RunId: string(t.ID), TaskId: string(t.ID), State: api.RunState(t.State)}
}

// extension gives what the official schema has no member for.
func extension(t task.Task) *api.RunExtension {
	x := api.RunExtension{
		LastSeq: t.LastSeq, LastInput: t.LastInput, PrunedTo: t.PrunedTo, Executions: t.Executions, Attempts: t.Attempts,
		RunTimeMs: t.RunTime.Milliseconds(), BegunAt: optionalTime(t.BegunAt), EndedAt: optionalTime(t.EndedAt), ReadyAt: optionalTime(t.ReadyAt),
		ExecutionId: string(t.Execution), Mode: api.RunMode(t.Mode), Interactive: t.Interactive,
		Origins: maps.Clone(t.Origins), Environment: slices.Clone(t.Environment), Sharing: optionalSharing(t), Requester: profile(t.Requester),
		ChildKey: t.ChildKey, Approved: t.Approved, ModeNow: api.RunMode(t.ModeNow),
	}
	for _, a := range t.Attachments {
		x.Attachments = append(x.Attachments, api.AttachmentInfo{FileName: a.FileName, MimeType: a.MIMEType, SizeBytes: a.SizeBytes})
	}
	for _, m := range t.Usage.Models {
		x.Usage = append(x.Usage, api.ModelUsage{Category: m.Category, Model: m.Model, Calls: m.Calls,
			Tokens: tokens(m.Tokens), CostUsd: cost(m.Cost), Unpriced: m.Unpriced,
			WebSearches: m.WebSearches, WebSearchCostUsd: m.WebSearchUSD, CustomEndpoint: m.Custom})
	}
	return &x
}

// runStatus is statusMessage with what depends on the rest of the run.
func runStatus(t task.Task) *api.RunStatusMessage {
	m := statusMessage(t.Status)
	if m != nil {
		m.SessionDebugUntil = optionalTime(oz.DebugUntil(t))
	}
	return m
}

func statusMessage(s task.Status) *api.RunStatusMessage {
	if s == (task.Status{}) {
		return nil
	}
	m := api.RunStatusMessage{Message: s.Message, ErrorCode: api.ErrorCode(s.ErrorCode), Question: s.Question}
	if s.ErrorCode != "" {
		m.Retryable = &s.Retryable
	}
	return &m
}

func statusOf(m *api.RunStatusMessage) task.Status {
	if m == nil {
		return task.Status{}
	}
	return task.Status{Message: m.Message, ErrorCode: task.Code(m.ErrorCode), Retryable: m.Retryable != nil && *m.Retryable, Question: m.Question}
}

// scheduleInfo shows the schedule that made a run; its trigger keeps the three
// facts in the run's metadata.
func scheduleInfo(metadata map[string]string) *api.ScheduleInfo {
	id := metadata["schedule_id"]
	if id == "" {
		return nil
	}
	return &api.ScheduleInfo{ScheduleId: id, ScheduleName: metadata["schedule_name"], CronSchedule: metadata["cron_schedule"]}
}

func sessionLink(publicURL, id string) string {
	if publicURL == "" {
		return ""
	}
	return strings.TrimRight(publicURL, "/") + "/runs/" + id
}

func runTime(h task.Head, now time.Time) string {
	if h.StartedAt.IsZero() {
		return ""
	}
	return Duration(h.WorkTime(now))
}

// maskMCP hides what may be credentials (Oz API, choice on MCP env and headers).
func maskMCP(servers map[string]api.McpServerConfig) map[string]api.McpServerConfig {
	if servers == nil {
		return nil
	}
	masked := make(map[string]api.McpServerConfig, len(servers))
	for name, raw := range servers {
		masked[name] = oz.MaskMCP(raw)
	}
	return masked
}
