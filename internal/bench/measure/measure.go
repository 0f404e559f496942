// Package measure compares sides in turns on one machine and judges the ratios.
//
// Absolute figures drift by a factor of two and more between runs. So the sides
// are sampled in turns, A B A B, each sample of one side is divided by the
// sample of the other side in the same round, and the median of these ratios is
// the result. Rounds in which other programs used the machine are repeated; if
// too few undisturbed ones remain, the result says so.
package measure

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Side is one of the things that are compared.
type Side struct {
	Name string
	// Sample prepares what it needs, measures once and cleans up. It gives
	// the same number of values each time.
	Sample func(ctx context.Context) ([]float64, error)
}

// Rounds are the samples of several sides, taken in turns.
type Rounds struct {
	// values by side, round and number of the value.
	values [][][]float64
	// Disturbed says that too few rounds had the machine for themselves.
	Disturbed bool
}

// MaxForeign is the share of the machine's processor time that other programs
// may use during a sample before its round does not count.
const MaxForeign = 0.10

// Take samples each side in turn until the wanted number of undisturbed rounds
// is there, or about three times as many rounds were tried; a single round is
// tried once. When fewer were undisturbed, the result holds all rounds and is
// marked as Disturbed.
func Take(ctx context.Context, rounds int, sides ...Side) (Rounds, error) {
	most := 3*rounds - 2
	clean, all := make([][][]float64, len(sides)), make([][][]float64, len(sides))
	for tried := 0; tried < most && len(clean[0]) < rounds; tried++ {
		round, foreign, err := takeRound(ctx, sides)
		if err != nil {
			return Rounds{}, err
		}
		for i := range sides {
			all[i] = append(all[i], round[i])
			if foreign <= MaxForeign {
				clean[i] = append(clean[i], round[i])
			}
		}
		if most-tried-1 < rounds-len(clean[0]) {
			break // there is no way to get enough any more
		}
	}
	if len(clean[0]) < rounds {
		return Rounds{values: all, Disturbed: true}, nil
	}
	return Rounds{values: clean}, nil
}

// takeRound samples each side once. foreign is the largest share that other
// programs had during one of the samples.
func takeRound(ctx context.Context, sides []Side) (values [][]float64, foreign float64, err error) {
	for _, s := range sides {
		before, err := processorTime()
		if err != nil {
			return nil, 0, err
		}
		v, err := s.Sample(ctx)
		if err != nil {
			return nil, 0, fmt.Errorf("measure %s: %w", s.Name, err)
		}
		after, err := processorTime()
		if err != nil {
			return nil, 0, err
		}
		values = append(values, v)
		foreign = max(foreign, after.foreign(before))
	}
	return values, foreign, nil
}

// Value gives the median of a side's samples.
func (r Rounds) Value(side, value int) float64 {
	return Median(r.column(side, value))
}

// Ratio gives the median over the rounds of side a's value divided by side b's.
func (r Rounds) Ratio(a, b, value int) float64 {
	over := r.column(a, value)
	for i, v := range r.column(b, value) {
		over[i] /= v
	}
	return Median(over)
}

// Spread gives the smallest and the largest of the ratios.
func (r Rounds) Spread(a, b, value int) (low, high float64) {
	over := r.column(a, value)
	for i, v := range r.column(b, value) {
		over[i] /= v
	}
	return slices.Min(over), slices.Max(over)
}

func (r Rounds) column(side, value int) []float64 {
	out := make([]float64, len(r.values[side]))
	for i, v := range r.values[side] {
		out[i] = v[value]
	}
	return out
}

// Median of values that are left as they are.
func Median(values []float64) float64 { return Quantile(values, 0.5) }

// Quantile gives the value below which the share q of the values lies: the
// nearest rank, or the mean of the middle two for the median of an even number.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	if n := len(sorted); q == 0.5 && n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// Milliseconds gives durations as numbers.
func Milliseconds(ds []time.Duration) []float64 {
	out := make([]float64, len(ds))
	for i, d := range ds {
		out[i] = float64(d) / float64(time.Millisecond)
	}
	return out
}
