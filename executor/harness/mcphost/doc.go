// Package mcphost connects one run to servers of the Model Context Protocol and
// offers their tools to the agent, whoever made it. It starts the servers of the
// run's configuration (package environment/mcp), in parallel, over standard
// input and output, streamable HTTP or SSE, and keeps them until Close.
//
//	host, err := mcphost.Open(ctx, session, servers, &mcphost.Options{Secret: lookup})
//	...
//	defer host.Close()
//	session.Tools = append(session.Tools, host.Tools()...)
//
// The built-in agent takes Tools. Agents of third parties speak the protocol
// themselves, but not to the servers: Serve gives them one server on loopback
// for each of the run's, and one more for the platform's own tools. So headers,
// variables and tokens reach no agent's process and no file of its
// configuration, and redaction, limits and lists of tools are the same for all
// agents.
//
// # What a server can do to a run
//
// Nothing beyond its tools' results. A server that does not start is left out,
// with a notice in the log, unless it is required. One that dies is started once
// more. Answers are bounded, redacted, and marked as data from outside; tools
// with unusable schemas are left out. Names are made safe and unique:
// mcp__SERVER__TOOL.
//
// # Concurrency
//
// A Host is safe for concurrent use. Close ends all its servers and waits for
// their processes.
package mcphost
