package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/internal/version"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

func (a *app) loginCommand() *cobra.Command {
	var withKey, force bool
	var file string
	cmd := &cobra.Command{Use: "login", Short: "Sign in to a server, and stay so", Args: noArgs,
		Long: `Sign in to the server: open the page that is printed, in any browser, and agree
there. --with-key stores an API key instead, which is read from a prompt that
does not show it, from standard input or from --key-file.

The key is kept in your configuration directory, in a file that only you can
read; it is used for this server alone. The server becomes the default.`,
		Example: "  oz login --server-root-url https://oz.example.com\n  oz login --with-key < key",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file != "" && !withKey {
				return usageError{errors.New("--key-file: is for --with-key")}
			}
			return a.login(cmd.Context(), withKey, force, file)
		}}
	cmd.Flags().BoolVar(&withKey, "with-key", false, "store an API key that you have")
	cmd.Flags().StringVar(&file, "key-file", "", "read the key from this `file`")
	cmd.Flags().BoolVar(&force, "force", false, "sign in anew although you are signed in")
	return cmd
}

func (a *app) login(ctx context.Context, withKey, force bool, file string) error {
	kept, err := loadCredentials()
	if err != nil {
		return err
	}
	if old, ok := kept.Keys[a.server]; ok && !force {
		if me, err := a.callerOf(ctx, old.Key); err == nil {
			return a.done("You are signed in to %s as %s already. 'oz logout' ends it.", a.server, oneLine(me.Principal.DisplayName))
		}
	}
	given := credential{Made: !withKey}
	if withKey {
		var key, err = a.hidden("key-file", file, "API key")
		if err != nil {
			return err
		}
		given.Key = strings.TrimSpace(key.Reveal())
	} else if given.Key, err = a.askServer(ctx); err != nil {
		return err
	}
	me, err := a.callerOf(ctx, given.Key)
	if err != nil {
		return err
	}
	kept.Server, kept.Keys[a.server] = a.server, given
	if err := kept.save(); err != nil {
		return fmt.Errorf("keep the key: %w", err)
	}
	return a.done("Signed in to %s as %s.", a.server, oneLine(me.Principal.DisplayName))
}

// callerOf tells whose key it is.
func (a *app) callerOf(ctx context.Context, key string) (access.Caller, error) {
	c, err := a.dial(key)
	if err != nil {
		return access.Caller{}, err
	}
	return c.Whoami(ctx)
}

// askServer signs in by the server's page and gives the key that it makes.
func (a *app) askServer(ctx context.Context) (string, error) {
	c, err := a.dial("")
	if err != nil {
		return "", err
	}
	ways, err := c.SignInWays(ctx)
	if err != nil {
		return "", err
	}
	if !ways.Browser {
		return "", task.Errorf(task.CodeFeatureNotAvailable, "%s has no sign-in by browser: use an API key, with 'oz login --with-key', --api-key or WARP_API_KEY", a.server)
	}
	name := "oz"
	if host, err := os.Hostname(); err == nil {
		name = "oz on " + host
	}
	key, _, err := c.DeviceSignIn(ctx, name, func(d client.DeviceCode) {
		fmt.Fprintf(a.err, "Open %s\nand agree there, if it shows the code %s. Waiting ...\n", oneLine(d.URL), oneLine(d.UserCode))
	})
	switch {
	case errors.Is(err, access.ErrAccessDenied):
		return "", errors.New("the sign-in was refused on the server's page")
	case errors.Is(err, access.ErrExpiredToken):
		return "", errors.New("nobody agreed in time; 'oz login' begins anew")
	}
	return key, err
}

func (a *app) logoutCommand() *cobra.Command {
	return &cobra.Command{Use: "logout", Short: "Forget the key of a server", Args: noArgs,
		Long: `Forget the key that 'oz login' keeps for the server. One that signing in made is
also made invalid; one that was given with --with-key goes on to be valid.`,
		Example: "  oz logout",
		RunE: func(cmd *cobra.Command, _ []string) error {
			kept, err := loadCredentials()
			if err != nil {
				return err
			}
			old, ok := kept.Keys[a.server]
			if !ok {
				return a.done("You are not signed in to %s.", a.server)
			}
			delete(kept.Keys, a.server)
			if kept.Server == a.server {
				kept.Server = ""
			}
			if err := kept.save(); err != nil {
				return fmt.Errorf("forget the key: %w", err)
			}
			if old.Made {
				if err := a.endKey(cmd.Context(), old.Key); err != nil {
					return fmt.Errorf("the key is forgotten here, but the server still takes it: %w", err)
				}
			}
			return a.done("Signed out of %s.", a.server)
		}}
}

// endKey makes a key invalid, with itself. That it is so already is fine.
func (a *app) endKey(ctx context.Context, key string) error {
	c, err := a.dial(key)
	if err != nil {
		return err
	}
	me, err := c.Whoami(ctx)
	if err == nil && me.Key != "" {
		err = c.RevokeKey(ctx, me.Key)
	}
	if task.CodeOf(err) == task.CodeAuthenticationRequired {
		return nil
	}
	return err
}

// variables are those of the environment that this program reads (Oz command
// line, environment variables).
var variables = []string{"WARP_API_KEY", "WARP_OUTPUT_FORMAT", "WARP_AGENT_CONFIG_FILE", "WARP_SERVER_ROOT_URL", "WARP_WS_SERVER_URL",
	"WARP_SESSION_SHARING_SERVER_URL", "OZ_RUN_ID", "WARP_RUN_ID", "GITHUB_ACTIONS", "NO_COLOR", "SHELL"}

// debugInfo is what helps to find out why something does not work. It has
// nothing secret: of keys and variables only where and whether they are.
type debugInfo struct {
	Version     string   `json:"version"`
	Go          string   `json:"go"`
	System      string   `json:"system"`
	Server      string   `json:"server"`
	Answer      string   `json:"server_answer"`
	Key         string   `json:"api_key"`
	Credentials string   `json:"credential_file"`
	Variables   []string `json:"variables_set"`
	Git         string   `json:"git"`
}

func (a *app) debugInfoCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "dump-debug-info", Short: "Print what helps to find a fault, without secrets", Args: noArgs,
		Example: "  oz dump-debug-info --output-format json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := debugInfo{Version: version.String(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, Server: a.server,
				Key: cmp.Or(a.keyFrom, "none"), Variables: []string{}, Answer: a.probe(cmd.Context())}
			d.Credentials, _ = credentialFile()
			for _, name := range slices.Sorted(slices.Values(variables)) {
				if a.env(name) != "" {
					d.Variables = append(d.Variables, name)
				}
			}
			if out, err := exec.CommandContext(cmd.Context(), "git", "--version").Output(); err == nil {
				d.Git = strings.TrimSpace(string(out))
			}
			raw, err := json.Marshal(d)
			if err != nil {
				return err
			}
			return a.showItem(raw, []column{{"Version", ".version"}, {"Go", ".go"}, {"System", ".system"}, {"Server", ".server"}, {"Its answer", ".server_answer"},
				{"API key", ".api_key"}, {"Credentials", ".credential_file"}, {"Variables set", `.variables_set | join(", ")`}, {"Git", ".git"}})
		}})
}

// probe says how the server answers a question that needs no key.
func (a *app) probe(ctx context.Context) string {
	c, err := a.dial("")
	if err == nil {
		_, err = c.SignInWays(ctx)
	}
	if err != nil {
		return "none that can be used: " + err.Error()
	}
	return "fine"
}
