package worker

import (
	"context"
	"encoding/json"
	"testing"
	"time"
	"unicode/utf8"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// FuzzServerReads feeds the server what a worker might send, in both protocols:
// what is accepted is within bounds and can be stored.
func FuzzServerReads(f *testing.F) {
	for _, s := range []string{
		`{"type":"task_claimed","data":{"task_id":"T1","worker_id":"w1"}}`,
		`{"type":"task_failed","data":{"task_id":"T3","message":"x","failure_reason":"agent_invocation","exit_code":3}}`,
		`{"type":"hello","data":{"instance":"a","process":"b","capacity":4,"labels":["gpu","zone=eu"],"executions":["e1"]}}`,
		`{"type":"info","data":{"ready":true,"capacity":4,"busy":1}}`,
		`{"type":"call","data":{"id":1,"method":"log","execution_id":"e","events":[{"type":"notice","data":{"text":"x"}}]}}`,
		`{"type":"call","data":{"id":1,"method":"printed","tail":"aGVsbG8=","cut":true}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		e, err := parseEnvelope(frame)
		if err != nil {
			invalid(t, err)
			return
		}
		if r, err := parseReport(e.Data); err == nil {
			assert.Assert(t, r.TaskID != "" && len(r.TaskID) <= maxID && len(r.Message) <= maxMessage+16 && utf8.ValidString(r.Message))
			assert.NilError(t, task.ValidateText("message", r.Message))
			code, reason := (envelopedReport{kind: e.Type, report: r}).verdict()
			assert.Assert(t, (code == "" || code.Known()) && reason != "")
		} else {
			invalid(t, err)
		}
		if h, err := parseHello(e.Data); err == nil {
			assert.Assert(t, len(h.Instance) <= 64 && len(h.Executions) <= maxExecutions && h.Capacity >= 0 && h.Busy >= 0)
			assert.NilError(t, task.ValidateText("version", h.Version))
		} else {
			invalid(t, err)
		}
		if c, err := parseCall(e.Data); err == nil {
			assert.Assert(t, c.ID != 0 && len(c.Events) <= maxLogged && c.DelayMS >= 0)
			assert.NilError(t, task.ValidateText("reason", c.Reason))
		} else {
			invalid(t, err)
		}
	})
}

// FuzzWorkerReads feeds the worker what a server might send.
func FuzzWorkerReads(f *testing.F) {
	for _, s := range []string{
		`{"type":"welcome","data":{"stop":["e1"]}}`,
		`{"type":"offer","data":{"task":{"id":"T1"},"execution_id":"e1","token":"ozr_x"}}`,
		`{"type":"granted","data":{"execution_id":"e1"}}`,
		`{"type":"result","data":{"id":1,"error":{"code":"operation_not_supported","message":"x","fenced":true}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		e, err := parseEnvelope(frame)
		if err != nil {
			invalid(t, err)
			return
		}
		w := &Worker{local: idle{}, opts: Options{Clock: task.SystemClock()}, calls: map[uint64]*pending{1: {done: make(chan result, 1)}},
			grants: map[task.ExecutionID]chan struct{}{"e1": make(chan struct{})}, watchers: map[chan struct{}]bool{}}
		if err := w.handle(t.Context(), e); err != nil {
			invalid(t, err)
		}
		if o, err := decode[offer](e.Data); err == nil {
			_, err := json.Marshal(o)
			assert.NilError(t, err)
		}
	})
}

// invalid asks that an error is the sender's fault and says where.
func invalid(t *testing.T, err error) {
	t.Helper()
	assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest, "%v", err)
}

// idle is a worker that has nothing.
type idle struct{ oz.Worker }

func (idle) Cancel(context.Context, task.ExecutionID) {}

// TestDelays: connections are tried again soon, later and later, never all at
// the same moment, and slowly after a refusal.
func TestDelays(t *testing.T) {
	var d delays
	var last time.Duration
	for n := range 12 {
		wait := d.next(false, errAnswer)
		assert.Assert(t, wait >= min(lastDelay, firstDelay<<min(n, 8))/2 && wait <= lastDelay*3/2, "%d: %s", n, wait)
		last = wait
	}
	assert.Assert(t, last >= lastDelay/2)
	assert.Assert(t, d.next(true, errAnswer) <= firstDelay*3/2, "after a link that held")
	assert.Assert(t, d.next(false, errRefused) >= refusedDelay/2)
	seen := map[time.Duration]bool{}
	for range 20 {
		var fresh delays
		seen[fresh.next(false, errAnswer)] = true
	}
	assert.Assert(t, len(seen) > 10, "workers come back together")
}
