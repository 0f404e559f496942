package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestDashboardShowsTheRuns of a real server, by way of the SDK.
func TestDashboardShowsTheRuns(t *testing.T) {
	store, err := sqlitestore.Open(t.Context(), t.TempDir()+"/oz.db", nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, store.Close()) })
	p, err := oz.New(store, nil)
	assert.NilError(t, err)
	const key = "dashboard-key-0123456789abcdef"
	_, _, err = p.Registry().Bootstrap(t.Context(), key)
	assert.NilError(t, err)
	for i := range 8 {
		work(t, p, store, i%4 == 0)
	}
	h, err := rest.New(p, nil)
	assert.NilError(t, err)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c, err := client.New(server.URL, &client.Options{APIKey: key})
	assert.NilError(t, err)
	web := httptest.NewServer(dashboard{c})
	t.Cleanup(web.Close)
	page, status := get(t, web, "/?by=model&days=7")
	assert.Equal(t, status, http.StatusOK, page)
	for _, want := range []string{"75.0 %", "environment_setup_failed", "&lt;b&gt;model&lt;/b&gt;", "$0.08", "8 runs, 6 succeeded", "<td>8</td>"} {
		assert.Assert(t, strings.Contains(page, want), "%s is not in:\n%s", want, page)
	}
	assert.Assert(t, !strings.Contains(page, "<b>"))
	page, status = get(t, web, "/?days=1&by=agent")
	assert.Equal(t, status, http.StatusOK, page)
	for _, bad := range []string{"/?by=colour", "/?days=9999", "/?days=-1", "/?zone=Mars"} {
		_, status := get(t, web, bad)
		assert.Equal(t, status, http.StatusBadRequest, bad)
	}
	_, status = get(t, web, "/elsewhere")
	assert.Equal(t, status, http.StatusNotFound)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.NilError(t, run(ctx, server.URL, "127.0.0.1:0"))
}

func get(t *testing.T, s *httptest.Server, path string) (body string, status int) {
	t.Helper()
	resp, err := s.Client().Get(s.URL + path)
	assert.NilError(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	assert.NilError(t, err)
	return string(data), resp.StatusCode
}

// work carries a run out, as a worker would.
func work(t *testing.T, p *oz.Platform, store task.Store, fails bool) {
	t.Helper()
	run, err := p.Submit(t.Context(), oz.Request{Prompt: "work", Config: task.Config{Harness: &task.HarnessConfig{Type: "claude", ModelID: "<b>model</b>"}}})
	assert.NilError(t, err)
	id := task.NewExecutionID()
	end := task.End{Execution: id, State: task.StateSucceeded, SeenInput: 1 << 40}
	if fails {
		end.State, end.Status = task.StateFailed, task.Status{Message: "no", ErrorCode: task.CodeEnvironmentSetupFailed}
	}
	_, hash := task.NewToken(id)
	until := time.Now().Add(time.Minute)
	usage := &task.UsageReport{Category: "primary_agent", Model: "m", Cost: task.CostUSD{Output: 0.01}, Priced: true, Calls: 1}
	for _, c := range []task.Command{task.Offer{Execution: id, Worker: "w", TokenHash: hash, LeaseUntil: until}, task.Begin{Execution: id},
		task.Append{Execution: id, Events: []task.Event{{Payload: usage}}}, end} {
		_, err := store.Do(t.Context(), run.ID, c)
		assert.NilError(t, err)
	}
}
