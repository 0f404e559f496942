package oz_test

import (
	"slices"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

// withSecret asks for a third party's agent with a key of the run's own.
func withSecret(harness, entry, name string) oz.Request {
	c := task.Config{Harness: &task.HarnessConfig{Type: harness}}
	if entry != "" {
		c.HarnessAuthSecrets = map[string]string{entry: name}
	}
	return oz.Request{Prompt: "x", Config: c}
}

// The key that an agent signs in with goes to the run's gateway and to nobody
// else: it is no variable of the agent's processes (Oz platform, HAR-2).
func TestAgentsOwnKeyIsTheGateways(t *testing.T) {
	s := newStage(t, nil)
	ctx := t.Context()
	bob := s.clients["bob"]
	const claudeKey, openKey = "sk-ant-own-8Zq4Lw2Rk7", "sk-open-own-5Tn3Vb9Xc1"
	for _, in := range []oz.SecretInput{
		{Name: "MY_CLAUDE", Value: claudeKey, Type: "anthropic_api_key"},
		{Name: "MY_OPENAI", Value: `{"value":"` + openKey + `","base_url":"https://models.example.com/v1"}`, Type: "openai_api_key"},
		{Name: "PLAIN", Value: "a-plain-value-7Jd", Type: "raw_value"},
	} {
		_, err := bob.CreateSecret(ctx, in)
		assert.NilError(t, err)
	}
	for name, c := range map[string]struct {
		r    oz.Request
		want executor.ModelProvider
	}{
		"claude": {withSecret("claude", "claude_auth_secret_name", "MY_CLAUDE"),
			executor.ModelProvider{Name: "secret MY_CLAUDE", Wire: "anthropic", APIKey: claudeKey, Models: []string{"*"}, PublicOnly: true}},
		"codex": {withSecret("codex", "codex_auth_secret_name", "MY_OPENAI"),
			executor.ModelProvider{Name: "secret MY_OPENAI", Wire: "openai", APIKey: openKey, BaseURL: "https://models.example.com/v1", Models: []string{"*"}, PublicOnly: true}},
	} {
		t.Run(name, func(t *testing.T) {
			c.r.Config.Harness.ModelID = "one-that-only-they-have"
			_, l, _ := s.act(t, bob, c.r)
			b, err := l.Bundle(ctx)
			assert.NilError(t, err)
			assert.DeepEqual(t, b.Models.Providers, []executor.ModelProvider{c.want})
			names := map[string]string{}
			for _, v := range b.Secrets {
				names[v.Name] = v.Value.Reveal()
			}
			assert.Equal(t, names["PLAIN"], "a-plain-value-7Jd")
			for variable, value := range names {
				assert.Assert(t, value != c.want.APIKey.Reveal(), "the agent gets the key as %s", variable)
			}
		})
	}
	t.Run("gone meanwhile", func(t *testing.T) {
		_, l, _ := s.act(t, bob, withSecret("claude", "claude_auth_secret_name", "MY_CLAUDE"))
		known, err := bob.Secrets(ctx)
		assert.NilError(t, err)
		assert.NilError(t, s.sealed.Delete(ctx, known[0].Owner, "MY_CLAUDE"))
		b, err := l.Bundle(ctx)
		assert.NilError(t, err)
		assert.DeepEqual(t, b.MissingSecrets, []string{"MY_CLAUDE"})
		assert.Equal(t, b.Models.Providers[0].APIKey.Reveal(), "", "no other key stands in for it")
	})
}

func TestAgentsOwnKeyIsJudged(t *testing.T) {
	s := newStage(t, nil)
	ctx := t.Context()
	bob := s.clients["bob"]
	for name, typ := range map[string]string{"MY_CLAUDE": "anthropic_api_key", "PLAIN": "raw_value"} {
		_, err := bob.CreateSecret(ctx, oz.SecretInput{Name: name, Value: "sk-own-8Zq4Lw2Rk7", Type: typ})
		assert.NilError(t, err)
	}
	for name, c := range map[string]struct {
		r     oz.Request
		by    string
		code  task.Code
		field string
	}{
		"none":              {withSecret("claude", "", ""), "bob", "", ""},
		"empty name":        {withSecret("claude", "claude_auth_secret_name", ""), "bob", "", ""},
		"another agent's":   {withSecret("claude", "codex_auth_secret_name", "NOBODYS"), "bob", "", ""}, // does not count
		"built-in agent":    {withSecret("oz", "claude_auth_secret_name", "MY_CLAUDE"), "bob", "", ""},  // the same
		"of another type":   {withSecret("claude", "claude_auth_secret_name", "PLAIN"), "bob", task.CodeInvalidRequest, "config.harness_auth_secrets.claude_auth_secret_name"},
		"of another wire":   {withSecret("codex", "codex_auth_secret_name", "MY_CLAUDE"), "bob", task.CodeInvalidRequest, "config.harness_auth_secrets.codex_auth_secret_name"},
		"nobody's":          {withSecret("claude", "claude_auth_secret_name", "NOBODYS"), "bob", task.CodeNotFound, "config.harness_auth_secrets.claude_auth_secret_name"},
		"somebody else's":   {withSecret("claude", "claude_auth_secret_name", "MY_CLAUDE"), "cid", task.CodeNotFound, "config.harness_auth_secrets.claude_auth_secret_name"},
		"no name of secret": {withSecret("claude", "claude_auth_secret_name", "A B"), "bob", task.CodeInvalidRequest, "config.harness_auth_secrets.claude_auth_secret_name"},
		"no such entry":     {withSecret("claude", "gpt_auth_secret_name", "A"), "bob", task.CodeInvalidRequest, "config.harness_auth_secrets.gpt_auth_secret_name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.clients[c.by].Submit(ctx, c.r)
			if c.code == "" {
				assert.NilError(t, err)
				return
			}
			assert.Equal(t, task.CodeOf(err), c.code, "%v", err)
			assert.ErrorContains(t, err, c.field)
		})
	}
}

// TestDisabledHarnesses: what the operator has switched off is refused by name
// with what there is instead, whoever asks for it; runs that are there go on.
func TestDisabledHarnesses(t *testing.T) {
	ctx := t.Context()
	before, store := newPlatform(t, &oz.Options{Models: models()})
	old := submit(t, people(t, before)["bob"], withSecret("claude", "", ""))
	p, err := oz.New(store, &oz.Options{Models: models(), DisabledHarnesses: []string{"claude", "gemini"}})
	assert.NilError(t, err)
	caller, err := p.Registry().Caller(ctx, "bob")
	assert.NilError(t, err)
	bob := p.As(caller)
	refused := func(field string, err error) {
		t.Helper()
		assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest, "%v", err)
		assert.Error(t, err, field+`: the agent "claude" is switched off on this server; there is oz, codex, opencode`)
	}
	_, err = bob.Submit(ctx, withSecret("claude", "", ""))
	refused("config.harness.type", err)
	config := withSecret("claude", "", "").Config
	_, err = bob.CreateSchedule(ctx, oz.ScheduleInput{Spec: schedule.Spec{Name: "nightly", Cron: "0 3 * * *", Prompt: "x", Config: config}})
	refused("agent_config.harness.type", err)
	_, err = bob.CreateAgent(ctx, oz.AgentInput{Name: ptr("clerk"), Harness: config.Harness})
	refused("harness.type", err)
	submit(t, bob, withSecret("codex", "", ""))
	assert.NilError(t, bob.FollowUp(ctx, old.ID, oz.Message{Text: "and the docs"}))

	list, _, err := bob.Models(ctx)
	assert.NilError(t, err)
	assert.Assert(t, len(list) > 0)
	for _, m := range list {
		assert.Assert(t, !slices.Contains(m.Harnesses, "claude") && !slices.Contains(m.Harnesses, "gemini"), "%v", m)
	}
	for want, bad := range map[string]oz.Options{
		`options: DisabledHarnesses[1]: "cursor" is no agent that is known`:                                             {DisabledHarnesses: []string{"claude", "cursor"}},
		`options: DisabledHarnesses: "oz" is the agent of runs that name none: set another in DefaultConfig.Harness`:    {DisabledHarnesses: []string{"oz"}},
		`options: DisabledHarnesses: "codex" is the agent of runs that name none: set another in DefaultConfig.Harness`: {DisabledHarnesses: []string{"codex"}, DefaultConfig: withSecret("codex", "", "").Config},
	} {
		_, err := oz.New(store, &bad)
		assert.Error(t, err, want)
	}
}
