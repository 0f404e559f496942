package slack_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/slack/slacksim"
)

// TestStopButton: whoever may stops a run at its message, once; a second press,
// and one that comes late, does no harm.
func TestStopButton(t *testing.T) {
	o := open(t, nil)
	said := o.w.Say(o.ann, o.channel, "", mention+"mend it")
	o.Settle()
	id := o.Runs()[0].ID
	status := func() slacksim.Message { return o.w.Thread(o.channel, said.TS)[1] }
	assert.DeepEqual(t, status().Buttons(), []string{"Stop"}) // before it has begun, too
	o.Begin(id)
	o.Settle()
	assert.DeepEqual(t, status().Buttons(), []string{"Stop"})
	old := status().TS
	first, second := o.w.Press(o.ann, o.channel, old, "Stop"), o.w.Press(o.ann, o.channel, old, "Stop")
	assert.Assert(t, first.OK() && second.OK())
	assert.Assert(t, o.w.Resend(first).OK(), "a button that is sent again")
	assert.DeepEqual(t, o.outcomes()[1:], []string{"block_actions continued", "block_actions continued", "block_actions duplicate"})
	got, err := o.Store.Get(t.Context(), id)
	assert.NilError(t, err)
	assert.Equal(t, got.State, task.StateCancelled)
	contains(t, status().Text, "*Cancelled*")
	assert.Equal(t, len(status().Buttons()), 0)
	thread := o.w.Thread(o.channel, said.TS)
	assert.Equal(t, len(thread), 3, "%q", texts(thread))
	assert.Equal(t, thread[2].Text, ":octagonal_sign: <@"+o.ann+"> has stopped this.")
	assert.Equal(t, len(o.Runs()), 1)
	o.sound()
}

// TestStopButtonOfAnEndedRun: there is none, and one that was still seen stops
// nothing: neither that run nor the next about the same.
func TestStopButtonOfAnEndedRun(t *testing.T) {
	o := open(t, nil)
	said := o.w.Say(o.ann, o.channel, "", mention+"mend it")
	o.Settle()
	id := o.Runs()[0].ID
	o.Finish(id, task.StateSucceeded, task.Status{Message: "Mended."})
	o.Settle()
	thread := o.w.Thread(o.channel, said.TS)
	for _, m := range thread {
		assert.Equal(t, len(m.Buttons()), 0)
	}
	press := func(r task.ID) {
		t.Helper()
		_, err := o.press(o.ann, thread[1].TS, said.TS, map[string]any{"r": r, "e": o.i.Source() + " " + o.channel + "/" + said.TS, "s": true})
		assert.NilError(t, err)
		o.Settle()
	}
	press(id)
	got, err := o.Store.Get(t.Context(), id)
	assert.NilError(t, err)
	assert.Equal(t, got.State, task.StateSucceeded)
	o.w.Say(o.ann, o.channel, said.TS, mention+"and the lexer")
	o.Settle()
	press("01000000-0000-7000-8000-000000000000")
	outcomes := o.outcomes()
	assert.Equal(t, outcomes[len(outcomes)-1], "block_actions ignored", "%q", outcomes)
	got, err = o.Store.Get(t.Context(), id)
	assert.NilError(t, err)
	assert.Assert(t, !got.State.Ended(), "the button was another run's")
	o.sound()
}

// press sends a pressed Stop button with a value of the test's.
func (o *office) press(user, ts, thread string, value any) (status int, err error) {
	raw, _ := json.Marshal(value)
	o.presses++
	payload, _ := json.Marshal(map[string]any{"type": "block_actions", "api_app_id": slacksim.AppID, "team": map[string]any{"id": slacksim.TeamID},
		"user": map[string]any{"id": user}, "trigger_id": "forged." + string(rune('a'+o.presses)), "channel": map[string]any{"id": o.channel},
		"message": map[string]any{"ts": ts, "thread_ts": thread, "user": slacksim.BotUser, "text": "x"},
		"actions": []any{map[string]any{"type": "button", "action_id": "oz_stop", "value": string(raw)}}})
	r, err := o.post(url.Values{"payload": {string(payload)}}.Encode())
	return r.Status, err
}

// TestStopButtonIsForThoseWhoMay: a stranger gets a link and stops nothing; a
// member without the right is told so; a value that is not ours is refused.
func TestStopButtonIsForThoseWhoMay(t *testing.T) {
	o := open(t, nil)
	said := o.w.Say(o.ann, o.channel, "", mention+"mend it")
	o.Settle()
	id := o.Runs()[0].ID
	o.Begin(id)
	o.Settle()
	status := o.w.Thread(o.channel, said.TS)[1]
	assert.Assert(t, o.w.Press(o.bob, o.channel, status.TS, "Stop").OK())
	assert.DeepEqual(t, o.outcomes()[1:], []string{"block_actions failed"})
	direct := o.w.Channel(o.w.Direct(o.bob))
	assert.Equal(t, len(direct), 1)
	contains(t, direct[0].Text, "Link your account")

	o.Host.RefuseStop(func() error { return task.Errorf(task.CodeNotAuthorized, "you may not cancel this run") })
	assert.Assert(t, o.w.Press(o.ann, o.channel, status.TS, "Stop").OK())
	assert.DeepEqual(t, o.outcomes()[2:], []string{"block_actions failed"})
	thread := o.w.Thread(o.channel, said.TS)
	contains(t, thread[len(thread)-1].Text, "<@"+o.ann+">, I cannot stop: you may not cancel this run (`not_authorized`)")
	o.Host.RefuseStop(nil)

	entity := o.i.Source() + " " + o.channel + "/" + said.TS
	for _, value := range []any{
		map[string]any{"r": id, "e": entity}, map[string]any{"e": entity, "s": true}, map[string]any{"r": id, "s": true}, "x",
		map[string]any{"r": id, "e": entity, "s": true, "q": "q", "c": "approve"}, map[string]any{"r": id, "e": entity, "q": "q", "c": "c"},
	} {
		_, err := o.press(o.ann, status.TS, said.TS, value)
		assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest, "%v: %v", value, err)
	}
	_, err := o.press(o.ann, status.TS, said.TS, map[string]any{"r": id, "e": "slack/other " + o.channel + "/" + said.TS, "s": true})
	assert.NilError(t, err)
	outcomes := o.outcomes()
	assert.Equal(t, outcomes[len(outcomes)-1], "block_actions ignored")
	got, err := o.Store.Get(t.Context(), id)
	assert.NilError(t, err)
	assert.Equal(t, got.State, task.StateInProgress)
	assert.Assert(t, strings.Contains(status.Text, "Working"))
	o.sound()
}
