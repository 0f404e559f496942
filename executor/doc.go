// Package executor says where and how an execution runs.
//
// An [Executor] makes sandboxes. A [Sandbox] is a place with one main command (the agent runner), a home and a
// temporary directory of its own, and a workspace directory that outlives it, so that a follow-up or a retry finds the
// files of the run it goes on with. This package holds the interfaces and the rules that hold for every driver; the
// drivers live below it: package local runs sandboxes as processes of this host.
//
//	sandbox, err := exec.Start(ctx, executor.Spec{
//		ID:        executionID,
//		Workspace: runID,
//		Command:   []string{"/usr/local/bin/oz", "agent", "run", "--task-id", runID},
//		Stdin:     token,
//	})
//	...
//	exit, err := sandbox.Wait(ctx)
//	...
//	err = sandbox.Remove(ctx)
//
// # Life of a sandbox
//
// A sandbox is started at most once per ID: Start with an ID that exists gives back the sandbox that is there, running
// or ended. It ends when its main command ends; whatever that left running is killed then, as a container does when
// its first process goes. An ended sandbox keeps its output and its exit status until Remove. Sandboxes belong to the
// host, not to the process that started them: they go on when a worker dies, and the next worker finds them with List
// and Open.
//
// # What is kept of an ended run
//
// The workspace alone: its directory, for follow-ups within idle_timeout_minutes and, of a run that failed, for
// inspection within its environment's failure_session_retention_minutes. No process, home, temporary file or, with
// containers, layer of the root file system outlives the sandbox. A kept workspace takes no place of a worker; beyond a
// number, or when the disk is nearly full, the one whose run ended first is removed before its time. See
// oz.LocalWorkerOptions.
//
// # Errors
//
// [ErrNotFound], [ErrInvalidSpec], [ErrInUse] and [ErrUnsupportedSignal] are found with errors.Is. Everything else is a
// fault of the host or the driver, worth a retry elsewhere. No error holds Stdin or a value of Env.
//
// # Concurrency
//
// Executors and sandboxes are safe for concurrent use. Contexts end the waiting of a call; they never end a sandbox.
package executor
