package sqlitestore_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

var (
	teamOne = task.Scope{Type: task.ScopeTeam, UID: "one"}
	userTwo = task.Scope{Type: task.ScopeUser, UID: "two"}
	viewer  = task.Viewer{UID: "two", Owners: []task.Scope{teamOne, userTwo}, Leads: []task.Scope{userTwo}, Grantees: []task.Scope{teamOne, userTwo}}
	noon    = time.Date(2026, 2, 3, 12, 0, 0, 0, time.UTC)
)

// filterQueries has a query for each filter of the wire, and some together.
func filterQueries() map[string]task.Query {
	return map[string]task.Query{
		"none":             {},
		"owner":            {Owners: []task.Scope{teamOne}},
		"owners":           {Owners: []task.Scope{teamOne, userTwo}},
		"state":            {States: []task.State{task.StateSucceeded}},
		"states":           {States: []task.State{task.StateSucceeded, task.StateFailed, task.StateQueued}},
		"owner+state":      {Owners: []task.Scope{teamOne}, States: []task.State{task.StateError}},
		"owners+states":    {Owners: []task.Scope{teamOne, userTwo}, States: task.States()},
		"name":             {Name: "nightly"},
		"model":            {ModelID: "model"},
		"creator":          {CreatorUID: "ada"},
		"executor":         {ExecutorUID: "bot"},
		"source":           {Source: task.SourceSlack},
		"location":         {Where: task.LocationLocal},
		"created_after":    {CreatedAfter: noon},
		"created_before":   {CreatedBefore: noon},
		"updated_after":    {UpdatedAfter: noon},
		"environment":      {EnvironmentID: "env"},
		"no-environment":   {EnvironmentID: task.EmptyEnvironment},
		"skill":            {Skill: "owner/repo:SKILL.md"},
		"schedule":         {ScheduleID: "s"},
		"ancestor":         {AncestorID: "root"},
		"artifact":         {ArtifactType: task.ArtifactPlan},
		"metadata":         {Metadata: map[string]string{"ticket": "V-1"}},
		"metadata+owner":   {Metadata: map[string]string{"ticket": "V-1", "team": "x"}, Owners: []task.Scope{teamOne}},
		"text":             {Text: "parser"},
		"text+ancestor":    {Text: "parser", AncestorID: "root"},
		"text short words": {Text: "go x"},
		"viewer":           {Viewer: &viewer},
		"viewer+states":    {Viewer: &viewer, States: []task.State{task.StateFailed, task.StateError}},
		"viewer+creator":   {Viewer: &viewer, CreatorUID: "ada"},
		"viewer+text":      {Viewer: &viewer, Text: "parser"},
		"creator+states":   {CreatorUID: "ada", States: []task.State{task.StateFailed, task.StateError}},
	}
}

// TestListsUseIndexes reads the plan of every filter in every order, on the
// first page and on a later one. A list may walk an index in order, since it
// stops when its page is full; it must never scan the table of runs.
func TestListsUseIndexes(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "oz.db"), nil)
	run, _, err := s.Create(t.Context(), task.Creation{ID: task.NewID(), Now: noon, Spec: task.Spec{Title: "t", Config: task.Config{SkillSpec: "k"}},
		Commands: []task.Command{task.Share{Sharing: task.Sharing{Grants: []task.Grant{{To: userTwo, Role: task.RoleViewer}}}}}})
	assert.NilError(t, err)
	for name, q := range filterQueries() {
		for _, sort := range []task.SortKey{task.SortUpdatedAt, task.SortCreatedAt, task.SortTitle, task.SortAgent} {
			for _, after := range []*task.Cursor{nil, {Sort: sort, Key: noon.Format(time.RFC3339Nano), ID: run.ID}} {
				q.Sort, q.After = sort, after
				plan, err := s.ExplainList(t.Context(), q)
				assert.NilError(t, err)
				checkPlan(t, name, sort, plan)
			}
		}
	}
}

// gathers are the filters that find their runs first and sort them then.
var gathers = map[string]bool{"ancestor": true, "text": true, "text+ancestor": true, "text short words": true}

func checkPlan(t *testing.T, name string, sort task.SortKey, plan []string) {
	t.Helper()
	whole := name + " by " + string(sort) + ":\n" + strings.Join(plan, "\n")
	arm := ""
	for _, line := range plan {
		if strings.HasPrefix(line, "SEARCH r ") || strings.HasPrefix(line, "SEARCH t USING COVERING INDEX tags_idle") {
			arm = line
		}
		switch {
		case line == "SCAN page", line == "SCAN below", strings.HasPrefix(line, "SCAN json_each VIRTUAL"), strings.HasPrefix(line, "SCAN c VIRTUAL"):
		case strings.HasPrefix(line, "SCAN r USING") && strings.Contains(line, "INDEX runs_"):
			assert.Assert(t, sort != task.SortUpdatedAt, "walks an index that gives no order: "+whole)
		case strings.HasPrefix(line, "SCAN"):
			t.Fatal("scans a table: " + whole)
		case line == "USE TEMP B-TREE FOR ORDER BY" && sort == task.SortUpdatedAt:
			shared := strings.HasPrefix(name, "viewer") && strings.HasSuffix(arm, "INTEGER PRIMARY KEY (rowid=?)") // what was shared by name
			assert.Assert(t, strings.Contains(arm, "runs_live") || strings.Contains(arm, "runs_span") || shared || gathers[name], "sorts more than the live, the straddling and the shared runs: "+whole)
		}
	}
	assert.Assert(t, arm != "" || sort != task.SortUpdatedAt, whole)
}

// TestReadsUseIndexes reads the plans of the other statements.
func TestReadsUseIndexes(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "oz.db"), nil)
	for _, text := range sqlitestore.Statements() {
		plan, err := s.Explain(t.Context(), text, make([]any, strings.Count(text, "?"))...)
		assert.NilError(t, err)
		for _, line := range plan {
			indexed := strings.Contains(line, "INDEX") || strings.HasPrefix(line, "SCAN json_each VIRTUAL") || line == "SCAN searched" // one row
			assert.Assert(t, !strings.HasPrefix(line, "SCAN") || indexed, "%s:\n%s", text, strings.Join(plan, "\n"))
		}
	}
}

// TestReadsAreParsedOnce: SQLite parses a statement anew for each value of a
// bare parameter as its limit.
func TestReadsAreParsedOnce(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "oz.db"), nil)
	texts := sqlitestore.Statements()
	for name, q := range filterQueries() {
		list, err := s.ListStatements(t.Context(), q)
		assert.NilError(t, err, name)
		texts = append(texts, list...)
	}
	for _, text := range texts {
		assert.Assert(t, !strings.Contains(text, "LIMIT ?"), text)
	}
}
