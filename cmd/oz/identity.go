package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// identityLines show an agent identity (Oz API, AgentResponse).
var identityLines = []column{
	{"Agent", ".uid"}, {"Name", ".name"}, {"Description", ".description"}, {"Available", `if .available then "yes" else "no" end`},
	{"Model", ".base_model"}, {"Harness", ".harness.type"}, {"Environment", ".environment_id"}, {"Worker", ".worker_host"},
	{"Secrets", `[.secrets[]?.name] | join(", ")`}, {"Skills", `.skills | join(", ")`},
	{"Own memory", ".memory.auto_memory.store.uid"},
	{"Memory", `[.memory.attached_stores[]? | "\(.uid) (\(if .extract then "learns" else .access | gsub("_"; "-") end))"] | join(", ")`},
	{"Prompt", ".prompt"}, {"Created", ".created_at"},
}

func (a *app) identityCommands() []*cobra.Command {
	list := a.sortedList(listing{use: "list", short: "List agent identities", path: "/agent/identities", member: "agents",
		example: "  oz agent list --sort-by created-at\n  oz agent list --jq '.agents[].uid'",
		columns: []column{{"UID", ".uid"}, {"NAME", ".name"}, {"DESCRIPTION", ".description"}, {"MODEL", ".base_model"}, {"ENVIRONMENT", ".environment_id"},
			{"AVAILABLE", `if .available then "yes" else "no" end`}, {"CREATED", ".created_at"}},
		none: "No agents. Make one with 'oz agent create --name ...'."}, sortKey{"name", ".name"}, sortKey{"created-at", ".created_at"})
	return []*cobra.Command{list,
		a.get(item{use: "get <UID>", short: "Show an agent identity", argument: "agent uid", path: "/agent/identities/%s", lines: identityLines,
			example: "  oz agent get AGENT_UID --output-format json"}),
		a.identityCreateCommand(), a.identityUpdateCommand(),
		a.remove(removal{use: "delete <UID>", short: "Delete an agent identity, and its API keys with it", argument: "agent uid", noun: "agent",
			path: "/agent/identities/%s", example: "  oz agent delete AGENT_UID --force"}),
		a.skillsCommand(), a.profileCommand(),
	}
}

// repositoryName gives owner/repo, of which people also have the URL.
func repositoryName(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return s
	}
	return strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git")
}

// identityFlags are the members of an agent that flags can set.
type identityFlags struct {
	name, description, prompt, model, environment string
	secrets, skills                               []string
}

func (f *identityFlags) register(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVarP(&f.name, "name", "n", "", "`name`")
	s.StringVar(&f.description, "description", "", "what the agent is for")
	s.StringVar(&f.prompt, "prompt", "", "instructions that stand before every prompt")
	s.StringVar(&f.model, "base-model", "", "model `id`")
	s.StringVarP(&f.environment, "environment", "e", "", "environment `id` of its runs")
}

func (a *app) identityCreateCommand() *cobra.Command {
	var f identityFlags
	var memory memoryEdits
	var savedPrompt func(*string) error
	cmd := &cobra.Command{Use: "create", Short: "Make an agent identity of your team", Args: noArgs,
		Example: "  oz agent create --name triage --prompt 'Label each issue' --skill acme/tools:skills/triage --secret TRACKER_TOKEN\n" +
			"  oz agent create --name keeper --learn --memory-store 'STORE_UID:read_only:What the team has decided'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.name == "" {
				return usageError{errors.New("--name is needed")}
			}
			if err := savedPrompt(&f.prompt); err != nil {
				return err
			}
			body := fields{"name": f.name}
			body.set(cmd, "description", "description", f.description)
			body.set(cmd, "prompt", "prompt", f.prompt)
			body.set(cmd, "base-model", "base_model", f.model)
			body.set(cmd, "environment", "environment_id", f.environment)
			body.set(cmd, "secret", "secrets", secretRefs(f.secrets))
			body.set(cmd, "skill", "skills", f.skills)
			if err := memory.create(body); err != nil {
				return err
			}
			return a.change(cmd.Context(), http.MethodPost, "/agent/identities", body, identityLines, "The agent is made.")
		}}
	f.register(cmd)
	savedPrompt = savedPromptFlag(cmd)
	cmd.Flags().StringArrayVar(&f.secrets, "secret", nil, "`name` of a secret that its runs get")
	cmd.Flags().StringArrayVar(&f.skills, "skill", nil, "skill `spec`, owner/repo:path")
	memory.createFlags(cmd)
	return a.filterFlag(cmd)
}

// secretRef names a secret (Oz API, AgentResponse.secrets).
type secretRef struct {
	Name string `json:"name"`
}

func secretRefs(names []string) []secretRef {
	refs := []secretRef{}
	for _, n := range names {
		refs = append(refs, secretRef{n})
	}
	return refs
}

func (a *app) identityUpdateCommand() *cobra.Command {
	var f identityFlags
	var addSecrets, removeSecrets, addSkills, removeSkills []string
	var memory memoryEdits
	var savedPrompt func(*string) error
	cleared := map[string]*bool{}
	cmd := &cobra.Command{Use: "update <UID>", Short: "Change an agent identity; what is not named stays", Args: oneArg("agent uid"),
		Example: "  oz agent update AGENT_UID --add-skill acme/tools:skills/review --remove-environment\n" +
			"  oz agent update AGENT_UID --add-memory-store STORE_UID:learn",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !namesChange(cmd) {
				return usageError{errNothing}
			}
			if err := savedPrompt(&f.prompt); err != nil {
				return err
			}
			body := fields{}
			body.set(cmd, "name", "name", f.name)
			for flag, member := range map[string]string{"description": "description", "prompt": "prompt", "base-model": "base_model", "environment": "environment_id"} {
				value, err := cmd.Flags().GetString(flag)
				if err != nil {
					return err
				}
				body.set(cmd, flag, member, value)
				if *cleared[flag] {
					body[member] = ""
				}
			}
			path := "/agent/identities/" + url.PathEscape(args[0])
			if err := a.editLists(cmd.Context(), path, body, listEdits{addSecrets, removeSecrets, addSkills, removeSkills, *cleared["all-secrets"], *cleared["all-skills"]}); err != nil {
				return err
			}
			if err := memory.update(cmd.Context(), a, path, body); err != nil {
				return err
			}
			return a.change(cmd.Context(), http.MethodPut, path, body, identityLines, "The agent is changed.")
		}}
	f.register(cmd)
	savedPrompt = savedPromptFlag(cmd)
	s := cmd.Flags()
	for _, flag := range []string{"description", "prompt", "base-model", "environment"} {
		cleared[flag] = s.Bool("remove-"+flag, false, "clear it")
		cmd.MarkFlagsMutuallyExclusive(flag, "remove-"+flag)
	}
	cmd.MarkFlagsMutuallyExclusive("saved-prompt", "remove-prompt")
	s.StringArrayVar(&addSecrets, "add-secret", nil, "`name` of a secret to add")
	s.StringArrayVar(&removeSecrets, "remove-secret", nil, "`name` of a secret to take away")
	s.StringArrayVar(&addSkills, "add-skill", nil, "skill `spec` to add")
	s.StringArrayVar(&removeSkills, "remove-skill", nil, "skill `spec` to take away")
	for _, what := range []string{"secrets", "skills"} {
		cleared["all-"+what] = s.Bool("remove-all-"+what, false, "take all away")
		cmd.MarkFlagsMutuallyExclusive("remove-"+what[:len(what)-1], "remove-all-"+what)
		cmd.MarkFlagsMutuallyExclusive("add-"+what[:len(what)-1], "remove-all-"+what)
	}
	memory.updateFlags(cmd)
	return a.filterFlag(cmd)
}

// listEdits are changes of an agent's lists, which the server takes whole.
type listEdits struct {
	addSecrets, removeSecrets, addSkills, removeSkills []string
	noSecrets, noSkills                                bool
}

func (a *app) editLists(ctx context.Context, path string, body fields, e listEdits) error {
	secrets := e.noSecrets || len(e.addSecrets)+len(e.removeSecrets) > 0
	skills := e.noSkills || len(e.addSkills)+len(e.removeSkills) > 0
	if !secrets && !skills {
		return nil
	}
	raw, err := a.call(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	var now struct {
		Secrets []secretRef `json:"secrets"`
		Skills  []string    `json:"skills"`
	}
	if err := json.Unmarshal(raw, &now); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if secrets {
		var names []string
		for _, s := range now.Secrets {
			names = append(names, s.Name)
		}
		body["secrets"] = secretRefs(edited(names, e.addSecrets, e.removeSecrets, e.noSecrets))
	}
	if skills {
		body["skills"] = edited(now.Skills, e.addSkills, e.removeSkills, e.noSkills)
	}
	return nil
}

// edited gives a list without what is to go and with what is to come.
func edited(list, add, remove []string, none bool) []string {
	out := []string{}
	for _, s := range list {
		if !none && !slices.Contains(remove, s) {
			out = append(out, s)
		}
	}
	for _, s := range add {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func (a *app) skillsCommand() *cobra.Command {
	return a.list(listing{use: "skills", short: "List skills that can be run as agents", path: "/agent", member: "agents",
		example: "  oz agent skills --repo acme/tools\n  oz agent run-cloud --skill acme/tools:skills/review --environment ENV_ID",
		columns: []column{{"NAME", ".name"}, {"SKILL", `[.variants[].id] | join(", ")`}, {"DESCRIPTION", `.variants[0].description | if length > 80 then .[:79] + "…" else . end`},
			{"SUGGESTED", `if any(.variants[]; .suggested) then "yes" else "" end`}, {"ERROR", `[.variants[].error // empty] | join("; ")`}},
		none: "No skills: the repositories of your environments have none, or the server does not look for them.",
		query: func(cmd *cobra.Command) func() (url.Values, error) {
			var repo, sortBy string
			var refresh, malformed bool
			cmd.Flags().StringVarP(&repo, "repo", "r", "", "only those of this `repository`, owner/repo or its URL")
			cmd.Flags().StringVar(&sortBy, "sort-by", "name", "name or last-run")
			cmd.Flags().BoolVar(&refresh, "refresh", false, "look into the repositories again first")
			cmd.Flags().BoolVar(&malformed, "include-malformed", false, "also those that cannot be read, with the reason")
			return func() (url.Values, error) {
				q := url.Values{}
				switch sortBy {
				case "name":
				case "last-run":
					q.Set("sort_by", "last_run")
				default:
					return nil, fmt.Errorf("--sort-by: %q is neither name nor last-run", sortBy)
				}
				if repo != "" {
					q.Set("repo", repositoryName(repo))
				}
				if refresh {
					q.Set("refresh", "true")
				}
				if malformed {
					q.Set("include_malformed_skills", "true")
				}
				return q, nil
			}
		}})
}
