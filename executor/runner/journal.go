package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// Limits of the journal. The queue bounds memory when the platform is away;
// Post then waits, so an agent cannot outrun its own log.
const (
	maxQueueBytes  = 8 << 20
	maxBatchBytes  = 1 << 20
	maxBatchEvents = 500
	historyPage    = 500
)

// errJournalClosed is what posting fails with after close.
var errJournalClosed = errors.New("the journal is closed")

// journal is the execution's end of the run's log: it redacts, queues and
// appends in order, each event exactly once. It implements harness.Journal.
type journal struct {
	link     executor.Link
	redactor *secrets.Redactor
	clock    task.Clock

	mu      sync.Mutex
	changed *sync.Cond // queue, acked, err or closed changed
	queue   []queued
	bytes   int   // of the queue
	posted  int64 // events ever queued
	acked   int64 // of them, durable
	offset  int64 // the platform's count of this execution's events
	err     error // why appending has ended for good
	closed  bool

	// fetch brings a file that came with a message to where the agent looks for
	// it. Set before the agent begins; nil: nowhere.
	fetch func(context.Context, task.Attachment) error

	scanning sync.Mutex // guards the two below
	scanned  int64      // log position up to which inputs is complete
	inputs   []task.Event
}

// queued is one event that waits to be appended.
type queued struct {
	event task.Event
	bytes int
}

// newJournal makes the journal of an execution that has appended offset
// events. run must be called once.
func newJournal(link executor.Link, r *secrets.Redactor, clock task.Clock, offset int64) *journal {
	j := &journal{link: link, redactor: r, clock: clock, offset: offset}
	j.changed = sync.NewCond(&j.mu)
	return j
}

// run appends what is posted until close was called and the queue is empty,
// or ctx ends, or the platform refuses an append for good.
func (j *journal) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { j.fail(context.Cause(ctx)) })
	defer stop()
	for {
		batch, offset, err := j.next()
		if err != nil || batch == nil {
			return err
		}
		if err := j.link.Append(ctx, offset, batch); err != nil {
			j.fail(fmt.Errorf("append events: %w", err))
			return err
		}
		j.ack(len(batch))
	}
}

// next waits for events and takes a batch of them without removing it; nil
// once the journal is closed and empty.
func (j *journal) next() ([]task.Event, int64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.queue) == 0 && !j.closed && j.err == nil {
		j.changed.Wait()
	}
	if j.err != nil {
		return nil, 0, j.err
	}
	var batch []task.Event
	bytes := 0
	for _, q := range j.queue {
		if len(batch) == maxBatchEvents || (len(batch) > 0 && bytes+q.bytes > maxBatchBytes) {
			break
		}
		batch = append(batch, q.event)
		bytes += q.bytes
	}
	return batch, j.offset, nil
}

// ack removes the first n events, which are durable now.
func (j *journal) ack(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, q := range j.queue[:n] {
		j.bytes -= q.bytes
	}
	j.queue = append([]queued(nil), j.queue[n:]...)
	j.acked += int64(n)
	j.offset += int64(n)
	j.changed.Broadcast()
}

func (j *journal) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil {
		j.err = err
	}
	j.changed.Broadcast()
}

// close lets run return once everything posted is durable.
func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	j.changed.Broadcast()
}

// Post queues events in order, each redacted and stamped with the time.
func (j *journal) Post(ctx context.Context, payloads ...task.Payload) error {
	items := make([]queued, 0, len(payloads))
	for _, p := range payloads {
		q, err := j.prepare(p)
		if err != nil {
			return err
		}
		items = append(items, q)
	}
	stop := context.AfterFunc(ctx, j.wake)
	defer stop()
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, q := range items {
		for j.bytes > 0 && j.bytes+q.bytes > maxQueueBytes && j.err == nil && !j.closed && ctx.Err() == nil {
			j.changed.Wait()
		}
		if err := j.usable(ctx); err != nil {
			return err
		}
		j.queue = append(j.queue, q)
		j.bytes += q.bytes
		j.posted++
		j.changed.Broadcast()
	}
	return nil
}

// prepare redacts a payload by its encoded form, so that no field of any
// payload can be forgotten.
func (j *journal) prepare(p task.Payload) (queued, error) {
	t, data, err := task.MarshalPayload(p)
	if err != nil {
		return queued{}, err
	}
	clean, err := j.redactor.JSON(data)
	if err != nil {
		return queued{}, fmt.Errorf("redact %s event: %w", t, err)
	}
	if len(clean) > task.MaxEventBytes { // the platform would refuse the batch, and with it all that follows
		return queued{}, fmt.Errorf("a %s event has %d bytes, at most %d are possible", t, len(clean), task.MaxEventBytes)
	}
	p, err = task.UnmarshalPayload(t, clean)
	if err != nil {
		return queued{}, err
	}
	return queued{task.Event{Time: j.clock.Now().UTC(), Payload: p}, len(clean)}, nil
}

func (j *journal) wake() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.changed.Broadcast()
}

// usable says why nothing more can be posted or waited for. j.mu is held.
func (j *journal) usable(ctx context.Context) error {
	switch {
	case j.err != nil:
		return j.err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case j.closed:
		return errJournalClosed
	}
	return nil
}

// Flush waits until all that was posted before is durable.
func (j *journal) Flush(ctx context.Context) error {
	stop := context.AfterFunc(ctx, j.wake)
	defer stop()
	j.mu.Lock()
	defer j.mu.Unlock()
	want := j.posted
	for j.acked < want {
		if err := j.usable(ctx); err != nil {
			return err
		}
		j.changed.Wait()
	}
	return j.err
}

// History replays the log from after; what was posted before is in it.
func (j *journal) History(ctx context.Context, after int64) iter.Seq2[task.Event, error] {
	return func(yield func(task.Event, error) bool) {
		if err := j.Flush(ctx); err != nil {
			yield(task.Event{}, err)
			return
		}
		for {
			events, err := j.link.Events(ctx, after, historyPage)
			if err != nil {
				yield(task.Event{}, fmt.Errorf("read the log: %w", err))
				return
			}
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
				after = e.Seq
			}
			if len(events) == 0 {
				return
			}
		}
	}
}

// Inputs returns the messages from people above after. The log is read once:
// each call goes on where the last one stopped.
func (j *journal) Inputs(ctx context.Context, after int64) ([]task.Event, error) {
	j.scanning.Lock()
	defer j.scanning.Unlock()
	for e, err := range j.History(ctx, j.scanned) {
		if err != nil {
			return nil, err
		}
		if in, ok := e.Payload.(*task.Input); ok {
			if err := j.fetchAll(ctx, in.Attachments); err != nil {
				return nil, err
			}
			j.inputs = append(j.inputs, e)
		}
		j.scanned = e.Seq
	}
	first, _ := slices.BinarySearchFunc(j.inputs, after+1, func(e task.Event, seq int64) int { return cmp.Compare(e.Seq, seq) })
	return slices.Clone(j.inputs[first:]), nil
}

// fetchAll brings the files of a message before the agent hears of them. Those
// that are there are left alone.
func (j *journal) fetchAll(ctx context.Context, files []task.Attachment) error {
	if j.fetch == nil {
		return nil
	}
	for _, a := range files {
		if err := j.fetch(ctx, a); err != nil {
			return fmt.Errorf("fetch %q, which came with a message: %w", a.FileName, err)
		}
	}
	return nil
}

// phase posts the begin of a phase and returns what posts its end.
func (j *journal) phase(ctx context.Context, name string) func(err error, detail string) error {
	start := j.clock.Now()
	_ = j.Post(ctx, &task.Phase{Name: name, Status: task.PhaseStarted})
	return func(err error, detail string) error {
		p := &task.Phase{Name: name, Status: task.PhaseDone, Detail: detail, DurationMS: j.clock.Now().Sub(start).Milliseconds()}
		if err != nil {
			p.Status = task.PhaseFailed
			if detail == "" {
				p.Detail = err.Error()
			}
		}
		return j.Post(ctx, p)
	}
}
