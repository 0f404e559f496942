package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

// support is `oz harness-support`: what a program around an agent tells the
// server, with the run token that the worker gave it.
type support struct {
	*app
	runID string
}

func (a *app) supportCommand() *cobra.Command {
	s := &support{app: a}
	cmd := group("harness-support", "Report for a run, from around its agent", nil, s.pingCommand(), s.shutdownCommand(), s.finishCommand(),
		s.notifyCommand(), s.artifactCommand(), s.referenceCommand())
	cmd.PersistentFlags().StringVar(&s.runID, "run-id", "", "the `run` (env OZ_RUN_ID)")
	cmd.Hidden = true
	return cmd
}

// link is the execution that the run token is for. It must be one of the run
// that --run-id names: what is told of one run must not reach another.
func (s *support) link(ctx context.Context) (executor.Link, error) {
	id := cmp.Or(s.runID, s.env("OZ_RUN_ID"), s.env("WARP_RUN_ID"))
	if id == "" {
		return nil, usageError{errors.New("--run-id, or OZ_RUN_ID, is needed")}
	}
	exec, ok := task.ParseToken(s.apiKey)
	if !ok {
		return nil, task.Errorf(task.CodeAuthenticationRequired, "only the run itself may report: WARP_API_KEY must hold its run token, which workers put there")
	}
	link, err := client.DialLink(executor.Handshake{ServerURL: s.server, TaskID: task.ID(id), ExecutionID: exec, Token: executor.Sensitive(s.apiKey)})
	if err != nil || s.runID == "" {
		return link, err
	}
	first, err := link.Events(ctx, 0, 1)
	if err == nil && len(first) > 0 && string(first[0].TaskID) != s.runID {
		return nil, task.Errorf(task.CodeNotAuthorized, "the run token in WARP_API_KEY is not for run %s", s.runID)
	}
	if errors.Is(err, task.ErrFenced) {
		return link, nil // each command has its own words for that
	}
	return link, err
}

// done says what was done.
func (s *support) done(text string) error {
	if s.json() {
		return s.emit(map[string]any{})
	}
	s.say("%s", text)
	return nil
}

func (s *support) pingCommand() *cobra.Command {
	return &cobra.Command{Use: "ping", Short: "Show the current run", Args: noArgs, Example: "  oz harness-support ping", RunE: func(cmd *cobra.Command, _ []string) error {
		link, err := s.link(cmd.Context())
		if err != nil {
			return err
		}
		b, err := link.Bundle(cmd.Context())
		if err != nil {
			return err
		}
		if s.json() {
			return s.emit(map[string]any{"run_id": b.Task.ID, "title": b.Task.Title, "state": b.Task.State})
		}
		s.say("Run %s is %s: %s", b.Task.ID, b.Task.State, oneLine(b.Task.Title))
		return nil
	}}
}

// shutdownCommand ends the execution, unless the agent has: its process is over.
func (s *support) shutdownCommand() *cobra.Command {
	var category, message string
	cmd := &cobra.Command{Use: "report-shutdown", Short: "Say that the agent's process is over", Args: noArgs,
		Example: "  oz harness-support --run-id \"$OZ_RUN_ID\" report-shutdown",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (category == "") != (message == "") {
				return usageError{errors.New("--error-category and --error-message are needed together")}
			}
			return s.end(cmd.Context(), shutdown(category, message), "The shutdown is recorded.")
		}}
	cmd.Flags().StringVar(&category, "error-category", "", "what went wrong, such as oom or timeout")
	cmd.Flags().StringVar(&message, "error-message", "", "the same for people")
	return cmd
}

// shutdown is what a shutdown means for a run whose agent has not reported its
// end: without a reason the run is tried again, as when a worker finds it so.
func shutdown(category, message string) task.End {
	end := task.End{State: task.StateError, Status: task.Status{ErrorCode: task.CodeResourceUnavailable,
		Message: "the agent's process ended before it reported an outcome"}}
	switch category {
	case "":
		return end
	case "timeout":
		end.Status.ErrorCode = task.CodeInfrastructureTimeout
	default:
		end.Status.ErrorCode = task.CodeAgentProcessFailed
	}
	end.Status.Message = fmt.Sprintf("the agent's process failed (%s): %s", category, message)
	return end
}

func (s *support) finishCommand() *cobra.Command {
	var status, summary string
	cmd := &cobra.Command{Use: "finish-task", Short: "Say how the run ended", Args: noArgs,
		Example: "  oz harness-support finish-task --status success --summary 'Done.'", RunE: func(cmd *cobra.Command, _ []string) error {
			end := task.End{Status: task.Status{Message: summary}}
			switch status {
			case "success":
				end.State = task.StateSucceeded
			case "failure":
				end.State = task.StateFailed
			default:
				return usageError{fmt.Errorf("--status: %q is neither success nor failure", status)}
			}
			if summary == "" {
				return usageError{errors.New("--summary is needed")}
			}
			return s.end(cmd.Context(), end, "The end of the run is recorded.")
		}}
	cmd.Flags().StringVar(&status, "status", "", "success or failure")
	cmd.Flags().StringVar(&summary, "summary", "", "what was done, for people")
	return cmd
}

// end ends the execution. One that has ended already is no error: the agent has
// said more than this could.
func (s *support) end(ctx context.Context, end task.End, text string) error {
	link, err := s.link(ctx)
	if err != nil {
		return err
	}
	beat, err := link.Heartbeat(ctx)
	if err == nil && end.State != task.StateError {
		err = link.Begin(ctx) // an agent that reports only its end has begun by that
	}
	if err == nil {
		end.SeenInput = beat.LastInput
		err = link.End(ctx, end)
	}
	if errors.Is(err, task.ErrFenced) {
		return s.done("The execution has ended before.")
	}
	if err != nil {
		return err
	}
	return s.done(text)
}

// outreach is the link for what is told beside the agent's own events.
func (s *support) outreach(ctx context.Context) (executor.Outreach, error) {
	link, err := s.link(ctx)
	if err != nil {
		return nil, err
	}
	o, ok := link.(executor.Outreach)
	if !ok {
		return nil, task.Errorf(task.CodeFeatureNotAvailable, "this run takes reports from its own runner only")
	}
	return o, nil
}

func (s *support) notifyCommand() *cobra.Command {
	var message string
	cmd := &cobra.Command{Use: "notify-user", Short: "Tell the run's people something, where they asked for it", Args: noArgs,
		Long: `Tell the run's people something before its end. The note stands in the run's log, and is
said where the run was asked for: in the thread, issue, pull request or ticket. A run can make ` + strconv.Itoa(executor.MaxNotes) + `.`,
		Example: "  oz harness-support notify-user --message 'The tests pass; writing the change now.'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if message == "" {
				return usageError{errors.New("--message is needed")}
			}
			link, err := s.outreach(cmd.Context())
			if err == nil {
				err = link.NotifyUser(cmd.Context(), executor.Note{Message: message})
			}
			if err != nil {
				return err
			}
			return s.done("The note is on its way.")
		}}
	cmd.Flags().StringVar(&message, "message", "", "what to tell: Markdown `text`")
	return cmd
}

func (s *support) artifactCommand() *cobra.Command {
	var url, branch string
	cmd := &cobra.Command{Use: "pull-request", Short: "Report a pull request of the run", Args: noArgs,
		Example: "  oz harness-support report-artifact pull-request --url https://github.com/acme/shop/pull/7 --branch mend",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if url == "" || branch == "" {
				return usageError{errors.New("--url and --branch are needed")}
			}
			return s.report(cmd.Context(), executor.Report{Type: task.ArtifactPullRequest, Data: executor.ReportData{URL: url, Branch: branch}})
		}}
	cmd.Flags().StringVar(&url, "url", "", "`address` of the pull request")
	cmd.Flags().StringVar(&branch, "branch", "", "`branch` that it asks to take in")
	return group("report-artifact", "Report what the run has made", nil, cmd)
}

func (s *support) referenceCommand() *cobra.Command {
	var data executor.ReportData
	var metadata string
	cmd := &cobra.Command{Use: "report-external-reference", Short: "Report something outside that the run has made", Args: noArgs,
		Example: "  oz harness-support report-external-reference --url https://linear.app/acme/issue/SHOP-7 --reference-type LINEAR_ISSUE",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if data.URL == "" || data.ReferenceType == "" {
				return usageError{errors.New("--url and --reference-type are needed")}
			}
			var object map[string]any
			if metadata != "" && (json.Unmarshal([]byte(metadata), &object) != nil || object == nil) {
				return usageError{errors.New("--metadata must be a JSON object")}
			}
			data.Metadata = json.RawMessage(metadata)
			return s.report(cmd.Context(), executor.Report{Type: task.ArtifactReference, Data: data})
		}}
	cmd.Flags().StringVar(&data.URL, "url", "", "its `address`, at most 2048 bytes")
	cmd.Flags().StringVar(&data.ReferenceType, "reference-type", "", "what it is, such as `LINEAR_ISSUE`; at most 256 bytes")
	cmd.Flags().StringVar(&data.Title, "title", "", "its `title`, for people")
	cmd.Flags().StringVar(&metadata, "metadata", "", "more about it: a `JSON` object")
	return cmd
}

// report adds an artifact and prints its UID.
func (s *support) report(ctx context.Context, r executor.Report) error {
	link, err := s.outreach(ctx)
	if err != nil {
		return err
	}
	uid, err := link.ReportArtifact(ctx, r)
	if err != nil {
		return err
	}
	if s.json() {
		return s.emit(map[string]string{"artifact_uid": uid})
	}
	s.say("Reported as artifact %s.", uid)
	return nil
}
