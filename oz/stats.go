package oz

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// StatsBucket is the length of the pieces of time of statistics.
type StatsBucket string

// The buckets, as the wire spells them. Days begin at midnight and weeks on
// Monday, by the clocks of the query's time zone. The zero value does not
// divide the time.
const (
	StatsHourly StatsBucket = "hour"
	StatsDaily  StatsBucket = "day"
	StatsWeekly StatsBucket = "week"
)

// Limits and defaults of the time of statistics.
const (
	MaxStatsTime     = 366 * 24 * time.Hour
	DefaultStatsTime = 30 * 24 * time.Hour
)

// maxStatsPoints bounds an answer: groups times buckets.
const maxStatsPoints = 20_000

// StatsQuery says which runs to sum up: those that were created from From on
// and before To, and have ended. Zero fields do not filter.
type StatsQuery struct {
	Group    task.StatsGroup
	Bucket   StatsBucket
	TimeZone string    // IANA name; default UTC
	From     time.Time // default DefaultStatsTime before To
	To       time.Time // default now; at most MaxStatsTime after From
	Where    map[task.StatsGroup]string
	Limit    int // groups; default task.DefaultStatsGroups, at most task.MaxStatsGroups
}

// StatsReport tells how runs went.
type StatsReport struct {
	Query StatsQuery // with its defaults
	Total task.RunStats
	// Buckets are all pieces of the time in their order, those without runs as
	// well; the first and the last may be cut off by From and To.
	Buckets []StatsPiece
	// Groups are those with the most runs, the largest first.
	Groups []StatsGroup
	// Truncated says that there were more groups than the limit.
	Truncated bool
}

// StatsPiece is a piece of the time.
type StatsPiece struct {
	Start, End time.Time
	Stats      task.RunStats
}

// StatsGroup is what belongs together.
type StatsGroup struct {
	Key string // a uid, a source, a harness or a model; "" for runs without
	// Name is what people call it; "" when it has no other name than its key, or
	// the caller may not see it.
	Name    string
	Stats   task.RunStats
	Buckets []StatsPiece // those with runs
}

// Stats sums up how the runs went that the caller may see: the same ones that
// List gives for the same time and filters.
func (c *Client) Stats(ctx context.Context, q StatsQuery) (StatsReport, error) {
	if err := c.allow(ctx, access.StatsView, access.Object{}); err != nil {
		return StatsReport{}, err
	}
	bounds, err := q.complete(c.p.opts.Clock.Now())
	if err != nil {
		return StatsReport{}, err
	}
	sums, err := c.p.store.RunStats(ctx, task.StatsQuery{Viewer: c.caller.Viewer(), From: q.From, To: q.To, Where: q.Where, Group: q.Group, Bounds: bounds, Limit: q.Limit})
	if err != nil {
		return StatsReport{}, err
	}
	report := StatsReport{Query: q, Total: sums.Total, Truncated: sums.Truncated}
	piece := func(i int, s task.RunStats) StatsPiece {
		end := q.To
		if i+1 < len(bounds) {
			end = bounds[i+1]
		}
		return StatsPiece{Start: bounds[i], End: end, Stats: s}
	}
	for i, s := range sums.Buckets {
		report.Buckets = append(report.Buckets, piece(i, s))
	}
	for _, row := range sums.Groups {
		g := StatsGroup{Key: row.Key, Stats: row.Stats}
		if g.Name, err = c.statsName(ctx, q.Group, row.Key); err != nil {
			return StatsReport{}, err
		}
		for i := range bounds {
			if s, ok := row.Buckets[i]; ok {
				g.Buckets = append(g.Buckets, piece(i, s))
			}
		}
		report.Groups = append(report.Groups, g)
	}
	return report, nil
}

// complete checks the query, fills in its defaults and gives the first moments
// of its buckets.
func (q *StatsQuery) complete(now time.Time) ([]time.Time, error) {
	if q.To.IsZero() {
		q.To = now
	}
	if q.From.IsZero() {
		q.From = q.To.Add(-DefaultStatsTime)
	}
	switch {
	case !q.From.Before(q.To):
		return nil, task.Invalid("to", "must be later than from")
	case q.To.Sub(q.From) > MaxStatsTime:
		return nil, task.Invalid("from", "may be at most %d days before to", MaxStatsTime/(24*time.Hour))
	}
	q.TimeZone = cmp.Or(q.TimeZone, "UTC")
	zone, err := time.LoadLocation(q.TimeZone)
	if err != nil || q.TimeZone == "Local" { // that would be the server's
		return nil, task.Invalid("time_zone", "%q is no IANA time zone such as Europe/Berlin", q.TimeZone)
	}
	q.From, q.To = q.From.In(zone), q.To.In(zone)
	q.Limit = cmp.Or(q.Limit, task.DefaultStatsGroups)
	var bounds []time.Time
	if q.Bucket != "" {
		if bounds, err = q.bounds(); err != nil {
			return nil, err
		}
	}
	if q.Group != "" && q.Limit*len(bounds) > maxStatsPoints {
		return nil, task.Invalid("bucket", "gives %d pieces for each of up to %d groups, at most %d are possible in all; ask for less time, longer pieces or fewer groups",
			len(bounds), q.Limit, maxStatsPoints)
	}
	return bounds, nil
}

// bounds are the first moments of the buckets: From, then each at which a new
// hour, day or week begins.
func (q *StatsQuery) bounds() ([]time.Time, error) {
	var next func(time.Time) time.Time
	switch q.Bucket {
	case StatsHourly:
		next = nextHour
	case StatsDaily:
		next = func(t time.Time) time.Time { return midnight(t, 1) }
	case StatsWeekly:
		next = func(t time.Time) time.Time { return midnight(t, 7-(int(t.Weekday())+6)%7) }
	default:
		return nil, task.Invalid("bucket", "%q is none of hour, day, week", string(q.Bucket))
	}
	var bounds []time.Time
	for t := q.From; t.Before(q.To); t = next(t) {
		if len(bounds) == task.MaxStatsBuckets {
			return nil, task.Invalid("bucket", "gives more than %d pieces; ask for less time or longer pieces", task.MaxStatsBuckets)
		}
		bounds = append(bounds, t)
	}
	return bounds, nil
}

// nextHour is when the clocks show the next full hour, or jump beyond it.
func nextHour(t time.Time) time.Time {
	past := time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
	n := t.Add(time.Hour - past)
	// Clocks that were changed by a part of an hour may have shown one before.
	if full := n.Add(-time.Duration(n.Minute()) * time.Minute); full.Minute() == 0 && full.After(t) {
		return full
	}
	return n
}

// midnight is the begin of the day so many days after that of t. Where clocks
// skip midnight it is the first moment of the day.
func midnight(t time.Time, days int) time.Time {
	y, m, d := t.Date()
	n := time.Date(y, m, d+days, 0, 0, 0, 0, t.Location())
	if want := time.Date(y, m, d+days, 12, 0, 0, 0, t.Location()).Day(); n.Day() != want { // Go gives the hour before
		n = n.Add(time.Hour)
	}
	return n
}

// statsName looks a group's name up, as far as the caller may see it.
func (c *Client) statsName(ctx context.Context, g task.StatsGroup, key string) (name string, err error) {
	if key == "" {
		return "", nil
	}
	switch g {
	case task.StatsByAgent:
		var a access.Agent
		a, err = c.Agent(ctx, key)
		name = a.Name
	case task.StatsByEnvironment:
		env, found := c.Environment(ctx, key)
		name, err = env.Config.Name, found
	case task.StatsByCreator:
		var u access.User
		if u, err = c.p.registry.User(ctx, key); errors.Is(err, task.ErrNotFound) {
			return c.statsName(ctx, task.StatsByAgent, key)
		}
		name = u.DisplayName
	}
	switch task.CodeOf(err) {
	case task.CodeNotFound, task.CodeNotAuthorized: // it is gone, or somebody else's
		return "", nil
	}
	return name, err
}
