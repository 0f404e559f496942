package sqlitestore

import (
	"context"
	"errors"
	"fmt"
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
		selectMail, selectMails, selectUnread, selectSignals, selectSignal, selectOldest, selectJournal, selectJournalHead, selectSpent,
		selectFound, indexRuns, indexTags, selectIdle, selectFresh}
}

// UnsharedHead is what callers get of a head.
func UnsharedHead(h task.Head) task.Head { return unsharedHead(h) }
