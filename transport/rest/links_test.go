package rest_test

import (
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/rest"
)

// handClock is set by hand; waiting is the machine's.
type handClock struct {
	task.Clock
	mu    sync.Mutex
	ahead time.Duration
}

// Now implements task.Clock.
func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Clock.Now().Add(c.ahead)
}

func (c *handClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// localPart is a link's path and query, for a call without the server's address.
func localPart(t *testing.T, link string) (string, url.Values) {
	t.Helper()
	u, err := url.Parse(link)
	assert.NilError(t, err)
	return u.EscapedPath(), u.Query()
}

// TestTranscriptLinks follows the redirect without a key, and tries what a
// stranger might make of the link.
func TestTranscriptLinks(t *testing.T) {
	clock := &handClock{Clock: task.SystemClock()}
	e := transporttest.Start(t, &transporttest.Options{Platform: patient(), Rest: rest.Options{Clock: clock, LinkLifetime: time.Minute}})
	id, link := begin(t, e)
	assert.NilError(t, link.Append(t.Context(), 0, []task.Event{{Payload: &task.Message{ID: "m", Text: "mended <script>"}}}))
	other, _ := begin(t, e)
	base := "/agent/runs/" + string(id) + "/transcript"
	for _, tt := range []struct{ query, media, says string }{
		{"", "application/x-ndjson; charset=utf-8", `"type":"message"`}, {"?format=", "application/x-ndjson; charset=utf-8", `"type":"message"`},
		{"?format=jsonl", "application/x-ndjson; charset=utf-8", `"type":"message"`}, {"?format=markdown", "text/markdown; charset=utf-8", "mended"},
	} {
		a := e.Call(transporttest.AdminKey, "GET", base+tt.query, nil)
		assert.Equal(t, a.Status, 302, "%s", a.Body)
		assert.Equal(t, len(a.Body), 0)
		location := a.Header.Get("Location")
		assert.Assert(t, strings.HasPrefix(location, e.URL+"/api/v1/oz/downloads/"), location)
		path, query := localPart(t, location)
		got := e.Call("", "GET", path+"?"+query.Encode(), nil)
		assert.Equal(t, got.Status, 200, "%s", got.Body)
		assert.Equal(t, got.Header.Get("Content-Type"), tt.media)
		assert.Equal(t, got.Header.Get("Content-Security-Policy"), "sandbox; default-src 'none'")
		assert.Assert(t, strings.Contains(string(got.Body), tt.says), "%s", got.Body)
		assert.Equal(t, e.Call("", "HEAD", path+"?"+query.Encode(), nil).Status, 200)
	}
	path, query := localPart(t, e.Call(transporttest.AdminKey, "GET", base, nil).Header.Get("Location"))
	with := func(change func(url.Values)) url.Values {
		q := url.Values{}
		for k, v := range query {
			q[k] = append([]string(nil), v...)
		}
		change(q)
		return q
	}
	signature := query.Get("signature")
	for name, tt := range map[string]struct {
		path   string
		query  url.Values
		status int
	}{
		"another run":        {strings.Replace(path, string(id), string(other), 1), query, 403},
		"no run":             {strings.Replace(path, string(id), "nothing", 1), query, 403},
		"an artifact":        {"/api/v1/oz/downloads/artifacts/" + string(id), query, 403},
		"another format":     {path, with(func(q url.Values) { q.Set("format", "markdown") }), 403},
		"bad format":         {path, with(func(q url.Values) { q.Set("format", "pdf") }), 400},
		"later":              {path, with(func(q url.Values) { q.Set("expires", "99999999999") }), 403},
		"negative":           {path, with(func(q url.Values) { q.Set("expires", "-1") }), 403},
		"no number":          {path, with(func(q url.Values) { q.Set("expires", "soon") }), 400},
		"no expiry":          {path, with(func(q url.Values) { q.Del("expires") }), 400},
		"no signature":       {path, with(func(q url.Values) { q.Del("signature") }), 400},
		"empty signature":    {path, with(func(q url.Values) { q.Set("signature", "") }), 400},
		"shorter signature":  {path, with(func(q url.Values) { q.Set("signature", signature[:len(signature)-1]) }), 403},
		"longer signature":   {path, with(func(q url.Values) { q.Set("signature", signature+"A") }), 403},
		"changed signature":  {path, with(func(q url.Values) { q.Set("signature", "A"+signature[1:]) }), 403},
		"padded signature":   {path, with(func(q url.Values) { q.Set("signature", signature+"=") }), 403},
		"swapped characters": {path, with(func(q url.Values) { q.Set("signature", strings.ToUpper(signature)) }), 403},
	} {
		if name == "changed signature" && signature[0] == 'A' {
			continue // would be the same
		}
		a := e.Call("", "GET", tt.path+"?"+tt.query.Encode(), nil)
		assert.Equal(t, a.Status, tt.status, "%s: %s", name, a.Body)
		assert.Equal(t, a.Header.Get("Content-Type"), "application/problem+json", name)
		assert.Assert(t, !strings.Contains(string(a.Body), signature), name)
		assert.Assert(t, !strings.Contains(string(a.Body), "mended"), name)
	}
	clock.advance(40 * time.Second)
	assert.Equal(t, e.Call("", "GET", path+"?"+query.Encode(), nil).Status, 200)
	clock.advance(21 * time.Second)
	a := e.Call("", "GET", path+"?"+query.Encode(), nil)
	assert.Equal(t, a.Status, 403)
	assert.Assert(t, strings.Contains(string(a.Body), "expired"), "%s", a.Body)
	a = e.Call(transporttest.AdminKey, "GET", path+"?"+query.Encode(), nil)
	assert.Equal(t, a.Status, 403, "a key does not mend a link")

	assert.Equal(t, e.Call(transporttest.AdminKey, "GET", base+"?format=pdf", nil).Status, 400)
	assert.Equal(t, e.Call(transporttest.AdminKey, "GET", "/agent/runs/nothing/transcript", nil).Status, 404)
	assert.Equal(t, e.Call(e.Outsider, "GET", base, nil).Status, 404)
	assert.Equal(t, e.Call(e.Member, "GET", base, nil).Status, 302)
	assert.Equal(t, e.Call("", "GET", base, nil).Status, 401)
}

// TestLinksOfReplicas asks that servers which share a key serve each other's
// links, and that others do not; and that links lead where people reach it.
func TestLinksOfReplicas(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	public := patient()
	public.PublicURL = "https://example.com/oz/"
	e := transporttest.Start(t, &transporttest.Options{Platform: public, Rest: rest.Options{SigningKey: key}})
	id, link := begin(t, e)
	blob, size, err := link.Upload(t.Context(), "a-1", strings.NewReader("<svg onload=alert(1)>"))
	assert.NilError(t, err)
	report := func(n int64, a task.Artifact) {
		a.Blob, a.SizeBytes = blob, size
		assert.NilError(t, link.Append(t.Context(), n, []task.Event{{Payload: &task.ArtifactReported{Artifact: a}}}))
	}
	report(0, task.Artifact{UID: "a-1", Type: task.ArtifactFile, Path: "out/a \"b\".svg", MIMEType: "image/svg+xml"})
	location := e.Call(transporttest.AdminKey, "GET", "/agent/runs/"+string(id)+"/transcript", nil).Header.Get("Location")
	assert.Assert(t, strings.HasPrefix(location, "https://example.com/oz/api/v1/oz/downloads/transcripts/"), location)

	var artifact struct {
		Data struct {
			DownloadURL string    `json:"download_url"`
			ExpiresAt   time.Time `json:"expires_at"`
		} `json:"data"`
	}
	e.Call(transporttest.AdminKey, "GET", "/agent/artifacts/a-1", nil).JSON(e, &artifact)
	assert.Assert(t, time.Until(artifact.Data.ExpiresAt) > 14*time.Minute)
	path, query := localPart(t, strings.Replace(artifact.Data.DownloadURL, "https://example.com/oz", e.URL, 1))
	got := e.Call("", "GET", path+"?"+query.Encode(), nil)
	assert.Equal(t, got.Status, 200)
	assert.Equal(t, string(got.Body), "<svg onload=alert(1)>")
	assert.Assert(t, strings.HasPrefix(got.Header.Get("Content-Disposition"), "attachment"), "what an agent made is never shown as a page: %s", got.Header)
	assert.Equal(t, got.Header.Get("Content-Security-Policy"), "sandbox; default-src 'none'")
	assert.Equal(t, got.Header.Get("X-Content-Type-Options"), "nosniff")
	part := e.Call("", "GET", path+"?"+query.Encode(), nil, "Range", "bytes=1-3")
	assert.Equal(t, part.Status, 206)
	assert.Equal(t, string(part.Body), "svg")

	for _, tt := range []struct {
		key    []byte
		status int
	}{{key, 200}, {[]byte("another key, also of 32 bytes ..."), 403}, {nil, 403}} {
		replica, err := rest.New(e.Platform, &rest.Options{SigningKey: tt.key})
		assert.NilError(t, err)
		server := serve(t, replica)
		a := e.Call("", "GET", path+"?"+query.Encode(), nil)
		assert.Equal(t, a.Status, 200)
		assert.Equal(t, status(t, server+path+"?"+query.Encode()), tt.status)
	}
	_, err = rest.New(e.Platform, &rest.Options{SigningKey: key[:31]})
	assert.ErrorIs(t, err, task.ErrInvalid)
}

func TestConversationAnswers(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Platform: patient()})
	id, link := begin(t, e)
	assert.NilError(t, link.Append(t.Context(), 0, []task.Event{
		{Payload: &task.Message{ID: "m", Text: "I look at it."}},
		{Payload: &task.ToolCall{ID: "c", Name: "run_command", Category: task.ToolCategory("command"), Input: []byte(`{"command":"go test"}`)}},
	}))
	by := e.Call(transporttest.AdminKey, "GET", "/agent/runs/"+string(id)+"/conversation", nil)
	assert.Equal(t, by.Status, 200, "%s", by.Body)
	assert.Equal(t, by.Header.Get("Content-Type"), "application/json")
	for _, says := range []string{"I look at it.", `"run_command"`, `"conversation_id"`} {
		assert.Assert(t, strings.Contains(string(by.Body), says), "%s lacks %s", by.Body, says)
	}
	same := e.Call(transporttest.AdminKey, "GET", "/agent/conversations/"+string(id), nil)
	assert.Equal(t, string(same.Body), string(by.Body))
	for _, path := range []string{"/agent/runs/nothing/conversation", "/agent/conversations/nothing"} {
		assert.Equal(t, e.Call(transporttest.AdminKey, "GET", path, nil).Status, 404)
	}
	assert.Equal(t, e.Call(e.Outsider, "GET", "/agent/conversations/"+string(id), nil).Status, 404)
	assert.Equal(t, e.Call("", "GET", "/agent/conversations/"+string(id), nil).Status, 401)
}
