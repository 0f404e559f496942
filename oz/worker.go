package oz

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// Worker carries out executions in this process (LocalWorker). Implementations
// are safe for concurrent use.
type Worker interface {
	Member

	// Run takes up what an earlier process of the worker has left, calls
	// h.Ready, and then supervises until ctx ends. It is called once per
	// Platform.Run; an error other than ctx's ends that too.
	Run(ctx context.Context, h WorkerHost) error
}

// Member is what the dispatcher asks of a worker, wherever that is.
// Implementations are safe for concurrent use.
type Member interface {
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
}

// Granter is a Member that wants to know when its yes is recorded: the
// execution is its own from then on. Granted does not wait.
type Granter interface {
	Granted(ctx context.Context, id task.ExecutionID)
}

// Lister is a Worker that can say which executions take a place. LocalWorker is
// one.
type Lister interface {
	Executions() []task.ExecutionID
}

// ErrAtCapacity is a worker's no for want of room.
var ErrAtCapacity = errors.New("worker at maximum concurrency")

// WorkerInfo describes a worker.
type WorkerInfo struct {
	// ID tells the worker from all others of the pool, and is kept with its
	// executions. Of Options.Workers it is 1 to 64 of [A-Za-z0-9._-], not
	// starting with "warp" (reserved, Oz API, worker_host).
	ID string
	// Host is what runs name as worker_host; several workers may share one.
	// Default ID.
	Host string
	// Owner, if set, is the only one whose runs the worker takes.
	Owner task.Scope
	// Capacity is how many executions it takes at once; 0 is no limit.
	Capacity int
	// Busy is how many places are taken now, those included whose execution
	// has ended but whose processes still run.
	Busy int
	// Idle and Retained are how many workspaces of ended runs it keeps, see
	// KeptWorkspaces. They take no places; 0 also where it is not known.
	Idle, Retained int
	// Labels are what runs ask for with worker_labels.
	Labels []string
	// Dedicated workers take only runs that name them, or one of their labels.
	Dedicated bool
	// Remote workers run on other hosts: they are not the server's own, which
	// worker_host "warp" means.
	Remote bool
	// Paused workers take nothing for now: they drain, or have just refused.
	Paused bool

	// What follows is for people. Instance tells processes of one Host apart;
	// Since is when the worker joined.
	Instance, Version, Backend, Platform string
	Since                                time.Time
	// Draining workers are Paused for good.
	Draining bool
}

// Assignment is an execution as it is offered to a worker.
type Assignment struct {
	Task      task.Task
	Execution task.ExecutionID
	// Token is good for this execution alone. The runner gets it on its
	// standard input and nowhere else.
	Token executor.Sensitive
}

// takes reports whether a run may go to the worker.
func (w WorkerInfo) takes(r task.Waiting) bool {
	host, labels := r.Wish()
	for _, l := range labels {
		if !slices.Contains(w.Labels, l) {
			return false
		}
	}
	switch {
	case w.Owner != (task.Scope{}) && w.Owner != r.Owner:
		return false
	case host == ownWorkers:
		return !w.Dedicated && !w.Remote
	case host == "":
		return !w.Dedicated || len(labels) > 0
	}
	return host == cmp.Or(w.Host, w.ID)
}

// ownWorkers as worker_host forces the server's own workers.
const ownWorkers = "warp"

const maxWorkerID = 64 // bytes, as executor names

// CheckWorkerID is the rule for the name of a worker: 1 to 64 bytes of
// [A-Za-z0-9._-], and none that starts with "warp". It fails with
// task.CodeInvalidRequest.
func CheckWorkerID(id string) error { return checkWorkerID(id) }

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

// WorkerHost is what a worker may ask of the platform. In the platform's own
// process it is the platform itself; behind a connection the worker's end of it.
// Implementations are safe for concurrent use. Calls that cannot reach the
// platform wait for it until their context ends, and may be repeated.
type WorkerHost interface {
	// Ready says that the worker has taken up what was left, and takes offers
	// now.
	Ready()

	// Changed says that Info has changed: a place is free again.
	Changed()

	// Granted waits until the platform has recorded the worker's yes to an
	// offer. It fails with task.ErrFenced when the execution went elsewhere:
	// then no work may begin. In the platform's own process it does not wait,
	// for the platform takes back what it could not record.
	Granted(ctx context.Context, e task.Execution) error

	// Task returns a run; behind a connection only what ForWorker leaves of it.
	// It fails with task.ErrNotFound.
	Task(ctx context.Context, id task.ID) (task.Task, error)

	// Execution returns an execution. It fails with task.ErrNotFound.
	Execution(ctx context.Context, id task.ExecutionID) (task.Execution, error)

	// Live returns the worker's executions that have not ended.
	Live(ctx context.Context) ([]task.Execution, error)

	// Subscribe tells when an execution may have ended, see task.Store.
	Subscribe() (changed <-chan struct{}, cancel func())

	// Renew prolongs the lease of an execution whose runner cannot do so yet: its
	// sandbox takes long to make. next is when to do so again. It fails with
	// task.ErrFenced when the execution has ended.
	Renew(ctx context.Context, e task.Execution) (next time.Duration, err error)

	// Log appends phases, notices and errors to the log of an execution's run.
	Log(ctx context.Context, e task.Execution, payloads ...task.Payload) error

	// Release gives the run of an execution back, by no fault of anybody, so
	// that it waits for another one. An execution that has ended already is no
	// error. When sandboxes of one run are lost time and again before its agent
	// began, the run ends as ERROR.
	Release(ctx context.Context, e task.Execution, reason string, delay time.Duration) error

	// Failed gives the run of an execution back because of a fault of the
	// platform, which counts as an attempt. With the code of a fault that only
	// the run's user can mend, the run ends as FAILED. An execution that has
	// ended already is no error.
	Failed(ctx context.Context, e task.Execution, code task.Code, reason string) error

	// SandboxGone records that nothing of the execution runs any more.
	SandboxGone(ctx context.Context, e task.Execution) error

	// Printed logs the end of what a failed runner printed, without secrets.
	// tail is at most PrintedBytes; cut says that there was more before it.
	Printed(ctx context.Context, e task.Execution, tail []byte, cut bool) error
}

// PrintedBytes is how much of a failed runner's output WorkerHost.Printed takes:
// the longest secret, so that one which the beginning cuts in two can be told,
// and what is shown.
const PrintedBytes = secrets.MaxVariableBytes + maxOutputTail
