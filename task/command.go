package task

import (
	"bytes"
	"cmp"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of what a command may carry.
const (
	// MaxInputBytes bounds a prompt or message: longer material belongs into
	// an attachment or the repository.
	MaxInputBytes = 1 << 20
	// MaxAppendEvents bounds one append; a runner splits larger batches.
	MaxAppendEvents = 1000
	// MaxEventBytes bounds the encoded payload of one event that an execution
	// appends: twice an input, since a tool's result is bounded by the runner.
	MaxEventBytes = 2 << 20
)

// Offer gives a waiting run to a worker: QUEUED becomes PENDING. A run that
// lost its execution while INPROGRESS stays INPROGRESS.
type Offer struct {
	Execution  ExecutionID // a new ID
	Worker     string      // who is asked
	TokenHash  []byte      // see NewToken
	LeaseUntil time.Time   // when the offer may be taken back
}

func (c Offer) subject() ExecutionID { return "" }

func (c Offer) apply(d *decision) error {
	if c.Execution == "" {
		return Invalid("execution", "an offer needs an ID for the new execution")
	}
	if d.head.Execution != "" || !d.head.State.Active() || (d.head.ReadyAt.IsZero() && d.head.Where != LocationLocal) {
		return Errorf(CodeConflict, "run is %s and does not wait for a worker", d.head.State)
	}
	d.head.Executions++
	d.exec = Execution{ID: c.Execution, TaskID: d.id, Number: d.head.Executions, Worker: c.Worker, State: ExecutionOffered,
		LeaseUntil: wall(c.LeaseUntil), TokenHash: bytes.Clone(c.TokenHash), OfferedAt: d.now}
	d.touched = true
	d.head.Execution = c.Execution
	d.head.ReadyAt = time.Time{}
	d.head.SandboxRunning = false
	if d.head.State == StateInProgress {
		return nil
	}
	return d.move(StatePending, Status{}, "")
}

// Accept is the worker's yes to an offer: PENDING becomes CLAIMED. Saying it
// again changes nothing.
type Accept struct {
	Execution  ExecutionID // the offered one
	LeaseUntil time.Time   // the first lease
}

func (c Accept) subject() ExecutionID { return c.Execution }

func (c Accept) apply(d *decision) error {
	if err := d.holder(); err != nil {
		return err
	}
	if d.exec.State != ExecutionOffered {
		return nil
	}
	d.exec.State, d.exec.ClaimedAt, d.touched = ExecutionClaimed, d.now, true
	d.exec.LeaseUntil = wall(c.LeaseUntil)
	if d.head.State == StateInProgress {
		return nil
	}
	return d.move(StateClaimed, Status{}, "")
}

// Begin is the runner's first word: the run is INPROGRESS. Saying it again
// changes nothing.
type Begin struct {
	Execution ExecutionID // the one that begins
	// Ref is for the signal of it, see Signal. May be empty.
	Ref string
}

func (c Begin) subject() ExecutionID { return c.Execution }

func (c Begin) apply(d *decision) error {
	if err := d.holder(); err != nil {
		return err
	}
	if d.exec.State == ExecutionWorking {
		return nil
	}
	if d.exec.State == ExecutionOffered { // the yes overtaken by the work
		if err := (Accept{c.Execution, d.exec.LeaseUntil}).apply(d); err != nil {
			return err
		}
	}
	d.exec.State, d.exec.BegunAt, d.touched = ExecutionWorking, d.now, true
	d.head.BegunAt, d.head.SandboxRunning = d.now, true
	if d.head.StartedAt.IsZero() {
		d.head.StartedAt = d.now
	}
	d.announce(StateInProgress, c.Ref)
	return d.move(StateInProgress, Status{}, "")
}

// Append adds an execution's events to the log. Offset is how many events the
// execution has appended before: what the log has already is skipped, so a
// batch may be sent again after a lost answer. A gap is CodeConflict. Seq,
// TaskID and ExecutionID of the events are assigned; a zero Time becomes now.
type Append struct {
	Execution ExecutionID // the one that writes
	Offset    int64       // events appended before
	Events    []Event     // at most MaxAppendEvents
}

func (c Append) subject() ExecutionID { return c.Execution }

func (c Append) apply(d *decision) error {
	if err := d.holder(); err != nil {
		return err
	}
	if len(c.Events) > MaxAppendEvents {
		return Invalid("events", "has %d events, at most %d are allowed; send them in several batches", len(c.Events), MaxAppendEvents)
	}
	if c.Offset < 0 || c.Offset > d.exec.Appended {
		return Errorf(CodeConflict, "offset %d leaves a gap: this execution has appended %d events", c.Offset, d.exec.Appended)
	}
	known := d.exec.Appended - c.Offset
	if known >= int64(len(c.Events)) {
		return nil
	}
	for _, e := range c.Events[known:] {
		if err := d.append(e); err != nil {
			return err
		}
	}
	d.exec.Appended = c.Offset + int64(len(c.Events))
	d.touched = true
	return nil
}

// append adds one event of the execution and what follows from it.
func (d *decision) append(e Event) error {
	if e.Payload == nil || e.Payload.platformOnly() {
		return Invalid("events", "an execution may not append this type of event")
	}
	at := wall(e.Time)
	if e.Time.IsZero() {
		at = d.now
	}
	switch p := e.Payload.(type) {
	case *UsageReport:
		if err := p.Validate(); err != nil {
			return err
		}
		d.head.Usage = d.head.Usage.Add(*p)
	case *ArtifactReported:
		if err := p.Artifact.Validate(); err != nil {
			return err
		}
		a := p.Artifact
		if a.CreatedAt.IsZero() {
			a.CreatedAt = at
		}
		d.artifacts = append(d.artifacts, a)
	case *SnapshotTaken:
		if err := p.Validate(); err != nil {
			return err
		}
	}
	d.head.UpdatedAt = d.now
	d.emit(d.exec.ID, at, e.Payload)
	return nil
}

// Tell adds one event to the log in an execution's name that is none of the
// stream that Append continues: a program beside the runner tells it. It is a
// Notice or an ArtifactReported.
type Tell struct {
	Execution ExecutionID // in whose name
	Payload   Payload     // what is told
}

func (c Tell) subject() ExecutionID { return c.Execution }

func (c Tell) apply(d *decision) error {
	if err := d.holder(); err != nil {
		return err
	}
	switch c.Payload.(type) {
	case *Notice, *ArtifactReported:
		return d.append(Event{Payload: c.Payload})
	}
	return Invalid("payload", "beside its stream an execution tells notices and artifacts only")
}

// Renew moves the end of an execution's lease. It never moves it back, and
// always moves it a little: that it moves is the sign of life, also when the
// clock that Until comes from has gone back.
type Renew struct {
	Execution ExecutionID // the one that renews
	Until     time.Time   // the new end
}

func (c Renew) subject() ExecutionID { return c.Execution }

func (c Renew) apply(d *decision) error {
	if err := d.holder(); err != nil {
		return err
	}
	until := wall(c.Until)
	if least := d.exec.LeaseUntil.Add(time.Microsecond); until.Before(least) { // what every store keeps
		until = least
	}
	d.exec.LeaseUntil, d.touched = until, true
	return nil
}

// End is an execution's outcome. State is SUCCEEDED, FAILED, ERROR, BLOCKED
// or CANCELLED. SeenInput is the number of the newest message that the agent
// has been given: an end in success or BLOCKED fails with ErrUnseenInput when
// a person has written since. Saying the same end again changes nothing.
type End struct {
	Execution ExecutionID
	State     State
	Status    Status
	SeenInput int64
	// Ref is for the signal of it, see Signal. May be empty.
	Ref string
}

// ErrUnseenInput tells a runner to deliver the new message and go on.
var ErrUnseenInput error = &Error{Code: CodeConflict, Field: "seen_input", Message: "a person has written meanwhile; deliver the message first"}

func (c End) subject() ExecutionID { return c.Execution }

func (c End) apply(d *decision) error {
	if d.exec.State == ExecutionEnded && d.exec.Reason == string(c.State) {
		return nil
	}
	if err := d.holder(); err != nil {
		return err
	}
	if !c.State.Ended() {
		return Invalid("state", "%q is not an end: use SUCCEEDED, FAILED, BLOCKED, ERROR or CANCELLED", string(c.State))
	}
	if d.head.State != StateInProgress && c.State != StateFailed && c.State != StateError {
		return Errorf(CodeConflict, "a run that is %s cannot become %s: no work was begun", d.head.State, c.State)
	}
	if q := c.Status.Question; q != nil {
		if c.State != StateBlocked {
			return Invalid("status.question", "is for a run that becomes BLOCKED, not %s", string(c.State))
		}
		if err := q.Validate(); err != nil {
			return err
		}
	}
	if (c.State == StateSucceeded || c.State == StateBlocked) && d.head.LastInput > c.SeenInput {
		return ErrUnseenInput
	}
	return d.endWith(c.State, c.Status, string(c.State), c.Ref)
}

// Release takes a run from an execution that refused it, vanished or failed
// by no fault of the run's, so that it waits for another one.
type Release struct {
	Execution ExecutionID // the one that gives up
	// Reason is for the record: "worker at maximum concurrency", "lease lost".
	Reason string
	// ReadyAt is when the run may be offered again.
	ReadyAt time.Time
	// Lease, if set, makes the release conditional: the lease must still end
	// then, as the giver last saw it, else CodeConflict. It was renewed.
	Lease time.Time
	// MaxAttempts, if above 0, counts this as a failed attempt; the last one
	// ends the run as ERROR with Code.
	MaxAttempts int
	Code        Code
}

func (c Release) subject() ExecutionID { return c.Execution }

func (c Release) apply(d *decision) error {
	if err := d.holder(); err != nil {
		return err
	}
	if !c.Lease.IsZero() && !d.exec.LeaseUntil.Equal(c.Lease) {
		return Errorf(CodeConflict, "the lease was renewed meanwhile")
	}
	if c.MaxAttempts > 0 {
		d.head.Attempts++
	}
	if d.head.Where == LocationLocal || (c.MaxAttempts > 0 && d.head.Attempts >= c.MaxAttempts) {
		code := c.Code
		if !code.Known() || !code.Platform() {
			code = CodeInternal
		}
		return d.end(StateError, Status{Message: c.Reason, ErrorCode: code, Retryable: true}, c.Reason)
	}
	d.endExecution(c.Reason)
	d.head.ReadyAt = wall(c.ReadyAt)
	d.head.UpdatedAt = d.now
	if d.head.State == StateInProgress {
		d.emit("", d.now, &Notice{Text: "The execution ended early (" + c.Reason + "); the run goes on in a new one."})
		return nil
	}
	return d.move(StateQueued, Status{}, c.Reason)
}

// Cancel ends a run by a person's wish. It fails with
// CodeOperationNotSupported for runs that the server cannot reach, with
// CodeInvalidRequest for ended ones, and with CodeConflict while PENDING.
type Cancel struct {
	By     Principal // who
	Reason string    // for the record
}

func (c Cancel) subject() ExecutionID { return "" }

func (c Cancel) apply(d *decision) error {
	switch {
	case !d.head.Cancellable():
		return Errorf(CodeOperationNotSupported, "this run executes where it was started (%s); stop it there", d.head.Where)
	case d.head.State.Ended():
		return Errorf(CodeInvalidRequest, "the run has ended already: it is %s", d.head.State)
	case d.head.State == StatePending:
		return &Error{Code: CodeConflict, Message: "the run is being handed to a worker; try again in a second", RetryAfterMS: 1000}
	}
	reason := c.Reason
	if reason == "" {
		reason = "cancelled"
	}
	return d.end(StateCancelled, Status{Message: reason}, string(StateCancelled))
}

// AddInput is a message from a person: it steers a run that is active, and
// takes an ended one back to QUEUED with a new round of attempts. A blank
// message only resumes.
type AddInput struct {
	Input Input
	// Last, unless nil, is the number of the newest input that the sender knew
	// of: with another one the command fails with ErrConflict. So whoever looks
	// for its Input.Key first never says a thing twice.
	Last *int64
}

func (c AddInput) subject() ExecutionID { return "" }

func (c AddInput) apply(d *decision) error {
	if err := ValidateText("message", c.Input.Text); err != nil {
		return err
	}
	if c.Last != nil && *c.Last != d.head.LastInput {
		return Errorf(CodeConflict, "somebody else has sent a message meanwhile: the newest is number %d", d.head.LastInput)
	}
	if d.head.PrunedTo > 0 {
		return Errorf(CodeOperationNotSupported, "the transcript of this run was removed by the server's retention, so that it cannot go on; start a new run")
	}
	if d.head.State.Ended() && !d.head.Cancellable() {
		return Errorf(CodeOperationNotSupported, "this run executed where it was started (%s) and cannot be resumed by the server", d.head.Where)
	}
	if err := c.answer(d); err != nil {
		return err
	}
	if strings.TrimSpace(c.Input.Text) != "" || len(c.Input.Attachments) > 0 {
		in := c.Input
		d.head.LastInput = d.emit("", d.now, &in)
		d.head.UpdatedAt = d.now
		d.head.ModeNow = cmp.Or(in.Mode, d.head.ModeNow)
	}
	if d.head.State.Active() {
		return nil
	}
	d.head.Attempts, d.head.ReadyAt = 0, d.now
	return d.move(StateQueued, Status{}, "follow-up")
}

// answer judges a message that answers a question, and keeps an approval.
func (c AddInput) answer(d *decision) error {
	if c.Input.Question == "" && c.Input.Choice != "" {
		return Invalid("choice", "is for the answer to a question")
	}
	if c.Input.Question != "" {
		q := d.head.Open()
		if q == nil || q.ID != c.Input.Question {
			return &Error{Code: CodeConflict, Field: "question_id", Message: "the run does not wait for an answer to this question any more"}
		}
		switch {
		case q.Kind != QuestionApproval || q.Subject == "": // of a call, which the agent remembers
		case c.Input.Choice == ChoiceApprove:
			d.head.Approved = q.Subject
		case c.Input.Choice == ChoiceReject:
			d.head.Rejected = q.Subject
		}
	}
	if c.Input.Approves != "" { // another version of what was asked for
		d.head.Approved = c.Input.Approves
	}
	return nil
}

// Fail ends an active run that the platform cannot carry on: FAILED or ERROR
// as the code says; one that is not known becomes CodeInternal.
type Fail struct{ Status Status }

func (c Fail) subject() ExecutionID { return "" }

func (c Fail) apply(d *decision) error {
	if d.head.State.Ended() {
		return Errorf(CodeConflict, "the run has ended already: it is %s", d.head.State)
	}
	status := c.Status
	if !status.ErrorCode.Known() {
		status.ErrorCode = CodeInternal
	}
	return d.end(status.ErrorCode.EndState(), status, status.Message)
}

// SandboxGone records that an execution's sandbox was removed.
type SandboxGone struct{ Execution ExecutionID }

func (c SandboxGone) subject() ExecutionID { return c.Execution }

func (c SandboxGone) apply(d *decision) error {
	if d.exec.ID == "" || d.exec.SandboxGone {
		return nil
	}
	d.exec.SandboxGone, d.touched = true, true
	if d.exec.Number == d.head.Executions {
		d.head.SandboxRunning = false
	}
	return nil
}

// Prune removes the log of a run that has ended, for good, so that the run's
// record stays and its transcript goes. It fails with CodeConflict unless the
// run has ended, and not changed since Before. Pruning again changes nothing.
type Prune struct{ Before time.Time }

func (c Prune) subject() ExecutionID { return "" }

func (c Prune) apply(d *decision) error {
	switch {
	case d.head.PrunedTo > 0:
		return nil
	case !d.head.State.Ended():
		return Errorf(CodeConflict, "run is %s: only the log of an ended run is removed", d.head.State)
	case !d.head.UpdatedAt.Before(c.Before):
		return Errorf(CodeConflict, "the run has changed meanwhile")
	}
	d.head.PrunedTo = d.head.LastSeq
	d.emit("", d.now, &Pruned{Through: d.head.PrunedTo}) // no change of the run: UpdatedAt stays
	return nil
}

// AddArtifact gives a run a file of a person's, whatever its state. An artifact
// that the run has already changes nothing.
type AddArtifact struct {
	By       Principal // who
	Artifact Artifact  // what
}

func (c AddArtifact) subject() ExecutionID { return "" }

func (c AddArtifact) apply(d *decision) error {
	if err := c.Artifact.Validate(); err != nil {
		return err
	}
	if d.head.PrunedTo > 0 {
		return Errorf(CodeOperationNotSupported, "the files of this run were removed by the server's retention; start a new run")
	}
	a := c.Artifact
	a.CreatedAt = d.now
	d.artifacts = append(d.artifacts, a)
	d.emit("", d.now, &ArtifactReported{Artifact: a})
	d.head.UpdatedAt = d.now
	return nil
}

// Log lets the platform itself append to a run's log, whatever its state:
// phases of the dispatcher, notices, and terminals that persons open and close.
type Log struct{ Payloads []Payload }

func (c Log) subject() ExecutionID { return "" }

func (c Log) apply(d *decision) error {
	for _, p := range c.Payloads {
		switch p.(type) {
		case *Phase, *Notice, *ErrorReported, *Terminal:
			d.emit(d.head.Execution, d.now, p)
		default:
			return Invalid("events", "the platform logs phases, notices, errors and terminals only")
		}
	}
	return nil
}

// ValidateText checks a prompt or message: valid UTF-8 without NUL, at most
// MaxInputBytes. It may be empty.
func ValidateText(field, s string) error {
	switch {
	case len(s) > MaxInputBytes:
		return Invalid(field, "has %d bytes, at most %d are allowed; put long material into an attachment or the repository", len(s), MaxInputBytes)
	case !utf8.ValidString(s):
		return Invalid(field, "must be valid UTF-8")
	case strings.ContainsRune(s, 0):
		return Invalid(field, "must not contain NUL")
	}
	return nil
}
