package task

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// ID names a run; on the wire run_id, and task_id to older clients. A UUID.
type ID string

// NewID makes an ID. IDs made later sort later, to the millisecond.
func NewID() ID { return ID(newUUID()) }

func newUUID() string { return uuid.Must(uuid.NewV7()).String() }

// Source says what made the run (Oz API, RunSourceType).
type Source string

// The sources of runs on the wire.
const (
	SourceAPI             Source = "API"
	SourceCLI             Source = "CLI"
	SourceLocal           Source = "LOCAL"
	SourceWebApp          Source = "WEB_APP"
	SourceCloudMode       Source = "CLOUD_MODE"
	SourceSlack           Source = "SLACK"
	SourceLinear          Source = "LINEAR"
	SourceJira            Source = "JIRA"
	SourceScheduledAgent  Source = "SCHEDULED_AGENT"
	SourceGitHubAction    Source = "GITHUB_ACTION"
	SourceGitHubWebhook   Source = "GITHUB_WEBHOOK"
	SourceGitLabWebhook   Source = "GITLAB_WEBHOOK"
	SourceSelfImprovement Source = "SELF_IMPROVEMENT"
	SourceAutofix         Source = "AUTOFIX"
	SourceRunScorer       Source = "RUN_SCORER"
	SourceOrchestration   Source = "ORCHESTRATION"
)

// Known reports whether s is one of the wire's sources.
func (s Source) Known() bool {
	switch s {
	case SourceAPI, SourceCLI, SourceLocal, SourceWebApp, SourceCloudMode, SourceSlack, SourceLinear, SourceJira,
		SourceScheduledAgent, SourceGitHubAction, SourceGitHubWebhook, SourceGitLabWebhook, SourceSelfImprovement,
		SourceAutofix, SourceRunScorer, SourceOrchestration:
		return true
	}
	return false
}

// Location says where a run executes.
type Location string

// LocationLocal runs execute where they were started (a laptop, a CI job) and
// are tracked only; LocationRemote runs are dispatched to a worker.
const (
	LocationLocal  Location = "LOCAL"
	LocationRemote Location = "REMOTE"
)

// Mode is how the agent approaches the prompt.
type Mode string

// Modes (Oz API, RunAgentRequest.mode). Empty means ModeNormal.
const (
	ModeNormal      Mode = "normal"
	ModePlan        Mode = "plan"
	ModeOrchestrate Mode = "orchestrate"
)

// Spec is what a run was asked to be. It never changes after creation.
type Spec struct {
	Title  string `json:"title"`          // for people, one line
	Prompt string `json:"prompt"`         // what to do; may be empty when a skill says it
	Mode   Mode   `json:"mode,omitempty"` // how the agent goes about it
	// Owner is the person or team whose run it is.
	Owner Scope `json:"owner"`
	// Creator asked for the run, Executor carries it out.
	Creator  Principal `json:"creator"`
	Executor Principal `json:"executor"`
	// Requester sent the request, when it asked on behalf of the creator. Such
	// a run gets none of the creator's personal secrets.
	Requester Principal `json:"requester,omitzero"`
	// Config is the resolved configuration; Origins says for each of its
	// settings which layer gave it ("run", "agent", "environment", "default"), or
	// both where two are put together ("run, agent").
	Config  Config            `json:"config"`
	Origins map[string]string `json:"origins,omitempty"`
	// Environment is the environment's configuration as of creation, in the
	// JSON of package environment; nil when the run has none.
	Environment    []byte            `json:"environment,omitempty"`
	ConversationID string            `json:"conversation_id"`        // of the run's conversation
	ParentID       ID                `json:"parent_id,omitempty"`    // empty for a run without parent
	ChildKey       string            `json:"child_key,omitempty"`    // how the parent's agent calls it; unique among its children
	ContinuesID    ID                `json:"continues_id,omitempty"` // the run whose conversation this one goes on with
	Metadata       map[string]string `json:"metadata,omitempty"`     // the caller's own
	TriggerURL     string            `json:"trigger_url,omitempty"`  // what set it off: a thread, an issue
	Origin         *Origin           `json:"origin,omitempty"`       // the event elsewhere that it came with; nil for none
	Interactive    bool              `json:"interactive,omitempty"`  // a person looks on
	Attachments    []Attachment      `json:"attachments,omitempty"`  // given with the prompt
	// Untrusted says that nobody vouches for what made the run: it gets no
	// secrets, and a person must approve what it does that others see.
	Untrusted bool `json:"untrusted,omitempty"`
	// Fingerprint is a hash of the request, by which a repeat of it is known.
	Fingerprint []byte `json:"fingerprint,omitempty"`
	// Skill is the one that the run carries out; nil for a run without.
	Skill *Skill `json:"skill,omitempty"`
	// Runner is the runner profile as of creation, in the JSON of
	// oz.RunnerConfig; nil when the run has none.
	Runner []byte `json:"runner,omitempty"`
}

// Origin is the event elsewhere that made a run, and where to answer.
type Origin struct {
	Source   string     `json:"source"`             // what it arrived through, as in Delivery
	Delivery DeliveryID `json:"delivery,omitempty"` // its line in the log of what arrived
	// Address is where to answer, in the words of its source; nil for nowhere.
	// It holds no secret.
	Address json.RawMessage `json:"address,omitempty"`
}

// Attachment is a file given with a prompt; its bytes are in the blob store.
type Attachment struct {
	FileName  string `json:"file_name"`  // a base name
	MIMEType  string `json:"mime_type"`  // as in Content-Type
	SizeBytes int64  `json:"size_bytes"` // of the file
	Blob      string `json:"blob"`       // key in the BlobStore
}

// Head is the part of a run that changes: the projection of its log that
// every decision needs. Stores keep it in columns and change it only through
// Decide.
type Head struct {
	State  State  `json:"state"`  // where the run is in its life
	Status Status `json:"status"` // why
	// Where and Source never change; they stand here because they decide what
	// may be done with the run.
	Where  Location `json:"where"`
	Source Source   `json:"source"`
	// Execution is the one execution that may write, empty when none may.
	Execution ExecutionID `json:"execution,omitempty"`
	// Executions counts those ever made; Attempts those since the last
	// message from a person that ended by a fault of the platform.
	Executions int `json:"executions"`
	Attempts   int `json:"attempts"`
	// ReadyAt is when the dispatcher may place the run; zero when it has an
	// execution or has ended.
	ReadyAt time.Time `json:"ready_at,omitzero"`
	// LastSeq is the number of the newest event.
	LastSeq int64 `json:"last_seq"`
	// LastInput is the number of the newest message from a person.
	LastInput int64     `json:"last_input"`
	Usage     Usage     `json:"usage"`      // of models, so far
	CreatedAt time.Time `json:"created_at"` // never changes
	UpdatedAt time.Time `json:"updated_at"` // of the last change
	// EndedAt is when the run came to its present end; zero while it has not
	// ended. Runs that ended before it was recorded have none either.
	EndedAt time.Time `json:"ended_at,omitzero"`
	// StartedAt is the first moment of work; zero before.
	StartedAt time.Time `json:"started_at,omitzero"`
	// RunTime is the total of the ended executions' working time; BegunAt is
	// when the present one began, zero when none works.
	RunTime time.Duration `json:"run_time"`
	BegunAt time.Time     `json:"begun_at,omitzero"`
	// PrunedTo is the number of the last event that Prune removed; 0 while the
	// log is whole.
	PrunedTo int64 `json:"pruned_to,omitempty"`
	// SandboxRunning says that the newest execution's sandbox still exists.
	SandboxRunning bool `json:"sandbox_running"`
	// Sharing says who may see and steer the run.
	Sharing Sharing `json:"sharing,omitzero"`
	// Approved is the Subject of the newest approval that a person gave.
	Approved string `json:"approved,omitempty"`
	// Rejected is the Subject of the newest approval that a person refused.
	Rejected string `json:"rejected,omitempty"`
	// ModeNow is the mode of the newest message that has one; empty while it is
	// Spec.Mode. See Task.CurrentMode.
	ModeNow Mode `json:"mode_now,omitempty"`
}

// Task is one run with everything known of it but its log.
type Task struct {
	ID ID `json:"id"` // never changes
	Spec
	Head
	// Artifacts are in the order they were reported.
	Artifacts []Artifact `json:"artifacts,omitempty"`
}

// CurrentMode is the mode that the agent works in.
func (t Task) CurrentMode() Mode { return cmp.Or(t.ModeNow, t.Mode, ModeNormal) }

// Status explains a state (Oz API, RunStatusMessage). ErrorCode and Retryable
// are set on terminal errors only.
type Status struct {
	Message   string `json:"message,omitempty"`    // for people
	ErrorCode Code   `json:"error_code,omitempty"` // empty unless it failed
	Retryable bool   `json:"retryable,omitempty"`  // the same may work later
	// Question is what a BLOCKED run waits for; nil when it is anything that
	// takes the run on.
	Question *Question `json:"question,omitempty"`
}

// Cancellable reports whether runs of this kind can be cancelled at all: the
// server cannot reach those that execute on a laptop or in a CI job (Oz API,
// is_run_type_cancellable).
func (h Head) Cancellable() bool {
	return h.Where != LocationLocal && h.Source != SourceGitHubAction
}

// WorkTime is RunTime plus what the present execution has worked by now.
func (h Head) WorkTime(now time.Time) time.Duration {
	if h.BegunAt.IsZero() || now.Before(h.BegunAt) {
		return h.RunTime
	}
	return h.RunTime + now.Sub(h.BegunAt)
}
