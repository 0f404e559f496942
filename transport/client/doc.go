// Package client talks to a server of package rest. A Client satisfies
// oz.Service, so that a program written against the embedded platform works
// against a remote one:
//
//	c, err := client.New("https://oz.example.com", &client.Options{APIKey: key})
//	...
//	run, err := c.Submit(ctx, oz.Request{Prompt: "Fix the failing test"})
//	for event, err := range c.Watch(ctx, run.ID, 0) {
//		...
//	}
//
// [NewLink] is the runner's side: it carries one execution on its run token.
//
// # Retries
//
// A request is repeated when the server says that this helps, and after a
// broken connection when repeating does no harm: reads, changes that name
// their result, and creates, which carry an Idempotency-Key. An answer that
// breaks off counts as a broken connection. A Client gives up
// after Options.MaxRetries; Watch and a Link go on until their context ends or
// the server refuses.
//
// # Errors
//
// What the server answers is a *task.Error with the code of the wire, so that
// errors.Is(err, task.ErrNotFound) and the like hold as they do for the
// embedded platform; task.ErrFenced and task.ErrUnseenInput survive too. A
// server that cannot be reached is task.CodeResourceUnavailable. No error holds
// the key or a signed link.
//
// # Concurrency
//
// Clients and links are safe for concurrent use and start no goroutine of their
// own; net/http keeps idle connections for a while.
package client
