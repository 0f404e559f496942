package oz_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// acting gives the client of a new key of an agent.
func acting(t *testing.T, p *oz.Platform, by *oz.Client, agent string) *oz.Client {
	t.Helper()
	raw, _, err := by.CreateKey(t.Context(), access.KeySpec{Name: "ci", Type: access.KeyAgent, Agent: agent})
	assert.NilError(t, err)
	c, err := p.Authenticate(t.Context(), raw)
	assert.NilError(t, err)
	return p.As(c)
}

// TestAgentGivesWhatTheRunDoesNotSay follows the order in which settings are
// found: run, agent, environment, default (Oz API, resolution order).
func TestAgentGivesWhatTheRunDoesNotSay(t *testing.T) {
	p, _ := newPlatform(t, &oz.Options{DefaultConfig: task.Config{ModelID: "default-model", WorkerHost: "rack-0"}})
	who := people(t, p)
	ctx := t.Context()
	names := []string{"FROM_ENVIRONMENT"}
	env, err := who["ann"].CreateEnvironment(ctx, environment.Config{Name: "e", Secrets: &names}, nil)
	assert.NilError(t, err)
	agent, err := who["ann"].CreateAgent(ctx, oz.AgentInput{Name: ptr("Reviewer"), Prompt: ptr("You review."), Model: ptr("agent-model"),
		EnvironmentID: &env.UID, WorkerHost: ptr("  rack-1 "), CredentialStrategy: ptr("CREATOR"), Secrets: &[]string{"OF_AGENT"}})
	assert.NilError(t, err)
	assert.Equal(t, agent.Config.WorkerHost, "rack-1")

	run := submit(t, who["bob"], oz.Request{Prompt: "look", AgentIdentityUID: agent.UID, Config: task.Config{ModelID: "run-model", BasePrompt: "Be brief."}})
	assert.DeepEqual(t, run.Executor, agent.Principal())
	assert.Equal(t, run.Creator.UID, "bob")
	assert.DeepEqual(t, run.Owner, agent.Scope())
	c := run.Config
	assert.Equal(t, c.ModelID, "run-model")
	assert.Equal(t, c.BasePrompt, "You review.\n\nBe brief.")
	assert.Equal(t, c.EnvironmentID, env.UID)
	assert.Equal(t, c.WorkerHost, "rack-1")
	assert.Equal(t, c.CredentialStrategy, "CREATOR")
	assert.DeepEqual(t, *c.Secrets, []string{"FROM_ENVIRONMENT", "OF_AGENT"})
	for setting, from := range map[string]string{"model_id": "run", "environment_id": "agent", "worker_host": "agent", "base_prompt": "run, agent", "secrets": "environment", "idle_timeout_minutes": "default"} {
		assert.Equal(t, run.Origins[setting], from, setting)
	}
	plain := submit(t, who["bob"], oz.Request{Prompt: "look"})
	assert.Equal(t, plain.Config.ModelID, "default-model")
	assert.DeepEqual(t, plain.Executor, plain.Creator)

	// What runs were created with stays when the agent changes.
	_, err = who["ann"].UpdateAgent(ctx, agent.UID, oz.AgentInput{Model: ptr("")})
	assert.NilError(t, err)
	again := submit(t, who["bob"], oz.Request{Prompt: "look", AgentIdentityUID: agent.UID})
	assert.Equal(t, again.Config.ModelID, "default-model")
	assert.Equal(t, again.Config.BasePrompt, "You review.")
	kept, err := who["bob"].Get(ctx, run.ID)
	assert.NilError(t, err)
	assert.Equal(t, kept.Config.ModelID, "run-model")
}

// TestAgentKeysAndOnBehalfOf makes runs with an agent's key: as the agent, and
// for a person of the team when its leaders allow it.
func TestAgentKeysAndOnBehalfOf(t *testing.T) {
	p, _ := newPlatform(t, nil)
	who := people(t, p)
	ctx := t.Context()
	agent, err := who["ann"].CreateAgent(ctx, oz.AgentInput{Name: ptr("Bot")})
	assert.NilError(t, err)
	key := acting(t, p, who["ann"], agent.UID)
	run := submit(t, key, oz.Request{Prompt: "x"})
	assert.DeepEqual(t, run.Creator, agent.Principal())
	assert.DeepEqual(t, run.Executor, agent.Principal())

	refused := func(c *oz.Client, target string, code task.Code) {
		t.Helper()
		_, err := c.Submit(ctx, oz.Request{Prompt: "x", OnBehalfOf: target})
		assert.Equal(t, task.CodeOf(err), code, "%v", err)
		assert.Equal(t, err.(*task.Error).Field, "on_behalf_of")
	}
	refused(key, "bob", task.CodeNotAuthorized)
	refused(who["ann"], "bob", task.CodeNotAuthorized)
	_, err = who["bob"].UpdateAgent(ctx, agent.UID, oz.AgentInput{OnBehalfOf: ptr(true)})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized, "he leads nobody")
	_, err = who["ann"].UpdateAgent(ctx, agent.UID, oz.AgentInput{OnBehalfOf: ptr(true)})
	assert.NilError(t, err)
	refused(key, "dan", task.CodeInvalidRequest)
	refused(key, "nobody@example.com", task.CodeInvalidRequest)
	r := oz.Request{Prompt: "for bob", OnBehalfOf: "bob"}
	run = submit(t, key, r)
	assert.Equal(t, run.Creator.UID, "bob")
	assert.DeepEqual(t, run.Executor, agent.Principal())
	assert.DeepEqual(t, run.Requester, agent.Principal())
	twin, found, err := key.Submitted(ctx, r, run.CreatedAt.Add(-time.Minute))
	assert.NilError(t, err)
	assert.Assert(t, found)
	assert.Equal(t, twin.ID, run.ID, "a repeat of the request is known")

	assert.NilError(t, who["ann"].DeleteAgent(ctx, agent.UID))
	_, err = who["bob"].Submit(ctx, oz.Request{Prompt: "x", AgentIdentityUID: agent.UID})
	assert.ErrorIs(t, err, task.ErrNotFound)
	kept, err := who["bob"].Get(ctx, run.ID)
	assert.NilError(t, err)
	assert.Equal(t, kept.Executor, agent.Principal(), "its runs stay")
}

// TestAgentRules sends what an agent cannot be.
func TestAgentRules(t *testing.T) {
	p, _ := newPlatform(t, nil)
	who := people(t, p)
	ctx := t.Context()
	own, err := who["bob"].CreateEnvironment(ctx, environment.Config{Name: "own"}, ptr(false))
	assert.NilError(t, err)
	raw := func(s string) *json.RawMessage { return ptr(json.RawMessage(s)) }
	for name, tt := range map[string]struct {
		in    oz.AgentInput
		code  task.Code
		field string
	}{
		"no name":             {oz.AgentInput{}, task.CodeInvalidRequest, "name"},
		"blank name":          {oz.AgentInput{Name: ptr(" ")}, task.CodeInvalidRequest, "name"},
		"type":                {oz.AgentInput{Type: ptr("KING")}, task.CodeInvalidRequest, "agent_type"},
		"long prompt":         {oz.AgentInput{Prompt: ptr(strings.Repeat("x", 200<<10))}, task.CodeInvalidRequest, "prompt"},
		"harness":             {oz.AgentInput{Harness: &task.HarnessConfig{Type: "x"}}, task.CodeInvalidRequest, "harness.type"},
		"model of a harness":  {oz.AgentInput{Harness: &task.HarnessConfig{Type: "claude"}, Model: ptr("m")}, task.CodeInvalidRequest, "base_model"},
		"harness model of oz": {oz.AgentInput{Harness: &task.HarnessConfig{Type: "oz", ModelID: "m"}}, task.CodeInvalidRequest, "harness.model_id"},
		"secret twice":        {oz.AgentInput{Secrets: &[]string{"A_B", "A_B"}}, task.CodeInvalidRequest, "secrets[1]"},
		"secret name":         {oz.AgentInput{Secrets: &[]string{"a b"}}, task.CodeInvalidRequest, "secrets[0]"},
		"skill form":          {oz.AgentInput{Skills: &[]string{"deploy"}}, task.CodeInvalidRequest, "skills[0]"},
		"skill outside":       {oz.AgentInput{Skills: &[]string{"acme/app:../x"}}, task.CodeInvalidRequest, "skills[0]"},
		"skill twice":         {oz.AgentInput{Skills: &[]string{"acme/app:a/SKILL.md", " acme/app:./a/SKILL.md"}}, task.CodeInvalidRequest, "skills[1]"},
		"environment":         {oz.AgentInput{EnvironmentID: ptr("none")}, task.CodeNotFound, "environment_id"},
		"own environment":     {oz.AgentInput{EnvironmentID: &own.UID}, task.CodeInvalidRequest, "environment_id"},
		"runner":              {oz.AgentInput{RunnerID: ptr("none")}, task.CodeNotFound, "default_runner_uid"},
		"worker host":         {oz.AgentInput{WorkerHost: ptr("a b")}, task.CodeInvalidRequest, "worker_host"},
		"strategy":            {oz.AgentInput{CredentialStrategy: ptr("x")}, task.CodeInvalidRequest, "credential_strategy"},
		"mcp":                 {oz.AgentInput{MCPServers: &map[string]json.RawMessage{"m": json.RawMessage(`{}`)}}, task.CodeInvalidRequest, `mcp_servers["m"]`},
		"stores":              {oz.AgentInput{Memory: raw(`{"attached_stores":[{"uid":"s","access":"read_only","instructions":"x"}]}`)}, task.CodeNotFound, "memory.attached_stores[0].uid"},
		"store twice":         {oz.AgentInput{Memory: raw(`{"attached_stores":[{"uid":"s","access":"read_only","instructions":"x"},{"uid":"s","access":"read_only","instructions":"x"}]}`)}, task.CodeInvalidRequest, "memory.attached_stores[1].uid"},
		"factory":             {oz.AgentInput{FactoryID: ptr("f")}, task.CodeFeatureNotAvailable, "factory_uid"},
		"for others":          {oz.AgentInput{OnBehalfOf: ptr(true)}, task.CodeNotAuthorized, "on_behalf_of_enabled"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.in.Name == nil && name != "no name" {
				tt.in.Name = ptr("x")
			}
			_, err := who["bob"].CreateAgent(ctx, tt.in)
			assert.Equal(t, task.CodeOf(err), tt.code, "%v", err)
			assert.Equal(t, err.(*task.Error).Field, tt.field, "%v", err)
		})
	}
	_, err = who["dan"].CreateAgent(ctx, oz.AgentInput{Name: ptr("x")})
	assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest, "on no team")
	agent, err := who["bob"].CreateAgent(ctx, oz.AgentInput{Name: ptr("x"), Skills: &[]string{" acme/app:./a//SKILL.md "}, Memory: raw(`{"auto_memory":{"enabled":true}}`)})
	assert.NilError(t, err)
	assert.DeepEqual(t, agent.Config.Skills, []string{"acme/app:a/SKILL.md"})
	key := acting(t, p, who["ann"], agent.UID)
	for _, err := range []error{fault(key.Agents(ctx)), fault(key.CreateAgent(ctx, oz.AgentInput{Name: ptr("y")})),
		fault(key.UpdateAgent(ctx, agent.UID, oz.AgentInput{})), key.DeleteAgent(ctx, agent.UID)} {
		assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized, "people only")
	}
	_, err = key.Agent(ctx, agent.UID)
	assert.NilError(t, err)
	_, err = who["dan"].Agent(ctx, agent.UID)
	assert.ErrorIs(t, err, task.ErrNotFound)
	_, err = who["bob"].Submit(ctx, oz.Request{Prompt: "x", AgentIdentityUID: agent.UID, Team: ptr(false)})
	assert.ErrorIs(t, err, task.ErrInvalid)
}

func fault[T any](_ T, err error) error { return err }

// TestSoloUser works without a team: everything of their own, and clear words
// for what needs one.
func TestSoloUser(t *testing.T) {
	p, _ := newPlatform(t, nil)
	sol := people(t, p)["dan"]
	ctx := t.Context()
	run := submit(t, sol, oz.Request{Prompt: "x"})
	_, err := sol.Get(ctx, run.ID)
	assert.NilError(t, err)
	page, err := sol.List(ctx, task.Query{})
	assert.NilError(t, err)
	assert.Equal(t, len(page.Tasks), 1)
	assert.NilError(t, sol.Cancel(ctx, run.ID))
	for _, err := range []error{fault(sol.Submit(ctx, oz.Request{Prompt: "x", Team: ptr(true)})), fault(sol.Agents(ctx)),
		fault(sol.Share(ctx, run.ID, task.Sharing{Visibility: task.VisibilityTeam}))} {
		assert.ErrorIs(t, err, task.ErrInvalid)
	}
	_, _, err = sol.CreateKey(ctx, access.KeySpec{Name: "k", Type: access.KeyTeam})
	assert.ErrorIs(t, err, task.ErrInvalid)
}

func TestSortKeys(t *testing.T) {
	at := func(h int) time.Time { return time.Date(2026, 1, 1, h, 0, 0, 0, time.UTC) }
	a := access.Key{UID: "a", Name: "z", CreatedAt: at(1), LastUsedAt: at(9), Owner: task.Scope{Type: task.ScopeUser, UID: "u"}}
	b := access.Key{UID: "b", Name: "y", CreatedAt: at(2), ExpiresAt: at(5), Owner: task.Scope{Type: task.ScopeTeam, UID: "t"}}
	c := access.Key{UID: "c", Name: "x", CreatedAt: at(3), ExpiresAt: at(4), LastUsedAt: at(8), Owner: task.Scope{Type: task.ScopeTeam, UID: "t"}}
	for by, want := range map[oz.KeyOrder]string{"": "abc", oz.KeysByName: "cba", oz.KeysByCreation: "abc", oz.KeysByUse: "cab", oz.KeysByExpiry: "cba", oz.KeysByScope: "bca"} {
		keys, got := []access.Key{a, b, c}, ""
		assert.NilError(t, oz.SortKeys(keys, by))
		for _, k := range keys {
			got += k.UID
		}
		assert.Equal(t, got, want, "by %q", by)
	}
	assert.ErrorIs(t, oz.SortKeys(nil, "size"), task.ErrInvalid)
}

// TestOnBehalfOfGetsNoPersonalSecrets compares what runs get that bob asked
// for himself, as himself and through an agent, with what an agent's key gets
// that acts for him.
func TestOnBehalfOfGetsNoPersonalSecrets(t *testing.T) {
	s := newStage(t, nil)
	ctx := t.Context()
	ann, bob := s.clients["ann"], s.clients["bob"]
	_, err := ann.CreateSecret(ctx, oz.SecretInput{Name: "SHARED", Value: "team-red-value-81723"})
	assert.NilError(t, err)
	_, err = bob.CreateSecret(ctx, oz.SecretInput{Name: "BOBS", Value: "bob-personal-value-4410", Team: ptr(false)})
	assert.NilError(t, err)
	agent, err := ann.CreateAgent(ctx, oz.AgentInput{Name: ptr("Bot"), OnBehalfOf: ptr(true), Secrets: &[]string{"SHARED"}})
	assert.NilError(t, err)
	key := acting(t, s.Platform, ann, agent.UID)
	for _, tt := range []struct {
		as   *oz.Client
		r    oz.Request
		want string
	}{
		{bob, oz.Request{AgentIdentityUID: agent.UID}, "BOBS SHARED"},
		{key, oz.Request{}, "SHARED"},
		{key, oz.Request{OnBehalfOf: "bob"}, "SHARED"},
		{key, oz.Request{Config: task.Config{Secrets: &[]string{}}}, "SHARED"}, // the agent's are added
	} {
		tt.r.Prompt = "x"
		_, l, _ := s.act(t, tt.as, tt.r)
		b, err := l.Bundle(ctx)
		assert.NilError(t, err)
		var got []string
		for _, v := range b.Secrets {
			got = append(got, v.Name)
		}
		slices.Sort(got)
		assert.Equal(t, strings.Join(got, " "), tt.want)
	}
}
