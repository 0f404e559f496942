package executor

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

var (
	// ErrNotFound says that no sandbox, or no workspace, has the given name.
	ErrNotFound = errors.New("not found")

	// ErrInvalidSpec says that a Spec breaks a rule. The error around it names the field and the rule.
	ErrInvalidSpec = errors.New("invalid sandbox spec")

	// ErrInUse says that a workspace cannot be removed because a sandbox that has not ended works in it, or that a
	// sandbox cannot start in it because it is being removed.
	ErrInUse = errors.New("workspace in use")

	// ErrUnsupported says that the driver cannot do what a Spec asks for. The error around it names the field and says
	// what to do. The same Spec fails on this driver every time.
	ErrUnsupported = errors.New("not supported by this executor")

	// ErrImage says that the image of a Spec cannot be used: its name is malformed, no registry has it or gives it to
	// us, or it is for another platform. The error around it says which, and what to do; the user can mend it.
	ErrImage = errors.New("image cannot be used")

	// ErrUnsupportedSignal says that the driver cannot deliver this signal.
	ErrUnsupportedSignal = errors.New("signal not supported")
)

// Executor makes sandboxes: places where the agent runner of one execution runs. Implementations are safe for
// concurrent use and pass executortest.Run.
//
// The storage of an Executor belongs to one worker at a time. A second Executor on the same storage is meant for the
// next worker, after the first has gone.
type Executor interface {
	// Start makes the sandbox spec.ID and starts its main command. With an ID that exists it starts nothing and
	// returns the sandbox that is there, also when it has ended already: a command runs at most once per ID.
	//
	// It fails with ErrInvalidSpec, or with ErrInUse while the workspace is being removed. After an error, a ctx that
	// ended included, nothing runs and the ID is free again.
	Start(ctx context.Context, spec Spec) (Sandbox, error)

	// Open finds a sandbox that exists, running or ended, also one that another process started. It fails with
	// ErrNotFound.
	Open(ctx context.Context, id string) (Sandbox, error)

	// List returns the IDs of all sandboxes that exist, running or ended, sorted. Half-removed ones are among them.
	List(ctx context.Context) ([]string, error)

	// Workspaces returns the keys of all workspaces that exist, sorted.
	Workspaces(ctx context.Context) ([]string, error)

	// RemoveWorkspace deletes the workspace and all in it, read-only directories too, and never what a symbolic link
	// or a mount in it leads to. It fails with ErrInUse while a sandbox that has not ended works there. A key that
	// does not exist is no error. When ctx ends first, what is left remains and a second call goes on.
	RemoveWorkspace(ctx context.Context, key string) error
}

// Sandbox is one sandbox. All methods are safe for concurrent use, and may be called after Remove: Wait then returns
// the exit status if this Executor has seen it, everything else that needs the sandbox fails with ErrNotFound.
type Sandbox interface {
	// ID is the ID of the Spec.
	ID() string

	// Dir is the workspace directory as the processes in the sandbox see it: absolute, and the working directory of
	// the main command.
	Dir() string

	// Limits are those limits of the Spec that the driver enforces; zero fields are not enforced.
	Limits() Limits

	// Output streams what the sandbox wrote to its standard output and standard error, in the order of writing, from
	// the start. It follows until the sandbox has ended and then returns io.EOF. The driver keeps a bounded amount;
	// when there was more, a line in the middle says how many bytes were dropped. Each call gives an independent
	// reader; the caller closes it. ctx ends the reading.
	Output(ctx context.Context) (io.ReadCloser, error)

	// Signal sends sig to the main process, to nothing else. Every driver delivers SIGHUP, SIGINT, SIGQUIT, SIGTERM,
	// SIGUSR1 and SIGUSR2; others fail with ErrUnsupportedSignal. Signalling an ended sandbox does nothing.
	Signal(ctx context.Context, sig os.Signal) error

	// Wait blocks until the sandbox has ended, with all its processes, and returns how its main command ended. Any
	// number of callers may wait. ctx only ends the waiting.
	Wait(ctx context.Context) (Exit, error)

	// Stop sends SIGTERM to the main process, waits until the sandbox has ended but at most for grace, and then kills
	// every process of the sandbox. When it returns nil the sandbox has ended. A grace of zero or less kills at once.
	// When ctx ends first the sandbox may still run.
	Stop(ctx context.Context, grace time.Duration) error

	// Remove kills every process of the sandbox and deletes its home, temporary directory, output and state; the
	// workspace stays. It is idempotent. When ctx ends first, what is left is still listed and a second call goes on.
	Remove(ctx context.Context) error
}

// Exit says how the main command of a sandbox ended.
type Exit struct {
	// Code is the exit status; 128 plus the signal's number when a signal ended the command; -1 when Unknown.
	Code int

	// Signal ended the command; 0 when it exited by itself.
	Signal syscall.Signal

	// OOM says that the command was killed because the sandbox reached its memory limit. Only drivers that enforce
	// Limits.Memory can know.
	OOM bool

	// Disk says that the sandbox was killed because it wrote more than Limits.Disk. Only drivers that enforce the limit
	// can know.
	Disk bool

	// Unknown says that the status was lost: the machine restarted, or the process that keeps the status was killed.
	// All other fields but Code are zero then.
	Unknown bool
}

// Success reports whether the command ended with status 0.
func (e Exit) Success() bool { return e == Exit{} }

// Limits bound what one sandbox may use, all its processes together where not said otherwise. Zero is no limit. A limit
// that the driver cannot enforce never fails a run; Sandbox.Limits tells which ones hold.
type Limits struct {
	// Memory is in bytes. What goes beyond is killed by the kernel.
	Memory int64

	// Processes is the number of processes and threads that may exist at once.
	Processes int

	// CPUs is the number of processor cores, fractions allowed.
	CPUs float64

	// OpenFiles is the number of file descriptors per process.
	OpenFiles int

	// Disk is in bytes: what the sandbox adds to its image, its temporary files and its workspace together. A sandbox
	// that goes beyond is killed, see Exit.Disk; a driver that measures from time to time says how often in its
	// documentation.
	Disk int64
}
