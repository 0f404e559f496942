package sqlitestore

import (
	"context"
	"database/sql"
	"sync"
)

// statements are the fixed reads. Each connection of the pool parses such a
// statement once, which takes longer than to run it.
//
// A limit is written +? and not ?: of a bare parameter SQLite uses the value to
// plan, and parses the statement again whenever another one is bound.
type statements struct {
	db *sql.DB

	mu     sync.Mutex
	byText map[string]*sql.Stmt
}

// querier runs a query: the pool itself, or the prepared statements.
type querier interface {
	QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error)
}

// prepared gives the statement of a constant text. It lives as long as the pool.
func (s *statements) prepared(ctx context.Context, text string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stmt, ok := s.byText[text]; ok {
		return stmt, nil
	}
	stmt, err := s.db.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	if s.byText == nil {
		s.byText = map[string]*sql.Stmt{}
	}
	s.byText[text] = stmt
	return stmt, nil
}

// QueryContext implements querier for constant texts.
func (s *statements) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	stmt, err := s.prepared(ctx, text)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

// row reads the first row of a constant text.
func (s *statements) row(ctx context.Context, text string, args ...any) scanner {
	stmt, err := s.prepared(ctx, text)
	if err != nil {
		return failedRow{err}
	}
	return stmt.QueryRowContext(ctx, args...)
}

// failedRow is the row of a statement that could not be prepared.
type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }
