package rest_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/rest"
)

// serve runs a handler until the test ends and gives its address.
func serve(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// status asks without a key.
func status(t *testing.T, address string) int {
	t.Helper()
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(address)
	assert.NilError(t, err)
	assert.NilError(t, resp.Body.Close())
	return resp.StatusCode
}

// hesitant is a worker that answers no offer until it is let go.
type hesitant struct{ offered, decide chan struct{} }

// Info implements oz.Worker.
func (w *hesitant) Info() oz.WorkerInfo { return oz.WorkerInfo{ID: "hesitant"} }

// Offer implements oz.Worker.
func (w *hesitant) Offer(ctx context.Context, _ oz.Assignment) error {
	w.offered <- struct{}{}
	select {
	case <-w.decide:
	case <-ctx.Done():
	}
	return oz.ErrAtCapacity
}

// Cancel implements oz.Worker.
func (w *hesitant) Cancel(context.Context, task.ExecutionID) {}

// Run implements oz.Worker.
func (w *hesitant) Run(ctx context.Context, h oz.WorkerHost) error {
	h.Ready()
	<-ctx.Done()
	return nil
}

// TestCancelOrder is Oz API, cancel: 404, 403, 422, 400, 409.
func TestCancelOrder(t *testing.T) {
	w := &hesitant{offered: make(chan struct{}, 100), decide: make(chan struct{})}
	o := patient()
	o.Workers = []oz.Worker{w}
	e := transporttest.Start(t, &transporttest.Options{Idle: true, Platform: o})
	defer close(w.decide)
	ctx, admin := t.Context(), transporttest.AdminKey
	local := func(key string) string {
		var made struct {
			Run struct {
				ID string `json:"run_id"`
			} `json:"run"`
			Token string `json:"token"`
		}
		e.Call(key, "POST", "/oz/local-runs", `{"prompt":"here"}`).JSON(e, &made)
		ended := e.Call(made.Token, "POST", "/oz/executions/current/begin", nil)
		assert.Equal(t, ended.Status, 200, "%s", ended.Body)
		ended = e.Call(made.Token, "POST", "/oz/executions/current/end", `{"state":"SUCCEEDED","seen_input":1000}`)
		assert.Equal(t, ended.Status, 200, "%s", ended.Body)
		return made.Run.ID
	}
	endedLocal := local(admin)
	run, err := e.Platform.As(e.Caller(admin)).Submit(ctx, oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	<-w.offered
	pending := string(run.ID)
	got, err := e.Platform.Get(ctx, run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.State, task.StatePending)

	for _, tt := range []struct {
		name, key, id string
		status        int
		code          task.Code
		retryable     bool
	}{
		{"unknown before all", admin, "nothing", 404, task.CodeNotFound, false},
		{"hidden before all", e.Outsider, endedLocal, 404, task.CodeNotFound, false},
		{"forbidden before kind and state", e.Member, endedLocal, 403, task.CodeNotAuthorized, false},
		{"forbidden before PENDING", e.Member, pending, 403, task.CodeNotAuthorized, false},
		{"kind before state", admin, endedLocal, 422, task.CodeOperationNotSupported, false},
		{"PENDING", admin, pending, 409, task.CodeConflict, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := "/api/v1/agent/runs/" + tt.id + "/cancel"
			a := e.Call(tt.key, "POST", path, nil)
			checkProblem(t, a, tt.status, tt.code, tt.retryable, path)
		})
	}
	item := e.Call(admin, "GET", "/agent/runs/"+endedLocal, nil).Problem()
	assert.Equal(t, item["is_run_type_cancellable"], false)
	assert.Equal(t, e.Call(admin, "GET", "/agent/runs/"+pending, nil).Problem()["is_run_type_cancellable"], true)

	// A message finds the waiting run, and does not reach a run on a laptop.
	assert.Equal(t, e.Call(admin, "POST", "/agent/runs/"+pending+"/followups", `{"message":"and this"}`).Status, 200)
	a := e.Call(admin, "POST", "/agent/runs/"+endedLocal+"/followups", `{"message":"again"}`)
	checkProblem(t, a, 422, task.CodeOperationNotSupported, false, "/api/v1/agent/runs/"+endedLocal+"/followups")
}

// TestFollowUps is Oz API, followups: where a message goes, by the run's phase.
func TestFollowUps(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Platform: patient()})
	id, link := begin(t, e)
	path := "/agent/runs/" + string(id) + "/followups"
	state := func() string {
		return e.Call(transporttest.AdminKey, "GET", "/agent/runs/"+string(id), nil).Problem()["state"].(string)
	}
	send := func(body any) {
		t.Helper()
		a := e.Call(transporttest.AdminKey, "POST", path, body)
		assert.Equal(t, a.Status, 200, "%s", a.Body)
		assert.Equal(t, strings.TrimSpace(string(a.Body)), "{}")
		assert.Equal(t, a.Header.Get("Content-Type"), "application/json")
	}
	before, err := link.Heartbeat(t.Context())
	assert.NilError(t, err)
	for _, blank := range []any{nil, "", "{}", `{"message":""}`, `{"message":null,"mode":null,"new":1}`} {
		send(blank) // no-op while it works
	}
	after, err := link.Heartbeat(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, after.LastInput, before.LastInput)
	send(`{"message":"also the docs","mode":"plan"}`)
	after, err = link.Heartbeat(t.Context())
	assert.NilError(t, err)
	assert.Assert(t, after.LastInput > before.LastInput, "delivered into the live execution")
	assert.Equal(t, state(), "INPROGRESS")

	assert.NilError(t, link.End(t.Context(), task.End{State: task.StateSucceeded, SeenInput: after.LastInput}))
	assert.Equal(t, state(), "SUCCEEDED")
	send(`{"message":"one more thing"}`)
	again := e.Claimed()
	assert.Equal(t, again.TaskID, id, "the same run")
	var list struct {
		Executions []struct {
			ID string `json:"id"`
		} `json:"executions"`
	}
	e.Call(transporttest.AdminKey, "GET", "/oz/runs/"+string(id)+"/executions", nil).JSON(e, &list)
	assert.Equal(t, len(list.Executions), 2)
	assert.Equal(t, list.Executions[1].ID, string(again.ExecutionID))

	for _, bad := range []string{`{"message":"x","mode":"odd"}`, `{"message":7}`, `{"message":"a\u0000b"}`, `{"message":"` + strings.Repeat("x", task.MaxInputBytes+1) + `"}`} {
		a := e.Call(transporttest.AdminKey, "POST", path, bad)
		assert.Equal(t, a.Status, 400, "%.200s", a.Body)
		assert.Equal(t, a.Code(), task.CodeInvalidRequest)
	}
	assert.Equal(t, e.Call(transporttest.AdminKey, "POST", path, `{"message":"`+strings.Repeat("x", task.MaxInputBytes)+`"}`).Status, 200)
	assert.Equal(t, e.Call(transporttest.AdminKey, "POST", path, strings.Repeat("x", 9<<20)).Status, 413)
	assert.Equal(t, e.Call(transporttest.AdminKey, "POST", "/agent/runs/nothing/followups", "{}").Status, 404)
	assert.Equal(t, e.Call(e.Outsider, "POST", path, "{}").Status, 404)
}

// TestRevokedKeyEndsItsStreams asks that a key is of no use at once, also for a
// stream that it has open.
func TestRevokedKeyEndsItsStreams(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Platform: patient(), Rest: rest.Options{StreamHeartbeat: 20 * time.Millisecond}})
	id, link := begin(t, e)
	ctx, registry, caller := t.Context(), e.Platform.Registry(), e.Caller(transporttest.AdminKey)
	raw, key, err := registry.CreateKey(ctx, caller, access.KeySpec{Name: "leaked"})
	assert.NilError(t, err)
	s := openStream(t, e, id, "Authorization", "Bearer "+raw)
	for name := ""; name != "comment heartbeat"; { // a key that holds keeps its stream
		var ok bool
		_, name, ok = s.next()
		assert.Assert(t, ok)
	}
	assert.NilError(t, registry.RevokeKey(ctx, caller, key.UID))
	for ok := true; ok; {
		var name string
		_, name, ok = s.next()
		assert.Assert(t, name != "end", "the run has not ended")
	}
	assert.NilError(t, link.Append(ctx, 0, notices(0, 1)))
	assert.Equal(t, e.Call(raw, "GET", "/agent/runs", nil).Status, 401)
}

// narrow is a transport whose connections hold little that is unread.
func narrow() *http.Transport {
	return &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(16 << 10)
		}
		return conn, err
	}}
}

// TestUnreadAnswersAreDropped leaves a large answer unread: the server lets go
// of it.
func TestUnreadAnswersAreDropped(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Platform: patient()})
	_, link := begin(t, e)
	const size = 24 << 20
	blob, n, err := link.Upload(t.Context(), "a-1", strings.NewReader(strings.Repeat("x", size)))
	assert.NilError(t, err)
	assert.NilError(t, link.Append(t.Context(), 0, []task.Event{{Payload: &task.ArtifactReported{Artifact: task.Artifact{UID: "a-1", Type: task.ArtifactFile,
		Path: "a", Blob: blob, SizeBytes: n}}}}))
	handler, err := rest.New(e.Platform, &rest.Options{WriteTimeout: 100 * time.Millisecond, SigningKey: []byte("0123456789abcdef0123456789abcdef")})
	assert.NilError(t, err)
	var active atomic.Int64
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		active.Add(1)
		defer active.Add(-1)
		handler.ServeHTTP(w, r)
	}))
	get := func(client *http.Client, target string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), "GET", target, nil)
		assert.NilError(t, err)
		req.Header.Set("Authorization", "Bearer "+transporttest.AdminKey)
		resp, err := client.Do(req)
		assert.NilError(t, err)
		t.Cleanup(func() { _ = resp.Body.Close() })
		assert.Equal(t, resp.StatusCode, 200)
		return resp
	}
	quick := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var artifact struct {
		Data struct {
			DownloadURL string `json:"download_url"`
		} `json:"data"`
	}
	assert.NilError(t, json.NewDecoder(get(quick, address+"/api/v1/agent/artifacts/a-1").Body).Decode(&artifact))
	unread := get(&http.Client{Transport: narrow()}, artifact.Data.DownloadURL)
	deadline := time.Now().Add(30 * time.Second)
	for active.Load() > 0 {
		assert.Assert(t, time.Now().Before(deadline), "the answer is still held")
		time.Sleep(5 * time.Millisecond)
	}
	_, err = io.Copy(io.Discard, unread.Body)
	assert.Assert(t, err != nil, "a cut answer must not look whole")
	whole, err := io.Copy(io.Discard, get(quick, artifact.Data.DownloadURL).Body)
	assert.NilError(t, err)
	assert.Equal(t, whole, int64(size))
}
