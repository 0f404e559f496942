package oz

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// Worker carries out executions: in this process (LocalWorker) or behind a
// connection. Implementations are safe for concurrent use.
type Worker interface {
	// Info says what the worker is and how busy. It does not block.
	Info() WorkerInfo

	// Offer asks the worker to carry out an execution. nil is a yes: from then
	// on the worker sees to it that the execution ends, also if the platform
	// cannot record the yes (then Cancel follows). An error is a no, and the
	// run goes elsewhere; ErrAtCapacity says that there was no room. Offer
	// answers soon, before the work begins.
	Offer(ctx context.Context, a Assignment) error

	// Cancel asks the worker to stop an execution that it took. It does not
	// wait, and does nothing for an unknown one.
	Cancel(ctx context.Context, id task.ExecutionID)

	// Run takes up what an earlier process of the worker has left, calls
	// h.Ready, and then supervises until ctx ends. It is called once per
	// Platform.Run; an error other than ctx's ends that too.
	Run(ctx context.Context, h WorkerHost) error
}

// ErrAtCapacity is a worker's no for want of room.
var ErrAtCapacity = errors.New("worker at maximum concurrency")

// WorkerInfo describes a worker.
type WorkerInfo struct {
	// ID is what runs name as worker_host: 1 to 64 of [A-Za-z0-9._-], not
	// starting with "warp" (reserved, Oz API, worker_host).
	ID string
	// Capacity is how many executions it takes at once; 0 is no limit.
	Capacity int
	// Busy is how many places are taken now, those included whose execution
	// has ended but whose processes still run.
	Busy int
	// Dedicated workers take only runs that name them.
	Dedicated bool
}

// Assignment is an execution as it is offered to a worker.
type Assignment struct {
	Task      task.Task
	Execution task.ExecutionID
	// Token is good for this execution alone. The runner gets it on its
	// standard input and nowhere else.
	Token executor.Sensitive
}

// takes reports whether a run for host may go to the worker.
func (w WorkerInfo) takes(host string) bool {
	if host == "" || host == ownWorkers {
		return !w.Dedicated
	}
	return host == w.ID
}

// ownWorkers as worker_host forces the server's own workers.
const ownWorkers = "warp"

const maxWorkerID = 64 // bytes, as executor names

// checkWorkerID is the rule for a worker's own name.
func checkWorkerID(id string) error {
	if err := checkWorkerHost("worker id", id); err != nil {
		return err
	}
	if strings.HasPrefix(id, ownWorkers) || id == callerWorker || id == "" {
		return task.Invalid("worker id", "%q is reserved; choose another name", id)
	}
	return nil
}

// checkWorkerHost is the rule for naming one. A worker that nobody knows is
// fine: the run waits for it.
func checkWorkerHost(field, host string) error {
	ok := len(host) <= maxWorkerID
	for _, c := range []byte(host) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	switch {
	case !ok:
		return task.Invalid(field, "must have 1 to %d bytes of [A-Za-z0-9._-]", maxWorkerID)
	case strings.HasPrefix(host, ownWorkers) && host != ownWorkers:
		return task.Invalid(field, "%q: names that start with %q are reserved; %q itself means the server's own workers", host, ownWorkers, ownWorkers)
	}
	return nil
}

// WorkerHost is what a worker may ask of the platform. The zero value is of no
// use; Platform.Run makes them.
type WorkerHost struct {
	p  *Platform
	id string // the worker's
}

// Ready says that the worker has taken up what was left, and takes offers now.
func (h WorkerHost) Ready() {
	h.p.mu.Lock()
	h.p.ready[h.id] = true
	h.p.mu.Unlock()
	h.p.wake()
}

// Changed says that Info has changed: a place is free again.
func (h WorkerHost) Changed() { h.p.wake() }

// Task returns a run.
func (h WorkerHost) Task(ctx context.Context, id task.ID) (task.Task, error) {
	return h.p.store.Get(ctx, id)
}

// Execution returns an execution of any worker.
func (h WorkerHost) Execution(ctx context.Context, id task.ExecutionID) (task.Execution, error) {
	return h.p.store.Execution(ctx, id)
}

// Live returns the worker's executions that have not ended.
func (h WorkerHost) Live(ctx context.Context) ([]task.Execution, error) {
	all, err := h.p.store.Live(ctx)
	if err != nil {
		return nil, err
	}
	mine := all[:0]
	for _, e := range all {
		if e.Worker == h.id {
			mine = append(mine, e)
		}
	}
	return mine, nil
}

// Subscribe tells when an execution may have ended, see task.Store.
func (h WorkerHost) Subscribe() (changed <-chan struct{}, cancel func()) {
	return h.p.store.Subscribe("")
}

// Log appends phases, notices and errors to a run's log.
func (h WorkerHost) Log(ctx context.Context, id task.ID, payloads ...task.Payload) error {
	_, err := h.p.store.Do(ctx, id, task.Log{Payloads: payloads})
	return err
}

// Release gives the run of an execution back, by no fault of anybody, so that
// it waits for another one. An execution that has ended already is no error.
func (h WorkerHost) Release(ctx context.Context, e task.Execution, reason string, delay time.Duration) error {
	return h.p.release(ctx, e, task.Release{Execution: e.ID, Reason: reason, ReadyAt: h.p.opts.Clock.Now().Add(delay)})
}

// Failed gives the run of an execution back because of a fault of the
// platform, which counts as an attempt. An execution that has ended already is
// no error.
func (h WorkerHost) Failed(ctx context.Context, e task.Execution, code task.Code, reason string) error {
	return h.p.retry(ctx, e, code, reason, time.Time{})
}

// SandboxGone records that nothing of the execution runs any more.
func (h WorkerHost) SandboxGone(ctx context.Context, e task.Execution) error {
	_, err := h.p.store.Do(ctx, e.TaskID, task.SandboxGone{Execution: e.ID})
	return err
}

// Redactor knows the secrets of an execution, for what its runner printed.
func (h WorkerHost) Redactor(ctx context.Context, e task.Execution) (*secrets.Redactor, error) {
	return h.p.redactor(ctx, e)
}
