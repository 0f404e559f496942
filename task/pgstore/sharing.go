package pgstore

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/oz-platform/cloudagents/task"
)

const (
	updatePrivate = `UPDATE runs r SET private = u.private FROM unnest($1::bigint[], $2::boolean[]) AS u (n, private) WHERE r.n = u.n`
	deleteShares  = `DELETE FROM shares WHERE n = ANY($1)`
	insertShares  = `INSERT INTO shares (grantee, n) SELECT * FROM unnest($1::text[], $2::bigint[]) ON CONFLICT DO NOTHING`
	selectShared  = `SELECT n FROM shares WHERE grantee = ANY($1) LIMIT 1`
)

// queueSharing queues who may see the runs, of those for which that changes.
func queueSharing(b *pgx.Batch, runs []*run) {
	var ns, grantedNs []int64
	var private []bool
	var grantees []string
	for _, r := range runs {
		s := r.head.Sharing
		if s.Equal(r.old.Sharing) {
			continue
		}
		ns, private = append(ns, r.n), append(private, s.Private())
		for _, g := range s.Grants {
			grantees, grantedNs = append(grantees, bounded(g.To.String())), append(grantedNs, r.n)
		}
	}
	if len(ns) == 0 {
		return
	}
	b.Queue(updatePrivate, ns, private)
	b.Queue(deleteShares, ns)
	b.Queue(insertShares, grantees, grantedNs)
}

// ofOwners gives an alternative for each owner whose runs the query asks for,
// and one more for whatever else was shared with its viewer.
func ofOwners(q task.Query, shared bool) (owners []cond) {
	v := q.Viewer
	if v == nil {
		for _, o := range distinct(q.Owners) {
			owners = append(owners, cond{`r.owner = ?`, []any{bounded(o.String())}})
		}
		return owners
	}
	for _, o := range distinct(v.Owners) {
		switch {
		case q.Owners != nil && !slices.Contains(q.Owners, o):
		case slices.Contains(v.Leads, o):
			owners = append(owners, cond{`r.owner = ?`, []any{bounded(o.String())}})
		default:
			owners = append(owners, cond{`r.owner = ? AND (NOT r.private OR r.creator = ? AND r.creator <> '')`, []any{bounded(o.String()), bounded(v.UID)}})
		}
	}
	if !shared {
		return owners
	}
	loose := cond{`r.n IN (SELECT n FROM shares WHERE grantee = ANY (?))`, []any{names(v.Grantees)}}
	if q.Owners != nil {
		loose = cond{loose.sql + ` AND r.owner = ANY (?)`, append(loose.args, names(q.Owners))}
	}
	if len(owners) > 0 { // the alternatives exclude each other
		seen := filter{any: owners}.cond()
		loose = cond{loose.sql + ` AND NOT (` + seen.sql + `)`, append(loose.args, seen.args...)}
	}
	return append(owners, loose)
}

// sharesAny reports whether anything is shared with the viewer by name: mostly
// nothing is, and lists are spared the look.
func (s *Store) sharesAny(ctx context.Context, v *task.Viewer) (bool, error) {
	if v == nil || len(v.Grantees) == 0 {
		return false, nil
	}
	found, err := collect(ctx, s, pgx.RowTo[int64], selectShared, names(v.Grantees))
	return len(found) > 0, err
}

// names is an array of scopes, as they are stored.
func names(scopes []task.Scope) []string {
	list := make([]string, 0, len(scopes))
	for _, s := range scopes {
		list = append(list, bounded(s.String()))
	}
	return list
}
