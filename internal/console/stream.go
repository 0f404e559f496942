package console

import (
	"cmp"
	"encoding/json"
	"io"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// Stream writes a run's events as one JSON object a line, in the forms that
// the oz command promises to scripts. Pieces of a message are joined. Not safe
// for concurrent use.
type Stream struct {
	enc   *json.Encoder
	texts map[string]*strings.Builder
	out   map[string]*strings.Builder
	err   error
}

// maxJoined bounds what is kept of one message or one tool's output, in bytes.
const maxJoined = 1 << 20

// NewStream makes a stream.
func NewStream(w io.Writer) *Stream {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &Stream{enc: enc, texts: map[string]*strings.Builder{}, out: map[string]*strings.Builder{}}
}

// Err gives the first error of the writer.
func (s *Stream) Err() error { return s.err }

// object is one line. Only the fields of its type are set.
type object map[string]any

// Started says which run the stream is about, and which conversation: its own,
// or the one that it goes on with.
func (s *Stream) Started(t task.Task, url string) {
	s.emit(object{"type": "system", "event_type": "run_started", "run_id": t.ID, "run_url": url})
	s.emit(object{"type": "system", "event_type": "conversation_started", "conversation_id": cmp.Or(t.ConversationID, string(t.ID))})
}

// Event writes what an event means to a script; some events mean nothing.
func (s *Stream) Event(e task.Event) {
	switch d := e.Payload.(type) {
	case *task.Message:
		s.joined(d.ID, "agent", d.Text, d.More)
	case *task.Reasoning:
		s.joined(d.ID, "agent_reasoning", d.Text, d.More)
	case *task.ToolCall:
		s.emit(with(decoded(d.Input), "tool_call", d.Name))
	case *task.ToolOutput:
		keep(s.out, d.CallID, d.Text)
	case *task.ToolResult:
		s.result(d)
	case *task.Todos:
		s.todos(d)
	case *task.ArtifactReported:
		s.artifact(d.Artifact)
	case *task.StateChanged:
		s.emit(object{"type": "system", "event_type": "state_changed", "state": d.To, "status_message": d.Status})
	case *task.Phase:
		s.emit(object{"type": "system", "event_type": "phase", "phase": d.Name, "status": d.Status, "duration_ms": d.DurationMS, "detail": d.Detail})
	case *task.Terminal:
		s.emit(object{"type": "system", "event_type": "terminal_" + string(d.State), "terminal_id": d.ID, "by": d.By.UID, "reason": d.Reason})
	case *task.TerminalOutput:
		s.emit(object{"type": "system", "event_type": "terminal_output", "terminal_id": d.ID, "text": d.Text})
	case *task.Notice:
		s.emit(object{"type": "system", "event_type": "notice", "text": d.Text})
	case *task.ErrorReported:
		s.emit(object{"type": "system", "event_type": "error", "error_code": d.Code, "message": d.Message})
	}
}

func (s *Stream) joined(id, kind, text string, more bool) {
	keep(s.texts, id, text)
	if more {
		return
	}
	if whole := s.texts[id].String(); whole != "" {
		s.emit(object{"type": kind, "text": whole})
	}
	delete(s.texts, id)
}

func keep(m map[string]*strings.Builder, id, text string) {
	b := m[id]
	if b == nil {
		b = &strings.Builder{}
		m[id] = b
	}
	if room := maxJoined - b.Len(); len(text) > room {
		text = text[:room]
	}
	b.WriteString(text)
}

func (s *Stream) result(d *task.ToolResult) {
	if d.State == task.ToolDenied {
		s.emit(object{"type": "tool_canceled", "tool": d.Name, "error": d.Content})
		return
	}
	o := decoded(d.Output)
	if d.State == task.ToolFailed && len(o) == 0 {
		s.emit(object{"type": "tool_error", "tool": d.Name, "error": d.Content})
		return
	}
	if b := s.out[d.CallID]; b != nil {
		o["output"] = b.String()
		delete(s.out, d.CallID)
	} else if _, ok := o["output"]; !ok {
		o["output"] = d.Content
	}
	if _, ok := o["exit_code"]; ok {
		o["status"] = "complete"
	}
	s.emit(with(o, "tool_result", d.Name))
}

func (s *Stream) todos(d *task.Todos) {
	open, done := []object{}, []object{}
	for _, t := range d.Items {
		o := object{"title": t.Title, "description": t.Description}
		if t.Done {
			done = append(done, o)
			continue
		}
		open = append(open, o)
	}
	s.emit(object{"type": "update_todos", "todo_list": open})
	if len(done) > 0 {
		s.emit(object{"type": "complete_todos", "completed_todos": done})
	}
}

func (s *Stream) artifact(a task.Artifact) {
	o := object{"type": "artifact_created", "artifact_type": strings.ToLower(string(a.Type)), "artifact_uid": a.UID}
	for key, value := range map[string]string{"title": a.Title, "url": a.URL, "branch": a.Branch, "filepath": a.Path,
		"mime_type": a.MIMEType, "reference_type": a.ReferenceType, "description": a.Description} {
		if value != "" {
			o[key] = value
		}
	}
	if a.Type == task.ArtifactPlan {
		o["document_id"] = a.UID
	}
	s.emit(o)
}

func (s *Stream) emit(o object) {
	if err := s.enc.Encode(o); err != nil && s.err == nil {
		s.err = err
	}
}

// decoded gives the fields of a JSON object, none when raw is not one.
func decoded(raw json.RawMessage) object {
	o := object{}
	_ = json.Unmarshal(raw, &o) // what is no object adds no fields
	if o == nil {
		o = object{}
	}
	return o
}

func with(o object, kind, tool string) object {
	o["type"], o["tool"] = kind, tool
	return o
}
