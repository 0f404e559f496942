package executor_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/task"
)

func threeVendors() executor.Models {
	return executor.Models{Default: "claude-sonnet-4-5", Providers: []executor.ModelProvider{
		{Name: "anthropic", Wire: "anthropic", Models: []string{"claude-*"}},
		{Name: "google", Wire: "gemini", Models: []string{"gemini-*"}},
		{Name: "openai", Wire: "openai", Models: []string{"*"}},
	}}
}

func TestChoose(t *testing.T) {
	house := executor.Models{Default: "coder", Providers: []executor.ModelProvider{
		{Name: "house", Wire: "openai", BaseURL: "http://10.0.0.1/v1", Models: []string{"coder", "Qwen/Qwen3-Coder", "llama-70b", "*"}}}}
	chained := threeVendors()
	chained.Auto = map[string][]string{"auto": {"claude-opus-4-5", "gpt-5", "claude-haiku-4-5"}, "auto-efficient": {"gone", "gpt-5-nano", "gpt-5-mini"}}
	off := threeVendors()
	off.Disabled = []string{"claude-sonnet-*"}
	embeds := threeVendors()
	embeds.Embeddings = "text-embedding-3-small"
	embeds.Providers[2].Models = []string{"text-embedding-3-small", "gpt-mine"}
	automatic := threeVendors()
	automatic.Default = "auto-efficient"
	tests := []struct {
		name     string
		models   executor.Models
		harness  string
		asked    string
		want     string // "provider id", or a part of the error
		fallback string
	}{
		{"the default", threeVendors(), "oz", "", "anthropic claude-sonnet-4-5", ""},
		{"auto", threeVendors(), "oz", "auto", "anthropic claude-sonnet-4-5", ""},
		{"auto for another agent", threeVendors(), "codex", "", "openai gpt-5.1", ""},
		{"auto for gemini", threeVendors(), "gemini", "auto", "google gemini-2.5-pro", ""},
		{"efficient", threeVendors(), "claude", "auto-efficient", "anthropic claude-haiku-4-5", ""},
		{"genius", threeVendors(), "gemini", "auto-genius", "google gemini-2.5-pro", ""},
		{"a chain with fallbacks", chained, "claude", "auto", "anthropic claude-sonnet-4-5", "claude-opus-4-5 claude-haiku-4-5"},
		{"the default by name has them, too", chained, "claude", "claude-sonnet-4-5", "anthropic claude-sonnet-4-5", "claude-opus-4-5 claude-haiku-4-5"},
		{"another by name has none", chained, "claude", "claude-opus-4-5", "anthropic claude-opus-4-5", ""},
		{"the operator's own chain", chained, "codex", "auto-efficient", "openai gpt-5-nano", "gpt-5-mini"},
		{"the default is automatic", automatic, "oz", "", "anthropic claude-haiku-4-5", ""},
		{"the default is off", off, "oz", "", "openai gpt-5.1", ""},
		{"off by name", off, "oz", "claude-sonnet-4-5", "switched the model", ""},
		{"no agent works with embeddings", embeds, "codex", "text-embedding-3-small", "gives embeddings, with which no agent can work; use gpt-mine", ""},
		{"nor is it taken for want of another", embeds, "codex", "auto", "openai gpt-mine", ""},
		{"any id", threeVendors(), "codex", "gpt-99", "openai gpt-99", ""},
		{"the agent's wire wins", threeVendors(), "codex", "claude-opus-4-5", "openai claude-opus-4-5", ""}, // "*" serves every id
		{"mismatch", threeVendors(), "claude", "gemini-2.5-pro", `on the openai wire only, and this agent speaks anthropic; use claude-*`, ""},
		{"unknown", executor.Models{Providers: threeVendors().Providers[:2]}, "oz", "gpt-5", `no model is called "gpt-5"; use claude-*`, ""},
		{"no provider", executor.Models{}, "oz", "", "no model provider", ""},
		{"no provider on the wire", house, "gemini", "", "no provider lists a model on the gemini wire", ""},
		{"a house that has its own", house, "oz", "auto-efficient", "house coder", ""},
		{"a house's open model", house, "codex", "auto-open", "house Qwen/Qwen3-Coder", "llama-70b"},
		{"no open model", threeVendors(), "oz", "auto-open", "public weights", ""},
		{"an agent nobody knows speaks all", threeVendors(), "mine", "gemini-2.5-pro", "google gemini-2.5-pro", ""},
		{"no automatic id", threeVendors(), "claude", "auto-best", "use claude-*", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.models.Choose("config.model_id", tt.asked, catalog.HarnessWires(tt.harness))
			if err != nil {
				assert.ErrorContains(t, err, tt.want)
				assert.Assert(t, task.CodeOf(err) == task.CodeInvalidRequest || len(tt.models.Providers) == 0)
				return
			}
			assert.Equal(t, got.Provider.Name+" "+got.ID, tt.want)
			assert.Equal(t, strings.Join(got.Fallback, " "), tt.fallback)
		})
	}
}

func TestModelsValidate(t *testing.T) {
	with := func(change func(*executor.Models)) executor.Models {
		m := threeVendors()
		change(&m)
		return m
	}
	assert.NilError(t, threeVendors().Validate("models"))
	for want, m := range map[string]executor.Models{
		"providers[0].name":     with(func(m *executor.Models) { m.Providers[0].Name = "" }),
		"two providers":         with(func(m *executor.Models) { m.Providers[1].Name = "anthropic" }),
		"providers[1].wire":     with(func(m *executor.Models) { m.Providers[1].Wire = "grpc" }),
		"providers[2].models":   with(func(m *executor.Models) { m.Providers[2].Models = nil }),
		"neither an id":         with(func(m *executor.Models) { m.Providers[2].Models = []string{"a*b"} }),
		"providers[0].prices":   with(func(m *executor.Models) { m.Providers[0].Prices = []catalog.Price{{}} }),
		"providers[0].fallback": with(func(m *executor.Models) { m.Providers[0].Fallback = []executor.ModelTarget{{Provider: "openai"}} }),
		"models.embeddings": with(func(m *executor.Models) {
			m.Embeddings = "text-embedding-3-small"
			m.Providers[2].Models = []string{"gpt-*"}
		}),
		"is no automatic id":     with(func(m *executor.Models) { m.Auto = map[string][]string{"best": nil} }),
		"is no provider of the ": with(func(m *executor.Models) { m.Providers[0].Fallback = []executor.ModelTarget{{Provider: "nobody"}} }),
	} {
		assert.ErrorContains(t, m.Validate("models"), want)
	}
}
