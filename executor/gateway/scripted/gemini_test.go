package scripted_test

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"testing"

	"google.golang.org/genai"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
)

func geminiClient(t *testing.T, url, key string) *genai.Client {
	t.Helper()
	sdk, err := genai.NewClient(t.Context(), &genai.ClientConfig{APIKey: key, Backend: genai.BackendGeminiAPI,
		HTTPClient: client(t), HTTPOptions: genai.HTTPOptions{BaseURL: url}})
	assert.NilError(t, err)
	return sdk
}

func TestScriptedSpeaksGemini(t *testing.T) {
	for _, name := range []string{"whole", "streaming"} {
		t.Run(name, func(t *testing.T) {
			server, at := start(t, twoTurns(), &scripted.Options{APIKey: testKey})
			calls := make(chan gateway.Call, 8)
			door := throughGateway(t, at, &gateway.Options{OnCall: func(c gateway.Call) { calls <- c }})
			converseGemini(t, geminiClient(t, door.GeminiURL, door.Token), name == "streaming")
			assert.Equal(t, len(server.Problems()), 0)
			first, second := <-calls, <-calls
			// The wire has no word for what was written to a cache.
			assert.DeepEqual(t, first.Usage, gateway.Usage{Input: 81, CacheRead: 1000, Output: 42, Reasoning: 7})
			assert.DeepEqual(t, second.Usage, gateway.Usage{Input: 20, CacheRead: 1100, Output: 6})
			assert.Equal(t, first.Class, gateway.ClassNone, first.Message)
			assert.Equal(t, first.StopReason, "STOP")
			assert.Equal(t, first.ModelServed, "gemini-2.5-pro")
			assert.Equal(t, first.Streamed, name == "streaming")
			last := server.Requests()[1]
			assert.Equal(t, last.Turn, 1)
			assert.Equal(t, last.System, "You are a test.")
			assert.Equal(t, last.MaxTokens, int64(1000))
			assert.Equal(t, len(last.Tools), 2)
			results := last.LastToolResults()
			assert.Equal(t, len(results), 2)
			assert.Equal(t, results[0].Text, "a b")
			assert.Equal(t, results[1].ToolName, "grep")
		})
	}
}

func converseGemini(t *testing.T, sdk *genai.Client, streaming bool) {
	t.Helper()
	tool := func(name string) *genai.FunctionDeclaration {
		return &genai.FunctionDeclaration{Name: name, ParametersJsonSchema: map[string]any{"type": "object", "properties": map[string]any{}}}
	}
	config := &genai.GenerateContentConfig{SystemInstruction: genai.NewContentFromText("You are a test.", ""), MaxOutputTokens: 1000,
		Tools: []*genai.Tool{{FunctionDeclarations: []*genai.FunctionDeclaration{tool("run_command"), tool("grep")}}}}
	conversation := []*genai.Content{genai.NewContentFromText("What is here?", genai.RoleUser)}
	ask := func() *genai.Content {
		if !streaming {
			got, err := sdk.Models.GenerateContent(t.Context(), "gemini-2.5-pro", conversation, config)
			assert.NilError(t, err)
			return got.Candidates[0].Content
		}
		all := &genai.Content{Role: genai.RoleModel}
		for part, err := range sdk.Models.GenerateContentStream(t.Context(), "gemini-2.5-pro", conversation, config) {
			assert.NilError(t, err)
			all.Parts = append(all.Parts, part.Candidates[0].Content.Parts...)
		}
		return all
	}
	said := ask()
	var text, thought string
	var calls []*genai.FunctionCall
	for _, p := range said.Parts {
		switch {
		case p.FunctionCall != nil:
			calls = append(calls, p.FunctionCall)
		case p.Thought:
			thought += p.Text
		default:
			text += p.Text
		}
	}
	assert.Equal(t, thought, thinkText)
	assert.Equal(t, text, lookText)
	assert.Equal(t, len(calls), 2)
	assert.DeepEqual(t, calls[0].Args, map[string]any{"command": `ls -l "a b" && echo '<done>'`})
	assert.DeepEqual(t, calls[1].Args, map[string]any{"pattern": "x+", "max": 3.0})
	results := &genai.Content{Role: genai.RoleUser}
	for i, result := range []string{"a b", "no match"} {
		results.Parts = append(results.Parts, &genai.Part{FunctionResponse: &genai.FunctionResponse{ID: calls[i].ID, Name: calls[i].Name,
			Response: map[string]any{"output": result}}})
	}
	conversation = append(conversation, said, results)
	last := ""
	for _, p := range ask().Parts {
		last += p.Text
	}
	assert.Equal(t, last, endText)
}

func TestGeminiErrors(t *testing.T) {
	_, at := start(t, twoTurns(), &scripted.Options{APIKey: testKey, Models: []string{"gemini-a"}, ContextTokens: 100})
	log.SetOutput(io.Discard) // the SDK writes there
	tests := []struct {
		name, key, model, text string
		code                   int
		status                 string
	}{
		{"wrong key", "wrong-key", "gemini-a", "hi", 401, "UNAUTHENTICATED"},
		{"unknown model", testKey, "gemini-b", "hi", 404, "NOT_FOUND"},
		{"too long", testKey, "gemini-a", longText(1000), 400, "INVALID_ARGUMENT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sdk := geminiClient(t, at.GeminiURL, tt.key)
			ask := genai.Text(tt.text)
			_, err := sdk.Models.GenerateContent(t.Context(), tt.model, ask, nil)
			var failed genai.APIError
			assert.Assert(t, errors.As(err, &failed), "%v", err)
			assert.Equal(t, failed.Code, tt.code)
			assert.Equal(t, failed.Status, tt.status)
			for _, err := range sdk.Models.GenerateContentStream(t.Context(), tt.model, ask, nil) {
				assert.Assert(t, errors.As(err, &failed), "%v", err)
				assert.Equal(t, failed.Code, tt.code)
			}
		})
	}
	sdk := geminiClient(t, at.GeminiURL, testKey)
	count, err := sdk.Models.CountTokens(t.Context(), "gemini-a", genai.Text("hello"), nil)
	assert.NilError(t, err)
	assert.Assert(t, count.TotalTokens > 10)
}

// The gateway's own refusals reach the SDK as errors of the API.
func TestGeminiSDKUnderstandsTheGateway(t *testing.T) {
	_, at := start(t, twoTurns(), &scripted.Options{APIKey: testKey})
	door := throughGateway(t, at, &gateway.Options{Budget: gateway.Budget{MaxTokens: 10}})
	for key, want := range map[string]struct {
		code           int
		status, reason string
	}{
		"not-the-token": {401, "UNAUTHENTICATED", "unauthorized"},
		door.Token:      {403, "PERMISSION_DENIED", "budget_exceeded"},
	} {
		_, err := geminiClient(t, door.GeminiURL, key).Models.GenerateContent(t.Context(), "gemini-2.5-pro", genai.Text("hi"), nil)
		var failed genai.APIError
		assert.Assert(t, errors.As(err, &failed), "%v", err)
		assert.Equal(t, failed.Code, want.code)
		assert.Equal(t, failed.Status, want.status)
		assert.Equal(t, failed.Details[0]["reason"], want.reason)
	}
}

func TestGeminiRequestsAreChecked(t *testing.T) {
	const (
		user   = `{"role":"user","parts":[{"text":"x"}]}`
		call   = `{"role":"model","parts":[{"functionCall":{"name":"ls","args":{}}}]}`
		answer = `{"role":"user","parts":[{"functionResponse":{"name":"ls","response":{"output":"ok"}}}]}`
	)
	contents := func(list string) string { return `{"contents":[` + list + `]}` }
	tools := func(list string) string {
		return `{"contents":[` + user + `],"tools":[{"functionDeclarations":[` + list + `]}]}`
	}
	tests := []struct{ name, body, want string }{
		{"well formed", contents(user + `,` + call + `,` + answer), ""},
		{"no role", contents(`{"parts":[{"text":"x"}]}`), ""},
		{"tools", tools(`{"name":"a","parameters":{"type":"OBJECT"}},{"name":"b.c:d","parametersJsonSchema":{"type":"object"}},{"name":"e"}`), ""},
		{"no JSON", `{"contents":`, "not valid JSON"},
		{"no contents", `{}`, "contents is not specified"},
		{"no parts", contents(`{"role":"user"}`), "must not be empty"},
		{"empty part", contents(`{"role":"user","parts":[{}]}`), "required oneof field 'data'"},
		{"two kinds", contents(`{"role":"user","parts":[{"text":"x","functionResponse":{"name":"a","response":{}}}]}`), "required oneof field 'data'"},
		{"unknown role", contents(`{"role":"assistant","parts":[{"text":"x"}]}`), "valid role"},
		{"call unanswered", contents(user + `,` + call + `,` + user), "0 of 1"},
		{"call at the end", contents(user + `,` + call), "immediately before"},
		{"answer without call", contents(answer), "1 of 0"},
		{"call by the user", contents(`{"role":"user","parts":[{"functionCall":{"name":"ls"}}]}`), "model turn"},
		{"answer by the model", contents(user + `,` + call + `,{"role":"model","parts":[{"functionResponse":{"name":"ls","response":{}}}]}`), "user turn"},
		{"nameless call", contents(`{"role":"model","parts":[{"functionCall":{"args":{}}}]}`), "must not be empty"},
		{"arguments no object", contents(user + `,{"role":"model","parts":[{"functionCall":{"name":"ls","args":[]}}]},` + answer), "want an object"},
		{"result no object", contents(user + `,` + call + `,{"role":"user","parts":[{"functionResponse":{"name":"ls","response":"ok"}}]}`), "want an object"},
		{"odd tool name", tools(`{"name":"a b"}`), "Invalid function name"},
		{"tool twice", tools(`{"name":"a"},{"name":"a"}`), "Duplicate"},
		{"schema no object", tools(`{"name":"a","parameters":{"type":"array"}}`), "should be of type OBJECT"},
	}
	_, at := start(t, scripted.Script{Steps: []scripted.Step{{Text: "a"}, {Text: "b"}}}, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := post(t, at.GeminiURL+"/v1beta/models/gemini-x:generateContent", tt.body, nil)
			if tt.want == "" {
				assert.Equal(t, got.status, 200, got.body)
				return
			}
			assert.Equal(t, got.status, 400, got.body)
			var doc struct {
				Error struct {
					Code            int
					Status, Message string
				}
			}
			assert.NilError(t, json.Unmarshal([]byte(got.body), &doc))
			assert.Equal(t, doc.Error.Code, 400)
			assert.Equal(t, doc.Error.Status, "INVALID_ARGUMENT")
			assert.Assert(t, contains(doc.Error.Message, tt.want), "%s", doc.Error.Message)
		})
	}
}
