package rest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/rest"
)

func TestBadBodies(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true, Rest: rest.Options{MaxCreateBytes: 16 << 20}})
	for _, tt := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"empty", "", 400, "JSON object"},
		{"blank", "  \n", 400, "JSON object"},
		{"no object", `["x"]`, 400, "must be a JSON object"},
		{"null", `null`, 400, "must be a JSON object"},
		{"cut", "{\n  \"prompt\": \"x", 400, "line 2, column 14"},
		{"trailing", `{"prompt":"x"} {}`, 400, "line 1, column 16"},
		{"comma", `{"prompt":"x",}`, 400, "line 1, column 15"},
		{"wrong type", `{"prompt":7}`, 400, "prompt"},
		{"wrong type inside", `{"prompt":"x","config":{"idle_timeout_minutes":"ten"}}`, 400, "idle_timeout_minutes"},
		{"invalid UTF-8", "{\"prompt\":\"\xff\"}", 400, "not valid UTF-8 at line 1, column 12"},
		{"half a surrogate is mended by JSON", `{"prompt":"\ud800"}`, 200, ""},
		{"no prompt", `{}`, 400, "prompt"},
		{"NUL", `{"prompt":"a\u0000b"}`, 400, "prompt"},
		{"prompt of 10 MiB", `{"prompt":"` + strings.Repeat("x", 10<<20) + `"}`, 400, "prompt"},
		{"too large", `{"prompt":"` + strings.Repeat("x", 16<<20) + `"}`, 413, "16777216"},
		{"bad base64", `{"prompt":"x","attachments":[{"file_name":"a.png","mime_type":"image/png","data":"%%%"}]}`, 400, "base64"},
		{"unknown members are ignored", `{"prompt":"x","brand_new":{"a":[1]},"config":{"also_new":true}}`, 200, ""},
		{"nulls are absent", `{"prompt":"x","title":null,"config":{"credential_strategy":null,"mcp_servers":null,"memory_stores":null},"attachments":null}`, 200, ""},
		{"bad metadata", `{"prompt":"x","metadata":{"a b":"c"}}`, 400, "metadata"},
		{"idle out of range", `{"prompt":"x","config":{"idle_timeout_minutes":61}}`, 400, "idle_timeout_minutes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := e.Call(transporttest.AdminKey, "POST", "/agent/runs", tt.body)
			assert.Equal(t, a.Status, tt.status, "%.300s", a.Body)
			if tt.status == 200 {
				return
			}
			assert.Equal(t, a.Code(), task.CodeInvalidRequest)
			assert.Assert(t, strings.Contains(string(a.Body), tt.says), "%.300s does not say %q", a.Body, tt.says)
		})
	}
	a := e.Call(transporttest.AdminKey, "POST", "/agent/runs", "prompt=x", "Content-Type", "application/x-www-form-urlencoded")
	assert.Equal(t, a.Status, http.StatusUnsupportedMediaType)
	a = e.Call(transporttest.AdminKey, "POST", "/agent/runs", `{"prompt":"x"}`, "Content-Type", "application/json; charset=utf-8")
	assert.Equal(t, a.Status, 200)
}

// TestBodylessPosts sends what the official SDKs send: no body, an empty one
// that is called JSON, and one that must not be looked at.
func TestBodylessPosts(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	for _, body := range []any{nil, "", "not json"} {
		run, err := e.Platform.Submit(t.Context(), oz.Request{Prompt: "x"})
		assert.NilError(t, err)
		a := e.Call(transporttest.AdminKey, "POST", "/agent/runs/"+string(run.ID)+"/cancel", body)
		assert.Equal(t, a.Status, 200, "%s", a.Body)
		assert.Equal(t, string(a.Body), fmt.Sprintf("%q\n", run.ID))
		assert.Equal(t, a.Header.Get("Content-Type"), "application/json")
		for _, followUp := range []any{nil, "{}", `{"message":"go on"}`} {
			a = e.Call(transporttest.AdminKey, "POST", "/agent/runs/"+string(run.ID)+"/followups", followUp)
			assert.Equal(t, a.Status, 200, "%s", a.Body)
			assert.Equal(t, strings.TrimSpace(string(a.Body)), "{}")
		}
	}
}

// TestRetriedCreateIsOneRun sends what an SDK sends after a timeout: the same
// body, marked as a retry, without a key.
func TestRetriedCreateIsOneRun(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	create := func(key, body, count string) string {
		a := e.Call(key, "POST", "/agent/runs", body, "X-Stainless-Retry-Count", count)
		assert.Equal(t, a.Status, 200, "%s", a.Body)
		return a.Problem()["run_id"].(string)
	}
	first := create(transporttest.AdminKey, `{"prompt":"x"}`, "0")
	second := create(transporttest.AdminKey, `{"prompt":"x"}`, "0")
	assert.Assert(t, first != second, "two creates that are no retries are two runs")
	assert.Equal(t, create(transporttest.AdminKey, `{"prompt":"x"}`, "1"), second)
	assert.Equal(t, create(transporttest.AdminKey, `{"prompt":"x"}`, "2"), second)
	assert.Assert(t, create(transporttest.AdminKey, `{"prompt":"y"}`, "1") != second, "another body is another request")
	assert.Assert(t, create(e.Member, `{"prompt":"x"}`, "1") != second, "another caller is another request")
	// The retry may come to another replica, or to this one after a restart.
	other, err := rest.New(e.Platform, nil)
	assert.NilError(t, err)
	there := httptest.NewServer(other)
	defer there.Close()
	req, err := http.NewRequest(http.MethodPost, there.URL+"/api/v1/agent/runs", strings.NewReader(`{"prompt":"x"}`))
	assert.NilError(t, err)
	req.Header.Set("Authorization", "Bearer "+transporttest.AdminKey)
	req.Header.Set("X-Stainless-Retry-Count", "1")
	resp, err := http.DefaultClient.Do(req)
	assert.NilError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(string(answer), second), "%s", answer)

	a := e.Call(transporttest.AdminKey, "POST", "/agent/run", `{"prompt":"alias"}`)
	assert.Equal(t, a.Status, 200)
	assert.Equal(t, a.Problem()["task_id"], a.Problem()["run_id"])
	assert.Equal(t, a.Problem()["state"], "QUEUED")
}

// FuzzCreateBody sends anything as the body of a create. The platform refuses
// every request at the end, so that nothing piles up.
func FuzzCreateBody(f *testing.F) {
	for _, seed := range []string{
		`{"prompt":"x"}`, `{}`, `{"prompt":"x","team":false,"metadata":{"a":"b"}}`, "{\"prompt\":\"\xff\"}", `[`, `{"config":{"harness":{"type":"oz"}}}`,
		`{"prompt":"x","attachments":[{"file_name":"a.png","mime_type":"image/png","data":"aGk="}]}`, `{"prompt":1e999}`,
		`{"prompt":"x","config":{"mcp_servers":{"a":{"command":"x"},"b":null}}}`,
	} {
		f.Add([]byte(seed))
	}
	e := transporttest.Start(f, &transporttest.Options{Idle: true, Platform: oz.Options{Policy: refuseAll}})
	f.Fuzz(func(t *testing.T, body []byte) {
		a := e.CallIn(t, transporttest.AdminKey, "POST", "/agent/runs", body, "Content-Type", "application/json")
		assert.Assert(t, a.Status >= 400 && a.Status < 500, "%d %s", a.Status, a.Body)
		assert.Equal(t, a.Header.Get("Content-Type"), "application/problem+json")
		assert.Assert(t, a.Code().Known(), "%s", a.Body)
		assert.Assert(t, a.Code() != task.CodeInternal, "%s", a.Body)
	})
}
