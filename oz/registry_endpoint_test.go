package oz_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// A team's endpoint is made by its leaders, serves its runs and no others', and
// its key reaches the gateway alone.
func TestModelEndpoints(t *testing.T) {
	const key, other = "house-key-7Rt2Lm9Qx4", "other-secret-3Vb8Nk1Zp6"
	s := newStage(t, nil)
	ctx := t.Context()
	ann, bob, cid := s.clients["ann"], s.clients["bob"], s.clients["cid"]
	for name, value := range map[string]executor.Sensitive{"HOUSE_KEY": key, "DEPLOY": other} {
		_, err := ann.CreateSecret(ctx, oz.SecretInput{Name: name, Value: value, Team: ptr(true)})
		assert.NilError(t, err)
	}
	in := oz.ModelEndpointInput{Name: "house", Wire: "openai", BaseURL: "http://10.1.2.3:8000/v1", Secret: "HOUSE_KEY", Models: []string{"coder", "small"},
		Prices: []catalog.Price{{Models: []string{"coder"}, AsOf: "2026-11-01", Rates: catalog.Rates{Input: ptr(0.5), Output: ptr(1.5)}}}}
	_, err := bob.CreateModelEndpoint(ctx, in)
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	_, err = s.clients["dan"].CreateModelEndpoint(ctx, in)
	assert.Assert(t, err != nil, "a person without a team has no endpoints")
	missing := in
	missing.Secret = "GONE"
	_, err = ann.CreateModelEndpoint(ctx, missing)
	assert.ErrorContains(t, err, `the team has no secret "GONE"`)
	_, err = bob.Submit(ctx, oz.Request{Prompt: "x", Config: task.Config{ModelID: "coder"}})
	assert.ErrorContains(t, err, `no model is called "coder"`)

	made, err := ann.CreateModelEndpoint(ctx, in)
	assert.NilError(t, err)
	_, err = ann.CreateModelEndpoint(ctx, in)
	assert.ErrorIs(t, err, task.ErrConflict)
	got, err := bob.ModelEndpoint(ctx, made.UID)
	assert.NilError(t, err)
	assert.DeepEqual(t, got, made)
	_, err = cid.ModelEndpoint(ctx, made.UID)
	assert.ErrorIs(t, err, task.ErrNotFound)
	assert.Equal(t, task.CodeOf(bob.DeleteModelEndpoint(ctx, made.UID)), task.CodeNotAuthorized)

	listed := func(c *oz.Client) (info oz.ModelInfo, ok bool) {
		list, _, err := c.Models(ctx)
		assert.NilError(t, err)
		for _, m := range list {
			if m.ID == "coder" {
				return m, true
			}
		}
		return info, false
	}
	info, ok := listed(bob)
	assert.Assert(t, ok && info.Price != nil && info.Price.Output == 1.5, "%+v", info)
	_, ok = listed(cid)
	assert.Assert(t, !ok)
	_, err = cid.Submit(ctx, oz.Request{Prompt: "x", Config: task.Config{ModelID: "coder"}})
	assert.ErrorContains(t, err, `no model is called "coder"`)
	_, err = bob.Submit(ctx, oz.Request{Prompt: "x", Config: task.Config{ModelID: "coder"}, Team: ptr(false)})
	assert.ErrorContains(t, err, `no model is called "coder"`, "a person's own run is not the team's")

	_, link, _ := s.act(t, bob, oz.Request{Prompt: "x", Config: task.Config{ModelID: "coder"}, Team: ptr(true)})
	b, err := link.Bundle(ctx)
	assert.NilError(t, err)
	first := b.Models.Providers[0]
	assert.Equal(t, first.Name, "team/house")
	assert.Equal(t, first.APIKey.Reveal(), key)
	assert.Assert(t, first.PublicOnly, "the operator has not allowed private addresses")
	assert.Equal(t, len(b.Models.Providers), 1+len(models().Providers))
	var names []string
	for _, v := range b.Secrets {
		names = append(names, v.Name)
	}
	assert.DeepEqual(t, names, []string{"DEPLOY"})
	assert.NilError(t, link.Begin(ctx))
	assert.NilError(t, link.Append(ctx, 0, []task.Event{{Payload: &task.Notice{Text: "the key is " + key}}}))
	events, err := link.Events(ctx, 0, 100)
	assert.NilError(t, err)
	for _, e := range events {
		if n, ok := e.Payload.(*task.Notice); ok {
			assert.Assert(t, !strings.Contains(n.Text, key), n.Text)
		}
	}

	// Without its key an endpoint is left out, rather than asked without.
	assert.NilError(t, ann.DeleteSecret(ctx, "HOUSE_KEY", ptr(true)))
	b, err = link.Bundle(ctx)
	assert.NilError(t, err)
	assert.Equal(t, len(b.Models.Providers), len(models().Providers))
	assert.NilError(t, ann.DeleteModelEndpoint(ctx, made.UID))
	list, err := bob.ModelEndpoints(ctx)
	assert.NilError(t, err)
	assert.Equal(t, len(list), 0)
}

func TestModelEndpointsAreChecked(t *testing.T) {
	s := newStage(t, nil)
	good := oz.ModelEndpointInput{Name: "house", Wire: "openai", BaseURL: "https://models.example.com/v1", Models: []string{"coder-*"}}
	for field, change := range map[string]func(*oz.ModelEndpointInput){
		"name":     func(in *oz.ModelEndpointInput) { in.Name = "" },
		"wire":     func(in *oz.ModelEndpointInput) { in.Wire = "grpc" },
		"base_url": func(in *oz.ModelEndpointInput) { in.BaseURL = "https://user:hunter2hunter2@models.example.com" },
		"secret":   func(in *oz.ModelEndpointInput) { in.Secret = "not a name" },
		"models":   func(in *oz.ModelEndpointInput) { in.Models = []string{"coder", "*"} },
		"prices":   func(in *oz.ModelEndpointInput) { in.Prices = []catalog.Price{{Models: []string{"coder"}}} },
	} {
		in := good
		change(&in)
		_, err := s.clients["ann"].CreateModelEndpoint(t.Context(), in)
		assert.ErrorContains(t, err, field)
		assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest, "%s: %v", field, err)
		assert.Assert(t, !strings.Contains(err.Error(), "hunter2"))
	}
	for _, raw := range []string{"models.example.com", "ftp://x", "https://x?key=1", "https://x#y", "https:///v1"} {
		in := good
		in.BaseURL = raw
		_, err := s.clients["ann"].CreateModelEndpoint(t.Context(), in)
		assert.ErrorContains(t, err, "base_url", raw)
	}
}
