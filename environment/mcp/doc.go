// Package mcp is the configuration of servers of the Model Context Protocol
// that runs use (Oz API, McpServerConfig): how it is read and judged, how
// secrets take the place of ${NAME} and {{NAME}}, which tools a server may
// offer, and what of a configuration may be shown. It starts and calls nothing:
// package executor/harness/mcphost does.
//
//	servers, err := mcp.Servers("config.mcp_servers", raw)
//	...
//	ready, err := servers["tracker"].Fill(lookup)
//
// # Secrets
//
// A configuration is stored and shown, so it holds placeholders and no secrets:
// in the values of env and headers and in oauth.client_secret. Fill resolves
// them where the server is started. Errors name keys and placeholders, never
// values.
package mcp
