package sqlitestore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/oz-platform/cloudagents/task"
)

const (
	// What the statistics tell runs apart by, in the order of the names of a
	// record, without the code.
	selectStatsOf = `SELECT r.owner, r.creator, r.source, r.environment, iif(s.spec ->> '$.executor.type' = 'service_account', r.executor, ''),
			coalesce(nullif(s.spec ->> '$.config.harness.type', ''), 'oz'),
			iif(coalesce(s.spec ->> '$.config.harness.type', '') IN ('', 'oz'), r.model, coalesce(s.spec ->> '$.config.harness.model_id', '')), r.created_at
		FROM runs r JOIN (SELECT n, CAST(spec AS TEXT) AS spec FROM specs WHERE n = ?1) s ON s.n = r.n WHERE r.n = ?1`
	selectStatsChunk = `SELECT data FROM stats WHERE chunk = ?`
	putStatsChunk    = `INSERT INTO stats (chunk, data) VALUES (?, ?) ON CONFLICT (chunk) DO UPDATE SET data = excluded.data`
	putStatsSpan     = `INSERT INTO stats_spans (span, first, last) VALUES (?1, ?2, ?2)
		ON CONFLICT (span) DO UPDATE SET first = min(first, ?2), last = max(last, ?2) WHERE ?2 < first OR ?2 > last`
	selectStatsName  = `SELECT id FROM stats_names WHERE name = ?`
	insertStatsName  = `INSERT INTO stats_names (name) VALUES (?)`
	selectStatsNames = `SELECT id, name FROM stats_names WHERE id > ? ORDER BY id`
	selectStats      = `SELECT c.chunk, c.data FROM stats_spans s CROSS JOIN stats c ON c.chunk >= s.span * 64 AND c.chunk < (s.span + 1) * 64
		WHERE s.last >= ? AND s.first < ?`
	selectStatsShared = `SELECT n FROM shares WHERE grantee IN (SELECT value FROM json_each(?))`
	selectStatsTodo   = `SELECT n FROM stats_todo`
	updateStatsTodo   = `UPDATE stats_todo SET n = ?`
	selectStatsEnded  = `SELECT n, head FROM runs WHERE n <= ? AND state IN ('SUCCEEDED', 'FAILED', 'BLOCKED', 'ERROR', 'CANCELLED') ORDER BY n DESC LIMIT 1`
)

// maxStatsNames bounds the ids that the writer remembers.
const maxStatsNames = 4096

// writeStats keeps how a run ended, if a plan changes that.
func (w *writer) writeStats(p plan) error {
	was, had := task.FactOf(p.old.head)
	is, has := task.FactOf(p.next.head)
	switch {
	case has && (!had || was != is):
		return w.putStats(p.next.n, is)
	case had && !has:
		return w.changeStats(p.next.n, nil)
	}
	return nil
}

// putStats writes the record of a run that has ended.
func (w *writer) putStats(n int64, f task.RunFact) error {
	vals, err := w.row(selectStatsOf, n)
	if err != nil {
		return err
	}
	if vals == nil {
		return noRun(task.ID(fmt.Sprint("number ", n)))
	}
	r := statsRecordOf(f)
	_, r.slot = chunkOf(n)
	r.created = vals[statsNames-1].(int64)
	for i := range nameCode {
		if r.names[i], err = w.statsName(vals[i].(string)); err != nil {
			return err
		}
	}
	if r.names[nameCode], err = w.statsName(string(f.Code)); err != nil {
		return err
	}
	return w.changeStats(n, &r)
}

// changeStats replaces the record of a run; nil removes it.
func (w *writer) changeStats(n int64, r *statsRecord) error {
	chunk, slot := chunkOf(n)
	vals, err := w.row(selectStatsChunk, chunk)
	if err != nil {
		return err
	}
	var data []byte
	if vals != nil {
		data = vals[0].([]byte)
	}
	if data, err = withoutStats(data, slot); err != nil {
		return err
	}
	if r != nil {
		data = r.append(data)
		if _, err := w.exec(putStatsSpan, chunk/spanChunks, r.created); err != nil {
			return err
		}
	}
	_, err = w.exec(putStatsChunk, chunk, data)
	return err
}

// statsName gives the id of a name, which it may make.
func (w *writer) statsName(name string) (int64, error) {
	if id, ok := w.statsIDs[name]; ok {
		return id, nil
	}
	vals, err := w.row(selectStatsName, name)
	if err != nil {
		return 0, err
	}
	var id int64
	if vals != nil {
		id = vals[0].(int64)
	} else if id, err = w.exec(insertStatsName, name); err != nil {
		return 0, err
	}
	if w.statsIDs == nil || len(w.statsIDs) >= maxStatsNames {
		w.statsIDs = map[string]int64{}
	}
	w.statsIDs[name] = id
	return id, nil
}

// statsPiece is how many runs of before one transaction brings into the
// statistics.
const statsPiece = 1000

// fillStats brings the runs of before the statistics into them, piece by piece:
// it goes on where it was killed. Nobody else writes yet.
func (w *writer) fillStats() error {
	for {
		vals, err := w.c.row(selectStatsTodo)
		if err != nil || vals == nil || vals[0].(int64) == 0 {
			return err
		}
		if _, err := w.c.exec(`BEGIN IMMEDIATE`); err != nil {
			return err
		}
		if err := w.fillPiece(vals[0].(int64)); err != nil {
			w.undo(w.waiting)
			return fmt.Errorf("bring earlier runs into the statistics: %w", err)
		}
		if _, err := w.c.exec(`COMMIT`); err != nil {
			return err
		}
	}
}

// fillPiece does the newest runs up to one.
func (w *writer) fillPiece(n int64) error {
	for range statsPiece {
		vals, err := w.row(selectStatsEnded, n)
		if err != nil {
			return err
		}
		if vals == nil {
			n = 0
			break
		}
		var h task.Head
		n = vals[0].(int64)
		if err := json.Unmarshal(vals[1].([]byte), &h); err != nil {
			return fmt.Errorf("decode head of run number %d: %w", n, err)
		}
		if f, ok := task.FactOf(h); ok {
			if err := w.putStats(n, f); err != nil {
				return err
			}
		}
		n--
	}
	_, err := w.exec(updateStatsTodo, n)
	return err
}

// statsNameList remembers the names by id: they are only added, so what was
// committed once stays true.
type statsNameList struct {
	mu     sync.Mutex
	byID   []string
	byName map[string]int64
}

// read brings the list up to what the snapshot of tx holds.
func (l *statsNameList) read(ctx context.Context, tx *sql.Tx) (byID []string, byName func(string) int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byID == nil {
		l.byID, l.byName = []string{""}, map[string]int64{} // ids begin with 1
	}
	type name struct {
		id   int64
		name string
	}
	fresh, err := collect(ctx, tx, func(row scanner) (n name, err error) {
		err = row.Scan(&n.id, &n.name)
		return n, err
	}, selectStatsNames, len(l.byID)-1)
	for _, n := range fresh {
		for int64(len(l.byID)) < n.id { // SQLite leaves no gaps, but nothing says so
			l.byID = append(l.byID, "")
		}
		if n.id == int64(len(l.byID)) {
			l.byID, l.byName[n.name] = append(l.byID, n.name), n.id
		}
	}
	return l.byID, func(s string) int64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		if id, ok := l.byName[s]; ok {
			return id
		}
		return -1 // no record has it
	}, err
}

// RunStats implements task.Statistics.
func (s *Store) RunStats(ctx context.Context, q task.StatsQuery) (task.StatsReport, error) {
	if err := q.Validate(); err != nil {
		return task.StatsReport{}, err
	}
	report, err := s.runStats(ctx, q)
	return report, s.explainRead(ctx, "read the statistics", err)
}

func (s *Store) runStats(ctx context.Context, q task.StatsQuery) (r task.StatsReport, err error) {
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return r, err
	}
	defer func() {
		if end := tx.Rollback(); !errors.Is(end, sql.ErrTxDone) {
			err = errors.Join(err, end)
		}
	}()
	reader, err := s.newStatsReader(ctx, tx, q)
	if err != nil {
		return r, err
	}
	rows, err := tx.QueryContext(ctx, selectStats, reader.from, reader.to)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var chunk int64
	var data sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&chunk, &data); err != nil {
			return r, err
		}
		if err := reader.chunk(chunk, data); err != nil {
			return r, err
		}
	}
	if err := rows.Err(); err != nil {
		return r, err
	}
	return reader.sum.Report(), nil
}

// statsColumns are the names that groups stand for.
var statsColumns = map[task.StatsGroup]int{task.StatsByAgent: nameAgent, task.StatsBySource: nameSource, task.StatsByEnvironment: nameEnvironment,
	task.StatsByCreator: nameCreator, task.StatsByHarness: nameHarness, task.StatsByModel: nameModel}

// statsReader picks and adds up records. Names are compared by their ids.
type statsReader struct {
	sum      *task.StatsSum
	names    []string
	from, to int64
	bounds   []int64
	bucket   int // of the record before: most are of the same
	group    int // in statsRecord.names; -1 for none
	where    [][2]int64
	owners   map[int64]bool // those whose runs may be seen; true for private ones, too
	anyOwner bool
	viewer   int64              // id of the viewer's uid
	only     map[int64]bool     // the owners that are asked for; nil for all
	shared   map[int64]struct{} // further runs, by n
	r        statsRecord
}

func (s *Store) newStatsReader(ctx context.Context, tx *sql.Tx, q task.StatsQuery) (*statsReader, error) {
	known, id, err := s.statsNames.read(ctx, tx)
	if err != nil {
		return nil, err
	}
	r := &statsReader{sum: task.NewStatsSum(q), names: known, from: nanos(q.From), to: nanos(q.To), group: -1, viewer: -1}
	for _, b := range q.Bounds {
		r.bounds = append(r.bounds, nanos(b))
	}
	if q.Group != "" {
		r.group = statsColumns[q.Group]
	}
	for group, value := range q.Where {
		r.where = append(r.where, [2]int64{int64(statsColumns[group]), id(value)})
	}
	if q.Owners != nil {
		r.only = map[int64]bool{}
		for _, o := range q.Owners {
			r.only[id(o.String())] = true
		}
	}
	v := q.Viewer
	if v == nil {
		r.anyOwner = true
		return r, nil
	}
	if v.UID != "" {
		r.viewer = id(v.UID)
	}
	r.owners = map[int64]bool{}
	for _, o := range v.Owners {
		r.owners[id(o.String())] = slices.Contains(v.Leads, o)
	}
	if len(v.Grantees) == 0 {
		return r, nil
	}
	found, err := collect(ctx, tx, scanNumber, selectStatsShared, names(v.Grantees))
	r.shared = make(map[int64]struct{}, len(found))
	for _, n := range found {
		r.shared[n] = struct{}{}
	}
	return r, err
}

// chunk adds the records of a row.
func (r *statsReader) chunk(number int64, data []byte) error {
	for len(data) > 0 {
		record, rest, err := nextStats(data)
		if err == nil {
			err = r.r.parse(record)
		}
		if err != nil {
			return fmt.Errorf("chunk %d: %w", number, err)
		}
		data = rest
		if !r.wanted(number<<chunkBits | int64(r.r.slot)) {
			continue
		}
		group := ""
		if r.group >= 0 {
			group = r.name(r.r.names[r.group])
		}
		r.sum.AddFact(group, r.bucketOf(r.r.created), r.r.fact(r.name(r.r.names[nameCode])))
	}
	return nil
}

func (r *statsReader) name(id int64) string {
	if id < int64(len(r.names)) {
		return r.names[id]
	}
	return "" // cannot be: names are written with the records, and read before them
}

// wanted reports whether the query and its viewer are given the record of run n.
func (r *statsReader) wanted(n int64) bool {
	rec := &r.r
	if rec.created < r.from || rec.created >= r.to {
		return false
	}
	for _, w := range r.where {
		if rec.names[w[0]] != w[1] {
			return false
		}
	}
	if r.only != nil && !r.only[rec.names[nameOwner]] {
		return false
	}
	if r.anyOwner {
		return true
	}
	if all, ok := r.owners[rec.names[nameOwner]]; ok && (all || rec.flags&statsPrivate == 0 || rec.names[nameCreator] == r.viewer) {
		return true
	}
	_, ok := r.shared[n]
	return ok
}

func (r *statsReader) bucketOf(created int64) int {
	if len(r.bounds) == 0 {
		return 0
	}
	if b := r.bucket; created >= r.bounds[b] && (b+1 == len(r.bounds) || created < r.bounds[b+1]) {
		return b
	}
	i, found := slices.BinarySearch(r.bounds, created)
	if !found {
		i--
	}
	r.bucket = max(i, 0)
	return r.bucket
}
