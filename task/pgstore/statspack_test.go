package pgstore_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
	"github.com/oz-platform/cloudagents/task/storetest"
)

// money compares sums whose last digits depend on their order.
var money = gocmp.Options{cmpopts.EquateApprox(0, 1e-9), cmpopts.EquateEmpty()}

// packing is a store whose statistics are packed before every second look.
type packing struct {
	*pgstore.Store
	looks int
}

func (p *packing) RunStats(ctx context.Context, q task.StatsQuery) (task.StatsReport, error) {
	if p.looks++; p.looks%2 == 0 {
		if err := p.Pack(ctx, 1); err != nil {
			return task.StatsReport{}, err
		}
	}
	return p.Store.RunStats(ctx, q)
}

// TestPackedStatsConformance holds packed statistics to the contract.
func TestPackedStatsConformance(t *testing.T) {
	dsn := pgtest.DSN(t)
	schemas := map[string]string{}
	storetest.Run(t, storetest.Harness{Only: []string{"Stats"}, Open: func(t *testing.T) task.Store {
		if schemas[t.Name()] == "" {
			schemas[t.Name()] = fmt.Sprintf("case_%d", len(schemas))
		}
		return &packing{Store: open(t, dsn, &pgstore.Options{Schema: schemas[t.Name()]})}
	}})
}

// ended makes a run that has ended.
func ended(ctx context.Context, s *pgstore.Store, i int, state task.State) (task.ID, error) {
	exec := task.NewExecutionID()
	c := task.Creation{ID: task.NewID(), Now: noon.Add(time.Duration(i) * time.Minute), Spec: task.Spec{Title: "t", Owner: task.Scope{Type: task.ScopeTeam, UID: "red"},
		Creator: task.Principal{Type: task.PrincipalUser, UID: fmt.Sprint("person", i%3)}, Config: task.Config{ModelID: "a\x00b"}}}
	c.Commands = []task.Command{task.Offer{Execution: exec, Worker: "w"}, task.Begin{Execution: exec},
		task.End{Execution: exec, State: state, SeenInput: 2, Status: task.Status{ErrorCode: task.CodeInternal}}}
	_, _, err := s.Create(ctx, c)
	return c.ID, err
}

// wholeDay sums up all that the tests here make.
func wholeDay(t *testing.T, s *pgstore.Store) task.StatsReport {
	t.Helper()
	r, err := s.RunStats(t.Context(), task.StatsQuery{From: noon, To: noon.AddDate(0, 0, 7), Group: task.StatsByCreator, Bounds: []time.Time{noon, noon.Add(time.Hour)}})
	assert.NilError(t, err)
	return r
}

// inSQL runs statements of somebody else.
func inSQL(t *testing.T, dsn string, statements ...string) {
	t.Helper()
	conn := admin(t, dsn)
	for _, statement := range statements {
		_, err := conn.Exec(t.Context(), statement)
		assert.NilError(t, err, statement)
	}
}

func count(t *testing.T, dsn, table string) (n int) {
	t.Helper()
	assert.NilError(t, admin(t, dsn).QueryRow(t.Context(), `SELECT count(*) FROM `+table).Scan(&n))
	return n
}

// TestStatsStayTheSameWhenPacked packs what has ended, what goes on after its
// end, what ends anew, and what programs write that know of no packing.
func TestStatsStayTheSameWhenPacked(t *testing.T) {
	dsn := pgtest.DSN(t)
	s := open(t, dsn, nil)
	var ids []task.ID
	for i := range 90 {
		id, err := ended(t.Context(), s, i, []task.State{task.StateSucceeded, task.StateFailed, task.StateBlocked}[i%3])
		assert.NilError(t, err)
		ids = append(ids, id)
	}
	same := func(what string) {
		t.Helper()
		before := wholeDay(t, s)
		assert.NilError(t, s.Pack(t.Context(), 1))
		assert.Equal(t, count(t, dsn, "oz.stats_fresh"), 0, what)
		assert.DeepEqual(t, wholeDay(t, s), before, money)
	}
	assert.Equal(t, count(t, dsn, "oz.stats_fresh"), 90)
	assert.NilError(t, s.Pack(t.Context(), 91), "too few")
	assert.Equal(t, count(t, dsn, "oz.stats_packed"), 0)
	same("ended")
	assert.Equal(t, count(t, dsn, "oz.stats_packed"), 1)
	assert.Equal(t, wholeDay(t, s).Total.Runs, int64(90))

	_, err := s.Do(t.Context(), ids[2], task.AddInput{Input: task.Input{Text: "go on"}})
	assert.NilError(t, err)
	_, err = s.Do(t.Context(), ids[5], task.Share{Sharing: task.Sharing{Visibility: task.VisibilityPrivate}})
	assert.NilError(t, err)
	assert.Equal(t, wholeDay(t, s).Total.Runs, int64(89))
	same("one goes on, one is hidden")
	assert.Equal(t, wholeDay(t, s).Total.Runs, int64(89))

	_, err = s.Do(t.Context(), ids[2], task.Cancel{})
	assert.NilError(t, err)
	same("it ends")
	assert.Equal(t, wholeDay(t, s).Total.Cancelled, int64(1))

	inSQL(t, dsn, `DELETE FROM oz.run_stats WHERE state = 'FAILED'`, `UPDATE oz.run_stats SET state = 'ERROR' WHERE state = 'BLOCKED'`)
	assert.Equal(t, wholeDay(t, s).Total.Failed, int64(0))
	assert.Equal(t, wholeDay(t, s).Total.Errors, int64(29))
	same("an older program")
	assert.Equal(t, wholeDay(t, s).Total.Runs, int64(60))

	// It is derived, and can be made anew.
	before := wholeDay(t, s)
	inSQL(t, dsn, `UPDATE oz.stats_packed SET data = '\x0105'`)
	_, err = s.RunStats(t.Context(), task.StatsQuery{From: noon, To: noon.Add(time.Hour)})
	assert.ErrorContains(t, err, "damaged")
	inSQL(t, dsn, `DELETE FROM oz.stats_packed`, `INSERT INTO oz.stats_fresh SELECT n FROM oz.run_stats`)
	assert.DeepEqual(t, wholeDay(t, s), before, money)
	same("again")
	inSQL(t, dsn, `DELETE FROM oz.run_stats`)
	same("nothing")
	assert.Equal(t, count(t, dsn, "oz.stats_packed"), 0)
}

// TestPackWhileRunsEnd has two stores pack while runs end: each counts once, at
// every moment.
func TestPackWhileRunsEnd(t *testing.T) {
	const each, writers = 60, 3
	dsn := pgtest.DSN(t)
	stores := []*pgstore.Store{open(t, dsn, nil), open(t, dsn, nil)}
	ctx, stop := context.WithCancel(t.Context())
	var packers, work sync.WaitGroup
	for _, s := range stores {
		packers.Go(func() {
			for ctx.Err() == nil {
				if err := s.Pack(ctx, 1); ctx.Err() == nil {
					assert.Check(t, err)
				}
			}
		})
	}
	for w := range writers {
		work.Go(func() {
			for i := range each {
				_, err := ended(t.Context(), stores[w%2], i, task.StateSucceeded)
				assert.Check(t, err)
			}
		})
	}
	done := make(chan struct{})
	go func() { work.Wait(); close(done) }()
	least := int64(0)
	for under := true; under; {
		select {
		case <-done:
			under = false
		default:
		}
		got := wholeDay(t, stores[1]).Total.Runs
		assert.Check(t, got >= least && got <= each*writers, "%d after %d", got, least)
		least = got
	}
	stop()
	packers.Wait()
	assert.Equal(t, least, int64(each*writers))
	want := wholeDay(t, stores[0])
	inSQL(t, dsn, `DELETE FROM oz.stats_packed`, `INSERT INTO oz.stats_fresh SELECT n FROM oz.run_stats`)
	assert.DeepEqual(t, wholeDay(t, stores[0]), want, money)
}

// TestStatsOfDatabasesBeforePacking brings the statistics of the version before
// into the packed form.
func TestStatsOfDatabasesBeforePacking(t *testing.T) {
	dsn := pgtest.DSN(t)
	assert.NilError(t, pgstore.MigrateTo(t.Context(), dsn, "oz", 96))
	fillRows := `INSERT INTO oz.run_stats SELECT i, $1::bigint + i, 5, 6, 0.5, false, false, 'SUCCEEDED', '', 'Team:red', 'person' || i % 3, 'API', '', '', 'oz', 'm'
		FROM generate_series(1, 3000::bigint) i`
	_, err := admin(t, dsn).Exec(t.Context(), fillRows, noon.UnixNano())
	assert.NilError(t, err)
	s := open(t, dsn, nil)
	before := wholeDay(t, s)
	assert.Equal(t, before.Total.Runs, int64(3000))
	assert.Equal(t, before.Total.RunTime.Total, 3000*time.Duration(6))
	assert.NilError(t, s.Pack(t.Context(), 1))
	assert.DeepEqual(t, wholeDay(t, s), before, money)
	assert.Equal(t, count(t, dsn, "oz.stats_packed"), 3)
}

// FuzzPackedStats reads rows that may be damaged: an error, or what is packed as
// it was.
func FuzzPackedStats(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0})
	f.Add([]byte{1, 1, 1, 1, 'x'})
	one := append([]byte{1, 1, 1, 1, 'x', 3, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0x13}, make([]byte, 16+24)...)
	f.Add(one)
	f.Add(append([]byte{1, 2, 1, 1, 'x'}, append(one[5:], one[5:]...)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, again, err := pgstore.Chunk(data)
		if err != nil {
			return
		}
		if n*51 > len(data) {
			t.Fatalf("%d runs in %d bytes", n, len(data))
		}
		m, third, err := pgstore.Chunk(again)
		assert.NilError(t, err)
		assert.Equal(t, m, n)
		assert.DeepEqual(t, third, again)
	})
}
