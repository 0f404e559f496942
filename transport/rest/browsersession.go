package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// Bounds of guessing keys and codes, by the address that a request comes from.
const (
	signInGuesses = 30
	signInWindow  = 10 * time.Minute
)

// StartSession implements POST /oz/auth/session. A foreign page must not sign
// a person in, either: they would work in somebody else's account and not know.
func (o operations) StartSession(ctx context.Context, r api.StartSessionRequestObject) (api.StartSessionResponseObject, error) {
	c := callOf(ctx)
	if !o.sameOrigin(c.request) {
		return nil, task.Errorf(task.CodeNotAuthorized, "a sign-in must come from a page of this server, at %s", o.origin(c.request))
	}
	if (r.Body.Key == "") == (r.Body.Code == "") {
		return nil, task.Invalid("key", "send an API key, or the code of a sign-in link")
	}
	from, now := remote(c.request), o.opts.Clock.Now()
	if !o.guesses.Allow(from, now) {
		return nil, &task.Error{Code: task.CodeResourceUnavailable, RetryAfterMS: signInWindow.Milliseconds(), Message: "too many wrong keys came from your address; wait ten minutes"}
	}
	registry := o.platform.Registry()
	begin, secret := registry.StartKeySession, r.Body.Key
	if secret == "" {
		begin, secret = registry.StartCodeSession, r.Body.Code
	}
	value, until, err := begin(ctx, secret)
	if err != nil {
		if task.CodeOf(err) == task.CodeAuthenticationRequired {
			o.guesses.Miss(from, now)
		}
		return nil, err
	}
	if old, err := c.request.Cookie(o.cookieName(c.request, sessionCookie)); err == nil {
		_ = registry.EndSession(ctx, old.Value) // nobody has its token any more; if it stays, it ends by itself
	}
	return startedSession{o.cookie(c.request, sessionCookie, value, until.Sub(now)), until}, nil
}

// startedSession sets the cookie.
type startedSession struct {
	cookie *http.Cookie
	until  time.Time
}

// VisitStartSessionResponse implements api.StartSessionResponseObject.
func (s startedSession) VisitStartSessionResponse(w http.ResponseWriter) error {
	http.SetCookie(w, s.cookie)
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(api.StartedSession{ExpiresAt: s.until.UTC().Truncate(time.Second)})
}
