package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"
	"pgregory.net/rapid"

	"github.com/oz-platform/cloudagents/task"
)

var statsCases = []testCase{
	{name: "NothingYet", run: statsNothing},
	{name: "OfOneRun", run: statsOne},
	{name: "FollowsTheRun", run: statsFollows},
	{name: "AreThoseOfTheRuns", run: statsNaive},
	{name: "ManyRunsAtOnce", run: statsMany},
	{name: "Reopen", run: statsReopen, reopens: true},
	{name: "BadQuery", run: statsBad},
}

// statsDay is a query for all that a case makes.
func statsDay(change func(*task.StatsQuery)) task.StatsQuery {
	q := task.StatsQuery{From: start, To: start.Add(24 * time.Hour)}
	if change != nil {
		change(&q)
	}
	return q
}

func (f *fixture) stats(q task.StatsQuery) task.StatsReport {
	f.Helper()
	r, err := f.s.RunStats(f.ctx(), q)
	assert.NilError(f, err, "%+v", q)
	return r
}

func statsNothing(f *fixture) {
	f.create(nil)
	f.working(nil)
	assert.DeepEqual(f, f.stats(statsDay(nil)), task.StatsReport{}, nearly)
	got := f.stats(statsDay(func(q *task.StatsQuery) {
		q.Group, q.Bounds = task.StatsBySource, []time.Time{start, start.Add(time.Hour)}
		q.Viewer, q.Owners = &task.Viewer{}, []task.Scope{}
	}))
	assert.DeepEqual(f, got, task.StatsReport{Buckets: make([]task.RunStats, 2)}, nearly)
}

func statsOne(f *fixture) {
	t, x := f.working(func(c *task.Creation) {
		c.Spec.Executor = task.Principal{Type: task.PrincipalServiceAccount, UID: "bot"}
		c.Spec.Config = task.Config{EnvironmentID: "env", ModelID: "ignored", Harness: &task.HarnessConfig{Type: "claude", ModelID: "opus"}}
		c.From = task.SourceSlack
	})
	f.do(t.ID, task.Append{Execution: x, Events: []task.Event{call("opus", 10, 1, 0.5)}},
		task.End{Execution: x, State: task.StateFailed, Status: task.Status{Message: "no", ErrorCode: task.CodeEnvironmentSetupFailed}})
	h := f.get(t.ID)
	one := func(d time.Duration) task.Spread { return task.Spread{Count: 1, P50: d, P95: d, Max: d, Total: d} }
	want := task.RunStats{Runs: 1, Failed: 1, Failures: []task.CodeCount{{Code: task.CodeEnvironmentSetupFailed, Count: 1}}, CostUSD: 0.5,
		RunTime: one(h.RunTime), QueueTime: one(h.StartedAt.Sub(h.CreatedAt))}
	keys := map[task.StatsGroup]string{task.StatsByAgent: "bot", task.StatsBySource: "SLACK", task.StatsByEnvironment: "env", task.StatsByCreator: "ada",
		task.StatsByHarness: "claude", task.StatsByModel: "opus"}
	for _, g := range task.StatsGroups() {
		got := f.stats(statsDay(func(q *task.StatsQuery) { q.Group, q.Where = g, map[task.StatsGroup]string{g: keys[g]} }))
		assert.DeepEqual(f, got, task.StatsReport{Total: want, Groups: []task.StatsRow{{Key: keys[g], Stats: want}}}, nearly)
		none := f.stats(statsDay(func(q *task.StatsQuery) { q.Group, q.Where = g, map[task.StatsGroup]string{g: "another"} }))
		assert.DeepEqual(f, none, task.StatsReport{}, nearly)
	}
}

// statsFollows takes a run through ends: it counts while it has one.
func statsFollows(f *fixture) {
	t, x := f.working(nil)
	total := func() task.RunStats { return f.stats(statsDay(nil)).Total }
	f.finish(t.ID, x, task.StateBlocked)
	assert.Equal(f, total().Blocked, int64(1))
	f.do(t.ID, task.AddInput{Input: task.Input{Text: "go on"}})
	assert.DeepEqual(f, total(), task.RunStats{}, nearly)
	x = task.NewExecutionID()
	f.do(t.ID, offer(x), task.Begin{Execution: x})
	assert.DeepEqual(f, total(), task.RunStats{}, nearly)
	f.finish(t.ID, x, task.StateSucceeded)
	got := total()
	assert.Equal(f, got.Runs, int64(1))
	assert.Equal(f, got.Succeeded, int64(1))
	assert.Equal(f, got.RunTime.Total, f.get(t.ID).RunTime)

	// A run that never began has no times; one that is hidden later counts no more for others.
	never := f.create(nil)
	f.do(never.ID, task.Cancel{Reason: "never mind"})
	assert.Equal(f, total().Cancelled, int64(1))
	assert.Equal(f, total().QueueTime.Count, int64(1))
	q := statsDay(func(q *task.StatsQuery) {
		q.Viewer = &task.Viewer{UID: "bob", Owners: []task.Scope{t.Owner}, Grantees: []task.Scope{t.Owner}}
	})
	assert.Equal(f, f.stats(q).Total.Runs, int64(2))
	f.do(never.ID, task.Share{Sharing: task.Sharing{Visibility: task.VisibilityPrivate}})
	assert.Equal(f, f.stats(q).Total.Runs, int64(1))
	f.do(never.ID, task.Share{Sharing: task.Sharing{Visibility: task.VisibilityPrivate, Grants: []task.Grant{{To: t.Owner, Role: task.RoleViewer}}}})
	assert.Equal(f, f.stats(q).Total.Runs, int64(2))
	assert.Equal(f, total().Runs, int64(2))
}

// naiveStats is the meaning of a query, computed run by run.
func naiveStats(q task.StatsQuery, everything []task.Task) task.StatsReport {
	key := func(g task.StatsGroup, t task.Task) string {
		switch g {
		case task.StatsByAgent:
			if t.Executor.Type == task.PrincipalServiceAccount {
				return t.Executor.UID
			}
			return ""
		case task.StatsBySource:
			return string(t.Source)
		case task.StatsByEnvironment:
			return t.Config.EnvironmentID
		case task.StatsByCreator:
			return t.Creator.UID
		case task.StatsByHarness:
			return t.Config.HarnessType()
		}
		_, model := t.Config.ModelAsked()
		return model
	}
	groups, buckets := map[string][]task.Task{}, make([][]task.Task, len(q.Bounds))
	var all []task.Task
	bucket := func(t task.Task) (i int) {
		for i+1 < len(q.Bounds) && !t.CreatedAt.Before(q.Bounds[i+1]) {
			i++
		}
		return i
	}
	for _, t := range everything {
		ok := t.State.Ended() && !t.CreatedAt.Before(q.From) && t.CreatedAt.Before(q.To) &&
			(q.Owners == nil || slices.Contains(q.Owners, t.Owner)) && (q.Viewer == nil || q.Viewer.Sees(t))
		for g, want := range q.Where {
			ok = ok && key(g, t) == want
		}
		if !ok {
			continue
		}
		all = append(all, t)
		if q.Group != "" {
			groups[key(q.Group, t)] = append(groups[key(q.Group, t)], t)
		}
		if len(q.Bounds) > 0 {
			buckets[bucket(t)] = append(buckets[bucket(t)], t)
		}
	}
	r := task.StatsReport{Total: naiveSum(all), Truncated: len(groups) > q.Limit}
	for _, b := range buckets {
		r.Buckets = append(r.Buckets, naiveSum(b))
	}
	names := slices.SortedFunc(maps.Keys(groups), func(a, b string) int { return cmp.Or(len(groups[b])-len(groups[a]), cmp.Compare(a, b)) })
	for _, name := range names[:min(len(names), q.Limit)] {
		row := task.StatsRow{Key: name, Stats: naiveSum(groups[name]), Buckets: map[int]task.RunStats{}}
		for i := range q.Bounds {
			if in := slices.DeleteFunc(slices.Clone(groups[name]), func(t task.Task) bool { return bucket(t) != i }); len(in) > 0 {
				row.Buckets[i] = naiveSum(in)
			}
		}
		r.Groups = append(r.Groups, row)
	}
	return r
}

func naiveSum(runs []task.Task) (r task.RunStats) {
	var queued, worked []time.Duration
	codes := map[task.Code]int64{}
	for _, t := range runs {
		r.Runs++
		*map[task.State]*int64{task.StateSucceeded: &r.Succeeded, task.StateFailed: &r.Failed, task.StateError: &r.Errors,
			task.StateBlocked: &r.Blocked, task.StateCancelled: &r.Cancelled}[t.State]++
		if t.State == task.StateFailed || t.State == task.StateError {
			codes[t.Status.ErrorCode]++
		}
		usd, complete := t.Usage.USD()
		r.CostUSD, r.Unpriced = r.CostUSD+usd, r.Unpriced || !complete
		if !t.StartedAt.IsZero() {
			queued, worked = append(queued, max(0, t.StartedAt.Sub(t.CreatedAt))), append(worked, t.RunTime)
		}
	}
	spread := func(d []time.Duration) (s task.Spread) {
		if len(d) == 0 {
			return s
		}
		slices.Sort(d)
		for _, v := range d {
			s.Total += v
		}
		at := func(percent int) time.Duration { // the smallest that enough do not exceed
			for i, v := range d {
				if (i+1)*100 >= percent*len(d) {
					return v
				}
			}
			return 0
		}
		s.Count, s.P50, s.P95, s.Max = int64(len(d)), at(50), at(95), d[len(d)-1]
		return s
	}
	r.QueueTime, r.RunTime = spread(queued), spread(worked)
	for code, n := range codes {
		r.Failures = append(r.Failures, task.CodeCount{Code: code, Count: n})
	}
	slices.SortFunc(r.Failures, func(a, b task.CodeCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code))
	})
	return r
}

// lived makes a run with a life of its own, drawn at random.
func (f *fixture) lived(rt *rapid.T) {
	pick := func(values ...string) string { return rapid.SampledFrom(values).Draw(rt, "value") }
	c := creation(func(c *task.Creation) {
		c.Now = start.Add(time.Duration(rapid.Int64Range(0, int64(10*time.Hour)).Draw(rt, "created")))
		c.From = task.Source(pick("API", "CLI", "SLACK"))
		c.Spec.Owner = task.Scope{Type: task.ScopeType(pick("Team", "User")), UID: pick("o1", "o2", "ada", "bob")}
		c.Spec.Creator = task.Principal{Type: task.PrincipalUser, UID: pick("ada", "bob", "")}
		c.Spec.Executor = task.Principal{Type: task.PrincipalType(pick("user", "service_account")), UID: pick("ada", "bot", "hand")}
		c.Spec.Config = task.Config{EnvironmentID: pick("", "e1", "e2"), ModelID: pick("", "m1", "m2")}
		if h := pick("", "", "oz", "claude"); h != "" {
			c.Spec.Config.Harness = &task.HarnessConfig{Type: h, ModelID: pick("", "h1")}
		}
	})
	_, _, err := f.s.Create(f.ctx(), c)
	assert.NilError(f, err)
	for range rapid.IntRange(0, 3).Draw(rt, "rounds") {
		if rapid.IntRange(0, 9).Draw(rt, "cancel") == 0 {
			f.do(c.ID, task.Cancel{})
		} else {
			x := task.NewExecutionID()
			f.do(c.ID, offer(x), task.Begin{Execution: x}, task.Append{Execution: x, Events: []task.Event{call("m", 1, 1, rapid.Float64Range(0, 9).Draw(rt, "cost"))}})
			if rapid.Bool().Draw(rt, "stays") {
				break
			}
			end := task.End{Execution: x, State: task.State(pick("SUCCEEDED", "SUCCEEDED", "FAILED", "ERROR", "BLOCKED")), SeenInput: f.get(c.ID).LastInput}
			if end.State == task.StateFailed || end.State == task.StateError {
				end.Status.ErrorCode = task.Code(pick("", string(task.CodeInternal), string(task.CodeEnvironmentSetupFailed)))
			}
			f.do(c.ID, end)
		}
		if rapid.Bool().Draw(rt, "rests") {
			break
		}
		f.do(c.ID, task.AddInput{Input: task.Input{Text: "more"}})
	}
	for _, command := range sharings(rapid.IntRange(0, 13).Draw(rt, "sharing")) {
		f.do(c.ID, command)
	}
}

// statsNaive compares the statistics with the naive computation over runs with
// random lives, for random queries.
func statsNaive(f *fixture) {
	rounds := 0
	rapid.Check(f, func(rt *rapid.T) {
		if rounds++; rounds <= 20 {
			for range 8 {
				f.lived(rt)
			}
		}
		everything := f.all(task.Query{Limit: 200})
		for range 5 {
			q := randomStats(rt)
			got := f.stats(q)
			assert.NilError(rt, q.Validate())
			if diff := gocmp.Diff(got, naiveStats(q, everything), nearly); diff != "" {
				rt.Fatalf("%+v:\n%s", q, diff)
			}
		}
	})
}

func randomStats(rt *rapid.T) task.StatsQuery {
	hours := func(name string, lo, hi int) time.Duration {
		return time.Duration(rapid.IntRange(lo, hi).Draw(rt, name)) * time.Hour
	}
	q := task.StatsQuery{From: start.Add(hours("from", -1, 5))}
	q.To = q.From.Add(hours("time", 1, 12))
	q.Group = rapid.SampledFrom(append(task.StatsGroups(), "")).Draw(rt, "group")
	q.Limit = rapid.IntRange(0, 3).Draw(rt, "limit")
	if step := hours("step", 0, 4); step > 0 {
		for at := q.From; at.Before(q.To); at = at.Add(step) {
			q.Bounds = append(q.Bounds, at)
		}
	}
	if rapid.Bool().Draw(rt, "filtered") {
		g := rapid.SampledFrom(task.StatsGroups()).Draw(rt, "filter")
		q.Where = map[task.StatsGroup]string{g: rapid.SampledFrom([]string{"", "bot", "ada", "CLI", "e1", "oz", "claude", "m1", "h1"}).Draw(rt, "value")}
	}
	if rapid.Bool().Draw(rt, "viewed") {
		all := viewers()
		q.Viewer = all[rapid.SampledFrom(slices.Sorted(maps.Keys(all))).Draw(rt, "viewer")]
	}
	if rapid.IntRange(0, 3).Draw(rt, "owned") == 0 {
		q.Owners = []task.Scope{{Type: task.ScopeTeam, UID: "o1"}, {Type: task.ScopeUser, UID: "ada"}}
	}
	return q
}

// statsMany ends many runs at once, of which many share a place in the store.
func statsMany(f *fixture) {
	const runs = 150
	ids, execs := make([]task.ID, runs), make([]task.ExecutionID, runs)
	for i := range runs {
		t, x := f.working(nil)
		ids[i], execs[i] = t.ID, x
	}
	failed := make(chan error, runs)
	for i := range runs {
		go func() {
			state := []task.State{task.StateSucceeded, task.StateFailed, task.StateBlocked}[i%3]
			_, err := f.s.Do(f.ctx(), ids[i], task.End{Execution: execs[i], State: state, SeenInput: 2})
			failed <- err
		}()
	}
	for range runs {
		assert.NilError(f, <-failed)
	}
	got := f.stats(statsDay(func(q *task.StatsQuery) { q.Group = task.StatsByCreator }))
	assert.DeepEqual(f, got, naiveStats(task.StatsQuery{From: start, To: start.Add(time.Hour), Group: task.StatsByCreator, Limit: 1}, f.all(task.Query{Limit: 500})), nearly)
	assert.Equal(f, got.Total.Runs, int64(runs))
}

func statsReopen(f *fixture) {
	for i := range 70 { // more than one row of a store that packs them
		t, x := f.working(func(c *task.Creation) { c.Spec.Config.ModelID = fmt.Sprint("m", i%3) })
		f.finish(t.ID, x, task.StateSucceeded)
	}
	q := statsDay(func(q *task.StatsQuery) { q.Group = task.StatsByModel })
	before := f.stats(q)
	f.reopen()
	assert.DeepEqual(f, f.stats(q), before)
	t, x := f.working(func(c *task.Creation) { c.Spec.Config.ModelID = "m0" })
	f.finish(t.ID, x, task.StateSucceeded)
	assert.Equal(f, f.stats(q).Total.Runs, int64(71))
	assert.Equal(f, f.stats(q).Groups[0].Stats.Runs, int64(25))
}

func statsBad(f *fixture) {
	many := make([]time.Time, task.MaxStatsBuckets+1)
	for i := range many {
		many[i] = start.Add(time.Duration(i))
	}
	for field, change := range map[string]func(*task.StatsQuery){
		"to":       func(q *task.StatsQuery) { q.To = q.From },
		"group_by": func(q *task.StatsQuery) { q.Group = "owner" },
		"where":    func(q *task.StatsQuery) { q.Where = map[task.StatsGroup]string{"title": "x"} },
		"limit":    func(q *task.StatsQuery) { q.Limit = task.MaxStatsGroups + 1 },
		"bucket":   func(q *task.StatsQuery) { q.Bounds = []time.Time{start.Add(1)} },
	} {
		_, err := f.s.RunStats(f.ctx(), statsDay(change))
		assert.ErrorIs(f, err, task.ErrInvalid, field)
		assert.ErrorContains(f, err, field)
	}
	for _, bounds := range [][]time.Time{{start, start}, {start, start.Add(24 * time.Hour)}, many} {
		_, err := f.s.RunStats(f.ctx(), statsDay(func(q *task.StatsQuery) { q.Bounds = bounds }))
		assert.ErrorContains(f, err, "bucket")
	}
	_, err := f.s.RunStats(f.ctx(), task.StatsQuery{To: start})
	assert.ErrorContains(f, err, "to")
}
