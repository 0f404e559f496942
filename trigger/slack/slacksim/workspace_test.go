package slacksim_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/trigger/slack/slacksim"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// call gives Slack's error for a call, "ok" when there is none.
func call(t *testing.T, w *slacksim.Workspace, token, method, contentType, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.APIURL()+method, strings.NewReader(body))
	assert.NilError(t, err)
	req.Header.Set("Content-Type", contentType)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	assert.NilError(t, err)
	defer func() { assert.Check(t, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return resp.Status + " " + resp.Header.Get("Retry-After")
	}
	var out struct {
		OK    bool
		Error string
	}
	assert.NilError(t, json.NewDecoder(resp.Body).Decode(&out))
	if out.OK {
		return "ok"
	}
	return out.Error
}

// TestCallsAreJudged: what Slack would refuse is refused.
func TestCallsAreJudged(t *testing.T) {
	w := slacksim.New(t)
	ann := w.AddUser("ann", "Ann Lee", "ann@example.com")
	in, out := w.AddChannel(true), w.AddChannel(false)
	hers := w.Say(ann, in, "", "hello")
	const form, js = "application/x-www-form-urlencoded", "application/json; charset=utf-8"
	post := func(more string) string { return `{"channel":"` + in + `",` + more + `}` }
	long := strings.Repeat("x", 3001)
	for _, c := range []struct{ token, method, contentType, body, want string }{
		{"", "chat.postMessage", js, post(`"text":"x"`), "not_authed"},
		{"xoxb-other", "chat.postMessage", js, post(`"text":"x"`), "invalid_auth"},
		{w.Token, "chat.postMessage", js, post(`"text":"x"`), "ok"},
		{w.Token, "chat.postMessage", js, `{"channel":"C0NONE","text":"x"}`, "channel_not_found"},
		{w.Token, "chat.postMessage", js, `{"channel":"` + out + `","text":"x"}`, "not_in_channel"},
		{w.Token, "chat.postMessage", js, post(`"text":""`), "no_text"},
		{w.Token, "chat.postMessage", js, `{`, "invalid_json"},
		{w.Token, "chat.postMessage", "text/plain", `{}`, "invalid_post_type"},
		{w.Token, "chat.postMessage", js, post(`"text":"` + strings.Repeat("x", 40_001) + `"`), "msg_too_long"},
		{w.Token, "chat.postMessage", js, post(`"text":"x","thread_ts":"1.1"`), "thread_not_found"},
		{w.Token, "chat.postMessage", js, post(`"text":"x","metadata":{"event_type":"a"}`), "invalid_metadata_format"},
		{w.Token, "chat.postMessage", js, post(`"text":"x","metadata":{"event_type":"a","event_payload":{"b":"c"}}`), "ok"},
		{w.Token, "chat.postMessage", js, post(`"blocks":[{"type":"section","text":{"type":"mrkdwn","text":"` + long + `"}}]`), "invalid_blocks"},
		{w.Token, "chat.postMessage", js, post(`"blocks":[{"type":"poem"}]`), "invalid_blocks"},
		{w.Token, "chat.postMessage", js, post(`"blocks":[{"type":"actions","elements":[{"type":"button","action_id":"a","text":{"type":"plain_text","text":"` + long[:76] + `"}}]}]`), "invalid_blocks"},
		{w.Token, "chat.postMessage", js, post(`"blocks":[{"type":"actions","elements":[{"type":"button","action_id":"a","text":{"type":"plain_text","text":"x"}}]}]`), "ok"},
		{w.Token, "chat.update", js, post(`"text":"x","ts":"` + hers.TS + `"`), "cant_update_message"},
		{w.Token, "chat.update", js, post(`"text":"x","ts":"1.1"`), "message_not_found"},
		{w.Token, "reactions.add", js, post(`"timestamp":"` + hers.TS + `","name":"eyes"`), "ok"},
		{w.Token, "reactions.add", js, post(`"timestamp":"` + hers.TS + `","name":"eyes"`), "already_reacted"},
		{w.Token, "conversations.replies", js, post(`"ts":"` + hers.TS + `"`), "invalid_arguments"},
		{w.Token, "conversations.replies", form, "channel=" + in + "&limit=10&ts=" + hers.TS, "ok"},
		{w.Token, "conversations.history", form, "channel=" + in + "&limit=0", "invalid_limit"},
		{w.Token, "users.info", form, "user=U0NOBODY", "user_not_found"},
		{w.Token, "files.upload", form, "channel=" + in, "unknown_method"},
	} {
		assert.Equal(t, call(t, w, c.token, c.method, c.contentType, c.body), c.want, "%s %.200s", c.method, c.body)
	}
	w.Fail("users.info", slacksim.Fault{Status: 429, RetryAfter: 7 * time.Second}, slacksim.Fault{Error: "fatal_error"})
	assert.Equal(t, call(t, w, w.Token, "users.info", form, "user="+ann), "429 Too Many Requests 7")
	assert.Equal(t, call(t, w, w.Token, "users.info", form, "user="+ann), "fatal_error")
	assert.Equal(t, call(t, w, w.Token, "users.info", form, "user="+ann), "ok")
	assert.Equal(t, w.Calls("users.info"), 4)
}

// TestEventsAreSentAgain: as Slack does, signed each time, until they are taken.
func TestEventsAreSentAgain(t *testing.T) {
	w := slacksim.New(t)
	ann, channel := w.AddUser("ann", "Ann Lee", ""), w.AddChannel(true)
	tries := 0
	handler := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NilError(t, err)
		assert.NilError(t, webhook.Slack.Verify([]byte(w.SigningSecret), r.Header, body, time.Now()))
		assert.Equal(t, r.URL.Path, "/webhooks/slack/x")
		if tries++; tries < 3 {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		assert.Equal(t, r.Header.Get("X-Slack-Retry-Num")+r.Header.Get("X-Slack-Retry-Reason"), "2http_error")
	})
	assert.ErrorContains(t, w.Verify("x").Err, "connected to nothing")
	w.Connect(slacksim.ToHandler(handler, "/webhooks/slack/x"))
	said := w.Say(ann, channel, "", "<@"+slacksim.BotUser+"> hello")
	assert.Equal(t, len(said.Requests), 1)
	assert.Assert(t, said.Requests[0].OK())
	assert.Equal(t, said.Requests[0].Tries, 3)
	assert.ErrorContains(t, w.Press(ann, channel, said.TS, "approve").Err, "has no button")
}
