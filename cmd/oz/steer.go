package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

func (a *app) runSteerCommand() *cobra.Command {
	var text string
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
			if err := c.FollowUp(cmd.Context(), task.ID(args[0]), oz.Message{Text: text}); err != nil {
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
	return cmd
}
