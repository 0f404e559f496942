package raw

import (
	"database/sql"
	"errors"
	"time"
)

// AppendEvents inserts batches of events into a plain table, one durable
// transaction per batch and nothing around it, for about d. It gives the
// events per second.
func AppendEvents(path string, runs, batch int, data []byte, d time.Duration) (perSecond float64, err error) {
	db, err := OpenSQLite(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err = db.Exec(`CREATE TABLE events (run INTEGER, seq INTEGER, data BLOB, PRIMARY KEY (run, seq)) WITHOUT ROWID`); err != nil {
		return 0, err
	}
	insert, err := db.Prepare(`INSERT INTO events VALUES (?, ?, ?)`)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, insert.Close()) }()
	start, n := time.Now(), 0
	for ; time.Since(start) < d; n++ {
		if err := appendBatch(db, insert, n%runs, n/runs*batch, batch, data); err != nil {
			return 0, err
		}
	}
	return float64(n*batch) / time.Since(start).Seconds(), nil
}

func appendBatch(db *sql.DB, insert *sql.Stmt, run, first, batch int, data []byte) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	stmt := tx.Stmt(insert)
	for i := range batch {
		if _, err := stmt.Exec(run, first+i, data); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}
