package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz"
)

func (a *app) environmentCommand() *cobra.Command {
	return group("environment", "Manage environments: repositories and setup commands for runs", []string{"e"},
		a.environmentListCommand(), a.environmentGetCommand(), a.environmentCreateCommand(), a.environmentUpdateCommand(), a.environmentDeleteCommand())
}

// environmentView is an environment as the command prints it.
type environmentView struct {
	UID         string             `json:"uid"`
	Config      environment.Config `json:"config"`
	LastUpdated time.Time          `json:"last_updated"`
	SetupFailed bool               `json:"setup_failed"`
}

func viewEnvironment(e oz.EnvironmentItem) environmentView {
	return environmentView{e.UID, e.Config, e.UpdatedAt, e.SetupFailed}
}

func (a *app) environmentListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List environments", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			list, err := c.Environments(cmd.Context())
			if err != nil {
				return err
			}
			views := []environmentView{}
			var rows [][]string
			for _, e := range list {
				views = append(views, viewEnvironment(e))
				rows = append(rows, []string{e.UID, e.Config.Name, repoNames(e.Config), fmt.Sprint(len(e.Config.SetupCommands)), e.UpdatedAt.Local().Format(time.DateTime), string(e.Owner.Type)})
			}
			if a.json() {
				return emitEach(a, views, views)
			}
			if len(rows) == 0 {
				a.say("No environments. Make one with 'oz environment create --name ... --repo owner/repo'.")
				return nil
			}
			return table(a.out, "ID|NAME|REPOSITORIES|SETUP|UPDATED|SCOPE", rows)
		},
	}
}

func repoNames(c environment.Config) string {
	var names []string
	for _, r := range c.Repos {
		names = append(names, r.String())
	}
	return strings.Join(names, ", ")
}

func (a *app) environmentGetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "get <ID>", Short: "Show one environment", Args: oneArg("environment id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			e, err := c.Environment(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showEnvironment(e)
		},
	}
}

func (a *app) showEnvironment(e environment.Environment) error {
	if a.json() {
		return a.emit(viewEnvironment(oz.EnvironmentItem{Environment: e}))
	}
	a.say("%-13s %s\n%-13s %s", "Environment", e.UID, "Name", oneLine(e.Config.Name))
	if e.Config.Description != "" {
		a.say("%-13s %s", "Description", oneLine(e.Config.Description))
	}
	if e.Config.DockerImage != "" {
		a.say("%-13s %s", "Image", oneLine(e.Config.DockerImage))
	}
	for _, r := range e.Config.Repos {
		a.say("%-13s %s", "Repository", oneLine(strings.TrimSpace(r.String()+" "+r.URL+" "+r.Ref)))
	}
	for i, s := range e.Config.SetupCommands {
		a.say("%-13s %d. %s", "Setup", i+1, oneLine(s))
	}
	return nil
}

// environmentFlags are the fields of an environment.
type environmentFlags struct {
	name, description, image      string
	repos, commands               []string
	removeRepos, removeCommands   []string
	team, personal, noDescription bool
}

func (f *environmentFlags) register(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVarP(&f.name, "name", "n", "", "`name`")
	s.StringVar(&f.description, "description", "", "description, at most 240 characters")
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
	if f.image != "" {
		c.DockerImage = f.image
	}
	if err := c.Validate(); err != nil {
		return usageError{err}
	}
	return nil
}

func (a *app) environmentCreateCommand() *cobra.Command {
	var f environmentFlags
	cmd := &cobra.Command{
		Use: "create", Short: "Make an environment", Args: noArgs,
		Example: "  oz environment create --name api --repo acme/api --setup-command 'go mod download'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.team && f.personal {
				return usageError{errors.New("--team and --personal exclude each other")}
			}
			var config environment.Config
			if err := f.addTo(&config); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			e, err := c.CreateEnvironment(cmd.Context(), config, choice(f.team, f.personal))
			if err != nil {
				return err
			}
			return a.showEnvironment(e)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&f.team, "team", false, "the team's")
	cmd.Flags().BoolVar(&f.personal, "personal", false, "yours alone")
	return cmd
}

// choice is the optional team flag of requests: nil leaves it to the server.
func choice(team, personal bool) *bool {
	if !team && !personal {
		return nil
	}
	return &team
}

func (a *app) environmentUpdateCommand() *cobra.Command {
	var f environmentFlags
	cmd := &cobra.Command{
		Use: "update <ID>", Short: "Change an environment; later runs use it", Args: oneArg("environment id"),
		RunE: func(cmd *cobra.Command, args []string) error {
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
			return a.showEnvironment(e)
		},
	}
	f.register(cmd)
	s := cmd.Flags()
	s.BoolVar(&f.noDescription, "remove-description", false, "remove the description")
	s.StringArrayVar(&f.removeRepos, "remove-repo", nil, "remove `owner/repo`; repeat")
	s.StringArrayVar(&f.removeCommands, "remove-setup-command", nil, "remove the `command` with exactly this text; repeat")
	cmd.MarkFlagsMutuallyExclusive("description", "remove-description")
	return cmd
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
	cmd := &cobra.Command{
		Use: "delete <ID>", Short: "Delete an environment; past runs keep what they say of it", Args: oneArg("environment id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := c.DeleteEnvironment(cmd.Context(), args[0]); err != nil {
				return err
			}
			return a.done("Environment %s is deleted.", args[0])
		},
	}
	cmd.Flags().Bool("force", false, "for scripts: never ask (so far nothing is asked)")
	return cmd
}
