package pgstore_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/task"
)

// TestStoresHearEachOther has stores of one database say things to each other:
// whole, in order, once, and to all but whoever says them.
func TestStoresHearEachOther(t *testing.T) {
	dsn := pgtest.DSN(t)
	a, b, c := open(t, dsn, nil), open(t, dsn, nil), open(t, dsn, nil)
	hear := func(s task.Bus) (heard chan string, cancel func()) {
		heard = make(chan string, 1000)
		return heard, s.Hear(func(m []byte) { heard <- string(m) })
	}
	inA, stopA := hear(a)
	inB, stopB := hear(b)
	inC, stopC := hear(c)
	defer stopA()
	defer stopC()
	long := bytes.Repeat([]byte{0, 255}, task.MaxSaid/2)
	want := []string{"", "same", "same", string(long)}
	assert.NilError(t, a.Say(t.Context(), nil, []byte("same")))
	assert.NilError(t, a.Say(t.Context(), []byte("same"), long))
	for i := range 200 {
		want = append(want, fmt.Sprint(i))
		assert.NilError(t, a.Say(t.Context(), []byte(want[len(want)-1])))
	}
	for _, in := range []chan string{inB, inC} {
		for i, w := range want {
			assert.Equal(t, <-in, w, "%d", i)
		}
	}
	err := a.Say(t.Context(), []byte("fits"), append(long, 1))
	assert.ErrorIs(t, err, task.ErrInvalid)
	assert.ErrorContains(t, err, "at most 5900")

	// Whoever has stopped hears no more; what others put on the channel is no message.
	stopB()
	conn, err := pgx.Connect(t.Context(), dsn)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, conn.Close(context.Background())) })
	for _, strange := range []string{"", "x", "x:1", "x:1:!!"} {
		_, err := conn.Exec(t.Context(), `SELECT pg_notify('oz_bus', $1)`, strange)
		assert.NilError(t, err)
	}
	assert.NilError(t, c.Say(t.Context(), []byte("from c")))
	assert.Equal(t, <-inA, "from c", "and nothing of a's own before")
	assert.NilError(t, a.Say(t.Context(), []byte("last")))
	assert.Equal(t, <-inC, "last")
	assert.Equal(t, len(inB), 0)
	assert.NilError(t, c.Close())
	assert.ErrorContains(t, c.Say(t.Context(), []byte("late")), "closed")
}

// TestBusOutlivesItsConnection breaks every connection: what is said afterwards
// is heard again.
func TestBusOutlivesItsConnection(t *testing.T) {
	dsn := pgtest.DSN(t)
	a, b := open(t, dsn, nil), open(t, dsn, nil)
	heard := make(chan string, 1000)
	defer b.Hear(func(m []byte) {
		select {
		case heard <- string(m):
		default:
		}
	})()
	conn, err := pgx.Connect(t.Context(), dsn)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, conn.Close(context.Background())) })
	_, err = conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	assert.NilError(t, err)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		_ = a.Say(t.Context(), []byte("again")) // the connections are made anew meanwhile
		select {
		case m := <-heard:
			assert.Equal(t, m, "again")
			return
		case <-again.C:
		}
	}
}
