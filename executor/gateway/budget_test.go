package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/task"
)

func TestBudgetStopsTheCall(t *testing.T) {
	step := scripted.Step{Text: "x", Usage: &scripted.Usage{Input: 100, CacheRead: 300, Output: 100}}
	t.Run("tokens", func(t *testing.T) {
		server, url := play(t, step)
		d := open(t, both(url), gateway.Options{Budget: gateway.Budget{MaxTokens: 2000, SpentTokens: 900}, FirstCall: 41})
		assert.Equal(t, d.send(t, d.messages(), hello).status, 200)     // 1400 spent
		assert.Equal(t, d.send(t, d.messages(), streaming).status, 200) // 1900
		got := d.send(t, d.messages(), hello)
		assert.Equal(t, got.status, http.StatusForbidden)
		kind, code, message := got.shape(t)
		assert.Equal(t, kind, "permission_error")
		assert.Equal(t, code, "budget_exceeded")
		assert.Assert(t, strings.Contains(message, "100 of the run's budget of 2000 are left"), message)
		assert.Equal(t, got.header.Get("X-Should-Retry"), "false")
		assert.Equal(t, len(server.Requests()), 2)
		call := d.last(t)
		assert.Equal(t, call.Class, gateway.ClassBudget)
		assert.Equal(t, call.Number, int64(43))
		assert.Equal(t, len(call.Attempts), 0)
		assert.Equal(t, task.CodeOf(call.Err()), task.CodeBudgetExceeded)
		tokens, _ := d.gw.Spent()
		assert.Equal(t, tokens, int64(1900))
		// Counting is free, so it still works.
		assert.Equal(t, d.send(t, d.AnthropicURL+"/v1/messages/count_tokens", hello).status, 200)
	})
	t.Run("money", func(t *testing.T) {
		_, url := play(t, step)
		// claude-sonnet-4-5: 100*3 + 300*0.3 + 100*15 per million = 0.00189 USD a call.
		d := open(t, both(url), gateway.Options{Budget: gateway.Budget{MaxUSD: 0.0050, SpentUSD: 0.0001}})
		assert.Equal(t, d.send(t, d.messages(), hello).status, 200)
		assert.Equal(t, d.send(t, d.messages(), hello).status, 200)
		got := d.send(t, d.messages(), hello)
		assert.Equal(t, got.status, http.StatusForbidden)
		_, _, message := got.shape(t)
		assert.Assert(t, strings.Contains(message, "$0.0011 of the run's budget of $0.0050"), message)
		_, usd := d.gw.Spent()
		assert.Equal(t, usd, 0.0001+2*0.00189)
		assert.Equal(t, d.recorded()[0].Cost.Total(), 0.00189)
	})
	t.Run("sdk does not retry", func(t *testing.T) {
		server, url := play(t, step)
		d := open(t, both(url), gateway.Options{Budget: gateway.Budget{MaxTokens: 10}})
		sdk := anthropic.NewClient(option.WithBaseURL(d.AnthropicURL), option.WithAPIKey(d.Token), option.WithHTTPClient(client(t)), option.WithMaxRetries(5))
		_, err := sdk.Messages.New(t.Context(), anthropic.MessageNewParams{Model: "claude-sonnet-4-5", MaxTokens: 100,
			Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("hi"))}})
		assert.ErrorContains(t, err, "budget_exceeded")
		assert.Equal(t, len(server.Requests()), 0)
		assert.Equal(t, len(d.recorded()), 1)
	})
	t.Run("a model without a price", func(t *testing.T) {
		_, url := play(t, step)
		body := strings.Replace(chat, "gpt-4o", "local", 1)
		d := open(t, both(url), gateway.Options{Budget: gateway.Budget{MaxUSD: 1}})
		got := d.send(t, d.OpenAIURL+"/chat/completions", body)
		assert.Equal(t, got.status, http.StatusForbidden)
		_, _, message := got.shape(t)
		assert.Assert(t, strings.Contains(message, `"local" has no price`), message)

		d = open(t, both(url), gateway.Options{Budget: gateway.Budget{MaxTokens: 10_000}})
		assert.Equal(t, d.send(t, d.OpenAIURL+"/chat/completions", body).status, 200)
		assert.Assert(t, d.last(t).Cost == nil, "an unknown price is no price, not 0")
	})
	t.Run("failures give back what they held", func(t *testing.T) {
		_, url := play(t, scripted.Step{Text: "x", Usage: step.Usage, Faults: []scripted.Fault{{Status: 400, Times: 50}}})
		d := open(t, both(url), gateway.Options{Budget: gateway.Budget{MaxTokens: 600}})
		for range 50 {
			assert.Equal(t, d.send(t, d.messages(), hello).status, 400)
		}
		assert.Equal(t, d.send(t, d.messages(), hello).status, 200)
	})
	t.Run("the output limit is part of the reservation", func(t *testing.T) {
		_, url := play(t, step)
		d := open(t, both(url), gateway.Options{Budget: gateway.Budget{MaxTokens: 2000}})
		for _, limit := range []string{"5000", "1e30", "1999.5"} {
			got := d.send(t, d.messages(), strings.Replace(hello, `"max_tokens":100`, `"max_tokens":`+limit, 1))
			assert.Equal(t, got.status, http.StatusForbidden, limit)
		}
		got := d.send(t, d.OpenAIURL+"/chat/completions", strings.Replace(chat, `"model"`, `"n":100,"model"`, 1))
		assert.Equal(t, got.status, http.StatusForbidden)
	})
}

// Calls at the same time cannot promise the same remainder twice.
func TestBudgetHoldsForCallsAtTheSameTime(t *testing.T) {
	const answer = `{"model":"claude-sonnet-4-5","usage":{"input_tokens":30,"output_tokens":100},"stop_reason":"end_turn"}`
	arrived, release := make(chan struct{}, 32), make(chan struct{})
	d := open(t, both(upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		arrived <- struct{}{}
		<-release
		fmt.Fprint(w, answer)
	})), gateway.Options{Budget: gateway.Budget{MaxTokens: 700}, MaxConcurrent: 32})
	// Each call reserves some 130 tokens: five fit.
	answers := make(chan int, 32)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() { answers <- d.send(t, d.messages(), hello).status })
	}
	for range 5 {
		<-arrived
	}
	for range 27 { // the others are refused while the five wait
		assert.Equal(t, <-answers, http.StatusForbidden)
	}
	close(release)
	all.Wait()
	for range 5 {
		assert.Equal(t, <-answers, http.StatusOK)
	}
	tokens, _ := d.gw.Spent()
	assert.Equal(t, tokens, int64(5*130))
}
