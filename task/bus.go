package task

import "context"

// MaxSaid bounds a message of a Bus, in bytes.
const MaxSaid = 5900

// Bus is a Store through which the programs that share it can call out to each
// other. What is said reaches those who listen at that moment, and nobody keeps
// it. Whoever else may enter the database may hear it, so that what is secret
// must be sealed. Stores that belong to one program alone have none.
type Bus interface {
	// Say sends messages to all other Stores on the same storage. Those of one
	// caller, one call after the other, arrive in order, and once; some are lost
	// when a connection breaks. It fails with ErrInvalid for a message of more than
	// MaxSaid bytes, and then sends none.
	Say(ctx context.Context, messages ...[]byte) error

	// Hear has hear called with each message, one after the other, until cancel
	// returns. hear owns the message, and must not wait for anything: all that the
	// Store is told waits for it. cancel must not be called by hear.
	Hear(hear func(message []byte)) (cancel func())
}
