package slacksim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Fault is what goes wrong with one call.
type Fault struct {
	// Status answers with an HTTP status in place of what was asked for. With 429
	// RetryAfter says when to come again.
	Status     int
	RetryAfter time.Duration
	// Error refuses the call with one of Slack's errors.
	Error string
	// Delay comes before all else.
	Delay time.Duration
	// Cut does what was asked for, and then loses the answer.
	Cut bool
}

// Fail lets the next calls of a method go wrong, one after another; a method of
// "*" is any.
func (w *Workspace) Fail(method string, faults ...Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults[method] = append(w.faults[method], faults...)
}

func (w *Workspace) nextFault(method string) Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[method]++
	for _, name := range []string{method, "*"} {
		if list := w.faults[name]; len(list) > 0 {
			w.faults[name] = list[1:]
			return list[0]
		}
	}
	return Fault{}
}

// call is one of a method, with its arguments as texts or, of JSON, as they are.
type call struct {
	args url.Values
	json map[string]json.RawMessage
}

func (c call) text(name string) string {
	if raw, ok := c.json[name]; ok {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return string(raw)
		}
		return s
	}
	return c.args.Get(name)
}

// maxCall bounds a call's body.
const maxCall = 1 << 20

func (w *Workspace) serve(rw http.ResponseWriter, r *http.Request) {
	method := strings.TrimPrefix(r.URL.Path, "/api/")
	f := w.nextFault(method)
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done():
			return
		}
	}
	if f.Status != 0 {
		if f.RetryAfter > 0 {
			rw.Header().Set("Retry-After", strconv.Itoa(max(1, int(f.RetryAfter.Seconds()))))
		}
		rw.WriteHeader(f.Status)
		return
	}
	answer := map[string]any{"ok": false, "error": f.Error}
	if f.Error == "" {
		answer = w.answer(method, r)
	}
	if f.Cut {
		panic(http.ErrAbortHandler) // the connection ends without an answer
	}
	rw.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(rw).Encode(answer)
}

// answer does what a call asks for, or says why not.
func (w *Workspace) answer(method string, r *http.Request) map[string]any {
	c, code := read(method, r)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case code != "":
	case r.Header.Get("Authorization") == "":
		code = "not_authed"
	case r.Header.Get("Authorization") != "Bearer "+w.Token:
		code = "invalid_auth"
	case w.removed:
		code = "account_inactive"
	}
	var out map[string]any
	if code == "" {
		out, code = w.do(method, c)
	}
	if code != "" {
		if code != "already_reacted" { // which is no fault of whoever tries again
			w.refused = append(w.refused, method+": "+code)
		}
		return map[string]any{"ok": false, "error": code}
	}
	if out == nil {
		out = map[string]any{}
	}
	out["ok"] = true
	return out
}

// reads are the methods that take no JSON.
var reads = []string{"conversations.history", "conversations.replies", "users.info"}

func read(method string, r *http.Request) (call, string) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxCall+1))
	if err != nil || len(body) > maxCall || r.Method != http.MethodPost {
		return call{}, "invalid_post_type"
	}
	contentType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	switch strings.TrimSpace(contentType) {
	case "application/x-www-form-urlencoded":
		args, err := url.ParseQuery(string(body))
		if err != nil {
			return call{}, "invalid_form_data"
		}
		return call{args: args}, ""
	case "application/json":
		if slices.Contains(reads, method) {
			return call{}, "invalid_arguments" // they take forms alone
		}
		var args map[string]json.RawMessage
		if json.Unmarshal(body, &args) != nil {
			return call{}, "invalid_json"
		}
		return call{json: args}, ""
	}
	return call{}, "invalid_post_type"
}

func (w *Workspace) do(method string, c call) (map[string]any, string) {
	switch method {
	case "users.info":
		u, ok := w.users[c.text("user")]
		if !ok {
			return nil, "user_not_found"
		}
		return map[string]any{"user": map[string]any{"id": u.ID, "name": u.Name, "real_name": u.RealName,
			"profile": map[string]any{"real_name": u.RealName, "display_name": u.Name, "email": u.Email}}}, ""
	case "conversations.open":
		if _, ok := w.users[c.text("users")]; !ok {
			return nil, "user_not_found"
		}
		return map[string]any{"channel": map[string]any{"id": w.direct(c.text("users"))}}, ""
	}
	ch := w.channels[c.text("channel")]
	switch {
	case ch == nil:
		return nil, "channel_not_found"
	case !ch.app:
		return nil, "not_in_channel"
	}
	switch method {
	case "conversations.history":
		return ch.page(c, func(m *Message) bool { return m.Thread == "" }, true)
	case "conversations.replies":
		ts := c.text("ts")
		if ch.find(ts) == nil {
			return nil, "thread_not_found"
		}
		return ch.page(c, func(m *Message) bool { return m.TS == ts || m.Thread == ts }, false)
	case "chat.postMessage":
		return w.postMessage(ch, c)
	case "chat.update":
		return w.update(ch, c)
	case "reactions.add":
		return nil, ch.react(c)
	}
	return nil, "unknown_method"
}

// page answers with messages between two times. Of a thread the first comes
// always.
func (ch *channel) page(c call, wanted func(*Message) bool, newestFirst bool) (map[string]any, string) {
	limit, err := strconv.Atoi(c.text("limit"))
	if err != nil || limit < 1 || limit > 1000 {
		return nil, "invalid_limit"
	}
	start := 0
	if cursor := c.text("cursor"); cursor != "" {
		if start, err = strconv.Atoi(cursor); err != nil {
			return nil, "invalid_cursor"
		}
	}
	oldest, latest, inclusive := c.text("oldest"), c.text("latest"), c.text("inclusive") == "true"
	var list []map[string]any
	for _, m := range ch.messages {
		root := !newestFirst && m.Thread == ""
		late := latest != "" && (m.TS > latest || m.TS == latest && !inclusive)
		early := oldest != "" && (m.TS < oldest || m.TS == oldest && !inclusive)
		if wanted(m) && (root || !late && !early) {
			list = append(list, m.wire(c.text("include_all_metadata") == "true"))
		}
	}
	if newestFirst {
		slices.Reverse(list)
	}
	list = list[min(start, len(list)):]
	more := len(list) > limit
	list = list[:min(limit, len(list))]
	out := map[string]any{"messages": list, "has_more": more}
	if more {
		out["response_metadata"] = map[string]any{"next_cursor": strconv.Itoa(start + limit)}
	}
	return out, ""
}

func (m *Message) wire(withMetadata bool) map[string]any {
	out := map[string]any{"type": "message", "ts": m.TS, "text": m.Text}
	for name, v := range map[string]string{"thread_ts": m.Thread, "user": m.User, "bot_id": m.BotID} {
		if v != "" {
			out[name] = v
		}
	}
	if withMetadata && m.Metadata != nil {
		out["metadata"] = m.Metadata
	}
	return out
}

// content judges and reads what a message is to be.
func content(c call) (m Message, code string) {
	m.Text = c.text("text")
	if raw := c.json["blocks"]; raw != nil {
		if json.Unmarshal(raw, &m.Blocks) != nil {
			return m, "invalid_blocks_format"
		}
	}
	if raw := c.json["metadata"]; raw != nil {
		if code := judgeMetadata(raw); code != "" {
			return m, code
		}
		m.Metadata = raw
	}
	switch {
	case m.Text == "" && len(m.Blocks) == 0:
		return m, "no_text"
	case utf8.RuneCountInString(m.Text) > 40_000:
		return m, "msg_too_long"
	case len(m.Blocks) > 50:
		return m, "invalid_blocks"
	}
	ids := map[string]bool{}
	for _, b := range m.Blocks {
		if !b.valid(ids) {
			return m, "invalid_blocks"
		}
	}
	return m, ""
}

func judgeMetadata(raw json.RawMessage) string {
	var meta struct {
		Type    string         `json:"event_type"`
		Payload map[string]any `json:"event_payload"`
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if dec.Decode(&meta) != nil || meta.Type == "" || meta.Payload == nil {
		return "invalid_metadata_format"
	}
	if len(raw) > 16<<10 {
		return "metadata_too_large"
	}
	return ""
}

func (c *Confirm) valid() bool {
	if c == nil {
		return true
	}
	for _, part := range []struct {
		text Text
		most int
	}{{c.Title, 100}, {c.Text, 300}, {c.Confirm, 30}, {c.Deny, 30}} {
		if n := utf8.RuneCountInString(part.text.Text); part.text.Type != "plain_text" || n == 0 || n > part.most {
			return false
		}
	}
	return slices.Contains([]string{"", "primary", "danger"}, c.Style)
}

func (b Block) valid(ids map[string]bool) bool {
	switch b.Type {
	case "section":
		return b.Text != nil && (b.Text.Type == "mrkdwn" || b.Text.Type == "plain_text") && b.Text.Text != "" && utf8.RuneCountInString(b.Text.Text) <= 3000
	case "actions":
		if len(b.Elements) == 0 || len(b.Elements) > 25 {
			return false
		}
		for _, e := range b.Elements {
			n := utf8.RuneCountInString(e.Text.Text)
			if e.Type != "button" || e.Text.Type != "plain_text" || n == 0 || n > 75 || e.ActionID == "" || len(e.ActionID) > 255 || ids[e.ActionID] ||
				utf8.RuneCountInString(e.Value) > 2000 || !slices.Contains([]string{"", "primary", "danger"}, e.Style) || !e.Confirm.valid() {
				return false
			}
			ids[e.ActionID] = true
		}
		return true
	}
	return false
}

func (w *Workspace) postMessage(ch *channel, c call) (map[string]any, string) {
	m, code := content(c)
	if code != "" {
		return nil, code
	}
	if m.Thread = c.text("thread_ts"); m.Thread != "" {
		if root := ch.find(m.Thread); root == nil || root.Thread != "" {
			return nil, "thread_not_found"
		}
	}
	m.TS, m.User, m.BotID = w.stamp(), BotUser, BotID
	ch.messages = append(ch.messages, &m)
	return map[string]any{"channel": ch.id, "ts": m.TS}, ""
}

func (w *Workspace) update(ch *channel, c call) (map[string]any, string) {
	old := ch.find(c.text("ts"))
	switch {
	case old == nil:
		return nil, "message_not_found"
	case old.BotID != BotID:
		return nil, "cant_update_message"
	}
	m, code := content(c)
	if code != "" {
		return nil, code
	}
	old.Text, old.Blocks = m.Text, m.Blocks
	if m.Metadata != nil {
		old.Metadata = m.Metadata
	}
	old.Updates++
	return map[string]any{"channel": ch.id, "ts": old.TS, "text": old.Text}, ""
}

func (ch *channel) react(c call) string {
	m := ch.find(c.text("timestamp"))
	name := c.text("name")
	switch {
	case m == nil:
		return "message_not_found"
	case name == "" || strings.ContainsAny(name, ": "):
		return "invalid_name"
	case slices.Contains(m.Reactions, name):
		return "already_reacted"
	}
	m.Reactions = append(m.Reactions, name)
	return ""
}

// Delete removes a message.
func (w *Workspace) Delete(channelID, ts string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.channels[channelID]
	if c == nil || c.find(ts) == nil {
		return fmt.Errorf("there is no message %s in %s", ts, channelID)
	}
	c.messages = slices.DeleteFunc(c.messages, func(m *Message) bool { return m.TS == ts })
	return nil
}
