package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/cobra"
)

// endpointLines show a model endpoint.
var endpointLines = []column{{"UID", ".uid"}, {"Name", ".name"}, {"Description", ".description"}, {"Wire", ".wire"}, {"URL", ".base_url"},
	{"Secret", ".secret"}, {"Models", `.models | join(", ")`}, {"Prices", `.prices // [] | map((.models | join(" ")) + ": \(.input) in, \(.output) out") | join("; ")`},
	{"Team", ".scope.uid"}, {"Created", ".created_at"}}

func (a *app) endpointCommand() *cobra.Command {
	return group("endpoint", "Manage a team's own model endpoints", nil,
		a.list(listing{use: "list", short: "List model endpoints", path: "/oz/model-endpoints", member: "model_endpoints", none: "No model endpoints.",
			example: "  oz model endpoint list --jq .model_endpoints[].name",
			columns: []column{{"UID", ".uid"}, {"NAME", ".name"}, {"WIRE", ".wire"}, {"URL", ".base_url"}, {"SECRET", ".secret"}, {"MODELS", `.models | join(", ")`}}}),
		a.endpointGetCommand(), a.endpointCreateCommand(),
		a.remove(removal{use: "delete <UID>", short: "Delete a model endpoint", argument: "model endpoint uid", noun: "model endpoint",
			path: "/oz/model-endpoints/%s", example: "  oz model endpoint delete ENDPOINT_UID --force"}))
}

func (a *app) endpointGetCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "get <UID>", Short: "Show a model endpoint", Args: oneArg("model endpoint uid"),
		Example: "  oz model endpoint get ENDPOINT_UID --jq .models",
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.call(cmd.Context(), http.MethodGet, "/oz/model-endpoints/"+url.PathEscape(args[0]), nil, nil)
			if err != nil {
				return err
			}
			return a.showItem(raw, endpointLines)
		}})
}

func (a *app) endpointCreateCommand() *cobra.Command {
	var name, description, wire, base, secret, prices string
	var bearer bool
	var models []string
	cmd := &cobra.Command{Use: "create", Short: "Let your team's runs use a model endpoint of its own", Args: noArgs,
		Long: "Let your team's runs use a model endpoint of its own, before the server's. For owners and admins of the team. " +
			"The key is a secret of the team; agents do not get it.",
		Example: "  oz secret create HOUSE_KEY --team -f key.txt\n  oz model endpoint create --name house --wire openai --base-url https://models.example.com/v1 --secret HOUSE_KEY --model coder-large"}
	f := cmd.Flags()
	f.StringVarP(&name, "name", "n", "", "`name`")
	f.StringVarP(&description, "description", "d", "", "what it is for")
	f.StringVar(&wire, "wire", "", "what it speaks: anthropic, openai or gemini")
	f.StringVar(&base, "base-url", "", "its `URL`, with /v1 on the openai wire, without a version on the others")
	f.StringVar(&secret, "secret", "", "`name` of the team's secret that is the key")
	f.BoolVar(&bearer, "bearer-auth", false, "send the key as a bearer token on any wire")
	f.StringArrayVar(&models, "model", nil, "`id` that it serves, with * at the end for any rest (repeatable)")
	f.StringVar(&prices, "prices", "", "`file` with prices in JSON: {\"models\": [{\"models\": [\"coder-*\"], \"input\": 0.2, \"output\": 0.8, \"as_of\": \"2026-10-01\"}]}")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		body := fields{"name": name, "wire": wire, "base_url": base, "models": models}
		if name == "" || wire == "" || base == "" || len(models) == 0 {
			return usageError{fmt.Errorf("--name, --wire, --base-url and --model are needed")}
		}
		body.set(cmd, "description", "description", description)
		body.set(cmd, "secret", "secret", secret)
		body.set(cmd, "bearer-auth", "bearer_auth", bearer)
		if prices != "" {
			list, err := readPrices(prices)
			if err != nil {
				return usageError{fmt.Errorf("--prices: %w", err)}
			}
			body["prices"] = list
		}
		return a.change(cmd.Context(), http.MethodPost, "/oz/model-endpoints", body, endpointLines, "The model endpoint is registered; your team's next runs can use it.")
	}
	return a.filterFlag(cmd)
}

// readPrices reads a price file; the server judges what it says.
func readPrices(path string) (json.RawMessage, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Models json.RawMessage `json:"models"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return file.Models, nil
}
