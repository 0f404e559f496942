package claude

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
	"github.com/oz-platform/cloudagents/task"
)

// record is a line of the program's output, as far as it is read.
type record struct {
	Type    string          `json:"type"`
	Subtype string          `json:"subtype"`
	Session string          `json:"session_id"`
	Parent  *string         `json:"parent_tool_use_id"`
	UUID    string          `json:"uuid"`
	Replay  bool            `json:"isReplay"`
	Message json.RawMessage `json:"message"` // an object; a text in some notices
	Request string          `json:"request_id"`
	Event   struct {
		Type    string `json:"type"`
		Message struct {
			Model string `json:"model"`
		} `json:"message"`
		Delta struct {
			Stop string `json:"stop_reason"`
		} `json:"delta"`
	} `json:"event"`
	// system
	Version    string `json:"claude_code_version"`
	MCPServers []struct {
		Name   string `json:"name"`
		Status string `json:"status"`
	} `json:"mcp_servers"`
	Attempt    int             `json:"attempt"`
	MaxRetries int             `json:"max_retries"`
	Status     *int            `json:"error_status"`
	Error      json.RawMessage `json:"error"`
	ToolUseID  string          `json:"tool_use_id"`
	// result
	IsError        bool     `json:"is_error"`
	Result         string   `json:"result"`
	Errors         []string `json:"errors"`
	TerminalReason string   `json:"terminal_reason"`
	APIStatus      *int     `json:"api_error_status"`
}

// message is a record's, of either side.
type message struct {
	ID      string          `json:"id"`
	Model   string          `json:"model"`
	Content json.RawMessage `json:"content"`
}

// block is a part of a message.
type block struct {
	Type      string          `json:"type"`
	Text      string          `json:"text"`
	Thinking  string          `json:"thinking"`
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Input     json.RawMessage `json:"input"`
	ToolUseID string          `json:"tool_use_id"`
	Content   json.RawMessage `json:"content"`
	IsError   bool            `json:"is_error"`
}

// synthetic is the model of messages that the program made up.
const synthetic = "<synthetic>"

// parser reads the output of one process.
type parser struct {
	model, stop, request string
	denied               map[string]bool // calls that were not allowed
}

// Line implements cliagent.Parser.
func (p *parser) Line(line []byte) []cliagent.Event {
	var r record
	if json.Unmarshal(line, &r) != nil {
		return nil
	}
	if r.Parent != nil && *r.Parent != "" {
		return nil // a sub-agent's
	}
	switch r.Type {
	case "system":
		return p.system(r)
	case "stream_event":
		return p.stream(r)
	case "assistant":
		return p.assistant(r)
	case "user":
		return p.user(r)
	case "result":
		return []cliagent.Event{finished(r)}
	}
	return nil
}

// End implements cliagent.Parser.
func (p *parser) End() []cliagent.Event { return nil }

func (p *parser) system(r record) []cliagent.Event {
	switch r.Subtype {
	case "init":
		b := cliagent.Began{NativeID: r.Session, Version: r.Version}
		for _, s := range r.MCPServers {
			if s.Status == "failed" {
				b.Failed = append(b.Failed, s.Name)
			}
		}
		return []cliagent.Event{b}
	case "api_retry":
		return []cliagent.Event{cliagent.Retried{Text: retryText(r.Attempt, r.MaxRetries, r.Status, text(r.Error))}}
	case "permission_denied":
		if p.denied == nil {
			p.denied = map[string]bool{}
		}
		if len(p.denied) < 10_000 {
			p.denied[r.ToolUseID] = true
		}
	}
	return nil
}

// stream takes what tells where answers begin and end. Their content comes in
// records of its own.
func (p *parser) stream(r record) []cliagent.Event {
	switch r.Event.Type {
	case "message_start":
		p.model, p.stop, p.request = r.Event.Message.Model, "", r.Request
		return []cliagent.Event{cliagent.TurnBegan{}}
	case "message_delta":
		p.stop = r.Event.Delta.Stop
	case "message_stop":
		if p.stop == "" {
			return nil // it broke off; another one begins, or the end comes
		}
		return []cliagent.Event{cliagent.TurnEnded{Model: p.model, StopReason: p.stop, RequestID: p.request}}
	}
	return nil
}

func (p *parser) assistant(r record) []cliagent.Event {
	var m message
	if json.Unmarshal(r.Message, &m) != nil || m.Model == synthetic {
		return nil // the result says it, too
	}
	p.model = m.Model
	if r.Request != "" {
		p.request = r.Request
	}
	var blocks []block
	if json.Unmarshal(m.Content, &blocks) != nil {
		return nil
	}
	var out []cliagent.Event
	for _, b := range blocks {
		switch b.Type {
		case "text":
			out = append(out, cliagent.Text{Text: b.Text})
		case "thinking":
			out = append(out, cliagent.Thought{Text: b.Thinking})
		case "tool_use":
			out = append(out, cliagent.Called{ID: b.ID, Name: b.Name, Category: category(b.Name), Input: b.Input})
			if b.Name == "TodoWrite" {
				out = append(out, planned(b.Input)...)
			}
		}
	}
	return out
}

// user takes results of tools, and the acknowledgement of a prompt.
func (p *parser) user(r record) []cliagent.Event {
	if r.Replay {
		return []cliagent.Event{cliagent.Taken{PromptID: r.UUID}}
	}
	var m message
	var blocks []block
	if json.Unmarshal(r.Message, &m) != nil || json.Unmarshal(m.Content, &blocks) != nil {
		return nil
	}
	var out []cliagent.Event
	for _, b := range blocks {
		if b.Type == "tool_result" {
			out = append(out, p.returned(b))
		}
	}
	return out
}

// exitCode is how the program tells a command's failure.
var exitCode = regexp.MustCompile(`^Exit code (\d+)(\n|$)`)

func (p *parser) returned(b block) cliagent.Event {
	e := cliagent.Returned{ID: b.ToolUseID, State: task.ToolCompleted, Content: text(b.Content)}
	if b.IsError {
		e.State = task.ToolFailed
	}
	if p.denied[b.ToolUseID] {
		e.State = task.ToolDenied
		delete(p.denied, b.ToolUseID)
	}
	if found := exitCode.FindStringSubmatch(e.Content); b.IsError && found != nil {
		if code, err := strconv.Atoi(found[1]); err == nil {
			e.Output = map[string]any{"exit_code": code}
		}
	}
	return e
}

// text takes the text of a content: a string or a list of blocks.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var blocks []block
	if json.Unmarshal(raw, &blocks) != nil {
		return ""
	}
	var parts []string
	for _, b := range blocks {
		if b.Type == "text" {
			parts = append(parts, b.Text)
		} else if b.Type != "" {
			parts = append(parts, "["+b.Type+"]")
		}
	}
	return strings.Join(parts, "\n")
}

// finished reads the program's last word. Failures of the model come as a
// success with an error in it.
func finished(r record) cliagent.Finished {
	if r.Subtype == "error_max_turns" {
		return cliagent.Finished{Failure: &cliagent.Failure{Turns: true, Message: "no turns are left"}}
	}
	if strings.HasPrefix(r.TerminalReason, "aborted") {
		return cliagent.Finished{Interrupted: true}
	}
	if !r.IsError && r.Subtype == "success" {
		return cliagent.Finished{Text: r.Result}
	}
	f := cliagent.Failure{Message: r.Result}
	if r.APIStatus != nil {
		f.Status = *r.APIStatus
	}
	if len(r.Errors) > 0 {
		f.Message = strings.Join(r.Errors, "; ")
	}
	if f.Message == "" {
		f.Message = "it gave no reason (" + r.Subtype + ")"
	}
	return cliagent.Finished{Failure: &f}
}

// category sorts the program's own tools for display.
func category(tool string) task.ToolCategory {
	switch tool {
	case "Bash", "BashOutput", "KillShell", "Monitor", "TaskStop":
		return task.CategoryCommand
	case "Edit", "MultiEdit", "Write", "Read", "NotebookEdit":
		return task.CategoryFiles
	case "Glob", "Grep", "LS", "WebSearch", "WebFetch", "ToolSearch":
		return task.CategorySearch
	case "Skill":
		return task.CategorySkill
	case "TodoWrite", "ExitPlanMode", "TaskCreate", "TaskGet", "TaskList", "TaskUpdate":
		return task.CategoryDocuments
	}
	return task.CategoryIntegration
}

// planned reads the task list of a TodoWrite.
func planned(raw json.RawMessage) []cliagent.Event {
	var in struct {
		Todos []struct {
			Content string `json:"content"`
			Status  string `json:"status"`
		} `json:"todos"`
	}
	if json.Unmarshal(raw, &in) != nil || in.Todos == nil {
		return nil
	}
	var p cliagent.Planned
	for _, t := range in.Todos {
		p.Items = append(p.Items, task.Todo{Title: t.Content, Done: t.Status == "completed"})
	}
	return []cliagent.Event{p}
}
