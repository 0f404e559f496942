package task

import (
	"context"
	"slices"
	"time"
)

// Accounts sums up what runs have used. A Store keeps the sums in the
// transactions that change the runs, so that they are never ahead of the logs
// nor behind. Implementations pass storetest.
type Accounts interface {
	// SumUsage adds up what runs have used, one row for each value of q.Group,
	// the dearest rows first, then those with the most tokens, then by key. It
	// fails with ErrInvalid for a query that breaks its rules.
	SumUsage(ctx context.Context, q UsageQuery) ([]UsageSum, error)

	// Spent gives what was spent on runs that s owns, or that the person s
	// asked for, from the first moment of since's day on; a zero since means
	// ever. Its cost does not grow with the number of runs.
	Spent(ctx context.Context, s Scope, since time.Time) (Spending, error)
}

// UsageGroup says what a row of SumUsage stands for.
type UsageGroup string

// The groups, as the wire spells them. Days are those of UTC on which the runs
// were created. A user is the person who asked for a run, an agent the service
// account that carried it out; both are "" where there was none. The team is
// the one that owns the run, "" for personal ones.
const (
	UsageTotal    UsageGroup = "total"
	UsageByDay    UsageGroup = "day"
	UsageByUser   UsageGroup = "user"
	UsageByTeam   UsageGroup = "team"
	UsageByModel  UsageGroup = "model"
	UsageByAgent  UsageGroup = "agent"
	UsageBySource UsageGroup = "source"
)

// Known reports whether g is one of the groups.
func (g UsageGroup) Known() bool {
	return slices.Contains([]UsageGroup{UsageTotal, UsageByDay, UsageByUser, UsageByTeam, UsageByModel, UsageByAgent, UsageBySource}, g)
}

// MaxUsageRows bounds UsageQuery.Limit.
const MaxUsageRows = 1001

// UsageQuery says which runs to add up, and how. Zero fields do not filter.
type UsageQuery struct {
	Owners        []Scope    // any of; nil means every owner
	Family        ID         // this run and all its descendants
	CreatedAfter  time.Time  // strict comparisons
	CreatedBefore time.Time  // strict, too
	Group         UsageGroup // default UsageTotal
	Limit         int        // rows; default and at most MaxUsageRows
}

// Validate checks the query and fills in its defaults.
func (q *UsageQuery) Validate() error {
	if q.Group == "" {
		q.Group = UsageTotal
	}
	if !q.Group.Known() {
		return Invalid("group_by", "%q is none of total, day, user, team, model, agent, source", string(q.Group))
	}
	if q.Limit == 0 {
		q.Limit = MaxUsageRows
	}
	if q.Limit < 1 || q.Limit > MaxUsageRows {
		return Invalid("limit", "must be 1 to %d", MaxUsageRows)
	}
	return nil
}

// UsageSum is one row of SumUsage.
type UsageSum struct {
	// Key is what the row stands for: "total", a day as 2006-01-02, a uid, a
	// model or a source.
	Key     string
	Runs    int64 // that used a model or worked
	Calls   int64 // answered calls
	Tokens  TokenCount
	CostUSD float64
	// Unpriced says that some tokens had no known price: CostUSD is a lower bound.
	Unpriced bool
	// RunTime is the working time of ended executions. Of a run with several
	// models it counts for the one that was used last.
	RunTime time.Duration
}

// Spending is what was used up of a budget.
type Spending struct {
	Tokens   int64
	USD      float64
	Unpriced bool // some of the tokens had no known price
}

// UsageDelta is what a change of a run adds to its usage of one model.
type UsageDelta struct {
	Model    string
	Calls    int64
	Tokens   TokenCount
	USD      float64
	Unpriced bool
	RunTime  time.Duration
}

// UsageBetween says what a change from old to next has added. Stores keep
// their sums by it.
func UsageBetween(old, next Head) []UsageDelta {
	worked := next.RunTime - old.RunTime
	if worked == 0 && slices.Equal(old.Usage.Models, next.Usage.Models) {
		return nil
	}
	var out []UsageDelta
	of := func(model string) *UsageDelta {
		for i := range out {
			if out[i].Model == model {
				return &out[i]
			}
		}
		out = append(out, UsageDelta{Model: model})
		return &out[len(out)-1]
	}
	for i, m := range next.Usage.Models {
		var was ModelUsage
		if i < len(old.Usage.Models) { // entries are only added, at the end
			was = old.Usage.Models[i]
		}
		if m == was {
			continue
		}
		d := of(m.Model)
		d.Calls += int64(m.Calls - was.Calls)
		d.Tokens = d.Tokens.Add(m.Tokens).Add(was.Tokens.negative())
		d.USD += m.USD() - was.USD()
		d.Unpriced = d.Unpriced || m.Unpriced
	}
	if worked != 0 {
		model := ""
		if n := len(next.Usage.Models); n > 0 {
			model = next.Usage.Models[n-1].Model
		}
		of(model).RunTime += worked
	}
	return out
}

func (t TokenCount) negative() TokenCount {
	return TokenCount{-t.Input, -t.CacheRead, -t.CacheWrite, -t.Output}
}

// UsageDay numbers the days of UTC, for stores.
func UsageDay(t time.Time) int64 {
	const seconds = 24 * 60 * 60
	day := t.Unix() / seconds
	if t.Unix()%seconds < 0 {
		day--
	}
	return day
}
