package measure

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Bound is what a ratio has to reach.
type Bound struct {
	Ratio float64
	// Most makes it the largest ratio that is allowed, as for times and
	// memory; else it is the smallest.
	Most bool
}

// AtLeast is a Bound for figures where more is better.
func AtLeast(ratio float64) Bound { return Bound{Ratio: ratio} }

// AtMost is a Bound for figures where less is better.
func AtMost(ratio float64) Bound { return Bound{Ratio: ratio, Most: true} }

// Met reports whether a ratio reaches the bound.
func (b Bound) Met(ratio float64) bool {
	if b.Most {
		return ratio <= b.Ratio
	}
	return ratio >= b.Ratio
}

// String shows it.
func (b Bound) String() string {
	if b.Most {
		return fmt.Sprintf("≤ %.3g", b.Ratio)
	}
	return fmt.Sprintf("≥ %.3g", b.Ratio)
}

// Row is a line of the table: ours beside another.
type Row struct {
	ID, Name, Unit string
	Ours           float64
	Against        string // whose Other is
	Other          float64
	Ratio          float64
	Low, High      float64 // the smallest and largest ratio of a round
	Must, Goal     Bound
	// Unmeasured, if not empty, says why there is no verdict.
	Unmeasured string
}

// Busy is the reason of a row whose rounds were disturbed.
const Busy = "not measured: the machine was busy"

// Compare makes a row of one value of two sides.
func (r Rounds) Compare(row Row, ours, other, value int) Row {
	row.Ours, row.Other, row.Ratio = r.Value(ours, value), r.Value(other, value), r.Ratio(ours, other, value)
	row.Low, row.High = r.Spread(ours, other, value)
	if r.Disturbed {
		row.Unmeasured = Busy
	}
	return row
}

// Verdict says in a word or two what the row shows.
func (r Row) Verdict() string {
	switch {
	case r.Unmeasured != "":
		return r.Unmeasured
	case r.Goal.Met(r.Ratio):
		return "goal"
	case r.Must.Met(r.Ratio):
		return "must"
	}
	return "MISSED"
}

// Print writes the table.
func Print(w io.Writer, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tFIGURE\tOURS\tAGAINST\tRATIO\tLOW-HIGH\tMUST\tGOAL\tMET")
	for _, r := range rows {
		if r.Other == 0 && r.Unmeasured != "" {
			fmt.Fprintf(t, "%s\t%s\t-\t%s\t-\t-\t%s\t%s\t%s\n", r.ID, r.Name, r.Against, r.Must, r.Goal, r.Verdict())
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s %s\t%.3g\t%.3g-%.3g\t%s\t%s\t%s\n", r.ID, r.Name, number(r.Ours, r.Unit), r.Against,
			number(r.Other, r.Unit), r.Ratio, r.Low, r.High, r.Must, r.Goal, r.Verdict())
	}
	return t.Flush()
}

// number writes three digits and the unit.
func number(v float64, unit string) string {
	if v >= 1000 {
		s := fmt.Sprintf("%.0f", v)
		var parts []string
		for ; len(s) > 3; s = s[:len(s)-3] {
			parts = append([]string{s[len(s)-3:]}, parts...)
		}
		return strings.Join(append([]string{s}, parts...), ",") + " " + unit
	}
	return fmt.Sprintf("%.3g %s", v, unit)
}
