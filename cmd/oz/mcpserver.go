package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// mcpLines show a shared MCP server without its headers and variables.
var mcpLines = []column{
	{"Server", ".uid"}, {"Name", ".name"}, {"Description", ".description"}, {"Reached by", `.config | .url // ([.command] + (.args // []) | map(select(.)) | join(" "))`},
	{"Scope", ".scope.type"}, {"Updated", ".updated_at"},
}

func (a *app) mcpCommand() *cobra.Command {
	return group("mcp", "Manage shared MCP servers, and be one", nil,
		a.mcpServeCommand(),
		a.list(listing{use: "list", short: "List the shared MCP servers", path: "/oz/mcp-servers", member: "mcp_servers", none: "No MCP servers. Make one with 'oz mcp create --name ...'.",
			example: "  oz mcp list\n  oz agent run-cloud -p 'Close stale tickets' --mcp MCP_UID",
			columns: []column{{"UID", ".uid"}, {"NAME", ".name"}, {"DESCRIPTION", ".description"}, {"SCOPE", ".scope.type"}}}),
		a.get(item{use: "get <UID>", short: "Show a shared MCP server", argument: "server uid", path: "/oz/mcp-servers/%s", lines: mcpLines, example: "  oz mcp get MCP_UID"}),
		a.mcpCreateCommand(), a.mcpUpdateCommand(),
		a.remove(removal{use: "delete <UID>", short: "Delete a shared MCP server", argument: "server uid", noun: "MCP server", path: "/oz/mcp-servers/%s",
			example: "  oz mcp delete MCP_UID --force"}))
}

// oneServer reads the configuration of a single server: JSON or a file of it.
func oneServer(spec string) (json.RawMessage, error) {
	servers, err := mcpServers(nil, []string{spec})
	if err != nil {
		return nil, errors.New(strings.Replace(err.Error(), "--mcp:", "--config:", 1))
	}
	if len(servers) != 1 {
		return nil, fmt.Errorf("--config: names %d servers, exactly one is needed", len(servers))
	}
	for _, raw := range servers {
		return raw, nil
	}
	return nil, nil
}

func (a *app) mcpCreateCommand() *cobra.Command {
	var name, description, config string
	cmd := &cobra.Command{Use: "create", Short: "Share an MCP server", Args: noArgs,
		Example: `  oz mcp create --name tracker --config '{"url": "https://mcp.example.com", "headers": {"Authorization": "Bearer ${TRACKER_TOKEN}"}}'
  oz mcp create --name files --config server.json --team`}
	team := ownership(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if name == "" || config == "" {
			return usageError{errors.New("--name and --config are needed")}
		}
		server, err := oneServer(config)
		if err != nil {
			return usageError{err}
		}
		body := fields{"name": name, "config": server}
		body.set(cmd, "description", "description", description)
		body.own(team())
		return a.change(cmd.Context(), http.MethodPost, "/oz/mcp-servers", body, mcpLines, "The MCP server is shared.")
	}
	cmd.Flags().StringVarP(&name, "name", "n", "", "`name`")
	cmd.Flags().StringVarP(&description, "description", "d", "", "what it is for")
	cmd.Flags().StringVar(&config, "config", "", "how it is reached: `JSON` with url or command, or a file of it; ${NAME} stands for a secret")
	return a.filterFlag(cmd)
}

func (a *app) mcpUpdateCommand() *cobra.Command {
	var name, description, config string
	cmd := &cobra.Command{Use: "update <UID>", Short: "Change a shared MCP server; what is not named stays", Args: oneArg("server uid"),
		Example: `  oz mcp update MCP_UID --config '{"url": "https://mcp2.example.com"}'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			body := fields{}
			body.set(cmd, "name", "name", name)
			body.set(cmd, "description", "description", description)
			if config != "" {
				server, err := oneServer(config)
				if err != nil {
					return usageError{err}
				}
				body["config"] = server
			}
			if len(body) == 0 {
				return usageError{errNothing}
			}
			return a.change(cmd.Context(), http.MethodPut, "/oz/mcp-servers/"+url.PathEscape(args[0]), body, mcpLines, "The MCP server is changed.")
		}}
	cmd.Flags().StringVarP(&name, "name", "n", "", "`name`")
	cmd.Flags().StringVarP(&description, "description", "d", "", "what it is for")
	cmd.Flags().StringVar(&config, "config", "", "how it is reached: `JSON` with url or command, or a file of it")
	return a.filterFlag(cmd)
}
