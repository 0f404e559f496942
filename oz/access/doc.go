// Package access says who may do what: the callers of the platform, the table
// of their rights, and the API keys by which they are known.
//
// A [Caller] is who makes a request. [Allow] looks an [Action] up in one table
// and decides whether the caller may do it to an [Object]; what the table does
// not allow is denied. [Registry] keeps people, teams and API keys in a
// task.Records and finds the Caller behind a key.
//
//	caller, err := registry.Authenticate(ctx, bearer)
//	...
//	err = access.Allow(caller, access.RunCancel, access.Object{Owner: run.Owner, Creator: run.Creator})
//
// # Errors
//
// Allow fails with task.CodeNotAuthorized when the caller may see the object
// but not do this to it, and with task.CodeNotFound when it may not even see
// it: an outsider cannot tell a foreign object from none. Authenticate fails
// with task.CodeAuthenticationRequired. No error holds a key.
//
// # Concurrency
//
// Callers, actions and objects are plain values. A Registry is safe for
// concurrent use, also by several processes on the same records.
package access
