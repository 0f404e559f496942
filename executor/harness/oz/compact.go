package ozagent

import (
	"context"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// bytesPerToken is a low guess, so that the estimate is high.
	bytesPerToken = 3
	// fullShare is the part of the context window, in percent, at which the
	// conversation is summarised; keepShare is what stays verbatim of it.
	fullShare, keepShare = 75, 20
	// maxCompactions bounds summaries without a turn between them.
	maxCompactions = 2
	// maxKeptPrompt is how much of the first message survives verbatim, in bytes.
	maxKeptPrompt = 16 << 10
	// maxSummaryTokens bounds a summary.
	maxSummaryTokens = 4000
)

const compactionSystem = `You summarise the work of a coding agent so that it can go on without the full record.
Keep: the task and every wish of the user; decisions and their reasons; files read and changed with the facts that matter;
commands run with their results; what is done, what is open, what failed and must not be tried again.
Leave out greetings and repetition. Write plain text, no tool calls.`

// summaryText is what stands in the conversation for what was summarised.
func summaryText(prompt, summary string) string {
	return "The conversation so far was summarised to save room.\n\nThe first message of the user was:\n" +
		bounded(prompt, maxKeptPrompt) + "\n\nSummary of the work since:\n" + summary
}

func (a *agent) window() int64 {
	if w := a.s.Model.ContextWindow; w > 0 {
		return w
	}
	return a.opts.ContextWindow
}

// compactIfFull summarises the older part of a conversation that nears the
// model's limit.
func (a *agent) compactIfFull(ctx context.Context) error {
	used := int64(len(a.systemPrompt())+a.tools.bytes())/bytesPerToken + tokens(a.conv.items) + a.maxOutput()
	if used*100 < a.window()*fullShare || a.compacted >= maxCompactions {
		return nil
	}
	return a.compact(ctx, false)
}

// compact replaces the older items by a summary from the model. When nothing
// can be left out, must makes that an error.
func (a *agent) compact(ctx context.Context, must bool) error {
	a.compacted++
	a.told = nil // the rules of directories are gone with the rest
	keep := a.window() * keepShare / 100
	if must { // the window is smaller than we think
		keep /= 2
	}
	cut := cutAt(a.conv.items, keep)
	if cut == 0 {
		if must {
			return &modelError{class: gateway.ClassContextTooLong, message: "there is nothing left to summarise"}
		}
		return nil
	}
	old := a.conv.items[:cut]
	summary, err := a.summarise(ctx, old)
	if err != nil {
		return err
	}
	return a.record(ctx, &task.Compaction{UpTo: old[len(old)-1].seq, Summary: summary})
}

// cutAt gives how many of the oldest items to leave out so that the rest has
// at most keep tokens. The newest item always stays. A conversation of which
// only a summary would be summarised gives 0.
func cutAt(items []item, keep int64) int {
	cut := len(items) - 1
	for room := keep - items[cut].tokens(); cut > 0; cut-- {
		if room -= items[cut-1].tokens(); room < 0 {
			break
		}
	}
	if cut == 1 && items[0].turn == nil && items[0].tokens() <= keep {
		return 0
	}
	return cut
}

// summarise asks the model. What it is shown is bounded by the window.
func (a *agent) summarise(ctx context.Context, items []item) (string, error) {
	room := int(a.window()*60/100) * bytesPerToken
	var text strings.Builder
	for _, it := range items {
		text.WriteString(it.transcript())
	}
	record := cutMiddle(text.String(), room/2, room/2)
	req := request{
		model: a.s.Model.ID, system: compactionSystem, category: categoryCompaction,
		maxOutput: min(maxSummaryTokens, a.maxOutput()),
		items:     []item{{text: "The record:\n\n" + record + "\n\nSummarise it."}},
	}
	var summary strings.Builder
	_, err := a.model.turn(ctx, req, func(d delta) error {
		if d.kind == deltaText {
			summary.WriteString(d.text)
		}
		if summary.Len() > maxAnswerBytes {
			return &modelError{class: gateway.ClassInvalidResponse, message: "the summary is too long"}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if strings.TrimSpace(summary.String()) == "" {
		return "", &modelError{class: gateway.ClassInvalidResponse, message: "the model's summary of the conversation is empty"}
	}
	return clean(a.s.Redactor.String(bounded(summary.String(), 4*maxSummaryTokens))), nil
}

// transcript is an item as text.
func (it item) transcript() string {
	if it.turn == nil {
		return "USER: " + it.text + "\n\n"
	}
	var out strings.Builder
	for _, b := range it.turn.blocks {
		switch b.kind {
		case blockText:
			out.WriteString("AGENT: " + b.text + "\n\n")
		case blockCall:
			fmt.Fprintf(&out, "CALL %s %s\n", b.call.name, cutMiddle(string(b.call.input), 1000, 500))
			fmt.Fprintf(&out, "RESULT: %s\n\n", cutMiddle(b.call.resultText(), 1000, 1000))
		}
	}
	return out.String()
}

// tokens estimates what the items take up.
func tokens(items []item) int64 {
	var n int64
	for _, it := range items {
		n += it.tokens()
	}
	return n
}

func (it item) tokens() int64 {
	n := len(it.text)
	if it.turn != nil {
		for _, b := range it.turn.blocks {
			n += len(b.text)
			if b.opaque != nil {
				n += len(b.opaque.Signature) + len(b.opaque.Redacted) + len(b.opaque.Encrypted)
			}
			if b.call != nil {
				n += len(b.call.input) + len(b.call.resultText())
			}
		}
	}
	return int64(n)/bytesPerToken + 8
}

// cutMiddle keeps the first head and last tail bytes of text, and says what it left out.
func cutMiddle(text string, head, tail int) string {
	if len(text) <= head+tail+100 {
		return text
	}
	first := strings.ToValidUTF8(text[:head], "")
	last := strings.ToValidUTF8(text[len(text)-tail:], "")
	return fmt.Sprintf("%s\n[... %d bytes left out ...]\n%s", first, len(text)-head-tail, last)
}
