package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oz-platform/cloudagents/task"
)

const (
	// packEvery is after how many looks of the filer it packs: half a minute while
	// runs end.
	packEvery = 15
	// packMany is how many changes have a chunk packed anew; for those that are not
	// among the newest packSome are enough, as few more will come.
	packMany, packSome, packNewest = 128, 16, 4
	// packBatch bounds the chunks of one look.
	packBatch = 32
)

const (
	selectUnpacked = `SELECT n >> 10 FROM stats_fresh GROUP BY 1
		HAVING count(*) >= CASE WHEN n >> 10 > (SELECT max(n) >> 10 FROM stats_fresh) - $1::bigint THEN $2::bigint ELSE $3::bigint END ORDER BY 1 LIMIT $4`
	tryPack     = `SELECT set_config('synchronous_commit', 'off', true), pg_try_advisory_xact_lock($1)`
	deleteFresh = `DELETE FROM stats_fresh WHERE n >= $1 AND n < $2`
	selectRows  = `SELECT n, created_at, queued, worked, cost, unpriced, private, state, code, owner, creator, source, environment, agent, harness, model FROM run_stats WHERE n >= $1 AND n < $2 ORDER BY n`
	putPacked   = `INSERT INTO stats_packed (chunk, first, last, data) VALUES ($1, $2, $3, $4)
		ON CONFLICT (chunk) DO UPDATE SET first = excluded.first, last = excluded.last, data = excluded.data`
	deletePacked = `DELETE FROM stats_packed WHERE chunk = $1`
)

// packer packs the statistics, in which the table run_stats stays as it is. Of
// several stores one does it at a time. What gets lost when the server crashes is
// done again.
type packer struct {
	pool       *pgxpool.Pool
	lock       int64 // an advisory one
	many, some int
}

func newPacker(pool *pgxpool.Pool, schema string) packer {
	return packer{pool: pool, lock: lockKey(schema, "pack"), many: packMany, some: packSome}
}

// pack packs chunks with many changes. more says that there are more of them.
func (p packer) pack(ctx context.Context) (more bool, err error) {
	rows, err := p.pool.Query(ctx, selectUnpacked, packNewest, p.many, p.some, packBatch)
	if err != nil {
		return false, err
	}
	chunks, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return false, err
	}
	for _, chunk := range chunks {
		if mine, err := p.packChunk(ctx, chunk); err != nil || !mine {
			return false, err
		}
	}
	return len(chunks) == packBatch, nil
}

// packChunk packs one chunk, unless another store packs now. A change that was
// committed when its mark in stats_fresh is deleted is seen by what is read after
// that; the mark of a later one stays, and so its row goes on to count.
func (p packer) packChunk(ctx context.Context, chunk int64) (mine bool, err error) {
	err = pgx.BeginTxFunc(ctx, p.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, tryPack, p.lock).Scan(nil, &mine); err != nil || !mine {
			return err
		}
		from, to := chunk<<packedBits, (chunk+1)<<packedBits
		if _, err := tx.Exec(ctx, deleteFresh, from, to); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, selectRows, from, to)
		if err != nil {
			return err
		}
		packed, err := pgx.CollectRows(rows, scanStats)
		if err != nil {
			return err
		}
		if len(packed) == 0 {
			_, err = tx.Exec(ctx, deletePacked, chunk)
			return err
		}
		first, last := packed[0].created, packed[0].created
		for _, r := range packed {
			first, last = min(first, r.created), max(last, r.created)
		}
		_, err = tx.Exec(ctx, putPacked, chunk, first, last, packStats(packed))
		return err
	})
	return mine, err
}

// scanStats reads a row of selectRows.
func scanStats(row pgx.CollectableRow) (r statsRow, err error) {
	f, n := &r.fact, &r.names
	var queued, worked int64
	var state string
	err = row.Scan(&r.n, &r.created, &queued, &worked, &f.USD, &f.Unpriced, &f.Private, &state, &n[packedCode], &n[packedOwner], &n[packedCreator],
		&n[packedSource], &n[packedEnvironment], &n[packedAgent], &n[packedHarness], &n[packedModel])
	f.State, f.Began = task.State(state), queued >= 0
	f.Queued, f.Worked = time.Duration(queued), time.Duration(worked)
	return r, err
}
