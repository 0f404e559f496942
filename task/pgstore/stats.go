package pgstore

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oz-platform/cloudagents/task"
)

const (
	// specOf is the specification of run u.n, parsed once (hence OFFSET 0). No
	// column can hold NUL, and nothing must fail because of one.
	specOf = `(SELECT replace(convert_from(spec, 'UTF8'), '\u0000', '\ufffd')::json AS spec FROM specs WHERE n = u.n OFFSET 0)`
	// harnessOf and modelOf are the harness of s.spec and its own name of the model.
	harnessOf = `coalesce(nullif(s.spec #>> '{config,harness,type}', ''), 'oz')`
	modelOf   = `coalesce(s.spec #>> '{config,harness,model_id}', '')`

	// putStats writes how runs ended. What they are told apart by is read once,
	// at their first end.
	putStats = `WITH u AS (
			SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::float8[], $5::boolean[], $6::boolean[], $7::text[], $8::text[])
				AS u (n, queued, worked, cost, unpriced, private, state, code)
		), known AS (
			UPDATE run_stats x SET queued = u.queued, worked = u.worked, cost = u.cost, unpriced = u.unpriced, private = u.private, state = u.state, code = u.code
			FROM u WHERE x.n = u.n RETURNING x.n
		)
		INSERT INTO run_stats (n, created_at, queued, worked, cost, unpriced, private, state, code, owner, creator, source, environment, agent, harness, model)
		SELECT u.n, r.created_at, u.queued, u.worked, u.cost, u.unpriced, u.private, u.state, u.code, r.owner, r.creator, r.source, r.environment,
			CASE WHEN s.spec #>> '{executor,type}' = 'service_account' THEN r.executor ELSE '' END, h.harness,
			CASE WHEN h.harness = 'oz' THEN r.model ELSE h.model END
		FROM u JOIN runs r ON r.n = u.n CROSS JOIN LATERAL ` + specOf + ` s
		CROSS JOIN LATERAL (SELECT ` + harnessOf + ` AS harness, ` + modelOf + ` AS model) h
		WHERE NOT EXISTS (SELECT 1 FROM known k WHERE k.n = u.n)`
	dropStats = `DELETE FROM run_stats WHERE n = ANY($1)`
)

// queueStats keeps how runs ended, of those for which that changes.
func (tx *transaction) queueStats(b *pgx.Batch, runs []*run) {
	var ns, queued, worked, gone []int64
	var cost []float64
	var unpriced, private []bool
	var states, codes []string
	for _, r := range runs {
		was, had := task.FactOf(r.old)
		is, has := task.FactOf(r.head)
		switch {
		case has && (!had || was != is):
			wait := int64(-1)
			if is.Began {
				wait = int64(is.Queued)
			}
			ns, queued, worked, cost = append(ns, r.n), append(queued, wait), append(worked, int64(is.Worked)), append(cost, is.USD)
			unpriced, private = append(unpriced, is.Unpriced), append(private, is.Private)
			states, codes = append(states, string(is.State)), append(codes, text(string(is.Code)))
		case had && !has:
			gone = append(gone, r.n)
		}
	}
	if len(ns) > 0 {
		b.Queue(putStats, ns, queued, worked, cost, unpriced, private, states, codes)
	}
	if len(gone) > 0 {
		b.Queue(dropStats, gone)
	}
}

// RunStats implements task.Statistics.
func (s *Store) RunStats(ctx context.Context, q task.StatsQuery) (task.StatsReport, error) {
	if err := q.Validate(); err != nil {
		return task.StatsReport{}, err
	}
	shared, err := s.sharesAny(ctx, q.Viewer)
	if err != nil {
		return task.StatsReport{}, s.explainCall(ctx, "read the statistics", err)
	}
	statement, args := statsStatement(q, shared)
	sum, err := s.sumStats(ctx, q, statement, args)
	if err != nil {
		return task.StatsReport{}, s.explainCall(ctx, "read the statistics", err)
	}
	return sum.Report(), nil
}

// planStats makes the server add the runs up in a hash table. It expects as
// many groups as runs, since it knows nothing of their number, and would sort
// all runs before or compile the statement: both take longer than the rest.
const planStats = `SELECT set_config('enable_sort', 'off', true), set_config('jit', 'off', true), set_config('work_mem', '64MB', true)`

func (s *Store) sumStats(ctx context.Context, q task.StatsQuery, statement string, args []any) (sum *task.StatsSum, err error) {
	err = reading(ctx, s, func(ctx context.Context) error {
		sum = task.NewStatsSum(q)
		// One view of all tables: what is packed leaves stats_fresh in the same commit.
		return pgx.BeginTxFunc(ctx, s.reads, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			fresh, err := addPacked(ctx, tx, q, sum)
			if err != nil || !fresh {
				return err
			}
			if _, err := tx.Exec(ctx, planStats); err != nil {
				return err
			}
			rows, err := tx.Query(ctx, statement, args...)
			if err != nil {
				return err
			}
			_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) { return struct{}{}, addStats(row, sum) })
			return err
		})
	})
	return sum, err
}

// addStats adds a row: the runs of a group and bucket that ended in the same
// way.
func addStats(row pgx.CollectableRow, sum *task.StatsSum) error {
	var group, state, code string
	var bucket int
	var p task.StatsPart
	var queued, worked []int64
	if err := row.Scan(&group, &bucket, &state, &code, &p.Runs, &p.USD, &p.Unpriced, &queued, &worked); err != nil {
		return err
	}
	p.State, p.Code = task.State(state), task.Code(untext(code))
	p.Queued, p.Worked = durations(queued), durations(worked)
	sum.Add(untext(group), bucket, p)
	return nil
}

func durations(nanos []int64) []time.Duration {
	out := make([]time.Duration, len(nanos))
	for i, n := range nanos {
		out[i] = time.Duration(n)
	}
	return out
}

// statsStatement reads the rows that are not packed as they are. The times come
// whole, since the exact percentiles of a group are not those of its parts.
func statsStatement(q task.StatsQuery, shared bool) (string, []any) {
	var args []any
	arg := func(value any) string {
		args = append(args, value)
		return "$" + strconv.Itoa(len(args))
	}
	where := []string{`r.created_at >= ` + arg(nanos(q.From)), `r.created_at < ` + arg(nanos(q.To))}
	for group, value := range q.Where {
		where = append(where, `r.`+string(group)+` = `+arg(bounded(value)))
	}
	if q.Viewer != nil || q.Owners != nil {
		var seen []string
		for _, c := range ofOwners(task.Query{Owners: q.Owners, Viewer: q.Viewer}, shared) {
			part := c.sql
			for _, value := range c.args {
				part = strings.Replace(part, "?", arg(value), 1)
			}
			seen = append(seen, `(`+part+`)`)
		}
		if len(seen) == 0 {
			seen = []string{`false`}
		}
		where = append(where, `(`+strings.Join(seen, ` OR `)+`)`)
	}
	group, bucket := `''`, `0`
	if q.Group != "" {
		group = `r.` + string(q.Group)
	}
	if len(q.Bounds) > 0 {
		bounds := make([]int64, len(q.Bounds))
		for i, at := range q.Bounds {
			bounds[i] = nanos(at)
		}
		bucket = `width_bucket(r.created_at, ` + arg(bounds) + `::bigint[]) - 1`
	}
	return `SELECT ` + group + `, ` + bucket + `, r.state, r.code, count(*), sum(r.cost), bool_or(r.unpriced),
			coalesce(array_agg(r.queued) FILTER (WHERE r.queued >= 0), '{}'), coalesce(array_agg(r.worked) FILTER (WHERE r.queued >= 0), '{}')
		FROM run_stats r WHERE r.n IN (SELECT n FROM stats_fresh) AND ` + strings.Join(where, ` AND `) + ` GROUP BY 1, 2, 3, 4`, args
}
