package rest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/rest"
)

// eventStream is an open stream, read line by line.
type eventStream struct {
	t      *testing.T
	resp   *http.Response
	lines  *bufio.Scanner
	cancel context.CancelFunc
}

func openStream(t *testing.T, e *transporttest.Env, id task.ID, headers ...string) *eventStream {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	req, err := http.NewRequestWithContext(ctx, "GET", e.URL+"/api/v1/oz/runs/"+string(id)+"/events", nil)
	assert.NilError(t, err)
	req.Header.Set("Authorization", "Bearer "+transporttest.AdminKey)
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := (&http.Client{Transport: narrow()}).Do(req)
	assert.NilError(t, err)
	assert.Equal(t, resp.StatusCode, 200)
	assert.Equal(t, resp.Header.Get("Content-Type"), "text/event-stream")
	s := &eventStream{t: t, resp: resp, lines: bufio.NewScanner(resp.Body), cancel: cancel}
	s.lines.Buffer(nil, 16<<20)
	t.Cleanup(s.close)
	return s
}

func (s *eventStream) close() { s.cancel(); _ = s.resp.Body.Close() }

// next gives the next event's id and name; comments are counted as "comment".
// What breaks off before the empty line is no event.
func (s *eventStream) next() (id, name string, ok bool) {
	var data string
	for s.lines.Scan() {
		switch line := s.lines.Text(); {
		case strings.HasPrefix(line, ":"):
			return "", "comment" + strings.TrimPrefix(line, ":"), true
		case strings.HasPrefix(line, "id: "):
			id = line[4:]
		case strings.HasPrefix(line, "event: "):
			name = line[7:]
		case strings.HasPrefix(line, "data: "):
			data = line[6:]
		case line == "" && name == "end":
			return id, name, true
		case line == "" && name != "":
			var e task.Event
			assert.NilError(s.t, json.Unmarshal([]byte(data), &e))
			assert.Equal(s.t, fmt.Sprint(e.Seq), id)
			assert.Equal(s.t, string(e.Payload.Type()), name)
			return id, name, true
		}
	}
	return "", "", false
}

// begin submits a run and takes its execution up.
func begin(t *testing.T, e *transporttest.Env) (task.ID, *client.Link) {
	run, err := e.Platform.Submit(t.Context(), oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(t.Context()))
	return run.ID, link
}

// patient is a platform that does not give up a runner which the race
// detector slows down.
func patient() oz.Options { return oz.Options{Lease: time.Hour, Heartbeat: time.Minute} }

// long is a text of about 1 MiB, as a build prints it.
var long = strings.Repeat("ok  \tgithub.com/example/project/internal/parser\t0.213s\n", 20_000)

func notices(from, to int) []task.Event {
	var list []task.Event
	for i := from; i < to; i++ {
		list = append(list, task.Event{Payload: &task.Notice{Text: fmt.Sprintf("notice %d", i)}})
	}
	return list
}

// fill puts n events of about 1 MiB into the log, behind the offset. They go
// past the redactor, which the race detector makes slow.
func fill(t *testing.T, e *transporttest.Env, id task.ID, offset, n int) {
	t.Helper()
	run, err := e.Platform.Get(t.Context(), id)
	assert.NilError(t, err)
	for i := range n {
		_, err := e.Store.Do(t.Context(), id, task.Append{Execution: run.Execution, Offset: int64(offset + i),
			Events: []task.Event{{Payload: &task.Notice{Text: long}}}})
		assert.NilError(t, err)
	}
}

// TestSSEResumes breaks the stream again and again and goes on behind the last
// id: every number comes once.
func TestSSEResumes(t *testing.T) {
	e := transporttest.Start(t, nil)
	id, link := begin(t, e)
	const total = 300
	go func() {
		ctx := context.Background()
		for i := 0; i < total; i += 10 {
			if err := link.Append(ctx, int64(i), notices(i, i+10)); err != nil {
				t.Error(err)
				return
			}
		}
		if err := link.End(ctx, task.End{State: task.StateSucceeded, SeenInput: 1 << 40}); err != nil {
			t.Error(err)
		}
	}()
	var got []string
	last, ended, opened := "", false, 0
	for !ended {
		opened++
		s := openStream(t, e, id, "Last-Event-ID", last)
		for n := 0; n < 37; { // then break it
			number, name, ok := s.next()
			if !ok || name == "end" {
				ended = name == "end"
				break
			}
			if number != "" {
				got, last = append(got, number), number
				n++
			}
		}
		s.close()
		assert.Assert(t, opened < 1000, "no end in sight")
	}
	final, err := e.Platform.Get(t.Context(), id)
	assert.NilError(t, err)
	assert.Equal(t, len(got), int(final.LastSeq))
	for i, number := range got {
		assert.Equal(t, number, fmt.Sprint(i+1))
	}
	assert.Assert(t, opened > 5)

	// The stream of an ended run ends at once, also behind its last event.
	s := openStream(t, e, id, "Last-Event-ID", last)
	_, name, _ := s.next()
	assert.Equal(t, name, "comment open")
	_, name, _ = s.next()
	assert.Equal(t, name, "end")
}

func TestStreamHeartbeats(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Rest: rest.Options{StreamHeartbeat: 20 * time.Millisecond}})
	id, _ := begin(t, e)
	s := openStream(t, e, id)
	for beats := 0; beats < 3; {
		_, name, ok := s.next()
		assert.Assert(t, ok)
		if name == "comment heartbeat" {
			beats++
		}
	}
}

// TestStopEndsStreams asks that a shutdown waits for no stream, and that a
// stream it ends does not claim that the run has ended.
func TestStopEndsStreams(t *testing.T) {
	e := transporttest.Start(t, nil)
	id, _ := begin(t, e)
	s := openStream(t, e, id)
	_, name, _ := s.next()
	assert.Equal(t, name, "comment open")
	e.Handler.Stop()
	e.Handler.Stop()
	for {
		_, name, ok := s.next()
		assert.Assert(t, name != "end")
		if !ok {
			break
		}
	}
}

func TestStreamsAreBounded(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Rest: rest.Options{MaxStreams: 2}})
	id, _ := begin(t, e)
	first := openStream(t, e, id)
	openStream(t, e, id)
	path := "/api/v1/oz/runs/" + string(id) + "/events"
	checkProblem(t, e.Call(transporttest.AdminKey, "GET", path, nil, "Accept", "text/event-stream"), 429, task.CodeResourceUnavailable, true, path)
	first.close()
	deadline := time.Now().Add(10 * time.Second)
	for {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "GET", e.URL+path, nil)
		assert.NilError(t, err)
		req.Header.Set("Authorization", "Bearer "+transporttest.AdminKey)
		req.Header.Set("Accept", "text/event-stream")
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		assert.NilError(t, err)
		cancel()
		_ = resp.Body.Close()
		if resp.StatusCode == 200 {
			return
		}
		assert.Assert(t, time.Now().Before(deadline), "the place was not given back")
	}
}

// TestWaitingStreamsHaveNoGoroutines: a stream that waits takes what any
// connection takes, the server's two goroutines.
func TestWaitingStreamsHaveNoGoroutines(t *testing.T) {
	const streams = 50
	e := transporttest.Start(t, nil)
	id, _ := begin(t, e)
	before := runtime.NumGoroutine()
	for range streams {
		conn, err := net.Dial("tcp", strings.TrimPrefix(e.URL, "http://"))
		assert.NilError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = fmt.Fprintf(conn, "GET /api/v1/oz/runs/%s/events HTTP/1.1\r\nHost: oz\r\nAccept: text/event-stream\r\nAuthorization: Bearer %s\r\n\r\n", id, transporttest.AdminKey)
		assert.NilError(t, err)
		lines := bufio.NewReader(conn)
		for line := ""; !strings.HasPrefix(line, "event: state"); { // the last one that there is, INPROGRESS
			line, err = lines.ReadString('\n')
			assert.NilError(t, err)
		}
	}
	most := before + 2*streams + 2 // and what fills the feed
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > most; time.Sleep(time.Millisecond) {
		assert.Assert(t, time.Now().Before(deadline), "%d goroutines more for %d streams", runtime.NumGoroutine()-before, streams)
	}
}

// TestSlowReaderIsDropped leaves a stream unread until the connection's
// buffers are full: the server lets go of it and the others are not held up.
// The reader can tell that from an end, and goes on from where it was.
func TestSlowReaderIsDropped(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Platform: patient(), Rest: rest.Options{WriteTimeout: 100 * time.Millisecond, MaxStreams: 1}})
	id, _ := begin(t, e)
	slow := openStream(t, e, id) // not read for now
	fill(t, e, id, 0, 7)         // more than loopback's buffers hold
	path := "/api/v1/oz/runs/" + string(id) + "/events"
	deadline := time.Now().Add(20 * time.Second)
	for e.Call(transporttest.AdminKey, "HEAD", path, nil, "Accept", "application/json").Status != 200 {
		assert.Assert(t, time.Now().Before(deadline))
	}
	for { // the only place becomes free because the server gave the reader up
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		req, err := http.NewRequestWithContext(ctx, "GET", e.URL+path, nil)
		assert.NilError(t, err)
		req.Header.Set("Authorization", "Bearer "+transporttest.AdminKey)
		req.Header.Set("Accept", "text/event-stream")
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		assert.NilError(t, err)
		status := resp.StatusCode
		cancel()
		_ = resp.Body.Close()
		if status == 200 {
			break
		}
		assert.Assert(t, time.Now().Before(deadline), "the slow reader keeps its place")
	}

	last := slow.rest(0)
	assert.Assert(t, slow.lines.Err() != nil, "a stream that broke off looks like one that is over")
	run, err := e.Platform.Get(t.Context(), id)
	assert.NilError(t, err)
	assert.Assert(t, last < run.LastSeq)
	for last < run.LastSeq {
		last = openStream(t, e, id, "Last-Event-ID", fmt.Sprint(last)).rest(last, run.LastSeq)
	}
}

// rest reads the events behind a number, without a gap, until the stream ends
// or an event of enough. It gives the last one's number.
func (s *eventStream) rest(last int64, enough ...int64) int64 {
	defer s.close()
	for !slices.Contains(enough, last) {
		number, name, ok := s.next()
		if !ok {
			break
		}
		assert.Assert(s.t, name != "end")
		if number != "" {
			last++
			assert.Equal(s.t, number, fmt.Sprint(last))
		}
	}
	return last
}

func TestEventPages(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Platform: patient()})
	id, link := begin(t, e)
	assert.NilError(t, link.Append(t.Context(), 0, notices(0, 20)))
	path := "/oz/runs/" + string(id) + "/events"
	var p struct {
		Events []task.Event `json:"events"`
		More   bool         `json:"more"`
	}
	e.Call(transporttest.AdminKey, "GET", path+"?after=3&limit=4", nil).JSON(e, &p)
	assert.Equal(t, len(p.Events), 4)
	assert.Equal(t, p.Events[0].Seq, int64(4))
	assert.Assert(t, !p.More)
	a := e.Call(transporttest.AdminKey, "GET", path+"?after=1000", nil)
	assert.Equal(t, string(a.Body), `{"events":[]}`)
	for _, query := range []string{"?limit=1001", "?limit=-1", "?after=-1", "?limit=x"} {
		assert.Equal(t, e.Call(transporttest.AdminKey, "GET", path+query, nil).Status, 400, query)
	}
	assert.Equal(t, e.Call(transporttest.AdminKey, "GET", path, nil, "Last-Event-ID", "x").Status, 400)

	// A page that would be too large is cut, and the client asks on.
	fill(t, e, id, 20, 16)
	e.Call(transporttest.AdminKey, "GET", path+"?after=10", nil).JSON(e, &p)
	assert.Assert(t, p.More)
	events, err := link.Events(t.Context(), 0, 1000)
	assert.NilError(t, err)
	for i, event := range events {
		assert.Equal(t, event.Seq, int64(i+1))
	}
	final, err := e.Platform.Get(t.Context(), id)
	assert.NilError(t, err)
	assert.Equal(t, int64(len(events)), final.LastSeq)
}

// TestEventsOfTypes reads and follows some types of events alone: with their
// numbers, by page and by stream, each once however often it breaks off.
func TestEventsOfTypes(t *testing.T) { onEachStore(t, testEventsOfTypes) }

func testEventsOfTypes(t *testing.T, start starter) {
	e := start(t, nil)
	ctx := t.Context()
	id, link := begin(t, e)
	const total = 60 // of each of two types, in turns
	for i := range total {
		assert.NilError(t, link.Append(ctx, int64(2*i), []task.Event{{Payload: &task.Notice{Text: fmt.Sprint(i)}}, {Payload: &task.ErrorReported{Code: task.CodeInternal, Message: fmt.Sprint(i)}}}))
	}
	c := sdk(t, e, transporttest.AdminKey)
	all, err := c.Events(ctx, id, 0, 1000)
	assert.NilError(t, err)
	want := slices.DeleteFunc(slices.Clone(all), func(e task.Event) bool { return e.Payload.Type() != task.TypeError })
	assert.Equal(t, len(want), total)
	pages, err := c.EventsOf(ctx, id, 0, 1000, task.TypeError)
	assert.NilError(t, err)
	assert.DeepEqual(t, pages, want)

	var first struct {
		Events  []task.Event
		Through int64
		More    bool
	}
	a := e.Call(transporttest.AdminKey, "GET", "/oz/runs/"+string(id)+"/events?types=error&limit=7", nil)
	assert.NilError(t, json.Unmarshal(a.Body, &first))
	assert.DeepEqual(t, first.Events, want[:7])
	assert.Assert(t, first.More && first.Through == want[6].Seq)
	a = e.Call(transporttest.AdminKey, "GET", "/oz/runs/"+string(id)+"/events?types=todos&types=plan", nil)
	assert.Equal(t, a.Status, 400, "%s", a.Body)
	assert.Assert(t, strings.Contains(string(a.Body), `types: \"plan\" is none of state, phase`), "%s", a.Body)
	a = e.Call(transporttest.AdminKey, "GET", "/oz/runs/"+string(id)+"/events?types=plan", nil, "Accept", "text/event-stream")
	assert.Equal(t, a.Status, 400, "%s", a.Body)
	none, err := c.EventsOf(ctx, id, 0, 0, task.TypeTodos)
	assert.NilError(t, err)
	assert.Equal(t, len(none), 0)
	_, err = c.EventsOf(ctx, id, 0, 0, "plan")
	assert.ErrorIs(t, err, task.ErrInvalid)

	assert.NilError(t, link.End(ctx, task.End{State: task.StateSucceeded, SeenInput: 1 << 40}))
	var got []task.Event
	for after, done := int64(0), false; !done; { // breaks off after each ten
		done = true
		for ev, err := range c.WatchTypes(ctx, id, after, task.TypeError) {
			assert.NilError(t, err)
			got, after = append(got, ev), ev.Seq
			if len(got)%10 == 0 {
				done = false
				break
			}
		}
	}
	assert.DeepEqual(t, got, want)
}
