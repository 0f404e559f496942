package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/internal/console"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

func (a *app) agentCommand() *cobra.Command {
	return group("agent", "Run agents, and manage agent identities", []string{"a"},
		append([]*cobra.Command{a.agentCloudCommand(), a.agentRunCommand()}, a.identityCommands()...)...)
}

func (a *app) agentCloudCommand() *cobra.Command {
	var r requestFlags
	var attach, labels []string
	var host string
	var follow, open bool
	cmd := &cobra.Command{
		Use: "run-cloud", Aliases: []string{"ra", "run-ambient"}, Short: "Start a run on the server", Args: noArgs,
		Example: `  oz agent run-cloud --prompt 'Fix the failing test' --environment ENV_ID
  oz agent run-cloud -p 'Say hello' --no-environment --follow
  oz agent run-cloud --skill acme/tools:skills/review --host build-1 --attach shot.png`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req, err := r.request(a)
			if err != nil {
				return err
			}
			if host != "" {
				req.Config.WorkerHost = host
			}
			req.Config.WorkerLabels = labels
			if req.Attachments, err = attachments(attach); err != nil {
				return err
			}
			if r.snapshot != (snapshotFlags{}) {
				return unavailable("no-snapshot", "the server keeps what each of its runs leaves behind; leave them out")
			}
			return a.startCloud(cmd.Context(), &r, req, start{follow: follow, open: open})
		},
	}
	r.register(cmd)
	f := cmd.Flags()
	f.BoolVar(&r.noEnvironment, "no-environment", false, "run in a bare sandbox")
	f.StringVar(&host, "host", "", "`worker` that shall run it")
	f.StringArrayVar(&labels, "worker-label", nil, "`label` that the worker must have, such as gpu or zone=eu; repeat")
	f.StringArrayVar(&attach, "attach", nil, "attach this `file` (at most 5, 10 MiB each)")
	f.BoolVar(&follow, "follow", false, "show the transcript until the run ends, and exit as it does")
	f.BoolVar(&open, "open", false, "open the run's page in a browser")
	return a.filterFlag(cmd)
}

// start says what to do with a run once it is started.
type start struct{ follow, open bool }

func (a *app) startCloud(ctx context.Context, r *requestFlags, req oz.Request, then start) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	if err := r.loadPrompt(ctx, c, &req); err != nil {
		return err
	}
	t, waits, err := c.Enqueue(ctx, req)
	if err != nil {
		return err
	}
	switch {
	case a.json() && then.follow:
		a.stream().Started(t, a.runURL(t.ID))
	case a.json():
		err = a.emit(map[string]any{"run_id": t.ID, "task_id": t.ID, "state": t.State, "run_url": a.runURL(t.ID), "at_capacity": waits})
	default:
		a.sayStarted(t, waits)
	}
	if err != nil {
		return err
	}
	if then.open {
		a.openPage(ctx, c, t.ID)
	}
	if then.follow {
		return a.follow(ctx, c, t.ID, 0)
	}
	a.say("Follow it with 'oz run follow %s'.", t.ID)
	return nil
}

func (a *app) sayStarted(t task.Task, waits bool) {
	a.say("Run %s is %s: %s", t.ID, t.State, oneLine(t.Title))
	if waits {
		a.say("The limit of runs at once is reached: it waits until another one ends.")
	}
	if t.Config.EnvironmentID == "" {
		a.say("It runs without an environment.")
	}
}

// runURL is where the run can be read with a key.
func (a *app) runURL(id task.ID) string { return a.server + "/api/v1/agent/runs/" + string(id) }

// openPage shows the run's page in a browser, if the server has one. That it
// cannot is said, and no reason to fail: the run is under way.
func (a *app) openPage(ctx context.Context, c *client.Client, id task.ID) {
	var run struct {
		Page string `json:"session_link"`
	}
	raw, err := c.RunJSON(ctx, id)
	if err == nil {
		err = json.Unmarshal(raw, &run)
	}
	switch {
	case err != nil:
		fmt.Fprintf(a.err, "oz: --open: %v\n", err)
	case run.Page == "" || !strings.HasPrefix(run.Page, "http://") && !strings.HasPrefix(run.Page, "https://"):
		fmt.Fprintln(a.err, "oz: --open: the server names no page for its runs; its operator sets --public-url for that")
	default:
		if err := browse(ctx, run.Page); err != nil {
			fmt.Fprintf(a.err, "oz: --open: %v; the page is %s\n", err, run.Page)
		}
	}
}

// browse opens a page with the program that the system has for it.
func browse(ctx context.Context, page string) error {
	switch runtime.GOOS {
	case "darwin":
		return exec.CommandContext(ctx, "open", page).Run()
	case "windows":
		return exec.CommandContext(ctx, "rundll32", "url.dll,FileProtocolHandler", page).Run()
	}
	return exec.CommandContext(ctx, "xdg-open", page).Run()
}

// stream is where programs read a run's events.
func (a *app) stream() *console.Stream { return console.NewStream(a.out) }
