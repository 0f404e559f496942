// Package claude drives Claude Code, Anthropic's coding agent:
//
//	harnesses["claude"] = claude.New(nil)
//
// One process works on a run's messages as they come: it reads them from its
// standard input while it works, so that a person's word is heard after the
// tool call under way. Each message has a name, under which the program
// acknowledges it and keeps it in its session's file.
//
// The program asks the run's gateway for the model, with the run's token. It
// sends nothing else anywhere: telemetry, error reports and updates are off.
// It asks nobody for leave: the sandbox is what holds it.
//
// What sub-agents of the program say and do is not in the log; their
// work is one tool call with its result.
package claude
