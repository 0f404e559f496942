package wire

import (
	"cmp"
	"time"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// noGroup is the wire's word for statistics without groups.
const noGroup = "none"

// StatsGroup reads a group of statistics.
func StatsGroup(s string) task.StatsGroup {
	if s == noGroup {
		return ""
	}
	return task.StatsGroup(s)
}

// StatsReport is the answer to GET /oz/stats.
func StatsReport(r oz.StatsReport) api.StatsResponse {
	q := r.Query
	out := api.StatsResponse{GroupBy: cmp.Or(string(q.Group), noGroup), Bucket: string(q.Bucket), TimeZone: q.TimeZone, From: q.From, To: q.To,
		Total: runStats(r.Total), Buckets: statsPieces(r.Buckets), Groups: []api.StatsGroup{}, Truncated: r.Truncated}
	for _, g := range r.Groups {
		out.Groups = append(out.Groups, api.StatsGroup{Key: g.Key, Name: g.Name, Stats: runStats(g.Stats), Buckets: statsPieces(g.Buckets)})
	}
	return out
}

// StatsReportOf reads what StatsReport wrote. Filters are not in it.
func StatsReportOf(r api.StatsResponse) oz.StatsReport {
	out := oz.StatsReport{Query: oz.StatsQuery{Group: StatsGroup(r.GroupBy), Bucket: oz.StatsBucket(r.Bucket), TimeZone: r.TimeZone, From: r.From, To: r.To},
		Total: runStatsOf(r.Total), Buckets: statsPiecesOf(r.Buckets), Truncated: r.Truncated}
	for _, g := range r.Groups {
		out.Groups = append(out.Groups, oz.StatsGroup{Key: g.Key, Name: g.Name, Stats: runStatsOf(g.Stats), Buckets: statsPiecesOf(g.Buckets)})
	}
	return out
}

func statsPieces(list []oz.StatsPiece) []api.StatsPiece {
	out := make([]api.StatsPiece, 0, len(list))
	for _, p := range list {
		out = append(out, api.StatsPiece{Start: p.Start, End: p.End, Stats: runStats(p.Stats)})
	}
	return out
}

func statsPiecesOf(list []api.StatsPiece) (out []oz.StatsPiece) {
	for _, p := range list {
		out = append(out, oz.StatsPiece{Start: p.Start, End: p.End, Stats: runStatsOf(p.Stats)})
	}
	return out
}

func runStats(s task.RunStats) api.RunStats {
	out := api.RunStats{Runs: s.Runs, Succeeded: s.Succeeded, Failed: s.Failed, Errors: s.Errors, Blocked: s.Blocked, Cancelled: s.Cancelled,
		CostUsd: s.CostUSD, Unpriced: s.Unpriced, RunTime: spread(s.RunTime), QueueTime: spread(s.QueueTime), Failures: []api.CodeCount{}}
	if rate, ok := s.SuccessRate(); ok {
		out.SuccessRate = &rate
	}
	for _, f := range s.Failures {
		out.Failures = append(out.Failures, api.CodeCount{Code: string(f.Code), Count: f.Count})
	}
	return out
}

func runStatsOf(s api.RunStats) task.RunStats {
	out := task.RunStats{Runs: s.Runs, Succeeded: s.Succeeded, Failed: s.Failed, Errors: s.Errors, Blocked: s.Blocked, Cancelled: s.Cancelled,
		CostUSD: s.CostUsd, Unpriced: s.Unpriced, RunTime: spreadOf(s.RunTime), QueueTime: spreadOf(s.QueueTime)}
	for _, f := range s.Failures {
		out.Failures = append(out.Failures, task.CodeCount{Code: task.Code(f.Code), Count: f.Count})
	}
	return out
}

func spread(s task.Spread) api.Spread {
	return api.Spread{Count: s.Count, P50Ms: s.P50.Milliseconds(), P95Ms: s.P95.Milliseconds(), MaxMs: s.Max.Milliseconds(), TotalMs: s.Total.Milliseconds()}
}

func spreadOf(s api.Spread) task.Spread {
	return task.Spread{Count: s.Count, P50: millis(s.P50Ms), P95: millis(s.P95Ms), Max: millis(s.MaxMs), Total: millis(s.TotalMs)}
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
