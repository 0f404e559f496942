package worker

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// askAgain is how soon a worker asks for itself whether a claim was recorded.
const askAgain = 2 * time.Second

// pending is a call whose result is not there yet. It is sent on each new
// connection again.
type pending struct {
	call
	done chan result
}

// do does a call: it waits for the server until ctx ends.
func (w *Worker) do(ctx context.Context, k call) (result, error) {
	p := &pending{call: k, done: make(chan result, 1)}
	w.mu.Lock()
	w.nextCall++
	p.ID = w.nextCall
	w.calls[p.ID] = p
	c := w.conn
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.calls, p.ID)
		w.mu.Unlock()
		w.poke()
	}()
	if c != nil {
		_ = c.send(ctx, typeCall, p.call) // what fails is sent again on the next connection
	}
	select {
	case r := <-p.done:
		return r, r.Error.err()
	case <-ctx.Done():
		return result{}, context.Cause(ctx)
	}
}

// resend sends all calls again that have no result, in their order.
func (w *Worker) resend(ctx context.Context, c *conn) error {
	w.mu.Lock()
	var open []*pending
	for _, p := range w.calls {
		open = append(open, p)
	}
	w.mu.Unlock()
	slices.SortFunc(open, func(a, b *pending) int { return cmp.Compare(a.ID, b.ID) })
	for _, p := range open {
		if err := c.send(ctx, typeCall, p.call); err != nil {
			return err
		}
	}
	return nil
}

// finish gives a result to who waits for it, if somebody still does.
func (w *Worker) finish(r result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.calls[r.ID]; p != nil {
		delete(w.calls, r.ID)
		p.done <- r // has room for one
	}
}

// granted lets the work of an execution begin, or find that it may not.
func (w *Worker) granted(id task.ExecutionID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ch := w.grants[id]; ch != nil {
		close(ch)
		delete(w.grants, id)
	}
}

// signal tells all subscribers that an execution may have ended.
func (w *Worker) signal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// poke makes Run look at what has changed.
func (w *Worker) poke() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// noteEnds tells the observer which executions take no place any more.
func (w *Worker) noteEnds() {
	l, ok := w.local.(oz.Lister)
	if !ok {
		return
	}
	w.mu.Lock()
	before := make(map[task.ExecutionID]bool, len(w.runs)) // first, for what is taken in between has no place yet
	for id, r := range w.runs {
		before[id] = !r.began.IsZero()
	}
	w.mu.Unlock()
	for _, id := range l.Executions() {
		delete(before, id)
	}
	for id, begun := range before {
		if begun {
			w.ended(id)
		}
	}
}

func (w *Worker) ended(id task.ExecutionID) {
	w.mu.Lock()
	r := w.runs[id]
	delete(w.runs, id)
	w.mu.Unlock()
	if r != nil {
		w.opts.Observer(Event{Kind: EventEnded, Task: r.task, Execution: id, Result: r.result, Took: w.opts.Clock.Now().Sub(r.began)})
	}
}

// begun notes that an execution is at work.
func (w *Worker) begun(id task.ExecutionID, run task.ID) (first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.runs[id]
	if r == nil {
		r = &work{task: run}
		w.runs[id] = r
	}
	if !r.began.IsZero() {
		return false
	}
	r.began = w.opts.Clock.Now()
	return r.claimed
}

// withdrawn forgets an execution that went elsewhere before its work began.
func (w *Worker) withdrawn(id task.ExecutionID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.runs, id)
	delete(w.grants, id)
	w.taken = false
}

// noteResult remembers how an execution ended.
func (w *Worker) noteResult(id task.ExecutionID, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.runs[id]; r != nil && why != "" {
		r.result = why
	}
}

// remote is the platform as the worker behind a link sees it.
type remote struct{ w *Worker }

var _ oz.WorkerHost = remote{}

// Ready implements oz.WorkerHost.
func (r remote) Ready() {
	r.w.mu.Lock()
	r.w.ready = true
	if l, ok := r.w.local.(oz.Lister); ok {
		for _, id := range l.Executions() {
			if r.w.runs[id] == nil { // taken up from an earlier process
				r.w.runs[id] = &work{began: r.w.opts.Clock.Now()}
			}
		}
	}
	r.w.mu.Unlock()
	r.w.poke()
}

// Changed implements oz.WorkerHost.
func (r remote) Changed() { r.w.poke() }

// Granted implements oz.WorkerHost.
func (r remote) Granted(ctx context.Context, e task.Execution) error {
	r.w.mu.Lock()
	granted := r.w.grants[e.ID]
	r.w.mu.Unlock()
	for {
		select {
		case <-granted:
		case <-r.w.opts.Clock.After(askAgain):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		now, err := r.Execution(ctx, e.ID)
		switch {
		case err != nil && task.CodeOf(err) != task.CodeNotFound:
			if ctx.Err() != nil {
				return err
			}
		case err != nil || !now.Live():
			r.w.withdrawn(e.ID)
			return &task.Error{Code: task.CodeOperationNotSupported, Message: "the execution went elsewhere", Err: task.ErrFenced}
		case now.State != task.ExecutionOffered:
			if r.w.begun(e.ID, e.TaskID) {
				r.w.opts.Observer(Event{Kind: EventStarted, Task: e.TaskID, Execution: e.ID})
			}
			return nil
		}
		granted = nil // it was no more than a hint; from here on it is asked for
	}
}

// Task implements oz.WorkerHost.
func (r remote) Task(ctx context.Context, id task.ID) (task.Task, error) {
	got, err := r.w.do(ctx, call{Method: callTask, TaskID: id})
	if err != nil || got.Task == nil {
		return task.Task{}, cmp.Or(err, errAnswer)
	}
	return *got.Task, nil
}

// errAnswer says that a server answered what its protocol does not allow.
var errAnswer error = task.Errorf(task.CodeInternal, "the server's answer lacks what was asked for")

// Execution implements oz.WorkerHost.
func (r remote) Execution(ctx context.Context, id task.ExecutionID) (task.Execution, error) {
	got, err := r.w.do(ctx, call{Method: callExecution, ExecutionID: id})
	if err != nil || len(got.Executions) != 1 {
		return task.Execution{}, cmp.Or(err, errAnswer)
	}
	r.w.noteResult(id, got.Executions[0].Reason)
	return got.Executions[0], nil
}

// Live implements oz.WorkerHost.
func (r remote) Live(ctx context.Context) ([]task.Execution, error) {
	got, err := r.w.do(ctx, call{Method: callLive})
	return got.Executions, err
}

// Subscribe implements oz.WorkerHost.
func (r remote) Subscribe() (changed <-chan struct{}, cancel func()) {
	ch := make(chan struct{}, 1)
	r.w.mu.Lock()
	r.w.watchers[ch] = true
	r.w.mu.Unlock()
	return ch, func() {
		r.w.mu.Lock()
		delete(r.w.watchers, ch)
		r.w.mu.Unlock()
	}
}

// Renew implements oz.WorkerHost.
func (r remote) Renew(ctx context.Context, e task.Execution) (time.Duration, error) {
	got, err := r.w.do(ctx, call{Method: callRenew, TaskID: e.TaskID, ExecutionID: e.ID})
	return max(time.Second, time.Duration(got.NextMS)*time.Millisecond), err
}

// Log implements oz.WorkerHost.
func (r remote) Log(ctx context.Context, e task.Execution, payloads ...task.Payload) error {
	events := make([]task.Event, len(payloads))
	for i, p := range payloads {
		events[i] = task.Event{Payload: p}
	}
	_, err := r.w.do(ctx, call{Method: callLog, TaskID: e.TaskID, ExecutionID: e.ID, Events: events})
	return err
}

// Release implements oz.WorkerHost.
func (r remote) Release(ctx context.Context, e task.Execution, reason string, delay time.Duration) error {
	r.w.noteResult(e.ID, reason)
	_, err := r.w.do(ctx, call{Method: callRelease, TaskID: e.TaskID, ExecutionID: e.ID, Reason: reason, DelayMS: delay.Milliseconds()})
	return err
}

// Failed implements oz.WorkerHost.
func (r remote) Failed(ctx context.Context, e task.Execution, code task.Code, reason string) error {
	r.w.noteResult(e.ID, string(code))
	_, err := r.w.do(ctx, call{Method: callFailed, TaskID: e.TaskID, ExecutionID: e.ID, Code: code, Reason: reason})
	return err
}

// SandboxGone implements oz.WorkerHost.
func (r remote) SandboxGone(ctx context.Context, e task.Execution) error {
	_, err := r.w.do(ctx, call{Method: callGone, TaskID: e.TaskID, ExecutionID: e.ID})
	return err
}

// Printed implements oz.WorkerHost.
func (r remote) Printed(ctx context.Context, e task.Execution, tail []byte, cut bool) error {
	_, err := r.w.do(ctx, call{Method: callPrinted, TaskID: e.TaskID, ExecutionID: e.ID, Tail: tail, Cut: cut})
	return err
}
