package rest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/rest"
)

// TestHeadersOfEveryAnswer asks for what keeps a browser from harm.
func TestHeadersOfEveryAnswer(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	for _, tt := range []struct{ key, method, path string }{
		{transporttest.AdminKey, "GET", "/agent/runs"}, {"", "GET", "/agent/runs"}, {transporttest.AdminKey, "GET", "/nothing"}, {"", "GET", "/healthz"},
		{"", "GET", "/readyz"}, {transporttest.AdminKey, "PATCH", "/agent/runs"}, {"", "GET", "/api/v1/openapi.json"},
	} {
		a := e.Call(tt.key, tt.method, tt.path, nil)
		name := tt.method + " " + tt.path
		assert.Equal(t, a.Header.Get("X-Content-Type-Options"), "nosniff", name)
		assert.Equal(t, a.Header.Get("Cache-Control"), "no-store", name)
		assert.Equal(t, a.Header.Get("Referrer-Policy"), "no-referrer", name)
		assert.Assert(t, a.Header.Get("X-Request-Id") != "", name)
		assert.Equal(t, a.Header.Get("Access-Control-Allow-Origin"), "", name)
		assert.Equal(t, a.Header.Get("Server"), "", name)
	}
	for id, kept := range map[string]bool{"trace-1.a_B": true, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false, "a b": false, "ä": false, "": false} {
		a := e.Call(transporttest.AdminKey, "GET", "/agent/runs", nil, "X-Request-Id", id)
		assert.Equal(t, a.Header.Get("X-Request-Id") == id, kept, id)
	}
}

func TestCORS(t *testing.T) {
	const origin, foreign = "https://app.example.com", "https://evil.example.com"
	preflight := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization, content-type, X-Stainless-Lang, x-stainless-retry-count, x-stainless-bad header, X-Evil"}
	for name, tt := range map[string]struct {
		allowed []string
		origin  string
		want    string
	}{
		"anyone": {nil, origin, "*"}, "one of them": {[]string{origin}, origin, origin}, "another": {[]string{origin}, foreign, ""}, "nobody": {[]string{}, origin, ""},
		"a longer name": {[]string{origin}, origin + ".evil.com", ""}, "null": {[]string{origin}, "null", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := transporttest.Start(t, &transporttest.Options{Idle: true, Rest: rest.Options{CORSOrigins: tt.allowed}})
			a := e.Call("", "OPTIONS", "/agent/runs", nil, append(preflight, "Origin", tt.origin)...)
			assert.Equal(t, a.Status, http.StatusNoContent)
			assert.Equal(t, a.Header.Get("Access-Control-Allow-Origin"), tt.want)
			assert.Equal(t, a.Header.Get("Access-Control-Allow-Credentials"), "")
			allowed := strings.ToLower(a.Header.Get("Access-Control-Allow-Headers"))
			if tt.want != "" {
				for _, header := range []string{"authorization", "content-type", "idempotency-key", "last-event-id", "x-stainless-lang", "x-stainless-retry-count"} {
					assert.Assert(t, slices.Contains(strings.Split(allowed, ", "), header), "%s lacks %s", allowed, header)
				}
				assert.Assert(t, strings.Contains(a.Header.Get("Access-Control-Allow-Methods"), "POST"))
			}
			assert.Assert(t, !strings.Contains(allowed, "evil") && !strings.Contains(allowed, "bad header"), allowed)
			a = e.Call(transporttest.AdminKey, "GET", "/agent/runs", nil, "Origin", tt.origin)
			assert.Equal(t, a.Status, 200)
			assert.Equal(t, a.Header.Get("Access-Control-Allow-Origin"), tt.want)
			assert.Equal(t, strings.Contains(a.Header.Get("Access-Control-Expose-Headers"), "x-should-retry"), tt.want != "")
			a = e.Call("", "GET", "/agent/runs", nil, "Origin", tt.origin) // errors can be read, too
			assert.Equal(t, a.Status, 401)
			assert.Equal(t, a.Header.Get("Access-Control-Allow-Origin"), tt.want)
			if tt.allowed != nil {
				assert.Equal(t, a.Header.Get("Vary"), "Origin")
			}
		})
	}
}

// TestOddPaths asks that no spelling of a path reaches what another would not,
// and that a change is never turned into something else.
func TestOddPaths(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	for _, path := range []string{"/api/v1/agent/runs/../runs", "/api/v1//agent/runs", "/api/v1/agent/./runs", "/api/v1/agent/runs//cancel", "/api/v1/%2e%2e/healthz", "/api/v1/agent%2Fruns"} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			a := e.Call("", method, path, nil)
			assert.Assert(t, a.Status >= 300 && a.Status < 500, "%s %s: %d", method, path, a.Status)
			if a.Status < 400 && method != "GET" {
				assert.Assert(t, a.Status == 307 || a.Status == 308, "%s %s: %d makes a GET of it", method, path, a.Status)
			}
			if location := a.Header.Get("Location"); location != "" {
				assert.Assert(t, strings.HasPrefix(location, "/api/v1/") || strings.HasPrefix(location, "/healthz"), location)
			}
		}
	}
	for _, method := range []string{"TRACE", "CONNECT", "PROPFIND", "OPTIONS", "PUT"} {
		if method == "CONNECT" {
			continue // names a host, not a path
		}
		a := e.Call(transporttest.AdminKey, method, "/agent/runs", nil)
		assert.Equal(t, a.Status, 405, method)
		assert.Equal(t, a.Code(), task.CodeInvalidRequest)
		assert.Assert(t, strings.Contains(a.Header.Get("Allow"), "POST"), a.Header.Get("Allow"))
	}
	for header, status := range map[string]int{
		"": 401, "Bearer": 401, "Bearer ": 401, "bearer " + transporttest.AdminKey: 200, "BEARER " + transporttest.AdminKey: 200, "Basic " + transporttest.AdminKey: 401,
		"Bearer  " + transporttest.AdminKey: 401, transporttest.AdminKey: 401, "Bearer " + strings.Repeat("x", 32<<10): 401, "Bearer \xff\xfe": 401,
	} {
		a := e.Call("", "GET", "/agent/runs", nil, "Authorization", header)
		assert.Equal(t, a.Status, status, "%.40q", header)
	}
}

// TestStrangersSendNoBodies asks that the key is looked at before the body.
func TestStrangersSendNoBodies(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	// No larger than what net/http reads of a body that nobody wanted: beyond it the answer may be lost with the connection.
	for _, body := range []any{"{", strings.Repeat("x", 128<<10), []byte("x")} {
		assert.Equal(t, e.Call("", "POST", "/agent/runs", body).Status, 401)
		assert.Equal(t, e.Call("wrong", "PUT", "/oz/executions/current/uploads/x", body).Status, 401)
	}
}

// TestSecretsAreNeverShown makes a secret and looks for its values in every
// answer that any operation of the contract gives.
func TestSecretsAreNeverShown(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Platform: patient()})
	th, _ := makeThings(t, e)
	const first, second = "Vq7-first-9Kd2-mQzX", "Vq7-second-4Jf8-pLwR"
	admin := transporttest.AdminKey
	var answers []transporttest.Answer
	call := func(method, path string, body any, status int) {
		t.Helper()
		a := e.Call(admin, method, path, body)
		assert.Equal(t, a.Status, status, "%s", a.Body)
		answers = append(answers, a)
	}
	call("POST", "/oz/secrets", fmt.Sprintf(`{"name":"CANARY_TOKEN","value":%q,"description":"d"}`, first), 201)
	call("POST", "/oz/secrets", fmt.Sprintf(`{"name":"CANARY_TOKEN","value":%q}`, first), 409)
	call("POST", "/oz/secrets", fmt.Sprintf(`{"name":"bad name","value":%q}`, first), 400)
	call("POST", "/oz/secrets", fmt.Sprintf(`{"name":"OTHER","value":%q,"type":"odd"}`, first), 400)
	call("POST", "/oz/secrets", fmt.Sprintf(`{"name":"OTHER","value":%q`, first), 400)
	call("PUT", "/oz/secrets/CANARY_TOKEN", fmt.Sprintf(`{"value":%q}`, second), 200)
	call("PUT", "/oz/secrets/NOTHING", fmt.Sprintf(`{"value":%q}`, second), 404)
	call("PUT", "/oz/secrets/CANARY_TOKEN?team=perhaps", fmt.Sprintf(`{"value":%q}`, second), 400)
	for _, op := range operations(t) {
		if op.Method == http.MethodGet {
			answers = append(answers, e.Call(admin, op.Method, th.fill(op), nil))
		}
	}
	found := false
	for _, a := range answers {
		text := string(a.Body) + fmt.Sprint(a.Header)
		assert.Assert(t, !strings.Contains(text, first) && !strings.Contains(text, second), "%s", a.Body)
		found = found || strings.Contains(text, "CANARY_TOKEN")
	}
	assert.Assert(t, found)
	call("DELETE", "/oz/secrets/CANARY_TOKEN", nil, 204)
	call("DELETE", "/oz/secrets/CANARY_TOKEN", nil, 404)
}

func TestEnvironmentsOverHTTP(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	admin := transporttest.AdminKey
	type env struct {
		UID      string         `json:"uid"`
		Revision int64          `json:"revision"`
		Config   map[string]any `json:"config"`
		LastTask map[string]any `json:"last_task_created"`
	}
	make := func(name string) (made env) {
		a := e.Call(admin, "POST", "/oz/environments", fmt.Sprintf(`{"config":{"name":%q,"description":null,"github_repos":[{"owner":"acme","repo":"api"}],"new":1}}`, name))
		assert.Equal(t, a.Status, 201, "%s", a.Body)
		a.JSON(e, &made)
		assert.Equal(t, len(made.UID), 22)
		return made
	}
	b, a := make("b"), make("a")
	names := func(query string) (list []string) {
		var answer struct {
			Environments []env `json:"environments"`
		}
		got := e.Call(admin, "GET", "/agent/environments"+query, nil)
		assert.Equal(t, got.Status, 200, "%s", got.Body)
		got.JSON(e, &answer)
		for _, item := range answer.Environments {
			list = append(list, item.Config["name"].(string))
		}
		return list
	}
	assert.DeepEqual(t, names(""), []string{"a", "b"})
	assert.DeepEqual(t, names("?sort_by=name"), []string{"a", "b"})
	put := func(uid, body string) transporttest.Answer {
		return e.Call(admin, "PUT", "/oz/environments/"+uid, body)
	}
	assert.Equal(t, put(b.UID, `{"config":{"name":"c"}}`).Status, 200)
	assert.DeepEqual(t, names("?sort_by=last_updated"), []string{"c", "a"})
	assert.DeepEqual(t, names("?sort_by="), []string{"c", "a"})
	assert.Equal(t, e.Call(admin, "GET", "/agent/environments?sort_by=size", nil).Status, 400)
	stale := put(b.UID, fmt.Sprintf(`{"config":{"name":"d"},"revision":%d}`, b.Revision))
	assert.Equal(t, stale.Status, 409)
	assert.Equal(t, put("nothing", `{"config":{"name":"d"}}`).Status, 404)
	for _, bad := range []string{`{"config":{}}`, `{"config":{"name":""}}`, `{}`, `{"config":{"name":"x","github_repos":[{"owner":"a","repo":"../b"}]}}`, `{"config":[]}`} {
		got := e.Call(admin, "POST", "/oz/environments", bad)
		assert.Equal(t, got.Status, 400, "%s: %s", bad, got.Body)
	}
	// A run keeps its environment, also when that is deleted under it.
	run := e.Call(admin, "POST", "/agent/runs", fmt.Sprintf(`{"prompt":"x","config":{"environment_id":%q}}`, a.UID))
	assert.Equal(t, run.Status, 200, "%s", run.Body)
	var listed struct {
		Environments []env `json:"environments"`
	}
	e.Call(admin, "GET", "/agent/environments?sort_by=name", nil).JSON(e, &listed)
	assert.Equal(t, listed.Environments[0].LastTask["id"], run.Problem()["run_id"])
	assert.Equal(t, e.Call(e.Outsider, "DELETE", "/oz/environments/"+a.UID, nil).Status, 404)
	assert.Equal(t, e.Call(admin, "DELETE", "/oz/environments/"+a.UID, nil).Status, 204)
	assert.Equal(t, e.Call(admin, "GET", "/oz/environments/"+a.UID, nil).Status, 404)
	assert.Equal(t, e.Call(admin, "GET", "/agent/runs/"+run.Problem()["run_id"].(string), nil).Status, 200)
	assert.Equal(t, e.Call(admin, "POST", "/agent/runs", fmt.Sprintf(`{"prompt":"x","config":{"environment_id":%q}}`, a.UID)).Status, 404)
}
