// Package ozagent is the built-in coding agent: a harness.Harness that works
// with its own tools through the run's model gateway. The directory is named
// for the harness type on the wire, "oz"; the package is not, because the
// platform's package has that name.
//
//	agent := ozagent.New(nil)
//	outcome, err := agent.Run(ctx, session)
//
// # The log is the conversation
//
// What the model is sent is a fold over the run's log and nothing else: before
// each turn the new events are read back and folded in (conversation). So a
// restart is no special case, what the model sees is redacted exactly like
// what people see, and a turn whose end is not in the log never happened. What
// the agent itself has to tell the model (a reminder, a restart, a nudge) is a
// Notice that begins with "To the agent: ".
//
// The order of writes in one turn is: Delivered, flushed; TurnStarted, flushed;
// the answer as it streams in; TurnEnded, flushed; then for each tool call its
// output as it comes and its ToolResult, flushed before anything else happens.
//
// # After a restart
//
// A call without a result was cut off. Calls that may be made again without
// harm (reading, whole-file writes, edits that check whether they were made,
// pushes under an effect's key) are made again; of any other the model is told
// that its outcome is unknown.
//
// # Confinement
//
// The file tools reach nothing outside Session.Root, whatever links lead
// there, and do not write into .git. Commands are not confined: that is the
// sandbox's work. They start with exactly Session.Env plus one variable,
// OZ_COMMAND_ID, by which their whole tree is found again when it has to be
// killed. What a command leaves behind when it ends is killed, too; only a
// command started in the background outlives its call, until Run returns.
//
// # How it ends
//
//   - finish with success: SUCCEEDED, if the log bears out what it claims
//   - finish with failure, or success that stays unproven: FAILED
//   - ask_user, a limit, or a loop it does not leave: BLOCKED; files stay as they are
//   - a provider that refuses its key: FAILED, external_authentication_required
//   - a provider that is down after all retries: ERROR, resource_unavailable
//
// An agent that stops talking without finish is reminded once, then its last
// words are its summary.
//
// # Concurrency
//
// A Harness is safe for concurrent use; a Session belongs to one Run at a time.
//
// # Limits
//
// See the constants beside each tool and Options.
package ozagent
