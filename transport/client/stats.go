package client

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// Stats sums up how the runs went that the caller may see: see
// [oz.Client.Stats]. Times are whole milliseconds. A filter by "" does not
// filter here.
func (c *Client) Stats(ctx context.Context, q oz.StatsQuery) (oz.StatsReport, error) {
	values := url.Values{}
	set := func(name, value string) {
		if value != "" {
			values.Set(name, value)
		}
	}
	set("group_by", string(q.Group))
	set("bucket", string(q.Bucket))
	set("time_zone", q.TimeZone)
	for name, at := range map[string]time.Time{"from": q.From, "to": q.To} {
		if !at.IsZero() {
			set(name, at.Format(time.RFC3339Nano))
		}
	}
	for group, value := range q.Where {
		set(string(group), value)
	}
	if q.Limit != 0 {
		set("limit", strconv.Itoa(q.Limit))
	}
	r, err := decode[api.StatsResponse](c.raw.GetStats(ctx, nil, query(values)))
	report := wire.StatsReportOf(r)
	report.Query.Where, report.Query.Limit = q.Where, q.Limit
	return report, err
}
