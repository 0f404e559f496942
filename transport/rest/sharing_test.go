package rest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/rest"
)

// cast are the keys of everybody who may want something of mary's run.
func cast(t *testing.T, e *transporttest.Env) map[string]string {
	ctx, admin := t.Context(), sdk(t, e, transporttest.AdminKey)
	_, zoe, err := admin.AddMember(ctx, access.DefaultTeam, access.NewMember{Email: "zoe@example.com", IssueKey: true})
	assert.NilError(t, err)
	agent, err := admin.CreateAgent(ctx, oz.AgentInput{Name: ptr("Reviewer")})
	assert.NilError(t, err)
	agentKey, _, err := admin.CreateKey(ctx, access.KeySpec{Name: "a", Type: access.KeyAgent, Agent: agent.UID})
	assert.NilError(t, err)
	worker, _, err := admin.CreateKey(ctx, access.KeySpec{Name: "w", Type: access.KeyWorker})
	assert.NilError(t, err)
	assert.NilError(t, e.Platform.Registry().PutUser(ctx, access.User{UID: "sol", DisplayName: "Sol", Email: "sol@example.com"}))
	sol, _, err := e.Platform.As(mustCaller(t, e, "sol")).CreateKey(ctx, access.KeySpec{Name: "s"})
	assert.NilError(t, err)
	return map[string]string{"creator": e.Member, "leader": transporttest.AdminKey, "teammate": zoe, "outsider": e.Outsider, "solo": sol,
		"service key": e.Team, "agent key": agentKey, "worker key": worker}
}

func mustCaller(t *testing.T, e *transporttest.Env, uid string) access.Caller {
	t.Helper()
	c, err := e.Platform.Registry().Caller(t.Context(), uid)
	assert.NilError(t, err)
	return c
}

// TestPermissionMatrix says who may run, view, steer and cancel, by the status
// that the wire documents (Oz platform, access).
func TestPermissionMatrix(t *testing.T) { onEachStore(t, testPermissionMatrix) }

func testPermissionMatrix(t *testing.T, start starter) {
	e := start(t, &transporttest.Options{Idle: true})
	keys := cast(t, e)
	mary := sdk(t, e, e.Member)
	grant := func(role task.ShareRole) task.Sharing {
		return task.Sharing{Grants: []task.Grant{{To: task.Scope{Type: task.ScopeUser, UID: "sol@example.com"}, Role: role},
			{To: task.Scope{Type: task.ScopeTeam, UID: "others"}, Role: role}}}
	}
	private := task.Sharing{Visibility: task.VisibilityPrivate}
	link := func(role task.ShareRole) task.Sharing {
		return task.Sharing{Visibility: task.VisibilityLink, LinkRole: role}
	}
	for _, tt := range []struct {
		name     string
		personal bool
		sharing  task.Sharing
		want     map[string]string // view, steer, cancel, and whether lists have it
	}{
		{"team run", false, task.Sharing{}, map[string]string{"creator": "200 200 200 listed", "leader": "200 200 200 listed", "teammate": "200 200 403 listed",
			"service key": "200 200 403 listed", "agent key": "200 200 403 listed", "outsider": "404 404 404", "solo": "404 404 404", "worker key": "403 403 403"}},
		{"private run", false, private, map[string]string{"creator": "200 200 200 listed", "leader": "200 200 200 listed", "teammate": "404 404 404",
			"service key": "404 404 404", "agent key": "404 404 404", "outsider": "404 404 404", "solo": "404 404 404", "worker key": "403 403 403"}},
		{"personal run", true, task.Sharing{}, map[string]string{"creator": "200 200 200 listed", "leader": "404 404 404", "teammate": "404 404 404",
			"service key": "404 404 404", "agent key": "404 404 404", "outsider": "404 404 404", "solo": "404 404 404", "worker key": "403 403 403"}},
		{"viewer grant", false, grant(task.RoleViewer), map[string]string{"teammate": "200 200 403 listed", "outsider": "200 403 403 listed", "solo": "200 403 403 listed"}},
		{"editor grant", false, grant(task.RoleEditor), map[string]string{"outsider": "200 200 403 listed", "solo": "200 200 403 listed", "worker key": "403 403 403"}},
		{"link to view", false, link(task.RoleViewer), map[string]string{"teammate": "200 200 403 listed", "outsider": "200 403 403", "solo": "200 403 403"}},
		{"link to edit", false, link(task.RoleEditor), map[string]string{"outsider": "200 200 403", "solo": "200 200 403", "worker key": "403 403 403"}},
	} {
		for who, want := range tt.want {
			t.Run(tt.name+"/"+who, func(t *testing.T) {
				run, err := mary.Submit(t.Context(), oz.Request{Prompt: "mend it", Team: ptr(!tt.personal)})
				assert.NilError(t, err)
				if !tt.sharing.IsZero() {
					_, err = mary.Share(t.Context(), run.ID, tt.sharing)
					assert.NilError(t, err)
				}
				path, key := "/agent/runs/"+string(run.ID), keys[who]
				listed := ""
				if a := e.Call(key, "GET", "/agent/runs?limit=500&q=mend", nil); strings.Contains(string(a.Body), string(run.ID)) {
					listed = " listed"
				}
				got := fmt.Sprintf("%d %d %d%s", e.Call(key, "GET", path, nil).Status,
					e.Call(key, "POST", path+"/followups", map[string]any{"message": "and the tests"}).Status, e.Call(key, "POST", path+"/cancel", nil).Status, listed)
				assert.Equal(t, got, want)
			})
		}
	}
	for who, want := range map[string]int{"creator": 200, "leader": 200, "teammate": 200, "service key": 200, "agent key": 200, "worker key": 403, "outsider": 404, "solo": 404} {
		agent := access.DefaultAgent(access.DefaultTeam) // names the team that the run is to be of
		_ = e.Call(transporttest.AdminKey, "GET", "/agent/identities", nil)
		a := e.Call(keys[who], "POST", "/agent/runs", map[string]any{"prompt": "x", "agent_identity_uid": agent})
		assert.Equal(t, a.Status, want, "%s runs: %s", who, a.Body)
	}
}

// TestPrivateRunIsHiddenOnEveryRoute asks each reading operation that leads to
// a run as a teammate, before and after it became private.
func TestPrivateRunIsHiddenOnEveryRoute(t *testing.T) {
	onEachStore(t, testPrivateRunIsHiddenOnEveryRoute)
}

func testPrivateRunIsHiddenOnEveryRoute(t *testing.T, start starter) {
	e := start(t, &transporttest.Options{Platform: patient()})
	th, _ := makeThings(t, e)
	admin := sdk(t, e, transporttest.AdminKey)
	routes := 0
	for _, sharing := range []task.Sharing{{}, {Visibility: task.VisibilityPrivate}} {
		_, err := admin.Share(t.Context(), task.ID(th.run), sharing)
		assert.NilError(t, err)
		for _, op := range operations(t) {
			ofRun := strings.Contains(op.Path, "{runId}") || strings.Contains(op.Path, "{artifactUid}") || op.ID == "getConversation"
			if op.Method != http.MethodGet || !ofRun || op.Action != string(access.RunView) {
				continue
			}
			a := e.Call(e.Member, op.Method, th.fill(op), nil)
			if sharing.Private() {
				assert.Equal(t, a.Status, http.StatusNotFound, "%s: %s", op.ID, a.Body)
				routes++
			} else if a.Status == http.StatusForbidden || a.Code() == task.CodeAuthenticationRequired {
				t.Errorf("%s: %d %s", op.ID, a.Status, a.Body)
			}
		}
	}
	assert.Assert(t, routes >= 8, "only %d routes were tried", routes)
	for _, query := range []string{"", "?q=business", "?state=INPROGRESS", "?creator=admin", "?sort_by=title", "?created_after=2020-01-01T00:00:00Z"} {
		a := e.Call(e.Member, "GET", "/agent/runs"+query, nil)
		assert.Equal(t, a.Status, 200)
		assert.Assert(t, !strings.Contains(string(a.Body), th.run), "listed by %q", query)
	}
	a := e.Call(e.Member, "GET", "/agent/runs?ancestor_run_id="+th.run, nil)
	assert.Equal(t, a.Status, 400)
	cursor := task.Cursor{Sort: task.SortCreatedAt, ID: task.ID(th.run)}
	a = e.Call(e.Member, "GET", "/agent/runs?sort_by=created_at&cursor="+cursor.String(), nil)
	assert.Equal(t, a.Status, 400)
	a = e.Call(e.Member, "POST", "/agent/runs", map[string]any{"prompt": "x", "parent_run_id": th.run})
	assert.Equal(t, a.Status, 400)
}

// TestStreamEndsWithTheRight takes the right to see a run from somebody who
// follows it: by its sharing, by their place on the team, and by their key.
func TestStreamEndsWithTheRight(t *testing.T) {
	for name, take := range map[string]func(t *testing.T, e *transporttest.Env, id task.ID){
		"sharing": func(t *testing.T, e *transporttest.Env, id task.ID) {
			_, err := sdk(t, e, transporttest.AdminKey).Share(t.Context(), id, task.Sharing{Visibility: task.VisibilityPrivate})
			assert.NilError(t, err)
		},
		"membership": func(t *testing.T, e *transporttest.Env, _ task.ID) {
			assert.NilError(t, sdk(t, e, transporttest.AdminKey).RemoveMember(t.Context(), access.DefaultTeam, "mary"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := transporttest.Start(t, &transporttest.Options{Platform: patient()})
			id, _ := begin(t, e)
			s := openStream(t, e, id, "Authorization", "Bearer "+e.Member)
			_, _, ok := s.next()
			assert.Assert(t, ok)
			take(t, e, id)
			for ok {
				var name string
				_, name, ok = s.next()
				assert.Assert(t, name != string(task.TypeShared), "whom it is shared with is none of theirs any more")
			}
		})
	}
}

// TestSharingIsChecked sends what cannot be, and reads back what can.
func TestSharingIsChecked(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	run, err := sdk(t, e, e.Member).Submit(t.Context(), oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	path := "/oz/runs/" + string(run.ID) + "/sharing"
	grants := func(g ...map[string]any) map[string]any { return map[string]any{"visibility": "team", "grants": g} }
	for _, tt := range []struct {
		body  map[string]any
		field string
	}{
		{map[string]any{"visibility": "world"}, "visibility"},
		{map[string]any{"visibility": "team", "link_role": "viewer"}, "link_role"},
		{map[string]any{"visibility": "link", "link_role": "owner"}, "link_role"},
		{grants(map[string]any{"role": "viewer"}), "grants"},
		{grants(map[string]any{"user_uid": "oscar", "team_uid": "others", "role": "viewer"}), "grants"},
		{grants(map[string]any{"user_uid": "oscar", "role": "king"}), "grants"},
		{grants(map[string]any{"user_uid": "nobody", "role": "viewer"}), "grants[0]"},
		{grants(map[string]any{"user_uid": "no@example.com", "role": "viewer"}), "grants[0]"},
		{grants(map[string]any{"team_uid": "nothing", "role": "viewer"}), "grants[0]"},
	} {
		a := e.Call(e.Member, "PUT", path, tt.body)
		assert.Equal(t, a.Status, 400, "%v: %s", tt.body, a.Body)
		assert.Assert(t, strings.Contains(string(a.Body), tt.field+":") || strings.Contains(string(a.Body), tt.field+" "), "%v: %s", tt.body, a.Body)
	}
	for key, want := range map[string]int{e.Outsider: 404, e.Team: 403} {
		assert.Equal(t, e.Call(key, "PUT", path, map[string]any{"visibility": "link"}).Status, want)
	}
	want := task.Sharing{Visibility: task.VisibilityLink, LinkRole: task.RoleEditor, Grants: []task.Grant{{To: task.Scope{Type: task.ScopeTeam, UID: "others"}, Role: task.RoleViewer}}}
	got, err := sdk(t, e, e.Member).Share(t.Context(), run.ID, want)
	assert.NilError(t, err)
	assert.DeepEqual(t, got, want)
	again, err := sdk(t, e, e.Outsider).Sharing(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.DeepEqual(t, again, want)
	seen, err := sdk(t, e, e.Outsider).Get(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.DeepEqual(t, seen.Sharing, want)

	shared, err := sdk(t, e, e.Member).Submit(t.Context(), oz.Request{Prompt: "x", Config: task.Config{SessionSharing: []byte(`{"public_access":"VIEWER"}`)}})
	assert.NilError(t, err)
	assert.Equal(t, e.Call(e.Outsider, "GET", "/agent/runs/"+string(shared.ID), nil).Status, 200)
	a := e.Call(e.Member, "POST", "/agent/runs", map[string]any{"prompt": "x", "config": map[string]any{"session_sharing": map[string]any{"public_access": "KING"}}})
	assert.Equal(t, a.Status, 400)
	assert.Assert(t, strings.Contains(string(a.Body), "config.session_sharing.public_access"), "%s", a.Body)

	closed := transporttest.Start(t, &transporttest.Options{Idle: true, Platform: oz.Options{NoLinks: true}, Rest: rest.Options{}})
	a = closed.Call(closed.Member, "POST", "/agent/runs", map[string]any{"prompt": "x", "config": map[string]any{"session_sharing": map[string]any{"public_access": "VIEWER"}}})
	assert.Equal(t, a.Status, 403)
	assert.Equal(t, a.Code(), task.CodeFeatureNotAvailable)
}

// tenant is what one of two teams on a server has.
type tenant struct {
	key  string
	ids  map[string]string // by parameter of a path
	name string            // stands in whatever it has that has a name
}

func newTenant(t *testing.T, e *transporttest.Env, key, user, team, name string) tenant {
	ctx, c := t.Context(), sdk(t, e, key)
	env, err := c.CreateEnvironment(ctx, environment.Config{Name: name + "-env"}, nil)
	assert.NilError(t, err)
	_, err = c.CreateSecret(ctx, oz.SecretInput{Name: name + "_SECRET", Value: executor.Sensitive("k3J9-xQ2m-Zp7v-" + name)})
	assert.NilError(t, err)
	_, k, err := c.CreateKey(ctx, access.KeySpec{Name: name + "-key"})
	assert.NilError(t, err)
	agent, err := c.CreateAgent(ctx, oz.AgentInput{Name: ptr(name + "-agent"), Prompt: ptr("of " + name)})
	assert.NilError(t, err)
	run, err := c.Submit(ctx, oz.Request{Prompt: "the plans of " + name, Title: name + "-run", AgentIdentityUID: agent.UID,
		Config: task.Config{EnvironmentID: env.UID, Name: name + "-config"}, Metadata: map[string]string{"who": name}})
	assert.NilError(t, err)
	return tenant{key: key, name: name, ids: map[string]string{"{runId}": string(run.ID), "{conversationId}": string(run.ID), "{environmentUid}": env.UID,
		"{keyUid}": k.UID, "{agentUid}": agent.UID, "{teamUid}": team, "{userUid}": user, "{artifactUid}": string(run.ID),
		"{scopeType}": "Team", "{scopeUid}": team}}
}

// TestTwoTenants asks every reading operation of the contract as one team, with
// all ids of the other one, and searches all lists for what is not its own: no
// row crosses.
func TestTwoTenants(t *testing.T) { onEachStore(t, testTwoTenants) }

func testTwoTenants(t *testing.T, start starter) {
	e := start(t, &transporttest.Options{Idle: true})
	red := newTenant(t, e, transporttest.AdminKey, access.DefaultUser, access.DefaultTeam, "REDOAK")
	blue := newTenant(t, e, e.Outsider, "oscar", "others", "BLUEELM")
	lists, gets := 0, 0
	for _, pair := range [][2]tenant{{red, blue}, {blue, red}} {
		me, other := pair[0], pair[1]
		clean := func(path string) {
			t.Helper()
			a := e.Call(me.key, "GET", path, nil)
			assert.Assert(t, a.Status < 500, "%s: %d %s", path, a.Status, a.Body)
			for _, id := range append([]string{other.name}, other.ids["{runId}"], other.ids["{environmentUid}"], other.ids["{agentUid}"], other.ids["{keyUid}"]) {
				assert.Assert(t, !strings.Contains(string(a.Body), id), "%s shows %s of the other team: %s", path, id, a.Body)
			}
		}
		ops := operations(t)
		for _, op := range ops {
			if op.Method != http.MethodGet || op.Action == "public" || op.Action == string(access.ExecutionAct) || strings.Contains(op.Path, "{") {
				continue
			}
			lists++
			clean(op.Path)
		}
		who := other.ids["{userUid}"]
		for _, query := range []string{"q=plans", "creator=" + who, "executor=" + other.ids["{agentUid}"], "name=" + strings.ToLower(other.name), "environment_id=" + other.ids["{environmentUid}"],
			"metadata%5Bwho%5D=x", "sort_by=title", "sort_by=agent", "sort_by=created_at&sort_order=asc", "state=QUEUED", "limit=500"} {
			clean("/agent/runs?" + query)
		}
		assert.Equal(t, e.Call(me.key, "GET", "/agent/runs?ancestor_run_id="+other.ids["{runId}"], nil).Status, 400)
		for _, op := range ops {
			path, swapped := op.Path, false
			for param, id := range other.ids {
				swapped = swapped || strings.Contains(path, param)
				path = strings.ReplaceAll(path, param, id)
			}
			skip := op.Action == "public" || op.Action == string(access.ExecutionAct) || !swapped || strings.Contains(path, "{")
			if op.Method != http.MethodGet || skip {
				continue
			}
			gets++
			a := e.Call(me.key, "GET", path, nil)
			assert.Equal(t, a.Status, http.StatusNotFound, "%s: %s", path, a.Body)
		}
	}
	assert.Assert(t, lists >= 20 && gets >= 20, "only %d lists and %d reads were tried", lists, gets)
	assert.Assert(t, slices.Contains([]int{200}, e.Call(red.key, "GET", "/agent/runs/"+red.ids["{runId}"], nil).Status))
}

// TestSharingWithAFalseName lets another team give an address of our own
// domain to somebody: a run is not shared with them by it.
func TestSharingWithAFalseName(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	ctx := t.Context()
	outsider := sdk(t, e, e.Outsider)
	team, err := outsider.CreateTeam(ctx, access.Team{Name: "Trap"})
	assert.NilError(t, err)
	fake, _, err := outsider.AddMember(ctx, team.UID, access.NewMember{Email: "boss@example.com", IssueKey: true})
	assert.NilError(t, err)
	admin := sdk(t, e, transporttest.AdminKey)
	run, err := admin.Submit(ctx, oz.Request{Prompt: "work"})
	assert.NilError(t, err)
	with := func(uid string) task.Sharing {
		return task.Sharing{Grants: []task.Grant{{To: task.Scope{Type: task.ScopeUser, UID: uid}, Role: task.RoleViewer}}}
	}
	_, err = admin.Share(ctx, run.ID, with("boss@example.com"))
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, _, err = admin.AddMember(ctx, access.DefaultTeam, access.NewMember{Email: "boss@example.com"})
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, err = admin.Share(ctx, run.ID, with(fake.User.UID))
	assert.NilError(t, err, "by uid it is clear who is meant")
}
