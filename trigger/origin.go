package trigger

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// Origin is a kind of place that events come from, such as GitHub. An Engine
// keeps what arrives, asks the Origin what it means and makes the runs. Safe
// for concurrent use.
//
// An Origin that is a Reporter, too, hears of the runs that came from it and
// answers there. One that is a Trigger, too, is run by the Engine.
type Origin interface {
	// Info says which events are its own.
	Info() Info
	// Accept judges a request that arrived and gives what it brings. It looks at
	// nothing in the body before it knows that the request is authentic. Its
	// error is for the sender, and should be a *task.Error; with Arrival.Source
	// set, the refusal gets a line in that source's log.
	Accept(ctx context.Context, r Request) (Arrival, error)
	// Plan says what a delivery is to do. It may be asked again after a crash
	// and by another replica, and should give the same then. After an error
	// that is retryable or no *task.Error it is asked again later.
	Plan(ctx context.Context, d task.Delivery) (Plan, error)
}

// Info describes an Origin.
type Info struct {
	// Name is what sources begin with, up to a slash: "github" has
	// "github/<anything>". One or more of a to z, 0 to 9 and "-".
	Name string
	// Path is where its requests arrive, as the first part of a path below
	// /webhooks/. Default: Name.
	Path string
	// MaxBody bounds a request's body in bytes. Default and maximum:
	// task.MaxDeliveryBody.
	MaxBody int64
}

// Request is what arrived over HTTP.
type Request struct {
	Path   string // what follows the origin's own path, without a slash before it
	Query  url.Values
	Header http.Header
	Body   []byte
	Time   time.Time // of arrival
}

// Arrival is what a Request brings.
type Arrival struct {
	// Source is what it arrived through, such as "webhook/<uid>"; empty when
	// there is nothing to keep, as of a request that only asks who is there.
	Source string
	// Owner is whose source that is.
	Owner task.Scope
	// Key names the event at its source; a repeat is found by it.
	Key string
	// Event is its kind, for people.
	Event string
	// Header is what Plan needs besides the body. No secrets.
	Header map[string]string
	// Body is kept instead of the request's, unless nil.
	Body []byte
	// PerMinute bounds how many are taken from Source in a minute; the rest is
	// refused with a hint when to come again. Zero is no bound.
	PerMinute int
	// Reply answers in place of the usual 202 with the delivery's ID.
	Reply *Reply
}

// Reply answers a Request.
type Reply struct {
	Status int
	Header map[string]string
	Body   []byte
	// Delivery is what was kept; empty when nothing was.
	Delivery task.DeliveryID
}

// Header is how an Engine keeps what belongs to a delivery besides its body,
// in task.Delivery.Header.
type Header struct {
	// Fields are those of Arrival.Header.
	Fields map[string]string `json:"fields,omitempty"`
	// RepeatOf is the delivery that a person sent through again.
	RepeatOf task.DeliveryID `json:"repeat_of,omitempty"`
	// ApprovedBy let a delivery through that was held. Zero: nobody.
	ApprovedBy task.Principal `json:"approved_by,omitzero"`
}

// FieldThread is the field of Arrival.Header that names the conversation which
// a delivery belongs to, if any: one that only goes on with a run waits for
// those of its conversation that came before, as one of them may make the run.
const FieldThread = "thread"

// HeaderOf reads the Header of a delivery.
func HeaderOf(d task.Delivery) (Header, error) {
	var h Header
	if len(d.Header) == 0 {
		return h, nil
	}
	if err := json.Unmarshal(d.Header, &h); err != nil {
		return h, fmt.Errorf("header of delivery %s: %w", d.ID, err)
	}
	return h, nil
}

// Plan says what a delivery is to do: start runs, or go on with some. The zero
// Plan is nothing.
type Plan struct {
	Starts []Start
	// Reason explains, when there are no Starts, why not.
	Reason string
	// Held leaves it to a person to let the delivery through: then Plan is asked
	// again, with Header.ApprovedBy set.
	Held bool
}

// Start describes a run that an event makes, or what it says to one that is
// there.
type Start struct {
	// Name tells the starts of one delivery apart and never changes, such as the
	// UID of an automation. May be empty for one.
	Name string
	// Owner is whose run it is.
	Owner task.Scope
	// AgentUID carries it out. Without one the run is Creator's, with the rights
	// that are left to them today.
	AgentUID string
	Creator  task.Principal
	// Kind is the run's source on the wire.
	Kind task.Source
	// Title, Prompt, Skill, Mode, Config and Metadata are those of a request.
	Title  string
	Prompt string
	// Own is the beginning of Prompt that the trigger's owner wrote, "" for none:
	// what it refers to, as <prompt:id>, is put in when the run is made. The rest
	// may be words of outsiders and stays as it is.
	Own      string
	Skill    string
	Mode     task.Mode
	Config   task.Config
	Metadata map[string]string
	// URL leads people back to the event.
	URL string
	// Files are given to the agent.
	Files []File
	// Repository is cloned beside those of the run's environment; nil for none.
	Repository *Repository
	// Entity is what the event is about, such as an issue: while there is a run
	// of the owner's about it, that is told Message, and no run is made. Empty:
	// there is always a new run.
	Entity string
	// Message is what a run that is there already is told.
	Message string
	// OnlyGoOn makes no run when there is none to go on with. See FieldThread.
	OnlyGoOn bool
	// Stop ends the run about Entity in place of telling it Message; with Run it
	// does so only if it is that one. It goes with OnlyGoOn.
	Stop bool
	Run  task.ID
	// Answer says that Message answers what a run has asked, and goes with
	// OnlyGoOn; nil for none.
	Answer *Answer
	// Address is where Reporter.Report answers; nil for nowhere. JSON, no
	// secrets.
	Address json.RawMessage
	// Untrusted says that nobody vouches for the event: the run gets no secrets,
	// and a person must approve what it does that others see.
	Untrusted bool
}

// Answer is what a person has chosen of a question's choices (task.Question),
// as by a button.
type Answer struct {
	// Run is the one that asked.
	Run task.ID
	// Question is the question's ID, Choice one of its choices.
	Question, Choice string
}

// Open gives the question that an answer is for, when t waits with it and it
// has that choice. It fails with task.CodeOperationNotSupported, as another try
// would: the question was answered by then, or the run has gone on without.
func (a *Answer) Open(t task.Task) (*task.Question, error) {
	q := t.Open()
	if t.ID != a.Run || q == nil || q.ID != a.Question {
		return nil, task.Errorf(task.CodeOperationNotSupported, "run %s does not wait for this answer any more", a.Run)
	}
	if err := q.Accepts(a.Choice, ""); err != nil {
		return nil, err
	}
	return q, nil
}

// Repository is one that a run works in.
type Repository struct {
	// Owner and Name are its two parts, URL where it is cloned from.
	Owner, Name, URL string
	// Commit is checked out, with HEAD detached; empty for what the environment
	// says, or the newest of the default branch.
	Commit string
}

// File is something that an agent gets beside its prompt.
type File struct {
	Name     string // a base name
	MIMEType string
	Data     []byte
}

// Host makes the runs that an Engine decides on. Safe for concurrent use. A
// *task.Error whose code is not retryable is final; after any other error it is
// asked again.
type Host interface {
	// Start makes the run called id. One that exists already is no error.
	Start(ctx context.Context, id task.ID, s Start, from task.Origin) error
	// Run returns a run. It fails with task.ErrNotFound.
	Run(ctx context.Context, id task.ID) (task.Task, error)
	// GoOn sends a run Start.Message and Start.Files as an input under a key, if
	// last is still the number of the run's newest input. It fails with
	// task.ErrConflict when it is not, and with
	// task.CodeOperationNotSupported when the run cannot go on, or does not wait
	// for Start.Answer.
	GoOn(ctx context.Context, id task.ID, s Start, key string, last int64) error
	// Stop ends a run in the name of whom Start says. One that has ended is no
	// error. It fails with task.CodeNotAuthorized when they may not.
	Stop(ctx context.Context, id task.ID, s Start) error
	// Said reports whether one of the run's inputs after a number has the key.
	Said(ctx context.Context, id task.ID, key string, after int64) (bool, error)
}

// News is what a Reporter hears.
type News struct {
	Type NewsType
	// Task is the run as it is now; zero for NewsRefused.
	Task task.Task
	// Origin is where the run came from; zero for runs that came by themselves.
	Origin task.Origin
	// Owner is the run's, or the source's.
	Owner task.Scope
	// Key names the news: what is told because of it gets a key made from this.
	Key string
	// Signal is what happened, for NewsSignal.
	Signal task.Signal
	// Delivery is what it is about, for the others.
	Delivery task.Delivery
	// Err is why, for NewsRefused.
	Err error
	// Note is what is said, in Markdown, for NewsNote.
	Note string
	// Progress is how far the run has come; zero when it has no task list, or
	// nobody answers where it came from.
	Progress Progress
}

// NewsType says what News are about.
type NewsType string

// The types of news.
const (
	NewsStarted   NewsType = "started"   // a delivery made a run
	NewsContinued NewsType = "continued" // a delivery spoke to a run
	NewsStopped   NewsType = "stopped"   // a delivery has ended a run, unless it had ended before
	NewsRefused   NewsType = "refused"   // a delivery was to make a run, and none can be made
	NewsSignal    NewsType = "signal"    // a run's state has changed
	NewsNote      NewsType = "note"      // a run has something to say before its end
	NewsProgress  NewsType = "progress"  // a run's task list has changed
)

// Reporter tells the outside of runs. What it is to tell is written down first,
// sent later by whichever replica, and tried again until it arrives or is given
// up. Safe for concurrent use.
type Reporter interface {
	// Report gives what is to be told, if anything. The engine fills in what is
	// left empty of ID, Source, Owner, TaskID, CreatedAt and ReadyAt. A message
	// whose Key is known is not told again. After an error that is retryable or
	// no *task.Error it is asked again. Of NewsProgress only the run's own
	// reporter hears, when it is time to tell: what it gives then is sent at
	// once, perhaps twice and perhaps after the run's end, and should change what
	// was said before rather than say more.
	Report(ctx context.Context, n News) ([]task.Outgoing, error)
	// Kinds are the task.Outgoing.Kind that Send understands.
	Kinds() []string
	// Send tells one. Attempts above 1 means that an earlier try may have
	// arrived: where the outside offers a way to find out, it looks before. What
	// it returns is kept with the message. After an error it is tried again,
	// later when that is a *Later, and given up when it is a *GiveUp.
	Send(ctx context.Context, o task.Outgoing) (result []byte, err error)
}

// Later is an error that says when to try again: the outside asked for it.
type Later struct {
	After time.Duration
	Err   error
}

// Error implements error.
func (e *Later) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Later) Unwrap() error { return e.Err }

// GiveUp is an error that no further try can mend.
type GiveUp struct{ Err error }

// Error implements error.
func (e *GiveUp) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *GiveUp) Unwrap() error { return e.Err }
