// Package command hands executions over to a system of the operator's: a batch queue, a CI service, another cloud. It
// runs one shell command per execution, the dispatch command, and gives it all there is to know as JSON on its standard
// input. The command starts the agent wherever it wants to, with
//
//	oz <base_args...>        (environment: the env of the payload)
//
// and says with exit status 0 that somebody has taken the work over. From then on the agent itself talks to the
// platform, and reports its end there; "oz harness-support report-shutdown" does so when the agent could not. With the
// same token an agent that is not ours tells people how it goes ("oz harness-support notify-user") and reports what it
// makes ("report-artifact", "report-external-reference", "finish-task").
//
//	exec, err := command.New("/var/lib/oz/dispatched", "jq -c . | my-queue push", &command.Options{
//		CancelCommand: `my-queue drop "$OZ_RUN_ID"`,
//	})
//
// # Why an Executor
//
// It could have been a worker of its own kind. But a lease, a place that counts, a cancelled run, a restart of the worker
// and a leftover are the same here as elsewhere, and the platform's supervision has them right already. What differs
// is little: the sandbox is elsewhere, so it has no directory, takes no signals, enforces no limits, and its end
// is not seen but told, by [executor.Remote].
//
// # The contract
//
// The dispatch command gets the JSON of [Payload]. The token of the execution is in it and nowhere else: in no
// argument, no environment variable, no file and no log. The command's environment is the worker's without the worker's
// own key, then Options.Env, then OZ_RUN_ID, OZ_EXECUTION_ID, OZ_WORKER_BACKEND=command, OZ_SERVER_ROOT_URL and
// OZ_DOCKER_IMAGE, which cannot be overridden.
//
//	exit status 0       the work is taken over; the sandbox runs until the agent reports
//	any other           refused: the sandbox ends with that status, nothing is cancelled
//	over the time-out   the command and all that descends from it are killed; the cancel command follows, for the work
//	                    may have been taken over before
//
// The cancel command gets OZ_RUN_ID, OZ_EXECUTION_ID and OZ_WORKER_BACKEND and an empty standard input. Its exit status
// 0 confirms that nothing of the execution runs any more. Without that, Stop and Remove fail and may be tried again,
// as the platform's sweep does; the entry stays, and is listed. Without a cancel command nothing is there to be told:
// the agent stops by itself when the platform refuses its next heartbeat.
//
// # Restarts
//
// Every entry is written down before its command starts. A dispatch command outlives a worker that is killed, since its
// input, its output and its status are files that the worker does not hold: the next Executor on the same storage
// learns how it went. The input has no name in any file system (memfd_create(2)), so the token is never on a disk. A
// status that nobody learnt ends the sandbox as Unknown, and the cancel command follows.
//
// An entry that nobody has ended after Options.Lifetime counts as lost, so that none stays for ever.
//
// # Killing a dispatch command
//
// Its process group is killed, and every process with its OZ_SANDBOX_ID in the environment, whatever session or parent
// it has moved to. A process that leaves the group and clears its environment escapes. What a dispatch command
// that succeeded has left running is the operator's own and is left alone.
//
// Linux only.
package command
