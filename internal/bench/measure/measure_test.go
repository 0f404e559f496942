package measure_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/bench/measure"
)

// counted is a side whose samples are the given values, one after the other.
func counted(name string, calls *[]string, values ...float64) measure.Side {
	next := 0
	return measure.Side{Name: name, Sample: func(context.Context) ([]float64, error) {
		*calls = append(*calls, name)
		v := values[min(next, len(values)-1)]
		next++
		return []float64{v}, nil
	}}
}

func TestSidesAlternateAndRatiosArePairwise(t *testing.T) {
	var calls []string
	// The machine is twice as slow in the second round; the ratio is not.
	r, err := measure.Take(t.Context(), 3, counted("a", &calls, 10, 5, 10), counted("b", &calls, 20, 10, 20))
	assert.NilError(t, err)
	assert.Equal(t, strings.Join(calls[:6], ""), "ababab")
	assert.Equal(t, r.Ratio(0, 1, 0), 0.5)
	low, high := r.Spread(0, 1, 0)
	assert.Equal(t, low, 0.5)
	assert.Equal(t, high, 0.5)
	assert.Equal(t, r.Value(0, 0), 10.0)
}

func TestAFailingSideIsNamed(t *testing.T) {
	broken := errors.New("disk full")
	_, err := measure.Take(t.Context(), 1, measure.Side{Name: "raw", Sample: func(context.Context) ([]float64, error) { return nil, broken }})
	assert.ErrorIs(t, err, broken)
	assert.ErrorContains(t, err, "raw")
}

func TestQuantile(t *testing.T) {
	var hundred []float64
	for i := range 100 {
		hundred = append(hundred, float64(100-i))
	}
	assert.Equal(t, measure.Median([]float64{3, 1, 2}), 2.0)
	assert.Equal(t, measure.Median([]float64{4, 1, 2, 3}), 2.5)
	assert.Equal(t, measure.Quantile(hundred, 0.99), 100.0)
	assert.Equal(t, measure.Quantile(hundred, 0.98), 99.0)
	assert.Equal(t, measure.Quantile(nil, 0.5), 0.0)
}

func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		name string
		row  measure.Row
		want string
	}{
		{"more is better", measure.Row{Ratio: 0.9, Must: measure.AtLeast(0.5), Goal: measure.AtLeast(0.8)}, "goal"},
		{"enough", measure.Row{Ratio: 0.6, Must: measure.AtLeast(0.5), Goal: measure.AtLeast(0.8)}, "must"},
		{"too little", measure.Row{Ratio: 0.4, Must: measure.AtLeast(0.5), Goal: measure.AtLeast(0.8)}, "MISSED"},
		{"less is better", measure.Row{Ratio: 1.2, Must: measure.AtMost(2), Goal: measure.AtMost(1.3)}, "goal"},
		{"too much", measure.Row{Ratio: 2.1, Must: measure.AtMost(2), Goal: measure.AtMost(1.3)}, "MISSED"},
		{"busy", measure.Row{Ratio: 0.9, Must: measure.AtLeast(0.5), Unmeasured: measure.Busy}, measure.Busy},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.row.Verdict(), tt.want) })
	}
}

func TestPrint(t *testing.T) {
	var b strings.Builder
	assert.NilError(t, measure.Print(&b, []measure.Row{
		{ID: "P1", Name: "submit", Unit: "/s", Ours: 12345, Against: "raw", Other: 23456, Ratio: 0.526, Low: 0.5, High: 0.55,
			Must: measure.AtLeast(0.3), Goal: measure.AtLeast(0.5)},
		{ID: "P3", Name: "link", Against: "echo", Must: measure.AtMost(2), Goal: measure.AtMost(1), Unmeasured: "not measured: not built"},
	}))
	lines := strings.Split(b.String(), "\n")
	assert.Equal(t, strings.Join(strings.Fields(lines[1]), " "), "P1 submit 12,345 /s raw 23,456 /s 0.526 0.5-0.55 ≥ 0.3 ≥ 0.5 goal")
	assert.Equal(t, strings.Join(strings.Fields(lines[2]), " "), "P3 link - echo - - ≤ 2 ≤ 1 not measured: not built")
}
