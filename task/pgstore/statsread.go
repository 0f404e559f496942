package pgstore

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/oz-platform/cloudagents/task"
)

const (
	selectFresh  = `SELECT n FROM stats_fresh`
	selectPacked = `SELECT chunk, data FROM stats_packed WHERE last >= $1 AND first < $2`
	selectGrants = `SELECT n FROM shares WHERE grantee = ANY ($1)`
)

// packedColumns are the strings that groups stand for.
var packedColumns = map[task.StatsGroup]int{task.StatsByAgent: packedAgent, task.StatsBySource: packedSource, task.StatsByEnvironment: packedEnvironment,
	task.StatsByCreator: packedCreator, task.StatsByHarness: packedHarness, task.StatsByModel: packedModel}

// packedReader picks and adds up what is packed.
type packedReader struct {
	q        task.StatsQuery
	sum      *task.StatsSum
	from, to int64
	bounds   []int64
	bucket   int                         // of the run before: most are of the same
	fresh    map[int64]*[packedRuns]bool // by chunk: the runs whose row counts
	shared   map[int64]bool              // further runs, by n
	chunk    statsChunk
	cells    []*task.StatsCell // of the chunk, by string and bucket
	see      map[string]byte   // how much of whose runs may be seen, by owner as it is stored
	others   byte              // the same of all other owners
	viewer   string            // as it is stored
	owners   []byte            // of the chunk, by string: what see says
	wanted   [packedNames][]bool
}

// How much of an owner's runs may be seen: see task.Viewer.
const (
	seeNone   = iota // those that are shared by name, if the owner is asked for at all
	seePublic        // those that are not private, and the viewer's own
	seeAll
	seeNever // not even those that are shared
)

// addPacked adds all that is packed to sum, and reports whether there are runs
// beside it whose rows count.
func addPacked(ctx context.Context, tx pgx.Tx, q task.StatsQuery, sum *task.StatsSum) (fresh bool, err error) {
	r := &packedReader{q: q, sum: sum, from: nanos(q.From), to: nanos(q.To), fresh: map[int64]*[packedRuns]bool{}, shared: map[int64]bool{}}
	for _, b := range q.Bounds {
		r.bounds = append(r.bounds, nanos(b))
	}
	r.mayBeSeen()
	var n int64
	if err := each(ctx, tx, []any{&n}, func() error {
		chunk := n >> packedBits
		if r.fresh[chunk] == nil {
			r.fresh[chunk] = &[packedRuns]bool{}
		}
		r.fresh[chunk][n&(packedRuns-1)] = true
		return nil
	}, selectFresh); err != nil {
		return false, err
	}
	if v := q.Viewer; v != nil && len(v.Grantees) > 0 {
		if err := each(ctx, tx, []any{&n}, func() error { r.shared[n] = true; return nil }, selectGrants, names(v.Grantees)); err != nil {
			return false, err
		}
	}
	rows, err := tx.Query(ctx, selectPacked, r.from, r.to)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		var chunk int64
		var data pgtype.DriverBytes // the connection's own memory
		if err := rows.Scan(&chunk, &data); err != nil {
			return false, err
		}
		if err := r.add(chunk, data); err != nil {
			return false, fmt.Errorf("chunk %d: %w", chunk, err)
		}
	}
	return len(r.fresh) > 0, rows.Err()
}

func each(ctx context.Context, tx pgx.Tx, scans []any, do func() error, statement string, args ...any) error {
	rows, err := tx.Query(ctx, statement, args...)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, scans, do)
	return err
}

// add adds a chunk.
func (r *packedReader) add(number int64, data []byte) error {
	c := &r.chunk
	if err := c.parse(data); err != nil {
		return err
	}
	r.judge()
	group := -1
	if r.q.Group != "" {
		group = packedColumns[r.q.Group]
	}
	buckets := max(len(r.bounds), 1)
	r.cells = slices.Grow(r.cells[:0], len(c.strings)*buckets)[:len(c.strings)*buckets]
	clear(r.cells)
	fresh := r.fresh[number]
	for i := range c.rows {
		slot := c.slot(i)
		if fresh != nil && fresh[slot] || !r.sees(i, number<<packedBits|int64(slot)) {
			continue
		}
		bucket, of := r.bucketOf(c.at(i)), 0
		if group >= 0 {
			of = int(c.name(group, i))
		}
		cell := &r.cells[of*buckets+bucket]
		if *cell == nil {
			name := ""
			if group >= 0 {
				name = untext(c.strings[of])
			}
			*cell = r.sum.Cell(name, bucket)
		}
		f := c.fact(i)
		f.Code = task.Code(untext(string(f.Code)))
		(*cell).AddFact(f)
	}
	return nil
}

// judge judges the strings of a chunk, once for all its runs.
func (r *packedReader) judge() {
	c := &r.chunk
	for i := range r.wanted {
		r.wanted[i] = r.wanted[i][:0]
	}
	for group, value := range r.q.Where {
		column, want := packedColumns[group], bounded(value)
		for _, s := range c.strings {
			r.wanted[column] = append(r.wanted[column], s == want)
		}
	}
	r.owners = r.owners[:0]
	for _, s := range c.strings {
		see, known := r.see[s]
		if !known {
			see = r.others
		}
		r.owners = append(r.owners, see)
	}
}

// mayBeSeen fills see.
func (r *packedReader) mayBeSeen() {
	r.see, r.others = map[string]byte{}, seeNone
	v := r.q.Viewer
	if v == nil {
		r.others = seeAll
	} else {
		r.viewer = bounded(v.UID)
		for _, o := range v.Owners {
			if r.see[bounded(o.String())] = seePublic; slices.Contains(v.Leads, o) {
				r.see[bounded(o.String())] = seeAll
			}
		}
	}
	if r.q.Owners == nil {
		return
	}
	asked := map[string]byte{}
	for _, o := range r.q.Owners {
		see, known := r.see[bounded(o.String())]
		if !known {
			see = r.others
		}
		asked[bounded(o.String())] = see
	}
	r.see, r.others = asked, seeNever
}

// sees reports that the query, and its viewer, are given run i, which is n.
func (r *packedReader) sees(i int, n int64) bool {
	c := &r.chunk
	if at := c.at(i); at < r.from || at >= r.to {
		return false
	}
	for column, wanted := range r.wanted {
		if len(wanted) > 0 && !wanted[c.name(column, i)] {
			return false
		}
	}
	switch r.owners[c.name(packedOwner, i)] {
	case seeAll:
		return true
	case seeNever:
		return false
	case seePublic:
		creator := c.strings[c.name(packedCreator, i)]
		if c.flags[i]&packedPrivate == 0 || creator != "" && creator == r.viewer {
			return true
		}
	}
	return r.shared[n]
}

func (r *packedReader) bucketOf(created int64) int {
	if len(r.bounds) == 0 {
		return 0
	}
	if b := r.bucket; created >= r.bounds[b] && (b+1 == len(r.bounds) || created < r.bounds[b+1]) {
		return b
	}
	i, found := slices.BinarySearch(r.bounds, created)
	if !found {
		i--
	}
	r.bucket = max(i, 0)
	return r.bucket
}
