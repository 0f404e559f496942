package access

import (
	"sync"
	"time"
)

// maxGuessers bounds the memory of Guesses.
const maxGuessers = 10_000

// Guesses counts what was asked for and did not exist, by who asked. It is kept
// by each process for itself: with secrets of 2^34 values and more that is
// enough. The zero value allows nothing to be wrong; safe for concurrent use.
type Guesses struct {
	// Max is how often somebody may be wrong within Window.
	Max    int
	Window time.Duration

	mu    sync.Mutex
	wrong map[string][]time.Time
}

// Allow reports that who may try.
func (g *Guesses) Allow(who string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.recent(who, now)) < g.Max
}

// Miss counts that who was wrong.
func (g *Guesses) Miss(who string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wrong == nil || len(g.wrong) > maxGuessers {
		g.wrong = map[string][]time.Time{}
	}
	g.wrong[who] = append(g.recent(who, now), now)
}

// recent forgets what is over. g.mu is held.
func (g *Guesses) recent(who string, now time.Time) []time.Time {
	list := g.wrong[who]
	for len(list) > 0 && now.Sub(list[0]) >= g.Window {
		list = list[1:]
	}
	if len(list) == 0 {
		delete(g.wrong, who)
	}
	return list
}
