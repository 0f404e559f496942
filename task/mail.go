package task

import (
	"context"
	"slices"
	"time"
	"unicode/utf8"
)

// MailID names one recipient's copy of a message. A UUID.
type MailID string

// NewMailID makes a MailID.
func NewMailID() MailID { return MailID(newUUID()) }

// Letter is what one run writes to others (Oz API, POST /agent/messages).
type Letter struct {
	From    ID     // the run that writes
	To      []ID   // the runs that get it, 1 to MaxRecipients
	Subject string // at most MaxSubject characters
	Body    string // at most MaxBodyBytes
}

// Limits of mail (Oz API, agent messages).
const (
	MaxRecipients = 100  // of one letter; ours
	MaxSubject    = 1024 // characters
	MaxBodyBytes  = 128 * 1024
	// MaxUnread bounds what waits in one run's mailbox: a run that writes in a
	// loop must not fill the disk. Ours.
	MaxUnread = 1000
)

// Mail is one recipient's copy of a letter.
type Mail struct {
	ID      MailID
	From    ID     // the run that wrote it
	To      ID     // the run whose copy this is
	Subject string // what it is about
	Body    string // empty in lists
	SentAt  time.Time
	// DeliveredAt is when the recipient's runner said that it has it, ReadAt
	// when its body was first read. Zero until then.
	DeliveredAt, ReadAt time.Time
}

// MailQuery asks for the mail of one run, oldest first.
type MailQuery struct {
	To     ID        // whose
	Unread bool      // only what was not read
	Since  time.Time // only what was sent later; zero for all
	Limit  int       // at most so many, from 1
}

// Mark is what can be said of a Mail, once.
type Mark string

// The marks.
const (
	MarkDelivered Mark = "delivered"
	MarkRead      Mark = "read"
)

// SignalType says what a Signal is about (Oz API, event_type).
type SignalType string

// The types of signals: six changes of a run's state, and an arrived message.
const (
	SignalInProgress SignalType = "run_in_progress"
	SignalSucceeded  SignalType = "run_succeeded"
	SignalFailed     SignalType = "run_failed"
	SignalErrored    SignalType = "run_errored"
	SignalBlocked    SignalType = "run_blocked"
	SignalCancelled  SignalType = "run_cancelled"
	SignalNewMessage SignalType = "new_message"
)

// State is the run's state that the signal tells of; ok is false for messages
// and unknown types.
func (t SignalType) State() (s State, ok bool) {
	for _, s := range States() {
		if typ, has := signalOf(s); has && typ == t {
			return s, true
		}
	}
	return "", false
}

// signalOf is the signal of a run that has come to a state; ok is false for
// the states on the way to work.
func signalOf(s State) (t SignalType, ok bool) {
	switch s {
	case StateInProgress:
		return SignalInProgress, true
	case StateSucceeded:
		return SignalSucceeded, true
	case StateFailed:
		return SignalFailed, true
	case StateError:
		return SignalErrored, true
	case StateBlocked:
		return SignalBlocked, true
	case StateCancelled:
		return SignalCancelled, true
	}
	return "", false
}

// Signal is something that happened to a run, on one sequence for the whole
// store, so that runs can wait for each other.
type Signal struct {
	// Seq is its place: later ones have higher numbers, with gaps.
	Seq       int64
	Type      SignalType
	TaskID    ID          // the run it happened to
	Execution ExecutionID // of a change of state, if an execution had the run
	// Ref is the MailID of a new message, and what its reporter gave else.
	Ref  string
	Time time.Time
}

// MaxRefBytes bounds Signal.Ref.
const MaxRefBytes = 256

// SignalQuery asks for the signals of some runs in the order of their numbers.
// A run that does not exist has none.
type SignalQuery struct {
	Tasks []ID  // whose
	After int64 // only higher numbers
	Limit int   // at most so many, from 1
}

// Mailbox is a Store that carries mail between runs and numbers what happens
// to them. Whoever asks for Signals again and again, each time After the
// highest number seen, misses none: a number is given only once no lower one
// can appear any more. What was committed before a change began has a lower
// number than the change, so that a message sent before its sender ended comes
// before that end.
type Mailbox interface {
	// SendMail stores a copy for each recipient, in the order of Letter.To, and
	// gives their IDs: all of them or, on any error, none. It fails as
	// Letter.Validate does, with ErrNotFound for a recipient that does not
	// exist, and as Letter.Admit does. A recipient that is BLOCKED is woken: see
	// Letter.Wake.
	SendMail(ctx context.Context, l Letter) ([]MailID, error)

	// Mail returns one copy. It fails with ErrNotFound.
	Mail(ctx context.Context, id MailID) (Mail, error)

	// Mails returns the copies of a run, without bodies, oldest first.
	Mails(ctx context.Context, q MailQuery) ([]Mail, error)

	// MarkMail sets a mark, unless it is set already, and returns the copy. It
	// fails with ErrNotFound.
	MarkMail(ctx context.Context, id MailID, m Mark) (Mail, error)

	// Signals returns what happened. Those that TrimSignals removed are
	// missing: whoever was further behind reads the runs themselves.
	Signals(ctx context.Context, q SignalQuery) ([]Signal, error)

	// FindSignal returns the first signal of a type about an execution. It
	// fails with ErrNotFound.
	FindSignal(ctx context.Context, id ID, x ExecutionID, t SignalType) (Signal, error)

	// TrimSignals removes up to limit signals from the low end that are older
	// than before, but never the newest of all, and reports that there are no
	// more of them.
	TrimSignals(ctx context.Context, before time.Time, limit int) (done bool, err error)

	// DropMail removes all mail to a run.
	DropMail(ctx context.Context, id ID) error
}

// Validate judges a letter by itself. It fails with ErrInvalid.
func (l Letter) Validate() error {
	if len(l.To) == 0 || len(l.To) > MaxRecipients {
		return Invalid("to", "must name 1 to %d runs", MaxRecipients)
	}
	for i, to := range l.To {
		if to == "" {
			return Invalid("to", "must not hold an empty id")
		}
		if slices.Contains(l.To[:i], to) {
			return Invalid("to", "names run %q twice", string(to))
		}
	}
	if l.From == "" {
		return Invalid("sender_run_id", "is required")
	}
	if l.Subject == "" || utf8.RuneCountInString(l.Subject) > MaxSubject {
		return Invalid("subject", "must have 1 to %d characters", MaxSubject)
	}
	if err := ValidateText("subject", l.Subject); err != nil {
		return err
	}
	if l.Body == "" || len(l.Body) > MaxBodyBytes {
		return Invalid("body", "must have 1 to %d bytes; put more into an artifact and name that", MaxBodyBytes)
	}
	return ValidateText("body", l.Body)
}

// Admit judges whether a run may get a letter: one that has ended may not,
// with CodeOperationNotSupported, unless it is BLOCKED; one with MaxUnread
// unread messages may not, with CodeResourceUnavailable. wake says that the
// letter is to be its next input.
func (l Letter) Admit(to ID, h Head, unread int) (wake bool, err error) {
	switch {
	case h.State.Ended() && h.State != StateBlocked:
		return false, &Error{Code: CodeOperationNotSupported, Field: "to",
			Message: "run " + string(to) + " has ended (" + string(h.State) + ") and reads no messages; send it a follow-up instead"}
	case unread >= MaxUnread:
		return false, Errorf(CodeResourceUnavailable, "run %s has %d unread messages and takes no more until it has read some", to, unread)
	}
	return h.State == StateBlocked && h.Cancellable() && h.PrunedTo == 0, nil
}

// Wake makes a letter the next input of a BLOCKED run, so that it goes on: it
// waits for just that. Such a copy counts as delivered. A run that executes
// where it was started cannot be woken by the platform and finds the letter in
// its mailbox.
func (l Letter) Wake() AddInput {
	return AddInput{Input: Input{
		Text: "Message from run " + string(l.From) + "\nSubject: " + l.Subject + "\n\n" + l.Body,
		From: Principal{Type: PrincipalServiceAccount, UID: string(l.From), DisplayName: "run " + string(l.From)},
	}}
}

// Validate judges a query.
func (q MailQuery) Validate() error { return checkLimit(q.Limit) }

// Validate judges a query.
func (q SignalQuery) Validate() error {
	if q.After < 0 {
		return Invalid("since", "must not be negative")
	}
	return checkLimit(q.Limit)
}

func checkLimit(n int) error {
	if n < 1 {
		return Invalid("limit", "must be at least 1")
	}
	return nil
}

// announce adds a signal for the run's new state. ref is the reporter's.
func (d *decision) announce(s State, ref string) {
	if t, ok := signalOf(s); ok {
		d.signals = append(d.signals, Signal{Type: t, TaskID: d.id, Execution: d.exec.ID, Ref: ref, Time: d.now})
	}
}
