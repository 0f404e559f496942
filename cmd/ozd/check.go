package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap/zapcore"

	"github.com/oz-platform/cloudagents/executor/catalog"
)

// check names the first field that cannot be, and makes the directory absolute.
func (c *config) check() error {
	var level zapcore.Level
	switch {
	case c.Data == "":
		return errors.New("data: a directory is needed")
	case c.MaxConcurrent < 1:
		return fmt.Errorf("max_concurrent: %d, must be at least 1", c.MaxConcurrent)
	case c.MaxWaiting < 1:
		return fmt.Errorf("max_waiting: %d, must be at least 1", c.MaxWaiting)
	case c.MaxAttempts < 0:
		return errors.New("max_attempts: must not be negative; 0 is the default of 3")
	case c.RetentionDays < 0:
		return errors.New("retention_days: must not be negative; 0 keeps everything")
	case c.Lease < 0:
		return errors.New("lease: must not be negative; 0 is the default of 30s")
	case c.StoreWait < 0:
		return errors.New("store_wait: must not be negative; 0 is not to wait")
	case level.Set(c.LogLevel) != nil || !slices.Contains([]string{"debug", "info", "warn", "error"}, level.String()):
		return fmt.Errorf("log_level: %q is none of debug, info, warn, error", c.LogLevel)
	case !slices.Contains([]string{linksOff, linksAccounts, linksGuests}, c.RunLinks):
		return fmt.Errorf("run_links: %q is none of off, accounts, guests", c.RunLinks)
	}
	data, err := filepath.Abs(c.Data)
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	c.Data = data
	_, err = c.plan(nil) // is made again once there is a store
	return errors.Join(c.checkAddresses(), c.Limits.check(), c.Worker.check(), c.checkBudgets(), c.checkHarnesses(), c.SignIn.check(c.PublicURL), err)
}

// checkHarnesses leaves the built-in agent, which runs have that name none.
func (c *config) checkHarnesses() error {
	for i, h := range c.DisabledHarnesses {
		if !slices.ContainsFunc(catalog.Harnesses()[1:], func(known catalog.Harness) bool { return known.Type == h }) {
			return fmt.Errorf("disabled_harnesses[%d]: %q is none of claude, codex, gemini, opencode", i, h)
		}
	}
	return nil
}

// checkAddresses looks at what must be an address of some kind.
func (c *config) checkAddresses() error {
	if err := checkListen("listen", c.Listen); err != nil {
		return err
	}
	if c.MetricsListen != "" {
		if err := checkListen("metrics_listen", c.MetricsListen); err != nil {
			return err
		}
	}
	if err := c.checkStore(); err != nil {
		return err
	}
	if c.IdentityIssuer != "" && !isWebURL(c.IdentityIssuer) {
		return errors.New("identity_issuer: must be an http or https URL without credentials or query, such as https://keys.example.com/oz")
	}
	if c.PublicURL != "" && !isWebURL(c.PublicURL) {
		return errors.New("public_url: must be an http or https URL without credentials or query, such as https://oz.example.com")
	}
	if u, err := url.Parse(c.RepositoryBase); err != nil || u.Scheme == "" {
		return errors.New("repository_base: must be a URL, such as https://github.com")
	}
	if u, err := url.Parse(c.GitHubURL); !isWebURL(c.GitHubURL) || err != nil || u.Path != "" {
		return errors.New("github_url: must be an http or https URL without a path, such as https://github.example.com")
	}
	for i, o := range c.AllowedOrigins {
		if u, err := url.Parse(o); !isWebURL(o) || err != nil || u.Path != "" {
			return fmt.Errorf("allowed_origins[%d]: must be an origin, such as https://app.example.com", i)
		}
	}
	return nil
}

func checkListen(field, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return fmt.Errorf("%s: %q must be host:port, such as 127.0.0.1:8080, or :8080 for every interface", field, address)
	}
	return nil
}

func isWebURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") && u.User == nil && u.RawQuery == ""
}

func (l limitsConfig) check() error {
	for name, negative := range map[string]bool{"max_turns": l.MaxTurns < 0, "max_tokens": l.MaxTokens < 0,
		"max_cost_usd": l.MaxCostUSD < 0, "max_minutes": l.MaxMinutes < 0} {
		if negative {
			return fmt.Errorf("limits.%s: must not be negative; 0 is no limit", name)
		}
	}
	return nil
}

func (w workerConfig) check() error {
	if w.ServerURL != "" && !isWebURL(w.ServerURL) {
		return errors.New("worker.server_url: must be an http or https URL without credentials or query")
	}
	if strings.ContainsAny(w.SidecarImage, " \t\n") {
		return errors.New("worker.sidecar_image: must be the name of an image, without spaces")
	}
	if w.MaxKeptWorkspaces < 0 {
		return fmt.Errorf("worker.max_kept_workspaces: %d, must not be negative; 0 is no limit", w.MaxKeptWorkspaces)
	}
	if !(w.MinFreeDiskGB >= 0 && w.MinFreeDiskGB <= 1<<20) {
		return fmt.Errorf("worker.min_free_disk_gb: %v, must be 0 to %d; 0 is no bound", w.MinFreeDiskGB, 1<<20)
	}
	switch w.Executor {
	case "", executorLocal, executorContainerd:
	default:
		return fmt.Errorf("worker.executor: %q is none of local, containerd", w.Executor)
	}
	if !slices.Contains([]string{"", "auto", "require", "off"}, w.Isolation) {
		return fmt.Errorf("worker.isolation: %q is none of auto, require, off", w.Isolation)
	}
	if err := w.Containerd.Check(); err != nil {
		return fmt.Errorf("worker.containerd.%w", err)
	}
	for i, v := range w.Env {
		if name, _, _ := strings.Cut(v, "="); name == "" || strings.ContainsAny(name, " \t") {
			return fmt.Errorf("worker.env[%d]: must be NAME=value, or NAME to pass on the server's own", i)
		}
	}
	return nil
}
