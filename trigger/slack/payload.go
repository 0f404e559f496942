package slack

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/task"
)

// kind is what somebody did.
type kind string

const (
	kindMention kind = "mention" // named the app in a channel
	kindMessage kind = "message" // wrote to the app, or in a thread
	kindCommand kind = "command" // called the slash command
	kindAction  kind = "action"  // pressed one of our buttons
	kindRemoved kind = "removed" // took the app away
	kindOther   kind = "other"   // nothing that counts
)

// event is what is kept of a request: what is needed, and nothing that opens a
// door, such as Slack's old verification token or the address to respond to.
type event struct {
	Kind kind `json:"kind"`
	// Type is Slack's word for it, ID its name there.
	Type string `json:"type"`
	ID   string `json:"id"`
	Team string `json:"team,omitempty"`
	App  string `json:"app,omitempty"`
	// Bot is the app's own user.
	Bot string `json:"bot,omitempty"`
	// User did it; Program says that it was none.
	User    string `json:"user,omitempty"`
	Name    string `json:"name,omitempty"`
	Program bool   `json:"program,omitempty"`
	// Channel is where, Direct that it is between the two alone.
	Channel string `json:"channel,omitempty"`
	Direct  bool   `json:"direct,omitempty"`
	// TS names the message, Thread the one that it answers, whose author Parent
	// is.
	TS      string   `json:"ts,omitempty"`
	Thread  string   `json:"thread,omitempty"`
	Parent  string   `json:"parent,omitempty"`
	Subtype string   `json:"subtype,omitempty"`
	Edited  bool     `json:"edited,omitempty"`
	Text    string   `json:"text,omitempty"`
	Files   []string `json:"files,omitempty"` // their names
	// Answer is what a button says.
	Answer *answer `json:"answer,omitempty"`
}

// answer is the value of a button, which comes back when it is pressed. One that
// stops its run answers no question.
type answer struct {
	Run      task.ID `json:"r"`
	Question string  `json:"q,omitempty"`
	Choice   string  `json:"c,omitempty"`
	Entity   string  `json:"e"`
	Stop     bool    `json:"s,omitempty"`
}

// ours reports an answer that one of our buttons may have, by the button's ID.
func (a answer) ours(action string) bool {
	stops := action == stopAction
	return a.Run != "" && a.Entity != "" && a.Stop == stops && (a.Question == "") == stops && (a.Choice == "") == stops
}

// Limits of what is taken from a request.
const (
	maxText  = 64 << 10 // bytes; Slack's own limit is 40,000 characters
	maxFiles = 20
	maxShort = 200 // bytes of names
)

var (
	timestamp = regexp.MustCompile(`^[0-9]{1,12}\.[0-9]{1,9}$`)
	eventName = regexp.MustCompile(`^[a-z_.]{1,100}$`)
)

// request is what a body is: an event, or only a question whether we are there.
type request struct {
	event
	// Challenge is to be given back.
	Challenge string
	// Ping asks for nothing.
	Ping bool
}

// parse reads a body: JSON is of the Events API, a form of an interaction or of
// a slash command. It fails with task.CodeInvalidRequest.
func parse(body []byte) (request, error) {
	text := strings.TrimLeft(string(body), " \t\r\n")
	if strings.HasPrefix(text, "{") {
		return parseEvent(body)
	}
	form, err := url.ParseQuery(text)
	if err != nil {
		return request{}, task.Invalid("body", "is neither JSON nor a form")
	}
	switch {
	case form.Get("ssl_check") == "1":
		return request{Ping: true}, nil
	case form.Get("payload") != "":
		return parseInteraction([]byte(form.Get("payload")))
	case form.Get("command") != "":
		return parseCommand(form)
	}
	return request{}, task.Invalid("body", "is neither an event nor a command nor an interaction")
}

// wireEvent is an event as the Events API sends it.
type wireEvent struct {
	Type           string `json:"type"`
	Challenge      string `json:"challenge"`
	TeamID         string `json:"team_id"`
	AppID          string `json:"api_app_id"`
	EventID        string `json:"event_id"`
	Authorizations []struct {
		UserID string `json:"user_id"`
		IsBot  bool   `json:"is_bot"`
	} `json:"authorizations"`
	Event struct {
		Type        string          `json:"type"`
		Subtype     string          `json:"subtype"`
		User        json.RawMessage `json:"user"` // of some events an object
		BotID       string          `json:"bot_id"`
		Channel     json.RawMessage `json:"channel"`
		ChannelType string          `json:"channel_type"`
		TS          string          `json:"ts"`
		ThreadTS    string          `json:"thread_ts"`
		Parent      string          `json:"parent_user_id"`
		Text        string          `json:"text"`
		Hidden      bool            `json:"hidden"`
		Edited      json.RawMessage `json:"edited"`
		Files       []struct {
			Name string `json:"name"`
		} `json:"files"`
	} `json:"event"`
}

func parseEvent(body []byte) (request, error) {
	var w wireEvent
	if err := json.Unmarshal(body, &w); err != nil {
		return request{}, task.Invalid("body", "is no event of Slack's: %w", err)
	}
	if w.Type == "url_verification" {
		if w.Challenge == "" || len(w.Challenge) > 1000 {
			return request{}, task.Invalid("challenge", "must have 1 to 1000 bytes")
		}
		return request{Challenge: w.Challenge}, nil
	}
	e := event{Kind: kindOther, Type: w.Event.Type, ID: w.EventID, Team: w.TeamID, App: w.AppID}
	switch {
	case w.Type != "event_callback":
		return request{}, task.Invalid("type", "%.50q is neither url_verification nor event_callback", w.Type)
	case w.EventID == "" || len(w.EventID) > maxShort || strings.ContainsRune(w.EventID, 0):
		return request{}, task.Invalid("event_id", "must have 1 to %d bytes", maxShort)
	case !eventName.MatchString(w.Event.Type):
		return request{}, task.Invalid("event.type", "must be a name")
	}
	for _, a := range w.Authorizations {
		if a.IsBot && slackID.MatchString(a.UserID) {
			e.Bot = a.UserID
		}
	}
	switch w.Event.Type {
	case "app_mention":
		e.Kind = kindMention
	case "message":
		e.Kind = kindMessage
	case "app_uninstalled":
		e.Kind = kindRemoved
		return request{event: e}, nil
	default:
		return request{event: e}, nil
	}
	return w.message(e)
}

// message fills in what was written, where and by whom.
func (w wireEvent) message(e event) (request, error) {
	m := w.Event
	e.Direct = m.ChannelType == "im"
	e.TS, e.Thread, e.Subtype = m.TS, m.ThreadTS, cut(m.Subtype, maxShort)
	e.Program = m.BotID != "" || m.Subtype == "bot_message"
	e.Edited = m.Hidden || len(m.Edited) > 0 && string(m.Edited) != "null"
	e.User, e.Channel, e.Parent = word(m.User), word(m.Channel), m.Parent
	e.Text = cut(m.Text, maxText)
	for i, f := range m.Files {
		if i == maxFiles {
			break
		}
		e.Files = append(e.Files, cut(f.Name, maxShort))
	}
	if e.Thread == e.TS {
		e.Thread = "" // a message that has answers names itself
	}
	if e.Subtype != "" && e.Subtype != "file_share" && e.Subtype != "thread_broadcast" || e.Program {
		return request{event: e}, nil // it counts for nothing, and may lack things
	}
	return request{event: e}, e.check()
}

// check judges the names in what people did.
func (e event) check() error {
	switch {
	case !slackID.MatchString(e.User):
		return task.Invalid("user", "%.50q is no user's ID", e.User)
	case !slackID.MatchString(e.Channel):
		return task.Invalid("channel", "%.50q is no channel's ID", e.Channel)
	case e.Kind != kindCommand && !timestamp.MatchString(e.TS):
		return task.Invalid("ts", "%.50q names no message", e.TS)
	case e.Thread != "" && !timestamp.MatchString(e.Thread):
		return task.Invalid("thread_ts", "%.50q names no message", e.Thread)
	case e.Parent != "" && !slackID.MatchString(e.Parent):
		return task.Invalid("parent_user_id", "%.50q is no user's ID", e.Parent)
	case e.Team != "" && !slackID.MatchString(e.Team):
		return task.Invalid("team_id", "%.50q is no workspace's ID", e.Team)
	}
	return nil
}

func parseCommand(form url.Values) (request, error) {
	e := event{Kind: kindCommand, Type: cut(form.Get("command"), maxShort), ID: form.Get("trigger_id"), Team: form.Get("team_id"), App: form.Get("api_app_id"),
		User: form.Get("user_id"), Name: cut(form.Get("user_name"), maxShort), Channel: form.Get("channel_id"), Direct: form.Get("channel_name") == "directmessage",
		Text: cut(form.Get("text"), maxText)}
	if !strings.HasPrefix(e.Type, "/") {
		return request{}, task.Invalid("command", "must begin with a slash")
	}
	if e.ID == "" || len(e.ID) > maxShort || !utf8.ValidString(e.ID) || strings.ContainsRune(e.ID, 0) {
		return request{}, task.Invalid("trigger_id", "must have 1 to %d bytes", maxShort)
	}
	return request{event: e}, e.check()
}

// wireInteraction is what a pressed button sends.
type wireInteraction struct {
	Type string `json:"type"`
	Team struct {
		ID string `json:"id"`
	} `json:"team"`
	AppID     string `json:"api_app_id"`
	TriggerID string `json:"trigger_id"`
	User      struct {
		ID       string `json:"id"`
		Username string `json:"username"`
		Name     string `json:"name"`
	} `json:"user"`
	Channel struct {
		ID string `json:"id"`
	} `json:"channel"`
	Message struct {
		TS       string `json:"ts"`
		ThreadTS string `json:"thread_ts"`
		Text     string `json:"text"`
		User     string `json:"user"`
	} `json:"message"`
	Actions []struct {
		ActionID string `json:"action_id"`
		Value    string `json:"value"`
	} `json:"actions"`
}

// actionPrefix is what the IDs of buttons begin with that answer questions,
// stopAction the ID of those that stop a run.
const (
	actionPrefix = "oz_answer_"
	stopAction   = "oz_stop"
)

func parseInteraction(payload []byte) (request, error) {
	var w wireInteraction
	if err := json.Unmarshal(payload, &w); err != nil {
		return request{}, task.Invalid("payload", "is no interaction of Slack's: %w", err)
	}
	e := event{Kind: kindOther, Type: w.Type, ID: w.TriggerID, Team: w.Team.ID, App: w.AppID, User: w.User.ID, Channel: w.Channel.ID,
		TS: w.Message.TS, Thread: w.Message.ThreadTS, Bot: w.Message.User, Text: cut(w.Message.Text, maxText), Name: cut(w.User.Name, maxShort)}
	if e.ID == "" || len(e.ID) > maxShort || strings.ContainsRune(e.ID, 0) {
		return request{}, task.Invalid("trigger_id", "must have 1 to %d bytes", maxShort)
	}
	if !eventName.MatchString(w.Type) {
		return request{}, task.Invalid("type", "must be a name")
	}
	action := ""
	if len(w.Actions) > 0 {
		action = w.Actions[0].ActionID
	}
	if w.Type != "block_actions" || action != stopAction && !strings.HasPrefix(action, actionPrefix) {
		return request{event: event{Kind: kindOther, Type: w.Type, ID: e.ID}}, nil // not one of ours, or a link that was followed
	}
	if e.Thread == e.TS {
		e.Thread = ""
	}
	var a answer
	if err := json.Unmarshal([]byte(w.Actions[0].Value), &a); err != nil || !a.ours(action) {
		return request{}, task.Invalid("actions", "have a value that is not ours")
	}
	e.Kind, e.Answer = kindAction, &a
	return request{event: e}, e.check()
}

// word reads a JSON text; "" when it is none.
func word(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// cut makes a text from outside fit to keep.
func cut(s string, bytes int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
	return task.CutReason(s, bytes)
}
