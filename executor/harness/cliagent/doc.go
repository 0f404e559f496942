// Package cliagent drives third parties' coding agents: programs that are
// started in the workspace, print one JSON record a line and keep a session of
// their own on disk. What is common to all of them is here; an Agent says what
// is its own:
//
//	h := cliagent.New(myAgent{}, nil)
//	outcome, err := h.Run(ctx, session)
//
// # The log and the native session
//
// The program owns the conversation; the run's log is what people see of it.
// The log names the native session (task.AgentSession), so that a later
// execution resumes it if its files are in Session.StateDir. If they are not,
// the conversation is told to a new session as text, from the log.
//
// A message from a person is Delivered in the log first, and handed to the
// program then. Whether a program that was killed in between had taken it is
// asked of the native session's own files (Agent.Received): so each message is
// in the conversation exactly once, wherever the kill fell.
//
// # Turns
//
// A turn is one answer of the model, as far as the program tells where it
// ends. A call whose program was killed is closed as failed with its outcome
// unknown, by the execution that saw it end or by the next.
//
// # Steering
//
// A Live agent reads messages while it works. Any other is interrupted between
// two tool calls, or after Options.SteerPatience in the middle of one, and
// resumed with the message.
//
// # Usage and cost
//
// The run's gateway counts tokens and money, for every agent in the same way.
// What the program says of them is not read: it would be counted twice.
//
// # Containment
//
// The program and all that it starts are found by their descent and by a
// variable of the environment, and killed when Run returns. A process that
// left its parents and cleared its environment is left to the sandbox, which
// ends everything in it.
//
// # How it ends
//
// By the program's last record, never by its exit code: a program that ends
// without one has crashed. Options says the limits; each has its outcome.
//
// # Concurrency
//
// A Harness is safe for concurrent use; a Session belongs to one Run at a time.
package cliagent
