package sqlitestore

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// List implements task.Store.
func (s *Store) List(ctx context.Context, q task.Query) (task.Page, error) {
	page, err := s.list(ctx, q)
	return page, s.explainRead(ctx, "list runs", err)
}

func (s *Store) list(ctx context.Context, q task.Query) (task.Page, error) {
	if err := q.Validate(); err != nil {
		return task.Page{}, err
	}
	if patterns := patternsOf(q.Text); len(patterns) > 0 {
		return s.search(ctx, q, patterns)
	}
	return s.page(ctx, q, nil, nil)
}

// page reads a page of the runs that fulfil the query but for its text: only
// those among found, unless that is nil, and only those in which the walk finds
// its words, unless that is nil. A tired walk leaves it unfinished.
func (s *Store) page(ctx context.Context, q task.Query, found []int64, walk *walk) (page task.Page, err error) {
	statements, err := s.listStatements(ctx, q, found)
	if err != nil {
		return page, err
	}
	for _, stmt := range statements {
		if err := s.fill(ctx, q, stmt, walk, &page); err != nil {
			return task.Page{}, err
		}
		if page.Next != nil || walk.isTired() {
			break
		}
	}
	return page, nil
}

// fill adds the rows of a statement to the page, up to its limit. One row more
// tells that there is a next page.
func (s *Store) fill(ctx context.Context, q task.Query, stmt cond, walk *walk, page *task.Page) (err error) {
	limit := q.Limit + 1 - len(page.Tasks)
	if walk != nil {
		limit = walk.left + 1
	}
	rows, err := s.read.QueryContext(ctx, stmt.sql, append(stmt.args, limit)...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var stored storedTask
		if err := stored.scan(rows); err != nil {
			return err
		}
		ok, err := walk.finds(stored.spec)
		if err != nil || walk.isTired() {
			return err
		}
		if !ok {
			continue
		}
		if len(page.Tasks) == q.Limit {
			last := page.Tasks[q.Limit-1]
			page.Next = &task.Cursor{Sort: q.Sort, Asc: q.Asc, Key: cursorKey(q.Sort, last), ID: last.ID}
			break
		}
		t, err := stored.task()
		if err != nil {
			return err
		}
		page.Tasks = append(page.Tasks, t)
	}
	return rows.Err()
}

// cursorKey is the value of the sort key of a page's last row. Title and
// skill never change and may be long: the cursor's ID stands for them.
func cursorKey(sort task.SortKey, t task.Task) string {
	switch sort {
	case task.SortUpdatedAt:
		return t.UpdatedAt.Format(time.RFC3339Nano)
	case task.SortCreatedAt:
		return t.CreatedAt.Format(time.RFC3339Nano)
	}
	return ""
}

// position is the row behind which a page begins.
type position struct {
	key any // of the sort column
	n   int64
}

// position finds the row of a cursor; nil for the first page.
func (s *Store) position(ctx context.Context, q task.Query) (*position, error) {
	if q.After == nil {
		return nil, nil
	}
	c := *q.After
	if c.Sort != q.Sort || c.Asc != q.Asc {
		return nil, task.Invalid("cursor", "was made for another sort; resend the query it came from")
	}
	var p position
	var title, skill string
	var created int64
	found, err := collect(ctx, s.read, func(row scanner) (struct{}, error) {
		return struct{}{}, row.Scan(&p.n, &title, &skill, &created)
	}, `SELECT n, title, skill, created_at FROM runs WHERE id = ?`, string(c.ID))
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, task.Invalid("cursor", "names a run that does not exist; start again without it")
	}
	switch q.Sort {
	case task.SortTitle:
		p.key = title
	case task.SortAgent:
		p.key = skill
	case task.SortCreatedAt:
		p.key = created
	default: // this one may have changed since, so the cursor's word counts
		at, err := time.Parse(time.RFC3339Nano, c.Key)
		if err != nil {
			return nil, task.Invalid("cursor", "is not a cursor of this list; start again without it")
		}
		p.key = nanos(at)
	}
	return &p, nil
}

// cond is a piece of SQL with its arguments.
type cond struct {
	sql  string
	args []any
}

// listStatements makes the statements that read a page one after the other:
// one, or two when runs without a skill come last. They still lack the number
// of rows, their last argument. None when a filter admits nothing.
func (s *Store) listStatements(ctx context.Context, q task.Query, found []int64) ([]cond, error) {
	after, err := s.position(ctx, q)
	if err != nil {
		return nil, err
	}
	shared, err := s.sharesAny(ctx, q.Viewer)
	if err != nil {
		return nil, err
	}
	filters := filtersOf(q, shared)
	if found != nil {
		filters = append([]filter{among(found)}, filters...)
	}
	for _, f := range filters {
		if len(f.any) == 0 && f.loose == nil {
			return nil, nil
		}
	}
	b := lister{q: q, filters: filters, after: after, dir: "DESC", cmp: "<"}
	if q.Asc {
		b.dir, b.cmp = "ASC", ">"
	}
	if q.Sort != task.SortAgent {
		return []cond{b.statement()}, nil
	}
	var out []cond
	if after == nil || after.key != "" {
		b.group = `r.skill > ''`
		out = append(out, b.statement())
		b.after = nil // the others all come behind it
	}
	b.group = `r.skill = ''`
	return append(out, b.statement()), nil
}

// lister builds a statement of a list.
type lister struct {
	q       task.Query
	filters []filter
	after   *position
	group   string // a condition for all of the statement's runs; may be empty
	dir     string // of the order
	cmp     string // what comes behind a position
}

// statement reads a page: its rows from a union of arms, each in order, then
// what belongs to them.
func (b *lister) statement() cond {
	var parts []string
	var args []any
	for _, arm := range b.arms() {
		parts = append(parts, arm.sql)
		args = append(args, arm.args...)
	}
	return cond{`WITH page (n, k) AS (` + strings.Join(parts, ` UNION ALL `) + ` ORDER BY k ` + b.dir + `, n ` + b.dir + ` LIMIT +?) SELECT ` +
		taskColumns + ` FROM page CROSS JOIN runs r ON r.n = page.n CROSS JOIN specs s ON s.n = page.n ORDER BY page.k ` + b.dir + `, page.n ` + b.dir, args}
}

// arms gives the selects whose union is the list, each with n and the sort
// key k.
func (b *lister) arms() []cond {
	driver := b.driver()
	switch {
	case driver == nil && b.q.Sort == task.SortUpdatedAt:
		return append(b.straddling(), b.idle(filter{index: "runs_idle"}, cond{}, b.filters), b.live())
	case driver == nil: // walk the index of the sort key
		walked := b.arm(`runs r INDEXED BY `+sortIndex(b.q.Sort), b.key(), "r.n", all{{`r.idle_at IS NOT NULL`, nil}}, b.filters)
		return []cond{walked, b.live()}
	case driver.from != "":
		return []cond{b.arm(driver.from, b.key(), "r.n", all{driver.any[0]}, without(b.filters, driver))}
	}
	out := b.straddling()
	for _, value := range driver.any {
		out = append(out, b.idle(*driver, value, without(b.filters, driver)))
	}
	if driver.loose != nil {
		out = append(out, b.loose(*driver.loose, without(b.filters, driver)))
	}
	return append(out, b.live())
}

// driver picks the filter whose index the list walks. In order of update any
// index gives the order too; else only one that finds few is worth sorting.
func (b *lister) driver() *filter {
	for i := range b.filters {
		f := &b.filters[i]
		indexed := f.index != "" || f.from != ""
		if indexed && len(f.any) <= maxArms && (f.few || b.q.Sort == task.SortUpdatedAt) {
			return f
		}
	}
	return nil
}

// maxArms bounds a union; SQLite's limit is 500. A filter with more values is
// checked row by row.
const maxArms = 64

// key is the sort column.
func (b *lister) key() string {
	switch b.q.Sort {
	case task.SortCreatedAt:
		return "r.created_at"
	case task.SortTitle:
		return "r.title"
	case task.SortAgent:
		return "r.skill"
	}
	return "r.updated_at"
}

// sortIndex is the index of a sort key.
func sortIndex(sort task.SortKey) string {
	switch sort {
	case task.SortCreatedAt:
		return "runs_created"
	case task.SortTitle:
		return "runs_title"
	}
	return "runs_agent"
}

// idle selects idle runs by an index that ends with idle_at. For them idle_at
// is updated_at.
func (b *lister) idle(f filter, value cond, rest []filter) cond {
	idle, from := "r.idle_at", "runs r INDEXED BY "+f.index
	if f.index == "tags_idle" {
		idle, from = "t.idle_at", "tags t INDEXED BY tags_idle CROSS JOIN runs r ON r.n = t.n"
		value.sql = "t.tag = ?"
	}
	key := b.key()
	if b.q.Sort == task.SortUpdatedAt {
		key = idle
	}
	where := all{{idle + ` IS NOT NULL`, nil}, value}
	if !b.q.UpdatedAfter.IsZero() {
		where = append(where, cond{idle + ` > ?`, []any{nanos(b.q.UpdatedAfter)}})
	}
	if !b.q.CreatedAfter.IsZero() { // what was created later was updated later
		where = append(where, cond{idle + ` > ?`, []any{nanos(b.q.CreatedAfter)}})
	}
	if b.splits() {
		where = append(where, cond{idle + ` < ?`, []any{nanos(b.q.CreatedBefore)}})
	}
	n := strings.TrimSuffix(idle, "idle_at") + "n"
	return b.arm(from, key, n, where, rest)
}

// loose selects idle runs by an alternative that no index serves.
func (b *lister) loose(value cond, rest []filter) cond {
	where := all{{`r.idle_at IS NOT NULL`, nil}, value}
	if b.splits() {
		where = append(where, cond{`r.idle_at < ?`, []any{nanos(b.q.CreatedBefore)}})
	}
	return b.arm(`runs r NOT INDEXED`, b.key(), "r.n", where, rest)
}

// spans are the longest times from creation to the last change of the classes
// of runs.span; the last class has no end.
var spans = []time.Duration{1e9, 8e9, 64e9, 512e9, 4096e9, 32768e9, 262144e9, 2097152e9, 16777216e9}

// splits reports that the idle runs that were created before a moment are read
// in two parts, since their order says little about it: those that were last
// changed before it, too, in order; and those that were changed after it, which
// are few, see straddling.
func (b *lister) splits() bool { return !b.q.CreatedBefore.IsZero() && b.q.Sort == task.SortUpdatedAt }

// straddling selects the idle runs that were created before a moment and
// changed after it, if the list splits them off.
func (b *lister) straddling() []cond {
	if !b.splits() {
		return nil
	}
	before := nanos(b.q.CreatedBefore)
	from := make([]int64, len(spans)+1) // by class
	for i, longest := range spans {
		from[i] = nanos(b.q.CreatedBefore.Add(-longest))
	}
	from[len(spans)] = math.MinInt64
	c := b.arm(`json_each(?) c CROSS JOIN runs r INDEXED BY runs_span`, b.key(), "r.n",
		all{{`r.idle_at IS NOT NULL AND r.span = c.key AND r.created_at >= c.value AND r.created_at < ? AND r.idle_at >= ?`, []any{before, before}}}, b.filters)
	c.args = append([]any{numberList(from)}, c.args...)
	return []cond{c}
}

// live selects the few runs that an execution writes to, or that the indexer
// has not come to yet.
func (b *lister) live() cond {
	return b.arm(`runs r INDEXED BY runs_live`, b.key(), "r.n", all{{`r.idle_at IS NULL`, nil}}, b.filters)
}

// arm makes a select of the runs that fulfil where and the filters, and come
// behind the cursor.
func (b *lister) arm(from, key, n string, where all, filters []filter) cond {
	for _, f := range filters {
		where = append(where, f.cond())
	}
	where = append(where, cond{b.group, nil})
	if b.after != nil {
		where = append(where, cond{`(` + key + `, ` + n + `) ` + b.cmp + ` (?, ?)`, []any{b.after.key, b.after.n}})
	}
	w := where.join()
	return cond{`SELECT ` + n + ` AS n, ` + key + ` AS k FROM ` + from + ` WHERE ` + w.sql, w.args}
}

// all is a conjunction.
type all []cond

func (a all) join() cond {
	var parts []string
	var args []any
	for _, c := range a {
		if c.sql != "" {
			parts = append(parts, c.sql)
			args = append(args, c.args...)
		}
	}
	if len(parts) == 0 {
		return cond{`1`, nil}
	}
	return cond{strings.Join(parts, ` AND `), args}
}

func without(filters []filter, f *filter) []filter {
	var out []filter
	for i := range filters {
		if &filters[i] != f {
			out = append(out, filters[i])
		}
	}
	return out
}
