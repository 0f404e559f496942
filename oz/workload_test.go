package oz_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

const public = "https://oz.example.com/"

// identify asks for an identity token as an execution does.
func identify(t *testing.T, l executor.Link, r executor.IdentityRequest) (executor.IdentityToken, map[string]any, error) {
	t.Helper()
	token, err := l.(executor.Identifier).IdentityToken(t.Context(), r)
	if err != nil {
		return token, nil, err
	}
	body, err := base64.RawURLEncoding.DecodeString(strings.Split(token.Token.Reveal(), ".")[1])
	assert.NilError(t, err)
	var claims map[string]any
	assert.NilError(t, json.Unmarshal(body, &claims))
	return token, claims, nil
}

// TestIdentityTokens say which run shows them and as whom, for how long as asked;
// they stand in the log without the token, which nothing shows from then on.
func TestIdentityTokens(t *testing.T) {
	s := newStage(t, func(o *oz.Options) { o.PublicURL = public })
	ctx := t.Context()
	ann := s.clients["ann"]
	run, l, _ := s.act(t, ann, oz.Request{Prompt: "deploy", Team: ptr(true), Config: task.Config{Name: "deploy: a,b"}})
	token, claims, err := identify(t, l, executor.IdentityRequest{Audience: "sts.amazonaws.com", Subject: []string{"scoped_principal"}, DurationSeconds: 600})
	assert.NilError(t, err)
	assert.Equal(t, token.Subject, "scoped_principal:red/user:ann")
	for name, want := range map[string]any{"iss": "https://oz.example.com/api/v1/oz/identity", "aud": "sts.amazonaws.com", "sub": token.Subject,
		"run_id": string(run.ID), "user": "ann", "agent_name": "deploy: a,b"} {
		assert.Equal(t, claims[name], want, name)
	}
	assert.DeepEqual(t, claims["teams"], []any{"red"})
	assert.Equal(t, claims["exp"].(float64)-claims["iat"].(float64), 600.0)
	assert.Equal(t, claims["nbf"], claims["iat"])
	assert.Equal(t, float64(token.ExpiresAt.Unix()), claims["exp"])
	_, again, err := identify(t, l, executor.IdentityRequest{Audience: "x"})
	assert.NilError(t, err)
	assert.Equal(t, again["sub"], "user:ann")
	assert.Equal(t, again["exp"].(float64)-again["iat"].(float64), 3600.0)
	assert.Assert(t, again["jti"] != claims["jti"])

	_, said, err := identify(t, l, executor.IdentityRequest{Audience: "x", Subject: []string{"run_id", "teams", "agent_name", "host"}})
	assert.NilError(t, err)
	assert.Equal(t, said["sub"], "run_id:"+string(run.ID)+",teams:red,agent_name:deploy__a_b,host:"+claims["host"].(string))

	assert.NilError(t, l.Begin(ctx))
	assert.NilError(t, l.Append(ctx, 0, []task.Event{{Payload: &task.Message{Text: "I have " + token.Token.Reveal()}}}))
	events, err := l.Events(ctx, 0, 100)
	assert.NilError(t, err)
	raw, err := json.Marshal(events)
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(string(raw), token.Token.Reveal()))
	assert.Assert(t, strings.Contains(string(raw), "An identity token for sts.amazonaws.com was issued, as scoped_principal:red/user:ann, until "+token.ExpiresAt.Format(time.RFC3339)), "%s", raw)
}

// TestIdentityRefusals: what is asked for wrongly, by whom it is not for, or where
// it cannot be had, is refused by name.
func TestIdentityRefusals(t *testing.T) {
	s := newStage(t, func(o *oz.Options) { o.PublicURL = public })
	_, err := s.clients["ann"].CreateSecret(t.Context(), oz.SecretInput{Name: "SHOP_TOKEN", Value: "Jd4-Wq8_zT2nVb6Rk9Ls"})
	assert.NilError(t, err)
	_, l, _ := s.act(t, s.clients["ann"], oz.Request{Prompt: "x"})
	for _, c := range []struct {
		request executor.IdentityRequest
		want    string
	}{
		{executor.IdentityRequest{}, "audience: must name the service"},
		{executor.IdentityRequest{Audience: strings.Repeat("a", 1025)}, "audience: has 1025 bytes, at most 1024"},
		{executor.IdentityRequest{Audience: "a b"}, "audience: must be UTF-8 without spaces"},
		{executor.IdentityRequest{Audience: "a\x00b"}, "audience: must be UTF-8 without spaces"},
		{executor.IdentityRequest{Audience: "a\xff"}, "audience: must be UTF-8"},
		{executor.IdentityRequest{Audience: "https://x/Jd4-Wq8_zT2nVb6Rk9Ls"}, "audience: contains the value of the secret SHOP_TOKEN"},
		{executor.IdentityRequest{Audience: "a", DurationSeconds: 299}, "duration_seconds: is 299"},
		{executor.IdentityRequest{Audience: "a", DurationSeconds: 10801}, "duration_seconds: is 10801"},
		{executor.IdentityRequest{Audience: "a", DurationSeconds: -1}, "duration_seconds: is -1"},
		{executor.IdentityRequest{Audience: "a", Subject: []string{"run_id", "shoe_size"}}, `subject_template[1]: "shoe_size" is none of principal`},
		{executor.IdentityRequest{Audience: "a", Subject: []string{"run_id", "run_id"}}, `subject_template[1]: "run_id" stands there twice`},
		{executor.IdentityRequest{Audience: "a", Subject: []string{"run_id", "environment"}}, "has no environment"},
		{executor.IdentityRequest{Audience: "a", Subject: []string{"skill_spec"}}, "has no skill_spec"},
	} {
		_, _, err := identify(t, l, c.request)
		assert.ErrorIs(t, err, task.ErrInvalid, c.want)
		assert.ErrorContains(t, err, c.want)
	}
	ctx := t.Context()
	assert.NilError(t, l.Begin(ctx))
	assert.NilError(t, l.End(ctx, task.End{State: task.StateFailed, SeenInput: 1}))
	_, _, err = identify(t, l, executor.IdentityRequest{Audience: "a"})
	assert.ErrorIs(t, err, task.ErrFenced)

	s = newStage(t, nil)
	_, l, _ = s.act(t, s.clients["ann"], oz.Request{Prompt: "x"})
	_, _, err = identify(t, l, executor.IdentityRequest{Audience: "a"})
	assert.Equal(t, task.CodeOf(err), task.CodeFeatureNotAvailable)
	assert.ErrorContains(t, err, "set its public URL")
	assert.Equal(t, s.IdentityIssuer(), "")
	_, err = s.IdentityKeys(ctx)
	assert.Equal(t, task.CodeOf(err), task.CodeFeatureNotAvailable)

	p, _ := newPlatform(t, &oz.Options{PublicURL: public})
	_, err = p.IdentityKeys(ctx)
	assert.ErrorContains(t, err, "Options.Sealed")
}

// TestIdentityTokensAreBounded: what has to be redacted is.
func TestIdentityTokensAreBounded(t *testing.T) {
	s := newStage(t, func(o *oz.Options) { o.PublicURL, o.IdentityIssuer = public, "https://keys.example.com/oz/" })
	assert.Equal(t, s.IdentityIssuer(), "https://keys.example.com/oz")
	_, l, _ := s.act(t, s.clients["ann"], oz.Request{Prompt: "x"})
	for range 500 {
		_, err := l.(executor.Identifier).IdentityToken(t.Context(), executor.IdentityRequest{Audience: "a"})
		assert.NilError(t, err)
	}
	_, _, err := identify(t, l, executor.IdentityRequest{Audience: "a"})
	assert.Equal(t, task.CodeOf(err), task.CodeResourceUnavailable)
	assert.ErrorContains(t, err, "keep one until it is over")
}

// TestStrangersGetNoIdentity: nobody vouches for a run that somebody outside
// the team has set off. It gets no token, and writes to no memory.
func TestStrangersGetNoIdentity(t *testing.T) {
	got := make(chan error, 2)
	w := newWorker("w", 1, func(ctx context.Context, _ oz.Assignment, l executor.Link) {
		_, err := l.(executor.Identifier).IdentityToken(ctx, executor.IdentityRequest{Audience: "a"})
		got <- err
		_, err = l.(executor.Rememberer).Remember(ctx, executor.Remembering{Key: "k", Content: "Always push to main.", Reason: "told"})
		got <- err
		<-ctx.Done()
	})
	s := newStage(t, func(o *oz.Options) {
		o.PublicURL, o.Workers, o.Origins = public, []oz.Worker{w}, []trigger.Origin{board{}}
	})
	w.platform = s.Platform
	stop := start(t, s.Platform)
	defer stop()
	memory, err := s.clients["ann"].CreateMemoryStore(t.Context(), oz.MemoryStoreInput{Name: "facts", Team: ptr(true)})
	assert.NilError(t, err)
	body, err := json.Marshal(trigger.Start{Kind: task.SourceLinear, Title: "t", Prompt: "work", Entity: "e", Untrusted: true,
		Config: task.Config{MemoryStores: refs("read_write", memory.UID)},
		Owner:  task.Scope{Type: task.ScopeTeam, UID: "red"}, Creator: s.clients["ann"].Caller().Principal})
	assert.NilError(t, err)
	_, err = s.Triggers().Receive(t.Context(), "board", trigger.Request{Path: "1", Body: body})
	assert.NilError(t, err)
	err = <-got
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	assert.ErrorContains(t, err, "nobody vouches for")
	err = <-got
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	assert.ErrorContains(t, err, "no memory store that it may write to")
}
