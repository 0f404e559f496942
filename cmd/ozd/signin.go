package main

import (
	"errors"
	"fmt"

	"github.com/oz-platform/cloudagents/internal/modelenv"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/oz/access/oidc"
	"github.com/oz-platform/cloudagents/transport/rest"
)

// signInConfig lets people sign in with an OpenID Connect provider.
type signInConfig struct {
	Name             string   `yaml:"name"`
	Issuer           string   `yaml:"issuer"`
	ClientID         string   `yaml:"client_id"`
	ClientSecretEnv  string   `yaml:"client_secret_env"`
	ClientSecretFile string   `yaml:"client_secret_file"`
	Scopes           []string `yaml:"scopes"`
	// Domains are those of the verified e-mail addresses whose owners may come
	// unasked; Team and Role are what they get.
	Domains []string `yaml:"domains"`
	Team    string   `yaml:"team"`
	Role    string   `yaml:"role"`
	// LinkEmail lets people in whom a team has added by their e-mail address.
	LinkEmail bool `yaml:"link_email"`
}

// signIn makes the way in for people; nil when none is configured.
func (c *config) signIn(env modelenv.Lookup) (*rest.SignIn, error) {
	s := c.SignIn
	if s == nil {
		return nil, nil
	}
	secret, err := secretFrom(env, "client_secret", s.ClientSecretEnv, s.ClientSecretFile)
	if err != nil {
		return nil, fmt.Errorf("sign_in: %w", err)
	}
	provider, err := oidc.New(&oidc.Options{Issuer: s.Issuer, ClientID: s.ClientID, ClientSecret: secret.Reveal(), Scopes: s.Scopes})
	if err != nil {
		return nil, fmt.Errorf("sign_in: %w", err)
	}
	return &rest.SignIn{Provider: provider, Name: s.Name, Policy: access.SignInPolicy{Domains: s.Domains, LinkEmail: s.LinkEmail, Team: s.Team, Role: access.Role(s.Role)}}, nil
}

// check names the first field that cannot be.
func (s *signInConfig) check(publicURL string) error {
	switch {
	case s == nil:
		return nil
	case publicURL == "":
		return errors.New("sign_in: needs public_url: it is where the identity provider sends people back to, at <public_url>/api/v1/oz/auth/callback")
	case s.Issuer == "" || s.ClientID == "":
		return errors.New("sign_in: issuer and client_id are needed")
	case s.Role != "" && !access.Role(s.Role).Known():
		return fmt.Errorf("sign_in.role: %q is none of owner, admin, member", s.Role)
	case s.Role != "" && s.Team == "":
		return errors.New("sign_in.role: needs sign_in.team, the team that new people join")
	case len(s.Domains) == 0 && !s.LinkEmail:
		return errors.New("sign_in: nobody could sign in: name domains, or set link_email")
	}
	return nil
}
