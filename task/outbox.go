package task

import (
	"context"
	"time"
	"unicode/utf8"
)

// OutgoingID names one outgoing message. A UUID.
type OutgoingID string

// NewOutgoingID makes an OutgoingID.
func NewOutgoingID() OutgoingID { return OutgoingID(newUUID()) }

// OutgoingState is how far an outgoing message has come.
type OutgoingState string

// The states. A dead one was given up: somebody may send it to wait again.
const (
	OutgoingWaiting OutgoingState = "waiting"
	OutgoingSent    OutgoingState = "sent"
	OutgoingDead    OutgoingState = "dead"
)

// Limits of an outgoing message.
const (
	MaxOutgoingKey    = 256       // bytes
	MaxOutgoingLane   = 256       // bytes
	MaxOutgoingBody   = 256 << 10 // bytes
	MaxOutgoingResult = 4 << 10   // bytes; longer ones are refused
	MaxOutgoingReason = 2 << 10   // bytes; longer ones are cut
)

// Outgoing is something to be told to the outside: the answer to a run's
// origin, or the news of a run to whoever subscribed. It is written down before
// it is sent, under a key, and settled after.
type Outgoing struct {
	ID OutgoingID
	// Key makes it unique: what is added again under a key that is known, is
	// not added.
	Key string
	// Lane orders: those of a lane are sent one after another, in the order in
	// which they were added; one that is dead is passed over. Empty for none.
	Lane string
	// Kind names who can send it, such as "webhook" or "github.comment".
	Kind string
	// Source is what it belongs to in lists, such as "subscription/<uid>".
	Source string
	Owner  Scope
	// TaskID is the run that it tells of. May be empty.
	TaskID ID
	// Body is what is sent, as Kind's sender wrote it. It holds no secret.
	// Missing in lists.
	Body []byte
	// CreatedAt is when it was added, ReadyAt when to send it, or to try again.
	CreatedAt, ReadyAt time.Time

	State OutgoingState
	// Attempts counts how often it was taken.
	Attempts int
	// Reason says why the last attempt failed, Result what the sender noted of
	// the last one, SettledAt when it was sent or given up.
	Reason    string
	Result    []byte
	SettledAt time.Time
}

// Settlement says how an attempt ended.
type Settlement struct {
	// State is OutgoingSent, OutgoingDead, or OutgoingWaiting to try again at
	// ReadyAt.
	State   OutgoingState
	ReadyAt time.Time
	Reason  string
	Result  []byte // nil keeps what was there
}

// OutgoingQuery asks for outgoing messages, those added last first, without
// Body.
type OutgoingQuery struct {
	// Source or TaskID is whose; at least one is required.
	Source string
	TaskID ID
	States []OutgoingState // nil is all
	Before OutgoingID      // continues a list
	Limit  int             // at most so many, from 1
}

// Outbox is a Store that keeps what is to be told to the outside until it was.
type Outbox interface {
	// AddOutgoing adds messages as waiting, in this order, all of them or none.
	// It fails with ErrInvalid.
	AddOutgoing(ctx context.Context, list ...Outgoing) error

	// TakeOutgoing gives up to limit messages that are to be sent now, those
	// ready the longest first, and only the first of each lane. Nobody else gets
	// them until then, unless the holder settles them before.
	TakeOutgoing(ctx context.Context, holder string, now, until time.Time, limit int) ([]Outgoing, error)

	// SettleOutgoing ends an attempt. It fails with ErrFenced when the holder
	// does not have the message any more, and with ErrNotFound.
	SettleOutgoing(ctx context.Context, id OutgoingID, holder string, s Settlement) error

	// NextOutgoing is when the next message is to be sent; zero for none.
	NextOutgoing(ctx context.Context) (time.Time, error)

	// Outgoing returns one, whole. It fails with ErrNotFound.
	Outgoing(ctx context.Context, id OutgoingID) (Outgoing, error)

	// Outgoings returns those of a query.
	Outgoings(ctx context.Context, q OutgoingQuery) ([]Outgoing, error)

	// ReplayOutgoing makes a dead or sent message wait again, at its old place
	// in the lane, with its attempts counted anew. It does nothing to a waiting
	// one and fails with ErrNotFound.
	ReplayOutgoing(ctx context.Context, id OutgoingID, now time.Time) error

	// TrimOutgoing removes up to limit settled messages that were settled
	// before then, and reports that there are no more of them. Their keys are
	// no longer known.
	TrimOutgoing(ctx context.Context, before time.Time, limit int) (done bool, err error)

	// Feed returns up to limit signals of all runs with numbers above after, in
	// order, as Mailbox.Signals does for some.
	Feed(ctx context.Context, after int64, limit int) ([]Signal, error)
}

// Validate judges a message that is to be added. It fails with ErrInvalid.
func (o Outgoing) Validate() error {
	switch {
	case o.ID == "":
		return Invalid("id", "is required")
	case o.Key == "" || len(o.Key) > MaxOutgoingKey:
		return Invalid("key", "must have 1 to %d bytes", MaxOutgoingKey)
	case len(o.Lane) > MaxOutgoingLane:
		return Invalid("lane", "has %d bytes, at most %d are allowed", len(o.Lane), MaxOutgoingLane)
	case o.Kind == "" || len(o.Kind) > maxOutgoingName:
		return Invalid("kind", "must have 1 to %d bytes", maxOutgoingName)
	case o.Source == "" || len(o.Source) > MaxDeliverySource:
		return Invalid("source", "must have 1 to %d bytes", MaxDeliverySource)
	case len(o.Body) > MaxOutgoingBody:
		return Invalid("body", "has %d bytes, at most %d are allowed", len(o.Body), MaxOutgoingBody)
	case o.CreatedAt.IsZero():
		return Invalid("created_at", "is required")
	}
	return nil
}

const maxOutgoingName = 64 // bytes

// Validate judges a settlement. It fails with ErrInvalid.
func (s Settlement) Validate() error {
	switch s.State {
	case OutgoingSent, OutgoingDead:
	case OutgoingWaiting:
		if s.ReadyAt.IsZero() {
			return Invalid("ready_at", "is required to try again")
		}
	default:
		return Invalid("state", "%q is no state of an outgoing message", string(s.State))
	}
	if len(s.Result) > MaxOutgoingResult {
		return Invalid("result", "has %d bytes, at most %d are allowed", len(s.Result), MaxOutgoingResult)
	}
	return nil
}

// Validate judges a query. It fails with ErrInvalid.
func (q OutgoingQuery) Validate() error {
	if q.Source == "" && q.TaskID == "" {
		return Invalid("source", "or run_id is required")
	}
	return checkLimit(q.Limit)
}

// CutReason cuts a reason for people to what is kept, at a character.
func CutReason(s string, maxBytes int) string {
	if len(s) <= maxBytes {
		return s
	}
	for maxBytes > 0 && !utf8.RuneStart(s[maxBytes]) {
		maxBytes--
	}
	return s[:maxBytes]
}
