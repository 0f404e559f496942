package sqlitestore

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"modernc.org/sqlite"

	"github.com/oz-platform/cloudagents/task"
)

// Options holds what a Store can do without. The zero value is ready to use.
type Options struct {
	// Readers is how many reads may run at once. Default: twice the
	// processors, at least 4.
	Readers int
	// CacheBytes is the page cache of the writer; each reader has a quarter of
	// it. It is used as the database grows. Default 32 MiB.
	CacheBytes int
	// MaxBatch bounds how many writes share a transaction. Default 512; 1
	// gives every write a transaction of its own.
	MaxBatch int
	// Clock gives the time of commands. Default: the machine's.
	Clock task.Clock

	// maxUnindexed bounds the runs that lists and searches look at one by one,
	// about 1 µs each. Beyond it, writes wait for the indexes. Default 8192.
	maxUnindexed int
	// indexDelay is how long a run may wait for the indexes while nothing else
	// is to be written. Most runs that are created are offered to a worker
	// within it, and enter the indexes once, when they have ended. Default 1 s.
	indexDelay time.Duration
}

func (o *Options) withDefaults() (Options, error) {
	var out Options
	if o != nil {
		out = *o
	}
	if out.Readers < 0 || out.CacheBytes < 0 || out.MaxBatch < 0 {
		return out, errors.New("no option may be negative")
	}
	if out.Readers == 0 {
		out.Readers = max(4, 2*runtime.GOMAXPROCS(0))
	}
	if out.CacheBytes == 0 {
		out.CacheBytes = 32 << 20
	}
	if out.MaxBatch == 0 {
		out.MaxBatch = 512
	}
	if out.maxUnindexed == 0 {
		out.maxUnindexed = 8192
	}
	if out.indexDelay == 0 {
		out.indexDelay = time.Second
	}
	if out.Clock == nil {
		out.Clock = task.SystemClock()
	}
	return out, nil
}

// busyTimeout is how long SQLite waits for locks that another program, such
// as a backup, holds for a moment: 5 s, in milliseconds.
const busyTimeout = 5000

// walLimit is what the write-ahead log shrinks to after a checkpoint: 64 MiB.
const walLimit = 64 << 20

// checkpointPages is how many pages the log holds before they are copied into
// the database: 16 MiB. Under load the same index pages are written by commit
// after commit; the larger the log, the fewer times each is copied.
const checkpointPages = 4000

// Store keeps runs in one SQLite file. See the package comment.
type Store struct {
	path  string
	lock  *os.File
	read  *sql.DB
	fixed statements // of read
	w     *writer
	subs  subscriptions

	statsNames statsNameList
}

var _ task.Store = (*Store)(nil)

// Open opens the database at path, makes it when there is none, and brings it
// to this version. The directory must exist. The file can be read by its owner
// alone. Open fails when another Store has the file open and does not close it
// within two seconds, and when a newer program has written it. opts may be nil.
func Open(ctx context.Context, path string, opts *Options) (*Store, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{path: path}
	if err := s.open(ctx, o); err != nil {
		return nil, errors.Join(explain("open store "+path, err), s.release())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, o Options) (err error) {
	if s.lock, err = lockFile(ctx, s.path); err != nil {
		return err
	}
	if err := private(s.path); err != nil {
		return err
	}
	if s.read, err = sql.Open("sqlite", dsn(s.path, o.CacheBytes/4)); err != nil {
		return err
	}
	s.fixed.db = s.read
	s.read.SetMaxOpenConns(o.Readers)
	s.read.SetMaxIdleConns(o.Readers)
	if err := migrate(ctx, s.read); err != nil {
		return err
	}
	c, err := openConn(s.path, o.CacheBytes)
	if err != nil {
		return err
	}
	s.w, err = newWriter(c, &s.subs, o)
	if err != nil {
		return errors.Join(err, c.close())
	}
	return nil
}

// release closes whatever is open.
func (s *Store) release() error {
	var errs []error
	if s.read != nil {
		errs = append(errs, s.read.Close())
	}
	if s.w != nil {
		errs = append(errs, s.w.close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// Close implements task.Store.
func (s *Store) Close() error {
	if !s.w.stop() {
		return nil
	}
	return explain("close store "+s.path, s.release())
}

// lockPatience is how long Open waits for the lock. When a program is killed
// while it starts another, the new process has its files for a moment longer,
// and the next start of the program comes within that moment.
const lockPatience = 2 * time.Second

// lockFile takes the lock that keeps other Stores away from path.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	patient, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	for {
		if err = tryLock(f); err == nil {
			return f, nil
		}
		select {
		case <-time.After(10 * time.Millisecond): // a lock cannot be waited for with a limit
		case <-patient.Done():
			_ = f.Close()
			return nil, cmp.Or(ctx.Err(), fmt.Errorf("the database is in use by another process or store (lock file %s.lock): stop that one first (%w)", path, err))
		}
	}
}

// private makes the database file, if need be, and takes it from the reach of
// other users. SQLite gives its companions (-wal, -shm) the same mode.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o600), f.Close())
}

// dsn names the database with the settings of every connection.
func dsn(path string, cacheBytes int) string {
	pragmas := []string{
		"busy_timeout(" + strconv.Itoa(busyTimeout) + ")",
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"foreign_keys(ON)",
		"cache_size(-" + strconv.Itoa(max(1, cacheBytes>>10)) + ")",
		"journal_size_limit(" + strconv.Itoa(walLimit) + ")",
		"temp_store(MEMORY)",
		"wal_autocheckpoint(" + strconv.Itoa(checkpointPages) + ")",
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: url.Values{"_pragma": pragmas}.Encode()}
	return u.String()
}

// conn is the writer's connection with its prepared statements. It is used by
// one goroutine at a time and goes past database/sql, whose share of a short
// statement is a third of its time.
type conn struct {
	c     driver.Conn
	stmts map[string]driver.Stmt
	args  []driver.NamedValue
}

func openConn(path string, cacheBytes int) (*conn, error) {
	c, err := (&sqlite.Driver{}).Open(dsn(path, cacheBytes))
	if err != nil {
		return nil, err
	}
	return &conn{c: c, stmts: map[string]driver.Stmt{}}, nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.c.Close())...)
}

// prepare gives the statement of a constant text; texts made at run time
// would fill the map.
func (c *conn) prepare(text string) (driver.Stmt, error) {
	if s, ok := c.stmts[text]; ok {
		return s, nil
	}
	s, err := c.c.Prepare(text)
	if err != nil {
		return nil, err
	}
	c.stmts[text] = s
	return s, nil
}

func (c *conn) named(args []any) []driver.NamedValue {
	c.args = c.args[:0]
	for i, a := range args {
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return c.args
}

// exec runs a statement and gives the row it inserted last. Arguments are of
// the types of driver.Value.
func (c *conn) exec(text string, args ...any) (rowID int64, err error) {
	s, err := c.prepare(text)
	if err != nil {
		return 0, err
	}
	r, err := s.(driver.StmtExecContext).ExecContext(context.Background(), c.named(args))
	if err != nil {
		return 0, err
	}
	return r.LastInsertId()
}

// query runs a query.
func (c *conn) query(text string, args ...any) (driver.Rows, error) {
	s, err := c.prepare(text)
	if err != nil {
		return nil, err
	}
	return s.(driver.StmtQueryContext).QueryContext(context.Background(), c.named(args))
}

// row gives the first row of a query, nil when there is none.
func (c *conn) row(text string, args ...any) (vals []any, err error) {
	rows, err := c.query(text, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	return nextRow(rows)
}

// each calls do with each row of a query.
func (c *conn) each(do func(vals []any) error, text string, args ...any) (err error) {
	rows, err := c.query(text, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for {
		vals, err := nextRow(rows)
		if err != nil || vals == nil {
			return err
		}
		if err := do(vals); err != nil {
			return err
		}
	}
}

// nextRow gives the next row, nil after the last one.
func nextRow(rows driver.Rows) ([]any, error) {
	got := make([]driver.Value, len(rows.Columns()))
	if err := rows.Next(got); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	vals := make([]any, len(got))
	for i, v := range got {
		vals[i] = v
	}
	return vals, nil
}
