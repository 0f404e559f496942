package command

import (
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/task"
)

// Options holds what an Executor can do without. The zero value is ready to use.
type Options struct {
	// CancelCommand stops what a dispatch command has started. Default: none, see the package comment.
	CancelCommand string

	// DispatchTimeout is how long a dispatch command may take. Default 60 s.
	DispatchTimeout time.Duration

	// CancelTimeout is how long a cancel command may take. Default 10 s.
	CancelTimeout time.Duration

	// Environment are variables for both commands, as NAME=value; of several with one name the last counts.
	Environment []string

	// Inherit is the environment under Environment. Default: this process's, without its own API key.
	Inherit []string

	// WorkerID is the worker's name, for the payload.
	WorkerID string

	// IdleOnComplete is how long agents wait for a follow-up, such as "45m", where the run does not say. Default: as
	// the agent likes.
	IdleOnComplete string

	// Lifetime is after how long a sandbox that nobody has ended counts as lost. Default 24 h.
	Lifetime time.Duration

	// OutputLimit is how much of the commands' output is kept for one sandbox, in bytes: the end of it. Default 1 MiB,
	// at least 4 KiB.
	OutputLimit int64

	// Clock tells the time. Default: the machine's.
	Clock task.Clock

	// Logger receives what nobody is there to return to. Default: none.
	Logger *zap.Logger
}
