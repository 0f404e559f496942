package rest_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// toServer sends what is for the public address to the test's server.
type toServer struct{ at *url.URL }

func (s toServer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = s.at.Scheme, s.at.Host
	return http.DefaultTransport.RoundTrip(r)
}

// TestIdentityIsVerified: whoever knows the issuer's address alone checks a run's
// token, as a cloud does, with a library that is not ours.
func TestIdentityIsVerified(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true, Platform: oz.Options{PublicURL: "https://oz.example.com"}})
	ctx := t.Context()
	run, h, err := e.Platform.As(e.Caller(e.Member)).StartLocal(ctx, oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	h.ServerURL = e.URL
	link, err := client.DialLink(h)
	assert.NilError(t, err)
	token, err := link.(executor.Identifier).IdentityToken(ctx, executor.IdentityRequest{Audience: "vault", Subject: []string{"principal", "run_id"}, DurationSeconds: 300})
	assert.NilError(t, err)

	at, err := url.Parse(e.URL)
	assert.NilError(t, err)
	cloud := oidc.ClientContext(ctx, &http.Client{Transport: toServer{at}})
	provider, err := oidc.NewProvider(cloud, "https://oz.example.com/api/v1/oz/identity")
	assert.NilError(t, err)
	checked, err := provider.Verifier(&oidc.Config{ClientID: "vault"}).Verify(cloud, token.Token.Reveal())
	assert.NilError(t, err)
	assert.Equal(t, checked.Subject, "user:mary,run_id:"+string(run.ID))
	assert.Equal(t, checked.Expiry.UTC(), token.ExpiresAt)
	var claims struct {
		RunID task.ID `json:"run_id"`
		User  string  `json:"user"`
	}
	assert.NilError(t, checked.Claims(&claims))
	assert.Equal(t, claims.RunID, run.ID)
	assert.Equal(t, claims.User, "mary")
	_, err = provider.Verifier(&oidc.Config{ClientID: "other"}).Verify(cloud, token.Token.Reveal())
	assert.ErrorContains(t, err, "audience")
	_, err = provider.Verifier(&oidc.Config{ClientID: "vault", Now: func() time.Time { return time.Now().Add(6 * time.Minute) }}).Verify(cloud, token.Token.Reveal())
	assert.ErrorContains(t, err, "expired")
}

// TestIdentityIsForRuns: people and their keys get no token of a run, and bad
// requests name their field.
func TestIdentityIsForRuns(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true, Platform: oz.Options{PublicURL: "https://oz.example.com"}})
	_, h, err := e.Platform.As(e.Caller(e.Member)).StartLocal(t.Context(), oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	const path = "/api/v1/oz/executions/current/identity-token"
	for _, key := range []string{e.Member, e.Team, transporttest.AdminKey} {
		assert.Equal(t, e.Call(key, "POST", path, `{"audience":"a"}`).Status, http.StatusForbidden)
	}
	assert.Equal(t, e.Call("", "POST", path, `{"audience":"a"}`).Status, http.StatusUnauthorized)
	for _, body := range []string{`{}`, `{"audience":""}`, `{"audience":"a","duration_seconds":1}`, `{"audience":"a","subject_template":["x"]}`, `{"audience":7}`, `[]`} {
		assert.Equal(t, e.Call(h.Token.Reveal(), "POST", path, body).Status, http.StatusBadRequest, body)
	}
}
