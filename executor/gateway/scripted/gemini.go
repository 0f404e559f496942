package scripted

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
)

type geminiRequest struct {
	System   *geminiContent  `json:"systemInstruction"`
	Contents []geminiContent `json:"contents"`
	Tools    []struct {
		Functions []struct {
			Name        string          `json:"name"`
			Description string          `json:"description"`
			Parameters  json.RawMessage `json:"parameters"`
			JSONSchema  json.RawMessage `json:"parametersJsonSchema"`
		} `json:"functionDeclarations"`
	} `json:"tools"`
	Generation struct {
		MaxTokens int64 `json:"maxOutputTokens"`
	} `json:"generationConfig"`
	// Wrapped is the request whose tokens countTokens counts, when it is not the body.
	Wrapped *geminiRequest `json:"generateContentRequest"`
}

type geminiContent struct {
	Role  string       `json:"role"`
	Parts []geminiPart `json:"parts"`
}

type geminiPart struct {
	Text      *string          `json:"text"`
	Thought   bool             `json:"thought"`
	Signature string           `json:"thoughtSignature"`
	Call      *geminiCall      `json:"functionCall"`
	Response  *geminiResponse  `json:"functionResponse"`
	Inline    *json.RawMessage `json:"inlineData"`
	File      *json.RawMessage `json:"fileData"`
}

type geminiCall struct {
	ID   string          `json:"id"`
	Name string          `json:"name"`
	Args json.RawMessage `json:"args"`
}

type geminiResponse struct {
	ID       string          `json:"id"`
	Name     string          `json:"name"`
	Response json.RawMessage `json:"response"`
}

// geminiPath reads /v1beta/models/NAME:METHOD.
var geminiPath = regexp.MustCompile(`^/v1(?:beta|alpha)?/models/([^:]+):(generateContent|streamGenerateContent|countTokens)$`)

// geminiName is what the Gemini API takes for a function's name.
var geminiName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}$`)

// geminiOperation finds the operation and the model in a request's path.
func geminiOperation(r *http.Request, to *Request) bool {
	m := geminiPath.FindStringSubmatch(r.URL.Path)
	if m == nil {
		return false
	}
	to.API, to.Model = GenerateContent, m[1]
	switch m[2] {
	case "streamGenerateContent":
		to.Stream, to.array = true, r.URL.Query().Get("alt") != "sse"
	case "countTokens":
		to.API = GeminiCountTokens
	}
	return true
}

// parseGemini understands and checks a request of the Gemini API.
func parseGemini(r *Request) *problem {
	var in geminiRequest
	if err := json.Unmarshal(r.Body, &in); err != nil {
		return invalid("Invalid JSON payload received. %v", err)
	}
	if in.Wrapped != nil && r.API == GeminiCountTokens {
		in = *in.Wrapped
	}
	r.MaxTokens = in.Generation.MaxTokens
	if in.System != nil {
		r.System = Message{Blocks: in.System.blocks()}.text()
	}
	if len(in.Contents) == 0 {
		return invalid("* GenerateContentRequest.contents: contents is not specified")
	}
	for _, t := range in.Tools {
		for _, f := range t.Functions {
			if !geminiName.MatchString(f.Name) {
				return invalid("* GenerateContentRequest.tools[0].function_declarations[%d].name: Invalid function name %q.", len(r.Tools), f.Name)
			}
			schema := f.JSONSchema
			if len(schema) == 0 {
				schema = f.Parameters
			}
			r.Tools = append(r.Tools, Tool{Name: f.Name, Description: f.Description, Schema: schema})
		}
	}
	if p := checkGeminiTools(r.Tools); p != nil {
		return p
	}
	for i := range in.Contents {
		if p := checkGeminiContent(in.Contents, i); p != nil {
			return p
		}
		role := "user"
		if in.Contents[i].Role == "model" {
			role = "assistant"
		}
		r.Messages = append(r.Messages, Message{Role: role, Blocks: in.Contents[i].blocks()})
	}
	r.Turn = turns(r.Messages)
	return nil
}

func checkGeminiTools(tools []Tool) *problem {
	seen := map[string]bool{}
	for i, t := range tools {
		if seen[t.Name] {
			return invalid("Duplicate function declaration found: %s", t.Name)
		}
		seen[t.Name] = true
		var schema struct {
			Type string `json:"type"`
		}
		if len(t.Schema) > 0 && (json.Unmarshal(t.Schema, &schema) != nil || !strings.EqualFold(schema.Type, "object")) {
			return invalid("* GenerateContentRequest.tools[0].function_declarations[%d].parameters: schema of %q should be of type OBJECT", i, t.Name)
		}
	}
	return nil
}

// checkGeminiContent checks the roles, that no part is empty, and that the calls
// of a turn of the model are answered, all of them, by the turn after it.
func checkGeminiContent(contents []geminiContent, i int) *problem {
	c := contents[i]
	if c.Role != "user" && c.Role != "model" && c.Role != "function" && (c.Role != "" || len(contents) > 1) {
		return invalid("Please use a valid role: user, model. (contents[%d])", i)
	}
	if len(c.Parts) == 0 {
		return invalid("* GenerateContentRequest.contents[%d].parts: contents.parts must not be empty.", i)
	}
	for j, p := range c.Parts {
		if bad := p.check(c.Role, i, j); bad != nil {
			return bad
		}
	}
	calls, answers := 0, 0
	if i > 0 {
		calls = contents[i-1].calls()
	}
	for _, p := range c.Parts {
		if p.Response != nil {
			answers++
		}
	}
	if calls != answers {
		return invalid("Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn. (contents[%d]: %d of %d)", i, answers, calls)
	}
	if i == len(contents)-1 && c.calls() > 0 {
		return invalid("Please ensure that function call turn comes immediately before a function response turn. (contents[%d])", i)
	}
	return nil
}

func (p geminiPart) check(role string, i, j int) *problem {
	kinds := 0
	for _, set := range []bool{p.Text != nil, p.Call != nil, p.Response != nil, p.Inline != nil, p.File != nil} {
		if set {
			kinds++
		}
	}
	where := "contents[%d].parts[%d]"
	switch {
	case kinds != 1:
		return invalid("* GenerateContentRequest."+where+".data: required oneof field 'data' must have one initialized field", i, j)
	case p.Call != nil && role != "model":
		return invalid("Please ensure that function call parts are in a model turn. ("+where+")", i, j)
	case p.Response != nil && role == "model":
		return invalid("Please ensure that function response parts are in a user turn. ("+where+")", i, j)
	case p.Call != nil && p.Call.Name == "", p.Response != nil && p.Response.Name == "":
		return invalid("* GenerateContentRequest."+where+": name: [FIELD_INVALID] must not be empty", i, j)
	case p.Call != nil && len(p.Call.Args) > 0 && !bytes.HasPrefix(bytes.TrimSpace(p.Call.Args), []byte{'{'}):
		return invalid("* GenerateContentRequest."+where+".function_call.args: want an object", i, j)
	case p.Response != nil && !bytes.HasPrefix(bytes.TrimSpace(p.Response.Response), []byte{'{'}):
		return invalid("* GenerateContentRequest."+where+".function_response.response: want an object", i, j)
	}
	return nil
}

func (c geminiContent) calls() int {
	n := 0
	for _, p := range c.Parts {
		if p.Call != nil {
			n++
		}
	}
	return n
}

func (c geminiContent) blocks() []Block {
	var blocks []Block
	for _, p := range c.Parts {
		switch {
		case p.Call != nil:
			blocks = append(blocks, Block{Type: "tool_use", ToolID: p.Call.ID, ToolName: p.Call.Name, Input: p.Call.Args})
		case p.Response != nil:
			blocks = append(blocks, Block{Type: "tool_result", ToolID: p.Response.ID, ToolName: p.Response.Name, Text: p.Response.text()})
		case p.Text != nil && p.Thought:
			blocks = append(blocks, Block{Type: "thinking", Text: *p.Text})
		case p.Text != nil:
			blocks = append(blocks, Block{Type: "text", Text: *p.Text})
		case p.Inline != nil:
			blocks = append(blocks, Block{Type: "inlineData"})
		default:
			blocks = append(blocks, Block{Type: "fileData"})
		}
	}
	return blocks
}

// text is what a function gave: its "output", "error" or "result" where there
// is one, as the vendors' clients write it, else the whole object.
func (r *geminiResponse) text() string {
	var fields map[string]any
	if json.Unmarshal(r.Response, &fields) != nil {
		return string(r.Response)
	}
	for _, name := range []string{"output", "error", "result"} {
		if text, ok := fields[name].(string); ok {
			return text
		}
	}
	return string(r.Response)
}
