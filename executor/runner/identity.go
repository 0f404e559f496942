package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// How tokens in files are kept fresh.
const (
	// refreshAfter is the part of its life after which a token is replaced.
	refreshAfter = 2
	// refreshRetry is how long after a failure the next attempt is made.
	refreshRetry = time.Minute
	// awsAudience is the audience of AWS (Oz platform, cloud providers).
	awsAudience = "sts.amazonaws.com"
)

// identity is what the agent's processes have to prove to other services which
// run they belong to: files with tokens for the clouds of the environment, and
// an address on loopback for all others. Nil is none.
type identity struct {
	env  []string
	dir  string
	stop context.CancelFunc
	work sync.WaitGroup
	desk *identityDesk
}

func (i *identity) environ() []string {
	if i == nil {
		return nil
	}
	return i.env
}

// close ends what serves and refreshes, and removes the files.
func (i *identity) close() {
	if i == nil {
		return
	}
	i.stop()
	i.work.Wait()
	_ = os.RemoveAll(i.dir) // it goes with the sandbox anyway
}

// cloud is one that the environment logs in to.
type cloud struct {
	name    string
	request executor.IdentityRequest
	file    string // of the token
}

// openIdentity signs in to the environment's clouds, and lets the agent's
// processes ask for further tokens until close.
func (x *execution) openIdentity(ctx context.Context) (*identity, error) {
	config, err := x.environment()
	if err != nil {
		return nil, err
	}
	from, ok := x.link.(executor.Identifier)
	switch {
	case x.bundle.Task.Untrusted: // the platform gives it none
		return nil, nil
	case !ok && config.Providers != nil:
		return nil, task.Errorf(task.CodeFeatureNotAvailable, "this server issues no identity tokens, which the environment's cloud providers need")
	case !ok:
		return nil, nil
	}
	i := &identity{}
	if i.dir, err = os.MkdirTemp("", "oz-identity-"); err != nil {
		return nil, fmt.Errorf("make a directory for identity tokens: %w", err)
	}
	ctx, i.stop = context.WithCancel(ctx)
	if err := x.fillIdentity(ctx, i, config.Providers, from); err != nil {
		i.close()
		return nil, err
	}
	return i, nil
}

func (x *execution) fillIdentity(ctx context.Context, i *identity, p *environment.Providers, from executor.Identifier) error {
	clouds, err := x.clouds(i, p)
	if err != nil {
		return err
	}
	for _, c := range clouds {
		token, err := x.tokenFile(ctx, c, from)
		if err != nil {
			return task.Errorf(task.CodeOf(err), "sign in to %s: %w", c.name, err)
		}
		i.work.Go(func() { x.refreshToken(ctx, c, from, token) })
	}
	i.desk = newIdentityDesk(x, from)
	vars, err := i.desk.serve(ctx, &i.work)
	i.env = append(i.env, vars...)
	return err
}

// clouds are those of the environment, with what their programs look for.
func (x *execution) clouds(i *identity, p *environment.Providers) (out []cloud, err error) {
	if p == nil {
		return nil, nil
	}
	if p.AWS != nil {
		c := cloud{name: "AWS", file: filepath.Join(i.dir, "aws-token"),
			request: executor.IdentityRequest{Audience: awsAudience, Subject: []string{"scoped_principal"}}}
		i.env = append(i.env, "AWS_ROLE_ARN="+p.AWS.RoleARN, "AWS_WEB_IDENTITY_TOKEN_FILE="+c.file, "AWS_ROLE_SESSION_NAME=Oz_Run_"+string(x.bundle.Task.ID))
		out = append(out, c)
	}
	if p.GCP != nil {
		at := gcpResource(*p.GCP)
		c := cloud{name: "Google Cloud", file: filepath.Join(i.dir, "gcp-token"), request: executor.IdentityRequest{Audience: "https:" + at}}
		data, err := json.MarshalIndent(gcpCredentials(*p.GCP, at, c.file), "", "  ")
		if err != nil {
			return nil, err
		}
		file := filepath.Join(i.dir, "gcp.json")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return nil, fmt.Errorf("sign in to Google Cloud: %w", err)
		}
		i.env = append(i.env, "GOOGLE_APPLICATION_CREDENTIALS="+file, "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE="+file)
		out = append(out, c)
	}
	return out, nil
}

// gcpResource names a provider of a workload identity pool.
func gcpResource(p environment.GCPProvider) string {
	return "//iam.googleapis.com/projects/" + p.ProjectNumber + "/locations/global/workloadIdentityPools/" + p.PoolID + "/providers/" + p.ProviderID
}

// externalAccount is a credential configuration of Google's libraries
// (AIP-4117, workload identity federation) that reads its token from a file.
type externalAccount struct {
	Type             string           `json:"type"`
	Audience         string           `json:"audience"`
	SubjectTokenType string           `json:"subject_token_type"`
	TokenURL         string           `json:"token_url"`
	Source           credentialSource `json:"credential_source"`
	Impersonation    string           `json:"service_account_impersonation_url,omitempty"`
}

type credentialSource struct {
	File string `json:"file"`
}

func gcpCredentials(p environment.GCPProvider, resource, file string) externalAccount {
	c := externalAccount{Type: "external_account", Audience: resource, SubjectTokenType: executor.IdentityTokenType,
		TokenURL: "https://sts.googleapis.com/v1/token", Source: credentialSource{File: file}}
	if p.ServiceAccountEmail != "" {
		c.Impersonation = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + p.ServiceAccountEmail + ":generateAccessToken"
	}
	return c
}

// tokenFile puts a new token into its file, whole or not at all.
func (x *execution) tokenFile(ctx context.Context, c cloud, from executor.Identifier) (executor.IdentityToken, error) {
	token, err := x.identityToken(ctx, from, c.request)
	if err != nil {
		return token, err
	}
	if err := os.WriteFile(c.file+".new", []byte(token.Token.Reveal()), 0o600); err != nil {
		return token, err
	}
	return token, os.Rename(c.file+".new", c.file)
}

// identityToken asks for a token, which nothing will show from then on.
func (x *execution) identityToken(ctx context.Context, from executor.Identifier, r executor.IdentityRequest) (executor.IdentityToken, error) {
	token, err := from.IdentityToken(ctx, r)
	if err == nil {
		err = x.redactor.Add("identity-token", token.Token.Reveal())
	}
	return token, err
}

// refreshToken replaces the token of a file until ctx ends. The log says once
// that it cannot be done.
func (x *execution) refreshToken(ctx context.Context, c cloud, from executor.Identifier, token executor.IdentityToken) {
	said := false
	for wait := token.ExpiresAt.Sub(x.opts.Clock.Now()) / refreshAfter; ; {
		select {
		case <-ctx.Done():
			return
		case <-x.opts.Clock.After(wait):
		}
		next, err := x.tokenFile(ctx, c, from)
		switch {
		case ctx.Err() != nil || errors.Is(err, task.ErrFenced):
			return
		case err != nil:
			wait = refreshRetry
			if said {
				continue
			}
			said = true
			text := fmt.Sprintf("The identity token for %s could not be renewed; the one that is there is good until %s: %v", c.name, token.ExpiresAt.UTC().Format(time.RFC3339), err)
			if x.notice(ctx, text) != nil {
				return
			}
		default:
			token, said = next, false
			wait = token.ExpiresAt.Sub(x.opts.Clock.Now()) / refreshAfter
		}
	}
}

// notice logs what is noticed beside the work, unless that has ended.
func (x *execution) notice(ctx context.Context, text string) error {
	x.ending.RLock()
	defer x.ending.RUnlock()
	if x.ended {
		return context.Canceled
	}
	return x.journal.Post(ctx, &task.Notice{Text: text})
}
