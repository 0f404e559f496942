package figure_test

import (
	"testing"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/bench/figure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestEveryFigureRuns measures each figure at its smallest.
func TestEveryFigureRuns(t *testing.T) {
	b := &figure.Bench{Size: figure.Quick, Dir: t.TempDir()}
	assert.NilError(t, b.StartPostgres(t.Context()))
	t.Cleanup(func() { assert.Check(t, b.Close()) })
	for _, f := range figure.All {
		t.Run(f.ID, func(t *testing.T) {
			rows, err := b.Run(t.Context(), []string{f.ID}, func(figure.Figure) {})
			assert.NilError(t, err)
			assert.Assert(t, len(rows) > 0)
			for _, r := range rows {
				assert.Equal(t, r.ID, f.ID)
				assert.Assert(t, r.Unmeasured != "" || r.Ratio > 0, "%+v", r)
			}
		})
	}
}

func TestUnknownFigure(t *testing.T) {
	b := &figure.Bench{Size: figure.Quick, Dir: t.TempDir()}
	_, err := b.Run(t.Context(), []string{"P99"}, func(figure.Figure) {})
	assert.ErrorContains(t, err, "P99")
}
