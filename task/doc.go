// Package task is the record: runs, their executions, their logs, and the
// rules by which they change. On the wire a task is called a run.
//
// A run is made from a [Spec], changes by [Command]s, and everything that
// happens to it is an [Event] in its log, numbered 1, 2, 3 ... without gaps.
// The function [Decide] judges every command; a [Store] calls it inside its
// transaction, so all stores agree on what is legal:
//
//	QUEUED -> PENDING -> CLAIMED -> INPROGRESS -> SUCCEEDED | FAILED | ERROR | BLOCKED | CANCELLED
//	   ^________/ refused    /                          |
//	   ^____________________/                           |
//	   ^________________________________________________/ a person writes again
//
// A run that loses its execution while INPROGRESS stays INPROGRESS and waits
// for the next one: clients see no other states than these.
//
// # Leases
//
// One execution at a time may write to a run. Its ID is the fencing token:
// once the platform has ended it (the lease ran out, the run was cancelled),
// every later write of it fails with [ErrFenced] and changes nothing.
//
// # Errors
//
// What users may see is an [*Error] with one of the wire's codes. Test with
// errors.Is(err, ErrNotFound) or CodeOf.
//
// # Concurrency
//
// Values of this package are plain data. Decide is a pure function. A Store is
// safe for concurrent use.
package task
