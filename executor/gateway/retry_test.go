package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/task"
)

// hurriedClock writes down each pause under a minute and skips it. What is
// longer are the gateway's time-outs, which it leaves to the system's clock.
type hurriedClock struct {
	mu     sync.Mutex
	pauses []time.Duration
}

func (c *hurriedClock) Now() time.Time { return time.Now() }

func (c *hurriedClock) After(d time.Duration) <-chan time.Time {
	if d > time.Minute {
		return time.After(d)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pauses = append(c.pauses, d)
	now := make(chan time.Time, 1)
	now <- time.Now()
	return now
}

func statuses(c gateway.Call) []int {
	var out []int
	for _, a := range c.Attempts {
		out = append(out, a.Status)
	}
	return out
}

func TestGatewayRetries(t *testing.T) {
	fault := func(status int) scripted.Fault { return scripted.Fault{Status: status} }
	always := scripted.Fault{Status: 503, Times: -1}
	tests := []struct {
		name   string
		body   string
		faults []scripted.Fault
		status int
		class  gateway.Class
		tried  []int
	}{
		{"each status worth it", hello, []scripted.Fault{fault(429), fault(500), fault(502), fault(503)}, 200, "", []int{429, 500, 502, 503, 200}},
		{"overload", streaming, []scripted.Fault{fault(504), fault(529)}, 200, "", []int{504, 529, 200}},
		{"nothing came", streaming, []scripted.Fault{{Empty: true}}, 200, "", []int{0, 200}},
		{"broken before the first byte", streaming, []scripted.Fault{scripted.Cut(0)}, 200, "", []int{0, 200}},
		{"half a whole answer", hello, []scripted.Fault{scripted.Cut(0)}, 200, "", []int{0, 200}},
		{"an empty whole answer", hello, []scripted.Fault{{Empty: true}}, 200, "", []int{0, 200}},
		{"attempts end", hello, []scripted.Fault{always}, 503, gateway.ClassProviderError, []int{503, 503, 503, 503, 503}},
		{"rate limit stays", hello, []scripted.Fault{{Status: 429, Times: -1}}, 429, gateway.ClassRateLimited, []int{429, 429, 429, 429, 429}},
		{"invalid is not retried", hello, []scripted.Fault{{Status: 400, Message: "no"}}, 400, gateway.ClassInvalidRequest, []int{400}},
		{"too long is not retried", hello, []scripted.Fault{{Status: 400, Message: "prompt is too long: 3 tokens > 2 maximum"}}, 400, gateway.ClassContextTooLong, []int{400}},
		{"no credit is not retried", hello, []scripted.Fault{{Status: 429, Type: "insufficient_quota", Message: "pay"}}, 403, gateway.ClassProviderQuota, []int{429}},
		{"key refused is not retried", hello, []scripted.Fault{fault(401)}, 403, gateway.ClassProviderAuth, []int{401}},
		{"no such model", hello, []scripted.Fault{fault(404)}, 404, gateway.ClassModelNotFound, []int{404}},
		{"pause too long", hello, []scripted.Fault{{Status: 429, RetryAfter: time.Hour}}, 429, gateway.ClassRateLimited, []int{429}},
		{"cut after bytes is not retried", streaming, []scripted.Fault{scripted.Cut(3)}, 200, gateway.ClassStreamCut, []int{200}},
		{"garbage is not retried", hello, []scripted.Fault{{Garbage: true}}, 200, gateway.ClassInvalidResponse, []int{200}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server, url := play(t, scripted.Step{Text: "made it", Faults: tt.faults})
			clock := &hurriedClock{}
			d := open(t, both(url), gateway.Options{Clock: clock})
			got := d.send(t, d.messages(), tt.body)
			assert.Equal(t, got.status, tt.status, got.body)
			call := d.last(t)
			assert.Equal(t, call.Class, tt.class, call.Message)
			assert.DeepEqual(t, statuses(call), tt.tried)
			assert.Equal(t, len(server.Requests()), len(tt.tried))
			assert.Equal(t, len(clock.pauses), len(tt.tried)-1)
			if tt.status >= 400 {
				assert.Equal(t, got.header.Get("X-Should-Retry"), "false")
				assert.Equal(t, got.header.Get(gateway.ErrorHeader), string(tt.class))
				assert.Assert(t, strings.Contains(call.Err().Error(), `provider "anthropic"`), "%v", call.Err())
				assert.DeepEqual(t, call.Usage, gateway.Usage{})
			}
			assert.Equal(t, got.err != nil, tt.class == gateway.ClassStreamCut, "a cut stream must look like one: %v", got.err)
		})
	}
}

func TestPauses(t *testing.T) {
	t.Run("grow with jitter", func(t *testing.T) {
		_, url := play(t, scripted.Step{Faults: []scripted.Fault{{Status: 500, Times: -1}}})
		clock := &hurriedClock{}
		d := open(t, both(url), gateway.Options{Clock: clock, Retry: gateway.Retry{MaxAttempts: 9, Initial: time.Second, Max: 4 * time.Second}})
		d.send(t, d.messages(), hello)
		want := time.Second
		for i, p := range clock.pauses {
			assert.Assert(t, p >= want/2 && p <= want*3/2, "pause %d: %v, want about %v", i, p, want)
			want = min(want*3/2, 4*time.Second)
		}
		assert.Equal(t, len(clock.pauses), 8)
	})
	t.Run("as the provider asks", func(t *testing.T) {
		ask := []http.Header{
			{"Retry-After": {"7"}}, {"Retry-After-Ms": {"1250"}, "Retry-After": {"2"}}, {"Retry-After": {"0"}},
			{"Retry-After": {time.Now().Add(20 * time.Second).UTC().Format(http.TimeFormat)}},
		}
		var n atomic.Int32
		clock := &hurriedClock{}
		d := open(t, both(upstream(t, func(w http.ResponseWriter, _ *http.Request) {
			if i := int(n.Add(1)) - 1; i < len(ask) {
				for name, v := range ask[i] {
					w.Header()[name] = v
				}
				w.WriteHeader(429)
				return
			}
			fmt.Fprint(w, wholeMessage)
		})), gateway.Options{Clock: clock})
		assert.Equal(t, d.send(t, d.messages(), hello).status, 200)
		assert.DeepEqual(t, clock.pauses[:3], []time.Duration{7 * time.Second, 1250 * time.Millisecond, 0})
		assert.Assert(t, clock.pauses[3] > 15*time.Second && clock.pauses[3] <= 20*time.Second, "%v", clock.pauses[3])
	})
	t.Run("not when the provider says no", func(t *testing.T) {
		var n atomic.Int32
		d := open(t, both(upstream(t, func(w http.ResponseWriter, _ *http.Request) {
			n.Add(1)
			w.Header().Set("X-Should-Retry", "false")
			w.WriteHeader(500)
		})), gateway.Options{Clock: &hurriedClock{}})
		assert.Equal(t, d.send(t, d.messages(), hello).status, 500)
		assert.Equal(t, n.Load(), int32(1))
	})
}

func TestUnreachableProvider(t *testing.T) {
	d := open(t, both("http://127.0.0.1:1"), gateway.Options{Clock: &hurriedClock{}, Retry: gateway.Retry{MaxAttempts: 2}})
	got := d.send(t, d.messages(), hello)
	assert.Equal(t, got.status, http.StatusBadGateway)
	kind, code, message := got.shape(t)
	assert.Equal(t, kind, "api_error")
	assert.Equal(t, code, "unreachable")
	assert.Assert(t, strings.Contains(message, "check its base URL"), message)
	call := d.last(t)
	assert.Equal(t, len(call.Attempts), 2)
	assert.Equal(t, task.CodeOf(call.Err()), task.CodeResourceUnavailable)
}

func TestSilentProvider(t *testing.T) {
	const short = 30 * time.Millisecond
	t.Run("before the first byte", func(t *testing.T) {
		_, url := play(t, scripted.Step{Text: "x", Faults: []scripted.Fault{{Silent: true}}})
		d := open(t, both(url), gateway.Options{IdleTimeout: short, Retry: gateway.Retry{Initial: 1}})
		got := d.send(t, d.messages(), streaming)
		assert.Equal(t, got.status, 200)
		assert.Equal(t, d.last(t).Attempts[0].Class, gateway.ClassTimeout)
	})
	t.Run("whole answer", func(t *testing.T) {
		_, url := play(t, scripted.Step{Text: "x", Faults: []scripted.Fault{{Silent: true, Times: -1}}})
		d := open(t, both(url), gateway.Options{AnswerTimeout: short, Retry: gateway.Retry{Initial: 1, MaxAttempts: 2}})
		got := d.send(t, d.messages(), hello)
		assert.Equal(t, got.status, http.StatusGatewayTimeout)
		assert.Equal(t, d.last(t).Class, gateway.ClassTimeout)
	})
	t.Run("in the middle", func(t *testing.T) {
		d := open(t, both(upstream(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, messageStream[:len(messageStream)/2])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})), gateway.Options{IdleTimeout: short})
		got := d.send(t, d.messages(), streaming)
		assert.Assert(t, got.err != nil)
		call := d.last(t)
		assert.Equal(t, call.Class, gateway.ClassTimeout)
		assert.Equal(t, len(call.Attempts), 1)
		assert.Assert(t, call.UsageEstimated && call.Usage.Input == 3 && call.Usage.Output > 1, "%+v", call.Usage)
	})
}

func TestFallback(t *testing.T) {
	first, firstURL := play(t, scripted.Step{Faults: []scripted.Fault{{Status: 529, Times: -1}}})
	second, secondURL := play(t, scripted.Step{Text: "from the second"})
	providers := func(status int) []gateway.Provider {
		return []gateway.Provider{
			{Name: "first", Wire: gateway.Anthropic, BaseURL: firstURL, APIKey: gateway.NewKey(testKey), Models: []string{"claude-*"},
				Fallback: []gateway.Target{{Provider: "second", Model: "claude-haiku-4-5"}}},
			{Name: "second", Wire: gateway.Anthropic, BaseURL: secondURL, APIKey: gateway.NewKey(testKey), Models: []string{"other"}},
		}
	}
	d := open(t, providers(529), gateway.Options{Clock: &hurriedClock{}, Retry: gateway.Retry{MaxAttempts: 2}})
	got := d.send(t, d.messages(), hello)
	assert.Equal(t, got.status, 200)
	assert.Assert(t, strings.Contains(got.body, "from the second"), got.body)
	assert.Equal(t, second.Requests()[0].Model, "claude-haiku-4-5")
	assert.Equal(t, len(first.Requests()), 2)
	call := d.last(t)
	assert.Assert(t, call.Fallback)
	assert.Equal(t, call.Provider, "second")
	assert.Equal(t, call.ModelAsked, "claude-sonnet-4-5")
	assert.Equal(t, call.Model, "claude-haiku-4-5")
	assert.DeepEqual(t, statuses(call), []int{529, 529, 200})
	assert.Equal(t, d.gw.Usage()["claude-haiku-4-5"], call.Usage)

	t.Run("not for the harness's own fault", func(t *testing.T) {
		before := len(second.Requests())
		got := d.send(t, d.messages(), `{"model":"claude-x","max_tokens":0,"messages":[]}`)
		assert.Equal(t, got.status, 400)
		assert.Equal(t, len(second.Requests()), before)
	})
	t.Run("not beyond the budget", func(t *testing.T) {
		dear := providers(529)
		dear[0].Fallback[0].Model = "claude-opus-4-1"
		d := open(t, dear, gateway.Options{Clock: &hurriedClock{}, Budget: gateway.Budget{MaxUSD: 0.005}, Retry: gateway.Retry{MaxAttempts: 1}})
		got := d.send(t, d.messages(), hello)
		assert.Equal(t, got.status, 529)
		assert.Assert(t, strings.Contains(d.last(t).Message, "fallback"), d.last(t).Message)
	})
}

func TestHarnessHangsUp(t *testing.T) {
	ended := make(chan struct{})
	d := open(t, both(upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, messageStream[:200])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(ended)
	})), gateway.Options{Budget: gateway.Budget{MaxTokens: 1000}})
	ctx, hangUp := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.messages(), strings.NewReader(streaming))
	assert.NilError(t, err)
	req.Header.Set("X-Api-Key", d.Token)
	res, err := client(t).Do(req)
	assert.NilError(t, err)
	hangUp()
	_ = res.Body.Close()
	<-ended // the provider is told
	call := waitForCall(t, d)
	assert.Equal(t, call.Class, gateway.ClassCancelled)
	assert.NilError(t, call.Err())
	assert.Assert(t, call.UsageEstimated)
	tokens, _ := d.gw.Spent()
	assert.Equal(t, tokens, call.Usage.Total())
}

// waitForCall waits for a record that the harness does not wait for.
func waitForCall(t *testing.T, d *door) gateway.Call {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-time.After(time.Millisecond) {
		if calls := d.recorded(); len(calls) > 0 {
			return calls[len(calls)-1]
		}
	}
	t.Fatal("no call was recorded")
	return gateway.Call{}
}

// shiftedClock is the system's, ahead by what it was shifted.
type shiftedClock struct{ ahead atomic.Int64 }

func (c *shiftedClock) Now() time.Time                         { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *shiftedClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
func (c *shiftedClock) shift(d time.Duration)                  { c.ahead.Add(int64(d)) }

// What is away is passed over for a while, and comes back: of two models that
// stand in, the first that answers does.
func TestFallbackReturns(t *testing.T) {
	down := map[string]bool{"claude-a": true, "claude-b": true}
	var asked []string
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Model string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		asked = append(asked, in.Model)
		if down[in.Model] {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, wholeMessage)
	})
	clock := &shiftedClock{}
	d := open(t, both(url), gateway.Options{Clock: clock, Retry: gateway.Retry{MaxAttempts: 1},
		Fallback: map[string][]string{"claude-a": {"claude-b", "gpt-4o", "claude-off", "claude-c"}}, Disabled: []string{"claude-off*"}})
	call := func(want ...string) gateway.Call {
		t.Helper()
		asked = nil
		got := d.send(t, d.messages(), strings.Replace(hello, "claude-sonnet-4-5", "claude-a", 1))
		assert.Equal(t, got.status, 200, got.body)
		assert.DeepEqual(t, asked, want)
		return d.last(t)
	}
	assert.Assert(t, call("claude-a", "claude-b", "claude-c").Fallback)
	assert.Assert(t, call("claude-c").Fallback, "what is away is not asked again at once")
	clock.shift(30 * time.Second)
	call("claude-a", "claude-b", "claude-c")
	clock.shift(30 * time.Second)
	call("claude-c") // now it is passed over for a minute
	down = nil
	clock.shift(30 * time.Second)
	assert.Assert(t, !call("claude-a").Fallback)
	call("claude-a")
}

func TestDisabledModel(t *testing.T) {
	_, url := play(t, scripted.Step{Text: "x"})
	d := open(t, both(url), gateway.Options{Disabled: []string{"claude-sonnet-*", "gpt-4o"}})
	got := d.send(t, d.messages(), hello)
	assert.Equal(t, got.status, http.StatusNotFound)
	_, code, message := got.shape(t)
	assert.Equal(t, code, "model_not_found")
	assert.Assert(t, strings.Contains(message, "switched the model"), message)
	assert.Equal(t, d.send(t, d.OpenAIURL+"/chat/completions", chat).status, http.StatusNotFound)
}

// A provider that somebody else than the operator configured cannot be used to
// reach what only the runner's machine can: the address is judged when it is
// dialled.
func TestPublicOnlyProvider(t *testing.T) {
	server, url := play(t, scripted.Step{Text: "x"})
	for _, at := range []string{url, strings.Replace(url, "127.0.0.1", "localhost", 1), "http://[::1]:1", "http://169.254.169.254", "http://10.0.0.1:8080", "http://100.64.0.1"} {
		d := open(t, []gateway.Provider{{Name: "theirs", Wire: gateway.Anthropic, BaseURL: at, APIKey: gateway.NewKey(testKey),
			PublicOnly: true, Models: []string{"*"}}}, gateway.Options{})
		got := d.send(t, d.messages(), hello)
		assert.Equal(t, got.status, http.StatusBadGateway, at)
		call := d.last(t)
		assert.Equal(t, len(call.Attempts), 1, at)
		assert.Assert(t, strings.Contains(call.Message, "not on the internet"), "%s: %s", at, call.Message)
	}
	assert.Equal(t, len(server.Requests()), 0)
}
