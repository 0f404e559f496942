package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// The tests of this file stand for the official worker, whose binary cannot be
// had here: they send its frames as they were recorded (worker protocol, 4.2).

// official is one connection as the official worker makes it.
type official struct {
	t      testing.TB
	ws     *websocket.Conn
	frames chan frame
}

// frame is one that the server sent.
type frame struct {
	Type string         `json:"type"`
	Data map[string]any `json:"data"`
	raw  string
	kind websocket.MessageType
}

// linkURL is where official workers connect.
func linkURL(e *transporttest.Env, id string) string {
	return "ws" + strings.TrimPrefix(e.URL, "http") + "/api/v1/selfhosted/worker/ws?" + url.Values{"worker_id": {id}}.Encode()
}

// handshake tries to connect.
func handshake(t testing.TB, e *transporttest.Env, key, id string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	head := http.Header{"User-Agent": {"Go-http-client/1.1"}}
	if key != "" {
		head.Set("Authorization", "Bearer "+key)
	}
	return websocket.Dial(ctx, linkURL(e, id), &websocket.DialOptions{HTTPHeader: head, HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
}

// connect makes a connection that the test ends.
func connect(t testing.TB, e *transporttest.Env, key, id string) *official {
	t.Helper()
	ws, answer, err := handshake(t, e, key, id)
	assert.NilError(t, err)
	assert.Equal(t, answer.Header.Get("Sec-WebSocket-Extensions"), "", "no compression")
	ws.SetReadLimit(64 << 20)
	o := &official{t: t, ws: ws, frames: make(chan frame, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(o.frames)
		for {
			kind, raw, err := ws.Read(context.Background())
			if err != nil {
				return
			}
			f := frame{raw: string(raw), kind: kind}
			if json.Unmarshal(raw, &f) == nil {
				o.frames <- f
			}
		}
	}()
	t.Cleanup(func() { o.drop(); <-done })
	return o
}

// drop cuts the connection without a goodbye.
func (o *official) drop() { _ = o.ws.CloseNow() }

// send sends a frame as it was recorded; %s is the task's id.
func (o *official) send(recorded string, args ...any) {
	o.t.Helper()
	assert.NilError(o.t, o.ws.Write(o.t.Context(), websocket.MessageText, fmt.Appendf(nil, recorded, args...)))
}

// Recorded frames.
const (
	claimedFrame   = `{"type":"task_claimed","data":{"task_id":"%s","worker_id":"w1"}}`
	rejectedFrame  = `{"type":"task_rejected","data":{"task_id":"%s","reason":"worker at maximum concurrency"}}`
	completedFrame = `{"type":"task_completed","data":{"task_id":"%s","message":"Task completed successfully"}}`
	cancelledFrame = `{"type":"task_completed","data":{"task_id":"%s","message":"Task cancelled by user request.","task_state":"CANCELLED"}}`
	exitFrame      = `{"type":"task_failed","data":{"task_id":"%s","message":"Failed to execute task: oz agent exited with error: exit status 3","failure_reason":"agent_invocation","exit_code":3}}`
	shutdownFrame  = `{"type":"task_failed","data":{"task_id":"%s","message":"The task was interrupted due to an infrastructure issue (context canceled). …","failure_reason":"graceful_shutdown"}}`
	pullFrame      = `{"type":"task_failed","data":{"task_id":"%s","message":"Failed to execute task: pull: no such image","failure_reason":"image_pull"}}`
)

// expect waits for the next frame, which must be of a type.
func (o *official) expect(kind string) frame {
	o.t.Helper()
	select {
	case f, ok := <-o.frames:
		assert.Assert(o.t, ok, "the server closed the connection, %s was expected", kind)
		assert.Equal(o.t, f.Type, kind, "%s", f.raw)
		assert.Equal(o.t, f.kind, websocket.MessageText)
		return f
	case <-time.After(30 * time.Second):
		o.t.Fatalf("no %s", kind)
		panic("unreachable")
	}
}

// assigned waits for an assignment and gives the agent's side of it.
func (o *official) assigned(e *transporttest.Env) (id task.ID, h executor.Handshake) {
	o.t.Helper()
	f := o.expect("task_assignment")
	id = task.ID(f.Data["task_id"].(string))
	env := f.Data["env_vars"].(map[string]any)
	return id, executor.Handshake{ServerURL: e.URL, TaskID: id, ExecutionID: task.ExecutionID(f.Data["execution_id"].(string)),
		Token: executor.Sensitive(env["WARP_API_KEY"].(string))}
}

// quiet asks that no frame comes in a while that would be long enough.
func (o *official) quiet() {
	o.t.Helper()
	select {
	case f := <-o.frames:
		o.t.Fatalf("unexpected frame %s", f.raw)
	case <-time.After(300 * time.Millisecond):
	}
}

// agent plays the agent that the worker starts.
func agent(t testing.TB, h executor.Handshake) executor.Link {
	t.Helper()
	link, err := client.DialLink(h)
	assert.NilError(t, err)
	return link
}

// begin is the agent's first report.
func begin(t testing.TB, h executor.Handshake) executor.Link {
	t.Helper()
	link := agent(t, h)
	assert.NilError(t, link.Begin(t.Context()))
	return link
}

// succeed is the agent's last report.
func succeed(t testing.TB, link executor.Link) {
	t.Helper()
	beat, err := link.Heartbeat(t.Context())
	assert.NilError(t, err)
	assert.NilError(t, link.End(t.Context(), task.End{State: task.StateSucceeded, SeenInput: beat.LastInput}))
}

// w1 sends runs to the worker of that name.
var w1 = task.Config{WorkerHost: "w1"}

// rig is a server and a worker key.
func rig(t testing.TB, change func(*transporttest.Options)) (e *transporttest.Env, key string) {
	t.Helper()
	e = start(t, change)
	return e, keyOf(t, e, transporttest.AdminKey, access.KeyWorker)
}

// TestS01S02Handshake: who may connect, and how the others are told: with a
// status, before the upgrade.
func TestS01S02Handshake(t *testing.T) {
	e, key := rig(t, nil)
	agentKey := keyOf(t, e, transporttest.AdminKey, access.KeyPersonal)
	for name, tt := range map[string]struct {
		key, id string
		status  int
	}{
		"worker key":        {key, "w1", 101},
		"team key":          {e.Team, "w1", 101},
		"no key":            {"", "w1", 401},
		"unknown key":       {"garbage", "w1", 401},
		"personal key":      {agentKey, "w1", 403},
		"admin's key":       {transporttest.AdminKey, "w1", 403},
		"no id":             {key, "", 400},
		"reserved":          {key, "warp", 400},
		"reserved, longer":  {key, "warp-hosted", 400},
		"case is important": {key, "Warpdrive", 101},
		"too long":          {key, strings.Repeat("w", 65), 400},
		"slash":             {key, "my worker/1", 400},
		"caller":            {key, "caller", 400},
	} {
		ws, answer, err := handshake(t, e, tt.key, tt.id)
		if ws != nil {
			_ = ws.CloseNow()
		}
		assert.Assert(t, answer != nil, "%s: %v", name, err)
		assert.Equal(t, answer.StatusCode, tt.status, name)
	}
	t.Run("not a WebSocket", func(t *testing.T) {
		a := e.Call(key, "GET", "/api/v1/selfhosted/worker/ws?worker_id=w1", nil)
		assert.Equal(t, a.Status, 400)
		assert.Assert(t, strings.Contains(string(a.Body), "WebSocket"), "%s", a.Body)
	})
	t.Run("run token", func(t *testing.T) {
		o := connect(t, e, key, "w1")
		submit(t, e, w1)
		id, h := o.assigned(e)
		o.send(claimedFrame, id)
		_, answer, _ := handshake(t, e, h.Token.Reveal(), "w1")
		assert.Equal(t, answer.StatusCode, 403)
	})
}

// TestS01OtherTeams: a worker takes runs of its own team alone, whatever they
// name.
func TestS01OtherTeams(t *testing.T) {
	e, key := rig(t, nil)
	o := connect(t, e, key, "w1")
	foreign, err := e.Platform.As(e.Caller(e.Outsider)).Submit(t.Context(), oz.Request{Prompt: "x", Config: w1})
	assert.NilError(t, err)
	own := submit(t, e, w1)
	id, _ := o.assigned(e)
	assert.Equal(t, id, own.ID)
	o.send(claimedFrame, id)
	reaches(t, e, own.ID, task.StateClaimed)
	reaches(t, e, foreign.ID, task.StateQueued)
	o.quiet()
}

// TestS03Pings: each ping is answered, and who is silent is gone.
func TestS03Pings(t *testing.T) {
	e, key := rig(t, func(o *transporttest.Options) { o.Hub.SilenceTimeout = 100 * time.Millisecond })
	o := connect(t, e, key, "w1")
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		assert.NilError(t, o.ws.Ping(ctx))
		cancel()
	}
	select {
	case _, ok := <-o.frames:
		assert.Assert(t, !ok)
	case <-time.After(30 * time.Second):
		t.Fatal("a silent worker stays connected")
	}
	eventually(t, "it has left the pool", func() bool {
		list, err := e.Platform.WorkerList(t.Context())
		return err == nil && len(list) == 0
	})
}

// TestS04Assignment: the frame has what the worker cannot do without, in the
// types that it reads, and no secret but the run's own token.
func TestS04Assignment(t *testing.T) {
	e, key := rig(t, nil)
	o := connect(t, e, key, "w1")
	minutes, screen := 7, false
	run := submit(t, e, task.Config{WorkerHost: "w1", IdleTimeoutMinutes: &minutes, ComputerUseEnabled: &screen})
	f := o.expect("task_assignment")
	var got struct {
		TaskID      string            `json:"task_id"`
		ExecutionID string            `json:"execution_id"`
		EnvVars     map[string]string `json:"env_vars"`
		Task        *struct {
			ID         string    `json:"id"`
			Title      string    `json:"title"`
			CreatedAt  time.Time `json:"created_at"`
			UpdatedAt  time.Time `json:"updated_at"`
			Definition struct {
				Prompt string `json:"prompt"`
			} `json:"task_definition"`
			Config struct {
				ComputerUse *bool `json:"computer_use_enabled"`
				Idle        int   `json:"idle_timeout_minutes"`
				Harness     struct {
					Type string `json:"type"`
				} `json:"harness"`
			} `json:"agent_config_snapshot"`
		} `json:"task"`
	}
	var data struct {
		Data any `json:"data"`
	}
	data.Data = &got
	assert.NilError(t, json.Unmarshal([]byte(f.raw), &data))
	assert.Assert(t, got.Task != nil)
	assert.Equal(t, got.TaskID, string(run.ID))
	assert.Equal(t, got.Task.ID, string(run.ID))
	assert.Assert(t, got.ExecutionID != "" && !got.Task.CreatedAt.IsZero())
	assert.Equal(t, got.Task.Config.Idle, 7)
	assert.Assert(t, got.Task.Config.ComputerUse != nil, "its absence would mean yes")
	assert.Equal(t, got.Task.Config.Harness.Type, "oz")
	assert.Assert(t, !strings.Contains(f.raw, key), f.raw)
	o.send(claimedFrame, run.ID)
}

// TestS05ClaimIsAwaited: a worker that does not answer loses the run, is told to
// stop, and another one gets it.
func TestS05ClaimIsAwaited(t *testing.T) {
	e, key := rig(t, func(o *transporttest.Options) { o.Hub.ClaimTimeout = 50 * time.Millisecond })
	o := connect(t, e, key, "w1")
	run := submit(t, e, w1)
	id, _ := o.assigned(e)
	assert.Equal(t, o.expect("task_cancellation").Data["task_id"], string(id))
	reaches(t, e, run.ID, task.StateQueued)
	o.send(cancelledFrame, id) // it had begun, and has stopped
	again, _ := awaitAssigned(t, e, o)
	assert.Equal(t, again, id)
	o.send(claimedFrame, id)
	reaches(t, e, run.ID, task.StateClaimed)
}

// awaitAssigned waits for an assignment, over cancellations.
func awaitAssigned(t testing.TB, e *transporttest.Env, o *official) (task.ID, executor.Handshake) {
	t.Helper()
	for {
		select {
		case f, ok := <-o.frames:
			assert.Assert(t, ok)
			if f.Type == "task_assignment" {
				return task.ID(f.Data["task_id"].(string)), executor.Handshake{ServerURL: e.URL, TaskID: task.ID(f.Data["task_id"].(string)),
					ExecutionID: task.ExecutionID(f.Data["execution_id"].(string)),
					Token:       executor.Sensitive(f.Data["env_vars"].(map[string]any)["WARP_API_KEY"].(string))}
			}
		case <-time.After(30 * time.Second):
			t.Fatal("no assignment")
		}
	}
}

// TestS06AnyConnection: frames about a task count on any connection of its
// worker, also one that was made later.
func TestS06AnyConnection(t *testing.T) {
	e, key := rig(t, nil)
	first := connect(t, e, key, "w1")
	run := submit(t, e, w1)
	id, h := first.assigned(e)
	second := connect(t, e, key, "w1")
	second.send(claimedFrame, id)
	reaches(t, e, run.ID, task.StateClaimed)
	link := begin(t, h)
	first.drop()
	third := connect(t, e, key, "w1")
	succeed(t, link)
	third.send(completedFrame, id)
	reaches(t, e, run.ID, task.StateSucceeded)
	gone(t, e, run.ID)
}

// gone waits until the record says that nothing of the run runs any more.
func gone(t testing.TB, e *transporttest.Env, id task.ID) {
	t.Helper()
	eventually(t, "the end of the processes is in the record", func() bool {
		list, err := e.Platform.Executions(context.Background(), id)
		assert.NilError(t, err)
		for _, ex := range list {
			if !ex.SandboxGone && !ex.ClaimedAt.IsZero() {
				return false
			}
		}
		return true
	})
}

// TestS07HarmlessFrames: what is unknown, late, malformed or none of the
// worker's business disturbs nothing.
func TestS07HarmlessFrames(t *testing.T) {
	e, key := rig(t, nil)
	o := connect(t, e, key, "w1")
	other := connect(t, e, key, "w2")
	run := submit(t, e, task.Config{WorkerHost: "w2"})
	id, h := other.assigned(e)
	other.send(claimedFrame, id)
	begin(t, h)
	for _, recorded := range []string{completedFrame, exitFrame, cancelledFrame, rejectedFrame} {
		o.send(recorded, "T-unknown")
		o.send(recorded, id) // another worker's
	}
	for _, garbage := range []string{``, `{`, `null`, `[]`, `"x"`, `{"type":"heartbeat","data":{}}`, `{"type":"task_claimed"}`, `{"type":"task_claimed","data":null}`,
		`{"type":"task_claimed","data":{}}`, `{"type":"task_failed","data":{"task_id":7}}`, `{"type":"task_failed","data":{"task_id":"x","exit_code":"three"}}`,
		`{"type":"","data":{}}`, `{"type":7,"data":{}}`, "\xff\xfe", `{"type":"task_completed","data":{"task_id":"` + strings.Repeat("x", 5000) + `"}}`} {
		assert.NilError(t, o.ws.Write(t.Context(), websocket.MessageText, []byte(garbage)))
	}
	assert.NilError(t, o.ws.Write(t.Context(), websocket.MessageBinary, []byte(`{"type":"task_claimed","data":{"task_id":"nobody's"}}`)))
	assert.Equal(t, o.expect("task_cancellation").Data["task_id"], "nobody's") // the first answer: all before was read, and none was answered
	reaches(t, e, run.ID, task.StateInProgress)
}

// TestS08FirstEndWins: of several ends of a task the first counts.
func TestS08FirstEndWins(t *testing.T) {
	e, key := rig(t, func(o *transporttest.Options) { o.Platform.MaxAttempts = 1 })
	o := connect(t, e, key, "w1")
	run := submit(t, e, w1)
	id, h := o.assigned(e)
	o.send(claimedFrame, id)
	begin(t, h)
	o.send(exitFrame, id)
	o.send(completedFrame, id)
	o.send(cancelledFrame, id)
	o.send(completedFrame, id)
	got := reaches(t, e, run.ID, task.StateError)
	assert.Equal(t, got.Status.ErrorCode, task.CodeAgentProcessFailed)
	assert.Assert(t, strings.Contains(got.Status.Message, "exit status 3"), got.Status.Message)
	assert.Equal(t, got.Executions, 1)
	o.quiet()
}

// TestS09LostClaims: an end without a claim is one, and a claim that comes too
// late is answered by a cancellation.
func TestS09LostClaims(t *testing.T) {
	t.Run("end without claim", func(t *testing.T) {
		e, key := rig(t, func(o *transporttest.Options) { o.Platform.MaxAttempts = 1 })
		o := connect(t, e, key, "w1")
		run := submit(t, e, w1)
		id, _ := o.assigned(e)
		o.send(exitFrame, id)
		reaches(t, e, run.ID, task.StateError)
		gone(t, e, run.ID)
	})
	t.Run("late claim", func(t *testing.T) {
		e, key := rig(t, func(o *transporttest.Options) { o.Hub.ClaimTimeout = 500 * time.Millisecond })
		o := connect(t, e, key, "w1")
		run := submit(t, e, w1)
		id, h := o.assigned(e)
		o.expect("task_cancellation")
		eventually(t, "it can be cancelled", func() bool { return e.Platform.Cancel(t.Context(), run.ID) == nil })
		reaches(t, e, run.ID, task.StateCancelled)
		for len(o.frames) > 0 {
			<-o.frames
		}
		o.send(claimedFrame, id)
		o.expect("task_cancellation")
		assert.ErrorIs(t, agent(t, h).Begin(t.Context()), task.ErrFenced)
	})
}

// TestS10S11NeverTwice: a task that may still be at a worker is not assigned
// there again, and when it is, then as another execution.
func TestS10S11NeverTwice(t *testing.T) {
	e, key := rig(t, func(o *transporttest.Options) {
		o.Platform.Lease, o.Platform.Heartbeat = 300*time.Millisecond, 100*time.Millisecond
	})
	o := connect(t, e, key, "w1")
	run := submit(t, e, w1)
	id, first := o.assigned(e)
	o.send(claimedFrame, id)
	// The agent says nothing: its lease ends.
	assert.Equal(t, o.expect("task_cancellation").Data["task_id"], string(id))
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
		select {
		case f := <-o.frames:
			assert.Equal(t, f.Type, "task_cancellation", "it may still be at work: %s", f.raw)
		case <-time.After(50 * time.Millisecond):
		}
	}
	o.send(shutdownFrame, id)
	_, second := awaitAssigned(t, e, o)
	assert.Assert(t, first.ExecutionID != second.ExecutionID)
	o.send(claimedFrame, id)
	begin(t, second)
	reaches(t, e, run.ID, task.StateInProgress)
	assert.ErrorIs(t, agent(t, first).Begin(t.Context()), task.ErrFenced)
}

// TestS12Rejection: a refused run waits and is assigned again, to another
// process first, and never fails for it.
func TestS12Rejection(t *testing.T) {
	e, key := rig(t, nil)
	a, b := connect(t, e, key, "w1"), connect(t, e, key, "w1")
	run := submit(t, e, w1)
	took, other := a, b
	select {
	case f := <-a.frames:
		assert.Equal(t, f.Type, "task_assignment")
	case f := <-b.frames:
		assert.Equal(t, f.Type, "task_assignment")
		took, other = b, a
	}
	took.send(rejectedFrame, run.ID)
	id, _ := other.assigned(e)
	other.send(rejectedFrame, id)
	reaches(t, e, run.ID, task.StateQueued)
	select { // after a short rest it is tried again
	case f := <-a.frames:
		assert.Equal(t, f.Type, "task_assignment")
		a.send(claimedFrame, id)
	case f := <-b.frames:
		assert.Equal(t, f.Type, "task_assignment")
		b.send(claimedFrame, id)
	case <-time.After(30 * time.Second):
		t.Fatal("the run is not assigned again")
	}
	got := reaches(t, e, run.ID, task.StateClaimed)
	assert.Equal(t, got.Attempts, 0)
}

// TestS13Cancellation: a cancelled run's worker is told on all its connections,
// and on the next one again. It need not answer.
func TestS13Cancellation(t *testing.T) {
	e, key := rig(t, nil)
	a := connect(t, e, key, "w1")
	run := submit(t, e, w1)
	id, h := a.assigned(e)
	a.send(claimedFrame, id)
	b := connect(t, e, key, "w1")
	begin(t, h)
	reaches(t, e, run.ID, task.StateInProgress)
	assert.NilError(t, e.Platform.Cancel(t.Context(), run.ID))
	for _, o := range []*official{a, b} {
		assert.Equal(t, o.expect("task_cancellation").Data["task_id"], string(id))
	}
	c := connect(t, e, key, "w1")
	assert.Equal(t, c.expect("task_cancellation").Data["task_id"], string(id))
	c.send(cancelledFrame, id)
	gone(t, e, run.ID)
	d := connect(t, e, key, "w1")
	d.quiet()
	reaches(t, e, run.ID, task.StateCancelled)
}

// TestS14NoTerminalFrame: a run ends by its agent's word alone, a lost
// connection is no end, and a silent agent loses its lease.
func TestS14NoTerminalFrame(t *testing.T) {
	e, key := rig(t, func(o *transporttest.Options) {
		o.Platform.Lease, o.Platform.Heartbeat = time.Second, 300*time.Millisecond
	})
	o := connect(t, e, key, "w1")
	run := submit(t, e, w1)
	id, h := o.assigned(e)
	o.send(claimedFrame, id)
	reaches(t, e, run.ID, task.StateClaimed)
	link := begin(t, h)
	o.drop()
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		_, err := link.Heartbeat(t.Context())
		assert.NilError(t, err, "the agent is well")
	}
	reaches(t, e, run.ID, task.StateInProgress)
	succeed(t, link)
	reaches(t, e, run.ID, task.StateSucceeded)

	o = connect(t, e, key, "w1")
	lost := submit(t, e, w1)
	id, h = o.assigned(e)
	o.send(claimedFrame, id)
	begin(t, h)
	o.drop() // worker and agent are gone
	eventually(t, "the lease brings the run back", func() bool {
		now, err := e.Platform.Get(t.Context(), lost.ID)
		return err == nil && now.Execution == "" && now.Attempts == 1
	})
}

// TestS15OnlyWhatWasAssigned: a terminal frame is about what that worker was
// given, not about a newer execution elsewhere.
func TestS15OnlyWhatWasAssigned(t *testing.T) {
	e, key := rig(t, func(o *transporttest.Options) {
		o.Platform.Lease, o.Platform.Heartbeat = 300*time.Millisecond, 100*time.Millisecond
	})
	o := connect(t, e, key, "w1")
	run := submit(t, e, w1)
	id, _ := o.assigned(e)
	o.send(claimedFrame, id)
	o.expect("task_cancellation") // its lease has ended
	o.send(shutdownFrame, id)
	_, second := awaitAssigned(t, e, o)
	o.send(claimedFrame, id)
	link := begin(t, second)
	late := connect(t, e, key, "w2") // another worker reports on it
	late.send(exitFrame, id)
	late.send(claimedFrame, "sync")
	late.expect("task_cancellation")
	_, err := link.Heartbeat(t.Context())
	assert.NilError(t, err)
	reaches(t, e, run.ID, task.StateInProgress)
}

// TestS16SeveralConnections: processes that share an id share the load.
func TestS16SeveralConnections(t *testing.T) {
	e, key := rig(t, nil)
	workers := []*official{connect(t, e, key, "w1"), connect(t, e, key, "w1"), connect(t, e, key, "w1")}
	runs := map[task.ID]bool{}
	for range 6 {
		runs[submit(t, e, w1).ID] = true
	}
	for _, o := range workers {
		for range 2 {
			id, _ := o.assigned(e)
			o.send(claimedFrame, id)
			delete(runs, id)
		}
	}
	assert.Equal(t, len(runs), 0)
	list, err := e.Platform.WorkerList(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(list), 1)
	assert.Equal(t, list[0].ID, "w1")
	assert.Equal(t, list[0].Active, 6)
}

// TestS17LongMessages: what is left out is not known, reasons may be new, and a
// message may be long.
func TestS17LongMessages(t *testing.T) {
	e, key := rig(t, func(o *transporttest.Options) { o.Platform.MaxAttempts, o.Hub.ClaimTimeout = 1, time.Second })
	o := connect(t, e, key, "w1")
	run := submit(t, e, w1)
	id, _ := o.assigned(e)
	o.send(claimedFrame, id)
	long := strings.Repeat("zeile mit ümlaut\\n", 1<<16) // over 1 MiB
	assert.NilError(t, o.ws.Write(t.Context(), websocket.MessageText, []byte(`{"type":"task_failed","data":{"task_id":"`+string(id)+`","failure_reason":"of_the_future","message":"`+long+`"}}`)))
	got := reaches(t, e, run.ID, task.StateError)
	assert.Assert(t, len(got.Status.Message) < 8<<10, "%d", len(got.Status.Message))
	assert.Assert(t, strings.Contains(got.Status.Message, "ümlaut"))
	run = submit(t, e, w1)
	id, _ = o.assigned(e)
	o.send(`{"type":"task_failed","data":{"task_id":"%s"}}`, id)
	reaches(t, e, run.ID, task.StateError)
	// Longer than anything that is allowed: this connection alone ends.
	other := connect(t, e, key, "w1")
	_ = o.ws.Write(t.Context(), websocket.MessageText, make([]byte, 3<<20))
	submit(t, e, w1)
	id, _ = awaitAssigned(t, e, other) // perhaps after the one that was lost
	other.send(claimedFrame, id)
}

// TestLostAssignment: an assignment that its worker never saw does not keep the
// run from that worker for long.
func TestLostAssignment(t *testing.T) {
	e, key := rig(t, func(o *transporttest.Options) { o.Hub.ClaimTimeout = 50 * time.Millisecond })
	o := connect(t, e, key, "w1")
	run := submit(t, e, w1)
	o.assigned(e)
	o.drop() // before the worker has read it, as far as the server knows
	o = connect(t, e, key, "w1")
	id, _ := awaitAssigned(t, e, o)
	assert.Equal(t, id, run.ID)
	o.send(claimedFrame, id)
	reaches(t, e, run.ID, task.StateClaimed)
}

// TestS18Shutdown: a worker that says goodbye is given nothing more, and what
// it gave back goes elsewhere without counting.
func TestS18Shutdown(t *testing.T) {
	e, key := rig(t, nil)
	o := connect(t, e, key, "w1")
	run := submit(t, e, w1)
	id, h := o.assigned(e)
	o.send(claimedFrame, id)
	begin(t, h)
	o.send(shutdownFrame, id)
	assert.NilError(t, o.ws.Close(websocket.StatusNormalClosure, ""))
	eventually(t, "the run waits again", func() bool {
		now, err := e.Platform.Get(t.Context(), run.ID)
		return err == nil && now.Execution == ""
	})
	o = connect(t, e, key, "w1")
	again, _ := o.assigned(e)
	assert.Equal(t, again, run.ID)
	now, err := e.Platform.Get(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.Equal(t, now.Attempts, 0, "nobody's fault")
}

// TestS19Token: the agent finds in its environment what it needs, and that is
// good for its execution alone.
func TestS19Token(t *testing.T) {
	e, key := rig(t, nil)
	o := connect(t, e, key, "w1")
	run := submit(t, e, w1)
	f := o.expect("task_assignment")
	env := f.Data["env_vars"].(map[string]any)
	assert.Equal(t, env["OZ_RUN_ID"], string(run.ID))
	token := env["WARP_API_KEY"].(string)
	o.send(claimedFrame, run.ID)
	reaches(t, e, run.ID, task.StateClaimed)
	link := agent(t, executor.Handshake{ServerURL: e.URL, TaskID: run.ID, ExecutionID: task.ExecutionID(f.Data["execution_id"].(string)), Token: executor.Sensitive(token)})
	b, err := link.Bundle(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, b.Task.Prompt, "work")
	a := e.Call(token, "GET", "/api/v1/agent/runs", nil)
	assert.Equal(t, a.Status, 403)
}

// TestS20Sidecar: workers with containers are told where the agent is, which
// image the run wants, and how large it is.
func TestS20Sidecar(t *testing.T) {
	e, key := rig(t, func(o *transporttest.Options) { o.Hub.SidecarImage = "registry.example.com/oz-agent:1" })
	o := connect(t, e, key, "w1")
	profile, err := e.Platform.CreateRunner(t.Context(), oz.RunnerInput{Name: "big", Config: oz.RunnerConfig{VCPUs: 1.5, MemoryGB: 4, DockerImage: "debian:13"}})
	assert.NilError(t, err)
	run := submit(t, e, task.Config{WorkerHost: "w1", RunnerID: profile.UID})
	f := o.expect("task_assignment")
	assert.Equal(t, f.Data["sidecar_image"], "registry.example.com/oz-agent:1")
	assert.Equal(t, f.Data["docker_image"], "debian:13")
	assert.DeepEqual(t, f.Data["instance_shape"], map[string]any{"vcpus": 2.0, "memory_gb": 4.0})
	o.send(claimedFrame, run.ID)
}

// TestFailureReasons: what the worker's reason makes of a run whose agent said
// nothing.
func TestFailureReasons(t *testing.T) {
	e, key := rig(t, func(o *transporttest.Options) { o.Platform.MaxAttempts = 1 })
	o := connect(t, e, key, "w1")
	for recorded, want := range map[string]task.Code{pullFrame: task.CodeEnvironmentSetupFailed, exitFrame: task.CodeAgentProcessFailed, completedFrame: task.CodeAgentProcessFailed} {
		run := submit(t, e, w1)
		id, h := o.assigned(e)
		o.send(claimedFrame, id)
		begin(t, h)
		o.send(recorded, id)
		eventually(t, "the run has ended", func() bool {
			now, err := e.Platform.Get(t.Context(), run.ID)
			return err == nil && now.State == want.EndState() && now.Status.ErrorCode == want
		})
	}
}

// TestKeyIsJudgedAgain: the link of a key that was revoked ends.
func TestKeyIsJudgedAgain(t *testing.T) {
	e, _ := rig(t, func(o *transporttest.Options) { o.Hub.RecheckInterval = time.Millisecond })
	raw, k, err := e.Platform.Registry().CreateKey(t.Context(), e.Caller(transporttest.AdminKey), access.KeySpec{Name: "x", Type: access.KeyWorker})
	assert.NilError(t, err)
	o := connect(t, e, raw, "w1")
	assert.NilError(t, e.Platform.Registry().RevokeKey(t.Context(), e.Caller(transporttest.AdminKey), k.UID))
	select {
	case _, ok := <-o.frames:
		assert.Assert(t, !ok)
	case <-time.After(30 * time.Second):
		t.Fatal("the link of a revoked key stays open")
	}
	_, answer, _ := handshake(t, e, raw, "w1")
	assert.Equal(t, answer.StatusCode, 401)
}
