package transporttest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// Answer is an HTTP answer, read whole.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Problem reads a problem document.
func (a Answer) Problem() map[string]any {
	var p map[string]any
	_ = json.Unmarshal(a.Body, &p)
	return p
}

// JSON decodes the answer into v.
func (a Answer) JSON(e *Env, v any) {
	e.t.Helper()
	assert.NilError(e.t, json.Unmarshal(a.Body, v), "body: %s", a.Body)
}

// Code is the error code of a problem, "" for another body.
func (a Answer) Code() task.Code {
	code, _ := a.Problem()["error_code"].(string)
	return task.Code(code)
}

// Call sends a request; headers are pairs of name and value. key "" sends no
// Authorization. Redirects are not followed. body may be nil, a string, bytes
// or a value to send as JSON.
func (e *Env) Call(key, method, path string, body any, headers ...string) Answer {
	e.t.Helper()
	return e.CallIn(e.t, key, method, path, body, headers...)
}

// CallIn is Call for a test within the one that e was started for.
func (e *Env) CallIn(t testing.TB, key, method, path string, body any, headers ...string) Answer {
	t.Helper()
	var r io.Reader = http.NoBody
	contentType := ""
	switch b := body.(type) {
	case nil:
	case string:
		r, contentType = strings.NewReader(b), "application/json"
	case []byte:
		r, contentType = bytes.NewReader(b), "application/octet-stream"
	default:
		data, err := json.Marshal(b)
		assert.NilError(t, err)
		r, contentType = bytes.NewReader(data), "application/json"
	}
	if strings.HasPrefix(path, "/agent") || strings.HasPrefix(path, "/oz/") {
		path = "/api/v1" + path
	}
	req, err := http.NewRequest(method, e.URL+path, r)
	assert.NilError(t, err)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	assert.NilError(t, err)
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	assert.NilError(t, err)
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: data}
}
