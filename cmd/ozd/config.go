package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/executor/local"
	"github.com/oz-platform/cloudagents/internal/containers"
	"github.com/oz-platform/cloudagents/internal/modelenv"
	"github.com/oz-platform/cloudagents/internal/yamlfile"
	"github.com/oz-platform/cloudagents/task"
)

// Who may use links to runs.
const (
	linksOff      = "off"
	linksAccounts = "accounts"
	linksGuests   = "guests"
)

// config is the server's configuration: flags win over environment variables,
// these over the file, the file over defaults.
type config struct {
	// Listen is the address of the HTTP API.
	Listen string `yaml:"listen"`
	// Data is the directory of database, keys, artifacts and sandboxes.
	Data string `yaml:"data"`
	// Store is the URL of a PostgreSQL database; empty for SQLite in Data.
	Store string `yaml:"store"`
	// StoreWait is how long a start waits for a PostgreSQL database that is
	// away; 0 is not at all.
	StoreWait time.Duration `yaml:"store_wait"`
	// SecretsKey is the file of the key that seals secrets; default in Data.
	SecretsKey string `yaml:"secrets_key"`
	// MetricsListen is the address of /metrics; empty for none.
	MetricsListen string `yaml:"metrics_listen"`
	// RetentionDays is how long transcripts and artifacts are kept; 0 for ever.
	RetentionDays int `yaml:"retention_days"`
	// PublicURL is how people reach the server; links are made from it.
	PublicURL string `yaml:"public_url"`
	// IdentityIssuer is where others find the keys of identity tokens, when that
	// is not below PublicURL: the address of a copy of what the server has there.
	IdentityIssuer string `yaml:"identity_issuer"`
	// NoWeb leaves the web app out.
	NoWeb bool `yaml:"no_web"`
	// RunLinks says who may use links to runs: off (nobody), accounts (whoever is
	// signed in) or guests (whoever has the link).
	RunLinks string `yaml:"run_links"`
	// WebAssets serves its pages from a directory, for whoever works on them.
	WebAssets string `yaml:"web_assets"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `yaml:"log_level"`
	// MaxConcurrent bounds the runs at work.
	MaxConcurrent int `yaml:"max_concurrent"`
	// MaxWaiting bounds the queue; more runs are refused.
	MaxWaiting int `yaml:"max_waiting"`
	// Lease is how long an agent may be silent before its run goes to another;
	// 0 is the platform's default.
	Lease time.Duration `yaml:"lease"`
	// MaxAttempts is how many executions in a row may be lost before a run
	// ends as ERROR; 0 is the platform's default.
	MaxAttempts int `yaml:"max_attempts"`
	// NoCodeIndex switches the agents' search_codebase off.
	NoCodeIndex bool `yaml:"no_code_index"`
	// RepositoryBase is put before owner/name.
	RepositoryBase string `yaml:"repository_base"`
	// GitHubURL is where people find the GitHub of the integrations.
	GitHubURL string `yaml:"github_url"`
	// Model is the default model.
	Model  string        `yaml:"model"`
	Models []modelConfig `yaml:"models"`
	// AutoModels say what automatic ids stand for; the platform has defaults.
	AutoModels map[string][]string `yaml:"auto_models"`
	// DisabledModels are ids that no run may use; a trailing * is any rest.
	DisabledModels []string `yaml:"disabled_models"`
	// DisabledHarnesses are agents that no new run may use.
	DisabledHarnesses []string `yaml:"disabled_harnesses"`
	// Embeddings is the id of a model to which pieces of repositories are sent,
	// so that agents can search them by meaning.
	Embeddings string `yaml:"embeddings"`
	// PrivateModelEndpoints lets teams' own endpoints be at private addresses.
	PrivateModelEndpoints bool         `yaml:"private_model_endpoints"`
	Limits                limitsConfig `yaml:"limits"`
	Git                   gitConfig    `yaml:"git"`
	Worker                workerConfig `yaml:"worker"`
	// Budgets limit what teams and people spend on models.
	Budgets []budgetConfig `yaml:"budgets"`
	// Plan is what they are entitled to; without it, to everything.
	Plan *planConfig `yaml:"plan"`
	// SignIn lets people sign in with a browser; nil leaves API keys alone.
	SignIn *signInConfig `yaml:"sign_in"`
	// OpenTeams lets every person make teams, not only who leads one.
	OpenTeams bool `yaml:"open_teams"`
	// AllowedOrigins are the web origins that may call the API from a browser.
	AllowedOrigins []string `yaml:"allowed_origins"`

	file         string // that it was read from
	bootstrapKey string
	// exposed says that the command line holds the database's password.
	exposed bool
}

// modelConfig is one model provider. Its key is named, never written down here.
type modelConfig struct {
	Name       string   `yaml:"name"`
	Wire       string   `yaml:"wire"`
	BaseURL    string   `yaml:"base_url"`
	APIKeyEnv  string   `yaml:"api_key_env"`
	APIKeyFile string   `yaml:"api_key_file"`
	Models     []string `yaml:"models"`
	// BearerAuth sends the key as a bearer token on any wire.
	BearerAuth bool `yaml:"bearer_auth"`
	// Fallback is asked when the provider is away: provider, or provider/model.
	Fallback []fallbackConfig `yaml:"fallback"`
	// Prices of its models win over the built-in ones.
	Prices []priceConfig `yaml:"prices"`
}

// fallbackConfig is a model at a provider of the same wire.
type fallbackConfig struct {
	Provider string `yaml:"provider"`
	Model    string `yaml:"model"`
}

// priceConfig is what models cost, in USD per million tokens.
type priceConfig struct {
	Models        []string `yaml:"models"`
	Input         *float64 `yaml:"input"`
	Output        *float64 `yaml:"output"`
	CacheRead     *float64 `yaml:"cache_read"`
	CacheWrite    *float64 `yaml:"cache_write"`
	ContextWindow int64    `yaml:"context_window"`
	MaxOutput     int64    `yaml:"max_output"`
	AsOf          string   `yaml:"as_of"`
}

// limitsConfig are the limits of runs that name none; 0 is no limit.
type limitsConfig struct {
	MaxTurns   int     `yaml:"max_turns"`
	MaxTokens  int64   `yaml:"max_tokens"`
	MaxCostUSD float64 `yaml:"max_cost_usd"`
	MaxMinutes int     `yaml:"max_minutes"`
}

// gitConfig is the author of the agents' commits, and how to reach hosts.
type gitConfig struct {
	Name        string             `yaml:"name"`
	Email       string             `yaml:"email"`
	Credentials []credentialConfig `yaml:"credentials"`
}

type credentialConfig struct {
	Host         string `yaml:"host"`
	Username     string `yaml:"username"`
	PasswordEnv  string `yaml:"password_env"`
	PasswordFile string `yaml:"password_file"`
}

// workerConfig is the in-process worker.
type workerConfig struct {
	// ID is the worker's name. Default local, or a random one that is kept in
	// the data directory when servers share a database.
	ID string `yaml:"id"`
	// Env are variables of every sandbox: NAME=value, or NAME to pass on the
	// server's own.
	Env []string `yaml:"env"`
	// ServerURL is where the sandboxes reach the API, when that is not the
	// address the server listens on.
	ServerURL string `yaml:"server_url"`
	// SidecarImage is where workers of other hosts take the agent from, for runs
	// in containers.
	SidecarImage string `yaml:"sidecar_image"`
	// MaxKeptWorkspaces bounds how many workspaces of ended runs are kept, and
	// MinFreeDiskGB how much of the disk stays free of them; 0 is no bound.
	MaxKeptWorkspaces int     `yaml:"max_kept_workspaces"`
	MinFreeDiskGB     float64 `yaml:"min_free_disk_gb"`
	// Executor is what makes its sandboxes: local, the default, or containerd.
	Executor string `yaml:"executor"`
	// Isolation says whether the local executor's sandboxes get namespaces of
	// their own: auto, the default, require or off.
	Isolation string `yaml:"isolation"`
	// Containerd is for that executor.
	Containerd containers.Config `yaml:"containerd"`
}

func defaultConfig() config {
	return config{Listen: "127.0.0.1:8080", Data: "oz-data", LogLevel: "info", RunLinks: linksAccounts, StoreWait: 2 * time.Minute, MaxConcurrent: 4, MaxWaiting: 10_000,
		RepositoryBase: "https://github.com", GitHubURL: "https://github.com", Limits: limitsConfig{MaxTurns: 200, MaxMinutes: 120},
		Worker: workerConfig{Executor: executorLocal, Isolation: string(local.IsolationAuto), MaxKeptWorkspaces: 100, MinFreeDiskGB: 2}}
}

// variables names the environment variable of each flag.
var variables = map[string]string{
	"config":          "OZ_CONFIG",
	"listen":          "OZ_LISTEN",
	"data":            "OZ_DATA",
	"store":           "OZ_STORE",
	"store-wait":      "OZ_STORE_WAIT",
	"secrets-key":     "OZ_SECRETS_KEY",
	"metrics-listen":  "OZ_METRICS_LISTEN",
	"public-url":      "OZ_PUBLIC_URL",
	"log-level":       "OZ_LOG_LEVEL",
	"max-concurrent":  "OZ_MAX_CONCURRENT",
	"repository-base": "OZ_REPOSITORY_BASE",
	"github-url":      "OZ_GITHUB_URL",
	"model":           "OZ_MODEL",
	"no-web":          "OZ_NO_WEB",
	"web-assets":      "OZ_WEB_ASSETS",
	"run-links":       "OZ_RUN_LINKS",
}

// expected says what a variable must be, by the type of its flag. Any text
// is a string.
var expected = map[string]string{"int": "a whole number", "duration": "a duration such as 30s or 2m"}

// register makes the flags of c's fields.
func (c *config) register(f *pflag.FlagSet) {
	f.String("config", "", "configuration `file` (YAML)")
	f.StringVar(&c.Listen, "listen", c.Listen, "`address` of the HTTP API; port 0 takes a free one")
	f.StringVar(&c.Data, "data", c.Data, "`directory` of everything the server keeps")
	f.StringVar(&c.Store, "store", c.Store, "`URL` of a PostgreSQL database, for several servers; default SQLite in the data directory")
	f.DurationVar(&c.StoreWait, "store-wait", c.StoreWait, "how `long` a start waits for a PostgreSQL database that is away, such as 30s; 0 is not at all")
	f.StringVar(&c.SecretsKey, "secrets-key", c.SecretsKey, "`file` of the key that seals secrets, the same for all servers of a database; default secrets.key in the data directory")
	f.StringVar(&c.MetricsListen, "metrics-listen", c.MetricsListen, "`address` of /metrics for Prometheus; default none")
	f.StringVar(&c.PublicURL, "public-url", c.PublicURL, "`URL` by which people reach the server, for links")
	f.BoolVar(&c.NoWeb, "no-web", c.NoWeb, "serve the API alone, without the web app")
	f.StringVar(&c.RunLinks, "run-links", c.RunLinks, "`who` may use links to runs: off, accounts (whoever is signed in) or guests (whoever has the link)")
	f.StringVar(&c.WebAssets, "web-assets", c.WebAssets, "`directory` to read the web app's files from, anew for each request, for whoever works on them")
	f.StringVar(&c.LogLevel, "log-level", c.LogLevel, "debug, info, warn or error")
	f.IntVar(&c.MaxConcurrent, "max-concurrent", c.MaxConcurrent, "how many runs work at once")
	f.BoolVar(&c.NoCodeIndex, "no-code-index", c.NoCodeIndex, "make no index of repositories for agents to search")
	f.StringVar(&c.RepositoryBase, "repository-base", c.RepositoryBase, "`URL` before owner/name of repositories")
	f.StringVar(&c.GitHubURL, "github-url", c.GitHubURL, "`URL` of the GitHub that integrations are with, such as an Enterprise Server's")
	f.StringVar(&c.Model, "model", c.Model, "default model `id`")
	f.VisitAll(func(f *pflag.Flag) { f.Usage += " (env " + variables[f.Name] + ")" })
}

// load puts the layers together. f was made by register and has parsed the
// command line: what it said is put on top of file and environment again.
func (c *config) load(f *pflag.FlagSet, env modelenv.Lookup) error {
	said := map[string]string{}
	f.Visit(func(f *pflag.Flag) { said[f.Name] = f.Value.String() })
	*c = defaultConfig()
	c.bootstrapKey = env("OZ_BOOTSTRAP_API_KEY")
	c.exposed = passwordInFlag(said["store"])
	if path := cmp.Or(said["config"], env(variables["config"])); path != "" {
		if err := c.readFile(path); err != nil {
			return err
		}
		c.file = path
	}
	for name, variable := range variables {
		value, ok := said[name]
		if !ok {
			value = env(variable)
		}
		if !ok && value == "" {
			continue
		}
		if err := f.Set(name, value); err != nil {
			return fmt.Errorf("%s: %q is not %s", variable, value, expected[f.Lookup(name).Value.Type()])
		}
	}
	return c.check()
}

// readFile adds what the file says. Unknown keys are errors that name their line.
func (c *config) readFile(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := yamlfile.Unmarshal(raw, c); err != nil {
		return fmt.Errorf("configuration %s:\n%w", path, err)
	}
	return nil
}

// limits gives the defaults for runs.
func (c *config) limits() task.Limits {
	return task.Limits{MaxTurns: c.Limits.MaxTurns, MaxTokens: c.Limits.MaxTokens, MaxCostUSD: c.Limits.MaxCostUSD, MaxMinutes: c.Limits.MaxMinutes}
}

// models gives the providers of the file, or else those of the environment.
func (c *config) models(env modelenv.Lookup) (executor.Models, error) {
	if len(c.Models) == 0 {
		m, err := modelenv.Providers(env)
		m.Default, m.Auto, m.Disabled, m.Embeddings = cmp.Or(c.Model, m.Default), c.AutoModels, c.DisabledModels, c.Embeddings
		return m, cmp.Or(err, c.checkEmbeddings(m))
	}
	m := executor.Models{Default: c.Model, Auto: c.AutoModels, Disabled: c.DisabledModels, Embeddings: c.Embeddings}
	for i, p := range c.Models {
		provider, err := p.provider(env)
		if err != nil {
			return m, fmt.Errorf("models[%d]: %w", i, err)
		}
		m.Providers = append(m.Providers, provider)
		if m.Default == "" && !strings.HasSuffix(p.Models[0], "*") && p.Models[0] != c.Embeddings {
			m.Default = p.Models[0]
		}
	}
	if m.Default == "" {
		return m, errors.New("model: name the default model, since the providers list only patterns")
	}
	return m, cmp.Or(c.checkEmbeddings(m), m.Validate("models"))
}

// checkEmbeddings names the setting as the file has it.
func (c *config) checkEmbeddings(m executor.Models) error {
	if c.Embeddings != "" && !m.Embeds() {
		return fmt.Errorf("embeddings: no provider of the openai wire lists %q; add it to the models of one", c.Embeddings)
	}
	return nil
}

func (p modelConfig) provider(env modelenv.Lookup) (executor.ModelProvider, error) {
	out := executor.ModelProvider{Name: p.Name, Wire: p.Wire, BaseURL: p.BaseURL, Models: p.Models, BearerAuth: p.BearerAuth}
	for _, f := range p.Fallback {
		out.Fallback = append(out.Fallback, executor.ModelTarget{Provider: f.Provider, Model: f.Model})
	}
	for _, price := range p.Prices {
		out.Prices = append(out.Prices, catalog.Price{Models: price.Models, AsOf: price.AsOf, ContextWindow: price.ContextWindow, MaxOutput: price.MaxOutput,
			Source: "the operator", Rates: catalog.Rates{Input: price.Input, Output: price.Output, CacheRead: price.CacheRead, CacheWrite: price.CacheWrite}})
	}
	switch {
	case p.Name == "":
		return out, errors.New("name: is needed, to tell the provider from others")
	case !slices.Contains(catalog.Wires(), p.Wire):
		return out, fmt.Errorf("wire: %q is none of %s", p.Wire, strings.Join(catalog.Wires(), ", "))
	case len(p.Models) == 0 || slices.Contains(p.Models, ""):
		return out, errors.New(`models: list the ids it serves; a trailing * stands for any rest, as in "claude-*"`)
	}
	if p.BaseURL != "" {
		if err := modelenv.CheckURL("base_url", p.BaseURL); err != nil {
			return out, err
		}
	}
	key, err := secretFrom(env, "api_key", p.APIKeyEnv, p.APIKeyFile)
	out.APIKey = key
	return out, errors.Join(err, modelenv.CheckKey("api_key_env or api_key_file", string(key)))
}

// credentials gives what git needs of the hosts.
func (c *config) credentials(env modelenv.Lookup) ([]executor.GitCredential, error) {
	var list []executor.GitCredential
	for i, g := range c.Git.Credentials {
		password, err := secretFrom(env, "password", g.PasswordEnv, g.PasswordFile)
		switch {
		case err != nil:
		case g.Host == "":
			err = errors.New("host: is needed, such as github.com")
		case password == "":
			err = errors.New("password_env or password_file: one is needed")
		}
		if err != nil {
			return nil, fmt.Errorf("git.credentials[%d]: %w", i, err)
		}
		list = append(list, executor.GitCredential{Host: g.Host, Username: cmp.Or(g.Username, "x-access-token"), Password: password})
	}
	return list, nil
}

// secretFrom reads a value from the variable that field_env names, or the file
// that field_file names.
func secretFrom(env modelenv.Lookup, field, name, file string) (executor.Sensitive, error) {
	switch {
	case name != "" && file != "":
		return "", fmt.Errorf("%s_env and %[1]s_file: name a variable or a file, not both", field)
	case name != "":
		if env(name) == "" {
			return "", fmt.Errorf("%s_env: the environment variable %s is not set", field, name)
		}
		return executor.Sensitive(env(name)), nil
	case file != "":
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("%s_file: %w", field, err)
		}
		value := strings.TrimRight(string(b), "\r\n")
		if value == "" {
			return "", fmt.Errorf("%s_file: %s is empty", field, file)
		}
		return executor.Sensitive(value), nil
	}
	return "", nil
}

// sandboxEnv resolves the worker's variables. One that is passed on and not
// set is left out.
func (c *config) sandboxEnv(env modelenv.Lookup) []string {
	var out []string
	for _, v := range c.Worker.Env {
		name, _, hasValue := strings.Cut(v, "=")
		if value := env(name); !hasValue && value != "" {
			v = name + "=" + value
		} else if !hasValue {
			continue
		}
		out = append(out, v)
	}
	return out
}
