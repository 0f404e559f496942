package task

import "time"

// Clock tells and waits for time. Everything in the module that waits takes
// one, so that tests can run a year in seconds. Safe for concurrent use.
type Clock interface {
	// Now is the present time.
	Now() time.Time
	// After gives a channel that receives once, d from now.
	After(d time.Duration) <-chan time.Time
}

// SystemClock is the machine's clock.
func SystemClock() Clock { return systemClock{} }

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
