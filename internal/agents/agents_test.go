package agents_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/internal/agents"
)

// TestEveryAgentIsInTheCatalogue: what the server says of the agents is what they
// can do.
func TestEveryAgentIsInTheCatalogue(t *testing.T) {
	all := agents.All()
	assert.Equal(t, len(all), len(catalog.Harnesses()))
	for _, h := range catalog.Harnesses() {
		a, ok := all[h.Type]
		assert.Assert(t, ok, h.Type)
		if w, ok := a.(harness.Wired); ok {
			assert.DeepEqual(t, w.Wires(), h.Wires)
		}
	}
}
