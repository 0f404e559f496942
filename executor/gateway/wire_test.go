package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway"
)

// What providers say, with the liberties that JSON and event streams allow.
const (
	wholeMessage = "{ \"id\":\"msg_1\",\n \"type\":\"message\", \"model\":\"claude-sonnet-4-5-20250929\", \"content\":[{\"type\":\"text\",\"text\":\"\\u00e9 <&> \xe2\x98\x95\"}]," +
		" \"stop_reason\":\"end_turn\",\"usage\":{\"input_tokens\":3,\"cache_read_input_tokens\":5,\"cache_creation_input_tokens\":7,\"output_tokens\":2}}\n\n"
	messageStream = ": hello\r\n\r\nevent: message_start\r\ndata:{\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude-x\",\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\r\n\r\n" +
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"data: {\\\"usage\\\":{\\\"output_tokens\\\":9999}}\"}}\n\n" +
		"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":12}}\n\n" +
		"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n\n"
	responseStream = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"usage\":null}}\n\n" +
		"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\",\"model\":\"gpt-4o\",\"usage\":{\"input_tokens\":30,\"input_tokens_details\":{\"cached_tokens\":20},\"output_tokens\":4,\"output_tokens_details\":{\"reasoning_tokens\":1}}}}\n\n"
	chatStream = "data: {\"id\":\"c\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":null}],\"usage\":null}\n\n" +
		"data: {\"id\":\"c\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n" +
		"data: {\"id\":\"c\",\"model\":\"gpt-4o\",\"choices\":[],\"usage\":{\"prompt_tokens\":30,\"completion_tokens\":4}}\n\ndata: [DONE]\n\n"
	geminiStream = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a \\\"usageMetadata\\\"\"}],\"role\":\"model\"},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":30,\"totalTokenCount\":31}}\r\n\r\n" +
		"data: {\"candidates\":[{\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":30,\"cachedContentTokenCount\":20,\"candidatesTokenCount\":4,\"thoughtsTokenCount\":6,\"totalTokenCount\":40},\"modelVersion\":\"gemini-2.5-pro\",\"responseId\":\"x\"}\r\n\r\n"
	wholeGemini   = `{"candidates":[{"content":{"parts":[{"text":"a"}],"role":"model"},"finishReason":"MAX_TOKENS"}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":1,"totalTokenCount":10}}`
	wholeResponse = `{"id":"r","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"model":"gpt-4o","usage":{"input_tokens":9,"output_tokens":100}}`
	wholeChat     = `{"id":"c","model":"gpt-4o","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":8},"completion_tokens":1}}`
)

func TestGatewayPassesTheWireThrough(t *testing.T) {
	odd := func(body string) string {
		return strings.Replace(body, `{`, "\n{ \"x\" : \"\\u00e9\\/\",\t", 1) + " \n"
	}
	chatStreaming := strings.Replace(chat, `"model"`, `"stream":true,"stream_options":{"include_usage":true},"model"`, 1)
	tests := []struct {
		name, path, ask, answer, stop string
		usage                         gateway.Usage
	}{
		{"messages", "/anthropic/v1/messages", odd(hello), wholeMessage, "end_turn", gateway.Usage{Input: 3, CacheRead: 5, CacheWrite: 7, Output: 2}},
		{"messages streaming", "/anthropic/v1/messages", odd(streaming), messageStream, "end_turn", gateway.Usage{Input: 3, Output: 12}},
		{"count tokens", "/anthropic/v1/messages/count_tokens", odd(hello), `{"input_tokens":14}`, "", gateway.Usage{}},
		{"responses", "/openai/v1/responses", odd(responses), wholeResponse, "max_output_tokens", gateway.Usage{Input: 9, Output: 100}},
		{"responses streaming", "/openai/v1/responses", odd(strings.Replace(responses, `"model"`, `"stream":true,"model"`, 1)), responseStream, "completed", gateway.Usage{Input: 10, CacheRead: 20, Output: 4, Reasoning: 1}},
		{"chat", "/openai/v1/chat/completions", odd(chat), wholeChat, "stop", gateway.Usage{Input: 1, CacheRead: 8, Output: 1}},
		{"gemini", "/gemini/v1beta/models/gemini-2.5-pro:generateContent", odd(generate), wholeGemini, "MAX_TOKENS", gateway.Usage{Input: 9, Output: 1}},
		{"gemini streaming", "/gemini/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", odd(generate), geminiStream, "STOP", gateway.Usage{Input: 10, CacheRead: 20, Output: 10, Reasoning: 6}},
		{"gemini array", "/gemini/v1/models/gemini-2.5-pro:streamGenerateContent", odd(generate), "[" + wholeGemini + "\n,\n" + wholeGemini + "]", "MAX_TOKENS", gateway.Usage{Input: 9, Output: 1}},
		{"gemini count", "/gemini/v1beta/models/gemini-2.5-pro:countTokens", odd(generate), `{"totalTokens":14}`, "", gateway.Usage{}},
		{"chat streaming", "/openai/v1/chat/completions", odd(chatStreaming), chatStream, "stop", gateway.Usage{Input: 30, Output: 4}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var asked []byte
			var at string
			var header http.Header
			d := open(t, both(upstream(t, func(w http.ResponseWriter, r *http.Request) {
				asked, _ = io.ReadAll(r.Body)
				at, header = r.URL.RequestURI(), r.Header
				contentType := "application/json"
				if strings.Contains(tt.name, "streaming") {
					contentType = "text/event-stream; charset=utf-8"
				}
				w.Header().Set("Content-Type", contentType)
				w.Header().Set("Request-Id", "req_7")
				w.Header().Set("Anthropic-Ratelimit-Tokens-Remaining", "9")
				w.Header().Set("Set-Cookie", "session=1")
				for _, c := range []byte(tt.answer) { // the worst way to cut it
					_, _ = w.Write([]byte{c})
					w.(http.Flusher).Flush()
				}
			})), gateway.Options{})
			url := strings.TrimSuffix(d.AnthropicURL, "/anthropic") + tt.path + map[bool]string{true: "&", false: "?"}[strings.Contains(tt.path, "?")] + "beta=true"
			got := d.send(t, url, tt.ask, "Anthropic-Beta", "b1", "Cookie", "c=1", "X-Forwarded-For", "10.0.0.1")
			assert.NilError(t, got.err)
			assert.Equal(t, got.status, 200)
			assert.Equal(t, got.body, tt.answer)
			assert.Equal(t, string(asked), tt.ask)
			assert.Equal(t, at, strings.NewReplacer("/anthropic", "", "/openai", "", "/gemini/", "/").Replace(tt.path)+url[len(url)-len("?beta=true"):])
			assert.Equal(t, header.Get("Anthropic-Beta"), "b1")
			assert.Equal(t, header.Get("Cookie")+header.Get("X-Forwarded-For"), "")
			assert.Equal(t, got.header.Get("Request-Id"), "req_7")
			assert.Equal(t, got.header.Get("Anthropic-Ratelimit-Tokens-Remaining"), "9")
			assert.Equal(t, got.header.Get("Set-Cookie"), "")
			call := d.last(t)
			assert.Equal(t, call.Class, gateway.ClassNone, call.Message)
			assert.DeepEqual(t, call.Usage, tt.usage)
			assert.Equal(t, call.StopReason, tt.stop)
			assert.Equal(t, call.RequestID, "req_7")
			assert.Equal(t, call.Number, int64(1))
			assert.Assert(t, !call.UsageEstimated)
			assert.Assert(t, call.Cost != nil)
			assert.NilError(t, call.Err())
		})
	}
}

// A byte that has come is passed on before the next one is there.
func TestGatewayDoesNotHoldAStreamBack(t *testing.T) {
	more := make(chan struct{})
	d := open(t, both(upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, event := range strings.SplitAfter(messageStream, "\n\n") {
			fmt.Fprint(w, event)
			w.(http.Flusher).Flush()
			<-more
		}
	})), gateway.Options{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.messages(), strings.NewReader(streaming))
	assert.NilError(t, err)
	req.Header.Set("Authorization", "Bearer "+d.Token)
	res, err := client(t).Do(req)
	assert.NilError(t, err)
	defer res.Body.Close()
	for _, event := range strings.SplitAfter(messageStream, "\n\n") {
		got := make([]byte, len(event))
		_, err := io.ReadFull(res.Body, got) // would wait for ever if the gateway kept a byte
		assert.NilError(t, err)
		assert.Equal(t, string(got), event)
		more <- struct{}{}
	}
}

func TestGatewayAltersNothingButWhatItMust(t *testing.T) {
	tests := []struct{ name, path, ask, want string }{
		{"alias", "/anthropic/v1/messages", `{ "max_tokens":1, "model" : "auto" ,"messages":[] }`, `{ "max_tokens":1, "model" : "claude-sonnet-4-5" ,"messages":[] }`},
		{"usage of a stream", "/openai/v1/chat/completions", `{"stream":true,"model":"gpt-4o"  }`, `{"stream":true,"model":"gpt-4o"  ,"stream_options":{"include_usage":true}}`},
		{"null options", "/openai/v1/chat/completions", `{"stream_options":null,"stream":true,"model":"gpt-4o"}`, `{"stream_options":{"include_usage":true},"stream":true,"model":"gpt-4o"}`},
		{"usage refused", "/openai/v1/chat/completions", `{"stream":true,"stream_options":{"include_usage":false},"model":"gpt-4o"}`, ``},
		{"no stream", "/openai/v1/chat/completions", `{"model":"gpt-4o"}`, ``},
		{"model in a message", "/anthropic/v1/messages", `{"messages":[{"model":"auto"}],"model":"claude-x"}`, ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var asked []byte
			d := open(t, both(upstream(t, func(w http.ResponseWriter, r *http.Request) {
				asked, _ = io.ReadAll(r.Body)
				fmt.Fprint(w, wholeMessage)
			})), gateway.Options{Aliases: map[string]string{"auto": "claude-sonnet-4-5"}})
			got := d.send(t, strings.TrimSuffix(d.AnthropicURL, "/anthropic")+tt.path, tt.ask)
			assert.Equal(t, got.status, 200, got.body)
			if tt.want == "" {
				tt.want = tt.ask
			}
			assert.Equal(t, string(asked), tt.want)
		})
	}
}

func TestGatewayRefusesInTheWiresShape(t *testing.T) {
	_, url := play(t)
	d := open(t, both(url), gateway.Options{Aliases: map[string]string{"auto": "claude-sonnet-4-5"}})
	root := strings.TrimSuffix(d.AnthropicURL, "/anthropic")
	tests := []struct {
		name, path, body string
		header           []string
		status           int
		class            gateway.Class
		says             string
	}{
		{"no token", "/anthropic/v1/messages", hello, []string{"X-Api-Key", ""}, 401, gateway.ClassUnauthorized, "token of this run"},
		{"wrong token", "/openai/v1/responses", responses, []string{"X-Api-Key", d.Token + "x"}, 401, gateway.ClassUnauthorized, "token of this run"},
		{"the provider's key", "/openai/v1/responses", responses, []string{"X-Api-Key", testKey}, 401, gateway.ClassUnauthorized, "token of this run"},
		{"unknown path", "/anthropic/v1/complete", hello, nil, 404, gateway.ClassNotFound, "/anthropic/v1/complete"},
		{"unknown path elsewhere", "/v1/messages", hello, nil, 404, gateway.ClassNotFound, "/v1/messages"},
		{"compressed", "/anthropic/v1/messages", hello, []string{"Content-Encoding", "gzip"}, 415, gateway.ClassInvalidRequest, "Content-Encoding"},
		{"no JSON", "/anthropic/v1/messages", `{"model":`, nil, 400, gateway.ClassInvalidRequest, "not JSON"},
		{"no object", "/openai/v1/responses", `[1]`, nil, 400, gateway.ClassInvalidRequest, "JSON object"},
		{"two documents", "/openai/v1/responses", responses + `{}`, nil, 400, gateway.ClassInvalidRequest, "more than one"},
		{"model twice", "/openai/v1/responses", `{"model":"gpt-4o","model":"gpt-5"}`, nil, 400, gateway.ClassInvalidRequest, "model: given twice"},
		{"no model", "/openai/v1/responses", `{"Model":"gpt-4o"}`, nil, 400, gateway.ClassInvalidRequest, "model: required"},
		{"model no text", "/openai/v1/responses", `{"model":5}`, nil, 400, gateway.ClassInvalidRequest, "model: want"},
		{"limit no number", "/anthropic/v1/messages", `{"model":"claude-x","max_tokens":"x"}`, nil, 400, gateway.ClassInvalidRequest, "max_tokens: want a number"},
		{"gemini no token", "/gemini/v1beta/models/gemini-2.5-pro:generateContent", generate, []string{"X-Api-Key", ""}, 401, gateway.ClassUnauthorized, "token of this run"},
		{"gemini wrong key in the URL", "/gemini/v1beta/models/gemini-2.5-pro:generateContent?key=x", generate, []string{"X-Api-Key", ""}, 401, gateway.ClassUnauthorized, "token of this run"},
		{"the token in the URL elsewhere", "/openai/v1/responses?key=" + d.Token, responses, []string{"X-Api-Key", ""}, 401, gateway.ClassUnauthorized, "token of this run"},
		{"gemini unknown method", "/gemini/v1beta/models/gemini-2.5-pro:tune", generate, nil, 404, gateway.ClassNotFound, ":tune"},
		{"gemini unknown version", "/gemini/v2/models/gemini-2.5-pro:generateContent", generate, nil, 404, gateway.ClassNotFound, "/v2/"},
		{"gemini elsewhere", "/gemini/v1beta/models/..%2F..%2Fx:generateContent", generate, nil, 404, gateway.ClassNotFound, "no path"},
		{"gemini no JSON", "/gemini/v1beta/models/gemini-2.5-pro:generateContent", `{"contents":`, nil, 400, gateway.ClassInvalidRequest, "not JSON"},
		{"gemini another model", "/gemini/v1beta/models/gemini-2.5-flash:generateContent", `{"model":"models/gemini-2.5-pro"}`, nil, 400, gateway.ClassInvalidRequest, "model: the path asks for"},
		{"gemini limit no number", "/gemini/v1beta/models/gemini-2.5-pro:generateContent", `{"generationConfig":{"maxOutputTokens":"x"}}`, nil, 400, gateway.ClassInvalidRequest, "generationConfig.maxOutputTokens: want a number"},
		{"gemini unknown model", "/gemini/v1beta/models/gpt-4o:generateContent", generate, nil, 404, gateway.ClassModelNotFound, "openai wire only"},
		{"unknown model", "/openai/v1/responses", `{"model":"llama"}`, nil, 404, gateway.ClassModelNotFound, `"llama"`},
		{"the other wire's model", "/openai/v1/responses", `{"model":"auto"}`, nil, 404, gateway.ClassModelNotFound, "served on the anthropic wire only"},
		{"too large", "/anthropic/v1/messages", hello + strings.Repeat(" ", gateway.MaxRequestBytes), nil, 413, gateway.ClassContextTooLong, "larger than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := d.send(t, root+tt.path, tt.body, tt.header...)
			assert.Equal(t, got.status, tt.status, got.body)
			_, code, message := got.shape(t)
			assert.Equal(t, code, string(tt.class))
			assert.Assert(t, strings.Contains(message, tt.says), "%s", message)
			assert.Equal(t, got.header.Get(gateway.ErrorHeader), string(tt.class))
			assert.Equal(t, got.header.Get("X-Should-Retry"), "false")
			if strings.HasPrefix(tt.path, "/anthropic") {
				assert.Assert(t, strings.Contains(got.body, `"type":"error"`), got.body)
			}
		})
	}
	t.Run("method", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.messages(), nil)
		assert.NilError(t, err)
		req.Header.Set("X-Api-Key", d.Token)
		res, err := client(t).Do(req)
		assert.NilError(t, err)
		defer res.Body.Close()
		assert.Equal(t, res.StatusCode, http.StatusMethodNotAllowed)
	})
	t.Run("models", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.OpenAIURL+"/models", nil)
		assert.NilError(t, err)
		req.Header.Set("Authorization", "bearer "+d.Token)
		res, err := client(t).Do(req)
		assert.NilError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		assert.NilError(t, err)
		assert.Assert(t, strings.Contains(string(body), `"id":"local"`), string(body))
		assert.Assert(t, !strings.Contains(string(body), "auto"), string(body))
	})
}
