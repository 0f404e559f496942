package rest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// checkProblem asks for every member that a problem must have.
func checkProblem(t *testing.T, a transporttest.Answer, status int, code task.Code, retryable bool, path string) {
	t.Helper()
	p := a.Problem()
	assert.Equal(t, a.Status, status, "%s", a.Body)
	assert.Equal(t, a.Header.Get("Content-Type"), "application/problem+json")
	assert.Equal(t, p["type"], "https://docs.warp.dev/reference/api-and-sdk/troubleshooting/errors/"+string(code))
	assert.Equal(t, p["error_code"], string(code))
	assert.Equal(t, p["status"], float64(status))
	assert.Equal(t, p["title"], code.Title())
	assert.Equal(t, p["instance"], path)
	assert.Equal(t, p["retryable"], retryable)
	if detail, ok := p["detail"].(string); ok {
		assert.Equal(t, p["error"], code.Title()+" ("+detail+")")
	} else {
		assert.Equal(t, p["error"], code.Title())
	}
	assert.Equal(t, a.Header.Get("x-should-retry"), map[bool]string{true: "true", false: "false"}[retryable])
	assert.Equal(t, a.Header.Get("retry-after-ms") != "", retryable)
	assert.Equal(t, a.Header.Get("Retry-After") != "", retryable)
	assert.Equal(t, p["request_id"], a.Header.Get("X-Request-Id"))
}

func TestProblemBodies(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true, Platform: oz.Options{MaxWaiting: 1}})
	run := e.Call(transporttest.AdminKey, "POST", "/agent/runs", `{"prompt":"one"}`).Problem()["run_id"].(string)
	admin := transporttest.AdminKey

	for _, tt := range []struct {
		name, key, method, path string
		body                    any
		status                  int
		code                    task.Code
		retryable               bool
	}{
		{"no key", "", "GET", "/api/v1/agent/runs", nil, 401, task.CodeAuthenticationRequired, false},
		{"wrong key", "wrong", "GET", "/api/v1/agent/runs", nil, 401, task.CodeAuthenticationRequired, false},
		{"unknown run", admin, "GET", "/api/v1/agent/runs/nothing", nil, 404, task.CodeNotFound, false},
		{"escaped id", admin, "GET", "/api/v1/agent/runs/a%2Fb%20c%25", nil, 404, task.CodeNotFound, false},
		{"empty id", admin, "GET", "/api/v1/agent/runs/", nil, 400, task.CodeInvalidRequest, false},
		{"unknown path", admin, "GET", "/api/v1/agent/nothing/at/all", nil, 404, task.CodeNotFound, false},
		{"wrong method", admin, "PATCH", "/api/v1/agent/runs", nil, 405, task.CodeInvalidRequest, false},
		{"wrong method of an id", admin, "DELETE", "/api/v1/agent/runs/x", nil, 405, task.CodeInvalidRequest, false},
		{"queue full", admin, "POST", "/api/v1/agent/runs", `{"prompt":"two"}`, 429, task.CodeResourceUnavailable, true},
		{"not a member", e.Outsider, "POST", "/api/v1/agent/runs/" + run + "/cancel", nil, 404, task.CodeNotFound, false},
		{"not the creator", e.Member, "POST", "/api/v1/agent/runs/" + run + "/cancel", nil, 403, task.CodeNotAuthorized, false},
		{"bad parameter", admin, "GET", "/api/v1/oz/runs/" + run + "/events?after=x", nil, 400, task.CodeInvalidRequest, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := e.Call(tt.key, tt.method, tt.path, tt.body)
			path, _, _ := strings.Cut(tt.path, "?")
			checkProblem(t, a, tt.status, tt.code, tt.retryable, path)
			if tt.status == http.StatusMethodNotAllowed {
				assert.Assert(t, a.Header.Get("Allow") != "")
			}
			if tt.code == task.CodeAuthenticationRequired {
				assert.Equal(t, a.Header.Get("WWW-Authenticate"), "Bearer")
			}
		})
	}
}

func TestKeysThatAreOver(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	ctx, registry := t.Context(), e.Platform.Registry()
	caller := e.Caller(transporttest.AdminKey)
	raw, key, err := registry.CreateKey(ctx, caller, access.KeySpec{Name: "short", ExpiresAt: time.Now().Add(200 * time.Millisecond)})
	assert.NilError(t, err)
	assert.Equal(t, e.Call(raw, "GET", "/oz/whoami", nil).Status, 200)
	deadline := time.Now().Add(10 * time.Second)
	for e.Call(raw, "GET", "/oz/whoami", nil).Status == 200 {
		assert.Assert(t, time.Now().Before(deadline), "the key did not expire")
	}
	checkProblem(t, e.Call(raw, "GET", "/oz/whoami", nil), 401, task.CodeAuthenticationRequired, false, "/api/v1/oz/whoami")

	created := e.Call(transporttest.AdminKey, "POST", "/oz/api-keys", `{"name":"ci","type":"team"}`)
	assert.Equal(t, created.Status, 201)
	var made struct {
		Key    string `json:"key"`
		APIKey struct {
			UID string `json:"uid"`
		} `json:"api_key"`
	}
	created.JSON(e, &made)
	assert.Equal(t, e.Call(made.Key, "GET", "/agent/runs", nil).Status, 200)
	listed := e.Call(transporttest.AdminKey, "GET", "/oz/api-keys", nil)
	assert.Assert(t, strings.Contains(string(listed.Body), made.APIKey.UID))
	assert.Assert(t, !strings.Contains(string(listed.Body), made.Key), "a key is shown once")
	assert.Assert(t, !strings.Contains(string(listed.Body), raw) && strings.Contains(string(listed.Body), key.UID))
	assert.Equal(t, e.Call(transporttest.AdminKey, "DELETE", "/oz/api-keys/"+made.APIKey.UID, nil).Status, 204)
	assert.Equal(t, e.Call(made.Key, "GET", "/agent/runs", nil).Status, 401)
}

func TestRetryHints(t *testing.T) {
	e := transporttest.Start(t, nil)
	run, err := e.Platform.Submit(t.Context(), oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	e.Claimed()
	assert.NilError(t, e.Platform.Cancel(t.Context(), run.ID))
	path := "/api/v1/agent/runs/" + string(run.ID) + "/cancel"
	checkProblem(t, e.Call(transporttest.AdminKey, "POST", path, nil), 400, task.CodeInvalidRequest, false, path)

	body := `{"prompt":"same"}`
	first := e.Call(transporttest.AdminKey, "POST", "/agent/runs", body, "Idempotency-Key", "k1")
	assert.Equal(t, first.Status, 200)
	again := e.Call(transporttest.AdminKey, "POST", "/agent/runs", body, "Idempotency-Key", "k1")
	assert.Equal(t, again.Problem()["run_id"], first.Problem()["run_id"])
	other := e.Call(transporttest.AdminKey, "POST", "/agent/runs", `{"prompt":"different"}`, "Idempotency-Key", "k1")
	checkProblem(t, other, 409, task.CodeConflict, true, "/api/v1/agent/runs")
}
