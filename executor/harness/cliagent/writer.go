package cliagent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// pieceBytes bounds the text of one event; as JSON it can be six times as long.
	pieceBytes = 256 << 10
	// maxContentBytes is what is kept of a tool's result, its middle left out.
	maxContentBytes = 128 << 10
	// maxInputBytes bounds a call's input.
	maxInputBytes = 1 << 20
	// maxOpenCalls bounds the calls that wait for their results.
	maxOpenCalls = 1024
)

// Contents of results that no program gave.
const (
	outcomeUnknown = "The run was restarted while this call was under way. Its outcome is unknown: it may have been done, half done or not done."
	cutOff         = "Stopped before it had ended. Its outcome is unknown: it may have been done, half done or not done."
)

// openCall is a call without a result.
type openCall struct {
	native, id, name string
	category         task.ToolCategory
	since            time.Time
	input            json.RawMessage // as it is in the log
}

// writer puts a process's events into the run's log.
type writer struct {
	s         *harness.Session
	key       string // makes the ids of this process unlike those of another
	count     int
	turns     int // ended, in the whole run
	turnsHere int // ended, in this execution

	open      bool // a turn is
	turnCalls int  // of the turn under way or, if none is, of the last one
	said      []string
	calls     []openCall
	loop      loop
}

func newWriter(s *harness.Session, turns, turnsHere int) *writer {
	return &writer{s: s, key: uuid.NewString()[:8], turns: turns, turnsHere: turnsHere}
}

// take writes one event.
func (w *writer) take(ctx context.Context, e Event) error {
	switch e := e.(type) {
	case TurnBegan:
		// One that is open broke off: the model is asked again.
		return w.begin(ctx)
	case Text:
		return w.text(ctx, e.Text, false)
	case Thought:
		return w.text(ctx, e.Text, true)
	case Called:
		return w.called(ctx, e)
	case TurnEnded:
		return w.end(ctx, e)
	case Returned:
		return w.returned(ctx, e)
	case Planned:
		return w.s.Journal.Post(ctx, &task.Todos{Items: e.Items})
	case Noted:
		return w.note(ctx, e.Text)
	case Finished:
		if !w.open {
			return nil
		}
		if e.Failure != nil || e.Interrupted {
			return nil // settle has the rest
		}
		return w.end(ctx, TurnEnded{})
	}
	return nil
}

func (w *writer) note(ctx context.Context, text string) error {
	return w.s.Journal.Post(ctx, &task.Notice{Text: bounded(w.s.Redactor.String(clean(text)), 4<<10)})
}

// begin opens a turn.
func (w *writer) begin(ctx context.Context) error {
	if w.open { // it never was, and its calls with it
		w.calls = w.calls[:len(w.calls)-min(w.turnCalls, len(w.calls))]
	}
	w.open, w.turnCalls, w.said = true, 0, nil
	return w.s.Journal.Post(ctx, &task.TurnStarted{Turn: w.turns + 1})
}

// ensure opens a turn if none is.
func (w *writer) ensure(ctx context.Context) error {
	if w.open {
		return nil
	}
	return w.begin(ctx)
}

// end closes the turn, if one is open, and makes it durable.
func (w *writer) end(ctx context.Context, e TurnEnded) error {
	if !w.open {
		return nil
	}
	w.open = false
	w.turns++
	w.turnsHere++
	stop := e.StopReason
	if stop == "" && w.turnCalls == 0 {
		stop = stopDone
	}
	if err := w.s.Journal.Post(ctx, &task.TurnEnded{Turn: w.turns, Model: bounded(clean(e.Model), 200), StopReason: bounded(clean(stop), 100), RequestID: bounded(clean(e.RequestID), 200)}); err != nil {
		return err
	}
	return w.s.Journal.Flush(ctx)
}

// text writes a block in pieces that an event can hold. It is redacted as a
// whole before it is cut: no secret is cut in two.
func (w *writer) text(ctx context.Context, text string, thought bool) error {
	text = w.s.Redactor.String(clean(text))
	if strings.TrimSpace(text) == "" {
		return nil
	}
	if err := w.ensure(ctx); err != nil {
		return err
	}
	w.count++
	id := fmt.Sprintf("m%d-%s-%d", w.turns+1, w.key, w.count)
	if !thought {
		w.said = append(w.said, bounded(text, maxSummaryBytes))
	}
	for len(text) > 0 {
		n := cutAt(text, pieceBytes)
		more := n < len(text)
		var p task.Payload = &task.Message{ID: id, Text: text[:n], More: more}
		if thought {
			p = &task.Reasoning{ID: id, Text: text[:n], More: more}
		}
		if err := w.s.Journal.Post(ctx, p); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

func (w *writer) called(ctx context.Context, e Called) error {
	if slices.ContainsFunc(w.calls, func(c openCall) bool { return c.native == e.ID }) {
		return nil
	}
	if len(w.calls) >= maxOpenCalls {
		return w.note(ctx, fmt.Sprintf("A call of %s is not shown: %d calls wait for their results.", e.Name, maxOpenCalls))
	}
	if err := w.ensure(ctx); err != nil {
		return err
	}
	w.count++
	w.turnCalls++
	c := openCall{native: e.ID, id: fmt.Sprintf("call-%s-%d", w.key, w.count), name: bounded(clean(e.Name), 200),
		category: e.Category, since: w.s.Clock.Now(), input: objectOf(e.Input)}
	if c.name == "" {
		c.name = "unnamed"
	}
	if c.category == "" {
		c.category = task.CategoryIntegration
	}
	w.calls = append(w.calls, c)
	return w.s.Journal.Post(ctx, &task.ToolCall{ID: c.id, Name: c.name, Category: c.category, Input: c.input})
}

// objectOf makes an object of an input, whatever the program gave.
func objectOf(raw json.RawMessage) json.RawMessage {
	var object map[string]json.RawMessage
	switch {
	case len(raw) > maxInputBytes:
		return json.RawMessage(fmt.Sprintf(`{"overlong_bytes":%d}`, len(raw)))
	case utf8.Valid(raw) && json.Unmarshal(raw, &object) == nil && object != nil:
		return raw
	case len(raw) == 0 || string(raw) == "null":
		return json.RawMessage("{}")
	}
	wrapped, _ := json.Marshal(map[string]string{"input": clean(string(raw))}) // strings always marshal
	return wrapped
}

func (w *writer) returned(ctx context.Context, e Returned) error {
	if w.open && w.turnCalls > 0 { // the program does not say when an answer is complete
		if err := w.end(ctx, TurnEnded{StopReason: stopTools}); err != nil {
			return err
		}
	}
	i := slices.IndexFunc(w.calls, func(c openCall) bool { return c.native == e.ID })
	if i < 0 {
		return nil // of a call that was not shown
	}
	c := w.calls[i]
	w.calls = slices.Delete(w.calls, i, i+1)
	return w.result(ctx, c, e)
}

func (w *writer) result(ctx context.Context, c openCall, e Returned) error {
	p := &task.ToolResult{CallID: c.id, Name: c.name, Category: c.category, State: e.State,
		Content: middleOut(w.s.Redactor.String(clean(e.Content)), maxContentBytes), DurationMS: w.s.Clock.Now().Sub(c.since).Milliseconds()}
	if p.State == "" || p.State == task.ToolRunning {
		p.State = task.ToolCompleted
	}
	if len(e.Output) > 0 {
		if raw, err := json.Marshal(e.Output); err == nil && len(raw) <= maxInputBytes {
			p.Output = raw
		}
	}
	w.loop.result(c, p)
	return w.s.Journal.Post(ctx, p)
}

// settle closes what is open when the process is gone. A turn without a call
// broke off and did not happen.
func (w *writer) settle(ctx context.Context, content string) error {
	if w.open && w.turnCalls == 0 {
		w.open = false
	}
	if err := w.end(ctx, TurnEnded{StopReason: stopTools}); err != nil {
		return err
	}
	calls := w.calls
	w.calls = nil
	for _, c := range calls {
		if err := w.result(ctx, c, Returned{State: task.ToolFailed, Content: content, Output: map[string]any{"cancelled": true}}); err != nil {
			return err
		}
	}
	return w.s.Journal.Flush(ctx)
}

// words are what the agent said in its last turn.
func (w *writer) words() string { return strings.Join(w.said, "\n\n") }

// clean makes text fit for every store: valid UTF-8 without NUL.
func clean(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "")
}

// cutAt is where to cut text so that at most n bytes come before, and no
// character is torn.
func cutAt(text string, n int) int {
	if len(text) <= n {
		return len(text)
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return n
}

// bounded cuts text to about n bytes.
func bounded(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return text[:cutAt(text, n)] + " [...]"
}

// middleOut leaves out the middle of a long text.
func middleOut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	head := cutAt(text, n/3)
	rest := len(text) - (n - head)
	for rest < len(text) && !utf8.RuneStart(text[rest]) {
		rest++
	}
	return fmt.Sprintf("%s\n[... %d bytes left out ...]\n%s", text[:head], rest-head, text[rest:])
}

func overlongRecord(n int64) string {
	return fmt.Sprintf("The agent's program printed a record of %d bytes, which is too long to be read; it was left out.", n)
}

func cutRecord(n int64) string {
	return fmt.Sprintf("The agent's program ended in the middle of a record, after %d bytes; it was left out.", n)
}
