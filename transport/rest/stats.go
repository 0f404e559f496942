package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// GetStats implements GET /oz/stats.
func (o operations) GetStats(ctx context.Context, r api.GetStatsRequestObject) (api.GetStatsResponseObject, error) {
	p := r.Params
	if p.Source != "" && !task.Source(p.Source).Known() {
		return nil, task.Invalid("source", "%q is no source of a run", string(p.Source))
	}
	q := oz.StatsQuery{Group: wire.StatsGroup(string(p.GroupBy)), Bucket: oz.StatsBucket(p.Bucket), TimeZone: p.TimeZone, From: p.From, To: p.To, Limit: p.Limit}
	for g, value := range map[task.StatsGroup]string{task.StatsByAgent: p.Agent, task.StatsBySource: string(p.Source), task.StatsByEnvironment: p.Environment,
		task.StatsByCreator: p.Creator, task.StatsByHarness: p.Harness, task.StatsByModel: p.Model} {
		if value == "" { // not given
			continue
		}
		if q.Where == nil {
			q.Where = map[task.StatsGroup]string{}
		}
		q.Where[g] = value
	}
	report, err := callOf(ctx).client.Stats(ctx, q)
	if err != nil {
		return nil, err
	}
	return api.GetStats200JSONResponse(wire.StatsReport(report)), nil
}
