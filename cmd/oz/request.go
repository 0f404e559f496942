package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"mime"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

// Limits of attachments (Oz command line, --attach).
const (
	maxAttachments     = 5
	maxAttachmentBytes = 10 << 20
)

// requestFlags are what both ways of running an agent take.
type requestFlags struct {
	prompt, savedPrompt, skill, name, model, environment, file, conversation, harness, title string
	agent, runner, parent, claudeSecret, codexSecret, mode                                   string
	mcp                                                                                      []string
	noEnvironment, computerUse, noComputerUse                                                bool
	snapshot                                                                                 snapshotFlags
	team                                                                                     func() *bool
}

// snapshotFlags say what becomes of the workspace at the end (Oz command line,
// agent run).
type snapshotFlags struct {
	none           bool
	upload, script time.Duration
}

func (r *requestFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&r.prompt, "prompt", "p", "", "what to do")
	f.StringVar(&r.savedPrompt, "saved-prompt", "", "do what the saved prompt of this `id` says")
	f.StringVar(&r.skill, "skill", "", "skill `spec`: name, repo:name or org/repo:name")
	f.StringVarP(&r.name, "name", "n", "", "config `name`, for grouping")
	f.StringVar(&r.title, "title", "", "title of the run")
	f.StringVar(&r.model, "model", "", "model `id`, see 'oz model list'")
	f.StringVarP(&r.environment, "environment", "e", "", "environment `id` to prepare first")
	f.StringArrayVar(&r.mcp, "mcp", nil, "MCP `server`: uuid, JSON or file; repeat")
	f.StringVarP(&r.file, "file", "f", "", "run configuration `file`, YAML or JSON (env WARP_AGENT_CONFIG_FILE)")
	f.StringVar(&r.conversation, "conversation", "", "go on with this conversation `id`")
	f.StringVar(&r.agent, "agent", "", "`uid` of the agent identity that carries it out")
	f.StringVar(&r.runner, "runner", "", "`id` of a runner: its machine and setup")
	f.StringVar(&r.parent, "parent-run-id", "", "make it a child of this `run`")
	f.StringVar(&r.harness, "harness", "", "coding agent: oz (default, the built-in one), claude, codex, opencode or gemini")
	f.StringVar(&r.mode, "mode", "", "normal (default), plan (a plan first, approved by a person) or orchestrate (other agents do the planned parts)")
	f.StringVar(&r.claudeSecret, "claude-auth-secret", "", "`name` of the secret that claude signs in with")
	f.StringVar(&r.codexSecret, "codex-auth-secret", "", "`name` of the secret that codex signs in with")
	f.BoolVar(&r.computerUse, "computer-use", false, "let the agent use a screen")
	f.BoolVar(&r.noComputerUse, "no-computer-use", false, "do not let it")
	f.BoolVar(&r.snapshot.none, "no-snapshot", false, "keep nothing of the workspace at the end")
	f.DurationVar(&r.snapshot.upload, "snapshot-upload-timeout", 0, "longest time for keeping the workspace (default 120s)")
	f.DurationVar(&r.snapshot.script, "snapshot-script-timeout", 0, "longest time for the script that declares what to keep (default 60s)")
	r.team = ownership(cmd)
	cmd.MarkFlagsMutuallyExclusive("prompt", "saved-prompt")
	cmd.MarkFlagsMutuallyExclusive("computer-use", "no-computer-use")
}

// request makes the wire's request. Flags win over the file.
func (r *requestFlags) request(a *app) (oz.Request, error) {
	if r.prompt == "" && r.savedPrompt == "" && r.skill == "" && r.conversation == "" {
		return oz.Request{}, usageError{errors.New("--prompt, --saved-prompt or --skill is needed")}
	}
	if r.environment != "" && r.noEnvironment {
		return oz.Request{}, usageError{errors.New("--environment and --no-environment exclude each other")}
	}
	config, err := a.configFile(r.file)
	if err != nil {
		return oz.Request{}, err
	}
	if err := r.override(&config); err != nil {
		return oz.Request{}, err
	}
	return oz.Request{Prompt: r.prompt, Skill: r.skill, Title: r.title, ConversationID: r.conversation, Config: config, Source: a.source(),
		AgentIdentityUID: r.agent, ParentRunID: task.ID(r.parent), Team: r.team(), Mode: task.Mode(r.mode)}, nil
}

// override puts the flags over what the file says.
func (r *requestFlags) override(c *task.Config) (err error) {
	for value, to := range map[*string]*string{&r.name: &c.Name, &r.model: &c.ModelID, &r.environment: &c.EnvironmentID, &r.runner: &c.RunnerID} {
		*to = cmp.Or(*value, *to)
	}
	if r.noEnvironment {
		c.EnvironmentID = ""
	}
	if r.computerUse || r.noComputerUse {
		c.ComputerUseEnabled = &r.computerUse
	}
	if c.MCPServers, err = mcpServers(c.MCPServers, r.mcp); err != nil {
		return err
	}
	return r.chooseHarness(c)
}

// chooseHarness settles the coding agent and what it signs in with: a secret
// goes with its own agent only.
func (r *requestFlags) chooseHarness(c *task.Config) error {
	typ := harnessType(r.harness)
	if known := []string{"", "oz", "claude", "codex", "opencode", "gemini"}; !slices.Contains(known, typ) {
		return usageError{fmt.Errorf("--harness: %q is none of %s", r.harness, strings.Join(known[1:], ", "))}
	}
	if typ != "" {
		c.Harness = &task.HarnessConfig{Type: typ}
	}
	for _, s := range []struct{ harness, secret string }{{"claude", r.claudeSecret}, {"codex", r.codexSecret}} {
		if s.secret == "" {
			continue
		}
		if typ != s.harness {
			return usageError{fmt.Errorf("--%s-auth-secret: is for --harness %s only", s.harness, s.harness)}
		}
		c.HarnessAuthSecrets = map[string]string{s.harness + "_auth_secret_name": s.secret}
	}
	return nil
}

// harnessType resolves the aliases of the command line.
func harnessType(s string) string {
	switch s {
	case "claude-code":
		return "claude"
	case "open-code":
		return "opencode"
	}
	return s
}

// source says what makes the run: a step of a CI job, or a person.
func (a *app) source() task.Source {
	if a.env("GITHUB_ACTIONS") == "true" {
		return task.SourceGitHubAction
	}
	return task.SourceCLI
}

// loadPrompt fetches the saved prompt, as it is at this moment. People have its
// link too, whose last segment is the id.
func (r *requestFlags) loadPrompt(ctx context.Context, c *client.Client, req *oz.Request) error {
	if r.savedPrompt == "" {
		return nil
	}
	p, err := c.Prompt(ctx, lastSegment(r.savedPrompt))
	if err != nil {
		return fmt.Errorf("--saved-prompt: %w", err)
	}
	req.Prompt = p.Prompt
	req.Config.Name = cmp.Or(req.Config.Name, p.Name)
	return nil
}

// lastSegment is the id in a link, or the id itself.
func lastSegment(link string) string {
	id := strings.TrimRight(link, "/")
	return id[strings.LastIndex(id, "/")+1:]
}

// savedPromptFlag registers --saved-prompt beside --prompt, for what is kept and
// carried out later. set puts a reference to the saved prompt in the place of
// the prompt, so that each run takes its text as it is then.
func savedPromptFlag(cmd *cobra.Command) (set func(prompt *string) error) {
	const name = "saved-prompt"
	id := cmd.Flags().String(name, "", "`id` of a saved prompt, in the place of --prompt; each run takes its text as it is then")
	cmd.MarkFlagsMutuallyExclusive("prompt", name)
	return func(prompt *string) error {
		if !cmd.Flags().Changed(name) {
			return nil
		}
		uid := lastSegment(*id)
		if uid == "" || strings.ContainsAny(uid, "<>: \t\r\n") {
			return usageError{fmt.Errorf("--%s: %q is no id of a saved prompt, see 'oz prompt list'", name, *id)}
		}
		*prompt = "<prompt:" + uid + ">"
		return cmd.Flags().Set("prompt", *prompt)
	}
}

func attachments(paths []string) ([]oz.AttachmentInput, error) {
	if len(paths) > maxAttachments {
		return nil, usageError{fmt.Errorf("--attach: %d files, at most %d are allowed", len(paths), maxAttachments)}
	}
	var list []oz.AttachmentInput
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, usageError{fmt.Errorf("--attach: %w", err)}
		}
		if info.Size() > maxAttachmentBytes {
			return nil, usageError{fmt.Errorf("--attach: %s has %d bytes, at most %d are allowed", p, info.Size(), maxAttachmentBytes)}
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return nil, usageError{fmt.Errorf("--attach: %w", err)}
		}
		list = append(list, oz.AttachmentInput{FileName: filepath.Base(p), MIMEType: mime.TypeByExtension(filepath.Ext(p)), Data: data})
	}
	return list, nil
}

// unavailable refuses a flag of the Oz command line that this version has
// nothing to offer for, rather than ignore it.
func unavailable(flag, advice string) error {
	return task.Errorf(task.CodeFeatureNotAvailable, "--%s is not available here yet: %s", flag, advice)
}
