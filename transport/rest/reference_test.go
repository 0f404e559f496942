package rest_test

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/rest"
)

// TestReferencePage: every operation and schema of the contract is on the page
// with its path, action and links that lead somewhere, and nothing on it is run
// or loaded.
func TestReferencePage(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true, Rest: rest.Options{Prefix: "/base/v7"}})
	a := e.Call("", http.MethodGet, "/base/v7/reference", nil)
	assert.Equal(t, a.Status, http.StatusOK)
	assert.Equal(t, a.Header.Get("Content-Type"), "text/html; charset=utf-8")
	policy := a.Header.Get("Content-Security-Policy")
	assert.Assert(t, strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-"), policy)
	assert.Assert(t, !strings.Contains(policy, "unsafe"), policy)
	page := string(a.Body)
	for _, op := range operations(t) {
		path := "/base/v7" + op.Path
		if op.Outside {
			path = op.Path
		}
		assert.Assert(t, strings.Contains(page, `<article id="`+op.ID+`"><h3><span class="method">`+op.Method+`</span> <code>`+path+`</code>`), "%s %s", op.Method, path)
	}
	assert.Assert(t, strings.Contains(page, "Access: <code>run.create</code>"))
	for _, never := range []string{"<script", "javascript:", "onload=", "src=", "<link", "<img", "<iframe"} {
		assert.Assert(t, !strings.Contains(page, never), never)
	}
	ids := regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(page, -1)
	var known []string
	for _, m := range ids {
		assert.Assert(t, !slices.Contains(known, m[1]), "two things are called %s", m[1])
		known = append(known, m[1])
	}
	for _, m := range regexp.MustCompile(` href="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		anchor, inside := strings.CutPrefix(m[1], "#")
		assert.Assert(t, inside && slices.Contains(known, anchor) || m[1] == "/base/v7/openapi.json", "%s leads nowhere", m[1])
	}
	wellFormed(t, page)
}

// wellFormed asks that all tags are closed in order.
func wellFormed(t *testing.T, page string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Entity = xml.HTMLEntity
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		assert.NilError(t, err)
	}
}
