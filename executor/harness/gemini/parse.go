package gemini

import (
	"cmp"
	"encoding/json"
	"strings"

	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
	"github.com/oz-platform/cloudagents/task"
)

// record is a line of the program's output, as far as it is read.
type record struct {
	Type    string `json:"type"`
	Session string `json:"session_id"`
	Model   string `json:"model"`
	// message
	Role    string `json:"role"`
	Content string `json:"content"`
	// tool_use and tool_result
	ToolName   string          `json:"tool_name"`
	ToolID     string          `json:"tool_id"`
	Parameters json.RawMessage `json:"parameters"`
	Status     string          `json:"status"`
	Output     string          `json:"output"`
	Error      *struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"error"`
	// error
	Severity string `json:"severity"`
	Message  string `json:"message"`
}

// maxText bounds what is kept of an answer's text until it is whole. What is
// longer comes in blocks.
const maxText = 1 << 20

// parser reads the output of one process.
type parser struct {
	model string
	text  strings.Builder // of the answer, until another record comes
	last  string          // the last whole text since the last call
	owed  bool            // a call was made, and nothing said since
}

// Line implements cliagent.Parser.
func (p *parser) Line(line []byte) []cliagent.Event {
	var r record
	if json.Unmarshal(line, &r) != nil {
		return nil
	}
	if r.Type == "message" {
		return p.message(r)
	}
	out := p.flush()
	switch r.Type {
	case "init":
		p.model = r.Model
		out = append(out, cliagent.Began{NativeID: r.Session})
	case "tool_use":
		p.last, p.owed = "", true // what it says before a call is no last word
		out = append(out, p.called(r)...)
	case "tool_result":
		out = append(out, returned(r))
	case "error":
		if r.Message != "" {
			out = append(out, cliagent.Noted{Text: "Gemini CLI: " + r.Message})
		}
	case "result":
		out = append(out, p.finished(r))
	}
	return out
}

// End implements cliagent.Parser.
func (p *parser) End() []cliagent.Event { return p.flush() }

// message takes a piece of an answer; the program has no other form of it.
func (p *parser) message(r record) []cliagent.Event {
	if r.Role != "assistant" {
		return p.flush()
	}
	p.text.WriteString(r.Content)
	if p.text.Len() > maxText {
		return p.flush()
	}
	return nil
}

func (p *parser) flush() []cliagent.Event {
	if p.text.Len() == 0 {
		return nil
	}
	p.last, p.owed = p.text.String(), false
	p.text.Reset()
	return []cliagent.Event{cliagent.Text{Text: p.last}}
}

// called opens a tool call. The program does not say where the model's answer
// ends: it has ended when what it asked for is done.
func (p *parser) called(r record) []cliagent.Event {
	out := []cliagent.Event{cliagent.Called{ID: r.ToolID, Name: r.ToolName, Category: category(r.ToolName), Input: r.Parameters}}
	if r.ToolName == "write_todos" {
		out = append(out, planned(r.Parameters)...)
	}
	return append(out, cliagent.TurnEnded{Model: p.model, StopReason: "tool_use"})
}

func returned(r record) cliagent.Event {
	e := cliagent.Returned{ID: r.ToolID, State: task.ToolCompleted, Content: r.Output}
	if r.Status == "success" {
		return e
	}
	e.State = task.ToolFailed
	if r.Error != nil {
		e.Content = cmp.Or(e.Content, r.Error.Message)
		if strings.Contains(r.Error.Type, "denied") || strings.Contains(r.Error.Type, "policy") {
			e.State = task.ToolDenied
		}
	}
	return e
}

// finished reads the program's last word.
func (p *parser) finished(r record) cliagent.Finished {
	switch {
	case r.Status == "success" && p.owed: // it calls it well when it no longer asks the model
		return cliagent.Finished{Failure: &cliagent.Failure{Message: "it ended after a tool call without an answer: what was said may be more than the model can take in"}}
	case r.Status == "success":
		return cliagent.Finished{Text: p.last}
	}
	if r.Error == nil {
		return cliagent.Finished{Failure: &cliagent.Failure{Message: "it gave no reason (" + r.Status + ")"}}
	}
	f := failure(r.Error.Message)
	f.Turns = r.Error.Type == "FatalTurnLimitedError"
	return cliagent.Finished{Failure: f, Interrupted: strings.Contains(r.Error.Type, "Cancel")}
}

// failure takes the document out of a message such as
// [API Error: {"error":{"code":500,"message":"..."}}].
func failure(message string) *cliagent.Failure {
	inner := strings.TrimSuffix(strings.TrimPrefix(message, "[API Error: "), "]")
	f := &cliagent.Failure{Message: inner}
	var doc struct {
		Error struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal([]byte(inner), &doc) == nil && doc.Error.Message != "" {
		f.Message, f.Status = doc.Error.Message, doc.Error.Code
	}
	f.Message = cmp.Or(f.Message, "it gave no reason")
	return f
}

// category sorts the program's own tools for display.
func category(tool string) task.ToolCategory {
	switch tool {
	case "run_shell_command":
		return task.CategoryCommand
	case "read_file", "write_file", "replace", "read_many_files":
		return task.CategoryFiles
	case "glob", "grep_search", "search_file_content", "list_directory", "google_web_search", "web_fetch":
		return task.CategorySearch
	case "activate_skill":
		return task.CategorySkill
	case "write_todos", "save_memory", "update_topic", "enter_plan_mode", "exit_plan_mode":
		return task.CategoryDocuments
	}
	return task.CategoryIntegration
}

// planned reads the task list of a write_todos.
func planned(raw json.RawMessage) []cliagent.Event {
	var in struct {
		Todos []struct {
			Description string `json:"description"`
			Status      string `json:"status"`
		} `json:"todos"`
	}
	if json.Unmarshal(raw, &in) != nil || in.Todos == nil {
		return nil
	}
	var p cliagent.Planned
	for _, t := range in.Todos {
		p.Items = append(p.Items, task.Todo{Title: t.Description, Done: t.Status == "completed"})
	}
	return []cliagent.Event{p}
}
