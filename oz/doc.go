// Package oz is the platform: it takes requests for runs, keeps their record,
// hands them to workers and sees them through.
//
//	store, err := sqlitestore.Open(ctx, "oz.db", nil)
//	...
//	worker, err := oz.NewLocalWorker(exec, &oz.LocalWorkerOptions{ServerURL: "http://127.0.0.1:8080"})
//	...
//	platform, err := oz.New(store, &oz.Options{Workers: []oz.Worker{worker}})
//	...
//	go platform.Run(ctx)
//	run, err := platform.Submit(ctx, oz.Request{Prompt: "Fix the failing test"})
//	for event, err := range platform.Watch(ctx, run.ID, 0) {
//		...
//	}
//
// # Who asks
//
// A [Platform] acts as the program that embeds it, which may do everything.
// [Platform.As] gives a [Client] that acts as somebody else and may do what
// package access allows them.
//
// # Life of a run
//
// [Client.Submit] checks a [Request], resolves its configuration and stores the
// run, QUEUED. [Platform.Run] offers queued runs to workers that have room
// (PENDING), records their yes (CLAIMED), and from then on the runner reports
// through its [Platform.Link]. An execution renews its lease with heartbeats;
// one whose lease ran out is given up and the run waits for another, with a
// growing delay and a bounded number of attempts. Everything that Run knows it
// reads from the store: it may be killed at any instruction and started again.
//
//	QUEUED --offer--> PENDING --yes--> CLAIMED --begin--> INPROGRESS --end--> SUCCEEDED ...
//	  ^                  | no             |                  |
//	  +------------------+----------------+------------------+ lost, up to MaxAttempts
//
// # Messages between runs
//
// [Client.SendMail] puts a letter into the mailboxes of other runs, and
// [Client.Signals] tells what happened to runs, on one sequence for the whole
// server. An active run has its mailbox at hand; one that is BLOCKED is woken by
// a letter, which becomes its next input. Both need a store that is a
// [task.Mailbox].
//
// # Audit log
//
// Who did what to the platform's things is written to the audit log, if the
// store is a [task.Journal]: an act as AuditBegun before it is done, and its
// outcome behind it. One whose first entry cannot be written is refused and not
// done. An entry without outcome belongs to an act that a crash has cut off; it
// may have happened. Refused attempts have one entry, but no more than one per
// minute for each key and action and a hundred per minute in all; so have
// downloads, before the data or the link is given. What the log of a run says,
// which only grows as well, is not repeated: the creation of runs, and what
// their executions do. Nothing is ever removed. [VerifyAudit] checks the chain
// of hashes that the entries form.
//
// # Goroutines
//
// Run owns one goroutine that places runs and one per offer in flight, one
// that gives up lost executions, one that removes old transcripts, one that
// checks the records of runs that have ended, and one per worker. A LocalWorker
// has one per sandbox and one that sweeps idle workspaces. When Run returns all
// have ended. Watch owns one per run that is followed, while it is.
//
// # Errors
//
// Methods fail with *task.Error where a caller may see it. A thing that the
// caller may not see is task.ErrNotFound.
//
// # Concurrency
//
// Everything here is safe for concurrent use. Several platforms may share one
// store if the store allows several processes.
package oz
