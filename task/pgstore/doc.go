// Package pgstore is a [task.Store] on PostgreSQL, for several replicas of a
// server that work on the same runs.
//
//	store, err := pgstore.Open(ctx, "postgres://oz@db.example.com/oz", nil)
//	if err != nil {
//		return err
//	}
//	defer store.Close()
//
// Stores that open the same database, in one process or in many, share its
// runs: each may write to any of them, and a subscriber to one hears what was
// committed through another.
//
// # Writing
//
// What callers ask for while a transaction is under way shares the next one
// (group commit); every call answers only after its transaction is durable.
// A transaction takes two round trips: it locks the rows of its runs, in the
// order of their IDs, and reads what the decisions need; then it writes
// everything and commits. Correctness rests on these row locks alone, and
// nothing is remembered from one transaction to the next.
//
// Offers of waiting runs (task.Placer) pass over rows that others have locked,
// so that dispatchers of several replicas do not wait for each other.
//
// Commits touch none of the indexes that lists use: a run enters them a few
// seconds after it has ended, many at once, and leaves them when a worker takes
// it up again. One that waits enters only if it waits for longer. Until then
// lists look at it together with those that work; what they show is the same.
//
// How runs ended stands in a table of rows, and, packed beside the commits, in one
// of which a row has 1,024 runs: the statistics of a million runs read that one, and
// the rows that have changed since.
//
// A transaction that met another store's, or whose connection broke, is tried
// again for a second or so. When the connection breaks during the commit, the
// store asks the server whether the transaction was committed, so that nothing
// is done twice.
//
// # Hearing of changes
//
// Subscribers in the store that commits are woken at once. The others learn it
// by NOTIFY, sent behind the commit in the same round trip, or by a goroutine when
// it is too soon after another: at most 200 times a second, since each NOTIFY
// holds up all commits of the server. In case a message got lost, each
// store looks at the runs it subscribed to every few seconds, and wakes all
// subscribers when its connection had to be made anew.
//
// By NOTIFY, too, stores pass on what their programs have to say to each other
// (task.Bus): who follows a run, and what is typed and shown in a terminal whose
// ends are at two of them.
//
// Waiting locks nothing: a run that another store is offering at that moment
// may be listed in both. Do then fails with a conflict for one of them, and Place
// leaves the run out.
//
// # Tables
//
// They are in a schema of their own. Payloads are JSON in bytea, for JSON may
// hold what jsonb refuses: convert_from(head, 'UTF8')::json shows one. Strings
// in columns are readable, with the byte 1 as an escape where PostgreSQL could
// not hold them. A new version migrates the tables when it opens them, in a way
// that the version before goes on working, so that replicas can be replaced one
// by one. Events of a run are visible in the order of their numbers without
// gaps, to every reader.
//
// # Blobs
//
// A Store is a [task.BlobStore], too, for attachments and artifacts up to
// [MaxBlobBytes]: they are stored in pieces, seen once they are whole, and read
// piece by piece.
//
// # Errors
//
// Those of task.Store. A database that is away, read-only, full or slow is
// [task.CodeResourceUnavailable]; the store goes on by itself once it is back.
//
// # Concurrency
//
// A Store is safe for concurrent use.
//
// # Limits
//
// It needs PostgreSQL 13 or newer, a database with the encoding UTF8, and real
// sessions: behind PgBouncer only in session mode. A store uses up to
// Options.Readers + Options.Writers + 3 connections. Times are kept between the
// years 1678 and 2262. IDs of runs and executions have at most 512 bytes. Lists
// sort titles by their first 512 bytes. The search sees the title, the skill
// and the first 16 KiB of the prompt, and finds words by their begin.
package pgstore
