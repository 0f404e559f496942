package sqlitestore

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// List implements task.Store.
func (s *Store) List(ctx context.Context, q task.Query) (task.Page, error) {
	if err := q.Validate(); err != nil {
		return task.Page{}, err
	}
	stmt, err := s.listStatement(ctx, q)
	if err != nil {
		return task.Page{}, s.explainRead(ctx, "list runs", err)
	}
	if stmt.sql == "" { // some filter admits nothing
		return task.Page{}, nil
	}
	page, err := s.page(ctx, q, stmt)
	return page, s.explainRead(ctx, "list runs", err)
}

// page reads one row more than asked for, to know whether there is a next page.
func (s *Store) page(ctx context.Context, q task.Query, stmt cond) (page task.Page, err error) {
	rows, err := s.read.QueryContext(ctx, stmt.sql, stmt.args...)
	if err != nil {
		return page, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if len(page.Tasks) == q.Limit {
			last := page.Tasks[q.Limit-1]
			page.Next = &task.Cursor{Sort: q.Sort, Asc: q.Asc, Key: cursorKey(q.Sort, last), ID: last.ID}
			break
		}
		t, err := scanTask(rows)
		if err != nil {
			return page, err
		}
		page.Tasks = append(page.Tasks, t)
	}
	return page, rows.Err()
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

// listStatement makes the one statement that reads a page: the page's rows as
// a union of arms, each in order from an index, then what belongs to them.
func (s *Store) listStatement(ctx context.Context, q task.Query) (cond, error) {
	after, err := s.position(ctx, q)
	if err != nil {
		return cond{}, err
	}
	b := lister{q: q, after: after, dir: "DESC", cmp: "<"}
	if q.Asc {
		b.dir, b.cmp = "ASC", ">"
	}
	order := ` ORDER BY g ASC, k ` + b.dir + `, n ` + b.dir
	var text strings.Builder
	var args []any
	arms := b.arms()
	if len(arms) == 0 {
		return cond{}, nil
	}
	text.WriteString(`WITH page (n, k, g) AS (`)
	for i, arm := range arms {
		if i > 0 {
			text.WriteString(` UNION ALL `)
		}
		text.WriteString(arm.sql)
		args = append(args, arm.args...)
	}
	text.WriteString(order + ` LIMIT ?) SELECT ` + taskColumns +
		` FROM page CROSS JOIN runs r ON r.n = page.n CROSS JOIN specs s ON s.n = page.n` +
		strings.NewReplacer(" n ", " page.n ").Replace(order))
	return cond{text.String(), append(args, q.Limit+1)}, nil
}

// lister builds the arms of one list.
type lister struct {
	q     task.Query
	after *position
	dir   string // of the order
	cmp   string // what comes behind a position
}

// arms gives the selects whose union is the list. Each gives n, the sort key k
// and the group g: 0, and 1 for what comes last in either direction. None when
// a filter admits nothing.
func (b *lister) arms() []cond {
	filters := filtersOf(b.q)
	for _, f := range filters {
		if len(f.any) == 0 {
			return nil
		}
	}
	driver := b.driver(filters)
	switch {
	case driver == nil && b.q.Sort == task.SortUpdatedAt:
		return append(b.idle(filter{index: "runs_idle"}, cond{}, filters), b.live(filters)...)
	case driver == nil:
		return b.sorted(filters)
	case driver.from != "":
		return b.groups(driver.from, driver.any[0], without(filters, driver))
	}
	var out []cond
	for _, value := range driver.any {
		out = append(out, b.idle(*driver, value, without(filters, driver))...)
	}
	return append(out, b.live(filters)...)
}

// driver picks the filter whose index the list walks. In order of update any
// index gives the order too; else only one that finds few is worth sorting.
func (b *lister) driver(filters []filter) *filter {
	for i := range filters {
		f := &filters[i]
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

// idle selects idle runs by an index that ends with idle_at. For them idle_at
// is updated_at.
func (b *lister) idle(f filter, value cond, rest []filter) []cond {
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
	n := strings.TrimSuffix(idle, "idle_at") + "n"
	return b.grouped(from, key, n, where, rest)
}

// live selects the few runs that an execution writes to.
func (b *lister) live(filters []filter) []cond {
	return b.grouped(`runs r INDEXED BY runs_live`, b.key(), "r.n", all{{`r.idle_at IS NULL`, nil}}, filters)
}

// sorted walks the index of the sort key.
func (b *lister) sorted(filters []filter) []cond {
	index := map[task.SortKey]string{task.SortCreatedAt: "runs_created", task.SortTitle: "runs_title", task.SortAgent: "runs_agent"}[b.q.Sort]
	return b.groups(`runs r INDEXED BY `+index, cond{}, filters)
}

// groups selects from both groups of the order.
func (b *lister) groups(from string, first cond, filters []filter) []cond {
	return b.grouped(from, b.key(), "r.n", all{first}, filters)
}

// grouped makes the select of an arm, and a second one for the runs without a
// skill when that is the order.
func (b *lister) grouped(from, key, n string, where all, filters []filter) []cond {
	for _, f := range filters {
		where = append(where, f.cond())
	}
	if b.q.Sort != task.SortAgent {
		return []cond{b.arm(from, key, n, "0", append(where, b.behind(key, n)))}
	}
	return b.byAgent(from, n, where)
}

// byAgent gives the arms of the order by skill: with one, then without.
func (b *lister) byAgent(from, n string, where all) []cond {
	some := append(where[:len(where):len(where)], cond{`r.skill > ''`, nil})
	none := append(where[:len(where):len(where)], cond{`r.skill = ''`, nil})
	if b.after != nil && b.after.key == "" {
		return []cond{b.arm(from, "r.skill", n, "1", append(none, cond{n + ` ` + b.cmp + ` ?`, []any{b.after.n}}))}
	}
	return []cond{b.arm(from, "r.skill", n, "0", append(some, b.behind("r.skill", n))), b.arm(from, "r.skill", n, "1", none)}
}

// behind is the condition for rows after the cursor.
func (b *lister) behind(key, n string) cond {
	if b.after == nil {
		return cond{}
	}
	return cond{`(` + key + `, ` + n + `) ` + b.cmp + ` (?, ?)`, []any{b.after.key, b.after.n}}
}

func (b *lister) arm(from, key, n, group string, where all) cond {
	w := where.join()
	return cond{`SELECT ` + n + ` AS n, ` + key + ` AS k, ` + group + ` AS g FROM ` + from + ` WHERE ` + w.sql, w.args}
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
