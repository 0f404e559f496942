package pgstore

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oz-platform/cloudagents/task"
)

// Options holds what a Store can do without. The zero value is ready to use.
type Options struct {
	// Schema is where the tables are; it is made when there is none. Stores
	// with the same database and schema share their runs. Default "oz".
	Schema string
	// Readers is how many reads may run at once, each on a connection of its
	// own. Default: twice the processors, at least 4.
	Readers int
	// Writers is how many transactions may write at once, each on a connection
	// of its own. The first takes all it can; the others serve while it is held
	// up. Default 2.
	Writers int
	// MaxBatch bounds how many writes share a transaction. Default 256; 1
	// gives every write a transaction of its own.
	MaxBatch int
	// StatementTimeout bounds each statement; one that takes longer fails with
	// task.CodeResourceUnavailable. Default 30 s.
	StatementTimeout time.Duration
	// PollInterval is how often the store looks by itself for changes by other
	// stores that it subscribed to, in case their messages got lost. Default 5 s.
	PollInterval time.Duration
	// Clock gives the time of commands. Default: the machine's. Time-outs and
	// intervals of the connections are by the machine's clock in any case.
	Clock task.Clock
}

// schemaName is what needs no quotes in SQL.
var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}$`)

func (o *Options) withDefaults() (Options, error) {
	var out Options
	if o != nil {
		out = *o
	}
	if out.Readers < 0 || out.Writers < 0 || out.MaxBatch < 0 || out.StatementTimeout < 0 || out.PollInterval < 0 {
		return out, errors.New("no option may be negative")
	}
	setDefault(&out.Schema, "oz")
	setDefault(&out.Readers, max(4, 2*runtime.GOMAXPROCS(0)))
	setDefault(&out.Writers, 2)
	setDefault(&out.MaxBatch, 256)
	setDefault(&out.StatementTimeout, 30*time.Second)
	setDefault(&out.PollInterval, 5*time.Second)
	if out.Clock == nil {
		out.Clock = task.SystemClock()
	}
	if !schemaName.MatchString(out.Schema) {
		return out, fmt.Errorf("option Schema: %q must have 1 to 40 lower-case letters, digits and underscores, and not begin with a digit", out.Schema)
	}
	return out, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Store keeps runs in a PostgreSQL database. See the package comment.
type Store struct {
	opts   Options
	reads  *pgxpool.Pool
	writes *pgxpool.Pool
	lanes  []*lane
	quota  quota
	subs   subscriptions
	notify *notifier
	filer  *filer
	listen *listener
	bus    bus

	numbering sync.Mutex // held by whoever numbers signals
	journal   journal

	closed  atomic.Bool
	closing sync.Once
}

var _ task.Store = (*Store)(nil)

// Open connects to the database that dsn names, as a URL
// (postgres://user@host:5432/database) or as key=value pairs, and brings it to
// this version. What dsn leaves out comes from the environment variables of
// PostgreSQL's own programs; a password is best given by PGPASSWORD or a
// password file. opts may be nil.
//
// It fails with task.CodeResourceUnavailable when the database cannot be
// reached or refuses us, and when a newer program has changed it so that this
// one cannot use it. No error holds the password.
func Open(ctx context.Context, dsn string, opts *Options) (*Store, error) {
	const doing = "open store"
	o, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	config, err := parseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	s := &Store{opts: o}
	if err := s.open(ctx, config); err != nil {
		s.release()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, explain(doing, err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, config *pgxpool.Config) (err error) {
	s.prepare(config.ConnConfig)
	if err := migrate(ctx, config.ConnConfig, s.opts.Schema); err != nil {
		return err
	}
	// Every statement here is meant to go by an index. Without statistics, as
	// in a young database, the planner would read whole tables.
	set(config.ConnConfig, "enable_seqscan", "off")
	set(config.ConnConfig, "statement_timeout", milliseconds(s.opts.StatementTimeout))
	if s.reads, err = pool(config.Copy(), s.opts.Readers); err != nil {
		return err
	}
	writes := config.Copy()
	// Batches are joined with the rows they change; only a loop over the batch
	// takes the same time however many rows the table has.
	set(writes.ConnConfig, "enable_hashjoin", "off")
	set(writes.ConnConfig, "enable_mergejoin", "off")
	// There is one good plan for each of these statements, and to find it takes
	// longer than to carry it out: runs have many indexes.
	set(writes.ConnConfig, "plan_cache_mode", "force_generic_plan")
	set(writes.ConnConfig, "lock_timeout", milliseconds(s.opts.StatementTimeout))
	// A store that stops in the middle, as a suspended process does, must not
	// keep runs from the others.
	set(writes.ConnConfig, "idle_in_transaction_session_timeout", milliseconds(s.opts.StatementTimeout))
	writes.AfterConnect = beDurable
	if s.writes, err = pool(writes, s.opts.Writers+3); err != nil { // and the notifier, the filer, and one for the journal and the numbers of signals
		return err
	}
	s.notify = newNotifier(s.writes, channel(s.opts.Schema))
	s.bus.channel = busChannel(s.opts.Schema)
	if s.listen, err = startListener(ctx, config.ConnConfig, s); err != nil {
		return err
	}
	s.filer = newFiler(s.writes, s.opts.Schema)
	for range s.opts.Writers {
		s.lanes = append(s.lanes, newLane(s))
	}
	return nil
}

// prepare sets what all connections have.
func (s *Store) prepare(c *pgx.ConnConfig) {
	c.RuntimeParams["search_path"] = s.opts.Schema
	set(c, "application_name", "oz")
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
}

// connectTimeout bounds the making of a connection, unless the address says
// otherwise; pgx would wait for two minutes.
const connectTimeout = 10 * time.Second

// set sets a parameter of the session, unless the address has set it.
func set(c *pgx.ConnConfig, name, value string) {
	if _, ok := c.RuntimeParams[name]; !ok {
		c.RuntimeParams[name] = value
	}
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(max(1, d.Milliseconds()), 10) }

// pool makes a pool that connects when it must.
func pool(config *pgxpool.Config, size int) (*pgxpool.Pool, error) {
	config.MinConns, config.MinIdleConns, config.MaxConns = 0, 0, int32(size)
	return pgxpool.NewWithConfig(context.Background(), config)
}

// beDurable makes commits wait for the disk where the server would not.
func beDurable(ctx context.Context, c *pgx.Conn) error {
	_, err := c.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`)
	return err
}

// Close implements task.Store.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.closed.Store(true)
		s.release()
	})
	return nil
}

// release ends whatever was begun: first the writes under way, then the
// messages about them.
func (s *Store) release() {
	for _, l := range s.lanes {
		l.stop()
	}
	for _, l := range s.lanes {
		<-l.finished
	}
	if s.filer != nil {
		s.filer.stop()
	}
	if s.notify != nil {
		s.notify.stop()
	}
	if s.listen != nil {
		s.listen.stop()
	}
	if s.writes != nil {
		s.writes.Close()
	}
	if s.reads != nil {
		s.reads.Close()
	}
}

// channel is the name under which the stores of a schema tell each other what
// has changed.
func channel(schema string) string { return schema + "_changes" }

// lockKey is the advisory lock for a purpose within a schema. Advisory locks
// are the database's, so that others may use the same numbers: hence a hash.
func lockKey(schema, purpose string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("cloudagents/" + schema + "/" + purpose)) // never fails
	return int64(h.Sum64())
}

// explainCall is explain for a call with a context, on a store that may have
// been closed meanwhile.
func (s *Store) explainCall(ctx context.Context, doing string, err error) error {
	var known *task.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case s.closed.Load():
		return errClosed
	}
	return explain(doing, err)
}
