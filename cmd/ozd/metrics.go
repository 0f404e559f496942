package main

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/oz-platform/cloudagents/internal/version"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task/laws"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

// scrapeTimeout bounds what the store may take for one scrape.
const scrapeTimeout = 5 * time.Second

// metrics are what an operator's Prometheus reads.
type metrics struct {
	registry   *prometheus.Registry
	violations *prometheus.CounterVec
	ticks      *prometheus.CounterVec
	silent     prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		violations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oz_invariant_violations_total", Help: "Runs whose record broke a law of the store after their end. Anything but 0 is a fault to report."}, []string{"law"}),
		ticks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oz_schedule_ticks_total", Help: "Ticks of schedules that this server has decided, by what became of them."}, []string{"outcome"}),
		silent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "oz_schedule_silent_total", Help: "Ticks of schedules that nobody decided for minutes. Anything but 0 means that schedules do not run: see the log."}),
	}
	for _, law := range laws.All() {
		m.violations.WithLabelValues(string(law)) // shown as 0, not missing
	}
	for _, o := range schedule.Outcomes() {
		m.ticks.WithLabelValues(string(o))
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "oz_build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": version.Number}}, func() float64 { return 1 })
	m.registry.MustRegister(m.violations, m.ticks, m.silent, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) violation(v laws.Violation) { m.violations.WithLabelValues(string(v.Law)).Inc() }

// schedules counts what becomes of ticks.
func (m *metrics) schedules() schedule.Options {
	return schedule.Options{
		OnTick:    func(_ string, t schedule.Tick) { m.ticks.WithLabelValues(string(t.Outcome)).Inc() },
		OnSilence: func(string, time.Time) { m.silent.Inc() },
	}
}

// watch adds what the platform knows.
func (m *metrics) watch(p *oz.Platform) { m.registry.MustRegister(loadCollector{p}) }

// handler serves the metrics.
func (m *metrics) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Timeout: 2 * scrapeTimeout, MaxRequestsInFlight: 4}))
	return mux
}

var (
	waitingDesc = prometheus.NewDesc("oz_runs_waiting", "Runs that wait for a worker, over all servers of the database.", nil, nil)
	liveDesc    = prometheus.NewDesc("oz_executions_live", "Executions that have not ended, over all servers of the database.", nil, nil)
)

// loadCollector reads the platform's load at each scrape.
type loadCollector struct{ p *oz.Platform }

// Describe implements prometheus.Collector.
func (c loadCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- waitingDesc
	ch <- liveDesc
}

// Collect implements prometheus.Collector.
func (c loadCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	load, err := c.p.Load(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(waitingDesc, err)
		return
	}
	ch <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(load.Waiting))
	ch <- prometheus.MustNewConstMetric(liveDesc, prometheus.GaugeValue, float64(load.Live))
}
