package rest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/trigger/outbound"
	"github.com/oz-platform/cloudagents/trigger/schedule"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

// operation is one of the contract, as a caller sees it.
type operation struct {
	Method, Path string
	ID           string
	Action       string
	Body         bool
	Outside      bool // outside the prefix
}

// operations reads the contract.
func operations(t *testing.T) []operation {
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	assert.NilError(t, json.Unmarshal(api.OpenAPI(), &doc))
	var list []operation
	for path, item := range doc.Paths {
		for method, raw := range item {
			var op struct {
				ID     string          `json:"operationId"`
				Action string          `json:"x-oz-action"`
				Body   json.RawMessage `json:"requestBody"`
			}
			if !slices.Contains([]string{"get", "post", "put", "delete", "patch"}, method) {
				continue
			}
			assert.NilError(t, json.Unmarshal(raw, &op))
			_, outside := item["servers"]
			list = append(list, operation{Method: strings.ToUpper(method), Path: path, ID: op.ID, Action: op.Action, Body: op.Body != nil, Outside: outside})
		}
	}
	assert.Assert(t, len(list) >= 36, "the contract has %d operations", len(list))
	pending := pendingOperations(t)
	list = slices.DeleteFunc(list, func(op operation) bool { return slices.Contains(pending, strings.ToLower(op.ID)) })
	slices.SortFunc(list, func(a, b operation) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// pendingOperations are those of the contract that are not served yet, in lower case.
func pendingOperations(t *testing.T) []string {
	files, err := filepath.Glob("pending_*.go")
	assert.NilError(t, err)
	var ids []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		assert.NilError(t, err)
		for _, m := range regexp.MustCompile(`operations\) (\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			ids = append(ids, strings.ToLower(m[1]))
		}
	}
	return ids
}

// things are one of each kind, owned by the admin's team.
type things struct {
	run, environment, secret, artifact, key     string
	mcp, prompt, rule, profile, runner, message string
	schedule, store, memory                     string
	webhook, delivery, endpoint                 string
	subscription                                string
}

func makeThings(t *testing.T, e *transporttest.Env) (things, *client.Link) {
	ctx := t.Context()
	admin, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(t, err)
	env, err := admin.CreateEnvironment(ctx, environment.Config{Name: "demo"}, nil)
	assert.NilError(t, err)
	_, err = admin.CreateSecret(ctx, oz.SecretInput{Name: "DEPLOY_TOKEN", Value: "k3J9-xQ2m-Zp7v-Rt5w"})
	assert.NilError(t, err)
	_, key, err := admin.CreateKey(ctx, access.KeySpec{Name: "spare"})
	assert.NilError(t, err)
	mcp, err := admin.CreateMCPServer(ctx, oz.MCPServerInput{Name: "tickets", Config: json.RawMessage(`{"url":"https://mcp.example.com"}`)})
	assert.NilError(t, err)
	prompt, err := admin.CreatePrompt(ctx, oz.PromptInput{Name: "triage", Prompt: "Triage what is new"})
	assert.NilError(t, err)
	profile, err := admin.CreateProfile(ctx, oz.ProfileInput{Name: "careful"})
	assert.NilError(t, err)
	rule, err := admin.CreateRule(ctx, oz.RuleInput{Name: "style", Rule: "Write plain English"})
	assert.NilError(t, err)
	store, err := admin.CreateMemoryStore(ctx, oz.MemoryStoreInput{Name: "facts"})
	assert.NilError(t, err)
	memory, err := admin.CreateMemory(ctx, store.UID, oz.MemoryInput{Content: "confidential", Reason: "x"})
	assert.NilError(t, err)
	endpoint, err := admin.CreateModelEndpoint(ctx, oz.ModelEndpointInput{Name: "house", Wire: "openai", BaseURL: "https://models.example.com/v1", Models: []string{"coder"}})
	assert.NilError(t, err)
	runner, err := admin.CreateRunner(ctx, oz.RunnerInput{Name: "large"})
	assert.NilError(t, err)
	w, err := admin.CreateWebhook(ctx, oz.WebhookInput{Spec: webhook.Spec{Name: "crashes", Enabled: true, Prompt: "look into it", Filter: json.RawMessage(`{"a":2}`)}})
	assert.NilError(t, err)
	_, delivery, _ := sender{t, e.URL}.send(strings.TrimPrefix(w.URL, e.Platform.PublicURL()), bearer(w.Secret), `{"a":1}`)
	news, err := admin.CreateSubscription(ctx, oz.SubscriptionInput{Spec: outbound.Spec{Name: "ci", Enabled: true, URL: "https://ci.example.com/hook"}})
	assert.NilError(t, err)
	s, err := admin.CreateSchedule(ctx, oz.ScheduleInput{Spec: schedule.Spec{Name: "nightly", Cron: "0 3 * * *", Prompt: "look after the house"}})
	assert.NilError(t, err)
	run, err := admin.Submit(ctx, oz.Request{Prompt: "the admin's own business"})
	assert.NilError(t, err)
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(ctx))
	blob, size, err := link.Upload(ctx, "report-1", strings.NewReader("confidential"))
	assert.NilError(t, err)
	assert.NilError(t, link.Append(ctx, 0, []task.Event{{Payload: &task.ArtifactReported{Artifact: task.Artifact{
		UID: "report-1", Type: task.ArtifactFile, Path: "out/report.txt", MIMEType: "text/plain", SizeBytes: size, Blob: blob}}}}))
	mails, err := admin.SendMail(ctx, task.Letter{From: run.ID, To: []task.ID{run.ID}, Subject: "note", Body: "confidential"})
	assert.NilError(t, err)
	return things{message: string(mails[0]), run: string(run.ID), environment: env.UID, secret: "DEPLOY_TOKEN", artifact: "report-1", key: key.UID,
		mcp: mcp.UID, prompt: prompt.UID, rule: rule.UID, profile: profile.UID, store: store.UID, memory: memory.UID, runner: runner.UID, schedule: s.ID, webhook: w.UID, delivery: string(delivery), subscription: news.UID, endpoint: endpoint.UID}, link
}

// fill puts real ids into an operation's path.
func (th things) fill(op operation) string {
	path := strings.NewReplacer("{runId}", th.run, "{conversationId}", th.run, "{environmentUid}", th.environment,
		"{name}", th.secret, "{artifactUid}", th.artifact, "{keyUid}", th.key,
		"{messageId}", th.message, "{mcpUid}", th.mcp, "{promptUid}", th.prompt, "{ruleUid}", th.rule, "{profileUid}", th.profile, "{endpointUid}", th.endpoint, "{storeUid}", th.store, "{memoryUid}", th.memory, "{runnerUid}", th.runner, "{scheduleId}", th.schedule, "{webhookUid}", th.webhook, "{deliveryId}", th.delivery, "{subscriptionUid}", th.subscription, "{subscriptionMessageId}", th.delivery, "{integrationUid}", th.webhook, "{linkUid}", th.webhook, "{requestUid}", th.webhook, "{terminalId}", th.webhook,
		"{scopeType}", "Team", "{scopeUid}", access.DefaultTeam,
		"{agentUid}", access.DefaultAgent(access.DefaultTeam), "{teamUid}", access.DefaultTeam, "{userUid}", access.DefaultUser).Replace(op.Path)
	path += map[string]string{"listSignals": "?run_ids=" + th.run, "createArtifact": "?filename=x", "openExecutionBlob": "?key=x", "deleteLink": "?provider=slack&account=U1"}[op.ID]
	if !op.Outside {
		path = "/api/v1" + path
	}
	return path
}

// body is one that the operation accepts in shape.
func body(op operation, e *transporttest.Env) any {
	bodies := map[string]any{
		"createRun": map[string]any{"prompt": "x"}, "createRunAlias": map[string]any{"prompt": "x"}, "createLocalRun": map[string]any{"prompt": "x"},
		"followUpRun":       map[string]any{"message": "x"},
		"createEnvironment": map[string]any{"config": map[string]any{"name": "x"}}, "updateEnvironment": map[string]any{"config": map[string]any{"name": "x"}},
		"createSecret": map[string]any{"name": "X_Y", "value": "k3J9-xQ2m-Zp7v-Rt5w"}, "updateSecret": map[string]any{"description": "x"},
		"sendMessages":    map[string]any{"to": []string{firstRun(e)}, "sender_run_id": firstRun(e), "subject": "x", "body": "x"},
		"reportSignal":    map[string]any{"event_type": "run_failed"},
		"createAPIKey":    map[string]any{"name": "x"},
		"createMcpServer": map[string]any{"name": "x", "config": map[string]any{"command": "x"}}, "updateMcpServer": map[string]any{"description": "x"},
		"createPrompt": map[string]any{"name": "x", "prompt": "x"}, "updatePrompt": map[string]any{"description": "x"},
		"createModelEndpoint": map[string]any{"name": "x", "wire": "openai", "base_url": "https://models.example.com/v1", "models": []string{"x"}},
		"createAgentProfile":  map[string]any{"name": "x"}, "updateAgentProfile": map[string]any{"description": "x"},
		"createRule": map[string]any{"name": "x", "rule": "x"}, "updateRule": map[string]any{"description": "x"},
		"createMemoryStore": map[string]any{"name": "x"}, "updateMemoryStore": map[string]any{"description": "x"},
		"createMemory": map[string]any{"content": "x", "reason": "x"}, "updateMemory": map[string]any{"content": "x", "reason": "x"},
		"recallMemories": map[string]any{}, "lendGitCredential": map[string]any{"host": "github.com"}, "openPullRequest": map[string]any{"remote": "https://x/x/x", "branch": "x", "base": "y", "title": "x"}, "rememberMemory": map[string]any{"key": "x", "content": "x"},
		"reportArtifact": map[string]any{"artifact_type": "PULL_REQUEST", "data": map[string]any{"url": "https://x", "branch": "x"}}, "notifyUser": map[string]any{"message": "x"},
		"issueIdentityToken": map[string]any{"audience": "x"},
		"createRunner":       map[string]any{"name": "x"}, "updateRunner": map[string]any{"config": map[string]any{"description": "x"}},
		"appendExecutionEvents": map[string]any{"offset": 0, "events": []any{}}, "uploadArtifact": []byte("x"),
		"createPushSubscription": map[string]any{"endpoint": "https://push.example.com/x", "keys": map[string]any{"auth": "BTBZMqHH6r4Tts7J_aSIgg",
			"p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"}}, "createArtifact": []byte("x"),
		"startDeviceLogin": map[string]any{}, "pollDeviceLogin": map[string]any{"device_code": "x"}, "approveDeviceLogin": map[string]any{"user_code": "x"},
		"createAgent": map[string]any{"name": "x"}, "updateAgent": map[string]any{"description": "x"},
		"createTeam": map[string]any{"name": "x"}, "updateTeam": map[string]any{"name": "x"},
		"addMember": map[string]any{"email": "new@example.com"}, "updateMember": map[string]any{"role": "owner"},
		"updateSharing": map[string]any{"visibility": "team"},
		"createWebhook": map[string]any{"name": "x", "prompt": "x"}, "updateWebhook": map[string]any{"enabled": false},
		"createIntegration": map[string]any{"provider": "slack", "name": "x"}, "updateIntegration": map[string]any{"enabled": false},
		"acceptLink": map[string]any{"code": "x"}, "createSubscription": map[string]any{"name": "x", "url": "https://example.com"},
		"updateSubscription": map[string]any{"enabled": false}, "rotateWebhook": map[string]any{}, "rejectDelivery": map[string]any{"reason": "x"}, "testWebhook": map[string]any{"payload": map[string]any{"a": 1}},
		"createSchedule": map[string]any{"name": "x", "cron_schedule": "0 3 * * *", "prompt": "x"},
		"updateSchedule": map[string]any{"name": "x", "cron_schedule": "0 3 * * *", "enabled": false},
		"endExecution":   map[string]any{"state": "SUCCEEDED"},
		"putBudget":      map[string]any{"limit_usd": 1}, "reserveBudget": map[string]any{"call_id": "1"},
		"callMCP":   map[string]any{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": map[string]any{"name": "list_runs"}},
		"answerRun": map[string]any{"text": "x"}, "approvePlan": map[string]any{}, "editPlan": map[string]any{"markdown": "x"}, "spawnChild": map[string]any{"key": "a", "prompt": "x"}, "awaitRuns": map[string]any{},
		"createRunLink": map[string]any{"role": "viewer"}, "openRunLink": map[string]any{"token": "ozl_x"}, "createEditRequest": map[string]any{},
		"decideEditRequest": map[string]any{"decision": "approve"}, "nextTerminal": map[string]any{},
		"sendRunMessage": map[string]any{"key": "a", "to": []string{"x"}, "subject": "s", "body": "b"},
	}
	if !op.Body {
		return nil
	}
	return bodies[op.ID]
}

// firstRun is the run that was made first: that of makeThings.
func firstRun(e *transporttest.Env) string {
	page, err := e.Platform.List(context.Background(), task.Query{Sort: task.SortCreatedAt, Asc: true, Limit: 1})
	if err != nil || len(page.Tasks) == 0 {
		return ""
	}
	return string(page.Tasks[0].ID)
}

// TestEveryRouteDeniesByDefault walks the contract: whatever is added to it is
// tried here as nobody, with garbage, as a stranger and as another run.
func TestEveryRouteDeniesByDefault(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Platform: oz.Options{PublicURL: "https://oz.example.com", Lease: time.Hour, Heartbeat: time.Minute}})
	th, _ := makeThings(t, e)
	other, err := e.Platform.As(e.Caller(e.Outsider)).Submit(t.Context(), oz.Request{Prompt: "another run"})
	assert.NilError(t, err)
	foreign := e.Claimed()
	assert.Equal(t, foreign.TaskID, other.ID)
	before, err := e.Platform.Get(t.Context(), task.ID(th.run))
	assert.NilError(t, err)

	for _, op := range operations(t) {
		t.Run(op.ID, func(t *testing.T) {
			call := func(key string) transporttest.Answer { return e.Call(key, op.Method, th.fill(op), body(op, e)) }
			if op.Action == "public" {
				deniesUnsigned(t, op, call(""))
				return
			}
			assert.Assert(t, access.Action(op.Action).Known(), "x-oz-action %q", op.Action)
			assert.Assert(t, !op.Body || body(op, e) != nil, "the test has no body for %s", op.ID)
			for _, key := range []string{"", "garbage", "ozr_" + th.run + ".AAAA", transporttest.AdminKey + "x", " "} {
				a := call(key)
				assert.Equal(t, a.Status, http.StatusUnauthorized, "key %q: %s", key, a.Body)
				assert.Equal(t, a.Code(), task.CodeAuthenticationRequired)
			}
			stranger(t, op, th, call(e.Outsider))
			if op.Action != string(access.ExecutionAct) {
				denied(t, call(foreign.Token.Reveal()))
				return
			}
			denied(t, call(transporttest.AdminKey)) // no person acts for an execution
		})
	}

	after, err := e.Platform.Get(t.Context(), task.ID(th.run))
	assert.NilError(t, err)
	assert.Equal(t, after.LastSeq, before.LastSeq, "a denied call has changed the run")
	_, err = e.Platform.Environment(t.Context(), th.environment)
	assert.NilError(t, err)
}

// denied asks for an answer that gives nothing away.
func denied(t *testing.T, a transporttest.Answer) {
	t.Helper()
	assert.Assert(t, a.Status == http.StatusForbidden || a.Status == http.StatusNotFound, "%d %s", a.Status, a.Body)
	assert.Assert(t, a.Code() == task.CodeNotAuthorized || a.Code() == task.CodeNotFound, "%s", a.Body)
}

// stranger asks that a caller of another team is denied what belongs to this
// one, and finds nothing of it in lists.
func stranger(t *testing.T, op operation, th things, a transporttest.Answer) {
	t.Helper()
	namesRun := op.ID == "sendMessages" || op.ID == "listSignals" // in its body or query
	machine := op.Action == string(access.WorkerConnect)          // not for people at all
	if namesRun || machine || strings.Contains(op.Path, "{") || op.Action == string(access.ExecutionAct) {
		denied(t, a)
		return
	}
	if op.ID == "listAgents" && a.Code() == task.CodeInvalidRequest {
		return // they have made a second team by now, and do not say which they mean
	}
	if strings.HasPrefix(op.Path, "/oz/auth/") { // they have no session, and there is no provider
		assert.Assert(t, a.Status >= 400, "%d %s", a.Status, a.Body)
		return
	}
	if slices.Contains([]string{"createIntegration", "acceptLink", "deleteLink", "streamRuns", "previewSchedule"}, op.ID) { // no origin is here, no code or link is theirs, and these ask for no stream and no expression
		assert.Assert(t, a.Status >= 400, "%d %s", a.Status, a.Body)
		return
	}
	assert.Assert(t, a.Status < 300, "%d %s", a.Status, a.Body) // their own affair
	for _, mine := range []string{th.run, th.environment, th.secret, th.artifact, th.key, th.mcp, th.prompt, th.runner, th.message, th.schedule, th.webhook, th.delivery, th.subscription} {
		if op.ID == "listAudit" && mine == th.secret {
			continue // they asked for one of that name in their own team
		}
		assert.Assert(t, !strings.Contains(string(a.Body), mine), "a stranger sees %s: %s", mine, a.Body)
	}
}

// deniesUnsigned asks that public operations below an object need a signature.
func deniesUnsigned(t *testing.T, op operation, a transporttest.Answer) {
	t.Helper()
	if op.ID == "startSession" { // a body is looked at first; see browsersession_test.go
		assert.Equal(t, a.Code(), task.CodeInvalidRequest, "%s", a.Body)
		assert.Equal(t, a.Header.Get("Set-Cookie"), "")
		return
	}
	if strings.HasPrefix(op.Path, "/oz/auth/") && op.ID != "getAuthConfig" { // see signin_test.go for a server with a provider
		assert.Equal(t, a.Code(), task.CodeFeatureNotAvailable, "%s", a.Body)
		return
	}
	if op.ID == "openRunLink" { // the link that the test has is none
		assert.Equal(t, a.Status, http.StatusNotFound, "%s", a.Body)
		return
	}
	if !strings.Contains(op.Path, "{") {
		assert.Equal(t, a.Status, http.StatusOK)
		return
	}
	if strings.HasSuffix(op.Path, "/redirect") { // tells whoever has the id where to go on, and no more
		assert.Equal(t, a.Status, http.StatusOK)
		var ids map[string]string
		assert.NilError(t, json.Unmarshal(a.Body, &ids))
		delete(ids, "session_id")
		assert.Equal(t, len(ids), 0, "%s", a.Body)
		return
	}
	assert.Equal(t, a.Status, http.StatusBadRequest, "%s", a.Body)
	assert.Equal(t, a.Code(), task.CodeInvalidRequest)
}

// TestRunTokenReachesItsOwnRunOnly follows a run token of a run that another
// execution has taken over, and of its own.
func TestRunTokenReachesItsOwnRunOnly(t *testing.T) {
	e := transporttest.Start(t, nil)
	th, link := makeThings(t, e)
	own, err := link.Events(t.Context(), 0, 100)
	assert.NilError(t, err)
	assert.Assert(t, len(own) > 0)
	for _, event := range own {
		assert.Equal(t, string(event.TaskID), th.run)
	}
	assert.NilError(t, e.Platform.Cancel(context.Background(), task.ID(th.run)))
	_, err = link.Bundle(t.Context())
	assert.ErrorIs(t, err, task.ErrFenced)
}

// TestOpenAPIMatchesRoutes asks every operation of the contract, and its
// document, for an answer of its own.
func TestOpenAPIMatchesRoutes(t *testing.T) {
	e := transporttest.Start(t, nil)
	th, link := makeThings(t, e)
	handshake := "" // the execution's own token, for what only it may ask
	_ = link
	for _, op := range operations(t) {
		if op.Method == http.MethodDelete || op.ID == "endExecution" {
			continue // would remove what the others need; TestEveryRouteDeniesByDefault reaches them
		}
		key := transporttest.AdminKey
		if op.Action == string(access.ExecutionAct) {
			key = handshake
		}
		a := e.Call(key, op.Method, th.fill(op), body(op, e))
		assert.Assert(t, a.Status != http.StatusMethodNotAllowed && !strings.Contains(string(a.Body), "no such path"), "%s %s: %d %s", op.Method, op.Path, a.Status, a.Body)
		assert.Assert(t, a.Status < 500, "%s %s: %d %s", op.Method, op.Path, a.Status, a.Body)
	}
	a := e.Call("", http.MethodGet, "/api/v1/openapi.json", nil)
	assert.Equal(t, a.Status, http.StatusOK)
	assert.Equal(t, string(a.Body), string(api.OpenAPI()))
	for _, path := range []string{"/", "/api/v1", "/api/v1/", "/api/v1/agents", "/api/v1/agent/nothing", "/agent/runs/x/y/z", "/nothing"} {
		a := e.Call(transporttest.AdminKey, http.MethodGet, path, nil)
		assert.Equal(t, a.Status, http.StatusNotFound, path)
		assert.Equal(t, a.Header.Get("Content-Type"), "application/problem+json", path)
		assert.Equal(t, a.Code(), task.CodeNotFound, path)
	}
	fmt.Fprint(t.Output(), len(operations(t)), " operations\n")
}
