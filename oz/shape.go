package oz

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

const bytesPerGB = 1 << 30

// shapeOf gives the compute profile of a run; the zero one for a run without.
// One that cannot be read asks for nothing: it must not fail the run (Oz
// platform, RNR-3).
func shapeOf(t task.Task) RunnerConfig {
	var c RunnerConfig
	if len(t.Runner) > 0 && json.Unmarshal(t.Runner, &c) != nil {
		return RunnerConfig{}
	}
	return c
}

// within gives the limits of a sandbox of this shape at a worker that gives no
// more than most.
func (c RunnerConfig) within(most executor.Limits) executor.Limits {
	l := most
	if cpus := c.VCPUs; cpus > 0 && (l.CPUs == 0 || cpus < l.CPUs) {
		l.CPUs = cpus
	}
	if memory := int64(c.MemoryGB * bytesPerGB); memory > 0 && (l.Memory == 0 || memory < l.Memory) {
		l.Memory = memory
	}
	return l
}

// unmet says what of the profile the worker does not keep, "" when it keeps
// all: people must not take a wish for a fact.
func (c RunnerConfig) unmet(most, enforced executor.Limits) string {
	var parts []string
	want := c.within(most)
	if c.VCPUs > 0 && enforced.CPUs != want.CPUs {
		parts = append(parts, fmt.Sprintf("%g vCPUs", c.VCPUs))
	} else if c.VCPUs > want.CPUs {
		parts = append(parts, fmt.Sprintf("%g vCPUs (the worker gives %g)", c.VCPUs, want.CPUs))
	}
	if c.MemoryGB > 0 && enforced.Memory != want.Memory {
		parts = append(parts, fmt.Sprintf("%g GB of memory", c.MemoryGB))
	} else if int64(c.MemoryGB*bytesPerGB) > want.Memory {
		parts = append(parts, fmt.Sprintf("%g GB of memory (the worker gives %.1f)", c.MemoryGB, float64(want.Memory)/bytesPerGB))
	}
	if c.OS == "macos" {
		parts = append(parts, strings.TrimSpace("macOS "+c.MacOSVersion))
	}
	if len(parts) == 0 {
		return ""
	}
	return "The runner profile asks for what this worker does not enforce: " + strings.Join(parts, ", ") + "."
}

// unheld says which of the worker's own limits its host does not hold, "" when it holds all: an operator must not take a
// setting for a fact. What the profile asks for is told by unmet.
func (c RunnerConfig) unheld(most, enforced executor.Limits) string {
	var parts []string
	add := func(set, held bool, format string, value any) {
		if set && !held {
			parts = append(parts, fmt.Sprintf(format, value))
		}
	}
	add(most.CPUs > 0 && c.VCPUs <= 0, enforced.CPUs > 0, "%g CPUs", most.CPUs)
	add(most.Memory > 0 && c.MemoryGB <= 0, enforced.Memory > 0, "%.1f GB of memory", float64(most.Memory)/bytesPerGB)
	add(most.Processes > 0, enforced.Processes > 0, "%d processes", most.Processes)
	add(most.OpenFiles > 0, enforced.OpenFiles > 0, "%d open files", most.OpenFiles)
	add(most.Disk > 0, enforced.Disk > 0, "%.1f GB of disk", float64(most.Disk)/bytesPerGB)
	if len(parts) == 0 {
		return ""
	}
	return "Limits of this worker that its host does not hold for this run: " + strings.Join(parts, ", ") + "."
}
