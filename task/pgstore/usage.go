package pgstore

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oz-platform/cloudagents/task"
)

// spendingShards is how many rows of spending a scope has for one day: as many
// transactions can add to it without waiting for each other.
const spendingShards = 8

const (
	// addUsage adds to the sums. A row of usage is made once per run, day and
	// model: only then must the run's specification be read. The rows of
	// spending are shared between stores; all lock them in the same order, and
	// after everything else. (SELECT 0 ... LIMIT 1) is NOT EXISTS that goes by the
	// index: the planner of a young database would read the whole table once and
	// keep it in a hash table, each time.
	addUsage = `WITH u AS (
			SELECT *, row_number() OVER (PARTITION BY n ORDER BY model) AS nth FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
				$9::float8[], $10::boolean[], $11::bigint[])
				AS u (n, day, model, calls, input, cache_read, cache_write, output, cost, unpriced, run_time)
		), known AS (
			UPDATE usage x SET calls = x.calls + u.calls, input = x.input + u.input, cache_read = x.cache_read + u.cache_read,
				cache_write = x.cache_write + u.cache_write, output = x.output + u.output, cost = x.cost + u.cost,
				unpriced = x.unpriced OR u.unpriced, run_time = x.run_time + u.run_time
			FROM u WHERE x.n = u.n AND x.day = u.day AND x.model = u.model
			RETURNING x.n, x.day, x.model, x.owner, x.person
		), fresh AS (
			INSERT INTO usage (n, day, model, owner, person, agent, source, created_at, calls, input, cache_read, cache_write, output, cost, unpriced, run_time,
				run, model_run)
			SELECT u.n, u.day, u.model, r.owner,
				CASE WHEN s.spec #>> '{creator,type}' = 'user' THEN r.creator ELSE '' END,
				CASE WHEN s.spec #>> '{executor,type}' = 'service_account' THEN r.executor ELSE '' END,
				r.source, r.created_at, u.calls, u.input, u.cache_read, u.cache_write, u.output, u.cost, u.unpriced, u.run_time,
				CASE u.nth WHEN 1 THEN coalesce((SELECT 0 FROM usage x WHERE x.n = u.n LIMIT 1), 1) ELSE 0 END,
				coalesce((SELECT 0 FROM usage x WHERE x.n = u.n AND x.model = u.model LIMIT 1), 1)
			FROM u JOIN runs r ON r.n = u.n CROSS JOIN LATERAL ` + specOf + ` s
			WHERE NOT EXISTS (SELECT 1 FROM usage x WHERE x.n = u.n AND x.day = u.day AND x.model = u.model)
			RETURNING n, day, model, owner, person
		), spent AS (
			SELECT k.n, k.day, k.owner, k.person, u.input + u.cache_read + u.cache_write + u.output AS tokens, u.cost, u.unpriced
			FROM (SELECT * FROM known UNION ALL SELECT * FROM fresh) k JOIN u ON u.n = k.n AND u.day = k.day AND u.model = k.model
		)
		INSERT INTO spending (scope, day, shard, tokens, cost, unpriced)
		SELECT scope, day, n % $12, sum(tokens), sum(cost), bool_or(unpriced)
		FROM (SELECT owner AS scope, * FROM spent
			UNION ALL SELECT 'User:' || person, * FROM spent WHERE person <> '' AND 'User:' || person <> owner) each
		WHERE tokens <> 0 OR cost <> 0
		GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
		ON CONFLICT (scope, day, shard) DO UPDATE SET tokens = spending.tokens + excluded.tokens, cost = spending.cost + excluded.cost,
			unpriced = spending.unpriced OR excluded.unpriced`
	selectSpent = `SELECT coalesce(sum(tokens), 0)::bigint, coalesce(sum(cost), 0), coalesce(bool_or(unpriced), false)
		FROM spending WHERE scope = $1 AND day >= $2`
)

// queueUsage adds what the changed runs have used to the sums.
func (tx *transaction) queueUsage(b *pgx.Batch) {
	var ns, days, calls, input, cacheRead, cacheWrite, output, worked []int64
	var models []string
	var cost []float64
	var unpriced []bool
	for _, r := range slices.Concat(tx.created, tx.changed) {
		for _, d := range task.UsageBetween(r.old, r.head) {
			ns, days, models = append(ns, r.n), append(days, task.UsageDay(r.head.UpdatedAt)), append(models, text(d.Model))
			calls, input, cacheRead = append(calls, d.Calls), append(input, d.Tokens.Input), append(cacheRead, d.Tokens.CacheRead)
			cacheWrite, output = append(cacheWrite, d.Tokens.CacheWrite), append(output, d.Tokens.Output)
			cost, unpriced, worked = append(cost, d.USD), append(unpriced, d.Unpriced), append(worked, int64(d.RunTime))
		}
	}
	if len(ns) > 0 {
		b.Queue(addUsage, ns, days, models, calls, input, cacheRead, cacheWrite, output, cost, unpriced, worked, spendingShards)
	}
}

// usageKeys are the columns that sums are grouped by.
var usageKeys = map[task.UsageGroup]string{
	task.UsageTotal:    `'total'`,
	task.UsageByDay:    `to_char(to_timestamp(created_at / 1000000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')`,
	task.UsageByUser:   `person`,
	task.UsageByTeam:   `CASE WHEN owner LIKE 'Team:%' THEN substr(owner, 6) ELSE '' END`,
	task.UsageByModel:  `model`,
	task.UsageByAgent:  `agent`,
	task.UsageBySource: `source`,
}

// SumUsage implements task.Accounts.
func (s *Store) SumUsage(ctx context.Context, q task.UsageQuery) ([]task.UsageSum, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	statement, args := usageStatement(q)
	out, err := collect(ctx, s, scanUsageSum, statement, args...)
	if err != nil {
		return nil, s.explainCall(ctx, "sum up usage", err)
	}
	slices.SortStableFunc(out, func(a, b task.UsageSum) int { // the server's order has the form of columns
		return cmp.Or(cmp.Compare(b.CostUSD, a.CostUSD), cmp.Compare(b.Tokens.Total(), a.Tokens.Total()), cmp.Compare(a.Key, b.Key))
	})
	return out, nil
}

// usageStatement reads the table once.
func usageStatement(q task.UsageQuery) (string, []any) {
	var parts []string
	var args []any
	add := func(before string, value any, after string) {
		args = append(args, value)
		parts = append(parts, before+"$"+strconv.Itoa(len(args))+after)
	}
	if q.Owners != nil {
		owners := make([]string, len(q.Owners))
		for i, o := range q.Owners {
			owners[i] = bounded(o.String())
		}
		add(`owner = ANY(`, owners, `::text[])`)
	}
	if q.Family != "" {
		add(`n IN (WITH RECURSIVE below (n, id) AS (SELECT n, id FROM runs WHERE id = `, text(string(q.Family)), ` UNION
			SELECT c.n, c.id FROM below JOIN runs c ON c.parent = below.id AND c.parent <> '') SELECT n FROM below)`)
	}
	if !q.CreatedAfter.IsZero() {
		add(`created_at > `, nanos(q.CreatedAfter), ``)
	}
	if !q.CreatedBefore.IsZero() {
		add(`created_at < `, nanos(q.CreatedBefore), ``)
	}
	where := ""
	if len(parts) > 0 {
		where = ` WHERE ` + strings.Join(parts, ` AND `)
	}
	runs := `run`
	if q.Group == task.UsageByModel {
		runs = `model_run`
	}
	return `SELECT ` + usageKeys[q.Group] + ` AS key, sum(` + runs + `)::bigint, sum(calls)::bigint, sum(input)::bigint, sum(cache_read)::bigint,
			sum(cache_write)::bigint, sum(output)::bigint, sum(cost), bool_or(unpriced), sum(run_time)::bigint
		FROM usage` + where + ` GROUP BY 1
		ORDER BY sum(cost) DESC, sum(input + cache_read + cache_write + output) DESC, 1
		LIMIT ` + strconv.Itoa(q.Limit), args
}

func scanUsageSum(row pgx.CollectableRow) (u task.UsageSum, err error) {
	var worked int64
	t := &u.Tokens
	err = row.Scan(&u.Key, &u.Runs, &u.Calls, &t.Input, &t.CacheRead, &t.CacheWrite, &t.Output, &u.CostUSD, &u.Unpriced, &worked)
	u.Key, u.RunTime = untext(u.Key), time.Duration(worked)
	return u, err
}

// Spent implements task.Accounts.
func (s *Store) Spent(ctx context.Context, scope task.Scope, since time.Time) (task.Spending, error) {
	first := int64(-1 << 62)
	if !since.IsZero() {
		first = task.UsageDay(since)
	}
	spent, err := one(ctx, s, func(row pgx.CollectableRow) (p task.Spending, err error) {
		err = row.Scan(&p.Tokens, &p.USD, &p.Unpriced)
		return p, err
	}, selectSpent, bounded(scope.String()), first)
	return spent, s.explainCall(ctx, "read what "+scope.String()+" has spent", err)
}
