// Package console shows a run's events on a terminal, live, and as the event
// objects that scripts read.
package console

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/task"
)

// Printer shows events as text: phases, the agent's words, its tools with
// their output, diffs, artifacts and states. Not safe for concurrent use.
type Printer struct {
	w     io.Writer
	color bool
	// inText is the ID of the message whose pieces are being printed.
	inText string
	// midLine says that the last thing printed did not end its line.
	midLine bool
	inputs  int
	err     error
}

// NewPrinter makes a printer. color adds ANSI colours.
func NewPrinter(w io.Writer, color bool) *Printer { return &Printer{w: w, color: color} }

// Err gives the first error of the writer.
func (p *Printer) Err() error { return p.err }

// Event shows one event.
func (p *Printer) Event(e task.Event) {
	switch d := e.Payload.(type) {
	case *task.Message:
		p.text(d.ID, "", d.Text, d.More)
	case *task.Reasoning:
		p.text(d.ID, "2", d.Text, d.More)
	case *task.ToolOutput:
		p.output(d.Text)
	case *task.TerminalOutput:
		p.output(Plain(d.Text))
	default:
		p.endLine()
		p.line(e)
	}
}

// line shows an event that stands on lines of its own.
func (p *Printer) line(e task.Event) {
	switch d := e.Payload.(type) {
	case *task.StateChanged:
		p.state(d)
	case *task.Phase:
		p.phase(d)
	case *task.Input:
		p.input(d)
	case *task.ToolCall:
		p.printf("36", "› %s", CallTitle(d))
	case *task.ToolResult:
		p.result(d)
	case *task.Todos:
		p.todos(d)
	case *task.ArtifactReported:
		p.printf("35", "◆ %s", ArtifactTitle(d.Artifact))
	case *task.Notice:
		p.printf("33", "! %s", d.Text)
	case *task.Terminal:
		p.terminal(d)
	case *task.ErrorReported:
		p.printf("31", "✗ %s: %s", d.Code, d.Message)
	case *task.Compaction:
		p.printf("2", "· the conversation was summarised to fit the model's context")
	}
}

func (p *Printer) state(d *task.StateChanged) {
	switch {
	case d.To == task.StateClaimed && d.Worker != "":
		p.printf("2", "· %s by worker %s", d.To, d.Worker)
	case d.To.Ended() && d.Status.Message != "":
		p.printf(stateColor(d.To), "■ %s  %s", d.To, d.Status.Message)
	case d.To.Ended():
		p.printf(stateColor(d.To), "■ %s", d.To)
	default:
		p.printf("2", "· %s", d.To)
	}
}

func stateColor(s task.State) string {
	switch s {
	case task.StateSucceeded:
		return "32"
	case task.StateFailed, task.StateError:
		return "31"
	}
	return "33"
}

func (p *Printer) phase(d *task.Phase) {
	took := time.Duration(d.DurationMS) * time.Millisecond
	switch d.Status {
	case task.PhaseStarted:
		if d.Detail != "" {
			p.printf("1", "▸ %s: %s", d.Name, d.Detail)
			return
		}
		p.printf("1", "▸ %s", d.Name)
	case task.PhaseDone:
		p.printf("2", "  %s took %s%s", d.Name, took, suffix(d.Detail))
	case task.PhaseFailed:
		p.printf("31", "  %s failed after %s%s", d.Name, took, suffix(d.Detail))
	}
}

// terminal tells that somebody has taken over, and the end of that.
func (p *Printer) terminal(d *task.Terminal) {
	if d.State == task.TerminalOpened {
		p.printf("35", "▷ %s has taken over in a terminal", cmp.Or(d.By.DisplayName, d.By.UID))
		return
	}
	p.printf("35", "◁ the terminal is closed: %s", d.Reason)
}

// escapes are what moves a terminal's cursor, sets its colours and title.
var escapes = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(\x07|\x1b\\)?|[ -/]*[0-~])`)

// Plain takes the escapes of terminals out of a text.
func Plain(text string) string { return escapes.ReplaceAllString(text, "") }

// CleanText makes words of others fit for one line of a terminal.
func CleanText(s string) string { return strings.Join(strings.Fields(clean(s)), " ") }

func suffix(detail string) string {
	if detail == "" {
		return ""
	}
	return " (" + detail + ")"
}

// input shows messages after the prompt, which the person has just typed.
func (p *Printer) input(d *task.Input) {
	p.inputs++
	if p.inputs == 1 {
		return
	}
	p.printf("34", "» %s", d.Text)
}

func (p *Printer) result(d *task.ToolResult) {
	var out struct {
		ExitCode *int   `json:"exit_code"`
		Diff     string `json:"diff"`
	}
	_ = json.Unmarshal(d.Output, &out) // a result without them just shows less
	if out.Diff != "" {
		p.diff(out.Diff)
	}
	took := time.Duration(d.DurationMS) * time.Millisecond
	switch {
	case d.State == task.ToolFailed || d.State == task.ToolDenied:
		p.printf("31", "  %s %s: %s", d.Name, d.State, firstLines(d.Content, 6))
	case out.ExitCode != nil:
		p.printf("2", "  exit %d after %s", *out.ExitCode, took)
	}
}

func (p *Printer) diff(diff string) {
	for line := range strings.SplitSeq(strings.TrimRight(diff, "\n"), "\n") {
		color := ""
		switch {
		case strings.HasPrefix(line, "+"):
			color = "32"
		case strings.HasPrefix(line, "-"):
			color = "31"
		}
		p.printf(color, "  %s", line)
	}
}

func (p *Printer) todos(d *task.Todos) {
	for _, t := range d.Items {
		mark := " "
		if t.Done {
			mark = "x"
		}
		p.printf("", "  [%s] %s", mark, t.Title)
	}
}

// text shows a piece of a message that may go on.
func (p *Printer) text(id, color, text string, more bool) {
	if p.inText != id {
		p.endLine()
		p.inText = id
	}
	p.write(p.paint(color, clean(text)))
	p.midLine = p.midLine || text != ""
	if !more {
		p.endLine()
	}
}

// output shows what a tool prints, indented.
func (p *Printer) output(text string) {
	if p.inText != "" {
		p.endLine()
	}
	for line := range strings.Lines(clean(text)) {
		if !p.midLine {
			p.write("  ")
		}
		p.write(line)
		p.midLine = !strings.HasSuffix(line, "\n")
	}
}

func (p *Printer) endLine() {
	if p.midLine {
		p.write("\n")
	}
	p.midLine, p.inText = false, ""
}

func (p *Printer) printf(color, format string, args ...any) {
	p.write(p.paint(color, clean(fmt.Sprintf(format, args...))) + "\n")
}

func (p *Printer) paint(color, s string) string {
	if !p.color || color == "" || s == "" {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

func (p *Printer) write(s string) {
	if _, err := io.WriteString(p.w, s); err != nil && p.err == nil {
		p.err = err
	}
}

// clean drops control characters, so that an agent cannot steer the terminal
// of whoever watches it. Tabs and newlines stay.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if (r < 0x20 && r != '\n' && r != '\t') || (r >= 0x7f && r < 0xa0) {
			return -1
		}
		return r
	}, s)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// firstLines gives the first n lines, indented but for the first.
func firstLines(s string, n int) string {
	lines := strings.SplitN(strings.TrimSpace(s), "\n", n+1)
	if len(lines) > n {
		lines[n] = "..."
	}
	return strings.Join(lines, "\n    ")
}

// CallTitle says in one line what a tool call is about.
func CallTitle(d *task.ToolCall) string {
	var in map[string]any
	_ = json.Unmarshal(d.Input, &in) // an odd input shows the bare name
	for _, key := range []string{"command", "title", "path", "queries", "patterns", "files", "message", "outcome", "question", "command_id", "branch"} {
		if words := subject(in[key]); words != "" {
			return d.Name + " " + words
		}
	}
	return d.Name
}

// subject gives what a tool's argument names: a text, or the texts or paths of
// a list.
func subject(v any) string {
	switch v := v.(type) {
	case string:
		return firstLine(v)
	case map[string]any:
		return subject(v["path"])
	case []any:
		var words []string
		for _, e := range v {
			if w := subject(e); w != "" {
				words = append(words, w)
			}
		}
		return strings.Join(words, ", ")
	}
	return ""
}

// ArtifactTitle says in one line what an artifact is.
func ArtifactTitle(a task.Artifact) string {
	switch a.Type {
	case task.ArtifactPullRequest:
		return "pull request " + a.URL + " (branch " + a.Branch + ")"
	case task.ArtifactReference:
		return strings.ReplaceAll(a.ReferenceType, "_", " ") + " " + strings.TrimSpace(a.Title+" "+a.URL)
	}
	return strings.ToLower(string(a.Type)) + " " + a.Path + a.Title
}

// Clean gives a writer that passes text on without control characters, as
// Printer does. Tabs and newlines stay.
func Clean(w io.Writer) io.Writer { return &cleaner{w: w} }

type cleaner struct {
	w    io.Writer
	part []byte // of a character that the next write completes
}

// Write implements io.Writer.
func (c *cleaner) Write(p []byte) (int, error) {
	text := append(c.part, p...)
	whole := len(text)
	for i := 1; i < utf8.UTFMax && i <= len(text); i++ {
		if b := text[len(text)-i]; utf8.RuneStart(b) {
			if !utf8.FullRune(text[len(text)-i:]) {
				whole = len(text) - i
			}
			break
		}
	}
	c.part = append([]byte(nil), text[whole:]...)
	if _, err := io.WriteString(c.w, clean(string(text[:whole]))); err != nil {
		return 0, err
	}
	return len(p), nil
}
