package oz_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// keepFile makes a file the snapshot of a run, as a runner does.
func keepFile(t *testing.T, l executor.Link, offset int64, uid, content string) task.SnapshotFile {
	t.Helper()
	blob, n, err := l.Upload(t.Context(), uid, strings.NewReader(content))
	assert.NilError(t, err)
	f := task.SnapshotFile{UID: uid, Kind: task.SnapshotPatch, Name: "app.patch", SizeBytes: n, Blob: blob, Repo: "app", Commit: strings.Repeat("a", 40)}
	assert.NilError(t, l.Append(t.Context(), offset, []task.Event{{Payload: &task.SnapshotTaken{Files: []task.SnapshotFile{f}}}}))
	return f
}

func endRun(t *testing.T, l executor.Link, run task.Task, state task.State) {
	t.Helper()
	assert.NilError(t, l.End(t.Context(), task.End{State: state, SeenInput: run.LastInput}))
}

// TestFilesOutliveRunsThatKeepNone: a conversation goes on over a run that
// came to its end before it could keep what it had begun with.
func TestFilesOutliveRunsThatKeepNone(t *testing.T) {
	s, ctx := newStage(t, nil), t.Context()
	bob := s.clients["bob"]
	first, l, _ := s.act(t, bob, oz.Request{Prompt: "begin"})
	assert.NilError(t, l.Begin(ctx))
	kept := keepFile(t, l, 0, "snap-1", "the changes")
	endRun(t, l, first, task.StateSucceeded)

	second, l, _ := s.act(t, bob, oz.Request{Prompt: "go on", ConversationID: first.ConversationID})
	assert.NilError(t, l.Begin(ctx))
	endRun(t, l, second, task.StateFailed)

	_, l, _ = s.act(t, bob, oz.Request{Prompt: "and now?", ConversationID: second.ConversationID})
	bundle, err := l.Bundle(ctx)
	assert.NilError(t, err)
	assert.Assert(t, bundle.Snapshot != nil)
	assert.Equal(t, bundle.Snapshot.TaskID, first.ID)
	f, err := l.OpenBlob(ctx, kept.Blob)
	assert.NilError(t, err)
	content, err := io.ReadAll(f)
	assert.NilError(t, errors.Join(err, f.Close()))
	assert.Equal(t, string(content), "the changes")
}

// slowRecord holds a reader of snapshots up, once.
type slowRecord struct {
	*sqlitestore.Store
	once           sync.Once
	reached, leave chan struct{}
}

func (s *slowRecord) Record(ctx context.Context, kind, key string) (task.Record, error) {
	r, err := s.Store.Record(ctx, kind, key)
	if kind == "oz.snapshot" {
		s.once.Do(func() { close(s.reached); <-s.leave })
	}
	return r, err
}

// TestLateSnapshotIsRefused: an execution that loses its lease while it
// reports a snapshot does not put it above that of the next one.
func TestLateSnapshotIsRefused(t *testing.T) {
	ctx := t.Context()
	var opts oz.Options
	s := newStage(t, func(o *oz.Options) { opts = *o })
	run, l, token := s.act(t, s.clients["bob"], oz.Request{Prompt: "begin"})
	assert.NilError(t, l.Begin(ctx))
	slow := &slowRecord{Store: s.store, reached: make(chan struct{}), leave: make(chan struct{})}
	p, err := oz.New(slow, &opts)
	assert.NilError(t, err)
	caller, err := p.Authenticate(ctx, token)
	assert.NilError(t, err)
	late, err := p.Link(caller)
	assert.NilError(t, err)
	blob, n, err := l.Upload(ctx, "snap-late", strings.NewReader("old"))
	assert.NilError(t, err)
	done := make(chan error, 1)
	go func() {
		done <- late.Append(ctx, 0, []task.Event{{Payload: &task.SnapshotTaken{Files: []task.SnapshotFile{
			{UID: "snap-late", Kind: task.SnapshotPatch, Name: "app.patch", SizeBytes: n, Blob: blob, Repo: "app", Commit: strings.Repeat("a", 40)}}}}})
	}()
	<-slow.reached
	endRun(t, l, run, task.StateSucceeded)
	close(slow.leave)
	assert.ErrorIs(t, <-done, task.ErrFenced)
	_, err = s.store.Record(ctx, "oz.snapshot", string(run.ID))
	assert.ErrorIs(t, err, task.ErrNotFound)
}
