package main

import (
	"errors"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/oz-platform/cloudagents/internal/keptworkspaces"
	"github.com/oz-platform/cloudagents/internal/version"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/worker"
)

// What the official worker's metrics have for labels (Oz worker protocol, 7.1
// and 12).
var (
	failureReasons = strings.Fields(`unknown task_timeout task_cancelled graceful_shutdown image_pull invalid_image sidecar_prep container_create
		container_start container_wait container_exit container_oom workspace_setup setup_command agent_invocation teardown_command dispatch_command
		dispatch_timeout cancel_command job_create job_watch job_failed evicted pod_watch unschedulable volume_mount init_container active_deadline cleanup`)
	failurePhases   = []string{"assignment", "backend", "cleanup"}
	results         = []string{"succeeded", "failed", "cancelled", "dispatched", "unknown"} // the last is ours
	durationBuckets = []float64{0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000}
)

// metrics are what an operator's Prometheus reads. All series are there from
// the start.
type metrics struct {
	registry   *prometheus.Registry
	backend    string
	claimed    prometheus.Counter
	started    prometheus.Counter
	rejected   *prometheus.CounterVec
	completed  *prometheus.CounterVec
	failures   *prometheus.CounterVec
	reconnects *prometheus.CounterVec
	duration   *prometheus.HistogramVec
}

func newMetrics(workerID, backend string) *metrics {
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "oz_worker_" + name, Help: help}, labels)
	}
	m := &metrics{
		registry:   prometheus.NewRegistry(),
		backend:    backend,
		claimed:    prometheus.NewCounter(prometheus.CounterOpts{Name: "oz_worker_tasks_claimed_total", Help: "Runs that this worker has taken."}),
		started:    prometheus.NewCounter(prometheus.CounterOpts{Name: "oz_worker_tasks_granted_total", Help: "Runs taken whose work has begun."}),
		rejected:   counters("tasks_rejected_total", "Runs that this worker has refused.", "reason"),
		completed:  counters("tasks_completed_total", "Runs of which nothing runs here any more, by how they ended.", "result"),
		failures:   counters("task_failures_total", "Runs that did not end well.", "phase", "reason"),
		reconnects: counters("websocket_reconnects_total", "Times that the link to the server had to be made again.", "reason"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "oz_worker_task_duration_seconds",
			Help: "How long runs were at work here.", Buckets: durationBuckets}, []string{"result"}),
	}
	for _, reason := range []string{"at_capacity", "draining", "other"} {
		m.rejected.WithLabelValues(reason)
	}
	for _, result := range results {
		m.completed.WithLabelValues(result)
	}
	for _, phase := range failurePhases {
		for _, reason := range failureReasons {
			m.failures.WithLabelValues(phase, reason)
		}
	}
	for _, reason := range []string{"dial_failed", "remote_close"} {
		m.reconnects.WithLabelValues(reason)
	}
	info := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "oz_worker_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": version.Number, "backend": backend, "worker_id": workerID}}, func() float64 { return 1 })
	m.registry.MustRegister(m.claimed, m.started, m.rejected, m.completed, m.failures, m.reconnects, m.duration, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// watch adds what the worker knows at each scrape.
func (m *metrics) watch(status func() worker.Status, kept func() oz.KeptWorkspaces, healthy func() bool) {
	gauge := func(name, help string, value func(worker.Status) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "oz_worker_" + name, Help: help}, func() float64 { return value(status()) })
	}
	m.registry.MustRegister(keptworkspaces.Collector("oz_worker_", kept),
		gauge("connected", "1 while the server has this worker.", func(s worker.Status) float64 { return number(s.Connected) }),
		gauge("draining", "1 while nothing new is taken.", func(s worker.Status) float64 { return number(s.Draining) }),
		gauge("tasks_active", "Places that are taken.", func(s worker.Status) float64 { return float64(s.Busy) }),
		gauge("tasks_max_concurrent", "Places that there are; 0 is no limit.", func(s worker.Status) float64 { return float64(s.Capacity) }),
		gauge("reports_unsent", "Reports that wait for the server.", func(s worker.Status) float64 { return float64(s.Unsent) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "oz_worker_healthy", Help: "1 while /healthz says that all is well."},
			func() float64 { return number(healthy()) }))
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// observe counts what happens. It does not block.
func (m *metrics) observe(e worker.Event) {
	switch e.Kind {
	case worker.EventClaimed:
		m.claimed.Inc()
	case worker.EventStarted:
		m.started.Inc()
	case worker.EventRejected:
		m.rejected.WithLabelValues(rejection(e.Err)).Inc()
	case worker.EventDialFailed:
		m.reconnects.WithLabelValues("dial_failed").Inc()
	case worker.EventDisconnected:
		m.reconnects.WithLabelValues("remote_close").Inc()
	case worker.EventEnded:
		result := resultOf(e.Result)
		m.completed.WithLabelValues(result).Inc()
		m.duration.WithLabelValues(result).Observe(e.Took.Seconds())
		if result == "failed" {
			m.failures.WithLabelValues("backend", m.reason(e.Result)).Inc()
		}
	}
}

// rejection is the label for why an offer was refused.
func rejection(err error) string {
	switch {
	case errors.Is(err, oz.ErrAtCapacity):
		return "at_capacity"
	case err != nil && strings.Contains(err.Error(), "draining"):
		return "draining"
	}
	return "other"
}

// resultOf is the label for how an execution ended. A run that waits for a
// person has ended here as it should. What was handed over counts until its
// agent has reported, so that "dispatched" stays 0.
func resultOf(result string) string {
	switch result {
	case "":
		return "unknown"
	case string(task.StateSucceeded), string(task.StateBlocked):
		return "succeeded"
	case string(task.StateCancelled):
		return "cancelled"
	}
	return "failed"
}

// reason is the official worker's word for why an execution failed.
func (m *metrics) reason(result string) string {
	switch {
	case result == string(task.CodeAgentProcessFailed) && m.backend == backendCommand:
		return "dispatch_command"
	case result == string(task.CodeAgentProcessFailed) || result == string(task.StateFailed) || result == string(task.StateError):
		return "agent_invocation"
	case result == string(task.CodeResourceUnavailable):
		return "workspace_setup"
	case result == string(task.CodeInfrastructureTimeout):
		return "task_timeout"
	case strings.HasPrefix(result, "the worker shut") || strings.HasPrefix(result, "the worker is shutting"):
		return "graceful_shutdown"
	}
	return "unknown"
}
