// Package transporttest starts a real platform behind a real HTTP server for
// the tests of server and client. Only the runner is played: by the test,
// through the link.
package transporttest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/fileblob"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/contract"
	"github.com/oz-platform/cloudagents/transport/rest"
	"github.com/oz-platform/cloudagents/transport/worker"
)

// AdminKey is the bootstrap key; it holds spaces, as keys may.
const AdminKey = "My API Key"

// Options says how an Env differs from the ordinary one.
type Options struct {
	Platform oz.Options
	Rest     rest.Options
	Hub      worker.HubOptions
	// Store opens the platform's store, which is then closed with the test.
	// Default: a sqlitestore.
	Store func(t testing.TB) task.Store
	// Idle leaves the platform without a worker, so that runs stay QUEUED.
	Idle bool
}

// Env is a server and its callers.
type Env struct {
	Store    task.Store
	Platform *oz.Platform
	Handler  *rest.Handler
	// URL is the server's root, without prefix.
	URL string
	// Member is a key of a second person on the admin's team; Outsider one of
	// a person on another team; Team the admin's team's own key.
	Member, Outsider, Team string

	t        testing.TB
	hub      *worker.Hub
	worker   *ownWorker
	contract *contract.Contract
	mu       sync.Mutex
	server   *http.Server
	served   sync.WaitGroup
	address  string
}

// Start runs a platform and its server until the test ends. opts may be nil.
func Start(t testing.TB, opts *Options) *Env {
	t.Helper()
	if opts == nil {
		opts = &Options{}
	}
	o, dir := *opts, t.TempDir()
	var err error
	if o.Store == nil {
		o.Store = func(t testing.TB) task.Store {
			store, err := sqlitestore.Open(context.Background(), filepath.Join(dir, "oz.db"), nil)
			assert.NilError(t, err)
			return store
		}
	}
	store := o.Store(t)
	t.Cleanup(func() { assert.Check(t, store.Close()) })
	if o.Platform.Blobs == nil {
		o.Platform.Blobs, err = fileblob.Open(filepath.Join(dir, "blobs"), nil)
		assert.NilError(t, err)
	}
	if o.Platform.Sealed == nil {
		keys, err := sealed.OpenKeys(filepath.Join(dir, "keys", "secrets.key"))
		assert.NilError(t, err)
		o.Platform.Sealed = sealed.New(store, keys, nil)
	}
	w := &ownWorker{offers: make(chan oz.Assignment, 1000)}
	if !o.Idle {
		o.Platform.Workers = append(o.Platform.Workers, w)
	}
	platform, err := oz.New(store, &o.Platform)
	assert.NilError(t, err)
	hub, err := worker.NewHub(platform, &o.Hub)
	assert.NilError(t, err)
	o.Rest.Workers = hub
	handler, err := rest.New(platform, &o.Rest)
	assert.NilError(t, err)
	held, err := contract.New(context.Background(), api.OpenAPI(), "/api/v1")
	assert.NilError(t, err)
	e := &Env{contract: held, Store: store, Platform: platform, Handler: handler, t: t, worker: w, hub: hub}
	e.people()
	e.run()
	e.listen("127.0.0.1:0")
	t.Cleanup(e.Down)
	return e
}

// run keeps the platform running until the test ends.
func (e *Env) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Platform.Run(ctx) }()
	go func() { done <- e.hub.Run(ctx) }()
	e.t.Cleanup(func() {
		cancel()
		assert.Check(e.t, <-done)
		assert.Check(e.t, <-done)
	})
}

// people makes the callers.
func (e *Env) people() {
	ctx, r := context.Background(), e.Platform.Registry()
	_, _, err := r.Bootstrap(ctx, AdminKey)
	assert.NilError(e.t, err)
	assert.NilError(e.t, r.PutTeam(ctx, access.Team{UID: "others", Name: "Others"}))
	assert.NilError(e.t, r.PutUser(ctx, access.User{UID: "mary", DisplayName: "Mary", Teams: []access.Membership{{UID: access.DefaultTeam, Role: access.RoleMember}}}))
	assert.NilError(e.t, r.PutUser(ctx, access.User{UID: "oscar", DisplayName: "Oscar", Teams: []access.Membership{{UID: "others", Role: access.RoleOwner}}}))
	e.Member = e.key("mary", access.KeyPersonal)
	e.Outsider = e.key("oscar", access.KeyPersonal)
	e.Team = e.key(access.DefaultUser, access.KeyTeam)
}

func (e *Env) key(user string, kind access.KeyType) string {
	caller, err := e.Platform.Registry().Caller(context.Background(), user)
	assert.NilError(e.t, err)
	raw, _, err := e.Platform.Registry().CreateKey(context.Background(), caller, access.KeySpec{Name: "test", Type: kind})
	assert.NilError(e.t, err)
	return raw
}

// Caller authenticates a key as the server does.
func (e *Env) Caller(key string) access.Caller {
	e.t.Helper()
	c, err := e.Platform.Authenticate(context.Background(), key)
	assert.NilError(e.t, err)
	return c
}

// listen serves at an address.
func (e *Env) listen(address string) {
	listener, err := net.Listen("tcp", address)
	assert.NilError(e.t, err)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.address = listener.Addr().String()
	e.URL = "http://" + e.address
	server := rest.NewServer("", e.contract.Handler(e.Handler, func(err error) { e.t.Error(err) }))
	server.RegisterOnShutdown(e.Handler.Stop)
	e.server = server
	e.served.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			e.t.Errorf("serve: %v", err)
		}
	})
}

// Down cuts every connection and stops listening, as a killed server does.
func (e *Env) Down() {
	e.mu.Lock()
	server := e.server
	e.mu.Unlock()
	_ = server.Close()
	e.served.Wait()
}

// Up serves again at the same address.
func (e *Env) Up() { e.listen(e.address) }

// Claimed waits for the next run that the platform gives to the worker, and
// returns the handshake of its runner.
func (e *Env) Claimed() executor.Handshake {
	e.t.Helper()
	select {
	case a := <-e.worker.offers:
		e.claimed(a)
		return executor.Handshake{ServerURL: e.URL, TaskID: a.Task.ID, ExecutionID: a.Execution, Token: a.Token}
	case <-time.After(30 * time.Second):
		e.t.Fatal("no run was offered to the worker")
		panic("unreachable")
	}
}

// claimed waits until the platform has recorded the worker's yes.
func (e *Env) claimed(a oz.Assignment) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for event, err := range e.Platform.Watch(ctx, a.Task.ID, 0) {
		assert.NilError(e.t, err)
		if s, ok := event.Payload.(*task.StateChanged); ok && s.To == task.StateClaimed {
			return
		}
	}
}

// ownWorker takes every run and leaves the work to the test.
type ownWorker struct{ offers chan oz.Assignment }

// Info implements oz.Worker.
func (w *ownWorker) Info() oz.WorkerInfo { return oz.WorkerInfo{ID: "test"} }

// Offer implements oz.Worker.
func (w *ownWorker) Offer(_ context.Context, a oz.Assignment) error {
	select {
	case w.offers <- a:
		return nil
	default:
		return oz.ErrAtCapacity
	}
}

// Cancel implements oz.Worker.
func (w *ownWorker) Cancel(context.Context, task.ExecutionID) {}

// Run implements oz.Worker.
func (w *ownWorker) Run(ctx context.Context, h oz.WorkerHost) error {
	h.Ready()
	<-ctx.Done()
	return nil
}
