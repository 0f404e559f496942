// Package gemini drives Gemini CLI, Google's coding agent:
//
//	harnesses["gemini"] = gemini.New(nil)
//
// Each process works on what it is told and ends; a follow-up resumes its
// session in a new one. A person's word interrupts the process after the tool
// call under way, or in the middle of one that takes long.
//
// The program asks the run's gateway for the model, over the Gemini API, with
// the run's token. It sends nothing else anywhere: statistics, telemetry and
// updates are off. It asks nobody for leave: the sandbox is what holds it. It
// needs node (20 or later) in the PATH of the environment.
//
// Gemini CLI says neither what it thinks nor where an answer of the model ends.
// A turn is counted for each tool call and for the last words. It does not say
// with what code a command ended.
package gemini
