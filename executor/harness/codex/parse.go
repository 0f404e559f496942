package codex

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
	"github.com/oz-platform/cloudagents/task"
)

// record is a line of the program's output, as far as it is read.
type record struct {
	Type    string `json:"type"`
	Thread  string `json:"thread_id"`
	Message string `json:"message"`
	Item    item   `json:"item"`
	Error   struct {
		Message string `json:"message"`
	} `json:"error"`
}

// item is something that the agent did or said.
type item struct {
	ID      string          `json:"id"`
	Type    string          `json:"type"`
	Text    string          `json:"text"`
	Message string          `json:"message"`
	Status  string          `json:"status"`
	Command string          `json:"command"`
	Output  string          `json:"aggregated_output"`
	Exit    *int            `json:"exit_code"`
	Changes json.RawMessage `json:"changes"`
	Server  string          `json:"server"`
	Tool    string          `json:"tool"`
	Args    json.RawMessage `json:"arguments"`
	Query   string          `json:"query"`
	Result  *struct {
		Content    []json.RawMessage `json:"content"`
		Structured json.RawMessage   `json:"structured_content"`
	} `json:"result"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
	Items []struct {
		Text      string `json:"text"`
		Completed bool   `json:"completed"`
	} `json:"items"`
}

// maxStarted bounds the calls that are remembered as begun.
const maxStarted = 10_000

// parser reads the output of one process.
type parser struct {
	started map[string]bool
	last    string // what the agent said last
	retry   string // what the program said last of the model's trouble
}

// Line implements cliagent.Parser.
func (p *parser) Line(line []byte) []cliagent.Event {
	var r record
	if json.Unmarshal(line, &r) != nil {
		return nil
	}
	switch r.Type {
	case "thread.started":
		return []cliagent.Event{cliagent.Began{NativeID: r.Thread}}
	case "item.started":
		return p.call(r.Item)
	case "item.updated":
		return plan(r.Item)
	case "item.completed":
		return p.completed(r.Item)
	case "error":
		return p.trouble(r.Message)
	case "turn.completed":
		return []cliagent.Event{cliagent.Finished{Text: p.last}}
	case "turn.failed":
		return []cliagent.Event{cliagent.Finished{Failure: failure(r.Error.Message)}}
	}
	return nil
}

// End implements cliagent.Parser.
func (p *parser) End() []cliagent.Event { return nil }

// trouble takes an error that the program may mend by asking again. The last
// one comes twice, and as the turn's failure.
func (p *parser) trouble(message string) []cliagent.Event {
	if !strings.HasPrefix(message, "Reconnecting") || message == p.retry {
		return nil
	}
	p.retry = message
	return []cliagent.Event{cliagent.Retried{Text: "Codex asks the model again: " + message}}
}

// call opens a tool call. The program does not say where the model's answer
// ends: it has ended when what it asked for is done.
func (p *parser) call(i item) []cliagent.Event {
	c, ok := called(i)
	if !ok || p.started[i.ID] || len(p.started) >= maxStarted {
		return nil
	}
	if p.started == nil {
		p.started = map[string]bool{}
	}
	p.started[i.ID] = true
	return []cliagent.Event{c, cliagent.TurnEnded{StopReason: "tool_use"}}
}

// called is the tool call of an item, if it is one.
func called(i item) (cliagent.Called, bool) {
	c := cliagent.Called{ID: i.ID}
	switch i.Type {
	case "command_execution":
		c.Name, c.Category, c.Input = "exec_command", task.CategoryCommand, object("command", plain(i.Command))
	case "file_change":
		c.Name, c.Category, c.Input = "apply_patch", task.CategoryFiles, object("changes", i.Changes)
	case "mcp_tool_call":
		c.Name, c.Category, c.Input = "mcp__"+i.Server+"__"+i.Tool, task.CategoryIntegration, i.Args
	case "web_search":
		c.Name, c.Category, c.Input = "web_search", task.CategorySearch, object("query", i.Query)
	case "collab_tool_call":
		c.Name, c.Category, c.Input = i.Tool, task.CategoryIntegration, i.Args
	default:
		return c, false
	}
	return c, true
}

func object(name string, value any) json.RawMessage {
	if raw, ok := value.(json.RawMessage); ok && len(raw) == 0 {
		value = nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // commands are full of <, > and &
	if enc.Encode(map[string]any{name: value}) != nil {
		return nil
	}
	return bytes.TrimSpace(b.Bytes())
}

// wrapped is how the program shows a command that it gives to a shell.
var wrapped = regexp.MustCompile(`^(?:/\S*/)?(?:bash|sh|zsh) -l?c '((?s:.*))'$`)

// plain takes the shell off a command, if it is quoted in the simple way.
func plain(command string) string {
	found := wrapped.FindStringSubmatch(command)
	if found == nil {
		return command
	}
	inner := strings.ReplaceAll(found[1], `'\''`, "\x00")
	if strings.Contains(inner, "'") {
		return command
	}
	return strings.ReplaceAll(inner, "\x00", "'")
}

func (p *parser) completed(i item) []cliagent.Event {
	switch i.Type {
	case "agent_message":
		p.last = i.Text
		return []cliagent.Event{cliagent.Text{Text: i.Text}}
	case "reasoning":
		return []cliagent.Event{cliagent.Thought{Text: i.Text}}
	case "error":
		return []cliagent.Event{cliagent.Noted{Text: "Codex: " + i.Message}}
	case "todo_list":
		return plan(i)
	}
	if _, ok := called(i); !ok {
		return nil
	}
	out := p.call(i)
	delete(p.started, i.ID)
	return append(out, returned(i))
}

func plan(i item) []cliagent.Event {
	if i.Type != "todo_list" {
		return nil
	}
	p := cliagent.Planned{Items: []task.Todo{}}
	for _, t := range i.Items {
		p.Items = append(p.Items, task.Todo{Title: t.Text, Done: t.Completed})
	}
	return []cliagent.Event{p}
}

// returned is the result of a call.
func returned(i item) cliagent.Event {
	e := cliagent.Returned{ID: i.ID, State: task.ToolCompleted, Content: i.Output}
	switch i.Status {
	case "failed":
		e.State = task.ToolFailed
	case "declined":
		e.State = task.ToolDenied
	}
	if i.Exit != nil {
		e.Output = map[string]any{"exit_code": *i.Exit}
	}
	if i.Type == "file_change" && e.Content == "" {
		e.Content = changed(i.Changes)
	}
	if i.Result != nil {
		e.Content = content(i.Result.Content)
	}
	if i.Error != nil {
		e.State, e.Content = task.ToolFailed, i.Error.Message
	}
	return e
}

// changed says what a patch did, which the program has no words for.
func changed(raw json.RawMessage) string {
	var list []struct{ Path, Kind string }
	if json.Unmarshal(raw, &list) != nil {
		return ""
	}
	var lines []string
	for _, c := range list {
		lines = append(lines, c.Kind+" "+c.Path)
	}
	return strings.Join(lines, "\n")
}

// content is the text of an MCP server's answer.
func content(blocks []json.RawMessage) string {
	var parts []string
	for _, raw := range blocks {
		var b struct{ Type, Text string }
		switch {
		case json.Unmarshal(raw, &b) != nil:
		case b.Type == "text":
			parts = append(parts, b.Text)
		case b.Type != "":
			parts = append(parts, "["+b.Type+"]")
		}
	}
	return strings.Join(parts, "\n")
}

// status is how the program names the model's HTTP status.
var status = regexp.MustCompile(`unexpected status (\d{3})`)

func failure(message string) *cliagent.Failure {
	f := &cliagent.Failure{Message: message}
	if found := status.FindStringSubmatch(message); found != nil {
		f.Status, _ = strconv.Atoi(found[1]) // three digits
	}
	var doc struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal([]byte(message), &doc) == nil && doc.Error.Message != "" {
		f.Message = doc.Error.Message
	}
	if f.Message == "" {
		f.Message = fmt.Sprintf("it gave no reason (status %d)", f.Status)
	}
	return f
}
