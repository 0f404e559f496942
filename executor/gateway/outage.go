package gateway

import (
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// How long a target that failed is passed over while another can answer. It
// doubles with each failure in a row, and ends with an answer.
const (
	firstOutage = 30 * time.Second
	maxOutage   = 5 * time.Minute
)

// outages remembers which targets are away, so that not every call waits for
// all attempts to fail before it comes to the fallback, and so that the first
// choice is asked again in time. Safe for concurrent use.
type outages struct {
	clock task.Clock

	mu    sync.Mutex
	known map[outageKey]outage
}

type outageKey struct{ provider, model string }

type outage struct {
	until time.Time
	pause time.Duration // the last one
}

func (t target) key() outageKey { return outageKey{t.at.Name, t.model} }

// order puts the targets that are away behind the others. Each keeps its place
// among its like, so that the first choice is asked first when all are away.
func (o *outages) order(targets []target) []target {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(targets) < 2 || len(o.known) == 0 {
		return targets
	}
	now := o.clock.Now()
	here := make([]target, 0, len(targets))
	var away []target
	for _, t := range targets {
		if now.Before(o.known[t.key()].until) {
			away = append(away, t)
		} else {
			here = append(here, t)
		}
	}
	return append(here, away...)
}

func (o *outages) failed(t target) {
	o.mu.Lock()
	defer o.mu.Unlock()
	pause := min(max(2*o.known[t.key()].pause, firstOutage), maxOutage)
	o.known[t.key()] = outage{o.clock.Now().Add(pause), pause}
}

func (o *outages) answered(t target) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.known, t.key())
}
