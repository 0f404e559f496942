package sqlitestore

import (
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// filter is one condition of a query on the table runs, called r.
type filter struct {
	// any are alternatives of which a run fulfils at most one; without any,
	// the filter admits nothing.
	any []cond
	// loose is one more alternative, which no index serves; nil for none.
	loose *cond
	// index serves each alternative in order of idle_at.
	index string
	// from finds the runs of the only alternative by itself, in no order.
	from string
	// few says that one value is rarely that of very many runs.
	few bool
}

// cond gives the filter as one condition.
func (f filter) cond() cond {
	alternatives := f.any
	if f.loose != nil {
		alternatives = append(slices.Clone(f.any), *f.loose)
	}
	if len(alternatives) == 1 {
		return alternatives[0]
	}
	var parts []string
	var args []any
	for _, c := range alternatives {
		parts = append(parts, c.sql)
		args = append(args, c.args...)
	}
	return cond{`(` + strings.Join(parts, ` OR `) + `)`, args}
}

// filtersOf gives the filters of a query but for its text, those that find few
// runs first. shared says that something is shared with its viewer by name.
func filtersOf(q task.Query, shared bool) []filter {
	var out []filter
	add := func(f ...filter) { out = append(out, f...) }
	if q.AncestorID != "" {
		add(descendants(q.AncestorID))
	}
	if q.ScheduleID != "" {
		add(tagged(metadataTag("schedule_id", q.ScheduleID), true))
	}
	for _, k := range sortedKeys(q.Metadata) {
		add(tagged(metadataTag(k, q.Metadata[k]), true))
	}
	add(equal("skill", q.Skill, true)...)
	add(equal("name", q.Name, true)...)
	if q.EnvironmentID != task.EmptyEnvironment {
		add(equal("environment", q.EnvironmentID, true)...)
	}
	add(equal("creator", q.CreatorUID, true)...)
	add(equal("executor", q.ExecutorUID, true)...)
	add(ownersAndStates(q, shared)...)
	add(equal("model", q.ModelID, false)...)
	if q.ArtifactType != "" {
		add(tagged("a:"+string(q.ArtifactType), false))
	}
	add(equal("source", string(q.Source), false)...)
	add(equal("location", string(q.Where), false)...)
	if q.EnvironmentID == task.EmptyEnvironment {
		add(filter{any: []cond{{`r.environment = ''`, nil}}, index: "runs_environment"})
	}
	return append(out, times(q)...)
}

// equal filters by one column; an empty value does not filter. The literal
// comparison lets SQLite use indexes that leave empty values out.
func equal(column, value string, few bool) []filter {
	if value == "" {
		return nil
	}
	text := `r.` + column + ` = ? AND r.` + column + ` <> ''`
	return []filter{{any: []cond{{text, []any{value}}}, index: "runs_" + column, few: few}}
}

// ownersAndStates filters by both, with an index for the two together.
func ownersAndStates(q task.Query, shared bool) []filter {
	owners, loose := ofOwners(q, shared)
	var states []cond
	for _, s := range distinct(q.States) {
		states = append(states, cond{`r.state = ?`, []any{string(s)}})
	}
	byOwner := filter{any: owners, loose: loose, index: "runs_owner"}
	byState := filter{any: states, index: "runs_state"}
	switch everybody := q.Owners == nil && q.Viewer == nil; {
	case everybody && len(states) == 0:
		return nil
	case everybody:
		return []filter{byState}
	case len(states) == 0:
		return []filter{byOwner}
	case len(owners)*len(states) > maxArms:
		return []filter{byOwner, byState}
	}
	both := filter{index: "runs_owner_state"}
	for _, o := range owners {
		for _, s := range states {
			both.any = append(both.any, all{o, s}.join())
		}
	}
	if loose != nil {
		c := all{*loose, byState.cond()}.join()
		both.loose = &c
	}
	return []filter{both}
}

// tagged filters by a row of the table tags.
func tagged(tag string, few bool) filter {
	return filter{any: []cond{{`EXISTS (SELECT 1 FROM tags t WHERE t.n = r.n AND t.tag = ?)`, []any{tag}}}, index: "tags_idle", few: few}
}

// among filters by the runs' numbers.
func among(found []int64) filter {
	const listed = `r.n IN (SELECT value FROM json_each(?))`
	return filter{from: `runs r NOT INDEXED`, any: []cond{{listed, []any{numberList(found)}}}, few: true}
}

// descendants filters by the tree below a run.
func descendants(id task.ID) filter {
	const tree = `r.n IN (WITH RECURSIVE below (n, id) AS (
		SELECT n, id FROM runs INDEXED BY runs_parent WHERE parent = ? AND parent <> ''
		UNION SELECT c.n, c.id FROM below CROSS JOIN runs c INDEXED BY runs_parent ON c.parent = below.id AND c.parent <> '')
		SELECT n FROM below)`
	return filter{from: `runs r NOT INDEXED`, any: []cond{{tree, []any{string(id)}}}, few: true}
}

func times(q task.Query) []filter {
	var out []filter
	add := func(text string, at int64) { out = append(out, filter{any: []cond{{text, []any{at}}}}) }
	if !q.CreatedAfter.IsZero() {
		add(`r.created_at > ?`, nanos(q.CreatedAfter))
	}
	if !q.CreatedBefore.IsZero() {
		add(`r.created_at < ?`, nanos(q.CreatedBefore))
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

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
