// Package tools has the platform's tools for agents: what any coding agent can
// do with its run, whoever made the agent. Each is written once, as a
// harness.Tool. The built-in agent offers them beside its own; the runner gives
// them to agents of third parties through a server of the Model Context
// Protocol.
//
//	session.Tools = tools.For(session, tools.Standard)
//
// A further set is a harness.ToolSet, a function of the session, and is given
// in runner.Options.Tools.
//
// # Errors
//
// A tool fails with a *harness.ToolError, which the model is told, or with any
// other error, which ends the execution.
//
// # Concurrency
//
// Tools of one session may be called at the same time.
package tools
