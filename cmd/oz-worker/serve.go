package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"github.com/oz-platform/cloudagents/internal/modelenv"
	"github.com/oz-platform/cloudagents/internal/version"
	"github.com/oz-platform/cloudagents/transport/worker"
)

// serve works until it has drained, or is told twice to stop.
func serve(ctx context.Context, signals <-chan os.Signal, c config, env modelenv.Lookup, stdout, stderr io.Writer) (err error) {
	log := c.logger(stderr)
	defer func() { _ = log.Sync() }()
	if err := os.MkdirAll(c.home(), 0o700); err != nil {
		return fmt.Errorf("state_dir: %w; name a directory that the worker can make or write with --state-dir", err)
	}
	b, err := c.openBackend(ctx, env, log)
	if err != nil {
		return err
	}
	defer func() {
		if failed := b.close(); err == nil {
			err = failed
		}
	}()
	local, err := c.worker(b, log)
	if err != nil {
		return err
	}
	m := newMetrics(c.WorkerID, c.backend)
	w, err := worker.New(local, worker.Options{ServerURL: c.Server, LinkURL: c.linkURL, Key: c.key, StateDir: c.home(), Labels: c.Labels,
		Backend: c.backend, Version: version.Number, OneShot: c.oneShot, Observer: m.observe, Logger: log})
	if err != nil {
		return err
	}
	check := &checkup{backend: c.backend, exec: b.executor, root: b.root, status: w.Status}
	m.watch(w.Status, local.Kept, check.healthy)
	ln, err := c.listen()
	if err != nil {
		return err
	}
	c.warn(b, log)
	c.greet(stdout, ln)
	return c.work(ctx, signals, w, log, func(ctx context.Context) error {
		if ln == nil {
			return nil
		}
		return serveStatus(ctx, ln, check, m)
	})
}

// work runs the worker, and what shows how it is, until the worker is done.
func (c *config) work(ctx context.Context, signals <-chan os.Signal, w *worker.Worker, log *zap.Logger, show func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer cancel()
		return w.Run(ctx)
	})
	g.Go(func() error { return show(ctx) })
	g.Go(func() error {
		c.obey(ctx, signals, w, log)
		cancel()
		return nil
	})
	err := g.Wait()
	if left := w.Status().Busy; left > 0 {
		log.Info("stopped; runs at work go on, and the next start takes them up again", zap.Int("runs", left), zap.Error(err))
	} else {
		log.Info("stopped", zap.Error(err))
	}
	return err
}

// obey drains at the first signal, and returns when the time for that is over
// or at the second one.
func (c *config) obey(ctx context.Context, signals <-chan os.Signal, w *worker.Worker, log *zap.Logger) {
	select {
	case s := <-signals:
		log.Info("draining: nothing new is taken; a second signal stops at once", zap.Stringer("signal", s),
			zap.Int("runs", w.Status().Busy), zap.Duration("drain_timeout", c.DrainTimeout))
	case <-ctx.Done():
		return
	}
	w.Drain()
	select {
	case s := <-signals:
		log.Info("stopping at once", zap.Stringer("signal", s))
	case <-time.After(c.DrainTimeout):
		log.Info("the time for draining is over")
	case <-ctx.Done():
	}
}

// listen opens the address of /healthz and /metrics, if there is one.
func (c *config) listen() (net.Listener, error) {
	if c.Listen == "" {
		return nil, nil
	}
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w; choose another address with --listen (port 0 takes a free one)", err)
	}
	return ln, nil
}

// warn says what an operator may not have meant.
func (c *config) warn(b *backend, log *zap.Logger) {
	if c.exposed {
		log.Warn("the command line shows the key to every user of this host: use WARP_API_KEY, or --api-key-file")
	}
	switch {
	case b.contained:
	case b.why == "":
		log.Info("agents are isolated processes of this host", zap.String("by", b.isolation))
	default:
		log.Warn("agents are processes of this host and run as this user: they can read what it can read; give the worker a user of its own",
			zap.String("not_isolated", b.why))
	}
	if strings.HasPrefix(c.Server, "http://") && !isLoopback(c.Server) {
		log.Warn("the server is reached without TLS: keys and prompts can be read on the way", zap.String("server", c.Server))
	}
	if c.sessionURL != "" {
		log.Warn("--session-sharing-server-url has no effect: the server shares sessions itself")
	}
	switch exporter := os.Getenv("OTEL_METRICS_EXPORTER"); exporter {
	case "", "none", "prometheus":
	default:
		log.Warn("OTEL_METRICS_EXPORTER has no effect: Prometheus reads /metrics at the address of --listen", zap.String("exporter", exporter))
	}
}

// isLoopback reports that a URL leads to this host.
func isLoopback(raw string) bool {
	rest := strings.TrimPrefix(raw, "http://")
	host, _, _ := strings.Cut(rest, "/")
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// greet tells a person what was started.
func (c *config) greet(w io.Writer, ln net.Listener) {
	fmt.Fprintf(w, "oz-worker %s works for %s\n", c.WorkerID, c.Server)
	limit := "without limit"
	if n := c.capacity(); n > 0 {
		limit = fmt.Sprintf("%d at once", n)
	}
	fmt.Fprintf(w, "  backend  %s, %s\n  state    %s\n", c.backend, limit, c.home())
	if len(c.Labels) > 0 {
		fmt.Fprintf(w, "  labels   %s\n", strings.Join(c.Labels, ", "))
	}
	if ln != nil {
		fmt.Fprintf(w, "  status   http://%s/healthz and /metrics\n", ln.Addr())
	}
}

// logger writes to w.
func (c *config) logger(w io.Writer) *zap.Logger {
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.ISO8601TimeEncoder
	encoder := zapcore.NewJSONEncoder(enc)
	if c.LogFormat == "console" {
		encoder = zapcore.NewConsoleEncoder(enc)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), c.level())).With(zap.String("worker_id", c.WorkerID))
}
