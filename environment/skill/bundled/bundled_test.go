package bundled_test

import (
	"path"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/skill"
	"github.com/oz-platform/cloudagents/environment/skill/bundled"
)

// TestSkills: each can be read, is called like its directory, takes arguments
// and does without them, and says how it is proven and reported.
func TestSkills(t *testing.T) {
	list, err := bundled.Skills()
	assert.NilError(t, err)
	var names []string
	for _, s := range list {
		names = append(names, s.Name)
		assert.Equal(t, s.Malformed, "")
		assert.Equal(t, s.Path, path.Join(s.Name, skill.FileName))
		assert.Equal(t, strings.Count(s.Body, "$ARGUMENTS"), 1, s.Name)
		assert.Assert(t, strings.Contains(s.Body, "If nothing is said there"), s.Name)
		assert.Assert(t, strings.Contains(s.Body, "Report\n"), s.Name)
		// Shell variables would be taken for arguments.
		text, err := skill.Expand(s.Body, "ONE two", 1<<20)
		assert.NilError(t, err)
		assert.Equal(t, text, strings.Replace(s.Body, "$ARGUMENTS", "ONE two", 1), s.Name)
		assert.Assert(t, len(s.Description) < 300 && len(s.Body) < 6<<10, "%s: %d bytes are in every prompt", s.Name, len(s.Body))
	}
	assert.DeepEqual(t, names, []string{"add-skill", "fix-failing-test", "refresh-documentation", "review-pull-request", "triage-issue", "update-dependencies"})
}
