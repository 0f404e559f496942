package pgstore_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
)

// payloadBytes is the size of a job or an event in all figures.
const payloadBytes = 200

func benchSpec() task.Spec {
	return task.Spec{
		Title:   "Mend the failing test",
		Prompt:  strings.Repeat("The parser loses the last line of a file; ", 10)[:payloadBytes],
		Owner:   task.Scope{Type: task.ScopeTeam, UID: "team"},
		Creator: task.Principal{Type: task.PrincipalUser, UID: "ada"},
		Config:  task.Config{EnvironmentID: "env", ModelID: "model"},
	}
}

// clients runs do b.N times in all from so many goroutines.
func clients(b *testing.B, n int, do func(client int)) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	b.ResetTimer()
	for i := range n {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				do(i)
			}
		})
	}
	all.Wait()
	b.StopTimer()
}

func rate(b *testing.B, each int, unit string) {
	b.ReportMetric(float64(b.N*each)/b.Elapsed().Seconds(), unit)
}

// connections are raw ones, each with a statement of the benchmark's prepared.
func connections(b *testing.B, dsn string, n int, table string) (out []*pgx.Conn) {
	b.Helper()
	for i := range n {
		conn, err := pgx.Connect(b.Context(), dsn)
		assert.NilError(b, err)
		b.Cleanup(func() { assert.Check(b, conn.Close(context.Background())) })
		if i == 0 {
			_, err = conn.Exec(b.Context(), table)
			assert.NilError(b, err)
		}
		out = append(out, conn)
	}
	return out
}

// BenchmarkCreate is performance figure P1, beside raw connections that insert
// one row per transaction.
func BenchmarkCreate(b *testing.B) {
	for _, n := range []int{1, 16} {
		for _, writers := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("store/clients=%d/writers=%d", n, writers), func(b *testing.B) {
				s := open(b, pgtest.DSN(b), &pgstore.Options{Writers: writers})
				spec := benchSpec()
				clients(b, n, func(int) {
					_, _, err := s.Create(context.Background(), task.Creation{ID: task.NewID(), Spec: spec, Now: time.Now()})
					assert.Check(b, err)
				})
				rate(b, 1, "runs/s")
			})
		}
		b.Run(fmt.Sprintf("raw/clients=%d", n), func(b *testing.B) {
			conns := connections(b, pgtest.DSN(b), n, `CREATE TABLE jobs (id text PRIMARY KEY, created_at bigint NOT NULL, data bytea NOT NULL)`)
			data := []byte(strings.Repeat("x", payloadBytes))
			clients(b, n, func(i int) {
				_, err := conns[i].Exec(context.Background(), `INSERT INTO jobs VALUES ($1, $2, $3)`, string(task.NewID()), time.Now().UnixNano(), data)
				assert.Check(b, err)
			})
			rate(b, 1, "runs/s")
		})
	}
}

// BenchmarkAppend50 is performance figure P4: 64 runs append 50 events a call,
// beside a raw connection that inserts 50 rows a transaction in one round trip.
func BenchmarkAppend50(b *testing.B) {
	const runs, batch = 64, 50
	for _, writers := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("store/writers=%d", writers), func(b *testing.B) {
			s := open(b, pgtest.DSN(b), &pgstore.Options{Writers: writers})
			var ids []task.ID
			var execs []task.ExecutionID
			for range runs {
				id, x := task.NewID(), task.NewExecutionID()
				_, _, err := s.Create(b.Context(), task.Creation{ID: id, Spec: benchSpec(), Now: time.Now(), Commands: []task.Command{offer(x), task.Begin{Execution: x}}})
				assert.NilError(b, err)
				ids, execs = append(ids, id), append(execs, x)
			}
			offsets := make([]int64, runs)
			events := make([]task.Event, batch)
			for i := range events {
				events[i].Payload = &task.Message{ID: "m", Text: strings.Repeat("x", payloadBytes)}
			}
			clients(b, runs, func(i int) {
				_, err := s.Do(context.Background(), ids[i], task.Append{Execution: execs[i], Offset: offsets[i], Events: events})
				offsets[i] += batch
				assert.Check(b, err)
			})
			rate(b, batch, "events/s")
		})
	}
	b.Run("raw", func(b *testing.B) {
		conn := connections(b, pgtest.DSN(b), 1, `CREATE TABLE log (run bigint, seq bigint, data bytea NOT NULL, PRIMARY KEY (run, seq))`)[0]
		data := []byte(strings.Repeat("x", payloadBytes))
		b.ResetTimer()
		for i := range b.N {
			rows := &pgx.Batch{} // one implicit transaction
			for j := range batch {
				rows.Queue(`INSERT INTO log VALUES ($1, $2, $3)`, i%runs, i*batch+j, data)
			}
			assert.NilError(b, conn.SendBatch(b.Context(), rows).Close())
		}
		b.StopTimer()
		rate(b, batch, "events/s")
	})
}

// BenchmarkClaim takes waiting runs through offer, accept, begin and end, 100
// at once: the store's share of performance figure P2.
func BenchmarkClaim(b *testing.B) {
	s := open(b, pgtest.DSN(b), nil)
	ids := make([]task.ID, b.N)
	var all sync.WaitGroup
	for client := range 32 {
		all.Go(func() {
			for i := client; i < b.N; i += 32 {
				ids[i] = task.NewID()
				_, _, err := s.Create(b.Context(), task.Creation{ID: ids[i], Spec: benchSpec(), Now: time.Now()})
				assert.Check(b, err)
			}
		})
	}
	all.Wait()
	var next atomic.Int64
	clients(b, 100, func(int) {
		id, x := ids[next.Add(1)-1], task.NewExecutionID()
		for _, c := range []task.Command{offer(x), task.Accept{Execution: x}, task.Begin{Execution: x},
			task.End{Execution: x, State: task.StateSucceeded, SeenInput: 2}} {
			_, err := s.Do(context.Background(), id, c)
			assert.Check(b, err)
		}
	})
	rate(b, 1, "runs/s")
}

// BenchmarkList is performance figure P5: the median of the newest 50 by every
// filter, among many runs over among few.
func BenchmarkList(b *testing.B) {
	const few, many = 1000, 100_000
	medians := map[int]map[string]time.Duration{}
	for _, n := range []int{few, many} {
		dsn := pgtest.DSN(b)
		s := open(b, dsn, nil)
		root := populate(b, s, few)
		conn := connections(b, dsn, 1, `SELECT 1`)[0]
		if n > few {
			copies := fmt.Sprint(n/few - 1)
			for _, statement := range strings.Split(copyRuns, ";") {
				_, err := conn.Exec(b.Context(), strings.ReplaceAll(statement, ":copies", copies))
				assert.NilError(b, err)
			}
		}
		_, err := conn.Exec(b.Context(), `VACUUM ANALYZE`)
		assert.NilError(b, err)
		medians[n] = map[string]time.Duration{}
		for name, q := range filterQueries(root) {
			q.Limit = 50
			medians[n][name] = median(b, s, q)
		}
	}
	for name := range medians[few] {
		b.Run(name, func(b *testing.B) {
			b.ReportMetric(float64(medians[few][name].Microseconds()), "µs/few")
			b.ReportMetric(float64(medians[many][name].Microseconds()), "µs/many")
			b.ReportMetric(float64(medians[many][name])/float64(medians[few][name]), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// copyRuns makes copies of all runs but the parent of some, each copy some
// hours later.
const copyRuns = `
	CREATE TEMP TABLE copies AS SELECT r.n AS old, nextval('oz.runs_n') AS n, g * 3600000000000 AS later
		FROM oz.runs r, generate_series(1, :copies) g WHERE r.idle_at IS NOT NULL;
	INSERT INTO oz.runs SELECT c.n, gen_random_uuid()::text, version, owner, name, model, creator, executor, source, location, environment, skill,
		CASE WHEN parent = '' THEN '' ELSE 'x' || c.later END, title, worker_host, created_at + later, updated_at + later, idle_at + later,
		ready_at, state, last_worker, pruned_to, leftover, head FROM copies c JOIN oz.runs r ON r.n = c.old;
	INSERT INTO oz.specs SELECT c.n, spec, CASE WHEN 'parser' = ANY (tsvector_to_array(words)) AND later > 3600000000000
		THEN array_to_tsvector(array['other']) ELSE words END FROM copies c JOIN oz.specs s ON s.n = c.old;
	INSERT INTO oz.tags SELECT c.n, tag, idle_at + later FROM copies c JOIN oz.tags t ON t.n = c.old`

func median(b *testing.B, s *pgstore.Store, q task.Query) time.Duration {
	b.Helper()
	var took []time.Duration
	for range 41 {
		begin := time.Now()
		_, err := s.List(b.Context(), q)
		assert.NilError(b, err)
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return took[len(took)/2]
}
