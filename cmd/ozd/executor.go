package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/local"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/internal/modelenv"
	"github.com/oz-platform/cloudagents/oz"
)

// The kinds of worker.executor.
const (
	executorLocal      = "local"
	executorContainerd = "containerd"
)

// containerdConfig is how sandboxes are made when worker.executor is
// containerd. Empty fields have the defaults of executor/containerd.
type containerdConfig struct {
	// Address is containerd's socket.
	Address string `yaml:"address"`
	// Namespace in containerd, of this server alone.
	Namespace string `yaml:"namespace"`
	// Image of runs whose environment names none.
	Image string `yaml:"image"`
	// Import are archives of images, taken in at each start.
	Import []string `yaml:"import"`
	// Network is host, bridge or none.
	Network string `yaml:"network"`
	// Subnet of the bridge.
	Subnet string `yaml:"subnet"`
	// RootUser keeps root where an image says so.
	RootUser bool `yaml:"root_user"`
	// Runner is a static build of this program; default this one.
	Runner string `yaml:"runner"`
	// Mounts are in every sandbox: source:target, or source:target:rw.
	Mounts []string `yaml:"mounts"`
	// Registries that need more than their name, by host.
	Registries map[string]registryConfig `yaml:"registries"`
}

// registryConfig is one registry. Its password is named, never written down
// here.
type registryConfig struct {
	Username     string   `yaml:"username"`
	PasswordEnv  string   `yaml:"password_env"`
	PasswordFile string   `yaml:"password_file"`
	PlainHTTP    bool     `yaml:"plain_http"`
	Mirrors      []string `yaml:"mirrors"`
}

// check looks at what the executor cannot see.
func (c containerdConfig) check() error {
	for i, m := range c.Mounts {
		if _, err := parseMount(m); err != nil {
			return fmt.Errorf("worker.containerd.mounts[%d]: %w", i, err)
		}
	}
	if c.Network != "" && !slices.Contains([]string{"host", "bridge", "none"}, c.Network) {
		return fmt.Errorf("worker.containerd.network: %q is none of host, bridge, none", c.Network)
	}
	for host, r := range c.Registries {
		if r.PasswordEnv != "" && r.PasswordFile != "" {
			return fmt.Errorf("worker.containerd.registries.%s: give password_env or password_file, not both", host)
		}
	}
	return nil
}

func parseMount(s string) (executor.Mount, error) {
	f := strings.Split(s, ":")
	if len(f) < 2 || len(f) > 3 || len(f) == 3 && f[2] != "rw" && f[2] != "ro" {
		return executor.Mount{}, errors.New("must be source:target, or source:target:rw")
	}
	return executor.Mount{Source: f[0], Target: f[1], Writable: len(f) == 3 && f[2] == "rw"}, nil
}

// password reads what the configuration names.
func (r registryConfig) password(env modelenv.Lookup) (string, error) {
	switch {
	case r.PasswordEnv != "":
		v := env(r.PasswordEnv)
		if v == "" {
			return "", fmt.Errorf("the environment has no %s", r.PasswordEnv)
		}
		return v, nil
	case r.PasswordFile != "":
		data, err := os.ReadFile(r.PasswordFile)
		return strings.TrimSpace(string(data)), err
	}
	return "", nil
}

// openExecutor opens what the sandboxes of this process are made by, and says
// how the worker starts runners in them. The caller closes it.
func (s *server) openExecutor(ctx context.Context) (executor.Executor, *oz.LocalWorkerOptions, io.Closer, error) {
	opts := &oz.LocalWorkerOptions{Capacity: s.config.MaxConcurrent, ServerURL: cmp.Or(s.config.Worker.ServerURL, s.address),
		Env: s.config.sandboxEnv(s.env), Logger: s.log}
	root := filepath.Join(s.config.Data, "run")
	if s.config.Worker.Executor == executorContainerd {
		ex, command, err := openContainerd(ctx, root, s.config.Worker.Containerd, s.env, s.log)
		if err != nil {
			return nil, nil, nil, err
		}
		opts.Command = command
		return ex, opts, ex, nil
	}
	ex, err := local.New(root, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("find this executable, which is to run agents: %w", err)
	}
	opts.Command, opts.CacheDir = runner.Command(self), filepath.Join(s.config.Data, "mirrors")
	return ex, opts, ex, nil
}
