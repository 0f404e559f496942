package oz_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
)

var (
	red = task.Scope{Type: task.ScopeTeam, UID: "red"}
	ann = task.Scope{Type: task.ScopeUser, UID: "ann"}
	bob = task.Scope{Type: task.ScopeUser, UID: "bob"}
)

// at begins to work on a run, as a worker and its runner do, and gives the
// runner's link.
func at(t testing.TB, store task.Store, p *oz.Platform, id task.ID) (executor.Link, task.ExecutionID) {
	t.Helper()
	exec := task.NewExecutionID()
	token, hash := task.NewToken(exec)
	for _, c := range []task.Command{
		task.Offer{Execution: exec, Worker: "w", TokenHash: hash, LeaseUntil: time.Now().Add(time.Hour)},
		task.Begin{Execution: exec},
	} {
		_, err := store.Do(t.Context(), id, c)
		assert.NilError(t, err)
	}
	return linkOf(t, p, token), exec
}

func linkOf(t testing.TB, p *oz.Platform, token string) executor.Link {
	t.Helper()
	caller, err := p.Authenticate(t.Context(), token)
	assert.NilError(t, err)
	l, err := p.Link(caller)
	assert.NilError(t, err)
	return l
}

// used is the report of a call that had a reservation.
func used(call string, tokens int64, usd float64) []task.Event {
	r := &task.UsageReport{Category: "primary_agent", Model: "m", Calls: 1, Priced: true, CallID: call,
		Tokens: task.TokenCount{Input: tokens}, Cost: task.CostUSD{Input: usd}}
	if tokens == 0 {
		r.Calls = 0
	}
	return []task.Event{{Payload: r}}
}

func want(call string, tokens int64, usd float64) executor.Reservation {
	return executor.Reservation{Call: call, Tokens: tokens, CostUSD: &usd}
}

// granted reserves and must be granted at once.
func granted(t testing.TB, l executor.Link, r executor.Reservation, budgets int) {
	t.Helper()
	got, err := l.Reserve(t.Context(), r)
	assert.NilError(t, err)
	assert.Equal(t, got, executor.Reserved{Budgets: budgets})
}

func exceeded(t testing.TB, err error, budget string) {
	t.Helper()
	assert.Equal(t, task.CodeOf(err), task.CodeBudgetExceeded, "%v", err)
	assert.ErrorContains(t, err, budget)
}

// status finds a budget among those that a client sees.
func status(t testing.TB, c *oz.Client, s task.Scope) oz.BudgetStatus {
	t.Helper()
	list, err := c.Budgets(t.Context())
	assert.NilError(t, err)
	for _, b := range list {
		if b.Scope == s {
			return b
		}
	}
	t.Fatalf("no budget of %s among %v", s, list)
	return oz.BudgetStatus{}
}

func put(t testing.TB, c *oz.Client, b oz.Budget) {
	t.Helper()
	_, err := c.PutBudget(t.Context(), b)
	assert.NilError(t, err)
}

// TestBudgetOfATeam follows one budget from the first reservation to the
// refusal of new work, and on after it was raised.
func TestBudgetOfATeam(t *testing.T) {
	p, store := newPlatform(t, nil)
	c := people(t, p)
	run := submit(t, c["bob"], oz.Request{Prompt: "x"})
	l, _ := at(t, store, p, run.ID)
	bundle, err := l.Bundle(t.Context())
	assert.NilError(t, err)
	assert.Assert(t, !bundle.Reserve, "nothing to ask about")
	granted(t, l, want("0", 1e6, 1e6), 0)

	put(t, c["ann"], oz.Budget{Scope: red, LimitUSD: ptr(1.0), LimitTokens: ptr(int64(1000))})
	beat, err := l.Heartbeat(t.Context())
	assert.NilError(t, err)
	assert.Assert(t, beat.Reserve, "from the next heartbeat on")
	granted(t, l, want("1", 400, 0.6), 1)
	granted(t, l, want("1", 400, 0.6), 1) // its answer was lost
	wait, err := l.Reserve(t.Context(), want("2", 400, 0.6))
	assert.NilError(t, err)
	assert.Assert(t, wait.WaitMS > 0 && wait.Budgets == 0, "the first call may use less: %+v", wait)
	now := status(t, c["bob"], red)
	assert.Equal(t, now.Reserved, task.Spending{Tokens: 400, USD: 0.6})
	assert.Equal(t, now.Period, oz.BudgetMonthly)
	assert.Assert(t, now.ResetsAt.After(time.Now()) && now.ResetsAt.Day() == 1)

	assert.NilError(t, l.Append(t.Context(), 0, used("1", 300, 0.3)))
	assert.NilError(t, l.Append(t.Context(), 0, used("1", 300, 0.3))) // sent again
	granted(t, l, want("2", 400, 0.7), 1)
	assert.NilError(t, l.Append(t.Context(), 1, used("2", 0, 0))) // was not answered
	now = status(t, c["bob"], red)
	assert.DeepEqual(t, now.Spent, task.Spending{Tokens: 300, USD: 0.3})
	assert.Equal(t, now.Reserved, task.Spending{})

	_, err = l.Reserve(t.Context(), want("3", 701, 0.1))
	exceeded(t, err, `700 of 1000 are left in the budget of team "red" for this month`)
	_, err = l.Reserve(t.Context(), executor.Reservation{Call: "3", Tokens: 1})
	exceeded(t, err, "no known price")

	granted(t, l, want("4", 700, 0.7), 1)
	assert.NilError(t, l.Append(t.Context(), 2, used("4", 700, 0.1)))
	assert.NilError(t, l.End(t.Context(), task.End{State: task.StateBlocked, SeenInput: run.LastSeq,
		Status: task.Status{Message: "the budget of team red", ErrorCode: task.CodeBudgetExceeded}}))
	_, err = c["bob"].Submit(t.Context(), oz.Request{Prompt: "more"})
	exceeded(t, err, `team "red"`)
	exceeded(t, c["bob"].FollowUp(t.Context(), run.ID, oz.Message{Text: "go on"}), `team "red"`)
	submit(t, c["bob"], oz.Request{Prompt: "his own", Team: ptr(false)})

	put(t, c["ann"], oz.Budget{Scope: red, LimitUSD: ptr(2.0)})
	assert.NilError(t, c["bob"].FollowUp(t.Context(), run.ID, oz.Message{Text: "go on"}))
	l, _ = at(t, store, p, run.ID)
	granted(t, l, want("1", 1e6, 1.6), 1)
}

// TestReservationsEndWithTheirExecution: what a lost runner held comes back,
// and what it has used stays counted.
func TestReservationsEndWithTheirExecution(t *testing.T) {
	p, store := newPlatform(t, nil)
	c := people(t, p)
	put(t, c["ann"], oz.Budget{Scope: red, LimitTokens: ptr(int64(1000)), Period: oz.BudgetTotal})
	first, second := submit(t, c["bob"], oz.Request{Prompt: "x"}), submit(t, c["bob"], oz.Request{Prompt: "y"})
	l, exec := at(t, store, p, first.ID)
	granted(t, l, want("1", 300, 0), 1)
	assert.NilError(t, l.Append(t.Context(), 0, used("1", 100, 0)))
	granted(t, l, want("2", 900, 0), 1)
	other, _ := at(t, store, p, second.ID)
	wait, err := other.Reserve(t.Context(), want("1", 900, 0))
	assert.NilError(t, err)
	assert.Assert(t, wait.WaitMS > 0)

	_, err = store.Do(t.Context(), first.ID, task.Release{Execution: exec, Reason: "lease lost"})
	assert.NilError(t, err)
	_, err = l.Reserve(t.Context(), want("3", 1, 0))
	assert.ErrorIs(t, err, task.ErrFenced)
	assert.Equal(t, status(t, c["ann"], red).Reserved, task.Spending{})
	granted(t, other, want("1", 900, 0), 1)
	assert.DeepEqual(t, status(t, c["ann"], red).Spent, task.Spending{Tokens: 100})
}

// TestBudgetsOfPeople: a person's budget counts what they asked for, whoever
// owns it, and every run is kept to all of its budgets.
func TestBudgetsOfPeople(t *testing.T) {
	p, store := newPlatform(t, &oz.Options{Budgets: []oz.Budget{
		{Scope: task.Scope{Type: task.ScopeUser}, LimitTokens: ptr(int64(100)), Period: oz.BudgetDaily},
	}})
	c := people(t, p)
	put(t, c["ann"], oz.Budget{Scope: red, LimitTokens: ptr(int64(1000))})
	put(t, c["ann"], oz.Budget{Scope: bob, LimitTokens: ptr(int64(500))})
	team, own := submit(t, c["bob"], oz.Request{Prompt: "x"}), submit(t, c["bob"], oz.Request{Prompt: "x", Team: ptr(false)})
	a, _ := at(t, store, p, team.ID)
	b, _ := at(t, store, p, own.ID)
	granted(t, a, want("1", 300, 0), 2)
	wait, err := b.Reserve(t.Context(), want("1", 300, 0))
	assert.NilError(t, err)
	assert.Assert(t, wait.WaitMS > 0)
	assert.NilError(t, a.Append(t.Context(), 0, used("1", 300, 0)))
	_, err = b.Reserve(t.Context(), want("1", 300, 0))
	exceeded(t, err, `user "bob"`)
	_, err = a.Reserve(t.Context(), want("2", 300, 0)) // the team has room
	exceeded(t, err, `user "bob"`)
	assert.Equal(t, status(t, c["bob"], red).Reserved, task.Spending{}, "what the team granted is given back")

	dans := submit(t, c["dan"], oz.Request{Prompt: "x"})
	d, _ := at(t, store, p, dans.ID)
	_, err = d.Reserve(t.Context(), want("1", 101, 0))
	exceeded(t, err, `user "dan" for today`)
	assert.NilError(t, c["ann"].DeleteBudget(t.Context(), bob))
	_, err = b.Reserve(t.Context(), want("1", 1, 0))
	exceeded(t, err, `user "bob" for today`) // the default holds again
}

// TestChildrenShareTheBudgetOfTheirParent: what children spend counts against
// the run's own limit, and the other way round.
func TestChildrenShareTheBudgetOfTheirParent(t *testing.T) {
	p, store := newPlatform(t, nil)
	c := people(t, p)
	limits := task.Config{Limits: &task.Limits{MaxTokens: 1000}}
	parent := submit(t, c["bob"], oz.Request{Prompt: "x", Config: limits})
	l, _ := at(t, store, p, parent.ID)
	beat, err := l.Heartbeat(t.Context())
	assert.NilError(t, err)
	assert.Assert(t, !beat.Reserve, "its own gateway keeps it while it has no children")

	child := submit(t, c["bob"], oz.Request{Prompt: "y", ParentRunID: parent.ID})
	other := submit(t, c["bob"], oz.Request{Prompt: "z", ParentRunID: parent.ID})
	beat, err = l.Heartbeat(t.Context())
	assert.NilError(t, err)
	assert.Assert(t, beat.Reserve)
	a, _ := at(t, store, p, child.ID)
	b, _ := at(t, store, p, other.ID)
	granted(t, l, want("1", 300, 0), 1)
	granted(t, a, want("1", 300, 0), 1)
	granted(t, b, want("1", 400, 0), 1)
	assert.NilError(t, l.Append(t.Context(), 0, used("1", 300, 0)))
	assert.NilError(t, a.Append(t.Context(), 0, used("1", 300, 0)))
	assert.NilError(t, b.Append(t.Context(), 0, used("1", 350, 0)))
	_, err = a.Reserve(t.Context(), want("2", 51, 0))
	exceeded(t, err, "shares with its children")
	granted(t, l, want("2", 50, 0), 1)
	assert.NilError(t, l.Append(t.Context(), 1, used("2", 50, 0)))
	_, err = c["bob"].Submit(t.Context(), oz.Request{Prompt: "more", ParentRunID: parent.ID})
	exceeded(t, err, "shares with its children")
}

// TestBudgetOfARun: the limits that a run was made with can be raised, by who
// may cancel it, and hold from its next execution on.
func TestBudgetOfARun(t *testing.T) {
	p, store := newPlatform(t, nil)
	c := people(t, p)
	run := submit(t, c["bob"], oz.Request{Prompt: "x", Config: task.Config{Limits: &task.Limits{MaxTokens: 100, MaxCostUSD: 1, MaxTurns: 7}}})
	scope := task.Scope{Type: oz.ScopeRun, UID: string(run.ID)}
	l, _ := at(t, store, p, run.ID)
	assert.NilError(t, l.Append(t.Context(), 0, used("", 100, 0)))
	assert.NilError(t, l.End(t.Context(), task.End{State: task.StateBlocked, SeenInput: run.LastSeq}))
	for field, b := range map[string]oz.Budget{
		"period": {LimitTokens: ptr(int64(1)), Period: oz.BudgetDaily}, "limit_tokens": {LimitTokens: ptr(int64(0))}, "limit_usd": {LimitUSD: ptr(0.0)},
	} {
		b.Scope = scope
		_, err := c["bob"].PutBudget(t.Context(), b)
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.ErrorContains(t, err, field)
	}
	_, err := c["cid"].PutBudget(t.Context(), oz.Budget{Scope: scope, LimitTokens: ptr(int64(200))})
	assert.ErrorIs(t, err, task.ErrNotFound)
	status, err := c["bob"].PutBudget(t.Context(), oz.Budget{Scope: scope, LimitTokens: ptr(int64(200))})
	assert.NilError(t, err)
	assert.Equal(t, status.Spent.Tokens, int64(100))
	assert.NilError(t, c["bob"].FollowUp(t.Context(), run.ID, oz.Message{Text: "go on"}))
	l, _ = at(t, store, p, run.ID)
	bundle, err := l.Bundle(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, bundle.Limits.MaxTokens, int64(200))
	assert.Equal(t, bundle.Limits.MaxCostUSD, 0.0)
	assert.Equal(t, bundle.Limits.MaxTurns, 7)
	assert.Assert(t, !bundle.Reserve, "its own gateway keeps it")
	list, err := c["bob"].Budgets(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(list), 0)
}

func TestBudgetRights(t *testing.T) {
	p, _ := newPlatform(t, nil)
	c := people(t, p)
	ctx := t.Context()
	some := ptr(int64(5))
	for _, tt := range []struct {
		who   string
		scope task.Scope
		code  task.Code
	}{
		{"ann", red, ""}, {"ann", ann, ""}, {"ann", bob, ""},
		{"bob", red, task.CodeNotAuthorized}, {"bob", bob, task.CodeNotAuthorized}, {"bob", ann, task.CodeNotFound},
		{"cid", red, task.CodeNotFound}, {"cid", bob, task.CodeNotFound}, {"dan", task.Scope{Type: task.ScopeUser, UID: "dan"}, task.CodeNotAuthorized},
		{"ann", task.Scope{Type: task.ScopeTeam, UID: "blue"}, task.CodeNotFound}, {"ann", task.Scope{Type: task.ScopeTeam, UID: "nobody"}, task.CodeNotFound},
		{"ann", task.Scope{Type: task.ScopeUser, UID: "nobody"}, task.CodeNotFound}, {"ann", task.Scope{Type: "Planet", UID: "x"}, task.CodeInvalidRequest},
		{"ann", task.Scope{Type: oz.ScopeRun, UID: "x"}, task.CodeNotFound},
	} {
		_, err := c[tt.who].PutBudget(ctx, oz.Budget{Scope: tt.scope, LimitTokens: some})
		if tt.code == "" {
			assert.NilError(t, err, "%v", tt)
			continue
		}
		assert.Equal(t, task.CodeOf(err), tt.code, "%v: %v", tt, err)
		assert.Equal(t, task.CodeOf(c[tt.who].DeleteBudget(ctx, tt.scope)), tt.code, "%v", tt)
	}
	for who, sees := range map[string][]task.Scope{"ann": {red, ann, bob}, "bob": {red, bob}, "cid": nil, "dan": nil} {
		list, err := c[who].Budgets(ctx)
		assert.NilError(t, err)
		var scopes []task.Scope
		for _, b := range list {
			scopes = append(scopes, b.Scope)
		}
		assert.DeepEqual(t, scopes, sees, cmpopts.EquateEmpty())
	}
	for field, b := range map[string]oz.Budget{
		"limit_usd:": {Scope: red}, "limit_usd: must": {Scope: red, LimitUSD: ptr(math.NaN())},
		"limit_tokens": {Scope: red, LimitTokens: ptr(int64(-1))}, "period": {Scope: red, LimitTokens: some, Period: "week"},
	} {
		_, err := c["ann"].PutBudget(ctx, b)
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.ErrorContains(t, err, field)
	}
	assert.NilError(t, c["ann"].DeleteBudget(ctx, red))
	assert.ErrorIs(t, c["ann"].DeleteBudget(ctx, red), task.ErrNotFound)
}

func TestBadReservations(t *testing.T) {
	p, store := newPlatform(t, nil)
	l, _ := at(t, store, p, submit(t, p, oz.Request{Prompt: "x"}).ID)
	for field, r := range map[string]executor.Reservation{
		"call_id": {}, "call_id:": {Call: "a/b"}, "tokens": {Call: "a", Tokens: -1}, "cost_usd": {Call: "a", CostUSD: ptr(math.Inf(1))},
	} {
		_, err := l.Reserve(t.Context(), r)
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.ErrorContains(t, err, field)
	}
	for _, bad := range []task.UsageReport{{Tokens: task.TokenCount{Input: -1}}, {Cost: task.CostUSD{Output: -0.1}}, {WebSearchUSD: math.NaN()}} {
		assert.ErrorIs(t, bad.Validate(), task.ErrInvalid)
	}
}

// replicas are two platforms on one store or database.
func replicas(t *testing.T, kind string) (stores [2]task.Store, platforms [2]*oz.Platform) {
	t.Helper()
	opts := &oz.Options{Budgets: []oz.Budget{{Scope: red, LimitTokens: ptr(int64(raceLimit)), LimitUSD: ptr(raceLimit / 1000.0), Period: oz.BudgetTotal}}}
	switch kind {
	case "sqlite":
		one := openStore(t)
		stores = [2]task.Store{one, one}
	case "postgresql":
		server := pgtest.New(t)
		dsn := server.DSN(t)
		for i := range stores {
			s, err := pgstore.Open(t.Context(), dsn, nil)
			assert.NilError(t, err)
			t.Cleanup(func() { assert.Check(t, s.Close()) })
			stores[i] = s
		}
	}
	for i := range platforms {
		var err error
		platforms[i], err = oz.New(stores[i], opts)
		assert.NilError(t, err)
	}
	return stores, platforms
}

// raceLimit is the budget of the race, in tokens and thousandths of a dollar.
const raceRuns, raceLimit = 64, 10_000

// TestManyRunsNeverOverspend lets 64 runs spend one budget at once, by two
// platforms, until it is used up. At no moment may more be spent than the
// limit, in the end as little as one call less than fits may be left, and the
// sums must be those of the logs.
func TestManyRunsNeverOverspend(t *testing.T) {
	for _, kind := range []string{"sqlite", "postgresql"} {
		t.Run(kind, func(t *testing.T) {
			stores, platforms := replicas(t, kind)
			c := people(t, platforms[0])
			var all sync.WaitGroup
			var ids []task.ID
			for i := range raceRuns {
				run := submit(t, c["bob"], oz.Request{Prompt: fmt.Sprint(i)})
				ids = append(ids, run.ID)
				exec := task.NewExecutionID()
				token, hash := task.NewToken(exec)
				for _, cmd := range []task.Command{task.Offer{Execution: exec, Worker: "w", TokenHash: hash, LeaseUntil: time.Now().Add(time.Hour)}, task.Begin{Execution: exec}} {
					_, err := stores[0].Do(t.Context(), run.ID, cmd)
					assert.NilError(t, err)
				}
				asks, reports := linkOf(t, platforms[i%2], token), linkOf(t, platforms[(i/2)%2], token)
				all.Go(func() { spendUntilRefused(t, asks, reports, stores[i%2]) })
			}
			all.Wait()
			total := logged(t, stores[1], ids)
			spent, err := stores[0].Spent(t.Context(), red, time.Time{})
			assert.NilError(t, err)
			assert.DeepEqual(t, spent, total, cmp.Options{cmpopts.EquateApprox(0, 1e-9)})
			assert.Assert(t, spent.Tokens <= raceLimit && spent.Tokens > raceLimit-maxCall, "%d of %d", spent.Tokens, raceLimit)
			assert.Equal(t, status(t, c["ann"], red).Reserved, task.Spending{}, "all was settled")
		})
	}
}

// maxCall is what a call of the race reserves, in tokens.
const maxCall = 100

// spendUntilRefused makes calls that use up to what they reserve.
func spendUntilRefused(t *testing.T, asks, reports executor.Link, store task.Store) {
	random := rand.New(rand.NewPCG(1, 2))
	offset := int64(0)
	for call := 0; ; {
		name := fmt.Sprint(call)
		got, err := asks.Reserve(t.Context(), want(name, maxCall, maxCall/1000.0))
		if task.CodeOf(err) == task.CodeBudgetExceeded {
			return
		}
		if !assert.Check(t, err) {
			return
		}
		if got.WaitMS > 0 {
			continue
		}
		tokens := int64(maxCall)
		if random.IntN(2) == 0 {
			tokens = random.Int64N(maxCall) + 1
		}
		if !assert.Check(t, reports.Append(t.Context(), offset, used(name, tokens, float64(tokens)/1000))) {
			return
		}
		offset++
		call++
		spent, err := store.Spent(context.WithoutCancel(t.Context()), red, time.Time{})
		assert.Check(t, err)
		assert.Check(t, spent.Tokens <= raceLimit, "%d are spent of %d", spent.Tokens, raceLimit)
	}
}

// logged adds up the usage events of runs.
func logged(t *testing.T, store task.Store, ids []task.ID) (s task.Spending) {
	for _, id := range ids {
		for after := int64(0); ; {
			page, err := store.Events(t.Context(), id, after, 100)
			assert.NilError(t, err)
			if len(page) == 0 {
				break
			}
			for _, e := range page {
				after = e.Seq
				if r, ok := e.Payload.(*task.UsageReport); ok {
					s.Tokens += r.Tokens.Total()
					s.USD += r.Cost.Total()
				}
			}
		}
	}
	return s
}

// movable is a clock that a test sets.
type movable struct{ ahead time.Duration }

func (m *movable) Now() time.Time                         { return time.Now().Add(m.ahead) }
func (m *movable) After(d time.Duration) <-chan time.Time { return time.After(d) }

// TestBudgetOfAnotherReplica: the first budget of a scope holds at once where it
// is set, and elsewhere a second later at most, whatever happens to the clock;
// changes of it hold everywhere at once.
func TestBudgetOfAnotherReplica(t *testing.T) {
	for _, moved := range []time.Duration{time.Second, time.Hour, -time.Hour} {
		t.Run(fmt.Sprint(moved), func(t *testing.T) {
			here, store := newPlatform(t, nil)
			c := people(t, here)
			clock := &movable{}
			there, err := oz.New(store, &oz.Options{Clock: clock})
			assert.NilError(t, err)
			run := submit(t, c["bob"], oz.Request{Prompt: "x"})
			other := submit(t, c["bob"], oz.Request{Prompt: "x"})
			l, _ := at(t, store, there, run.ID)
			granted(t, l, want("0", 400, 0), 0)
			same, _ := at(t, store, here, other.ID)
			granted(t, same, want("1", 400, 0), 0)

			put(t, c["ann"], oz.Budget{Scope: red, LimitTokens: ptr(int64(1000))})
			granted(t, same, want("2", 400, 0), 1)
			clock.ahead = moved
			granted(t, l, want("3", 400, 0), 1)
			put(t, c["ann"], oz.Budget{Scope: red, LimitTokens: ptr(int64(300))})
			_, err = l.Reserve(t.Context(), want("4", 400, 0))
			exceeded(t, err, `team "red"`)
		})
	}
}
