package oz

import (
	"context"
	"errors"
	"fmt"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// Limits of mail and signals (Oz API, agent messages and events).
const (
	MaxMails       = 100 // of one list
	defaultMails   = 50
	MaxSignals     = 500 // of one poll
	defaultSignals = 100
	MaxSignalRuns  = 100 // that one poll may follow; ours
)

// mailbox is the store's, for stores that have one.
func (p *Platform) mailbox() (task.Mailbox, error) {
	if m, ok := p.store.(task.Mailbox); ok {
		return m, nil
	}
	return nil, notBuilt("", "a store that carries messages between runs", "use one that is a task.Mailbox")
}

// SendMail sends a letter as the run Letter.From, whole or not at all, and
// gives the ID of each recipient's copy. The caller must be able to act for the
// sender, and to steer each recipient; a run token reaches the run's parent,
// children and siblings. It fails with task.CodeOperationNotSupported when a
// recipient has ended. One that is BLOCKED is woken by it.
//
// What the sending run knows of secrets is taken out before it is stored.
func (c *Client) SendMail(ctx context.Context, l task.Letter) ([]task.MailID, error) {
	box, err := c.p.mailbox()
	if err != nil {
		return nil, err
	}
	if err := l.Validate(); err != nil {
		return nil, err
	}
	from, err := c.run(ctx, l.From, access.MessageSend)
	if err != nil {
		return nil, err
	}
	if err := c.live(ctx); err != nil {
		return nil, err
	}
	for _, id := range l.To {
		if _, err := c.reach(ctx, from, id, access.RunSteer); err != nil {
			return nil, err
		}
	}
	if err := c.p.cleanLetter(ctx, from, &l); err != nil {
		return nil, err
	}
	return box.SendMail(ctx, l)
}

// live fails with task.ErrFenced for the token of an execution that has ended.
func (c *Client) live(ctx context.Context) error {
	if c.caller.Execution == "" {
		return nil
	}
	_, err := (&link{p: c.p, id: c.caller.TaskID, exec: c.caller.Execution}).execution(ctx)
	return err
}

// reach reads a run that the caller may do a to: by their own right, or with a
// run token because it is near the token's own run.
func (c *Client) reach(ctx context.Context, own task.Task, id task.ID, a access.Action) (task.Task, error) {
	if c.caller.Execution == "" {
		return c.run(ctx, id, a)
	}
	t, err := c.p.store.Get(ctx, id)
	if err != nil && !errors.Is(err, task.ErrNotFound) {
		return task.Task{}, err
	}
	if err != nil || !near(own, t) {
		return task.Task{}, noRun(id)
	}
	return t, nil
}

// near reports that two runs work together: they are the same owner's, and the
// same run, parent and child, or children of one parent.
func near(a, b task.Task) bool {
	return a.Owner == b.Owner && (a.ID == b.ID || a.ID == b.ParentID || b.ID == a.ParentID || a.ParentID != "" && a.ParentID == b.ParentID)
}

// cleanLetter redacts what a working run says, whoever says it for the run: an
// agent may hold another key than its token.
func (p *Platform) cleanLetter(ctx context.Context, from task.Task, l *task.Letter) error {
	if from.Execution == "" {
		return nil
	}
	e, err := p.store.Execution(ctx, from.Execution)
	if err != nil {
		return err
	}
	r, err := p.redactor(ctx, e)
	if err != nil {
		return err
	}
	l.Subject, l.Body = r.String(l.Subject), r.String(l.Body)
	return nil
}

// Mails lists the messages to a run, without bodies, oldest first. Limit is at
// most MaxMails; 0 asks for 50.
func (c *Client) Mails(ctx context.Context, q task.MailQuery) ([]task.Mail, error) {
	box, err := c.p.mailbox()
	if err != nil {
		return nil, err
	}
	if q.Limit, err = bounded(q.Limit, defaultMails, MaxMails); err != nil {
		return nil, err
	}
	if _, err := c.run(ctx, q.To, access.MessageView); err != nil {
		return nil, err
	}
	if err := c.live(ctx); err != nil {
		return nil, err
	}
	return box.Mails(ctx, q)
}

// bounded gives the limit of a list; 0 asks for the default.
func bounded(asked, otherwise, most int) (int, error) {
	if asked == 0 {
		return otherwise, nil
	}
	if asked < 1 || asked > most {
		return 0, task.Invalid("limit", "must be 1 to %d", most)
	}
	return asked, nil
}

// ReadMail returns a message with its body, and marks it as read.
func (c *Client) ReadMail(ctx context.Context, id task.MailID) (task.Mail, error) {
	return c.markMail(ctx, id, task.MarkRead)
}

// MailDelivered marks a message as delivered: the run's agent will be told of
// it. Doing so again changes nothing.
func (c *Client) MailDelivered(ctx context.Context, id task.MailID) error {
	_, err := c.markMail(ctx, id, task.MarkDelivered)
	return err
}

func (c *Client) markMail(ctx context.Context, id task.MailID, m task.Mark) (task.Mail, error) {
	box, err := c.p.mailbox()
	if err != nil {
		return task.Mail{}, err
	}
	known, err := box.Mail(ctx, id)
	if err == nil {
		_, err = c.run(ctx, known.To, access.MessageView)
	} else if errors.Is(err, task.ErrNotFound) {
		err = c.absent(ctx, access.MessageView, "run", "", c.missing(access.MessageView, ""))
	}
	if errors.Is(err, task.ErrNotFound) { // the same words for none and for a hidden one
		return task.Mail{}, task.Errorf(task.CodeNotFound, "message %q does not exist, or you may not see it", string(id))
	}
	if err == nil {
		err = c.live(ctx)
	}
	if err != nil {
		return task.Mail{}, err
	}
	return box.MarkMail(ctx, id, m)
}

// Signals returns what happened to runs, in the order of one sequence for the
// whole server: see task.Mailbox for what a reader can rely on. With
// Options.Retention, signals that are older are removed: who was further behind
// misses them and reads the runs themselves. A run token may follow the run's
// parent, children and siblings, too. Limit is at most MaxSignals; 0 asks for
// 100.
func (c *Client) Signals(ctx context.Context, q task.SignalQuery) ([]task.Signal, error) {
	box, err := c.p.mailbox()
	if err != nil {
		return nil, err
	}
	if q.Limit, err = bounded(q.Limit, defaultSignals, MaxSignals); err != nil {
		return nil, err
	}
	if len(q.Tasks) == 0 || len(q.Tasks) > MaxSignalRuns {
		return nil, task.Invalid("run_ids", "must name 1 to %d runs", MaxSignalRuns)
	}
	if err := q.Validate(); err != nil {
		return nil, err
	}
	if err := c.mayFollow(ctx, q.Tasks); err != nil {
		return nil, err
	}
	return box.Signals(ctx, q)
}

func (c *Client) mayFollow(ctx context.Context, ids []task.ID) error {
	var own task.Task
	var err error
	if c.caller.Execution != "" {
		if own, err = c.run(ctx, c.caller.TaskID, access.MessageView); err != nil {
			return err
		}
		if err := c.live(ctx); err != nil {
			return err
		}
	}
	for _, id := range ids {
		if _, err := c.reach(ctx, own, id, access.MessageView); err != nil {
			return err
		}
	}
	return nil
}

// SignalReport is what an execution says of itself (Oz API, POST
// /agent/events).
type SignalReport struct {
	// Type is any but new_message.
	Type task.SignalType
	// Execution is whose it is. Default: the token's own, or the newest of a
	// run that executes where it was started.
	Execution task.ExecutionID
	// Ref is kept with the signal, at most task.MaxRefBytes.
	Ref string
}

// ReportSignal moves a run to the state that the report tells of, and gives
// the number of the signal. A repeat of the same type by the same execution is
// answered with the first number. Runners report by their run token; whoever
// may report for a run that executes where it was started does so for it. It
// fails with task.ErrConflict, for good (task.ErrFenced), when the execution
// has ended.
func (c *Client) ReportSignal(ctx context.Context, id task.ID, r SignalReport) (seq int64, err error) {
	box, err := c.p.mailbox()
	if err != nil {
		return 0, err
	}
	state, ok := r.Type.State()
	if !ok {
		return 0, task.Invalid("event_type", "%q cannot be reported", string(r.Type))
	}
	if len(r.Ref) > task.MaxRefBytes {
		return 0, task.Invalid("ref_id", "has %d bytes, at most %d are allowed", len(r.Ref), task.MaxRefBytes)
	}
	if err := task.ValidateText("ref_id", r.Ref); err != nil {
		return 0, err
	}
	t, err := c.run(ctx, id, access.RunReport)
	if err != nil {
		return 0, err
	}
	e, err := c.reporter(ctx, t, r.Execution)
	if err != nil {
		return 0, err
	}
	if seq, err := known(ctx, box, e, r.Type); seq > 0 || err != nil {
		return seq, err
	}
	failed := c.p.report(ctx, t, e, state, r.Ref)
	seq, err = known(ctx, box, e, r.Type) // also when another call was first
	switch {
	case err != nil:
		return 0, errors.Join(failed, err)
	case seq > 0:
		return seq, nil
	case failed != nil:
		return 0, failed
	}
	return 0, final("execution %s reported this before, and it is no longer kept when", e.ID)
}

// final is a conflict that no client should repeat.
func final(format string, args ...any) error {
	return &task.Error{Code: task.CodeConflict, Message: fmt.Sprintf(format, args...), Err: task.ErrFenced}
}

// known gives the number of the execution's first signal of a type, 0 if there
// is none yet.
func known(ctx context.Context, box task.Mailbox, e task.Execution, t task.SignalType) (int64, error) {
	s, err := box.FindSignal(ctx, e.TaskID, e.ID, t)
	if errors.Is(err, task.ErrNotFound) {
		return 0, nil
	}
	return s.Seq, err
}

// reporter finds the execution that the caller may report for.
func (c *Client) reporter(ctx context.Context, t task.Task, id task.ExecutionID) (task.Execution, error) {
	if own := c.caller.Execution; own != "" {
		if id != "" && id != own {
			return task.Execution{}, task.Errorf(task.CodeNotAuthorized, "a run token reports for its own execution only")
		}
		return c.p.store.Execution(ctx, own)
	}
	if t.Where != task.LocationLocal {
		return task.Execution{}, task.Errorf(task.CodeOperationNotSupported, "run %s is carried out by a worker, whose runner reports for it", t.ID)
	}
	all, err := c.p.store.Executions(ctx, t.ID)
	if err != nil {
		return task.Execution{}, err
	}
	for i := len(all) - 1; i >= 0; i-- {
		if id == "" || all[i].ID == id {
			return all[i], nil
		}
	}
	return task.Execution{}, task.Errorf(task.CodeNotFound, "run %s has no execution %q", t.ID, string(id))
}

// report moves the run. What the reporter cannot say is filled in: an error is
// the agent's process's, which no other execution can mend.
func (p *Platform) report(ctx context.Context, t task.Task, e task.Execution, to task.State, ref string) error {
	if !e.Live() {
		return final("execution %s has ended (%s)", e.ID, e.Reason)
	}
	if to == task.StateInProgress {
		_, err := p.store.Do(ctx, t.ID, task.Begin{Execution: e.ID, Ref: ref})
		return err
	}
	end := task.End{Execution: e.ID, State: to, Ref: ref}
	switch to {
	case task.StateError:
		end.Status = task.Status{Message: "the execution reported an error", ErrorCode: task.CodeAgentProcessFailed}
	case task.StateFailed:
		end.Status = task.Status{Message: "the execution reported that it failed"}
	}
	var err error
	if end.SeenInput, err = p.seenInput(ctx, t); err != nil {
		return err
	}
	return p.end(ctx, t.ID, end)
}

// end ends an execution for good. Messages that came while it was at work, and
// that it was not told of, wake a run that is now BLOCKED, as later ones will.
// Whoever reports an end repeats it until it is answered, so that a crash in
// between loses no message.
func (p *Platform) end(ctx context.Context, id task.ID, end task.End) error {
	head, err := p.store.Do(ctx, id, end)
	if err != nil {
		return err
	}
	p.audits.add(id)
	box, ok := p.store.(task.Mailbox)
	if !ok || head.State != task.StateBlocked || !head.Cancellable() {
		return nil
	}
	waiting, err := box.Mails(ctx, task.MailQuery{To: id, Unread: true, Limit: MaxMails})
	if err != nil {
		return err
	}
	for _, m := range waiting {
		if m.DeliveredAt.IsZero() {
			if err := p.wakeBy(ctx, box, m.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Platform) wakeBy(ctx context.Context, box task.Mailbox, id task.MailID) error {
	m, err := box.Mail(ctx, id)
	if err != nil {
		return err
	}
	if _, err := p.store.Do(ctx, m.To, task.Letter{From: m.From, Subject: m.Subject, Body: m.Body}.Wake()); err != nil {
		return err
	}
	_, err = box.MarkMail(ctx, id, task.MarkDelivered)
	return err
}

// firstInput is the number of the prompt, which every execution is given.
const firstInput = 2

// seenInput is the newest message from a person that the agent was given. The
// runner of a run that executes where it was started may be another program,
// which gets no messages: what was written to it has to count as seen.
func (p *Platform) seenInput(ctx context.Context, t task.Task) (int64, error) {
	if t.Where == task.LocationLocal || t.LastInput <= firstInput {
		return t.LastInput, nil
	}
	seen := int64(firstInput)
	for e, err := range p.history(ctx, t.ID) {
		if err != nil {
			return 0, err
		}
		if d, ok := e.Payload.(*task.Delivered); ok {
			for _, n := range d.Inputs {
				seen = max(seen, n)
			}
		}
	}
	return seen, nil
}
