package main

import (
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

var deliveryLines = []column{{"Delivery", ".delivery_id"}, {"Arrived at", ".source"}, {"Received", ".received_at"}, {"Event", ".event"}, {"Bytes", ".size_bytes"},
	{"Outcome", ".outcome"}, {"Reason", ".reason"}, {"Runs", `(.run_ids // []) | join(" ")`}, {"Repeats", ".repeat_of"}, {"Decided", ".decided_at"}}

func (a *app) triggerCommand() *cobra.Command {
	return group("trigger", "Look into what arrived, and let it through again", nil,
		a.triggerGetCommand(), a.triggerRehearseCommand(),
		a.triggerAgainCommand("repeat", "Let a delivery through again, as a new one"),
		a.triggerAgainCommand("approve", "Let a delivery through that was held"), a.triggerRejectCommand())
}

func (a *app) triggerGetCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "get <DELIVERY_ID>", Short: "Show what arrived and what became of it", Args: oneArg("delivery id"), Example: "  oz trigger get DELIVERY_ID --jq .payload",
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.call(cmd.Context(), http.MethodGet, "/oz/deliveries/"+url.PathEscape(args[0]), nil, nil)
			if err != nil {
				return err
			}
			if err := a.showItem(raw, deliveryLines); err != nil || a.json() {
				return err
			}
			return a.showText(raw, ".payload | if . then tojson else empty end")
		}})
}

func (a *app) triggerRehearseCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "rehearse <DELIVERY_ID>", Short: "Tell what a delivery would start now, and start nothing", Args: oneArg("delivery id"),
		Example: "  oz trigger rehearse DELIVERY_ID",
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.call(cmd.Context(), http.MethodPost, "/oz/deliveries/"+url.PathEscape(args[0])+"/rehearse", nil, nil)
			if err != nil {
				return err
			}
			if a.json() {
				return a.emitRaw(raw, "")
			}
			if err := a.showItem(raw, []column{{"Runs", "(.runs | length)"}, {"Why none", ".reason"}, {"Waits for a person", ".held"}}); err != nil {
				return err
			}
			return a.showList(raw, listing{member: "runs", none: "It would start nothing.", columns: []column{{"TITLE", ".title"}, {"GOES ON WITH", ".continues"},
				{"AGENT", ".agent_uid"}, {"SECRETS", `(.secrets // []) | join(" ")`}, {"FILES", `(.files // []) | join(" ")`}, {"ANSWERS", ".address | if . then tojson else empty end"}, {"PROMPT", ".prompt"}}})
		}})
}

func (a *app) triggerAgainCommand(use, short string) *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: use + " <DELIVERY_ID>", Short: short, Args: oneArg("delivery id"), Example: "  oz trigger " + use + " DELIVERY_ID",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), http.MethodPost, "/oz/deliveries/"+url.PathEscape(args[0])+"/"+use, nil, deliveryLines, "The delivery goes through again.")
		}})
}

func (a *app) triggerRejectCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: "reject <DELIVERY_ID>", Short: "Turn a delivery down that was held", Args: oneArg("delivery id"),
		Example: `  oz trigger reject DELIVERY_ID --reason "an advertisement"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]string{}
			if reason != "" {
				body["reason"] = reason
			}
			return a.change(cmd.Context(), http.MethodPost, "/oz/deliveries/"+url.PathEscape(args[0])+"/reject", body, deliveryLines, "The delivery is turned down.")
		}}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for whoever looks into the log")
	return a.filterFlag(cmd)
}
