package gateway

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Retry says how often and how patiently a call is tried. Only what failed
// before its first byte was passed on is tried again: 429, 500, 502, 503, 504,
// 529, a connection that could not be made or broke, and silence.
type Retry struct {
	// MaxAttempts is the number of requests to one provider, the first
	// included. Default 5; 1 means no retry.
	MaxAttempts int
	// Initial is the pause after the first attempt; each following one is
	// half as long again, and each is varied by up to half of itself. Default 500 ms.
	Initial time.Duration
	// Max is the longest such pause. Default 30 s.
	Max time.Duration
	// MaxRetryAfter is the longest pause a provider may ask for with
	// Retry-After or retry-after-ms; when it asks for more there is no retry. Default 60 s.
	MaxRetryAfter time.Duration
}

func (r Retry) withDefaults() Retry {
	r.MaxAttempts = defaulted(r.MaxAttempts, 5)
	r.Initial = defaulted(r.Initial, 500*time.Millisecond)
	r.Max = defaulted(r.Max, 30*time.Second)
	r.MaxRetryAfter = defaulted(r.MaxRetryAfter, time.Minute)
	return r
}

func (r Retry) validate() error {
	if r.MaxAttempts < 1 || r.MaxAttempts > 100 {
		return fmt.Errorf("retry: MaxAttempts %d is not between 1 and 100", r.MaxAttempts)
	}
	if r.Initial < 0 || r.Max < 0 || r.MaxRetryAfter < 0 {
		return fmt.Errorf("retry: a pause must not be negative")
	}
	return nil
}

// pauses makes the sequence of pauses of one call.
func (r Retry) pauses() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(r.Initial),
		backoff.WithMaxInterval(r.Max),
		backoff.WithMaxElapsedTime(0), // attempts are counted instead
	)
}

// retryableStatus tells which answers are worth another try; 529 is
// Anthropic's "overloaded". The provider's own word wins.
func retryableStatus(status int, h http.Header) bool {
	switch h.Get("X-Should-Retry") {
	case "true":
		return true
	case "false":
		return false
	}
	switch status {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout, 529:
		return true
	}
	return false
}

// retryAfter reads the pause a provider asks for: retry-after-ms (both
// vendors), or Retry-After in seconds or as a date (RFC 9110, 10.2.3).
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	if d, ok := pause(h.Get("Retry-After-Ms"), time.Millisecond); ok {
		return d, true
	}
	value := h.Get("Retry-After")
	if d, ok := pause(value, time.Second); ok {
		return d, true
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now)), true
	}
	return 0, false
}

func pause(value string, unit time.Duration) (time.Duration, bool) {
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || !(n >= 0) { // also refuses NaN
		return 0, false
	}
	const most = float64(365 * 24 * time.Hour) // more than any limit; keeps the product in range
	return time.Duration(min(n*float64(unit), most)), true
}

func defaulted[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
