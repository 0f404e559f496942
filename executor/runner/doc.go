// Package runner is the agent runner: the process inside a sandbox that
// carries out one execution. It fetches its bundle, prepares the workspace,
// opens the run's model gateway, lets a harness drive the agent, and reports
// the outcome. Everything that happens goes into the run's log, redacted.
//
//	outcome, err := runner.Run(ctx, link, &runner.Options{
//		Root:      workspace,
//		Harnesses: map[string]harness.Harness{"oz": builtin},
//	})
//
// [Main] is the same as a whole program, for binaries that a worker starts:
// it takes the executor.Handshake from its standard input.
//
// # Restart
//
// A runner may be killed at any instruction. The next execution of the run
// reads the log and goes on: a prepared workspace is kept if it is still
// there, no message is delivered twice, no finished tool call is repeated, and
// no outward effect is done twice.
//
// # Errors
//
// Whatever the run itself did wrong (a clone that fails, a model that refuses)
// is its outcome, reported to the platform. Run returns an error only when it
// could not report one: task.ErrFenced when the execution had lost its lease,
// the context's error when it was stopped.
//
// # Goroutines
//
// Run starts five and waits for them: the journal that appends, the heartbeat
// that renews the lease, the watch over the time limit, the refill of the
// repository cache, and the gateway that listens on loopback.
package runner
