package access_test

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// roles gives the members of team red by name.
func roles(t *testing.T, r *access.Registry) map[string]access.Role {
	t.Helper()
	_, members, err := r.Members(t.Context(), access.System(), "red")
	assert.NilError(t, err)
	m := map[string]access.Role{}
	for _, one := range members {
		m[one.User.UID] = one.Role
	}
	return m
}

// TestMembersOfATeam follows people through a team: who may add and remove
// whom, and that their keys know it with the next request.
func TestMembersOfATeam(t *testing.T) {
	r, _, _ := registry(t)
	ctx := t.Context()
	ann, bob, sol := caller(t, r, "ann"), caller(t, r, "bob"), caller(t, r, "sol")
	solKey, _, err := r.CreateKey(ctx, sol, access.KeySpec{Name: "k"})
	assert.NilError(t, err)

	_, _, err = r.AddMember(ctx, bob, "red", access.NewMember{UserUID: "sol"})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized, "a member adds nobody")
	_, _, err = r.AddMember(ctx, sol, "red", access.NewMember{UserUID: "sol"})
	assert.ErrorIs(t, err, task.ErrNotFound, "an outsider does not see the team")
	_, _, err = r.Members(ctx, sol, "red")
	assert.ErrorIs(t, err, task.ErrNotFound)
	_, _, err = r.AddMember(ctx, ann, "red", access.NewMember{UserUID: "sol", Role: access.RoleAdmin})
	assert.NilError(t, err)
	solNow, err := r.Authenticate(ctx, solKey)
	assert.NilError(t, err)
	assert.DeepEqual(t, solNow.Teams, []access.Membership{{UID: "red", Role: access.RoleAdmin}})

	// An admin manages members but makes and unmakes no owner.
	_, err = r.SetRole(ctx, solNow, "red", "bob", access.RoleOwner)
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	_, err = r.SetRole(ctx, solNow, "red", "ann", access.RoleMember)
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	assert.Equal(t, task.CodeOf(r.RemoveMember(ctx, solNow, "red", "ann")), task.CodeNotAuthorized)
	_, _, err = r.AddMember(ctx, solNow, "red", access.NewMember{Email: "dan@example.com", Role: access.RoleOwner})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	_, err = r.SetRole(ctx, solNow, "red", "bob", access.RoleAdmin)
	assert.NilError(t, err)
	assert.NilError(t, r.RemoveMember(ctx, solNow, "red", "cat"))

	// The last owner stays; with another one she may go.
	for _, err := range []error{r.RemoveMember(ctx, ann, "red", "ann"), second(r.SetRole(ctx, ann, "red", "ann", access.RoleMember))} {
		assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported)
	}
	_, err = r.SetRole(ctx, ann, "red", "sol", access.RoleOwner)
	assert.NilError(t, err)
	assert.NilError(t, r.RemoveMember(ctx, ann, "red", "ann"), "everybody may leave")
	assert.DeepEqual(t, roles(t, r), map[string]access.Role{"sol": access.RoleOwner, "bob": access.RoleAdmin})
	_, err = r.SetRole(ctx, caller(t, r, "sol"), "red", "ann", access.RoleMember)
	assert.ErrorIs(t, err, task.ErrNotFound, "she is on the team no more")
	assert.ErrorIs(t, r.RemoveMember(ctx, caller(t, r, "ann"), "red", "bob"), task.ErrNotFound)
}

func second[T any](_ T, err error) error { return err }

// TestNewPersonByEmail makes persons by address: once, whoever asks, and with
// a first key for new ones only.
func TestNewPersonByEmail(t *testing.T) {
	r, _, _ := registry(t)
	ctx := t.Context()
	ann := caller(t, r, "ann")
	m, key, err := r.AddMember(ctx, ann, "red", access.NewMember{Email: "Dan@Example.com", DisplayName: "Dan", IssueKey: true})
	assert.NilError(t, err)
	dan, err := r.Authenticate(ctx, key)
	assert.NilError(t, err)
	assert.DeepEqual(t, dan.Principal, m.User)
	assert.DeepEqual(t, dan.Teams, []access.Membership{{UID: "red", Role: access.RoleMember}})

	again, key, err := r.AddMember(ctx, ann, "red", access.NewMember{Email: "dan@example.com"})
	assert.NilError(t, err)
	assert.Equal(t, again, m, "the same again changes nothing")
	assert.Equal(t, key, "")
	_, _, err = r.AddMember(ctx, ann, "red", access.NewMember{Email: "dan@example.com", IssueKey: true})
	assert.ErrorIs(t, err, task.ErrInvalid, "a leader could act as anybody")
	_, _, err = r.AddMember(ctx, ann, "red", access.NewMember{Email: "dan@example.com", Role: access.RoleAdmin})
	assert.ErrorIs(t, err, task.ErrInvalid, "that is another request")
	for _, bad := range []access.NewMember{{}, {UserUID: "sol", Email: "sol@example.com"}, {UserUID: "nobody"}, {Email: "no address"},
		{Email: "Dan <dan@example.com>"}, {UserUID: "sol", Role: "king"}} {
		_, _, err := r.AddMember(ctx, ann, "red", bad)
		assert.ErrorIs(t, err, task.ErrInvalid, "%+v", bad)
	}

	var all sync.WaitGroup
	uids := make([]string, 8)
	for i := range uids {
		all.Go(func() {
			u, _, err := r.EnsureUser(ctx, "eve@example.com", "Eve")
			assert.Check(t, err)
			uids[i] = u.UID
		})
	}
	all.Wait()
	for _, uid := range uids {
		assert.Equal(t, uid, uids[0], "one person, however many ask at once")
	}
}

// TestLastOwnersCannotLeaveTogether lets all owners of a team give it up at
// once: one stays.
func TestLastOwnersCannotLeaveTogether(t *testing.T) {
	for range 5 {
		r, _, _ := registry(t)
		ctx := t.Context()
		for _, uid := range []string{"bob", "cat"} {
			_, err := r.SetRole(ctx, caller(t, r, "ann"), "red", uid, access.RoleOwner)
			assert.NilError(t, err)
		}
		var all sync.WaitGroup
		for _, uid := range []string{"ann", "bob", "cat"} {
			c := caller(t, r, uid)
			all.Go(func() {
				if err := r.RemoveMember(ctx, c, "red", uid); err != nil {
					assert.Check(t, task.CodeOf(err) == task.CodeOperationNotSupported, "%v", err)
				}
			})
		}
		all.Wait()
		owners := 0
		for _, role := range roles(t, r) {
			if role == access.RoleOwner {
				owners++
			}
		}
		assert.Equal(t, owners, 1)
	}
}

func TestTeams(t *testing.T) {
	r, _, _ := registry(t)
	ctx := t.Context()
	sol, bob := caller(t, r, "sol"), caller(t, r, "bob")
	made, err := r.CreateTeam(ctx, sol, access.Team{Name: "Blue"})
	assert.NilError(t, err)
	assert.Assert(t, made.UID != "")
	teams, err := r.Teams(ctx, caller(t, r, "sol"))
	assert.NilError(t, err)
	assert.DeepEqual(t, teams, []access.Team{made})
	_, err = r.CreateTeam(ctx, sol, access.Team{UID: "red", Name: "Mine"})
	assert.ErrorIs(t, err, task.ErrConflict)
	for _, bad := range []access.Team{{}, {Name: " "}, {UID: "a b", Name: "x"}} {
		_, err := r.CreateTeam(ctx, sol, bad)
		assert.ErrorIs(t, err, task.ErrInvalid)
	}
	_, err = r.RenameTeam(ctx, bob, "red", "Bob's")
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	_, err = r.RenameTeam(ctx, sol, "red", "Sol's")
	assert.ErrorIs(t, err, task.ErrNotFound)
	renamed, err := r.RenameTeam(ctx, caller(t, r, "ann"), "red", "Reds")
	assert.NilError(t, err)
	assert.Equal(t, renamed.Name, "Reds")
	_, err = r.SetTeamLinks(ctx, bob, "red", true)
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	closed, err := r.SetTeamLinks(ctx, caller(t, r, "ann"), "red", true)
	assert.NilError(t, err)
	assert.DeepEqual(t, closed, access.Team{UID: "red", Name: "Reds", NoLinks: true})
	raw, _, err := r.CreateKey(ctx, caller(t, r, "ann"), access.KeySpec{Name: "ci", Type: access.KeyTeam})
	assert.NilError(t, err)
	ci, err := r.Authenticate(ctx, raw)
	assert.NilError(t, err)
	_, err = r.CreateTeam(ctx, ci, access.Team{Name: "x"})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized, "people only")
}

// TestAgentAndWorkerKeys follows keys that act as an agent, and such as may
// only connect a worker.
func TestAgentAndWorkerKeys(t *testing.T) {
	r, c, _ := registry(t)
	ctx := t.Context()
	ann, bob, sol := caller(t, r, "ann"), caller(t, r, "bob"), caller(t, r, "sol")
	agent, err := r.CreateAgent(ctx, access.Agent{Name: "Reviewer", Team: "red", Creator: bob.Principal})
	assert.NilError(t, err)
	spec := access.KeySpec{Name: "ci", Type: access.KeyAgent, Agent: agent.UID, ExpiresAt: c.Now().Add(time.Hour)}
	_, _, err = r.CreateKey(ctx, bob, spec)
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized, "leaders make them")
	_, _, err = r.CreateKey(ctx, sol, spec)
	assert.ErrorIs(t, err, task.ErrNotFound)
	for _, bad := range []access.KeySpec{{Name: "x", Type: access.KeyAgent}, {Name: "x", Agent: agent.UID}, {Name: "x", Type: access.KeyAgent, Agent: agent.UID, Team: "blue"},
		{Name: "x", Type: "king"}, {Name: "x", Type: access.KeyWorker, ExpiresAt: c.Now()}} {
		_, _, err := r.CreateKey(ctx, ann, bad)
		assert.ErrorIs(t, err, task.ErrInvalid, "%+v", bad)
	}
	raw, key, err := r.CreateKey(ctx, ann, spec)
	assert.NilError(t, err)
	assert.Equal(t, key.Agent, agent.UID)
	got, err := r.Authenticate(ctx, raw)
	assert.NilError(t, err)
	assert.DeepEqual(t, got, access.Caller{Principal: agent.Principal(), Key: key.UID, KeyType: access.KeyAgent,
		Teams: []access.Membership{{UID: "red", Role: access.RoleMember}}})
	assert.Equal(t, got.Agent(), agent.UID)

	assert.NilError(t, r.DeleteAgent(ctx, agent))
	_, err = r.Authenticate(ctx, raw)
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired, "its keys die with it")
	keys, err := r.Keys(ctx, ann)
	assert.NilError(t, err)
	assert.Equal(t, len(keys), 0)

	raw, _, err = r.CreateKey(ctx, ann, access.KeySpec{Name: "rack 1", Type: access.KeyWorker})
	assert.NilError(t, err)
	worker, err := r.Authenticate(ctx, raw)
	assert.NilError(t, err)
	red := access.Object{Owner: task.Scope{Type: task.ScopeTeam, UID: "red"}}
	assert.NilError(t, access.Allow(worker, access.WorkerConnect, red))
	for _, a := range access.Actions() {
		if a != access.WorkerConnect {
			assert.Assert(t, access.Allow(worker, a, red) != nil && access.Allow(worker, a, access.Object{}) != nil, "%s", a)
		}
	}
	assert.Equal(t, task.CodeOf(access.Allow(ann, access.WorkerConnect, red)), task.CodeNotAuthorized, "a personal key connects no worker")
}

// TestDefaultAgent is made once per team, and stays.
func TestDefaultAgent(t *testing.T) {
	r, _, _ := registry(t)
	ctx := t.Context()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			list, err := r.Agents(ctx, "red")
			assert.Check(t, err)
			assert.Check(t, len(list) == 1 && list[0].Default, "%+v", list)
		})
	}
	all.Wait()
	a, err := r.Agent(ctx, access.DefaultAgent("red"))
	assert.NilError(t, err)
	assert.ErrorIs(t, r.DeleteAgent(ctx, a), task.ErrInvalid)
	a.Name = "Red's own"
	_, err = r.PutAgent(ctx, a)
	assert.NilError(t, err)
	_, err = r.PutAgent(ctx, a)
	assert.ErrorIs(t, err, task.ErrConflict, "an old revision")
}

// TestNobodyIsMadeInAnothersName lets a stranger make an account with somebody
// else's e-mail address, and a key for it: neither another team nor the person
// must take that account for hers.
func TestNobodyIsMadeInAnothersName(t *testing.T) {
	r, _, _ := registry(t)
	ctx := t.Context()
	sol := caller(t, r, "sol")
	_, err := r.CreateTeam(ctx, sol, access.Team{UID: "trap", Name: "Trap"})
	assert.NilError(t, err)
	fake, key, err := r.AddMember(ctx, caller(t, r, "sol"), "trap", access.NewMember{Email: "eve@example.com", IssueKey: true})
	assert.NilError(t, err)

	_, _, err = r.AddMember(ctx, caller(t, r, "ann"), "red", access.NewMember{Email: "Eve@example.com"})
	assert.ErrorIs(t, err, task.ErrInvalid)
	assert.ErrorContains(t, err, "name the person by user_uid")
	_, err = r.UserFor(ctx, "eve@example.com", "red")
	assert.ErrorIs(t, err, task.ErrNotFound)
	_, err = r.UserFor(ctx, "eve@example.com", "red", "trap")
	assert.NilError(t, err, "the team that made her knows her")

	// What the stranger has prepared ends when she signs in herself.
	asFake, err := r.Authenticate(ctx, key)
	assert.NilError(t, err)
	second, _, err := r.CreateKey(ctx, asFake, access.KeySpec{Name: "kept back"})
	assert.NilError(t, err)
	d, err := r.StartDevice(ctx, "kept back, too")
	assert.NilError(t, err)
	assert.NilError(t, r.ApproveDevice(ctx, asFake, d.UserCode, false))
	eve := access.Identity{Issuer: "https://id.example.com", Subject: "e", Email: "eve@example.com", EmailVerified: true}
	u, err := r.SignIn(ctx, eve, access.SignInPolicy{LinkEmail: true})
	assert.NilError(t, err)
	assert.Equal(t, u.UID, fake.User.UID)
	for _, raw := range []string{key, second} {
		_, err = r.Authenticate(ctx, raw)
		assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
	}
	_, _, err = r.PollDevice(ctx, d.DeviceCode)
	assert.ErrorIs(t, err, access.ErrExpiredToken)

	// From now on the address is hers, and her keys stay when she comes again.
	own, _, err := r.CreateKey(ctx, caller(t, r, u.UID), access.KeySpec{Name: "mine"})
	assert.NilError(t, err)
	eve.Subject = "e2"
	_, err = r.SignIn(ctx, eve, access.SignInPolicy{LinkEmail: true})
	assert.NilError(t, err)
	_, err = r.Authenticate(ctx, own)
	assert.NilError(t, err)
	_, _, err = r.AddMember(ctx, caller(t, r, "ann"), "red", access.NewMember{Email: "eve@example.com"})
	assert.NilError(t, err)
}

// TestKeysAreOutOfReachOfLaterTeams lets a stranger put a person on a team of
// their own: that gives no power over the person's keys.
func TestKeysAreOutOfReachOfLaterTeams(t *testing.T) {
	r, _, _ := registry(t)
	ctx := t.Context()
	_, bobs, err := r.CreateKey(ctx, caller(t, r, "bob"), access.KeySpec{Name: "bob's"})
	assert.NilError(t, err)
	_, err = r.CreateTeam(ctx, caller(t, r, "sol"), access.Team{UID: "trap", Name: "Trap"})
	assert.NilError(t, err)
	sol := caller(t, r, "sol")
	_, _, err = r.AddMember(ctx, sol, "trap", access.NewMember{UserUID: "bob"})
	assert.NilError(t, err)
	keys, err := r.Keys(ctx, sol)
	assert.NilError(t, err)
	assert.Equal(t, len(keys), 0)
	assert.ErrorIs(t, r.RevokeKey(ctx, sol, bobs.UID), task.ErrNotFound)
	assert.NilError(t, r.RevokeKey(ctx, caller(t, r, "ann"), bobs.UID), "those who lead his own team answer for him")
}

// TestEmailsOfOthers asks that an address finds its owner alone: not the owner
// of one that looks alike, and not who had it before.
func TestEmailsOfOthers(t *testing.T) {
	r, _, _ := registry(t)
	ctx := t.Context()
	mike, _, err := r.EnsureUser(ctx, "mike@example.com", "Mike")
	assert.NilError(t, err)
	const kelvin = "mi\u212ae@example.com" // becomes a k in Unicode's lower case
	_, err = r.UserByEmail(ctx, kelvin)
	assert.ErrorIs(t, err, task.ErrNotFound)
	other, created, err := r.EnsureUser(ctx, kelvin, "Not Mike")
	assert.NilError(t, err)
	assert.Assert(t, created)
	assert.Assert(t, other.UID != mike.UID)
	stranger := access.Identity{Issuer: "https://id.example.com", Subject: "x", Email: "x@ex\u017fample.com", EmailVerified: true}
	_, err = r.SignIn(ctx, stranger, access.SignInPolicy{Domains: []string{"exsample.com"}})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)

	moved := mike
	moved.Email = "mike@elsewhere.example"
	assert.NilError(t, r.PutUser(ctx, moved))
	next, created, err := r.EnsureUser(ctx, "mike@example.com", "The next Mike")
	assert.NilError(t, err)
	assert.Assert(t, created)
	assert.Assert(t, next.UID != mike.UID, "an address may come to belong to another")
}

// TestRoleOfAnotherMoment makes somebody an owner while an admin, who may not
// unmake owners, changes their role as it was before.
func TestRoleOfAnotherMoment(t *testing.T) {
	for range 20 {
		r, _, _ := registry(t)
		ctx := t.Context()
		ann := caller(t, r, "ann")
		_, _, err := r.AddMember(ctx, ann, "red", access.NewMember{UserUID: "sol", Role: access.RoleAdmin})
		assert.NilError(t, err)
		sol := caller(t, r, "sol")
		var all sync.WaitGroup
		var made error
		all.Go(func() { _, made = r.SetRole(ctx, ann, "red", "bob", access.RoleOwner) })
		all.Go(func() { _, _ = r.SetRole(ctx, sol, "red", "bob", access.RoleAdmin) })
		all.Wait()
		if made == nil {
			assert.Equal(t, roles(t, r)["bob"], access.RoleOwner)
		}
	}
}

// TestWhoMakesTeams: unless the server is open to all, who leads a team.
func TestWhoMakesTeams(t *testing.T) {
	store, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, store.Close()) })
	r := access.NewRegistry(store, nil, nil)
	assert.NilError(t, r.PutTeam(t.Context(), access.Team{UID: "red", Name: "Red"}))
	for uid, role := range map[string]access.Role{"ann": access.RoleOwner, "abe": access.RoleAdmin, "bob": access.RoleMember} {
		assert.NilError(t, r.PutUser(t.Context(), access.User{UID: uid, Teams: []access.Membership{{UID: "red", Role: role}}}))
	}
	assert.NilError(t, r.PutUser(t.Context(), access.User{UID: "sol"}))
	for uid, may := range map[string]bool{"ann": true, "abe": true, "bob": false, "sol": false} {
		_, err := r.CreateTeam(t.Context(), caller(t, r, uid), access.Team{Name: "of " + uid})
		if may {
			assert.NilError(t, err, uid)
			continue
		}
		assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized, uid)
	}
}
