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
