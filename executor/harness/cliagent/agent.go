package cliagent

import (
	"context"
	"encoding/json"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// Agent is what differs between the programs. Its methods are called by one
// goroutine per Run, and must be safe for several Runs at once.
type Agent interface {
	// Program says which program it is and how to get it.
	Program() Program
	// Wires are those of harness.Wired.
	Wires() []string
	// Launch says how to start the program, and writes the files that it needs
	// below l.State and l.Scratch.
	Launch(l *Launch) (Command, error)
	// NewParser makes the reader of one process's standard output.
	NewParser() Parser
	// Received tells for each of prompts, in the order they were sent, whether
	// the native session has it. known is false when the session's files are
	// not there or cannot be read: it cannot be resumed then.
	Received(state, session string, prompts []Prompt) (received []bool, known bool)
}

// Encoder puts prompts into the words of a program that reads them.
type Encoder interface {
	// Encode gives what is written for a prompt, with its newline. The program
	// answers with Taken once the prompt is part of the conversation.
	Encode(p Prompt) ([]byte, error)
}

// Live is an Agent whose process takes messages on its standard input while it
// works, one encoded prompt after the other, and ends when that is closed.
type Live interface {
	Agent
	Encoder
}

// Dialogue is the Parser of a process that is Live by a protocol of questions
// and answers: what is written depends on what was read. Its Encode is called
// while Line is, by another goroutine; what it cannot say yet it says later,
// with a Reply.
type Dialogue interface {
	Parser
	Encoder
}

// Recalls is an Agent whose native sessions its program alone can read.
type Recalls interface {
	Agent
	// Recall is Received, by the program itself.
	Recall(ctx context.Context, at Place, session string, prompts []Prompt) (received []bool, known bool)
}

// Exports is an Agent whose program makes a copy of a session that can be moved.
type Exports interface {
	Keeps
	// Export writes the copy where SessionFiles finds it.
	Export(ctx context.Context, at Place, session string) error
}

// Place is where a program is and works.
type Place struct {
	// Path is the program, State its home, Dir where the agent works.
	Path, State, Dir string
	// Env is the session's environment.
	Env []string
}

// Keeps is an Agent whose native sessions are in files that can be moved.
type Keeps interface {
	Agent
	// SessionFiles are patterns, as filepath.Match has them, of the files below
	// the program's home that make up its sessions, and nothing else.
	SessionFiles() []string
}

// Patient is an Agent whose program asks the model again, and again, without a
// word: it is stopped once the gateway has given up.
type Patient interface {
	Agent
	RetriesInSilence() bool
}

// Restarts is an Agent whose program does not ask again by itself when an answer
// of the model breaks off in the middle: the session is resumed in a new process.
type Restarts interface {
	Agent
	RestartsBrokenOff() bool
}

// Program is a third party's program.
type Program struct {
	// Name is that of the executable.
	Name string
	// Title is for people: "Claude Code".
	Title string
	// Version is the one that this package was verified with; the default for
	// Options.Version.
	Version string
	// Install gives the npm package that has the executable for this machine,
	// and the executable's path in it; ok is false where there is none.
	Install func(version string) (spec, file string, ok bool)
}

// Launch is one start of the program.
type Launch struct {
	Session *harness.Session
	// State is where the program's home lies. It stays between executions.
	State string
	// Scratch is removed when the process has ended.
	Scratch string
	// NativeID is the session to resume, or, when Resume is false, a fresh
	// UUID which the agent may give its new session.
	NativeID string
	Resume   bool
	// Prompt is what it is told first. A Live agent gets it through Encode.
	Prompt Prompt
	// TurnsLeft is how many turns the model may take, 0 for any number. The
	// harness counts, too; a program that can keep to it saves a call.
	TurnsLeft int
}

// Command is how a program is started. Nothing secret is in Args: others can
// read them.
type Command struct {
	Args []string
	// Env is laid over the session's environment; Drop are prefixes of
	// variables that the program must not find there.
	Env  map[string]string
	Drop []string
	// Stdin is the whole standard input; not for a Live agent.
	Stdin []byte
	// NativeID is the new session's name, from an agent that can choose it: it
	// is written down before the program starts. Others say it by Began.
	NativeID string
	// Parser reads what this process prints, in the place of Agent.NewParser's:
	// one that has to know how the process was started. A Dialogue makes the
	// process a live one.
	Parser Parser
}

// Prompt is a text for the agent.
type Prompt struct {
	// ID is a UUID. Prompts of the same messages of a run have the same one.
	ID string
	// Text is what the agent is told.
	Text string
	// Inputs are the messages from people in it, by number; none for what the
	// platform says itself.
	Inputs []int64
	// Words are the first message as its author wrote it: a part of Text that
	// stays the same wherever files lie.
	Words string
}

// Parser turns a process's standard output into events. It keeps no more than
// one answer's text in memory.
type Parser interface {
	// Line takes one line without its end. Lines that are no JSON, and records
	// that are not known, give no events: programs get new ones.
	Line(line []byte) []Event
	// End takes the end of the output.
	End() []Event
}

// Event is one of the types below.
type Event interface{ event() }

// Began says that the native session is open.
type Began struct {
	NativeID string
	Version  string // of the program, if it says
	// Failed are MCP servers that could not be started.
	Failed []string
}

// Reply is written to the standard input of a live program, as it is.
type Reply struct{ Data []byte }

// Taken says that a prompt is part of the conversation now.
type Taken struct{ PromptID string }

// TurnBegan opens a turn. An event of an answer does so, too.
type TurnBegan struct{}

// Text is a complete text block of the model's answer.
type Text struct{ Text string }

// Thought is a complete block of the model's reasoning.
type Thought struct{ Text string }

// Called is a tool call.
type Called struct {
	ID, Name string
	Category task.ToolCategory
	Input    json.RawMessage // an object; anything else is wrapped
}

// TurnEnded closes the turn.
type TurnEnded struct {
	Model, StopReason, RequestID string
}

// Returned is the result of a call.
type Returned struct {
	ID      string
	State   task.ToolState
	Content string
	Output  map[string]any // for display
}

// Planned replaces the agent's task list.
type Planned struct{ Items []task.Todo }

// Noted is for the people watching.
type Noted struct{ Text string }

// Retried says that the program asks the model again, and why. It is stopped
// if the gateway has given up already.
type Retried struct{ Text string }

// Finished is the program's last word on the prompts that it has taken.
type Finished struct {
	// Text is the agent's summary. Default: its last text.
	Text string
	// Failure is why it did not end well; nil when it did.
	Failure *Failure
	// Interrupted says that it stopped because it was told to.
	Interrupted bool
}

// Failure is what went wrong, as far as a program tells.
type Failure struct {
	// Status is the HTTP status of the model's answer; 0 if unknown.
	Status  int
	Message string
	// Turns says that it has used Launch.TurnsLeft.
	Turns bool
}

func (Began) event()     {}
func (Reply) event()     {}
func (Taken) event()     {}
func (TurnBegan) event() {}
func (Text) event()      {}
func (Thought) event()   {}
func (Called) event()    {}
func (TurnEnded) event() {}
func (Returned) event()  {}
func (Planned) event()   {}
func (Noted) event()     {}
func (Retried) event()   {}
func (Finished) event()  {}
