package scripted

import (
	"encoding/json"
	"slices"
	"strings"
)

type chatRequest struct {
	Model         string        `json:"model"`
	Messages      []chatMessage `json:"messages"`
	Tools         []openAITool  `json:"tools"`
	Stream        bool          `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	MaxTokens           int64 `json:"max_tokens"`
	MaxCompletionTokens int64 `json:"max_completion_tokens"`
}

type chatMessage struct {
	Role      string        `json:"role"`
	Content   openAIContent `json:"content"`
	ToolCalls []struct {
		ID       string `json:"id"`
		Type     string `json:"type"`
		Function struct {
			Name      string  `json:"name"`
			Arguments *string `json:"arguments"`
		} `json:"function"`
	} `json:"tool_calls"`
	ToolCallID string `json:"tool_call_id"`
}

// parseChat understands and checks a request of the Chat Completions API.
func parseChat(r *Request) *problem {
	var in chatRequest
	if err := json.Unmarshal(r.Body, &in); err != nil {
		return invalid("We could not parse the JSON body of your request: %v", err)
	}
	r.Model, r.Stream, r.MaxTokens = in.Model, in.Stream, max(in.MaxTokens, in.MaxCompletionTokens)
	if in.Model == "" {
		return invalid("you must provide a model parameter")
	}
	if len(in.Messages) == 0 {
		return invalid("Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.")
	}
	for i, t := range in.Tools {
		if t.Type == "function" && t.Function == nil {
			return invalid("Missing required parameter: 'tools[%d].function'.", i)
		}
		if t.Type == "function" {
			r.Tools = append(r.Tools, Tool{Name: t.Function.Name, Description: t.Function.Description, Schema: t.Function.Parameters})
		}
	}
	if p := checkTools("tools", r.Tools); p != nil {
		return p
	}
	var pending []string // calls of the newest assistant message without an answer
	for i, m := range in.Messages {
		if m.Role != "tool" && len(pending) > 0 {
			return unansweredChat(i, pending)
		}
		var p *problem
		if pending, p = addChat(r, i, m, pending); p != nil {
			return p
		}
	}
	if len(pending) > 0 {
		return unansweredChat(len(in.Messages), pending)
	}
	r.Turn = turns(r.Messages)
	return nil
}

func unansweredChat(i int, pending []string) *problem {
	return invalid("An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. (before messages[%d]) The following tool_call_ids did not have response messages: %s", i, strings.Join(pending, ", "))
}

// addChat takes message i into the conversation and gives the calls that are
// still without an answer after it.
func addChat(r *Request, i int, m chatMessage, pending []string) ([]string, *problem) {
	text := Block{Type: "text", Text: m.Content.text()}
	switch m.Role {
	case "system", "developer":
		r.System = strings.TrimPrefix(r.System+"\n"+text.Text, "\n")
	case "user":
		if len(m.Content) == 0 {
			return nil, invalid("Invalid value for 'messages[%d].content': expected a string or a list of parts.", i)
		}
		r.Messages = append(r.Messages, Message{Role: "user", Blocks: []Block{text}})
	case "tool":
		if !slices.Contains(pending, m.ToolCallID) {
			return nil, invalid("Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'. (messages[%d], tool_call_id %q)", i, m.ToolCallID)
		}
		pending = slices.DeleteFunc(slices.Clone(pending), func(id string) bool { return id == m.ToolCallID })
		result := Block{Type: "tool_result", ToolID: m.ToolCallID, Text: text.Text}
		if last := len(r.Messages) - 1; r.Messages[last].Role == "user" {
			r.Messages[last].Blocks = append(r.Messages[last].Blocks, result)
		} else {
			r.Messages = append(r.Messages, Message{Role: "user", Blocks: []Block{result}})
		}
		return pending, nil
	case "assistant":
		return addChatAssistant(r, i, m, text)
	default:
		return nil, invalid("Invalid value: '%s'. Supported values for 'messages[%d].role' are: 'system', 'developer', 'assistant', 'user' and 'tool'.", m.Role, i)
	}
	return nil, nil
}

func addChatAssistant(r *Request, i int, m chatMessage, text Block) ([]string, *problem) {
	out := Message{Role: "assistant"}
	if text.Text != "" {
		out.Blocks = append(out.Blocks, text)
	}
	var pending []string
	for j, c := range m.ToolCalls {
		if c.ID == "" || c.Type != "function" || c.Function.Name == "" || c.Function.Arguments == nil {
			return nil, invalid("Invalid 'messages[%d].tool_calls[%d]': id, type \"function\", function.name and function.arguments (a string) are required.", i, j)
		}
		pending = append(pending, c.ID)
		out.Blocks = append(out.Blocks, Block{Type: "tool_use", ToolID: c.ID, ToolName: c.Function.Name, Input: json.RawMessage(*c.Function.Arguments)})
	}
	if len(out.Blocks) == 0 && m.Content == nil {
		return nil, invalid("Invalid 'messages[%d]': an assistant message needs 'content' or 'tool_calls'.", i)
	}
	r.Messages = append(r.Messages, out)
	return pending, nil
}

// wantsUsage reports whether a streaming request asked for the usage.
func wantsUsage(r *Request) bool {
	var in chatRequest
	return json.Unmarshal(r.Body, &in) == nil && in.StreamOptions.IncludeUsage
}
