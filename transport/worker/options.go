package worker

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// Options say how a Worker reaches its server. ServerURL, Key and StateDir are
// needed.
type Options struct {
	// ServerURL is the root of the server, such as https://oz.example.com. The
	// link is at /api/v1/selfhosted/worker/ws below it.
	ServerURL string

	// LinkURL, if set, is the whole address of the link (ws, wss, http or
	// https), for servers that have it elsewhere.
	LinkURL string

	// Key is a worker key or a team key. A server that refuses it is asked
	// again, slowly.
	Key executor.Sensitive

	// StateDir is an existing directory of the worker alone. It keeps the name
	// of this process among those that share a worker id, so that the next
	// process is known as the one before. Only one process may use it at once.
	StateDir string

	// Labels are what runs may ask for with worker_labels, such as "gpu" or
	// "zone=eu". Default: none.
	Labels []string

	// Backend and Version are shown to people, such as "containerd" and
	// "1.4.0". Default: none.
	Backend, Version string

	// OneShot takes one run, and then drains.
	OneShot bool

	// HTTPClient makes the connection. Its Timeout must be 0. Default: one
	// that honours the proxy variables of the environment.
	HTTPClient *http.Client

	// Observer is told what happens, for counting. It must not block. Default:
	// none.
	Observer func(Event)

	// Clock tells the time. Default: the machine's.
	Clock task.Clock

	// Logger receives what nobody is there to return to. Default: none.
	Logger *zap.Logger
}

// EventKind says what an Event tells.
type EventKind string

// What a Worker tells its Observer.
const (
	EventConnected    EventKind = "connected"    // the server welcomed this worker
	EventDisconnected EventKind = "disconnected" // an established link ended; Err says how
	EventDialFailed   EventKind = "dial_failed"  // the server could not be reached, or refused; Err says how
	EventClaimed      EventKind = "claimed"      // an offer was accepted
	EventRejected     EventKind = "rejected"     // an offer was refused; Err says why
	EventStarted      EventKind = "started"      // the server granted the claim: work begins
	EventEnded        EventKind = "ended"        // nothing of an execution runs any more
)

// Event is something that happened at a Worker.
type Event struct {
	Kind EventKind
	// Task and Execution are those of claimed, rejected, started and ended.
	Task      task.ID
	Execution task.ExecutionID
	// Result is how an ended execution ended: the run's state in capitals, or
	// a reason. Empty when this process does not know.
	Result string
	// Took is how long an ended execution was at work in this process.
	Took time.Duration
	Err  error
}

// Status is how a Worker stands.
type Status struct {
	// ID is what runs name as worker_host; Instance tells this process from
	// others of the same id.
	ID, Instance string
	// Connected says that the server has welcomed this worker; Since is since
	// when that is so, or is not so.
	Connected bool
	Since     time.Time
	// LastError is why it is not connected.
	LastError string
	// Ready says that what an earlier process left has been taken up, so that
	// offers are welcome.
	Ready bool
	// Draining says that nothing new is taken.
	Draining bool
	// Capacity, Busy, Idle and Retained are those of oz.WorkerInfo.
	Capacity, Busy, Idle, Retained int
	// Unsent is how many reports wait for the server.
	Unsent int
}

// defaultPath is where servers have the link (worker protocol, 2.1).
const defaultPath = "/api/v1/selfhosted/worker/ws"

// maxShown bounds what a worker says of its version, backend and platform, in
// bytes.
const maxShown = 64

func (o Options) withDefaults() (Options, error) {
	o.Labels = slices.Clone(o.Labels)
	if o.HTTPClient == nil {
		o.HTTPClient = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	}
	if o.Observer == nil {
		o.Observer = func(Event) {}
	}
	if o.Clock == nil {
		o.Clock = task.SystemClock()
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	switch {
	case o.Key == "":
		return o, task.Invalid("Key", "a worker key or a team key is needed")
	case o.StateDir == "":
		return o, task.Invalid("StateDir", "a directory is needed, which keeps the name of this worker's process")
	case o.HTTPClient.Timeout != 0:
		return o, task.Invalid("HTTPClient", "its Timeout would end the link; set none")
	case len(o.Backend) > maxShown || len(o.Version) > maxShown:
		return o, task.Invalid("Backend", "and Version may have at most %d bytes", maxShown)
	}
	if err := CheckLabels("Labels", o.Labels); err != nil {
		return o, err
	}
	link, err := linkURL(o)
	o.LinkURL = link
	return o, err
}

// linkURL gives the address of the link as ws or wss.
func linkURL(o Options) (string, error) {
	field, raw := "LinkURL", o.LinkURL
	if raw == "" {
		field, raw = "ServerURL", o.ServerURL
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "", task.Invalid(field, "must be a URL such as https://oz.example.com")
	}
	switch u.Scheme {
	case "https", "wss":
		u.Scheme = "wss"
	case "http", "ws":
		u.Scheme = "ws"
	default:
		return "", task.Invalid(field, "must begin with https:// or http://")
	}
	if u.User != nil || u.Fragment != "" {
		return "", task.Invalid(field, "may have no user, password or fragment: the key goes into Key")
	}
	if field == "ServerURL" {
		if u.RawQuery != "" {
			return "", task.Invalid(field, "is the root of the server, without a query")
		}
		u.Path = strings.TrimRight(u.Path, "/") + defaultPath
	}
	return u.String(), nil
}

// CheckLabels is the rule for labels: at most 32, each at most 64 bytes, a word
// such as "gpu" or a word with a value such as "zone=eu". It fails with
// task.CodeInvalidRequest.
func CheckLabels(field string, labels []string) error { return task.ValidateLabels(field, labels) }
