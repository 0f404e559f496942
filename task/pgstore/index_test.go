package pgstore_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
)

var (
	teamOne = task.Scope{Type: task.ScopeTeam, UID: "one"}
	userTwo = task.Scope{Type: task.ScopeUser, UID: "two"}
)

// population is how many runs the plans are read on: enough for reading all
// of them to stand out.
const population = 3000

// populate makes runs of which most have every common value, and one in a
// hundred every rare one.
func populate(t testing.TB, s *pgstore.Store, n int) (root task.ID) {
	t.Helper()
	root = task.NewID()
	var all sync.WaitGroup
	for client := range 32 {
		all.Go(func() {
			for i := client; i < n; i += 32 {
				_, _, err := s.Create(t.Context(), member(i, root))
				assert.Check(t, err)
			}
		})
	}
	all.Wait()
	return root
}

func member(i int, root task.ID) task.Creation {
	c := task.Creation{ID: task.NewID(), Now: noon.Add(time.Duration(i) * time.Second), From: task.SourceAPI}
	c.Spec = task.Spec{Title: fmt.Sprintf("title %d", i%1000), Prompt: "common words", Owner: teamOne, Creator: task.Principal{UID: "ada"}, Executor: task.Principal{UID: "ada"},
		Config:   task.Config{Name: "daily", ModelID: "model", EnvironmentID: "env", SkillSpec: fmt.Sprintf("skill %d", i%1000)},
		Metadata: map[string]string{"team": "x", "schedule_id": "often"}}
	x := task.NewExecutionID()
	end := task.StateSucceeded
	if i == 0 {
		c.ID = root
	}
	if i%100 == 1 {
		c.Spec.Prompt, c.Spec.Owner, c.Spec.Creator.UID, c.Spec.Executor.UID, c.Spec.ParentID = "rare parser", userTwo, "bob", "bot", root
		c.Spec.Config = task.Config{Name: "nightly", ModelID: "other", SkillSpec: "owner/repo:SKILL.md"}
		c.Spec.Metadata = map[string]string{"ticket": "V-1", "schedule_id": "seldom"}
		c.From, end = task.SourceSlack, task.StateError
	}
	c.Commands = []task.Command{task.Offer{Execution: x, Worker: "w"}, task.Begin{Execution: x}}
	if i%100 == 1 {
		c.Commands = append(c.Commands, task.Append{Execution: x, Events: []task.Event{{Payload: &task.ArtifactReported{
			Artifact: task.Artifact{UID: "a", Type: task.ArtifactPlan, CreatedAt: noon}}}}})
	}
	if i%500 != 2 { // else it works on
		c.Commands = append(c.Commands, task.End{Execution: x, State: end, SeenInput: 2})
	}
	return c
}

// filterQueries has a query for each filter of the wire, with common values
// and rare ones, and some together.
func filterQueries(root task.ID) map[string]task.Query {
	return map[string]task.Query{
		"none":           {},
		"owner":          {Owners: []task.Scope{teamOne}},
		"rare owner":     {Owners: []task.Scope{userTwo}},
		"owners":         {Owners: []task.Scope{teamOne, userTwo}},
		"state":          {States: []task.State{task.StateSucceeded}},
		"rare state":     {States: []task.State{task.StateError}},
		"no such state":  {States: []task.State{task.StateBlocked}},
		"live state":     {States: []task.State{task.StateInProgress}},
		"states":         {States: []task.State{task.StateSucceeded, task.StateFailed, task.StateQueued}},
		"owner+state":    {Owners: []task.Scope{teamOne}, States: []task.State{task.StateError}},
		"owners+states":  {Owners: []task.Scope{teamOne, userTwo}, States: task.States()},
		"name":           {Name: "daily"},
		"rare name":      {Name: "nightly"},
		"model":          {ModelID: "model"},
		"rare model":     {ModelID: "other"},
		"creator":        {CreatorUID: "ada"},
		"rare creator":   {CreatorUID: "bob"},
		"executor":       {ExecutorUID: "bot"},
		"source":         {Source: task.SourceAPI},
		"rare source":    {Source: task.SourceSlack},
		"location":       {Where: task.LocationRemote},
		"no location":    {Where: task.LocationLocal},
		"created_after":  {CreatedAfter: noon.Add(time.Minute)},
		"created_before": {CreatedBefore: noon.Add(30 * time.Second)},
		"updated_after":  {UpdatedAfter: noon.Add(time.Minute)},
		"environment":    {EnvironmentID: "env"},
		"no-environment": {EnvironmentID: task.EmptyEnvironment},
		"skill":          {Skill: "owner/repo:SKILL.md"},
		"schedule":       {ScheduleID: "often"},
		"rare schedule":  {ScheduleID: "seldom"},
		"ancestor":       {AncestorID: root},
		"artifact":       {ArtifactType: task.ArtifactPlan},
		"metadata":       {Metadata: map[string]string{"ticket": "V-1"}},
		"common pair":    {Metadata: map[string]string{"team": "x"}},
		"text":           {Text: "parser"},
		"text+ancestor":  {Text: "parser", AncestorID: root},
		"common text":    {Text: "comm"},
	}
}

// TestListsReadLittle runs every filter in every order, on the first page and
// on a later one, and counts what the plans read. A list never reads the table
// of runs as a whole.
func TestListsReadLittle(t *testing.T) {
	dsn := pgtest.DSN(t)
	s := open(t, dsn, nil)
	root := populate(t, s, population)
	run(t, admin(t, dsn), `ANALYZE`)
	for name, q := range filterQueries(root) {
		for _, sort := range []task.SortKey{task.SortUpdatedAt, task.SortCreatedAt, task.SortTitle, task.SortAgent} {
			q.Sort, q.After, q.Limit = sort, nil, 10
			plans, err := s.ExplainList(t.Context(), q)
			assert.NilError(t, err)
			checkPlans(t, name+" by "+string(sort), plans)
			page, err := s.List(t.Context(), q)
			assert.NilError(t, err)
			if q.After = page.Next; q.After != nil {
				plans, err = s.ExplainList(t.Context(), q)
				assert.NilError(t, err)
				checkPlans(t, name+" by "+string(sort)+", later", plans)
			}
		}
	}
}

// TestFrequencyOfWordsIsKnown asks how many runs have words before they are
// looked for: very common ones are not.
func TestFrequencyOfWordsIsKnown(t *testing.T) {
	dsn := pgtest.DSN(t)
	s := open(t, dsn, nil)
	assert.Equal(t, estimate(t, s, "common"), 0.0, "without statistics")
	populate(t, s, population)
	run(t, admin(t, dsn), `ANALYZE`)
	for text, want := range map[string]float64{
		"common": population, "comm": population, "common wor": population, "parser": population / 100, "common parser": population / 100, "c": 0, "unheard": 0,
	} {
		got := estimate(t, s, text)
		assert.Check(t, got >= 0.8*want && got <= 1.2*want+1, "%q: %v runs are expected, %v have it", text, got, want)
	}
}

func estimate(t *testing.T, s *pgstore.Store, text string) float64 {
	t.Helper()
	n, err := s.EstimateRuns(t.Context(), text)
	assert.NilError(t, err)
	return n
}

// mayRead bounds the rows that a list of ten reads: for each of the 30 runs that
// a rare filter finds its tag and itself, and for each of the page what belongs
// to it.
const mayRead = 2*population/100 + 10*10

func checkPlans(t *testing.T, name string, plans []pgstore.PlanNode) {
	t.Helper()
	var b strings.Builder
	read := 0.0
	for _, p := range plans {
		read += readBy(t, &b, p, "")
	}
	assert.Check(t, read <= mayRead, "%s reads %v rows:\n%s", name, read, &b)
}

// readBy counts the rows that the scans of a plan touch, and writes it down.
func readBy(t *testing.T, b *strings.Builder, p pgstore.PlanNode, indent string) (read float64) {
	t.Helper()
	fmt.Fprintf(b, "%s%s %s %s rows=%v removed=%v loops=%v\n", indent, p.Type, p.Table, p.Index, p.Rows, p.Removed, p.Loops)
	if strings.HasSuffix(p.Type, "Scan") {
		read = (p.Rows + p.Removed) * p.Loops
	}
	assert.Assert(t, p.Type != "Seq Scan", "reads a table:\n%s", b)
	for _, child := range p.Plans {
		read += readBy(t, b, child, indent+"  ")
	}
	return read
}

// TestStatementsUseIndexes reads the plans of the fixed statements for any
// values, without statistics, as in a young database.
func TestStatementsUseIndexes(t *testing.T) {
	s := open(t, pgtest.DSN(t), nil)
	for _, statement := range pgstore.Statements() {
		plan, err := s.ExplainWriter(t.Context(), statement)
		assert.NilError(t, err, "%s", statement)
		var b strings.Builder
		readBy(t, &b, plan, "")
	}
}

// TestUsageIsFoundByItsKey also in a young database, whose plans stay when it
// has grown: what is added costs no more with many runs than with few.
func TestUsageIsFoundByItsKey(t *testing.T) {
	s := open(t, pgtest.DSN(t), nil)
	plan, err := s.ExplainWriter(t.Context(), pgstore.AddUsage)
	assert.NilError(t, err)
	found := 0
	var check func(p pgstore.PlanNode)
	check = func(p pgstore.PlanNode) {
		if p.Table == "usage" && strings.HasSuffix(p.Type, "Scan") {
			found++
			assert.Check(t, strings.Contains(p.Cond, "n = "), "reads all of an index: %+v", p)
		}
		for _, child := range p.Plans {
			check(child)
		}
	}
	check(plan)
	assert.Assert(t, found >= 4, "%+v", plan)
}
