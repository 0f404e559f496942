package scripted

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// API is an operation the server has.
type API string

// The operations.
const (
	Messages        API = "messages"
	CountTokens     API = "count_tokens"
	Responses       API = "responses"
	ChatCompletions API = "chat_completions"
	// GenerateContent is Gemini's, as a stream or not; GeminiCountTokens is
	// its countTokens.
	GenerateContent   API = "generate_content"
	GeminiCountTokens API = "gemini_count_tokens"
)

func (a API) anthropic() bool { return a == Messages || a == CountTokens }

func (a API) gemini() bool { return a == GenerateContent || a == GeminiCountTokens }

// Request is a request as the server understood it, in one form for all wires.
type Request struct {
	// N counts the requests from 1.
	N int
	// API is the operation asked for.
	API API
	// Model is the model asked for.
	Model string
	// System is the system prompt: instructions, system and developer messages.
	System string
	// Messages is the conversation without them. On the OpenAI wires, results of
	// tools are blocks of user messages here too.
	Messages []Message
	// Tools are those offered, in order.
	Tools []Tool
	// Stream tells whether a stream is wanted.
	Stream bool
	array  bool // the stream is wanted as one JSON array
	// MaxTokens is the output limit; 0 when none was given.
	MaxTokens int64
	// Turn is the number of assistant turns in Messages.
	Turn int
	// Header is the request's, with credentials taken out.
	Header http.Header
	// Body is the request's, as it came.
	Body json.RawMessage
	// Step is the index of the step played, -1 when there was none.
	Step int
	// Status is the HTTP status of the answer.
	Status int
	// Problem says what was wrong with the request; empty when nothing was.
	Problem string
}

// Message is what one side said.
type Message struct {
	// Role is "user" or "assistant".
	Role   string
	Blocks []Block
}

// Block is a piece of a message.
type Block struct {
	// Type is text, thinking, tool_use, tool_result, or the wire's own word for
	// what the server does not look into.
	Type string
	// Text is the text, the thinking, or the result's text.
	Text string
	// ToolID is the id of a call, in tool_use and tool_result.
	ToolID string
	// ToolName and Input are a tool_use's.
	ToolName string
	Input    json.RawMessage
	// IsError marks the result of a failed tool.
	IsError bool
}

// Tool is a tool on offer.
type Tool struct {
	Name        string
	Description string
	Schema      json.RawMessage
}

// LastUserText is the text of the newest user message that has some.
func (r *Request) LastUserText() string {
	for i := len(r.Messages) - 1; i >= 0; i-- {
		if m := r.Messages[i]; m.Role == "user" {
			if text := m.text(); text != "" {
				return text
			}
		}
	}
	return ""
}

// LastToolResults are the results in the newest message, in order; none when
// it has none.
func (r *Request) LastToolResults() []Block {
	var results []Block
	if len(r.Messages) == 0 {
		return nil
	}
	for _, b := range r.Messages[len(r.Messages)-1].Blocks {
		if b.Type == "tool_result" {
			results = append(results, b)
		}
	}
	return results
}

func (r *Request) toolResultContains(part string) bool {
	for _, b := range r.LastToolResults() {
		if strings.Contains(b.Text, part) {
			return true
		}
	}
	return false
}

func (r *Request) offers(tool string) bool {
	for _, t := range r.Tools {
		if t.Name == tool {
			return true
		}
	}
	return false
}

func (m Message) text() string {
	var parts []string
	for _, b := range m.Blocks {
		if b.Type == "text" {
			parts = append(parts, b.Text)
		}
	}
	return strings.Join(parts, "\n")
}

// turns counts runs of assistant messages.
func turns(messages []Message) int {
	n := 0
	for i, m := range messages {
		if m.Role == "assistant" && (i == 0 || messages[i-1].Role != "assistant") {
			n++
		}
	}
	return n
}

// problem is a request the real API would refuse.
type problem struct {
	status  int
	kind    string // the wire's error type; by status when empty
	code    string // OpenAI's code; null when empty
	message string
}

func invalid(format string, args ...any) *problem {
	return &problem{status: http.StatusBadRequest, message: fmt.Sprintf(format, args...)}
}

// toolName is what both vendors accept for a function's name.
var toolName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)

func checkTools(field string, tools []Tool) *problem {
	seen := map[string]bool{}
	for i, t := range tools {
		if !toolName.MatchString(t.Name) {
			return invalid("%s.%d.name: %q does not match %s", field, i, t.Name, toolName)
		}
		if seen[t.Name] {
			return invalid("%s: Tool names must be unique: %q", field, t.Name)
		}
		seen[t.Name] = true
		var schema struct {
			Type string `json:"type"`
		}
		if len(t.Schema) > 0 && (json.Unmarshal(t.Schema, &schema) != nil || schema.Type != "object") {
			return invalid("%s.%d: the schema of %q must be an object schema (type \"object\")", field, i, t.Name)
		}
	}
	return nil
}

// withoutCredentials is h for the record.
func withoutCredentials(h http.Header) http.Header {
	h = h.Clone()
	for _, name := range []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key", "Cookie", "Proxy-Authorization"} {
		if h.Get(name) != "" {
			h.Set(name, "[hidden]")
		}
	}
	return h
}
