package task

import (
	"context"
	"time"
)

// DeliveryID names one arrival at a trigger. A UUID.
type DeliveryID string

// NewDeliveryID makes a DeliveryID.
func NewDeliveryID() DeliveryID { return DeliveryID(newUUID()) }

// Outcome says what became of a Delivery.
type Outcome string

// The outcomes. Unlike Rejected, the first three were authentic.
const (
	// OutcomeStarted made at least one run, OutcomeContinued spoke to one that
	// was there, OutcomeIgnored matched nothing: Reason says why.
	OutcomeStarted   Outcome = "started"
	OutcomeContinued Outcome = "continued"
	OutcomeIgnored   Outcome = "ignored"
	// OutcomeHeld waits for a person: its author may not start runs. The person
	// makes it OutcomeReleased, and it goes through as a delivery of its own, or
	// OutcomeDeclined.
	OutcomeHeld     Outcome = "held"
	OutcomeReleased Outcome = "released"
	OutcomeDeclined Outcome = "declined"
	// OutcomeDuplicate came before, as RepeatOf.
	OutcomeDuplicate Outcome = "duplicate"
	// OutcomeRejected was refused before anybody looked into it.
	OutcomeRejected Outcome = "rejected"
	// OutcomeFailed was meant to start a run, and none could be made.
	OutcomeFailed Outcome = "failed"
)

// Limits of a delivery.
const (
	MaxDeliverySource = 128      // bytes
	MaxDeliveryKey    = 256      // bytes
	MaxDeliveryEvent  = 128      // bytes
	MaxDeliveryHeader = 16 << 10 // bytes
	MaxDeliveryBody   = 1 << 20  // bytes; a trigger may set less
	MaxDeliveryReason = 2 << 10  // bytes; longer ones are cut
	MaxDeliveryRuns   = 100      // of one delivery
)

// Delivery is something that arrived from elsewhere to start or continue runs:
// one line of a trigger's log, kept whatever became of it.
type Delivery struct {
	ID DeliveryID
	// Source is what it arrived through, such as "webhook/<uid>".
	Source string
	// Key names the event at its source. Of several with one Source and Key the
	// first counts; the others are duplicates. Empty for a line that only tells
	// of an arrival: rejected ones and duplicates.
	Key   string
	Owner Scope
	// ReceivedAt is the time of arrival.
	ReceivedAt time.Time
	// Event is its kind in the source's own words, such as
	// "issue_comment.created". May be empty.
	Event string
	// Header is what counts of the request besides its body, as its trigger
	// wrote it. It holds no secret. Missing in lists.
	Header []byte
	// Body is the payload as it arrived. Missing in lists, and in lines of
	// duplicates and rejected ones.
	Body []byte
	// Size is that of the payload as it arrived, in bytes.
	Size int64

	// Outcome is what became of it; empty until that is decided.
	Outcome Outcome
	// Reason explains it, for people.
	Reason string
	// Runs are those that it started or continued.
	Runs []ID
	// RepeatOf is the first delivery of a duplicate.
	RepeatOf DeliveryID
	// Attempts counts the decisions that were put off, DecidedAt is when it was
	// decided; zero until then.
	Attempts  int
	DecidedAt time.Time
}

// Verdict decides a Delivery.
type Verdict struct {
	Outcome Outcome // required, neither duplicate nor rejected
	Reason  string
	Runs    []ID
}

// Review is a person's word on a Delivery that was held.
type Review struct {
	Outcome Outcome // OutcomeReleased or OutcomeDeclined
	// Reason takes the place of the delivery's own.
	Reason string
	// Next is received in its place; for OutcomeReleased, which needs it.
	Next Delivery
}

// DeliveryQuery asks for deliveries, the newest first, without Header and Body.
type DeliveryQuery struct {
	// Source is whose.
	Source string
	// Outcomes are wanted; nil is all, the undecided included.
	Outcomes []Outcome
	// Before continues a list: only what arrived before this one.
	Before DeliveryID
	// Limit is how many at most, from 1.
	Limit int
}

// Inbox is a Store that keeps what arrives at triggers. An arrival is durable
// before it is answered, and decided later, so that a crash loses none and
// decides none twice.
type Inbox interface {
	// Receive stores an arrival. If Key is known at Source, a line of a
	// duplicate is stored in its place and returned, with RepeatOf set. One with
	// Outcome set is only a line: its Key is ignored. It fails with ErrInvalid.
	Receive(ctx context.Context, d Delivery) (Delivery, error)

	// Undecided returns up to limit whole deliveries that wait for a decision
	// now, the oldest first.
	Undecided(ctx context.Context, now time.Time, limit int) ([]Delivery, error)

	// Decide decides a delivery and returns it whole. The first verdict stays:
	// later ones change nothing and get the delivery as it is. It fails with
	// ErrNotFound and ErrInvalid.
	Decide(ctx context.Context, id DeliveryID, v Verdict) (Delivery, error)

	// Review ends the wait of a delivery that was held, receives Next with it if
	// it is released, and returns the delivery whole. The first review stays: the
	// same outcome again changes nothing, the other one and a delivery that was
	// not held fail with ErrConflict. It also fails with ErrNotFound and
	// ErrInvalid.
	Review(ctx context.Context, id DeliveryID, r Review) (Delivery, error)

	// PutOff leaves an undecided delivery out of Undecided until then and counts
	// an attempt. It does nothing to a decided one.
	PutOff(ctx context.Context, id DeliveryID, until time.Time, reason string) error

	// Delivery returns one, whole. It fails with ErrNotFound.
	Delivery(ctx context.Context, id DeliveryID) (Delivery, error)

	// Deliveries returns those of a source.
	Deliveries(ctx context.Context, q DeliveryQuery) ([]Delivery, error)

	// TrimDeliveries removes up to limit decided deliveries of a source that
	// arrived before then, but none of its newest keep, and reports that there
	// are no more of them. What is removed is no longer known to Receive.
	TrimDeliveries(ctx context.Context, source string, before time.Time, keep, limit int) (done bool, err error)
}

// Validate judges an arrival. It fails with ErrInvalid.
func (d Delivery) Validate() error {
	switch {
	case d.ID == "":
		return Invalid("id", "is required")
	case d.Source == "" || len(d.Source) > MaxDeliverySource:
		return Invalid("source", "must have 1 to %d bytes", MaxDeliverySource)
	case d.Outcome == "" && (d.Key == "" || len(d.Key) > MaxDeliveryKey):
		return Invalid("key", "must have 1 to %d bytes", MaxDeliveryKey)
	case d.Outcome == OutcomeDuplicate:
		return Invalid("outcome", "duplicates are found by their key")
	case len(d.Event) > MaxDeliveryEvent:
		return Invalid("event", "has %d bytes, at most %d are allowed", len(d.Event), MaxDeliveryEvent)
	case len(d.Header) > MaxDeliveryHeader:
		return Invalid("header", "has %d bytes, at most %d are allowed", len(d.Header), MaxDeliveryHeader)
	case len(d.Body) > MaxDeliveryBody:
		return Invalid("body", "has %d bytes, at most %d are allowed", len(d.Body), MaxDeliveryBody)
	case d.ReceivedAt.IsZero():
		return Invalid("received_at", "is required")
	}
	if err := ValidateText("event", d.Event); err != nil {
		return err
	}
	return ValidateText("key", d.Key)
}

// Line makes the line that tells of a repeated arrival. Stores call it.
func (d Delivery) Line(first DeliveryID) Delivery {
	d.Key, d.Header, d.Body, d.Outcome, d.RepeatOf, d.DecidedAt = "", nil, nil, OutcomeDuplicate, first, d.ReceivedAt
	d.Reason = "the same event arrived before, as delivery " + string(first)
	return d
}

// Validate judges a verdict. It fails with ErrInvalid.
func (v Verdict) Validate() error {
	switch v.Outcome {
	case OutcomeStarted, OutcomeContinued, OutcomeIgnored, OutcomeHeld, OutcomeFailed:
	default:
		return Invalid("outcome", "%q is no verdict", string(v.Outcome))
	}
	if len(v.Runs) > MaxDeliveryRuns {
		return Invalid("runs", "has %d entries, at most %d are allowed", len(v.Runs), MaxDeliveryRuns)
	}
	return nil
}

// Validate judges a review. It fails with ErrInvalid.
func (r Review) Validate() error {
	switch {
	case r.Outcome == OutcomeDeclined:
		return nil
	case r.Outcome != OutcomeReleased:
		return Invalid("outcome", "%q is no review", string(r.Outcome))
	case r.Next.Outcome != "":
		return Invalid("next", "must not be decided yet")
	}
	return r.Next.Validate()
}

// Reviewed says whether a delivery as it is after a review is as that wanted
// it. It fails with ErrConflict. Stores call it.
func (d Delivery) Reviewed(r Review) error {
	switch d.Outcome {
	case r.Outcome:
		return nil
	case OutcomeReleased:
		return Errorf(CodeConflict, "delivery %s was let through already", d.ID)
	case OutcomeDeclined:
		return Errorf(CodeConflict, "delivery %s was turned down already", d.ID)
	case "":
		return Errorf(CodeConflict, "delivery %s is not decided yet", d.ID)
	}
	return Errorf(CodeConflict, "delivery %s waits for nobody: it was %s", d.ID, d.Outcome)
}

// Validate judges a query. It fails with ErrInvalid.
func (q DeliveryQuery) Validate() error {
	if q.Source == "" {
		return Invalid("source", "is required")
	}
	for _, o := range q.Outcomes {
		switch o {
		case "", OutcomeStarted, OutcomeContinued, OutcomeIgnored, OutcomeHeld, OutcomeReleased, OutcomeDeclined, OutcomeDuplicate, OutcomeRejected, OutcomeFailed:
		default:
			return Invalid("outcome", "%.50q is none: use waiting, started, continued, ignored, held, released, declined, duplicate, rejected or failed", string(o))
		}
	}
	return checkLimit(q.Limit)
}
