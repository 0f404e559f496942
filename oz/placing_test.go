package oz

import (
	"fmt"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// TestImageOf: what environment and runner profile say together.
func TestImageOf(t *testing.T) {
	for _, tt := range []struct {
		environment, runner string
		want                executor.Image
	}{
		{"", "", executor.Image{}},
		{`{"name":"e"}`, `{"arch":"aarch64"}`, executor.Image{}},
		{`{"docker_image":"debian:12"}`, "", executor.Image{Reference: "debian:12"}},
		{`{"docker_image":"debian:12"}`, `{"arch":"auto"}`, executor.Image{Reference: "debian:12"}},
		{`{"docker_image":"debian:12"}`, `{"arch":"aarch64"}`, executor.Image{Reference: "debian:12", Platform: "linux/arm64"}},
		{`{"docker_image":"debian:12"}`, `{"arch":"x86-64"}`, executor.Image{Reference: "debian:12", Platform: "linux/amd64"}},
		{`{"docker_image":`, "", executor.Image{}},
	} {
		var run task.Task
		run.Environment, run.Runner = []byte(tt.environment), []byte(tt.runner)
		assert.Equal(t, imageOf(run), tt.want, "%s %s", tt.environment, tt.runner)
	}
}

// TestStartFault: what only the user can mend is not tried again.
func TestStartFault(t *testing.T) {
	for err, want := range map[error]task.Code{
		executor.ErrImage:       task.CodeEnvironmentSetupFailed,
		executor.ErrUnsupported: task.CodeEnvironmentSetupFailed,
		executor.ErrInvalidSpec: task.CodeResourceUnavailable,
	} {
		assert.Equal(t, startFault(fmt.Errorf("start: %w", err)), want, "%v", err)
	}
}

// TestUnheldLimits: a limit that does not hold is told, and one that does is not.
func TestUnheldLimits(t *testing.T) {
	all := executor.Limits{Memory: 3 << 29, Processes: 50, CPUs: 0.5, OpenFiles: 100, Disk: 10 << 30}
	const begin = "Limits of this worker that its host does not hold for this run: "
	for _, tt := range []struct {
		shape          RunnerConfig
		most, enforced executor.Limits
		want           string
	}{
		{RunnerConfig{}, executor.Limits{}, executor.Limits{}, ""},
		{RunnerConfig{}, all, all, ""},
		{RunnerConfig{}, all, executor.Limits{}, begin + "0.5 CPUs, 1.5 GB of memory, 50 processes, 100 open files, 10.0 GB of disk."},
		{RunnerConfig{}, all, executor.Limits{Memory: 1 << 30, CPUs: 0.5, Disk: 1, OpenFiles: 100}, begin + "50 processes."},
		{RunnerConfig{VCPUs: 1, MemoryGB: 1}, all, executor.Limits{Processes: 50, OpenFiles: 1, Disk: 1}, ""}, // unmet tells
	} {
		assert.Equal(t, tt.shape.unheld(tt.most, tt.enforced), tt.want)
	}
}
