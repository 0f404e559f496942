package worker_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/rest"
	"github.com/oz-platform/cloudagents/transport/worker"
)

// shop is a server that can be stopped and started anew over its store: nothing
// that it knew but what is stored outlives that.
type shop struct {
	t       testing.TB
	store   *sqlitestore.Store
	address string
	// env is the server of now, as the helpers want it.
	env *transporttest.Env
	key string
	// ahead is how far the clocks of the next server are ahead of the machine's.
	ahead time.Duration
}

func newShop(t testing.TB) *shop {
	t.Helper()
	store, err := sqlitestore.Open(context.Background(), filepath.Join(t.TempDir(), "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, store.Close()) })
	return &shop{t: t, store: store, address: "127.0.0.1:0"}
}

// open starts the server.
func (s *shop) open() (stop func()) {
	s.t.Helper()
	clock := &quick{ahead: s.ahead, speed: 1}
	p, err := oz.New(s.store, &oz.Options{FirstBackoff: time.Millisecond, MaxBackoff: time.Millisecond, RefusalBackoff: time.Millisecond, Clock: clock})
	assert.NilError(s.t, err)
	hub, err := worker.NewHub(p, &worker.HubOptions{Clock: clock})
	assert.NilError(s.t, err)
	handler, err := rest.New(p, &rest.Options{Workers: hub})
	assert.NilError(s.t, err)
	_, _, err = p.Registry().Bootstrap(context.Background(), transporttest.AdminKey)
	assert.NilError(s.t, err)
	l, err := net.Listen("tcp", s.address)
	assert.NilError(s.t, err)
	s.address = l.Addr().String()
	server := rest.NewServer("", handler)
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { assert.Check(s.t, p.Run(ctx)) })
	work.Go(func() { assert.Check(s.t, hub.Run(ctx)) })
	work.Go(func() { assert.Check(s.t, errors.Is(server.Serve(l), http.ErrServerClosed)) })
	s.env = &transporttest.Env{Store: s.store, Platform: p, URL: "http://" + s.address}
	if s.key == "" {
		caller, err := p.Authenticate(context.Background(), transporttest.AdminKey)
		assert.NilError(s.t, err)
		s.key, _, err = p.Registry().CreateKey(context.Background(), caller, access.KeySpec{Name: "rack", Type: access.KeyWorker})
		assert.NilError(s.t, err)
	}
	stop = sync.OnceFunc(func() { cancel(); _ = server.Close(); work.Wait() })
	s.t.Cleanup(stop)
	return stop
}

// TestServerRestarts: the server restarts under workers of both kinds: what was
// at work goes on, its end is taken, and what was cancelled is stopped.
func TestServerRestarts(t *testing.T) {
	t.Run("official", func(t *testing.T) {
		s := newShop(t)
		stop := s.open()
		o := connect(t, s.env, s.key, "w1")
		run := submit(t, s.env, w1)
		id, h := o.assigned(s.env)
		o.send(claimedFrame, id)
		reaches(t, s.env, id, task.StateClaimed)
		begin(t, h)
		stop()
		s.open()
		o = connect(t, s.env, s.key, "w1")
		o.send(completedFrame, "T-unknown")
		link := agent(t, h)
		_, err := link.Heartbeat(t.Context())
		assert.NilError(t, err)
		succeed(t, link)
		o.send(completedFrame, id)
		got := reaches(t, s.env, run.ID, task.StateSucceeded)
		assert.Equal(t, got.Executions, 1)
	})
	t.Run("official, failed while away", func(t *testing.T) {
		s := newShop(t)
		stop := s.open()
		o := connect(t, s.env, s.key, "w1")
		run := submit(t, s.env, w1)
		id, h := o.assigned(s.env)
		o.send(claimedFrame, id)
		reaches(t, s.env, id, task.StateClaimed)
		begin(t, h)
		stop()
		s.open()
		o = connect(t, s.env, s.key, "w1")
		o.send(pullFrame, id) // waited in the worker's queue
		eventually(t, "the run has failed", func() bool {
			now, err := s.env.Platform.Get(t.Context(), run.ID)
			return err == nil && now.State == task.StateFailed && now.Status.ErrorCode == task.CodeEnvironmentSetupFailed
		})
		gone(t, s.env, run.ID)
	})
	t.Run("ours", func(t *testing.T) {
		s := newShop(t)
		stop := s.open()
		h := newHostWith(t, s.env, s.key)
		flag := filepath.Join(t.TempDir(), "go-on")
		w, _ := h.run(flag, nil)
		kept, cancelled := submit(t, s.env, task.Config{}), submit(t, s.env, task.Config{})
		reaches(t, s.env, kept.ID, task.StateInProgress)
		reaches(t, s.env, cancelled.ID, task.StateInProgress)
		for range 3 {
			stop()
			eventually(t, "the worker knows", func() bool { return !w.Status().Connected })
			stop = s.open()
		}
		assert.NilError(t, s.env.Platform.Cancel(t.Context(), cancelled.ID)) // perhaps before the worker is back
		eventually(t, "one of both is stopped", func() bool { return len(h.sandboxes()) == 1 })
		gone(t, s.env, cancelled.ID)
		assert.NilError(t, os.WriteFile(flag, nil, 0o600))
		got := reaches(t, s.env, kept.ID, task.StateSucceeded)
		assert.Equal(t, got.Executions, 1)
		eventually(t, "nothing is left", func() bool { return len(h.sandboxes()) == 0 && w.Status().Busy == 0 })
	})
}
