package oz

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// host is the WorkerHost of a worker in the platform's own process, and what
// the server's end of a connection acts through.
type host struct {
	p  *Platform
	id string // the worker's
}

var _ WorkerHost = host{}

// Ready implements WorkerHost.
func (h host) Ready() {
	h.p.mu.Lock()
	h.p.ready[h.id] = true
	h.p.mu.Unlock()
	h.p.wake()
}

// Changed implements WorkerHost.
func (h host) Changed() { h.p.wake() }

// Granted implements WorkerHost.
func (h host) Granted(context.Context, task.Execution) error { return nil }

// Task implements WorkerHost.
func (h host) Task(ctx context.Context, id task.ID) (task.Task, error) {
	return h.p.store.Get(ctx, id)
}

// Execution implements WorkerHost.
func (h host) Execution(ctx context.Context, id task.ExecutionID) (task.Execution, error) {
	return h.p.store.Execution(ctx, id)
}

// Live implements WorkerHost.
func (h host) Live(ctx context.Context) ([]task.Execution, error) {
	all, err := h.p.store.Live(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(e task.Execution) bool { return e.Worker != h.id }), nil
}

// Subscribe implements WorkerHost.
func (h host) Subscribe() (changed <-chan struct{}, cancel func()) {
	return h.p.store.Subscribe("")
}

// Renew implements WorkerHost.
func (h host) Renew(ctx context.Context, e task.Execution) (time.Duration, error) {
	_, err := h.p.store.Do(ctx, e.TaskID, task.Renew{Execution: e.ID, Until: h.p.opts.Clock.Now().Add(h.p.opts.Lease)})
	return h.p.opts.Heartbeat, err
}

// Log implements WorkerHost.
func (h host) Log(ctx context.Context, e task.Execution, payloads ...task.Payload) error {
	_, err := h.p.store.Do(ctx, e.TaskID, task.Log{Payloads: payloads})
	return err
}

// Release implements WorkerHost.
func (h host) Release(ctx context.Context, e task.Execution, reason string, delay time.Duration) error {
	if reason == reasonLost || reason == reasonNone {
		return h.p.releaseLost(ctx, e, reason, delay)
	}
	return h.p.release(ctx, e, task.Release{Execution: e.ID, Reason: reason, ReadyAt: h.p.opts.Clock.Now().Add(delay)})
}

// Failed implements WorkerHost.
func (h host) Failed(ctx context.Context, e task.Execution, code task.Code, reason string) error {
	if code.Known() && !code.Platform() {
		return settled(h.p.end(ctx, e.TaskID, task.End{Execution: e.ID, State: code.EndState(), Status: task.Status{Message: reason, ErrorCode: code}}))
	}
	return h.p.retry(ctx, e, code, reason, time.Time{})
}

// SandboxGone implements WorkerHost.
func (h host) SandboxGone(ctx context.Context, e task.Execution) error {
	_, err := h.p.store.Do(ctx, e.TaskID, task.SandboxGone{Execution: e.ID})
	return err
}

// Printed implements WorkerHost.
func (h host) Printed(ctx context.Context, e task.Execution, tail []byte, cut bool) error {
	if len(tail) > PrintedBytes {
		return task.Invalid("tail", "has %d bytes, at most %d are taken; send the end", len(tail), PrintedBytes)
	}
	redactor, err := h.p.redactor(ctx, e)
	if err != nil {
		return err
	}
	var kept tailWriter
	clean := redactor.Writer(&kept)
	if cut { // a secret that the beginning cuts in two cannot be told: it ends in here
		first := min(len(tail), PrintedBytes-maxOutputTail)
		if _, err := clean.Write(tail[:first]); err != nil {
			return err
		}
		kept, tail = kept[:0], tail[first:]
	}
	_, err = clean.Write(tail)
	if err := cmp.Or(err, clean.Close()); err != nil {
		return err
	}
	text := strings.TrimSpace(strings.ToValidUTF8(strings.ReplaceAll(string(kept), "\x00", ""), "\uFFFD"))
	if text == "" {
		return nil
	}
	return h.Log(ctx, e, &task.Notice{Text: "The end of what the agent's process printed:\n" + text})
}
