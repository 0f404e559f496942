package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/environment/skill"
	"github.com/oz-platform/cloudagents/environment/skill/bundled"
	"github.com/oz-platform/cloudagents/environment/skill/gitskills"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/keptworkspaces"
	"github.com/oz-platform/cloudagents/internal/modelenv"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/rest"
	"github.com/oz-platform/cloudagents/transport/worker"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/github"
	"github.com/oz-platform/cloudagents/trigger/gitlab"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/jira"
	"github.com/oz-platform/cloudagents/trigger/linear"
	"github.com/oz-platform/cloudagents/trigger/slack"
	"github.com/oz-platform/cloudagents/trigger/webhook/celfilter"
)

// shutdownTimeout is how long requests under way may take after SIGTERM.
const shutdownTimeout = 10 * time.Second

// serve opens everything, serves until ctx ends, and closes everything.
func serve(ctx context.Context, c config, env modelenv.Lookup, stdout, stderr io.Writer) (err error) {
	log, err := newLogger(c.LogLevel, stderr)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }()
	s := &server{config: c, env: env, log: log, metrics: newMetrics()}
	stopped := ctx
	defer func() {
		if err != nil && stopped.Err() != nil && (!s.running || errors.Is(err, context.Canceled)) {
			// What is interrupted may fail in words of its own, as SQLite does.
			log.Info("stopped while it started", zap.Error(err))
			err = nil
		}
	}()
	if err := s.resolve(); err != nil {
		return err
	}
	if c.exposed {
		log.Warn("the command line shows the database's password to every user of this host: use OZ_STORE, or leave the password to PGPASSWORD or a password file")
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	ln, err := listen(ctx, c.Listen)
	if err != nil {
		return err
	}
	s.address = "http://" + loopback(ln.Addr())
	if tcp, ok := ln.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		log.Warn("the API is served without TLS to other machines: put a proxy with TLS before it", zap.Stringer("listen", tcp))
	}
	d := newDoor()
	h := rest.NewServer(c.Listen, d)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := h.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		defer func() { _ = h.Close() }() // also when there was nothing to serve
		return s.work(ctx, h, d, stdout)
	})
	return g.Wait()
}

// work opens the store and serves it behind d until ctx ends, then lets
// requests under way finish before it closes the store.
func (s *server) work(ctx context.Context, h *http.Server, d *door, stdout io.Writer) (err error) {
	p := newPatience(s.config.storeWait(), s.log)
	store, closeAll, err := s.open(ctx, p)
	defer func() { err = errors.Join(err, closeAll()) }()
	if err != nil {
		return err
	}
	platform, hub, handler, err := s.assemble(ctx, store, p)
	if err != nil {
		return err
	}
	var key string
	var created bool
	err = p.attempt(ctx, func() (err error) {
		key, created, err = platform.Registry().Bootstrap(ctx, s.config.bootstrapKey)
		return err
	})
	if err != nil {
		return bootstrapError(s.config.bootstrapKey, err)
	}
	open, err := s.webAddress(ctx, platform, created && s.config.bootstrapKey == "")
	if err != nil {
		s.greet(stdout, key, created, "") // the key is shown this once
		return err
	}
	h.RegisterOnShutdown(handler.Stop)
	d.open(handler)
	s.greet(stdout, key, created, open)
	s.running = true
	return s.run(ctx, platform, hub, h)
}

// open opens what a server stands on, side by side: each waits for a disk or
// for a program of its own. closeAll closes what was opened, after a failure too.
func (s *server) open(ctx context.Context, p *patience) (store task.Store, closeAll func() error, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var sandboxes, skills, records io.Closer
	boxes := func() (err error) { s.executor, s.runners, sandboxes, err = s.openExecutor(ctx); return err }
	all := []func() error{
		func() (err error) {
			if store, err = s.config.openStore(ctx, p); err == nil {
				records = store
			}
			return err
		},
		func() (err error) { skills, err = s.openSkills(ctx); return err },
	}
	alone := s.config.Worker.Executor == executorContainerd // it clears up, which only whoever has the store may
	if !alone {
		all = append(all, boxes)
	}
	if err = sideBySide(ctx, cancel, all...); err == nil && alone {
		err = boxes()
	}
	return store, func() (err error) {
		defer cancel(nil)
		for _, c := range []io.Closer{sandboxes, skills, records} {
			if c != nil {
				err = errors.Join(err, c.Close())
			}
		}
		return err
	}, err
}

// sideBySide does everything at once. When something fails it ends ctx by
// cancel, since the rest need not wait for theirs: the error is of what failed,
// not of what was cut off for it.
func sideBySide(ctx context.Context, cancel context.CancelCauseFunc, all ...func() error) error {
	var g errgroup.Group
	for _, do := range all {
		g.Go(func() error {
			err := do()
			if err != nil {
				cancel(err)
			}
			return err
		})
	}
	if g.Wait() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// assemble puts platform and API together.
func (s *server) assemble(ctx context.Context, store task.Store, p *patience) (*oz.Platform, *worker.Hub, *rest.Handler, error) {
	sealed, links, err := s.config.openSealed(ctx, store, p)
	if err != nil {
		return nil, nil, nil, err
	}
	platform, err := s.platform(store, sealed)
	if err != nil {
		return nil, nil, nil, err
	}
	s.metrics.watch(platform)
	hub, err := worker.NewHub(platform, &worker.HubOptions{SidecarImage: s.config.Worker.SidecarImage, Logger: s.log})
	if err != nil {
		return nil, nil, nil, err
	}
	pages, err := s.pages()
	if err != nil {
		return nil, nil, nil, err
	}
	handler, err := rest.New(platform, &rest.Options{SigningKey: links, CORSOrigins: s.config.AllowedOrigins, SignIn: s.signIn, Workers: hub, Pages: pages, Logger: s.log})
	return platform, hub, handler, err
}

// bootstrapError names the variable that a person set, not the field.
func bootstrapError(chosen string, err error) error {
	if chosen != "" && errors.Is(err, task.ErrInvalid) {
		return fmt.Errorf("OZ_BOOTSTRAP_API_KEY: %w", err)
	}
	return err
}

// inheritTime is how long an address may be in use at a start: what a killed
// server was just starting has its sockets until it runs a program of its own.
const inheritTime = 2 * time.Second

// listen says what to do about the usual obstacles.
func listen(ctx context.Context, address string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	for until := time.Now().Add(inheritTime); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(until); {
		select {
		case <-time.After(inheritTime / 100):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		ln, err = net.Listen("tcp", address)
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen: %s is in use, perhaps by another ozd: stop that one, or choose another address with --listen (port 0 takes a free one)", address)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listen: %s: ports below 1024 need privileges; choose a higher one with --listen", address)
	case err != nil:
		return nil, fmt.Errorf("listen: %w", err)
	}
	return ln, nil
}

// server is the program put together.
type server struct {
	config  config
	env     modelenv.Lookup
	log     *zap.Logger
	metrics *metrics
	address string // of the API as the runners on this host reach it
	running bool   // it has started

	models      executor.Models
	credentials []executor.GitCredential
	skills      skill.Source
	signIn      *rest.SignIn // nil without an identity provider

	executor executor.Executor // of the worker in this process
	runners  *oz.LocalWorkerOptions
}

// resolve reads what the configuration only names, before anything is opened.
func (s *server) resolve() (err error) {
	if s.models, err = s.config.models(s.env); err != nil {
		return err
	}
	if s.credentials, err = s.config.credentials(s.env); err != nil {
		return err
	}
	s.signIn, err = s.config.signIn(s.env)
	return err
}

// openSkills looks for skills by git. A server without git has none.
func (s *server) openSkills(ctx context.Context) (io.Closer, error) {
	if _, err := exec.LookPath("git"); err != nil {
		return io.NopCloser(nil), nil // greet says so
	}
	source, err := gitskills.Open(ctx, filepath.Join(s.config.Data, "skills"), &gitskills.Options{Credentials: s.gitCredential})
	if err != nil {
		return nil, err
	}
	s.skills = source
	return source, nil
}

// gitCredential gives git what the configuration has for a host.
func (s *server) gitCredential(_ context.Context, host string) (git.Credential, error) {
	for _, c := range s.credentials {
		if c.Host == host {
			return git.Credential{Username: c.Username, Password: c.Password.Reveal()}, nil
		}
	}
	return git.Credential{}, nil
}

// platform assembles the drivers.
func (s *server) platform(store task.Store, secrets *sealed.Store) (*oz.Platform, error) {
	c := s.config
	blobs, err := c.openBlobs(store)
	if err != nil {
		return nil, err
	}
	worker, err := s.worker()
	if err != nil {
		return nil, err
	}
	plan, err := c.plan(store)
	if err != nil {
		return nil, err
	}
	suggested, err := bundled.Skills()
	if err != nil {
		return nil, err
	}
	return oz.New(store, &oz.Options{
		Entitlements: plan, Budgets: c.budgets(), Keys: &access.RegistryOptions{OpenTeams: c.OpenTeams},
		Logger: s.log, Workers: []oz.Worker{worker}, Models: s.models, PrivateEndpoints: s.config.PrivateModelEndpoints, Blobs: blobs, Sealed: secrets,
		Retention: time.Duration(c.RetentionDays) * 24 * time.Hour, OnViolation: s.metrics.violation, Schedules: s.metrics.schedules(),
		Limits: c.limits(), MaxConcurrent: c.MaxConcurrent, MaxWaiting: c.MaxWaiting, Lease: c.Lease, MaxAttempts: c.MaxAttempts, PublicURL: c.PublicURL, IdentityIssuer: c.IdentityIssuer,
		RepositoryBase: c.RepositoryBase, NoCodeIndex: c.NoCodeIndex, DisabledHarnesses: c.DisabledHarnesses, NoLinks: c.RunLinks == linksOff, GuestLinks: c.RunLinks == linksGuests, GitCredentials: s.credentials, Skills: s.skills, Suggested: suggested, Conditions: celfilter.Compile, Integrations: s.integrations,
		GitIdentity: executor.GitIdentity{Name: c.Git.Name, Email: c.Git.Email},
	})
}

// worker is the one in this process.
func (s *server) worker() (*oz.LocalWorker, error) {
	id, err := s.config.workerID()
	if err != nil {
		return nil, err
	}
	s.runners.ID = id
	w, err := oz.NewLocalWorker(s.executor, s.runners)
	if err == nil {
		s.metrics.registry.MustRegister(keptworkspaces.Collector("oz_", w.Kept))
	}
	return w, err
}

// run lets the platform work until ctx ends, then lets requests under way
// finish.
func (s *server) run(ctx context.Context, p *oz.Platform, hub *worker.Hub, h *http.Server) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.Run(ctx) })
	g.Go(func() error { return hub.Run(ctx) })
	g.Go(func() error { return s.serveMetrics(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		s.log.Info("draining")
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		return h.Shutdown(last)
	})
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil // that is how it is stopped
	}
	s.log.Info("stopped", zap.Error(err))
	return err
}

// serveMetrics serves /metrics until ctx ends, if the operator wants it.
func (s *server) serveMetrics(ctx context.Context) error {
	if s.config.MetricsListen == "" {
		return nil
	}
	ln, err := listen(ctx, s.config.MetricsListen)
	if err != nil {
		return fmt.Errorf("metrics_listen: %w", err)
	}
	h := &http.Server{Handler: s.metrics.handler(), ReadHeaderTimeout: scrapeTimeout}
	stop := context.AfterFunc(ctx, func() { _ = h.Close() })
	defer stop()
	if err := h.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}

// greet tells a person what to do next. created says that key is new, open
// where the web app is, if there is one.
func (s *server) greet(w io.Writer, key string, created bool, open string) {
	fmt.Fprintf(w, "ozd serves %s/api/v1\n", s.address)
	fmt.Fprintf(w, "  data    %s\n", s.config.Data)
	if s.config.postgres() {
		fmt.Fprintf(w, "  store   PostgreSQL%s, shared with other servers that name it\n", s.config.storePlace())
	}
	if len(s.models.Providers) == 0 {
		fmt.Fprintf(w, "  models  none: set ANTHROPIC_API_KEY, OPENAI_API_KEY or GEMINI_API_KEY and start again, or runs will fail\n")
	}
	if _, err := exec.LookPath("git"); err != nil {
		fmt.Fprintf(w, "  git     not found in PATH: runs with repositories will fail\n")
	}
	for _, p := range s.models.Providers {
		fmt.Fprintf(w, "  models  %s (default %s)\n", p.Name, s.models.Default)
	}
	switch {
	case s.config.bootstrapKey != "":
		fmt.Fprintf(w, "  key     that of OZ_BOOTSTRAP_API_KEY\n")
	case !created:
		fmt.Fprintf(w, "  key     as shown at the first start; if it is lost, choose one with OZ_BOOTSTRAP_API_KEY\n")
	default:
		fmt.Fprintf(w, "\nAdmin API key, shown this once:\n  %s\n", key)
		fmt.Fprintf(w, "\nTry:\n  export WARP_API_KEY=%s WARP_SERVER_ROOT_URL=%s\n  %s agent run-cloud --prompt 'Say hello' --follow\n", key, s.address, clientCommand())
	}
	if open != "" {
		fmt.Fprintf(w, "\nOpen %s\n", open)
	}
}

// clientCommand is how a person who started this program starts the client.
func clientCommand() string {
	if self, err := os.Executable(); err == nil && strings.Contains(self, "/go-build") {
		return "go run ./cmd/oz" // this one was started by go run
	}
	return "oz"
}

// loopback gives an address by which this host reaches a listener.
func loopback(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return a.String()
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(tcp.Port))
}

func newLogger(level string, w io.Writer) (*zap.Logger, error) {
	var l zapcore.Level
	if err := l.Set(level); err != nil {
		return nil, fmt.Errorf("log_level: %w", err)
	}
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.ISO8601TimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(enc), zapcore.Lock(zapcore.AddSync(w)), l)), nil
}

// integrations are the services that this server speaks to.
func (s *server) integrations(store *integration.Store) []trigger.Origin {
	hub := &github.Options{Logger: s.log}
	hub.At(s.config.GitHubURL)
	return []trigger.Origin{github.NewOrigin(store, hub), gitlab.NewOrigin(store, nil), jira.NewOrigin(store, nil), linear.NewOrigin(store, nil), slack.NewOrigin(store, nil)}
}
