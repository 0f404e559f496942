// Package oidc lets people sign in with an OpenID Connect provider:
// authorization code flow with PKCE. It says who they are; what they may do is
// decided by package access.
//
//	provider, err := oidc.New(&oidc.Options{Issuer: "https://id.example.com", ClientID: "oz", ClientSecret: secret})
//	...
//	handler, err := rest.New(platform, &rest.Options{SignIn: &rest.SignIn{Provider: provider, Policy: policy}})
//
// # Errors
//
// Methods fail with *task.Error: task.CodeResourceUnavailable while the provider
// cannot be reached, task.CodeNotAuthorized for an answer of it that is not
// valid. No error holds a code, a token or the client's secret.
//
// # Concurrency
//
// A Provider is safe for concurrent use. It reads the provider's configuration
// at first use, and its signing keys when they change.
package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// Options says which provider to use. Issuer and ClientID are required.
type Options struct {
	// Issuer is the provider's address, from which its configuration is read.
	// It must be https, or http on this machine.
	Issuer string
	// ClientID and ClientSecret are those of this server at the provider; a
	// public client has no secret.
	ClientID, ClientSecret string
	// Scopes are asked for besides openid. Default email and profile.
	Scopes []string
	// HTTPClient reaches the provider. Default: one with a time limit of 10 s.
	HTTPClient *http.Client
	// Clock tells whether a token has expired. Default: the machine's.
	Clock task.Clock
}

// Provider is an OpenID Connect provider.
type Provider struct {
	opts Options

	mu       sync.Mutex
	provider *gooidc.Provider // nil until it was reached
}

// New returns a Provider. Nothing is sent yet.
func New(opts *Options) (*Provider, error) {
	if opts == nil || opts.ClientID == "" {
		return nil, task.Invalid("ClientID", "is required: register this server at the provider")
	}
	o := *opts
	u, err := url.Parse(o.Issuer)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, task.Invalid("Issuer", "must be the provider's address, like https://id.example.com")
	}
	if local := u.Hostname() == "127.0.0.1" || u.Hostname() == "localhost" || u.Hostname() == "::1"; u.Scheme != "https" && !(u.Scheme == "http" && local) {
		return nil, task.Invalid("Issuer", "must be https: who can read what the provider sends can sign in as anybody")
	}
	if len(o.Scopes) == 0 {
		o.Scopes = []string{"email", "profile"}
	}
	if o.HTTPClient == nil {
		o.HTTPClient = &http.Client{Timeout: 10 * time.Second}
	}
	if o.Clock == nil {
		o.Clock = task.SystemClock()
	}
	return &Provider{opts: o}, nil
}

// reach gives the provider's configuration, and reads it at first.
func (p *Provider) reach(ctx context.Context) (*gooidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.provider != nil {
		return p.provider, nil
	}
	// The provider's keys are fetched with this context, later too.
	found, err := gooidc.NewProvider(gooidc.ClientContext(context.WithoutCancel(ctx), p.opts.HTTPClient), p.opts.Issuer)
	if err != nil {
		return nil, unreachable(err)
	}
	p.provider = found
	return found, nil
}

func unreachable(err error) error {
	return &task.Error{Code: task.CodeResourceUnavailable, RetryAfterMS: 5000, Err: err,
		Message: "the identity provider cannot be reached, or is not what the server was told; try again in a minute, or sign in with an API key"}
}

func (p *Provider) config(found *gooidc.Provider, redirect string) *oauth2.Config {
	return &oauth2.Config{ClientID: p.opts.ClientID, ClientSecret: p.opts.ClientSecret, Endpoint: found.Endpoint(), RedirectURL: redirect,
		Scopes: append([]string{gooidc.ScopeOpenID}, p.opts.Scopes...)}
}

// AuthURL is where to send a browser. The provider sends it back to redirect
// with the state; nonce and verifier are for Exchange.
func (p *Provider) AuthURL(ctx context.Context, redirect, state, nonce, verifier string) (string, error) {
	found, err := p.reach(ctx)
	if err != nil {
		return "", err
	}
	return p.config(found, redirect).AuthCodeURL(state, gooidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), nil
}

// Exchange turns the code that a browser came back with into who the person
// is. redirect, nonce and verifier are those of AuthURL.
func (p *Provider) Exchange(ctx context.Context, redirect, code, nonce, verifier string) (access.Identity, error) {
	found, err := p.reach(ctx)
	if err != nil {
		return access.Identity{}, err
	}
	ctx = gooidc.ClientContext(ctx, p.opts.HTTPClient)
	token, err := p.config(found, redirect).Exchange(ctx, code, oauth2.VerifierOption(verifier))
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response.StatusCode < http.StatusInternalServerError {
		return access.Identity{}, task.Errorf(task.CodeNotAuthorized, "the identity provider refused the sign-in (%s); begin again", refused.ErrorCode)
	}
	if err != nil {
		return access.Identity{}, unreachable(errors.New("the token request failed")) // its text may hold the code
	}
	raw, _ := token.Extra("id_token").(string)
	verified, err := found.Verifier(&gooidc.Config{ClientID: p.opts.ClientID, Now: p.opts.Clock.Now}).Verify(ctx, raw)
	if err != nil {
		return access.Identity{}, invalid()
	}
	if subtle.ConstantTimeCompare([]byte(verified.Nonce), []byte(nonce)) != 1 {
		return access.Identity{}, invalid()
	}
	return p.identity(ctx, found, token, verified)
}

func invalid() error {
	return task.Errorf(task.CodeNotAuthorized, "the identity provider's answer is not valid for this sign-in; begin again")
}

// claims are what a token or the provider says of a person.
type claims struct {
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
	Name          string `json:"name"`
}

// identity reads the claims. Providers that leave them out of the token are
// asked for them.
func (p *Provider) identity(ctx context.Context, found *gooidc.Provider, token *oauth2.Token, id *gooidc.IDToken) (access.Identity, error) {
	var c claims
	if err := id.Claims(&c); err != nil {
		return access.Identity{}, invalid()
	}
	if c.Email == "" && found.UserInfoEndpoint() != "" {
		info, err := found.UserInfo(ctx, oauth2.StaticTokenSource(token))
		if err != nil {
			return access.Identity{}, unreachable(errors.New("the provider's user info failed"))
		}
		if info.Subject != id.Subject { // OpenID Connect Core, section 5.3.2
			return access.Identity{}, invalid()
		}
		if err := info.Claims(&c); err != nil {
			return access.Identity{}, invalid()
		}
		c.Email, c.EmailVerified = info.Email, info.EmailVerified
	}
	return access.Identity{Issuer: id.Issuer, Subject: id.Subject, Email: c.Email, EmailVerified: c.EmailVerified, Name: c.Name}, nil
}
