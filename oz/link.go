package oz

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// link is the platform's side of executor.Link for one execution.
type link struct {
	p    *Platform
	id   task.ID
	exec task.ExecutionID
}

var _ executor.Link = (*link)(nil)

// Link gives the runner's side of the platform for the execution that c stands
// for (see Authenticate). It fails with task.CodeNotAuthorized for any other
// caller. Every method of the link judges anew whether the execution may still
// act.
func (p *Platform) Link(c access.Caller) (executor.Link, error) {
	if c.Execution == "" {
		return nil, task.Errorf(task.CodeNotAuthorized, "only the runner of an execution may do this, with its run token")
	}
	if err := access.Allow(c, access.ExecutionAct, access.Object{TaskID: c.TaskID}); err != nil {
		return nil, err
	}
	return &link{p: p, id: c.TaskID, exec: c.Execution}, nil
}

// execution reads the link's execution and fails with task.ErrFenced once it
// has ended.
func (l *link) execution(ctx context.Context) (task.Execution, error) {
	e, err := l.p.store.Execution(ctx, l.exec)
	if err == nil && e.TaskID == l.id && e.Live() {
		return e, nil
	}
	if err != nil && !errors.Is(err, task.ErrNotFound) {
		return task.Execution{}, err
	}
	return task.Execution{}, &task.Error{Code: task.CodeOperationNotSupported, Err: task.ErrFenced,
		Message: fmt.Sprintf("execution %s has ended (%s); stop working on this run", l.exec, cmp.Or(e.Reason, "unknown"))}
}

// Bundle implements executor.Link.
func (l *link) Bundle(ctx context.Context) (*executor.Bundle, error) {
	e, err := l.execution(ctx)
	if err != nil {
		return nil, err
	}
	t, err := l.p.store.Get(ctx, l.id)
	if err != nil {
		return nil, err
	}
	vars, missing, err := l.p.variables(ctx, t, l.p.fences.of(e.ID).redactor)
	if err != nil {
		return nil, fmt.Errorf("resolve secrets: %w", err)
	}
	models, gone, err := l.p.models(ctx, t, l.p.fences.of(e.ID).redactor)
	if err != nil {
		return nil, fmt.Errorf("resolve the keys of the models: %w", err)
	}
	missing = append(missing, gone...)
	if t.Config.MCPServers, err = l.p.runMCP(ctx, t); err != nil {
		return nil, fmt.Errorf("resolve MCP servers: %w", err)
	}
	snapshot, err := l.p.inherited(ctx, t)
	if err != nil {
		return nil, err
	}
	reserve, err := l.reserves(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for budgets: %w", err)
	}
	limits, err := l.p.runLimits(ctx, t)
	if err != nil {
		return nil, err
	}
	rules, err := l.p.runRules(ctx, t.Owner)
	if err != nil {
		return nil, err
	}
	memory, err := l.p.runMemory(ctx, t)
	if err != nil {
		return nil, err
	}
	hosts, err := l.p.gitHosts(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("look for who lends git its credential: %w", err)
	}
	o := l.p.opts
	e.TokenHash = nil
	return &executor.Bundle{Task: t, Execution: e, Limits: limits, Reserve: reserve, Secrets: vars, MissingSecrets: missing,
		Snapshot: snapshot, Rules: rules, Memory: memory, NoCodeIndex: o.NoCodeIndex, Models: models, GitCredentials: l.p.gitCredentials(t), GitHosts: hosts, GitIdentity: o.GitIdentity,
		RepositoryBase: o.RepositoryBase}, nil
}

// limits are those that the run was created with, within the platform's own.
func (p *Platform) limits(t task.Task) task.Limits {
	var l task.Limits
	if t.Config.Limits != nil {
		l = *t.Config.Limits
	}
	if most := int(p.opts.MaxRuntime.Minutes()); l.MaxMinutes == 0 || l.MaxMinutes > most {
		l.MaxMinutes = max(most, 1)
	}
	return l
}

// Begin implements executor.Link.
func (l *link) Begin(ctx context.Context) error {
	_, err := l.p.store.Do(ctx, l.id, task.Begin{Execution: l.exec})
	crashpoint.Hit(crashpoint.BeginCommitted)
	return err
}

// Append implements executor.Link. What the events say passes the execution's
// redactor before it is stored.
func (l *link) Append(ctx context.Context, offset int64, events []task.Event) error {
	if len(events) > task.MaxAppendEvents {
		return task.Invalid("events", "has %d events, at most %d may be appended at once; send several batches", len(events), task.MaxAppendEvents)
	}
	e, err := l.execution(ctx)
	if err != nil {
		return err
	}
	redactor, err := l.p.redactor(ctx, e)
	if err != nil {
		return err
	}
	clean := make([]task.Event, len(events))
	for i, event := range events {
		if clean[i], err = l.admit(ctx, redactor, event); err != nil {
			return err
		}
	}
	crashpoint.Hit(crashpoint.AppendStart)
	head, err := l.p.store.Do(ctx, l.id, task.Append{Execution: l.exec, Offset: offset, Events: clean})
	crashpoint.Hit(crashpoint.AppendCommitted)
	if err == nil {
		l.settle(ctx, clean)
		l.progress(ctx, head.LastSeq, clean)
		l.p.outages.note(l.p.opts.Models.Providers, clean, l.p.opts.Clock.Now())
	}
	return err
}

// admit bounds and redacts one event.
func (l *link) admit(ctx context.Context, r *secrets.Redactor, e task.Event) (task.Event, error) {
	if e.Payload == nil {
		return e, task.Invalid("events", "an event has no payload")
	}
	kind, data, err := task.MarshalPayload(e.Payload)
	if err != nil {
		return e, task.Invalid("events", "%w", err)
	}
	if len(data) > task.MaxEventBytes {
		return e, task.Invalid("events", "a %s event has %d bytes, at most %d are allowed; cut what it carries", string(kind), len(data), task.MaxEventBytes)
	}
	// Whether it knows a secret is seen on the meaning, not the bytes: JSON
	// escapes them.
	clean, err := r.JSON(data)
	if err != nil {
		return e, err
	}
	if string(clean) != string(data) {
		if e.Payload, err = task.UnmarshalPayload(kind, clean); err != nil {
			return e, err
		}
	}
	switch p := e.Payload.(type) {
	case *task.ArtifactReported:
		return e, l.p.claimArtifact(ctx, l.id, p.Artifact)
	case *task.SnapshotTaken:
		return e, l.keepSnapshot(ctx, *p)
	}
	return e, nil
}

// progress tells where the run came from of its newest task list among events
// that were stored up to a number. When the platform dies before, the runner
// sends the events again.
func (l *link) progress(ctx context.Context, last int64, events []task.Event) {
	var list *task.Todos
	for _, e := range events {
		if p, ok := e.Payload.(*task.Todos); ok {
			list = p
		}
	}
	if list == nil || l.p.triggers == nil {
		return
	}
	t, err := l.p.store.Get(ctx, l.id)
	if err == nil {
		err = l.p.triggers.Progress(ctx, t, last, list.Items)
	}
	if err != nil { // the run goes on without it
		l.p.opts.Logger.Error("tell of a run's progress", zap.String("task_id", string(l.id)), zap.Error(err))
	}
}

// Events implements executor.Link.
func (l *link) Events(ctx context.Context, after int64, limit int) ([]task.Event, error) {
	if _, err := l.execution(ctx); err != nil {
		return nil, err
	}
	if after < 0 || limit < 1 || limit > MaxEvents {
		return nil, task.Invalid("limit", "must be 1 to %d, and after not negative", MaxEvents)
	}
	return l.p.store.Events(ctx, l.id, after, limit)
}

// Heartbeat implements executor.Link.
func (l *link) Heartbeat(ctx context.Context) (executor.Heartbeat, error) {
	head, err := l.p.store.Do(ctx, l.id, task.Renew{Execution: l.exec, Until: l.p.opts.Clock.Now().Add(l.p.opts.Lease)})
	crashpoint.Hit(crashpoint.Heartbeat)
	if err != nil {
		return executor.Heartbeat{}, err
	}
	reserve, err := l.reserves(ctx)
	if err != nil { // the lease is renewed in any case; the next one may tell
		l.p.opts.Logger.Warn("look for budgets", zap.String("task_id", string(l.id)), zap.Error(err))
	}
	return executor.Heartbeat{LastInput: head.LastInput, IntervalMS: l.p.opts.Heartbeat.Milliseconds(), Reserve: reserve}, nil
}

// Upload implements executor.Link.
func (l *link) Upload(ctx context.Context, uid string, r io.Reader) (blob string, sizeBytes int64, err error) {
	if _, err := l.execution(ctx); err != nil {
		return "", 0, err
	}
	if err := checkArtifactUID(uid); err != nil {
		return "", 0, err
	}
	if l.p.opts.Blobs == nil {
		return "", 0, notBuilt("artifact", "a store for files", "report the result as text or as a branch")
	}
	blob = blobKey(l.id, uid)
	bounded := &boundedReader{r: r, left: l.p.opts.MaxUploadBytes, limit: l.p.opts.MaxUploadBytes}
	n, err := l.p.opts.Blobs.PutBlob(ctx, blob, &fencedReader{r: bounded, judge: func() error { _, err := l.execution(ctx); return err }})
	if err != nil {
		return "", 0, fmt.Errorf("store artifact: %w", err)
	}
	return blob, n, nil
}

// boundedReader fails, rather than ends, when there is more than the limit: a
// file is stored whole or not at all.
type boundedReader struct {
	r           io.Reader
	left, limit int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if int64(len(p))-1 > b.left { // one byte more tells that there is more
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, task.Invalid("artifact", "has more than %d bytes, the most that this server keeps; make it smaller", b.limit)
	}
	return n, err
}

// fencedReader judges at the end of a file whether its sender may still act: an
// upload may outlive its execution, and would then replace what the next one
// has sent.
type fencedReader struct {
	r     io.Reader
	judge func() error
}

func (f *fencedReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if errors.Is(err, io.EOF) {
		if fenced := f.judge(); fenced != nil {
			return n, fenced
		}
	}
	return n, err
}

// End implements executor.Link. An end by a fault of the platform that may
// pass is not the run's end: it goes to another execution, while attempts are
// left.
func (l *link) End(ctx context.Context, end task.End) error {
	end.Execution = l.exec
	var e task.Execution
	var err error
	if err = l.awaitApproval(ctx, &end); err != nil {
		return err
	}
	if end.State == task.StateError || end.Status != (task.Status{}) { // else there is nothing to judge
		if e, err = l.p.store.Execution(ctx, l.exec); err != nil {
			return err
		}
		if end.Status, err = l.cleanStatus(ctx, e, end.Status); err != nil {
			return err
		}
	}
	crashpoint.Hit(crashpoint.EndStart)
	defer crashpoint.Hit(crashpoint.EndCommitted)
	if code := end.Status.ErrorCode; end.State == task.StateError && code.Platform() && code.Retryable() && e.Live() && e.Worker != callerWorker {
		return l.p.retryOrFence(ctx, e, code, end.Status.Message)
	}
	if err := l.deliverMail(ctx, end.State); err != nil {
		return err
	}
	return l.p.end(ctx, l.id, end)
}

// cleanStatus redacts and bounds what a runner says of its end.
func (l *link) cleanStatus(ctx context.Context, e task.Execution, s task.Status) (task.Status, error) {
	if err := task.ValidateText("status.message", s.Message); err != nil {
		return s, err
	}
	if err := l.p.checkQuestion(s.Question); err != nil {
		return s, err
	}
	if s.ErrorCode != "" && !s.ErrorCode.Known() {
		return s, task.Invalid("status.error_code", "%q is no error code", string(s.ErrorCode))
	}
	if !e.Live() || s.Message == "" && s.Question == nil {
		return s, nil // nothing of it will be stored, or there is nothing
	}
	r, err := l.p.redactor(ctx, e)
	if err != nil {
		return s, err
	}
	s.Message = r.String(s.Message)
	if s.Question, err = cleanQuestion(r, s.Question); err != nil {
		return s, err
	}
	if len(s.Message) > maxStatusMessage {
		s.Message = strings.ToValidUTF8(s.Message[:maxStatusMessage], "") + "… (cut)"
	}
	return s, nil
}

// maxStatusMessage bounds Status.Message: it stands in every list of runs.
const maxStatusMessage = 16 << 10
