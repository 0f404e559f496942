package pgstore

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/oz-platform/cloudagents/task"
)

// cond is a piece of SQL with its arguments, each written as ?.
type cond struct {
	sql  string
	args []any
}

// filter is one condition of a query on the table runs, called r.
type filter struct {
	// any are alternatives of which a run fulfils at most one; without any,
	// the filter admits nothing.
	any []cond
	// tag is set for filters by a row of the table tags.
	tag string
	// find is set for filters whose runs may be far apart in the order of the
	// list, or all at its end: a statement that gives them in no order.
	find string
	// words are those that find looks for. It gathers all their runs before it
	// gives the first, so that a limit shortens nothing.
	words []string
}

// cond gives the filter as one condition.
func (f filter) cond() cond {
	if len(f.any) == 1 {
		return f.any[0]
	}
	var parts []string
	var args []any
	for _, c := range f.any {
		parts = append(parts, c.sql)
		args = append(args, c.args...)
	}
	return cond{`(` + strings.Join(parts, ` OR `) + `)`, args}
}

// filtersOf gives the filters of a query. The first one with an index says
// which one a list in order of update walks; those that mostly find few runs
// come first. shared says that something is shared with its viewer by name.
func filtersOf(q task.Query, shared bool) []filter {
	var out []filter
	add := func(f ...filter) { out = append(out, f...) }
	if q.AncestorID != "" {
		add(descendants(q.AncestorID))
	}
	add(textFilter(q.Text)...)
	if q.ScheduleID != "" {
		add(tagged(metadataTag("schedule_id", q.ScheduleID)))
	}
	for _, k := range slices.Sorted(maps.Keys(q.Metadata)) {
		add(tagged(metadataTag(k, q.Metadata[k])))
	}
	add(equal("skill", q.Skill)...)
	add(equal("name", q.Name)...)
	if q.EnvironmentID != task.EmptyEnvironment {
		add(equal("environment", q.EnvironmentID)...)
	}
	add(equal("creator", q.CreatorUID)...)
	add(equal("executor", q.ExecutorUID)...)
	add(ownersAndStates(q, shared)...)
	add(equal("model", q.ModelID)...)
	add(equal("source", string(q.Source))...)
	add(equal("location", string(q.Where))...)
	if q.ArtifactType != "" {
		add(tagged(artifactTag(string(q.ArtifactType))))
	}
	if q.EnvironmentID == task.EmptyEnvironment {
		add(filter{any: []cond{{`r.environment = ''`, nil}}})
	}
	return append(out, times(q)...)
}

// equal filters by one column; an empty value does not filter. The literal
// comparison lets PostgreSQL use indexes that leave empty values out.
func equal(column, value string) []filter {
	if value == "" {
		return nil
	}
	return []filter{{any: []cond{{`r.` + column + ` = ? AND r.` + column + ` <> ''`, []any{bounded(value)}}}}}
}

// stateColumn stands for the column that has the state in an arm of a list.
const stateColumn = `{state}`

// ownersAndStates filters by both, with an index for the two together. States
// stand in the text as literals, so that no plan forgets how rare some are.
func ownersAndStates(q task.Query, shared bool) []filter {
	owners := ofOwners(q, shared)
	var states []cond
	for _, s := range distinct(q.States) { // checked by Validate, so they hold no quotes
		states = append(states, cond{stateColumn + ` = '` + string(s) + `'`, nil})
	}
	switch everybody := q.Owners == nil && q.Viewer == nil; {
	case everybody && len(states) == 0:
		return nil
	case everybody:
		return []filter{{any: states}}
	case len(states) == 0:
		return []filter{{any: owners}}
	case len(owners)*len(states) > maxArms:
		return []filter{{any: owners}, {any: states}}
	}
	var both filter
	for _, o := range owners {
		for _, s := range states {
			both.any = append(both.any, cond{o.sql + ` AND ` + s.sql, o.args})
		}
	}
	return []filter{both}
}

// tagged filters by a row of the table tags.
func tagged(tag string) filter {
	return filter{any: []cond{{`EXISTS (SELECT 1 FROM tags g WHERE g.n = r.n AND g.tag = ?)`, []any{tag}}}, tag: tag}
}

// textFilter filters by words. A text without any word does not filter.
func textFilter(words string) []filter {
	query, ok := matchAll(words)
	if !ok {
		return nil
	}
	// Not as a join: a walk in the order of the list is meant where this stands,
	// and not the index of words.
	matches := cond{`(SELECT w.words @@ ?::text::tsquery FROM specs w WHERE w.n = r.n)`, []any{query}}
	return []filter{{any: []cond{matches}, find: selectMatching, words: searched(words)}}
}

// descendants filters by the tree below a run.
func descendants(id task.ID) filter {
	return filter{any: []cond{{`r.n IN (` + strings.Replace(selectBelow, "$1", "?", 1) + `)`, []any{bounded(string(id))}}}, find: selectBelow}
}

func times(q task.Query) []filter {
	var out []filter
	add := func(text string, at int64) { out = append(out, filter{any: []cond{{text, []any{at}}}}) }
	if !q.CreatedAfter.IsZero() {
		add(`r.created_at > ?`, nanos(q.CreatedAfter))
	}
	if !q.CreatedBefore.IsZero() {
		add(`r.created_at < ?`, nanos(q.CreatedBefore))
		if q.Sort != task.SortCreatedAt { // else the walk begins there
			out[len(out)-1].find = selectOlder
		}
	}
	if !q.UpdatedAfter.IsZero() {
		add(`r.updated_at > ?`, nanos(q.UpdatedAfter))
	}
	return out
}

func distinct[T comparable](in []T) []T {
	var out []T
	for _, v := range in {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// The statements that find the runs of a filter.
const (
	selectMatching = `SELECT n FROM specs WHERE words @@ $1::text::tsquery`
	// estimateRuns guesses from the statistics how many runs have all of some
	// words. The planner's guess would do but for short lists of common words,
	// with which it does not look at beginnings of words.
	estimateRuns = `SELECT coalesce((SELECT greatest(c.reltuples, 0) * exp(sum(ln(greatest(w.share, 1e-6)))) FROM unnest($1::text[]) AS q (word), LATERAL (
			SELECT coalesce(max(m.share), 0) AS share FROM pg_stats s, unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) AS m (word, share)
			WHERE s.schemaname = current_schema() AND s.tablename = 'specs' AND s.attname = 'words'
				AND CASE WHEN length(q.word) = 1 THEN m.word = q.word ELSE starts_with(m.word, q.word) END) w), 0)::float8
		FROM pg_class c WHERE c.oid = 'specs'::regclass`
	selectOlder = `SELECT n FROM runs WHERE created_at < $1 AND idle_at IS NOT NULL
		UNION ALL SELECT n FROM runs WHERE created_at < $1 AND idle_at IS NULL`
	selectBelow = `WITH RECURSIVE below (n, id) AS (
		SELECT c.n, c.id FROM runs c WHERE c.parent = $1 AND c.parent <> ''
		UNION SELECT c.n, c.id FROM below b JOIN runs c ON c.parent = b.id AND c.parent <> '')
		SELECT n FROM below`
)

const (
	// maxFound bounds the runs that are found first and sorted then.
	maxFound = 2000
	// maxGathered is how many runs words may have to be looked for: about ten
	// milliseconds' worth.
	maxGathered = 10 * maxFound
)

// find replaces the condition of a filter by the runs that it admits, if they
// are few. Else they are met soon enough in a walk in the order of the list,
// that looks at each run. PostgreSQL cannot tell beforehand which is shorter.
func (s *Store) find(ctx context.Context, f filter) (filter, error) {
	if f.find == "" {
		return f, nil
	}
	args := append([]any{pgx.QueryExecModeCacheDescribe}, f.any[0].args...)
	if len(f.words) > 0 {
		if rows, err := one(ctx, s, pgx.RowTo[float64], estimateRuns, f.words); err != nil || rows > maxGathered {
			return f, err
		}
	}
	ns, err := collect(ctx, s, pgx.RowTo[int64], f.find+` LIMIT `+strconv.Itoa(maxFound+1), args...)
	if err != nil || len(ns) > maxFound {
		return f, err
	}
	return filter{any: []cond{{`r.n = ANY (?)`, []any{append([]int64{}, ns...)}}}}, nil
}
