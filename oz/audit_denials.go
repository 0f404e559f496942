package oz

import (
	"sync"
	"time"
)

// Refused attempts are written down once per minute for each key and action
// (each address, for unknown callers), and maxDenials times per minute in all,
// so that nobody can fill the disk with them. The next entry tells how many
// were left out.
const (
	denialWindow = time.Minute
	maxDenials   = 100
)

// denials counts refused attempts.
type denials struct {
	mu    sync.Mutex
	since time.Time // begin of the present minute
	seen  map[string]bool
	left  int // left out since the last entry
}

// admit reports whether an attempt is to be written down, and how many before
// it were not.
func (d *denials) admit(now time.Time, what string) (left int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if age := now.Sub(d.since); d.seen == nil || age < 0 || age >= denialWindow {
		d.since, d.seen = now, map[string]bool{}
	}
	if d.seen[what] || len(d.seen) >= maxDenials {
		d.left++
		return 0, false
	}
	d.seen[what] = true
	left, d.left = d.left, 0
	return left, true
}
