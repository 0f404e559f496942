package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/version"
	"github.com/oz-platform/cloudagents/transport/worker"
)

const (
	// probeTimeout bounds what the back-end may take to answer.
	probeTimeout = 5 * time.Second
	// leastDisk is how much must be free for agents, in bytes.
	leastDisk = 256 << 20
)

// health is the body of /healthz.
type health struct {
	Status string `json:"status"` // "ok" or "unavailable"
	// Reasons say why the worker takes no work; empty when it does.
	Reasons   []string  `json:"reasons"`
	WorkerID  string    `json:"worker_id"`
	Instance  string    `json:"instance,omitempty"`
	Backend   string    `json:"backend"`
	Version   string    `json:"version"`
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"` // it is so
	Draining  bool      `json:"draining"`
	Capacity  int       `json:"capacity"` // 0 is no limit
	Busy      int       `json:"busy"`
	Idle      int       `json:"idle_workspaces"`     // of ended runs, for follow-ups; they take no place
	Retained  int       `json:"retained_workspaces"` // of failed runs, for inspection
	Unsent    int       `json:"unsent_reports"`
}

// checkup finds out how the worker is.
type checkup struct {
	backend string
	exec    executor.Executor
	root    string
	status  func() worker.Status
}

// look judges all that could keep the worker from taking work.
func (c *checkup) look(ctx context.Context) health {
	s := c.status()
	h := health{Status: "ok", Reasons: []string{}, WorkerID: s.ID, Instance: s.Instance, Backend: c.backend, Version: version.Number,
		Connected: s.Connected, Since: s.Since, Draining: s.Draining, Capacity: s.Capacity, Busy: s.Busy, Idle: s.Idle, Retained: s.Retained, Unsent: s.Unsent}
	say := func(format string, args ...any) { h.Reasons = append(h.Reasons, fmt.Sprintf(format, args...)) }
	switch {
	case !s.Connected && s.LastError != "":
		say("not connected to the server: %s", s.LastError)
	case !s.Connected:
		say("not connected to the server yet")
	case !s.Ready:
		say("taking up what an earlier process has left")
	}
	if s.Draining {
		say("draining: nothing new is taken")
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if _, err := c.exec.List(ctx); err != nil {
		say("the back-end %s is broken: %v", c.backend, err)
	}
	if free, _, err := diskOf(c.root); err == nil && free < leastDisk {
		say("the disk of %s is full: %d MiB are free, %d are needed", c.root, free>>20, leastDisk>>20)
	}
	if len(h.Reasons) > 0 {
		h.Status = "unavailable"
	}
	return h
}

// ServeHTTP answers /healthz.
func (c *checkup) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := c.look(r.Context())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if h.Status != "ok" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(h) // whoever asked is gone
}

// healthy is look for the metrics.
func (c *checkup) healthy() bool { return c.look(context.Background()).Status == "ok" }

// serveStatus serves /healthz and /metrics until ctx ends.
func serveStatus(ctx context.Context, ln net.Listener, c *checkup, m *metrics) error {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", c)
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Timeout: 2 * probeTimeout, MaxRequestsInFlight: 4}))
	h := &http.Server{Handler: mux, ReadHeaderTimeout: probeTimeout}
	stop := context.AfterFunc(ctx, func() { _ = h.Close() })
	defer stop()
	if err := h.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}
