package opencode

import (
	"cmp"
	"encoding/json"
	"strings"

	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// maxText bounds what is kept of an answer's text until it is whole. What is
	// longer comes in blocks.
	maxText = 1 << 20
	// maxCalls bounds the calls that are kept until they end.
	maxCalls = 4096
)

// reader turns what the program tells of its work into events.
type reader struct {
	kind  string          // of the text under way: "agent_message_chunk" or "agent_thought_chunk"
	block string          // which message it belongs to
	text  strings.Builder // of it
	last  string          // the last whole message since the last call
	calls map[string]*call
}

// call is a tool call that has not ended.
type call struct {
	tool    string
	told    bool // it has begun
	invalid bool // there is no such tool, or its input is none
}

// update is what a session/update says.
type update struct {
	Kind    string          `json:"sessionUpdate"`
	Message string          `json:"messageId"`
	Content json.RawMessage `json:"content"` // of a text: one block; of a call: a list
	CallID  string          `json:"toolCallId"`
	Title   string          `json:"title"`
	Status  string          `json:"status"`
	Input   json.RawMessage `json:"rawInput"`
	Output  struct {
		Output   string `json:"output"`
		Error    string `json:"error"`
		Metadata struct {
			Exit *int `json:"exit"`
		} `json:"metadata"`
	} `json:"rawOutput"`
	Entries []entry `json:"entries"`
}

// update takes one piece of news. That of another session, as of an agent of the
// agent's, is none.
func (d *dialogue) update(raw json.RawMessage) []cliagent.Event {
	var p struct {
		Session string          `json:"sessionId"`
		Update  json.RawMessage `json:"update"`
	}
	var u update
	if json.Unmarshal(raw, &p) != nil || json.Unmarshal(p.Update, &u) != nil || p.Session != d.open() {
		return nil
	}
	switch u.Kind {
	case "agent_message_chunk", "agent_thought_chunk":
		return d.piece(u)
	case "tool_call", "tool_call_update":
		return append(d.flush(), d.call(u, d.model)...)
	case "plan":
		return append(d.flush(), planned(u.Entries))
	}
	return nil
}

// open is the session that is open, "" for none.
func (d *dialogue) open() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.session
}

// piece takes a piece of text. A block ends where another begins.
func (r *reader) piece(u update) []cliagent.Event {
	var c struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(u.Content, &c) != nil {
		return nil
	}
	var out []cliagent.Event
	if u.Kind != r.kind || u.Message != r.block || r.text.Len() > maxText {
		out = r.flush()
	}
	r.kind, r.block = u.Kind, u.Message
	r.text.WriteString(c.Text)
	return out
}

// flush ends the block under way.
func (r *reader) flush() []cliagent.Event {
	if r.text.Len() == 0 {
		return nil
	}
	text := r.text.String()
	r.text.Reset()
	if r.kind == "agent_thought_chunk" {
		return []cliagent.Event{cliagent.Thought{Text: text}}
	}
	r.last = text
	return []cliagent.Event{cliagent.Text{Text: text}}
}

// call follows a tool call: it is told of once its input is whole.
func (r *reader) call(u update, model string) []cliagent.Event {
	if u.CallID == "" {
		return nil
	}
	c := r.calls[u.CallID]
	if c == nil {
		if len(r.calls) >= maxCalls {
			return nil
		}
		if r.calls == nil {
			r.calls = map[string]*call{}
		}
		c = &call{tool: u.Title} // the first title is the tool's name
		r.calls[u.CallID] = c
	}
	done := u.Status == "completed" || u.Status == "failed"
	var out []cliagent.Event
	c.invalid = c.invalid || u.Title == "invalid"
	if !c.told && (done || u.Status == "in_progress") {
		c.told = true
		r.last = "" // what it says before a call is no last word
		out = append(out, cliagent.Called{ID: u.CallID, Name: c.tool, Category: category(c.tool), Input: u.Input})
		if c.tool == "todowrite" {
			out = append(out, todos(u.Input)...)
		}
		out = append(out, cliagent.TurnEnded{Model: model, StopReason: "tool_use"})
	}
	if done {
		delete(r.calls, u.CallID)
		out = append(out, returned(u, *c))
	}
	return out
}

// returned is the result of a call. A command that ended with another code than
// 0, or was stopped, is completed for the program, and failed for the log, as
// with every agent.
func returned(u update, c call) cliagent.Event {
	e := cliagent.Returned{ID: u.CallID, State: task.ToolCompleted, Content: cmp.Or(u.Output.Output, u.Output.Error, texts(u.Content))}
	if u.Status == "failed" || c.invalid || c.tool == "bash" && u.Output.Metadata.Exit == nil {
		e.State = task.ToolFailed
	}
	if exit := u.Output.Metadata.Exit; exit != nil {
		e.Output = map[string]any{"exit_code": *exit}
		if *exit != 0 {
			e.State = task.ToolFailed
		}
	}
	return e
}

// texts joins the texts of a call's content.
func texts(raw json.RawMessage) string {
	var list []struct {
		Content struct {
			Text string `json:"text"`
		} `json:"content"`
	}
	if json.Unmarshal(raw, &list) != nil {
		return ""
	}
	var parts []string
	for _, c := range list {
		if c.Content.Text != "" {
			parts = append(parts, c.Content.Text)
		}
	}
	return strings.Join(parts, "\n")
}

// entry is one of the agent's task list.
type entry struct {
	Content string `json:"content"`
	Status  string `json:"status"`
}

// todos reads the task list of a todowrite.
func todos(raw json.RawMessage) []cliagent.Event {
	var in struct {
		Todos []entry `json:"todos"`
	}
	if json.Unmarshal(raw, &in) != nil || in.Todos == nil {
		return nil
	}
	return []cliagent.Event{planned(in.Todos)}
}

// planned is the agent's task list.
func planned(entries []entry) cliagent.Event {
	p := cliagent.Planned{Items: []task.Todo{}}
	for _, e := range entries {
		p.Items = append(p.Items, task.Todo{Title: e.Content, Done: e.Status == "completed"})
	}
	return p
}

// category sorts the program's own tools for display.
func category(tool string) task.ToolCategory {
	switch tool {
	case "bash":
		return task.CategoryCommand
	case "read", "write", "edit", "multiedit", "patch", "apply_patch":
		return task.CategoryFiles
	case "glob", "grep", "list", "webfetch", "websearch", "codesearch":
		return task.CategorySearch
	case "skill":
		return task.CategorySkill
	case "todowrite", "todoread":
		return task.CategoryDocuments
	}
	return task.CategoryIntegration
}
