// Command ozd is the reference server: the platform on an embedded database,
// its HTTP API, and a worker in the same process. See ozd --help.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/executor/harness"
	ozagent "github.com/oz-platform/cloudagents/executor/harness/oz"
	"github.com/oz-platform/cloudagents/executor/local"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/internal/modelenv"
	"github.com/oz-platform/cloudagents/internal/version"
	"github.com/oz-platform/cloudagents/transport/client"
)

func main() {
	// This binary is also the supervisor of its sandboxes and the runner in them.
	if code, ok := local.Supervise(); ok {
		os.Exit(code)
	}
	if code, ok := runner.Main(client.DialLink, map[string]harness.Harness{"oz": ozagent.New(nil)}); ok {
		os.Exit(code)
	}
	runner.HideMemory() // from the agents, which run as the same user
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "ozd:", err)
		os.Exit(1)
	}
}

const longHelp = `ozd is the reference server for cloud agents: it records runs, hands them to the
worker in this process, and serves the HTTP API at /api/v1.

Everything it keeps is in one directory (--data): the database, the key that
seals secrets, artifacts, and the sandboxes of running agents. It needs no
account, no Docker and no other service. The first start prints an admin API key,
once; OZ_BOOTSTRAP_API_KEY chooses it instead.

SIGTERM drains: no new work is taken, and running agents go on without the
server; the next start takes them up again.

Settings come from flags, then environment variables, then the file named by
--config (YAML), then defaults.

Environment variables:
  OZ_CONFIG, OZ_LISTEN, OZ_DATA, OZ_PUBLIC_URL, OZ_LOG_LEVEL, OZ_MAX_CONCURRENT,
  OZ_REPOSITORY_BASE, OZ_MODEL       the settings of the flags
  OZ_BOOTSTRAP_API_KEY               the admin's API key
  ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL, OPENAI_API_KEY, OPENAI_BASE_URL
                                     model providers, unless the file names some

Configuration file, with its defaults:
  listen: 127.0.0.1:8080
  data: oz-data
  public_url: ""              # how people reach the server, for links
  log_level: info
  max_concurrent: 4           # runs at work
  max_waiting: 10000          # runs in the queue; more are refused
  lease: 30s                  # how long an agent may be silent before its run goes to another
  repository_base: https://github.com
  model: ""                   # default model
  models: []                  # - {name, wire: anthropic|openai, base_url, api_key_env|api_key_file, models: ["claude-*"]}
  limits: {max_turns: 200, max_minutes: 120, max_tokens: 0, max_cost_usd: 0}
  git: {name: "", email: "", credentials: []}  # - {host, username, password_env|password_file}
  worker: {env: []}           # variables of every sandbox: NAME=value, or NAME to pass it on
                              # server_url: where sandboxes reach the API, if not at the listening address
  allowed_origins: null       # web origins that may call the API; null allows all, keys are needed anyway`

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, env modelenv.Lookup, stdout, stderr io.Writer) error {
	c := defaultConfig()
	var path string
	cmd := &cobra.Command{
		Use:           "ozd",
		Short:         "Reference server for cloud agents",
		Long:          longHelp,
		Example:       "  ozd --listen 127.0.0.1:8080 --data /var/lib/oz\n  OZ_BOOTSTRAP_API_KEY=choose-a-long-one ozd",
		Version:       version.String(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := load(cmd, &c, path, env); err != nil {
				return err
			}
			return serve(cmd.Context(), c, env, stdout, stderr)
		},
	}
	f := cmd.Flags()
	f.StringVar(&path, "config", "", "configuration `file` (YAML)")
	f.StringVar(&c.Listen, "listen", c.Listen, "`address` of the HTTP API; port 0 takes a free one")
	f.StringVar(&c.Data, "data", c.Data, "`directory` of everything the server keeps")
	f.StringVar(&c.PublicURL, "public-url", c.PublicURL, "`URL` by which people reach the server, for links")
	f.StringVar(&c.LogLevel, "log-level", c.LogLevel, "debug, info, warn or error")
	f.IntVar(&c.MaxConcurrent, "max-concurrent", c.MaxConcurrent, "how many runs work at once")
	f.StringVar(&c.RepositoryBase, "repository-base", c.RepositoryBase, "`URL` before owner/name of repositories")
	f.StringVar(&c.Model, "model", c.Model, "default model `id`")
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	return cmd.ExecuteContext(ctx)
}

// load puts the layers together. Flags were parsed into c already; what they
// said is put on top again.
func load(cmd *cobra.Command, c *config, path string, env modelenv.Lookup) error {
	flags := *c
	*c = defaultConfig()
	if path == "" {
		path = env("OZ_CONFIG")
	}
	if path != "" {
		if err := c.readFile(path); err != nil {
			return err
		}
	}
	if err := c.readEnv(env); err != nil {
		return err
	}
	for name, set := range map[string]func(){
		"listen":          func() { c.Listen = flags.Listen },
		"data":            func() { c.Data = flags.Data },
		"public-url":      func() { c.PublicURL = flags.PublicURL },
		"log-level":       func() { c.LogLevel = flags.LogLevel },
		"max-concurrent":  func() { c.MaxConcurrent = flags.MaxConcurrent },
		"repository-base": func() { c.RepositoryBase = flags.RepositoryBase },
		"model":           func() { c.Model = flags.Model },
	} {
		if cmd.Flags().Changed(name) {
			set()
		}
	}
	return c.check()
}
