// Package keptworkspaces shows to monitoring what a worker keeps of runs that
// have ended, and finds out how much room there is for it, for ozd and oz-worker.
package keptworkspaces

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oz-platform/cloudagents/oz"
)

type collector struct {
	kept, removed *prometheus.Desc
	read          func() oz.KeptWorkspaces
}

// Collector gives the metrics <prefix>workspaces_kept{kind} and
// <prefix>workspaces_removed_total{reason}, as read has them at each scrape.
func Collector(prefix string, read func() oz.KeptWorkspaces) prometheus.Collector {
	return collector{read: read,
		kept: prometheus.NewDesc(prefix+"workspaces_kept", "Workspaces of ended runs that are kept: idle for follow-ups, failed for inspection. They take no place.",
			[]string{"kind"}, nil),
		removed: prometheus.NewDesc(prefix+"workspaces_removed_total", "Workspaces that were removed: their time was over (expired), the run is unknown (orphaned), too many were kept (crowded), or the disk was nearly full (squeezed).",
			[]string{"reason"}, nil)}
}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.kept
	ch <- c.removed
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	k := c.read()
	ch <- prometheus.MustNewConstMetric(c.kept, prometheus.GaugeValue, float64(k.Idle), "idle")
	ch <- prometheus.MustNewConstMetric(c.kept, prometheus.GaugeValue, float64(k.Retained), "failed")
	for reason, n := range map[string]int64{"expired": k.Expired, "orphaned": k.Orphaned, "crowded": k.Crowded, "squeezed": k.Squeezed} {
		ch <- prometheus.MustNewConstMetric(c.removed, prometheus.CounterValue, float64(n), reason)
	}
}
