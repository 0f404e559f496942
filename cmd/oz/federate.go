package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

// maxIdentityAnswer bounds what a runner may answer.
const maxIdentityAnswer = 1 << 20

// federate is `oz federate`: inside a run it proves to other services which run
// it is. The runner is asked, or with a run token the server.
type federate struct {
	*app
	runID    string
	request  executor.IdentityRequest
	duration time.Duration
}

func (a *app) federateCommand() *cobra.Command {
	f := &federate{app: a}
	cmd := group("federate", "Prove to clouds and other services which run this is", nil, f.tokenCommand(), f.gcpCommand())
	cmd.Long = `Inside a run, make an identity token: a signed JSON web token that says which run
it is, for a service that trusts this server. So a run reaches a cloud without a key
of it being kept anywhere. The providers of an environment set AWS and Google Cloud up
for all runs of an environment; these commands are for everything else.`
	p := cmd.PersistentFlags()
	p.StringVar(&f.runID, "run-id", "", "the `run` that this is part of (env OZ_RUN_ID)")
	p.DurationVar(&f.duration, "duration", time.Hour, "for how long it is good: 5m to 3h")
	return cmd
}

func (f *federate) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "issue-token", Short: "Print an identity token of this run", Args: noArgs,
		Example: `  oz federate issue-token --audience https://vault.example.com > token
  oz federate issue-token --audience sts.amazonaws.com --subject-template scoped_principal --duration 15m`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.request.Audience == "" {
				return usageError{errors.New("--audience is needed: the service that the token is for")}
			}
			token, err := f.token(cmd.Context())
			if err != nil {
				return err
			}
			if f.json() {
				return f.emit(token)
			}
			f.say("%s", token.Token.Reveal())
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.request.Audience, "audience", "", "the `service` that it is for, as that service wants it")
	fl.StringSliceVar(&f.request.Subject, "subject-template", nil,
		"what the subject is made of, in order: principal, scoped_principal, email, teams, environment, agent_name, skill_spec, run_id, host")
	return cmd
}

// gcpAnswer is what Google's libraries read of a program that they run for a
// token (AIP-4117, executable-sourced credentials).
type gcpAnswer struct {
	Version   int    `json:"version"`
	Success   bool   `json:"success"`
	TokenType string `json:"token_type,omitempty"`
	IDToken   string `json:"id_token,omitempty"`
	Expires   int64  `json:"expiration_time,omitempty"` // in seconds since 1970
	Code      string `json:"code,omitempty"`
	Message   string `json:"message,omitempty"`
}

func (f *federate) gcpCommand() *cobra.Command {
	var tokenType, file string
	cmd := &cobra.Command{
		Use: "issue-gcp-token", Short: "Print an identity token as Google's libraries read it of a program", Args: noArgs,
		Long: `For a credential configuration whose source is an executable. Google's libraries
pass audience, token type and output file in GOOGLE_EXTERNAL_ACCOUNT_* variables.`,
		Example: "  oz federate issue-gcp-token --audience //iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/oz",
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.request.Audience = cmp.Or(f.request.Audience, f.env("GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE"))
			if f.request.Audience == "" {
				return usageError{errors.New("--audience, or GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE, is needed")}
			}
			if strings.HasPrefix(f.request.Audience, "//") { // Google checks for the form with a scheme
				f.request.Audience = "https:" + f.request.Audience
			}
			tokenType = cmp.Or(tokenType, f.env("GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE"), executor.IdentityTokenType)
			return f.gcp(cmd.Context(), tokenType, cmp.Or(file, f.env("GOOGLE_EXTERNAL_ACCOUNT_OUTPUT_FILE")))
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.request.Audience, "audience", "", "the workload identity `provider` (env GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE)")
	fl.StringVar(&tokenType, "token-type", "", "what the token is called (env GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE; default "+executor.IdentityTokenType+")")
	fl.StringVar(&file, "output-file", "", "a `file` to write the answer to, too (env GOOGLE_EXTERNAL_ACCOUNT_OUTPUT_FILE)")
	return cmd
}

// gcp prints the answer; a refusal as well, which the libraries show.
func (f *federate) gcp(ctx context.Context, tokenType, file string) error {
	answer := gcpAnswer{Version: 1, TokenType: tokenType}
	token, err := f.token(ctx)
	if err != nil {
		answer = gcpAnswer{Version: 1, Code: string(task.CodeOf(err)), Message: err.Error()}
	} else {
		answer.Success, answer.IDToken, answer.Expires = true, token.Token.Reveal(), token.ExpiresAt.Unix()
	}
	data, encodeErr := json.Marshal(answer)
	if encodeErr != nil {
		return encodeErr
	}
	if err == nil && file != "" {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return fmt.Errorf("--output-file: %w", err)
		}
	}
	_, writeErr := fmt.Fprintf(f.out, "%s\n", data)
	return errors.Join(err, writeErr)
}

// token asks whoever can be asked.
func (f *federate) token(ctx context.Context) (executor.IdentityToken, error) {
	here := cmp.Or(f.env("OZ_RUN_ID"), f.env("WARP_RUN_ID"))
	id := cmp.Or(f.runID, here)
	if here != "" && id != here {
		return executor.IdentityToken{}, usageError{fmt.Errorf("--run-id: this is part of run %s, and a run proves only who it is itself", here)}
	}
	f.request.DurationSeconds = int(f.duration / time.Second)
	if at := f.env(executor.EnvIdentityURL); at != "" {
		return askRunner(ctx, at, f.env(executor.EnvIdentityToken), f.request)
	}
	exec, ok := task.ParseToken(f.apiKey)
	if !ok || id == "" {
		return executor.IdentityToken{}, task.Errorf(task.CodeAuthenticationRequired,
			"identity tokens are for runs: this is no part of one, or its runner gives none (%s is not set)", executor.EnvIdentityURL)
	}
	link, err := client.DialLink(executor.Handshake{ServerURL: f.server, TaskID: task.ID(id), ExecutionID: exec, Token: executor.Sensitive(f.apiKey)})
	if err != nil {
		return executor.IdentityToken{}, err
	}
	from, ok := link.(executor.Identifier)
	if !ok {
		return executor.IdentityToken{}, task.Errorf(task.CodeFeatureNotAvailable, "this oz asks no server for identity tokens")
	}
	return from.IdentityToken(ctx, f.request)
}

// askRunner asks the runner around this process, on loopback.
func askRunner(ctx context.Context, at, token string, r executor.IdentityRequest) (out executor.IdentityToken, err error) {
	body, err := json.Marshal(r)
	if err != nil {
		return out, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(body))
	if err != nil {
		return out, usageError{fmt.Errorf("%s is no address", executor.EnvIdentityURL)}
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	answer, err := (&http.Client{Transport: &http.Transport{}}).Do(req) // by no proxy
	if err != nil {
		return out, task.Errorf(task.CodeResourceUnavailable, "the runner of this run does not answer: %w", err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxIdentityAnswer))
	if err != nil {
		return out, task.Errorf(task.CodeResourceUnavailable, "the runner's answer broke off: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		var refusal executor.IdentityRefusal
		if json.Unmarshal(data, &refusal) != nil || !refusal.Code.Known() {
			return out, task.Errorf(task.CodeInternal, "the runner of this run answered %s", answer.Status)
		}
		return out, task.Errorf(refusal.Code, "%s", refusal.Message)
	}
	return out, json.Unmarshal(data, &out)
}
