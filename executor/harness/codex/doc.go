// Package codex drives Codex, OpenAI's coding agent:
//
//	harnesses["codex"] = codex.New(nil)
//
// Each process works on what it is told and ends; a follow-up resumes its
// session in a new one. A person's word interrupts the process after the tool
// call under way, or in the middle of one that takes long.
//
// The program asks the run's gateway for the model, over the Responses API,
// with the run's token. It sends nothing else anywhere: telemetry, plugins and
// updates are off. It asks nobody for leave: the sandbox is what holds it.
//
// Codex does not say where an answer of the model ends. A turn is counted for
// each tool call and for the last words.
package codex
