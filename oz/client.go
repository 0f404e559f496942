package oz

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// Client is the platform as one caller sees it. Every method checks the access
// table first; what the caller may not see is task.ErrNotFound.
type Client struct {
	p      *Platform
	caller access.Caller
}

// Caller is who the client acts as.
func (c *Client) Caller() access.Caller { return c.caller }

// Get implements Service.
func (c *Client) Get(ctx context.Context, id task.ID) (task.Task, error) {
	return c.run(ctx, id, access.RunView)
}

// run reads a run and checks that the caller may do a to it.
func (c *Client) run(ctx context.Context, id task.ID, a access.Action) (task.Task, error) {
	t, err := c.p.store.Get(ctx, id)
	if errors.Is(err, task.ErrNotFound) {
		return task.Task{}, c.absent(ctx, a, "run", string(id), c.missing(a, id))
	}
	if err != nil {
		return task.Task{}, err
	}
	if t, err = c.p.closed(ctx, t); err != nil {
		return task.Task{}, err
	}
	err = c.allow(ctx, a, access.OfRun(t))
	if errors.Is(err, task.ErrNotFound) {
		return task.Task{}, noRun(id)
	}
	if err != nil {
		return task.Task{}, err
	}
	return t, nil
}

// missing answers for a run that does not exist as for one that is hidden.
func (c *Client) missing(a access.Action, id task.ID) error {
	object := access.Object{TaskID: cmp.Or(id, "none")} // an object nobody owns
	if err := access.Allow(c.caller, a, object); err != nil && !errors.Is(err, task.ErrNotFound) {
		return err
	}
	return noRun(id)
}

func noRun(id task.ID) error {
	return task.Errorf(task.CodeNotFound, "run %q does not exist, or you may not see it", string(id))
}

// List implements Service. The list has what the caller may see, and of that
// what was shared by name but not by link; Query.Viewer is ignored.
func (c *Client) List(ctx context.Context, q task.Query) (task.Page, error) {
	if err := c.allow(ctx, access.RunList, access.Object{}); err != nil {
		return task.Page{}, err
	}
	if err := c.checkCursor(ctx, q.After); err != nil {
		return task.Page{}, err
	}
	q.Viewer = c.caller.Viewer()
	if q.AncestorID != "" {
		if _, err := c.run(ctx, q.AncestorID, access.RunView); err != nil {
			if errors.Is(err, task.ErrNotFound) {
				return task.Page{}, task.Invalid("ancestor_run_id", "there is no run %q that you may see", string(q.AncestorID))
			}
			return task.Page{}, err
		}
	}
	return c.p.store.List(ctx, q)
}

// checkCursor refuses a cursor that names a run which the caller may not see.
// The list would begin behind that run, and so tell of its place.
func (c *Client) checkCursor(ctx context.Context, after *task.Cursor) error {
	if after == nil {
		return nil
	}
	_, err := c.run(ctx, after.ID, access.RunView)
	if errors.Is(err, task.ErrNotFound) {
		return task.Invalid("cursor", "names a run that does not exist; start again without it")
	}
	return err
}

// narrow keeps those of the visible scopes that are asked for; nil asks for all.
func narrow(visible, asked []task.Scope) []task.Scope {
	if asked == nil {
		return visible
	}
	return slices.DeleteFunc(slices.Clone(visible), func(s task.Scope) bool { return !slices.Contains(asked, s) })
}

// Cancel implements Service.
func (c *Client) Cancel(ctx context.Context, id task.ID) error {
	t, err := c.run(ctx, id, access.RunCancel)
	if err != nil {
		return err
	}
	return c.audited(ctx, runDeed(access.RunCancel, t), func() error {
		_, err := c.p.store.Do(ctx, id, task.Cancel{By: c.caller.Principal, Reason: cancelReason(c.caller)})
		crashpoint.Hit(crashpoint.CancelCommitted)
		return err
	})
}

func cancelReason(c access.Caller) string {
	if c.Principal.DisplayName == "" {
		return "cancelled"
	}
	return "cancelled by " + c.Principal.DisplayName
}

// FollowUp implements Service.
func (c *Client) FollowUp(ctx context.Context, id task.ID, m Message) error {
	t, err := c.run(ctx, id, access.RunSteer)
	if err != nil {
		return err
	}
	if err := checkMode(m.Mode); err != nil {
		return err
	}
	if c.p.Draining() {
		return errDraining()
	}
	if err := c.entitledToSteer(ctx, t, m); err != nil {
		return err
	}
	if t.State.Ended() { // else the message steers work that is under way
		if err := c.p.checkResume(ctx, t); err != nil {
			return err
		}
	}
	return c.audited(ctx, runDeed(access.RunSteer, t), func() error {
		_, err := c.p.store.Do(ctx, id, task.AddInput{Input: task.Input{Text: m.Text, Mode: m.Mode, From: c.caller.Principal}})
		return err
	})
}

// Events returns up to limit events of a run with numbers above after, in
// order; see task.Store.
func (c *Client) Events(ctx context.Context, id task.ID, after int64, limit int) ([]task.Event, error) {
	if _, err := c.run(ctx, id, access.RunView); err != nil {
		return nil, err
	}
	if after < 0 {
		return nil, task.Invalid("after", "must be 0 or the number of an event")
	}
	if limit == 0 {
		limit = defaultEvents
	}
	if limit < 1 || limit > MaxEvents {
		return nil, task.Invalid("limit", "must be 1 to %d", MaxEvents)
	}
	return c.p.store.Events(ctx, id, after, limit)
}

// maxLooked bounds the events that one call of EventsOf reads.
const maxLooked = 20 * MaxEvents

// EventsOf is Events of some types alone, all of which must be known. through
// is the number of the last event that was looked at, and more reports that
// there may be others behind it: go on from there, also when events is empty.
func (c *Client) EventsOf(ctx context.Context, id task.ID, after int64, limit int, types []task.EventType) (events []task.Event, through int64, more bool, err error) {
	if err := CheckEventTypes(types); err != nil {
		return nil, 0, false, err
	}
	limit = cmp.Or(limit, defaultEvents)
	switch {
	case after < 0:
		return nil, 0, false, task.Invalid("after", "must be 0 or the number of an event")
	case limit < 1 || limit > MaxEvents:
		return nil, 0, false, task.Invalid("limit", "must be 1 to %d", MaxEvents)
	}
	t, err := c.run(ctx, id, access.RunView)
	if err != nil {
		return nil, 0, false, err
	}
	for through = after; through < t.LastSeq && through-after < maxLooked; {
		page, err := c.p.store.Events(ctx, id, through, MaxEvents)
		if err != nil {
			return nil, 0, false, err
		}
		if len(page) == 0 {
			return events, through, false, nil
		}
		for _, e := range page {
			if through = e.Seq; !slices.Contains(types, e.Payload.Type()) {
				continue
			}
			if events = append(events, e); len(events) == limit {
				return events, through, through < t.LastSeq, nil
			}
		}
		if len(page) < MaxEvents && len(events) > 0 { // the end, or the events are large: they are not gathered
			break
		}
	}
	return events, through, through < t.LastSeq, nil
}

// CheckEventTypes fails with task.CodeInvalidRequest when one is unknown.
func CheckEventTypes(types []task.EventType) error {
	for _, t := range types {
		if !t.Known() {
			return task.Invalid("types", "%.50q is none of %s", string(t), strings.Join(texts(task.EventTypes()), ", "))
		}
	}
	return nil
}

func texts(types []task.EventType) (out []string) {
	for _, t := range types {
		out = append(out, string(t))
	}
	return out
}

// MaxEvents bounds one call of Client.Events; 0 asks for defaultEvents.
const (
	MaxEvents     = 1000
	defaultEvents = 100
)

// Executions returns the run's executions, oldest first. Their token hashes
// are left out.
func (c *Client) Executions(ctx context.Context, id task.ID) ([]task.Execution, error) {
	if _, err := c.run(ctx, id, access.RunView); err != nil {
		return nil, err
	}
	list, err := c.p.store.Executions(ctx, id)
	for i := range list {
		list[i].TokenHash = nil
	}
	return list, err
}

// history yields the whole log of a run, page by page.
func (p *Platform) history(ctx context.Context, id task.ID) iter.Seq2[task.Event, error] {
	return func(yield func(task.Event, error) bool) {
		for after := int64(0); ; {
			page, err := p.store.Events(ctx, id, after, watchBatch)
			if err != nil {
				yield(task.Event{}, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
				after = e.Seq
			}
			if len(page) == 0 { // a short page may have been cut for its size
				return
			}
		}
	}
}
