package sqlitestore_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// payloadBytes is the size of a job or an event in all figures.
const payloadBytes = 200

func benchStore(b *testing.B, opts *sqlitestore.Options) *sqlitestore.Store {
	b.Helper()
	s, err := sqlitestore.Open(b.Context(), filepath.Join(b.TempDir(), "oz.db"), opts)
	assert.NilError(b, err)
	b.Cleanup(func() { assert.Check(b, s.Close()) })
	return s
}

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

// working makes runs that an execution works on.
func working(b *testing.B, s *sqlitestore.Store, n int) (ids []task.ID, execs []task.ExecutionID) {
	b.Helper()
	for range n {
		id, x := task.NewID(), task.NewExecutionID()
		_, _, err := s.Create(b.Context(), task.Creation{ID: id, Spec: benchSpec(), Now: time.Now(),
			Commands: []task.Command{task.Offer{Execution: x, Worker: "w", TokenHash: make([]byte, 32), LeaseUntil: time.Now()}, task.Begin{Execution: x}}})
		assert.NilError(b, err)
		ids, execs = append(ids, id), append(execs, x)
	}
	return ids, execs
}

// benchAppend appends batches from 64 runs at once; the metric is events/s.
func benchAppend(b *testing.B, opts *sqlitestore.Options, batch int) float64 {
	b.Helper()
	const runs = 64
	s := benchStore(b, opts)
	ids, execs := working(b, s, runs)
	offsets := make([]int64, runs)
	text := strings.Repeat("x", payloadBytes)
	clients(b, runs, func(i int) {
		events := make([]task.Event, batch)
		for j := range events {
			events[j].Payload = &task.Message{ID: "m", Text: text}
		}
		_, err := s.Do(context.Background(), ids[i], task.Append{Execution: execs[i], Offset: offsets[i], Events: events})
		offsets[i] += int64(batch)
		assert.Check(b, err)
	})
	return rate(b, batch)
}

func rate(b *testing.B, batch int) float64 {
	perSecond := float64(b.N*batch) / b.Elapsed().Seconds()
	b.ReportMetric(perSecond, "events/s")
	return perSecond
}

// benchRaw inserts the same events with nothing around them: one durable
// transaction per batch on a plain table.
func benchRaw(b *testing.B, batch int) float64 {
	b.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "raw.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	assert.NilError(b, err)
	defer func() { assert.Check(b, db.Close()) }()
	db.SetMaxOpenConns(1)
	_, err = db.Exec(`CREATE TABLE events (run INTEGER, seq INTEGER, data BLOB, PRIMARY KEY (run, seq)) WITHOUT ROWID`)
	assert.NilError(b, err)
	insert, err := db.Prepare(`INSERT INTO events VALUES (?, ?, ?)`)
	assert.NilError(b, err)
	data := []byte(strings.Repeat("x", payloadBytes))
	b.ResetTimer()
	for i := range b.N {
		tx, err := db.Begin()
		assert.NilError(b, err)
		stmt := tx.Stmt(insert)
		for j := range batch {
			_, err = stmt.Exec(i%64, i*batch+j, data)
			assert.NilError(b, err)
		}
		assert.NilError(b, tx.Commit())
	}
	b.StopTimer()
	return rate(b, batch)
}

// BenchmarkAppendGroupCommit appends one event per call from 64 runs, durably,
// beside a loop with one transaction per event.
func BenchmarkAppendGroupCommit(b *testing.B) {
	b.Run("store", func(b *testing.B) { benchAppend(b, nil, 1) })
	b.Run("store-one-by-one", func(b *testing.B) { benchAppend(b, &sqlitestore.Options{MaxBatch: 1}, 1) })
	b.Run("raw-one-by-one", func(b *testing.B) { benchRaw(b, 1) })
}

// BenchmarkAppend50 is performance figure P4.
func BenchmarkAppend50(b *testing.B) {
	b.Run("store", func(b *testing.B) { benchAppend(b, nil, 50) })
	b.Run("raw", func(b *testing.B) { benchRaw(b, 50) })
}

// BenchmarkCreate is performance figure P1.
func BenchmarkCreate(b *testing.B) {
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			s := benchStore(b, nil)
			spec := benchSpec()
			clients(b, n, func(int) {
				_, _, err := s.Create(context.Background(), task.Creation{ID: task.NewID(), Spec: spec, Now: time.Now()})
				assert.Check(b, err)
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
		})
	}
}

// BenchmarkClaim takes waiting runs through offer, accept, begin and end, 100
// at once: the store's share of performance figure P2.
func BenchmarkClaim(b *testing.B) {
	s := benchStore(b, nil)
	ids := make([]task.ID, b.N)
	for i := range ids {
		ids[i] = task.NewID()
		_, _, err := s.Create(b.Context(), task.Creation{ID: ids[i], Spec: benchSpec(), Now: time.Now()})
		assert.NilError(b, err)
	}
	var next atomic.Int64
	clients(b, 100, func(int) {
		id, x := ids[next.Add(1)-1], task.NewExecutionID()
		until := time.Now().Add(time.Minute)
		for _, c := range []task.Command{task.Offer{Execution: x, Worker: "w", TokenHash: make([]byte, 32), LeaseUntil: until},
			task.Accept{Execution: x, LeaseUntil: until}, task.Begin{Execution: x},
			task.End{Execution: x, State: task.StateSucceeded, SeenInput: 2}} {
			_, err := s.Do(context.Background(), id, c)
			assert.Check(b, err)
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
}
