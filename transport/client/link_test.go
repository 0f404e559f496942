package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// TestStartLocal carries a run out here and tracks it there, from the first
// word to the outcome.
func TestStartLocal(t *testing.T) {
	e := transporttest.Start(t, patient())
	ctx, c := t.Context(), connect(t, e.URL)
	run, handshake, err := c.StartLocal(ctx, oz.Request{Prompt: "mend it here", Source: task.SourceCLI})
	assert.NilError(t, err)
	assert.Equal(t, run.State, task.StateClaimed)
	assert.Equal(t, run.Where, task.LocationLocal)
	assert.Equal(t, run.Source, task.SourceCLI)
	assert.Equal(t, handshake.TaskID, run.ID)
	assert.Assert(t, !strings.Contains(fmt.Sprintf("%v %+v %#v", handshake, handshake, handshake), handshake.Token.Reveal()))

	dialled, err := client.DialLink(handshake)
	assert.NilError(t, err)
	bundle, err := dialled.Bundle(ctx)
	assert.NilError(t, err)
	assert.Equal(t, bundle.Task.ID, run.ID)
	assert.Equal(t, bundle.Task.Prompt, "mend it here")
	assert.Equal(t, bundle.Execution.ID, handshake.ExecutionID)
	assert.NilError(t, dialled.Begin(ctx))
	assert.NilError(t, dialled.Begin(ctx), "may be repeated")
	beat, err := dialled.Heartbeat(ctx)
	assert.NilError(t, err)
	assert.Assert(t, beat.IntervalMS > 0)
	assert.NilError(t, dialled.Append(ctx, 0, notices(0, 3)))
	assert.NilError(t, dialled.Append(ctx, 0, notices(0, 3)), "may be repeated")
	events, err := dialled.Events(ctx, 0, 1000)
	assert.NilError(t, err)
	found := 0
	for _, event := range events {
		if event.Payload.Type() == (&task.Notice{}).Type() {
			found++
		}
	}
	assert.Equal(t, found, 3)

	assert.ErrorIs(t, c.Cancel(ctx, run.ID), &task.Error{Code: task.CodeOperationNotSupported})
	assert.NilError(t, dialled.End(ctx, task.End{State: task.StateSucceeded, SeenInput: beat.LastInput}))
	got, err := c.Get(ctx, run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.State, task.StateSucceeded)
	assert.ErrorIs(t, dialled.Append(ctx, 3, notices(3, 4)), task.ErrFenced)
	_, err = dialled.Bundle(ctx)
	assert.ErrorIs(t, err, task.ErrFenced)

	_, _, err = c.StartLocal(ctx, oz.Request{Prompt: "x", IdempotencyKey: "k"})
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, _, err = c.StartLocal(ctx, oz.Request{Prompt: "x", Source: "a\nb"})
	assert.ErrorIs(t, err, task.ErrInvalid)
}

// TestUnseenInputSurvivesTheWire ends a run while a message waits.
func TestUnseenInputSurvivesTheWire(t *testing.T) {
	e := transporttest.Start(t, patient())
	ctx := t.Context()
	id, link := begin(t, e)
	beat, err := link.Heartbeat(ctx)
	assert.NilError(t, err)
	assert.NilError(t, connect(t, e.URL).FollowUp(ctx, id, oz.Message{Text: "wait"}))
	err = link.End(ctx, task.End{State: task.StateSucceeded, SeenInput: beat.LastInput})
	assert.ErrorIs(t, err, task.ErrUnseenInput)
	assert.Assert(t, !errors.Is(err, task.ErrFenced))
	beat, err = link.Heartbeat(ctx)
	assert.NilError(t, err)
	assert.NilError(t, link.End(ctx, task.End{State: task.StateSucceeded, SeenInput: beat.LastInput}))
}

// TestLinkOutlivesFaults breaks every call of a runner in every way: each is
// repeated until it is through, and what it does is done once.
func TestLinkOutlivesFaults(t *testing.T) {
	e := transporttest.Start(t, patient())
	ctx := t.Context()
	run, err := local(e).Submit(ctx, oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	handshake := e.Claimed()
	faults := []transporttest.Fault{{Refuse: true}, {Lose: true}, {CutAfter: 1}, {Status: 502, Body: "bad gateway"}, {Status: 503}, {Status: 429}}
	p := transporttest.StartProxy(t, e.URL, func(n int, _ *http.Request) transporttest.Fault {
		if n %= len(faults) + 1; n < len(faults) {
			return faults[n]
		}
		return pass
	})
	handshake.ServerURL = p.URL
	link, err := client.NewLink(handshake, &client.Options{Clock: transporttest.NewClock(),
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
	assert.NilError(t, err)
	bundle, err := link.Bundle(ctx)
	assert.NilError(t, err)
	assert.Equal(t, bundle.Task.ID, run.ID)
	assert.NilError(t, link.Begin(ctx))
	for i := 0; i < 40; i += 4 {
		assert.NilError(t, link.Append(ctx, int64(i), notices(i, i+4)))
	}
	blob, size, err := link.Upload(ctx, "a-1", io.MultiReader(strings.NewReader("in "), strings.NewReader("pieces")))
	assert.NilError(t, err)
	assert.Equal(t, size, int64(len("in pieces")))
	assert.NilError(t, link.Append(ctx, 40, []task.Event{{Payload: &task.ArtifactReported{Artifact: task.Artifact{UID: "a-1", Type: task.ArtifactFile,
		Path: "a.txt", SizeBytes: size, Blob: blob}}}}))
	assert.NilError(t, finish(ctx, link))

	var texts []string
	for event, err := range local(e).Watch(ctx, run.ID, 0) {
		assert.NilError(t, err)
		if n, ok := event.Payload.(*task.Notice); ok {
			texts = append(texts, n.Text)
		}
	}
	assert.Equal(t, len(texts), 40)
	for i, text := range texts {
		assert.Equal(t, text, fmt.Sprintf("notice %d", i))
	}
	var content bytes.Buffer
	assert.NilError(t, connect(t, e.URL).Download(ctx, "a-1", &content))
	assert.Equal(t, content.String(), "in pieces")
}

// TestLinkOutlivesRestarts appends while the server goes away and comes back.
func TestLinkOutlivesRestarts(t *testing.T) {
	e := transporttest.Start(t, patient())
	ctx := t.Context()
	id, _ := begin(t, e)
	assert.NilError(t, local(e).Cancel(ctx, id))
	run, err := local(e).Submit(ctx, oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	clock := &restarting{Clock: task.SystemClock(), up: e.Up}
	link, err := client.NewLink(e.Claimed(), &client.Options{Clock: clock})
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(ctx))
	for i := range 5 {
		clock.down = 2 // waits until the server is back
		e.Down()
		assert.NilError(t, link.Append(ctx, int64(i), notices(i, i+1)))
	}
	assert.NilError(t, finish(ctx, link))
	got, err := local(e).Get(ctx, run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.State, task.StateSucceeded)
}

// restarting brings the server up at the end of the second wait.
type restarting struct {
	task.Clock
	down int
	up   func()
}

// After implements task.Clock.
func (c *restarting) After(time.Duration) <-chan time.Time {
	if c.down--; c.down == 0 {
		c.up()
	}
	fired := make(chan time.Time, 1)
	fired <- c.Now()
	return fired
}

// TestLinkGivesUp asks that a runner does not go on without hope.
func TestLinkGivesUp(t *testing.T) {
	e := transporttest.Start(t, patient())
	_, err := client.NewLink(executor.Handshake{ServerURL: e.URL}, nil)
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, err = client.NewLink(executor.Handshake{ServerURL: "nowhere", Token: "x"}, nil)
	assert.ErrorIs(t, err, task.ErrInvalid)
	wrong, err := client.NewLink(executor.Handshake{ServerURL: e.URL, Token: "ozr_x.y"}, nil)
	assert.NilError(t, err)
	_, err = wrong.Heartbeat(t.Context())
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
	assert.Assert(t, !strings.Contains(err.Error(), "ozr_x"))

	_, link := begin(t, e)
	e.Down()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = link.Heartbeat(ctx)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestLargeBatchesAreSplit appends more than the server takes at once.
func TestLargeBatchesAreSplit(t *testing.T) {
	e := transporttest.Start(t, patient())
	id, link := begin(t, e)
	var events []task.Event
	for i := range task.MaxAppendEvents + 20 {
		events = append(events, task.Event{Payload: &task.Notice{Text: fmt.Sprint(i)}})
	}
	big := strings.Repeat("x", 1<<20)
	for range 9 { // more than one request takes
		events = append(events, task.Event{Payload: &task.Notice{Text: big}})
	}
	assert.NilError(t, link.Append(t.Context(), 0, events))
	assert.NilError(t, link.Append(t.Context(), int64(len(events)), nil), "nothing is fine, too")
	got, err := local(e).Executions(t.Context(), id)
	assert.NilError(t, err)
	assert.Equal(t, got[0].Appended, int64(len(events)))
	back, err := link.Events(t.Context(), 0, 1000)
	assert.NilError(t, err)
	assert.Equal(t, len(back), 1000)
	for i, event := range back {
		assert.Equal(t, event.Seq, int64(i+1))
	}
	err = link.Append(t.Context(), int64(len(events)), []task.Event{{Payload: &task.Notice{Text: strings.Repeat("x", task.MaxEventBytes)}}})
	assert.ErrorIs(t, err, task.ErrInvalid)
	err = link.Append(t.Context(), int64(len(events)), []task.Event{{}})
	assert.ErrorContains(t, err, "event")
}

// TestUploads sends files of every kind: as they are, from where they stand,
// and empty.
func TestUploads(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Platform: oz.Options{Lease: time.Hour, Heartbeat: time.Minute, MaxUploadBytes: 1 << 20}})
	ctx := t.Context()
	_, link := begin(t, e)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	path := filepath.Join(t.TempDir(), "file")
	assert.NilError(t, os.WriteFile(path, []byte("skipped, sent"), 0o600))
	file, err := os.Open(path)
	assert.NilError(t, err)
	defer func() { _ = file.Close() }()
	_, err = file.Seek(int64(len("skipped, ")), io.SeekStart)
	assert.NilError(t, err)
	pipe, feed := io.Pipe()
	go func() {
		_, _ = io.WriteString(feed, "piped")
		_ = feed.Close()
	}()
	n := 0
	for want, r := range map[string]io.Reader{"sent": file, "piped": pipe, "": strings.NewReader(""), strings.Repeat("y", 1<<20): strings.NewReader(strings.Repeat("y", 1<<20))} {
		uid := fmt.Sprintf("u-%d", len(want))
		blob, size, err := link.Upload(ctx, uid, r)
		assert.NilError(t, err)
		assert.Equal(t, size, int64(len(want)))
		assert.NilError(t, link.Append(ctx, int64(n), []task.Event{{Payload: &task.ArtifactReported{Artifact: task.Artifact{UID: uid, Type: task.ArtifactFile,
			Path: "a", SizeBytes: size, Blob: blob}}}}))
		n++
		var got bytes.Buffer
		assert.NilError(t, connect(t, e.URL).Download(ctx, uid, &got))
		assert.Assert(t, got.String() == want)
	}
	_, _, err = link.Upload(ctx, "too-large", strings.NewReader(strings.Repeat("y", 1<<20+1)))
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, _, err = link.Upload(ctx, "..", strings.NewReader(""))
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, _, err = link.Upload(ctx, "broken", io.MultiReader(strings.NewReader("x"), broken{}))
	assert.ErrorContains(t, err, "disk on fire")
	left, err := os.ReadDir(temp)
	assert.NilError(t, err)
	assert.Equal(t, len(left), 0, "temporary files are left")
}

type broken struct{}

// Read implements io.Reader.
func (broken) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }
