// Package sqlitestore is the default [task.Store]: one SQLite file, one
// process, no server to run.
//
//	store, err := sqlitestore.Open(ctx, "/var/lib/oz/oz.db", nil)
//	if err != nil {
//		return err
//	}
//	defer store.Close()
//
// One goroutine writes, with its own connection. What callers ask for while
// it commits shares its next transaction (group commit), so that many runs
// append as fast as one; every call answers only after its transaction is on
// the disk (WAL, synchronous=FULL). Readers use a pool of connections beside
// it and never wait for the writer.
//
// # Layout
//
// runs holds what lists filter and sort by, and the head as JSON. specs holds
// the immutable rest; events, executions, artifacts, tags (metadata and artifact
// types) and run_text (the search) hang off runs.n, a small integer.
//
// A commit touches none of the indexes of lists and of the search, some twenty,
// so that it writes few pages: a run that an execution writes to, or that has
// changed a moment ago, stands in none of them (runs.idle_at is NULL). Lists
// look at these runs apart, and the search looks at the words of new ones in
// memory, which are read again when the store is opened; so both show each
// change at once. The writer brings runs into the indexes, hundreds at a time,
// when it has nothing else to do, and in between when there are thousands.
// Live executions and small records that were asked for are kept in memory, too.
//
// # Errors
//
// Those of task.Store. A full or read-only disk, or an I/O error, is
// [task.CodeResourceUnavailable]; the store goes on by itself once there is
// room again. A damaged or newer database is refused by Open.
//
// # Concurrency
//
// A Store is safe for concurrent use. A second Open of the same file fails,
// in this process and in others, by a lock on the file path + ".lock".
//
// # Limits
//
// Times are kept between the years 1678 and 2262. The search sees the title,
// the skill and the first 16 KiB of the prompt. A run has at most 4 billion events.
package sqlitestore
