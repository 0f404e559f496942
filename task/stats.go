package task

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"
)

// Statistics tells how runs went: how many succeeded, how long they waited and
// worked, why they failed and what they cost. A Store writes down how a run
// ended in the transaction that ends it, so that the numbers are those of the
// runs at any moment. Implementations pass storetest.
type Statistics interface {
	// RunStats sums up the runs that were created within the query's time and
	// have ended: those that List would give for the same viewer, owners, times
	// and filters. A run that goes on after its end counts no more until it
	// ends again. It fails with ErrInvalid for a query that breaks its rules.
	RunStats(ctx context.Context, q StatsQuery) (StatsReport, error)
}

// StatsGroup is what runs can be grouped and filtered by.
type StatsGroup string

// The groups, as the wire spells them. An agent is the service account that
// carried the run out, a creator whoever asked for it. The model is the one
// that the run asked for, which may be "". The zero value does not group.
const (
	StatsByAgent       StatsGroup = "agent"
	StatsBySource      StatsGroup = "source"
	StatsByEnvironment StatsGroup = "environment"
	StatsByCreator     StatsGroup = "creator"
	StatsByHarness     StatsGroup = "harness"
	StatsByModel       StatsGroup = "model"
)

// StatsGroups lists all groups.
func StatsGroups() []StatsGroup {
	return []StatsGroup{StatsByAgent, StatsBySource, StatsByEnvironment, StatsByCreator, StatsByHarness, StatsByModel}
}

// Limits of statistics.
const (
	// MaxStatsGroups bounds StatsQuery.Limit.
	MaxStatsGroups = 100
	// DefaultStatsGroups is the limit of a query that says none.
	DefaultStatsGroups = 20
	// MaxStatsBuckets bounds the pieces of time of one query.
	MaxStatsBuckets = 1000
)

// StatsQuery says which runs to sum up, and how. Zero fields do not filter.
type StatsQuery struct {
	Owners []Scope   // any of; nil means every owner
	Viewer *Viewer   // as in Query
	From   time.Time // the first moment of creation; must be given
	To     time.Time // the first moment that is too late; must be after From
	// Where are exact filters. A filter by "" finds the runs without one.
	Where map[StatsGroup]string
	Group StatsGroup // "" for none
	// Bounds divide the time into buckets: each is the first moment of one, in
	// order, the first one From. Empty means no buckets.
	Bounds []time.Time
	// Limit bounds the groups; default DefaultStatsGroups, at most MaxStatsGroups.
	Limit int
}

// Validate checks the query and fills in its defaults.
func (q *StatsQuery) Validate() error {
	if q.From.IsZero() || !q.From.Before(q.To) {
		return Invalid("to", "must be later than from")
	}
	if q.Group != "" && !slices.Contains(StatsGroups(), q.Group) {
		return Invalid("group_by", "%q is none of none, agent, source, environment, creator, harness, model", string(q.Group))
	}
	for g := range q.Where {
		if !slices.Contains(StatsGroups(), g) {
			return Invalid("where", "%q is none of agent, source, environment, creator, harness, model", string(g))
		}
	}
	if q.Limit == 0 {
		q.Limit = DefaultStatsGroups
	}
	if q.Limit < 1 || q.Limit > MaxStatsGroups {
		return Invalid("limit", "must be 1 to %d", MaxStatsGroups)
	}
	if len(q.Bounds) > MaxStatsBuckets {
		return Invalid("bucket", "gives %d pieces, at most %d are possible; ask for less time or longer pieces", len(q.Bounds), MaxStatsBuckets)
	}
	for i, b := range q.Bounds {
		if i == 0 && !b.Equal(q.From) || i > 0 && !q.Bounds[i-1].Before(b) || !b.Before(q.To) {
			return Invalid("bucket", "bounds must be in order, begin with from and end before to")
		}
	}
	return nil
}

// StatsReport is what is known of the runs of a query.
type StatsReport struct {
	Total RunStats
	// Buckets has one entry for each of StatsQuery.Bounds.
	Buckets []RunStats
	// Groups are those with the most runs first, then by key.
	Groups []StatsRow
	// Truncated says that there were more groups than the limit.
	Truncated bool
}

// StatsRow is one group.
type StatsRow struct {
	Key     string // a uid, a source, a harness or a model; "" for runs without
	Stats   RunStats
	Buckets map[int]RunStats // by index of StatsQuery.Bounds; those with runs
}

// RunStats is what is known of a set of runs that have ended.
type RunStats struct {
	Runs int64 // all; the sum of the next five
	// How they ended.
	Succeeded, Failed, Errors, Blocked, Cancelled int64
	// Failures counts the reasons of those in Failed and Errors, the most
	// frequent first, then by code. A code may be "".
	Failures []CodeCount
	CostUSD  float64 // of models
	// Unpriced says that some tokens had no known price: CostUSD is a lower bound.
	Unpriced bool
	// RunTime is the working time, and QueueTime the time from creation to the
	// first moment of work, of the runs that began to work.
	RunTime, QueueTime Spread
}

// CodeCount is how often runs ended with an error code.
type CodeCount struct {
	Code  Code  `json:"code"`
	Count int64 `json:"count"`
}

// SuccessRate is the part of the runs that succeeded, of those that succeeded
// or failed for whatever reason; ok is false when there are none. Blocked and
// cancelled runs say nothing about success.
func (r RunStats) SuccessRate() (rate float64, ok bool) {
	decided := r.Succeeded + r.Failed + r.Errors
	if decided == 0 {
		return 0, false
	}
	return float64(r.Succeeded) / float64(decided), true
}

// Spread describes a set of durations. A percentile is the smallest of them
// that at least so many percent do not exceed.
type Spread struct {
	Count                int64
	P50, P95, Max, Total time.Duration
}

// SpreadOf describes durations, and may change their order.
func SpreadOf(d []time.Duration) Spread {
	s := Spread{Count: int64(len(d))}
	if len(d) == 0 {
		return s
	}
	for _, v := range d {
		s.Total += v
		s.Max = max(s.Max, v)
	}
	p95 := (len(d)*95+99)/100 - 1
	s.P95 = selectNth(d, p95)
	s.P50 = selectNth(d[:p95+1], (len(d)+1)/2-1)
	return s
}

// selectNth gives the element that would stand at k if d were sorted, with
// what is smaller before it. Its time is linear, whatever the order.
func selectNth(d []time.Duration, k int) time.Duration {
	lo, hi := 0, len(d)-1
	for depth := 0; hi-lo > 32; depth++ {
		if depth > 64 { // bad luck with the pivots
			slices.Sort(d[lo : hi+1])
			return d[k]
		}
		pivot := median(d[lo], d[lo+(hi-lo)/2], d[hi])
		// Three parts: equal elements, of which durations have many, end at once.
		i, less, more := lo, lo, hi
		for i <= more {
			switch v := d[i]; {
			case v < pivot:
				d[i], d[less] = d[less], v
				i, less = i+1, less+1
			case v > pivot:
				d[i], d[more] = d[more], v
				more--
			default:
				i++
			}
		}
		switch {
		case k < less:
			hi = less - 1
		case k > more:
			lo = more + 1
		default:
			return pivot
		}
	}
	slices.Sort(d[lo : hi+1])
	return d[k]
}

func median(a, b, c time.Duration) time.Duration {
	return max(min(a, b), min(max(a, b), c))
}

// RunFact is what the statistics know of a run that has ended, besides what
// never changes. It is comparable: stores write it when it differs.
type RunFact struct {
	State    State
	Code     Code // of failures, else ""
	Began    bool // it worked, so that the times count
	Queued   time.Duration
	Worked   time.Duration
	USD      float64
	Unpriced bool
	Private  bool // see Sharing
}

// FactOf gives what the statistics know of a run; ok is false while it has not
// ended.
func FactOf(h Head) (f RunFact, ok bool) {
	if !h.State.Ended() {
		return f, false
	}
	usd, complete := h.Usage.USD()
	f = RunFact{State: h.State, USD: usd, Unpriced: !complete, Private: h.Sharing.Private()}
	if f.fails() {
		f.Code = h.Status.ErrorCode
	}
	if !h.StartedAt.IsZero() {
		f.Began, f.Queued, f.Worked = true, max(h.StartedAt.Sub(h.CreatedAt), 0), h.RunTime
	}
	return f, true
}

func (f RunFact) fails() bool { return f.State == StateFailed || f.State == StateError }

// StatsPart is a set of runs that ended in the same way, with their times.
type StatsPart struct {
	State          State
	Code           Code
	Runs           int64
	USD            float64
	Unpriced       bool
	Queued, Worked []time.Duration // of those that began
}

// StatsSum makes a StatsReport of parts. Stores use it; it is for one goroutine.
type StatsSum struct {
	buckets int
	limit   int
	grouped bool
	cells   map[statsKey]*StatsCell
}

type statsKey struct {
	group  string
	bucket int
}

// StatsCell is what a StatsSum knows of one group in one bucket.
type StatsCell struct {
	sum            RunStats
	codes          map[Code]int64
	queued, worked []time.Duration
	grow           int // how many times will be merged
}

// NewStatsSum begins a sum for a query that is valid.
func NewStatsSum(q StatsQuery) *StatsSum {
	return &StatsSum{buckets: len(q.Bounds), limit: q.Limit, grouped: q.Group != "", cells: map[statsKey]*StatsCell{}}
}

// Add counts a part in. group is "" and bucket 0 where there are none.
func (s *StatsSum) Add(group string, bucket int, p StatsPart) {
	c := s.Cell(group, bucket)
	c.end(p.State, p.Runs)
	if p.State == StateFailed || p.State == StateError {
		c.fail(p.Code, p.Runs)
	}
	c.sum.CostUSD += p.USD
	c.sum.Unpriced = c.sum.Unpriced || p.Unpriced
	c.queued, c.worked = append(c.queued, p.Queued...), append(c.worked, p.Worked...)
}

// AddFact counts one run in.
func (s *StatsSum) AddFact(group string, bucket int, f RunFact) { s.Cell(group, bucket).AddFact(f) }

// AddFact counts one run in.
func (c *StatsCell) AddFact(f RunFact) {
	c.end(f.State, 1)
	if f.fails() {
		c.fail(f.Code, 1)
	}
	c.sum.CostUSD += f.USD
	c.sum.Unpriced = c.sum.Unpriced || f.Unpriced
	if f.Began {
		c.queued, c.worked = append(c.queued, f.Queued), append(c.worked, f.Worked)
	}
}

// Cell gives what AddFact adds to, for those who add many runs to one.
func (s *StatsSum) Cell(group string, bucket int) *StatsCell {
	key := statsKey{group, bucket}
	c := s.cells[key]
	if c == nil {
		c = &StatsCell{}
		s.cells[key] = c
	}
	return c
}

func (c *StatsCell) end(state State, n int64) {
	c.sum.Runs += n
	switch state {
	case StateSucceeded:
		c.sum.Succeeded += n
	case StateFailed:
		c.sum.Failed += n
	case StateError:
		c.sum.Errors += n
	case StateBlocked:
		c.sum.Blocked += n
	case StateCancelled:
		c.sum.Cancelled += n
	}
}

func (c *StatsCell) fail(code Code, n int64) {
	if c.codes == nil {
		c.codes = map[Code]int64{}
	}
	c.codes[code] += n
}

// merge counts another cell in.
func (c *StatsCell) merge(o *StatsCell) {
	if c.queued == nil {
		c.queued, c.worked = make([]time.Duration, 0, c.grow), make([]time.Duration, 0, c.grow)
	}
	c.sum.Runs += o.sum.Runs
	c.sum.Succeeded, c.sum.Failed, c.sum.Errors = c.sum.Succeeded+o.sum.Succeeded, c.sum.Failed+o.sum.Failed, c.sum.Errors+o.sum.Errors
	c.sum.Blocked, c.sum.Cancelled = c.sum.Blocked+o.sum.Blocked, c.sum.Cancelled+o.sum.Cancelled
	for code, n := range o.codes {
		c.fail(code, n)
	}
	c.sum.CostUSD += o.sum.CostUSD
	c.sum.Unpriced = c.sum.Unpriced || o.sum.Unpriced
	c.queued, c.worked = append(c.queued, o.queued...), append(c.worked, o.worked...)
}

// stats finishes a cell.
func (c *StatsCell) stats() RunStats {
	r := c.sum
	r.QueueTime, r.RunTime = SpreadOf(c.queued), SpreadOf(c.worked)
	for code, n := range c.codes {
		r.Failures = append(r.Failures, CodeCount{code, n})
	}
	slices.SortFunc(r.Failures, func(a, b CodeCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code))
	})
	return r
}

// Report gives the sum of what was added.
func (s *StatsSum) Report() StatsReport {
	var total StatsCell
	buckets := make([]StatsCell, s.buckets)
	groups := map[string]*StatsCell{}
	keys := slices.SortedFunc(maps.Keys(s.cells), func(a, b statsKey) int { // the same sums of money each time
		return cmp.Or(cmp.Compare(a.bucket, b.bucket), cmp.Compare(a.group, b.group))
	})
	for _, key := range keys { // room first: the times are many
		n := len(s.cells[key].queued)
		total.grow += n
		if s.buckets > 0 {
			buckets[key.bucket].grow += n
		}
		if s.grouped {
			if groups[key.group] == nil {
				groups[key.group] = &StatsCell{}
			}
			groups[key.group].grow += n
		}
	}
	for _, key := range keys {
		cell := s.cells[key]
		total.merge(cell)
		if s.buckets > 0 {
			buckets[key.bucket].merge(cell)
		}
		if s.grouped {
			groups[key.group].merge(cell)
		}
	}
	r := StatsReport{Total: total.stats()}
	for i := range buckets {
		r.Buckets = append(r.Buckets, buckets[i].stats())
	}
	r.Groups, r.Truncated = s.rows(groups)
	return r
}

// rows gives the largest groups.
func (s *StatsSum) rows(groups map[string]*StatsCell) (rows []StatsRow, more bool) {
	names := slices.SortedFunc(maps.Keys(groups), func(a, b string) int {
		return cmp.Or(cmp.Compare(groups[b].sum.Runs, groups[a].sum.Runs), cmp.Compare(a, b))
	})
	at := map[string]int{}
	for i, name := range names[:min(len(names), s.limit)] {
		rows, at[name] = append(rows, StatsRow{Key: name, Stats: groups[name].stats()}), i
	}
	if s.buckets > 0 {
		for key, cell := range s.cells {
			i, ok := at[key.group]
			if !ok {
				continue
			}
			if rows[i].Buckets == nil {
				rows[i].Buckets = map[int]RunStats{}
			}
			rows[i].Buckets[key.bucket] = cell.stats()
		}
	}
	return rows, len(names) > s.limit
}

// BucketOf finds the bucket of a moment at or after the first bound; 0 without
// bounds.
func BucketOf(bounds []time.Time, t time.Time) int {
	i, found := slices.BinarySearchFunc(bounds, t, time.Time.Compare)
	if found {
		return i
	}
	return max(i-1, 0)
}
