package oz_test

import (
	"context"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// TestPeopleAreFoundByEmail: who of an integration's team has the address that a
// service is sure of; not somebody of another team, nor one whose address only
// another team vouches for.
func TestPeopleAreFoundByEmail(t *testing.T) {
	var store *integration.Store
	p, _ := newPlatform(t, &oz.Options{Integrations: func(s *integration.Store) []trigger.Origin { store = s; return nil }})
	people(t, p)
	ctx, r := t.Context(), p.Registry()
	for _, u := range []access.User{
		{UID: "eve", DisplayName: "Eve", Email: "Eve@example.com", Teams: []access.Membership{{UID: "red", Role: access.RoleMember}}},
		{UID: "fay", DisplayName: "Fay", Email: "fay@example.com", Teams: []access.Membership{{UID: "blue", Role: access.RoleMember}}},
		{UID: "gus", DisplayName: "Gus", Email: "gus@example.com", VouchedBy: "blue", Teams: []access.Membership{{UID: "red", Role: access.RoleMember}}},
	} {
		assert.NilError(t, r.PutUser(ctx, u))
	}
	i := integration.Integration{Provider: integration.Linear, Owner: task.Scope{Type: task.ScopeTeam, UID: "red"}}
	for email, want := range map[string]string{"eve@example.com": "eve", "fay@example.com": "", "gus@example.com": "", "nobody@example.com": "", "": ""} {
		a, err := store.AdmitByEmail(ctx, i, "account of "+email, false, func(context.Context) (string, error) { return email, nil })
		assert.NilError(t, err)
		assert.Equal(t, a.Principal.UID, want, email)
		assert.Equal(t, a.Refused, want == "", email)
	}
	a, err := store.AdmitByEmail(ctx, i, "a program", true, func(context.Context) (string, error) { return "eve@example.com", nil })
	assert.NilError(t, err)
	assert.Assert(t, a.Refused, "a program has nobody's address")
	_, err = store.AdmitByEmail(ctx, i, "x", false, func(context.Context) (string, error) { return "", context.DeadlineExceeded })
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}
