// Package trigger is what starts runs by itself: the clock, and what happens
// elsewhere. Its subpackages are the kinds of trigger.
//
// What happens elsewhere comes through an Engine: it keeps what arrives, asks
// the Origin it came from what is to be done, makes the runs, and sends back
// what the origin wants to say of them. An origin of one's own needs two
// methods, Accept and Plan, and two more to answer; see package triggertest
// for how to test one.
//
// A trigger decides that something is to be done and says so to its host, the
// platform, which makes the run. It keeps a record of each decision, so that
// every occasion has one line that tells what became of it, and gives every
// run a name that follows from its occasion: whoever comes to the same
// occasion twice, after a crash or as another replica, finds the run there.
package trigger

import "context"

// Trigger starts runs until it is told to stop.
type Trigger interface {
	// Run works until ctx ends, and returns when all it started has ended. It
	// returns nil then, and else why it cannot go on. What was left undone is
	// taken up by the next Run, here or in another process.
	Run(ctx context.Context) error
}
