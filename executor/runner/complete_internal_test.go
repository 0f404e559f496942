package runner

import (
	"context"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness"
)

// TestComplete: a question of ours is asked and answered over each wire, through
// a real gateway, and what is refused says why.
func TestComplete(t *testing.T) {
	model, err := scripted.New(scripted.Script{Steps: []scripted.Step{{Thinking: "Hm.", Text: "Blue, says the model."}}}, &scripted.Options{APIKey: "sk-test-4Kd9Qz"})
	assert.NilError(t, err)
	at, err := model.Start()
	assert.NilError(t, err)
	defer func() { assert.Check(t, at.Close()) }()
	for wire, url := range map[string]string{"anthropic": at.AnthropicURL, "openai": at.OpenAIURL, "gemini": at.GeminiURL} {
		t.Run(wire, func(t *testing.T) {
			var calls []gateway.Call
			gw, err := gateway.New([]gateway.Provider{{Name: "script", Wire: gateway.Wire(wire), BaseURL: url, APIKey: gateway.NewKey("sk-test-4Kd9Qz"), Models: []string{"m"}}},
				&gateway.Options{OnCall: func(c gateway.Call) { calls = append(calls, c) }})
			assert.NilError(t, err)
			ctx, stop := context.WithCancel(t.Context())
			ready, done := make(chan gateway.Endpoint, 1), make(chan error, 1)
			go func() { done <- gw.Run(ctx, func(e gateway.Endpoint) { ready <- e }) }()
			door := <-ready
			m := harness.Model{ID: "m", Wire: wire, BaseURL: strings.TrimSuffix(door.AnthropicURL, "/anthropic"), Token: executor.Sensitive(door.Token)}
			answer, err := complete(t.Context(), m, "a_category", "You know colours.", "Which one?", 100)
			assert.NilError(t, err)
			assert.Equal(t, answer, "Blue, says the model.")
			all := model.Requests()
			assert.Assert(t, strings.Contains(all[len(all)-1].System, "You know colours."))
			m.ID = "nobody-serves-this"
			_, err = complete(t.Context(), m, "a_category", "x", "y", 100)
			assert.ErrorContains(t, err, "nobody-serves-this")
			m.Token = "wrong"
			_, err = complete(t.Context(), m, "a_category", "x", "y", 100)
			assert.Assert(t, err != nil)
			stop()
			assert.NilError(t, <-done)
			assert.Equal(t, calls[0].Category, "a_category")
		})
	}
	for _, bad := range []string{"", "<html>", "[]", `{"content":"x"}`} {
		_, err := spoken([]byte(bad))
		assert.ErrorContains(t, err, "cannot be read")
	}
}

// FuzzParseLessons: whatever the model answers, what is taken of it can be kept.
func FuzzParseLessons(f *testing.F) {
	for _, seed := range []string{"[]", "```json\n[{\"content\":\"a\",\"reason\":\"b\",\"replaces\":\"c\"}]\n```", "] [", `[{"content":"` + strings.Repeat("x", 5000) + `"}]`, `[1]`, "none"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		got, err := parseLessons(answer)
		if err != nil && got != nil || len(got) > maxExtracted {
			t.Fatalf("%v %v", got, err)
		}
		for _, l := range got {
			if strings.TrimSpace(l.Content) == "" {
				t.Fatal("nothing is to be kept")
			}
		}
	})
}
