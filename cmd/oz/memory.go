package main

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

var (
	memoryStoreLines = []column{{"Store", ".uid"}, {"Name", ".name"}, {"Description", ".description"}, {"Scope", ".scope.type"}, {"Updated", ".updated_at"}}
	memoryLines      = []column{{"Memory", ".uid"}, {"Content", ".content"}, {"Reason", ".reason"}, {"Version", ".version"}, {"Run", ".run_id"}, {"Written", ".written_at"}}
	memoryColumns    = []column{{"UID", ".uid"}, {"VERSION", ".version"}, {"WRITTEN", ".written_at"}, {"RUN", ".run_id"}, {"CONTENT", ".content"}, {"REASON", ".reason"}}
)

func (a *app) memoryStoreCommand() *cobra.Command {
	return group("memory-store", "Manage memory stores: what agents remember from run to run", []string{"memory-stores"},
		a.list(listing{use: "list", short: "List memory stores", path: "/oz/memory-stores", member: "memory_stores", none: "No memory stores. Make one with 'oz memory-store create --name ...'.",
			example: "  oz memory-store list",
			columns: []column{{"UID", ".uid"}, {"NAME", ".name"}, {"DESCRIPTION", ".description"}, {"SCOPE", ".scope.type"}, {"UPDATED", ".updated_at"}}}),
		a.memoryStoreGetCommand(), a.memoryStoreCreateCommand(), a.memoryStoreUpdateCommand(),
		a.remove(removal{use: "delete <STORE>", short: "Delete a memory store and all that it remembers", argument: "memory store uid", noun: "memory store",
			path: "/oz/memory-stores/%s", example: "  oz memory-store delete STORE_UID --force"}),
		a.listOf("list-store-agents <STORE>", "List the agents that have a memory store", []string{"store-agents"}, "/oz/memory-stores/%s/agents",
			listing{member: "agents", none: "No agent has this store.", columns: []column{{"UID", ".uid"}, {"NAME", ".name"}, {"DESCRIPTION", ".description"}}},
			"  oz memory-store list-store-agents STORE_UID"))
}

// listOf is a command that lists what belongs to a memory store.
func (a *app) listOf(use, short string, aliases []string, path string, l listing, example string) *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: use, Short: short, Aliases: aliases, Args: oneArg("memory store uid"), Example: example,
		RunE: func(cmd *cobra.Command, args []string) error { return a.listPath(cmd.Context(), path, args[0], l) }})
}

func (a *app) memoryStoreGetCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "get <STORE>", Short: "Show a memory store", Aliases: []string{"get-store"}, Args: oneArg("memory store uid"),
		Example: "  oz memory-store get STORE_UID",
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.call(cmd.Context(), http.MethodGet, "/oz/memory-stores/"+url.PathEscape(args[0]), nil, nil)
			if err != nil {
				return err
			}
			return a.showItem(raw, memoryStoreLines)
		}})
}

func (a *app) memoryStoreCreateCommand() *cobra.Command {
	var name, description string
	cmd := &cobra.Command{Use: "create", Short: "Make a memory store", Args: noArgs, Example: "  oz memory-store create --name project --team"}
	cmd.Flags().StringVarP(&name, "name", "n", "", "`name`")
	cmd.Flags().StringVarP(&description, "description", "d", "", "what it is for")
	team := ownership(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		body := fields{}
		body.set(cmd, "name", "name", name)
		body.set(cmd, "description", "description", description)
		if body["name"] == nil {
			return usageError{errors.New("--name is needed")}
		}
		body.own(team())
		return a.change(cmd.Context(), http.MethodPost, "/oz/memory-stores", body, memoryStoreLines, "The memory store is made.")
	}
	return a.filterFlag(cmd)
}

func (a *app) memoryStoreUpdateCommand() *cobra.Command {
	var name, description string
	cmd := &cobra.Command{Use: "update <STORE>", Short: "Change a memory store", Aliases: []string{"update-store", "edit-store"}, Args: oneArg("memory store uid"),
		Example: "  oz memory-store update STORE_UID --description 'What we know about the shop'",
		RunE: func(cmd *cobra.Command, args []string) error {
			body := fields{}
			body.set(cmd, "name", "name", name)
			body.set(cmd, "description", "description", description)
			if len(body) == 0 {
				return usageError{errNothing}
			}
			return a.change(cmd.Context(), http.MethodPut, "/oz/memory-stores/"+url.PathEscape(args[0]), body, memoryStoreLines, "The memory store is changed.")
		}}
	cmd.Flags().StringVarP(&name, "name", "n", "", "new `name`")
	cmd.Flags().StringVarP(&description, "description", "d", "", "what it is for; empty clears it")
	return a.filterFlag(cmd)
}

func (a *app) memoryCommand() *cobra.Command {
	memories := listing{member: "memories", none: "Nothing is remembered.", columns: memoryColumns}
	return group("memory", "Read and change what a memory store remembers", nil,
		a.listOf("list <STORE>", "List what a store remembers, the newest first", nil, "/oz/memory-stores/%s/memories", memories, "  oz memory list STORE_UID"),
		a.memoryCreateCommand(), a.memoryUpdateCommand(), a.memoryDeleteCommand(), a.memoryVersionsCommand())
}

// memoryFlags are the members of a memory.
type memoryFlags struct {
	content, reason, store string
	version                int
}

func (f *memoryFlags) register(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVarP(&f.content, "content", "c", "", "the `text` to remember")
	s.StringVarP(&f.reason, "reason", "r", "", "`why` it is worth remembering")
	s.IntVar(&f.version, "version", 0, "fail unless the memory is at this version `number`; for a new one 0")
}

func (f *memoryFlags) body() (fields, error) {
	if f.content == "" || f.reason == "" {
		return nil, usageError{errors.New("--content and --reason are needed")}
	}
	body := fields{"content": f.content, "reason": f.reason}
	if f.version != 0 {
		body["version"] = f.version
	}
	return body, nil
}

func (a *app) memoryCreateCommand() *cobra.Command {
	var f memoryFlags
	cmd := &cobra.Command{Use: "create <STORE>", Short: "Remember something", Aliases: []string{"add"}, Args: oneArg("memory store uid"),
		Example: "  oz memory create STORE_UID --content 'Releases are cut on Mondays.' --reason 'asked for by the team'",
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := f.body()
			if err != nil {
				return err
			}
			if f.version != 0 {
				return usageError{errors.New("--version: a new memory has none yet; leave it out")}
			}
			return a.change(cmd.Context(), http.MethodPost, "/oz/memory-stores/"+url.PathEscape(args[0])+"/memories", body, memoryLines, "It is remembered.")
		}}
	f.register(cmd)
	return a.filterFlag(cmd)
}

// storeFlag says in which store a memory is.
func (f *memoryFlags) storeFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.store, "store", "s", "", "the memory store's `uid`")
}

// path is that of a memory.
func (f *memoryFlags) path(memory string) (string, error) {
	if f.store == "" {
		return "", usageError{errors.New("--store is needed")}
	}
	return "/oz/memory-stores/" + url.PathEscape(f.store) + "/memories/" + url.PathEscape(memory), nil
}

func (a *app) memoryUpdateCommand() *cobra.Command {
	var f memoryFlags
	cmd := &cobra.Command{Use: "update <MEMORY>", Short: "Write a new version of a memory", Aliases: []string{"edit"}, Args: oneArg("memory uid"),
		Example: "  oz memory update MEMORY_UID --store STORE_UID --content 'Releases are cut on Tuesdays.' --reason 'moved'",
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := f.body()
			if err != nil {
				return err
			}
			path, err := f.path(args[0])
			if err != nil {
				return err
			}
			return a.change(cmd.Context(), http.MethodPut, path, body, memoryLines, "The memory is changed.")
		}}
	f.register(cmd)
	f.storeFlag(cmd)
	return a.filterFlag(cmd)
}

func (a *app) memoryDeleteCommand() *cobra.Command {
	var f memoryFlags
	var force bool
	cmd := &cobra.Command{Use: "delete <MEMORY>", Short: "Forget a memory with all its versions", Aliases: []string{"remove"}, Args: oneArg("memory uid"),
		Example: "  oz memory delete MEMORY_UID --store STORE_UID --force",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := f.path(args[0])
			if err != nil {
				return err
			}
			if err := a.sure(force, "Forget the memory %s?", args[0]); err != nil {
				return err
			}
			if _, err := a.call(cmd.Context(), http.MethodDelete, path, nil, nil); err != nil {
				return err
			}
			return a.done("The memory %s is forgotten.", args[0])
		}}
	f.storeFlag(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "do not ask")
	return cmd
}

func (a *app) memoryVersionsCommand() *cobra.Command {
	var f memoryFlags
	cmd := &cobra.Command{Use: "versions <MEMORY>", Short: "List the versions of a memory, the newest first", Args: oneArg("memory uid"),
		Example: "  oz memory versions MEMORY_UID --store STORE_UID",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := f.path(args[0])
			if err != nil {
				return err
			}
			raw, err := a.call(cmd.Context(), http.MethodGet, path+"/versions", nil, nil)
			if err != nil {
				return err
			}
			return a.showList(raw, listing{member: "memories", none: "No versions.", columns: memoryColumns})
		}}
	f.storeFlag(cmd)
	return a.filterFlag(cmd)
}
