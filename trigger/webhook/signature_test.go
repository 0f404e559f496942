package webhook_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

var payload = []byte(`{"action":"opened","issue":{"id":7,"labels":["bug"]},"webhookTimestamp":1795694400000}`)

// secretOf has the shape that the provider wants.
func secretOf(p webhook.Provider) []byte {
	if p == webhook.StandardWebhook {
		return []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	}
	return []byte("correct horse battery staple")
}

func signed(p webhook.Provider, at time.Time) http.Header {
	h := http.Header{}
	p.Sign(secretOf(p), h, "msg_1", payload, at)
	return h
}

// signatureHeader holds the signature itself.
func signatureHeader(p webhook.Provider) string {
	return map[webhook.Provider]string{webhook.GitHub: "X-Hub-Signature-256", webhook.GitLab: "X-Gitlab-Token", webhook.Linear: "Linear-Signature",
		webhook.PagerDuty: "X-PagerDuty-Signature", webhook.Sentry: "Sentry-Hook-Signature", webhook.Slack: "X-Slack-Signature",
		webhook.StandardWebhook: "Webhook-Signature", webhook.Stripe: "Stripe-Signature", webhook.Vercel: "X-Vercel-Signature"}[p]
}

func TestSignatures(t *testing.T) {
	for _, p := range webhook.Providers() {
		assert.NilError(t, p.Verify(secretOf(p), signed(p, noon), payload, noon), "%s", p)
	}
}

// TestKnownSignatures are examples that the providers publish.
func TestKnownSignatures(t *testing.T) {
	github := http.Header{"X-Hub-Signature-256": {"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}}
	assert.NilError(t, webhook.GitHub.Verify([]byte("It's a Secret to Everybody"), github, []byte("Hello, World!"), noon))

	standard := http.Header{"Webhook-Id": {"msg_p5jXN8AQM9LWM0D4loKWxJek"}, "Webhook-Timestamp": {"1614265330"},
		"Webhook-Signature": {"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}}
	assert.NilError(t, webhook.StandardWebhook.Verify([]byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), standard,
		[]byte(`{"test": 2432232314}`), time.Unix(1614265330, 0)))

	slack := http.Header{"X-Slack-Request-Timestamp": {"1531420618"}, "X-Slack-Signature": {"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"}}
	body := "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
	assert.NilError(t, webhook.Slack.Verify([]byte("8f742231b10e8888abcd99yyyzzz85a5"), slack, []byte(body), time.Unix(1531420618, 0)))
}

// TestBadSignatures tries what a stranger may: every provider, every way.
func TestBadSignatures(t *testing.T) {
	ways := map[string]func(p webhook.Provider, h http.Header) (http.Header, []byte, time.Time){
		"no signature": func(p webhook.Provider, h http.Header) (http.Header, []byte, time.Time) {
			h.Del(signatureHeader(p))
			return h, payload, noon
		},
		"empty": func(p webhook.Provider, h http.Header) (http.Header, []byte, time.Time) {
			h.Set(signatureHeader(p), "")
			return h, payload, noon
		},
		"truncated": func(p webhook.Provider, h http.Header) (http.Header, []byte, time.Time) {
			v := h.Get(signatureHeader(p))
			h.Set(signatureHeader(p), v[:len(v)-2])
			return h, payload, noon
		},
		"one bit": func(p webhook.Provider, h http.Header) (http.Header, []byte, time.Time) {
			v := []byte(h.Get(signatureHeader(p)))
			at := len(v) - 4
			if v[at] == 'a' {
				v[at] = 'b'
			} else {
				v[at] = 'a'
			}
			h.Set(signatureHeader(p), string(v))
			return h, payload, noon
		},
		"another's secret": func(p webhook.Provider, _ http.Header) (http.Header, []byte, time.Time) {
			h := http.Header{}
			p.Sign([]byte("another team's secret"), h, "msg_1", payload, noon)
			return h, payload, noon
		},
		"no secret": func(p webhook.Provider, _ http.Header) (http.Header, []byte, time.Time) {
			h := http.Header{}
			p.Sign(nil, h, "msg_1", payload, noon)
			return h, payload, noon
		},
		"twice": func(p webhook.Provider, h http.Header) (http.Header, []byte, time.Time) {
			h.Add(signatureHeader(p), h.Get(signatureHeader(p)))
			return h, payload, noon
		},
		"another body": func(p webhook.Provider, h http.Header) (http.Header, []byte, time.Time) {
			if p == webhook.GitLab { // which signs nothing: the next test is its own
				h.Set(signatureHeader(p), "x")
			}
			return h, bytes.Replace(payload, []byte("opened"), []byte("closed"), 1), noon
		},
		"encoded anew": func(p webhook.Provider, h http.Header) (http.Header, []byte, time.Time) {
			if p == webhook.GitLab {
				h.Set(signatureHeader(p), strings.ToUpper(h.Get(signatureHeader(p))))
			}
			return h, append([]byte(" "), payload...), noon
		},
	}
	tried := 0
	for _, p := range webhook.Providers() {
		for name, way := range ways {
			h, body, at := way(p, signed(p, noon))
			err := p.Verify(secretOf(p), h, body, at)
			assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired, "%s: %s: %v", p, name, err)
			assert.Assert(t, !strings.Contains(err.Error(), string(secretOf(p))))
			tried++
		}
		assert.Equal(t, task.CodeOf(p.Verify(nil, signed(p, noon), payload, noon)), task.CodeAuthenticationRequired, "%s without a secret", p)
	}
	assert.Assert(t, tried >= 40)
}

func TestReplayedSignatures(t *testing.T) {
	for _, p := range []webhook.Provider{webhook.Slack, webhook.StandardWebhook, webhook.Stripe, webhook.Linear} {
		for _, c := range []struct {
			off time.Duration
			ok  bool
		}{{299 * time.Second, true}, {-299 * time.Second, true}, {301 * time.Second, false}, {-301 * time.Second, false}} {
			err := p.Verify(secretOf(p), signed(p, noon), payload, noon.Add(c.off))
			assert.Equal(t, err == nil, c.ok, "%s, %s: %v", p, c.off, err)
		}
		for _, bad := range []string{"", "x", "-1", "99999999999999999999", "1e9", " 1795694400"} {
			h := signed(p, noon)
			switch p {
			case webhook.Slack:
				h.Set("X-Slack-Request-Timestamp", bad)
			case webhook.StandardWebhook:
				h.Set("Webhook-Timestamp", bad)
			case webhook.Stripe:
				h.Set("Stripe-Signature", strings.Replace(h.Get("Stripe-Signature"), "t=1795694400", "t="+bad, 1))
			default:
				continue
			}
			assert.Assert(t, p.Verify(secretOf(p), h, payload, noon) != nil, "%s at %q", p, bad)
		}
	}
	two := signed(webhook.Stripe, noon)
	two.Set("Stripe-Signature", two.Get("Stripe-Signature")+",t=1")
	assert.Assert(t, webhook.Stripe.Verify(secretOf(webhook.Stripe), two, payload, noon) != nil)
}

// TestChangedSecrets: while a sender changes its secret it signs with both.
func TestChangedSecrets(t *testing.T) {
	for _, p := range []webhook.Provider{webhook.StandardWebhook, webhook.Stripe, webhook.PagerDuty} {
		h, other := signed(p, noon), http.Header{}
		p.Sign([]byte("the next secret"), other, "msg_1", payload, noon)
		name := signatureHeader(p)
		separator := map[webhook.Provider]string{webhook.StandardWebhook: " "}[p]
		if separator == "" {
			separator = ","
		}
		extra := other.Get(name)
		if p == webhook.Stripe {
			_, extra, _ = strings.Cut(extra, ",")
		}
		h.Set(name, extra+separator+h.Get(name))
		if p == webhook.Stripe {
			h.Set(name, signed(p, noon).Get(name)+","+extra)
		}
		assert.NilError(t, p.Verify(secretOf(p), h, payload, noon), "%s", p)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("t=1,v1=ab", []byte(`{}`))
	f.Add("v1,AAAA v1a,BBBB", []byte(`{"webhookTimestamp":1}`))
	f.Add("sha256=zz", []byte(``))
	f.Fuzz(func(t *testing.T, value string, body []byte) {
		for _, p := range webhook.Providers() {
			h := http.Header{"Webhook-Id": {"x"}, "Webhook-Timestamp": {value}, "X-Slack-Request-Timestamp": {value}}
			h.Set(signatureHeader(p), value)
			if err := p.Verify([]byte("a secret that nobody guesses"), h, body, noon); err == nil {
				t.Fatalf("%s accepts %q", p, value)
			}
		}
	})
}
