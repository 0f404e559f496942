package executor

import (
	"context"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// Desk is what the platform does for an execution beyond its own run: other
// runs and messages between them. It is a part of Link, so every method fails
// with task.ErrFenced once the execution has ended, and may be repeated after a
// lost answer. A run reaches its parent, its children and the other children of
// its parent, and no further.
type Desk interface {
	// Spawn starts a child of the run. A key that has been used before, by
	// whichever execution of the run, starts nothing and gives the child that
	// is there. It fails with task.ErrConflict when the key stands for another
	// request, and while as many children are at work as may be at once; with
	// task.CodeOperationNotSupported when the run has had all the children that
	// it may have; with task.ErrInvalid when the run is itself a child; with
	// task.CodeNotAuthorized when a plan has to be approved first, or does not
	// name the child; and with task.CodeResourceUnavailable while the platform
	// takes no new work.
	Spawn(ctx context.Context, r Spawn) (Relative, error)
	// Family lists the run's parent, then the other children of it, then its own
	// children, each the oldest first.
	Family(ctx context.Context) ([]Relative, error)
	// CancelChild cancels a child. One that has ended is no error.
	CancelChild(ctx context.Context, id task.ID) error
	// Await returns when the named runs have ended or a message has come that
	// was not read, at the latest after Await.WaitMS.
	Await(ctx context.Context, a Await) (News, error)
	// SendMail sends a letter from the run. A child that has ended is woken by
	// it; any other run that has ended refuses it.
	SendMail(ctx context.Context, m Mailing) error
	// ReadMail reads a message to the run and marks it as read.
	ReadMail(ctx context.Context, id task.MailID) (task.Mail, error)
}

// Limits of a desk; ours.
const (
	// MaxSpawnKey bounds Spawn.Key, in bytes.
	MaxSpawnKey = 64
	// MaxAwaitMS is the longest that one Await may take, in milliseconds: below
	// what proxies and load balancers let a request be silent.
	MaxAwaitMS = 20_000
	// MaxPlannedChildren bounds Orchestration.Children.
	MaxPlannedChildren = 100
)

// Spawn asks for a child.
type Spawn struct {
	// Key names the child among its parent's, so that asking again starts no
	// other: 1 to MaxSpawnKey of a-z, A-Z, 0-9, '.', '_' and '-'.
	Key string `json:"key"`
	// Title is one line for people. Default: made from the prompt.
	Title string `json:"title,omitempty"`
	// Prompt is what it is to do. A child that an approved plan names takes the
	// plan's, if this is empty.
	Prompt string `json:"prompt,omitempty"`
	// Config is what differs from the parent, or from its approved plan.
	Config ChildConfig `json:"config,omitzero"`
}

// ChildConfig are the settings that a child may have of its own. Empty ones
// are inherited.
type ChildConfig struct {
	ModelID       string `json:"model_id,omitempty"`       // of the harness's agent
	Harness       string `json:"harness,omitempty"`        // its type: "oz", "claude" ...
	EnvironmentID string `json:"environment_id,omitempty"` // where it works
	WorkerHost    string `json:"worker_host,omitempty"`    // which worker takes it
}

// Over fills what c leaves open from below.
func (c ChildConfig) Over(below ChildConfig) ChildConfig {
	if c.ModelID == "" && (c.Harness == "" || c.Harness == below.Harness) {
		c.ModelID = below.ModelID // another agent has other models
	}
	if c.Harness == "" {
		c.Harness = below.Harness
	}
	if c.EnvironmentID == "" {
		c.EnvironmentID = below.EnvironmentID
	}
	if c.WorkerHost == "" {
		c.WorkerHost = below.WorkerHost
	}
	return c
}

// Orchestration is the part of a plan that says which children a run will
// start, once a person has approved it.
type Orchestration struct {
	// Config holds for all of them, over what the parent has.
	Config ChildConfig `json:"config,omitzero"`
	// Parallelism is how many may be at work at once. 0 is the platform's limit.
	Parallelism int `json:"parallelism,omitempty"`
	// Children are all that may be started, 1 to MaxPlannedChildren.
	Children []Spawn `json:"children"`
}

// PlanDocument is the DocumentUID of all versions of a run's plan.
func PlanDocument(id task.ID) string { return "plan-" + string(id) }

// PlanMetadata is what Artifact.Metadata of a plan holds.
type PlanMetadata struct {
	Orchestration *Orchestration `json:"orchestration,omitempty"`
	// EditedBy is the person who wrote this version; empty for the agent's own.
	EditedBy string `json:"edited_by,omitempty"`
}

// Validate judges a key, a title and a prompt by themselves. needPrompt is
// false where a plan may have the prompt.
func (s Spawn) Validate(needPrompt bool) error {
	ok := s.Key != "" && len(s.Key) <= MaxSpawnKey
	for _, c := range []byte(s.Key) {
		ok = ok && (nameByte(c) || c == '.' || c == '_')
	}
	if !ok {
		return task.Invalid("key", "must have 1 to %d of a-z, A-Z, 0-9, '.', '_' and '-'", MaxSpawnKey)
	}
	if needPrompt && strings.TrimSpace(s.Prompt) == "" {
		return task.Invalid("prompt", "say what the child %q is to do", s.Key)
	}
	return task.ValidateText("prompt", s.Prompt)
}

// Validate judges a plan of children. It fails with task.ErrInvalid.
func (o Orchestration) Validate() error {
	if len(o.Children) == 0 || len(o.Children) > MaxPlannedChildren {
		return task.Invalid("children", "must have 1 to %d entries", MaxPlannedChildren)
	}
	if o.Parallelism < 0 {
		return task.Invalid("parallelism", "may not be negative; 0 takes the server's limit")
	}
	seen := map[string]bool{}
	for i, c := range o.Children {
		if err := c.Validate(true); err != nil {
			return task.Invalid(fmt.Sprintf("children[%d]", i), "%w", err)
		}
		if seen[c.Key] {
			return task.Invalid(fmt.Sprintf("children[%d].key", i), "%q is there twice", c.Key)
		}
		seen[c.Key] = true
	}
	return nil
}

// Child finds the planned child with a key.
func (o Orchestration) Child(key string) (Spawn, bool) {
	for _, c := range o.Children {
		if c.Key == key {
			return c, true
		}
	}
	return Spawn{}, false
}

// Relative is a run that an agent works with.
type Relative struct {
	ID task.ID `json:"run_id"`
	// Relation is "parent", "sibling" or "child".
	Relation string `json:"relation"`
	// Key is what its parent calls it; empty for a parent, and for a child that
	// somebody else has made.
	Key   string     `json:"key,omitempty"`
	Title string     `json:"title"`
	State task.State `json:"state"`
	// Message is what the run's end said, or what it waits for; cut at 4 KiB.
	Message string `json:"message,omitempty"`
	// Branches and PullRequests are where its results are.
	Branches     []string `json:"branches,omitempty"`
	PullRequests []string `json:"pull_requests,omitempty"`
}

// The relations of a Relative.
const (
	RelationParent  = "parent"
	RelationSibling = "sibling"
	RelationChild   = "child"
)

// Await says what to wait for.
type Await struct {
	// Runs are members of the family; All of them have to end, or any.
	Runs []task.ID `json:"runs,omitempty"`
	All  bool      `json:"all,omitempty"`
	// WaitMS is how long, in milliseconds: 0 only looks, at most MaxAwaitMS.
	WaitMS int64 `json:"wait_ms,omitempty"`
}

// News is the answer to an Await.
type News struct {
	// Done says that the runs have ended, as Await.All asks. It is true when it
	// named none and there is mail.
	Done bool `json:"done"`
	// Runs are the named ones, in that order.
	Runs []Relative `json:"runs"`
	// Unread is the mail that was not read, without bodies. It was looked for
	// after the runs: what a run has sent before its end is among it.
	Unread []Mail `json:"unread"`
}

// Mail is a message to the run, without its body.
type Mail struct {
	ID      task.MailID `json:"message_id"`
	From    task.ID     `json:"sender_run_id"`
	Subject string      `json:"subject"`
}

// Mailing is a letter with a key, by which a repeat of it is known.
type Mailing struct {
	// Key is unique among the run's letters: the ID of the call that sends it.
	Key     string    `json:"key"`
	To      []task.ID `json:"to"`
	Subject string    `json:"subject"`
	Body    string    `json:"body"`
}
