package git

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
)

// Variables that carry a credential from us to the helper. Only the git
// process of one command, and its children, have them.
const (
	usernameVar = "OZ_GIT_USERNAME"
	passwordVar = "OZ_GIT_PASSWORD"
)

// helper answers git's question for a credential from the environment. It says
// nothing to "store" and "erase".
const helper = `!f() { test "$1" = get || return 0; ` +
	`printf 'username=%s\npassword=%s\n' "$` + usernameVar + `" "$` + passwordVar + `"; }; f`

// remote is an address together with the way in.
type remote struct {
	url      string
	env      []string
	settings []setting
	secrets  []string
}

// remote checks raw and asks for its credential. The helper is bound to the
// URL's scheme and host, so a redirect elsewhere gets nothing. An ssh URL of a
// host that there is a credential for becomes https: a sandbox has no SSH key.
func (g *Git) remote(ctx context.Context, raw string) (remote, error) {
	if err := CheckURL(raw); err != nil {
		return remote{}, fmt.Errorf("repository URL %w", err)
	}
	base, host, path := credentialHost(overHTTPS(raw))
	if host == "" {
		return remote{url: raw}, nil
	}
	cred, err := g.opts.CredentialsFor(ctx, host, path)
	if err != nil {
		return remote{}, fmt.Errorf("credentials for %s: %w", host, err)
	}
	if cred == (Credential{}) {
		return remote{url: raw}, nil
	}
	basic := base64.StdEncoding.EncodeToString([]byte(cred.Username + ":" + cred.Password))
	return remote{
		url:      overHTTPS(raw),
		env:      []string{usernameVar + "=" + cred.Username, passwordVar + "=" + cred.Password},
		settings: []setting{{"credential." + base + ".helper", helper}},
		secrets:  []string{cred.Password, url.QueryEscape(cred.Password), url.PathEscape(cred.Password), basic},
	}, nil
}

// overHTTPS gives the https form of an ssh URL on the standard port, and any
// other URL as it is.
func overHTTPS(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "ssh" || u.Port() != "" {
		return raw
	}
	u.Scheme, u.User = "https", nil
	return u.String()
}
