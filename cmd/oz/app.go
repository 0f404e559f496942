package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/oz-platform/cloudagents/internal/version"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

// defaultServer is where ozd listens by default.
const defaultServer = "http://127.0.0.1:8080"

// app is one invocation of the program.
type app struct {
	streams
	env func(string) string

	apiKey, server, format string
	keyFrom                string      // where apiKey comes from, for people
	kept                   credentials // of 'oz login'
	keptErr                error       // why they could not be read; only a problem where they are needed
	debug                  bool
	filter                 filter // of --jq
	// parsed says that the command line was understood and a command runs.
	parsed bool
	wire   *wireLog
}

func (a *app) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "oz",
		Short: "Run and follow cloud agents",
		Long: `oz starts coding agents on a server (or here), follows them live, and manages
what they need.

It finds the server by --server-root-url or WARP_SERVER_ROOT_URL (default
` + defaultServer + `) and signs in with --api-key, WARP_API_KEY or what 'oz login' keeps, in this order.

Exit codes: 0 success; 1 an error, or a run that did not succeed; 2 a mistake
in the command line; 130 interrupted.`,
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.parsed = true
			if err := checkGroups(cmd); err != nil {
				return err
			}
			return a.checkGlobals()
		},
		RunE:                       func(cmd *cobra.Command, args []string) error { return cmd.Help() },
		Args:                       noArgs,
		SuggestionsMinimumDistance: 2,
	}
	f := cmd.PersistentFlags()
	f.StringVar(&a.apiKey, "api-key", "", "API `key` (env WARP_API_KEY)")
	f.StringVar(&a.server, "server-root-url", "", "server `URL` (env WARP_SERVER_ROOT_URL)")
	for _, name := range []string{"ws-server-url", "session-sharing-server-url"} { // one address serves it all here
		f.String(name, "", "taken for the sake of older scripts, without effect")
		_ = f.MarkHidden(name) // the flag exists
	}
	f.StringVar(&a.format, "output-format", "", "pretty, text, json or ndjson (env WARP_OUTPUT_FORMAT)")
	f.BoolVar(&a.debug, "debug", false, "show each request to the server, without headers and bodies")
	cmd.Flags().BoolP("version", "V", false, "print the version")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.AddCommand(a.agentCommand(), a.runCommand(), a.sessionCommand(), a.environmentCommand(), a.scheduleCommand(), a.secretCommand(), a.mcpCommand(),
		a.promptCommand(), a.ruleCommand(), a.webhookCommand(), a.triggerCommand(), a.integrationCommand(), a.subscriptionCommand(), a.explainCommand(), a.memoryStoreCommand(), a.memoryCommand(), a.artifactCommand(), a.modelCommand(), a.runnerCommand(), a.workerCommand(), a.usageCommand(), a.statsCommand(), a.budgetCommand(), a.auditCommand(),
		a.teamCommand(), a.keyCommand(), a.loginCommand(), a.logoutCommand(),
		a.whoamiCommand(), a.debugInfoCommand(), a.completionsCommand(), a.supportCommand(), a.federateCommand())
	return cmd
}

// checkGlobals settles what the global flags and the environment say.
func (a *app) checkGlobals() error {
	a.format = cmp.Or(a.format, a.env("WARP_OUTPUT_FORMAT"), "pretty")
	switch a.format {
	case "pretty", "text", "json", "ndjson":
	default:
		return usageError{fmt.Errorf("--output-format: %q is none of pretty, text, json, ndjson", a.format)}
	}
	a.kept, a.keptErr = loadCredentials()
	a.server = strings.TrimRight(cmp.Or(a.server, a.env("WARP_SERVER_ROOT_URL"), a.kept.Server, defaultServer), "/")
	u, err := url.Parse(a.server)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil {
		return usageError{errors.New("--server-root-url: must be an http or https URL without credentials")} // its text may hold some
	}
	a.chooseKey()
	return nil
}

// chooseKey settles how to sign in: the flag, the environment, 'oz login'.
func (a *app) chooseKey() {
	switch {
	case a.apiKey != "":
		a.keyFrom = "--api-key"
	case a.env("WARP_API_KEY") != "":
		a.apiKey, a.keyFrom = a.env("WARP_API_KEY"), "WARP_API_KEY"
	case a.kept.Keys[a.server].Key != "":
		a.apiKey, a.keyFrom = a.kept.Keys[a.server].Key, "'oz login'"
	}
}

// client signs in.
func (a *app) client() (*client.Client, error) {
	switch {
	case a.apiKey == "" && a.keptErr != nil:
		return nil, a.keptErr
	case a.apiKey == "":
		return nil, task.Errorf(task.CodeAuthenticationRequired, "not signed in to %s: use 'oz login', give --api-key, or set WARP_API_KEY to a key of the server (ozd prints one at its first start)", a.server)
	}
	return a.dial(a.apiKey)
}

// dial makes a client with a key, or without one where none is needed.
func (a *app) dial(key string) (*client.Client, error) {
	return client.New(a.server, &client.Options{APIKey: key, UserAgent: "oz-cli/" + version.Number, HTTPClient: a.carrier()})
}

func (a *app) carrier() *http.Client { return &http.Client{Transport: a.wire} }

// json reports that the output is for programs.
func (a *app) json() bool { return a.filter.code != nil || a.format == "json" || a.format == "ndjson" }

// color reports that the output is a terminal that wants colours.
func (a *app) color() bool {
	f, ok := a.out.(*os.File)
	return ok && a.format == "pretty" && a.env("NO_COLOR") == "" && term.IsTerminal(int(f.Fd()))
}

// say writes a line for people; programs do not get it.
func (a *app) say(format string, args ...any) {
	if !a.json() {
		fmt.Fprintf(a.out, format+"\n", args...)
	}
}

// noArgs and oneArg are cobra's rules with the exit code of a usage error.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command or argument %q for %q", args[0], cmd.CommandPath())
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(like, " or "))
	}
	return usageError{err}
}

func oneArg(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return usageError{fmt.Errorf("exactly one %s is needed", name)}
		}
		return nil
	}
}

// atMostOne allows one argument.
func atMostOne(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 1 || slices.Contains(args, "") {
			return usageError{fmt.Errorf("one %s at most can be named", name)}
		}
		return nil
	}
}

// exactArgs asks for one argument of each name.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != len(names) || slices.Contains(args, "") {
			return usageError{fmt.Errorf("exactly these arguments are needed: %s", strings.Join(names, ", "))}
		}
		return nil
	}
}

// group is a command that only holds others.
func group(use, short string, aliases []string, sub ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Aliases: aliases, Args: noArgs, SuggestionsMinimumDistance: 2,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(sub...)
	return cmd
}

func (a *app) completionsCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use: "completions [bash|zsh|fish|powershell]", Short: "Print a completion script", ValidArgs: shells,
		Long: `Print a script that completes oz's commands and flags. Without a name it is for
the shell that SHELL names.`,
		Example: "  source <(oz completions bash)\n  oz completions fish > oz.fish",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{errors.New("one shell at most can be named")}
			}
			shell := filepath.Base(a.env("SHELL"))
			if len(args) == 1 {
				shell = args[0]
			}
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch shell {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			case "powershell", "pwsh":
				return root.GenPowerShellCompletionWithDesc(out)
			}
			if shell == "elvish" {
				return usageError{errors.New("shell: there is no completion for elvish; only for " + strings.Join(shells, ", "))}
			}
			return usageError{fmt.Errorf("shell: %q is none of %s", shell, strings.Join(shells, ", "))}
		},
	}
}
