package main

import (
	"context"
	"errors"
	"io"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/transport/mcpserver"
)

// mcpServeCommand is the platform as an MCP server, for the agents and editors
// on somebody's own machine.
func (a *app) mcpServeCommand() *cobra.Command {
	return &cobra.Command{Use: "serve", Short: "Be an MCP server, through which agents here drive runs there", Args: noArgs,
		Long: `Speaks the Model Context Protocol on standard input and output until the input
ends. Its tools list, start, watch, steer and cancel runs and read transcripts and
artifacts, with your key. Name it in the configuration of any MCP client:

  {"mcpServers": {"oz": {"command": "oz", "args": ["mcp", "serve"]}}}

The server itself speaks it, too, at /api/v1/mcp with the header Authorization: Bearer KEY.`,
		Example: `  claude mcp add oz -- oz mcp serve
  codex mcp add oz -- oz mcp serve`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			return serveMCP(cmd.Context(), mcpserver.New(c, nil), a.in, a.out)
		}}
}

// serveMCP speaks until the input or ctx ends.
func serveMCP(ctx context.Context, s *mcp.Server, in io.Reader, out io.Writer) error {
	err := s.Run(ctx, &mcp.IOTransport{Reader: io.NopCloser(in), Writer: unclosed{out}})
	if errors.Is(err, io.EOF) || errors.Is(err, mcp.ErrConnectionClosed) {
		return nil
	}
	return err
}

// unclosed keeps a writer open that others use, too.
type unclosed struct{ io.Writer }

// Close implements io.Closer.
func (unclosed) Close() error { return nil }
