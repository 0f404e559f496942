package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

func (a *app) runSteerCommand() *cobra.Command {
	var text, mode string
	cmd := &cobra.Command{
		Use: "steer <RUN_ID>", Aliases: []string{"followup"}, Short: "Send a message to a run: it steers an active one and resumes an ended one", Args: oneArg("run id"),
		Example: "  oz run steer RUN_ID -m 'also update the README'",
		RunE: func(cmd *cobra.Command, args []string) error {
			if text == "" {
				return usageError{errors.New("--message is needed")}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := c.FollowUp(cmd.Context(), task.ID(args[0]), oz.Message{Text: text, Mode: task.Mode(mode)}); err != nil {
				return err
			}
			if a.json() {
				return a.emit(map[string]string{})
			}
			a.say("Sent. See 'oz run follow %s'.", args[0])
			return nil
		},
	}
	cmd.Flags().StringVarP(&text, "message", "m", "", "the `text`")
	cmd.Flags().StringVar(&mode, "mode", "", "go on in this `mode`: normal, plan or orchestrate")
	return cmd
}

func (a *app) runAnswerCommand() *cobra.Command {
	var in oz.Answer
	cmd := &cobra.Command{
		Use: "answer <RUN_ID>", Short: "Answer the question that a run waits with, so that it goes on", Args: oneArg("run id"),
		Example: "  oz run answer RUN_ID --choice main\n  oz run answer RUN_ID --choice reject -m 'leave the API as it is'",
		RunE: func(cmd *cobra.Command, args []string) error {
			if in.Choice == "" && in.Text == "" {
				return usageError{errors.New("--choice or --message is needed; 'oz run get' shows the question")}
			}
			return a.taken(args[0], func(c *client.Client) error { return c.Answer(cmd.Context(), task.ID(args[0]), in) })
		},
	}
	f := cmd.Flags()
	f.StringVarP(&in.Choice, "choice", "c", "", "one of the question's `choices`")
	f.StringVarP(&in.Text, "message", "m", "", "the answer in `words`, or more beside the choice")
	f.StringVar(&in.QuestionID, "question", "", "`id` of the question that is meant (default: whatever is open)")
	return cmd
}

// maxPlanFile bounds what approve reads, in bytes; the server has a limit of
// its own, below it.
const maxPlanFile = 1 << 20

func (a *app) runApproveCommand() *cobra.Command {
	var in oz.Approval
	var file string
	cmd := &cobra.Command{
		Use: "approve <RUN_ID>", Short: "Approve a run's plan, so that it is carried out", Args: oneArg("run id"),
		Long: `Approve the newest version of a run's plan, another one with --plan, or your
own text with --file. 'oz artifact get UID' shows a version.`,
		Example: "  oz run approve RUN_ID\n  oz run approve RUN_ID --file better-plan.md -m 'one branch is enough'",
		RunE: func(cmd *cobra.Command, args []string) error {
			if file != "" && in.PlanUID != "" {
				return usageError{errors.New("--file and --plan exclude each other")}
			}
			text, err := planFile(file)
			if err != nil {
				return usageError{err}
			}
			return a.taken(args[0], func(c *client.Client) error {
				if file != "" {
					edited, err := c.EditPlan(cmd.Context(), task.ID(args[0]), oz.PlanEdit{Markdown: text})
					if err != nil {
						return err
					}
					in.PlanUID = edited.UID
				}
				return c.Approve(cmd.Context(), task.ID(args[0]), in)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.PlanUID, "plan", "", "artifact `uid` of the version (default: the newest)")
	f.StringVarP(&file, "file", "f", "", "approve this Markdown `file` instead of what the agent wrote")
	f.StringVarP(&in.Text, "message", "m", "", "`words` for the agent")
	return cmd
}

// planFile reads a plan that a person has written.
func planFile(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("--file: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxPlanFile+1))
	if err != nil {
		return "", fmt.Errorf("--file: %w", err)
	}
	if len(data) > maxPlanFile {
		return "", fmt.Errorf("--file: %s has more than %d bytes", path, maxPlanFile)
	}
	return string(data), nil
}

// taken does something that takes a run on, and says so.
func (a *app) taken(id string, do func(*client.Client) error) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	if err := do(c); err != nil {
		return err
	}
	if a.json() {
		return a.emit(map[string]string{"run_id": id})
	}
	a.say("Taken. See 'oz run follow %s'.", id)
	return nil
}
