package main

import "github.com/spf13/cobra"

// fields collects what flags say of a thing: only those that were given.
type fields map[string]any

// set adds a member if its flag was given.
func (f fields) set(cmd *cobra.Command, flag, member string, value any) {
	if cmd.Flags().Changed(flag) {
		f[member] = value
	}
}

// own adds whose a new thing is, if that was said.
func (f fields) own(team *bool) {
	if team != nil {
		f["team"] = *team
	}
}

// choice is the optional team flag of requests: nil leaves it to the server.
func choice(team, personal bool) *bool {
	if !team && !personal {
		return nil
	}
	return &team
}

// ownership gives a command --team and --personal.
func ownership(cmd *cobra.Command) func() *bool {
	var team, personal bool
	cmd.Flags().BoolVar(&team, "team", false, "the team's")
	cmd.Flags().BoolVar(&personal, "personal", false, "yours alone")
	cmd.MarkFlagsMutuallyExclusive("team", "personal")
	return func() *bool { return choice(team, personal) }
}
