package oz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/webpush"
)

// NotificationKind says why somebody is notified.
type NotificationKind string

// The kinds, as the wire spells them.
const (
	NotifyComplete NotificationKind = "complete" // a run has succeeded
	NotifyRequest  NotificationKind = "request"  // a run, or somebody who wants to edit it, waits for an answer
	NotifyError    NotificationKind = "error"    // a run has failed
)

// NotificationReason says what a NotifyRequest is about.
type NotificationReason string

// The reasons, as the wire spells them.
const (
	ReasonQuestion NotificationReason = "question"     // the agent asks
	ReasonApproval NotificationReason = "approval"     // a plan or an action is to be approved
	ReasonBlocked  NotificationReason = "blocked"      // it waits for a message
	ReasonEdit     NotificationReason = "edit_request" // somebody asks to edit the run
)

// NotificationFilter picks notifications.
type NotificationFilter string

// The filters, as the wire spells them. The zero value is all.
const (
	NotificationsAll    NotificationFilter = "all"
	NotificationsUnread NotificationFilter = "unread"
	NotificationsErrors NotificationFilter = "errors"
)

// Limits of a person's notifications; ours.
const (
	// MaxNotifications is how many are kept for a person: older ones go first.
	MaxNotifications = 300
	// NotificationTime is how long one is kept.
	NotificationTime = 90 * 24 * time.Hour
	// maxNotificationText bounds Notification.Text and Title, in bytes.
	maxNotificationText = 200
	// notificationTries bounds the writers of one person's notes that are in each
	// other's way.
	notificationTries = 20
)

// Notification tells a person what happened to a run of theirs.
type Notification struct {
	// ID is a number that grows with each of the person's notifications.
	ID     string             `json:"id"`
	Kind   NotificationKind   `json:"kind"`
	Reason NotificationReason `json:"reason,omitempty"` // of NotifyRequest
	RunID  task.ID            `json:"run_id"`
	Title  string             `json:"title"` // the run's
	// Text is the question, or the reason of a failure, cut; may be empty.
	Text      string     `json:"text,omitempty"`
	State     task.State `json:"state"` // of the run, then
	CreatedAt time.Time  `json:"created_at"`
	Read      bool       `json:"read"`
}

// number is ID as it grows.
func (n Notification) number() int64 {
	v, _ := strconv.ParseInt(n.ID, 10, 64) // it was made of a number
	return v
}

// kindNotifications are the records of notifications: one for each person.
const kindNotifications = "notifications"

// notes are a person's notifications, the oldest first. It is one record: to
// add one, to read one and to read all are one write each.
type notes struct {
	Next  int64      `json:"next"` // the number of the next one
	Items []keptNote `json:"items"`

	revision int64
}

type keptNote struct {
	Notification
	// Key names what it tells of: the same is told once.
	Key string `json:"key"`
}

func (p *Platform) notesOf(ctx context.Context, uid string) (notes, error) {
	rec, err := p.store.Record(ctx, kindNotifications, uid)
	if errors.Is(err, task.ErrNotFound) {
		return notes{Next: 1}, nil
	}
	if err != nil {
		return notes{}, fmt.Errorf("read notifications: %w", err)
	}
	m := notes{revision: rec.Revision}
	if err := json.Unmarshal(rec.Data, &m); err != nil {
		return notes{}, fmt.Errorf("decode notifications: %w", err)
	}
	return m, nil
}

// changeNotes reads a person's notes, lets change change them, and writes them, unless
// change reports that nothing has changed.
func (p *Platform) changeNotes(ctx context.Context, uid string, change func(*notes) (changed bool, err error)) error {
	var err error
	for range notificationTries {
		var m notes
		if m, err = p.notesOf(ctx, uid); err != nil {
			return err
		}
		changed, err := change(&m)
		if err != nil || !changed {
			return err
		}
		m.trim(p.opts.Clock.Now())
		data, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("encode notifications: %w", err)
		}
		_, err = p.store.PutRecord(ctx, task.Record{Kind: kindNotifications, Key: uid, Owner: task.Scope{Type: task.ScopeUser, UID: uid},
			Revision: m.revision, Data: data, UpdatedAt: p.opts.Clock.Now()})
		if !errors.Is(err, task.ErrConflict) {
			return err
		}
	}
	return task.Errorf(task.CodeResourceUnavailable, "too many changes of these notifications at once; try again")
}

// trim forgets what is too old or too much.
func (m *notes) trim(now time.Time) {
	m.Items = slices.DeleteFunc(m.Items, func(i keptNote) bool { return i.CreatedAt.Before(now.Add(-NotificationTime)) })
	if over := len(m.Items) - MaxNotifications; over > 0 {
		m.Items = slices.Delete(m.Items, 0, over)
	}
}

// notify adds a notification to a person's mailbox, unless it has one with the
// key.
func (p *Platform) notify(ctx context.Context, uid, key string, n Notification) error {
	return p.changeNotes(ctx, uid, func(m *notes) (bool, error) {
		if slices.ContainsFunc(m.Items, func(i keptNote) bool { return i.Key == key }) {
			return false, nil
		}
		n.ID = strconv.FormatInt(m.Next, 10)
		m.Next++
		m.Items = append(m.Items, keptNote{n, key})
		return true, nil
	})
}

// notifier puts what happens to runs into the mailboxes of those whom it
// concerns. It hears of each signal at least once, and the mailbox knows what
// it has by its key. Browsers are told by way of the outbox.
type notifier struct{ p *Platform }

var _ trigger.Reporter = notifier{}

// Report implements trigger.Reporter.
func (r notifier) Report(ctx context.Context, n trigger.News) (out []task.Outgoing, err error) {
	note, ok := noteOf(n)
	if !ok {
		return nil, nil
	}
	for _, uid := range concerned(n.Task) {
		sees, err := r.p.personMay(ctx, uid, access.RunView, n.Task)
		if err != nil {
			return nil, err
		}
		if !sees {
			continue
		}
		if err := r.p.notify(ctx, uid, n.Key, note); err != nil {
			return nil, err
		}
		list, err := r.p.pushesOf(ctx, uid, n.Key, note)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// Kinds implements trigger.Reporter.
func (r notifier) Kinds() []string {
	if r.p.pusher == nil {
		return nil
	}
	return []string{webpush.Kind}
}

// Send implements trigger.Reporter.
func (r notifier) Send(ctx context.Context, o task.Outgoing) ([]byte, error) {
	return r.p.pusher.Send(ctx, o)
}

// noteOf is what a signal tells people; ok is false when that is nothing.
func noteOf(n trigger.News) (note Notification, ok bool) {
	state, ok := n.Signal.Type.State()
	if n.Type != trigger.NewsSignal || !ok {
		return note, false
	}
	t := n.Task
	note = Notification{RunID: t.ID, Title: task.CutReason(t.Title, maxNotificationText), State: state, CreatedAt: n.Signal.Time.UTC()}
	now := t.State == state // else the run has gone on, and its status is of something later
	if now {
		note.Text = task.CutReason(t.Status.Message, maxNotificationText)
	}
	switch state {
	case task.StateSucceeded:
		note.Kind, note.Text = NotifyComplete, ""
	case task.StateFailed, task.StateError:
		note.Kind = NotifyError
	case task.StateBlocked:
		if !now { // nobody is asked any more
			return note, false
		}
		note.Kind, note.Reason = NotifyRequest, ReasonBlocked
		if q := t.Status.Question; q != nil {
			note.Text = task.CutReason(q.Text, maxNotificationText)
			switch q.Kind {
			case task.QuestionPerson:
				note.Reason = ReasonQuestion
			case task.QuestionApproval:
				note.Reason = ReasonApproval
			default: // it waits for other runs
				return note, false
			}
		}
	default: // who cancels a run knows
		return note, false
	}
	return note, true
}

// concerned are the people who asked for a run or own it.
func concerned(t task.Task) (uids []string) {
	if t.Creator.IsPerson() && t.Creator.UID != "" {
		uids = append(uids, t.Creator.UID)
	}
	if t.Owner.Type == task.ScopeUser && t.Owner.UID != "" && !slices.Contains(uids, t.Owner.UID) {
		uids = append(uids, t.Owner.UID)
	}
	return uids
}

// personMay reports that a person is known and may do something to the run: who
// has left the team is told nothing more.
func (p *Platform) personMay(ctx context.Context, uid string, a access.Action, t task.Task) (bool, error) {
	caller, err := p.registry.Caller(ctx, uid)
	if errors.Is(err, task.ErrNotFound) {
		return false, nil
	}
	if err == nil {
		t, err = p.closed(ctx, t)
	}
	return err == nil && access.Allow(caller, a, access.OfRun(t)) == nil, err
}

// decisive are the people who are told that somebody asks to edit a run: those
// whom it concerns and who may decide that, or else the leaders of its team.
func (p *Platform) decisive(ctx context.Context, t task.Task) (uids []string, err error) {
	for _, uid := range concerned(t) {
		may, err := p.personMay(ctx, uid, access.RunShare, t)
		if err != nil {
			return nil, err
		}
		if may {
			uids = append(uids, uid)
		}
	}
	if len(uids) > 0 || t.Owner.Type != task.ScopeTeam {
		return uids, nil
	}
	_, members, err := p.registry.Members(ctx, access.System(), t.Owner.UID)
	for _, m := range members {
		if m.Role == access.RoleOwner || m.Role == access.RoleAdmin {
			uids = append(uids, m.User.UID)
		}
	}
	return uids, err
}

// notifyEdit tells those who decide that somebody asks to edit their run. The
// request stands without it.
func (p *Platform) notifyEdit(ctx context.Context, t task.Task, r EditRequest) {
	uids, err := p.decisive(ctx, t)
	if err != nil {
		p.opts.Logger.Warn("cannot tell who decides on a request to edit", zap.String("task_id", string(t.ID)), zap.Error(err))
	}
	n := Notification{Kind: NotifyRequest, Reason: ReasonEdit, RunID: t.ID, Title: task.CutReason(t.Title, maxNotificationText), State: t.State,
		Text: task.CutReason(r.Message, maxNotificationText), CreatedAt: r.CreatedAt}
	for _, uid := range uids {
		err := p.notify(ctx, uid, "edit "+r.UID, n)
		if err == nil {
			err = p.pushNow(ctx, uid, "edit "+r.UID, n)
		}
		if err != nil {
			p.opts.Logger.Warn("cannot notify of a request to edit", zap.String("task_id", string(t.ID)), zap.Error(err))
		}
	}
}

// Notifications lists the caller's own, the newest first, up to limit (default
// and at most MaxNotifications), and how many are unread in all. Keys of teams
// and agents have none.
func (c *Client) Notifications(ctx context.Context, filter NotificationFilter, limit int) (list []Notification, unread int, err error) {
	if err := c.allow(ctx, access.NotificationUse, access.Object{}); err != nil {
		return nil, 0, err
	}
	switch filter {
	case "", NotificationsAll, NotificationsUnread, NotificationsErrors:
	default:
		return nil, 0, task.Invalid("filter", "%q is none of all, unread, errors", string(filter))
	}
	if limit, err = bounded(limit, MaxNotifications, MaxNotifications); err != nil {
		return nil, 0, err
	}
	list = []Notification{}
	if !c.caller.Principal.IsPerson() {
		return list, 0, nil
	}
	m, err := c.p.notesOf(ctx, c.caller.Principal.UID)
	if err != nil {
		return nil, 0, err
	}
	m.trim(c.p.opts.Clock.Now())
	for _, i := range slices.Backward(m.Items) {
		if !i.Read {
			unread++
		}
		if len(list) < limit && !(filter == NotificationsUnread && i.Read) && !(filter == NotificationsErrors && i.Kind != NotifyError) {
			list = append(list, i.Notification)
		}
	}
	return list, unread, nil
}

// ReadNotification marks one of the caller's notifications as read. It fails
// with task.ErrNotFound for one that is not there any more.
func (c *Client) ReadNotification(ctx context.Context, id string) error {
	return c.readNotifications(ctx, func(m *notes) (changed bool, err error) {
		i := slices.IndexFunc(m.Items, func(i keptNote) bool { return i.ID == id })
		if i < 0 {
			return false, task.Errorf(task.CodeNotFound, "you have no notification %.50q", id)
		}
		changed = !m.Items[i].Read
		m.Items[i].Read = true
		return changed, nil
	})
}

// ReadAllNotifications marks all of the caller's notifications as read.
func (c *Client) ReadAllNotifications(ctx context.Context) error {
	return c.readNotifications(ctx, func(m *notes) (changed bool, err error) {
		for i := range m.Items {
			changed = changed || !m.Items[i].Read
			m.Items[i].Read = true
		}
		return changed, nil
	})
}

func (c *Client) readNotifications(ctx context.Context, change func(*notes) (bool, error)) error {
	if err := c.allow(ctx, access.NotificationUse, access.Object{}); err != nil {
		return err
	}
	if !c.caller.Principal.IsPerson() {
		return task.Errorf(task.CodeNotAuthorized, "only a person has notifications")
	}
	return c.p.changeNotes(ctx, c.caller.Principal.UID, change)
}

// NotificationsAfter gives the caller's notifications with numbers above after,
// the oldest first, and the newest number there is: for streams, which ask
// again and again.
func (c *Client) NotificationsAfter(ctx context.Context, after int64) (fresh []Notification, newest int64, err error) {
	list, _, err := c.Notifications(ctx, NotificationsAll, 0)
	if err != nil {
		return nil, after, err
	}
	newest = after
	for _, n := range slices.Backward(list) {
		if n.number() > after {
			fresh, newest = append(fresh, n), n.number()
		}
	}
	return fresh, newest, nil
}
