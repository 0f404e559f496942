package gateway

// Tests of what has no outside: the parsers that watch a copy of the traffic,
// the ledger, and the scrubber. Their properties need inputs that no provider
// can be made to send through HTTP in reasonable time.

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"
	"pgregory.net/rapid"

	"github.com/oz-platform/cloudagents/executor/catalog"
)

func apis() []API { return []API{Messages, Responses, ChatCompletions, GenerateContent} }

// summary is what a reading found, to compare two.
type summary struct {
	Usage             Usage
	Known, Done       bool
	Model, Stop, Said string
}

func (r *reading) summary() summary {
	return summary{r.usage, r.known, r.done, r.model, r.stop, r.trouble}
}

func streams() map[API][]string {
	return map[API][]string{
		Messages: {
			"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"usage\":{\"input_tokens\":3,\"cache_creation\":{\"ephemeral_1h_input_tokens\":9},\"output_tokens\":1}}}\n\n" +
				"data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":12,\"server_tool_use\":{\"web_search_requests\":2}}}\r\n\r\ndata: {\"type\":\"message_stop\"}\n\n",
			"data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
		},
		Responses: {
			"data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"usage\":{\"input_tokens\":5,\"input_tokens_details\":{\"cached_tokens\":9},\"output_tokens\":1}}}\n\n",
			"data: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"context_length_exceeded\",\"message\":\"x\"}}}\n\n",
			"data: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"slow down\"}\n\n",
		},
		ChatCompletions: {
			"data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\": {\"prompt_tokens\":1e3,\"completion_tokens\":-4}}\n\ndata: [DONE]\n\n",
			"data: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\"}}\n\n",
		},
		GenerateContent: {
			"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}],\"usageMetadata\":{\"promptTokenCount\":50,\"cachedContentTokenCount\":40,\"totalTokenCount\":51},\"modelVersion\":\"g\"}\r\n\r\n" +
				"data: {\"candidates\":[{\"finishReason\":\"STOP\",\"groundingMetadata\":{\"webSearchQueries\":[\"a\",\"b\"]}}],\"usageMetadata\":{\"promptTokenCount\":50,\"toolUsePromptTokenCount\":5,\"candidatesTokenCount\":7,\"thoughtsTokenCount\":3,\"totalTokenCount\":65}}\n\n",
			"data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"},\"usageMetadata\":{\"promptTokenCount\":4,\"totalTokenCount\":4}}\n\n",
			"data: {\"error\":{\"code\":503,\"status\":\"UNAVAILABLE\",\"message\":\"overloaded\"}}\n\n",
		},
	}
}

func TestReading(t *testing.T) {
	want := map[string]summary{
		"messages 0":         {Usage{Input: 3, CacheWrite: 9, CacheWrite1h: 9, Output: 12, WebSearches: 2}, true, true, "m", "end_turn", ""},
		"messages 1":         {Said: "overloaded_error: Overloaded"},
		"responses 0":        {Usage{CacheRead: 5, Output: 1}, true, true, "", "completed", ""},
		"responses 1":        {Usage{}, false, true, "", "failed", "context_length_exceeded: x"},
		"responses 2":        {Usage{}, false, true, "", "", "rate_limit_exceeded: slow down"},
		"chat_completions 0": {Usage{Input: 1000}, true, true, "", "stop", ""},
		"chat_completions 1": {Said: "server_error: boom"},
		"generate_content 0": {Usage{Input: 15, CacheRead: 40, Output: 10, Reasoning: 3, WebSearches: 2}, true, true, "g", "STOP", ""},
		"generate_content 1": {Usage{Input: 4}, true, true, "", "SAFETY", ""},
		"generate_content 2": {Said: "UNAVAILABLE: overloaded"},
	}
	for api, list := range streams() {
		for i, text := range list {
			name := string(api) + " " + string(rune('0'+i))
			r := &reading{api: api}
			_, _ = r.Write([]byte(text))
			assert.Assert(t, cmp.Equal(r.summary(), want[name]), "%s: %s", name, cmp.Diff(want[name], r.summary()))
		}
	}
}

// What the model writes cannot pass for usage: inside a string its quotes are escaped.
func TestModelCannotForgeUsage(t *testing.T) {
	forged, err := json.Marshal(`{"type":"message_delta","usage":{"output_tokens":0}} data: {"type":"message_stop"}`)
	assert.NilError(t, err)
	for _, api := range apis() {
		r := &reading{api: api}
		_, _ = r.Write([]byte("data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":" + string(forged) + "}}\n\n"))
		assert.Equal(t, r.summary(), summary{})
	}
}

func TestOverlongLinesAreSkipped(t *testing.T) {
	r := &reading{api: ChatCompletions}
	_, _ = r.Write([]byte("data: {\"usage\":{\"prompt_tokens\":1},\"x\":\""))
	for range maxEventBytes >> 20 {
		_, _ = r.Write(bytes.Repeat([]byte("y"), 1<<20))
	}
	_, _ = r.Write([]byte("\"}\ndata: {\"usage\":{\"prompt_tokens\":2}}\n"))
	assert.Equal(t, r.usage.Input, int64(2))
	assert.Assert(t, cap(r.partial) <= 2*maxEventBytes)
}

// FuzzUsageParser: whatever a provider sends and however it is cut, the parser
// survives, finds the same, and never finds less than nothing.
func FuzzUsageParser(f *testing.F) {
	for api, list := range streams() {
		for _, text := range list {
			for i, a := range apis() {
				if a == api {
					f.Add(i, []byte(text), uint16(7))
				}
			}
		}
	}
	f.Add(0, []byte(`{"model":"m","usage":{"input_tokens":1e400,"output_tokens":"x","cache_creation":null}}`), uint16(1))
	f.Add(3, []byte(`[{"usageMetadata":{"promptTokenCount":1e9,"totalTokenCount":-1},"candidates":[null,{"finishReason":"X"}]}, 5]`), uint16(2))
	f.Add(2, []byte("data:{}\ndata: {\"usage\":{\"prompt_tokens\":99999999999999999999}}\rdata: [DONE]\n"), uint16(3))
	f.Fuzz(func(t *testing.T, which int, text []byte, size uint16) {
		api := apis()[uint(which)%uint(len(apis()))]
		whole, pieces, document := &reading{api: api}, &reading{api: api}, &reading{api: api}
		_, _ = whole.Write(text)
		for rest := text; len(rest) > 0; {
			n := min(int(size)%64+1, len(rest))
			_, _ = pieces.Write(rest[:n])
			rest = rest[n:]
		}
		if whole.summary() != pieces.summary() {
			t.Fatalf("cut in pieces it reads otherwise: %s", cmp.Diff(whole.summary(), pieces.summary()))
		}
		document.readWhole(text)
		for _, r := range []*reading{whole, document} {
			u, _ := r.spent(Usage{Input: 10, Output: 10}, int64(len(text)))
			for _, n := range []int64{u.Input, u.CacheRead, u.CacheWrite - u.CacheWrite1h, u.CacheWrite1h, u.Output - u.Reasoning, u.Reasoning, u.WebSearches} {
				if n < 0 || n > maxCount {
					t.Fatalf("impossible usage: %+v", u)
				}
			}
		}
	})
}

// FuzzRequestEdit: an edited body is the same JSON but for what was edited.
func FuzzRequestEdit(f *testing.F) {
	f.Add([]byte(`{"model":"a","stream":true}`), "b")
	f.Add([]byte(" {\n\"stream\" : true , \"model\"\t:\"\\u0061\", \"messages\":[{\"model\":1}]\n} "), `x"\`)
	f.Add([]byte(`{"model":"a","stream":true,"stream_options":null}`), "\xff")
	f.Fuzz(func(t *testing.T, body []byte, model string) {
		r, err := parseRequest(operation{api: ChatCompletions}, body)
		if err != nil {
			return
		}
		if !json.Valid(body) {
			t.Fatalf("took what is no JSON: %q", body)
		}
		if !bytes.Equal(r.forModel(r.model), body) && !r.stream {
			t.Fatal("changed a body that needed no change")
		}
		var before, after map[string]json.RawMessage
		edited := r.forModel(model)
		if err := json.Unmarshal(edited, &after); err != nil {
			t.Fatalf("%v: %q", err, edited)
		}
		if err := json.Unmarshal(body, &before); err != nil {
			t.Fatal(err)
		}
		want, _ := json.Marshal(model)
		if got := after["model"]; model != r.model && string(got) != string(want) {
			t.Fatalf("model is %s, want %s", got, want)
		}
		for _, m := range []map[string]json.RawMessage{before, after} {
			delete(m, "model")
			delete(m, "stream_options")
		}
		if !cmp.Equal(before, after) {
			t.Fatal(cmp.Diff(before, after))
		}
		if est := r.estimate(catalog.Price{}); est.Input <= 0 || est.Output <= 0 || est.Total() > 2*maxCount {
			t.Fatalf("impossible estimate: %+v", est)
		}
	})
}

// FuzzGeminiRequest: whatever the path, what is taken leads to a model of the
// provider and nowhere else; whatever the body, its limits are possible ones.
func FuzzGeminiRequest(f *testing.F) {
	f.Add("/gemini/v1beta/models/gemini-2.5-pro:streamGenerateContent", "alt=sse&key=x", []byte(`{"generationConfig":{"maxOutputTokens":5,"candidateCount":2}}`))
	f.Add("/gemini/v1/models/a%2F..%2Fb:generateContent", "", []byte(`{"generation_config":{"max_output_tokens":1e300}}`))
	f.Add("/gemini/v1beta/models/../files:countTokens", "%zz", []byte(`{"generationConfig":{"a":1,"a":2},"model":"models/x"}`))
	f.Fuzz(func(t *testing.T, path, query string, body []byte) {
		op, ok := operationOf(&url.URL{Path: path, RawQuery: query})
		if !ok || op.api.Wire() != Gemini {
			return
		}
		up := &url.URL{Scheme: "http", Host: "h", Path: "/base" + op.upstreamPath(op.model)}
		back, err := url.Parse(up.String())
		if err != nil || back.Path != up.Path || back.RawQuery != "" || back.Host != "h" {
			t.Fatalf("%q leads to %q", path, up)
		}
		if clean := up.JoinPath().Path; clean != up.Path {
			t.Fatalf("%q leads to %q", up.Path, clean)
		}
		if r, err := parseRequest(op, body); err == nil {
			if est := r.estimate(catalog.Price{}); est.Input <= 0 || est.Output <= 0 || est.Total() > 2*maxCount {
				t.Fatalf("impossible estimate: %+v", est)
			}
		}
	})
}

// The ledger never promises more than there is, whatever the calls turn out to
// cost, and in the end has booked exactly what was used.
func TestLedgerProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := amount{rapid.Int64Range(1, 1000).Draw(t, "tokens"), pico(rapid.Int64Range(1, 1000).Draw(t, "money"))}
		l := &ledger{maxTokens: limit.tokens, maxMoney: limit.money}
		var all sync.WaitGroup
		var mu sync.Mutex
		var used amount
		workers := rapid.IntRange(1, 8).Draw(t, "workers")
		for range workers {
			calls := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) [2]amount {
				want := amount{rapid.Int64Range(0, 300).Draw(t, "want"), pico(rapid.Int64Range(0, 300).Draw(t, "cost"))}
				return [2]amount{want, {rapid.Int64Range(0, want.tokens).Draw(t, "used"), pico(rapid.Int64Range(0, int64(want.money)).Draw(t, "paid"))}}
			}), 1, 20).Draw(t, "calls")
			all.Go(func() {
				for _, c := range calls {
					if l.reserve(c[0]) != nil {
						continue
					}
					l.mu.Lock()
					over := l.spent.tokens+l.reserved.tokens > limit.tokens || l.spent.money+l.reserved.money > limit.money
					l.mu.Unlock()
					if over {
						t.Errorf("promised more than there is")
					}
					l.settle(c[0], c[1])
					mu.Lock()
					used = amount{used.tokens + c[1].tokens, used.money + c[1].money}
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if l.spent != used || l.reserved != (amount{}) {
			t.Fatalf("booked %+v with %+v held, used %+v", l.spent, l.reserved, used)
		}
		if l.spent.tokens > limit.tokens || l.spent.money > limit.money {
			t.Fatalf("spent %+v of %+v", l.spent, limit)
		}
	})
}

// However a stream is cut, no key passes and nothing else is changed.
func TestScrubProperty(t *testing.T) {
	const key = "sk-aab\"aabaab/+"
	rapid.Check(t, func(t *rapid.T) {
		s := newScrubber([]Key{NewKey(key), {}})
		part := rapid.SampledFrom(append([]string{"sk-aa", "b\"aab", "plain ", "\n", "aab", "s", "%2F", "\\\"", "sk-aab%22aabaa"}, s.forms...))
		text := strings.Join(rapid.SliceOf(part).Draw(t, "parts"), "")
		var out bytes.Buffer
		w := s.writer(&out)
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			if _, err := w.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		for _, form := range s.forms {
			if strings.Contains(out.String(), form) {
				t.Fatalf("%q shows %q", out.String(), form)
			}
		}
		if !strings.Contains(text, key[:4]) && out.String() != text {
			t.Fatalf("changed %q to %q", text, out.String())
		}
		if whole := s.text(text); whole != out.String() {
			t.Fatalf("in pieces %q, whole %q", out.String(), whole)
		}
	})
}

func TestEstimateReservesTheDearestPrompt(t *testing.T) {
	table, err := catalog.DefaultPrices()
	assert.NilError(t, err)
	price, ok := table.Of("claude-sonnet-4-5")
	assert.Assert(t, ok)
	body := `{"model":"claude-sonnet-4-5","max_tokens":1000,"messages":"` + strings.Repeat("x", 3000) + `"}`
	for ttl, rate := range map[string]float64{"": 3.75, `"1h"`: 6} {
		r, err := parseRequest(operation{api: Messages}, []byte(strings.Replace(body, `"xxx`, `"xxx","y":[`+ttl+`],"z":"`, 1)))
		assert.NilError(t, err)
		est := r.estimate(price)
		assert.Equal(t, r.reservation(price, true).money, pico(est.Input)*perToken(rate)+pico(1000)*perToken(15))
	}
	// Pictures are many bytes and few tokens: never more than fits the model.
	r, err := parseRequest(operation{api: Messages}, []byte(`{"model":"m","x":"`+strings.Repeat("A", 2<<20)+`"}`))
	assert.NilError(t, err)
	assert.Equal(t, r.estimate(price).Input, price.ContextWindow)
	assert.Equal(t, r.estimate(price).Output, price.MaxOutput)
}
