// Package rest serves the platform over HTTP, after the contract in
// transport/openapi.yaml.
//
//	handler, err := rest.New(platform, nil)
//	...
//	server := rest.NewServer(":8080", handler)
//	go server.ListenAndServe()
//
// Official clients of the Oz API work against it unchanged. The operations
// below /oz are this server's own.
//
// # Access
//
// Each operation of the contract names its entry of the access table; New
// fails when one has none. The key is looked at before the body is read, and
// the platform decides, as the caller, what may be seen and done.
//
// # Errors
//
// Every failure is a problem document (RFC 7807) with one of the codes of
// package task. The header x-should-retry says whether a repeat can help, and
// retry-after-ms when. Errors without a code become internal_error; their text
// goes to the log, under the request id that the answer carries.
//
// # Limits
//
// Bodies, queries, headers and the number of open streams are bounded, see
// Options and NewServer. A stream holds a position in the run's log and a few
// events; a client that stops reading is dropped and may resume.
//
// # Concurrency
//
// A Handler is safe for concurrent use and starts no goroutine that outlives
// its request.
package rest
