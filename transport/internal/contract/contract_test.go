package contract_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/contract"
)

func TestCheck(t *testing.T) {
	c, err := contract.New(t.Context(), api.OpenAPI(), "/api/v1")
	assert.NilError(t, err)
	const problem = `{"type":"x/y","title":"T","status":404,"error":"T"}`
	for name, tc := range map[string]struct {
		path, media string
		status      int
		body        string
		want        string // part of the difference; "" for none
	}{
		"good":              {"/agent/environments", "application/json", 200, `{"environments":[]}`, ""},
		"problem":           {"/agent/environments", "application/problem+json", 403, problem, ""},
		"missing member":    {"/agent/environments", "application/json", 200, `{}`, "environments"},
		"null list":         {"/agent/environments", "application/json", 200, `{"environments":null}`, "environments"},
		"wrong type":        {"/agent/environments", "application/json", 200, `{"environments":[{"uid":7}]}`, "uid"},
		"member unknown":    {"/agent/environments", "application/json", 200, `{"environments":[],"more":1}`, "more"},
		"deep unknown":      {"/agent/models", "application/json", 200, `{"default_model_id":"m","models":[{"id":"a","display_name":"A","provider":"OPENAI","vision_supported":true,"price":1}]}`, "price"},
		"enum":              {"/agent/models", "application/json", 200, `{"default_model_id":"m","models":[{"id":"a","display_name":"A","provider":"ACME","vision_supported":true}]}`, "provider"},
		"html":              {"/agent/environments", "text/html", 200, `<html>`, "Content-Type"},
		"problem of others": {"/agent/nothing", "application/problem+json", 404, `{"title":"T"}`, "type"},
		"unrouted":          {"/agent/nothing", "application/problem+json", 404, problem, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/api/v1"+tc.path, nil)
			err := c.Check(r, tc.status, http.Header{"Content-Type": {tc.media}}, []byte(tc.body))
			if tc.want == "" {
				assert.NilError(t, err)
				return
			}
			assert.ErrorContains(t, err, tc.want)
		})
	}
}

func TestHandler(t *testing.T) {
	c, err := contract.New(t.Context(), api.OpenAPI(), "/api/v1")
	assert.NilError(t, err)
	var found []string
	server := httptest.NewServer(c.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"models":[]}`))
	}), func(err error) { found = append(found, err.Error()) }))
	resp, err := http.Get(server.URL + "/api/v1/agent/models")
	assert.NilError(t, err)
	assert.NilError(t, resp.Body.Close())
	server.Close() // the handler has returned
	assert.Equal(t, len(found), 1)
	assert.Assert(t, strings.Contains(found[0], "default_model_id"), found[0])
}
