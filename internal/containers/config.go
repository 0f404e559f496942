// Package containers holds the settings of executor/containerd as the
// configuration files of ozd and oz-worker have them.
package containers

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/modelenv"
)

// Config is how sandboxes are made. Empty fields have the defaults of executor/containerd.
type Config struct {
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
	// WarmStates is how many prepared states are kept for later runs to start
	// from; 0 keeps none.
	WarmStates int `yaml:"warm_states"`
	// WarmDiskGB bounds what they have on disk together.
	WarmDiskGB float64 `yaml:"warm_disk_gb"`
	// WarmPool is how many sandboxes of each environment stand ready; 0 is none.
	WarmPool int `yaml:"warm_pool"`
	// WarmPoolEnvironments is for how many environments; 0 is the executor's
	// default.
	WarmPoolEnvironments int `yaml:"warm_pool_environments"`
	// ImageDays is how long an image stays that no run uses; 0 is no bound.
	ImageDays float64 `yaml:"image_days"`
	// ImageDiskGB bounds what images have on disk together; 0 is no bound.
	ImageDiskGB float64 `yaml:"image_disk_gb"`
	// Mounts are in every sandbox: source:target, or source:target:rw.
	Mounts []string `yaml:"mounts"`
	// Registries that need more than their name, by host.
	Registries map[string]Registry `yaml:"registries"`
}

// Registry is one registry. Its password is named, never written down
// here.
type Registry struct {
	Username     string   `yaml:"username"`
	PasswordEnv  string   `yaml:"password_env"`
	PasswordFile string   `yaml:"password_file"`
	PlainHTTP    bool     `yaml:"plain_http"`
	Mirrors      []string `yaml:"mirrors"`
}

const (
	maxWarmStates = 1000
	maxWarmDiskGB = 1 << 20
	maxImageDays  = 3650
	maxWarmPool   = 32
	maxPoolKinds  = 64
)

// Check looks at what the executor cannot see. Its errors name fields.
func (c Config) Check() error {
	for i, m := range c.Mounts {
		if _, err := parseMount(m); err != nil {
			return fmt.Errorf("mounts[%d]: %w", i, err)
		}
	}
	if c.WarmStates < 0 || c.WarmStates > maxWarmStates {
		return fmt.Errorf("warm_states: %d is not between 0 and %d", c.WarmStates, maxWarmStates)
	}
	if !(c.WarmDiskGB >= 0 && c.WarmDiskGB <= maxWarmDiskGB) {
		return fmt.Errorf("warm_disk_gb: %g is not between 0 and %d", c.WarmDiskGB, maxWarmDiskGB)
	}
	if !(c.ImageDays >= 0 && c.ImageDays <= maxImageDays) {
		return fmt.Errorf("image_days: %g is not between 0 and %d", c.ImageDays, maxImageDays)
	}
	if !(c.ImageDiskGB >= 0 && c.ImageDiskGB <= maxWarmDiskGB) {
		return fmt.Errorf("image_disk_gb: %g is not between 0 and %d", c.ImageDiskGB, maxWarmDiskGB)
	}
	if c.WarmPool < 0 || c.WarmPool > maxWarmPool {
		return fmt.Errorf("warm_pool: %d is not between 0 and %d", c.WarmPool, maxWarmPool)
	}
	if c.WarmPoolEnvironments < 0 || c.WarmPoolEnvironments > maxPoolKinds {
		return fmt.Errorf("warm_pool_environments: %d is not between 0 and %d", c.WarmPoolEnvironments, maxPoolKinds)
	}
	if c.Network != "" && !slices.Contains([]string{"host", "bridge", "none"}, c.Network) {
		return fmt.Errorf("network: %q is none of host, bridge, none", c.Network)
	}
	for host, r := range c.Registries {
		if r.PasswordEnv != "" && r.PasswordFile != "" {
			return fmt.Errorf("registries.%s: give password_env or password_file, not both", host)
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
func (r Registry) password(env modelenv.Lookup) (string, error) {
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
