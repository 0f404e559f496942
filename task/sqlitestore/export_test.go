package sqlitestore

import (
	"context"
	"fmt"

	"github.com/oz-platform/cloudagents/task"
)

// ExplainList gives the query plan of a list.
func (s *Store) ExplainList(ctx context.Context, q task.Query) ([]string, error) {
	statements, err := s.listStatements(ctx, &q)
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
	return s.w.do(ctx, "exec", 0, func(w *writer) error {
		if _, err := w.c.exec(`COMMIT`); err != nil {
			return err
		}
		_, err := w.c.exec(text)
		if _, begin := w.c.exec(`BEGIN IMMEDIATE`); begin != nil {
			return fmt.Errorf("begin again: %w", begin)
		}
		return err
	})
}

// Statements gives the fixed reads.
func Statements() []string {
	return []string{selectRun, selectExecution, selectExecutions, selectLive, selectEvents, selectWaiting, selectRecord, selectRecords, selectRecordsOf, selectPrunable, selectLeftovers,
		selectMail, selectMails, selectUnread, selectSignals, selectSignal, selectOldest, selectJournal, selectJournalHead, selectSpent}
}
