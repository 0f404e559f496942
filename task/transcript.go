package task

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// WriteTranscript writes events as JSON lines, one event in its wire form on
// each. A long log may be written page by page.
func WriteTranscript(w io.Writer, events []Event) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, e := range events {
		if err := enc.Encode(e); err != nil {
			return fmt.Errorf("write transcript: %w", err)
		}
	}
	return nil
}

// WriteMarkdown writes the conversation for people to read, under a title.
func (c Conversation) WriteMarkdown(w io.Writer, title string) error {
	out := bufio.NewWriter(w) // keeps the first error until Flush
	fmt.Fprintf(out, "# %s\n", oneLine(orDefault(title, "Conversation")))
	for i, s := range c.Steps {
		fmt.Fprintf(out, "\n## Step %d\n", i+1)
		for _, m := range s.Messages {
			writeMessage(out, m)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write conversation: %w", err)
	}
	return nil
}

func writeMessage(w io.Writer, m ConversationMessage) {
	heading := map[Role]string{RoleUser: "User", RoleAssistant: "Agent"}[m.Role]
	if heading != "" {
		fmt.Fprintf(w, "\n**%s** %s\n", heading, m.Timestamp.UTC().Format("2006-01-02 15:04:05"))
	}
	for _, c := range m.Content {
		switch c.Type {
		case BlockText:
			fmt.Fprintf(w, "\n%s\n", strings.TrimRight(c.Text, "\n"))
		case BlockAction:
			fmt.Fprintf(w, "\n`%s`\n\n%s", oneLine(c.Name), codeBlock(c.Input))
		case BlockActionResult:
			fmt.Fprintf(w, "\n%s: %s\n\n%s", oneLine(c.Name), c.State, codeBlock(c.Output))
		case BlockEvent:
			fmt.Fprintf(w, "\n- %s: %s\n", c.Name, eventLine(c.Data))
		}
	}
}

// codeBlock shows a JSON object: its text when it holds nothing else.
func codeBlock(raw json.RawMessage) string {
	text := string(raw)
	var fields map[string]any
	if json.Unmarshal(raw, &fields) == nil && len(fields) == 1 {
		for _, v := range fields {
			if s, ok := v.(string); ok {
				text = s
			}
		}
	}
	var pretty bytes.Buffer
	if text == string(raw) && json.Indent(&pretty, raw, "", "  ") == nil {
		text = pretty.String()
	}
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence + "\n" + strings.TrimRight(text, "\n") + "\n" + fence + "\n"
}

// eventLine shows the data of an event on one line.
func eventLine(raw json.RawMessage) string {
	var data map[string]any
	if json.Unmarshal(raw, &data) != nil {
		return ""
	}
	for _, k := range []string{"text", "message", "summary"} {
		if s, ok := data[k].(string); ok && len(data) == 1 {
			return oneLine(s)
		}
	}
	return oneLine(string(raw))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
