package slack

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// The names of an integration's secrets: what Slack signs with, and the app's
// bot token.
const (
	SecretSigning = "signing_secret"
	SecretToken   = "token"
)

// Settings are an integration's own, all optional.
type Settings struct {
	// TeamID is the workspace, and AppID the app, that events must come from.
	TeamID string `json:"team_id,omitempty"`
	AppID  string `json:"app_id,omitempty"`
	// Channels are the IDs of those in which runs may be started, direct messages
	// apart. Default: all that the app is in.
	Channels []string `json:"channels,omitempty"`
	// RepliesNeedMention leaves out replies in a run's thread that do not mention
	// the app.
	RepliesNeedMention bool `json:"replies_need_mention,omitempty"`
	// NoDirectMessages leaves out direct messages: only mentions and commands start runs.
	NoDirectMessages bool `json:"no_direct_messages,omitempty"`
}

// maxChannels bounds Settings.Channels.
const maxChannels = 500

var slackID = regexp.MustCompile(`^[A-Z][A-Z0-9]{1,31}$`)

// Check judges an integration's settings. It fails with
// task.CodeInvalidRequest and the field's name.
func Check(raw json.RawMessage) error {
	_, err := parseSettings(raw)
	return err
}

func parseSettings(raw json.RawMessage) (Settings, error) {
	var s Settings
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return s, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return s, task.Invalid("settings", "are not Slack's: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return s, task.Invalid("settings", "have something after their end")
	}
	switch {
	case s.TeamID != "" && (!slackID.MatchString(s.TeamID) || s.TeamID[0] != 'T' && s.TeamID[0] != 'E'):
		return s, task.Invalid("settings.team_id", "must be a workspace's ID, such as T0123ABCD")
	case s.AppID != "" && (!slackID.MatchString(s.AppID) || s.AppID[0] != 'A'):
		return s, task.Invalid("settings.app_id", "must be an app's ID, such as A0123ABCD")
	case len(s.Channels) > maxChannels:
		return s, task.Invalid("settings.channels", "are %d, at most %d are allowed", len(s.Channels), maxChannels)
	case slices.ContainsFunc(s.Channels, func(c string) bool { return !slackID.MatchString(c) }):
		return s, task.Invalid("settings.channels", "must be IDs of channels, such as C0123ABCD: their names may change")
	}
	return s, nil
}

// settingsOf reads an integration's settings.
func settingsOf(i integration.Integration) (Settings, error) { return parseSettings(i.Settings) }
