package github

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/oz-platform/cloudagents/trigger/integration"
)

const (
	// appTokenLife is how long a token of an app is good; GitHub allows ten minutes.
	appTokenLife = 9 * time.Minute
	// clockSkew is by how much GitHub's clock may be behind ours.
	clockSkew = time.Minute
	// refreshBefore is how long before its end an installation token is made anew.
	refreshBefore = 5 * time.Minute
	// maxCached bounds the tokens and names that are remembered.
	maxCached = 1000
)

// Token is what a program shows to GitHub.
type Token struct {
	Value string
	// ExpiresAt is zero for the token of an account.
	ExpiresAt time.Time
}

// tokens remembers installation tokens and who we are, by integration and secret.
type tokens struct {
	mu    sync.Mutex
	held  map[string]Token
	names map[string]string
}

// Token gives what an integration speaks to GitHub with, good for five minutes
// at least: for git, too, as user x-access-token. It fails with
// task.CodeIntegrationNotConfigured when the secret is missing or no key.
func (o *Origin) Token(ctx context.Context, i integration.Integration) (Token, error) {
	s, err := Parse(i.Settings)
	if err != nil {
		return Token{}, i.NotConfigured(err)
	}
	t, _, err := o.tokenOf(ctx, i, s)
	return t, err
}

// tokenOf gives the token and the name it is remembered by.
func (o *Origin) tokenOf(ctx context.Context, i integration.Integration, s Settings) (t Token, name string, err error) {
	if s.AppID == 0 {
		secret, err := o.store.Secret(ctx, i, SecretToken)
		return Token{Value: string(secret)}, cacheName(i, s, secret), err
	}
	secret, err := o.store.Secret(ctx, i, SecretPrivateKey)
	if err != nil {
		return Token{}, "", err
	}
	name = cacheName(i, s, secret)
	o.tokens.mu.Lock()
	t, ok := o.tokens.held[name]
	o.tokens.mu.Unlock()
	if ok && t.ExpiresAt.Sub(o.opts.Clock.Now()) > refreshBefore {
		return t, name, nil
	}
	t, err = o.mint(ctx, i, s, secret)
	if err != nil {
		return Token{}, "", err
	}
	o.tokens.mu.Lock()
	defer o.tokens.mu.Unlock()
	if len(o.tokens.held) >= maxCached {
		clear(o.tokens.held)
	}
	o.tokens.held[name] = t
	return t, name, nil
}

// cacheName changes with the secret, so that a new one counts at once.
func cacheName(i integration.Integration, s Settings, secret []byte) string {
	sum := sha256.Sum256(secret)
	return fmt.Sprintf("%s %d %d %s", i.UID, s.AppID, s.InstallationID, hex.EncodeToString(sum[:]))
}

// mint asks for an installation token.
func (o *Origin) mint(ctx context.Context, i integration.Integration, s Settings, key []byte) (Token, error) {
	app, err := o.appToken(i, s, key)
	if err != nil {
		return Token{}, err
	}
	var answer struct {
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	path := fmt.Sprintf("/app/installations/%d/access_tokens", s.InstallationID)
	if err := o.ask(ctx, http.MethodPost, path, app, struct{}{}, &answer); err != nil {
		return Token{}, fmt.Errorf("get a token for installation %d: %w", s.InstallationID, err)
	}
	if answer.Token == "" {
		return Token{}, errors.New("GitHub gave an empty installation token")
	}
	return Token{Value: answer.Token, ExpiresAt: answer.ExpiresAt}, nil
}

// appToken signs that we are the app.
func (o *Origin) appToken(i integration.Integration, s Settings, key []byte) (string, error) {
	private, err := parseKey(key)
	if err != nil {
		return "", i.NotConfigured(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: private}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", i.NotConfigured(err)
	}
	now := o.opts.Clock.Now()
	claims := jwt.Claims{Issuer: strconv.FormatInt(s.AppID, 10), IssuedAt: jwt.NewNumericDate(now.Add(-clockSkew)), Expiry: jwt.NewNumericDate(now.Add(appTokenLife))}
	return jwt.Signed(signer).Claims(claims).Serialize()
}

// parseKey reads the PEM that GitHub gives, or what people made of it. Its
// errors say nothing of the key.
func parseKey(data []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("the secret private_key is no PEM: give the whole file that GitHub made")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok {
		return nil, errors.New("the secret private_key is no RSA key")
	}
	return key, nil
}

// client speaks for an integration.
func (o *Origin) client(i integration.Integration, s Settings) *client {
	return &client{o: o,
		token: func(ctx context.Context) (string, error) {
			t, _, err := o.tokenOf(ctx, i, s)
			return t.Value, err
		},
		stale: func(token string) {
			o.tokens.mu.Lock()
			defer o.tokens.mu.Unlock()
			for name, t := range o.tokens.held {
				if t.Value == token {
					delete(o.tokens.held, name)
				}
			}
		}}
}

// us is the login that our comments have.
func (o *Origin) us(ctx context.Context, i integration.Integration, s Settings) (string, error) {
	t, name, err := o.tokenOf(ctx, i, s)
	if err != nil {
		return "", err
	}
	o.tokens.mu.Lock()
	login, ok := o.tokens.names[name]
	o.tokens.mu.Unlock()
	if ok {
		return login, nil
	}
	if login, err = o.askName(ctx, i, s, t.Value); err != nil {
		return "", fmt.Errorf("ask GitHub who we are: %w", err)
	}
	o.tokens.mu.Lock()
	defer o.tokens.mu.Unlock()
	if len(o.tokens.names) >= maxCached {
		clear(o.tokens.names)
	}
	o.tokens.names[name] = login
	return login, nil
}

func (o *Origin) askName(ctx context.Context, i integration.Integration, s Settings, token string) (string, error) {
	var who struct {
		Login string `json:"login"`
		Slug  string `json:"slug"`
	}
	if s.AppID == 0 {
		err := o.ask(ctx, http.MethodGet, "/user", token, nil, &who)
		return who.Login, err
	}
	key, err := o.store.Secret(ctx, i, SecretPrivateKey)
	if err != nil {
		return "", err
	}
	app, err := o.appToken(i, s, key)
	if err != nil {
		return "", err
	}
	err = o.ask(ctx, http.MethodGet, "/app", app, nil, &who)
	return who.Slug + "[bot]", err
}
