// Package harness drives coding agents. A Harness knows one agent (the
// built-in one, or a third party's CLI) and turns what it does into events of
// the run's log, so that transcript, steering, cost and outcome look the same
// for all.
//
// # Restart
//
// A harness may be killed at any instruction and run again in a new execution
// of the same run. It rebuilds the conversation from Journal.History: it
// delivers no message twice (task.Delivered), repeats no finished tool call,
// and asks Effects before an act that reaches outside.
package harness

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/environment/skill/skilldir"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/harness/permit"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// Harness drives one coding agent.
type Harness interface {
	// Run lets the agent work until it has finished, cannot go on, or ctx
	// ends. It may be called again in the same session after it returned:
	// then it delivers the messages that came meanwhile and goes on. An error
	// is a fault of the platform (the journal is gone, ctx ended); whatever
	// the agent or its model did wrong is an Outcome.
	Run(ctx context.Context, s *Session) (Outcome, error)
}

// Wired is a Harness whose agent speaks some of the gateway's wires only.
type Wired interface {
	// Wires are the wires that the agent speaks, the best first: of "anthropic",
	// "openai" (Responses and Chat Completions) and "gemini". The session's
	// model is one that a provider serves on one of them.
	Wires() []string
}

// RuleReader is a Harness whose agent reads project rules by itself.
type RuleReader interface {
	// ReadsRules names the files that the agent puts into its own prompt from the
	// directory where it starts, such as AGENTS.md. They are not in
	// Session.Instructions; those of other directories are.
	ReadsRules() []string
}

// SkillTaker is a Harness whose agent may have skills of its own.
type SkillTaker interface {
	// TakesSkills reports that Session.Skills reach the agent as such: it is not
	// told of them in Session.Instructions.
	TakesSkills() bool
}

// SessionKeeper is a Harness whose agent keeps session files of its own, with
// which it can go on in a workspace elsewhere.
type SessionKeeper interface {
	// SessionFiles lists them, as paths below Session.StateDir. It is called when
	// the agent has ended its work; there are none before.
	SessionFiles(ctx context.Context, s *Session) ([]string, error)
}

// ToolUser is a Harness whose agent takes Session.Tools as they are. For any
// other the runner offers them as servers of the Model Context Protocol, in
// Session.MCP.
type ToolUser interface {
	Harness
	// UsesTools does nothing.
	UsesTools()
}

// Outcome is how the agent's work ended.
type Outcome struct {
	// State is SUCCEEDED, FAILED, BLOCKED (a limit or a question: a person
	// can resume it) or ERROR.
	State task.State
	// Status explains it. Message is the agent's summary on success.
	Status task.Status
	// Turns counts the model's turns over the whole run: success needs one.
	Turns int
	// SeenInput is the number of the newest message that was delivered.
	SeenInput int64
}

// Session is what a harness works with. The runner owns everything in it.
type Session struct {
	Task      task.Task
	Execution task.Execution
	Limits    task.Limits
	// Root is the workspace, Dir the directory in it where the agent starts.
	Root, Dir string
	// Repos are the cloned repositories.
	Repos []Repo
	// InPlace says that the repositories are a person's own, who may work in them
	// at the same time.
	InPlace bool
	// Rebuilt says that the workspace was made anew although the run has
	// worked before: files that were not pushed are lost.
	Rebuilt bool
	// AttachmentDir holds the files that came with the messages: each below a
	// directory that is called like the last part of its Blob. "" if they are
	// not there.
	AttachmentDir string
	// Env is the whole environment of the agent's processes, secrets
	// included. It must reach nothing else.
	Env []string
	// Model is the gateway's door; the agent never sees a provider's key.
	Model    Model
	Journal  Journal
	Effects  *Effects
	Redactor *secrets.Redactor
	Git      *git.Git
	Link     executor.Link // for uploads
	// Desk is the agent's way to people and to other runs.
	Desk *Desk
	// Instructions are what the run's configuration, rules, skills and memory
	// tell the agent beside its own system prompt. They are appended to it.
	Instructions string
	// Skills are those at hand that can be read, for agents that have skills of
	// their own. Others have the platform's tools for them.
	Skills []skilldir.Found
	// StateDir is where a third party's agent keeps its own session files. It is
	// in no repository, stays as long as the workspace does, and is at the same
	// path for all executions in that. "" if there is none.
	StateDir string
	// MCP are the servers whose tools the agent has, for agents that speak the
	// protocol themselves: the first one offers the platform's own tools, the
	// others are the run's. The runner gives addresses on loopback only, behind
	// which it talks to the real servers, and a token in Headers. When a tool of
	// the first one ends the work, the harness need not know: the runner puts
	// that outcome in the place of the harness's.
	MCP []MCPServer
	// Permit judges the agent's calls by the run's agent profile, before they are
	// made; nil allows all.
	Permit *permit.Guard
	// Tools are the platform's and those of the run's MCP servers, for agents
	// that can take them directly.
	Tools []Tool
	Clock task.Clock
}

// Unlock removes from the repositories the locks that a killed git of the
// agent's has left: all its later commands would be refused. It is called while
// none of the agent's processes runs. What a person works in is left alone, and
// so is a repository that cannot be read: git says it better.
func (s *Session) Unlock() {
	if s.InPlace {
		return
	}
	for _, repo := range s.Repos {
		_, _ = git.Unlock(repo.Dir)
	}
}

// MCPServer is one server of the Model Context Protocol. It has a Command or a
// URL. Values in Env and Headers may be secret: they reach the server alone.
type MCPServer struct {
	Name string // unique in the session
	// Command starts the server on its standard input and output, in Dir
	// (default: Session.Dir), with Session.Env and Env beside it.
	Command []string
	Dir     string
	Env     map[string]string
	// URL is that of a server over streamable HTTP, with Headers sent to it.
	URL     string
	Headers map[string]string
	// StartTimeout bounds starting and listing its tools. Default 20 s.
	StartTimeout time.Duration
	// Allow are the tools that may be used, all if nil; Deny wins over it.
	// A name may end in * for any rest.
	Allow, Deny []string
}

// Repo is one repository in the workspace.
type Repo struct {
	Name   string // directory name below Root
	Dir    string // absolute
	Remote string // URL without credentials
	Base   string // commit that was checked out; empty for an empty repository
	Branch string // branch that was checked out; empty when detached
}

// Model says where and how to call the run's model.
type Model struct {
	ID   string // resolved, never "auto"
	Wire string // the provider's protocol: "anthropic", "openai" or "gemini"
	// BaseURL is the gateway's root on loopback, without a trailing slash:
	// ".../anthropic", ".../openai/v1" and ".../gemini" lie below it.
	BaseURL string
	// Token authenticates to the gateway, for this run only.
	Token executor.Sensitive
	// ContextWindow and MaxOutput are in tokens; 0 means unknown.
	ContextWindow, MaxOutput int64
	Scripted                 bool
	// LastError is what the newest call of the agent's to the gateway failed
	// with, after all retries; nil when it went well. Third parties' agents hide
	// or bend what they are answered. May be nil.
	LastError func() error
}

// Journal is the run's log as a harness sees it. Everything posted passes the
// Redactor once more; text that arrives in pieces must have passed a
// streaming writer of Session.Redactor before, for a secret may be cut in two.
// Safe for concurrent use.
type Journal interface {
	// Post queues events in order. It blocks while the queue is full and
	// fails when the journal has failed for good.
	Post(ctx context.Context, payloads ...task.Payload) error
	// Flush returns when all that was posted before is durable. It fails
	// with task.ErrFenced when the execution has lost its lease.
	Flush(ctx context.Context) error
	// History replays the log from after, flushed posts included.
	History(ctx context.Context, after int64) iter.Seq2[task.Event, error]
	// Inputs returns the messages from people (payload *task.Input) with
	// numbers above after, in order.
	Inputs(ctx context.Context, after int64) ([]task.Event, error)
}

// ErrBrokeOff is in a Model's LastError when the answer had begun: asked again,
// the model may well answer.
var ErrBrokeOff = errors.New("the answer broke off")

// Trouble keeps what the agent's newest call to its gateway failed with, for
// Model.LastError. The zero value is ready to use. Safe for concurrent use.
type Trouble struct {
	mu  sync.Mutex
	err error
}

// Note takes a call; it is for gateway.Options.OnCall.
func (t *Trouble) Note(c gateway.Call) {
	if c.API == gateway.CountTokens || c.API == gateway.Embeddings || c.Class == gateway.ClassCancelled {
		return // says nothing about the model
	}
	err := c.Err()
	if c.Class == gateway.ClassStreamCut || c.Class == gateway.ClassInvalidResponse {
		err = task.Errorf(c.Class.Code(), "%s: %w", c.Message, ErrBrokeOff)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

// Err is Model.LastError.
func (t *Trouble) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}
