package executor

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Bounds of the parts of a Spec that say where a sandbox runs.
const (
	// MaxImageLen is the longest image reference, in bytes.
	MaxImageLen = 512
	// MaxMounts is how many Mounts one Spec may have.
	MaxMounts = 32
	// MaxLabels is how many Labels one Spec may have.
	MaxLabels = 32
	// MaxLabelLen is the longest name and the longest value of a label, in bytes.
	MaxLabelLen = 256
	// maxPathLen is PATH_MAX of Linux, with the NUL.
	maxPathLen = 4095
	// maxUserLen leaves room for two names of 32 characters, what useradd(8) takes, and more.
	maxUserLen = 128
)

// Image names a container image.
type Image struct {
	// Reference is the name as people write it: "ubuntu", "ubuntu:22.04", "ghcr.io/owner/image@sha256:...". Short names
	// are completed as Docker does. Empty means no image is asked for.
	Reference string

	// Platform is "linux/amd64" or "linux/arm64", where the image has several. Default: the host's. A platform that
	// the host cannot run fails.
	Platform string

	// Pull says when the registry is asked. Default PullMissing.
	Pull PullPolicy
}

// PullPolicy says when the registry is asked for an image.
type PullPolicy string

// The pull policies.
const (
	// PullMissing asks only for images that are not here.
	PullMissing PullPolicy = "missing"
	// PullAlways asks each time, and takes what is new under the name.
	PullAlways PullPolicy = "always"
	// PullNever uses what is here, or fails.
	PullNever PullPolicy = "never"
)

// Mount is a part of the host's file system in a sandbox.
type Mount struct {
	// Source is a file or directory of the host that exists, as an absolute path.
	Source string
	// Target is where the sandbox has it: an absolute path, not "/".
	Target string
	// Writable lets the sandbox change it. Default false.
	Writable bool
}

// NetworkMode says what a sandbox can reach.
type NetworkMode string

// The network modes.
const (
	// NetworkHost is the host's network, its loopback services included: no isolation.
	NetworkHost NetworkMode = "host"
	// NetworkNone is no network but a loopback device of the sandbox's own. An agent runner cannot work there, since
	// it must reach the platform.
	NetworkNone NetworkMode = "none"
	// NetworkBridge is a network of the sandbox's own, with a way out through the host. The loopback services of the
	// host are out of reach.
	NetworkBridge NetworkMode = "bridge"
)

// Warm names a state that a sandbox may start from: the files of the image and the workspace as a preparation has left
// them. The driver makes it in the background, with a Spec's own image, user, network, mounts and limits.
type Warm struct {
	// Key stands for everything that made the state but for the image's content, which the driver adds. 16 to 64 of a-f
	// and 0-9: a hash. Required.
	Key string

	// Prepare is the command that makes the state: it ends with status 0 when all is ready. Required.
	Prepare []string

	// Stdin is what Prepare reads from its standard input. No secret may be in it, nor in the Spec's Env, which Prepare
	// has too: whatever Prepare writes is kept. Default empty.
	Stdin []byte
}

// Origin says from what a sandbox was started.
type Origin string

// The origins of a sandbox, fastest last.
const (
	// OriginCold is the bare image, or the host.
	OriginCold Origin = "cold"
	// OriginWarm is the kept state of Spec.Warm.
	OriginWarm Origin = "warm"
	// OriginPool is a sandbox that stood ready, in the state of Spec.Warm if there is one.
	OriginPool Origin = "pool"
)

// Capabilities say what a driver can do beyond what every driver must.
type Capabilities struct {
	// Images means Spec.Image.
	Images bool
	// Mounts means Spec.Mounts.
	Mounts bool
	// Users means Spec.User.
	Users bool
	// Networks lists the values of Spec.Network that work.
	Networks []NetworkMode
	// Exec means that the sandboxes implement Execer.
	Exec bool
	// Warm means Spec.Warm, and that the sandboxes implement Starter.
	Warm bool
	// OwnFiles means that a sandbox has a file system of its own: the same path is another file in another sandbox.
	OwnFiles bool
}

// Capable is an Executor that can do more than every driver must.
type Capable interface {
	// Capabilities says what. The answer is the same each time.
	Capabilities() Capabilities
}

// CapabilitiesOf gives those of e; the zero value for a driver that is not Capable.
func CapabilitiesOf(e Executor) Capabilities {
	if c, ok := e.(Capable); ok {
		return c.Capabilities()
	}
	return Capabilities{}
}

// Starter is a Sandbox that knows from what it was started.
type Starter interface {
	// Origin says from what.
	Origin() Origin
}

// OriginOf gives the origin of s; OriginCold for sandboxes of drivers that keep no states.
func OriginOf(s Sandbox) Origin {
	if s, ok := s.(Starter); ok {
		return s.Origin()
	}
	return OriginCold
}

// Execer is a Sandbox in which further commands can be run, for people who look into one.
type Execer interface {
	// Exec runs a command beside the main command, as the same user, in the same directory and with the same
	// environment, and returns how it ended. It ends with the sandbox. When ctx ends first, the command is killed. It
	// fails with ErrNotFound if the sandbox has ended.
	Exec(ctx context.Context, x ExecSpec) (Exit, error)
}

// ExecSpec is a further command in a sandbox.
type ExecSpec struct {
	// Command is the program, by a path or by a name to be found in PATH, and its arguments. Required.
	Command []string
	// Env is put over the main command's environment, as NAME=value.
	Env []string
	// Stdin is its standard input; nil is empty.
	Stdin io.Reader
	// Stdout and Stderr take what it writes; nil discards it.
	Stdout, Stderr io.Writer
}

// Supported fails with ErrUnsupported if s asks for what c does not have. Labels and Warm are wishes that need no
// answer.
func (s Spec) Supported(c Capabilities) error {
	switch {
	case s.Image != (Image{}) && !c.Images:
		return fmt.Errorf("%w: Image %q: sandboxes are processes of this host; leave the image out, or use an executor for containers",
			ErrUnsupported, s.Image.Reference)
	case len(s.Mounts) > 0 && !c.Mounts:
		return fmt.Errorf("%w: Mounts: sandboxes see the host's files as they are; leave the mounts out, or use an executor for containers",
			ErrUnsupported)
	case s.User != "" && !c.Users:
		return fmt.Errorf("%w: User %q: sandboxes run as the worker's own user; leave the user out, or use an executor for containers",
			ErrUnsupported, s.User)
	case s.Network != "" && !slices.Contains(c.Networks, s.Network):
		return fmt.Errorf("%w: Network %q: the executor has %q; leave the network out, or use another executor",
			ErrUnsupported, s.Network, c.Networks)
	}
	return nil
}

// validatePlace checks what says where a sandbox runs.
func (s Spec) validatePlace() error {
	if err := s.Image.validate(); err != nil {
		return err
	}
	if len(s.Mounts) > MaxMounts {
		return fmt.Errorf("%w: Mounts has %d entries, more than the %d allowed", ErrInvalidSpec, len(s.Mounts), MaxMounts)
	}
	for i, m := range s.Mounts {
		if err := m.validate(); err != nil {
			return fmt.Errorf("%w: Mounts[%d].%w", ErrInvalidSpec, i, err)
		}
	}
	if len(s.User) > maxUserLen || strings.ContainsFunc(s.User, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%w: User must be a name or number, or two with ':' between, in at most %d visible ASCII characters",
			ErrInvalidSpec, maxUserLen)
	}
	switch s.Network {
	case "", NetworkHost, NetworkNone, NetworkBridge:
	default:
		return fmt.Errorf("%w: Network %q is none of host, none, bridge", ErrInvalidSpec, s.Network)
	}
	if len(s.Environment) > MaxLabelLen {
		return fmt.Errorf("%w: Environment has %d bytes, more than the %d allowed", ErrInvalidSpec, len(s.Environment), MaxLabelLen)
	}
	if err := s.validateLabels(); err != nil {
		return err
	}
	return s.Warm.validate()
}

func (i Image) validate() error {
	switch i.Pull {
	case "", PullMissing, PullAlways, PullNever:
	default:
		return fmt.Errorf("%w: Image.Pull %q is none of missing, always, never", ErrInvalidSpec, i.Pull)
	}
	if len(i.Reference) > MaxImageLen || strings.ContainsFunc(i.Reference, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%w: Image.Reference must have at most %d visible ASCII characters", ErrInvalidSpec, MaxImageLen)
	}
	if i.Reference == "" && i != (Image{}) {
		return fmt.Errorf("%w: Image.Reference is empty, but Platform or Pull is set; name the image", ErrInvalidSpec)
	}
	if os, arch, ok := strings.Cut(i.Platform, "/"); i.Platform != "" && (!ok || os == "" || arch == "") {
		return fmt.Errorf("%w: Image.Platform %q must have the form linux/amd64", ErrInvalidSpec, i.Platform)
	}
	return nil
}

// validate leaves the wrapping to its caller.
func (m Mount) validate() error {
	for _, p := range []struct{ field, path string }{{"Source", m.Source}, {"Target", m.Target}} {
		if !path.IsAbs(p.path) || path.Clean(p.path) != p.path || len(p.path) > maxPathLen || strings.ContainsRune(p.path, 0) {
			return fmt.Errorf("%s %q must be an absolute path without . and .. in it", p.field, p.path)
		}
	}
	if m.Target == "/" {
		return fmt.Errorf("%s %q would hide the image; choose a directory", "Target", m.Target) // the name of the field comes first
	}
	return nil
}

func (s Spec) validateLabels() error {
	if len(s.Labels) > MaxLabels {
		return fmt.Errorf("%w: Labels has %d entries, more than the %d allowed", ErrInvalidSpec, len(s.Labels), MaxLabels)
	}
	for name, value := range s.Labels {
		if name == "" || len(name) > MaxLabelLen || len(value) > MaxLabelLen || strings.ContainsRune(name+value, 0) {
			return fmt.Errorf("%w: Labels: name and value of %.40q must have at most %d bytes each, and the name at least one",
				ErrInvalidSpec, name, MaxLabelLen)
		}
	}
	return nil
}

func (w *Warm) validate() error {
	if w == nil {
		return nil
	}
	if len(w.Key) < 16 || len(w.Key) > MaxNameLen || strings.Trim(w.Key, "0123456789abcdef") != "" {
		return fmt.Errorf("%w: Warm.Key must have 16 to %d of 0-9 and a-f", ErrInvalidSpec, MaxNameLen)
	}
	if len(w.Stdin) > MaxStdinLen {
		return fmt.Errorf("%w: Warm.Stdin holds %d bytes, more than the %d allowed", ErrInvalidSpec, len(w.Stdin), MaxStdinLen)
	}
	if err := (Spec{Command: w.Prepare}).validateCommand(); err != nil {
		return fmt.Errorf("Warm.Prepare: %w", err)
	}
	return nil
}
