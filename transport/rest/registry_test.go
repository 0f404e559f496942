package rest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// TestRegistryOverHTTP drives each operation with the SDK as one who made a
// thing, and compares with what the platform itself says.
func TestRegistryOverHTTP(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	ctx := t.Context()
	c, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(t, err)
	inside := e.Platform.As(e.Caller(transporttest.AdminKey))
	same := func(got, want any, err error) {
		t.Helper()
		assert.NilError(t, err)
		assert.Assert(t, cmp.Equal(got, want), cmp.Diff(want, got))
	}

	m, err := c.CreateMCPServer(ctx, oz.MCPServerInput{Name: "tickets", Description: "d", Config: json.RawMessage(`{"command":"x","env":{"A":"b"}}`)})
	assert.NilError(t, err)
	m, err = c.UpdateMCPServer(ctx, m.UID, oz.MCPServerChange{Name: ptr("issues"), Config: json.RawMessage(`{"url":"https://b"}`), Revision: m.Revision})
	assert.NilError(t, err)
	wantM, err := inside.MCPServer(ctx, m.UID)
	same(m, wantM, err)
	gotM, err := c.MCPServer(ctx, m.UID)
	same(gotM, wantM, err)
	listM, err := c.MCPServers(ctx)
	same(listM, []oz.MCPServer{wantM}, err)

	p, err := c.CreatePrompt(ctx, oz.PromptInput{Name: "triage", Prompt: "x", Team: ptr(false)})
	assert.NilError(t, err)
	p, err = c.UpdatePrompt(ctx, p.UID, oz.PromptChange{Prompt: ptr("y"), Description: ptr("d")})
	assert.NilError(t, err)
	wantP, err := inside.Prompt(ctx, p.UID)
	same(p, wantP, err)
	gotP, err := c.Prompt(ctx, p.UID)
	same(gotP, wantP, err)
	listP, err := c.Prompts(ctx)
	same(listP, []oz.SavedPrompt{wantP}, err)
	assert.Equal(t, p.Owner.Type, task.ScopeUser)

	en, err := c.CreateModelEndpoint(ctx, oz.ModelEndpointInput{Name: "house", Description: "d", Wire: "gemini", BaseURL: "https://models.example.com",
		BearerAuth: true, Models: []string{"coder-*"}, Prices: []catalog.Price{{Models: []string{"coder-*"}, AsOf: "2026-11-01", ContextWindow: 1000,
			Rates: catalog.Rates{Input: ptr(0.5), Output: ptr(1.5), CacheRead: ptr(0.1)}}}})
	assert.NilError(t, err)
	wantEn, err := inside.ModelEndpoint(ctx, en.UID)
	wantEn.Revision = 0 // it never changes
	same(en, wantEn, err)
	gotEn, err := c.ModelEndpoint(ctx, en.UID)
	same(gotEn, wantEn, err)
	listEn, err := c.ModelEndpoints(ctx)
	same(listEn, []oz.ModelEndpoint{wantEn}, err)
	assert.NilError(t, c.DeleteModelEndpoint(ctx, en.UID))

	ru, err := c.CreateRule(ctx, oz.RuleInput{Name: "style", Rule: "x"})
	assert.NilError(t, err)
	ru, err = c.UpdateRule(ctx, ru.UID, oz.RuleChange{Rule: ptr("y"), Description: ptr("d"), Revision: ru.Revision})
	assert.NilError(t, err)
	wantRu, err := inside.Rule(ctx, ru.UID)
	same(ru, wantRu, err)
	gotRu, err := c.Rule(ctx, ru.UID)
	same(gotRu, wantRu, err)
	listRu, err := c.Rules(ctx)
	same(listRu, []oz.Rule{wantRu}, err)
	assert.NilError(t, c.DeleteRule(ctx, ru.UID))

	r, err := c.CreateRunner(ctx, oz.RunnerInput{Name: "small"})
	assert.NilError(t, err)
	r, err = c.UpdateRunner(ctx, r.UID, oz.RunnerChange{Name: ptr("large"), Config: &oz.RunnerConfig{Description: "d", OS: "linux", Arch: "auto",
		DockerImage: "x:1", VCPUs: 0.1, MemoryGB: 1.5, SetupCommands: []string{"make"}}})
	assert.NilError(t, err)
	wantR, err := inside.Runner(ctx, r.UID)
	same(r, wantR, err)
	gotR, err := c.Runner(ctx, r.UID)
	same(gotR, wantR, err)
	listR, err := c.Runners(ctx)
	same(listR, []oz.Runner{wantR}, err)

	assert.NilError(t, c.DeleteMCPServer(ctx, m.UID))
	assert.NilError(t, c.DeletePrompt(ctx, p.UID))
	assert.NilError(t, c.DeleteRunner(ctx, r.UID))
	assert.ErrorIs(t, c.DeleteRunner(ctx, r.UID), task.ErrNotFound)
	workers, err := c.WorkerList(ctx)
	same(workers, []oz.WorkerStatus{}, err)
}

func ptr[T any](v T) *T { return &v }

// TestRegistryRefusals: every refusal has its status, its code and its field.
func TestRegistryRefusals(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	made := map[string]string{}
	for path, body := range map[string]string{
		"/oz/mcp-servers": `{"name":"x","config":{"command":"x","env":{"A":"hidden-value"}}}`, "/oz/prompts": `{"name":"x","prompt":"x"}`, "/oz/runners": `{"name":"x"}`,
		"/oz/rules":          `{"name":"x","rule":"x"}`,
		"/oz/agent-profiles": `{"name":"x","permissions":{"command_denylist":["rm .*"],"read_files":"always_ask"}}`,
	} {
		a := e.Call(transporttest.AdminKey, http.MethodPost, path, body)
		assert.Equal(t, a.Status, http.StatusCreated, "%s", a.Body)
		uid, _ := a.Problem()["uid"].(string)
		made[path] = path + "/" + uid
	}
	long := strings.Repeat("x", 300_000)
	for _, tt := range []struct {
		key, method, path, body string
		status                  int
		code                    task.Code
		field                   string
	}{
		{"", "POST", "/oz/mcp-servers", `{"name":"y"}`, 400, task.CodeInvalidRequest, "config"},
		{"", "POST", "/oz/mcp-servers", `{"config":{"command":"x"}}`, 400, task.CodeInvalidRequest, "name"},
		{"", "POST", "/oz/mcp-servers", `{"name":"y","config":"x"}`, 400, task.CodeInvalidRequest, "config"},
		{"", "POST", "/oz/mcp-servers", `{"name":1,"config":{"command":"x"}}`, 400, task.CodeInvalidRequest, "name"},
		{"", "POST", "/oz/mcp-servers", `{"name":"x","config":{"command":"x"}}`, 409, task.CodeConflict, "name"},
		{"", "PUT", made["/oz/mcp-servers"], `{"config":{}}`, 400, task.CodeInvalidRequest, "config"},
		{"", "PUT", made["/oz/mcp-servers"], `{"revision":7}`, 409, task.CodeConflict, "revision"},
		{"member", "PUT", made["/oz/mcp-servers"], `{"name":"y"}`, 403, task.CodeNotAuthorized, ""},
		{"member", "DELETE", made["/oz/mcp-servers"], ``, 403, task.CodeNotAuthorized, ""},
		{"outsider", "GET", made["/oz/mcp-servers"], ``, 404, task.CodeNotFound, ""},
		{"", "POST", "/oz/prompts", `{"name":"y"}`, 400, task.CodeInvalidRequest, "prompt"},
		{"", "POST", "/oz/prompts", `{"name":"y","prompt":"` + long + `"}`, 400, task.CodeInvalidRequest, "prompt"},
		{"", "POST", "/oz/prompts", `{"name":"x","prompt":"x"}`, 409, task.CodeConflict, "name"},
		{"", "PUT", made["/oz/prompts"], `{"name":""}`, 400, task.CodeInvalidRequest, "name"},
		{"member", "PUT", made["/oz/prompts"], `{"name":"y"}`, 403, task.CodeNotAuthorized, ""},
		{"outsider", "PUT", made["/oz/prompts"], `{"name":"y"}`, 404, task.CodeNotFound, ""},
		{"", "POST", "/oz/model-endpoints", `{"name":"y","wire":"grpc","base_url":"https://x","models":["a"]}`, 400, task.CodeInvalidRequest, "wire"},
		{"", "POST", "/oz/model-endpoints", `{"name":"y","wire":"openai","base_url":"https://u:hidden-value@x","models":["a"]}`, 400, task.CodeInvalidRequest, "base_url"},
		{"", "POST", "/oz/model-endpoints", `{"name":"y","wire":"openai","base_url":"https://x","models":["*"]}`, 400, task.CodeInvalidRequest, "models"},
		{"", "POST", "/oz/model-endpoints", `{"name":"y","wire":"openai","base_url":"https://x","models":["a"],"secret":"NOT_THERE"}`, 400, task.CodeInvalidRequest, "secret"},
		{"", "POST", "/oz/model-endpoints", `{"name":"y","wire":"openai","base_url":"https://x","models":["a"],"prices":[{"models":["a"],"input":1}]}`, 400, task.CodeInvalidRequest, "prices"},
		{"member", "POST", "/oz/model-endpoints", `{"name":"y","wire":"openai","base_url":"https://x","models":["a"]}`, 403, task.CodeNotAuthorized, ""},
		{"", "POST", "/oz/agent-profiles", `{"name":"y","permissions":{"tool_denylist":["("]}}`, 400, task.CodeInvalidRequest, "permissions.tool_denylist[0]"},
		{"member", "PUT", made["/oz/agent-profiles"], `{"name":"y"}`, 403, task.CodeNotAuthorized, ""},
		{"outsider", "GET", made["/oz/agent-profiles"], ``, 404, task.CodeNotFound, ""},
		{"", "PUT", "/oz/agent-profiles/default", `{"name":"y"}`, 400, task.CodeInvalidRequest, ""},
		{"", "POST", "/oz/rules", `{"name":"y"}`, 400, task.CodeInvalidRequest, "rule"},
		{"", "POST", "/oz/rules", `{"name":"y","rule":"` + long[:40_000] + `"}`, 400, task.CodeInvalidRequest, "rule"},
		{"member", "PUT", made["/oz/rules"], `{"rule":"y"}`, 403, task.CodeNotAuthorized, ""},
		{"outsider", "GET", made["/oz/rules"], ``, 404, task.CodeNotFound, ""},
		{"", "POST", "/oz/runners", `{"name":"y","config":{"vcpus":1}}`, 400, task.CodeInvalidRequest, "config.vcpus"},
		{"", "POST", "/oz/runners", `{"name":"y","config":{"vcpus":"1"}}`, 400, task.CodeInvalidRequest, "config.vcpus"},
		{"", "POST", "/oz/runners", `{"name":"y","config":{"os":"beos"}}`, 400, task.CodeInvalidRequest, "config.os"},
		{"", "PUT", made["/oz/runners"], `{"config":{"macos_version":"15"}}`, 400, task.CodeInvalidRequest, "config.macos_version"},
		{"member", "DELETE", made["/oz/runners"], ``, 403, task.CodeNotAuthorized, ""},
		{"outsider", "DELETE", made["/oz/runners"], ``, 404, task.CodeNotFound, ""},
		{"", "GET", "/oz/runners/a%2Fb", ``, 404, task.CodeNotFound, ""},
		{"team", "POST", "/oz/prompts", `{"name":"y","prompt":"x","team":false}`, 400, task.CodeInvalidRequest, "team"},
		{"", "POST", "/agent/runs", `{"prompt":"x","config":{"mcp_servers":{"m":{"warp_id":"0198c0de-0000-7000-8000-000000000000"}}}}`, 404, task.CodeNotFound, `config.mcp_servers["m"].warp_id`},
		{"", "POST", "/agent/runs", `{"prompt":"x","config":{"runner_id":"nothing"}}`, 404, task.CodeNotFound, "config.runner_id"},
	} {
		t.Run(tt.method+" "+tt.path+" "+tt.body[:min(len(tt.body), 60)], func(t *testing.T) {
			key := map[string]string{"": transporttest.AdminKey, "member": e.Member, "outsider": e.Outsider, "team": e.Team}[tt.key]
			a := e.CallIn(t, key, tt.method, tt.path, tt.body)
			assert.Equal(t, a.Status, tt.status, "%s", a.Body)
			assert.Equal(t, a.Code(), tt.code)
			field, _ := a.Problem()["field"].(string)
			assert.Equal(t, field, tt.field, "%s", a.Body)
		})
	}
	a := e.Call(e.Member, http.MethodGet, made["/oz/mcp-servers"], nil)
	assert.Equal(t, a.Status, http.StatusOK)
	assert.Assert(t, strings.Contains(string(a.Body), `"A":"***"`) && !strings.Contains(string(a.Body), "hidden-value"), "%s", a.Body)
	a = e.Call(e.Member, http.MethodGet, "/oz/mcp-servers", nil)
	assert.Assert(t, !strings.Contains(string(a.Body), "hidden-value"), "%s", a.Body)
}
