package executor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/oz-platform/cloudagents/task"
)

// Sensitive is a value that fmt, errors and loggers never show. Only its JSON
// form, meant for the link between platform and runner, has the real value.
type Sensitive string

// String hides the value.
func (Sensitive) String() string { return "[sensitive]" }

// Format hides the value from every verb of fmt.
func (s Sensitive) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// Reveal gives the value.
func (s Sensitive) Reveal() string { return string(s) }

// Bundle is all that a runner needs to carry out one execution. It is given
// out on the execution's token only, and never stored.
type Bundle struct {
	// Task is the run with prompt, resolved configuration and environment.
	Task task.Task `json:"task"`
	// Execution is the one that the token is for.
	Execution task.Execution `json:"execution"`
	// Limits are the run's, with the platform's defaults filled in.
	Limits task.Limits `json:"limits"`
	// Reserve says that model calls must be reserved with Link.Reserve: budgets
	// beyond Limits count them, too.
	Reserve bool `json:"reserve,omitempty"`
	// Secrets become environment variables of the agent's processes.
	Secrets []Variable `json:"secrets,omitempty"`
	// MissingSecrets were asked for by name and do not exist.
	MissingSecrets []string `json:"missing_secrets,omitempty"`
	// Snapshot is what the newest execution that has ended kept of its
	// workspace, or for a run that goes on with another's conversation, what
	// that one kept; nil when nothing was.
	Snapshot *Snapshot `json:"snapshot,omitempty"`
	// Rules are those of the run's owner, the weakest first. Those of the
	// project are stronger.
	Rules []Rule `json:"rules,omitempty"`
	// Memory are the memory stores of the run, see Rememberer.
	Memory []MemoryStore `json:"memory,omitempty"`
	// NoCodeIndex says that the platform wants no index of the repositories.
	NoCodeIndex bool `json:"no_code_index,omitempty"`
	// Models says how the run's gateway reaches the models.
	Models Models `json:"models"`
	// GitCredentials let git read and push, by host.
	GitCredentials []GitCredential `json:"git_credentials,omitempty"`
	// GitHosts are those for which git is lent a credential each time that it
	// needs one, see GitLender. They come before GitCredentials.
	GitHosts []string `json:"git_hosts,omitempty"`
	// GitIdentity is the author of the agent's commits.
	GitIdentity GitIdentity `json:"git_identity"`
	// RepositoryBase is put before "owner/name" of repositories that have no
	// URL of their own, such as "https://github.com".
	RepositoryBase string `json:"repository_base"`
}

// Snapshot is what an execution kept of its workspace.
type Snapshot struct {
	TaskID    task.ID          `json:"run_id"`
	Execution task.ExecutionID `json:"execution_id"`
	task.SnapshotTaken
}

// Rule is what all agents of an owner are told.
type Rule struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Variable is one secret environment variable.
type Variable struct {
	Name  string    `json:"name"`
	Value Sensitive `json:"value"`
}

// GitCredential lets git authenticate to one host over HTTPS.
type GitCredential struct {
	Host     string    `json:"host"`
	Username string    `json:"username"`
	Password Sensitive `json:"password"`
}

// OutwardSubject begins task.Question.Subject of what a person approves in a run
// that nobody vouches for: an act that others see. Once one was approved, the
// run's git is lent a credential.
const OutwardSubject = "outward "

// GitLender is a Link whose platform lends credentials that are good for a
// while only: that of the integration which the run came from, or of one that
// lends to all runs of its owner. They are asked for each time and stored nowhere. Like all of a Link, its method fails with
// task.ErrFenced once the execution has ended.
type GitLender interface {
	// GitCredential gives what git may show at a host now; the zero
	// GitCredential for none. path is that of the repository's address, without
	// .git, such as "owner/name"; without it, nothing is given that is lent for
	// some repositories only. It fails with task.CodeIntegrationNotConfigured
	// when the service does not let the integration in.
	GitCredential(ctx context.Context, host, path string) (GitCredential, error)
}

// GitIdentity is a commit's author and committer.
type GitIdentity struct {
	Name  string `json:"name"`
	Email string `json:"email"`
}

// Link is the runner's side of the platform, bound to one execution by its
// token. Methods fail with task.ErrFenced once the execution has lost its
// lease; the runner must then stop at once. All may be repeated after a lost
// answer. Safe for concurrent use.
type Link interface {
	Desk
	// Bundle fetches what the execution needs.
	Bundle(ctx context.Context) (*Bundle, error)
	// Begin makes the run INPROGRESS.
	Begin(ctx context.Context) error
	// Append adds events to the log, see task.Append.
	Append(ctx context.Context, offset int64, events []task.Event) error
	// Events reads the run's log, see task.Store.
	Events(ctx context.Context, after int64, limit int) ([]task.Event, error)
	// Heartbeat renews the lease.
	Heartbeat(ctx context.Context) (Heartbeat, error)
	// Upload stores an artifact's bytes and returns the key for Artifact.Blob.
	// The same uid replaces what was there.
	Upload(ctx context.Context, uid string, r io.Reader) (blob string, sizeBytes int64, err error)
	// OpenBlob opens a file that the run may read, by its key: an attachment,
	// an artifact of its own, a file of Bundle.Snapshot. The caller closes it.
	// It fails with task.ErrNotFound.
	OpenBlob(ctx context.Context, key string) (io.ReadCloser, error)
	// Reserve takes what a model call may use at most from the budgets that
	// the platform keeps. It fails with task.CodeBudgetExceeded when one of them
	// has not enough left. What the call holds goes back when a
	// task.UsageReport with its CallID is appended, or the execution ends.
	Reserve(ctx context.Context, r Reservation) (Reserved, error)
	// End reports the outcome, see task.End; Execution is filled in. It fails
	// with task.ErrUnseenInput when a message waits.
	End(ctx context.Context, end task.End) error
}

// Heartbeat is what the platform answers to a sign of life.
type Heartbeat struct {
	// LastInput is the number of the newest message from a person.
	LastInput int64 `json:"last_input"`
	// IntervalMS is when to send the next heartbeat, in milliseconds.
	IntervalMS int64 `json:"interval_ms"`
	// Reserve says that model calls must be reserved from now on, see
	// Bundle.Reserve.
	Reserve bool `json:"reserve,omitempty"`
}

// Reservation is what a model call may use at most.
type Reservation struct {
	// Call names the call within the execution. Asking again replaces what was
	// asked for before.
	Call string `json:"call_id"`
	// Tokens are all of the call's, CostUSD their price; nil when the model has
	// no known price.
	Tokens  int64    `json:"tokens"`
	CostUSD *float64 `json:"cost_usd,omitempty"`
}

// Reserved is the answer to a Reservation.
type Reserved struct {
	// Budgets is how many budgets it was taken from.
	Budgets int `json:"budgets"`
	// WaitMS, if above 0, says that nothing was taken: there would be enough if
	// calls under way used less than they may. Ask again after that time, in
	// milliseconds.
	WaitMS int64 `json:"wait_ms,omitempty"`
}

// Preparation is what a runner needs to prepare a workspace that runs start
// from, see Warm. It holds no secret and no token.
type Preparation struct {
	// Environment has the repositories and the setup commands.
	Environment json.RawMessage `json:"environment"`
	// RepositoryBase is that of the Bundle.
	RepositoryBase string `json:"repository_base"`
}

// Handshake is what a worker gives the runner on its standard input, so that
// the token is in no argument list and no environment.
type Handshake struct {
	ServerURL   string           `json:"server_url"`
	TaskID      task.ID          `json:"task_id"`
	ExecutionID task.ExecutionID `json:"execution_id"`
	Token       Sensitive        `json:"token"`
	// CacheDir holds the repository mirrors that runs share; empty for none.
	CacheDir string `json:"cache_dir,omitempty"`
}
