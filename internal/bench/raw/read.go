package raw

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"runtime"
)

// Documents answers requests with stored JSON as it is: one document by its
// id, or the newest 50 by an index.
type Documents struct {
	db          *sql.DB
	one, newest *sql.Stmt
}

// NewDocuments stores n copies of a document, ids 0 to n-1.
func NewDocuments(path string, document []byte, n int) (d *Documents, err error) {
	db, err := OpenSQLite(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	if _, err := db.Exec(`CREATE TABLE documents (id INTEGER PRIMARY KEY, changed INTEGER NOT NULL, data BLOB NOT NULL);
		CREATE INDEX by_change ON documents (changed DESC, id)`); err != nil {
		return nil, err
	}
	tx, err := db.Begin()
	if err != nil {
		return nil, err
	}
	for i := range n {
		if _, err := tx.Exec(`INSERT INTO documents VALUES (?, ?, ?)`, i, i, document); err != nil {
			return nil, errors.Join(err, tx.Rollback())
		}
	}
	if err := tx.Commit(); err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(2 * runtime.NumCPU()) // readers do not wait for each other
	d = &Documents{db: db}
	if d.one, err = db.Prepare(`SELECT data FROM documents WHERE id = ?`); err != nil {
		return nil, err
	}
	d.newest, err = db.Prepare(`SELECT data FROM documents ORDER BY changed DESC, id LIMIT 50`)
	return d, err
}

// Close closes the database.
func (d *Documents) Close() error { return d.db.Close() }

// Handler serves GET /one?id=N and GET /newest.
func (d *Documents) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /one", func(w http.ResponseWriter, r *http.Request) {
		var data []byte
		if err := d.one.QueryRowContext(r.Context(), r.URL.Query().Get("id")).Scan(&data); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(data) // the client may be gone
	})
	mux.HandleFunc("GET /newest", func(w http.ResponseWriter, r *http.Request) {
		body, err := d.list(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
	return mux
}

func (d *Documents) list(ctx context.Context) (body []byte, err error) {
	rows, err := d.newest.QueryContext(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	body = []byte(`{"runs":[`)
	for n := 0; rows.Next(); n++ {
		var data sql.RawBytes
		if err := rows.Scan(&data); err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		if n > 0 {
			body = append(body, ',')
		}
		body = append(body, data...)
	}
	return append(body, "]}"...), rows.Err()
}
