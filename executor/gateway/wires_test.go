package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
)

// wireCase is one way to ask for a stream and for a whole answer.
type wireCase struct {
	name              string
	path, streamPath  string // below the gateway's root
	body, streamBody  string
	forbidden, failed string // the wire's words for 403 and 500
}

func wireCases() []wireCase {
	const gemini = "/gemini/v1beta/models/gemini-2.5-pro:"
	stream := func(body string) string { return strings.Replace(body, `{`, `{"stream":true,`, 1) }
	return []wireCase{
		{"messages", "/anthropic/v1/messages", "/anthropic/v1/messages", hello, stream(hello), "permission_error", "api_error"},
		{"responses", "/openai/v1/responses", "/openai/v1/responses", responses, stream(responses), "permission_error", "server_error"},
		{"chat completions", "/openai/v1/chat/completions", "/openai/v1/chat/completions", chat, stream(chat), "permission_error", "server_error"},
		{"gemini", gemini + "generateContent", gemini + "streamGenerateContent?alt=sse", generate, generate, "PERMISSION_DENIED", "INTERNAL"},
	}
}

func (d *door) root() string { return strings.TrimSuffix(d.AnthropicURL, "/anthropic") }

// Whatever goes wrong at the provider goes the same way on every wire.
func TestEveryWireFailsAlike(t *testing.T) {
	fault := func(status int) scripted.Fault { return scripted.Fault{Status: status, Times: -1} }
	tests := []struct {
		name     string
		fault    scripted.Fault
		stream   bool
		status   int
		class    gateway.Class
		attempts int
	}{
		{"401", fault(401), false, 403, gateway.ClassProviderAuth, 1},
		{"403", fault(403), true, 403, gateway.ClassProviderAuth, 1},
		{"429", fault(429), false, 429, gateway.ClassRateLimited, 3},
		{"429 once", scripted.Fault{Status: 429, RetryAfter: 20 * time.Second}, true, 200, "", 2},
		{"429 for an hour", scripted.Fault{Status: 429, RetryAfter: time.Hour, Times: -1}, false, 429, gateway.ClassRateLimited, 1},
		{"500", fault(500), true, 500, gateway.ClassProviderError, 3},
		{"no such model", fault(404), false, 404, gateway.ClassModelNotFound, 1},
		{"cut in the middle", scripted.Cut(1), true, 200, gateway.ClassStreamCut, 1},
		{"cut at once", scripted.Cut(0), true, 200, "", 2},
		{"garbage", scripted.Fault{Garbage: true}, false, 200, gateway.ClassInvalidResponse, 1},
		{"empty", scripted.Fault{Empty: true}, true, 200, "", 2},
	}
	for _, w := range wireCases() {
		for _, tt := range tests {
			t.Run(w.name+"/"+tt.name, func(t *testing.T) {
				_, url := play(t, scripted.Step{Text: "A text that takes several events of a stream.", Faults: []scripted.Fault{tt.fault}})
				clock := &hurriedClock{}
				d := open(t, both(url), gateway.Options{Clock: clock, Retry: gateway.Retry{MaxAttempts: 3}})
				path, body := w.path, w.body
				if tt.stream {
					path, body = w.streamPath, w.streamBody
				}
				got := d.send(t, d.root()+path, body)
				call := d.last(t)
				assert.Equal(t, got.status, tt.status, got.body)
				assert.Equal(t, call.Class, tt.class, call.Message)
				assert.Equal(t, len(call.Attempts), tt.attempts)
				assert.Equal(t, got.err != nil, tt.class == gateway.ClassStreamCut, "a cut stream must look like one: %v", got.err)
				if tt.fault.RetryAfter > 0 && tt.attempts > 1 {
					assert.DeepEqual(t, clock.pauses, []time.Duration{tt.fault.RetryAfter})
				}
				switch {
				case tt.status == 403:
					kind, code, message := got.shape(t)
					assert.Equal(t, kind, w.forbidden)
					assert.Equal(t, code, string(tt.class))
					assert.Assert(t, strings.Contains(message, "refused its API key"), message)
				case tt.status == 500:
					assert.Assert(t, strings.Contains(got.body, w.failed), got.body) // the provider's own
				}
			})
		}
	}
}

// A provider that hangs is given up, on every wire, before and within a stream.
func TestEveryWireGivesUpASilentProvider(t *testing.T) {
	for _, w := range wireCases() {
		t.Run(w.name, func(t *testing.T) {
			_, url := play(t, scripted.Step{Text: "x", Faults: []scripted.Fault{{Silent: true, Times: -1}}})
			d := open(t, both(url), gateway.Options{IdleTimeout: 30 * time.Millisecond, Retry: gateway.Retry{Initial: 1, MaxAttempts: 2}})
			got := d.send(t, d.root()+w.streamPath, w.streamBody)
			assert.Equal(t, got.status, http.StatusGatewayTimeout)
			assert.Equal(t, d.last(t).Class, gateway.ClassTimeout)
			assert.Equal(t, len(d.last(t).Attempts), 2)
			_, code, _ := got.shape(t)
			assert.Equal(t, code, "timeout")
		})
	}
}

// A budget binds before the call, whoever makes it, and what a call used is
// settled alike.
func TestEveryWireIsBoundByTheBudget(t *testing.T) {
	for _, w := range wireCases() {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprint(w.name, "/stream ", stream), func(t *testing.T) {
				server, url := play(t, scripted.Step{Text: "x", Usage: &scripted.Usage{Input: 100, CacheRead: 300, Output: 50, Reasoning: 10}})
				d := open(t, both(url), gateway.Options{Budget: gateway.Budget{MaxTokens: 560}})
				path, body := w.path, w.body
				if stream {
					path, body = w.streamPath, w.streamBody
				}
				assert.Equal(t, d.send(t, d.root()+path, body).status, 200)
				call := d.last(t)
				assert.Equal(t, call.Usage.Total(), int64(450))
				assert.Equal(t, call.Usage.CacheRead, int64(300))
				assert.Equal(t, call.Usage.Output, int64(50))
				assert.Assert(t, call.Cost != nil && call.Cost.Total() > 0, "%+v", call)
				assert.Assert(t, !call.UsageEstimated)
				got := d.send(t, d.root()+path, body) // 110 left, and the call asks for 100 and its prompt
				assert.Equal(t, got.status, http.StatusForbidden, got.body)
				kind, code, message := got.shape(t)
				assert.Equal(t, kind, w.forbidden)
				assert.Equal(t, code, "budget_exceeded")
				assert.Assert(t, strings.Contains(message, "110 of the run's budget of 560"), message)
				assert.Equal(t, len(server.Requests()), 1, "the provider was asked beyond the budget")
			})
		}
	}
}

// Each client shows the run's token in its own way; none of it reaches the
// provider or a record, a query least of all.
func TestTokenInEachWiresWay(t *testing.T) {
	ways := map[string]func(token string) (query string, header []string){
		"x-api-key":      func(t string) (string, []string) { return "", []string{"X-Api-Key", t} },
		"bearer":         func(t string) (string, []string) { return "", []string{"Authorization", "Bearer " + t} },
		"x-goog-api-key": func(t string) (string, []string) { return "", []string{"X-Goog-Api-Key", t} },
		"key":            func(t string) (string, []string) { return "key=" + t, nil },
	}
	for _, w := range wireCases() {
		for name, way := range ways {
			if name == "key" && w.name != "gemini" {
				continue
			}
			t.Run(w.name+"/"+name, func(t *testing.T) {
				var asked string
				d := open(t, both(upstream(t, func(rw http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					asked = r.URL.String() + fmt.Sprint(r.Header)
					rw.WriteHeader(http.StatusBadRequest)
					_, _ = io.WriteString(rw, `{"error":{"message":"no"}}`)
				})), gateway.Options{})
				query, header := way(d.Token)
				url := d.root() + w.path + "?a=%20b&" + query + "&$alt=json"
				got := d.send(t, url, w.body, append([]string{"X-Api-Key", ""}, header...)...)
				assert.Equal(t, got.status, http.StatusBadRequest, got.body)
				assert.Assert(t, strings.Contains(asked, "?a=%20b&"), asked)
				record, err := json.Marshal(d.recorded())
				assert.NilError(t, err)
				for _, sink := range []string{asked, got.body, fmt.Sprint(got.header), string(record)} {
					assert.Assert(t, !strings.Contains(sink, d.Token), "the run's token got out: %s", sink)
				}
			})
		}
	}
}

// Google says with status 400 that a key is wrong.
func TestGeminiKeyRefused(t *testing.T) {
	d := open(t, both(upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		_, _ = io.WriteString(w, `[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}]`)
	})), gateway.Options{})
	got := d.send(t, d.GeminiURL+"/v1beta/models/gemini-2.5-pro:streamGenerateContent", generate)
	assert.Equal(t, got.status, http.StatusForbidden, got.body)
	assert.Equal(t, d.last(t).Class, gateway.ClassProviderAuth)
	assert.Assert(t, strings.Contains(d.last(t).Message, "INVALID_ARGUMENT: API key not valid"), d.last(t).Message)
}

// An alias and a fallback change the model where this wire has it: in the path.
func TestGeminiModelIsInThePath(t *testing.T) {
	var paths []string
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path)
		if len(paths) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, wholeGemini)
	})
	d := open(t, []gateway.Provider{{Name: "google", Wire: gateway.Gemini, BaseURL: url, Models: []string{"gemini-2.5-*"},
		Fallback: []gateway.Target{{Provider: "google", Model: "gemini-2.5-flash"}}}},
		gateway.Options{Aliases: map[string]string{"auto": "gemini-2.5-pro"}, Clock: &hurriedClock{}, Retry: gateway.Retry{MaxAttempts: 1}})
	got := d.send(t, d.GeminiURL+"/v1beta/models/auto:generateContent", generate)
	assert.Equal(t, got.status, 200, got.body)
	assert.DeepEqual(t, paths, []string{"/v1beta/models/gemini-2.5-pro:generateContent", "/v1beta/models/gemini-2.5-flash:generateContent"})
	assert.Equal(t, d.last(t).Model, "gemini-2.5-flash")
	assert.Assert(t, d.last(t).Fallback)
}

// Each wire lists the models that the run can use, in its own shape.
func TestModelLists(t *testing.T) {
	d := open(t, []gateway.Provider{
		{Name: "anthropic", Wire: gateway.Anthropic, Models: []string{"claude-haiku-*", "mine"}},
		{Name: "openai", Wire: gateway.OpenAI, Models: []string{"local", "*"}},
		{Name: "google", Wire: gateway.Gemini, Models: []string{"gemini-2.5-pro"}},
	}, gateway.Options{})
	get := func(path string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.root()+path, nil)
		assert.NilError(t, err)
		req.Header.Set("X-Goog-Api-Key", d.Token)
		res, err := client(t).Do(req)
		assert.NilError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		assert.NilError(t, err)
		return res.StatusCode, string(body)
	}
	type list struct {
		Data   []struct{ ID, Type, Object string }
		Models []struct {
			Name            string
			InputTokenLimit int64
		}
		First string `json:"first_id"`
	}
	read := func(path string) (l list) {
		status, body := get(path)
		assert.Equal(t, status, 200, body)
		assert.NilError(t, json.Unmarshal([]byte(body), &l), body)
		return l
	}
	anthropic := read("/anthropic/v1/models")
	var ids []string
	for _, m := range anthropic.Data {
		ids = append(ids, m.ID)
		assert.Equal(t, m.Type, "model")
	}
	assert.Assert(t, slices.Contains(ids, "claude-haiku-4-5") && slices.Contains(ids, "mine"), "%v", ids)
	assert.Equal(t, anthropic.First, ids[0])
	openai := read("/openai/v1/models")
	assert.Equal(t, len(openai.Data), 1, "a bare * has no names: %v", openai)
	google := read("/gemini/v1beta/models")
	assert.Equal(t, google.Models[0].Name, "models/gemini-2.5-pro")
	for path, status := range map[string]int{
		"/anthropic/v1/models/claude-haiku-4-5": 200, "/openai/v1/models/whatever": 200, "/gemini/v1beta/models/gemini-2.5-pro": 200,
		"/anthropic/v1/models/gpt-4o": 404, "/gemini/v1beta/models/claude-haiku-4-5": 404, "/gemini/v1beta/modelsx": 404,
	} {
		got, body := get(path)
		assert.Equal(t, got, status, "%s: %s", path, body)
	}
}
