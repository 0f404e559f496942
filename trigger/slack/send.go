package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// Kinds implements trigger.Reporter.
func (*Origin) Kinds() []string { return []string{kindNote} }

// tokenWait is when is tried again what another token is needed for.
const tokenWait = 10 * time.Minute

// Send implements trigger.Reporter. What it returns is the message's timestamp
// in Slack.
func (o *Origin) Send(ctx context.Context, out task.Outgoing) ([]byte, error) {
	var m note
	if err := json.Unmarshal(out.Body, &m); err != nil {
		return nil, &trigger.GiveUp{Err: fmt.Errorf("read what is to be told: %w", err)}
	}
	i, err := o.store.Load(ctx, integration.Slack, m.Integration)
	switch {
	case errors.Is(err, task.ErrNotFound):
		return nil, &trigger.GiveUp{Err: errors.New("the integration was deleted")}
	case err != nil:
		return nil, err
	case !i.Enabled:
		return nil, &trigger.GiveUp{Err: errors.New("the integration is switched off")}
	}
	c, err := o.client(ctx, i)
	if err != nil {
		return nil, err
	}
	s := sender{Origin: o, c: c, note: m, key: out.Key, again: out.Attempts > 1}
	ts, err := s.send(ctx)
	return []byte(ts), verdict(err)
}

// verdict says what an error of Slack's means for another attempt.
func verdict(err error) error {
	e, ok := refusal(err)
	switch {
	case !ok:
		return err
	case e.passing():
		return &trigger.Later{After: e.Wait, Err: err}
	case e.tokenFault():
		return &trigger.Later{After: tokenWait, Err: err}
	}
	return &trigger.GiveUp{Err: err}
}

// sender makes one attempt at one note.
type sender struct {
	*Origin
	note
	c     *client
	key   string
	again bool // an earlier attempt may have arrived
}

func (s *sender) send(ctx context.Context) (ts string, err error) {
	switch s.Deed {
	case deedStatus:
		return s.status(ctx)
	case deedPost:
		return s.post(ctx)
	case deedReact:
		return "", s.react(ctx)
	case deedClose:
		err := s.update(ctx, s.TS, mark{Key: "closed", Run: string(s.Run)})
		if refusedWith(err, "message_not_found", "cant_update_message") {
			err = nil // somebody removed the question
		}
		return s.TS, err
	case deedLink:
		return s.sendLink(ctx)
	}
	return "", &trigger.GiveUp{Err: fmt.Errorf("nothing here can do %q", string(s.Deed))}
}

func (s *sender) statusKey() string { return "status " + string(s.Run) }

// status writes the run's one status message: the first time by posting, and
// then by changing it.
func (s *sender) status(ctx context.Context) (string, error) {
	ts, ok := s.remembered(s.statusKey())
	if !ok { // also the first time: news of the run may have been faster
		var err error
		if ts, err = s.find(ctx, s.Thread, func(k mark) bool { return k.Key == s.statusKey() }); err != nil {
			return "", err
		}
	}
	if s.First && ts != "" {
		return ts, nil // it has been posted, and may say more by now
	}
	k := mark{Key: s.statusKey(), Run: string(s.Run), Entity: s.Entity}
	if ts != "" {
		err := s.update(ctx, ts, k)
		if !refusedWith(err, "message_not_found") {
			return ts, err
		}
		s.forget(s.statusKey())
	}
	thread, err := s.threadFor(ctx)
	if err != nil {
		return "", err
	}
	if ts, err = s.write(ctx, s.Channel, thread, k); err == nil {
		s.remember(s.statusKey(), ts)
	}
	return ts, err
}

// threadFor finds where to post: after a slash command the first message begins
// the thread of the others.
func (s *sender) threadFor(ctx context.Context) (string, error) {
	if s.Thread != "" {
		return s.Thread, nil
	}
	ts, ok := s.remembered("root " + s.Entity)
	if ok {
		return ts, nil
	}
	ts, err := s.find(ctx, "", func(k mark) bool { return k.Entity == s.Entity })
	if err == nil && ts != "" {
		s.remember("root "+s.Entity, ts)
	}
	return ts, err
}

func (s *sender) post(ctx context.Context) (string, error) {
	thread, err := s.threadFor(ctx)
	if err != nil {
		return "", err
	}
	if s.again {
		ts, err := s.find(ctx, thread, func(k mark) bool { return k.Key == s.key })
		if err != nil || ts != "" {
			return ts, err
		}
	}
	return s.write(ctx, s.Channel, thread, mark{Key: s.key, Run: string(s.Run), Entity: s.Entity})
}

// find looks for a message of ours by its mark: in a thread, or else in the
// channel; "" when there is none.
func (s *sender) find(ctx context.Context, thread string, wanted func(mark) bool) (ts string, err error) {
	err = s.c.each(ctx, s.Channel, thread, s.Since, "", pageSize, func(m message) bool {
		if k, ok := m.mark(s.Bot); ok && wanted(k) {
			ts = m.TS
		}
		return ts == ""
	})
	if refusedWith(err, "thread_not_found", "message_not_found") {
		return "", nil
	}
	return ts, err
}

func (s *sender) react(ctx context.Context) error {
	var out struct{}
	err := s.c.post(ctx, "reactions.add", map[string]string{"channel": s.Channel, "timestamp": s.TS, "name": s.Emoji}, &out)
	if refusedWith(err, "already_reacted", "message_not_found", "missing_scope", "not_reactable", "too_many_reactions", "too_many_emoji") {
		return nil // it is there, or is only a courtesy
	}
	return err
}

// posted is the answer of the methods that write messages.
type posted struct {
	TS      string `json:"ts"`
	Channel string `json:"channel"`
}

// write posts a message with its mark.
func (s *sender) write(ctx context.Context, channel, thread string, k mark) (string, error) {
	args, err := s.content(channel, k)
	if err != nil {
		return "", err
	}
	if thread != "" {
		args["thread_ts"] = thread
	}
	var out posted
	err = s.c.post(ctx, "chat.postMessage", args, &out)
	return out.TS, err
}

func (s *sender) update(ctx context.Context, ts string, k mark) error {
	args, err := s.content(s.Channel, k)
	if err != nil {
		return err
	}
	args["ts"] = ts
	var out posted
	return s.c.post(ctx, "chat.update", args, &out)
}

// content is a message as Slack takes it: blocks for those who see, the text for
// notifications.
func (s *sender) content(channel string, k mark) (map[string]any, error) {
	meta, err := k.metadata()
	if err != nil {
		return nil, fmt.Errorf("encode a mark: %w", err)
	}
	blocks := []any{}
	for _, part := range sections(s.Text) {
		blocks = append(blocks, map[string]any{"type": "section", "text": map[string]string{"type": "mrkdwn", "text": part}})
	}
	if len(s.Buttons) > 0 {
		elements, err := s.elements()
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, map[string]any{"type": "actions", "elements": elements})
	}
	return map[string]any{"channel": channel, "text": task.CutReason(s.Text, maxSection), "blocks": blocks, "metadata": meta,
		"unfurl_links": false, "unfurl_media": false}, nil
}

// maxLabel bounds a button's label, in characters.
const maxLabel = 75

func (s *sender) elements() ([]any, error) {
	var list []any
	for n, b := range s.Buttons {
		value, err := json.Marshal(b.Value)
		if err != nil {
			return nil, fmt.Errorf("encode a button: %w", err)
		}
		e := map[string]any{"type": "button", "action_id": fmt.Sprintf("%s%d", actionPrefix, n), "value": string(value),
			"text": map[string]any{"type": "plain_text", "text": label(b.Label)}}
		if b.Style != "" {
			e["style"] = b.Style
		}
		if b.Value.Stop {
			e["action_id"], e["confirm"] = stopAction, confirmStop()
		}
		list = append(list, e)
	}
	return list, nil
}

// confirmStop asks whoever presses whether they mean it: the button stands below
// a text that changes while they read.
func confirmStop() map[string]any {
	plain := func(s string) map[string]string { return map[string]string{"type": "plain_text", "text": s} }
	return map[string]any{"title": plain("Stop this run?"), "text": plain("The agent stops, and what it has not pushed may be lost."),
		"confirm": plain("Stop it"), "deny": plain("Let it work"), "style": "danger"}
}

func label(s string) string {
	if utf8.RuneCountInString(s) <= maxLabel {
		return s
	}
	return strings.TrimSpace(string([]rune(s)[:maxLabel-1])) + "…"
}

// sendLink sends somebody the address to link their account with, where nobody
// else sees it: whoever opens it is linked. It is made only now, and kept
// nowhere.
func (s *sender) sendLink(ctx context.Context) (string, error) {
	var im struct {
		Channel struct {
			ID string `json:"id"`
		} `json:"channel"`
	}
	if err := s.c.post(ctx, "conversations.open", map[string]string{"users": s.User}, &im); err != nil {
		return "", err
	}
	s.Channel = im.Channel.ID
	if s.again {
		ts, err := s.find(ctx, "", func(k mark) bool { return k.Key == s.key })
		if err != nil || ts != "" {
			return ts, err
		}
	}
	name := s.Name
	if who, err := s.c.profile(ctx, s.User); err == nil {
		name = who.Name
		if who.Email != "" {
			name += " <" + who.Email + ">"
		}
	}
	if err := s.invite(ctx, task.CutReason(name, maxShort)); err != nil {
		return "", err
	}
	return s.write(ctx, im.Channel.ID, "", mark{Key: s.key})
}

// invite adds the address to the text; what to type where there is none.
func (s *sender) invite(ctx context.Context, name string) error {
	address, err := s.store.LinkURL(ctx, integration.Slack, s.Account, name)
	if err != nil {
		return err
	}
	if address != "" {
		s.Text += "\n" + anchor(escape.Replace(address), "Link your account") + ", and then ask again. The address is yours alone, and good for a day."
		return nil
	}
	code, err := s.store.LinkCode(ctx, integration.Slack, s.Account, name)
	if err != nil {
		return err
	}
	s.Text += "\nLink it with this command, and then ask again: `oz integration link " + code + "`. The code is yours alone, and good for a day."
	return nil
}

// remembered, remember and forget keep the names of our messages, so that they
// need not be looked for each time.
func (o *Origin) remembered(key string) (string, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	ts, ok := o.statuses[key]
	return ts, ok
}

func (o *Origin) remember(key, ts string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.statuses) >= maxKnown {
		clear(o.statuses)
	}
	o.statuses[key] = ts
}

func (o *Origin) forget(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.statuses, key)
}
