package trigger

import (
	"fmt"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// rates counts what came from each source in the minute before: here, so that
// each replica lets as many through.
type rates struct {
	mu      sync.Mutex
	buckets map[string]*bucket
}

// bucket is full at its bound and fills with time.
type bucket struct {
	left float64
	at   time.Time
}

// maxBuckets bounds the sources that are counted; full buckets tell nothing.
const maxBuckets = 10_000

func newRates() *rates { return &rates{buckets: map[string]*bucket{}} }

// take lets one through, or says after what time the next may come.
func (r *rates) take(source string, perMinute int, now time.Time) (wait time.Duration, ok bool) {
	if perMinute <= 0 {
		return 0, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.buckets[source]
	if b == nil {
		r.forget(now)
		b = &bucket{left: float64(perMinute), at: now}
		r.buckets[source] = b
	}
	if passed := now.Sub(b.at); passed > 0 {
		b.left, b.at = min(float64(perMinute), b.left+passed.Minutes()*float64(perMinute)), now
	}
	if b.left < 1 {
		return time.Duration((1 - b.left) / float64(perMinute) * float64(time.Minute)), false
	}
	b.left--
	return 0, true
}

// forget makes room: what was quiet for a minute is as if never seen.
func (r *rates) forget(now time.Time) {
	if len(r.buckets) < maxBuckets {
		return
	}
	for source, b := range r.buckets {
		if now.Sub(b.at) > time.Minute {
			delete(r.buckets, source)
		}
	}
	if len(r.buckets) >= maxBuckets {
		clear(r.buckets)
	}
}

func tooMany(perMinute int, wait time.Duration) error {
	return &task.Error{Code: task.CodeResourceUnavailable, RetryAfterMS: max(1000, wait.Milliseconds()),
		Message: fmt.Sprintf("more than %d deliveries have arrived here within a minute", perMinute)}
}
