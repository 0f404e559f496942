package webhook

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Vercel signs so; as an HMAC it holds
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"hash"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// Provider is how a sender signs.
type Provider string

// The providers. GitLab sends its secret as it is, unless that is a signing
// token, which begins with whsec_; the others prove that they know it.
const (
	GitHub          Provider = "github"
	GitLab          Provider = "gitlab"
	Linear          Provider = "linear"
	PagerDuty       Provider = "pagerduty"
	Sentry          Provider = "sentry"
	Slack           Provider = "slack"
	StandardWebhook Provider = "standard_webhooks"
	Stripe          Provider = "stripe"
	Vercel          Provider = "vercel"
)

// Providers lists all of them.
func Providers() []Provider {
	return []Provider{GitHub, GitLab, Linear, PagerDuty, Sentry, Slack, StandardWebhook, Stripe, Vercel}
}

// Tolerance is how far the time of a signed request may be from ours, where
// the provider signs a time.
const Tolerance = 5 * time.Minute

// maxSignatures bounds the signatures of one request: senders that change
// their secret send two.
const maxSignatures = 8

// Verify fails with task.CodeAuthenticationRequired unless the request was
// signed with the secret, at a time near now. It parses nothing of a body that
// is not authentic.
func (p Provider) Verify(secret []byte, h http.Header, body []byte, now time.Time) error {
	if len(secret) == 0 {
		return unauthentic("the secret that %s signs with was not given yet", p)
	}
	switch p {
	case GitHub:
		return hexSignature(secret, h, "X-Hub-Signature-256", "sha256=", sha256.New, body)
	case GitLab:
		if strings.HasPrefix(string(secret), "whsec_") { // a signing token, since GitLab 19
			return verifyStandard(secret, h, body, now)
		}
		token, err := one(h, "X-Gitlab-Token")
		if err != nil || subtle.ConstantTimeCompare([]byte(token), secret) != 1 {
			return refuse(err)
		}
		return nil
	case Linear:
		return verifyLinear(secret, h, body, now)
	case PagerDuty:
		return verifyPagerDuty(secret, h, body)
	case Sentry:
		return hexSignature(secret, h, "Sentry-Hook-Signature", "", sha256.New, body)
	case Slack:
		return verifySlack(secret, h, body, now)
	case StandardWebhook:
		return verifyStandard(secret, h, body, now)
	case Stripe:
		return verifyStripe(secret, h, body, now)
	case Vercel:
		return hexSignature(secret, h, "X-Vercel-Signature", "", sha1.New, body)
	}
	return unauthentic("nobody here knows how %q signs", string(p))
}

// deliveryHeader is where a provider names the delivery; "" when it does not.
func (p Provider) deliveryHeader() string {
	switch p {
	case GitHub:
		return "X-GitHub-Delivery"
	case GitLab:
		return "X-Gitlab-Event-UUID"
	case Linear:
		return "Linear-Delivery"
	case Sentry:
		return "Request-ID"
	case StandardWebhook:
		return "Webhook-Id"
	}
	return ""
}

// eventHeader is where a provider names the kind of event; "" when it does not.
func (p Provider) eventHeader() string {
	switch p {
	case GitHub:
		return "X-GitHub-Event"
	case GitLab:
		return "X-Gitlab-Event"
	case Linear:
		return "Linear-Event"
	case Sentry:
		return "Sentry-Hook-Resource"
	}
	return ""
}

func unauthentic(format string, args ...any) error {
	return task.Errorf(task.CodeAuthenticationRequired, format, args...)
}

// refuse says no more than a stranger may know.
func refuse(err error) error {
	if err != nil {
		return err
	}
	return unauthentic("the signature does not fit the body and the secret")
}

// one gives the value of a header that must be there once: of two nobody knows
// which one others looked at.
func one(h http.Header, name string) (string, error) {
	switch values := h.Values(name); len(values) {
	case 0:
		return "", unauthentic("the header %s is missing", name)
	case 1:
		return values[0], nil
	}
	return "", unauthentic("the header %s is there more than once", name)
}

func sum(secret []byte, algorithm func() hash.Hash, parts ...[]byte) []byte {
	mac := hmac.New(algorithm, secret)
	for _, p := range parts {
		mac.Write(p)
	}
	return mac.Sum(nil)
}

// anyOf reports whether one of the signatures is the wanted one; all are
// compared, each in constant time.
func anyOf(given [][]byte, want []byte) bool {
	ok := false
	for _, g := range given {
		ok = hmac.Equal(g, want) || ok
	}
	return ok
}

// hexSignature checks a header that holds one signature of the body.
func hexSignature(secret []byte, h http.Header, header, prefix string, algorithm func() hash.Hash, body []byte) error {
	value, err := one(h, header)
	if err != nil {
		return err
	}
	given, err := unhex(value, prefix)
	if err != nil || !anyOf([][]byte{given}, sum(secret, algorithm, body)) {
		return refuse(nil)
	}
	return nil
}

func unhex(value, prefix string) ([]byte, error) {
	digits, ok := strings.CutPrefix(value, prefix)
	if !ok {
		return nil, hex.InvalidByteError(0)
	}
	return hex.DecodeString(digits)
}

// fresh checks a time in seconds.
func fresh(seconds string, now time.Time) error {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n < 0 || n > 1<<40 {
		return unauthentic("the time of the signature is no number of seconds")
	}
	return near(time.Unix(n, 0), now)
}

func near(t, now time.Time) error {
	if d := now.Sub(t); d > Tolerance || d < -Tolerance {
		return unauthentic("the signature's time is more than %s from ours", Tolerance)
	}
	return nil
}

func verifySlack(secret []byte, h http.Header, body []byte, now time.Time) error {
	seconds, err := one(h, "X-Slack-Request-Timestamp")
	if err != nil {
		return err
	}
	value, err := one(h, "X-Slack-Signature")
	if err != nil {
		return err
	}
	given, err := unhex(value, "v0=")
	if err != nil || !anyOf([][]byte{given}, sum(secret, sha256.New, []byte("v0:"+seconds+":"), body)) {
		return refuse(nil)
	}
	return fresh(seconds, now)
}

// verifyStandard follows Standard Webhooks 1.0, also with Svix' names.
func verifyStandard(secret []byte, h http.Header, body []byte, now time.Time) error {
	prefix := "Webhook-"
	if h.Get("Webhook-Id") == "" && h.Get("Svix-Id") != "" {
		prefix = "Svix-"
	}
	var values [3]string
	for i, name := range []string{"Id", "Timestamp", "Signature"} {
		var err error
		if values[i], err = one(h, prefix+name); err != nil {
			return err
		}
	}
	key := secret
	if rest, ok := strings.CutPrefix(string(secret), "whsec_"); ok {
		var err error
		if key, err = base64.StdEncoding.DecodeString(rest); err != nil {
			return unauthentic("the secret is no Standard Webhooks secret: after whsec_ there must be base64")
		}
	}
	var given [][]byte
	for s := range strings.FieldsSeq(values[2]) {
		if encoded, ok := strings.CutPrefix(s, "v1,"); ok && len(given) < maxSignatures {
			if decoded, err := base64.StdEncoding.DecodeString(encoded); err == nil {
				given = append(given, decoded)
			}
		}
	}
	if !anyOf(given, sum(key, sha256.New, []byte(values[0]+"."+values[1]+"."), body)) {
		return refuse(nil)
	}
	return fresh(values[1], now)
}

func verifyStripe(secret []byte, h http.Header, body []byte, now time.Time) error {
	value, err := one(h, "Stripe-Signature")
	if err != nil {
		return err
	}
	seconds := ""
	var given [][]byte
	for part := range strings.SplitSeq(value, ",") {
		name, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case name == "t" && seconds != "":
			return unauthentic("the header Stripe-Signature has two times")
		case name == "t":
			seconds = v
		case name == "v1" && len(given) < maxSignatures:
			if decoded, err := hex.DecodeString(v); err == nil {
				given = append(given, decoded)
			}
		}
	}
	if !anyOf(given, sum(secret, sha256.New, []byte(seconds+"."), body)) {
		return refuse(nil)
	}
	return fresh(seconds, now)
}

func verifyPagerDuty(secret []byte, h http.Header, body []byte) error {
	value, err := one(h, "X-PagerDuty-Signature")
	if err != nil {
		return err
	}
	var given [][]byte
	for part := range strings.SplitSeq(value, ",") {
		if decoded, err := unhex(strings.TrimSpace(part), "v1="); err == nil && len(given) < maxSignatures {
			given = append(given, decoded)
		}
	}
	if !anyOf(given, sum(secret, sha256.New, body)) {
		return refuse(nil)
	}
	return nil
}

// verifyLinear looks at the time in the body, which is what Linear signs.
func verifyLinear(secret []byte, h http.Header, body []byte, now time.Time) error {
	if err := hexSignature(secret, h, "Linear-Signature", "", sha256.New, body); err != nil {
		return err
	}
	var timed struct {
		At int64 `json:"webhookTimestamp"`
	}
	if err := json.Unmarshal(body, &timed); err != nil || timed.At <= 0 {
		return unauthentic("the body has no webhookTimestamp")
	}
	return near(time.UnixMilli(timed.At), now)
}

// Sign signs a body as the provider does, and sets the headers: for tests, and
// for senders of one's own. id names the delivery.
func (p Provider) Sign(secret []byte, h http.Header, id string, body []byte, now time.Time) {
	seconds := strconv.FormatInt(now.Unix(), 10)
	mac := func(parts ...[]byte) string { return hex.EncodeToString(sum(secret, sha256.New, parts...)) }
	if name := p.deliveryHeader(); name != "" && p != StandardWebhook {
		h.Set(name, id)
	}
	switch p {
	case GitHub:
		h.Set("X-Hub-Signature-256", "sha256="+mac(body))
	case GitLab:
		h.Set("X-Gitlab-Token", string(secret))
	case Linear:
		h.Set("Linear-Signature", mac(body))
	case PagerDuty:
		h.Set("X-PagerDuty-Signature", "v1="+mac(body))
	case Sentry:
		h.Set("Sentry-Hook-Signature", mac(body))
	case Slack:
		h.Set("X-Slack-Request-Timestamp", seconds)
		h.Set("X-Slack-Signature", "v0="+mac([]byte("v0:"+seconds+":"), body))
	case StandardWebhook:
		signStandard(secret, h, id, seconds, body)
	case Stripe:
		h.Set("Stripe-Signature", "t="+seconds+",v1="+mac([]byte(seconds+"."), body))
	case Vercel:
		h.Set("X-Vercel-Signature", hex.EncodeToString(sum(secret, sha1.New, body)))
	}
}

func signStandard(secret []byte, h http.Header, id, seconds string, body []byte) {
	key := secret
	if rest, ok := strings.CutPrefix(string(secret), "whsec_"); ok {
		if decoded, err := base64.StdEncoding.DecodeString(rest); err == nil {
			key = decoded
		}
	}
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", seconds)
	h.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(sum(key, sha256.New, []byte(id+"."+seconds+"."), body)))
}

func (p Provider) known() bool { return slices.Contains(Providers(), p) }
