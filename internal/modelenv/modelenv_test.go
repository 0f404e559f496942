package modelenv_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/modelenv"
)

func TestProviders(t *testing.T) {
	for _, tt := range []struct {
		name      string
		env       map[string]string
		providers []string
		model     string
	}{
		{"nothing", nil, nil, ""},
		{"a model alone is nothing", map[string]string{"OZ_MODEL": "m"}, nil, ""},
		{"anthropic", map[string]string{"ANTHROPIC_API_KEY": "k"}, []string{"anthropic https://api.anthropic.com"}, "claude-sonnet-4-5"},
		{"own endpoint", map[string]string{"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OZ_MODEL": "llama"}, []string{"openai http://127.0.0.1:1/v1"}, "llama"},
		{"both", map[string]string{"ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k", "ANTHROPIC_BASE_URL": "https://gw"},
			[]string{"anthropic https://gw", "openai https://api.openai.com/v1"}, "claude-sonnet-4-5"},
		{"google", map[string]string{"GEMINI_API_KEY": "k"}, []string{"google https://generativelanguage.googleapis.com"}, "gemini-2.5-pro"},
		{"google beside another", map[string]string{"GEMINI_API_KEY": "k", "GOOGLE_GEMINI_BASE_URL": "http://gw", "OPENAI_API_KEY": "k"},
			[]string{"google http://gw", "openai https://api.openai.com/v1"}, "gpt-5.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := modelenv.Providers(func(n string) string { return tt.env[n] })
			assert.NilError(t, err)
			var got []string
			for _, p := range m.Providers {
				got = append(got, p.Name+" "+p.BaseURL)
			}
			assert.DeepEqual(t, got, tt.providers)
			assert.Equal(t, m.Default, tt.model)
		})
	}
}

func TestBadAddressIsRefusedUnseen(t *testing.T) {
	for _, raw := range []string{"://", "ftp://h", "https://user:hunter2hunter2@h", "relative"} {
		_, err := modelenv.Providers(func(n string) string {
			return map[string]string{"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": raw}[n]
		})
		assert.ErrorContains(t, err, "ANTHROPIC_BASE_URL: must")
		assert.Assert(t, !strings.Contains(err.Error(), "hunter2"))
	}
}

func TestBadKeyIsRefusedUnseen(t *testing.T) {
	for _, name := range []string{"ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"} {
		_, err := modelenv.Providers(func(n string) string { return map[string]string{name: "hunter2hunter2\n"}[n] })
		assert.ErrorContains(t, err, name+": has a space")
		assert.Assert(t, !strings.Contains(err.Error(), "hunter2"))
	}
}
