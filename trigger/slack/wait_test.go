package slack_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/slack"
)

// slowMention cannot decide mentions until it is let to.
type slowMention struct {
	*slack.Origin
	open atomic.Bool
}

func (s *slowMention) Plan(ctx context.Context, d task.Delivery) (trigger.Plan, error) {
	if d.Event == "app_mention" && !s.open.Load() {
		return trigger.Plan{}, errors.New("Slack is slow")
	}
	return s.Origin.Plan(ctx, d)
}

// TestRepliesWaitForTheirRun: a reply that is decided before the mention which
// makes its run goes to that run; one in a thread that nobody is asked in waits
// for nothing.
func TestRepliesWaitForTheirRun(t *testing.T) {
	slow := &slowMention{}
	o := openWith(t, nil, func(make func() *slack.Origin) trigger.Origin { slow.Origin = make(); return slow })
	o.w.AllMessages = true
	first := o.w.Say(o.ann, o.channel, "", mention+"mend it")
	other := o.w.Say(o.ann, o.channel, "", "good morning")
	o.w.Say(o.ann, o.channel, other.TS, "good morning, all")
	o.w.Say(o.ann, o.channel, first.TS, "the test of the parser, I mean")
	waiting := func() (n int, ignored int) {
		list, err := o.Store.Deliveries(t.Context(), task.DeliveryQuery{Source: o.i.Source(), Limit: 100})
		assert.NilError(t, err)
		for _, d := range list {
			switch {
			case d.Outcome == "" && d.Attempts > 0:
				n++
			case d.Outcome == task.OutcomeIgnored:
				ignored++
			}
		}
		return n, ignored
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if n, ignored := waiting(); n == 2 && ignored == 3 { // a mention is a message, too

			break
		}
		assert.Assert(t, time.Now().Before(end), "the mention and its reply wait, the other reply does not")
	}
	slow.open.Store(true)
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if runs := o.Runs(); len(runs) == 1 && len(o.Inputs(runs[0].ID)) == 2 {
			contains(t, o.Inputs(runs[0].ID)[1].Text, "the test of the parser, I mean")
			break
		}
		assert.Assert(t, time.Now().Before(end), "the reply reaches the run")
	}
	o.sound()
}
