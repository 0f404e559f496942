package oz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// platforms names the processors of runner profiles as images do.
var platforms = map[string]string{"x86-64": "linux/amd64", "aarch64": "linux/arm64"}

// imageOf is the image that a run asks for; the zero one if it names none.
func imageOf(t task.Task) executor.Image {
	var c environment.Config
	if len(t.Environment) > 0 && json.Unmarshal(t.Environment, &c) != nil {
		return executor.Image{}
	}
	if c.DockerImage == "" {
		return executor.Image{}
	}
	return executor.Image{Reference: c.DockerImage, Platform: platforms[shapeOf(t).Arch]}
}

// spec is the sandbox of an assignment. unmet says what the executor cannot
// give; empty if nothing.
func (s *supervisor) spec(a Assignment, stdin []byte) (spec executor.Spec, unmet string) {
	spec = executor.Spec{ID: string(a.Execution), Workspace: string(a.Task.ID), Stdin: stdin, Task: &a.Task,
		Limits: shapeOf(a.Task).within(s.opts.Limits), Labels: map[string]string{"run": string(a.Task.ID)}, Environment: a.Task.Spec.Config.EnvironmentID}
	image := imageOf(a.Task)
	if executor.CapabilitiesOf(s.ex).Images {
		spec.Image = image
	} else if image.Reference != "" {
		unmet = fmt.Sprintf("The environment names the image %s, which this worker does not use: it runs agents as processes of its host.", image.Reference)
	}
	spec.Warm = s.warm(a.Task)
	return spec, unmet
}

// startFault tells whose fault it is that a sandbox did not start. What the
// user alone can mend is not tried again.
func startFault(err error) task.Code {
	if errors.Is(err, executor.ErrImage) || errors.Is(err, executor.ErrUnsupported) {
		return task.CodeEnvironmentSetupFailed
	}
	return task.CodeResourceUnavailable
}

// describe says in a run's record from what its sandbox was started and what
// keeps it apart from its host. warm says that a prepared state was asked for.
func describe(sandbox executor.Sandbox, warm bool) string {
	var parts []string
	switch origin := executor.OriginOf(sandbox); {
	case origin == executor.OriginPool:
		parts = append(parts, "from the pool of ready sandboxes ("+string(origin)+")")
	case origin != executor.OriginCold:
		parts = append(parts, "from a prepared state ("+string(origin)+")")
	case warm:
		parts = append(parts, "from the bare image ("+string(origin)+")")
	}
	if isolation := executor.IsolationOf(sandbox); isolation != "" {
		parts = append(parts, "isolation: "+isolation)
	}
	return strings.Join(parts, "; ")
}

// tellPlace logs what a sandbox does not have of what the run asks for.
func (s *supervisor) tellPlace(ctx context.Context, a Assignment, sandbox executor.Sandbox, image string) {
	e := task.Execution{ID: a.Execution, TaskID: a.Task.ID}
	if _, remote := sandbox.(executor.Remote); !remote { // whoever has it there knows about images
		s.tellUnmet(ctx, e, image)
	}
	shape := shapeOf(a.Task)
	s.tellUnmet(ctx, e, shape.unmet(s.opts.Limits, sandbox.Limits()))
	s.tellUnmet(ctx, e, shape.unheld(s.opts.Limits, sandbox.Limits()))
}
