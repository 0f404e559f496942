package gemini

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
)

// sessionFile finds the file of a session.
func sessionFile(state, session string) (path string, ok bool) {
	short, _, _ := strings.Cut(session, "-")
	if short == "" || strings.ContainsAny(session, `/\*?[`) {
		return "", false
	}
	files, err := filepath.Glob(filepath.Join(state, ".gemini", "tmp", "*", "chats", "session-*-"+short+".jsonl"))
	if err != nil || len(files) != 1 {
		return "", false
	}
	return files[0], true
}

// entry is what a line of the session's file tells of the conversation. A
// message stands on a line of its own, or in a list that replaces all before.
type entry struct {
	ID        string          `json:"id"`
	Type      string          `json:"type"`
	Content   json.RawMessage `json:"content"` // a text, or a list of parts
	ToolCalls []struct {
		ID     string            `json:"id"`
		Result []json.RawMessage `json:"result"`
	} `json:"toolCalls"`
	Set struct {
		Messages []json.RawMessage `json:"messages"`
	} `json:"$set"`
}

// part is one of a content.
type part struct {
	Text     string `json:"text"`
	Response *struct {
		ID string `json:"id"`
	} `json:"functionResponse"`
}

// Received implements cliagent.Agent: the session's file has what the user
// said, word for word.
func (agent) Received(state, session string, prompts []cliagent.Prompt) ([]bool, bool) {
	file, ok := sessionFile(state, session)
	if !ok {
		return nil, false
	}
	m := cliagent.NewMatcher(prompts)
	seen := map[string]bool{}
	said := func(raw []byte) (e entry) {
		if json.Unmarshal(raw, &e) == nil && e.Type == "user" && !seen[e.ID] {
			seen[e.ID] = true
			m.Said(text(e.Content))
		}
		return e
	}
	if err := cliagent.EachLine(file, func(line []byte) {
		for _, one := range said(line).Set.Messages {
			said(one)
		}
	}); err != nil {
		return nil, false
	}
	return m.Received(), true
}

// text takes the text of a content.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var parts []part
	if json.Unmarshal(raw, &parts) != nil {
		return ""
	}
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

// mend takes out of a session's file what the program would tell the model
// twice: it writes the result of a call to the call and as a message of the
// user's, and a resumed session has both (0.61.0), which the API refuses.
func mend(state, session string) error {
	file, ok := sessionFile(state, session)
	if !ok {
		return nil // the program says what is wrong
	}
	out, err := os.CreateTemp(filepath.Dir(file), ".mend-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(out.Name()) }() // it is gone when all went well
	w := bufio.NewWriter(out)
	m := &mender{answered: map[string]bool{}}
	err = cliagent.EachLine(file, func(line []byte) {
		if line = m.line(line); line != nil {
			_, _ = w.Write(line) // Flush gives the error
			_ = w.WriteByte('\n')
		}
	})
	if err = errors.Join(err, w.Flush(), out.Close()); err != nil || !m.changed {
		return err
	}
	return os.Rename(out.Name(), file)
}

// mender goes through a session's file.
type mender struct {
	answered map[string]bool // calls that have their result
	changed  bool
}

// line gives what is to stand in a line's place, nil for nothing.
func (m *mender) line(line []byte) []byte {
	var e entry
	if json.Unmarshal(line, &e) != nil {
		return line
	}
	if m.twice(e) {
		m.changed = true
		return nil
	}
	if e.Set.Messages == nil {
		return line
	}
	return m.list(line, e.Set.Messages)
}

// twice notes the calls of e that have results, and reports whether e is
// nothing but results that calls have already.
func (m *mender) twice(e entry) bool {
	for _, c := range e.ToolCalls {
		if len(c.Result) > 0 {
			m.answered[c.ID] = true
		}
	}
	var parts []part
	if e.Type != "user" || json.Unmarshal(e.Content, &parts) != nil || len(parts) == 0 {
		return false
	}
	for _, p := range parts {
		if p.Response == nil || !m.answered[p.Response.ID] {
			return false
		}
	}
	return true
}

// list mends a line that has all messages so far.
func (m *mender) list(line []byte, messages []json.RawMessage) []byte {
	kept := make([]json.RawMessage, 0, len(messages))
	for _, raw := range messages {
		var e entry
		if json.Unmarshal(raw, &e) != nil || !m.twice(e) {
			kept = append(kept, raw)
		}
	}
	if len(kept) == len(messages) {
		return line
	}
	var whole struct {
		Set map[string]json.RawMessage `json:"$set"`
	}
	if json.Unmarshal(line, &whole) != nil {
		return line
	}
	list, err := json.Marshal(kept)
	if err != nil {
		return line
	}
	whole.Set["messages"] = list
	mended, err := json.Marshal(whole)
	if err != nil {
		return line
	}
	m.changed = true
	return mended
}
