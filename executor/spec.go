package executor

import (
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// Bounds of a Spec. What a Spec holds becomes one message to the sandbox and, for Command and Env, the arguments of one
// execve(2), which Linux bounds at 128 KiB per string and a quarter of the stack limit (2 MiB) for all.
const (
	// MaxNameLen is the longest ID and workspace key, in bytes.
	MaxNameLen = 64
	// MaxStringLen is the longest argument and NAME=value entry, in bytes.
	MaxStringLen = 128<<10 - 1
	// MaxExecLen is the most that Command and Env may hold together, in bytes. It leaves half of what Linux allows to
	// what the driver adds and to what the command adds for its own children.
	MaxExecLen = 1 << 20
	// MaxStdinLen is the longest Stdin, in bytes. Standard input carries a token and a little around it, not data.
	MaxStdinLen = 1 << 20
)

// Names of variables that the driver gives to the main command. A Spec cannot set them.
const (
	// EnvHome is the sandbox's own home directory, empty or as the state of Spec.Warm has it. It is removed with the
	// sandbox.
	EnvHome = "HOME"
	// EnvTempDir is the sandbox's own directory for temporary files. It is removed with the sandbox.
	EnvTempDir = "TMPDIR"
	// EnvSandboxID is the ID of the sandbox.
	EnvSandboxID = "OZ_SANDBOX_ID"
)

// Spec says what to start.
type Spec struct {
	// ID names the sandbox: the execution's ID. 1 to 64 of A-Z, a-z, 0-9 and '-', not starting with '-'. Required.
	ID string

	// Workspace names the workspace: the run's ID, same rule as ID. Sandboxes with the same key share one directory,
	// which is made at the first use and stays until RemoveWorkspace. Required.
	Workspace string

	// Command is the main command and its arguments. A name without '/' is looked up in the sandbox's PATH. Arguments
	// can be read by every user of the host, so secrets do not belong here. Required.
	Command []string

	// Env is the environment of the main command as NAME=value entries; of several with one name the last counts. The
	// driver adds EnvHome, EnvTempDir and EnvSandboxID, which may not be in Env, and PATH, locale and time zone of
	// its own where Env has none. Nothing else of the worker's environment is inherited. Default empty.
	Env []string

	// Stdin is what the main command reads from its standard input, followed by the end of file. It is the way to
	// hand over a token: it is never an argument, an environment variable or a file. Default empty.
	Stdin []byte

	// Limits bound the sandbox. Default none.
	Limits Limits

	// What follows needs a driver that can do it, see Capabilities: Start fails with ErrUnsupported on others. Left at
	// its zero value each leaves the choice to the driver.

	// Image is what the sandbox's files come from. Default: the driver's default image, or the host's files.
	Image Image

	// Mounts are directories and files of the host that the sandbox sees besides its workspace. Default none.
	Mounts []Mount

	// User is who the main command runs as: a name or number of the image, "user" or "user:group". Default: the
	// image's own user and, where that is root, an ordinary user that the driver makes.
	User string

	// Network says what the sandbox can reach. Default: the driver's choice.
	Network NetworkMode

	// Labels are kept with the sandbox for people who look at the host with the driver's own tools. At most MaxLabels,
	// each name and value at most MaxLabelLen bytes. A driver without labels ignores them.
	Labels map[string]string

	// Environment names what sandboxes are alike for, such as the environment's ID, in at most MaxLabelLen bytes. A driver
	// that keeps sandboxes ready lets go of those for an Environment that has changed since. Others ignore it. Default:
	// not told.
	Environment string

	// Task is the run, for drivers that hand it on to somebody, see Remote. Others ignore it. Default: not told.
	Task *task.Task

	// Warm lets the sandbox start from a prepared state. A driver that keeps none ignores it. Default: not.
	Warm *Warm
}

// Validate checks every rule that does not depend on the driver. Its error wraps ErrInvalidSpec.
func (s Spec) Validate() error {
	if err := ValidateName("ID", s.ID); err != nil {
		return err
	}
	if err := ValidateName("Workspace", s.Workspace); err != nil {
		return err
	}
	if err := s.validateCommand(); err != nil {
		return err
	}
	if err := s.validateEnv(); err != nil {
		return err
	}
	if n := execLen(s.Command) + execLen(s.Env); n > MaxExecLen {
		return fmt.Errorf("%w: Command and Env hold %d bytes, more than the %d allowed; pass large values in files",
			ErrInvalidSpec, n, MaxExecLen)
	}
	if n := len(s.Stdin); n > MaxStdinLen {
		return fmt.Errorf("%w: Stdin holds %d bytes, more than the %d allowed", ErrInvalidSpec, n, MaxStdinLen)
	}
	if err := s.validatePlace(); err != nil {
		return err
	}
	return s.Limits.validate()
}

// ValidateName checks a sandbox ID or a workspace key. field names it in the error, which wraps ErrInvalidSpec.
func ValidateName(field, name string) error {
	if name == "" || len(name) > MaxNameLen {
		return fmt.Errorf("%w: %s must have 1 to %d characters, has %d", ErrInvalidSpec, field, MaxNameLen, len(name))
	}
	for i := range len(name) {
		if !nameByte(name[i]) || (i == 0 && name[i] == '-') {
			return fmt.Errorf("%w: %s %q may hold A-Z, a-z, 0-9 and '-' only, and not start with '-'",
				ErrInvalidSpec, field, name)
		}
	}
	return nil
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-'
}

func (s Spec) validateCommand() error {
	if len(s.Command) == 0 || s.Command[0] == "" {
		return fmt.Errorf("%w: Command must name a program", ErrInvalidSpec)
	}
	for i, arg := range s.Command {
		if strings.ContainsRune(arg, 0) {
			return fmt.Errorf("%w: Command[%d] holds a NUL byte", ErrInvalidSpec, i)
		}
		if len(arg) > MaxStringLen {
			return fmt.Errorf("%w: Command[%d] is longer than %d bytes; pass it in a file", ErrInvalidSpec, i, MaxStringLen)
		}
	}
	return nil
}

// validateEnv names variables, and never values, in its errors: values may be secret.
func (s Spec) validateEnv() error {
	for i, entry := range s.Env {
		name, _, found := strings.Cut(entry, "=")
		if !found || name == "" || strings.ContainsRune(name, 0) {
			return fmt.Errorf("%w: Env[%d] is not of the form NAME=value", ErrInvalidSpec, i)
		}
		if strings.ContainsRune(entry, 0) {
			return fmt.Errorf("%w: the value of %s in Env holds a NUL byte", ErrInvalidSpec, name)
		}
		if len(entry) > MaxStringLen {
			return fmt.Errorf("%w: Env[%d] is longer than %d bytes; pass it in a file", ErrInvalidSpec, i, MaxStringLen)
		}
		switch name {
		case EnvHome, EnvTempDir, EnvSandboxID:
			return fmt.Errorf("%w: Env sets %s, which belongs to the executor; leave it out", ErrInvalidSpec, name)
		}
	}
	return nil
}

func (l Limits) validate() error {
	if l.Memory < 0 || l.Processes < 0 || l.OpenFiles < 0 || l.Disk < 0 || !(l.CPUs >= 0) {
		return fmt.Errorf("%w: Limits may not be negative", ErrInvalidSpec)
	}
	return nil
}

// execLen is what execve counts: each string, its NUL and its pointer.
func execLen(list []string) int {
	n := 0
	for _, s := range list {
		n += len(s) + 1 + 8
	}
	return n
}
