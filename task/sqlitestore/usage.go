package sqlitestore

import (
	"context"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// The statements that keep the sums. A row of usage is made once per run, day
// and model: only then must the run's specification be read.
const (
	hasUsage    = `SELECT 1 FROM usage WHERE n = ? AND day = ? AND model = ?`
	insertUsage = `INSERT INTO usage (n, day, model, owner, person, agent, source, created_at, calls, input, cache_read, cache_write, output, cost, unpriced, run_time,
			run, model_run)
		SELECT r.n, ?2, ?3, r.owner, iif(CAST(s.spec AS TEXT) ->> '$.creator.type' = 'user', r.creator, ''),
			iif(CAST(s.spec AS TEXT) ->> '$.executor.type' = 'service_account', r.executor, ''), r.source, r.created_at,
			?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,
			NOT EXISTS (SELECT 1 FROM usage WHERE n = ?1), NOT EXISTS (SELECT 1 FROM usage WHERE n = ?1 AND model = ?3) FROM runs r JOIN specs s ON s.n = r.n WHERE r.n = ?1`
	updateUsage = `UPDATE usage SET calls = calls + ?4, input = input + ?5, cache_read = cache_read + ?6, cache_write = cache_write + ?7,
			output = output + ?8, cost = cost + ?9, unpriced = max(unpriced, ?10), run_time = run_time + ?11
		WHERE n = ?1 AND day = ?2 AND model = ?3`
	addSpending = `INSERT INTO spending (scope, day, tokens, cost, unpriced)
		SELECT owner, day, ?4, ?5, ?6 FROM usage WHERE n = ?1 AND day = ?2 AND model = ?3
		UNION ALL SELECT 'User:' || person, day, ?4, ?5, ?6 FROM usage
			WHERE n = ?1 AND day = ?2 AND model = ?3 AND person <> '' AND 'User:' || person <> owner
		ON CONFLICT (scope, day) DO UPDATE SET tokens = tokens + excluded.tokens, cost = cost + excluded.cost, unpriced = max(unpriced, excluded.unpriced)`
	selectSpent = `SELECT coalesce(sum(tokens), 0), coalesce(sum(cost), 0.0), coalesce(max(unpriced), 0) FROM spending WHERE scope = ? AND day >= ?`
)

// writeUsage adds what a plan has used to the sums.
func (w *writer) writeUsage(p plan) error {
	for _, d := range task.UsageBetween(p.old.head, p.next.head) {
		n, day := p.next.n, task.UsageDay(p.next.head.UpdatedAt)
		known, err := w.row(hasUsage, n, day, d.Model)
		if err != nil {
			return err
		}
		statement := insertUsage
		if known != nil {
			statement = updateUsage
		}
		unpriced := int64(0)
		if d.Unpriced {
			unpriced = 1
		}
		t := d.Tokens
		if _, err := w.exec(statement, n, day, d.Model, d.Calls, t.Input, t.CacheRead, t.CacheWrite, t.Output, d.USD, unpriced, int64(d.RunTime)); err != nil {
			return err
		}
		if t == (task.TokenCount{}) && d.USD == 0 {
			continue
		}
		if _, err := w.exec(addSpending, n, day, d.Model, t.Total(), d.USD, unpriced); err != nil {
			return err
		}
	}
	return nil
}

// usageKeys are the columns that sums are grouped by.
var usageKeys = map[task.UsageGroup]string{
	task.UsageTotal:    `'total'`,
	task.UsageByDay:    `date(created_at / 1000000000, 'unixepoch')`,
	task.UsageByUser:   `person`,
	task.UsageByTeam:   `iif(owner LIKE 'Team:%', substr(owner, 6), '')`,
	task.UsageByModel:  `model`,
	task.UsageByAgent:  `agent`,
	task.UsageBySource: `source`,
}

// SumUsage implements task.Accounts.
func (s *Store) SumUsage(ctx context.Context, q task.UsageQuery) ([]task.UsageSum, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	text, args := usageStatement(q)
	out, err := collect(ctx, s.read, scanUsageSum, text, args...)
	return out, s.explainRead(ctx, "sum up usage", err)
}

// usageStatement reads the table once.
func usageStatement(q task.UsageQuery) (string, []any) {
	where, args := usageConditions(q)
	runs := `run`
	if q.Group == task.UsageByModel {
		runs = `model_run`
	}
	return `SELECT ` + usageKeys[q.Group] + ` AS key, sum(` + runs + `), sum(calls), sum(input), sum(cache_read), sum(cache_write), sum(output), sum(cost),
			max(unpriced), sum(run_time)
		FROM usage` + where + ` GROUP BY 1
		ORDER BY sum(cost) DESC, sum(input + cache_read + cache_write + output) DESC, 1 LIMIT +?`, append(args, q.Limit)
}

func usageConditions(q task.UsageQuery) (string, []any) {
	var parts []string
	var args []any
	add := func(text string, values ...any) { parts, args = append(parts, text), append(args, values...) }
	if q.Owners != nil {
		owners := make([]any, len(q.Owners))
		for i, o := range q.Owners {
			owners[i] = o.String()
		}
		add(`owner IN (`+strings.TrimSuffix(strings.Repeat(`?,`, len(owners)), `,`)+`)`, owners...)
	}
	if q.Family != "" {
		add(`n IN (WITH RECURSIVE below (n, id) AS (SELECT n, id FROM runs WHERE id = ?
			UNION SELECT c.n, c.id FROM below CROSS JOIN runs c INDEXED BY runs_parent ON c.parent = below.id AND c.parent <> '')
			SELECT n FROM below)`, string(q.Family))
	}
	if !q.CreatedAfter.IsZero() {
		add(`created_at > ?`, nanos(q.CreatedAfter))
	}
	if !q.CreatedBefore.IsZero() {
		add(`created_at < ?`, nanos(q.CreatedBefore))
	}
	if len(parts) == 0 {
		return "", nil
	}
	return ` WHERE ` + strings.Join(parts, ` AND `), args
}

func scanUsageSum(row scanner) (u task.UsageSum, err error) {
	var unpriced, worked int64
	t := &u.Tokens
	err = row.Scan(&u.Key, &u.Runs, &u.Calls, &t.Input, &t.CacheRead, &t.CacheWrite, &t.Output, &u.CostUSD, &unpriced, &worked)
	u.Unpriced, u.RunTime = unpriced != 0, time.Duration(worked)
	return u, err
}

// Spent implements task.Accounts.
func (s *Store) Spent(ctx context.Context, scope task.Scope, since time.Time) (task.Spending, error) {
	first := int64(-1 << 62)
	if !since.IsZero() {
		first = task.UsageDay(since)
	}
	var spent task.Spending
	var unpriced int64
	err := s.fixed.row(ctx, selectSpent, scope.String(), first).Scan(&spent.Tokens, &spent.USD, &unpriced)
	spent.Unpriced = unpriced != 0
	return spent, s.explainRead(ctx, "read what "+scope.String()+" has spent", err)
}
