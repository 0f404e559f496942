package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/internal/agents"
	"github.com/oz-platform/cloudagents/internal/console"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

// localFlags are those of `agent run` alone.
type localFlags struct {
	requestFlags
	cwd, taskID, profile                  string
	share                                 []string
	strictMCP                             bool
	mcpTimeout                            time.Duration
	sandboxed, skipFirst, gitHub, origins bool
	idleOnComplete, idleOnFail            time.Duration
	heads, oldMCP                         []string
	bedrockRole, bedrockRegion            string
	gui                                   bool
}

func (l *localFlags) register(cmd *cobra.Command) {
	l.requestFlags.register(cmd)
	f := cmd.Flags()
	f.StringVarP(&l.cwd, "cwd", "C", "", "working `directory` (default the current one)")
	f.StringArrayVar(&l.share, "share", nil, "let others see the run: team, user@host or public, each with :view (default) or :edit; repeat")
	f.Lookup("share").NoOptDefVal = shareSelf
	f.StringVar(&l.profile, "profile", "", "agent profile `id`: what the agent may do (default: all that its tools can)")
	f.BoolVar(&l.strictMCP, "strict-mcp-startup", false, "fail when an MCP server does not start (default: go on without it)")
	f.DurationVar(&l.mcpTimeout, "mcp-startup-timeout", 0, "longest time for the start of an MCP server (default 20s)")
	l.registerHidden(cmd)
}

// registerHidden adds what the Oz command line takes without showing it: for
// workers that start this program, and for older scripts.
func (l *localFlags) registerHidden(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&l.taskID, "task-id", "", "carry out this run of the server (how workers start a runner)")
	f.BoolVar(&l.sandboxed, "sandboxed", false, "say that this is an isolated sandbox")
	f.DurationVar(&l.idleOnComplete, "idle-on-complete", 0, "stay for follow-ups (they begin a new execution here)")
	f.DurationVar(&l.idleOnFail, "idle-on-fail", 0, "stay after an error (a follow-up begins a new execution here)")
	f.Lookup("idle-on-complete").NoOptDefVal, f.Lookup("idle-on-fail").NoOptDefVal = "45m", "15m"
	f.BoolVar(&l.skipFirst, "skip-initial-turn", false, "wait for the first message")
	f.BoolVar(&l.gitHub, "configure-git-credentials-with-github", false, "set up git with credentials of the server")
	f.StringArrayVar(&l.heads, "repository-head-override-json", nil, "check out another head of a repository")
	f.BoolVar(&l.origins, "remove-repository-origins", false, "take the remote origin away")
	f.StringVar(&l.bedrockRole, "bedrock-inference-role", "", "AWS role for models on Bedrock")
	f.StringVar(&l.bedrockRegion, "bedrock-role-region", "", "its region")
	f.StringArrayVar(&l.oldMCP, "mcp-server", nil, "older name of --mcp, uuids only")
	f.BoolVar(&l.gui, "gui", false, "older flag of the terminal")
	for _, name := range []string{"task-id", "sandboxed", "idle-on-complete", "idle-on-fail", "skip-initial-turn", "configure-git-credentials-with-github",
		"repository-head-override-json", "remove-repository-origins", "bedrock-inference-role", "bedrock-role-region", "mcp-server", "gui"} {
		_ = f.MarkHidden(name) // the flags exist
	}
}

func (a *app) agentRunCommand() *cobra.Command {
	var l localFlags
	cmd := &cobra.Command{
		Use: "run", Aliases: []string{"r"}, Short: "Run an agent here, tracked by the server", Args: l.idleValue,
		Long: `Run an agent in this directory, as you. The server records the run like any
other: others can watch it and send it messages.

The agent runs with your rights and without a sandbox: it can read your files,
and among them the key that 'oz login' keeps. The server's model providers are
used, through a gateway in this process.

With --profile it may do what that agent profile allows. What is prohibited is
refused and ends the run as FAILED; what needs an approval ends it as BLOCKED,
for nobody is asked here. Either makes the exit code 1. A profile judges the text
of commands: it keeps an agent from mistakes, and is no sandbox.`,
		Example: `  oz agent run --prompt 'Explain this repository'
  oz agent run -C ../app -p 'Fix the failing test' --output-format ndjson
  oz agent run -p 'Find the leak' --share team:edit --share ann@example.com`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			runner.HideMemory() // from the agent, which runs as the same user
			return a.agentRun(cmd, &l)
		},
	}
	l.register(cmd)
	return cmd
}

func (a *app) agentRun(cmd *cobra.Command, l *localFlags) error {
	share, err := recipients(l.share)
	if err != nil {
		return err
	}
	if err := l.check(cmd); err != nil {
		return err
	}
	if l.taskID != "" {
		return a.runAssigned(cmd.Context(), l)
	}
	l.mcp = append(l.mcp, l.oldMCP...)
	req, err := l.request(a)
	if err != nil {
		return err
	}
	req.Config.ProfileID = l.profile
	if l.bedrockRole != "" {
		req.Config.InferenceProviders, err = json.Marshal(map[string]any{"aws": map[string]string{"role_arn": l.bedrockRole, "region": l.bedrockRegion}})
		if err != nil {
			return err
		}
	}
	return a.runHere(cmd.Context(), l, req, share)
}

// check judges the flags among themselves, and refuses what this version does
// not have. What only spares a restart, such as staying for follow-ups, is
// taken without effect: a follow-up begins a new execution instead.
func (l *localFlags) check(cmd *cobra.Command) error {
	changed := cmd.Flags().Changed
	switch {
	case l.taskID != "" && (l.prompt != "" || l.savedPrompt != "" || l.file != ""):
		return usageError{errors.New("--task-id excludes --prompt, --saved-prompt and --file")}
	case l.skipFirst && (l.taskID == "" || !changed("idle-on-complete")):
		return usageError{errors.New("--skip-initial-turn needs --task-id and --idle-on-complete")}
	case l.mcpTimeout < 0 || l.mcpTimeout > 10*time.Minute:
		return usageError{errors.New("--mcp-startup-timeout: must be 0s to 10m")}
	case (l.bedrockRole == "") != (l.bedrockRegion == "") && l.taskID == "": // workers may know the role alone
		return usageError{errors.New("--bedrock-inference-role and --bedrock-role-region are needed together")}
	}
	for _, id := range l.oldMCP {
		if uuid.Validate(id) != nil {
			return usageError{fmt.Errorf("--mcp-server: %q is no uuid", id)}
		}
	}
	for _, raw := range l.heads {
		if err := checkHead(raw); err != nil {
			return usageError{fmt.Errorf("--repository-head-override-json: %w", err)}
		}
	}
	for flag, advice := range map[string]string{
		"gui": "leave it out", "skip-initial-turn": "leave it out",
		"configure-git-credentials-with-github": "the server gives its runs the credentials that it has",
		"repository-head-override-json":         "name the branch or commit in the environment", "remove-repository-origins": "leave it out",
	} {
		if changed(flag) {
			return unavailable(flag, advice)
		}
	}
	return nil
}

var commitName = regexp.MustCompile(`^[0-9a-f]{40}$`)

// checkHead judges a value of --repository-head-override-json.
func checkHead(raw string) error {
	var o struct {
		Forge string `json:"code_forge"`
		Owner string `json:"repo_owner"`
		Name  string `json:"repo_name"`
		Head  struct {
			Type  string `json:"type"`
			Value string `json:"value"`
		} `json:"head"`
	}
	d := json.NewDecoder(strings.NewReader(raw))
	d.DisallowUnknownFields()
	switch err := d.Decode(&o); {
	case err != nil:
		return err
	case !slices.Contains([]string{"GITHUB", "GITLAB"}, o.Forge):
		return fmt.Errorf("code_forge: %q is neither GITHUB nor GITLAB", o.Forge)
	case o.Owner == "" || o.Name == "":
		return errors.New("repo_owner and repo_name are needed")
	case o.Head.Type == "COMMIT_SHA" && !commitName.MatchString(o.Head.Value):
		return errors.New("head.value: must be 40 lowercase hexadecimal digits")
	case o.Head.Type != "COMMIT_SHA" && o.Head.Type != "BRANCH":
		return fmt.Errorf("head.type: %q is neither COMMIT_SHA nor BRANCH", o.Head.Type)
	case o.Head.Value == "":
		return errors.New("head.value is needed")
	}
	return nil
}

// idleValue takes a duration behind --idle-on-complete or --idle-on-fail for its
// value: workers write "--idle-on-complete 10m".
func (l *localFlags) idleValue(cmd *cobra.Command, args []string) error {
	f := cmd.Flags()
	if len(args) == 1 && l.taskID != "" && (f.Changed("idle-on-complete") || f.Changed("idle-on-fail")) {
		if _, err := time.ParseDuration(args[0]); err == nil {
			return nil
		}
	}
	return noArgs(cmd, args)
}

// handshake is how a runner in a worker's sandbox finds its execution: by the
// run token in WARP_API_KEY, where workers of other hosts put it, or else from
// standard input.
func (a *app) handshake(l *localFlags) (executor.Handshake, error) {
	if id, ok := task.ParseToken(a.apiKey); ok {
		return executor.Handshake{ServerURL: a.server, TaskID: task.ID(l.taskID), ExecutionID: id, Token: executor.Sensitive(a.apiKey)}, nil
	}
	return runner.ReadHandshake(a.in)
}

// runAssigned is a runner in a worker's sandbox.
func (a *app) runAssigned(ctx context.Context, l *localFlags) error {
	h, err := a.handshake(l)
	if err != nil {
		return err
	}
	if string(h.TaskID) != l.taskID {
		return fmt.Errorf("the handshake is for run %s, not %s", h.TaskID, l.taskID)
	}
	link, err := client.DialLink(h)
	if err != nil {
		return err
	}
	_, err = runner.Run(ctx, link, &runner.Options{Harnesses: agents.All(), Root: l.cwd, CacheDir: h.CacheDir,
		NoSnapshot: l.snapshot.none, SnapshotTimeout: l.snapshot.upload, SnapshotScriptTimeout: l.snapshot.script, StrictMCP: l.strictMCP, MCPStartTimeout: l.mcpTimeout})
	return err
}

// runHere starts a tracked run and carries it out in this process, while the
// terminal shows its log.
func (a *app) runHere(ctx context.Context, l *localFlags, req oz.Request, share []recipient) error {
	dir := l.cwd
	if info, err := os.Stat(dir); dir != "" && (err != nil || !info.IsDir()) {
		return usageError{fmt.Errorf("--cwd: %s is not a directory", dir)}
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	if err := l.loadPrompt(ctx, c, &req); err != nil {
		return err
	}
	t, h, err := c.StartLocal(ctx, req)
	if err != nil {
		return err
	}
	link, err := client.DialLink(h)
	if err != nil {
		return err
	}
	if err := shareRun(ctx, c, t.ID, share); err != nil {
		_ = c.Cancel(context.WithoutCancel(ctx), t.ID) // nobody carries it out
		return fmt.Errorf("--share: %w", err)
	}
	v := a.viewer()
	if s, ok := v.(*console.Stream); ok {
		s.Started(t, a.runURL(t.ID))
	} else {
		a.say("Run %s: %s", t.ID, oneLine(t.Title))
	}
	return a.carryOut(ctx, c, link, t.ID, v, &runner.Options{Harnesses: agents.All(), Root: dir, InPlace: true,
		StrictMCP: l.strictMCP, MCPStartTimeout: l.mcpTimeout})
}

// carryOut runs the agent and the viewer side by side. An interrupt ends the
// run CANCELLED; the viewer then still shows the end.
func (a *app) carryOut(ctx context.Context, c *client.Client, link executor.Link, id task.ID, v viewer, opts *runner.Options) error {
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	defer context.AfterFunc(ctx, func() { stop(runner.ErrInterrupted) })()
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()

	var watch sync.WaitGroup
	watch.Go(func() {
		for e, err := range c.Watch(watching, id, 0) {
			if err != nil {
				return // the outcome is known from the runner
			}
			v.Event(e)
		}
	})
	outcome, err := runner.Run(work, link, opts)
	if err != nil {
		stopWatching()
		watch.Wait()
		return err
	}
	watch.Wait()
	if outcome.State == task.StateCancelled && ctx.Err() != nil {
		return context.Canceled
	}
	t, err := c.Get(context.WithoutCancel(ctx), id)
	if err != nil {
		return err
	}
	return verdict(t)
}
