package rest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// TestAgentIdentities follows an agent identity over HTTP: what is absent or
// null stays, an empty value clears, anything else replaces.
func TestAgentIdentities(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	a := e.Call(e.Member, "POST", "/agent/identities", map[string]any{"name": "Reviewer", "description": "reads", "prompt": "You review.", "base_model": "m",
		"secrets": []any{map[string]any{"name": "A_KEY"}}, "skills": []string{"acme/app:review/SKILL.md"}, "agent_type": "REVIEW",
		"mcp_servers":   map[string]any{"m": map[string]any{"command": "x", "env": map[string]any{"TOKEN": "hunter22hunter22"}}},
		"memory":        map[string]any{"auto_memory": map[string]any{"enabled": true}},
		"unknown_field": 1, "inference_providers": map[string]any{"aws": map[string]any{"region": "eu"}}})
	assert.Equal(t, a.Status, 201, "%s", a.Body)
	var made map[string]any
	a.JSON(e, &made)
	path := "/agent/identities/" + made["uid"].(string)
	assert.Equal(t, made["available"], true)
	own := made["memory"].(map[string]any)["auto_memory"].(map[string]any)["store"].(map[string]any)
	assert.Equal(t, own["owner_uid"], made["uid"])
	assert.Equal(t, own["access"], "read_write")
	store := e.Call(e.Member, "GET", "/oz/memory-stores/"+own["uid"].(string), nil)
	assert.Equal(t, store.Status, 200, "%s", store.Body)

	put := func(body string) map[string]any {
		t.Helper()
		a := e.Call(e.Member, "PUT", path, body)
		assert.Equal(t, a.Status, 200, "%s", a.Body)
		var got map[string]any
		a.JSON(e, &got)
		return got
	}
	same := put(`{"description":null,"secrets":null,"harness":null,"name":null,"inference_providers":null,"skills":null,"mcp_servers":null}`)
	delete(same, "updated_at")
	delete(made, "updated_at")
	assert.DeepEqual(t, same, made)
	cleared := put(`{"description":"","secrets":[],"skills":[],"mcp_servers":{},"base_model":"","prompt":"","agent_type":"","inference_providers":{}}`)
	for _, gone := range []string{"description", "mcp_servers", "base_model", "prompt", "agent_type", "inference_providers"} {
		assert.Assert(t, cleared[gone] == nil, "%s: %v", gone, cleared[gone])
	}
	assert.DeepEqual(t, cleared["secrets"], []any{})
	assert.DeepEqual(t, cleared["skills"], []any{})
	assert.Equal(t, put(`{"base_harness":"claude"}`)["harness"].(map[string]any)["type"], "claude")

	// Credentials in it are for those only who may change it.
	put(`{"mcp_servers":{"m":{"command":"x","env":{"TOKEN":"hunter22hunter22"}}}}`)
	assert.Assert(t, strings.Contains(string(e.Call(e.Member, "GET", path, nil).Body), "hunter22"))
	assert.Assert(t, !strings.Contains(string(e.Call(e.Team, "GET", path, nil).Body), "hunter22"))

	for body, field := range map[string]string{`{"name":""}`: "name", `{"agent_type":"KING"}`: "agent_type", `{"skills":["x"]}`: "skills[0]",
		`{"secrets":[{"name":"A_B"},{"name":"A_B"}]}`: "secrets[1]", `{"base_model":"m"}`: "base_model", `{"name":7}`: "name"} {
		a := e.Call(e.Member, "PUT", path, body)
		assert.Equal(t, a.Status, 400, "%s: %s", body, a.Body)
		assert.Assert(t, strings.Contains(string(a.Body), field), "%s: %s", body, a.Body)
	}
	for key, want := range map[string]int{e.Team: 403, e.Outsider: 404} {
		assert.Equal(t, e.Call(key, "PUT", path, `{"name":"x"}`).Status, want)
		assert.Equal(t, e.Call(key, "DELETE", path, nil).Status, want)
	}
	assert.Equal(t, e.Call(e.Team, "GET", "/agent/identities", nil).Status, 403, "people only")
	assert.Equal(t, e.Call(e.Team, "POST", "/agent/identities", `{"name":"x"}`).Status, 403)
	assert.Equal(t, e.Call(e.Member, "POST", "/agent/identities", `{}`).Status, 400)
	assert.Equal(t, e.Call(e.Member, "PUT", path, `{"on_behalf_of_enabled":true}`).Status, 403)
	assert.Equal(t, e.Call(transporttest.AdminKey, "PUT", path, `{"on_behalf_of_enabled":true}`).Status, 200)

	list := e.Call(e.Member, "GET", "/agent/identities?factory_uid=f", nil)
	assert.Equal(t, list.Status, 200)
	assert.Equal(t, strings.Count(string(list.Body), `"available":true`), 2, "this and the default agent: %s", list.Body)
	assert.Equal(t, e.Call(e.Member, "DELETE", path, nil).Status, 204)
	assert.Equal(t, e.Call(e.Member, "DELETE", path, nil).Status, 404)
	assert.Equal(t, e.Call(transporttest.AdminKey, "DELETE", "/agent/identities/"+access.DefaultAgent(access.DefaultTeam), nil).Status, 400)
}

// TestAgentsInTheSDK gives and clears settings of an agent with the Go SDK.
func TestAgentsInTheSDK(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	c, ctx := sdk(t, e, e.Member), t.Context()
	made, err := c.CreateAgent(ctx, oz.AgentInput{Name: ptr("A"), Prompt: ptr("p"), Secrets: &[]string{"A_B"}, Skills: &[]string{"o/r:s"},
		HarnessAuthSecrets: &map[string]string{"claude_auth_secret_name": "C_D"}, MCPServers: &map[string]json.RawMessage{"m": json.RawMessage(`{"command":"x"}`)}})
	assert.NilError(t, err)
	assert.Equal(t, made.Config.BasePrompt, "p")
	assert.DeepEqual(t, made.Secrets, []string{"A_B"})
	got, err := c.UpdateAgent(ctx, made.UID, oz.AgentInput{Description: ptr("d"), Secrets: &[]string{}, Skills: &[]string{}, HarnessAuthSecrets: &map[string]string{},
		MCPServers: &map[string]json.RawMessage{}, Harness: &task.HarnessConfig{}})
	assert.NilError(t, err)
	assert.Equal(t, len(got.Secrets)+len(got.Config.Skills)+len(got.Config.HarnessAuthSecrets)+len(got.Config.MCPServers), 0, "%+v", got)
	assert.Equal(t, got.Config.BasePrompt, "p", "what is not given stays")
	_, err = sdk(t, e, e.Outsider).Agent(ctx, made.UID)
	assert.ErrorIs(t, err, task.ErrNotFound)
	assert.NilError(t, c.DeleteAgent(ctx, made.UID))
	list, err := c.Agents(ctx)
	assert.NilError(t, err)
	assert.Equal(t, len(list), 1)
	assert.Assert(t, list[0].Default)
}

// TestTeamsOverHTTP makes a team, fills it and leaves it.
func TestTeamsOverHTTP(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	c, ctx := sdk(t, e, e.Outsider), t.Context()
	team, err := c.CreateTeam(ctx, access.Team{Name: "Night shift"})
	assert.NilError(t, err)
	added, key, err := c.AddMember(ctx, team.UID, access.NewMember{Email: "nick@example.com", DisplayName: "Nick", Role: access.RoleAdmin, IssueKey: true})
	assert.NilError(t, err)
	nick := sdk(t, e, key)
	teams, err := nick.Teams(ctx)
	assert.NilError(t, err)
	assert.DeepEqual(t, teams, []access.Team{team})
	renamed, err := nick.RenameTeam(ctx, team.UID, "Day shift")
	assert.NilError(t, err)
	_, members, err := nick.Team(ctx, team.UID)
	assert.NilError(t, err)
	assert.Equal(t, len(members), 2)
	assert.DeepEqual(t, members[0], added)
	assert.Equal(t, renamed.Name, "Day shift")
	_, err = nick.SetRole(ctx, team.UID, added.User.UID, access.RoleOwner)
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	err = c.RemoveMember(ctx, team.UID, "oscar")
	assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported)
	_, err = c.SetRole(ctx, team.UID, added.User.UID, access.RoleMember)
	assert.NilError(t, err)
	_, err = nick.RenameTeam(ctx, team.UID, "x")
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized, "with the next request")
	_, _, err = sdk(t, e, e.Member).Team(ctx, team.UID)
	assert.ErrorIs(t, err, task.ErrNotFound)
	assert.NilError(t, nick.RemoveMember(ctx, team.UID, added.User.UID))
	_, _, err = nick.Team(ctx, team.UID)
	assert.ErrorIs(t, err, task.ErrNotFound)
	a := e.Call(e.Outsider, "POST", "/oz/teams/"+team.UID+"/members", map[string]any{"email": "x@example.com", "role": "king"})
	assert.Equal(t, a.Status, 400)
	assert.Assert(t, strings.Contains(string(a.Body), "role"), "%s", a.Body)
	assert.Equal(t, e.Call(e.Team, "POST", "/oz/teams", map[string]any{"name": "x"}).Status, 403)
}
