package slacksim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

// Deliver takes a request to where an app listens, and gives the answer. An
// error means that none came.
type Deliver func(h http.Header, body []byte) (status int, answer []byte, err error)

// ToEngine delivers to an engine, such as that of a triggertest.Rig, what is for
// the integration called uid.
func ToEngine(e *trigger.Engine, uid string) Deliver {
	return func(h http.Header, body []byte) (int, []byte, error) {
		r, err := e.Receive(context.Background(), "slack", trigger.Request{Path: uid, Header: h, Body: body})
		var refused *task.Error
		switch {
		case errors.As(err, &refused):
			return refused.Code.HTTPStatus(), []byte(refused.Message), nil
		case err != nil:
			return http.StatusInternalServerError, nil, nil
		}
		return r.Status, r.Body, nil
	}
}

// ToHandler delivers to a handler at a path, such as /webhooks/slack/<uid> of a
// server.
func ToHandler(handler http.Handler, path string) Deliver {
	return func(h http.Header, body []byte) (int, []byte, error) {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(body)))
		r.Header = h
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code, w.Body.Bytes(), nil
	}
}

// The workspace and the app in it.
const (
	TeamID  = "T0WORKSPACE"
	AppID   = "A0OZAPP"
	BotUser = "U0OZBOT"
	BotID   = "B0OZBOT"
)

// Workspace is one, with one app in it. Safe for concurrent use.
type Workspace struct {
	// Token and SigningSecret are the app's, to give to its integration.
	Token, SigningSecret string
	// AllMessages says that the app has subscribed to all messages of its
	// channels, not to mentions alone. Set it before the first is sent.
	AllMessages bool

	server *httptest.Server

	mu       sync.Mutex
	deliver  Deliver
	users    map[string]user
	channels map[string]*channel
	faults   map[string][]Fault
	calls    map[string]int
	refused  []string
	clock    int64 // seconds of the newest timestamp
	count    int   // within them
	names    int
	removed  bool
}

type user struct{ ID, Name, RealName, Email string }

type channel struct {
	id       string
	direct   string // whose, of direct messages
	app      bool   // is in it
	messages []*Message
}

// Message is one of a channel.
type Message struct {
	TS, Thread, User, BotID, Text string
	Edited                        bool
	Blocks                        []Block
	Metadata                      json.RawMessage
	Reactions                     []string
	// Updates counts how often the app has changed it.
	Updates int
}

// Block is a part of a message.
type Block struct {
	Type string `json:"type"`
	Text *struct {
		Type string `json:"type"`
		Text string `json:"text"`
	} `json:"text,omitempty"`
	Elements []Element `json:"elements,omitempty"`
}

// Element is a button.
type Element struct {
	Type     string `json:"type"`
	ActionID string `json:"action_id"`
	Value    string `json:"value"`
	Style    string `json:"style"`
	Text     Text   `json:"text"`
	// Confirm is what whoever presses is asked before, if anything.
	Confirm *Confirm `json:"confirm"`
}

// Text is one of a button.
type Text struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// Confirm is a question before a button counts.
type Confirm struct {
	Title   Text   `json:"title"`
	Text    Text   `json:"text"`
	Confirm Text   `json:"confirm"`
	Deny    Text   `json:"deny"`
	Style   string `json:"style"`
}

// Buttons are the labels of the message's.
func (m Message) Buttons() (labels []string) {
	for _, b := range m.Blocks {
		for _, e := range b.Elements {
			labels = append(labels, e.Text.Text)
		}
	}
	return labels
}

// New returns a workspace whose methods are served until the test ends. It
// sends nothing before Connect.
func New(tb testing.TB) *Workspace {
	w := &Workspace{Token: "xoxb-slacksim-token", SigningSecret: "slacksim-signing-secret", users: map[string]user{}, channels: map[string]*channel{},
		faults: map[string][]Fault{}, calls: map[string]int{}}
	w.server = httptest.NewServer(http.HandlerFunc(w.serve))
	tb.Cleanup(w.server.Close)
	return w
}

// APIURL is where the methods are.
func (w *Workspace) APIURL() string { return w.server.URL + "/api/" }

// Connect says where events go.
func (w *Workspace) Connect(d Deliver) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deliver = d
}

// AddUser adds a person and gives their ID.
func (w *Workspace) AddUser(name, realName, email string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names++
	id := fmt.Sprintf("U0USER%d", w.names)
	w.users[id] = user{id, name, realName, email}
	return id
}

// AddChannel adds a channel, with the app in it or not, and gives its ID.
func (w *Workspace) AddChannel(withApp bool) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names++
	id := fmt.Sprintf("C0CHANNEL%d", w.names)
	w.channels[id] = &channel{id: id, app: withApp}
	return id
}

// Direct gives the ID of the channel between somebody and the app.
func (w *Workspace) Direct(user string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.direct(user)
}

func (w *Workspace) direct(user string) string {
	for id, c := range w.channels {
		if c.direct == user {
			return id
		}
	}
	w.names++
	id := fmt.Sprintf("D0DIRECT%d", w.names)
	w.channels[id] = &channel{id: id, direct: user, app: true}
	return id
}

// stamp names the next message.
func (w *Workspace) stamp() string {
	if now := time.Now().Unix(); now > w.clock {
		w.clock, w.count = now, 0
	}
	w.count++
	return fmt.Sprintf("%d.%06d", w.clock, w.count)
}

// Request is what was sent, and how it was answered.
type Request struct {
	// Header and Body as of the last try; Tries counts them.
	Header http.Header
	Body   []byte
	Tries  int
	// Status and Answer are the last answer's; Err says that there was none.
	Status int
	Answer string
	Err    error
}

// OK reports whether the app has taken it.
func (r Request) OK() bool { return r.Err == nil && r.Status >= 200 && r.Status < 300 }

// maxTries is how often Slack sends an event that is not taken, maxAnswerTime
// how long it waits.
const (
	maxTries      = 4
	maxAnswerTime = 3 * time.Second
)

// send signs and sends a request. Events are sent again, at once, when they are
// not taken.
func (w *Workspace) send(contentType string, body []byte, tries int) Request {
	w.mu.Lock()
	deliver := w.deliver
	w.mu.Unlock()
	r := Request{Body: body, Err: errors.New("the workspace is connected to nothing")}
	if deliver == nil {
		return r
	}
	reason := ""
	for r.Tries < tries && !r.OK() {
		r.Header = w.headers(contentType, body)
		if r.Tries > 0 {
			r.Header.Set("X-Slack-Retry-Num", fmt.Sprint(r.Tries))
			r.Header.Set("X-Slack-Retry-Reason", reason)
		}
		r.Tries++
		began := time.Now()
		status, answer, err := deliver(r.Header, body)
		r.Status, r.Answer, r.Err = status, string(answer), err
		reason = "http_error"
		if r.OK() && time.Since(began) > maxAnswerTime {
			r.Err, reason = errors.New("the answer took more than three seconds"), "http_timeout"
		}
	}
	return r
}

func (w *Workspace) headers(contentType string, body []byte) http.Header {
	h := http.Header{"Content-Type": {contentType}, "User-Agent": {"Slackbot 1.0 (+https://api.slack.com/robots)"}}
	webhook.Slack.Sign([]byte(w.SigningSecret), h, "", body, time.Now())
	return h
}

// Verify asks whether the app is there, as Slack does when its address is set.
func (w *Workspace) Verify(challenge string) Request {
	body, _ := json.Marshal(map[string]string{"type": "url_verification", "token": "legacy-verification-token", "challenge": challenge})
	return w.send("application/json", body, 1)
}

// Resend sends a request again that was taken, as Slack does when the answer
// was lost.
func (w *Workspace) Resend(r Request) Request {
	w.mu.Lock()
	deliver := w.deliver
	w.mu.Unlock()
	h := w.headers(r.Header.Get("Content-Type"), r.Body)
	h.Set("X-Slack-Retry-Num", fmt.Sprint(r.Tries))
	h.Set("X-Slack-Retry-Reason", "http_timeout")
	status, answer, err := deliver(h, r.Body)
	return Request{Header: h, Body: r.Body, Tries: r.Tries + 1, Status: status, Answer: string(answer), Err: err}
}

// Event sends an event of the Events API, wrapped as all are.
func (w *Workspace) Event(fields map[string]any) Request {
	w.mu.Lock()
	w.names++
	id := fmt.Sprintf("Ev0EVENT%d", w.names)
	w.mu.Unlock()
	body, _ := json.Marshal(map[string]any{"token": "legacy-verification-token", "team_id": TeamID, "api_app_id": AppID, "event": fields, "type": "event_callback",
		"event_id": id, "event_time": time.Now().Unix(), "authorizations": []any{map[string]any{"team_id": TeamID, "user_id": BotUser, "is_bot": true}}})
	return w.send("application/json", body, maxTries)
}

// Said is what somebody has written, and the events that told of it.
type Said struct {
	TS       string
	Requests []Request
}

// Say writes a message; thread is empty, or names the one that it answers.
func (w *Workspace) Say(user, channelID, thread, text string) Said {
	return w.say(&Message{User: user, Thread: thread, Text: text}, channelID)
}

// SayAs lets another program write.
func (w *Workspace) SayAs(bot, channelID, thread, text string) Said {
	return w.say(&Message{BotID: bot, Thread: thread, Text: text}, channelID)
}

func (w *Workspace) say(m *Message, channelID string) Said {
	w.mu.Lock()
	c := w.channels[channelID]
	if c == nil {
		w.mu.Unlock()
		return Said{}
	}
	m.TS = w.stamp()
	c.messages = append(c.messages, m)
	fields := map[string]any{"type": "message", "ts": m.TS, "event_ts": m.TS, "text": m.Text, "channel": channelID, "channel_type": "channel"}
	if m.User != "" {
		fields["user"] = m.User
	}
	if m.BotID != "" {
		fields["bot_id"], fields["subtype"] = m.BotID, "bot_message"
	}
	if m.Thread != "" {
		fields["thread_ts"] = m.Thread
		if root := c.find(m.Thread); root != nil {
			fields["parent_user_id"] = root.User
		}
	}
	mentioned := c.app && c.direct == "" && strings.Contains(m.Text, "<@"+BotUser+">")
	all := c.app && (w.AllMessages || c.direct != "")
	w.mu.Unlock()
	said := Said{TS: m.TS}
	if all {
		if c.direct != "" {
			fields["channel_type"] = "im"
		}
		said.Requests = append(said.Requests, w.Event(fields))
	}
	if mentioned {
		mention := map[string]any{}
		for k, v := range fields {
			mention[k] = v
		}
		mention["type"] = "app_mention"
		delete(mention, "channel_type")
		said.Requests = append(said.Requests, w.Event(mention))
	}
	return said
}

func (c *channel) find(ts string) *Message {
	for _, m := range c.messages {
		if m.TS == ts {
			return m
		}
	}
	return nil
}

// Command calls a slash command.
func (w *Workspace) Command(user, channelID, command, text string) Request {
	w.mu.Lock()
	w.names++
	form := url.Values{"token": {"legacy-verification-token"}, "team_id": {TeamID}, "api_app_id": {AppID}, "channel_id": {channelID}, "channel_name": {"general"},
		"user_id": {user}, "user_name": {w.users[user].Name}, "command": {command}, "text": {text}, "trigger_id": {fmt.Sprintf("13345224609.%d.trigger", w.names)},
		"response_url": {"https://hooks.slack.invalid/commands/secret"}}
	w.mu.Unlock()
	return w.send("application/x-www-form-urlencoded", []byte(form.Encode()), 1)
}

// Press presses a button of a message. Without such a button it sends nothing
// and says so in Request.Err.
func (w *Workspace) Press(user, channelID, ts, label string) Request {
	w.mu.Lock()
	var payload map[string]any
	if c := w.channels[channelID]; c != nil {
		if m := c.find(ts); m != nil {
			payload = w.press(m, channelID, user, label)
		}
	}
	w.mu.Unlock()
	if payload == nil {
		return Request{Err: fmt.Errorf("message %s has no button %q", ts, label)}
	}
	data, _ := json.Marshal(payload)
	return w.send("application/x-www-form-urlencoded", []byte(url.Values{"payload": {string(data)}}.Encode()), 1)
}

func (w *Workspace) press(m *Message, channelID, user, label string) map[string]any {
	for _, b := range m.Blocks {
		for _, e := range b.Elements {
			if e.Text.Text != label {
				continue
			}
			w.names++
			message := map[string]any{"type": "message", "ts": m.TS, "text": m.Text, "user": m.User, "bot_id": m.BotID}
			container := map[string]any{"type": "message", "message_ts": m.TS, "channel_id": channelID}
			if m.Thread != "" {
				message["thread_ts"], container["thread_ts"] = m.Thread, m.Thread
			}
			return map[string]any{"type": "block_actions", "token": "legacy-verification-token", "api_app_id": AppID, "team": map[string]any{"id": TeamID},
				"user":         map[string]any{"id": user, "username": w.users[user].Name, "name": w.users[user].Name, "team_id": TeamID},
				"trigger_id":   fmt.Sprintf("13345224609.%d.trigger", w.names),
				"response_url": "https://hooks.slack.invalid/actions/secret", "channel": map[string]any{"id": channelID, "name": "general"},
				"message": message, "container": container,
				"actions": []any{map[string]any{"type": e.Type, "action_id": e.ActionID, "value": e.Value, "action_ts": w.stamp()}}}
		}
	}
	return nil
}

// Uninstall takes the app away: it is told, and its token is worth nothing from
// then on.
func (w *Workspace) Uninstall() Request {
	w.mu.Lock()
	w.removed = true
	w.mu.Unlock()
	return w.Event(map[string]any{"type": "app_uninstalled"})
}

// Thread gives the messages of a thread, the first included.
func (w *Workspace) Thread(channelID, ts string) []Message {
	return w.list(channelID, func(m *Message) bool { return m.TS == ts || m.Thread == ts })
}

// Channel gives the messages of a channel that are in no thread.
func (w *Workspace) Channel(channelID string) []Message {
	return w.list(channelID, func(m *Message) bool { return m.Thread == "" })
}

func (w *Workspace) list(channelID string, wanted func(*Message) bool) []Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Message
	if c := w.channels[channelID]; c != nil {
		for _, m := range c.messages {
			if wanted(m) {
				copied := *m
				copied.Reactions = slices.Clone(m.Reactions)
				out = append(out, copied)
			}
		}
	}
	return out
}

// Refusals tells of the calls that were refused for their shape or their token:
// an app that works has none.
func (w *Workspace) Refusals() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.refused)
}

// Calls counts those of a method.
func (w *Workspace) Calls(method string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[method]
}
