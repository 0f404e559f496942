package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

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
