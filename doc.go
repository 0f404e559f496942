// Package cloudagents is the map of the module: a library that runs background
// coding agents inside your own services, and the reference server, command
// line and worker assembled from it.
//
// A trigger makes a task (on the wire: a run) with a prompt. The platform
// records it and gives it to a worker; the worker starts an agent runner in a
// sandbox; the runner prepares a workspace and lets an agent work in it; all
// it does is an event in the run's log, which people watch and answer to.
//
// # Packages
//
//   - oz: the platform. Submit, watch, cancel, follow up; dispatch and leases.
//     oz/access says who may do what.
//   - task: the record. Runs, executions, events, the state machine, and the
//     Store interface. task/sqlitestore keeps it in one file.
//   - environment: repositories, setup commands, and preparing a workspace.
//   - secrets: providers, scopes and the Redactor that keeps values out of
//     everything that is stored or shown.
//   - executor: where executions run. executor/local is processes on this
//     host, executor/command a hand-over to a system of yours, executor/hooks
//     your commands around an agent; executor/runner is the agent runner; executor/harness drives one
//     coding agent; executor/gateway is the door to the models.
//   - transport: the HTTP API (transport/rest) and its client (transport/client),
//     and the link of workers on other hosts (transport/worker).
//
// Imports point one way: cmd and examples, transport, oz, executor,
// environment and secrets, task.
//
// # Starting points
//
// To see it work: go run ./examples/quickstart. To embed it: examples/embed.
// To write a driver: the suites task/storetest, executor/executortest and
// secrets/secretstest say what it must hold.
package cloudagents
