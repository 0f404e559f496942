package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

func (a *app) runLinkCommand() *cobra.Command {
	return group("link", "Make, list and revoke links that open a run for whoever has them", nil,
		a.runLinkCreateCommand(), a.runLinkListCommand(), a.runLinkRevokeCommand())
}

func (a *app) runLinkCreateCommand() *cobra.Command {
	spec := oz.RunLinkSpec{}
	var edit bool
	cmd := &cobra.Command{
		Use: "create <RUN_ID>", Short: "Make a link; it is shown this once", Args: oneArg("run id"),
		Long: `Make a link to a run. Whoever has it sees the run, and with --edit also sends it
messages and, with an account, takes over. Whether an account is needed to see
it is up to the server.`,
		Example: "  oz run link create RUN_ID --name review --expires 24h\n  oz run link create RUN_ID --edit",
		RunE: func(cmd *cobra.Command, args []string) error {
			if spec.Life%time.Minute != 0 || spec.Life < 0 || cmd.Flags().Changed("expires") && spec.Life == 0 {
				return usageError{errors.New("--expires: must be whole minutes, 5m to 2160h")}
			}
			spec.Role = task.RoleViewer
			if edit {
				spec.Role = task.RoleEditor
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			token, address, l, err := c.CreateRunLink(cmd.Context(), task.ID(args[0]), spec)
			if err != nil {
				return err
			}
			if a.json() {
				return a.emit(map[string]any{"token": token, "url": address, "link": map[string]any{"uid": l.UID, "name": l.Name, "role": l.Role,
					"created_at": l.CreatedAt, "expires_at": l.ExpiresAt}})
			}
			fmt.Fprintln(a.out, address)
			fmt.Fprintf(a.err, "It opens the run as %s until %s. Revoke it with 'oz run link revoke %s %s'.\n", l.Role, l.ExpiresAt.Local().Format(time.DateTime), args[0], l.UID)
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&edit, "edit", false, "let its holders edit the run, too")
	f.StringVar(&spec.Name, "name", "", "what it is for, for `people`")
	f.DurationVar(&spec.Life, "expires", 0, "how `long` it works, 5m to 2160h (default 7 days)")
	return a.filterFlag(cmd)
}

func (a *app) runLinkListCommand() *cobra.Command {
	l := listing{member: "links", none: "No links. Make one with 'oz run link create RUN_ID'.", columns: []column{
		{"UID", ".uid"}, {"NAME", ".name"}, {"ROLE", ".role"}, {"EXPIRES", ".expires_at"}, {"MADE BY", `.created_by | (.display_name // .uid)`}}}
	return a.filterFlag(&cobra.Command{Use: "list <RUN_ID>", Short: "List the links to a run that work", Args: oneArg("run id"), Example: "  oz run link list RUN_ID",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.listPath(cmd.Context(), "/oz/runs/%s/links", args[0], l)
		}})
}

func (a *app) runLinkRevokeCommand() *cobra.Command {
	return &cobra.Command{Use: "revoke <RUN_ID> <LINK_UID>", Short: "End a link; who follows the run by it is cut off within seconds", Args: cobra.ExactArgs(2),
		Example: "  oz run link revoke RUN_ID LINK_UID",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := c.RevokeRunLink(cmd.Context(), task.ID(args[0]), args[1]); err != nil {
				return err
			}
			if a.json() {
				return a.emit(map[string]string{})
			}
			a.say("Revoked.")
			return nil
		}}
}

func (a *app) runEditCommand() *cobra.Command {
	return group("edit", "Ask to edit a run, and decide who may", nil, a.runEditAskCommand(), a.runEditListCommand(),
		a.runEditDecideCommand("approve", "Let the person edit the run"), a.runEditDecideCommand("refuse", "Refuse a request to edit"))
}

// editLines show a request to edit.
var editLines = []column{{"Request", ".uid"}, {"Person", `.user | (.display_name // .uid)`}, {"State", ".state"}, {"Message", ".message"}}

func (a *app) runEditAskCommand() *cobra.Command {
	var message string
	cmd := &cobra.Command{Use: "ask <RUN_ID>", Short: "Ask the owner of a run to let you edit it", Args: oneArg("run id"),
		Example: "  oz run edit ask RUN_ID -m 'to answer its question'",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), http.MethodPost, "/oz/runs/"+url.PathEscape(args[0])+"/edit-requests", map[string]string{"message": message}, editLines, "Asked.")
		}}
	cmd.Flags().StringVarP(&message, "message", "m", "", "why, in your `words`")
	return a.filterFlag(cmd)
}

func (a *app) runEditListCommand() *cobra.Command {
	l := listing{member: "requests", none: "Nobody asks to edit it.", columns: []column{
		{"UID", ".uid"}, {"PERSON", `.user | (.display_name // .uid)`}, {"STATE", ".state"}, {"ASKED", ".created_at"}, {"MESSAGE", ".message"}}}
	return a.filterFlag(&cobra.Command{Use: "list <RUN_ID>", Short: "List who asks to edit a run", Args: oneArg("run id"), Example: "  oz run edit list RUN_ID",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.listPath(cmd.Context(), "/oz/runs/%s/edit-requests", args[0], l)
		}})
}

func (a *app) runEditDecideCommand(decision, short string) *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: decision + " <RUN_ID> <REQUEST_UID>", Short: short, Args: cobra.ExactArgs(2), Example: "  oz run edit " + decision + " RUN_ID REQUEST_UID",
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/oz/runs/" + url.PathEscape(args[0]) + "/edit-requests/" + url.PathEscape(args[1]) + "/decision"
			return a.change(cmd.Context(), http.MethodPost, path, map[string]string{"decision": decision}, editLines, "Decided.")
		}})
}
