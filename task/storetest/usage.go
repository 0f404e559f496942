package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

var usageCases = []testCase{
	{name: "NothingYet", run: usageNothing},
	{name: "Groups", run: usageGroups},
	{name: "Filters", run: usageFilters},
	{name: "Family", run: usageFamily},
	{name: "RepeatedAppendCountsOnce", run: usageRepeated},
	{name: "SumsAreThoseOfTheEvents", run: usageDerived},
	{name: "SpentByOwnerPersonAndDay", run: usageSpent},
	{name: "ManyRunsAtOnce", run: usageMany},
	{name: "Reopen", run: usageReopen, reopens: true},
	{name: "BadQuery", run: usageBad},
}

// nearly compares sums of money, whose last digits depend on their order.
var nearly = cmp.Options{cmpopts.EquateApprox(0, 1e-9), cmpopts.EquateEmpty()}

var (
	platformTeam = task.Scope{Type: task.ScopeTeam, UID: "platform"}
	adaHerself   = task.Scope{Type: task.ScopeUser, UID: "ada"}
)

// call is the report of one call of a model.
func call(model string, input, output int64, usd float64) task.Event {
	return task.Event{Payload: &task.UsageReport{Category: "primary_agent", Model: model, Calls: 1, Priced: true,
		Tokens: task.TokenCount{Input: input, Output: output}, Cost: task.CostUSD{Input: usd / 4, Output: usd * 3 / 4}}}
}

// spend makes a run that has made calls and ended.
func (f *fixture) spend(change func(*task.Creation), calls ...task.Event) task.Task {
	f.Helper()
	t, x := f.working(change)
	f.do(t.ID, task.Append{Execution: x, Events: calls})
	f.finish(t.ID, x, task.StateSucceeded)
	return f.get(t.ID)
}

func (f *fixture) sums(q task.UsageQuery) []task.UsageSum {
	f.Helper()
	sums, err := f.s.SumUsage(f.ctx(), q)
	assert.NilError(f, err)
	for i := range sums {
		sums[i].RunTime = 0 // by the store's clock
	}
	return sums
}

func (f *fixture) spent(s task.Scope, since time.Time) task.Spending {
	f.Helper()
	got, err := f.s.Spent(f.ctx(), s, since)
	assert.NilError(f, err)
	return got
}

func usageNothing(f *fixture) {
	f.create(nil)
	assert.DeepEqual(f, f.sums(task.UsageQuery{}), []task.UsageSum{}, nearly)
	assert.DeepEqual(f, f.spent(platformTeam, time.Time{}), task.Spending{})
}

// ofTeam makes a run of the platform team's, asked for by a person and carried
// out by an agent.
func ofTeam(person, agent string, at time.Time) func(*task.Creation) {
	return func(c *task.Creation) {
		c.Spec.Owner = platformTeam
		c.Spec.Creator = task.Principal{Type: task.PrincipalUser, UID: person}
		c.Spec.Executor = c.Spec.Creator
		if agent != "" {
			c.Spec.Executor = task.Principal{Type: task.PrincipalServiceAccount, UID: agent}
		}
		c.Now = at
	}
}

func ofAda(at time.Time) func(*task.Creation) {
	return func(c *task.Creation) {
		ofTeam("ada", "", at)(c)
		c.Spec.Owner, c.From = adaHerself, task.SourceCLI
	}
}

func usageGroups(f *fixture) {
	noon := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	unpriced := call("local", 7, 1, 0)
	unpriced.Payload.(*task.UsageReport).Priced = false
	f.spend(ofTeam("ada", "bot", noon), call("big", 100, 10, 3), call("small", 10, 1, 0.5), call("big", 100, 10, 3))
	f.spend(ofTeam("bob", "", noon.Add(24*time.Hour)), call("small", 20, 2, 1))
	f.spend(ofAda(noon), unpriced)
	want := map[task.UsageGroup][]task.UsageSum{
		task.UsageTotal:    {{Key: "total", Runs: 3, Calls: 5, Tokens: task.TokenCount{Input: 237, Output: 24}, CostUSD: 7.5, Unpriced: true}},
		task.UsageByDay:    {{Key: "2026-03-04", Runs: 2, Calls: 4, Tokens: task.TokenCount{Input: 217, Output: 22}, CostUSD: 6.5, Unpriced: true}, {Key: "2026-03-05", Runs: 1, Calls: 1, Tokens: task.TokenCount{Input: 20, Output: 2}, CostUSD: 1}},
		task.UsageByUser:   {{Key: "ada", Runs: 2, Calls: 4, Tokens: task.TokenCount{Input: 217, Output: 22}, CostUSD: 6.5, Unpriced: true}, {Key: "bob", Runs: 1, Calls: 1, Tokens: task.TokenCount{Input: 20, Output: 2}, CostUSD: 1}},
		task.UsageByTeam:   {{Key: "platform", Runs: 2, Calls: 4, Tokens: task.TokenCount{Input: 230, Output: 23}, CostUSD: 7.5}, {Key: "", Runs: 1, Calls: 1, Tokens: task.TokenCount{Input: 7, Output: 1}, Unpriced: true}},
		task.UsageByModel:  {{Key: "big", Runs: 1, Calls: 2, Tokens: task.TokenCount{Input: 200, Output: 20}, CostUSD: 6}, {Key: "small", Runs: 2, Calls: 2, Tokens: task.TokenCount{Input: 30, Output: 3}, CostUSD: 1.5}, {Key: "local", Runs: 1, Calls: 1, Tokens: task.TokenCount{Input: 7, Output: 1}, Unpriced: true}},
		task.UsageByAgent:  {{Key: "bot", Runs: 1, Calls: 3, Tokens: task.TokenCount{Input: 210, Output: 21}, CostUSD: 6.5}, {Key: "", Runs: 2, Calls: 2, Tokens: task.TokenCount{Input: 27, Output: 3}, CostUSD: 1, Unpriced: true}},
		task.UsageBySource: {{Key: "API", Runs: 2, Calls: 4, Tokens: task.TokenCount{Input: 230, Output: 23}, CostUSD: 7.5}, {Key: "CLI", Runs: 1, Calls: 1, Tokens: task.TokenCount{Input: 7, Output: 1}, Unpriced: true}},
	}
	for group, rows := range want {
		assert.DeepEqual(f, f.sums(task.UsageQuery{Group: group}), rows, nearly)
	}
	assert.DeepEqual(f, f.sums(task.UsageQuery{Group: task.UsageByModel, Limit: 1}), want[task.UsageByModel][:1], nearly)
}

func usageFilters(f *fixture) {
	noon := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	f.spend(ofTeam("ada", "", noon), call("m", 1, 0, 1))
	f.spend(ofTeam("ada", "", noon.Add(1)), call("m", 10, 0, 1))
	f.spend(ofAda(noon.Add(2)), call("m", 100, 0, 1))
	input := func(q task.UsageQuery) (n int64) {
		for _, sum := range f.sums(q) {
			n += sum.Tokens.Input
		}
		return n
	}
	assert.Equal(f, input(task.UsageQuery{CreatedAfter: noon}), int64(110))
	assert.Equal(f, input(task.UsageQuery{CreatedBefore: noon.Add(1)}), int64(1))
	assert.Equal(f, input(task.UsageQuery{CreatedAfter: noon, CreatedBefore: noon.Add(2)}), int64(10))
	assert.Equal(f, input(task.UsageQuery{Owners: []task.Scope{platformTeam}}), int64(11))
	assert.Equal(f, input(task.UsageQuery{Owners: []task.Scope{platformTeam, adaHerself}, CreatedAfter: noon}), int64(110))
	assert.Equal(f, input(task.UsageQuery{Owners: []task.Scope{}}), int64(0))
}

func usageFamily(f *fixture) {
	root := f.spend(ofTeam("ada", "", start), call("m", 1, 0, 0.1))
	childOf := func(id task.ID) func(*task.Creation) {
		return func(c *task.Creation) {
			ofTeam("ada", "", start)(c)
			c.Spec.ParentID = id
		}
	}
	child := f.spend(childOf(root.ID), call("m", 10, 0, 0.2))
	grandchild := f.spend(childOf(child.ID), call("m", 100, 0, 0.3))
	f.spend(ofTeam("ada", "", start), call("m", 1000, 0, 0.4))
	for id, want := range map[task.ID]int64{root.ID: 111, child.ID: 110, grandchild.ID: 100} {
		sums := f.sums(task.UsageQuery{Family: id})
		assert.Equal(f, len(sums), 1)
		assert.Equal(f, sums[0].Tokens.Input, want)
	}
	assert.DeepEqual(f, f.sums(task.UsageQuery{Family: task.NewID()}), []task.UsageSum{}, nearly)
}

func usageRepeated(f *fixture) {
	t, x := f.working(ofTeam("ada", "", start))
	batch := task.Append{Execution: x, Events: []task.Event{call("m", 5, 5, 1), call("m", 5, 5, 1)}}
	f.do(t.ID, batch, batch, task.Append{Execution: x, Offset: 1, Events: []task.Event{batch.Events[1], call("m", 1, 1, 0.5)}})
	sums := f.sums(task.UsageQuery{})
	assert.Equal(f, sums[0].Calls, int64(3))
	assert.DeepEqual(f, f.spent(platformTeam, time.Time{}), task.Spending{Tokens: 22, USD: 2.5}, nearly)
}

// usageDerived holds the sums against the logs, which are the truth.
func usageDerived(f *fixture) {
	t, x := f.working(ofTeam("ada", "", start))
	var want task.UsageSum
	for i := range int64(40) {
		f.do(t.ID, task.Append{Execution: x, Offset: i, Events: []task.Event{call(fmt.Sprintf("m%d", i%3), i, i+1, float64(i)/7)}})
	}
	f.finish(t.ID, x, task.StateBlocked)
	for _, e := range f.events(t.ID) {
		if r, ok := e.Payload.(*task.UsageReport); ok {
			want.Calls += int64(r.Calls)
			want.Tokens = want.Tokens.Add(r.Tokens)
			want.CostUSD += r.Cost.Total()
		}
	}
	want.Key, want.Runs = "total", 1
	assert.DeepEqual(f, f.sums(task.UsageQuery{}), []task.UsageSum{want}, nearly)
	spent := task.Spending{Tokens: want.Tokens.Total(), USD: want.CostUSD}
	assert.DeepEqual(f, f.spent(platformTeam, time.Time{}), spent, nearly)
	assert.DeepEqual(f, f.spent(adaHerself, time.Time{}), spent, nearly)
	head := f.get(t.ID).Usage
	assert.Equal(f, head.Tokens(), want.Tokens)
	worked, err := f.s.SumUsage(f.ctx(), task.UsageQuery{})
	assert.NilError(f, err)
	assert.Equal(f, worked[0].RunTime, f.get(t.ID).RunTime)
}

func usageSpent(f *fixture) {
	f.spend(ofTeam("ada", "", start), call("m", 1, 1, 1))
	f.spend(ofTeam("bob", "", start), call("m", 10, 10, 2))
	f.spend(ofAda(start), call("m", 100, 100, 4))
	f.spend(func(c *task.Creation) { // by a program, which has no budget of its own
		ofTeam("", "", start)(c)
		c.Spec.Creator = task.Principal{Type: task.PrincipalServiceAccount, UID: "ada"}
	}, call("m", 1000, 1000, 8))
	bob := task.Scope{Type: task.ScopeUser, UID: "bob"}
	today := time.Now().UTC().Truncate(24 * time.Hour)                  // of the store's clock
	for _, since := range []time.Time{{}, today.Add(-24 * time.Hour)} { // the clock may pass midnight meanwhile
		assert.DeepEqual(f, f.spent(platformTeam, since), task.Spending{Tokens: 2022, USD: 11}, nearly)
		assert.DeepEqual(f, f.spent(adaHerself, since), task.Spending{Tokens: 202, USD: 5}, nearly)
		assert.DeepEqual(f, f.spent(bob, since), task.Spending{Tokens: 20, USD: 2}, nearly)
	}
	assert.DeepEqual(f, f.spent(platformTeam, today.Add(48*time.Hour)), task.Spending{})
}

// usageMany adds to the same sums from many runs at once.
func usageMany(f *fixture) {
	const runs, calls = 24, 20
	var all sync.WaitGroup
	for range runs {
		t, x := f.working(ofTeam("ada", "", start))
		all.Go(func() {
			for i := range int64(calls) {
				_, err := f.s.Do(f.ctx(), t.ID, task.Append{Execution: x, Offset: i, Events: []task.Event{call("m", 2, 1, 0.25)}})
				assert.Check(f, err)
			}
		})
	}
	all.Wait()
	spent := task.Spending{Tokens: 3 * runs * calls, USD: runs * calls / 4}
	assert.DeepEqual(f, f.spent(platformTeam, time.Time{}), spent, nearly)
	assert.DeepEqual(f, f.spent(adaHerself, time.Time{}), spent, nearly)
	assert.Equal(f, f.sums(task.UsageQuery{})[0].Runs, int64(runs))
}

func usageReopen(f *fixture) {
	f.spend(ofTeam("ada", "", start), call("m", 1, 1, 1))
	sums := f.sums(task.UsageQuery{})
	f.reopen()
	assert.DeepEqual(f, f.sums(task.UsageQuery{}), sums, nearly)
	assert.DeepEqual(f, f.spent(platformTeam, time.Time{}), task.Spending{Tokens: 2, USD: 1}, nearly)
}

func usageBad(f *fixture) {
	for field, q := range map[string]task.UsageQuery{"group_by": {Group: "colour"}, "limit": {Limit: task.MaxUsageRows + 1}} {
		_, err := f.s.SumUsage(f.ctx(), q)
		assert.ErrorIs(f, err, task.ErrInvalid)
		assert.ErrorContains(f, err, field)
	}
}
