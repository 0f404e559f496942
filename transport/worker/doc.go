// Package worker is the link between a platform and workers on other hosts.
//
// A worker opens one WebSocket to the server, so that it needs no port of its
// own. The server's end is a Hub, which package rest serves at
// /selfhosted/worker/ws. The worker's end is a Worker: it makes any oz.Worker,
// such as an oz.LocalWorker over any executor, one of a remote platform's.
//
//	local, err := oz.NewLocalWorker(exec, &oz.LocalWorkerOptions{ID: "build-1", ServerURL: url})
//	w, err := worker.New(local, worker.Options{ServerURL: url, Key: key})
//	err = w.Run(ctx)
//
// # Two kinds of workers
//
// The published protocol of the official worker is spoken exactly. Workers of
// this package ask for more by a subprotocol that official ones never send:
// they say what they are, are told which of their executions go on, begin no
// work before it is granted, and lose no report.
//
// # Concurrency
//
// Hub and Worker are safe for concurrent use.
package worker
