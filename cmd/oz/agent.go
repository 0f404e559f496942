package main

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/internal/console"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

// Limits of attachments (Oz command line, --attach).
const (
	maxAttachments     = 5
	maxAttachmentBytes = 10 << 20
)

func (a *app) agentCommand() *cobra.Command {
	return group("agent", "Run agents", []string{"a"}, a.agentCloudCommand(), a.agentRunCommand())
}

// requestFlags are what both ways of running an agent take.
type requestFlags struct {
	prompt, skill, name, model, environment, file, conversation, harness, title string
	noEnvironment                                                               bool
}

func (r *requestFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&r.prompt, "prompt", "p", "", "what to do")
	f.StringVar(&r.skill, "skill", "", "skill `spec`: name, repo:name or org/repo:name")
	f.StringVarP(&r.name, "name", "n", "", "config `name`, for grouping")
	f.StringVar(&r.model, "model", "", "model `id`")
	f.StringVarP(&r.environment, "environment", "e", "", "environment `id` to prepare first")
	f.StringVarP(&r.file, "file", "f", "", "run configuration `file`, YAML or JSON (env WARP_AGENT_CONFIG_FILE)")
	f.StringVar(&r.conversation, "conversation", "", "continue this conversation `id`")
	f.StringVar(&r.harness, "harness", "", "coding agent (default oz, the built-in one)")
	f.StringVar(&r.title, "title", "", "title of the run")
}

// request makes the wire's request. Flags win over the file.
func (r *requestFlags) request(a *app) (oz.Request, error) {
	if r.prompt == "" && r.skill == "" && r.conversation == "" {
		return oz.Request{}, usageError{errors.New("--prompt or --skill is needed")}
	}
	if r.environment != "" && r.noEnvironment {
		return oz.Request{}, usageError{errors.New("--environment and --no-environment exclude each other")}
	}
	config, err := a.configFile(r.file)
	if err != nil {
		return oz.Request{}, err
	}
	for value, to := range map[*string]*string{&r.name: &config.Name, &r.model: &config.ModelID, &r.environment: &config.EnvironmentID} {
		if *value != "" {
			*to = *value
		}
	}
	if r.noEnvironment {
		config.EnvironmentID = ""
	}
	if r.harness != "" {
		config.Harness = &task.HarnessConfig{Type: harnessType(r.harness)}
	}
	return oz.Request{Prompt: r.prompt, Skill: r.skill, Title: r.title, ConversationID: r.conversation, Config: config, Source: a.source()}, nil
}

// source says what makes the run: a step of a CI job, or a person.
func (a *app) source() task.Source {
	if a.env("GITHUB_ACTIONS") == "true" {
		return task.SourceGitHubAction
	}
	return task.SourceCLI
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

func (a *app) agentCloudCommand() *cobra.Command {
	var r requestFlags
	var attach []string
	var host, parent string
	var team, personal, follow bool
	cmd := &cobra.Command{
		Use: "run-cloud", Aliases: []string{"ra", "run-ambient"}, Short: "Start a run on the server", Args: noArgs,
		Example: "  oz agent run-cloud --prompt 'Fix the failing test' --environment ENV_ID\n  oz agent run-cloud -p 'Say hello' --no-environment --follow",
		RunE: func(cmd *cobra.Command, _ []string) error {
			req, err := r.request(a)
			if err != nil {
				return err
			}
			if team && personal {
				return usageError{errors.New("--team and --personal exclude each other")}
			}
			if team || personal {
				req.Team = &team
			}
			req.Config.WorkerHost, req.ParentRunID = host, task.ID(parent)
			if req.Attachments, err = attachments(attach); err != nil {
				return err
			}
			return a.startCloud(cmd.Context(), req, follow)
		},
	}
	r.register(cmd)
	f := cmd.Flags()
	f.BoolVar(&r.noEnvironment, "no-environment", false, "run in a bare sandbox")
	f.StringVar(&host, "host", "", "`worker` that shall run it")
	f.StringArrayVar(&attach, "attach", nil, "attach this `file` (at most 5, 10 MiB each)")
	f.StringVar(&parent, "parent-run-id", "", "make it a child of this `run`")
	f.BoolVar(&team, "team", false, "the run is the team's")
	f.BoolVar(&personal, "personal", false, "the run is yours alone")
	f.BoolVar(&follow, "follow", false, "show the transcript until the run ends, and exit as it does")
	return cmd
}

func (a *app) startCloud(ctx context.Context, req oz.Request, follow bool) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	t, err := c.Submit(ctx, req)
	if err != nil {
		return err
	}
	switch {
	case a.json() && follow:
		console.NewStream(a.out).Started(t.ID, a.server+"/api/v1/agent/runs/"+string(t.ID))
	case a.json():
		return a.emit(map[string]any{"run_id": t.ID, "task_id": t.ID, "state": t.State})
	default:
		a.say("Run %s is %s: %s", t.ID, t.State, oneLine(t.Title))
		if req.Config.EnvironmentID == "" {
			a.say("It runs without an environment.")
		}
		if !follow {
			a.say("Follow it with 'oz run follow %s'.", t.ID)
		}
	}
	if !follow {
		return nil
	}
	return a.follow(ctx, c, t.ID, 0)
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
			return nil, fmt.Errorf("--attach: %w", err)
		}
		list = append(list, oz.AttachmentInput{FileName: filepath.Base(p), MIMEType: mime.TypeByExtension(filepath.Ext(p)), Data: data})
	}
	return list, nil
}

// localFlags are those of `agent run` alone.
type localFlags struct {
	requestFlags
	cwd, taskID string
	sandboxed   bool
}

func (a *app) agentRunCommand() *cobra.Command {
	var l localFlags
	cmd := &cobra.Command{
		Use: "run", Aliases: []string{"r"}, Short: "Run an agent here, tracked by the server", Args: noArgs,
		Long: `Run an agent in this directory, as you. The server records the run like any
other: others can watch it and send it messages.

The agent runs with your rights and without a sandbox. The server's model
providers are used, through a gateway in this process.`,
		Example: "  oz agent run --prompt 'Explain this repository'\n  oz agent run -C ../app -p 'Fix the failing test' --output-format ndjson",
		RunE: func(cmd *cobra.Command, _ []string) error {
			runner.HideMemory() // from the agent, which runs as the same user
			if l.taskID != "" {
				return a.runAssigned(cmd.Context(), &l)
			}
			req, err := l.request(a)
			if err != nil {
				return err
			}
			return a.runHere(cmd.Context(), req, l.cwd)
		},
	}
	l.register(cmd)
	f := cmd.Flags()
	f.StringVarP(&l.cwd, "cwd", "C", "", "working `directory` (default the current one)")
	f.StringVar(&l.taskID, "task-id", "", "carry out this run of the server (how workers start a runner)")
	f.BoolVar(&l.sandboxed, "sandboxed", false, "say that this is an isolated sandbox")
	for _, hidden := range []string{"task-id", "sandboxed"} {
		_ = f.MarkHidden(hidden) // the flags exist
	}
	return cmd
}

// runAssigned is a runner in a worker's sandbox: the handshake is on standard input.
func (a *app) runAssigned(ctx context.Context, l *localFlags) error {
	if l.prompt != "" || l.file != "" {
		return usageError{errors.New("--task-id excludes --prompt and --file")}
	}
	h, err := runner.ReadHandshake(a.in)
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
	_, err = runner.Run(ctx, link, &runner.Options{Harnesses: harnesses(), Root: l.cwd, CacheDir: h.CacheDir})
	return err
}

// runHere starts a tracked run and carries it out in this process, while the
// terminal shows its log.
func (a *app) runHere(ctx context.Context, req oz.Request, dir string) error {
	if info, err := os.Stat(dir); dir != "" && (err != nil || !info.IsDir()) {
		return usageError{fmt.Errorf("--cwd: %s is not a directory", dir)}
	}
	c, err := a.client()
	if err != nil {
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
	v := a.viewer()
	if s, ok := v.(*console.Stream); ok {
		s.Started(t.ID, a.server+"/api/v1/agent/runs/"+string(t.ID))
	} else {
		a.say("Run %s: %s", t.ID, oneLine(t.Title))
	}
	return a.carryOut(ctx, c, link, t.ID, v, &runner.Options{Harnesses: harnesses(), Root: dir, InPlace: true})
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
