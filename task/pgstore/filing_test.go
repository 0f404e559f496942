package pgstore_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
)

// unfiled counts the runs that are not in the list indexes.
func unfiled(t *testing.T, conn *pgx.Conn) (n int) {
	t.Helper()
	assert.NilError(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM oz.runs WHERE idle_at IS NULL`).Scan(&n))
	return n
}

// listed gives the runs of every filter in every order.
func listed(t *testing.T, s *pgstore.Store, root task.ID) map[string][]task.ID {
	t.Helper()
	out := map[string][]task.ID{}
	for name, q := range filterQueries(root) {
		for _, sort := range []task.SortKey{task.SortUpdatedAt, task.SortCreatedAt, task.SortTitle, task.SortAgent} {
			q.Sort, q.Limit, q.After = sort, 7, nil
			for {
				page, err := s.List(t.Context(), q)
				assert.NilError(t, err)
				for _, r := range page.Tasks {
					out[name+" by "+string(sort)] = append(out[name+" by "+string(sort)], r.ID)
				}
				if q.After = page.Next; q.After == nil {
					break
				}
			}
		}
	}
	return out
}

// TestListsAreTheSameBeforeAndAfterFiling has runs in every part of their life
// and compares all lists before and after they enter the indexes, and with some
// in and some not.
func TestListsAreTheSameBeforeAndAfterFiling(t *testing.T) {
	dsn := pgtest.DSN(t)
	s, conn := open(t, dsn, nil), admin(t, dsn)
	root := task.NewID()
	create := func(from, to int) {
		for i := from; i < to; i++ {
			c := member(i, root)
			commands := c.Commands
			c.Commands = nil
			_, _, err := s.Create(t.Context(), c)
			assert.NilError(t, err)
			do(t, s, c.ID, commands[:i%(len(commands)+1)]...) // some wait, some work, some have ended
		}
	}
	create(0, 20)
	assert.NilError(t, s.File(t.Context()))
	create(100, 120)
	before := listed(t, s, root)
	assert.NilError(t, s.File(t.Context()))
	working := unfiled(t, conn)
	assert.Assert(t, working > 0 && working < 40, "%d are not in the indexes", working)
	assert.DeepEqual(t, listed(t, s, root), before)
}

// TestRunsLeaveAndEnterTheIndexes follows one run through its life.
func TestRunsLeaveAndEnterTheIndexes(t *testing.T) {
	dsn := pgtest.DSN(t)
	s, conn := open(t, dsn, nil), admin(t, dsn)
	c := creation()
	c.Spec.Metadata = map[string]string{"k": "v"}
	_, _, err := s.Create(t.Context(), c)
	assert.NilError(t, err)
	find := func(state task.State) {
		t.Helper()
		page, err := s.List(t.Context(), task.Query{Metadata: c.Spec.Metadata, States: []task.State{state}})
		assert.NilError(t, err)
		assert.Equal(t, len(page.Tasks), 1)
	}
	file := func(left int) {
		t.Helper()
		assert.NilError(t, s.File(t.Context()))
		assert.Equal(t, unfiled(t, conn), left)
	}
	find(task.StateQueued)
	file(0)
	find(task.StateQueued)
	x := task.NewExecutionID()
	do(t, s, c.ID, offer(x), task.Begin{Execution: x})
	find(task.StateInProgress)
	file(1)
	find(task.StateInProgress)
	do(t, s, c.ID, task.End{Execution: x, State: task.StateFailed})
	find(task.StateFailed)
	prunable, err := s.Prunable(t.Context(), time.Now().Add(time.Hour), 10)
	assert.NilError(t, err)
	assert.DeepEqual(t, prunable, []task.ID{c.ID})
	file(0)
	find(task.StateFailed)
	do(t, s, c.ID, notice("late"), task.AddInput{Input: task.Input{Text: "go on"}}) // stays in them, and moves
	assert.Equal(t, unfiled(t, conn), 0)
	find(task.StateQueued)
}

// The statements with which version 51 wrote, and by which it listed by a tag.
const (
	insertRunOfVersion51 = `INSERT INTO oz.runs (n, id, version, owner, name, model, creator, executor, source, location, environment, skill, parent,
			title, worker_host, created_at, updated_at, idle_at, ready_at, state, last_worker, head)
		VALUES (nextval('oz.runs_n'), $1, 1, $2, '', '', '', '', 'API', 'REMOTE', '', '', '', $3, '', $4, $4, $4, $4, 'QUEUED', '', $5) RETURNING n`
	updateRunOfVersion51 = `UPDATE oz.runs r SET version = r.version + 1, head = $2, updated_at = $3, state = $4, ready_at = $5,
			idle_at = $6, pruned_to = 0, leftover = r.leftover OR 0 > r.pruned_to WHERE r.n = $1`
	updateTagsOfVersion51 = `UPDATE oz.tags t SET idle_at = $2 WHERE t.n = $1`
	listOfVersion51       = `SELECT r.id FROM oz.tags t JOIN oz.runs r ON r.n = t.n WHERE t.idle_at IS NOT NULL AND t.tag = $1
		UNION ALL SELECT r.id FROM oz.runs r WHERE r.idle_at IS NULL AND EXISTS (SELECT 1 FROM oz.tags g WHERE g.n = r.n AND g.tag = $1)`
)

// version51 is a program of version 51 at work beside newer ones.
type version51 struct {
	*testing.T
	conn *pgx.Conn
}

// create makes a run with a tag.
func (v version51) create(id task.ID, tag string) (n int64) {
	v.Helper()
	c := creation()
	c.ID = id
	made, _ := c.Build()
	head, err := json.Marshal(made.Head)
	assert.NilError(v, err)
	spec, err := json.Marshal(made.Spec)
	assert.NilError(v, err)
	at := made.UpdatedAt.UnixNano()
	assert.NilError(v, v.conn.QueryRow(v.Context(), insertRunOfVersion51, string(id), made.Owner.String(), made.Title, at, head).Scan(&n))
	run(v.T, v.conn, `INSERT INTO oz.specs VALUES ($1, $2, '')`, n, spec)
	run(v.T, v.conn, `INSERT INTO oz.tags VALUES ($1, $2, $3)`, n, tag, at)
	return n
}

// write stores a head that it has read before. It writes tags only if it sees
// reason to.
func (v version51) write(n int64, h task.Head, tags bool) {
	v.Helper()
	head, err := json.Marshal(h)
	assert.NilError(v, err)
	var ready, idle *int64
	if at := h.ReadyAt.UnixNano(); !h.ReadyAt.IsZero() {
		ready = &at
	}
	if at := h.UpdatedAt.UnixNano(); h.Execution == "" {
		idle = &at
	}
	run(v.T, v.conn, updateRunOfVersion51, n, head, h.UpdatedAt.UnixNano(), string(h.State), ready, idle)
	if tags {
		run(v.T, v.conn, updateTagsOfVersion51, n, idle)
	}
}

// list gives the runs with a tag.
func (v version51) list(tag string) []string {
	v.Helper()
	rows, err := v.conn.Query(v.Context(), listOfVersion51, tag)
	assert.NilError(v, err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	assert.NilError(v, err)
	return ids
}

// TestPreviousVersionGoesOn upgrades a database that a program of version 51 has
// filled and goes on writing to: both see the same runs all the time.
func TestPreviousVersionGoesOn(t *testing.T) {
	dsn := pgtest.DSN(t)
	assert.NilError(t, pgstore.MigrateTo(t.Context(), dsn, "oz", 51))
	old := version51{t, admin(t, dsn)}
	tag, metadata := pgstore.Bounded("m:k\x00v"), map[string]string{"k": "v"}
	ids := map[task.ID]int64{}
	add := func() {
		id := task.NewID()
		ids[id] = old.create(id, tag)
	}
	add()
	s := open(t, dsn, nil)
	add()
	both := func(state task.State) {
		t.Helper()
		want := slices.Sorted(maps.Keys(ids))
		for _, q := range []task.Query{{Metadata: metadata}, {States: []task.State{state}}, {Metadata: metadata, Sort: task.SortCreatedAt}} {
			page, err := s.List(t.Context(), q)
			assert.NilError(t, err)
			var got []task.ID
			for _, r := range page.Tasks {
				got = append(got, r.ID)
			}
			slices.Sort(got)
			assert.DeepEqual(t, got, want)
		}
		assert.Equal(t, len(old.list(tag)), len(ids))
	}
	each := func(do func(id task.ID, n int64, h task.Head)) {
		t.Helper()
		for id, n := range ids {
			r, err := s.Get(t.Context(), id)
			assert.NilError(t, err)
			do(id, n, r.Head)
		}
	}
	both(task.StateQueued)
	execs := map[task.ID]task.ExecutionID{}
	each(func(id task.ID, _ int64, _ task.Head) {
		execs[id] = task.NewExecutionID()
		do(t, s, id, offer(execs[id]), task.Begin{Execution: execs[id]})
	})
	both(task.StateInProgress)
	each(func(id task.ID, _ int64, h task.Head) {
		do(t, s, id, task.End{Execution: execs[id], State: task.StateSucceeded, SeenInput: h.LastInput})
	})
	both(task.StateSucceeded)
	each(func(_ task.ID, n int64, h task.Head) { old.write(n, h, false) }) // files what we have not filed yet
	both(task.StateSucceeded)
	each(func(_ task.ID, n int64, h task.Head) {
		h.State, h.UpdatedAt = task.StateQueued, h.UpdatedAt.Add(time.Second)
		h.ReadyAt = h.UpdatedAt
		old.write(n, h, true)
	})
	both(task.StateQueued)
	assert.NilError(t, s.File(t.Context()))
	both(task.StateQueued)
}
