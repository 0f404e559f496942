package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/environment"
)

func (a *app) environmentCommand() *cobra.Command {
	return group("environment", "Manage environments: repositories and setup commands for runs", []string{"e"},
		a.environmentListCommand(), a.environmentGetCommand(), a.environmentCreateCommand(), a.environmentUpdateCommand(), a.environmentDeleteCommand(), a.imageCommand())
}

// environmentLines show an environment (Oz API, CloudEnvironment).
var environmentLines = []column{
	{"Environment", ".uid"}, {"Name", ".config.name"}, {"Description", ".config.description"}, {"Image", ".config.docker_image"}, {"Runner", ".config.default_runner_uid"},
	{"Repositories", `[.config.github_repos[]? | [.owner + "/" + .repo, .url, .checkout_ref] | map(select(.)) | join(" ")] | join(", ")`},
	{"Setup", `[.config.setup_commands // [] | to_entries[] | "\(.key + 1). \(.value)"] | join("; ")`}, {"Secrets", `.config.secrets // empty | join(", ")`}, {"Scope", ".scope.type"},
	{"Creator", ".creator.display_name"}, {"Last edited", ".last_updated"}, {"Last run", ".last_task_run_timestamp"},
	{"Setup failed", `if .setup_failed then "yes, in the last run" else "" end`},
}

func (a *app) environmentListCommand() *cobra.Command {
	return a.list(listing{use: "list", short: "List environments", path: "/agent/environments", member: "environments",
		none: "No environments. Make one with 'oz environment create --name ... --repo owner/repo'.", example: "  oz environment list --jq '.environments[] | [.uid, .config.name] | @tsv'",
		columns: []column{{"ID", ".uid"}, {"NAME", ".config.name"}, {"DESCRIPTION", ".config.description"}, {"IMAGE", ".config.docker_image"},
			{"REPOSITORIES", `[.config.github_repos[]? | .owner + "/" + .repo] | join(", ")`}, {"SETUP", ".config.setup_commands // [] | length"},
			{"CREATOR", ".creator.display_name"}, {"UPDATED", ".last_updated"}, {"SCOPE", ".scope.type"}}})
}

func (a *app) environmentGetCommand() *cobra.Command {
	return a.get(item{use: "get <ID>", short: "Show one environment", argument: "environment id", path: "/oz/environments/%s", lines: environmentLines,
		example: "  oz environment get ENV_ID"})
}

// showEnvironment shows one that was made or changed, as the server has it.
func (a *app) showEnvironment(ctx context.Context, uid string) error {
	return a.showPath(ctx, "/oz/environments/%s", uid, environmentLines)
}

// environmentFlags are the fields of an environment.
type environmentFlags struct {
	name, description, image, runner string
	repos, commands                  []string
	removeRepos, removeCommands      []string
	noDescription                    bool
}

func (f *environmentFlags) register(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVarP(&f.name, "name", "n", "", "`name`")
	s.StringVar(&f.description, "description", "", "description, at most 240 characters")
	s.StringVar(&f.runner, "runner", "", "`uid` of the runner of runs that name none")
	s.StringVarP(&f.image, "docker-image", "d", "", "`image` of the sandbox, where the worker uses containers")
	s.StringArrayVarP(&f.repos, "repo", "r", nil, "repository: owner/repo, or the `URL` of any git host; repeat")
	s.StringArrayVarP(&f.commands, "setup-command", "c", nil, "setup `command`, in order; repeat")
}

// repo reads owner/repo or a URL.
func repo(s string) (environment.Repo, error) {
	if owner, name, ok := strings.Cut(s, "/"); ok && !strings.Contains(s, ":") && !strings.Contains(name, "/") && owner != "" && name != "" {
		return environment.Repo{Owner: owner, Name: name}, nil
	}
	if !strings.Contains(s, ":") {
		return environment.Repo{}, usageError{fmt.Errorf("--repo: %q is neither owner/repo nor a URL", s)}
	}
	path := strings.TrimSuffix(strings.TrimRight(s, "/"), ".git")
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == ':' })
	r := environment.Repo{Name: parts[len(parts)-1], URL: s}
	if len(parts) > 2 {
		r.Owner = parts[len(parts)-2]
	}
	return r, nil
}

func (f *environmentFlags) addTo(c *environment.Config) error {
	for _, s := range f.repos {
		r, err := repo(s)
		if err != nil {
			return err
		}
		c.Repos = append(c.Repos, r)
	}
	c.SetupCommands = append(c.SetupCommands, f.commands...)
	if f.name != "" {
		c.Name = f.name
	}
	if f.description != "" || f.noDescription {
		c.Description = f.description
	}
	c.DockerImage = cmp.Or(f.image, c.DockerImage)
	c.DefaultRunner = cmp.Or(f.runner, c.DefaultRunner)
	if err := c.Validate(); err != nil {
		return usageError{err}
	}
	return nil
}

func (a *app) environmentCreateCommand() *cobra.Command {
	var f environmentFlags
	var team func() *bool
	cmd := &cobra.Command{
		Use: "create", Short: "Make an environment", Args: noArgs,
		Long: `Make an environment. Without --docker-image, a person at a terminal is asked for
the image; scripts get none.`,
		Example: "  oz environment create --name api --repo acme/api --setup-command 'go mod download'",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			var config environment.Config
			if err := f.addTo(&config); err != nil {
				return err
			}
			if config.DockerImage == "" {
				if config.DockerImage, err = a.askImage(); err != nil {
					return err
				}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			e, err := c.CreateEnvironment(cmd.Context(), config, team())
			if err != nil {
				return err
			}
			return a.showEnvironment(cmd.Context(), e.UID)
		},
	}
	f.register(cmd)
	team = ownership(cmd)
	return a.filterFlag(cmd)
}

func (a *app) environmentUpdateCommand() *cobra.Command {
	var f environmentFlags
	cmd := &cobra.Command{
		Use: "update <ID>", Short: "Change an environment; later runs use it", Args: oneArg("environment id"),
		Example: "  oz environment update ENV_ID --repo acme/web --remove-setup-command 'npm ci'",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !namesChange(cmd) {
				return usageError{errNothing}
			}
			if err := checkDescription(f.description); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			e, err := c.Environment(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := f.removeFrom(&e.Config); err != nil {
				return err
			}
			if err := f.addTo(&e.Config); err != nil {
				return err
			}
			if e, err = c.UpdateEnvironment(cmd.Context(), args[0], e.Config, e.Revision); err != nil {
				return err
			}
			return a.showEnvironment(cmd.Context(), e.UID)
		},
	}
	f.register(cmd)
	s := cmd.Flags()
	s.BoolVar(&f.noDescription, "remove-description", false, "remove the description")
	s.StringArrayVar(&f.removeRepos, "remove-repo", nil, "remove `owner/repo`; repeat")
	s.StringArrayVar(&f.removeCommands, "remove-setup-command", nil, "remove the `command` with exactly this text; repeat")
	s.Bool("force", false, "for scripts: never ask (so far nothing is asked)")
	cmd.MarkFlagsMutuallyExclusive("description", "remove-description")
	return a.filterFlag(cmd)
}

func (f *environmentFlags) removeFrom(c *environment.Config) error {
	for _, name := range f.removeRepos {
		n := len(c.Repos)
		c.Repos = slices.DeleteFunc(c.Repos, func(r environment.Repo) bool { return r.String() == name || r.URL == name })
		if len(c.Repos) == n {
			return usageError{fmt.Errorf("--remove-repo: the environment has no %q", name)}
		}
	}
	for _, text := range f.removeCommands {
		n := len(c.SetupCommands)
		c.SetupCommands = slices.DeleteFunc(c.SetupCommands, func(s string) bool { return s == text })
		if len(c.SetupCommands) == n {
			return usageError{fmt.Errorf("--remove-setup-command: the environment has no command %q", text)}
		}
	}
	return nil
}

func (a *app) environmentDeleteCommand() *cobra.Command {
	return a.remove(removal{use: "delete <ID>", short: "Delete an environment; past runs keep what they say of it", argument: "environment id", noun: "environment",
		path: "/oz/environments/%s", example: "  oz environment delete ENV_ID --force"})
}

// image is a public one that runs can work in.
type image struct {
	Image string `json:"image"`
	Holds string `json:"holds"`
}

// images are suggestions: official images with glibc and bash, which is what a
// run needs (Oz platform, images).
var images = []image{
	{"debian:bookworm", "Debian"},
	{"ubuntu:24.04", "Ubuntu"},
	{"golang:1-bookworm", "Go"},
	{"node:22-bookworm", "Node.js, Python 3"},
	{"python:3-bookworm", "Python"},
	{"rust:1-bookworm", "Rust"},
	{"ruby:3-bookworm", "Ruby"},
	{"eclipse-temurin:21-jdk", "Java"},
	{"mcr.microsoft.com/dotnet/sdk:9.0", ".NET"},
}

// askImage lets a person at a terminal choose an image, or none.
func (a *app) askImage() (string, error) {
	in, ok := a.terminal()
	if !ok {
		return "", nil
	}
	for i, m := range images {
		fmt.Fprintf(a.err, "%3d  %s (%s)\n", i+1, m.Image, m.Holds)
	}
	fmt.Fprint(a.err, "Image of the sandbox, for workers that use containers (number or name, empty for none): ")
	line, err := bufio.NewReader(in).ReadString('\n')
	answer := strings.TrimSpace(line)
	if err != nil && answer == "" {
		return "", errors.New("nothing was entered; --docker-image names the image")
	}
	n, err := strconv.Atoi(answer)
	switch {
	case err != nil:
		return answer, nil // a name
	case n < 1 || n > len(images):
		return "", usageError{fmt.Errorf("there is no image %d in the list", n)}
	}
	return images[n-1].Image, nil
}

func (a *app) imageCommand() *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "List images that suit as a start", Args: noArgs,
		Long: `List public images that suit as a start. Any Linux image with glibc and bash does,
for workers that use containers; Alpine's musl does not.`,
		Example: "  oz environment image list\n  oz environment create --name api --docker-image golang:1-bookworm --repo acme/api",
		RunE: func(*cobra.Command, []string) error {
			raw, err := json.Marshal(images)
			if err != nil {
				return err
			}
			return a.showList(raw, listing{columns: []column{{"IMAGE", ".image"}, {"HOLDS", ".holds"}}})
		}}
	return group("image", "List suggested images", nil, a.filterFlag(list))
}
