// Package mcpserver offers the platform as a server of the Model Context
// Protocol, so that any client of it, such as a coding agent on somebody's own
// machine, can start, watch, steer and cancel runs and read what they made.
//
// It works over whatever has runs, the platform itself or its HTTP client, and
// as whoever that acts for: it decides nothing about access.
//
//	s := mcpserver.New(client, nil)
//	err := s.Run(ctx, &mcp.StdioTransport{})
//
// `oz mcp serve` is that over standard input and output, and package
// transport/rest serves it over streamable HTTP at /api/v1/mcp.
//
// # Limits
//
// Every answer has at most some 128 KiB: lists and logs have pages, and texts
// are read in parts. What a run's agent said is given as it is: it is data, and
// the tools' descriptions say so.
package mcpserver
