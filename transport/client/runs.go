package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// Submit implements oz.Service. Without an IdempotencyKey one is made, so that
// a retry after a lost answer does not make a second run.
func (c *Client) Submit(ctx context.Context, r oz.Request) (task.Task, error) {
	t, _, err := c.Enqueue(ctx, r)
	return t, err
}

// Enqueue is Submit, and tells also that no capacity was free, so that the run
// waits.
func (c *Client) Enqueue(ctx context.Context, r oz.Request) (t task.Task, atCapacity bool, err error) {
	if r.IdempotencyKey == "" {
		r.IdempotencyKey = uuid.NewString()
	}
	answer, err := decode[api.RunAgentResponse](c.raw.CreateRun(ctx, nil, wire.Request(r),
		header("Idempotency-Key", r.IdempotencyKey), header("Prefer", "return=representation"), header("Oz-Source", string(r.Source))))
	if err != nil {
		return task.Task{}, false, err
	}
	if answer.Run == nil { // a server that does not know Prefer
		t, err = c.Get(ctx, task.ID(answer.RunId))
	} else {
		t, err = wire.Task(*answer.Run)
	}
	return t, answer.AtCapacity, err
}

// StartLocal stores a run that the caller carries out itself, claimed at once,
// and gives the handshake for its runner.
func (c *Client) StartLocal(ctx context.Context, r oz.Request) (task.Task, executor.Handshake, error) {
	answer, err := decode[api.LocalRunResponse](c.raw.CreateLocalRun(ctx, nil, wire.Request(r),
		header("Idempotency-Key", r.IdempotencyKey), header("Oz-Source", string(r.Source))))
	if err != nil {
		return task.Task{}, executor.Handshake{}, err
	}
	t, err := wire.Task(answer.Run)
	return t, executor.Handshake{ServerURL: c.base, TaskID: t.ID, ExecutionID: task.ExecutionID(answer.ExecutionId),
		Token: executor.Sensitive(answer.Token)}, err
}

// Get implements oz.Service.
func (c *Client) Get(ctx context.Context, id task.ID) (task.Task, error) {
	if err := checkID("run id", string(id)); err != nil {
		return task.Task{}, err
	}
	item, err := decode[api.RunItem](c.raw.GetRun(ctx, string(id)))
	if err != nil {
		return task.Task{}, err
	}
	return wire.Task(item)
}

// RunJSON returns a run as the server shows it (Oz API, RunItem).
func (c *Client) RunJSON(ctx context.Context, id task.ID) (json.RawMessage, error) {
	if err := checkID("run id", string(id)); err != nil {
		return nil, err
	}
	return read(c.raw.GetRun(ctx, string(id)))
}

// List implements oz.Service. The server decides which owners' runs the caller
// sees: Query.Owners must be nil.
func (c *Client) List(ctx context.Context, q task.Query) (task.Page, error) {
	answer, err := decode[api.ListRunsResponse](c.list(ctx, q))
	if err != nil {
		return task.Page{}, err
	}
	var page task.Page
	for _, item := range answer.Runs {
		t, err := wire.Task(item)
		if err != nil {
			return task.Page{}, err
		}
		page.Tasks = append(page.Tasks, t)
	}
	if answer.PageInfo.HasNextPage {
		err = q.Validate() // fills in the sort that the cursor was made for
		if err == nil {
			page.Next, err = task.ParseCursor(answer.PageInfo.NextCursor, q.Sort, q.Asc)
		}
	}
	return page, err
}

// RunsJSON returns a page of runs as the server shows it (Oz API,
// ListRunsResponse).
func (c *Client) RunsJSON(ctx context.Context, q task.Query) (json.RawMessage, error) {
	return read(c.list(ctx, q))
}

func (c *Client) list(ctx context.Context, q task.Query) (*http.Response, error) {
	if q.Owners != nil {
		return nil, task.Invalid("Owners", "cannot be asked of a server: it lists what the key may see")
	}
	if err := q.Validate(); err != nil {
		return nil, err
	}
	return c.raw.ListRuns(ctx, nil, query(wire.EncodeList(q)))
}

// Cancel implements oz.Service.
func (c *Client) Cancel(ctx context.Context, id task.ID) error {
	if err := checkID("run id", string(id)); err != nil {
		return err
	}
	return done(c.raw.CancelRun(ctx, string(id)))
}

// FollowUp implements oz.Service. It is not repeated after a broken
// connection: the message might arrive twice.
func (c *Client) FollowUp(ctx context.Context, id task.ID, m oz.Message) error {
	if err := checkID("run id", string(id)); err != nil {
		return err
	}
	return done(c.raw.FollowUpRun(ctx, string(id), api.FollowUpRequest{Message: m.Text, Mode: api.RunMode(m.Mode)}))
}

// RunConversation returns the normalised view of a run's log.
func (c *Client) RunConversation(ctx context.Context, id task.ID) (task.Conversation, error) {
	if err := checkID("run id", string(id)); err != nil {
		return task.Conversation{}, err
	}
	return decode[task.Conversation](c.raw.GetRunConversation(ctx, string(id)))
}

// Conversation returns a conversation by its own ID.
func (c *Client) Conversation(ctx context.Context, id string) (task.Conversation, error) {
	if err := checkID("conversation id", id); err != nil {
		return task.Conversation{}, err
	}
	return decode[task.Conversation](c.raw.GetConversation(ctx, id))
}

// Executions returns the run's executions, oldest first.
func (c *Client) Executions(ctx context.Context, id task.ID) ([]task.Execution, error) {
	if err := checkID("run id", string(id)); err != nil {
		return nil, err
	}
	answer, err := decode[api.ListExecutionsResponse](c.raw.ListRunExecutions(ctx, string(id)))
	if err != nil {
		return nil, err
	}
	return wire.ExecutionsOf(answer.Executions), nil
}

// Events returns up to limit events of a run with numbers above after, in
// order. A limit of 0 takes the server's page size.
func (c *Client) Events(ctx context.Context, id task.ID, after int64, limit int) ([]task.Event, error) {
	if err := checkID("run id", string(id)); err != nil {
		return nil, err
	}
	return eventPages(after, limit, func(q url.Values) (api.EventPage, error) {
		return decode[api.EventPage](c.raw.ListRunEvents(ctx, string(id), nil, query(q)))
	})
}

// EventsOf is Events of some types alone; none stands for all.
func (c *Client) EventsOf(ctx context.Context, id task.ID, after int64, limit int, types ...task.EventType) ([]task.Event, error) {
	if len(types) == 0 {
		return c.Events(ctx, id, after, limit)
	}
	if err := errors.Join(checkID("run id", string(id)), oz.CheckEventTypes(types)); err != nil {
		return nil, err
	}
	q := url.Values{}
	for _, t := range types {
		q.Add("types", string(t))
	}
	var events []task.Event
	for {
		q.Set("after", strconv.FormatInt(after, 10))
		if limit != 0 {
			q.Set("limit", strconv.Itoa(limit-len(events)))
		}
		p, err := decode[api.EventPage](c.raw.ListRunEvents(ctx, string(id), nil, query(q)))
		if err != nil {
			return nil, err
		}
		if events = append(events, p.Events...); !p.More || len(events) > 0 && (limit == 0 || len(events) >= limit) {
			return events, nil
		}
		after = p.Through
	}
}

// eventPages asks on while the server cuts pages short for their size.
func eventPages(after int64, limit int, page func(url.Values) (api.EventPage, error)) ([]task.Event, error) {
	var events []task.Event
	for {
		q := url.Values{"after": {strconv.FormatInt(after, 10)}}
		if limit != 0 {
			q.Set("limit", strconv.Itoa(limit-len(events)))
		}
		p, err := page(q)
		if err != nil {
			return nil, err
		}
		events = append(events, p.Events...)
		if !p.More || len(p.Events) == 0 || limit == 0 || len(events) >= limit {
			return events, nil
		}
		after = events[len(events)-1].Seq
	}
}

// Answer answers the question that a BLOCKED run waits with. It fails with
// task.ErrConflict when it waits for no answer, or for that to another question.
func (c *Client) Answer(ctx context.Context, id task.ID, a oz.Answer) error {
	if err := checkID("run id", string(id)); err != nil {
		return err
	}
	return done(c.raw.AnswerRun(ctx, string(id), api.AnswerRequest{QuestionId: a.QuestionID, Choice: a.Choice, Text: a.Text}))
}

// Approve approves a run's plan; see oz.Client.
func (c *Client) Approve(ctx context.Context, id task.ID, a oz.Approval) error {
	if err := checkID("run id", string(id)); err != nil {
		return err
	}
	return done(c.raw.ApprovePlan(ctx, string(id), api.ApprovePlanRequest{ArtifactUid: a.PlanUID, Text: a.Text}))
}

// EditPlan adds a version to a run's plan; see oz.Client.
func (c *Client) EditPlan(ctx context.Context, id task.ID, e oz.PlanEdit) (task.Artifact, error) {
	if err := checkID("run id", string(id)); err != nil {
		return task.Artifact{}, err
	}
	item, err := decode[api.ArtifactItem](c.raw.EditPlan(ctx, string(id), api.EditPlanRequest{Title: e.Title, Markdown: e.Markdown, Orchestration: e.Orchestration}))
	if err != nil {
		return task.Artifact{}, err
	}
	return wire.ArtifactOf(item)
}
