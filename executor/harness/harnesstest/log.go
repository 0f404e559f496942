package harnesstest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// Log is a run's log in memory, which outlives its executions. Safe for
// concurrent use.
type Log struct {
	mu      sync.Mutex
	id      task.ID
	events  []task.Event
	changed chan struct{} // closed and replaced at each change
}

// NewLog returns the empty log of a run.
func NewLog(id task.ID) *Log { return &Log{id: id, changed: make(chan struct{})} }

// Say adds a message from a person and gives its number.
func (l *Log) Say(text string) int64 {
	return l.add("", &task.Input{Text: text, From: task.Principal{Type: task.PrincipalUser, UID: "u1"}})
}

func (l *Log) add(e task.ExecutionID, p task.Payload) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq := int64(len(l.events) + 1)
	l.events = append(l.events, task.Event{Seq: seq, TaskID: l.id, ExecutionID: e, Time: time.Now().UTC(), Payload: p})
	close(l.changed)
	l.changed = make(chan struct{})
	return seq
}

// Events gives the log as it is.
func (l *Log) Events() []task.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]task.Event(nil), l.events...)
}

// Wait blocks until an event satisfies ok, or ctx ends.
func (l *Log) Wait(ctx context.Context, ok func(task.Event) bool) (task.Event, error) {
	for from := 0; ; {
		l.mu.Lock()
		events, changed := l.events, l.changed
		l.mu.Unlock()
		for ; from < len(events); from++ {
			if ok(events[from]) {
				return events[from], nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return task.Event{}, fmt.Errorf("wait for an event: %w", ctx.Err())
		}
	}
}

// Payloads gives the payloads of one type, in order.
func Payloads[P task.Payload](l *Log) []P {
	var out []P
	for _, e := range l.Events() {
		if p, ok := e.Payload.(P); ok {
			out = append(out, p)
		}
	}
	return out
}

// ErrCrashed is what a Journal fails with once its Crash has happened.
var ErrCrashed = errors.New("the journal has crashed, as the test asked")

// Crash makes a Journal fail for good when the At-th event, counted from 1, is
// posted. Late says that this event and those before it have become durable;
// else all that was not flushed is lost.
type Crash struct {
	At   int
	Late bool
}

// Journal is an execution's view of a Log, with a real redactor: every string
// of every event passes it.
type Journal struct {
	log       *Log
	execution task.ExecutionID
	redactor  *secrets.Redactor
	crash     Crash

	mu     sync.Mutex
	queue  []task.Payload
	posted int
	failed bool
}

var _ harness.Journal = (*Journal)(nil)

// Journal returns the journal of one execution. A zero Crash never happens.
func (l *Log) Journal(e task.ExecutionID, r *secrets.Redactor, c Crash) *Journal {
	return &Journal{log: l, execution: e, redactor: r, crash: c}
}

// Posted is how many events were posted.
func (j *Journal) Posted() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.posted
}

// Crashed reports whether the Crash has happened.
func (j *Journal) Crashed() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failed
}

// Post implements harness.Journal.
func (j *Journal) Post(ctx context.Context, payloads ...task.Payload) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range payloads {
		if j.failed {
			return ErrCrashed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		clean, err := j.redact(p)
		if err != nil {
			return err
		}
		j.posted++
		crashing := j.posted == j.crash.At
		if !crashing || j.crash.Late {
			j.queue = append(j.queue, clean)
		}
		if crashing {
			j.failed = true
			if j.crash.Late {
				j.drain()
			}
			return ErrCrashed
		}
	}
	return nil
}

// redact does to an event what the runner's journal does.
func (j *Journal) redact(p task.Payload) (task.Payload, error) {
	kind, data, err := task.MarshalPayload(p)
	if err != nil {
		return nil, err
	}
	if len(data) > task.MaxEventBytes {
		return nil, fmt.Errorf("%s event of %d bytes: at most %d", kind, len(data), task.MaxEventBytes)
	}
	if data, err = j.redactor.JSON(data); err != nil {
		return nil, err
	}
	return task.UnmarshalPayload(kind, data)
}

func (j *Journal) drain() {
	for _, p := range j.queue {
		j.log.add(j.execution, p)
	}
	j.queue = nil
}

// Flush implements harness.Journal.
func (j *Journal) Flush(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed {
		return ErrCrashed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	j.drain()
	return nil
}

// History implements harness.Journal.
func (j *Journal) History(_ context.Context, after int64) iter.Seq2[task.Event, error] {
	return func(yield func(task.Event, error) bool) {
		if j.Crashed() {
			yield(task.Event{}, ErrCrashed)
			return
		}
		for _, e := range j.log.Events() {
			if e.Seq > after && !yield(e, nil) {
				return
			}
		}
	}
}

// Inputs implements harness.Journal.
func (j *Journal) Inputs(ctx context.Context, after int64) ([]task.Event, error) {
	if j.Crashed() {
		return nil, ErrCrashed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var out []task.Event
	for _, e := range j.log.Events() {
		if _, ok := e.Payload.(*task.Input); ok && e.Seq > after {
			out = append(out, e)
		}
	}
	return out, nil
}
