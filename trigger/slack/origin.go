package slack

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

// Options holds what an Origin can do without. The zero value is ready to use.
type Options struct {
	// APIURL is where Slack's methods are. Default: DefaultAPIURL.
	APIURL string

	// HTTPClient makes the calls. Default: one that follows no redirects.
	HTTPClient *http.Client

	// Clock tells the time. Default: the machine's.
	Clock task.Clock
}

// Origin is Slack: a trigger.Origin that answers. Safe for concurrent use.
type Origin struct {
	store *integration.Store
	opts  Options

	mu       sync.Mutex
	profiles map[string]known  // by integration and user
	statuses map[string]string // timestamps of messages, by mark
}

type known struct {
	profile
	until time.Time
}

// Compile-time proof of what it is.
var (
	_ trigger.Reporter = (*Origin)(nil)
	_ trigger.Sourcer  = (*Origin)(nil)
)

// Limits of an Origin.
const (
	// MaxBody bounds a request's body in bytes.
	MaxBody = 512 << 10
	// perMinute bounds what one integration takes: Slack sends at most 30,000
	// events in an hour.
	perMinute = 1000
	// maxKnown bounds what is remembered, profileLife for how long.
	maxKnown    = 5000
	profileLife = 10 * time.Minute
)

// NewOrigin returns an Origin of the store's integrations. opts may be nil.
func NewOrigin(store *integration.Store, opts *Options) *Origin {
	o := &Origin{store: store, profiles: map[string]known{}, statuses: map[string]string{}}
	if opts != nil {
		o.opts = *opts
	}
	o.opts.APIURL = cmp.Or(o.opts.APIURL, DefaultAPIURL)
	if o.opts.HTTPClient == nil {
		o.opts.HTTPClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if o.opts.Clock == nil {
		o.opts.Clock = task.SystemClock()
	}
	return o
}

// Info implements trigger.Origin.
func (*Origin) Info() trigger.Info {
	return trigger.Info{Name: string(integration.Slack), MaxBody: MaxBody}
}

// Sources implements trigger.Sourcer.
func (o *Origin) Sources(ctx context.Context) ([]string, error) {
	return o.store.Sources(ctx, integration.Slack)
}

// Whose names the integration that a request is for, by its address alone.
func (o *Origin) Whose(ctx context.Context, r trigger.Request) (trigger.Arrival, error) {
	_, a, err := o.store.Listening(ctx, integration.Slack, r, perMinute)
	return a, err
}

// Accept implements trigger.Origin. Nothing waits here for anything but the
// store: Slack wants its answer within three seconds.
func (o *Origin) Accept(ctx context.Context, r trigger.Request) (trigger.Arrival, error) {
	i, a, err := o.store.Listening(ctx, integration.Slack, r, perMinute)
	if err != nil {
		return trigger.Arrival{}, err
	}
	secret, err := o.store.Secret(ctx, i, SecretSigning)
	if task.CodeOf(err) == task.CodeIntegrationNotConfigured {
		return a, &task.Error{Code: task.CodeIntegrationNotConfigured, Message: err.Error(), Help: &task.Help{IntegrationName: i.Name}, Err: err}
	}
	if err == nil {
		err = webhook.Slack.Verify(secret, r.Header, r.Body, r.Time)
	}
	if err != nil {
		return a, err
	}
	q, err := parse(r.Body)
	switch {
	case err != nil:
		return a, err
	case q.Challenge != "":
		return trigger.Arrival{Reply: reply("text/plain; charset=utf-8", q.Challenge)}, nil
	case q.Ping:
		return trigger.Arrival{Reply: reply("", "")}, nil
	case !i.Enabled:
		return a, task.Errorf(task.CodeIntegrationDisabled, "the integration %q is switched off", i.Name)
	case q.Kind == kindRemoved:
		err = o.switchOff(ctx, i)
	case q.Kind == kindCommand && wantsHelp(q.Text):
		return trigger.Arrival{Reply: ephemeral(fmt.Sprintf("Say what is to be done: `%s mend the failing test of the parser`. "+
			"The answer comes here, and what you write in its thread goes to the agent.", escape.Replace(q.Type)))}, nil
	}
	if err != nil {
		return a, err
	}
	return o.arrival(a, q, r)
}

// arrival keeps what was understood, in place of what was sent.
func (o *Origin) arrival(a trigger.Arrival, q request, r trigger.Request) (trigger.Arrival, error) {
	var err error
	if a.Body, err = json.Marshal(q.event); err != nil {
		return a, fmt.Errorf("encode an event: %w", err)
	}
	a.Key, a.Event, a.Reply = q.ID, q.Type, reply("", "")
	switch q.Kind {
	case kindCommand:
		a.Key, a.Event, a.Reply = "command "+q.ID, "command "+q.Type, ephemeral("Got it. The answer comes in this channel.")
	case kindAction:
		a.Key = "action " + q.ID
	}
	a.Event = task.CutReason(a.Event, task.MaxDeliveryEvent)
	if (q.Kind == kindMention || q.Kind == kindMessage) && q.root() != "" {
		a.Header = map[string]string{trigger.FieldThread: q.Channel + "/" + q.root()}
	}
	for _, name := range []string{"X-Slack-Retry-Num", "X-Slack-Retry-Reason"} {
		if v := r.Header.Get(name); v != "" {
			if a.Header == nil {
				a.Header = map[string]string{}
			}
			a.Header[name] = cut(v, maxShort)
		}
	}
	return a, nil
}

func wantsHelp(text string) bool {
	text = strings.TrimSpace(text)
	return text == "" || strings.EqualFold(text, "help")
}

func reply(contentType, body string) *trigger.Reply {
	r := &trigger.Reply{Status: http.StatusOK, Body: []byte(body)}
	if contentType != "" {
		r.Header = map[string]string{"Content-Type": contentType}
	}
	return r
}

// ephemeral answers a slash command where only its author sees it.
func ephemeral(text string) *trigger.Reply {
	body, _ := json.Marshal(map[string]string{"response_type": "ephemeral", "text": text}) // of texts: it cannot fail
	return reply("application/json", string(body))
}

// switchOff ends an integration whose app was removed (Oz platform, SLK-8). It
// is done before the answer, so that Slack tells us again when it fails.
func (o *Origin) switchOff(ctx context.Context, i integration.Integration) error {
	_, err := o.store.Update(ctx, i.UID, i.LastEditor, func(s *integration.Spec) error { s.Enabled = false; return nil }, nil)
	if errors.Is(err, task.ErrNotFound) {
		return nil
	}
	return err
}

// client speaks to Slack as an integration's app.
func (o *Origin) client(ctx context.Context, i integration.Integration) (*client, error) {
	token, err := o.store.Secret(ctx, i, SecretToken)
	if err != nil {
		return nil, err
	}
	return &client{base: o.opts.APIURL, http: o.opts.HTTPClient, token: strings.TrimSpace(string(token))}, nil
}

// person says who a user is. What Slack does not tell is left out: it is no
// reason to make nobody's run.
func (o *Origin) person(ctx context.Context, c *client, i integration.Integration, user string) (profile, error) {
	key, now := i.UID+" "+user, o.opts.Clock.Now()
	o.mu.Lock()
	k, ok := o.profiles[key]
	o.mu.Unlock()
	if ok && now.Before(k.until) {
		return k.profile, nil
	}
	p, err := c.profile(ctx, user)
	if err != nil {
		if e, ok := refusal(err); !ok || e.passing() {
			return p, later(err)
		}
		p = profile{Name: user}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.profiles) >= maxKnown {
		clear(o.profiles)
	}
	o.profiles[key] = known{p, now.Add(profileLife)}
	return p, nil
}

// later is the error of a plan that Slack keeps from being made for now.
func later(err error) error {
	if e, ok := refusal(err); ok && e.passing() {
		return &task.Error{Code: task.CodeResourceUnavailable, Message: e.Error(), RetryAfterMS: e.Wait.Milliseconds(), Err: err}
	}
	return err
}

// account is how links call a user.
func (e event) account() string { return e.Team + "/" + e.User }

// root names the thread that a message is of or begins.
func (e event) root() string { return cmp.Or(e.Thread, e.TS) }

// permalink leads to a message.
func (e event) permalink() string {
	q := url.Values{"team": {e.Team}, "channel": {e.Channel}}
	if e.TS != "" {
		q.Set("message_ts", e.TS)
	}
	return "https://slack.com/app_redirect?" + q.Encode()
}

// allows reports whether runs may be started where an event is from; why not,
// if not.
func (s Settings) allows(e event) (why string) {
	switch {
	case s.TeamID != "" && e.Team != s.TeamID:
		return "it is from another workspace than the integration's"
	case s.AppID != "" && e.App != s.AppID:
		return "it is from another app than the integration's"
	case e.Direct && s.NoDirectMessages && e.Kind == kindMessage:
		return "direct messages start nothing here"
	case !e.Direct && len(s.Channels) > 0 && !slices.Contains(s.Channels, e.Channel):
		return "its channel is none of the integration's"
	}
	return ""
}
