package client_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

func head(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i+1 < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

// TestRetries is the table of Oz API, retries: what is repeated, when, and how
// often.
func TestRetries(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	run, err := e.Platform.Submit(t.Context(), oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	type f = transporttest.Fault
	get := func(ctx context.Context, c *client.Client) error { _, err := c.Get(ctx, run.ID); return err }
	followUp := func(ctx context.Context, c *client.Client) error {
		return c.FollowUp(ctx, run.ID, oz.Message{Text: "more"})
	}
	const hint = 5 * time.Millisecond
	soon := head("Retry-After-Ms", "5")
	for _, tt := range []struct {
		name     string
		call     func(context.Context, *client.Client) error
		faults   []f
		requests int           // that reach the proxy
		wait     time.Duration // before the second; 0 is the default's range
		code     task.Code     // of the error; "" is none
	}{
		{"nothing wrong", get, nil, 1, 0, ""},
		{"408", get, []f{{Status: 408}}, 2, 0, ""},
		{"409", get, []f{{Status: 409}}, 2, 0, ""},
		{"429", get, []f{{Status: 429, Header: head("Retry-After", "3")}}, 2, 3 * time.Second, ""},
		{"429 with milliseconds", get, []f{{Status: 429, Header: head("Retry-After", "3", "Retry-After-Ms", "5")}}, 2, hint, ""},
		{"429 with a fraction", get, []f{{Status: 429, Header: head("Retry-After-Ms", "1.5")}}, 2, 1500 * time.Microsecond, ""},
		{"429 for too long", get, []f{{Status: 429, Header: head("Retry-After", "86400")}}, 2, time.Minute, ""},
		{"429 until the past", get, []f{{Status: 429, Header: head("Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT")}}, 2, -1, ""},
		{"nonsense to wait for", get, []f{{Status: 429, Header: head("Retry-After-Ms", "NaN", "Retry-After", "soon")}}, 2, 0, ""},
		{"500", get, []f{{Status: 500}}, 2, 0, ""},
		{"599", get, []f{{Status: 599}}, 2, 0, ""},
		{"twice", get, []f{{Status: 502, Body: "<html>bad gateway"}, {Status: 503}}, 3, 0, ""},
		{"three times", get, []f{{Status: 503}, {Status: 503}, {Status: 503}}, 3, 0, task.CodeResourceUnavailable},
		{"500 that forbids it", get, []f{{Status: 500, Header: head("X-Should-Retry", "false")}}, 1, 0, task.CodeInternal},
		{"409 that forbids it", get, []f{{Status: 409, Header: head("X-Should-Retry", "false")}}, 1, 0, task.CodeConflict},
		{"400", get, []f{{Status: 400}}, 1, 0, task.CodeInvalidRequest},
		{"401", get, []f{{Status: 401}}, 1, 0, task.CodeAuthenticationRequired},
		{"403", get, []f{{Status: 403}}, 1, 0, task.CodeNotAuthorized},
		{"404", get, []f{{Status: 404}}, 1, 0, task.CodeNotFound},
		{"422", get, []f{{Status: 422}}, 1, 0, task.CodeOperationNotSupported},
		{"404 that asks for it", get, []f{{Status: 404, Header: head("X-Should-Retry", "true", "Retry-After-Ms", "5")}}, 2, hint, ""},
		{"cut before the server", get, []f{{Refuse: true}}, 2, 0, ""},
		{"cut behind the server", get, []f{{Lose: true}}, 2, 0, ""},
		{"cut inside the answer", get, []f{{CutAfter: 40}}, 2, 0, ""},
		{"cut inside the answer for good", get, []f{{CutAfter: 40}, {CutAfter: 40}, {CutAfter: 40}}, 3, 0, task.CodeResourceUnavailable},
		{"silent inside the answer", get, []f{{CutAfter: 40, Hold: true}}, 2, 0, ""},

		{"follow-up: 429", followUp, []f{{Status: 429, Header: soon}}, 2, hint, ""},
		{"follow-up: 409", followUp, []f{{Status: 409, Header: soon}}, 2, hint, ""},
		{"follow-up: 503 that asks for it", followUp, []f{{Status: 503, Header: head("X-Should-Retry", "true")}}, 2, 0, ""},
		{"follow-up: a proxy's 502", followUp, []f{{Status: 502}}, 1, 0, task.CodeInternal},
		{"follow-up: a proxy's 504", followUp, []f{{Status: 504}}, 1, 0, task.CodeInternal},
		{"follow-up: cut before the server", followUp, []f{{Refuse: true}}, 1, 0, task.CodeResourceUnavailable},
		{"follow-up: cut behind the server", followUp, []f{{Lose: true}}, 1, 0, task.CodeResourceUnavailable},
		{"follow-up: cut inside the answer", followUp, []f{{CutAfter: 1}}, 1, 0, ""}, // 200 has said it all
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := transporttest.StartProxy(t, e.URL, func(n int, _ *http.Request) transporttest.Fault {
				if n < len(tt.faults) {
					return tt.faults[n]
				}
				return pass
			})
			clock := transporttest.NewClock()
			timeout := time.Minute
			if len(tt.faults) > 0 && tt.faults[0].Hold {
				timeout = time.Second
			}
			err := tt.call(t.Context(), with(t, p.URL, client.Options{APIKey: transporttest.AdminKey, Clock: clock, Timeout: timeout}))
			if tt.code == "" {
				assert.NilError(t, err)
			} else {
				assert.Equal(t, task.CodeOf(err), tt.code, "%v", err)
				assert.Assert(t, !strings.Contains(err.Error(), transporttest.AdminKey))
			}
			seen := p.Seen()
			assert.Equal(t, len(seen), tt.requests)
			for n, r := range seen[1:] {
				assert.Equal(t, r.Header.Get("X-Stainless-Retry-Count"), fmt.Sprint(n+1))
			}
			checkWaits(t, clock.Waited(), tt.requests-1, tt.wait)
		})
	}
}

// checkWaits asks for n waits, the first as long as the server wanted it and
// the others as the default has it.
func checkWaits(t *testing.T, waited []time.Duration, n int, first time.Duration) {
	t.Helper()
	assert.Equal(t, len(waited), n)
	for i, d := range waited {
		if i == 0 && first != 0 {
			assert.Equal(t, d, max(first, 0))
			continue
		}
		most := min(500*time.Millisecond<<i, 8*time.Second)
		assert.Assert(t, d >= most*3/4-time.Millisecond && d <= most+time.Millisecond, "wait %d is %s", i, d)
	}
}

// TestSubmitIsNotDoubled loses the answer to a create in every way: one run
// comes of it.
func TestSubmitIsNotDoubled(t *testing.T) {
	for name, fault := range map[string]transporttest.Fault{
		"before the server": {Refuse: true}, "behind the server": {Lose: true}, "inside the answer": {CutAfter: 30}, "a proxy's 504": {Status: 504},
	} {
		t.Run(name, func(t *testing.T) {
			e := transporttest.Start(t, &transporttest.Options{Idle: true})
			p := transporttest.StartProxy(t, e.URL, func(n int, _ *http.Request) transporttest.Fault { return only(fault)(n) })
			run, err := connect(t, p.URL).Submit(t.Context(), oz.Request{Prompt: "once"})
			assert.NilError(t, err)
			page, err := local(e).List(t.Context(), task.Query{})
			assert.NilError(t, err)
			assert.Equal(t, len(page.Tasks), 1)
			assert.Equal(t, page.Tasks[0].ID, run.ID)
			keys := map[string]bool{}
			for _, r := range p.Seen() {
				keys[r.Header.Get("Idempotency-Key")] = true
			}
			assert.Equal(t, len(keys), 1)
			assert.Equal(t, len(p.Seen()), 2)
		})
	}
}

// TestFollowUpIsNotDoubled loses the answer: the message is in the log once,
// and the caller hears that nothing is known.
func TestFollowUpIsNotDoubled(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	run, err := e.Platform.Submit(t.Context(), oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	p := transporttest.StartProxy(t, e.URL, func(int, *http.Request) transporttest.Fault { return transporttest.Fault{Lose: true} })
	err = connect(t, p.URL).FollowUp(t.Context(), run.ID, oz.Message{Text: "exactly once"})
	assert.Equal(t, task.CodeOf(err), task.CodeResourceUnavailable)
	events, err := local(e).Events(t.Context(), run.ID, 0, 100)
	assert.NilError(t, err)
	found := 0
	for _, event := range events {
		if m, ok := event.Payload.(*task.Input); ok && m.Text == "exactly once" {
			found++
		}
	}
	assert.Equal(t, found, 1)
}

func TestNoRetries(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	p := transporttest.StartProxy(t, e.URL, func(int, *http.Request) transporttest.Fault { return transporttest.Fault{Status: 500} })
	_, err := with(t, p.URL, client.Options{MaxRetries: -1}).Get(t.Context(), "x")
	assert.Equal(t, task.CodeOf(err), task.CodeInternal)
	assert.Equal(t, len(p.Seen()), 1)
}

// TestContextEndsTheWait cancels while the client waits for its next attempt.
func TestContextEndsTheWait(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	ctx, cancel := context.WithCancelCause(t.Context())
	p := transporttest.StartProxy(t, e.URL, func(int, *http.Request) transporttest.Fault {
		return transporttest.Fault{Status: 429, Header: head("Retry-After", "3600")}
	})
	c := with(t, p.URL, client.Options{Clock: cancelling{task.SystemClock(), func() { cancel(nil) }}})
	_, err := c.Get(ctx, "x")
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, len(p.Seen()), 1)
	for _, err := range c.Watch(ctx, "x", 0) {
		assert.ErrorIs(t, err, context.Canceled)
	}
}

// cancelling calls back instead of waiting.
type cancelling struct {
	task.Clock
	cancel func()
}

// After implements task.Clock.
func (c cancelling) After(time.Duration) <-chan time.Time { c.cancel(); return nil }

// TestUnreachable names the server and nothing else of the address.
func TestUnreachable(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	c := connect(t, e.URL)
	e.Down()
	_, err := c.Get(t.Context(), "the-run")
	assert.Equal(t, task.CodeOf(err), task.CodeResourceUnavailable)
	assert.Assert(t, strings.Contains(err.Error(), strings.TrimPrefix(e.URL, "http://")), "%v", err)
	assert.Assert(t, !strings.Contains(err.Error(), "the-run"), "%v", err)
	_, err = c.Submit(t.Context(), oz.Request{Prompt: "x"}) // never arrived: repeated, and given up
	assert.Equal(t, task.CodeOf(err), task.CodeResourceUnavailable)
	e.Up()
	_, err = c.Get(t.Context(), "the-run")
	assert.ErrorIs(t, err, task.ErrNotFound)
}
