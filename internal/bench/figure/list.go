package figure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/internal/bench/measure"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

const (
	smallRuns = 1000
	pageSize  = 50
	// rareRuns are the runs in the state that few have.
	rareRuns = 60
)

// lists is P5: how much longer the newest 50 runs by a filter take in a large
// database than in one of 1,000 runs. The large one is built once, through the
// store.
func lists(ctx context.Context, b *Bench) (rows []measure.Row, err error) {
	dir, err := os.MkdirTemp(b.Dir, "lists-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var stores []*sqlitestore.Store
	for _, n := range []int{b.Runs, smallRuns} {
		s, err := sqlitestore.Open(ctx, fmt.Sprintf("%s/%d.db", dir, n), nil)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		if err := fillStore(ctx, s, n); err != nil {
			return nil, err
		}
		stores = append(stores, s)
	}
	return b.compareLists(ctx, "SQLite", stores[0], stores[1])
}

// compareLists makes a row of each query.
func (b *Bench) compareLists(ctx context.Context, database string, large, small task.Store) ([]measure.Row, error) {
	var rows []measure.Row
	for _, q := range queries() {
		r, err := measure.Take(ctx, b.Rounds, listing("large", large, q.query, q.rows), listing("small", small, q.query, 1))
		if err != nil {
			return nil, fmt.Errorf("list by %s: %w", q.name, err)
		}
		name := fmt.Sprintf("newest %d by %s, N = %d, %s, p50", pageSize, q.name, b.Runs, database)
		rows = append(rows, r.Compare(cost("P5", name, "ms", fmt.Sprintf("N = %d", smallRuns), 2, 1.3), 0, 1, 0))
	}
	r, err := measure.Take(ctx, b.Rounds, listing("rare", large, stateQuery(task.StateBlocked), 1), listing("common", large, stateQuery(task.StateSucceeded), pageSize))
	if err != nil {
		return nil, err
	}
	return append(rows, r.Compare(cost("P5", "rare state, "+database+", p50", "ms", "common state", 3, 1.5), 0, 1, 0)), nil
}

func stateQuery(s task.State) task.Query { return task.Query{States: []task.State{s}} }

// listing takes the median of a few executions, after ten that are not
// counted: the database may change a statement's plan after some. A page of
// fewer runs than expected is an error, so that no figure is of an empty list.
func listing(name string, s task.Store, q task.Query, atLeast int) measure.Side {
	q.Limit = pageSize
	return measure.Side{Name: name, Sample: func(ctx context.Context) ([]float64, error) {
		var took []time.Duration
		for range 40 {
			start := time.Now()
			page, err := s.List(ctx, q)
			if err != nil {
				return nil, err
			}
			if len(page.Tasks) < atLeast {
				return nil, fmt.Errorf("found %d runs, there are at least %d", len(page.Tasks), atLeast)
			}
			took = append(took, time.Since(start))
		}
		return []float64{measure.Median(measure.Milliseconds(took[10:]))}, nil
	}}
}

// namedQuery is a list by one filter. rows is how many runs a page has at
// least in the large database.
type namedQuery struct {
	name  string
	query task.Query
	rows  int
}

// queries are one for each filter and sort of task.Query.
func queries() []namedQuery {
	team, start := task.Scope{Type: task.ScopeTeam, UID: "team-1"}, epoch
	return []namedQuery{
		{"nothing", task.Query{}, pageSize},
		{"owner", task.Query{Owners: []task.Scope{team}}, pageSize},
		{"owner and state", task.Query{Owners: []task.Scope{team}, States: []task.State{task.StateSucceeded}}, pageSize},
		{"common state", stateQuery(task.StateSucceeded), pageSize},
		{"rare state", stateQuery(task.StateBlocked), 1},
		{"live states", task.Query{States: []task.State{task.StateQueued, task.StateInProgress}}, 1},
		{"name", task.Query{Name: "nightly-1"}, pageSize},
		{"model", task.Query{ModelID: "model-1"}, pageSize},
		{"creator", task.Query{CreatorUID: "person-1"}, pageSize},
		{"executor", task.Query{ExecutorUID: "person-1"}, pageSize},
		{"source", task.Query{Source: task.SourceSlack}, pageSize},
		{"location", task.Query{Where: task.LocationRemote}, pageSize},
		{"created after", task.Query{CreatedAfter: start}, pageSize},
		{"created before", task.Query{CreatedBefore: start.Add(300 * time.Second)}, pageSize},
		{"updated after", task.Query{UpdatedAfter: start}, pageSize},
		{"environment", task.Query{EnvironmentID: "env-1"}, pageSize},
		{"no environment", task.Query{EnvironmentID: task.EmptyEnvironment}, pageSize},
		{"skill", task.Query{Skill: "acme/skills:review-1"}, pageSize},
		{"schedule", task.Query{ScheduleID: "schedule-1"}, pageSize},
		{"ancestor", task.Query{AncestorID: runID(0)}, 1},
		{"artifact type", task.Query{ArtifactType: task.ArtifactPullRequest}, pageSize},
		{"metadata", task.Query{Metadata: map[string]string{"ticket": "7"}}, pageSize},
		{"common words", task.Query{Text: "parser file"}, pageSize},
		{"rare words", task.Query{Text: "xylophone"}, 1},
		{"created, oldest first", task.Query{Sort: task.SortCreatedAt, Asc: true}, pageSize},
		{"title", task.Query{Sort: task.SortTitle}, pageSize},
		{"agent", task.Query{Sort: task.SortAgent}, pageSize},
	}
}

// epoch is when the first run of the databases was created.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func runID(i int) task.ID { return task.ID(fmt.Sprintf("00000000-0000-7000-8000-%012d", i)) }

// fillStore makes n runs, a second apart, most of which have ended.
func fillStore(ctx context.Context, s task.Store, n int) error {
	return spread(n, 256, func(i int) error {
		_, _, err := s.Create(ctx, creation(i))
		if err != nil {
			return fmt.Errorf("run %d: %w", i, err)
		}
		return nil
	})
}

// creation is run i of a database: a whole life in one transaction.
func creation(i int) task.Creation {
	at := epoch.Add(time.Duration(i) * time.Second)
	c := task.Creation{ID: runID(i), Spec: spec(i), From: source(i), Now: at}
	switch {
	case i < smallRuns && i%100 == 1:
		return c // waits
	case i < smallRuns && i%100 == 2:
		c.Commands = begun(i, at)
		return c
	}
	c.Commands = append(begun(i, at), task.End{Execution: execution(i), State: outcome(i), SeenInput: 2})
	return c
}

func execution(i int) task.ExecutionID { return task.ExecutionID("execution-" + string(runID(i))) }

func begun(i int, at time.Time) []task.Command {
	x := execution(i)
	commands := []task.Command{
		task.Offer{Execution: x, Worker: "bench", TokenHash: make([]byte, 32), LeaseUntil: at.Add(time.Hour)},
		task.Begin{Execution: x},
	}
	if i%10 == 3 {
		artifact := task.Artifact{UID: "pull-" + string(runID(i)), Type: task.ArtifactPullRequest, URL: "https://git.example/acme/app/pull/1", Branch: "oz/work"}
		commands = append(commands, task.Append{Execution: x, Events: []task.Event{{Payload: &task.ArtifactReported{Artifact: artifact}}}})
	}
	return commands
}

// outcome gives a few of the small database's runs the rare state.
func outcome(i int) task.State {
	switch {
	case i < smallRuns && i%(smallRuns/rareRuns) == 5:
		return task.StateBlocked
	case i%10 == 7:
		return task.StateFailed
	}
	return task.StateSucceeded
}

func source(i int) task.Source {
	return []task.Source{task.SourceAPI, task.SourceCLI, task.SourceSlack, task.SourceScheduledAgent}[i%4]
}

func spec(i int) task.Spec {
	person := task.Principal{Type: task.PrincipalUser, UID: fmt.Sprintf("person-%d", i%12)}
	s := task.Spec{
		Title: fmt.Sprintf("Mend the failing test %d", i), Prompt: payload,
		Owner:   task.Scope{Type: task.ScopeTeam, UID: fmt.Sprintf("team-%d", i%8)},
		Creator: person, Executor: person, ConversationID: string(runID(i)),
		Config: task.Config{Name: fmt.Sprintf("nightly-%d", i%15), ModelID: fmt.Sprintf("model-%d", i%5)},
	}
	if i%3 != 0 {
		s.Config.EnvironmentID = fmt.Sprintf("env-%d", i%10)
	}
	if i%2 == 0 {
		s.Config.SkillSpec = fmt.Sprintf("acme/skills:review-%d", i%14/2)
		s.Metadata = map[string]string{"ticket": fmt.Sprint(i % 16 / 2), "schedule_id": fmt.Sprintf("schedule-%d", i%6/2)}
	}
	if i < smallRuns && i%50 == 9 {
		s.ParentID = runID(0)
		s.Prompt = strings.Replace(payload, "parser", "xylophone", 1)
	}
	return s
}
