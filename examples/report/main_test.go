package main

import (
	"context"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/transport/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestOneReportForBothServices fills a database and reads it in both ways.
func TestOneReportForBothServices(t *testing.T) {
	ctx, data := t.Context(), t.TempDir()
	store, err := sqlitestore.Open(ctx, filepath.Join(data, "oz.db"), nil)
	assert.NilError(t, err)
	p, err := oz.New(store, nil)
	assert.NilError(t, err)
	key := "report-key-0123456789abcdef"
	_, _, err = p.Registry().Bootstrap(ctx, key)
	assert.NilError(t, err)
	for i := range 250 { // more than a page
		end := task.End{State: task.StateSucceeded, SeenInput: 1 << 40}
		if i%5 == 0 {
			end.State, end.Status = task.StateFailed, task.Status{Message: "no", ErrorCode: task.CodeEnvironmentSetupFailed}
		}
		work(t, p, store, end)
	}
	server := httptest.NewServer(handler(t, p))
	t.Setenv("WARP_API_KEY", key)
	var remote, local strings.Builder
	assert.NilError(t, run(ctx, server.URL, "", 7, &remote))
	server.Close()
	assert.NilError(t, store.Close())
	assert.NilError(t, run(ctx, "", data, 7, &local))
	assert.Equal(t, remote.String(), local.String())
	for _, want := range []string{"ended      250", "succeeded  200 (80 %)", "failed     50 environment_setup_failed", "cost       $0.25"} {
		assert.Assert(t, strings.Contains(local.String(), want), local.String())
	}
	assert.ErrorContains(t, run(ctx, "", "", 7, &local), "name one of")
}

func handler(t *testing.T, p *oz.Platform) *rest.Handler {
	t.Helper()
	h, err := rest.New(p, nil)
	assert.NilError(t, err)
	return h
}

// work carries a run out, as a worker would.
func work(t *testing.T, p *oz.Platform, store task.Store, end task.End) {
	t.Helper()
	run, err := p.Submit(t.Context(), oz.Request{Prompt: "work"})
	assert.NilError(t, err)
	id := task.NewExecutionID()
	_, hash := task.NewToken(id)
	until := time.Now().Add(time.Minute)
	end.Execution = id
	usage := &task.UsageReport{Category: "primary_agent", Model: "m", Tokens: task.TokenCount{Output: 1}, Cost: task.CostUSD{Output: 0.001}, Priced: true, Calls: 1}
	for _, c := range []task.Command{
		task.Offer{Execution: id, Worker: "w", TokenHash: hash, LeaseUntil: until}, task.Accept{Execution: id, LeaseUntil: until}, task.Begin{Execution: id},
		task.Append{Execution: id, Events: []task.Event{{Payload: usage}}}, end,
	} {
		_, err := store.Do(context.WithoutCancel(t.Context()), run.ID, c)
		assert.NilError(t, err)
	}
}
