package client

import (
	"context"
	"errors"
	"time"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// SignInWays says how people sign in to a server.
type SignInWays struct {
	Browser  bool   // with an identity provider; see DeviceSignIn
	Provider string // what people call it
}

// SignInWays asks the server. It needs no key.
func (c *Client) SignInWays(ctx context.Context) (SignInWays, error) {
	answer, err := decode[api.AuthConfig](c.raw.GetAuthConfig(ctx))
	return SignInWays{Browser: answer.Oidc, Provider: answer.Provider}, err
}

// DeviceCode is what a person needs to let a command line in.
type DeviceCode struct {
	UserCode  string
	URL       string // of the page, with the code in it
	ExpiresIn time.Duration
}

// DeviceSignIn signs a command line in: show is told what the person is to
// open, then the call waits until they have agreed and gives the key, which is
// shown this once. name says what asks, such as "oz on build-1". It fails with
// access.ErrAccessDenied or access.ErrExpiredToken, and needs no key.
func (c *Client) DeviceSignIn(ctx context.Context, name string, show func(DeviceCode)) (raw string, k access.Key, err error) {
	d, err := decode[api.DeviceLogin](c.raw.StartDeviceLogin(ctx, api.DeviceLoginRequest{ClientName: name}))
	if err != nil {
		return "", access.Key{}, err
	}
	show(DeviceCode{UserCode: d.UserCode, URL: d.VerificationUriComplete, ExpiresIn: time.Duration(d.ExpiresIn) * time.Second})
	interval := max(time.Duration(d.Interval)*time.Second, time.Second)
	for {
		select {
		case <-ctx.Done():
			return "", access.Key{}, context.Cause(ctx)
		case <-c.opts.Clock.After(interval):
		}
		created, err := decode[api.CreatedAPIKey](c.raw.PollDeviceLogin(ctx, api.DeviceTokenRequest{DeviceCode: d.DeviceCode}))
		switch {
		case err == nil:
			return created.Key, wire.KeyOf(created.ApiKey), nil
		case errors.Is(err, access.ErrSlowDown): // RFC 8628, section 3.5
			interval += 5 * time.Second
		case !errors.Is(err, access.ErrAuthorizationPending):
			return "", access.Key{}, err
		}
	}
}
