package mcpserver

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// Limits of the answers.
const (
	defaultPage, maxPage     = 20, 100
	defaultEvents, maxEvents = 100, 500
	maxEventBytes            = 4 << 10   // of one event
	maxEventsBytes           = 128 << 10 // of all in one answer
	maxPromptShown           = 500
	maxMessageShown          = 8 << 10
	defaultWait, maxWait     = 20, 55 // seconds; proxies end requests after a minute
	// settle is how long watch_run waits for further events after the first.
	settle = 500 * time.Millisecond
)

type artifactItem struct {
	UID         string `json:"artifact_uid"`
	Type        string `json:"type"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	URL         string `json:"url,omitempty"`
	Branch      string `json:"branch,omitempty"`
	Path        string `json:"path,omitempty"`
	MIMEType    string `json:"mime_type,omitempty"`
	SizeBytes   int64  `json:"size_bytes,omitempty"`
}

// runItem is a run as clients see it.
type runItem struct {
	ID            string            `json:"run_id"`
	Title         string            `json:"title"`
	State         string            `json:"state" jsonschema:"QUEUED, PENDING, CLAIMED, INPROGRESS, SUCCEEDED, FAILED, ERROR, BLOCKED or CANCELLED"`
	Message       string            `json:"message,omitempty" jsonschema:"the outcome, or the question of a BLOCKED run"`
	ErrorCode     string            `json:"error_code,omitempty"`
	Prompt        string            `json:"prompt,omitempty"`
	Name          string            `json:"name,omitempty"`
	ModelID       string            `json:"model_id,omitempty"`
	EnvironmentID string            `json:"environment_id,omitempty"`
	Harness       string            `json:"harness,omitempty"`
	Mode          string            `json:"mode,omitempty"`
	ParentRunID   string            `json:"parent_run_id,omitempty"`
	Source        string            `json:"source,omitempty"`
	CreatedAt     string            `json:"created_at"`
	UpdatedAt     string            `json:"updated_at"`
	CostUSD       float64           `json:"cost_usd,omitempty"`
	Tokens        int64             `json:"tokens,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	Artifacts     []artifactItem    `json:"artifacts,omitempty"`
}

// item shows a run, in a list without what only fills it.
func item(t task.Task, whole bool) runItem {
	r := runItem{ID: string(t.ID), Title: t.Title, State: string(t.State), Message: cut(t.Status.Message, maxPromptShown), ErrorCode: string(t.Status.ErrorCode),
		Prompt: cut(t.Prompt, maxPromptShown), Name: t.Config.Name, ModelID: t.Config.ModelID, EnvironmentID: t.Config.EnvironmentID, Harness: t.Config.HarnessType(),
		Mode: string(t.Mode), ParentRunID: string(t.ParentID), Source: string(t.Source), CreatedAt: stamp(t.CreatedAt), UpdatedAt: stamp(t.UpdatedAt), Metadata: t.Metadata}
	r.CostUSD, _ = t.Usage.USD()
	r.Tokens = t.Usage.Tokens().Total()
	if !whole {
		return r
	}
	r.Message, r.Prompt = cut(t.Status.Message, maxMessageShown), cut(t.Prompt, maxMessageShown)
	for _, a := range t.Artifacts {
		r.Artifacts = append(r.Artifacts, artifactItem{UID: a.UID, Type: string(a.Type), Title: a.Title, Description: cut(a.Description, maxPromptShown),
			URL: a.URL, Branch: a.Branch, Path: a.Path, MIMEType: a.MIMEType, SizeBytes: a.SizeBytes})
	}
	return r
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// cut shortens a text between characters.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + fmt.Sprintf(" [... %d bytes more]", len(text)-n)
}

// within takes a number from the caller, or its default.
func within(field string, n, def, most int) (int, error) {
	switch {
	case n == 0:
		return def, nil
	case n < 0 || n > most:
		return 0, task.Invalid(field, "is %d, must be 1 to %d", n, most)
	}
	return n, nil
}

type listInput struct {
	States        []string          `json:"states,omitempty" jsonschema:"any of QUEUED, PENDING, CLAIMED, INPROGRESS, SUCCEEDED, FAILED, ERROR, BLOCKED, CANCELLED"`
	Name          string            `json:"name,omitempty" jsonschema:"exact name of the configuration"`
	Source        string            `json:"source,omitempty" jsonschema:"what made the run, such as API or SCHEDULE"`
	EnvironmentID string            `json:"environment_id,omitempty"`
	ParentRunID   string            `json:"parent_run_id,omitempty" jsonschema:"descendants of this run"`
	Text          string            `json:"text,omitempty" jsonschema:"words of title, prompt or skill"`
	Metadata      map[string]string `json:"metadata,omitempty" jsonschema:"all of these"`
	Limit         int               `json:"limit,omitempty" jsonschema:"runs on a page, 1 to 100, default 20"`
	Cursor        string            `json:"cursor,omitempty" jsonschema:"next_cursor of the page before"`
}

type listOutput struct {
	Runs       []runItem `json:"runs"`
	NextCursor string    `json:"next_cursor,omitempty"`
}

func (s *server) listRuns(ctx context.Context, in listInput) (listOutput, error) {
	limit, err := within("limit", in.Limit, defaultPage, maxPage)
	if err != nil {
		return listOutput{}, err
	}
	q := task.Query{Name: in.Name, Source: task.Source(in.Source), EnvironmentID: in.EnvironmentID, AncestorID: task.ID(in.ParentRunID), Text: in.Text,
		Metadata: in.Metadata, Sort: task.SortCreatedAt, Limit: limit}
	for i, state := range in.States {
		q.States = append(q.States, task.State(strings.ToUpper(state)))
		if !q.States[i].Known() {
			return listOutput{}, task.Invalid(fmt.Sprintf("states[%d]", i), "%q is no state of a run", state)
		}
	}
	if in.Cursor != "" {
		if q.After, err = task.ParseCursor(in.Cursor, q.Sort, q.Asc); err != nil {
			return listOutput{}, err
		}
	}
	page, err := s.of(ctx).List(ctx, q)
	if err != nil {
		return listOutput{}, err
	}
	out := listOutput{Runs: []runItem{}}
	for _, t := range page.Tasks {
		out.Runs = append(out.Runs, item(t, false))
	}
	if page.Next != nil {
		out.NextCursor = page.Next.String()
	}
	return out, nil
}

type runInput struct {
	RunID string `json:"run_id"`
}

func (s *server) getRun(ctx context.Context, in runInput) (runItem, error) {
	t, err := s.of(ctx).Get(ctx, task.ID(in.RunID))
	if err != nil {
		return runItem{}, err
	}
	return item(t, true), nil
}

type startInput struct {
	Prompt         string            `json:"prompt,omitempty" jsonschema:"what to do; needed unless there is a skill"`
	Skill          string            `json:"skill,omitempty" jsonschema:"a skill to run: name, repo:name or owner/repo:path"`
	Title          string            `json:"title,omitempty"`
	Name           string            `json:"name,omitempty" jsonschema:"groups runs"`
	EnvironmentID  string            `json:"environment_id,omitempty"`
	ModelID        string            `json:"model_id,omitempty"`
	Harness        string            `json:"harness,omitempty" jsonschema:"the agent: oz (the default), claude, codex, gemini or opencode"`
	Mode           string            `json:"mode,omitempty" jsonschema:"normal (the default), plan or orchestrate"`
	AgentUID       string            `json:"agent_identity_uid,omitempty"`
	ConversationID string            `json:"conversation_id,omitempty" jsonschema:"goes on with that conversation"`
	Team           *bool             `json:"team,omitempty" jsonschema:"whether it is the team's; default is true if you are on exactly one"`
	MaxCostUSD     float64           `json:"max_cost_usd,omitempty" jsonschema:"what it may spend on models"`
	MaxMinutes     int               `json:"max_minutes,omitempty"`
	Metadata       map[string]string `json:"metadata,omitempty"`
	IdempotencyKey string            `json:"idempotency_key,omitempty" jsonschema:"the same key starts the same run once"`
}

func (s *server) startRun(ctx context.Context, in startInput) (runItem, error) {
	r := oz.Request{Prompt: in.Prompt, Skill: in.Skill, Title: in.Title, Mode: task.Mode(in.Mode), AgentIdentityUID: in.AgentUID, ConversationID: in.ConversationID,
		Team: in.Team, Metadata: in.Metadata, IdempotencyKey: in.IdempotencyKey,
		Config: task.Config{Name: in.Name, EnvironmentID: in.EnvironmentID, ModelID: in.ModelID}}
	if in.Harness != "" {
		r.Config.Harness = &task.HarnessConfig{Type: in.Harness}
	}
	if in.MaxCostUSD != 0 || in.MaxMinutes != 0 {
		r.Config.Limits = &task.Limits{MaxCostUSD: in.MaxCostUSD, MaxMinutes: in.MaxMinutes}
	}
	t, err := s.of(ctx).Submit(ctx, r)
	if err != nil {
		return runItem{}, err
	}
	return item(t, true), nil
}

type steerInput struct {
	RunID   string `json:"run_id"`
	Message string `json:"message,omitempty" jsonschema:"for the agent; blank only resumes"`
	Mode    string `json:"mode,omitempty" jsonschema:"normal (the default), plan or orchestrate"`
}

func (s *server) steerRun(ctx context.Context, in steerInput) (runItem, error) {
	if err := s.of(ctx).FollowUp(ctx, task.ID(in.RunID), oz.Message{Text: in.Message, Mode: task.Mode(in.Mode)}); err != nil {
		return runItem{}, err
	}
	return s.getRun(ctx, runInput{in.RunID})
}

func (s *server) cancelRun(ctx context.Context, in runInput) (runItem, error) {
	if err := s.of(ctx).Cancel(ctx, task.ID(in.RunID)); err != nil {
		return runItem{}, err
	}
	return s.getRun(ctx, in)
}

type watchInput struct {
	RunID       string `json:"run_id"`
	After       int64  `json:"after,omitempty" jsonschema:"number of the last event that you have; default 0, all"`
	WaitSeconds int    `json:"wait_seconds,omitempty" jsonschema:"how long to wait for the first event, 1 to 55, default 20"`
	Limit       int    `json:"limit,omitempty" jsonschema:"events in one answer, 1 to 500, default 100"`
	Verbose     bool   `json:"verbose,omitempty" jsonschema:"also reasoning, output of tools as it comes, and usage"`
}

type eventItem struct {
	Seq  int64  `json:"seq"`
	Time string `json:"time"`
	Type string `json:"type"`
	Data any    `json:"data,omitempty" jsonschema:"the event; a text that was cut if it was long"`
}

type watchOutput struct {
	Events []eventItem `json:"events"`
	Last   int64       `json:"last" jsonschema:"give it as after to go on"`
	Ended  bool        `json:"ended" jsonschema:"the run has ended, and these are its last events"`
	State  string      `json:"state"`
}

func (s *server) watchRun(ctx context.Context, in watchInput) (watchOutput, error) {
	limit, err := within("limit", in.Limit, defaultEvents, maxEvents)
	if err != nil {
		return watchOutput{}, err
	}
	wait, err := within("wait_seconds", in.WaitSeconds, defaultWait, maxWait)
	if err != nil {
		return watchOutput{}, err
	}
	if in.After < 0 {
		return watchOutput{}, task.Invalid("after", "may not be negative")
	}
	// Real time: a client waits for the answer.
	watching, cancel := context.WithTimeout(ctx, time.Duration(wait)*time.Second)
	defer cancel()
	out := watchOutput{Events: []eventItem{}, Last: in.After}
	full, err := s.collect(watching, cancel, in, limit, &out)
	if err != nil && (watching.Err() == nil || ctx.Err() != nil) {
		return watchOutput{}, err
	}
	t, err := s.of(ctx).Get(ctx, task.ID(in.RunID))
	if err != nil {
		return watchOutput{}, err
	}
	out.State, out.Ended = string(t.State), t.State.Ended() && !full && out.Last >= t.LastSeq
	return out, nil
}

// collect adds events until there are enough, the log ends, or ctx does. full
// says that there may be more at once.
func (s *server) collect(ctx context.Context, cancel func(), in watchInput, limit int, out *watchOutput) (full bool, err error) {
	size := 0
	for e, err := range s.of(ctx).Watch(ctx, task.ID(in.RunID), in.After) {
		if err != nil {
			return false, err
		}
		if in.Verbose || !bulky(e.Payload) {
			i, n, err := eventOf(e)
			if err != nil {
				return false, err
			}
			if size += n; size > maxEventsBytes && len(out.Events) > 0 {
				return true, nil
			}
			if out.Events = append(out.Events, i); len(out.Events) == 1 {
				timer := time.AfterFunc(settle, cancel) // real time: a client waits for the answer
				defer timer.Stop()
			}
		}
		out.Last = e.Seq
		if len(out.Events) >= limit {
			return true, nil
		}
	}
	return false, nil
}

// bulky payloads are most of a log, and little of what happened.
func bulky(p task.Payload) bool {
	switch p := p.(type) {
	case *task.ToolOutput, *task.Reasoning, *task.UsageReport, *task.TurnStarted, *task.TurnEnded:
		return true
	case *task.Message:
		return p.More && p.Text == ""
	}
	return false
}
