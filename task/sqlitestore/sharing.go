package sqlitestore

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// writeSharing stores who may see a run, if the plan changes that.
func (w *writer) writeSharing(p plan) error {
	s := p.next.head.Sharing
	if s.Equal(p.old.head.Sharing) {
		return nil
	}
	n := p.next.n
	if _, err := w.exec(`UPDATE runs SET private = ? WHERE n = ?`, s.Private(), n); err != nil {
		return err
	}
	if _, err := w.exec(`DELETE FROM shares WHERE n = ?`, n); err != nil {
		return err
	}
	for _, g := range s.Grants {
		if _, err := w.exec(`INSERT INTO shares (grantee, n) VALUES (?, ?)`, g.To.String(), n); err != nil {
			return err
		}
	}
	return nil
}

// ofOwners gives an alternative for each owner whose runs the query asks for,
// and for whatever else was shared with its viewer, which no index serves, one
// more; nil when there is nothing.
func ofOwners(q task.Query, shared bool) (owners []cond, loose *cond) {
	v := q.Viewer
	if v == nil {
		for _, o := range distinct(q.Owners) {
			owners = append(owners, cond{`r.owner = ?`, []any{o.String()}})
		}
		return owners, nil
	}
	for _, o := range distinct(v.Owners) {
		switch {
		case q.Owners != nil && !slices.Contains(q.Owners, o):
		case slices.Contains(v.Leads, o):
			owners = append(owners, cond{`r.owner = ?`, []any{o.String()}})
		default:
			owners = append(owners, cond{`r.owner = ? AND (r.private = 0 OR r.creator = ? AND r.creator <> '')`, []any{o.String(), v.UID}})
		}
	}
	if !shared {
		return owners, nil
	}
	where := all{{`r.n IN (SELECT n FROM shares WHERE grantee IN (SELECT value FROM json_each(?)))`, []any{names(v.Grantees)}}}
	if q.Owners != nil {
		where = append(where, cond{`r.owner IN (SELECT value FROM json_each(?))`, []any{names(q.Owners)}})
	}
	if len(owners) > 0 { // the alternatives exclude each other
		seen := filter{any: owners}.cond()
		where = append(where, cond{`NOT (` + seen.sql + `)`, seen.args})
	}
	joined := where.join()
	return owners, &joined
}

// sharesAny reports whether anything is shared with the viewer by name: mostly
// nothing is, and lists are spared the look.
func (s *Store) sharesAny(ctx context.Context, v *task.Viewer) (bool, error) {
	if v == nil || len(v.Grantees) == 0 {
		return false, nil
	}
	found, err := collect(ctx, &s.fixed, scanNumber, `SELECT n FROM shares WHERE grantee IN (SELECT value FROM json_each(?)) LIMIT 1`, names(v.Grantees))
	return len(found) > 0, err
}

// names is the argument of json_each for some scopes.
func names(scopes []task.Scope) string {
	list := make([]string, 0, len(scopes))
	for _, s := range scopes {
		list = append(list, strings.ToValidUTF8(s.String(), "\ufffd"))
	}
	data, _ := json.Marshal(list) // strings cannot fail
	return string(data)
}
