package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/internal/console"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

func (a *app) runCommand() *cobra.Command {
	return group("run", "List, read, follow, steer, share, answer and cancel runs", []string{"task"},
		a.runListCommand(), a.runGetCommand(), a.runFollowCommand(), a.runSteerCommand(), a.runAnswerCommand(), a.runApproveCommand(), a.runCancelCommand(), a.runMessageCommand(), a.runConversationCommand(),
		a.runShareCommand(), a.runLinkCommand(), a.runEditCommand(), a.runForkCommand())
}

// listFlags are the filters of `run list`.
type listFlags struct {
	limit                                                                 int
	states                                                                []string
	source, location, creator, environment, skill, name, model            string
	schedule, ancestor, artifact, createdAfter, createdBefore, updatedAft string
	text, sortBy, sortOrder, cursor                                       string
}

func (a *app) runListCommand() *cobra.Command {
	var l listFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List runs, newest first", Args: noArgs,
		Example: "  oz run list --state in-progress\n  oz run list -q 'flaky test' --output-format json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := l.query()
			if err != nil {
				return usageError{flagError(err)}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			raw, err := c.RunsJSON(cmd.Context(), q)
			if err != nil {
				return err
			}
			return a.showRuns(raw)
		},
	}
	f := cmd.Flags()
	f.IntVarP(&l.limit, "limit", "L", 10, "how many, at most 500")
	f.StringSliceVar(&l.states, "state", nil, "any of queued, pending, claimed, in-progress, succeeded, failed, error, blocked, cancelled")
	f.StringVar(&l.source, "source", "", "api, cli, local, slack, linear, scheduled-agent, web-app, ...")
	f.StringVar(&l.location, "execution-location", "", "local or remote")
	f.StringVar(&l.creator, "creator", "", "`uid` of who asked")
	f.StringVar(&l.environment, "environment", "", "environment `id`, or empty-environment")
	f.StringVar(&l.skill, "skill", "", "skill `spec`")
	f.StringVar(&l.name, "name", "", "config `name`")
	f.StringVar(&l.model, "model", "", "model `id`")
	f.StringVar(&l.schedule, "schedule", "", "`id` of the schedule that made it")
	f.StringVar(&l.ancestor, "ancestor-run", "", "descendants of this `run`")
	f.StringVar(&l.artifact, "artifact-type", "", "plan, pull-request, screenshot, file, external-reference")
	f.StringVar(&l.createdAfter, "created-after", "", "RFC 3339 `time`")
	f.StringVar(&l.createdBefore, "created-before", "", "RFC 3339 `time`")
	f.StringVar(&l.updatedAft, "updated-after", "", "RFC 3339 `time`")
	f.StringVarP(&l.text, "query", "q", "", "words in title, prompt or skill")
	f.StringVar(&l.sortBy, "sort-by", "updated-at", "updated-at, created-at, title, agent")
	f.StringVar(&l.sortOrder, "sort-order", "desc", "asc or desc")
	f.StringVar(&l.cursor, "cursor", "", "next page, as the last one named it")
	return a.filterFlag(cmd)
}

// wire turns a flag's word into the wire's: "in-progress" is INPROGRESS.
func wire(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }

// flagError names the flag of the field that the rules name.
func flagError(err error) error {
	var e *task.Error
	if !errors.As(err, &e) || e.Field == "" {
		return err
	}
	return fmt.Errorf("--%s: %s", strings.ReplaceAll(e.Field, "_", "-"), e.Message)
}

func (l *listFlags) query() (task.Query, error) {
	if l.limit < 1 { // the wire's 0 is the default
		return task.Query{}, errors.New("--limit: must be at least 1")
	}
	q := task.Query{Limit: l.limit, Source: task.Source(wire(l.source)), Where: task.Location(wire(l.location)), CreatorUID: l.creator,
		EnvironmentID: l.environment, Skill: l.skill, Name: l.name, ModelID: l.model, AncestorID: task.ID(l.ancestor),
		ScheduleID: l.schedule, ArtifactType: task.ArtifactType(wire(l.artifact)), Text: l.text, Sort: task.SortKey(strings.ReplaceAll(l.sortBy, "-", "_"))}
	for _, s := range l.states {
		q.States = append(q.States, task.State(strings.ReplaceAll(wire(s), "_", "")))
	}
	switch l.sortOrder {
	case "asc", "desc":
		q.Asc = l.sortOrder == "asc"
	default:
		return q, fmt.Errorf("--sort-order: %q is neither asc nor desc", l.sortOrder)
	}
	for _, t := range []struct {
		flag, raw string
		to        *time.Time
	}{{"created-after", l.createdAfter, &q.CreatedAfter}, {"created-before", l.createdBefore, &q.CreatedBefore}, {"updated-after", l.updatedAft, &q.UpdatedAfter}} {
		if t.raw == "" {
			continue
		}
		v, err := time.Parse(time.RFC3339, t.raw)
		if err != nil {
			return q, fmt.Errorf("--%s: %q is not a time like 2026-01-31T09:00:00Z", t.flag, t.raw)
		}
		*t.to = v
	}
	if err := q.Validate(); err != nil {
		return q, err
	}
	if l.cursor != "" {
		after, err := task.ParseCursor(l.cursor, q.Sort, q.Asc)
		if err != nil {
			return q, err
		}
		q.After = after
	}
	return q, nil
}

func (a *app) runGetCommand() *cobra.Command {
	var conversation bool
	cmd := &cobra.Command{
		Use: "get <RUN_ID>", Short: "Show one run", Args: oneArg("run id"),
		Example: "  oz run get RUN_ID --jq .state\n  oz run get RUN_ID --conversation",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if conversation {
				return a.showConversation(cmd.Context(), c, task.ID(args[0]))
			}
			raw, err := c.RunJSON(cmd.Context(), task.ID(args[0]))
			if err != nil {
				return err
			}
			return a.showItem(raw, runLines)
		},
	}
	cmd.Flags().BoolVar(&conversation, "conversation", false, "show the conversation instead")
	return a.filterFlag(cmd)
}

func (a *app) runConversationCommand() *cobra.Command {
	get := &cobra.Command{
		Use: "get <CONVERSATION_ID>", Short: "Show a conversation by its id", Args: oneArg("conversation id"),
		Example: "  oz run conversation get CONVERSATION_ID --output-format json",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			conv, err := c.Conversation(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if a.json() {
				return a.emit(conv)
			}
			return conv.WriteMarkdown(a.cleaned(), "")
		},
	}
	return group("conversation", "Read conversations", nil, a.filterFlag(get))
}

func (a *app) showConversation(ctx context.Context, c *client.Client, id task.ID) error {
	if a.json() {
		conv, err := c.RunConversation(ctx, id)
		if err != nil {
			return err
		}
		return a.emit(conv)
	}
	return c.Transcript(ctx, id, a.cleaned(), "markdown")
}

// cleaned is standard output for what agents and others wrote: no control
// character of theirs reaches a terminal.
func (a *app) cleaned() io.Writer { return console.Clean(a.out) }

func (a *app) runCancelCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cancel <RUN_ID>", Short: "Cancel a run", Args: oneArg("run id"), Example: "  oz run cancel RUN_ID",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := c.Cancel(cmd.Context(), task.ID(args[0])); err != nil {
				return err
			}
			if a.json() {
				return a.emit(map[string]string{"run_id": args[0], "state": string(task.StateCancelled)})
			}
			a.say("Run %s is cancelled.", args[0])
			return nil
		},
	}
}

func (a *app) runFollowCommand() *cobra.Command {
	var after int64
	var types []string
	cmd := &cobra.Command{
		Use: "follow <RUN_ID>", Short: "Show a run's transcript live, until it ends", Args: oneArg("run id"),
		Long: `Show what a run does, from its beginning and then live. A lost connection is
made again where it stopped. The exit code is 0 if the run succeeded, else 1.`,
		Example: "  oz run follow RUN_ID\n  oz run follow RUN_ID --types tool_call,tool_result --output-format ndjson",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			only, err := eventTypes(types)
			if err != nil {
				return err
			}
			return a.follow(cmd.Context(), c, task.ID(args[0]), after, only...)
		},
	}
	cmd.Flags().Int64Var(&after, "after", 0, "begin after the event of this `number`")
	cmd.Flags().StringSliceVar(&types, "types", nil, "show only these `types` of events, such as message, tool_call or error")
	return cmd
}

// eventTypes reads types of events.
func eventTypes(names []string) (types []task.EventType, err error) {
	for _, name := range names {
		types = append(types, task.EventType(strings.TrimSpace(name)))
	}
	if err := oz.CheckEventTypes(types); err != nil {
		return nil, usageError{fmt.Errorf("--types: %w", err)}
	}
	return types, nil
}
