package scripted_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
)

const (
	lookText  = "Ich schaue nach: größer als 16 Bytes, naïve ☕ — and on it goes."
	thinkText = "The user wants a list. I should look at two places at once."
	endText   = "There are two files."
)

// twoTurns is a turn with everything in it, and the one that ends.
func twoTurns() scripted.Script {
	return scripted.Script{Steps: []scripted.Step{
		{
			Thinking: thinkText,
			Text:     lookText,
			ToolCalls: []scripted.ToolCall{
				{Name: "run_command", Input: map[string]any{"command": `ls -l "a b" && echo '<done>'`}},
				{Name: "grep", Input: map[string]any{"pattern": "x+", "max": 3}},
			},
			Usage: &scripted.Usage{Input: 11, CacheRead: 1000, CacheWrite: 70, Output: 42, Reasoning: 7},
		},
		{Text: endText, Usage: &scripted.Usage{Input: 20, CacheRead: 1100, Output: 6}},
	}}
}

func TestScriptedSpeaksAnthropic(t *testing.T) {
	for _, name := range []string{"whole", "streaming"} {
		t.Run(name, func(t *testing.T) {
			server, at := start(t, twoTurns(), &scripted.Options{APIKey: testKey})
			calls := make(chan gateway.Call, 8)
			door := throughGateway(t, at, &gateway.Options{OnCall: func(c gateway.Call) { calls <- c }})
			sdk := anthropic.NewClient(option.WithBaseURL(door.AnthropicURL), option.WithAPIKey(door.Token),
				option.WithHTTPClient(client(t)), option.WithMaxRetries(0))
			ask := func(messages []anthropic.MessageParam) anthropic.Message {
				return askAnthropic(t, sdk, messages, name == "streaming")
			}

			conversation := []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("What is here?"))}
			first := ask(conversation)
			assert.Equal(t, first.StopReason, anthropic.StopReasonToolUse)
			assert.Equal(t, len(first.Content), 4)
			assert.Equal(t, first.Content[0].Thinking, thinkText)
			assert.Equal(t, first.Content[1].Text, lookText)
			assert.Equal(t, first.Content[2].Name, "run_command")
			assert.DeepEqual(t, decode(t, first.Content[2].Input), map[string]any{"command": `ls -l "a b" && echo '<done>'`})
			assert.DeepEqual(t, decode(t, first.Content[3].Input), map[string]any{"pattern": "x+", "max": 3.0})
			assert.Equal(t, first.Usage.InputTokens, int64(11))
			assert.Equal(t, first.Usage.CacheReadInputTokens, int64(1000))
			assert.Equal(t, first.Usage.CacheCreationInputTokens, int64(70))
			assert.Equal(t, first.Usage.OutputTokens, int64(42))

			conversation = append(conversation, first.ToParam(), anthropic.NewUserMessage(
				anthropic.NewToolResultBlock(first.Content[2].ID, "a b", false),
				anthropic.NewToolResultBlock(first.Content[3].ID, "no match", true)))
			second := ask(conversation)
			assert.Equal(t, second.StopReason, anthropic.StopReasonEndTurn)
			assert.Equal(t, second.Content[0].Text, endText)

			// The gateway counted what the SDK saw.
			call := <-calls
			assert.DeepEqual(t, call.Usage, gateway.Usage{Input: 11, CacheRead: 1000, CacheWrite: 70, Output: 42})
			assert.Equal(t, call.StopReason, "tool_use")
			assert.Equal(t, call.Streamed, name == "streaming")
			assert.Equal(t, (<-calls).Usage.Output, int64(6))

			// The server understood what the SDK sent.
			assert.Equal(t, len(server.Problems()), 0)
			last := server.Requests()[1]
			assert.Equal(t, last.Turn, 1)
			assert.Equal(t, last.System, "You are a test.")
			assert.Equal(t, last.Header.Get("X-Api-Key"), "[hidden]")
			want := []scripted.Block{
				{Type: "tool_result", ToolID: first.Content[2].ID, Text: "a b"},
				{Type: "tool_result", ToolID: first.Content[3].ID, Text: "no match", IsError: true},
			}
			assert.Assert(t, cmp.Equal(last.LastToolResults(), want), cmp.Diff(last.LastToolResults(), want))
		})
	}
}

func askAnthropic(t *testing.T, sdk anthropic.Client, messages []anthropic.MessageParam, streaming bool) anthropic.Message {
	t.Helper()
	params := anthropic.MessageNewParams{
		Model: "claude-sonnet-4-5", MaxTokens: 1024, Messages: messages,
		System: []anthropic.TextBlockParam{{Text: "You are a test."}},
		Tools: []anthropic.ToolUnionParam{
			{OfTool: &anthropic.ToolParam{Name: "run_command", InputSchema: anthropic.ToolInputSchemaParam{Properties: map[string]any{}}}},
			{OfTool: &anthropic.ToolParam{Name: "grep", InputSchema: anthropic.ToolInputSchemaParam{Properties: map[string]any{}}}},
		},
	}
	if !streaming {
		message, err := sdk.Messages.New(t.Context(), params)
		assert.NilError(t, err)
		return *message
	}
	var message anthropic.Message
	stream := sdk.Messages.NewStreaming(t.Context(), params)
	defer stream.Close()
	for stream.Next() {
		assert.NilError(t, message.Accumulate(stream.Current()))
	}
	assert.NilError(t, stream.Err())
	return message
}

func TestAnthropicCountTokensAndErrors(t *testing.T) {
	_, at := start(t, twoTurns(), &scripted.Options{APIKey: testKey, Models: []string{"claude-a"}, ContextTokens: 200})
	sdk := anthropic.NewClient(option.WithBaseURL(at.AnthropicURL), option.WithAPIKey(testKey),
		option.WithHTTPClient(client(t)), option.WithMaxRetries(0))
	hello := []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("hello"))}
	count, err := sdk.Messages.CountTokens(t.Context(), anthropic.MessageCountTokensParams{Model: "claude-a", Messages: hello})
	assert.NilError(t, err)
	assert.Assert(t, count.InputTokens > 10)

	long := []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(longText(2000)))}
	tests := []struct {
		name   string
		key    string
		model  anthropic.Model
		ask    []anthropic.MessageParam
		status int
		kind   string
	}{
		{"wrong key", "sk-wrong", "claude-a", hello, 401, "authentication_error"},
		{"unknown model", testKey, "claude-b", hello, 404, "not_found_error"},
		{"too long", testKey, "claude-a", long, 400, "invalid_request_error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := sdk.Messages.New(t.Context(), anthropic.MessageNewParams{Model: tt.model, MaxTokens: 8, Messages: tt.ask},
				option.WithAPIKey(tt.key))
			var failed *anthropic.Error
			assert.Assert(t, errors.As(err, &failed), "%v", err)
			assert.Equal(t, failed.StatusCode, tt.status)
			assert.Equal(t, string(failed.Type()), tt.kind)
		})
	}
}

func longText(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return string(b)
}

func decode(t *testing.T, raw json.RawMessage) map[string]any {
	t.Helper()
	var v map[string]any
	assert.NilError(t, json.Unmarshal(raw, &v), string(raw))
	return v
}

func TestAnthropicRequestsAreChecked(t *testing.T) {
	const (
		use    = `{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"ls","input":{}}]}`
		result = `{"type":"tool_result","tool_use_id":"t1","content":"ok"}`
		hi     = `{"role":"user","content":"hi"}`
	)
	body := func(messages string) string { return `{"model":"m","max_tokens":9,"messages":[` + messages + `]}` }
	cached := `{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}`
	tests := []struct {
		name, body, want string // an empty want asks for 200
	}{
		{"well formed", body(hi + `,` + use + `,{"role":"user","content":[` + result + `,{"type":"text","text":"go on"}]}`), ""},
		{"result as blocks", body(hi + `,` + use + `,{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"ok"}]}]}`), ""},
		{"not JSON", `{"model":`, "not valid JSON"},
		{"no model", `{"max_tokens":9,"messages":[` + hi + `]}`, "model: Field required"},
		{"no max_tokens", `{"model":"m","messages":[` + hi + `]}`, "max_tokens: Field required"},
		{"zero max_tokens", `{"model":"m","max_tokens":0,"messages":[` + hi + `]}`, "max_tokens: Input"},
		{"no messages", body(``), "at least one message"},
		{"assistant first", body(`{"role":"assistant","content":"hi"}`), "first message must use"},
		{"unknown role", body(`{"role":"system","content":"hi"}`), "Input should be 'user' or 'assistant'"},
		{"roles repeat", body(hi + `,` + hi), "roles must alternate"},
		{"empty text", body(`{"role":"user","content":""}`), "non-empty"},
		{"blank block", body(`{"role":"user","content":[{"type":"text","text":" \n"}]}`), "non-whitespace"},
		{"no content", body(`{"role":"user","content":[]}`), "non-empty content"},
		{"block without type", body(`{"role":"user","content":[{"text":"x"}]}`), "type: Field required"},
		{"use without result", body(hi + `,` + use), "without `tool_result` blocks immediately after: t1"},
		{"result after text", body(hi + `,` + use + `,{"role":"user","content":[{"type":"text","text":"x"},` + result + `]}`), "immediately after"},
		{"result twice", body(hi + `,` + use + `,{"role":"user","content":[` + result + `,` + result + `]}`), "single result"},
		{"result without use", body(hi + `,{"role":"assistant","content":"x"},{"role":"user","content":[` + result + `]}`), "unexpected `tool_use_id`"},
		{"result at once", body(`{"role":"user","content":[` + result + `]}`), "unexpected `tool_use_id`"},
		{"use by the user", body(`{"role":"user","content":[{"type":"tool_use","id":"t","name":"ls","input":{}}]}`), "can only be in `assistant`"},
		{"input no object", body(hi + `,{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"ls","input":"x"}]}`), "valid dictionary"},
		{"id twice", body(hi + `,{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"a","input":{}},{"type":"tool_use","id":"t","name":"a","input":{}}]}`), "ids must be unique"},
		{"thinking unsigned", body(hi + `,{"role":"assistant","content":[{"type":"thinking","thinking":"x"}]},` + hi), "signature"},
		{"trailing space", body(hi + `,{"role":"assistant","content":"so "}`), "trailing whitespace"},
		{"bad tool name", `{"model":"m","max_tokens":9,"messages":[` + hi + `],"tools":[{"name":"a b","input_schema":{"type":"object"}}]}`, "does not match"},
		{"tool twice", `{"model":"m","max_tokens":9,"messages":[` + hi + `],"tools":[{"name":"a","input_schema":{"type":"object"}},{"name":"a","input_schema":{"type":"object"}}]}`, "unique"},
		{"tool without schema", `{"model":"m","max_tokens":9,"messages":[` + hi + `],"tools":[{"name":"a"}]}`, "input_schema: Field required"},
		{"schema no object", `{"model":"m","max_tokens":9,"messages":[` + hi + `],"tools":[{"name":"a","input_schema":{"type":"string"}}]}`, "object schema"},
		{"server tool", `{"model":"m","max_tokens":9,"messages":[` + hi + `],"tools":[{"type":"bash_20250124","name":"bash"}]}`, ""},
		{"five breakpoints", body(`{"role":"user","content":[` + cached + `,` + cached + `,` + cached + `,` + cached + `,` + cached + `]}`), "maximum of 4 blocks"},
		{"null in a list", body(`null`), "role"},
	}
	server, at := start(t, scripted.Script{Steps: []scripted.Step{{Text: "a"}, {Text: "b"}, {Text: "c"}}}, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := post(t, at.URL+"/v1/messages", tt.body, nil)
			if tt.want == "" {
				assert.Equal(t, got.status, 200, got.body)
				return
			}
			assert.Equal(t, got.status, 400, got.body)
			kind, _, message := errorOf(t, got.body)
			assert.Equal(t, kind, "invalid_request_error")
			assert.Assert(t, contains(message, tt.want), "%s", message)
			problems := server.Problems()
			assert.Equal(t, problems[len(problems)-1].Problem, message)
		})
	}
	t.Run("headers", func(t *testing.T) {
		assert.Equal(t, post(t, at.URL+"/v1/messages", body(hi), map[string]string{"Anthropic-Version": ""}).status, 400)
		assert.Equal(t, post(t, at.URL+"/v1/messages", body(hi), map[string]string{"Content-Type": "text/plain"}).status, 400)
	})
}

func TestRepeatedRolesCanBeAllowed(t *testing.T) {
	_, at := start(t, scripted.Script{Steps: []scripted.Step{{Text: "a"}}}, &scripted.Options{AllowRepeatedRoles: true})
	got := post(t, at.URL+"/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]}`, nil)
	assert.Equal(t, got.status, 200, got.body)
}
