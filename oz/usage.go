package oz

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// maxUsageRows bounds a report.
const maxUsageRows = task.MaxUsageRows - 1

// UsageRow is one row of a report.
type UsageRow struct {
	task.UsageSum
	// Name is what people call the team, user or agent; "" when it is not known.
	Name string
}

// UsageReport tells what runs have used.
type UsageReport struct {
	Group task.UsageGroup
	// Rows are those of the largest cost first, days in their order.
	Rows []UsageRow
	// Truncated says that there were more rows; those of the smallest cost were
	// left out.
	Truncated bool
}

// Usage sums up what the runs have used that the caller owns or whose team the
// caller is on. Owners of q narrow that further; its Limit and Family do not
// count. The sums cover the private runs of a team: they show what these cost,
// not what they are.
func (c *Client) Usage(ctx context.Context, q task.UsageQuery) (UsageReport, error) {
	if err := c.allow(ctx, access.UsageView, access.Object{}); err != nil {
		return UsageReport{}, err
	}
	q.Limit, q.Family = maxUsageRows+1, ""
	if err := q.Validate(); err != nil {
		return UsageReport{}, err
	}
	if !q.CreatedAfter.IsZero() && !q.CreatedBefore.IsZero() && !q.CreatedAfter.Before(q.CreatedBefore) {
		return UsageReport{}, task.Invalid("before", "must be later than after")
	}
	if !c.caller.System {
		q.Owners = narrow(c.caller.Scopes(), q.Owners)
	}
	sums, err := c.p.store.SumUsage(ctx, q)
	if err != nil {
		return UsageReport{}, err
	}
	report := UsageReport{Group: q.Group, Rows: []UsageRow{}, Truncated: len(sums) > maxUsageRows}
	for _, s := range sums[:min(len(sums), maxUsageRows)] {
		name, err := c.usageName(ctx, q.Group, s.Key)
		if err != nil {
			return UsageReport{}, err
		}
		report.Rows = append(report.Rows, UsageRow{UsageSum: s, Name: name})
	}
	if q.Group == task.UsageByDay {
		slices.SortFunc(report.Rows, func(a, b UsageRow) int { return cmp.Compare(a.Key, b.Key) })
	}
	return report, nil
}

// usageName looks a row's name up.
func (c *Client) usageName(ctx context.Context, g task.UsageGroup, key string) (name string, err error) {
	switch {
	case key == "":
		return "", nil
	case g == task.UsageByTeam:
		var t access.Team
		t, err = c.p.registry.Team(ctx, key)
		name = t.Name
	case g == task.UsageByUser:
		var u access.User
		u, err = c.p.registry.User(ctx, key)
		name = u.DisplayName
	}
	if errors.Is(err, task.ErrNotFound) { // they are gone, what they spent is not
		return "", nil
	}
	return name, err
}
