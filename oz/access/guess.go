package access

import (
	"sync"
	"time"
)

// Bounds of guessing: a person may be wrong maxGuesses times in guessWindow.
const (
	maxGuesses  = 10
	guessWindow = 10 * time.Minute
	maxGuessers = 10_000
)

// guesses counts codes that did not exist, by person. It is kept by each
// process for itself: with 20^8 codes that is enough.
type guesses struct {
	mu    sync.Mutex
	wrong map[string][]time.Time
}

func (g *guesses) allow(who string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.recent(who, now)) < maxGuesses
}

func (g *guesses) miss(who string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wrong == nil || len(g.wrong) > maxGuessers {
		g.wrong = map[string][]time.Time{}
	}
	g.wrong[who] = append(g.recent(who, now), now)
}

// recent forgets what is over. g.mu is held.
func (g *guesses) recent(who string, now time.Time) []time.Time {
	list := g.wrong[who]
	for len(list) > 0 && now.Sub(list[0]) >= guessWindow {
		list = list[1:]
	}
	if len(list) == 0 {
		delete(g.wrong, who)
	}
	return list
}
