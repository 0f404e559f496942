package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/task"
)

// Bounds of what comes over a link.
const (
	// maxFrame is the longest frame that a server or worker reads, in bytes: the
	// protocol asks for 1 MiB at least (S-17).
	maxFrame = 2 << 20
	// maxID bounds ids of runs and executions, in bytes.
	maxID = 128
	// maxMessage is how much is kept of what a worker says of an end, in bytes.
	maxMessage = 4 << 10
)

// Types of frames of the published protocol (worker protocol, 4.1).
const (
	typeAssignment   = "task_assignment"
	typeCancellation = "task_cancellation"
	typeClaimed      = "task_claimed"
	typeRejected     = "task_rejected"
	typeCompleted    = "task_completed"
	typeFailed       = "task_failed"
)

// envelope is every frame of both protocols.
type envelope struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

// parseEnvelope reads a frame.
func parseEnvelope(frame []byte) (envelope, error) {
	var e envelope
	if !utf8.Valid(frame) {
		return e, task.Invalid("frame", "must be UTF-8")
	}
	if err := json.Unmarshal(frame, &e); err != nil {
		return e, task.Invalid("frame", `must be {"type": ..., "data": {...}}`)
	}
	if e.Type == "" || len(e.Type) > maxID {
		return e, task.Invalid("type", "must have 1 to %d bytes", maxID)
	}
	if d := bytes.TrimSpace(e.Data); len(d) == 0 || d[0] != '{' {
		return e, task.Invalid("data", "must be an object")
	}
	return e, nil
}

// encode makes a frame.
func encode(kind string, data any) ([]byte, error) {
	raw, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	return json.Marshal(envelope{Type: kind, Data: raw})
}

// report is what an official worker says of a task (worker protocol, 4.2). What
// it leaves out is not known.
type report struct {
	TaskID   task.ID `json:"task_id"`
	WorkerID string  `json:"worker_id"`      // of a claim
	Reason   string  `json:"reason"`         // of a rejection
	Message  string  `json:"message"`        // of an end, for people
	State    string  `json:"task_state"`     // CANCELLED, or nothing
	Failure  string  `json:"failure_reason"` // of a failure
	ExitCode *int    `json:"exit_code"`
}

// parseReport reads the data of a frame of an official worker.
func parseReport(data []byte) (report, error) {
	var r report
	if err := json.Unmarshal(data, &r); err != nil {
		return r, task.Invalid("data", "cannot be read: %w", err)
	}
	if r.TaskID == "" || len(r.TaskID) > maxID {
		return r, task.Invalid("data.task_id", "must have 1 to %d bytes", maxID)
	}
	r.Reason, r.Message, r.Failure = plain(r.Reason, maxMessage), plain(r.Message, maxMessage), plain(r.Failure, maxID)
	return r, nil
}

// plain makes a text from outside fit for the log: bounded, and without what
// stores refuse.
func plain(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + " … (cut)"
	}
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
}

// assignment is what an official worker is told to do (worker protocol, 4.3).
// It holds no secret but the execution's own token.
type assignment struct {
	TaskID       task.ID           `json:"task_id"`
	ExecutionID  task.ExecutionID  `json:"execution_id"`
	Task         assignedTask      `json:"task"`
	DockerImage  string            `json:"docker_image,omitempty"`
	SidecarImage string            `json:"sidecar_image,omitempty"`
	EnvVars      map[string]string `json:"env_vars"`
	OzArgs       []string          `json:"additional_oz_args,omitempty"`
	Shape        *shape            `json:"instance_shape,omitempty"`
}

type assignedTask struct {
	ID         task.ID        `json:"id"`
	Title      string         `json:"title"`
	Definition taskDefinition `json:"task_definition"`
	CreatedAt  string         `json:"created_at"`
	UpdatedAt  string         `json:"updated_at"`
	Config     configSnapshot `json:"agent_config_snapshot"`
}

// taskDefinition keeps the prompt to itself: no worker uses it, and the agent
// fetches it.
type taskDefinition struct {
	Prompt string `json:"prompt"`
}

// configSnapshot is what of the run's configuration becomes arguments of the
// agent. MCP servers are left out: their settings may hold secrets, and the
// agent fetches them.
type configSnapshot struct {
	EnvironmentID string         `json:"environment_id,omitempty"`
	ModelID       string         `json:"model_id,omitempty"`
	SkillSpec     string         `json:"skill_spec,omitempty"`
	ComputerUse   bool           `json:"computer_use_enabled"`
	IdleMinutes   *int           `json:"idle_timeout_minutes,omitempty"`
	Harness       *harnessConfig `json:"harness,omitempty"`
}

type harnessConfig struct {
	Type string `json:"type"`
}

// shape is a runner profile in whole units, as the protocol has it.
type shape struct {
	VCPUs    int `json:"vcpus"`
	MemoryGB int `json:"memory_gb"`
}

// cancellation tells an official worker to stop a task.
type cancellation struct {
	TaskID task.ID `json:"task_id"`
}

// Subprotocol is what workers of this package ask for in the handshake. Official
// workers ask for none.
const Subprotocol = "cloudagents.worker.v1"

// Types of frames of our own protocol. Every frame about an execution names it:
// an execution is one attempt, and its id is the fencing token.
const (
	typeHello   = "hello"   // worker: what it is and has; the first frame
	typeWelcome = "welcome" // server: what of that goes on
	typeInfo    = "info"    // worker: how busy it is
	typeOffer   = "offer"   // server: take this
	typeAnswer  = "answer"  // worker: yes or no
	typeGranted = "granted" // server: the yes is recorded, begin
	typeEnded   = "ended"   // server: the execution is over, see to its end
	typeCall    = "call"    // worker: do this, and say when it is done
	typeResult  = "result"  // server: done
)

// hello is what a worker says of itself when it connects.
type hello struct {
	// Instance is the worker's own name among those that share its id, the same
	// for one process after the other. Process tells these apart.
	Instance string `json:"instance"`
	Process  string `json:"process"`

	Version   string   `json:"version,omitempty"`
	Backend   string   `json:"backend,omitempty"`
	Platform  string   `json:"platform,omitempty"`
	Labels    []string `json:"labels,omitempty"`
	Dedicated bool     `json:"dedicated,omitempty"`

	// Executions are those that take a place.
	Executions []task.ExecutionID `json:"executions,omitempty"`
	info
}

// info is how busy a worker is.
type info struct {
	Ready    bool `json:"ready"` // it has taken up what was left
	Draining bool `json:"draining"`
	Capacity int  `json:"capacity"`
	Busy     int  `json:"busy"`
	// Idle and Retained are the workspaces that it keeps.
	Idle     int `json:"idle,omitempty"`
	Retained int `json:"retained,omitempty"`
}

// maxExecutions bounds the list in a hello.
const maxExecutions = 10_000

// maxKept bounds what a worker says of the workspaces that it keeps. It says no
// more itself: workspaces are cheap, and a number for people must not cost the link.
const maxKept = 1_000_000

func parseHello(data []byte) (hello, error) {
	var h hello
	if err := json.Unmarshal(data, &h); err != nil {
		return h, task.Invalid("data", "cannot be read: %w", err)
	}
	if err := oneOf(h.Instance, h.Process); err != nil {
		return h, err
	}
	if len(h.Version) > maxShown || len(h.Backend) > maxShown || len(h.Platform) > maxShown {
		return h, task.Invalid("data.version", "backend and platform may have at most %d bytes", maxShown)
	}
	if err := CheckLabels("data.labels", h.Labels); err != nil {
		return h, err
	}
	if len(h.Executions) > maxExecutions {
		return h, task.Invalid("data.executions", "has %d ids, at most %d are allowed", len(h.Executions), maxExecutions)
	}
	h.Version, h.Backend, h.Platform = plain(h.Version, maxShown), plain(h.Backend, maxShown), plain(h.Platform, maxShown)
	return h, h.check()
}

// oneOf checks the names of an instance and its process.
func oneOf(instance, process string) error {
	for field, s := range map[string]string{"instance": instance, "process": process} {
		ok := s != "" && len(s) <= 64
		for _, c := range []byte(s) {
			ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-')
		}
		if !ok {
			return task.Invalid("data."+field, "must have 1 to 64 bytes of [A-Za-z0-9-]")
		}
	}
	return nil
}

func (i info) check() error {
	if i.Capacity < 0 || i.Busy < 0 || i.Capacity > maxExecutions || i.Busy > 2*maxExecutions {
		return task.Invalid("data.capacity", "and busy must be 0 to %d", maxExecutions)
	}
	if i.Idle < 0 || i.Retained < 0 || i.Idle > maxKept || i.Retained > maxKept {
		return task.Invalid("data.idle", "and retained must be 0 to %d", maxKept)
	}
	return nil
}

// welcome answers a hello.
type welcome struct {
	// Stop are those of the worker's executions that are over: it has to see to
	// their end. All others go on.
	Stop []task.ExecutionID `json:"stop,omitempty"`
}

// offer asks a worker of ours to take an execution.
type offer struct {
	Task        task.Task        `json:"task"`
	ExecutionID task.ExecutionID `json:"execution_id"`
	Token       string           `json:"token"`
}

// answer is a worker's yes or no.
type answer struct {
	ExecutionID task.ExecutionID `json:"execution_id"`
	Accepted    bool             `json:"accepted"`
	AtCapacity  bool             `json:"at_capacity,omitempty"`
	Reason      string           `json:"reason,omitempty"`
}

// executionRef names an execution.
type executionRef struct {
	ExecutionID task.ExecutionID `json:"execution_id"`
}

// Methods of calls: those of oz.WorkerHost.
const (
	callTask      = "task"
	callExecution = "execution"
	callLive      = "live"
	callRenew     = "renew"
	callLog       = "log"
	callRelease   = "release"
	callFailed    = "failed"
	callGone      = "gone"
	callPrinted   = "printed"
)

// call asks something of the platform. It is sent again on each new connection
// until its result is there: ID is the same then, and unique in its process.
type call struct {
	ID          uint64           `json:"id"`
	Method      string           `json:"method"`
	TaskID      task.ID          `json:"task_id,omitempty"`
	ExecutionID task.ExecutionID `json:"execution_id,omitempty"`
	Events      []task.Event     `json:"events,omitempty"`
	Code        task.Code        `json:"code,omitempty"`
	Reason      string           `json:"reason,omitempty"`
	DelayMS     int64            `json:"delay_ms,omitempty"`
	Tail        []byte           `json:"tail,omitempty"`
	Cut         bool             `json:"cut,omitempty"`
}

// Bounds of a call.
const (
	maxLogged = 64
	maxDelay  = 1 << 22 // milliseconds, over an hour
)

func parseCall(data []byte) (call, error) {
	var c call
	if err := json.Unmarshal(data, &c); err != nil {
		return c, task.Invalid("data", "cannot be read: %w", err)
	}
	switch {
	case c.ID == 0:
		return c, task.Invalid("data.id", "is needed")
	case len(c.TaskID) > maxID || len(c.ExecutionID) > maxID:
		return c, task.Invalid("data.task_id", "and execution_id may have at most %d bytes", maxID)
	case len(c.Events) > maxLogged:
		return c, task.Invalid("data.events", "has %d events, at most %d are allowed", len(c.Events), maxLogged)
	case c.DelayMS < 0 || c.DelayMS > maxDelay:
		return c, task.Invalid("data.delay_ms", "must be 0 to %d", maxDelay)
	}
	c.Reason = plain(c.Reason, maxMessage)
	return c, nil
}

// result is the end of a call.
type result struct {
	ID         uint64           `json:"id"`
	Task       *task.Task       `json:"task,omitempty"`
	Executions []task.Execution `json:"executions,omitempty"`
	NextMS     int64            `json:"next_ms,omitempty"`
	Error      *callError       `json:"error,omitempty"`
}

// callError is a failure over the link.
type callError struct {
	Code    task.Code `json:"code"`
	Message string    `json:"message"`
	Field   string    `json:"field,omitempty"`
	Fenced  bool      `json:"fenced,omitempty"`
}

// err gives the failure back as it was.
func (e *callError) err() error {
	if e == nil {
		return nil
	}
	err := &task.Error{Code: e.Code, Message: e.Message, Field: e.Field}
	if e.Fenced {
		err.Err = task.ErrFenced
	}
	return err
}
