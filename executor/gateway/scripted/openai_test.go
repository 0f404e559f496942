package scripted_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

func openAIClient(t *testing.T, url, key string) openai.Client {
	t.Helper()
	return openai.NewClient(option.WithBaseURL(url), option.WithAPIKey(key), option.WithHTTPClient(client(t)), option.WithMaxRetries(0))
}

func TestScriptedSpeaksOpenAI(t *testing.T) {
	tests := []struct {
		name     string
		converse func(t *testing.T, sdk openai.Client, streaming bool)
	}{
		{"responses", converseResponses},
		{"chat completions", converseChat},
	}
	for _, tt := range tests {
		for _, streaming := range []bool{false, true} {
			name := tt.name + map[bool]string{true: " streaming", false: " whole"}[streaming]
			t.Run(name, func(t *testing.T) {
				server, at := start(t, twoTurns(), &scripted.Options{APIKey: testKey})
				calls := make(chan gateway.Call, 8)
				door := throughGateway(t, at, &gateway.Options{OnCall: func(c gateway.Call) { calls <- c }})
				tt.converse(t, openAIClient(t, door.OpenAIURL, door.Token), streaming)
				assert.Equal(t, len(server.Problems()), 0)
				first, second := <-calls, <-calls
				assert.DeepEqual(t, first.Usage, gateway.Usage{Input: 11, CacheRead: 1000, CacheWrite: 70, Output: 42, Reasoning: 7})
				assert.DeepEqual(t, second.Usage, gateway.Usage{Input: 20, CacheRead: 1100, Output: 6})
				assert.Equal(t, first.Class, gateway.ClassNone)
				last := server.Requests()[1]
				assert.Equal(t, last.Turn, 1)
				assert.Equal(t, last.System, "You are a test.")
				results := last.LastToolResults()
				assert.Equal(t, len(results), 2)
				assert.Equal(t, results[0].Text, "a b")
			})
		}
	}
}

func converseResponses(t *testing.T, sdk openai.Client, streaming bool) {
	tool := func(name string) responses.ToolUnionParam {
		return responses.ToolUnionParam{OfFunction: &responses.FunctionToolParam{Name: name, Strict: openai.Bool(false),
			Parameters: map[string]any{"type": "object", "properties": map[string]any{}}}}
	}
	input := responses.ResponseInputParam{responses.ResponseInputItemParamOfMessage("What is here?", responses.EasyInputMessageRoleUser)}
	ask := func() responses.Response {
		params := responses.ResponseNewParams{Model: "gpt-5", Instructions: openai.String("You are a test."),
			Input: responses.ResponseNewParamsInputUnion{OfInputItemList: input},
			Tools: []responses.ToolUnionParam{tool("run_command"), tool("grep")}, Store: openai.Bool(false)}
		if !streaming {
			got, err := sdk.Responses.New(t.Context(), params)
			assert.NilError(t, err)
			return *got
		}
		return streamResponse(t, sdk, params)
	}
	first := ask()
	assert.Equal(t, first.Status, responses.ResponseStatusCompleted)
	assert.Equal(t, first.OutputText(), lookText)
	assert.Equal(t, first.Usage.InputTokens, int64(1081))
	assert.Equal(t, first.Usage.InputTokensDetails.CachedTokens, int64(1000))
	var calls []responses.ResponseFunctionToolCall
	for _, item := range first.Output {
		switch item := item.AsAny().(type) {
		case responses.ResponseReasoningItem:
			assert.Equal(t, item.Summary[0].Text, thinkText)
		case responses.ResponseFunctionToolCall:
			calls = append(calls, item)
		}
	}
	assert.Equal(t, len(calls), 2)
	assert.DeepEqual(t, decode(t, []byte(calls[0].Arguments)), map[string]any{"command": `ls -l "a b" && echo '<done>'`})
	// Each result right after its call: still one turn.
	for i, result := range []string{"a b", "no match"} {
		input = append(input, responses.ResponseInputItemParamOfFunctionCall(calls[i].Arguments, calls[i].CallID, calls[i].Name))
		output := responses.ResponseInputItemParamOfFunctionCallOutput(result)
		output.OfFunctionCallOutput.CallID = openai.String(calls[i].CallID)
		input = append(input, output)
	}
	assert.Equal(t, ask().OutputText(), endText)
}

func streamResponse(t *testing.T, sdk openai.Client, params responses.ResponseNewParams) responses.Response {
	t.Helper()
	stream := sdk.Responses.NewStreaming(t.Context(), params)
	defer stream.Close()
	var text, arguments strings.Builder
	var done *responses.Response
	next := int64(0)
	for stream.Next() {
		switch e := stream.Current().AsAny().(type) {
		case responses.ResponseTextDeltaEvent:
			text.WriteString(e.Delta)
		case responses.ResponseFunctionCallArgumentsDeltaEvent:
			arguments.WriteString(e.Delta)
		case responses.ResponseFunctionCallArgumentsDoneEvent:
			assert.Equal(t, e.Arguments, arguments.String())
			arguments.Reset()
		case responses.ResponseCompletedEvent:
			done = &e.Response
		}
		assert.Equal(t, stream.Current().SequenceNumber, next)
		next++
	}
	assert.NilError(t, stream.Err())
	assert.Assert(t, done != nil)
	assert.Equal(t, text.String(), done.OutputText())
	return *done
}

func converseChat(t *testing.T, sdk openai.Client, streaming bool) {
	tool := func(name string) openai.ChatCompletionToolUnionParam {
		return openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{Name: name,
			Parameters: shared.FunctionParameters{"type": "object", "properties": map[string]any{}}})
	}
	messages := []openai.ChatCompletionMessageParamUnion{openai.SystemMessage("You are a test."), openai.UserMessage("What is here?")}
	ask := func() openai.ChatCompletion {
		params := openai.ChatCompletionNewParams{Model: "gpt-4o", Messages: messages,
			Tools: []openai.ChatCompletionToolUnionParam{tool("run_command"), tool("grep")}}
		if !streaming {
			got, err := sdk.Chat.Completions.New(t.Context(), params)
			assert.NilError(t, err)
			return *got
		}
		stream := sdk.Chat.Completions.NewStreaming(t.Context(), params)
		defer stream.Close()
		var all openai.ChatCompletionAccumulator
		for stream.Next() {
			assert.Assert(t, all.AddChunk(stream.Current()))
		}
		assert.NilError(t, stream.Err())
		return all.ChatCompletion
	}
	first := ask()
	message := first.Choices[0].Message
	assert.Equal(t, first.Choices[0].FinishReason, "tool_calls")
	assert.Equal(t, message.Content, lookText)
	assert.Equal(t, len(message.ToolCalls), 2)
	assert.DeepEqual(t, decode(t, []byte(message.ToolCalls[1].Function.Arguments)), map[string]any{"pattern": "x+", "max": 3.0})
	assert.Equal(t, first.Usage.PromptTokens, int64(1081)) // the gateway asked for it when streaming
	messages = append(messages, message.ToParam(),
		openai.ToolMessage("a b", message.ToolCalls[0].ID), openai.ToolMessage("no match", message.ToolCalls[1].ID))
	last := ask()
	assert.Equal(t, last.Choices[0].Message.Content, endText)
	assert.Equal(t, last.Choices[0].FinishReason, "stop")
}

func TestOpenAIErrors(t *testing.T) {
	_, at := start(t, twoTurns(), &scripted.Options{APIKey: testKey, Models: []string{"gpt-a"}, ContextTokens: 100})
	tests := []struct {
		name, key, model, text string
		status                 int
		code                   string
	}{
		{"wrong key", "sk-wrong", "gpt-a", "hi", 401, "invalid_api_key"},
		{"unknown model", testKey, "gpt-b", "hi", 404, "model_not_found"},
		{"too long", testKey, "gpt-a", longText(1000), 400, "context_length_exceeded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sdk := openAIClient(t, at.OpenAIURL, tt.key)
			_, err := sdk.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{Model: tt.model,
				Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(tt.text)}})
			var failed *openai.Error
			assert.Assert(t, errors.As(err, &failed), "%v", err)
			assert.Equal(t, failed.StatusCode, tt.status)
			assert.Equal(t, failed.Code, tt.code)
		})
	}
}

func TestOpenAIRequestsAreChecked(t *testing.T) {
	const (
		asst   = `{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"ls","arguments":"{}"}}]}`
		tool   = `{"role":"tool","tool_call_id":"c1","content":"ok"}`
		call   = `{"type":"function_call","call_id":"c1","name":"ls","arguments":"{}"}`
		output = `{"type":"function_call_output","call_id":"c1","output":"ok"}`
	)
	chat := func(messages string) string { return `{"model":"m","messages":[` + messages + `]}` }
	resp := func(items string) string { return `{"model":"m","input":[` + items + `]}` }
	tests := []struct {
		name, path, body, want string
	}{
		{"chat well formed", "chat/completions", chat(`{"role":"developer","content":"d"},{"role":"user","content":[{"type":"text","text":"x"}]},` + asst + `,` + tool), ""},
		{"chat no model", "chat/completions", `{"messages":[]}`, "model"},
		{"chat no messages", "chat/completions", chat(``), "empty array"},
		{"chat unknown role", "chat/completions", chat(`{"role":"bot","content":"x"}`), "Supported values"},
		{"chat call unanswered", "chat/completions", chat(`{"role":"user","content":"x"},` + asst), "did not have response messages: c1"},
		{"chat call interrupted", "chat/completions", chat(asst + `,{"role":"user","content":"x"}`), "did not have response messages: c1"},
		{"chat answer without call", "chat/completions", chat(tool), "must be a response to a preceding message"},
		{"chat arguments no text", "chat/completions", chat(`{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"ls","arguments":{}}}]}`), "JSON body"},
		{"chat no content", "chat/completions", chat(`{"role":"user"}`), "content"},
		{"chat assistant says nothing", "chat/completions", chat(`{"role":"assistant"}`), "'content' or 'tool_calls'"},
		{"chat tool without function", "chat/completions", `{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function"}]}`, "tools[0].function"},
		{"responses text", "responses", `{"model":"m","input":"hi"}`, ""},
		{"responses well formed", "responses", resp(`{"role":"user","content":"x"},` + call + `,` + output), ""},
		{"responses no input", "responses", `{"model":"m"}`, "'input'"},
		{"responses call unanswered", "responses", resp(call), "No tool output found for function call c1"},
		{"responses output without call", "responses", resp(output), "No tool call found"},
		{"responses output twice", "responses", resp(call + `,` + output + `,` + output), "Duplicate tool output"},
		{"responses call twice", "responses", resp(call + `,` + call), "Duplicate function call"},
		{"responses no arguments", "responses", resp(`{"type":"function_call","call_id":"c1","name":"ls"}`), "arguments"},
		{"responses unknown role", "responses", resp(`{"role":"bot","content":"x"}`), "Supported values"},
		{"responses memory", "responses", `{"model":"m","input":"x","previous_response_id":"r"}`, "keeps no responses"},
	}
	_, at := start(t, scripted.Script{Steps: []scripted.Step{{Text: "a"}, {Text: "b"}}}, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := post(t, at.OpenAIURL+"/"+tt.path, tt.body, nil)
			if tt.want == "" {
				assert.Equal(t, got.status, 200, got.body)
				return
			}
			assert.Equal(t, got.status, 400, got.body)
			kind, _, message := errorOf(t, got.body)
			assert.Equal(t, kind, "invalid_request_error")
			assert.Assert(t, contains(message, tt.want), "%s", message)
		})
	}
}
