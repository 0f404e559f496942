package pgstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
)

const terminateAll = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`

// admin connects to a database past the stores, also for the cleanups to come.
func admin(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	assert.NilError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // the test may have stopped its server
	return conn
}

func run(t *testing.T, conn *pgx.Conn, statement string, args ...any) {
	t.Helper()
	_, err := conn.Exec(context.WithoutCancel(t.Context()), statement, args...) // also after the test
	assert.NilError(t, err)
}

// TestTerminatedBackends breaks all connections of two stores again and again
// while they write: what was acknowledged is there once, what failed is not,
// logs have no gaps, readers miss nothing, and all goes on by itself.
func TestTerminatedBackends(t *testing.T) {
	stores, dsn := replicas(t, nil)
	const writers, kills = 8, 30
	conn := admin(t, dsn)
	var stop atomic.Bool
	progress := make(chan struct{}, writers)
	type outcome struct{ acknowledged, refused map[string]bool }
	ids, outcomes := make([]task.ID, writers), make([]outcome, writers)
	var all sync.WaitGroup
	for w := range writers {
		ids[w] = create(t, stores[0])
		o := outcome{map[string]bool{}, map[string]bool{}}
		outcomes[w] = o
		all.Go(func() {
			for i := 0; !stop.Load(); i++ {
				text := fmt.Sprint(i)
				_, err := stores[(w+i)%2].Do(t.Context(), ids[w], notice(text))
				switch {
				case err == nil:
					o.acknowledged[text] = true
					select {
					case progress <- struct{}{}:
					default:
					}
				case assert.Check(t, task.CodeOf(err) == task.CodeResourceUnavailable, "%v", err):
					o.refused[text] = true
				}
			}
		})
		all.Go(func() { // a subscriber at the other store
			changed, cancel := stores[(w+1)%2].Subscribe(ids[w])
			defer cancel()
			for seen := int64(0); !stop.Load(); {
				page, err := stores[(w+1)%2].Events(t.Context(), ids[w], seen, 100)
				if err != nil { // it may be refused as well
					assert.Check(t, task.CodeOf(err) == task.CodeResourceUnavailable, "%v", err)
					continue
				}
				for _, e := range page {
					seen++
					assert.Check(t, e.Seq == seen, "event %d after %d", e.Seq, seen-1)
				}
				if len(page) == 0 {
					select {
					case <-changed:
					case <-time.After(patience):
						t.Error("a reader waits and nobody wakes it")
						return
					}
				}
			}
		})
	}
	for range kills {
		for range 2 * writers { // in the middle of work
			<-progress
		}
		run(t, conn, terminateAll)
	}
	stop.Store(true)
	for _, id := range ids { // wakes the readers; this must succeed again by now or soon
		eventually(t, func() error {
			_, err := stores[0].Do(t.Context(), id, task.AddInput{Input: task.Input{Text: "the end"}})
			return err
		})
	}
	all.Wait()
	for w, id := range ids {
		stored := map[string]int{}
		for _, e := range log(t, stores[0], id) {
			if n, ok := e.Payload.(*task.Notice); ok {
				stored[n.Text]++
			}
		}
		for text := range outcomes[w].acknowledged {
			assert.Check(t, stored[text] == 1, "acknowledged, and %d times stored", stored[text])
		}
		for text := range outcomes[w].refused {
			assert.Check(t, stored[text] == 0, "refused, and %d times stored", stored[text])
		}
		assert.Equal(t, len(stored), len(outcomes[w].acknowledged))
	}
}

// eventually repeats what fails until the store has recovered.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for err := try(); err != nil; err = try() {
		assert.Equal(t, task.CodeOf(err), task.CodeResourceUnavailable, "%v", err)
		assert.Assert(t, time.Now().Before(deadline), "does not recover: %v", err)
	}
}

// unavailable checks an error about the database and what it tells to do.
func unavailable(t *testing.T, err error, advice string) {
	t.Helper()
	var e *task.Error
	assert.Assert(t, errors.As(err, &e), "%v", err)
	assert.Equal(t, e.Code, task.CodeResourceUnavailable)
	assert.Assert(t, e.Code.Retryable())
	assert.Assert(t, strings.Contains(e.Message, advice), "%q says nothing of %q", e.Message, advice)
}

func TestDatabaseAway(t *testing.T) {
	server := pgtest.New(t)
	s := open(t, server.DSN(t), nil)
	id, x := working(t, s)
	changed, cancel := s.Subscribe(id)
	defer cancel()
	untouched, cancelUntouched := s.Subscribe("another run")
	defer cancelUntouched()
	assert.NilError(t, server.Stop())
	_, err := s.Do(t.Context(), id, notice("lost"))
	unavailable(t, err, "cannot be reached")
	_, err = s.Get(t.Context(), id)
	unavailable(t, err, "cannot be reached")
	_, err = s.List(t.Context(), task.Query{})
	unavailable(t, err, "cannot be reached")

	assert.NilError(t, server.Start(t.Context()))
	eventually(t, func() error {
		_, err := s.Do(t.Context(), id, task.Append{Execution: x, Events: message("back")})
		return err
	})
	signalled(t, changed)
	events := log(t, s, id)
	assert.Equal(t, events[len(events)-1].Payload.(*task.Message).Text, "back")
	for _, e := range events {
		_, isNotice := e.Payload.(*task.Notice)
		assert.Assert(t, !isNotice, "refused, and stored")
	}
	signalled(t, untouched) // the listener is back as well, and does not know what it missed
}

func TestReadOnlyDatabase(t *testing.T) {
	dsn := pgtest.DSN(t)
	s := open(t, dsn, nil)
	id := create(t, s)
	conn := admin(t, dsn)
	readOnly := func(setting string) {
		run(t, conn, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = `+setting+`', current_database()); END $$`)
	}
	readOnly("on")
	run(t, conn, terminateAll)
	run(t, conn, `SET default_transaction_read_only = off`) // so that it can be undone
	_, err := s.Do(t.Context(), id, notice("lost"))
	unavailable(t, err, "read-only")
	_, _, err = s.Create(t.Context(), creation())
	unavailable(t, err, "read-only")
	_, err = s.PutRecord(t.Context(), task.Record{Kind: "a", Key: "k"})
	unavailable(t, err, "read-only")
	assert.Equal(t, len(log(t, s, id)), 2) // reads go on
	other := open(t, dsn, nil)             // and a store opens, to read
	_, err = other.Get(t.Context(), id)
	assert.NilError(t, err)
	readOnly("off")
	eventually(t, func() error {
		_, err := s.Do(t.Context(), id, notice("kept"))
		return err
	})
	assert.Equal(t, len(log(t, s, id)), 3)
}

// TestHeldRow has another session hold a run for longer than a statement may
// take.
func TestHeldRow(t *testing.T) {
	dsn := pgtest.DSN(t)
	s := open(t, dsn, &pgstore.Options{StatementTimeout: 200 * time.Millisecond})
	id, other := create(t, s), create(t, s)
	conn := admin(t, dsn)
	tx, err := conn.Begin(t.Context())
	assert.NilError(t, err)
	_, err = tx.Exec(t.Context(), `SELECT 1 FROM oz.runs WHERE id = $1 FOR UPDATE`, string(id))
	assert.NilError(t, err)
	_, err = s.Do(t.Context(), id, notice("lost"))
	unavailable(t, err, "took too long")
	do(t, s, other, notice("not held"))
	assert.NilError(t, tx.Rollback(t.Context()))
	do(t, s, id, notice("kept"))
	assert.Equal(t, len(log(t, s, id)), 3)
}

// cutter stands between a store and its server, and can cut connections just
// after the server has committed, before the store learns it.
type cutter struct {
	listener net.Listener
	server   string
	commits  atomic.Int64 // that are still to be cut
	vanish   atomic.Bool  // whether a cut makes it deaf
	deaf     atomic.Bool  // takes no new connections
	open     sync.Map     // connections of the server
	cut      atomic.Int64
	all      sync.WaitGroup
}

// newCutter gives the address of a cutter before dsn's server.
func newCutter(t *testing.T, dsn string) (*cutter, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	assert.NilError(t, err)
	query := u.Query()
	c := &cutter{server: filepath.Join(query.Get("host"), ".s.PGSQL.5432")}
	dir := t.TempDir()
	c.listener, err = net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	assert.NilError(t, err)
	c.all.Go(c.serve)
	t.Cleanup(func() {
		assert.Check(t, c.listener.Close())
		c.all.Wait()
	})
	query.Set("host", dir)
	u.RawQuery = query.Encode()
	return c, u.String()
}

func (c *cutter) serve() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", c.server)
		if err == nil && c.deaf.Load() {
			_ = server.Close()
			_ = client.Close()
			continue
		}
		if err != nil {
			_ = client.Close()
			continue
		}
		c.open.Store(server, nil)
		c.all.Go(func() {
			defer c.open.Delete(server)
			_, _ = io.Copy(server, client)
			_ = server.Close()
		})
		c.all.Go(func() {
			c.answer(client, server)
			_ = client.Close()
			_ = server.Close()
		})
	}
}

// answer passes on what the server says, but for the commits to be cut.
func (c *cutter) answer(client, server net.Conn) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		if c.commits.Load() > 0 && bytes.Contains(buffer[:n], []byte("COMMIT\x00")) {
			c.commits.Add(-1)
			if c.cut.Add(1); c.vanish.Load() {
				c.goDeaf()
			}
			return
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// TestLostAnswerOfCommit has answers of commits get lost: the store finds out
// that they happened, and does nothing twice.
func TestLostAnswerOfCommit(t *testing.T) {
	dsn := pgtest.DSN(t)
	c, address := newCutter(t, dsn)
	s := open(t, address, nil)
	id := create(t, s)
	for i := range 5 {
		c.commits.Store(1)
		_, err := s.Do(t.Context(), id, task.AddInput{Input: task.Input{Text: "more"}})
		assert.NilError(t, err)
		assert.Equal(t, c.cut.Load(), int64(i+1))
	}
	assert.Equal(t, len(log(t, s, id)), 2+5)

	c.commits.Store(1)
	made := create(t, s)
	assert.Equal(t, c.cut.Load(), int64(6))
	assert.Equal(t, len(log(t, s, made)), 2)
}

// TestUnknownOutcome has the server vanish together with the answer.
func TestUnknownOutcome(t *testing.T) {
	dsn := pgtest.DSN(t)
	c, address := newCutter(t, dsn)
	s := open(t, address, &pgstore.Options{StatementTimeout: 500 * time.Millisecond})
	id := create(t, s)
	c.commits.Store(1)
	c.vanish.Store(true)
	_, err := s.Do(t.Context(), id, notice("perhaps"))
	unavailable(t, err, "not known whether this was done")
	c.deaf.Store(false)
	c.vanish.Store(false)
	eventually(t, func() error {
		_, err := s.Do(t.Context(), id, notice("certainly"))
		return err
	})
	assert.Equal(t, len(log(t, s, id)), 4)
}

// goDeaf ends all connections and takes no new ones.
func (c *cutter) goDeaf() {
	c.deaf.Store(true)
	c.open.Range(func(server, _ any) bool {
		_ = server.(net.Conn).Close()
		return true
	})
}
