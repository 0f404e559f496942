package pgstore

import (
	"cmp"
	"slices"

	"github.com/oz-platform/cloudagents/task"
)

// needs is what the operations of a batch must know to be decided. Names are
// as they stand in columns.
type needs struct {
	runs    []string // to be locked
	present []string // those of runs whose present execution is needed
	placed  []string // to be locked unless others have them, if they wait
	execs   []string // of whatever run
	newRuns []string // that must not exist
	keys    []pair   // principals and keys of creations, to be locked
	records []pair   // kinds and keys of records, to be locked
	mail    []string // runs that get mail, and so must be in runs, too
	creates int      // runs that may be made
	least   int      // the smallest Creation.MaxWaiting, 0 for none
	most    int      // the largest
}

// pair is a name of two parts.
type pair struct{ first, second string }

// needsOf gathers the needs of a batch, each name once and in order: all
// stores lock in this order, so that they cannot wait for each other in turn.
func needsOf(batch []*request) *needs {
	n := &needs{}
	for _, r := range batch {
		r.need(n)
	}
	n.runs, n.execs, n.newRuns = unique(n.runs, cmp.Compare), unique(n.execs, cmp.Compare), unique(n.newRuns, cmp.Compare)
	n.mail = unique(n.mail, cmp.Compare)
	n.placed, n.present = unique(n.placed, cmp.Compare), unique(n.present, cmp.Compare)
	n.keys, n.records = unique(n.keys, comparePairs), unique(n.records, comparePairs)
	return n
}

func comparePairs(a, b pair) int {
	return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.second, b.second))
}

func unique[T comparable](in []T, compare func(a, b T) int) []T {
	slices.SortFunc(in, compare)
	return slices.Compact(in)
}

// split gives the parts of pairs as columns.
func split(pairs []pair) (first, second []string) {
	for _, p := range pairs {
		first, second = append(first, p.first), append(second, p.second)
	}
	return first, second
}

// maxNameBytes bounds the IDs of runs and executions, which are UUIDs
// elsewhere: they stand in indexes.
const maxNameBytes = maxKeyBytes

func checkName(field, s string) error {
	if len(text(s)) > maxNameBytes {
		return task.Invalid(field, "has %d bytes, at most %d are allowed", len(s), maxNameBytes)
	}
	return nil
}
