package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Backup writes a copy of the database at path, as of one moment, to a new file
// at to. The database may be in use, by this process or another one: writers
// go on meanwhile. To restore, put the copy in the place of the database while
// no Store has it open, and remove the files beside it that end in -wal and
// -shm.
func Backup(ctx context.Context, path, to string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("back up %s: %w", path, explain("copy the database", err))
		}
	}()
	if _, err := os.Stat(path); err != nil { // SQLite would make one
		return err
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%s exists already; name a new file", to))
	}
	// Made beside its place and private from the start, so that a copy that
	// was cut off has not the name of a whole one.
	f, err := os.CreateTemp(filepath.Dir(to), ".backup-*")
	if err != nil {
		return err
	}
	part := f.Name()
	defer func() { _ = os.Remove(part) }()
	if err := f.Close(); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(path, 0))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, `VACUUM INTO ?`, part); err != nil {
		return err
	}
	if err := syncFile(part); err != nil {
		return err
	}
	return os.Link(part, to) // unlike a rename, does not replace
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
