package jira

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/oz-platform/cloudagents/task"
)

// Bounds of times that are signed.
const (
	// maxAge is of an event: Jira tries again for an hour or two.
	maxAge = 24 * time.Hour
	// leeway is how far clocks may be apart, maxLife how long a JWT may be good.
	leeway  = 5 * time.Minute
	maxLife = time.Hour
)

func unauthentic(format string, args ...any) error {
	return task.Errorf(task.CodeAuthenticationRequired, format, args...)
}

// verify fails unless a request proves where it comes from. It looks at nothing
// in the body.
func (p Proof) verify(secret []byte, h http.Header, body []byte, now time.Time) error {
	if len(secret) == 0 {
		return unauthentic("the secret of the webhook was not given yet")
	}
	name := "X-Hub-Signature"
	if p == ProofJWT {
		name = "Authorization"
	}
	values := h.Values(name)
	switch {
	case len(values) == 0:
		return unauthentic("the header %s is missing", name)
	case len(values) > 1:
		return unauthentic("the header %s is there more than once", name)
	case p == ProofJWT:
		return verifyJWT(secret, values[0], now)
	}
	digits, ok := strings.CutPrefix(values[0], "sha256=")
	given, err := hex.DecodeString(digits)
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	if !ok || err != nil || !hmac.Equal(given, mac.Sum(nil)) {
		return unauthentic("the signature does not fit the body and the secret")
	}
	return nil
}

func verifyJWT(secret []byte, value string, now time.Time) error {
	scheme, token, _ := strings.Cut(value, " ")
	wrong := unauthentic("the JWT is not signed with the app's client secret")
	if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "JWT") || len(token) > 8<<10 {
		return wrong
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		return wrong
	}
	var c jwt.Claims
	if err := parsed.Claims(secret, &c); err != nil {
		return wrong
	}
	if c.Expiry == nil || c.IssuedAt == nil || c.ValidateWithLeeway(jwt.Expected{Time: now}, leeway) != nil || c.Expiry.Time().Sub(c.IssuedAt.Time()) > maxLife {
		return unauthentic("the JWT is not good now, or for longer than %s", maxLife)
	}
	return nil
}

// fresh refuses what happened too long ago, in milliseconds since 1970.
func fresh(ms int64, now time.Time) error {
	if age := now.Sub(time.UnixMilli(ms)); ms <= 0 || age > maxAge || age < -leeway {
		return unauthentic("the event's time is more than %s before ours, or after it", maxAge)
	}
	return nil
}
