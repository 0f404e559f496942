package task_test

import (
	"fmt"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

func TestSharingRules(t *testing.T) {
	user := func(uid string, r task.ShareRole) task.Grant {
		return task.Grant{To: task.Scope{Type: task.ScopeUser, UID: uid}, Role: r}
	}
	many := task.Sharing{}
	for i := range task.MaxGrants + 1 {
		many.Grants = append(many.Grants, user(string(rune('a'+i)), task.RoleViewer))
	}
	for _, tt := range []struct {
		name, field string
		sharing     task.Sharing
	}{
		{"unknown visibility", "visibility", task.Sharing{Visibility: "world"}},
		{"role of no link", "link_role", task.Sharing{LinkRole: task.RoleViewer}},
		{"unknown role of a link", "link_role", task.Sharing{Visibility: task.VisibilityLink, LinkRole: "king"}},
		{"too many", "grants", many},
		{"nobody", "grants", task.Sharing{Grants: []task.Grant{{Role: task.RoleViewer}}}},
		{"no role", "grants", task.Sharing{Grants: []task.Grant{user("a", "")}}},
		{"twice", "grants", task.Sharing{Grants: []task.Grant{user("a", task.RoleViewer), user("a", task.RoleEditor)}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := task.Decide(task.Snapshot{ID: "r"}, task.Share{Sharing: tt.sharing}, time.Now())
			assert.ErrorIs(t, err, task.ErrInvalid)
			assert.Equal(t, err.(*task.Error).Field, tt.field)
		})
	}
}

// TestShareIsLogged follows a run through changes of who may see it: each is
// in the log, once.
func TestShareIsLogged(t *testing.T) {
	by := task.Principal{Type: task.PrincipalUser, UID: "ann"}
	link := task.Sharing{Visibility: task.VisibilityLink, Grants: []task.Grant{{To: task.Scope{Type: task.ScopeTeam, UID: "blue"}, Role: task.RoleEditor}}}
	s := task.Snapshot{ID: "r", Head: task.Head{State: task.StateSucceeded, LastSeq: 7}}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c, err := task.Decide(s, task.Share{By: by, Sharing: link}, now)
	assert.NilError(t, err)
	assert.DeepEqual(t, c.Head, task.Head{State: task.StateSucceeded, LastSeq: 8, UpdatedAt: now, Sharing: link})
	assert.DeepEqual(t, c.Events, []task.Event{{Seq: 8, TaskID: "r", Time: now, Payload: &task.Shared{By: by, Sharing: link}}})

	link.Grants[0].Role = task.RoleViewer // the caller's own from here on
	assert.Equal(t, c.Head.Sharing.Grants[0].Role, task.RoleEditor)

	again, err := task.Decide(task.Snapshot{ID: "r", Head: c.Head}, task.Share{By: by, Sharing: c.Head.Sharing}, now.Add(time.Hour))
	assert.NilError(t, err)
	assert.DeepEqual(t, again, task.Change{Head: c.Head})
}

// TestShareWithLeavesTheRest of who may see a run, as it is when the grant is
// written.
func TestShareWithLeavesTheRest(t *testing.T) {
	user := func(uid string, r task.ShareRole) task.Grant {
		return task.Grant{To: task.Scope{Type: task.ScopeUser, UID: uid}, Role: r}
	}
	s := task.Snapshot{ID: "r", Head: task.Head{Sharing: task.Sharing{Visibility: task.VisibilityPrivate,
		Grants: []task.Grant{user("ann", task.RoleViewer), user("bob", task.RoleViewer)}}}}
	c, err := task.Decide(s, task.ShareWith{Grant: user("ann", task.RoleEditor)}, time.Now())
	assert.NilError(t, err)
	assert.DeepEqual(t, c.Head.Sharing, task.Sharing{Visibility: task.VisibilityPrivate, Grants: []task.Grant{user("bob", task.RoleViewer), user("ann", task.RoleEditor)}})
	assert.DeepEqual(t, s.Head.Sharing.Grants[0], user("ann", task.RoleViewer)) // what was there is not touched
	for len(s.Head.Sharing.Grants) < task.MaxGrants {
		s.Head.Sharing.Grants = append(s.Head.Sharing.Grants, user(fmt.Sprint("u", len(s.Head.Sharing.Grants)), task.RoleViewer))
	}
	_, err = task.Decide(s, task.ShareWith{Grant: user("cid", task.RoleEditor)}, time.Now())
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, err = task.Decide(s, task.ShareWith{Grant: user("bob", task.RoleEditor)}, time.Now())
	assert.NilError(t, err)
}
