package scripted

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

type responsesRequest struct {
	Model        string         `json:"model"`
	Instructions string         `json:"instructions"`
	Input        responsesInput `json:"input"`
	Tools        []openAITool   `json:"tools"`
	Stream       bool           `json:"stream"`
	MaxTokens    int64          `json:"max_output_tokens"`
	Previous     string         `json:"previous_response_id"`
}

// responsesInput is a text or a list of items; a text is one message.
type responsesInput []responsesItem

// UnmarshalJSON takes both forms.
func (in *responsesInput) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte{'"'}) {
		item := responsesItem{Role: "user"}
		if err := json.Unmarshal(data, &item.Content); err != nil {
			return err
		}
		*in = responsesInput{item}
		return nil
	}
	return json.Unmarshal(data, (*[]responsesItem)(in))
}

type responsesItem struct {
	Type      string        `json:"type"`
	Role      string        `json:"role"`
	Content   openAIContent `json:"content"`
	CallID    string        `json:"call_id"`
	Name      string        `json:"name"`
	Arguments *string       `json:"arguments"`
	Input     string        `json:"input"`
	Output    openAIContent `json:"output"`
	Summary   openAIContent `json:"summary"`
}

// openAIContent is a text, or a list of parts of which those with a text count.
type openAIContent []openAIPart

type openAIPart struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// UnmarshalJSON takes both forms, and null.
func (c *openAIContent) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte{'"'}) {
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return err
		}
		*c = openAIContent{{Type: "text", Text: text}}
		return nil
	}
	return json.Unmarshal(data, (*[]openAIPart)(c))
}

func (c openAIContent) text() string {
	var parts []string
	for _, p := range c {
		parts = append(parts, p.Text)
	}
	return strings.Join(parts, "\n")
}

// openAITool is a tool of either OpenAI wire: flat in Responses, nested in Chat.
type openAITool struct {
	Type        string          `json:"type"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Parameters  json.RawMessage `json:"parameters"`
	Function    *struct {
		Name        string          `json:"name"`
		Description string          `json:"description"`
		Parameters  json.RawMessage `json:"parameters"`
	} `json:"function"`
}

// parseResponses understands and checks a request of the Responses API.
func parseResponses(r *Request) *problem {
	var in responsesRequest
	if err := json.Unmarshal(r.Body, &in); err != nil {
		return invalid("The request body is not valid: %v", err)
	}
	r.Model, r.Stream, r.MaxTokens, r.System = in.Model, in.Stream, in.MaxTokens, in.Instructions
	if in.Model == "" {
		return invalid("Missing required parameter: 'model'.")
	}
	if in.Previous != "" {
		return &problem{status: http.StatusBadRequest, code: "previous_response_not_found",
			message: "Previous response with id '" + in.Previous + "' not found. This server keeps no responses: send the whole input."}
	}
	if len(in.Input) == 0 {
		return invalid("Missing required parameter: 'input'.")
	}
	for _, t := range in.Tools {
		if t.Type == "function" {
			r.Tools = append(r.Tools, Tool{Name: t.Name, Description: t.Description, Schema: t.Parameters})
		}
	}
	if p := checkTools("tools", r.Tools); p != nil {
		return p
	}
	c := &responsesConversation{r: r, lastTurn: -1}
	for i, item := range in.Input {
		if p := c.add(i, item); p != nil {
			return p
		}
	}
	r.Turn = turns(r.Messages)
	return c.unanswered()
}

// responsesConversation puts items into messages: what the model made in one
// turn becomes one assistant message.
type responsesConversation struct {
	r        *Request
	lastTurn int // of the newest call with an id of ours; -1: none
	open     []string
	known    []string
}

func (c *responsesConversation) add(i int, item responsesItem) *problem {
	switch item.Type {
	case "", "message":
		return c.message(i, item)
	case "reasoning":
		c.put("assistant", Block{Type: "thinking", Text: item.Summary.text()})
	case "function_call", "custom_tool_call":
		return c.call(i, item)
	case "function_call_output", "custom_tool_call_output":
		if !slices.Contains(c.known, item.CallID) {
			return invalid("No tool call found for function call output with call_id %s.", item.CallID)
		}
		if !slices.Contains(c.open, item.CallID) {
			return invalid("Duplicate tool output for call_id %s.", item.CallID)
		}
		c.open = slices.DeleteFunc(c.open, func(id string) bool { return id == item.CallID })
		c.put("user", Block{Type: "tool_result", ToolID: item.CallID, Text: item.Output.text()})
	}
	return nil
}

func (c *responsesConversation) message(i int, item responsesItem) *problem {
	text := item.Content.text()
	switch item.Role {
	case "system", "developer":
		c.r.System = strings.TrimPrefix(c.r.System+"\n"+text, "\n")
	case "user", "assistant":
		if len(item.Content) == 0 {
			return invalid("Missing required parameter: 'input[%d].content'.", i)
		}
		c.lastTurn = -1
		c.put(item.Role, Block{Type: "text", Text: text})
	default:
		return invalid("Invalid value: '%s'. Supported values for 'input[%d].role' are: 'assistant', 'system', 'developer', and 'user'.", item.Role, i)
	}
	return nil
}

func (c *responsesConversation) call(i int, item responsesItem) *problem {
	input := json.RawMessage(item.Input)
	if item.Type == "function_call" {
		if item.Arguments == nil {
			return invalid("Missing required parameter: 'input[%d].arguments'.", i)
		}
		input = json.RawMessage(*item.Arguments)
	}
	if item.CallID == "" || item.Name == "" {
		return invalid("Missing required parameter: 'input[%d].call_id' and 'input[%d].name'.", i, i)
	}
	if slices.Contains(c.known, item.CallID) {
		return invalid("Duplicate function call with call_id %s.", item.CallID)
	}
	c.known, c.open = append(c.known, item.CallID), append(c.open, item.CallID)
	b := Block{Type: "tool_use", ToolID: item.CallID, ToolName: item.Name, Input: input}
	// Some clients put each output right after its call, so that the calls of
	// one turn do not stand together. Our own ids tell.
	turn, ours := turnOfCall(item.CallID)
	if ours && turn == c.lastTurn && c.joinLastAssistant(b) {
		return nil
	}
	c.put("assistant", b)
	if ours {
		c.lastTurn = turn
	}
	return nil
}

func (c *responsesConversation) joinLastAssistant(b Block) bool {
	for i := len(c.r.Messages) - 1; i >= 0; i-- {
		if m := &c.r.Messages[i]; m.Role == "assistant" {
			m.Blocks = append(m.Blocks, b)
			return true
		}
	}
	return false
}

// put adds a block to the newest message, or begins a new one.
func (c *responsesConversation) put(role string, b Block) {
	if n := len(c.r.Messages); n > 0 && c.r.Messages[n-1].Role == role {
		c.r.Messages[n-1].Blocks = append(c.r.Messages[n-1].Blocks, b)
		return
	}
	c.r.Messages = append(c.r.Messages, Message{Role: role, Blocks: []Block{b}})
}

func (c *responsesConversation) unanswered() *problem {
	if len(c.open) > 0 {
		return invalid("No tool output found for function call %s.", c.open[0])
	}
	return nil
}

// openAIError is the error document of both OpenAI wires.
func openAIError(p *problem) any {
	kind := p.kind
	if kind == "" {
		switch {
		case p.status == http.StatusTooManyRequests:
			kind = "rate_limit_error"
		case p.status >= 500:
			kind = "server_error"
		default:
			kind = "invalid_request_error"
		}
	}
	var code any
	if p.code != "" {
		code = p.code
	}
	return object{"error": object{"message": p.message, "type": kind, "param": nil, "code": code}}
}
