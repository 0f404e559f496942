package harness

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// ErrAsked is why an agent is stopped that has put a question: the run is
// BLOCKED until the answer comes, and its agent goes on then.
var ErrAsked = errors.New("the agent waits for an answer")

// errAskedAlready refuses a second question.
var errAskedAlready = task.Errorf(task.CodeConflict, "a question waits for its answer already: end your turn, the run goes on with the answer")

// Desk is where an agent turns to people and to other runs. The methods of
// executor.Desk are the platform's: children, their states, messages. Safe for
// concurrent use.
//
// A question ends the execution: Ask records it and closes Asked; the harness
// stops its agent and returns from Run with whatever outcome it has, which
// the runner turns into BLOCKED. The answer is the next message of the run,
// which resumes it in a new execution, or in the same sandbox if that is
// still there. A harness that has not returned a while after Ask is stopped by
// the runner, with ErrAsked as the cause of its context's end.
type Desk struct {
	executor.Desk
	// Patience is how long WaitFor holds the sandbox before it lets go of it.
	// NewDesk sets DefaultPatience. It is not changed while the desk is in use.
	Patience time.Duration

	clock task.Clock

	mu    sync.Mutex
	open  *task.Question
	asked chan struct{}
}

// NewDesk returns the desk of one execution.
func NewDesk(d executor.Desk, clock task.Clock) *Desk {
	return &Desk{Desk: d, Patience: DefaultPatience, clock: clock, asked: make(chan struct{})}
}

// DefaultAnswerTime is how long people have for an answer, unless the question
// says otherwise.
const DefaultAnswerTime = 24 * time.Hour

// Ask puts a question. Where q has no ExpiresAt it has DefaultAnswerTime. It
// fails with task.ErrInvalid for a question that breaks a rule, and with
// task.CodeConflict when one is open already.
func (d *Desk) Ask(_ context.Context, q task.Question) error {
	q = d.Prepare(q)
	if err := q.Validate(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open != nil {
		if d.open.ID == q.ID { // the same again
			return nil
		}
		return errAskedAlready
	}
	d.open = &q
	close(d.asked)
	return nil
}

// Prepare fills in what a question leaves open.
func (d *Desk) Prepare(q task.Question) task.Question {
	if q.ExpiresAt.IsZero() {
		q.ExpiresAt = d.clock.Now().Add(DefaultAnswerTime).UTC().Round(0)
	}
	if q.OnExpiry == "" {
		q.OnExpiry = task.ExpiryFail
		if q.Kind == task.QuestionRuns {
			q.OnExpiry = task.ExpiryContinue
		}
	}
	if q.Kind == task.QuestionApproval && q.Choices == nil {
		q.Choices = []string{task.ChoiceApprove, task.ChoiceReject}
	}
	return q
}

// Asked is closed once a question is open.
func (d *Desk) Asked() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

// Open gives the question that was put; nil when there is none.
func (d *Desk) Open() *task.Question {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open
}

// Reset forgets the question, for an agent that goes on in the same execution.
func (d *Desk) Reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open != nil {
		d.open, d.asked = nil, make(chan struct{})
	}
}

// DefaultPatience is the Patience of a new Desk.
const DefaultPatience = 45 * time.Second

// WaitFor waits until the named runs have ended (all of them, or any), or a
// message has come, for at most limit. released is true when it gave up: then
// the run has asked to be resumed once they have, and the agent is to stop.
// key names the wait, as Question.ID does.
//
// A parent does not keep its place while it waits for long: where parents fill
// all places, their children would never start.
func (d *Desk) WaitFor(ctx context.Context, key string, a executor.Await, limit time.Duration) (news executor.News, released bool, err error) {
	begun := d.clock.Now()
	for {
		left := min(limit, d.Patience) - d.clock.Now().Sub(begun)
		a.WaitMS = max(0, min(left.Milliseconds(), executor.MaxAwaitMS))
		news, err = d.Await(ctx, a)
		switch {
		case err != nil, news.Done, len(news.Unread) > 0:
			return news, false, err
		case limit <= d.Patience && left <= 0:
			return news, false, nil
		case left <= 0:
			until := begun.Add(limit).UTC().Round(0)
			return news, true, d.Ask(ctx, d.WaitQuestion(key, a, until))
		}
	}
}

// WaitQuestion is how a run that has let go of its sandbox waits for others.
func (d *Desk) WaitQuestion(key string, a executor.Await, until time.Time) task.Question {
	text := "Waits for other runs to end."
	if len(a.Runs) == 1 {
		text = "Waits for run " + string(a.Runs[0]) + " to end."
	}
	return task.Question{ID: key, Kind: task.QuestionRuns, Text: text, Runs: a.Runs, All: a.All, ExpiresAt: until, OnExpiry: task.ExpiryContinue}
}
