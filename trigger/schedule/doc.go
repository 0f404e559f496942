// Package schedule starts runs by the clock.
//
//	store := schedule.NewStore(records, nil)
//	s, err := store.Create(ctx, owner, person, schedule.Spec{
//		Name: "nightly", Cron: "0 3 * * *", Enabled: true, Prompt: "update the dependencies",
//		Timing: schedule.Timing{TimeZone: "Europe/Berlin", Overlap: schedule.OverlapSkip},
//	})
//	...
//	scheduler, err := schedule.New(store, host, nil)
//	...
//	err = scheduler.Run(ctx)
//
// A tick is a moment that an expression names. What becomes of it is decided
// once, and written into the schedule's ledger as one line: its run was made on
// time or late, or why there is none. Store.Ticks reads it.
//
// # Clock changes
//
// Without a time zone ticks are in UTC, where nothing changes. With one they
// follow its wall clocks, and when those are changed, these rules hold. An
// expression whose hour field names every hour goes by time that passes: it
// ticks whenever the wall clock shows a minute that matches. All others are
// for a time of day: each such time ticks once a day.
//
//	                        clock goes forward             clock goes back
//	minute * or */n, hour * what is jumped over is not     the repeated time ticks again:
//	                        there: no tick is due, and     no pause, an even distance
//	                        the distance stays even
//	minute n, hour *        the hour that is not there     the repeated hour has its tick
//	                        has no tick                    in both passes
//	fixed hours             a time that is jumped over     the first pass ticks, the
//	                        ticks when the clock lands;    second does not
//	                        several of them, and a tick
//	                        of that very minute, are one
//
// The same holds for changes of half an hour, where an hourly expression has
// two ticks 30 or 90 minutes apart, once; for changes at midnight; and for a
// whole day that a country leaves out. Rules of zones change: the ticks to come
// follow what the machine knows of them (or the program, see time/tzdata).
//
// # Exactly once
//
// Any number of Schedulers may share a store, in any number of processes, and
// each may be killed at any instruction. The run of a tick has an ID that
// follows from schedule and tick, so that it can exist once only; the line of
// the ledger and the step to the next tick are one write to one record, which
// fails when somebody else wrote before. A tick whose run was made by a process
// that died is found undecided, and its run found there.
//
// Replicas decide by their own clocks: one that is ahead fires early by as much.
//
// # Limits
//
// A ledger keeps the newest 1,000 lines and a few more; an outage of any length
// writes no more than that. An expression has at most 200 bytes, prompt,
// configuration and metadata together 512 KiB as stored. A tick may be late by
// Options.Grace and still be on time.
//
// # Errors
//
// Errors are *task.Error: task.CodeInvalidRequest with the name of the field
// on the wire, task.CodeNotFound.
package schedule
