package pgstore

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/oz-platform/cloudagents/task"
)

// The forms of strings in columns.
var (
	Text    = text
	Untext  = untext
	Bounded = bounded
	Explain = explain
)

// MaxKeyBytes bounds the strings in indexes, before a hash.
const MaxKeyBytes = maxKeyBytes

// PlanNode is a step of a query plan, as EXPLAIN (FORMAT JSON) gives it.
type PlanNode struct {
	Type    string     `json:"Node Type"`
	Table   string     `json:"Relation Name"`
	Index   string     `json:"Index Name"`
	Cond    string     `json:"Index Cond"`
	Rows    float64    `json:"Actual Rows"`
	Loops   float64    `json:"Actual Loops"`
	Removed float64    `json:"Rows Removed by Filter"`
	Plans   []PlanNode `json:"Plans"`
}

// ExplainList runs a list and gives the plans of its statements.
func (s *Store) ExplainList(ctx context.Context, q task.Query) ([]PlanNode, error) {
	statements, err := s.listStatements(ctx, &q)
	if err != nil {
		return nil, err
	}
	var plans []PlanNode
	for _, build := range statements {
		stmt := build(q.Limit + 1)
		plan, err := explainPlan(ctx, s, "ANALYZE, FORMAT JSON", numbered(stmt.sql), append([]any{pgx.QueryExecModeCacheDescribe}, stmt.args...)...)
		if err != nil {
			return nil, err
		}
		plans = append(plans, plan)
	}
	return plans, nil
}

func explainPlan(ctx context.Context, s *Store, options, statement string, args ...any) (PlanNode, error) {
	out, err := one(ctx, s, pgx.RowTo[[]byte], `EXPLAIN (`+options+`) `+statement, args...)
	if err != nil {
		return PlanNode{}, err
	}
	var plans []struct{ Plan PlanNode }
	err = json.Unmarshal(out, &plans)
	return plans[0].Plan, err
}

// ExplainWriter gives the plan of a fixed statement for any arguments, with
// the settings of the writers, which are the stricter ones.
func (s *Store) ExplainWriter(ctx context.Context, statement string) (plan PlanNode, err error) {
	conn, err := s.writes.Acquire(ctx)
	if err != nil {
		return plan, err
	}
	defer conn.Release()
	prepared, err := conn.Conn().Prepare(ctx, "explained", statement)
	if err != nil {
		return plan, err
	}
	execute := `EXPLAIN (FORMAT JSON) EXECUTE explained`
	for i := range prepared.ParamOIDs {
		execute += map[bool]string{true: "(", false: ", "}[i == 0] + "NULL"
	}
	if len(prepared.ParamOIDs) > 0 {
		execute += ")"
	}
	var out []byte
	if err := conn.QueryRow(ctx, execute, pgx.QueryExecModeSimpleProtocol).Scan(&out); err != nil {
		return plan, err
	}
	var plans []struct{ Plan PlanNode }
	if err := json.Unmarshal(out, &plans); err != nil {
		return plan, err
	}
	return plans[0].Plan, conn.Conn().Deallocate(ctx, "explained")
}

// EstimateRuns guesses how many runs a search for words finds.
func (s *Store) EstimateRuns(ctx context.Context, text string) (float64, error) {
	return one(ctx, s, pgx.RowTo[float64], estimateRuns, searched(text))
}

// File does what the filer does in a while: runs that have ended and those that
// wait enter the list indexes.
func (s *Store) File(ctx context.Context) error {
	f := &filer{pool: s.writes, packer: newPacker(s.writes, s.opts.Schema)}
	for range 2 * patientLooks {
		if _, err := f.look(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Pack packs the statistics of all chunks with at least so many changes.
func (s *Store) Pack(ctx context.Context, changes int) error {
	p := newPacker(s.writes, s.opts.Schema)
	p.many, p.some = changes, changes
	for {
		if more, err := p.pack(ctx); err != nil || !more {
			return err
		}
	}
}

// Chunk reads a row of stats_packed that may be damaged, and packs it again.
func Chunk(data []byte) (runs int, again []byte, err error) {
	var c statsChunk
	if err := c.parse(data); err != nil {
		return 0, nil, err
	}
	var rows []statsRow
	for i := range c.rows {
		r := statsRow{n: int64(c.slot(i)), created: c.at(i), fact: c.fact(i)}
		for name := range r.names {
			r.names[name] = c.strings[c.name(name, i)]
		}
		rows = append(rows, r)
	}
	return c.rows, packStats(rows), nil
}

// MigrateTo makes the tables of an earlier version.
func MigrateTo(ctx context.Context, dsn, schema string, version int64) (err error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return err
	}
	config.RuntimeParams["search_path"] = schema
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, `CREATE SCHEMA `+pgx.Identifier{schema}.Sanitize()); err != nil {
		return err
	}
	p, err := newMigrations(db)
	if err == nil {
		_, err = p.UpTo(ctx, version)
	}
	return err
}

// AddUsage is the statement that adds to the sums.
const AddUsage = addUsage

// Statements gives the fixed statements that look rows up.
func Statements() []string {
	return []string{selectRun, selectExists, selectExecution, selectExecutions, selectLive, selectEvents, selectWaiting, selectRecord,
		selectRecords, selectRecordsOf, selectPosition, selectVersions, selectWork, countWaiting, lockRuns, lockPlaced, selectBodies, fileEnded, fileWaiting, selectNewest, selectUnfiled, selectPresent, selectNamed,
		selectExisting, selectMatching, estimateRuns, selectOlder, selectBelow, lockKeys, lockRecords, updateRuns, updateExecutions, selectArtifacts, updateKeys, forgetKeys,
		updateRecord, deleteRecord, selectPrunable, selectLeftovers, deleteHidden, finishTrim,
		selectMail, selectMails, selectUnread, selectSignals, selectSignal, anyFresh, selectOldest, countUnread, markRead, markDeliver, numberFresh,
		deleteOldest, dropMail, selectJournal, selectJournalHead, addUsage, putStats, dropStats, deleteFresh, selectRows, deletePacked}
}
