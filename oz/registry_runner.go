package oz

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// Largest shape of a runner profile: typing errors end here, and what a worker
// has is its own affair.
const (
	maxVCPUs    = 1024
	maxMemoryGB = 16 << 10
)

// RunnerConfig is a compute profile (Oz platform, RNR-1). What a worker cannot
// enforce it ignores, and says so in the run's log.
type RunnerConfig struct {
	// Description is at most 240 characters.
	Description string `json:"description,omitempty"`
	// OS is linux (the default) or macos.
	OS string `json:"os,omitempty"`
	// Arch is auto (the default), x86-64 or aarch64.
	Arch string `json:"arch,omitempty"`
	// DockerImage beats the environment's; linux only.
	DockerImage string `json:"docker_image,omitempty"`
	// MacOSVersion is 14, 15, 26 or 27; macos only.
	MacOSVersion string `json:"macos_version,omitempty"`
	// VCPUs and MemoryGB are set together, or neither.
	VCPUs    float64 `json:"vcpus,omitempty"`
	MemoryGB float64 `json:"memory_gb,omitempty"`
	// SetupCommands run before those of the environment.
	SetupCommands []string `json:"setup_commands,omitempty"`
}

// Runner is a runner profile, which configurations name as runner_id.
type Runner struct {
	Registered
	// Config says what the machine is like.
	Config RunnerConfig `json:"config"`
}

// RunnerInput asks for a runner profile.
type RunnerInput struct {
	Name   string
	Config RunnerConfig
	// Team says whose it is, as in Request.
	Team *bool
}

// RunnerChange changes what is not nil; Config replaces the whole one.
type RunnerChange struct {
	Name   *string
	Config *RunnerConfig
	// Revision fails the change with task.ErrConflict when it is not the
	// stored one; 0 is any.
	Revision int64
}

func runners() shelf[Runner] {
	return shelf[Runner]{kind: "runner", what: "runner profile",
		create: access.RunnerCreate, view: access.RunnerView, manage: access.RunnerManage,
		head:  func(r *Runner) *Registered { return &r.Registered },
		check: func(r Runner) error { return r.Config.check() }}
}

func (c RunnerConfig) check() error {
	if err := checkRunes("config.description", c.Description, maxDescription); err != nil {
		return err
	}
	switch {
	case !slices.Contains([]string{"", "linux", "macos"}, c.OS):
		return task.Invalid("config.os", "%q is neither linux nor macos", c.OS)
	case !slices.Contains([]string{"", "auto", "x86-64", "aarch64"}, c.Arch):
		return task.Invalid("config.arch", "%q is none of auto, x86-64, aarch64", c.Arch)
	case !slices.Contains([]string{"", "14", "15", "26", "27"}, c.MacOSVersion):
		return task.Invalid("config.macos_version", "%q is none of 14, 15, 26, 27", c.MacOSVersion)
	case c.MacOSVersion != "" && c.OS != "macos":
		return task.Invalid("config.macos_version", "goes with os macos only")
	case c.DockerImage != "" && c.OS == "macos":
		return task.Invalid("config.docker_image", "goes with os linux only")
	case (c.VCPUs == 0) != (c.MemoryGB == 0):
		return task.Invalid("config.vcpus", "and memory_gb are set together, or neither")
	case !(c.VCPUs >= 0 && c.VCPUs <= maxVCPUs):
		return task.Invalid("config.vcpus", "must be more than 0 and at most %d", maxVCPUs)
	case !(c.MemoryGB >= 0 && c.MemoryGB <= maxMemoryGB):
		return task.Invalid("config.memory_gb", "must be more than 0 and at most %d", maxMemoryGB)
	}
	like := environment.Config{Name: "runner", DockerImage: c.DockerImage, SetupCommands: c.SetupCommands}
	err := like.Validate() // the same rules
	var field *task.Error
	if errors.As(err, &field) {
		return task.Invalid("config."+field.Field, "%s", field.Message)
	}
	return err
}

// CreateRunner makes a runner profile. It fails with task.CodeInvalidRequest,
// or with task.ErrConflict when the owner has one of that name.
func (c *Client) CreateRunner(ctx context.Context, in RunnerInput) (Runner, error) {
	return runners().add(ctx, c, Runner{Registered: Registered{Name: in.Name}, Config: in.Config}, in.Team)
}

// Runner returns one runner profile.
func (c *Client) Runner(ctx context.Context, uid string) (Runner, error) {
	return runners().get(ctx, c, uid, access.RunnerView)
}

// Runners lists the runner profiles that the caller may see, by name.
func (c *Client) Runners(ctx context.Context) ([]Runner, error) { return runners().list(ctx, c) }

// UpdateRunner changes a runner profile. Runs that exist keep what they were
// created with.
func (c *Client) UpdateRunner(ctx context.Context, uid string, change RunnerChange) (Runner, error) {
	return runners().update(ctx, c, uid, change.Revision, func(r *Runner) {
		set(&r.Name, change.Name)
		set(&r.Config, change.Config)
	})
}

// DeleteRunner removes a runner profile. Runs that exist keep what they were
// created with.
func (c *Client) DeleteRunner(ctx context.Context, uid string) error {
	return runners().remove(ctx, c, uid)
}

// configureRunner takes the profile that the run's configuration names into
// the run: its shape for the worker, its image and setup commands for the
// environment.
func (c *Client) configureRunner(ctx context.Context, spec *task.Spec) error {
	id := spec.Config.RunnerID
	if id == "" {
		return nil
	}
	const field = "config.runner_id"
	r, err := c.Runner(ctx, id)
	if errors.Is(err, task.ErrNotFound) {
		return &task.Error{Code: task.CodeNotFound, Field: field, Err: err, Message: fmt.Sprintf("there is no runner profile %q that you may use", id)}
	}
	if err != nil {
		return err
	}
	if spec.Owner.Type == task.ScopeTeam && r.Owner != spec.Owner {
		return task.Invalid(field, "runner profile %q belongs to %s and the run to a team: use a profile of that team, or set team to false", id, r.Owner.Type)
	}
	if spec.Runner, err = json.Marshal(r.Config); err != nil {
		return fmt.Errorf("encode runner profile: %w", err)
	}
	if r.Config.DockerImage == "" && len(r.Config.SetupCommands) == 0 {
		return nil
	}
	return changeEnvironment(spec, func(e *environment.Config) error {
		e.DockerImage = cmp.Or(r.Config.DockerImage, e.DockerImage)
		e.SetupCommands = append(slices.Clone(r.Config.SetupCommands), e.SetupCommands...)
		if err := (environment.Config{Name: "both", SetupCommands: e.SetupCommands}).Validate(); err != nil {
			return task.Invalid(field, "the setup commands of the runner profile and the environment are too much together: %w", err)
		}
		return nil
	})
}

// changeEnvironment changes the run's own copy of its environment; a run
// without one gets one.
func changeEnvironment(spec *task.Spec, change func(*environment.Config) error) error {
	var e environment.Config
	if len(spec.Environment) > 0 {
		if err := json.Unmarshal(spec.Environment, &e); err != nil {
			return fmt.Errorf("decode environment: %w", err)
		}
	}
	if err := change(&e); err != nil {
		return err
	}
	var err error
	if spec.Environment, err = json.Marshal(e); err != nil {
		return fmt.Errorf("encode environment: %w", err)
	}
	return nil
}
