package task

import (
	"context"
	"strings"
	"time"
)

// Store keeps runs, their executions and their logs. It decides nothing: each
// change goes through Decide inside the store's transaction. Implementations
// are safe for concurrent use, share no memory with their callers, make every
// change durable before they answer, and pass storetest.Run.
//
// Every method fails with the context's error when it ends, and with
// ErrNotFound for a run or execution that does not exist.
type Store interface {
	Records
	Accounts
	Statistics

	// Create stores a new run, or gives the run that an earlier Create with
	// the same idempotency key made (replayed is true). It fails with
	// ErrConflict when the key was used for another body or the ID for another
	// run, with what Decide says to its commands, and with
	// CodeResourceUnavailable when Creation.MaxWaiting runs wait already.
	Create(ctx context.Context, c Creation) (t Task, replayed bool, err error)

	// Do applies one command and gives the run's head afterwards. It fails
	// with what Decide fails with, with ErrConflict when an offer's execution
	// ID was used before, and with ErrInvalid when an event is above
	// MaxEventBytes or cannot be encoded; and then changes nothing. The time
	// of the change is the store's clock's.
	Do(ctx context.Context, id ID, c Command) (Head, error)

	// Get returns a run.
	Get(ctx context.Context, id ID) (Task, error)

	// List returns one page of runs. Prompts are included.
	List(ctx context.Context, q Query) (Page, error)

	// Execution returns one execution.
	Execution(ctx context.Context, id ExecutionID) (Execution, error)

	// Executions returns those of a run, oldest first.
	Executions(ctx context.Context, id ID) ([]Execution, error)

	// Events returns up to limit events of a run with numbers above after, in
	// order; fewer when they are large, but at least one. An empty answer
	// means that there is none yet. Of a pruned log it returns what Prune left.
	Events(ctx context.Context, id ID, after int64, limit int) ([]Event, error)

	// Waiting returns up to limit runs that the dispatcher may place now,
	// those ready the longest first.
	Waiting(ctx context.Context, now time.Time, limit int) ([]Waiting, error)

	// Live returns all executions that have not ended.
	Live(ctx context.Context) ([]Execution, error)

	// Subscribe gives a channel that receives after a commit changed the run,
	// or with an empty id, after one that made a run wait or freed an
	// execution; NewSignals, NewDeliveries and NewOutgoing stand for what they
	// say, in a Store that is an Inbox and an Outbox. It is a hint: several commits may give one signal, and the
	// reader reads the store again. The channel is never closed; cancel ends it.
	Subscribe(id ID) (changed <-chan struct{}, cancel func())

	// Close waits for the writes under way and closes the store. Later calls
	// fail. Closing again is no error.
	Close() error
}

// What Store.Subscribe takes in place of a run's ID.
const (
	// NewSignals is a commit that added to what Outbox.Feed reads.
	NewSignals ID = "@signals"
	// NewDeliveries is one that stored a delivery that waits for a decision.
	NewDeliveries ID = "@deliveries"
	// NewOutgoing is one that added a message to be sent, or made one wait again.
	NewOutgoing ID = "@outgoing"
)

// Placer is a Store that can offer many runs at once, and lets nobody wait for
// another: for dispatchers of several replicas that look at the same runs. With
// any other store each offer is a Do of its own.
type Placer interface {
	// Place applies offers, in one transaction if it can, and gives the runs
	// that it offered, in the order of the placements. It leaves out those that
	// do not wait any more, that do not exist, or that somebody else is writing
	// to at this moment. It fails with ErrConflict, and offers nothing, when an
	// execution ID was used before.
	Place(ctx context.Context, offers []Placement) ([]Task, error)
}

// Placement is an offer for a run.
type Placement struct {
	ID    ID    // the run
	Offer Offer // to a worker
}

// Pruner is a Store that can remove the logs of runs that ended long ago. Prune
// hides a log at once; Trim then deletes what was hidden, piece by piece.
type Pruner interface {
	// Prunable returns up to limit runs that have ended, last changed before a
	// moment, and have their whole log, those that changed first first.
	Prunable(ctx context.Context, before time.Time, limit int) ([]ID, error)

	// Leftovers returns up to limit runs with hidden events.
	Leftovers(ctx context.Context, limit int) ([]ID, error)

	// Trim deletes up to limit hidden events of a run, and reports whether
	// there are no more. It does nothing for a run without any.
	Trim(ctx context.Context, id ID, limit int) (done bool, err error)
}

// Creation is what Create stores.
type Creation struct {
	ID    ID        // a new one
	Spec  Spec      // what is asked
	Where Location  // default LocationRemote
	From  Source    // default SourceAPI
	Now   time.Time // the time of creation
	// Handoff, if not nil, is the first word of the log: what came before.
	Handoff *Handoff
	// Commands are applied in the same transaction, such as Offer and Accept
	// for a run that its creator executes itself.
	Commands []Command
	// Key makes the creation idempotent; nil if it is not.
	Key *IdempotencyKey
	// MaxWaiting refuses the run when this many wait for a worker; 0 is no limit.
	MaxWaiting int
}

// IdempotencyKey makes a repeated creation answer with the first run.
type IdempotencyKey struct {
	// Principal and Key together name the request.
	Principal, Key string
	// Fingerprint is a hash of the body: another one is a conflict.
	Fingerprint []byte
	// KeepUntil is when the key may be forgotten.
	KeepUntil time.Time
}

// Waiting is a run that wants a worker.
type Waiting struct {
	ID         ID        // the run
	WorkerHost string    // Config.WorkerWish
	Owner      Scope     // whose it is
	ReadyAt    time.Time // since when
	CreatedAt  time.Time // when it was made
	// LastWorker held the run's newest execution and may still have its
	// workspace; empty when it never had one.
	LastWorker string
}

// Build makes the run and its first events: QUEUED, and the prompt as the
// first message unless it is blank. Stores call it in Create.
func (c Creation) Build() (Task, []Event) {
	now := wall(c.Now)
	t := Task{ID: c.ID, Spec: c.Spec, Head: Head{Where: c.Where, Source: c.From, CreatedAt: now, UpdatedAt: now}}
	if t.Where == "" {
		t.Where = LocationRemote
	}
	if t.Source == "" {
		t.Source = SourceAPI
	}
	d := &decision{id: t.ID, head: t.Head, now: now}
	d.head.State = StateQueued
	d.emit("", now, &StateChanged{To: StateQueued})
	if c.Handoff != nil {
		d.emit("", now, c.Handoff)
	}
	prompt := t.Prompt
	if t.Skill != nil && strings.TrimSpace(prompt) == "" {
		prompt = t.Skill.prompt()
	}
	if prompt != "" || len(t.Attachments) > 0 {
		d.head.LastInput = d.emit("", now, &Input{Text: prompt, Mode: t.Mode, From: t.Creator, Attachments: t.Attachments})
	}
	if t.Where == LocationRemote {
		d.head.ReadyAt = now
	}
	t.Head = d.head
	return t, d.events
}
