package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

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
		s.refused("notify-user"), s.refused("report-artifact"), s.refused("report-external-reference"))
	cmd.PersistentFlags().StringVar(&s.runID, "run-id", "", "the `run` (env OZ_RUN_ID)")
	cmd.Hidden = true
	return cmd
}

// link is the execution that the run token is for.
func (s *support) link() (executor.Link, error) {
	id := cmp.Or(s.runID, s.env("OZ_RUN_ID"), s.env("WARP_RUN_ID"))
	if id == "" {
		return nil, usageError{errors.New("--run-id, or OZ_RUN_ID, is needed")}
	}
	exec, ok := task.ParseToken(s.apiKey)
	if !ok {
		return nil, task.Errorf(task.CodeAuthenticationRequired, "only the run itself may report: WARP_API_KEY must hold its run token, which workers put there")
	}
	return client.DialLink(executor.Handshake{ServerURL: s.server, TaskID: task.ID(id), ExecutionID: exec, Token: executor.Sensitive(s.apiKey)})
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
		link, err := s.link()
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
	link, err := s.link()
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

// refused is a command that this server has nothing for yet.
func (s *support) refused(name string) *cobra.Command {
	return &cobra.Command{Use: name, Short: "Not possible with this server", Hidden: true, Example: "  oz harness-support " + name, FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
		RunE: func(*cobra.Command, []string) error {
			return task.Errorf(task.CodeFeatureNotAvailable, "harness-support %s is not available here yet: the agent's own tools report it", name)
		}}
}
