package opencode_test

import (
	"testing"

	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
)

// TestSkills: the real program tells its model of the run's skills.
func TestSkills(t *testing.T) {
	harnesstest.RunSkills(t, conformance(t), "opencode/config/opencode/skills")
}
