package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// ExplainList gives the query plan of a list.
func (s *Store) ExplainList(ctx context.Context, q task.Query) ([]string, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	var found []int64
	if q.Text != "" {
		found = []int64{1, 2}
	}
	statements, err := s.listStatements(ctx, q, found)
	if err != nil {
		return nil, err
	}
	var plan []string
	for _, stmt := range statements {
		lines, err := s.Explain(ctx, stmt.sql, append(stmt.args, 20)...)
		if err != nil {
			return nil, err
		}
		plan = append(plan, lines...)
	}
	return plan, nil
}

// ListStatements gives the statements that read a page of a list.
func (s *Store) ListStatements(ctx context.Context, q task.Query) (texts []string, err error) {
	q.Limit, q.Text = 10, ""
	statements, err := s.listStatements(ctx, q, nil)
	for _, stmt := range statements {
		texts = append(texts, stmt.sql)
	}
	return texts, err
}

// Explain gives the query plan of a statement, one step a line.
func (s *Store) Explain(ctx context.Context, text string, args ...any) ([]string, error) {
	return collect(ctx, s.read, func(row scanner) (line string, err error) {
		var skip any
		err = row.Scan(&skip, &skip, &skip, &line)
		return line, err
	}, `EXPLAIN QUERY PLAN `+text, args...)
}

// Exec runs a statement on the writer's connection, between transactions.
func (s *Store) Exec(ctx context.Context, text string) error {
	return s.between(ctx, func(w *writer) error {
		_, err := w.c.exec(text)
		return err
	})
}

// OneByOne are options of a store that writes and reads one thing at a time,
// and keeps no more than one run outside the indexes.
func OneByOne() *Options { return &Options{MaxBatch: 1, Readers: 1, maxUnindexed: 1} }

// Unhurried are options of a store that indexes runs only when told to.
func Unhurried() *Options { return &Options{indexDelay: 24 * time.Hour} }

// between runs do on the writer's goroutine, between transactions.
func (s *Store) between(ctx context.Context, do func(w *writer) error) error {
	return s.w.do(ctx, "test", 0, func(w *writer) error {
		if _, err := w.c.exec(`COMMIT`); err != nil {
			return err
		}
		err := do(w)
		if _, begin := w.c.exec(`BEGIN IMMEDIATE`); begin != nil {
			return fmt.Errorf("begin again: %w", begin)
		}
		return err
	})
}

// IndexAll brings all runs into the indexes.
func (s *Store) IndexAll(ctx context.Context) error {
	return s.between(ctx, func(w *writer) error {
		for !w.indexer.empty() {
			if w.index(); !w.indexer.retry.IsZero() {
				return errors.New("a piece could not be indexed")
			}
		}
		return nil
	})
}

// Unindexed counts the runs that the search index and the list indexes lack.
func (s *Store) Unindexed(ctx context.Context) (fresh, idle int, err error) {
	err = s.between(ctx, func(w *writer) error {
		fresh, idle = len(w.indexer.fresh), len(w.indexer.idle)
		return nil
	})
	return fresh, idle, err
}

// EncodeHead and EncodeExecution encode as the store does.
func EncodeHead(h task.Head) ([]byte, error)           { return encodeHead(h) }
func EncodeExecution(x task.Execution) ([]byte, error) { return encodeExecution(x) }

// Statements gives the fixed reads.
func Statements() []string {
	return []string{selectRun, selectExecution, selectExecutions, selectLive, selectEvents, selectWaiting, selectRecord, selectRecords, selectRecordsOf, selectPrunable, selectLeftovers,
		selectMail, selectMails, selectUnread, selectSignals, selectSignal, selectOldest, selectJournal, selectJournalHead, selectSpent, selectStatsOf, selectStatsChunk, selectStatsName, selectStatsNames, selectStatsShared,
		selectFound, indexRuns, indexTags, selectIdle, selectFresh}
}

// UnsharedHead is what callers get of a head.
func UnsharedHead(h task.Head) task.Head { return unsharedHead(h) }

// FillStats puts records of n runs into the statistics, without the runs: they
// were created at even distances within the time, and follow each other as
// those that a store writes.
func (s *Store) FillStats(ctx context.Context, n int, from, to time.Time) error {
	return s.between(ctx, func(w *writer) error {
		if _, err := w.c.exec(`BEGIN IMMEDIATE`); err != nil {
			return err
		}
		for first := int64(0); first < int64(n); first += 1 << chunkBits {
			if err := w.fillChunk(first, int64(n), from, to); err != nil {
				return err
			}
		}
		_, err := w.c.exec(`COMMIT`)
		return err
	})
}

func (w *writer) fillChunk(first, n int64, from, to time.Time) error {
	var data []byte
	for i := first; i < min(first+1<<chunkBits, n); i++ {
		f := task.RunFact{State: statsStates[i%5], Began: true, Queued: time.Duration(i*7919%90_000) * time.Millisecond,
			Worked: time.Duration(i*104729%3_600_000) * time.Millisecond, USD: float64(i%100) / 100}
		if f.State == task.StateFailed || f.State == task.StateError {
			f.Code = task.CodeInternal
		}
		r := statsRecordOf(f)
		_, r.slot = chunkOf(i)
		r.created = nanos(from.Add(to.Sub(from) / time.Duration(n) * time.Duration(i)))
		for j, name := range []string{"Team:team", fmt.Sprint("person", i%50), []string{"API", "CLI", "SLACK"}[i%3], fmt.Sprint("env", i%20),
			fmt.Sprint("agent", i%30), "oz", fmt.Sprint("model", i%4), string(f.Code)} {
			var err error
			if r.names[j], err = w.statsName(name); err != nil {
				return err
			}
		}
		data = r.append(data)
		if _, err := w.exec(putStatsSpan, i>>chunkBits/spanChunks, r.created); err != nil {
			return err
		}
	}
	_, err := w.exec(putStatsChunk, first>>chunkBits, data)
	return err
}

// StatsChunk reads a row of the statistics, and says what a store would that
// met it.
func StatsChunk(data []byte) (records int, err error) {
	reader := statsReader{sum: task.NewStatsSum(task.StatsQuery{Limit: 1}), names: []string{""}, from: math.MinInt64, to: math.MaxInt64, group: -1, anyOwner: true}
	if err := reader.chunk(0, data); err != nil {
		return 0, err
	}
	for slot := range byte(1 << chunkBits) {
		if _, err := withoutStats(data, slot); err != nil {
			return 0, err
		}
	}
	return int(reader.sum.Report().Total.Runs), nil
}

// PackStats packs one record.
func PackStats(n, created int64, f task.RunFact, names ...int64) []byte {
	r := statsRecordOf(f)
	_, r.slot = chunkOf(n)
	r.created = created
	copy(r.names[:], names)
	return r.append(nil)
}
