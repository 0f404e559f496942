package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// kindTodos are the records of the task lists of runs, by their IDs, and
// kindProgress the messages that tell of them.
const (
	kindTodos    = "trigger.todos"
	kindProgress = "trigger.progress"
)

// Bounds of Progress: more is no use to who looks at it in a chat.
const (
	MaxProgressItems = 30
	MaxProgressTitle = 200 // bytes
)

// Progress is how far a run has come with what it has set out to do. The zero
// Progress is of a run that has no task list.
type Progress struct {
	// Items are those of its task list, in order, without descriptions and each
	// title on one line: the first MaxProgressItems of All.
	Items []task.Todo `json:"items,omitempty"`
	// Done and All count those that are ticked off, and all.
	Done int `json:"done,omitempty"`
	All  int `json:"all,omitempty"`
}

// progressOf makes it of a task list.
func progressOf(list []task.Todo) Progress {
	p := Progress{All: len(list)}
	for _, t := range list {
		if t.Done {
			p.Done++
		}
		if len(p.Items) < MaxProgressItems {
			title := strings.Join(strings.Fields(strings.ToValidUTF8(t.Title, "")), " ")
			p.Items = append(p.Items, task.Todo{Title: task.CutReason(title, MaxProgressTitle), Done: t.Done})
		}
	}
	return p
}

// todos are the task list of a run as of an event of its log.
type todos struct {
	Seq int64 `json:"seq"`
	// Told is the Seq of the list that its origin has last been told.
	Told     int64    `json:"told,omitempty"`
	Progress Progress `json:"progress"`

	owner    task.Scope
	revision int64
}

// Progress hears that a run has another task list, as of an event of its log.
// The run's origin is told in a while, at most once in each Options.Progress,
// and then the newest list: whether it says more is for its Reporter, which gets
// NewsProgress. It does nothing for runs that came by themselves. What happened
// already, or is older than what was heard, may be said again.
func (e *Engine) Progress(ctx context.Context, t task.Task, seq int64, list []task.Todo) error {
	if e.teller(t) == nil {
		return nil
	}
	err := e.changeTodos(ctx, t.ID, func(l *todos) bool {
		if l.Seq >= seq {
			return false
		}
		l.Seq, l.Progress, l.owner = seq, progressOf(list), t.Owner
		return true
	})
	if err != nil {
		return err
	}
	window := e.now().UnixNano() / int64(e.opts.Progress)
	return e.addProgress(ctx, t, task.Outgoing{Key: fmt.Sprintf("progress %s %d", t.ID, window), ReadyAt: time.Unix(0, (window+1)*int64(e.opts.Progress)).UTC()})
}

// ForgetProgress removes what is kept of a run's task list.
func (e *Engine) ForgetProgress(ctx context.Context, id task.ID) error {
	err := e.store.DeleteRecord(ctx, kindTodos, string(id))
	if errors.Is(err, task.ErrNotFound) {
		return nil
	}
	return err
}

// teller is who tells of a run at its origin; nil for nobody.
func (e *Engine) teller(t task.Task) Reporter {
	if t.Origin == nil || len(t.Origin.Address) == 0 {
		return nil
	}
	name, _, _ := strings.Cut(t.Origin.Source, "/")
	return e.reporters[name]
}

func (e *Engine) addProgress(ctx context.Context, t task.Task, o task.Outgoing) error {
	o.Kind = kindProgress
	e.complete(&o, News{Task: t, Origin: *t.Origin, Owner: t.Owner})
	if err := e.store.AddOutgoing(ctx, o); err != nil {
		return fmt.Errorf("write down that progress is to be told: %w", err)
	}
	e.wakeSender()
	return nil
}

// todos reads the task list of a run; one without Seq when it has none.
func (e *Engine) todos(ctx context.Context, id task.ID) (todos, error) {
	var l todos
	rec, err := e.store.Record(ctx, kindTodos, string(id))
	if errors.Is(err, task.ErrNotFound) {
		return l, nil
	}
	if err == nil {
		err = json.Unmarshal(rec.Data, &l)
	}
	if err != nil {
		return l, fmt.Errorf("read the task list of run %s: %w", id, err)
	}
	l.owner, l.revision = rec.Owner, rec.Revision
	return l, nil
}

// changeTodos writes the task list of a run, unless change says that it need
// not.
func (e *Engine) changeTodos(ctx context.Context, id task.ID, change func(*todos) bool) error {
	for range maxRewrites {
		l, err := e.todos(ctx, id)
		if err != nil || !change(&l) {
			return err
		}
		data, err := json.Marshal(l)
		if err != nil {
			return fmt.Errorf("encode the task list of run %s: %w", id, err)
		}
		_, err = e.store.PutRecord(ctx, task.Record{Kind: kindTodos, Key: string(id), Owner: l.owner, Revision: l.revision, Data: data, UpdatedAt: e.now()})
		if !errors.Is(err, task.ErrConflict) {
			return err
		}
	}
	return task.Errorf(task.CodeConflict, "too much is being said of the task list of run %s at once", id)
}

// progress tells of task lists. A message comes twice: first when it is time,
// in no lane, since one that waits in a lane would hold up how a run has ended;
// then in the lane of what else is told there, so that the order is kept.
type progress struct{ e *Engine }

// Report implements Reporter: nothing is told because of others' news.
func (progress) Report(context.Context, News) ([]task.Outgoing, error) { return nil, nil }

// Kinds implements Reporter.
func (progress) Kinds() []string { return []string{kindProgress} }

// Send implements Reporter. It asks what is to be told only now, and tells
// nothing that was told: of several that had to wait, the first tells all.
func (p progress) Send(ctx context.Context, o task.Outgoing) ([]byte, error) {
	t, err := p.e.host.Run(ctx, o.TaskID)
	if errors.Is(err, task.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	own := p.e.teller(t)
	if own == nil {
		return nil, &GiveUp{Err: errUnknownSource(o.Source)}
	}
	list, err := p.e.todos(ctx, t.ID)
	if err != nil || list.Seq <= list.Told {
		return nil, err
	}
	n := News{Type: NewsProgress, Task: t, Origin: *t.Origin, Owner: t.Owner, Key: fmt.Sprintf("progress %s %d", t.ID, list.Seq), Progress: list.Progress}
	out, err := own.Report(ctx, n)
	switch {
	case err != nil && final(err):
		return nil, &GiveUp{Err: err}
	case err != nil || len(out) == 0:
		return nil, err
	case o.Lane == "" && out[0].Lane != "":
		return nil, p.e.addProgress(ctx, t, task.Outgoing{Key: o.Key + " in lane", Lane: out[0].Lane})
	}
	result, err := p.send(ctx, o, n, out)
	if err != nil {
		return nil, err
	}
	return result, p.e.changeTodos(ctx, t.ID, func(l *todos) bool {
		told := l.Seq > 0 && l.Told < list.Seq // else it was removed meanwhile
		l.Told = max(l.Told, list.Seq)
		return told
	})
}

// send tells what a Reporter has to say.
func (p progress) send(ctx context.Context, o task.Outgoing, n News, out []task.Outgoing) (result []byte, err error) {
	for _, one := range out {
		p.e.complete(&one, n)
		one.Attempts = o.Attempts
		r, ok := p.e.senders[one.Kind]
		if !ok {
			return nil, fmt.Errorf("nothing here can send %q", one.Kind)
		}
		if result, err = r.Send(ctx, one); err != nil {
			return nil, err
		}
	}
	return result, nil
}
