package client_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// begin submits a run and takes its execution up.
func begin(t *testing.T, e *transporttest.Env) (task.ID, *client.Link) {
	t.Helper()
	run, err := local(e).Submit(t.Context(), oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	link, err := client.NewLink(e.Claimed(), &client.Options{Clock: transporttest.NewClock()})
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(t.Context()))
	return run.ID, link
}

// patient is a platform that does not give up a runner which a slow machine
// holds up.
func patient() *transporttest.Options {
	return &transporttest.Options{Platform: oz.Options{Lease: time.Hour, Heartbeat: time.Minute}}
}

func notices(from, to int) []task.Event {
	var list []task.Event
	for i := from; i < to; i++ {
		list = append(list, task.Event{Payload: &task.Notice{Text: fmt.Sprintf("notice %d", i)}})
	}
	return list
}

// finish ends a run, whatever was said to it.
func finish(ctx context.Context, link *client.Link) error {
	return link.End(ctx, task.End{State: task.StateSucceeded, SeenInput: 1 << 40})
}

// gapless reads a watch to its end and asks for every number once.
func gapless(t *testing.T, c *client.Client, id task.ID, each func(task.Event)) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // ends what would hang
	defer cancel()
	last := int64(0)
	for event, err := range c.Watch(ctx, id, 0) {
		assert.NilError(t, err, "behind event %d", last)
		assert.Equal(t, event.Seq, last+1)
		last = event.Seq
		each(event)
	}
	return last
}

// TestWatchSurvivesCuts cuts the stream at every place that a fixed step
// reaches, also inside events, while events are appended.
func TestWatchSurvivesCuts(t *testing.T) {
	e := transporttest.Start(t, patient())
	id, link := begin(t, e)
	appended := make(chan error, 1)
	go func() {
		for i := 0; i < 200; i += 5 {
			if err := link.Append(t.Context(), int64(i), notices(i, i+5)); err != nil {
				appended <- err
				return
			}
		}
		appended <- finish(t.Context(), link)
	}()
	p := transporttest.StartProxy(t, e.URL, func(n int, _ *http.Request) transporttest.Fault {
		switch n % 4 {
		case 0:
			return transporttest.Fault{Status: 503}
		case 1:
			return transporttest.Fault{Refuse: true}
		}
		return transporttest.Fault{CutAfter: 300 + 37*n} // past the first whole event behind the position
	})
	last := gapless(t, connect(t, p.URL), id, func(task.Event) {})
	assert.NilError(t, <-appended)
	final, err := e.Platform.Get(t.Context(), id)
	assert.NilError(t, err)
	assert.Equal(t, last, final.LastSeq)
	assert.Assert(t, len(p.Seen()) > 20, "%d connections", len(p.Seen()))
}

// TestWatchSurvivesRestarts stops the server again and again while its log is
// read.
func TestWatchSurvivesRestarts(t *testing.T) {
	e := transporttest.Start(t, patient())
	id, link := begin(t, e)
	restarts := 0
	last := gapless(t, connect(t, e.URL), id, func(event task.Event) {
		var due bool
		switch p := event.Payload.(type) {
		case *task.StateChanged:
			due = p.To == task.StateInProgress
		case *task.Notice:
			due = true
		}
		if !due || restarts == 10 {
			return
		}
		e.Down()
		e.Up()
		if restarts++; restarts == 10 {
			assert.NilError(t, finish(t.Context(), link))
			return
		}
		assert.NilError(t, link.Append(t.Context(), int64(restarts-1), notices(restarts, restarts+1)))
	})
	assert.Equal(t, restarts, 10)
	final, err := e.Platform.Get(t.Context(), id)
	assert.NilError(t, err)
	assert.Equal(t, last, final.LastSeq)
}

// TestWatchLeavesASilentStream goes on when the connection stays open and
// nothing comes, not even a heartbeat.
func TestWatchLeavesASilentStream(t *testing.T) {
	e := transporttest.Start(t, patient())
	id, link := begin(t, e)
	assert.NilError(t, link.Append(t.Context(), 0, notices(0, 3)))
	assert.NilError(t, finish(t.Context(), link))
	p := transporttest.StartProxy(t, e.URL, func(n int, _ *http.Request) transporttest.Fault {
		return only(transporttest.Fault{CutAfter: 20, Hold: true})(n)
	})
	c := with(t, p.URL, client.Options{APIKey: transporttest.AdminKey, StreamIdle: 50 * time.Millisecond})
	gapless(t, c, id, func(task.Event) { time.Sleep(5 * time.Millisecond) })
	assert.Assert(t, len(p.Seen()) >= 2)
}

// TestWatchStartsAnywhere begins behind a number, stops early, and ends at once
// behind the last event.
func TestWatchStartsAnywhere(t *testing.T) {
	e := transporttest.Start(t, patient())
	id, link := begin(t, e)
	assert.NilError(t, link.Append(t.Context(), 0, notices(0, 10)))
	assert.NilError(t, finish(t.Context(), link))
	final, err := e.Platform.Get(t.Context(), id)
	assert.NilError(t, err)
	c := connect(t, e.URL)
	for after := range final.LastSeq + 1 {
		next := after + 1
		for event, err := range c.Watch(t.Context(), id, after) {
			assert.NilError(t, err)
			assert.Equal(t, event.Seq, next)
			if next++; next > after+3 {
				break
			}
		}
		assert.Equal(t, next, min(after+4, final.LastSeq+1))
	}
}

// TestWatchGivesUp ends with an error when asking again is of no use.
func TestWatchGivesUp(t *testing.T) {
	e := transporttest.Start(t, patient())
	id, _ := begin(t, e)
	stream := head("Content-Type", "text/event-stream")
	answer := func(header http.Header, body string) func(int, *http.Request) transporttest.Fault {
		return func(int, *http.Request) transporttest.Fault {
			return transporttest.Fault{Status: 200, Header: header, Body: body}
		}
	}
	for _, tt := range []struct {
		name  string
		key   string
		id    task.ID
		after int64
		fault func(int, *http.Request) transporttest.Fault
		says  string
	}{
		{"no id", transporttest.AdminKey, "", 0, nil, "run id"},
		{"unknown run", transporttest.AdminKey, "nothing", 0, nil, "nothing"},
		{"another's run", e.Outsider, id, 0, nil, string(id)},
		{"wrong key", "wrong", id, 0, nil, "key"},
		{"negative position", transporttest.AdminKey, id, -1, nil, "after"},
		{"a page of HTML", transporttest.AdminKey, id, 0, answer(head("Content-Type", "text/html"), "<html>"), "text/html"},
		{"broken JSON", transporttest.AdminKey, id, 0, answer(stream, "id: 1\nevent: notice\ndata: {\"seq\":\n\n"), "event \"1\""},
		{"a leap", transporttest.AdminKey, id, 0, answer(stream, "id: 2\nevent: notice\ndata: {\"seq\":2,\"type\":\"notice\",\"data\":{\"text\":\"x\"}}\n\n"), "from event 0 to 2"},
		{"an unknown event without number", transporttest.AdminKey, id, 0, answer(stream, "id: x\ndata: {\"type\":\"new\",\"data\":{}}\n\n"), "event id"},
		{"an endless event", transporttest.AdminKey, id, 0, answer(stream, "data: "+strings.Repeat("x", 17<<20)), "16777216"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url := e.URL
			if tt.fault != nil {
				url = transporttest.StartProxy(t, e.URL, tt.fault).URL
			}
			c := with(t, url, client.Options{APIKey: tt.key, Clock: transporttest.NewClock()})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			n := 0
			for _, err := range c.Watch(ctx, tt.id, tt.after) {
				n++
				assert.ErrorContains(t, err, tt.says)
			}
			assert.Equal(t, n, 1)
		})
	}
}

// TestWatchPassesOverNewEvents reads a newer server's log: an event of a kind
// that this version does not know counts and is not shown.
func TestWatchPassesOverNewEvents(t *testing.T) {
	e := transporttest.Start(t, patient())
	known := "id: %d\nevent: notice\ndata: {\"seq\":%d,\"type\":\"notice\",\"data\":{\"text\":\"x\"}}\n\n"
	body := fmt.Sprintf(known, 1, 1) + "id: 2\nevent: brand_new\ndata: {\"seq\":2,\"type\":\"brand_new\",\"data\":{\"a\":1}}\n\n" +
		fmt.Sprintf(known, 1, 1) + fmt.Sprintf(known, 3, 3) + "event: end\ndata: {}\n\n"
	p := transporttest.StartProxy(t, e.URL, func(int, *http.Request) transporttest.Fault {
		return transporttest.Fault{Status: 200, Header: head("Content-Type", "text/event-stream"), Body: body}
	})
	var got []int64
	for event, err := range connect(t, p.URL).Watch(t.Context(), "x", 0) {
		assert.NilError(t, err)
		got = append(got, event.Seq)
	}
	assert.DeepEqual(t, got, []int64{1, 3})
}

// TestWatchEndsWithItsContext cancels in the middle of a silent stream.
func TestWatchEndsWithItsContext(t *testing.T) {
	e := transporttest.Start(t, patient())
	id, _ := begin(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for event, err := range connect(t, e.URL).Watch(ctx, id, 0) {
		last = err
		if err == nil {
			if s, ok := event.Payload.(*task.StateChanged); ok && s.To == task.StateInProgress {
				cancel()
			}
		}
	}
	assert.ErrorIs(t, last, context.Canceled)
}
