package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"go.uber.org/zap/zapcore"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/modelenv"
	"github.com/oz-platform/cloudagents/task"
)

// config is the server's configuration: flags win over environment variables,
// these over the file, the file over defaults.
type config struct {
	// Listen is the address of the HTTP API.
	Listen string `yaml:"listen"`
	// Data is the directory of database, keys, artifacts and sandboxes.
	Data string `yaml:"data"`
	// PublicURL is how people reach the server; links are made from it.
	PublicURL string `yaml:"public_url"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `yaml:"log_level"`
	// MaxConcurrent bounds the runs at work.
	MaxConcurrent int `yaml:"max_concurrent"`
	// MaxWaiting bounds the queue; more runs are refused.
	MaxWaiting int `yaml:"max_waiting"`
	// Lease is how long an agent may be silent before its run goes to another;
	// 0 is the platform's default.
	Lease time.Duration `yaml:"lease"`
	// RepositoryBase is put before owner/name.
	RepositoryBase string `yaml:"repository_base"`
	// Model is the default model.
	Model  string        `yaml:"model"`
	Models []modelConfig `yaml:"models"`
	Limits limitsConfig  `yaml:"limits"`
	Git    gitConfig     `yaml:"git"`
	Worker workerConfig  `yaml:"worker"`
	// AllowedOrigins are the web origins that may call the API from a browser.
	AllowedOrigins []string `yaml:"allowed_origins"`

	bootstrapKey string
}

// modelConfig is one model provider. Its key is named, never written down here.
type modelConfig struct {
	Name       string   `yaml:"name"`
	Wire       string   `yaml:"wire"`
	BaseURL    string   `yaml:"base_url"`
	APIKeyEnv  string   `yaml:"api_key_env"`
	APIKeyFile string   `yaml:"api_key_file"`
	Models     []string `yaml:"models"`
}

// limitsConfig are the limits of runs that name none.
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
	// Env are variables of every sandbox: NAME=value, or NAME to pass on the
	// server's own.
	Env []string `yaml:"env"`
	// ServerURL is where the sandboxes reach the API, when that is not the
	// address the server listens on.
	ServerURL string `yaml:"server_url"`
}

func defaultConfig() config {
	return config{Listen: "127.0.0.1:8080", Data: "oz-data", LogLevel: "info", MaxConcurrent: 4, MaxWaiting: 10_000,
		RepositoryBase: "https://github.com", Limits: limitsConfig{MaxTurns: 200, MaxMinutes: 120}}
}

// readFile adds what the file says. Unknown keys are errors that name their line.
func (c *config) readFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	if err := yaml.NewDecoder(f, yaml.Strict()).Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("configuration %s:\n%s", path, yaml.FormatError(err, false, true))
	}
	return nil
}

// readEnv adds what the environment says.
func (c *config) readEnv(env modelenv.Lookup) error {
	c.Listen = cmp.Or(env("OZ_LISTEN"), c.Listen)
	c.Data = cmp.Or(env("OZ_DATA"), c.Data)
	c.PublicURL = cmp.Or(env("OZ_PUBLIC_URL"), c.PublicURL)
	c.LogLevel = cmp.Or(env("OZ_LOG_LEVEL"), c.LogLevel)
	c.RepositoryBase = cmp.Or(env("OZ_REPOSITORY_BASE"), c.RepositoryBase)
	c.Model = cmp.Or(env("OZ_MODEL"), c.Model)
	c.bootstrapKey = env("OZ_BOOTSTRAP_API_KEY")
	if n := env("OZ_MAX_CONCURRENT"); n != "" {
		v, err := strconv.Atoi(n)
		if err != nil {
			return fmt.Errorf("OZ_MAX_CONCURRENT: %q is not a number", n)
		}
		c.MaxConcurrent = v
	}
	return nil
}

// check names the first field that cannot be.
func (c *config) check() error {
	var level zapcore.Level
	switch {
	case c.Listen == "":
		return errors.New("listen: an address such as 127.0.0.1:8080 is needed")
	case c.Data == "":
		return errors.New("data: a directory is needed")
	case c.MaxConcurrent < 1:
		return errors.New("max_concurrent: must be at least 1")
	case c.MaxWaiting < 1:
		return errors.New("max_waiting: must be at least 1")
	case c.Lease < 0:
		return errors.New("lease: may not be negative")
	case level.Set(c.LogLevel) != nil:
		return fmt.Errorf("log_level: %q is none of debug, info, warn, error", c.LogLevel)
	}
	data, err := filepath.Abs(c.Data)
	c.Data = data
	return err
}

// limits gives the defaults for runs.
func (c *config) limits() task.Limits {
	return task.Limits{MaxTurns: c.Limits.MaxTurns, MaxTokens: c.Limits.MaxTokens, MaxCostUSD: c.Limits.MaxCostUSD, MaxMinutes: c.Limits.MaxMinutes}
}

// models gives the providers of the file, or else those of the environment.
func (c *config) models(env modelenv.Lookup) (executor.Models, error) {
	if len(c.Models) == 0 {
		m, err := modelenv.Providers(env)
		m.Default = cmp.Or(c.Model, m.Default)
		return m, err
	}
	m := executor.Models{Default: c.Model}
	for i, p := range c.Models {
		if p.Name == "" || (p.Wire != "anthropic" && p.Wire != "openai") || len(p.Models) == 0 {
			return m, fmt.Errorf("models[%d]: name, wire (anthropic or openai) and models are needed", i)
		}
		key, err := secretFrom(env, p.APIKeyEnv, p.APIKeyFile)
		if err != nil {
			return m, fmt.Errorf("models[%d] (%s): %w", i, p.Name, err)
		}
		m.Providers = append(m.Providers, executor.ModelProvider{Name: p.Name, Wire: p.Wire, BaseURL: p.BaseURL, APIKey: key, Models: p.Models})
		if m.Default == "" && !strings.HasSuffix(p.Models[0], "*") {
			m.Default = p.Models[0]
		}
	}
	if m.Default == "" {
		return m, errors.New("model: name the default model, since the providers list only patterns")
	}
	return m, nil
}

// credentials gives what git needs of the hosts.
func (c *config) credentials(env modelenv.Lookup) ([]executor.GitCredential, error) {
	var list []executor.GitCredential
	for i, g := range c.Git.Credentials {
		password, err := secretFrom(env, g.PasswordEnv, g.PasswordFile)
		if err == nil && (g.Host == "" || password == "") {
			err = errors.New("host and password_env or password_file are needed")
		}
		if err != nil {
			return nil, fmt.Errorf("git.credentials[%d]: %w", i, err)
		}
		list = append(list, executor.GitCredential{Host: g.Host, Username: cmp.Or(g.Username, "x-access-token"), Password: password})
	}
	return list, nil
}

// secretFrom reads a value from the variable or the file that is named.
func secretFrom(env modelenv.Lookup, name, file string) (executor.Sensitive, error) {
	switch {
	case name != "" && file != "":
		return "", errors.New("name a variable or a file, not both")
	case name != "":
		if env(name) == "" {
			return "", fmt.Errorf("the environment variable %s is not set", name)
		}
		return executor.Sensitive(env(name)), nil
	case file != "":
		b, err := os.ReadFile(file)
		return executor.Sensitive(strings.TrimRight(string(b), "\r\n")), err
	}
	return "", nil
}

// sandboxEnv resolves the worker's variables.
func (c *config) sandboxEnv(env modelenv.Lookup) ([]string, error) {
	out := slices.Clone(c.Worker.Env)
	for i, v := range out {
		name, _, hasValue := strings.Cut(v, "=")
		if name == "" || strings.ContainsAny(name, " \t") {
			return nil, fmt.Errorf("worker.env: %q is not NAME or NAME=value", v)
		}
		if !hasValue {
			out[i] = name + "=" + env(name)
		}
	}
	return out, nil
}
