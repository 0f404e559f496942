package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// maxDescription bounds descriptions, in characters (Oz command line,
// environments and runners).
const maxDescription = 240

func checkDescription(s string) error {
	if n := utf8.RuneCountInString(s); n > maxDescription {
		return usageError{fmt.Errorf("--description: has %d characters, at most %d are allowed", n, maxDescription)}
	}
	return nil
}

// mcpLines show a shared MCP server without its headers and variables.
var mcpLines = []column{
	{"Server", ".uid"}, {"Name", ".name"}, {"Description", ".description"}, {"Reached by", `.config | .url // ([.command] + (.args // []) | map(select(.)) | join(" "))`},
	{"Scope", ".scope.type"}, {"Updated", ".updated_at"},
}

func (a *app) mcpCommand() *cobra.Command {
	return group("mcp", "Manage shared MCP servers", nil,
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

// errNothing is the mistake of a change that changes nothing.
var errNothing = errors.New("name something to change, see --help")

var promptLines = []column{{"Prompt", ".uid"}, {"Name", ".name"}, {"Description", ".description"}, {"Scope", ".scope.type"}, {"Updated", ".updated_at"}}

func (a *app) promptCommand() *cobra.Command {
	return group("prompt", "Manage saved prompts", nil,
		a.list(listing{use: "list", short: "List saved prompts", path: "/oz/prompts", member: "prompts", none: "No saved prompts. Make one with 'oz prompt create --name ...'.",
			example: "  oz prompt list\n  oz agent run-cloud --saved-prompt PROMPT_UID",
			columns: []column{{"UID", ".uid"}, {"NAME", ".name"}, {"DESCRIPTION", ".description"}, {"SCOPE", ".scope.type"}, {"UPDATED", ".updated_at"}}}),
		a.promptGetCommand(), a.promptCreateCommand(), a.promptUpdateCommand(),
		a.remove(removal{use: "delete <UID>", short: "Delete a saved prompt", argument: "prompt uid", noun: "prompt", path: "/oz/prompts/%s",
			example: "  oz prompt delete PROMPT_UID --force"}))
}

func (a *app) promptGetCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "get <UID>", Short: "Show a saved prompt", Args: oneArg("prompt uid"), Example: "  oz prompt get PROMPT_UID --jq .prompt",
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.call(cmd.Context(), http.MethodGet, "/oz/prompts/"+url.PathEscape(args[0]), nil, nil)
			if err != nil {
				return err
			}
			if err := a.showItem(raw, promptLines); err != nil || a.json() {
				return err
			}
			return a.showText(raw, ".prompt")
		}})
}

// promptFlags are the members of a saved prompt.
type promptFlags struct{ name, description, prompt, file string }

func (f *promptFlags) register(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVarP(&f.name, "name", "n", "", "`name`")
	s.StringVarP(&f.description, "description", "d", "", "what it is for")
	s.StringVarP(&f.prompt, "prompt", "p", "", "the `text`")
	s.StringVarP(&f.file, "file", "f", "", "read the text from this `file`")
	cmd.MarkFlagsMutuallyExclusive("prompt", "file")
}

func (f *promptFlags) body(cmd *cobra.Command) (fields, error) {
	body := fields{}
	body.set(cmd, "name", "name", f.name)
	body.set(cmd, "description", "description", f.description)
	body.set(cmd, "prompt", "prompt", f.prompt)
	if f.file != "" {
		raw, err := os.ReadFile(f.file)
		if err != nil {
			return nil, usageError{fmt.Errorf("--file: %w", err)}
		}
		body["prompt"] = string(raw)
	}
	return body, nil
}

func (a *app) promptCreateCommand() *cobra.Command {
	var f promptFlags
	cmd := &cobra.Command{Use: "create", Short: "Save a prompt", Args: noArgs, Example: "  oz prompt create --name triage --file triage.md --team"}
	f.register(cmd)
	team := ownership(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		body, err := f.body(cmd)
		if err != nil {
			return err
		}
		if body["name"] == nil || body["prompt"] == nil {
			return usageError{errors.New("--name and one of --prompt and --file are needed")}
		}
		body.own(team())
		return a.change(cmd.Context(), http.MethodPost, "/oz/prompts", body, promptLines, "The prompt is saved.")
	}
	return a.filterFlag(cmd)
}

func (a *app) promptUpdateCommand() *cobra.Command {
	var f promptFlags
	cmd := &cobra.Command{Use: "update <UID>", Short: "Change a saved prompt; later runs use it", Args: oneArg("prompt uid"), Example: "  oz prompt update PROMPT_UID --file triage.md",
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := f.body(cmd)
			if err != nil {
				return err
			}
			if len(body) == 0 {
				return usageError{errNothing}
			}
			return a.change(cmd.Context(), http.MethodPut, "/oz/prompts/"+url.PathEscape(args[0]), body, promptLines, "The prompt is changed.")
		}}
	f.register(cmd)
	return a.filterFlag(cmd)
}

// runnerLines show a runner (Oz API, runners).
var runnerLines = []column{
	{"Runner", ".uid"}, {"Name", ".name"}, {"Description", ".config.description"}, {"System", `[.config.os // "linux", .config.macos_version, .config.arch] | map(select(. != null and . != "")) | join(" ")`},
	{"Image", ".config.docker_image"}, {"vCPUs", ".config.vcpus"}, {"Memory (GB)", ".config.memory_gb"}, {"Setup", `.config.setup_commands // [] | join("; ")`},
	{"Scope", ".scope.type"}, {"Updated", ".updated_at"},
}

func (a *app) runnerCommand() *cobra.Command {
	return group("runner", "Manage runners: the machines that runs get", nil, a.runnerListCommand(),
		a.get(item{use: "get <UID>", short: "Show a runner", argument: "runner uid", path: "/oz/runners/%s", lines: runnerLines, example: "  oz runner get RUNNER_UID"}),
		a.runnerCreateCommand(), a.runnerUpdateCommand(),
		a.remove(removal{use: "delete <UID>", short: "Delete a runner", argument: "runner uid", noun: "runner", path: "/oz/runners/%s", example: "  oz runner delete RUNNER_UID --force"}))
}

func (a *app) runnerListCommand() *cobra.Command {
	return a.sortedList(listing{use: "list", short: "List runners", path: "/oz/runners", member: "runners", none: "No runners. Make one with 'oz runner create --name ...'.",
		example: "  oz runner list --sort-by last-updated",
		columns: []column{{"UID", ".uid"}, {"NAME", ".name"}, {"OS", `.config.os // "linux"`}, {"VCPUS", ".config.vcpus"}, {"MEMORY GB", ".config.memory_gb"},
			{"IMAGE", ".config.docker_image"}, {"SCOPE", ".scope.type"}, {"UPDATED", ".updated_at"}}},
		sortKey{"name", ".name"}, sortKey{"last-updated", ".updated_at"})
}

// runnerFlags are the members of a runner.
type runnerFlags struct {
	name, description, os, arch, image, macOS string
	commands                                  []string
	vcpus, memory                             float64
}

func (f *runnerFlags) register(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVarP(&f.name, "name", "n", "", "`name`")
	s.StringVarP(&f.description, "description", "d", "", "what it is for, at most 240 characters")
	s.StringArrayVarP(&f.commands, "setup-command", "c", nil, "`command` that prepares it, in order; repeat")
	s.StringVar(&f.os, "os", "", "linux (default) or macos")
	s.StringVar(&f.arch, "arch", "", "auto (default), x86-64 or aarch64")
	s.StringVar(&f.image, "docker-image", "", "`image`, for linux")
	s.StringVar(&f.macOS, "macos-version", "", "14, 15, 26 or 27, for macos")
	s.Float64Var(&f.vcpus, "vcpus", 0, "virtual processors")
	s.Float64Var(&f.memory, "memory-gb", 0, "memory, in GB")
}

// check judges the flags without what is stored.
func (f *runnerFlags) check() error {
	for _, c := range []struct {
		flag, value string
		known       []string
	}{{"os", f.os, []string{"", "linux", "macos"}}, {"arch", f.arch, []string{"", "auto", "x86-64", "aarch64"}}, {"macos-version", f.macOS, []string{"", "14", "15", "26", "27"}}} {
		if !slices.Contains(c.known, c.value) {
			return usageError{fmt.Errorf("--%s: %q is none of %s", c.flag, c.value, strings.Join(c.known[1:], ", "))}
		}
	}
	if f.vcpus < 0 || f.memory < 0 {
		return usageError{errors.New("--vcpus and --memory-gb: must be positive")}
	}
	return checkDescription(f.description)
}

// apply puts the flags over a configuration and judges the whole.
func (f *runnerFlags) apply(cmd *cobra.Command, config fields) error {
	if err := f.check(); err != nil {
		return err
	}
	config.set(cmd, "description", "description", f.description)
	config.set(cmd, "setup-command", "setup_commands", f.commands)
	config.set(cmd, "os", "os", f.os)
	config.set(cmd, "arch", "arch", f.arch)
	config.set(cmd, "docker-image", "docker_image", f.image)
	config.set(cmd, "macos-version", "macos_version", f.macOS)
	config.set(cmd, "vcpus", "vcpus", f.vcpus)
	config.set(cmd, "memory-gb", "memory_gb", f.memory)
	switch system := cmp.Or(text(config["os"]), "linux"); {
	case system == "macos" && f.image != "":
		return usageError{errors.New("--docker-image: is for linux only")}
	case system == "linux" && f.macOS != "":
		return usageError{errors.New("--macos-version: is for --os macos only")}
	}
	return nil
}

// text gives a member that is a text.
func text(v any) string { s, _ := v.(string); return s }

func (a *app) runnerCreateCommand() *cobra.Command {
	var f runnerFlags
	cmd := &cobra.Command{Use: "create", Short: "Make a runner", Args: noArgs,
		Example: "  oz runner create --name large --vcpus 8 --memory-gb 32 --docker-image ghcr.io/acme/build:1"}
	f.register(cmd)
	cmd.MarkFlagsRequiredTogether("vcpus", "memory-gb")
	team := ownership(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.name == "" {
			return usageError{errors.New("--name is needed")}
		}
		config := fields{}
		if err := f.apply(cmd, config); err != nil {
			return err
		}
		body := fields{"name": f.name, "config": config}
		body.own(team())
		return a.change(cmd.Context(), http.MethodPost, "/oz/runners", body, runnerLines, "The runner is made.")
	}
	return a.filterFlag(cmd)
}

func (a *app) runnerUpdateCommand() *cobra.Command {
	var f runnerFlags
	cmd := &cobra.Command{Use: "update [UID]", Short: "Change a runner; what is not named stays", Args: atMostOne("runner uid"),
		Long: `Change a runner, named by its UID, or without one by --name. With a UID, --name
gives it another name. Setup commands replace the ones it has.`,
		Example: "  oz runner update RUNNER_UID --memory-gb 64\n  oz runner update --name large --setup-command 'apt-get update'",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && f.name == "" {
				return usageError{errors.New("a runner uid or --name is needed")}
			}
			if !namesChange(cmd) {
				return usageError{errNothing}
			}
			if err := f.check(); err != nil {
				return err
			}
			uid, err := a.runnerUID(cmd.Context(), args, f.name)
			if err != nil {
				return err
			}
			path := "/oz/runners/" + url.PathEscape(uid)
			now, err := a.readObject(cmd, path)
			if err != nil {
				return err
			}
			config, _ := now["config"].(map[string]any)
			config = merged(config, nil)
			if err := f.apply(cmd, config); err != nil {
				return err
			}
			body := fields{"config": config, "revision": now["revision"]}
			if len(args) == 1 {
				body.set(cmd, "name", "name", f.name)
			}
			return a.change(cmd.Context(), http.MethodPut, path, body, runnerLines, "The runner is changed.")
		}}
	f.register(cmd)
	return a.filterFlag(cmd)
}

// runnerUID gives the runner that is meant: by its uid, or by a name that only
// one has.
func (a *app) runnerUID(ctx context.Context, args []string, name string) (string, error) {
	if len(args) == 1 {
		return args[0], nil
	}
	c, err := a.client()
	if err != nil {
		return "", err
	}
	list, err := c.Runners(ctx)
	if err != nil {
		return "", err
	}
	var uids []string
	for _, r := range list {
		if r.Name == name {
			uids = append(uids, r.UID)
		}
	}
	if len(uids) != 1 {
		return "", usageError{fmt.Errorf("--name: %d runners are called %q; name one by its uid %s", len(uids), name, strings.Join(uids, ", "))}
	}
	return uids[0], nil
}
