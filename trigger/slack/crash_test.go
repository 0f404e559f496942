package slack_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/slack"
)

// dying is a server that dies after each thing that it tells, before it can
// write down that it has: another one, which remembers nothing, tells it again.
type dying struct {
	*slack.Origin
	replica func() *slack.Origin
}

func (d dying) Send(ctx context.Context, o task.Outgoing) ([]byte, error) {
	first, err := d.replica().Send(ctx, o)
	if err != nil {
		return first, err
	}
	o.Attempts++
	again, err := d.replica().Send(ctx, o)
	if err == nil && string(again) != string(first) {
		err = fmt.Errorf("the second time it was message %q, not %q", again, first)
	}
	return again, err
}

// TestKilledBetweenSendingAndWritingItDown: each thing that is told is told
// twice, by servers that know nothing of each other, and is there once.
func TestKilledBetweenSendingAndWritingItDown(t *testing.T) {
	told := func(o *office) (out []string) {
		o.w.AllMessages = true
		said := o.w.Say(o.ann, o.channel, "", mention+"mend it")
		o.Settle()
		o.w.Say(o.ann, o.channel, said.TS, "and the lexer")
		o.w.Say(o.bob, o.channel, "", mention+"mend it")
		o.w.Command(o.ann, o.channel, "/oz", "mend the other")
		o.Settle()
		for _, run := range o.Runs() {
			q := task.Question{ID: "q1", Kind: task.QuestionPerson, Text: "Which?", Choices: []string{"left", "right"}, ExpiresAt: time.Now().Add(time.Hour)}
			o.Finish(run.ID, task.StateBlocked, task.Status{Question: &q})
		}
		o.Settle()
		thread := o.w.Thread(o.channel, said.TS)
		assert.Assert(t, o.w.Press(o.ann, o.channel, thread[len(thread)-1].TS, "left").OK())
		o.Settle()
		for _, run := range o.Runs() {
			if run.State != task.StateBlocked {
				o.Finish(run.ID, task.StateSucceeded, task.Status{Message: "done"})
			}
		}
		o.Settle()
		for _, m := range o.w.Channel(o.channel) {
			for _, m := range o.w.Thread(o.channel, m.TS) {
				out = append(out, fmt.Sprint(len(m.Text), m.Reactions, m.Buttons(), m.Thread == ""))
			}
		}
		for _, m := range o.w.Channel(o.w.Direct(o.bob)) {
			out = append(out, fmt.Sprint("letter ", m.Text[:20]))
		}
		o.sound()
		return out
	}
	want := told(open(t, nil))
	got := told(openWith(t, nil, func(replica func() *slack.Origin) trigger.Origin { return dying{replica(), replica} }))
	assert.DeepEqual(t, got, want)
	assert.Equal(t, len(want), 9)
}
