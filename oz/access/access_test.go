package access_test

import (
	"fmt"
	"slices"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// callers are one of each kind. Team red owns things; ann owns it, abe is an
// admin, bob and cat are members; dan is on blue, sol on no team.
func callers() map[string]access.Caller {
	person := func(uid string, teams ...access.Membership) access.Caller {
		return access.Caller{Key: "key-" + uid, Teams: teams, Principal: task.Principal{Type: task.PrincipalUser, UID: uid}}
	}
	red := func(r access.Role) access.Membership { return access.Membership{UID: "red", Role: r} }
	token := func(id task.ID) access.Caller {
		return access.Caller{Execution: "exec-" + task.ExecutionID(id), TaskID: id,
			Principal: task.Principal{Type: task.PrincipalServiceAccount, UID: "exec"}}
	}
	system := access.System()
	// A run token keeps its narrowness whatever else the caller claims.
	dressed := token("run")
	dressed.Teams, dressed.Principal = []access.Membership{red(access.RoleOwner)}, task.Principal{Type: task.PrincipalUser, UID: "bob"}
	return map[string]access.Caller{
		"owner":         person("ann", red(access.RoleOwner)),
		"admin":         person("abe", red(access.RoleAdmin)),
		"creator":       person("bob", red(access.RoleMember)),
		"member":        person("cat", red(access.RoleMember)),
		"outsider":      person("dan", access.Membership{UID: "blue", Role: access.RoleOwner}),
		"solo":          person("sol"),
		"worker key":    {Key: "w", KeyType: access.KeyWorker, Teams: []access.Membership{red(access.RoleMember)}, Principal: task.Principal{Type: task.PrincipalServiceAccount, UID: "w"}},
		"agent key":     {Key: "g", KeyType: access.KeyAgent, Teams: []access.Membership{red(access.RoleMember)}, Principal: task.Principal{Type: task.PrincipalServiceAccount, UID: "agent"}},
		"team key":      {Key: "k", KeyType: access.KeyTeam, Teams: []access.Membership{red(access.RoleMember)}, Principal: task.Principal{Type: task.PrincipalServiceAccount, UID: "k"}},
		"foreign key":   {Key: "f", KeyType: access.KeyTeam, Teams: []access.Membership{{UID: "blue", Role: access.RoleMember}}, Principal: task.Principal{Type: task.PrincipalServiceAccount, UID: "f"}},
		"odd role":      person("odd", access.Membership{UID: "red", Role: "king"}),
		"own runner":    token("run"),
		"other runner":  token("other"),
		"dressed token": dressed,
		"anonymous":     {},
		"namesake":      {Key: "n", Principal: task.Principal{Type: task.PrincipalServiceAccount, UID: "bob"}, Teams: []access.Membership{red(access.RoleMember)}},
		"system":        system,
	}
}

// Objects: one of the team, made by bob; one of bob's own; none in particular.
func objects() map[string]access.Object {
	bob := task.Principal{Type: task.PrincipalUser, UID: "bob"}
	return map[string]access.Object{
		"team":     {Owner: task.Scope{Type: task.ScopeTeam, UID: "red"}, Creator: bob, TaskID: "run"},
		"personal": {Owner: task.Scope{Type: task.ScopeUser, UID: "bob"}, Creator: bob, TaskID: "run"},
		"none":     {},
		"orphan":   {TaskID: "run"},
	}
}

// TestAccessTable spells out who may do what, action by action: whoever is not
// named here is refused.
func TestAccessTable(t *testing.T) {
	team := func(who ...string) []string { return who }
	all := []string{"owner", "admin", "creator", "member", "team key", "agent key", "namesake"}
	signedIn := []string{"owner", "admin", "creator", "member", "outsider", "solo", "team key", "agent key", "foreign key", "odd role", "namesake"}
	lead := []string{"owner", "admin"}
	made := []string{"owner", "admin", "creator"}
	type row struct{ team, personal, none []string }
	want := map[access.Action]row{
		access.AccountView:       {none: signedIn},
		access.ModelView:         {none: signedIn},
		access.RunCreate:         {team: all, personal: team("creator")},
		access.RunExecute:        {team: all, personal: team("creator")},
		access.RunList:           {none: signedIn},
		access.RunView:           {team: all, personal: team("creator")},
		access.RunSteer:          {team: all, personal: team("creator")},
		access.RunTakeOver:       {team: all, personal: team("creator")},
		access.RunRequestEdit:    {team: all, personal: team("creator")},
		access.RunCancel:         {team: made, personal: team("creator")},
		access.EnvironmentCreate: {team: all, personal: team("creator")},
		access.EnvironmentView:   {team: all, personal: team("creator"), none: signedIn},
		access.EnvironmentManage: {team: made, personal: team("creator")},
		access.SecretCreate:      {team: all, personal: team("creator")},
		access.SecretView:        {team: all, personal: team("creator"), none: signedIn},
		access.SecretManage:      {team: lead, personal: team("creator")},
		access.KeyCreate:         {team: lead, personal: team("creator")},
		access.KeyView:           {team: made, personal: team("creator"), none: signedIn},
		access.KeyManage:         {team: made, personal: team("creator")},
		access.ExecutionAct:      {},
		access.RunShare:          {team: made, personal: team("creator")},
		access.RunReport:         {team: made, personal: team("creator")},
		access.MessageSend:       {team: all, personal: team("creator")},
		access.MessageView:       {team: all, personal: team("creator"), none: signedIn},
		access.SkillView:         {none: signedIn},
		access.AgentCreate:       {team: all},
		access.AgentView:         {team: all, none: signedIn},
		access.AgentManage:       {team: made},
		access.ScheduleCreate:    {team: all, personal: team("creator")},
		access.ScheduleView:      {team: all, personal: team("creator"), none: signedIn},
		access.ScheduleManage:    {team: made, personal: team("creator")},
		access.TeamCreate:        {none: signedIn},
		access.TeamView:          {team: all, none: signedIn},
		access.TeamManage:        {team: lead},
		access.MCPCreate:         {team: all, personal: team("creator")},
		access.MCPView:           {team: all, personal: team("creator"), none: signedIn},
		access.MCPManage:         {team: made, personal: team("creator")},
		access.TriggerCreate:     {team: all, personal: team("creator")},
		access.TriggerView:       {team: all, personal: team("creator"), none: signedIn},
		access.TriggerManage:     {team: made, personal: team("creator")},
		access.PromptCreate:      {team: all, personal: team("creator")},
		access.PromptView:        {team: all, personal: team("creator"), none: signedIn},
		access.PromptManage:      {team: made, personal: team("creator")},
		access.EndpointCreate:    {team: lead},
		access.EndpointView:      {team: all, none: signedIn},
		access.EndpointManage:    {team: lead},
		access.RuleCreate:        {team: all, personal: team("creator")},
		access.RuleView:          {team: all, personal: team("creator"), none: signedIn},
		access.RuleManage:        {team: made, personal: team("creator")},
		access.MemoryStoreCreate: {team: all, personal: team("creator")},
		access.MemoryStoreManage: {team: made, personal: team("creator")},
		access.MemoryView:        {team: all, personal: team("creator"), none: signedIn},
		access.MemoryWrite:       {team: all, personal: team("creator")},
		access.ProfileCreate:     {team: all, personal: team("creator")},
		access.ProfileView:       {team: all, personal: team("creator"), none: signedIn},
		access.ProfileManage:     {team: made, personal: team("creator")},
		access.RunnerCreate:      {team: all, personal: team("creator")},
		access.RunnerView:        {team: all, personal: team("creator"), none: signedIn},
		access.RunnerManage:      {team: made, personal: team("creator")},
		access.WorkerView:        {none: signedIn},
		access.WorkerConnect:     {team: team("team key", "worker key")},
		access.UsageView:         {none: signedIn},
		access.StatsView:         {none: signedIn},
		access.NotificationUse:   {none: signedIn},
		access.BudgetView:        {team: all, personal: team("creator"), none: signedIn},
		access.BudgetManage:      {team: lead},
		access.AuditView:         {team: lead, personal: team("creator"), none: signedIn},
	}
	forRunners := []access.Action{access.ExecutionAct, access.RunReport, access.MessageSend, access.MessageView}
	assert.Equal(t, len(want), len(access.Actions()), "an action without a row in this test")
	for _, action := range append(access.Actions(), "run.destroy", "") {
		for oname, object := range objects() {
			for cname, caller := range callers() {
				t.Run(fmt.Sprintf("%s/%s/%s", action, oname, cname), func(t *testing.T) {
					w := want[action]
					may := slices.Contains(map[string][]string{"team": w.team, "personal": w.personal, "none": w.none}[oname], cname)
					may = may || cname == "system" && action.Known()
					may = may || slices.Contains(forRunners, action) && oname != "none" && (cname == "own runner" || cname == "dressed token")
					err := access.Allow(caller, action, object)
					if may {
						assert.NilError(t, err)
						return
					}
					assert.ErrorContains(t, err, "")
					assert.Equal(t, task.CodeOf(err), refusal(action, cname, oname), "%v", err)
				})
			}
		}
	}
}

// refusal is how a caller is told no: what it cannot see does not exist.
func refusal(action access.Action, caller, object string) task.Code {
	seesTeam := []string{"owner", "admin", "creator", "member", "team key", "agent key", "namesake"}
	switch {
	case caller == "worker key" && action != access.WorkerConnect:
		return task.CodeNotAuthorized
	case caller == "anonymous":
		return task.CodeAuthenticationRequired
	case caller == "system":
		// An unknown action of the embedding program is judged as anybody's.
		if object == "none" {
			return task.CodeNotAuthorized
		}
		return task.CodeNotFound
	case caller == "other runner" && object != "none":
		return task.CodeNotFound
	case caller == "own runner", caller == "dressed token", caller == "other runner", object == "none":
		return task.CodeNotAuthorized
	case object == "team" && slices.Contains(seesTeam, caller):
		return task.CodeNotAuthorized
	case object == "personal" && caller == "creator":
		return task.CodeNotAuthorized
	}
	return task.CodeNotFound
}

func TestScopes(t *testing.T) {
	c := callers()
	assert.DeepEqual(t, c["member"].Scopes(), []task.Scope{{Type: task.ScopeUser, UID: "cat"}, {Type: task.ScopeTeam, UID: "red"}})
	assert.DeepEqual(t, c["team key"].Scopes(), []task.Scope{{Type: task.ScopeTeam, UID: "red"}})
	assert.DeepEqual(t, c["odd role"].Scopes(), []task.Scope{{Type: task.ScopeUser, UID: "odd"}})
	for _, none := range []string{"own runner", "dressed token", "anonymous", "system", "worker key"} {
		assert.Equal(t, len(c[none].Scopes()), 0, none)
	}
}

// TestSharedRuns spells out who reaches a run of bob's by what it was shared
// with: "" is out of sight, "view" may see it, "steer" also send it messages,
// "manage" also cancel and share it.
func TestSharedRuns(t *testing.T) {
	user := func(uid string, r task.ShareRole) task.Grant {
		return task.Grant{To: task.Scope{Type: task.ScopeUser, UID: uid}, Role: r}
	}
	blue := func(r task.ShareRole) task.Grant {
		return task.Grant{To: task.Scope{Type: task.ScopeTeam, UID: "blue"}, Role: r}
	}
	link := func(r task.ShareRole) task.Sharing {
		return task.Sharing{Visibility: task.VisibilityLink, LinkRole: r}
	}
	outside := []string{"outsider", "solo", "foreign key", "odd role"}
	for _, tt := range []struct {
		name    string
		sharing task.Sharing
		owner   task.Scope
		want    map[string]string // else "manage" for leaders and who made it, "steer" for the team
	}{
		{name: "team", sharing: task.Sharing{Visibility: task.VisibilityTeam}},
		{name: "private", sharing: task.Sharing{Visibility: task.VisibilityPrivate},
			want: map[string]string{"member": "", "team key": "", "agent key": "", "namesake": ""}},
		{name: "private but granted to a member", sharing: task.Sharing{Visibility: task.VisibilityPrivate, Grants: []task.Grant{user("cat", task.RoleViewer)}},
			want: map[string]string{"member": "view", "team key": "", "agent key": "", "namesake": ""}},
		{name: "granted to a person to view", sharing: task.Sharing{Grants: []task.Grant{user("sol", task.RoleViewer)}}, want: map[string]string{"solo": "view"}},
		{name: "granted to a person to edit", sharing: task.Sharing{Grants: []task.Grant{user("sol", task.RoleEditor)}}, want: map[string]string{"solo": "steer"}},
		{name: "granted to a team", sharing: task.Sharing{Grants: []task.Grant{blue(task.RoleEditor)}}, want: map[string]string{"outsider": "steer", "foreign key": "steer"}},
		{name: "the stronger of two", sharing: task.Sharing{Grants: []task.Grant{user("dan", task.RoleEditor), blue(task.RoleViewer)}},
			want: map[string]string{"outsider": "steer", "foreign key": "view"}},
		{name: "a grant to a person is none to a key of that name", sharing: task.Sharing{Grants: []task.Grant{user("f", task.RoleEditor)}}},
		{name: "link to view", sharing: link(""), want: map[string]string{"outsider": "view", "solo": "view", "foreign key": "view", "odd role": "view"}},
		{name: "link to edit", sharing: link(task.RoleEditor), want: map[string]string{"outsider": "steer", "solo": "steer", "foreign key": "steer", "odd role": "steer"}},
		{name: "link beats a weaker grant", sharing: task.Sharing{Visibility: task.VisibilityLink, LinkRole: task.RoleEditor, Grants: []task.Grant{user("sol", task.RoleViewer)}},
			want: map[string]string{"outsider": "steer", "solo": "steer", "foreign key": "steer", "odd role": "steer"}},
	} {
		run := task.Task{ID: "run", Spec: task.Spec{Owner: task.Scope{Type: task.ScopeTeam, UID: "red"}, Creator: task.Principal{Type: task.PrincipalUser, UID: "bob"}},
			Head: task.Head{Sharing: tt.sharing}}
		assert.NilError(t, tt.sharing.Validate())
		for name, c := range callers() {
			want, ok := tt.want[name]
			switch {
			case ok:
			case slices.Contains([]string{"owner", "admin", "creator", "system"}, name):
				want = "manage"
			case !slices.Contains(append([]string{"anonymous", "worker key", "own runner", "other runner", "dressed token"}, outside...), name):
				want = "steer"
			}
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				assert.Equal(t, reach(t, c, access.OfRun(run)), want)
				if v := c.Viewer(); v != nil && c.SignedIn() && name != "namesake" { // lists agree, but for links; uids of programs are random
					assert.Equal(t, v.Sees(run), want != "" && (tt.sharing.Link() == "" || !slices.Contains(outside, name) || name == "solo" && len(tt.sharing.Grants) > 0))
				}
			})
		}
	}
}

// reach tells how far a caller gets with a run.
func reach(t *testing.T, c access.Caller, o access.Object) string {
	got := ""
	for _, step := range []struct {
		name    string
		actions []access.Action
	}{
		{"view", []access.Action{access.RunView}},
		{"steer", []access.Action{access.RunSteer}},
		{"manage", []access.Action{access.RunCancel, access.RunShare}},
	} {
		for _, a := range step.actions {
			err := access.Allow(c, a, o)
			if err == nil {
				continue
			}
			if got != "" { // what one sees is forbidden, not absent
				assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
			}
			return got
		}
		got = step.name
	}
	return got
}
