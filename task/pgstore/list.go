package pgstore

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oz-platform/cloudagents/task"
)

// List implements task.Store.
func (s *Store) List(ctx context.Context, q task.Query) (task.Page, error) {
	page, err := s.list(ctx, q)
	return page, s.explainCall(ctx, "list runs", err)
}

func (s *Store) list(ctx context.Context, q task.Query) (page task.Page, err error) {
	statements, err := s.listStatements(ctx, &q)
	if err != nil {
		return page, err
	}
	for _, stmt := range statements {
		if err := s.fill(ctx, q, stmt, &page); err != nil {
			return task.Page{}, err
		}
		if page.Next != nil {
			break
		}
	}
	return page, nil
}

// fill adds the rows of a statement to the page, up to its limit. One row more
// tells that there is a next page.
func (s *Store) fill(ctx context.Context, q task.Query, build func(limit int) cond, page *task.Page) error {
	stmt := build(q.Limit + 1 - len(page.Tasks))
	// Planned anew each time, with the values in sight: a plan for any value
	// would not know which of them are rare (it may be 26 times slower).
	args := append([]any{pgx.QueryExecModeCacheDescribe}, stmt.args...)
	tasks, err := collect(ctx, s, scanTask, numbered(stmt.sql), args...)
	if err != nil {
		return err
	}
	page.Tasks = append(page.Tasks, tasks...)
	if len(page.Tasks) > q.Limit {
		page.Tasks = page.Tasks[:q.Limit]
		last := page.Tasks[q.Limit-1]
		page.Next = &task.Cursor{Sort: q.Sort, Asc: q.Asc, Key: cursorKey(q.Sort, last), ID: last.ID}
	}
	return nil
}

// numbered writes $1, $2 ... for each ? of a statement.
func numbered(sql string) string {
	var b strings.Builder
	for i, part := range strings.Split(sql, "?") {
		if i > 0 {
			b.WriteString("$" + strconv.Itoa(i))
		}
		b.WriteString(part)
	}
	return b.String()
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

const selectPosition = `SELECT n, title, skill, created_at FROM runs WHERE id = $1`

// position finds the row of a cursor; nil for the first page.
func (s *Store) position(ctx context.Context, q task.Query) (*position, error) {
	if q.After == nil {
		return nil, nil
	}
	c := *q.After
	if c.Sort != q.Sort || c.Asc != q.Asc {
		return nil, task.Invalid("cursor", "was made for another sort; resend the query it came from")
	}
	var title, skill string
	var created int64
	p, err := one(ctx, s, func(row pgx.CollectableRow) (p position, err error) {
		return p, row.Scan(&p.n, &title, &skill, &created)
	}, selectPosition, text(string(c.ID)))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, task.Invalid("cursor", "names a run that does not exist; start again without it")
	case err != nil:
		return nil, err
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

// listStatements makes the statements that read a page one after the other:
// one, or two when runs without a skill come last. Each is built for a number
// of rows. None when a filter admits nothing.
func (s *Store) listStatements(ctx context.Context, q *task.Query) ([]func(limit int) cond, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	after, err := s.position(ctx, *q)
	if err != nil {
		return nil, err
	}
	shared, err := s.sharesAny(ctx, q.Viewer)
	if err != nil {
		return nil, err
	}
	filters := filtersOf(*q, shared)
	for i, f := range filters {
		if len(f.any) == 0 {
			return nil, nil
		}
		if filters[i], err = s.find(ctx, f); err != nil {
			return nil, err
		}
	}
	b := lister{q: *q, filters: filters, after: after, dir: "DESC", cmp: "<"}
	if q.Asc {
		b.dir, b.cmp = "ASC", ">"
	}
	if q.Sort != task.SortAgent {
		return []func(int) cond{b.statement}, nil
	}
	var out []func(int) cond
	if after == nil || after.key != "" {
		b.group = `r.skill > ''`
		out = append(out, b.statement)
		b.after = nil // the others all come behind it
	}
	b.group = `r.skill = ''`
	return append(out, b.statement), nil
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

// statement reads a page: its rows from a union of arms, each in order and no
// longer than the page, so that it can stop early; then what belongs to them.
func (b lister) statement(limit int) cond {
	var parts []string
	var args []any
	for _, arm := range b.arms() {
		parts = append(parts, `(`+arm.sql+` ORDER BY k `+b.dir+`, n `+b.dir+` LIMIT ?)`)
		args = append(append(args, arm.args...), limit)
	}
	order := ` ORDER BY page.k ` + b.dir + `, page.n ` + b.dir
	return cond{`SELECT ` + taskColumns + ` FROM (SELECT * FROM (` + strings.Join(parts, ` UNION ALL `) + `) page` + order + ` LIMIT ?) page` +
		` JOIN runs r ON r.n = page.n JOIN specs s ON s.n = page.n` + order, append(args, limit)}
}

// maxArms bounds a union. A filter with more values is checked row by row.
const maxArms = 64

// arms gives the selects whose union is the list, each with n and the sort
// key k: one for each value of the filter whose index is walked, over the filed
// runs, and one over the few others.
func (b *lister) arms() []cond {
	if len(b.filters) > 0 && b.filters[0].tag != "" {
		return []cond{b.tagged(b.filters[0].tag), b.live()}
	}
	i := b.driver()
	if i < 0 {
		return []cond{b.idle(cond{}, b.filters), b.live()}
	}
	rest := append(append([]filter{}, b.filters[:i]...), b.filters[i+1:]...)
	var out []cond
	for _, value := range b.filters[i].any {
		out = append(out, b.idle(value, rest))
	}
	return append(out, b.live())
}

// driver is the filter of which each value has an arm: the first with several.
// One with a single value needs none, for any index with it is in order too.
func (b *lister) driver() int {
	if b.q.Sort != task.SortUpdatedAt {
		return -1 // their indexes are in order of update
	}
	for i, f := range b.filters {
		if len(f.any) > 1 && len(f.any) <= maxArms {
			return i
		}
	}
	return -1
}

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

// idle selects filed runs, in an index that ends with idle_at when that is the
// order. For them idle_at is updated_at.
func (b *lister) idle(value cond, rest []filter) cond {
	key := b.key()
	if b.q.Sort == task.SortUpdatedAt {
		key = "r.idle_at"
	}
	return b.arm(`runs r`, key, "r.n", append(b.since("r.idle_at"), value), rest, "r.filed_state")
}

// tagged selects the filed runs with a tag.
func (b *lister) tagged(tag string) cond {
	key, n := b.key(), "r.n"
	if b.q.Sort == task.SortUpdatedAt {
		key, n = "t.idle_at", "t.n"
	}
	// That the run is filed, too, lets the indexes by title and so on serve.
	where := append(b.since("t.idle_at"), cond{`t.tag = ? AND r.idle_at IS NOT NULL`, []any{tag}})
	return b.arm(`tags t JOIN runs r ON r.n = t.n`, key, n, where, b.filters[1:], "r.state")
}

// since says what is known of idle_at in an arm of filed runs.
func (b *lister) since(idle string) all {
	where := all{{idle + ` IS NOT NULL`, nil}}
	if !b.q.UpdatedAfter.IsZero() {
		where = append(where, cond{idle + ` > ?`, []any{nanos(b.q.UpdatedAfter)}})
	}
	if !b.q.CreatedAfter.IsZero() { // what was created later was updated later
		where = append(where, cond{idle + ` > ?`, []any{nanos(b.q.CreatedAfter)}})
	}
	return where
}

// live selects the few runs that an execution writes to, or that are not filed
// yet.
func (b *lister) live() cond {
	return b.arm(`runs r`, b.key(), "r.n", all{{`r.idle_at IS NULL`, nil}}, b.filters, "r.state")
}

// arm makes a select of the runs that fulfil where and the filters, and come
// behind the cursor. state is the column that has the state.
func (b *lister) arm(from, key, n string, where all, filters []filter, state string) cond {
	for _, f := range filters {
		where = append(where, f.cond())
	}
	where = append(where, cond{b.group, nil})
	if b.after != nil {
		where = append(where, cond{`(` + key + `, ` + n + `) ` + b.cmp + ` (?, ?)`, []any{b.after.key, b.after.n}})
	}
	w := where.join()
	return cond{`SELECT ` + n + ` AS n, ` + key + ` AS k FROM ` + from + ` WHERE ` + strings.ReplaceAll(w.sql, stateColumn, state), w.args}
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
	return cond{strings.Join(parts, ` AND `), args}
}
