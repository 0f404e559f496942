package ozagent

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// toAgent begins a Notice that is meant for the model, too.
const toAgent = "To the agent: "

// conversation is the fold over the run's log that the model is sent.
type conversation struct {
	journal harness.Journal
	// attachments is harness.Session.AttachmentDir.
	attachments string
	execution   task.ExecutionID
	read        int64 // the log is folded in up to here

	items  []item
	open   *turn            // begun, not ended
	calls  map[string]*call // of all ended turns, by id
	inputs map[int64]*task.Input

	delivered map[int64]bool
	seen      int64 // newest input delivered
	mode      task.Mode
	prompt    string // the first message, which survives compaction
	turns     int    // ended, in the whole run
	turnsHere int    // ended, in this execution
	artifacts map[string]bool
	pushed    map[string]bool // commits that arrived
	pushLost  string          // why the last push failed; empty when it did not
	committed pushRecord      // the last commit by git_commit
	// adrift holds the commits whose push was cut off by a restart, and whose
	// branch has not been pushed since.
	adrift   []pushRecord
	executed []executed      // commands, oldest first
	edited   int             // how many commands had run at the last change of a file; -1 without change
	approved map[string]bool // calls that were begun after a person's approval, by id
	rebuilt  bool            // this execution has told the model that the workspace was made anew
	novel    map[string]bool // call and result, to tell progress from repetition
}

// item is one entry of the conversation: something said to the model, or a
// turn of the model with the results of its calls.
type item struct {
	text string
	turn *turn
	seq  int64 // of its newest event
}

// turn is one answer of the model.
type turn struct {
	number   int
	blocks   []block
	stop     string
	empty    bool // the model said nothing
	repeated bool // all its calls had been made before, with the same results
}

// noAnswer stands for an answer without content.
const noAnswer = "(no answer)"

// blockKind says what a block is.
type blockKind int

const (
	blockText blockKind = iota
	blockReasoning
	blockCall
)

// block is a part of a turn.
type block struct {
	kind   blockKind
	id     string
	text   string
	opaque *opaque
	call   *call
}

// call is a tool call in the log.
type call struct {
	id, name string
	input    json.RawMessage
	result   *task.ToolResult // nil while it has none
}

// executed is a command that ended.
type executed struct {
	command  string
	exitCode int
}

func newConversation(j harness.Journal, e task.ExecutionID, mode task.Mode) *conversation {
	return &conversation{journal: j, execution: e, mode: mode, edited: -1,
		calls: map[string]*call{}, inputs: map[int64]*task.Input{}, delivered: map[int64]bool{},
		artifacts: map[string]bool{}, pushed: map[string]bool{}, approved: map[string]bool{}, novel: map[string]bool{}}
}

// catchUp folds in what the log has gained.
func (c *conversation) catchUp(ctx context.Context) error {
	for e, err := range c.journal.History(ctx, c.read) {
		if err != nil {
			return fmt.Errorf("read the run's log: %w", err)
		}
		if e.Seq <= c.read {
			return fmt.Errorf("read the run's log: event %d after %d", e.Seq, c.read)
		}
		c.read = e.Seq
		c.fold(e)
	}
	return nil
}

func (c *conversation) fold(e task.Event) {
	switch p := e.Payload.(type) {
	case *task.Input:
		c.inputs[e.Seq] = p
	case *task.Delivered:
		c.deliver(e.Seq, p.Inputs)
	case *task.Notice:
		if text, ok := strings.CutPrefix(p.Text, toAgent); ok {
			c.items = append(c.items, item{text: text, seq: e.Seq})
			c.rebuilt = c.rebuilt || text == workspaceRebuilt && e.ExecutionID == c.execution
		}
		if id, ok := strings.CutPrefix(p.Text, approvedCall); ok {
			c.approved[id] = true
		}
	case *task.Handoff:
		c.items = append(c.items, item{text: handedOver + p.Text, seq: e.Seq})
	case *task.TurnStarted:
		c.open = &turn{number: p.Turn}
	case *task.TurnEnded:
		c.endTurn(e, p)
	case *task.ToolResult:
		c.settle(e.Seq, p)
	case *task.Compaction:
		c.compact(p)
	case *task.ArtifactReported:
		c.artifacts[p.Artifact.UID] = true
	case *task.Effect:
		c.effect(p)
	default:
		c.foldAnswer(e.Payload)
	}
}

// foldAnswer takes the parts of the turn under way.
func (c *conversation) foldAnswer(p task.Payload) {
	if c.open == nil {
		return
	}
	switch p := p.(type) {
	case *task.Message:
		c.open.piece(blockText, p.ID, p.Text)
	case *task.Reasoning:
		b := c.open.piece(blockReasoning, p.ID, p.Text)
		var o opaque
		if len(p.Opaque) > 0 && json.Unmarshal(p.Opaque, &o) == nil {
			b.opaque = &o
		}
	case *task.ToolCall:
		c.open.blocks = append(c.open.blocks, block{kind: blockCall, id: p.ID, call: &call{id: p.ID, name: p.Name, input: p.Input}})
	}
}

// piece appends text to the block called id, which is a new one if the last is not it.
func (t *turn) piece(kind blockKind, id, text string) *block {
	n := len(t.blocks)
	if n == 0 || t.blocks[n-1].kind != kind || t.blocks[n-1].id != id {
		t.blocks = append(t.blocks, block{kind: kind, id: id})
		n++
	}
	b := &t.blocks[n-1]
	b.text += text
	return b
}

func (c *conversation) endTurn(e task.Event, p *task.TurnEnded) {
	if c.open == nil || c.open.number != p.Turn {
		return
	}
	t := c.open
	c.open, t.stop = nil, p.StopReason
	t.blocks = slices.DeleteFunc(t.blocks, func(b block) bool {
		return b.kind == blockText && strings.TrimSpace(b.text) == "" || b.kind == blockReasoning && b.opaque == nil
	})
	for _, call := range t.calls() {
		c.calls[call.id] = call
	}
	t.empty = !slices.ContainsFunc(t.blocks, func(b block) bool { return b.kind != blockReasoning })
	if t.empty { // every wire wants something between two messages of the user
		t.blocks = append(t.blocks, block{kind: blockText, text: noAnswer})
	}
	c.turns++
	if e.ExecutionID == c.execution {
		c.turnsHere++
	}
	c.items = append(c.items, item{turn: t, seq: e.Seq})
}

func (c *conversation) deliver(seq int64, inputs []int64) {
	var texts []string
	for _, n := range inputs {
		in := c.inputs[n]
		if in == nil || c.delivered[n] {
			continue
		}
		c.delivered[n] = true
		c.seen = max(c.seen, n)
		if in.Mode != "" {
			c.mode = in.Mode
		}
		texts = append(texts, inputText(in, c.attachments))
	}
	if len(texts) == 0 {
		return
	}
	text := strings.Join(texts, "\n\n")
	if c.prompt == "" {
		c.prompt = text
	}
	c.items = append(c.items, item{text: text, seq: seq})
}

// inputText is a message as the model gets it. Attached files are named only:
// a model that cannot see them must not be left to believe that there are none.
func inputText(in *task.Input, dir string) string {
	text := in.Text
	for _, a := range in.Attachments {
		where := "not shown here"
		if dir != "" {
			where = "saved as " + filepath.Join(dir, path.Base(a.Blob), a.FileName)
		}
		text += fmt.Sprintf("\n[attached file %q (%s, %d bytes): %s]", a.FileName, a.MIMEType, a.SizeBytes, where)
	}
	if strings.TrimSpace(text) == "" {
		return "(an empty message)"
	}
	return text
}

func (c *conversation) settle(seq int64, r *task.ToolResult) {
	call := c.calls[r.CallID]
	if call == nil || call.result != nil {
		return
	}
	call.result = r
	for i := len(c.items) - 1; i >= 0; i-- {
		if t := c.items[i].turn; t != nil && slices.Contains(t.calls(), call) {
			c.items[i].seq = seq
			c.judge(t)
			break
		}
	}
	c.note(call)
}

// judge tells, once all calls of t have results, whether it brought anything new.
func (c *conversation) judge(t *turn) {
	calls := t.calls()
	if slices.ContainsFunc(calls, func(k *call) bool { return k.result == nil }) {
		return
	}
	t.repeated = true
	for _, k := range calls {
		t.repeated = t.repeated && c.novel[k.fingerprint()]
	}
	for _, k := range calls {
		c.novel[k.fingerprint()] = true
	}
}

// fingerprint is equal for equal calls with equal results.
func (k *call) fingerprint() string {
	return k.name + "\x00" + string(k.input) + "\x00" + string(k.result.State) + "\x00" + steady(k)
}

// duration matches what test runners and build tools print of their speed.
var duration = regexp.MustCompile(`\b\d+(\.\d+)?(ns|µs|us|ms|s)\b`)

// steady is the result without what differs from time to time.
func steady(k *call) string {
	if k.name == toolRunCommand {
		return duration.ReplaceAllString(k.result.Content, "#")
	}
	return k.result.Content
}

// note keeps what finish has to know.
func (c *conversation) note(k *call) {
	done := k.result.State == task.ToolCompleted
	switch k.name {
	case toolRunCommand:
		var in struct {
			Command string `json:"command"`
		}
		code := k.exitCode()
		if json.Unmarshal(k.input, &in) == nil && code != nil {
			c.executed = append(c.executed, executed{in.Command, *code})
		}
	case toolEditFiles, toolWriteFile:
		if done {
			c.edited = len(c.executed)
		}
	case toolGitCommit:
		var made pushRecord
		if done && json.Unmarshal(k.result.Output, &made) == nil {
			c.committed = made
		}
	case toolGitPush:
		c.pushLost = ""
		if !done {
			c.pushLost = k.result.Content
		}
		if k.result.Content == outcomeUnknown && c.committed.Commit != "" && !c.pushed[c.committed.Commit] {
			c.adrift = append(c.adrift, c.committed)
		}
	}
}

// exitCode is that of a command which ended; nil of anything else.
func (k *call) exitCode() *int {
	var out struct {
		ExitCode *int `json:"exit_code"`
	}
	if k.result == nil || json.Unmarshal(k.result.Output, &out) != nil {
		return nil
	}
	return out.ExitCode
}

func (c *conversation) effect(e *task.Effect) {
	if e.Kind != effectPush || e.State != task.EffectSettled {
		return
	}
	var p pushRecord
	if json.Unmarshal(e.Detail, &p) == nil {
		c.pushed[p.Commit] = true
		c.adrift = slices.DeleteFunc(c.adrift, func(a pushRecord) bool { return a.Repo == p.Repo && a.Branch == p.Branch })
	}
}

// compact replaces the oldest items. A summary of nothing known changes nothing.
func (c *conversation) compact(p *task.Compaction) {
	keep := slices.IndexFunc(c.items, func(it item) bool { return it.seq > p.UpTo })
	if keep < 0 {
		keep = len(c.items)
	}
	summary := item{text: summaryText(c.prompt, p.Summary), seq: p.UpTo}
	c.items = append([]item{summary}, c.items[keep:]...)
}

// calls lists the tool calls of t, in order.
func (t *turn) calls() []*call {
	var out []*call
	for _, b := range t.blocks {
		if b.call != nil {
			out = append(out, b.call)
		}
	}
	return out
}

// text joins what t says.
func (t *turn) text() string {
	if t.empty {
		return ""
	}
	var out []string
	for _, b := range t.blocks {
		if b.kind == blockText {
			out = append(out, strings.TrimSpace(b.text))
		}
	}
	return strings.Join(out, "\n\n")
}

// resultText is what the model is told the call gave.
func (k *call) resultText() string {
	switch {
	case k.result == nil:
		return outcomeUnknown
	case k.result.Content == "":
		return "(no output)"
	}
	return k.result.Content
}

func (k *call) failed() bool { return k.result == nil || k.result.State != task.ToolCompleted }

// last is the newest turn if nothing was said to the model since, else nil.
func (c *conversation) last() *turn {
	if n := len(c.items); n > 0 {
		return c.items[n-1].turn
	}
	return nil
}

// pending is the first call of the newest turn that has no result, or nil.
func (c *conversation) pending() *call {
	t := c.last()
	if t == nil {
		return nil
	}
	for _, k := range t.calls() {
		if k.result == nil {
			return k
		}
	}
	return nil
}

// saidSince reports whether the model was told text after its turn before last.
func (c *conversation) saidSinceTools(text string) bool {
	for i := len(c.items) - 1; i >= 0; i-- {
		it := c.items[i]
		if it.turn == nil && it.text == text {
			return true
		}
		if it.turn != nil && len(it.turn.calls()) > 0 {
			return false
		}
	}
	return false
}

// usedTools reports whether the agent made a call since the last message from a person.
func (c *conversation) usedTools() bool {
	for _, it := range c.items {
		if it.turn != nil && len(it.turn.calls()) > 0 {
			return true
		}
	}
	return false
}
