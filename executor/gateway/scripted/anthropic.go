package scripted

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// maxCacheBreakpoints is how many blocks may carry cache_control (Anthropic
// API, prompt caching).
const maxCacheBreakpoints = 4

type anthropicRequest struct {
	Model     string             `json:"model"`
	MaxTokens *int64             `json:"max_tokens"`
	Messages  []anthropicMessage `json:"messages"`
	System    anthropicContent   `json:"system"`
	Tools     []struct {
		Type        string          `json:"type"`
		Name        string          `json:"name"`
		Description string          `json:"description"`
		InputSchema json.RawMessage `json:"input_schema"`
		Cache       json.RawMessage `json:"cache_control"`
	} `json:"tools"`
	Stream bool `json:"stream"`
}

type anthropicMessage struct {
	Role    string           `json:"role"`
	Content anthropicContent `json:"content"`
}

// anthropicContent is a text or a list of blocks; a text is one block.
type anthropicContent []anthropicBlock

// UnmarshalJSON takes both forms.
func (c *anthropicContent) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte{'"'}) {
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return err
		}
		*c = anthropicContent{{Type: "text", Text: text}}
		return nil
	}
	return json.Unmarshal(data, (*[]anthropicBlock)(c))
}

type anthropicBlock struct {
	Type      string           `json:"type"`
	Text      string           `json:"text"`
	Thinking  string           `json:"thinking"`
	Signature string           `json:"signature"`
	ID        string           `json:"id"`
	Name      string           `json:"name"`
	Input     json.RawMessage  `json:"input"`
	ToolUseID string           `json:"tool_use_id"`
	Content   anthropicContent `json:"content"`
	IsError   bool             `json:"is_error"`
	Cache     json.RawMessage  `json:"cache_control"`
}

// parseAnthropic understands and checks a request of the Messages API.
func (s *Server) parseAnthropic(r *Request) *problem {
	if r.Header.Get("Anthropic-Version") == "" {
		return invalid("anthropic-version: header is required")
	}
	var in anthropicRequest
	if err := json.Unmarshal(r.Body, &in); err != nil {
		return invalid("The request body is not valid: %v", err)
	}
	r.Model, r.Stream = in.Model, in.Stream
	if in.Model == "" {
		return invalid("model: Field required")
	}
	if r.API == Messages {
		if in.MaxTokens == nil {
			return invalid("max_tokens: Field required")
		}
		if *in.MaxTokens < 1 {
			return invalid("max_tokens: Input should be greater than or equal to 1")
		}
		r.MaxTokens = *in.MaxTokens
	}
	r.System = Message{Blocks: in.System.blocks()}.text()
	for _, m := range in.Messages {
		r.Messages = append(r.Messages, Message{Role: m.Role, Blocks: m.Content.blocks()})
	}
	r.Turn = turns(r.Messages)
	for _, t := range in.Tools {
		r.Tools = append(r.Tools, Tool{Name: t.Name, Description: t.Description, Schema: t.InputSchema})
		if (t.Type == "" || t.Type == "custom") && len(t.InputSchema) == 0 {
			return invalid("tools.%d.input_schema: Field required", len(r.Tools)-1)
		}
	}
	if p := checkTools("tools", r.Tools); p != nil {
		return p
	}
	return s.checkAnthropic(&in)
}

func (s *Server) checkAnthropic(in *anthropicRequest) *problem {
	for i, b := range in.System {
		if b.Type != "text" || b.Text == "" {
			return invalid("system.%d: text content blocks must be non-empty", i)
		}
	}
	if len(in.Messages) == 0 {
		return invalid("messages: at least one message is required")
	}
	ids := map[string]bool{}
	for i, m := range in.Messages {
		if p := s.checkRole(in.Messages, i); p != nil {
			return p
		}
		if p := checkContent(i, m, i == len(in.Messages)-1, ids); p != nil {
			return p
		}
		if p := checkToolPairs(in.Messages, i); p != nil {
			return p
		}
	}
	if n := in.breakpoints(); n > maxCacheBreakpoints {
		return invalid("A maximum of %d blocks with cache_control may be provided. Found %d.", maxCacheBreakpoints, n)
	}
	return nil
}

// checkRole wants the user first and the roles to take turns. The real API
// joins messages of one role; who sends such has usually lost one between them.
func (s *Server) checkRole(messages []anthropicMessage, i int) *problem {
	role := messages[i].Role
	switch {
	case role != "user" && role != "assistant":
		return invalid("messages.%d.role: Input should be 'user' or 'assistant', got %q", i, role)
	case i == 0 && role != "user":
		return invalid("messages: first message must use the \"user\" role")
	case i > 0 && role == messages[i-1].Role && !s.opts.AllowRepeatedRoles:
		return invalid("messages.%d: roles must alternate between \"user\" and \"assistant\", but found multiple %q roles in a row", i, role)
	}
	return nil
}

func checkContent(i int, m anthropicMessage, last bool, ids map[string]bool) *problem {
	if len(m.Content) == 0 && !(last && m.Role == "assistant") {
		return invalid("messages.%d: all messages must have non-empty content except for the optional final assistant message", i)
	}
	for j, b := range m.Content {
		switch b.Type {
		case "text":
			if strings.TrimSpace(b.Text) == "" {
				return invalid("messages.%d.content.%d: text content blocks must be non-empty and contain non-whitespace text", i, j)
			}
		case "thinking":
			if m.Role != "assistant" || b.Signature == "" {
				return invalid("messages.%d.content.%d: a thinking block belongs to the assistant and must keep its signature", i, j)
			}
		case "tool_use":
			if p := checkToolUse(i, j, m.Role, b, ids); p != nil {
				return p
			}
		case "tool_result":
			if m.Role != "user" || b.ToolUseID == "" {
				return invalid("messages.%d.content.%d: a tool_result belongs to the user and needs its tool_use_id", i, j)
			}
		case "":
			return invalid("messages.%d.content.%d.type: Field required", i, j)
		}
	}
	if last && m.Role == "assistant" && len(m.Content) > 0 {
		if text := m.Content[len(m.Content)-1].Text; strings.TrimRight(text, " \t\n\r") != text {
			return invalid("messages: final assistant content cannot end with trailing whitespace")
		}
	}
	return nil
}

func checkToolUse(i, j int, role string, b anthropicBlock, ids map[string]bool) *problem {
	switch {
	case role != "assistant":
		return invalid("messages.%d.content.%d: `tool_use` blocks can only be in `assistant` messages", i, j)
	case !toolName.MatchString(b.ID):
		return invalid("messages.%d.content.%d.tool_use.id: %q does not match %s", i, j, b.ID, toolName)
	case !toolName.MatchString(b.Name):
		return invalid("messages.%d.content.%d.tool_use.name: %q does not match %s", i, j, b.Name, toolName)
	case !bytes.HasPrefix(bytes.TrimSpace(b.Input), []byte{'{'}):
		return invalid("messages.%d.content.%d.tool_use.input: Input should be a valid dictionary", i, j)
	case ids[b.ID]:
		return invalid("messages.%d.content.%d: `tool_use` ids must be unique", i, j)
	}
	ids[b.ID] = true
	return nil
}

// checkToolPairs wants each tool_use of message i answered at the start of the
// next, and each tool_result of message i to answer one of the message before.
func checkToolPairs(messages []anthropicMessage, i int) *problem {
	if i > 0 {
		asked := messages[i-1].Content.ids("tool_use")
		for j, b := range messages[i].Content {
			if b.Type == "tool_result" && !slices.Contains(asked, b.ToolUseID) {
				return invalid("messages.%d.content.%d: unexpected `tool_use_id` found in `tool_result` blocks: %s. Each `tool_result` block must have a corresponding `tool_use` block in the previous message.", i, j, b.ToolUseID)
			}
		}
	} else if results := messages[0].Content.ids("tool_result"); len(results) > 0 {
		return invalid("messages.0: unexpected `tool_use_id` found in `tool_result` blocks: %s", results[0])
	}
	asked := messages[i].Content.ids("tool_use")
	if len(asked) == 0 {
		return nil
	}
	var answered []string
	if i+1 < len(messages) {
		answered = messages[i+1].Content.leadingResults()
	}
	var missing []string
	for _, id := range asked {
		if !slices.Contains(answered, id) {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		return invalid("messages.%d: `tool_use` ids were found without `tool_result` blocks immediately after: %s. Each `tool_use` block must have a corresponding `tool_result` block in the next message.", i, strings.Join(missing, ", "))
	}
	for j, id := range answered {
		if slices.Contains(answered[:j], id) {
			return invalid("messages.%d: each tool_use must have a single result. Found multiple `tool_result` blocks with id: %s", i+1, id)
		}
	}
	return nil
}

func (c anthropicContent) ids(kind string) []string {
	var ids []string
	for _, b := range c {
		if b.Type == kind && kind == "tool_use" {
			ids = append(ids, b.ID)
		} else if b.Type == kind {
			ids = append(ids, b.ToolUseID)
		}
	}
	return ids
}

// leadingResults are the results before anything else: that is where they count.
func (c anthropicContent) leadingResults() []string {
	var ids []string
	for _, b := range c {
		if b.Type != "tool_result" {
			break
		}
		ids = append(ids, b.ToolUseID)
	}
	return ids
}

func (c anthropicContent) blocks() []Block {
	var blocks []Block
	for _, b := range c {
		out := Block{Type: b.Type, Text: b.Text, ToolID: b.ID, ToolName: b.Name, Input: b.Input, IsError: b.IsError}
		switch b.Type {
		case "thinking":
			out.Text = b.Thinking
		case "tool_result":
			out.ToolID, out.Text = b.ToolUseID, Message{Blocks: b.Content.blocks()}.text()
		}
		blocks = append(blocks, out)
	}
	return blocks
}

func (in *anthropicRequest) breakpoints() int {
	n := 0
	mark := func(raw json.RawMessage) {
		if len(raw) > 0 && string(raw) != "null" {
			n++
		}
	}
	for _, t := range in.Tools {
		mark(t.Cache)
	}
	for _, b := range in.System {
		mark(b.Cache)
	}
	for _, m := range in.Messages {
		for _, b := range m.Content {
			mark(b.Cache)
			for _, inner := range b.Content {
				mark(inner.Cache)
			}
		}
	}
	return n
}

// anthropicError is the error document of the Messages API.
func anthropicError(p *problem, requestID string) any {
	kind := p.kind
	if kind == "" {
		kind = map[int]string{
			http.StatusBadRequest: "invalid_request_error", http.StatusUnauthorized: "authentication_error",
			http.StatusPaymentRequired: "billing_error", http.StatusForbidden: "permission_error",
			http.StatusNotFound: "not_found_error", http.StatusRequestEntityTooLarge: "request_too_large",
			http.StatusTooManyRequests: "rate_limit_error", http.StatusGatewayTimeout: "timeout_error", 529: "overloaded_error",
		}[p.status]
	}
	if kind == "" {
		kind = "api_error"
	}
	return object{"type": "error", "error": object{"type": kind, "message": p.message}, "request_id": requestID}
}
