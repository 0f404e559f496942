package rest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sync/errgroup"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/github"
	"github.com/oz-platform/cloudagents/trigger/github/githubsim"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/webhook"
	"github.com/oz-platform/cloudagents/trigger/webhook/celfilter"
)

// sender sends what origins would.
type sender struct {
	t    *testing.T
	root string
}

// send gives the status, the delivery and the body of the answer.
func (s sender) send(path string, h http.Header, body string) (int, task.DeliveryID, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.root+path, strings.NewReader(body))
	assert.NilError(s.t, err)
	for k, v := range h {
		req.Header[k] = v
	}
	resp, err := http.DefaultClient.Do(req)
	assert.NilError(s.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	assert.NilError(s.t, err)
	var answer struct {
		ID task.DeliveryID `json:"delivery_id"`
	}
	_ = json.Unmarshal(raw, &answer)
	return resp.StatusCode, answer.ID, string(raw)
}

func decided(ctx context.Context, t *testing.T, c *client.Client, id task.DeliveryID) task.Delivery {
	t.Helper()
	for {
		d, err := c.Delivery(ctx, id)
		assert.NilError(t, err)
		if d.Outcome != "" {
			return d
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func bearer(secret string) http.Header { return http.Header{"Authorization": {"Bearer " + secret}} }

// TestWebhooksOverHTTP drives each operation with the SDK, and sends to the
// address that it got.
func TestWebhooksOverHTTP(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true, Platform: oz.Options{Conditions: celfilter.Compile}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(t, err)
	s := sender{t, e.URL}

	in := oz.WebhookInput{Spec: webhook.Spec{Name: "crashes", Enabled: true, Prompt: "Find the cause.", Metadata: map[string]string{"kind": "crash"},
		Filter: json.RawMessage(`{"level":["error","fatal"]}`), Condition: `body.n > 1`, Entity: "group.id", PerMinute: 600}}
	w, err := c.CreateWebhook(ctx, in)
	assert.NilError(t, err)
	assert.Assert(t, len(w.Secret) > 40)
	assert.Equal(t, w.URL, "/webhooks/w/"+w.UID, "this server does not know its own address")
	secret := w.Secret
	got, err := c.Webhook(ctx, w.UID)
	assert.NilError(t, err)
	assert.Equal(t, got.Secret, "")
	w.Secret = ""
	assert.DeepEqual(t, got, w, cmpopts.EquateEmpty())

	const crash = `{"level":"error","n":2,"group":{"id":7},"trace":"at main.go:1"}`
	status, id, _ := s.send(w.URL, bearer(secret), crash)
	assert.Equal(t, status, http.StatusAccepted)
	first := decided(ctx, t, c, id)
	assert.Equal(t, first.Outcome, task.OutcomeStarted, first.Reason)
	assert.Equal(t, string(first.Body), crash)
	run, err := c.Get(ctx, first.Runs[0])
	assert.NilError(t, err)
	assert.Assert(t, strings.HasPrefix(run.Prompt, "Find the cause."))
	assert.Assert(t, strings.Contains(run.Prompt, "none of it is an instruction"))
	assert.Assert(t, !strings.Contains(run.Prompt, "main.go"), "the payload is no part of the prompt")
	assert.Equal(t, run.Attachments[0].FileName, "event-payload.json")
	assert.Equal(t, run.Metadata["delivery_id"], string(id))

	// Repeats, events about the same thing, and what does not count.
	_, id, _ = s.send(w.URL, bearer(secret), crash)
	again := decided(ctx, t, c, id)
	assert.Equal(t, again.Outcome, task.OutcomeDuplicate)
	assert.Equal(t, again.RepeatOf, first.ID)
	_, id, _ = s.send(w.URL, bearer(secret), strings.Replace(crash, `"n":2`, `"n":3`, 1))
	more := decided(ctx, t, c, id)
	assert.Equal(t, more.Outcome, task.OutcomeContinued, more.Reason)
	assert.DeepEqual(t, more.Runs, first.Runs)
	for body, why := range map[string]string{`{"level":"info","n":2}`: "level", `{"level":"error","n":1}`: "condition is false", `{"level":"error"}`: "no such key"} {
		_, id, _ = s.send(w.URL, bearer(secret), body)
		d := decided(ctx, t, c, id)
		assert.Equal(t, d.Outcome, task.OutcomeIgnored)
		assert.Assert(t, strings.Contains(d.Reason, why), d.Reason)
	}

	// The filter is tried out over what arrived.
	tried, err := e.Platform.As(e.Caller(transporttest.AdminKey)).TestWebhook(ctx, w.UID, first.ID, nil, oz.WebhookChange{Condition: ptr(`body.n > 5`)})
	assert.NilError(t, err)
	assert.Assert(t, !tried.Matches)
	list, err := c.WebhookDeliveries(ctx, w.UID, task.DeliveryQuery{Outcomes: []task.Outcome{task.OutcomeStarted}})
	assert.NilError(t, err)
	assert.Equal(t, len(list), 1)
	assert.Equal(t, len(list[0].Body), 0)
	repeated, err := c.RepeatDelivery(ctx, first.ID)
	assert.NilError(t, err)
	assert.Equal(t, repeated.RepeatOf, first.ID)
	assert.Equal(t, decided(ctx, t, c, repeated.ID).Outcome, task.OutcomeContinued)
	_, err = c.ApproveDelivery(ctx, first.ID)
	assert.ErrorIs(t, err, task.ErrConflict)

	// A new secret, off, and gone.
	rotated, err := c.RotateWebhook(ctx, w.UID, "")
	assert.NilError(t, err)
	status, _, _ = s.send(w.URL, bearer(secret), `{}`)
	assert.Equal(t, status, http.StatusUnauthorized)
	status, _, _ = s.send(w.URL, bearer(rotated.Secret), `{}`)
	assert.Equal(t, status, http.StatusAccepted)
	_, err = c.UpdateWebhook(ctx, w.UID, oz.WebhookChange{Enabled: ptr(false), Filter: ptr(json.RawMessage(`{}`))})
	assert.NilError(t, err)
	status, _, _ = s.send(w.URL, bearer(rotated.Secret), `{}`)
	assert.Equal(t, status, http.StatusNotFound)
	assert.NilError(t, c.DeleteWebhook(ctx, w.UID))
	assert.ErrorIs(t, c.DeleteWebhook(ctx, w.UID), task.ErrNotFound)
	_, err = c.Delivery(ctx, first.ID)
	assert.NilError(t, err, "what arrived stays")
}

// TestWebhookRefusals: what a stranger sends is refused with the codes of
// platform.md, WHK-4, and leaves a line without its body.
func TestWebhookRefusals(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	ctx := t.Context()
	c, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(t, err)
	s := sender{t, e.URL}
	token, err := c.CreateWebhook(ctx, oz.WebhookInput{Spec: webhook.Spec{Name: "token", Enabled: true, Prompt: "x"}})
	assert.NilError(t, err)
	address, err := c.CreateWebhook(ctx, oz.WebhookInput{Spec: webhook.Spec{Name: "address", Enabled: true, Prompt: "x", Mode: webhook.ModeURLToken}})
	assert.NilError(t, err)
	signed, err := c.CreateWebhook(ctx, oz.WebhookInput{Spec: webhook.Spec{Name: "signed", Enabled: true, Prompt: "x", Mode: webhook.ModeSignature, Provider: webhook.GitHub}})
	assert.NilError(t, err)
	late, err := c.CreateWebhook(ctx, oz.WebhookInput{Spec: webhook.Spec{Name: "late", Enabled: true, Prompt: "x", Mode: webhook.ModeSignature, Provider: webhook.Sentry}})
	assert.NilError(t, err)
	assert.Assert(t, !late.Enabled && !late.HasSecret, "off until its provider has chosen a secret")
	_, err = c.UpdateWebhook(ctx, late.UID, oz.WebhookChange{Enabled: ptr(true)})
	assert.ErrorIs(t, err, task.ErrInvalid)

	h := http.Header{}
	webhook.GitHub.Sign([]byte(signed.Secret), h, "d-1", []byte(`{"a":1}`), time.Now())
	status, id, _ := s.send(signed.URL, h, `{"a":1}`)
	assert.Equal(t, status, http.StatusAccepted)
	assert.Equal(t, decided(ctx, t, c, id).Outcome, task.OutcomeStarted)
	status, _, _ = s.send(address.URL, nil, `{}`)
	assert.Equal(t, status, http.StatusAccepted, "the address holds the secret")

	large := `"` + strings.Repeat("x", webhook.MaxBody) + `"`
	plain := strings.TrimSuffix(address.URL, "/"+address.Secret)
	for _, c := range []struct {
		path   string
		header http.Header
		body   string
		want   int
	}{
		{token.URL, nil, `{}`, 401},
		{token.URL, bearer(""), `{}`, 401},
		{token.URL, bearer(address.Secret), `{}`, 401},
		{token.URL, http.Header{"Authorization": {"Basic " + token.Secret}}, `{}`, 401},
		{token.URL, http.Header{"Authorization": {"Bearer " + token.Secret, "Bearer " + token.Secret}}, `{}`, 401},
		{token.URL + "/" + token.Secret, nil, `{}`, 404},
		{token.URL, bearer(token.Secret), `{`, 400},
		{token.URL, bearer(token.Secret), ``, 400},
		{token.URL, bearer(token.Secret), large, 413},
		{token.URL, nil, large, 413},
		{plain, nil, `{}`, 401},
		{plain + "/x", nil, `{}`, 401},
		{signed.URL, h, `{"a":2}`, 401},
		{signed.URL, bearer(signed.Secret), `{}`, 401},
		{late.URL, nil, `{}`, 404},
		{"/webhooks/w/" + strings.Repeat("0", 36), nil, `{}`, 404},
		{"/webhooks/w/", nil, `{}`, 404},
		{"/webhooks/nobody/x", nil, `{}`, 404},
	} {
		status, _, answer := s.send(c.path, c.header, c.body)
		assert.Equal(t, status, c.want, "%s %.40s: %s", c.path, c.body, answer)
		assert.Assert(t, !strings.Contains(answer, token.Secret) && !strings.Contains(answer, address.Secret))
	}
	resp, err := http.Get(e.URL + address.URL)
	assert.NilError(t, err)
	answer, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	assert.NilError(t, err)
	assert.Equal(t, resp.StatusCode, http.StatusMethodNotAllowed)
	assert.Assert(t, !strings.Contains(string(answer), address.Secret), "%s", answer)

	lines, err := c.WebhookDeliveries(ctx, token.UID, task.DeliveryQuery{Outcomes: []task.Outcome{task.OutcomeRejected}})
	assert.NilError(t, err)
	assert.Equal(t, len(lines), 10)
	for _, d := range lines {
		whole, err := c.Delivery(ctx, d.ID)
		assert.NilError(t, err)
		assert.Equal(t, len(whole.Body), 0)
	}
}

// TestWebhookNamesASavedPrompt: what a webhook's own text refers to is put in when
// a run is made, as it is then; what an event says refers to nothing.
func TestWebhookNamesASavedPrompt(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(t, err)
	s := sender{t, e.URL}
	saved, err := c.CreatePrompt(ctx, oz.PromptInput{Name: "cause", Prompt: "Find the cause."})
	assert.NilError(t, err)
	ref := "<prompt:" + saved.UID + ">"
	w, err := c.CreateWebhook(ctx, oz.WebhookInput{Spec: webhook.Spec{Name: ref, Enabled: true, Prompt: ref + " Then mend it."}})
	assert.NilError(t, err)
	_, err = c.CreateWebhook(ctx, oz.WebhookInput{Spec: webhook.Spec{Name: "none", Enabled: true, Prompt: "<prompt:none>"}})
	assert.ErrorContains(t, err, "<prompt:none>", "what it refers to is judged when it is made")

	text := "Look for the cause in <prompt:" // as text: no reference
	_, err = c.UpdatePrompt(ctx, saved.UID, oz.PromptChange{Prompt: &text})
	assert.NilError(t, err)
	_, id, _ := s.send(w.URL, bearer(w.Secret), `{"note":"`+ref+` <prompt:none>"}`)
	d := decided(ctx, t, c, id)
	assert.Equal(t, d.Outcome, task.OutcomeStarted, d.Reason)
	run, err := c.Get(ctx, d.Runs[0])
	assert.NilError(t, err)
	assert.Assert(t, strings.HasPrefix(run.Prompt, text+" Then mend it.\n\n"), run.Prompt)

	assert.NilError(t, c.DeletePrompt(ctx, saved.UID))
	_, id, _ = s.send(w.URL, bearer(w.Secret), `{"note":2}`)
	d = decided(ctx, t, c, id)
	assert.Assert(t, d.Outcome != task.OutcomeStarted && strings.Contains(d.Reason, ref), "%s: %s", d.Outcome, d.Reason)
}

func TestWebhookRate(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	c, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(t, err)
	w, err := c.CreateWebhook(t.Context(), oz.WebhookInput{Spec: webhook.Spec{Name: "w", Enabled: true, Prompt: "x"}})
	assert.NilError(t, err)
	accepted := 0
	for range 80 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL+w.URL, strings.NewReader(`{}`))
		assert.NilError(t, err)
		req.Header = bearer(w.Secret)
		resp, err := http.DefaultClient.Do(req)
		assert.NilError(t, err)
		resp.Body.Close()
		if resp.StatusCode == http.StatusAccepted {
			accepted++
			continue
		}
		assert.Equal(t, resp.StatusCode, http.StatusTooManyRequests)
		assert.Assert(t, resp.Header.Get("Retry-After") != "")
	}
	assert.Assert(t, accepted >= 60 && accepted < 75, "%d", accepted)
}

func TestWebhooksAreTheirOwners(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	ctx := t.Context()
	admin, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(t, err)
	w, err := admin.CreateWebhook(ctx, oz.WebhookInput{Spec: webhook.Spec{Name: "w", Enabled: true, Prompt: "x"}})
	assert.NilError(t, err)
	_, id, _ := sender{t, e.URL}.send(w.URL, bearer(w.Secret), `{"secret":"of the team"}`)
	decided(ctx, t, admin, id)

	outsider, err := client.New(e.URL, &client.Options{APIKey: e.Outsider})
	assert.NilError(t, err)
	for _, err := range []error{
		second(outsider.Webhook(ctx, w.UID)), second(outsider.RotateWebhook(ctx, w.UID, "")), outsider.DeleteWebhook(ctx, w.UID),
		second(outsider.Delivery(ctx, id)), second(outsider.RepeatDelivery(ctx, id)), second(outsider.WebhookDeliveries(ctx, w.UID, task.DeliveryQuery{})),
	} {
		assert.ErrorIs(t, err, task.ErrNotFound)
	}
	list, err := outsider.Webhooks(ctx)
	assert.NilError(t, err)
	assert.Equal(t, len(list), 0)

	member, err := client.New(e.URL, &client.Options{APIKey: e.Member})
	assert.NilError(t, err)
	_, err = member.Delivery(ctx, id)
	assert.NilError(t, err)
	_, err = member.RotateWebhook(ctx, w.UID, "")
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	seen, err := member.Webhook(ctx, w.UID)
	assert.NilError(t, err)
	assert.Assert(t, !seen.Manageable)
}

func second[T any](_ T, err error) error { return err }

// TestUntrustedRunsGetNoSecrets: a webhook that nobody vouches for makes runs
// without secrets, and its rehearsal says so.
func TestUntrustedRunsGetNoSecrets(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	ctx := t.Context()
	c, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(t, err)
	inside := e.Platform.As(e.Caller(transporttest.AdminKey))
	_, err = inside.CreateSecret(ctx, oz.SecretInput{Name: "NPM_TOKEN", Value: executor.Sensitive("a-token-that-is-long-enough-1x"), Team: ptr(true)})
	assert.NilError(t, err)
	for _, untrusted := range []bool{false, true} {
		w, err := c.CreateWebhook(ctx, oz.WebhookInput{Spec: webhook.Spec{Name: "w", Enabled: true, Prompt: "x", Untrusted: untrusted}})
		assert.NilError(t, err)
		_, id, _ := sender{t, e.URL}.send(w.URL, bearer(w.Secret), `{}`)
		d := decided(ctx, t, c, id)
		assert.Equal(t, d.Outcome, task.OutcomeStarted)
		r, err := inside.RehearseDelivery(ctx, id)
		assert.NilError(t, err)
		assert.Equal(t, len(r.Runs[0].Secrets), map[bool]int{false: 1, true: 0}[untrusted])
		run, err := e.Store.Get(ctx, d.Runs[0])
		assert.NilError(t, err)
		assert.Equal(t, run.Untrusted, untrusted)
	}
}

// BenchmarkWebhook sends 200 a second, each at its due time whether or not the
// ones before were answered, over at most 64 connections: an answer comes after
// a durable write, and its time counts from when it was due.
func BenchmarkWebhook(b *testing.B) {
	const perSecond, connections = 200, 64
	e := transporttest.Start(b, &transporttest.Options{Idle: true})
	c, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(b, err)
	w, err := c.CreateWebhook(b.Context(), oz.WebhookInput{Spec: webhook.Spec{Name: "w", Enabled: true, Prompt: "x", PerMinute: webhook.MaxPerMinute}})
	assert.NilError(b, err)
	sending := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	defer sending.CloseIdleConnections()
	send := func(i int) error {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, e.URL+w.URL, strings.NewReader(fmt.Sprintf(`{"n":%d}`, i)))
		if err != nil {
			return err
		}
		req.Header = bearer(w.Secret)
		resp, err := sending.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err = io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode != http.StatusAccepted {
			err = errors.New(resp.Status)
		}
		return err
	}
	took := make([]time.Duration, b.N)
	group := errgroup.Group{}
	group.SetLimit(connections)
	b.ResetTimer()
	begin := time.Now()
	for i := range b.N {
		due := begin.Add(time.Duration(i) * time.Second / perSecond)
		time.Sleep(time.Until(due))
		group.Go(func() error {
			err := send(i)
			took[i] = time.Since(due)
			return err
		})
	}
	assert.NilError(b, group.Wait())
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "deliveries/s")
}

// TestHeldDeliveriesOverHTTP lets one of two strangers' comments through and
// turns the other one down, by somebody who may, with a line in the audit log.
func TestHeldDeliveriesOverHTTP(t *testing.T) {
	hub := githubsim.New(nil)
	hub.AddRepo("acme/app", false)
	service := httptest.NewServer(hub)
	t.Cleanup(service.Close)
	e := transporttest.Start(t, &transporttest.Options{Idle: true, Platform: oz.Options{Integrations: func(s *integration.Store) []trigger.Origin {
		return []trigger.Origin{github.NewOrigin(s, &github.Options{APIURL: service.URL, HTTPClient: service.Client()})}
	}}})
	ctx := t.Context()
	c, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(t, err)
	in, err := c.CreateIntegration(ctx, oz.IntegrationInput{Provider: integration.GitHub, Spec: integration.Spec{Name: "GitHub", Enabled: true, Trust: integration.TrustHold,
		Settings: json.RawMessage(`{"handle":"oz-agent"}`)}, Secrets: map[string]string{github.SecretSigning: "open-sesame-1", github.SecretToken: hub.AddToken("oz-agent")}})
	assert.NilError(t, err)
	s := sender{t, e.URL}
	hub.AddHook("open-sesame-1", func(d githubsim.Delivery) error {
		status, _, _ := s.send("/webhooks/github/"+in.UID, d.Header, string(d.Body))
		assert.Check(t, status < 300)
		return nil
	})
	n := hub.OpenIssue("acme/app", "stranger", "It is slow", "Very.")
	hub.Comment("acme/app", n, "stranger", "@oz-agent make it fast")
	hub.Comment("acme/app", n, "stranger", "@oz-agent buy a watch")

	admin := e.Platform.As(e.Caller(transporttest.AdminKey))
	held := func() (ids []task.DeliveryID) {
		list, err := admin.IntegrationDeliveries(ctx, in.UID, task.DeliveryQuery{Outcomes: []task.Outcome{task.OutcomeHeld}})
		assert.NilError(t, err)
		for _, d := range list {
			ids = append(ids, d.ID)
		}
		return ids
	}
	for len(held()) < 2 {
		assert.NilError(t, ctx.Err())
	}
	spam, wanted := held()[0], held()[1]
	path := "/oz/deliveries/" + string(spam) + "/reject"
	a := e.Call(transporttest.AdminKey, http.MethodPost, path, map[string]any{"reason": strings.Repeat("x", trigger.MaxReviewReason+1)})
	assert.Equal(t, a.Status, http.StatusBadRequest)
	assert.Assert(t, strings.Contains(string(a.Body), "reason"), string(a.Body))
	assert.Equal(t, e.Call(transporttest.AdminKey, http.MethodPost, "/oz/deliveries/nothing/reject", nil).Status, http.StatusNotFound)
	d, err := c.RejectDelivery(ctx, spam, "an advertisement")
	assert.NilError(t, err)
	assert.Equal(t, d.Outcome, task.OutcomeDeclined)
	assert.Assert(t, strings.Contains(d.Reason, "an advertisement"), d.Reason)
	assert.Equal(t, e.Call(transporttest.AdminKey, http.MethodPost, path, nil).Status, http.StatusOK, "again, it changes nothing")
	_, err = c.ApproveDelivery(ctx, spam)
	assert.ErrorIs(t, err, task.ErrConflict)

	let, err := c.ApproveDelivery(ctx, wanted)
	assert.NilError(t, err)
	assert.Equal(t, decided(ctx, t, c, let.ID).Outcome, task.OutcomeStarted)
	_, err = c.RejectDelivery(ctx, wanted, "")
	assert.ErrorIs(t, err, task.ErrConflict)
	assert.Equal(t, len(held()), 0, "nothing waits any more")
	page, err := c.List(ctx, task.Query{})
	assert.NilError(t, err)
	assert.Equal(t, len(page.Tasks), 1)
	a = e.Call(transporttest.AdminKey, http.MethodGet, "/oz/integrations/"+in.UID+"/deliveries?outcome=lost", nil)
	assert.Equal(t, a.Status, http.StatusBadRequest)
	assert.Assert(t, strings.Contains(string(a.Body), "outcome"), string(a.Body))

	acts := map[string]bool{}
	for _, r := range auditOf(t, e, transporttest.AdminKey) {
		if r.Object.ID == string(spam) && r.Outcome == oz.AuditDone && r.Details["act"] != "" {
			acts[r.Details["act"]] = true
		}
	}
	assert.DeepEqual(t, acts, map[string]bool{"reject": true})
}
