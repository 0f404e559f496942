package oz_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/fileblob"
	"github.com/oz-platform/cloudagents/task/laws"
)

// TestOldTranscriptsAreRemoved: after the retention the record of a run stays,
// and its transcript and files are gone; until then both are there.
func TestOldTranscriptsAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keep = 12 * time.Hour
		dir := t.TempDir()
		blobs, err := fileblob.Open(dir, nil)
		assert.NilError(t, err)
		store := openStore(t)
		p, err := oz.New(store, &oz.Options{Retention: keep, Blobs: blobs})
		assert.NilError(t, err)
		defer start(t, p)()
		ctx := t.Context()

		bob := p.As(access.Caller{Principal: task.Principal{Type: task.PrincipalUser, UID: "bob"}})
		run, h, err := bob.StartLocal(ctx, oz.Request{Prompt: "work"})
		assert.NilError(t, err)
		caller, err := p.Authenticate(ctx, h.Token.Reveal())
		assert.NilError(t, err)
		l, err := p.Link(caller)
		assert.NilError(t, err)
		assert.NilError(t, l.Begin(ctx))
		blob, size, err := l.Upload(ctx, "report", strings.NewReader("a file"))
		assert.NilError(t, err)
		events := []task.Event{{Payload: &task.ArtifactReported{Artifact: task.Artifact{UID: "report", Type: task.ArtifactFile,
			Path: "report.txt", MIMEType: "text/plain", Blob: blob, SizeBytes: size}}}}
		for i := range 900 { // more than one step deletes
			events = append(events, task.Event{Payload: &task.ToolOutput{CallID: "c", Text: fmt.Sprint("line ", i)}})
		}
		assert.NilError(t, l.Append(ctx, 0, events))
		beat, err := l.Heartbeat(ctx)
		assert.NilError(t, err)
		assert.NilError(t, l.End(ctx, task.End{State: task.StateSucceeded, SeenInput: beat.LastInput}))
		_, err = store.PutRecord(ctx, task.Record{Kind: "trigger.todos", Key: string(run.ID), Data: []byte("{}")})
		assert.NilError(t, err)
		waiting := submit(t, p, oz.Request{Prompt: "nobody takes this one"})

		time.Sleep(keep - 3*time.Hour)
		whole := follow(t, p, run.ID)
		assert.Assert(t, len(whole) > 900, "removed too early")
		assert.Equal(t, files(t, dir), 1)

		time.Sleep(6 * time.Hour)
		got, err := p.Get(ctx, run.ID)
		assert.NilError(t, err)
		assert.Equal(t, got.State, task.StateSucceeded)
		assert.Equal(t, got.Prompt, "work")
		left := follow(t, p, run.ID)
		assert.Equal(t, len(left), 1, "%v", left)
		assert.DeepEqual(t, left[0].Payload, &task.Pruned{Through: whole[len(whole)-1].Seq})
		assert.Equal(t, len(laws.Check(laws.Record{Task: got, Events: left})), 0)
		assert.Equal(t, files(t, dir), 0)
		_, err = store.Record(ctx, "trigger.todos", string(run.ID))
		assert.ErrorIs(t, err, task.ErrNotFound, "its task list is part of it")
		ids, err := store.Leftovers(ctx, 10)
		assert.NilError(t, err)
		assert.Equal(t, len(ids), 0, "hidden events were not deleted")
		assert.Equal(t, len(present(t, p, waiting.ID)), 2, "a run that waits is not old")
	})
}

// stubbornBlobs do not let go of the files of one run.
type stubbornBlobs struct {
	task.BlobStore
	run *task.ID
}

func (s stubbornBlobs) DeleteBlob(ctx context.Context, key string) error {
	if strings.Contains(key, string(*s.run)) {
		return errors.New("the file is locked")
	}
	return s.BlobStore.DeleteBlob(ctx, key)
}

// TestOneRunDoesNotStopRetention: when the files of a run cannot be deleted,
// those of the others are.
func TestOneRunDoesNotStopRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stubborn task.ID
		dir := t.TempDir()
		blobs, err := fileblob.Open(dir, nil)
		assert.NilError(t, err)
		store := openStore(t)
		p, err := oz.New(store, &oz.Options{Retention: time.Hour, Blobs: stubbornBlobs{blobs, &stubborn}})
		assert.NilError(t, err)
		const runs = 130 // more than are looked at together
		for range runs {
			run := submit(t, p, oz.Request{Prompt: "x", Attachments: []oz.AttachmentInput{{FileName: "a.png", MIMEType: "image/png", Data: []byte(png)}}})
			assert.NilError(t, p.Cancel(t.Context(), run.ID))
			if stubborn == "" {
				stubborn = run.ID
			}
		}
		assert.Equal(t, files(t, dir), runs)
		stop := start(t, p)
		time.Sleep(2 * time.Hour)
		stop()
		assert.Equal(t, files(t, dir), 1)
		left, err := store.Leftovers(t.Context(), 10)
		assert.NilError(t, err)
		assert.DeepEqual(t, left, []task.ID{stubborn})
		assert.NilError(t, blobs.Close())
	})
}

// present reads the events that a run has now.
func present(t *testing.T, p *oz.Platform, id task.ID) []task.Event {
	t.Helper()
	events, err := p.Events(t.Context(), id, 0, 100)
	assert.NilError(t, err)
	return events
}

// files counts the files below a directory.
func files(t *testing.T, dir string) (n int) {
	t.Helper()
	assert.NilError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.HasPrefix(d.Name(), ".") {
			n++
		}
		return err
	}))
	return n
}

// TestRetentionNeedsAStoreThatForgets: a setting that cannot be kept is refused.
func TestRetentionNeedsAStoreThatForgets(t *testing.T) {
	_, err := oz.New(&countingStore{Store: openStore(t)}, &oz.Options{Retention: time.Hour})
	assert.ErrorContains(t, err, "Retention")
	_, err = oz.New(openStore(t), &oz.Options{Retention: -time.Hour})
	assert.ErrorContains(t, err, "negative")
}
