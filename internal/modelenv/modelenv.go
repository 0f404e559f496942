// Package modelenv finds model providers in the environment variables that
// the vendors' own tools use.
package modelenv

import (
	"cmp"
	"errors"
	"net/url"
	"strings"
	"unicode"

	"github.com/oz-platform/cloudagents/executor"
)

// Models used when nobody chooses one: strong at code at a middle price.
const (
	anthropicModel = "claude-sonnet-4-5"
	openAIModel    = "gpt-5.1"
	geminiModel    = "gemini-2.5-pro"
)

// Lookup gives an environment variable, "" when it is not set, like os.Getenv.
type Lookup func(name string) string

// Providers gives what the environment offers: ANTHROPIC_API_KEY with
// ANTHROPIC_BASE_URL, GEMINI_API_KEY with GOOGLE_GEMINI_BASE_URL, and
// OPENAI_API_KEY with OPENAI_BASE_URL (which alone is enough for an endpoint of
// your own that wants no key). OZ_MODEL chooses the default model. No provider
// is no error: Providers is empty then.
func Providers(env Lookup) (executor.Models, error) {
	var m executor.Models
	for _, name := range []string{"ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OPENAI_API_KEY"} {
		if err := CheckKey(name, env(name)); err != nil {
			return m, err
		}
	}
	if key := env("ANTHROPIC_API_KEY"); key != "" {
		base, err := baseURL(env, "ANTHROPIC_BASE_URL", "https://api.anthropic.com")
		if err != nil {
			return m, err
		}
		m.Providers = append(m.Providers, executor.ModelProvider{Name: "anthropic", Wire: "anthropic", BaseURL: base,
			APIKey: executor.Sensitive(key), Models: []string{"claude-*"}})
		m.Default = anthropicModel
	}
	if key := env("GEMINI_API_KEY"); key != "" {
		base, err := baseURL(env, "GOOGLE_GEMINI_BASE_URL", "https://generativelanguage.googleapis.com")
		if err != nil {
			return m, err
		}
		m.Providers = append(m.Providers, executor.ModelProvider{Name: "google", Wire: "gemini", BaseURL: base,
			APIKey: executor.Sensitive(key), Models: []string{"gemini-*"}})
	}
	if key := env("OPENAI_API_KEY"); key != "" || env("OPENAI_BASE_URL") != "" {
		base, err := baseURL(env, "OPENAI_BASE_URL", "https://api.openai.com/v1")
		if err != nil {
			return m, err
		}
		// Last, and for every other id: a compatible endpoint has names of its own.
		m.Providers = append(m.Providers, executor.ModelProvider{Name: "openai", Wire: "openai", BaseURL: base,
			APIKey: executor.Sensitive(key), Models: []string{"*"}})
		m.Default = cmp.Or(m.Default, openAIModel)
	}
	if len(m.Providers) > 0 {
		m.Default = cmp.Or(env("OZ_MODEL"), m.Default, geminiModel)
	}
	return m, nil
}

// baseURL gives the address in a variable, or def when it is not set.
func baseURL(env Lookup, name, def string) (string, error) {
	raw := env(name)
	if raw == "" {
		return def, nil
	}
	return raw, CheckURL(name, raw)
}

// CheckURL refuses what is no base URL of a provider. The error names the
// setting and does not repeat the address: it may hold credentials.
func CheckURL(setting, raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return errors.New(setting + ": must be an http or https URL")
	case u.User != nil || u.RawQuery != "":
		return errors.New(setting + ": must not hold credentials or a query; the key has a setting of its own")
	}
	return nil
}

// CheckKey refuses a key that no HTTP header carries, which is usually one
// that was copied with more than itself. The error does not repeat it.
func CheckKey(setting, key string) error {
	if strings.ContainsFunc(key, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return errors.New(setting + ": has a space or a control character; was a line break copied with it?")
	}
	return nil
}
