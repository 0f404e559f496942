package scripted_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
)

// FuzzRequest: whatever the body, the answer is a JSON document of the wire,
// 200 or an error with a message.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		userSays("hi"), afterTool(2, "x"), `{"model":"m","max_tokens":1,"messages":[null,{"role":"assistant","content":null}]}`,
		`{"model":"m","messages":[{"role":"tool","tool_call_id":"x","content":"y"}]}`,
		`{"model":"m","input":[{"type":"function_call","call_id":"call_t0_0_a","name":"n","arguments":"{}"},{"type":"function_call_output","call_id":"call_t0_0_a","output":[{"type":"input_text","text":"x"}]}]}`,
		`{"contents":[{"role":"user","parts":[{"text":"x"}]},{"role":"model","parts":[{"functionCall":{"name":"a","args":null}}]},{"role":"user","parts":[{"functionResponse":{"name":"a","response":{"output":5}}}]}]}`,
	} {
		for wire := range 4 {
			f.Add(wire, []byte(seed))
		}
	}
	server, err := scripted.New(scripted.Script{Steps: []scripted.Step{{Text: "a", ToolCalls: []scripted.ToolCall{{Name: "x"}}}, {Text: "b"}}}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, wire int, body []byte) {
		path := []string{"/v1/messages", "/v1/responses", "/v1/chat/completions", "/v1beta/models/m:streamGenerateContent"}[uint(wire)%4]
		r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Anthropic-Version", "2023-06-01")
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		var got struct {
			Error *struct{ Message string }
		}
		if w.Header().Get("Content-Type") == "application/json" {
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatalf("answer is no JSON: %v: %s", err, w.Body)
			}
		}
		switch {
		case w.Code == http.StatusOK && got.Error == nil:
		case w.Code == http.StatusBadRequest && got.Error != nil && got.Error.Message != "":
		default:
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	})
}

// FuzzLoad: a script that loads can be served.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(script))
	f.Add([]byte(`{"steps":[{"tool_calls":[{"name":"a","input":{"x":[1,null,"y"]}}]}]}`))
	f.Add([]byte("steps:\n- &a {text: x}\n- *a\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := scripted.Load(bytes.NewReader(text))
		if err != nil {
			return
		}
		if _, err := scripted.New(s, nil); err != nil {
			t.Fatalf("loads but cannot be served: %v", err)
		}
	})
}
