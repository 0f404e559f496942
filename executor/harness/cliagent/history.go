package cliagent

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// maxToldBytes bounds the conversation as it is told to a new native
	// session, maxEntryBytes one entry of it. The beginning and the end count most.
	maxToldBytes  = 160 << 10
	maxEntryBytes = 8 << 10
	// maxSummaryBytes bounds the agent's last words as the run's summary.
	maxSummaryBytes = 16 << 10
)

// Stop reasons that the log has of every agent.
const (
	stopDone  = "end_turn"
	stopTools = "tool_use"
)

// history is what the run's log tells of the agent's work so far.
type history struct {
	inputs    map[int64]*task.Input
	delivered map[int64]bool
	seen      int64
	groups    [][]int64 // delivered together, in order; since the native session began
	native    string    // the newest native session
	opened    *Prompt   // what it was opened with; nil without a session
	turns     int
	turnsHere int
	done      bool                      // the last turn was the agent's last word
	words     []string                  // of the last turn
	calls     map[string]*task.ToolCall // without results
	order     []string                  // their ids, as they were made
	turn      []*task.ToolCall          // calls of the turn under way
	open      bool                      // a turn is
	handoff   bool
	artifacts map[string]bool // reported, by UID

	head  []string // the beginning of the conversation, as told
	told  []string // the rest of it; the oldest go first
	bytes int
	left  int // entries left out
}

// readHistory folds the whole log.
func readHistory(ctx context.Context, s *harness.Session, kind string) (*history, error) {
	h := &history{inputs: map[int64]*task.Input{}, delivered: map[int64]bool{}, calls: map[string]*task.ToolCall{}, artifacts: map[string]bool{}}
	for e, err := range s.Journal.History(ctx, 0) {
		if err != nil {
			return nil, fmt.Errorf("read the run's log: %w", err)
		}
		h.fold(e, s, kind)
	}
	return h, nil
}

func (h *history) fold(e task.Event, s *harness.Session, kind string) {
	switch p := e.Payload.(type) {
	case *task.Input:
		h.inputs[e.Seq] = p
	case *task.AgentSession:
		h.native, h.opened, h.groups = "", nil, nil
		if p.Harness == kind {
			opened := h.first(s, p.Inputs, p.Told)
			h.native, h.opened = p.ID, &opened
		}
	case *task.Delivered:
		h.deliver(p.Inputs)
	case *task.Handoff:
		h.handoff = true
		h.tell("Earlier", p.Text)
	case *task.TurnStarted:
		h.words, h.turn, h.open = nil, nil, true
	case *task.Message:
		h.words = append(h.words, p.Text)
	case *task.ToolCall:
		if h.open && !strings.HasPrefix(p.ID, setupCall) {
			h.turn = append(h.turn, p)
		}
	case *task.TurnEnded:
		h.endTurn(p, e.ExecutionID == s.Execution.ID)
	case *task.ToolResult:
		h.result(p)
	case *task.ArtifactReported:
		h.artifacts[p.Artifact.UID] = true
	}
}

// unanswered lists the calls without results.
func (h *history) unanswered() []*task.ToolCall {
	var out []*task.ToolCall
	for _, id := range h.order {
		if c := h.calls[id]; c != nil {
			out = append(out, c)
		}
	}
	return out
}

// lastWords is what the agent said in its last turn.
func (h *history) lastWords() string {
	return bounded(strings.TrimSpace(strings.Join(h.words, "")), maxSummaryBytes)
}

// setupCall begins the ids of setup commands, which are no work of the agent's.
const setupCall = "setup-"

func (h *history) deliver(inputs []int64) {
	var fresh []int64
	for _, n := range inputs {
		if in := h.inputs[n]; in != nil && !h.delivered[n] {
			h.delivered[n] = true
			h.seen = max(h.seen, n)
			fresh = append(fresh, n)
			h.tell("User", in.Text)
		}
	}
	if len(fresh) > 0 {
		h.groups = append(h.groups, fresh)
		h.done = false
	}
}

func (h *history) endTurn(p *task.TurnEnded, here bool) {
	h.turns++
	h.open = false
	for _, c := range h.turn { // without the turn's end they never were
		h.calls[c.ID] = c
		h.order = append(h.order, c.ID)
	}
	if here {
		h.turnsHere++
	}
	h.done = len(h.turn) == 0 && p.StopReason == stopDone
	if text := strings.TrimSpace(strings.Join(h.words, "")); text != "" {
		h.tell("You", text)
	}
}

func (h *history) result(p *task.ToolResult) {
	c := h.calls[p.CallID]
	delete(h.calls, p.CallID)
	if c != nil {
		h.tell("You called "+p.Name+" ("+string(p.State)+")", bounded(string(c.Input), maxEntryBytes/4)+"\n"+middleOut(p.Content, maxEntryBytes/2))
	}
}

// tell adds to the conversation as text.
func (h *history) tell(who, text string) {
	entry := who + ":\n" + middleOut(text, maxEntryBytes)
	if h.bytes+len(entry) <= maxToldBytes/4 && len(h.told) == 0 {
		h.head = append(h.head, entry)
		h.bytes += len(entry)
		return
	}
	h.told = append(h.told, entry)
	h.bytes += len(entry)
	for h.bytes > maxToldBytes && len(h.told) > 1 {
		h.bytes -= len(h.told[0])
		h.told = h.told[1:]
		h.left++
	}
}

// conversation is all that was said, as text for a new native session.
func (h *history) conversation() string {
	parts := append([]string{goOn}, h.head...)
	if h.left > 0 {
		parts = append(parts, fmt.Sprintf("[%d entries left out]", h.left))
	}
	return strings.Join(append(parts, h.told...), "\n\n")
}

// What the platform says to the agent.
const (
	goOn             = "You go on with work that was begun in an earlier session, which you do not have. This is what was said and done there, up to its end:"
	takeUp           = "The run was restarted while you were at work. Commands that were running then were stopped: look at what is done, and go on with the task."
	workspaceRebuilt = "The workspace was made anew from the repository. Files that were changed but not pushed are lost; look at what is there before you go on."
)

// prompt makes the prompt for messages from people.
func (h *history) prompt(s *harness.Session, inputs []int64) Prompt {
	var texts []string
	words := ""
	name := string(s.Task.ID)
	for _, n := range inputs {
		in := h.inputs[n]
		if in == nil {
			continue // pruned
		}
		texts = append(texts, inputText(in, s.AttachmentDir))
		words = cmp.Or(words, wordsOf(in))
		name += fmt.Sprintf("/%d", n)
	}
	return Prompt{ID: uuid.NewSHA1(uuid.Nil, []byte(name)).String(), Text: strings.Join(texts, "\n\n"), Inputs: inputs, Words: words}
}

// first is the prompt that opens a native session. One that tells the whole
// conversation has another text.
func (h *history) first(s *harness.Session, inputs []int64, told bool) Prompt {
	p := h.prompt(s, inputs)
	if told {
		p.ID = uuid.NewSHA1(uuid.Nil, []byte(p.ID+"/told")).String()
		p.Words = goOn
	}
	return p
}

// said makes a prompt of what the platform says.
func said(text string) Prompt { return Prompt{ID: uuid.NewString(), Text: text} }

// wordsOf is the part of a message's text that is the same wherever files lie.
func wordsOf(in *task.Input) string {
	if words := strings.TrimSpace(in.Text); words != "" {
		return words
	}
	if len(in.Attachments) > 0 {
		return fmt.Sprintf("[attached file %q", in.Attachments[0].FileName)
	}
	return emptyMessage
}

const emptyMessage = "(an empty message)"

// inputText is a message as the agent gets it.
func inputText(in *task.Input, dir string) string {
	text := in.Text
	for _, a := range in.Attachments {
		where := "not to be had here"
		if dir != "" {
			where = "saved as " + filepath.Join(dir, path.Base(a.Blob), a.FileName)
		}
		text += fmt.Sprintf("\n[attached file %q (%s, %d bytes): %s]", a.FileName, a.MIMEType, a.SizeBytes, where)
	}
	if strings.TrimSpace(text) == "" {
		return emptyMessage
	}
	return text
}
