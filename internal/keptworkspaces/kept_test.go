package keptworkspaces_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/keptworkspaces"
	"github.com/oz-platform/cloudagents/oz"
)

func TestCollector(t *testing.T) {
	r := prometheus.NewRegistry()
	r.MustRegister(keptworkspaces.Collector("x_", func() oz.KeptWorkspaces {
		return oz.KeptWorkspaces{Idle: 1, Retained: 2, Expired: 3, Orphaned: 4, Crowded: 5, Squeezed: 6}
	}))
	families, err := r.Gather()
	assert.NilError(t, err)
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[strings.Join([]string{f.GetName(), m.GetLabel()[0].GetValue()}, " ")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	assert.DeepEqual(t, got, map[string]float64{"x_workspaces_kept idle": 1, "x_workspaces_kept failed": 2, "x_workspaces_removed_total expired": 3,
		"x_workspaces_removed_total orphaned": 4, "x_workspaces_removed_total crowded": 5, "x_workspaces_removed_total squeezed": 6})
}

func TestFreeDisk(t *testing.T) {
	free := keptworkspaces.FreeDisk(t.TempDir())
	if free == nil {
		t.Skip("not known on this system")
	}
	n, err := free()
	assert.NilError(t, err)
	assert.Assert(t, n > 0)
	_, err = keptworkspaces.FreeDisk(t.TempDir() + "/none")()
	assert.ErrorContains(t, err, "/none")
}
