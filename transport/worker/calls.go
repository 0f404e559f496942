package worker

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// decode reads the data of a frame.
func decode[T any](data []byte) (v T, err error) {
	if err := json.Unmarshal(data, &v); err != nil {
		return v, task.Invalid("data", "cannot be read: %w", err)
	}
	return v, nil
}

// do does a call once: the answer to one that is sent again is the first one.
func (s *session) do(ctx context.Context, k call) result {
	s.mu.Lock()
	process := s.process
	r, ok := s.done[k.ID]
	s.mu.Unlock()
	if ok {
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := s.perform(ctx, k)
	r.ID = k.ID
	if err != nil {
		r.Error = s.failure(k, err)
	}
	if err == nil || task.CodeOf(err) != task.CodeResourceUnavailable && task.CodeOf(err) != task.CodeInternal {
		s.remember(process, k, r)
	}
	return r
}

// remember keeps the result of a call that changed something.
func (s *session) remember(process string, k call, r result) {
	switch k.Method {
	case callTask, callExecution, callLive, callRenew:
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != process {
		return
	}
	s.done[k.ID] = r
	if s.order = append(s.order, k.ID); len(s.order) > maxDone {
		delete(s.done, s.order[0])
		s.order = s.order[1:]
	}
}

// failure makes an error fit for the wire: what is no *task.Error stays here.
func (s *session) failure(k call, err error) *callError {
	var e *task.Error
	if !errors.As(err, &e) {
		s.log.Error("a call of a worker failed", zap.String("method", k.Method), zap.Error(err))
		return &callError{Code: task.CodeInternal, Message: "the server failed; its log says why", Fenced: errors.Is(err, task.ErrFenced)}
	}
	return &callError{Code: task.CodeOf(err), Message: e.Message, Field: e.Field, Fenced: errors.Is(err, task.ErrFenced)}
}

// perform does a call.
func (s *session) perform(ctx context.Context, k call) (r result, err error) {
	switch k.Method {
	case callTask:
		return s.readTask(ctx, k.TaskID)
	case callLive:
		if r.Executions, err = s.host.Live(ctx); err != nil {
			return r, err
		}
		for i := range r.Executions {
			r.Executions[i].TokenHash = nil
		}
		return r, nil
	}
	e, err := s.readExecution(ctx, k)
	if err != nil {
		return r, err
	}
	if k.Method == callExecution {
		r.Executions = []task.Execution{e}
		return r, nil
	}
	if e.Worker != s.id {
		return r, &task.Error{Code: task.CodeOperationNotSupported, Message: "the execution is another worker's", Err: task.ErrFenced}
	}
	return s.change(ctx, k, e)
}

// change does a call that changes an execution of the worker's own.
func (s *session) change(ctx context.Context, k call, e task.Execution) (r result, err error) {
	switch k.Method {
	case callRenew:
		var next time.Duration
		next, err = s.host.Renew(ctx, e)
		r.NextMS = next.Milliseconds()
	case callLog:
		payloads := make([]task.Payload, len(k.Events))
		for i, event := range k.Events {
			payloads[i] = event.Payload
		}
		err = s.host.Log(ctx, e, payloads...)
	case callRelease:
		err = s.host.Release(ctx, e, k.Reason, time.Duration(k.DelayMS)*time.Millisecond)
	case callFailed:
		err = s.host.Failed(ctx, e, k.Code, k.Reason)
	case callGone:
		err = s.host.SandboxGone(ctx, e)
	case callPrinted:
		err = s.host.Printed(ctx, e, k.Tail, k.Cut)
	default:
		err = task.Invalid("data.method", "%q is unknown to this server", plain(k.Method, maxID))
	}
	return r, err
}

// readTask reads a run of the worker's team: what a worker may know of it.
func (s *session) readTask(ctx context.Context, id task.ID) (r result, err error) {
	t, err := s.host.Task(ctx, id)
	if err != nil {
		return r, err
	}
	if t.Owner != s.peer.Owner {
		return r, task.Errorf(task.CodeNotFound, "there is no such run")
	}
	known, err := oz.ForWorker(t)
	if err != nil {
		return r, err
	}
	r.Task = &known
	return r, nil
}

// readExecution reads an execution of a run of the worker's team.
func (s *session) readExecution(ctx context.Context, k call) (task.Execution, error) {
	e, err := s.host.Execution(ctx, k.ExecutionID)
	if err != nil {
		return e, err
	}
	if e.Worker != s.id { // its own are of its team
		t, err := s.host.Task(ctx, e.TaskID)
		if err != nil {
			return e, err
		}
		if t.Owner != s.peer.Owner {
			return e, task.Errorf(task.CodeNotFound, "there is no such execution")
		}
	}
	e.TokenHash = nil
	return e, nil
}
