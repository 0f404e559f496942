package gateway_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/task"
)

// TestReserveIsAskedBeforeTheProvider: a refusal keeps the call from the
// provider and from the run's own budget; each call is named once.
func TestReserveIsAskedBeforeTheProvider(t *testing.T) {
	server, url := play(t, scripted.Step{Text: "x", Usage: &scripted.Usage{Input: 100, Output: 100}})
	var asked []gateway.Reservation
	var answer error
	d := open(t, both(url), gateway.Options{FirstCall: 7, Budget: gateway.Budget{MaxTokens: 10_000}, Reserve: func(_ context.Context, r gateway.Reservation) (bool, error) {
		asked = append(asked, r)
		return true, answer
	}})
	assert.Equal(t, d.send(t, d.messages(), hello).status, 200)
	assert.Equal(t, d.last(t).Reservation, "7")
	assert.Equal(t, len(asked), 1)
	assert.Equal(t, asked[0].Call, "7")
	assert.Assert(t, asked[0].Priced && asked[0].USD > 0 && asked[0].Tokens > 0, "%+v", asked[0])

	answer = task.Errorf(task.CodeBudgetExceeded, "the budget of the team is used up")
	got := d.send(t, d.messages(), hello)
	assert.Equal(t, got.status, http.StatusForbidden)
	_, code, message := got.shape(t)
	assert.Equal(t, code, "budget_exceeded")
	assert.Assert(t, strings.Contains(message, "the budget of the team is used up"))
	assert.Equal(t, d.last(t).Reservation, "8", "it may be held, and must be given back")

	answer = errors.New("the platform is away")
	got = d.send(t, d.messages(), hello)
	assert.Equal(t, got.status, http.StatusServiceUnavailable)
	assert.Equal(t, d.last(t).Class, gateway.ClassUnreachable)
	assert.Equal(t, len(server.Requests()), 1)
	tokens, _ := d.gw.Spent()
	assert.Equal(t, tokens, int64(200), "refused calls hold nothing")

	assert.Equal(t, d.send(t, d.AnthropicURL+"/v1/messages/count_tokens", hello).status, 200)
	assert.Equal(t, len(asked), 3, "counting is free")
}

// TestReserveFollowsTheFallback: what a fallback may cost replaces what the
// first choice had reserved.
func TestReserveFollowsTheFallback(t *testing.T) {
	_, good := play(t, scripted.Step{Text: "x"})
	bad := upstream(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	var calls []string
	d := open(t, []gateway.Provider{
		{Name: "first", Wire: gateway.Anthropic, BaseURL: bad, APIKey: gateway.NewKey(testKey), Models: []string{"claude-*"},
			Fallback: []gateway.Target{{Provider: "second", Model: "claude-haiku-4-5"}}},
		{Name: "second", Wire: gateway.Anthropic, BaseURL: good, APIKey: gateway.NewKey(testKey), Models: []string{"other"}},
	}, gateway.Options{Retry: gateway.Retry{MaxAttempts: 1}, Reserve: func(_ context.Context, r gateway.Reservation) (bool, error) {
		calls = append(calls, r.Call)
		return true, nil
	}})
	assert.Equal(t, d.send(t, d.messages(), hello).status, 200)
	assert.DeepEqual(t, calls, []string{"1", "1"})
	assert.Equal(t, d.last(t).Reservation, "1")
	assert.Assert(t, d.last(t).Fallback)
}
