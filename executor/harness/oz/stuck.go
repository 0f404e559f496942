package ozagent

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/oz-platform/cloudagents/task"
)

// A turn is a repetition when all its calls were made before with the same
// results. sameLimit repetitions in a row are a loop: the third time the same
// call gives the same result, or the second round of a longer cycle.
const sameLimit = 2

// nudge tells a looping agent once; it is followed by the end.
const nudge = "You repeat calls that gave the same results before. Nothing changes this way. Try something else, ask with ask_user, or call finish with outcome failure and say why."

// stuck nudges an agent that goes round in circles, and ends the run when
// that did not help.
func (a *agent) stuck(ctx context.Context) (end, bool, error) {
	repeats, nudged := a.conv.repeats()
	if repeats < sameLimit {
		return end{}, false, nil
	}
	if !nudged {
		return end{}, false, a.tell(ctx, nudge)
	}
	e, err := a.blocked(ctx, fmt.Sprintf("The agent is stuck: it repeats %s with the same result, although it was told.", a.conv.lastCall()))
	return e, true, err
}

// repeats counts the newest turns that were repetitions, and tells whether the
// agent was nudged before them. Progress, or a person's word, starts anew.
func (c *conversation) repeats() (count int, nudged bool) {
	for i := len(c.items) - 1; i >= 0; i-- {
		it := c.items[i]
		if it.turn == nil {
			return count, it.text == nudge
		}
		if !it.turn.repeated || len(it.turn.calls()) == 0 {
			return count, false
		}
		count++
	}
	return count, false
}

func (c *conversation) lastCall() string {
	if t := c.last(); t != nil && len(t.calls()) > 0 {
		return t.calls()[0].name
	}
	return "itself"
}

// nonsense counts the newest turns in a row with which nothing could be done.
func (c *conversation) nonsense() int {
	n := 0
	for i := len(c.items) - 1; i >= 0; i-- {
		t := c.items[i].turn
		if t == nil {
			continue
		}
		if t.trouble() == "" {
			break
		}
		n++
	}
	return n
}

func (c *conversation) lastTrouble() string {
	for i := len(c.items) - 1; i >= 0; i-- {
		if t := c.items[i].turn; t != nil {
			return t.trouble()
		}
	}
	return ""
}

// trouble says why nothing could be done with t; empty when something could.
func (t *turn) trouble() string {
	calls := t.calls()
	if len(calls) == 0 {
		switch {
		case stopReason(t.stop) == stopLength:
			return "cut off at the output limit"
		case t.text() == "":
			return "empty"
		}
		return ""
	}
	for _, k := range calls {
		if !k.misused() {
			return ""
		}
	}
	return "unusable calls of " + calls[0].name
}

// misused reports a call of no tool, or with an input that is none of it.
func (k *call) misused() bool {
	if k.result == nil || k.result.State != task.ToolFailed {
		return false
	}
	var out misuse
	return json.Unmarshal(k.result.Output, &out) == nil && out.Invalid
}

// misuse marks the result of a call that could not be made.
type misuse struct {
	Invalid bool   `json:"invalid"`
	Reason  string `json:"reason"`
}
