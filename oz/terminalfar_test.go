package oz_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
)

// lossy is a store whose messages can be lost.
type lossy struct {
	*pgstore.Store
	mu   sync.Mutex
	lose bool
}

func (l *lossy) Say(ctx context.Context, messages ...[]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lose {
		return nil
	}
	return l.Store.Say(ctx, messages...)
}

func (l *lossy) losing(lose bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose = lose
}

// lossyReplica makes a platform on a database that it may share.
func lossyReplica(t *testing.T, dsn string, workers ...*worker) (*oz.Platform, *lossy) {
	t.Helper()
	store, err := pgstore.Open(t.Context(), dsn, nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, store.Close()) })
	l := &lossy{Store: store}
	opts := &oz.Options{}
	for _, w := range workers {
		opts.Workers = append(opts.Workers, w)
	}
	p, err := oz.New(l, opts)
	assert.NilError(t, err)
	for _, w := range workers {
		w.platform = p
	}
	return p, l
}

// flood is what a terminal shows at the word "flood": more than may be under way
// at once, and more than fits into one message.
func flood() []byte {
	var b []byte
	for i := range uint32(150_000) {
		b = binary.BigEndian.AppendUint32(b, i)
	}
	return b
}

// shows plays the runner's end of a terminal: it answers in capitals.
func shows(ctx context.Context, conn executor.TerminalConn, ended chan<- error) {
	defer func() { _ = conn.Close() }()
	for {
		f, err := conn.Receive(ctx)
		switch {
		case err != nil || f.Closed != nil:
			ended <- err
			return
		case f.Size != nil:
			err = conn.Send(ctx, executor.TerminalFrame{Data: []byte("resized")})
		case string(f.Data) == "flood":
			for piece := range slices.Chunk(flood(), executor.MaxTerminalData) {
				if err = conn.Send(ctx, executor.TerminalFrame{Data: piece}); err != nil {
					break
				}
			}
		case string(f.Data) == "exit":
			code := 7
			_ = conn.Send(ctx, executor.TerminalFrame{Data: []byte("bye"), Closed: nil})
			_ = conn.Send(ctx, executor.TerminalFrame{Closed: &task.Terminal{Code: task.TerminalExited, Reason: "the shell has ended", Exit: &code}})
			ended <- nil
			return
		default:
			err = conn.Send(ctx, executor.TerminalFrame{Data: bytes.ToUpper(f.Data)})
		}
		if err != nil {
			ended <- err
			return
		}
	}
}

// farRun is a run whose runner is at another platform than those who look.
type farRun struct {
	id    task.ID
	ended chan error // of each terminal, at the runner's end
}

// farWorker carries out a run that serves terminals until its context ends.
// joinAt, unless it is nil, gives the platform through which it joins them.
func farWorker(r *farRun, joinAt func() *oz.Platform) *worker {
	r.ended = make(chan error, 100)
	return newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
		desk, join := l.(executor.Terminals), l.(executor.Terminals)
		if joinAt != nil {
			caller, err := joinAt().Authenticate(ctx, a.Token.Reveal())
			if err != nil {
				return
			}
			other, err := joinAt().Link(caller)
			if err != nil {
				return
			}
			join = other.(executor.Terminals)
		}
		if l.Begin(ctx) != nil {
			return
		}
		var open sync.WaitGroup
		defer open.Wait()
		for ctx.Err() == nil {
			next, err := desk.NextTerminal(ctx, 20*time.Second)
			if err != nil {
				return
			}
			if next == nil {
				continue
			}
			if conn, err := join.JoinTerminal(ctx, next.ID); err == nil {
				open.Go(func() { shows(ctx, conn, r.ended) })
			}
		}
	})
}

// person is somebody in a terminal.
type person struct {
	t    *testing.T
	conn executor.TerminalConn
	stop func() // the server of the person
	done chan struct{}
}

// opens opens a terminal of a run at a platform.
func opens(t *testing.T, c *oz.Client, id task.ID) *person {
	t.Helper()
	term, err := c.OpenTerminal(t.Context(), id, executor.TerminalSize{Cols: 80, Rows: 24})
	assert.NilError(t, err)
	mine, theirs := oz.TerminalPipe()
	ctx, cancel := context.WithCancel(context.Background())
	p := &person{t: t, conn: mine, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		term.Serve(ctx, theirs, nil)
	}()
	t.Cleanup(func() { cancel(); _ = mine.Close(); <-p.done })
	assert.Equal(t, p.receive().Opened, term.ID)
	assert.Equal(t, p.says("hello"), "HELLO")
	return p
}

func (p *person) receive() executor.TerminalFrame {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	f, err := p.conn.Receive(ctx)
	assert.NilError(p.t, err)
	return f
}

func (p *person) says(text string) string {
	p.t.Helper()
	assert.NilError(p.t, p.conn.Send(p.t.Context(), executor.TerminalFrame{Data: []byte(text)}))
	return string(p.receive().Data)
}

// TestTerminalsAcrossReplicas has a person at one server take over in a run whose
// runner asks another server and joins at a third: all that is shown arrives, in
// order, however much it is.
func TestTerminalsAcrossReplicas(t *testing.T) {
	dsn := pgtest.DSN(t)
	var r farRun
	a, c := replica(t, dsn), replica(t, dsn)
	b := replica(t, dsn, farWorker(&r, func() *oz.Platform { return c }))
	start(t, a)
	start(t, b)
	start(t, c)
	r.id = submit(t, a, oz.Request{Prompt: "work"}).ID
	until(t, a, r.id, becomes(task.StateInProgress))
	bob := people(t, a)["bob"]
	run := submit(t, bob, oz.Request{Prompt: "red"})
	assert.ErrorContains(t, bob.MayOpenTerminal(t.Context(), run.ID, executor.TerminalSize{Cols: 1, Rows: 1}), "only while it is at work")

	p := opens(t, a.Client, r.id)
	assert.NilError(t, p.conn.Send(t.Context(), executor.TerminalFrame{Size: &executor.TerminalSize{Cols: 100, Rows: 30}}))
	assert.Equal(t, string(p.receive().Data), "resized")
	assert.NilError(t, p.conn.Send(t.Context(), executor.TerminalFrame{Data: []byte("flood")}))
	want, got := flood(), []byte(nil)
	for len(got) < len(want) {
		got = append(got, p.receive().Data...)
	}
	assert.Assert(t, bytes.Equal(got, want))
	assert.Equal(t, p.says("exit"), "bye")
	end := p.receive().Closed
	assert.Equal(t, end.Code, task.TerminalExited)
	assert.Equal(t, *end.Exit, 7)
	assert.NilError(t, <-r.ended)

	// A person who goes ends the runner's side.
	p = opens(t, a.Client, r.id)
	assert.NilError(t, p.conn.Close())
	<-r.ended
	// So does the person's server that stops: they are told why.
	p = opens(t, a.Client, r.id)
	p.stop()
	assert.Equal(t, p.receive().Closed.Code, task.TerminalStopping)
	<-r.ended
}

// TestTerminalEndsWithItsReplica stops the server that the runner is at, then the
// one that the person is at: nobody waits for what does not come.
func TestTerminalEndsWithItsReplica(t *testing.T) {
	dsn := pgtest.DSN(t)
	var r farRun
	a, c := replica(t, dsn), replica(t, dsn)
	b := replica(t, dsn, farWorker(&r, func() *oz.Platform { return c }))
	stopA := start(t, a)
	start(t, b)
	stopC := start(t, c)
	r.id = submit(t, a, oz.Request{Prompt: "work"}).ID
	until(t, a, r.id, becomes(task.StateInProgress))
	p := opens(t, a.Client, r.id)
	stopC()
	assert.Equal(t, p.receive().Closed.Code, task.TerminalSandboxGone)
	<-r.ended

	start(t, c)
	opens(t, a.Client, r.id)
	stopA()
	<-r.ended
}

// TestLostWordsEndTerminals loses messages between two servers: what was typed
// is not typed with gaps.
func TestLostWordsEndTerminals(t *testing.T) {
	dsn := pgtest.DSN(t)
	var r farRun
	a, words := lossyReplica(t, dsn)
	b := replica(t, dsn, farWorker(&r, nil))
	start(t, a)
	start(t, b)
	r.id = submit(t, a, oz.Request{Prompt: "work"}).ID
	until(t, a, r.id, becomes(task.StateInProgress))
	p := opens(t, a.Client, r.id)
	words.losing(true)
	assert.NilError(t, p.conn.Send(t.Context(), executor.TerminalFrame{Data: []byte("lost")}))
	assert.NilError(t, p.conn.Send(t.Context(), executor.TerminalFrame{Data: []byte("after it")})) // it is taken when the first was sent
	assert.NilError(t, p.conn.Send(t.Context(), executor.TerminalFrame{Data: []byte("and then")}))
	words.losing(false)
	var typing sync.WaitGroup
	defer typing.Wait()
	typing.Go(func() { // the terminal may be over before
		_ = p.conn.Send(t.Context(), executor.TerminalFrame{Data: []byte("rm -rf")})
	})
	assert.Equal(t, p.receive().Closed.Code, task.TerminalSandboxGone)
	<-r.ended
}

// TestPresenceOfAllReplicas has people follow one run at two servers: each tells
// of both, and of a request to edit that was made at the other one.
func TestPresenceOfAllReplicas(t *testing.T) {
	dsn := pgtest.DSN(t)
	a, b := replica(t, dsn), replica(t, dsn)
	start(t, a)
	stopB := start(t, b)
	atA := people(t, a)
	registry := func(p *oz.Platform, uid string) *oz.Client {
		c, err := p.Registry().Caller(t.Context(), uid)
		assert.NilError(t, err)
		return p.As(c)
	}
	id := submit(t, atA["ann"], oz.Request{Prompt: "work"}).ID
	ann, err := atA["ann"].Follow(t.Context(), id, 0)
	assert.NilError(t, err)
	defer ann.Close()
	bob, err := registry(b, "bob").Follow(t.Context(), id, 0)
	assert.NilError(t, err)
	for name, f := range map[string]*oz.Follower{"a": ann, "b": bob} {
		awaitPeople(t, f, name, "ann", "bob")
	}
	p, err := registry(b, "ann").Presence(t.Context(), id)
	assert.NilError(t, err)
	assert.Equal(t, len(p.Participants), 2)

	// The same person at both is one participant, with two streams.
	twice, err := registry(b, "ann").Follow(t.Context(), id, 0)
	assert.NilError(t, err)
	awaitCrowd(t, ann, "a", func(p oz.Presence) bool { return len(p.Participants) == 2 && p.Participants[0].Streams == 2 })
	twice.Close()
	awaitCrowd(t, ann, "a", func(p oz.Presence) bool { return p.Participants[0].Streams == 1 })

	// Whoever leaves, or whose server stops, is there no more.
	bob.Close()
	awaitPeople(t, ann, "a", "ann")
	again, err := registry(b, "bob").Follow(t.Context(), id, 0)
	assert.NilError(t, err)
	defer again.Close()
	awaitPeople(t, ann, "a", "ann", "bob")
	stopB()
	awaitPeople(t, ann, "a", "ann")
}

func awaitPeople(t *testing.T, f *oz.Follower, name string, uids ...string) {
	t.Helper()
	awaitCrowd(t, f, name, func(p oz.Presence) bool {
		var there []string
		for _, x := range p.Participants {
			there = append(there, x.UID)
		}
		slices.Sort(there)
		return slices.Equal(there, uids)
	})
}

// awaitCrowd waits until a follower is told what is wanted.
func awaitCrowd(t *testing.T, f *oz.Follower, name string, wanted func(oz.Presence) bool) {
	t.Helper()
	late := time.After(2 * time.Minute)
	for {
		p, changed, err := f.Presence(t.Context())
		assert.NilError(t, err)
		if wanted(p) {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("at %s: %+v", name, p)
		}
	}
}
