package pgstore

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/oz-platform/cloudagents/task"
)

// The wait before a broken connection is made again grows from the first to
// the last of these.
const (
	firstReconnect = 50 * time.Millisecond
	lastReconnect  = 5 * time.Second
)

// listener hears what other stores commit, on a connection of its own, and
// wakes our subscribers.
type listener struct {
	config *pgx.ConnConfig
	notify *notifier
	subs   *subscriptions
	bus    *bus
	every  time.Duration
	cancel context.CancelFunc
	ended  chan struct{}

	seen string // the dispatcher's work at the last look
}

// startListener returns once it hears everything.
func startListener(ctx context.Context, config *pgx.ConnConfig, s *Store) (*listener, error) {
	l := &listener{config: config.Copy(), notify: s.notify, subs: &s.subs, bus: &s.bus, every: s.opts.PollInterval, ended: make(chan struct{})}
	conn, err := l.connect(ctx)
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	go l.run(running, conn)
	return l, nil
}

func (l *listener) stop() {
	l.cancel()
	<-l.ended
}

func (l *listener) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, l.config)
	if err != nil {
		return nil, err
	}
	for _, channel := range []string{l.notify.channel, l.bus.channel} {
		if _, err := conn.Exec(ctx, `LISTEN `+pgx.Identifier{channel}.Sanitize()); err != nil {
			return nil, errors.Join(err, hangUp(conn))
		}
	}
	return conn, nil
}

// hangUp closes a connection that may be broken.
func hangUp(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return conn.Close(ctx)
}

func (l *listener) run(ctx context.Context, conn *pgx.Conn) {
	defer close(l.ended)
	for {
		l.hear(ctx, conn)
		_ = hangUp(conn)
		if conn = l.reconnect(ctx); conn == nil {
			return
		}
		l.subs.wakeAll()
	}
}

// reconnect tries until it succeeds; nil when ctx has ended.
func (l *listener) reconnect(ctx context.Context) (conn *pgx.Conn) {
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstReconnect), backoff.WithMaxInterval(lastReconnect), backoff.WithMaxElapsedTime(0))
	_ = backoff.Retry(func() (err error) {
		conn, err = l.connect(ctx)
		return err
	}, backoff.WithContext(wait, ctx))
	return conn
}

// hear handles messages until the connection breaks or ctx ends. From time to
// time it looks at the tables: for what was committed by a store that died
// before it could tell, and to notice that the other end is gone.
func (l *listener) hear(ctx context.Context, conn *pgx.Conn) {
	look := time.Now().Add(l.every)
	for {
		waiting, cancel := context.WithDeadline(ctx, look)
		n, err := conn.WaitForNotification(waiting)
		cancel()
		switch {
		case err == nil:
			l.handle(n)
		case ctx.Err() != nil || !pgconn.Timeout(err):
			return
		}
		if time.Now().Before(look) {
			continue
		}
		if l.look(ctx, conn) != nil {
			return
		}
		look = time.Now().Add(l.every)
	}
}

func (l *listener) handle(n *pgconn.Notification) {
	if n.Channel == l.bus.channel {
		l.bus.heard(l.notify.self, n.Payload)
		return
	}
	var m message
	if err := json.Unmarshal([]byte(n.Payload), &m); err != nil || m.All {
		l.subs.wakeAll() // from a newer program, perhaps
		return
	}
	if m.From == l.notify.self {
		return
	}
	if m.Dispatch {
		l.subs.told(map[task.ID]int64{dispatcher: 0})
	}
	l.subs.told(m.Runs)
}

const (
	selectVersions = `SELECT id, version FROM runs WHERE id = ANY($1)`

	// selectWork changes with what waits and what works. Of very many waiting
	// runs it sees the newest.
	selectWork = `SELECT concat_ws(' ',
		(SELECT sum(hashtextextended(id, 0)) FROM executions WHERE live),
		(SELECT sum(hashint8extended(n, ready_at)) FROM (SELECT n, ready_at FROM runs WHERE ready_at IS NOT NULL ORDER BY ready_at DESC LIMIT 1000) w))`
)

// lookTimeout bounds a look: a connection without an answer is broken.
const lookTimeout = 10 * time.Second

// look tells subscribers of changes that no message has told.
func (l *listener) look(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	ids, forDispatcher := l.subs.ids()
	if len(ids) == 0 && !forDispatcher {
		return conn.Ping(ctx)
	}
	if err := l.lookAtRuns(ctx, conn, ids); err != nil || !forDispatcher {
		return err
	}
	var work string
	if err := conn.QueryRow(ctx, selectWork).Scan(&work); err != nil {
		return err
	}
	if work != l.seen {
		l.seen = work
		l.subs.told(map[task.ID]int64{dispatcher: 0})
	}
	return nil
}

func (l *listener) lookAtRuns(ctx context.Context, conn *pgx.Conn, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	rows, err := conn.Query(ctx, selectVersions, ids)
	if err != nil {
		return err
	}
	versions := map[task.ID]int64{}
	var id string
	var version int64
	_, err = pgx.ForEachRow(rows, []any{&id, &version}, func() error {
		versions[task.ID(untext(id))] = version
		return nil
	})
	l.subs.told(versions)
	return err
}
