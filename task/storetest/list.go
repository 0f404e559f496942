package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"gotest.tools/v3/assert"
	"pgregory.net/rapid"

	"github.com/oz-platform/cloudagents/task"
)

var listCases = []testCase{
	{name: "Empty", run: listEmpty},
	{name: "BadQueries", run: listBad},
	{name: "SortAndPages", run: listSorts},
	{name: "Filters", run: listFilters},
	{name: "FiltersCombined", run: listCombined},
	{name: "Text", run: listText},
	{name: "FollowsSharing", run: listShared},
	{name: "FollowsChanges", run: listFollows},
	{name: "PagesWhileRunsChange", run: listWhileChanging},
}

func (f *fixture) list(q task.Query) task.Page {
	f.Helper()
	page, err := f.s.List(f.ctx(), q)
	assert.NilError(f, err, "%+v", q)
	return page
}

// all reads a whole list in pages and checks what holds for every list: full
// pages but the last, nothing twice, in order.
func (f *fixture) all(q task.Query) (out []task.Task) {
	f.Helper()
	seen := map[task.ID]bool{}
	for {
		page := f.list(q)
		for _, t := range page.Tasks {
			assert.Assert(f, !seen[t.ID], "run %s twice with %+v", t.ID, q)
			seen[t.ID] = true
			out = append(out, t)
		}
		if page.Next == nil {
			break
		}
		assert.Equal(f, len(page.Tasks), cmp.Or(q.Limit, task.DefaultPageSize), "a page that is not the last is full")
		next, err := task.ParseCursor(page.Next.String(), cmp.Or(q.Sort, task.SortUpdatedAt), q.Asc) // over the wire and back
		assert.NilError(f, err)
		q.After = next
	}
	f.inOrder(q, out)
	return out
}

func (f *fixture) inOrder(q task.Query, tasks []task.Task) {
	f.Helper()
	for i := 1; i < len(tasks); i++ {
		assert.Assert(f, compare(q, tasks[i-1], tasks[i]) <= 0, "order %s asc=%v breaks at %d", q.Sort, q.Asc, i)
	}
}

// compare gives the order of two runs in a list.
func compare(q task.Query, a, b task.Task) int {
	c := 0
	switch q.Sort {
	case task.SortCreatedAt:
		c = a.CreatedAt.Compare(b.CreatedAt)
	case task.SortTitle:
		c = cmp.Compare(a.Title, b.Title)
	case task.SortAgent:
		if x, y := a.Config.SkillSpec, b.Config.SkillSpec; x == "" || y == "" {
			return cmp.Compare(boolInt(x == ""), boolInt(y == "")) // without one: last in either direction
		}
		c = cmp.Compare(a.Config.SkillSpec, b.Config.SkillSpec)
	default:
		c = a.UpdatedAt.Compare(b.UpdatedAt)
	}
	if !q.Asc {
		return -c
	}
	return c
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func listEmpty(f *fixture) {
	page := f.list(task.Query{})
	assert.Equal(f, len(page.Tasks), 0)
	assert.Assert(f, page.Next == nil)
}

func listBad(f *fixture) {
	t := f.create(nil)
	cursor := &task.Cursor{Sort: task.SortTitle, ID: t.ID}
	for _, q := range []task.Query{{Limit: -1}, {Limit: task.MaxPageSize + 1}, {Sort: "id"}, {States: []task.State{"DONE"}}, {Source: "X"}, {Where: "X"},
		{ArtifactType: "X"}, {Metadata: map[string]string{"a": "", "b": "", "c": "", "d": "", "e": "", "f": ""}},
		{After: cursor}, {After: cursor, Sort: task.SortTitle, Asc: true}} {
		_, err := f.s.List(f.ctx(), q)
		assert.ErrorIs(f, err, task.ErrInvalid, "%+v", q)
	}
	for range task.DefaultPageSize {
		f.create(nil)
	}
	assert.Equal(f, len(f.list(task.Query{}).Tasks), task.DefaultPageSize)
}

var sortKeys = []task.SortKey{"", task.SortUpdatedAt, task.SortCreatedAt, task.SortTitle, task.SortAgent}

// population makes runs of every kind: all states, several owners, people,
// sources and so on, ties in every sort key, and trees.
func (f *fixture) population(n int) (tasks []task.Task) {
	f.Helper()
	var ids []task.ID
	for i := range n {
		pick := func(every int, values ...string) string { return values[(i/every)%len(values)] }
		parent := task.ID("")
		if i%4 == 3 {
			parent = ids[(i*7)%len(ids)]
		}
		var commands []task.Command
		x := task.NewExecutionID()
		where := task.Location(pick(1, "REMOTE", "REMOTE", "LOCAL", "REMOTE", "REMOTE"))
		steps := []task.Command{offer(x), task.Accept{Execution: x, LeaseUntil: start}, task.Begin{Execution: x}}
		commands = append(commands, steps[:min(i%8, 3)]...)
		if i%8 > 3 {
			if i%3 == 0 {
				a := task.Artifact{UID: "a", Type: task.ArtifactType(pick(3, "PLAN", "FILE", "SCREENSHOT")), CreatedAt: start}
				commands = append(commands, task.Append{Execution: x, Events: []task.Event{{Payload: &task.ArtifactReported{Artifact: a}}}})
			}
			end := []task.State{task.StateSucceeded, task.StateFailed, task.StateBlocked, task.StateError}[i%8-4]
			commands = append(commands, task.End{Execution: x, State: end, SeenInput: 2})
		}
		commands = append(commands, sharings(i)...)
		metadata := map[string]string{"n": fmt.Sprint(i % 3), "shared": "yes"}
		if i%5 == 0 {
			metadata["schedule_id"] = "s" + fmt.Sprint(i%2)
		}
		t := f.create(func(c *task.Creation) {
			c.Now = start.Add(time.Duration(i/2) * time.Nanosecond)
			c.Where, c.From, c.Commands = where, task.Source(pick(1, "API", "CLI", "SLACK")), commands
			c.Spec = task.Spec{
				Title: pick(3, "Mend", "mend", "Zebra", "", "Äpfel"), Prompt: "prompt " + fmt.Sprint(i),
				Owner:   task.Scope{Type: task.ScopeType(pick(1, "Team", "User")), UID: pick(2, "o1", "o2", "o3")},
				Creator: task.Principal{UID: pick(1, "ada", "bob", "")}, Executor: task.Principal{UID: pick(2, "ada", "bot")},
				Config: task.Config{Name: pick(1, "", "n1", "n2"), ModelID: pick(3, "m1", "m2", ""), EnvironmentID: pick(2, "", "e1", "e2"),
					SkillSpec: pick(1, "", "k1", "k1", "k2", "")},
				ParentID: parent, Metadata: metadata,
			}
		})
		ids = append(ids, t.ID)
	}
	for _, id := range ids {
		tasks = append(tasks, f.get(id))
	}
	return tasks
}

// sharings are how the population's run i is shared, most not at all.
func sharings(i int) []task.Command {
	grant := func(t task.ScopeType, uid string) task.Grant {
		return task.Grant{To: task.Scope{Type: t, UID: uid}, Role: task.RoleViewer}
	}
	switch i % 7 {
	case 1:
		return []task.Command{task.Share{Sharing: task.Sharing{Visibility: task.VisibilityPrivate}}}
	case 3:
		return []task.Command{task.Share{Sharing: task.Sharing{Visibility: task.VisibilityLink, Grants: []task.Grant{grant(task.ScopeTeam, "o3"), grant(task.ScopeUser, "ada")}}}}
	case 5:
		return []task.Command{task.Share{Sharing: task.Sharing{Visibility: task.VisibilityPrivate, Grants: []task.Grant{grant(task.ScopeTeam, "o1")}}}}
	}
	return nil
}

// viewers are those whose lists are read: a member, a leader, somebody on two
// teams, and one who sees only what was shared.
func viewers() map[string]*task.Viewer {
	team := func(uid string) task.Scope { return task.Scope{Type: task.ScopeTeam, UID: uid} }
	user := func(uid string) task.Scope { return task.Scope{Type: task.ScopeUser, UID: uid} }
	viewer := func(uid string, leads []task.Scope, owners ...task.Scope) *task.Viewer {
		return &task.Viewer{UID: uid, Owners: owners, Leads: leads, Grantees: owners}
	}
	return map[string]*task.Viewer{
		"member":     viewer("bob", nil, user("bob"), team("o1")),
		"leader":     viewer("bob", []task.Scope{team("o1")}, user("bob"), team("o1")),
		"two teams":  viewer("ada", []task.Scope{team("o2"), user("ada")}, user("ada"), team("o1"), team("o2"), team("o1")),
		"no creator": viewer("", nil, team("o2")),
		"guest":      viewer("ada", nil, user("ada")),
	}
}

func listSorts(f *fixture) {
	everything := f.population(50)
	want := sorted(idsOf(everything))
	byID := map[task.ID]task.Task{}
	for _, t := range everything {
		byID[t.ID] = t
	}
	for _, sort := range sortKeys {
		for _, asc := range []bool{false, true} {
			for _, limit := range []int{1, 7, 25, 50, 51} {
				got := f.all(task.Query{Sort: sort, Asc: asc, Limit: limit})
				assert.DeepEqual(f, sorted(idsOf(got)), want)
				for _, t := range got {
					assert.DeepEqual(f, t, byID[t.ID])
				}
			}
		}
	}
}

// matches is the meaning of a query's filters, but for Text.
func matches(q task.Query, t task.Task, byID map[task.ID]task.Task) bool {
	equal := func(want, has string) bool { return want == "" || want == has }
	env := t.Config.EnvironmentID
	ok := equal(q.Name, t.Config.Name) && equal(q.ModelID, t.Config.ModelID) && equal(q.CreatorUID, t.Creator.UID) &&
		equal(q.ExecutorUID, t.Executor.UID) && equal(string(q.Source), string(t.Source)) && equal(string(q.Where), string(t.Where)) &&
		equal(q.Skill, t.Config.SkillSpec) && equal(q.ScheduleID, t.Metadata["schedule_id"])
	ok = ok && (equal(q.EnvironmentID, env) || (q.EnvironmentID == task.EmptyEnvironment && env == ""))
	ok = ok && (q.Viewer == nil || q.Viewer.Sees(t))
	ok = ok && (q.Owners == nil || slices.Contains(q.Owners, t.Owner)) && (len(q.States) == 0 || slices.Contains(q.States, t.State))
	ok = ok && (q.CreatedAfter.IsZero() || t.CreatedAt.After(q.CreatedAfter)) && (q.CreatedBefore.IsZero() || t.CreatedAt.Before(q.CreatedBefore))
	ok = ok && (q.UpdatedAfter.IsZero() || t.UpdatedAt.After(q.UpdatedAfter))
	for k, v := range q.Metadata {
		has, there := t.Metadata[k]
		ok = ok && there && has == v
	}
	if q.ArtifactType != "" {
		ok = ok && slices.ContainsFunc(t.Artifacts, func(a task.Artifact) bool { return a.Type == q.ArtifactType })
	}
	return ok && (q.AncestorID == "" || descends(t, q.AncestorID, byID))
}

func descends(t task.Task, from task.ID, byID map[task.ID]task.Task) bool {
	for t.ParentID != "" {
		if t.ParentID == from {
			return true
		}
		t = byID[t.ParentID]
	}
	return false
}

// checkQuery compares a list with the model.
func (f *fixture) checkQuery(q task.Query, everything []task.Task) (found int) {
	f.Helper()
	byID := map[task.ID]task.Task{}
	for _, t := range everything {
		byID[t.ID] = t
	}
	want := []task.ID{}
	for _, t := range everything {
		if matches(q, t, byID) {
			want = append(want, t.ID)
		}
	}
	got := sorted(append([]task.ID{}, idsOf(f.all(q))...))
	assert.Check(f, slices.Equal(got, sorted(want)), "%+v finds %d runs, want %d", q, len(got), len(want))
	return len(want)
}

// singles has one query for every filter, with values that find some.
func singles(everything []task.Task) map[string]task.Query {
	mid := everything[len(everything)/2]
	who := viewers()
	return map[string]task.Query{
		"member":           {Viewer: who["member"]},
		"leader":           {Viewer: who["leader"]},
		"two teams":        {Viewer: who["two teams"]},
		"no creator":       {Viewer: who["no creator"]},
		"guest":            {Viewer: who["guest"]},
		"guest of a team":  {Viewer: who["guest"], Owners: []task.Scope{{Type: task.ScopeTeam, UID: "o2"}, {Type: task.ScopeUser, UID: "o3"}}},
		"viewer and state": {Viewer: who["two teams"], States: []task.State{task.StateSucceeded, task.StateInProgress, task.StateQueued}},
		"owner":            {Owners: []task.Scope{{Type: task.ScopeTeam, UID: "o1"}}},
		"owners":           {Owners: []task.Scope{{Type: task.ScopeTeam, UID: "o1"}, {Type: task.ScopeUser, UID: "o2"}, {Type: task.ScopeTeam, UID: "o1"}}},
		"state":            {States: []task.State{task.StateSucceeded}},
		"live state":       {States: []task.State{task.StateInProgress}},
		"states":           {States: []task.State{task.StateFailed, task.StateQueued, task.StatePending, task.StateFailed}},
		"every state":      {States: task.States()},
		"name":             {Name: "n1"},
		"model":            {ModelID: "m1"},
		"creator":          {CreatorUID: "ada"},
		"executor":         {ExecutorUID: "bot"},
		"source":           {Source: task.SourceSlack},
		"where":            {Where: task.LocationLocal},
		"created after":    {CreatedAfter: mid.CreatedAt},
		"created before":   {CreatedBefore: mid.CreatedAt},
		"updated after":    {UpdatedAfter: mid.UpdatedAt},
		"environment":      {EnvironmentID: "e1"},
		"no environment":   {EnvironmentID: task.EmptyEnvironment},
		"skill":            {Skill: "k1"},
		"schedule":         {ScheduleID: "s0"},
		"ancestor":         {AncestorID: everything[0].ID},
		"artifact":         {ArtifactType: task.ArtifactFile},
		"metadata":         {Metadata: map[string]string{"n": "1"}},
		"metadata pairs":   {Metadata: map[string]string{"n": "2", "shared": "yes"}},
		"owner and state":  {Owners: []task.Scope{{Type: task.ScopeTeam, UID: "o1"}}, States: []task.State{task.StateSucceeded}},
		"owners and state": {Owners: []task.Scope{{Type: task.ScopeTeam, UID: "o1"}, {Type: task.ScopeUser, UID: "o1"}}, States: []task.State{task.StateQueued, task.StateError}},
	}
}

func listFilters(f *fixture) {
	everything := f.population(80)
	for name, q := range singles(everything) {
		for _, sort := range sortKeys {
			q.Sort, q.Asc, q.Limit = sort, !q.Asc, 7
			n := f.checkQuery(q, everything)
			assert.Assert(f, n > 0 && (n < len(everything) || name == "every state"), "%s finds %d: the case shows nothing", name, n)
		}
	}
	for name, q := range map[string]task.Query{
		"owners": {Owners: []task.Scope{}}, "name": {Name: "none"}, "ancestor": {AncestorID: newID()}, "leaf": {AncestorID: everything[len(everything)-1].ID},
		"metadata key": {Metadata: map[string]string{"none": ""}}, "metadata value": {Metadata: map[string]string{"shared": "no"}},
		"artifact": {ArtifactType: task.ArtifactReference}, "skill": {Skill: "K1"}, "created": {CreatedAfter: start, CreatedBefore: start},
	} {
		assert.Equal(f, f.checkQuery(q, everything), 0, name)
	}
}

func listCombined(f *fixture) {
	everything := f.population(60)
	base := singles(everything)
	names := []string{}
	for name := range base {
		names = append(names, name)
	}
	slices.Sort(names)
	rapid.Check(f.T, func(rt *rapid.T) {
		q := task.Query{Sort: rapid.SampledFrom(sortKeys).Draw(rt, "sort"), Asc: rapid.Bool().Draw(rt, "asc"), Limit: rapid.SampledFrom([]int{1, 3, 20, 500}).Draw(rt, "limit")}
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 2, 4, rapid.ID).Draw(rt, "filters") {
			merge(&q, base[name])
		}
		f.checkQuery(q, everything)
	})
}

// merge adds the filters of one query to another.
func merge(q *task.Query, o task.Query) {
	if o.Owners != nil {
		q.Owners = o.Owners
	}
	if o.Viewer != nil {
		q.Viewer = o.Viewer
	}
	if o.States != nil {
		q.States = o.States
	}
	if o.Metadata != nil {
		q.Metadata = o.Metadata
	}
	q.Name, q.ModelID, q.Skill = cmp.Or(q.Name, o.Name), cmp.Or(q.ModelID, o.ModelID), cmp.Or(q.Skill, o.Skill)
	q.CreatorUID, q.ExecutorUID = cmp.Or(q.CreatorUID, o.CreatorUID), cmp.Or(q.ExecutorUID, o.ExecutorUID)
	q.Source, q.Where = cmp.Or(q.Source, o.Source), cmp.Or(q.Where, o.Where)
	q.CreatedAfter, q.CreatedBefore = cmp.Or(q.CreatedAfter, o.CreatedAfter), cmp.Or(q.CreatedBefore, o.CreatedBefore)
	q.UpdatedAfter, q.EnvironmentID = cmp.Or(q.UpdatedAfter, o.UpdatedAfter), cmp.Or(q.EnvironmentID, o.EnvironmentID)
	q.ScheduleID, q.AncestorID, q.ArtifactType = cmp.Or(q.ScheduleID, o.ScheduleID), cmp.Or(q.AncestorID, o.AncestorID), cmp.Or(q.ArtifactType, o.ArtifactType)
}

func listText(f *fixture) {
	texts := map[string]task.Spec{
		"parser": {Title: "Mend the parser", Prompt: "It loses the LAST line of go.mod when a file has no newline."},
		"oauth":  {Title: "OAuth login", Prompt: "Users of ÖBB cannot log in.", Config: task.Config{SkillSpec: "acme/skills:debug/SKILL.md"}},
		"cjk":    {Title: "修复 登录", Prompt: "用户无法登录系统"},
		"blank":  {},
	}
	ids := map[string]task.ID{}
	for name, spec := range texts {
		ids[name] = f.create(func(c *task.Creation) { c.Spec = spec }).ID
	}
	// Words may also be found within others; so only whole words are asked
	// for, and words that are part of none.
	for query, want := range map[string][]string{
		"parser": {"parser"}, "PARSER mend": {"parser"}, "line the last": {"parser"}, "newline parser go": {"parser"}, "parser oauth": nil,
		"oauth": {"oauth"}, "öbb": {"oauth"}, "ÖBB": {"oauth"}, "debug": {"oauth"}, "acme/skills:debug/SKILL.md": {"oauth"},
		"go": {"parser"}, "a": {"parser"}, "in of": {"oauth"}, "登录": {"cjk"}, "修复": {"cjk"}, "xyzzy": nil, "mend xyzzy": nil, "zq": nil,
		"go.mod": {"parser"}, `"parser"`: {"parser"}, "parser*": {"parser"}, "parser OR oauth": nil, "parser AND mend": nil, "NOT parser": nil,
		"-parser": {"parser"}, "title:parser": nil, "": {"parser", "oauth", "cjk", "blank"},
	} {
		wanted := []task.ID{}
		for _, name := range want {
			wanted = append(wanted, ids[name])
		}
		for _, sort := range sortKeys {
			got := sorted(append([]task.ID{}, idsOf(f.all(task.Query{Text: query, Sort: sort, Limit: 2}))...))
			assert.Check(f, slices.Equal(got, sorted(wanted)), "%q finds %d runs, want %v", query, len(got), want)
		}
	}
	assert.Equal(f, len(f.all(task.Query{Text: "parser", Name: "none"})), 0)
	assert.Equal(f, len(f.all(task.Query{Text: "parser", States: []task.State{task.StateQueued}})), 1)
	assert.Equal(f, len(f.list(task.Query{Text: strings.Repeat("word ", 10000)}).Tasks), 0)
}

// listFollows checks that lists show each change at once.
func listFollows(f *fixture) {
	id := f.create(nil).ID
	other := f.create(nil).ID
	x := task.ExecutionID("x")
	for i, c := range []task.Command{offer(x), task.Begin{Execution: x}, task.Append{Execution: x, Events: []task.Event{artifact("a")}},
		task.Release{Execution: x, ReadyAt: start}, offer("y"), task.Begin{Execution: "y"}, task.AddInput{Input: task.Input{Text: "hi"}},
		task.End{Execution: "y", State: task.StateFailed}, task.AddInput{Input: task.Input{Text: "again"}}, task.Cancel{}} {
		before := f.get(id).UpdatedAt
		h := f.do(id, c)
		for _, s := range task.States() {
			found := slices.Contains(idsOf(f.all(task.Query{States: []task.State{s}})), id)
			assert.Equal(f, found, s == h.State, "step %d %T: state %s", i, c, s)
		}
		all := f.all(task.Query{})
		assert.DeepEqual(f, all[0], f.get(id))
		assert.Equal(f, all[1].ID, other)
		assert.Equal(f, len(all), 2)
		if h.UpdatedAt.After(before) {
			assert.DeepEqual(f, idsOf(f.all(task.Query{UpdatedAfter: before.Add(-1), Limit: 1}))[0], id)
		}
		assert.Equal(f, len(f.all(task.Query{UpdatedAfter: h.UpdatedAt})), 0)
		wantArtifact := i >= 2
		assert.Equal(f, len(f.all(task.Query{ArtifactType: task.ArtifactFile})), boolInt(wantArtifact), "step %d", i)
		assert.Equal(f, len(f.all(task.Query{ArtifactType: task.ArtifactFile, Sort: task.SortTitle})), boolInt(wantArtifact))
	}
}

// listShared checks that lists show each change of who may see a run at once,
// whether it works or rests.
func listShared(f *fixture) {
	bob, ada, red := task.Scope{Type: task.ScopeUser, UID: "bob"}, task.Scope{Type: task.ScopeUser, UID: "ada"}, task.Scope{Type: task.ScopeTeam, UID: "red"}
	who := []task.Viewer{
		{UID: "bob", Owners: []task.Scope{bob, red}, Leads: []task.Scope{bob}, Grantees: []task.Scope{bob, red}},
		{UID: "cat", Owners: []task.Scope{red}, Grantees: []task.Scope{red}},
		{UID: "dan", Owners: []task.Scope{red}, Leads: []task.Scope{red}, Grantees: []task.Scope{red}},
		{UID: "ada", Owners: []task.Scope{ada}, Leads: []task.Scope{ada}, Grantees: []task.Scope{ada}},
	}
	made := func(c *task.Creation) {
		c.Spec.Owner, c.Spec.Creator = red, task.Principal{Type: task.PrincipalUser, UID: "bob"}
	}
	id, other := f.create(made).ID, f.create(made).ID
	grant := func(to task.Scope) []task.Grant { return []task.Grant{{To: to, Role: task.RoleEditor}} }
	for i, c := range []task.Command{
		task.Share{Sharing: task.Sharing{Visibility: task.VisibilityPrivate}}, offer("x"), task.Begin{Execution: "x"},
		task.Share{Sharing: task.Sharing{Visibility: task.VisibilityPrivate, Grants: grant(ada)}},
		task.Share{Sharing: task.Sharing{Visibility: task.VisibilityTeam, Grants: grant(ada)}}, task.End{Execution: "x", State: task.StateFailed},
		task.Share{Sharing: task.Sharing{Visibility: task.VisibilityPrivate, Grants: grant(red)}},
		task.Share{Sharing: task.Sharing{Visibility: task.VisibilityLink}}, task.Share{Sharing: task.Sharing{Visibility: task.VisibilityPrivate}}, task.Share{},
	} {
		h := f.do(id, c)
		t := f.get(id)
		assert.DeepEqual(f, t.Sharing, h.Sharing)
		for _, v := range who {
			for _, sort := range sortKeys {
				got := idsOf(f.all(task.Query{Viewer: &v, Sort: sort}))
				assert.Equal(f, slices.Contains(got, id), v.Sees(t), "step %d %+v: viewer %s, sort %q", i, c, v.UID, sort)
				assert.Equal(f, slices.Contains(got, other), v.UID != "ada")
			}
		}
	}
	assert.Equal(f, len(f.all(task.Query{Viewer: &task.Viewer{}})), 0, "nobody sees nothing")
}

// listWhileChanging reads pages while runs are made and changed: runs that
// were there all the time are listed, once when their key does not change.
func listWhileChanging(f *fixture) {
	stable := map[task.ID]bool{}
	for _, t := range f.population(60) {
		stable[t.ID] = true
	}
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { f.churn(stop) })
	for _, sort := range sortKeys {
		for _, asc := range []bool{false, true} {
			q := task.Query{Sort: sort, Asc: asc, Limit: 5}
			seen := map[task.ID]int{}
			for range 200 { // far more pages than there can be
				page := f.list(q)
				for _, t := range page.Tasks {
					seen[t.ID]++
				}
				f.inOrder(q, page.Tasks)
				if q.After = page.Next; q.After == nil {
					break
				}
				if asc && (sort == "" || sort == task.SortUpdatedAt) && len(seen) >= len(stable) && containsAll(seen, stable) {
					break // the tail moves on for as long as runs change
				}
			}
			for id := range stable {
				assert.Check(f, seen[id] == 1, "%s asc=%v: run %s seen %d times", sort, asc, id, seen[id])
			}
		}
	}
	close(stop)
	all.Wait()
}

func containsAll(seen map[task.ID]int, want map[task.ID]bool) bool {
	for id := range want {
		if seen[id] == 0 {
			return false
		}
	}
	return true
}

// churn makes runs and changes them until told to stop.
func (f *fixture) churn(stop <-chan struct{}) {
	var last task.ID
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		if last == "" || i%5 == 0 {
			c := creation(func(c *task.Creation) { c.Now = time.Now() })
			_, _, err := f.s.Create(f.ctx(), c)
			assert.Check(f, err)
			last = c.ID
		}
		_, err := f.s.Do(f.ctx(), last, task.AddInput{Input: task.Input{Text: "more"}})
		assert.Check(f, err)
	}
}
