package pgstore

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/oz-platform/cloudagents/task"
)

// The statements that a transaction writes with: one for all rows of a table,
// given as columns.
const (
	insertRuns = `INSERT INTO runs (n, id, version, owner, name, model, creator, executor, source, location, environment, skill, parent,
			title, worker_host, created_at, updated_at, idle_at, ready_at, state, last_worker, head)
		SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
			$10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::bigint[], $17::bigint[], $18::bigint[],
			$19::bigint[], $20::text[], $21::text[], $22::bytea[])`
	// Words hold no spaces.
	insertSpecs = `INSERT INTO specs (n, spec, words)
		SELECT n, spec, array_to_tsvector(string_to_array(words, ' ')) FROM unnest($1::bigint[], $2::bytea[], $3::text[]) AS u (n, spec, words)`
	updateRuns = `UPDATE runs r SET version = u.version, head = u.head, updated_at = u.updated_at, state = u.state, ready_at = u.ready_at,
			idle_at = u.idle_at, last_worker = coalesce(u.last_worker, r.last_worker), pruned_to = u.pruned_to,
			leftover = r.leftover OR u.pruned_to > r.pruned_to
		FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::bigint[])
			AS u (n, version, head, updated_at, state, ready_at, idle_at, last_worker, pruned_to)
		WHERE r.n = u.n`
	insertTags       = `INSERT INTO tags (n, tag, idle_at) SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[]) ON CONFLICT DO NOTHING`
	insertExecutions = `INSERT INTO executions (n, number, id, live, data)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::boolean[], $5::bytea[])`
	updateExecutions = `UPDATE executions x SET live = u.live, data = u.data
		FROM unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::bytea[]) AS u (n, number, live, data) WHERE x.n = u.n AND x.number = u.number`
	insertEvents = `INSERT INTO events (n, seq, time, execution, type, data)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bytea[])`
	selectArtifacts = `SELECT n, uid FROM artifacts WHERE n = ANY($1)`
	insertArtifacts = `INSERT INTO artifacts (n, uid, number, data) SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bytea[])`
	insertKeys      = `INSERT INTO creation_keys (principal, key, fingerprint, run, keep_until)
		SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::bigint[])`
	updateKeys = `UPDATE creation_keys k SET fingerprint = u.fingerprint, run = u.run, keep_until = u.keep_until
		FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::bigint[]) AS u (principal, key, fingerprint, run, keep_until)
		WHERE k.principal = u.principal AND k.key = u.key`
	// Two for each new one: the table shrinks to what must be kept. Those that
	// another store is deleting are left to it.
	forgetKeys = `DELETE FROM creation_keys WHERE (principal, key) IN
		(SELECT principal, key FROM creation_keys WHERE keep_until < $1 ORDER BY keep_until LIMIT $2 FOR UPDATE SKIP LOCKED)`
	insertRecord = `INSERT INTO records (kind, key, owner, owner_key, revision, updated_at, data) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	updateRecord = `UPDATE records SET owner = $3, owner_key = $4, revision = $5, updated_at = $6, data = $7 WHERE kind = $1 AND key = $2`
	deleteRecord = `DELETE FROM records WHERE kind = $1 AND key = $2`
)

// queueWrites queues all that the transaction writes. What may wait for
// another store's new row (a key of its own choice) comes in the order of the
// keys.
func (tx *transaction) queueWrites(b *pgx.Batch) {
	slices.SortFunc(tx.created, func(x, y *run) int { return cmp.Compare(x.id, y.id) })
	all := slices.Concat(tx.created, tx.changed)
	tx.queueCreated(b)
	tx.queueChanged(b)
	queueExecutions(b, all)
	queueEvents(b, all)
	queueTags(b, all)
	queueSharing(b, all)
	queueArtifacts(b, all)
	tx.queueKeys(b)
	tx.queueRecords(b)
	tx.queueTrims(b)
	tx.queueMail(b)
	tx.queueSignals(b)
	tx.queueStats(b, all)
	tx.queueUsage(b)
}

func (tx *transaction) queueCreated(b *pgx.Batch) {
	if len(tx.created) == 0 {
		return
	}
	var ns, versions, created, updated []int64
	var idle, ready []pgtype.Int8
	var ids, owners, names, models, creators, executors, sources, locations, environments, skills, parents, titles, hosts, states, workers []string
	var words []string
	var heads, specs [][]byte
	for _, r := range tx.created {
		t, h, worker := r.made.task, r.head, ""
		if r.lastWorker != nil {
			worker = *r.lastWorker
		}
		ns, versions, ids = append(ns, r.n), append(versions, r.version), append(ids, text(string(r.id)))
		owners, names, models = append(owners, bounded(t.Owner.String())), append(names, bounded(t.Config.Name)), append(models, bounded(t.Config.ModelID))
		creators, executors = append(creators, bounded(t.Creator.UID)), append(executors, bounded(t.Executor.UID))
		sources, locations = append(sources, bounded(string(h.Source))), append(locations, bounded(string(h.Where)))
		environments, skills = append(environments, bounded(t.Config.EnvironmentID)), append(skills, bounded(t.Config.SkillSpec))
		parents, titles, hosts = append(parents, bounded(string(t.ParentID))), append(titles, bounded(t.Title)), append(hosts, text(t.Config.WorkerWish()))
		created, updated = append(created, nanos(h.CreatedAt)), append(updated, nanos(h.UpdatedAt))
		idle, ready = append(idle, r.idleAt()), append(ready, nanosOrNull(h.ReadyAt))
		states, workers, heads = append(states, string(h.State)), append(workers, text(worker)), append(heads, r.encoded)
		specs, words = append(specs, r.made.spec), append(words, strings.Join(r.made.words, " "))
	}
	b.Queue(insertRuns, ns, ids, versions, owners, names, models, creators, executors, sources, locations, environments, skills, parents,
		titles, hosts, created, updated, idle, ready, states, workers, heads)
	b.Queue(insertSpecs, ns, specs, words)
}

func (tx *transaction) queueChanged(b *pgx.Batch) {
	var ns, versions, updated, pruned []int64
	var heads [][]byte
	var states []string
	var ready, idle []pgtype.Int8
	var workers []pgtype.Text
	for _, r := range tx.changed {
		h := r.head
		ns, versions, heads, updated = append(ns, r.n), append(versions, r.version), append(heads, r.encoded), append(updated, nanos(h.UpdatedAt))
		states, ready, idle = append(states, string(h.State)), append(ready, nanosOrNull(h.ReadyAt)), append(idle, r.idleAt())
		worker := pgtype.Text{}
		if r.lastWorker != nil {
			worker = pgtype.Text{String: text(*r.lastWorker), Valid: true}
		}
		workers, pruned = append(workers, worker), append(pruned, h.PrunedTo)
	}
	if len(ns) > 0 {
		b.Queue(updateRuns, ns, versions, heads, updated, states, ready, idle, workers, pruned)
	}
}

func queueExecutions(b *pgx.Batch, runs []*run) {
	type row struct {
		n int64
		*execution
	}
	var fresh, known []row
	for _, r := range runs {
		for _, x := range r.order {
			if x.fresh {
				fresh = append(fresh, row{r.n, x})
			} else {
				known = append(known, row{r.n, x})
			}
		}
	}
	slices.SortFunc(fresh, func(x, y row) int { return cmp.Compare(x.ID, y.ID) })
	columns := func(rows []row) (ns, numbers []int64, ids []string, live []bool, data [][]byte) {
		for _, x := range rows {
			ns, numbers, ids = append(ns, x.n), append(numbers, int64(x.Number)), append(ids, text(string(x.ID)))
			live, data = append(live, x.Live()), append(data, x.data)
		}
		return ns, numbers, ids, live, data
	}
	if len(fresh) > 0 {
		ns, numbers, ids, live, data := columns(fresh)
		b.Queue(insertExecutions, ns, numbers, ids, live, data)
	}
	if len(known) > 0 {
		ns, numbers, _, live, data := columns(known)
		b.Queue(updateExecutions, ns, numbers, live, data)
	}
}

func queueEvents(b *pgx.Batch, runs []*run) {
	size := 0
	for _, r := range runs {
		size += len(r.events)
	}
	if size == 0 {
		return
	}
	ns, seqs, times := make([]int64, 0, size), make([]int64, 0, size), make([]int64, 0, size)
	execs, types, data := make([]string, 0, size), make([]string, 0, size), make([][]byte, 0, size)
	for _, r := range runs {
		for _, e := range r.events {
			ns, seqs, times = append(ns, r.n), append(seqs, e.seq), append(times, e.time)
			execs, types, data = append(execs, e.execution), append(types, e.typ), append(data, e.data)
		}
	}
	b.Queue(insertEvents, ns, seqs, times, execs, types, data)
}

func queueTags(b *pgx.Batch, runs []*run) {
	var ns []int64
	var tags []string
	var idle []pgtype.Int8
	for _, r := range runs {
		for _, tag := range r.tags {
			ns, tags, idle = append(ns, r.n), append(tags, tag), append(idle, r.idleAt())
		}
	}
	if len(ns) > 0 {
		b.Queue(insertTags, ns, tags, idle)
	}
}

// dropKnownArtifacts leaves those to be written that their runs do not have
// yet, up to task.MaxArtifacts; the others stay in the log alone.
func (tx *transaction) dropKnownArtifacts(ctx context.Context) error {
	var ns []int64
	var reporting []*run
	for r := range tx.dirty {
		if len(r.artifacts) > 0 {
			reporting, ns = append(reporting, r), append(ns, r.n)
		}
	}
	if len(reporting) == 0 {
		return nil
	}
	rows, err := tx.conn.Query(ctx, selectArtifacts, ns)
	if err != nil {
		return err
	}
	has := map[int64]map[string]bool{}
	for _, n := range ns {
		has[n] = map[string]bool{}
	}
	var n int64
	var uid string
	if _, err := pgx.ForEachRow(rows, []any{&n, &uid}, func() error {
		has[n][uid] = true
		return nil
	}); err != nil {
		return err
	}
	for _, r := range reporting {
		r.known = len(has[r.n])
		r.artifacts = slices.DeleteFunc(r.artifacts, func(a encodedArtifact) bool {
			drop := has[r.n][a.uid] || len(has[r.n]) >= task.MaxArtifacts
			if !drop {
				has[r.n][a.uid] = true
			}
			return drop
		})
	}
	return nil
}

func queueArtifacts(b *pgx.Batch, runs []*run) {
	var ns, numbers []int64
	var uids []string
	var data [][]byte
	for _, r := range runs {
		for i, a := range r.artifacts {
			ns, uids, numbers, data = append(ns, r.n), append(uids, a.uid), append(numbers, int64(r.known+i)), append(data, a.data)
		}
	}
	if len(ns) > 0 {
		b.Queue(insertArtifacts, ns, uids, numbers, data)
	}
}

// queueKeys writes new idempotency keys and forgets some that are over.
func (tx *transaction) queueKeys(b *pgx.Batch) {
	var changed []pair
	for p, k := range tx.keys {
		if k.changed {
			changed = append(changed, p)
		}
	}
	if len(changed) == 0 {
		return
	}
	slices.SortFunc(changed, comparePairs)
	for _, stored := range []bool{false, true} {
		var names []pair
		var prints [][]byte
		var runs []string
		var until []int64
		for _, p := range changed {
			if k := tx.keys[p]; k.stored == stored {
				names, prints, runs, until = append(names, p), append(prints, k.fingerprint), append(runs, text(string(k.run))), append(until, k.keepUntil)
			}
		}
		statement := insertKeys
		if stored {
			statement = updateKeys
		}
		if first, second := split(names); len(names) > 0 {
			b.Queue(statement, first, second, prints, runs, until)
		}
	}
	b.Queue(forgetKeys, tx.forgetBefore, 2*len(changed))
}

func (tx *transaction) queueRecords(b *pgx.Batch) {
	var changed []pair
	for p, r := range tx.records {
		if r.changed {
			changed = append(changed, p)
		}
	}
	slices.SortFunc(changed, comparePairs)
	for _, p := range changed {
		r := tx.records[p]
		owner := r.Owner.String()
		args := []any{p.first, p.second, text(owner), bounded(owner), r.Revision, nanos(r.UpdatedAt), append([]byte{}, r.Data...)}
		switch {
		case r.Revision == 0 && r.before > 0:
			b.Queue(deleteRecord, args[:2]...)
		case r.Revision == 0: // made and deleted in one batch
		case r.before == 0:
			b.Queue(insertRecord, args...)
		default:
			b.Queue(updateRecord, args...)
		}
	}
}
