package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/modelenv"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/transport/worker"
)

// checkKept checks what says how long and how much is kept of ended runs.
func (c *config) checkKept() error {
	for _, w := range []struct{ field, value string }{{"idle_on_complete", c.IdleOnComplete}, {"idle_on_fail", c.IdleOnFail}} {
		if w.value == "" {
			continue
		}
		if d, err := time.ParseDuration(w.value); err != nil || d < 0 {
			return fmt.Errorf("%s: %q is no time such as 45m, or 0s", w.field, w.value)
		}
	}
	if c.MaxKeptWorkspaces < 0 {
		return fmt.Errorf("max_kept_workspaces: %d, must not be negative; 0 is no limit", c.MaxKeptWorkspaces)
	}
	if !(c.MinFreeDiskGB >= 0 && c.MinFreeDiskGB <= 1<<20) {
		return fmt.Errorf("min_free_disk_gb: %v, must be 0 to %d; 0 is no bound", c.MinFreeDiskGB, 1<<20)
	}
	return nil
}

// check names the first setting that cannot be, and fills in what depends on
// others.
func (c *config) check(env modelenv.Lookup) error {
	switch {
	case c.WorkerID == "":
		return usageError{errors.New("--worker-id, or worker_id in the file, is needed: runs give it as worker_host")}
	case strings.Trim(c.WorkerID, ".") == "":
		return fmt.Errorf("worker_id: %q is no name", c.WorkerID)
	case c.DrainTimeout < 0:
		return errors.New("drain_timeout: must not be negative; 0 is not to wait")
	case !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel):
		return fmt.Errorf("log_level: %q is none of debug, info, warn, error", c.LogLevel)
	case c.LogFormat != "json" && c.LogFormat != "console":
		return fmt.Errorf("log_format: %q is neither json nor console", c.LogFormat)
	}
	if err := oz.CheckWorkerID(c.WorkerID); err != nil {
		return fmt.Errorf("worker_id: %w", err)
	}
	if err := worker.CheckLabels("labels", c.Labels); err != nil {
		return err
	}
	if err := c.checkKept(); err != nil {
		return err
	}
	if c.Listen == "" && env("OTEL_METRICS_EXPORTER") == "prometheus" { // as the official worker does
		c.Listen = net.JoinHostPort(cmp.Or(env("OTEL_EXPORTER_PROMETHEUS_HOST"), "localhost"), cmp.Or(env("OTEL_EXPORTER_PROMETHEUS_PORT"), "9464"))
	}
	if err := checkListen(c.Listen); err != nil {
		return err
	}
	if u, err := url.Parse(c.Server); err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("server: must be an http or https URL without credentials or query, such as https://oz.example.com")
	}
	c.Server = strings.TrimRight(c.Server, "/")
	if u, err := url.Parse(c.RepositoryBase); c.RepositoryBase != "" && (err != nil || u.Scheme == "" || u.User != nil) {
		return errors.New("repository_base: must be a URL without credentials, such as https://github.com")
	}
	if err := c.checkState(env); err != nil {
		return err
	}
	return c.checkBackend(env)
}

func checkListen(address string) error {
	if address == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n > 65535 {
		return fmt.Errorf("listen: %q is no address such as 127.0.0.1:9464", address)
	}
	return nil
}

func (c *config) checkState(env modelenv.Lookup) error {
	if c.StateDir == "" {
		dir, err := stateDir(env)
		if err != nil {
			return err
		}
		c.StateDir = dir
	}
	dir, err := expandHome(c.StateDir)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	c.StateDir = dir
	return nil
}

// checkBackend chooses the back-end: the flag's, or the one of the file, or
// direct. The section of another one is left unread, as the flag wins.
func (c *config) checkBackend(env modelenv.Lookup) error {
	c.backend = cmp.Or(c.flagBackend, c.fileBackend, backendDirect)
	if !slices.Contains(backendNames, c.backend) {
		return usageError{fmt.Errorf("--backend: %q is none of %s", c.flagBackend, strings.Join(backendNames, ", "))}
	}
	if c.targetDir != "" && c.backend != backendDirect {
		return usageError{fmt.Errorf("--target-dir: is for the back-end direct, not for %s", c.backend)}
	}
	if len(c.volumes) > 0 && c.backend != backendDocker {
		return usageError{fmt.Errorf("--volumes: is for back-ends with containers; %s sees the files of this host as they are", c.backend)}
	}
	switch c.backend {
	case backendDirect:
		return c.checkDirect(env)
	case backendLocal:
		return c.checkLocal(env)
	case backendContainerd:
		return c.checkContainerd(env)
	case backendCommand:
		return c.checkCommand(env)
	case backendDocker:
		return errors.New("backend.docker: this worker drives no Docker daemon; name backend.containerd, backend.direct, or backend.command with a command that calls docker run (examples/deploy/docker shows one)")
	}
	return errors.New("backend.kubernetes: this worker makes no Jobs by itself; name backend.command with a command that calls kubectl (examples/deploy/kubernetes shows one), or run the worker in a pod with --one-shot")
}

func (c *config) checkDirect(env modelenv.Lookup) error {
	if c.Backend.Direct == nil {
		c.Backend.Direct = &directConfig{}
	}
	d := c.Backend.Direct
	d.TargetDir = cmp.Or(c.targetDir, d.TargetDir)
	if err := checkIsolation(d.Isolation); err != nil {
		return fmt.Errorf("backend.direct.%w", err)
	}
	if d.TeardownTimeout < 0 {
		return errors.New("backend.direct.teardown_timeout: must not be negative; 0 is the default of 5m")
	}
	if d.WorkspaceRoot == "" {
		d.WorkspaceRoot = filepath.Join(c.StateDir, "workspaces")
		if os.Getuid() == 0 && env("STATE_DIRECTORY") == "" && c.StateDir == "/var/lib/oz-worker" {
			d.WorkspaceRoot = "/var/lib/oz/workspaces"
		}
	}
	for _, p := range []struct {
		key  string
		path *string
	}{{"workspace_root", &d.WorkspaceRoot}, {"target_dir", &d.TargetDir}, {"oz_path", &d.OzPath}} {
		if *p.path == "" {
			continue
		}
		path, err := expandHome(*p.path)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			return fmt.Errorf("backend.direct.%s: %w", p.key, err)
		}
		*p.path = path
	}
	if d.TargetDir != "" {
		if info, err := os.Stat(d.TargetDir); err != nil || !info.IsDir() {
			return fmt.Errorf("backend.direct.target_dir: %s must be a directory that exists", d.TargetDir)
		}
	}
	if d.OzPath != "" {
		if info, err := os.Stat(d.OzPath); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return fmt.Errorf("backend.direct.oz_path: %s must be a program", d.OzPath)
		}
	}
	return c.checkEnvironment(d.Environment, sandboxOwn)
}

func checkIsolation(isolation string) error {
	if !slices.Contains([]string{"", "auto", "require", "off"}, isolation) {
		return fmt.Errorf("isolation: %q is none of auto, require, off", isolation)
	}
	return nil
}

func (c *config) checkLocal(modelenv.Lookup) error {
	if c.Backend.Local == nil {
		c.Backend.Local = &localConfig{}
	}
	l := c.Backend.Local
	if err := checkIsolation(l.Isolation); err != nil {
		return fmt.Errorf("backend.local.%w", err)
	}
	if l.MemoryGB < 0 || l.CPUs < 0 || l.Processes < 0 {
		return errors.New("backend.local: memory_gb, cpus and processes must not be negative; 0 is no limit")
	}
	if (l.MemoryGB > 0 || l.CPUs > 0 || l.Processes > 0) && l.Cgroup == "" {
		return errors.New("backend.local: memory_gb, cpus and processes need cgroup, a cgroup v2 directory that this worker may manage")
	}
	root, err := filepath.Abs(cmp.Or(l.Root, filepath.Join(c.StateDir, "sandboxes")))
	if err != nil {
		return fmt.Errorf("backend.local.root: %w", err)
	}
	l.Root = root
	return c.checkEnvironment(l.Environment, sandboxOwn)
}

func (c *config) checkContainerd(modelenv.Lookup) error {
	if c.Backend.Containerd == nil {
		c.Backend.Containerd = &containerdConfig{}
	}
	d := c.Backend.Containerd
	if d.MemoryGB < 0 || d.CPUs < 0 || d.Processes < 0 || d.DiskGB < 0 {
		return errors.New("backend.containerd: memory_gb, cpus, processes and disk_gb must not be negative; 0 is no limit")
	}
	if err := d.Containers.Check(); err != nil {
		return fmt.Errorf("backend.containerd.%w", err)
	}
	root, err := filepath.Abs(cmp.Or(d.Root, filepath.Join(c.StateDir, "containers")))
	if err != nil {
		return fmt.Errorf("backend.containerd.root: %w", err)
	}
	d.Root = root
	return c.checkEnvironment(d.Environment, sandboxOwn)
}

func (c *config) checkCommand(modelenv.Lookup) error {
	d := c.Backend.Command
	switch {
	case d == nil || strings.TrimSpace(d.DispatchCommand) == "":
		return errors.New("backend.command.dispatch_command: is needed")
	case d.DispatchTimeout < 0 || d.CancelTimeout < 0 || d.Lifetime < 0:
		return errors.New("backend.command: dispatch_timeout, cancel_timeout and lifetime must not be negative; 0 is their default")
	}
	return c.checkEnvironment(d.Environment, nil)
}

// sandboxOwn are the variables that a sandbox has of its own.
var sandboxOwn = []string{executor.EnvHome, executor.EnvTempDir, executor.EnvSandboxID}

// checkEnvironment checks the names of the file's list and of -e. Values are
// nobody's business.
func (c *config) checkEnvironment(list []variable, own []string) error {
	check := func(where, name string) error {
		switch {
		case name == "" || strings.ContainsAny(name, " \t\r\n=\x00"):
			return fmt.Errorf("%s: a name without blanks and = is needed", where)
		case slices.Contains(own, name):
			return fmt.Errorf("%s: %s is each sandbox's own; leave it out", where, name)
		}
		return nil
	}
	for i, v := range list {
		if err := check(fmt.Sprintf("backend.%s.environment[%d].name", c.backend, i), v.Name); err != nil {
			return err
		}
	}
	for _, v := range c.env {
		name, _, _ := strings.Cut(v, "=")
		if err := check("--env", name); err != nil {
			return usageError{err}
		}
	}
	return nil
}

// environment gives the variables of a back-end's list, and those of -e over
// them.
func (c *config) environment(list []variable, env modelenv.Lookup) []string {
	var out []string
	for _, v := range list {
		value := env(v.Name)
		if v.Value != nil {
			value = *v.Value
		}
		out = append(out, v.Name+"="+value)
	}
	for _, v := range c.env {
		if name, _, ok := strings.Cut(v, "="); !ok {
			v = name + "=" + env(name)
		}
		out = append(out, v)
	}
	return out
}

// level is the LogLevel.
func (c *config) level() zapcore.Level {
	var l zapcore.Level
	_ = l.Set(c.LogLevel) // was checked
	return l
}
