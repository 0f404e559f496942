//go:build linux

package containerd

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/internal/outlog"
)

const (
	defaultAddress     = "/run/containerd/containerd.sock"
	defaultImage       = "ubuntu:22.04"
	defaultSubnet      = "10.90.0.0/16"
	defaultPluginDir   = "/usr/lib/cni"
	defaultOutputLimit = 64 << 20
	defaultDiskPeriod  = 5 * time.Second
	defaultWarmDisk    = 20 << 30
	defaultWarmRefresh = 6 * time.Hour
	defaultWarmTimeout = time.Hour
	defaultPoolKinds   = 4
	defaultPoolIdle    = time.Hour
)

// Options holds what an Executor can do without. The zero value is ready to use.
type Options struct {
	// Address is containerd's socket. Default /run/containerd/containerd.sock.
	Address string

	// Namespace is the containerd namespace that holds everything of this Executor. No other Executor on this host may
	// have the same one, also none on another containerd: the runtime's state is shared by all of them. Default: "oz-"
	// and a hash of the root's path. 1 to 40 of a-z, 0-9 and '-'.
	Namespace string

	// Snapshotter keeps the root file systems. Default: containerd's own, overlayfs.
	Snapshotter string

	// Runner is a static binary whose main calls pid1.Main, and which is mounted as pid1.Binary: in production it is
	// the agent runner too. Default: this executable.
	Runner string

	// Image is used where a Spec names none. Default "ubuntu:22.04".
	Image string

	// RootUser keeps root where an image says so. Default false: such images run as the user "agent", 1000.
	RootUser bool

	// Network is used where a Spec names none. Default executor.NetworkHost, which isolates nothing; with
	// executor.NetworkBridge the platform must listen where containers can reach it.
	Network executor.NetworkMode

	// PluginDir has the CNI plugins bridge and host-local. Default /usr/lib/cni.
	PluginDir string

	// Subnet is where the bridge's addresses come from, as 10.90.0.0/16, the default.
	Subnet string

	// NoMasquerade leaves it to the operator to route what comes from Subnet. Default false: the bridge plugin sets up
	// masquerading, by iptables.
	NoMasquerade bool

	// Mounts are in every sandbox, before those of the Spec. Default none.
	Mounts []executor.Mount

	// Registries says how to reach registries, by host as image references have it ("docker.io", "127.0.0.1:5000").
	// Default: over TLS without credentials; loopback addresses over plain HTTP.
	Registries map[string]Registry

	// OutputLimit is the most that one sandbox's output may take on disk, in bytes. Default 64 MiB, at least 64 KiB.
	OutputLimit int64

	// DiskPeriod is how often Limits.Disk is measured. Default 5 s; longer where measuring takes long.
	DiskPeriod time.Duration

	// WarmStates is how many prepared states are kept for Spec.Warm, the least recently used give way. Default 0: none,
	// and Spec.Warm is ignored.
	WarmStates int

	// WarmDisk bounds what they have on disk together, in bytes; while a new one is made, that one comes on top. Default
	// 20 GiB.
	WarmDisk int64

	// WarmRefresh is the age beyond which a state that is used is made anew in the background. Default 6 h.
	WarmRefresh time.Duration

	// WarmTimeout bounds the making of a state. Default 1 h.
	WarmTimeout time.Duration

	// ImageAge is how long an image stays that no Start asks for. Then it is removed, and pulled again when it is asked for.
	// Images of Import, the default image and those of containers stay; also none goes within 2 h of its use. Default 0:
	// as long as there is room.
	ImageAge time.Duration

	// ImageDisk bounds what images have on disk, packed and unpacked, in bytes: beyond it the least recently used go, by the
	// same rules. What several share counts for each. Default 0: no bound.
	ImageDisk int64

	// PoolSize is how many sandboxes of each kind stand ready, so that a Start need not wait for a container. They are alike
	// if image, user, network, mounts, limits and Spec.Warm are. Default 0: none.
	PoolSize int

	// PoolKinds is for how many kinds; those that were last asked for. Default 4.
	PoolKinds int

	// PoolIdle is how long a kind that nobody asks for keeps its ready sandboxes. Default 1 h.
	PoolIdle time.Duration

	// Logger receives what nobody is there to return to. Default: none.
	Logger *zap.Logger
}

// Registry says how to reach a registry.
type Registry struct {
	// Username and Password are sent to the registry and to its token service. Default none.
	Username, Password string

	// PlainHTTP means without TLS. Default only for loopback addresses.
	PlainHTTP bool

	// Mirrors are asked first, in this order, as https://host/prefix or http://host/prefix. Default none.
	Mirrors []string
}

var validNamespace = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

func (o *Options) withDefaults() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	opts.Address = cmp.Or(opts.Address, defaultAddress)
	opts.Image = cmp.Or(opts.Image, defaultImage)
	opts.Network = cmp.Or(opts.Network, executor.NetworkHost)
	opts.PluginDir = cmp.Or(opts.PluginDir, defaultPluginDir)
	opts.Subnet = cmp.Or(opts.Subnet, defaultSubnet)
	opts.OutputLimit = cmp.Or(opts.OutputLimit, defaultOutputLimit)
	opts.DiskPeriod = cmp.Or(opts.DiskPeriod, defaultDiskPeriod)
	opts.WarmDisk = cmp.Or(opts.WarmDisk, defaultWarmDisk)
	opts.WarmRefresh = cmp.Or(opts.WarmRefresh, defaultWarmRefresh)
	opts.WarmTimeout = cmp.Or(opts.WarmTimeout, defaultWarmTimeout)
	opts.PoolKinds = cmp.Or(opts.PoolKinds, defaultPoolKinds)
	opts.PoolIdle = cmp.Or(opts.PoolIdle, defaultPoolIdle)
	opts.Mounts = slices.Clone(opts.Mounts)
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	if opts.Runner == "" {
		self, err := os.Executable()
		if err != nil {
			return opts, fmt.Errorf("find this executable, which is to run in containers; set Runner: %w", err)
		}
		opts.Runner = self
	}
	return opts, opts.validate()
}

func (o *Options) validate() error {
	switch {
	case o.Namespace != "" && !validNamespace.MatchString(o.Namespace):
		return fmt.Errorf("the Namespace %q must have 1 to 40 of a-z, 0-9 and '-'", o.Namespace)
	case o.OutputLimit < outlog.MinLimit:
		return fmt.Errorf("the OutputLimit is %d bytes, must be at least %d", o.OutputLimit, outlog.MinLimit)
	case o.DiskPeriod < 0:
		return errors.New("the DiskPeriod may not be negative")
	case o.WarmStates < 0 || o.WarmDisk < 0 || o.WarmRefresh < 0 || o.WarmTimeout < 0:
		return errors.New("WarmStates, WarmDisk, WarmRefresh and WarmTimeout may not be negative")
	case o.ImageAge < 0 || o.ImageDisk < 0:
		return errors.New("ImageAge and ImageDisk may not be negative")
	case o.PoolSize < 0 || o.PoolKinds < 0 || o.PoolIdle < 0:
		return errors.New("PoolSize, PoolKinds and PoolIdle may not be negative")
	}
	if _, _, err := net.ParseCIDR(o.Subnet); err != nil {
		return fmt.Errorf("the Subnet: %w", err)
	}
	spec := executor.Spec{ID: "x", Workspace: "x", Command: []string{"x"}, Mounts: o.Mounts, Network: o.Network}
	if err := spec.Validate(); err != nil {
		return err
	}
	for host, r := range o.Registries {
		for _, m := range r.Mirrors {
			if _, err := parseMirror(m); err != nil {
				return fmt.Errorf("registry %s: mirror %q: %w", host, m, err)
			}
		}
	}
	return CheckRunner(o.Runner)
}

// checkMounts names the first source that is not there: containerd would say so only in the middle of a start.
func checkMounts(list []executor.Mount) error {
	for i, m := range list {
		if _, err := os.Stat(m.Source); err != nil {
			return fmt.Errorf("%w: Mounts[%d].Source: %w", executor.ErrInvalidSpec, i, err)
		}
		if m.Target == workspacePath || m.Target == ownDir || filepath.Dir(m.Target) == ownDir {
			return fmt.Errorf("%w: Mounts[%d].Target %s belongs to the executor; choose another", executor.ErrInvalidSpec, i, m.Target)
		}
	}
	return nil
}
