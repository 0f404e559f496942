package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// report uploads a file and reports it as an artifact.
func report(t *testing.T, link *client.Link, offset int64, a task.Artifact, content string) {
	t.Helper()
	var err error
	a.Blob, a.SizeBytes, err = link.Upload(t.Context(), a.UID, strings.NewReader(content))
	assert.NilError(t, err)
	assert.NilError(t, link.Append(t.Context(), offset, []task.Event{{Payload: &task.ArtifactReported{Artifact: a}}}))
}

func TestArtifactsAndDownloads(t *testing.T) {
	e := transporttest.Start(t, patient())
	ctx, c := t.Context(), connect(t, e.URL)
	_, link := begin(t, e)
	big := strings.Repeat("0123456789abcdef", 1<<16)
	report(t, link, 0, task.Artifact{UID: "file-1", Type: task.ArtifactFile, Path: "out/log.txt", MIMEType: "text/plain", Title: "the log", Description: "all of it"}, big)
	report(t, link, 1, task.Artifact{UID: "plan-1", Type: task.ArtifactPlan, Title: "the plan"}, "# Plan\n")
	report(t, link, 2, task.Artifact{UID: "shot-1", Type: task.ArtifactScreenshot, MIMEType: "image/png"}, "\x89PNG")
	assert.NilError(t, link.Append(ctx, 3, []task.Event{{Payload: &task.ArtifactReported{Artifact: task.Artifact{UID: "pr-1",
		Type: task.ArtifactPullRequest, URL: "https://example.com/1", Branch: "fix"}}}}))

	file, err := c.Artifact(ctx, "file-1")
	assert.NilError(t, err)
	assert.Equal(t, file.Name, "log.txt")
	assert.Equal(t, file.Path, "out/log.txt")
	assert.Equal(t, file.Title, "the log")
	assert.Equal(t, file.Description, "all of it")
	assert.Equal(t, file.Type, task.ArtifactFile)
	assert.Equal(t, file.ContentType, "text/plain")
	assert.Assert(t, file.ExpiresAt.After(time.Now()))
	assert.Assert(t, !file.CreatedAt.IsZero())
	plan, err := c.Artifact(ctx, "plan-1")
	assert.NilError(t, err)
	assert.Equal(t, plan.Content, "# Plan\n")
	for uid, want := range map[string]string{"file-1": big, "plan-1": "# Plan\n", "shot-1": "\x89PNG"} {
		var got bytes.Buffer
		assert.NilError(t, c.Download(ctx, uid, &got))
		assert.Assert(t, got.String() == want, uid)
	}
	for _, uid := range []string{"pr-1", "nothing"} {
		assert.ErrorIs(t, c.Download(ctx, uid, io.Discard), task.ErrNotFound)
	}
	assert.ErrorContains(t, c.Download(ctx, "file-1", full{}), "no space")
}

// full is a disk without space.
type full struct{}

// Write implements io.Writer.
func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestTranscripts(t *testing.T) {
	e := transporttest.Start(t, patient())
	ctx, c := t.Context(), connect(t, e.URL)
	id, link := begin(t, e)
	assert.NilError(t, link.Append(ctx, 0, []task.Event{{Payload: &task.Message{ID: "m", Text: "mended"}}}))
	for _, format := range []string{"", "jsonl", "markdown"} {
		var want, got bytes.Buffer
		assert.NilError(t, local(e).Transcript(ctx, id, &want, oz.TranscriptFormat(format)))
		assert.NilError(t, c.Transcript(ctx, id, &got, format))
		assert.Equal(t, got.String(), want.String())
		assert.Assert(t, strings.Contains(got.String(), "mended"))
	}
	assert.ErrorIs(t, c.Transcript(ctx, id, io.Discard, "pdf"), task.ErrInvalid)
	assert.ErrorIs(t, c.Transcript(ctx, "nothing", io.Discard, ""), task.ErrNotFound)

	// A transcript is sought again while the server cannot serve it.
	p := transporttest.StartProxy(t, e.URL, func(n int, _ *http.Request) transporttest.Fault {
		return only(transporttest.Fault{Status: 503})(n)
	})
	assert.NilError(t, connect(t, p.URL).Transcript(ctx, id, io.Discard, ""))
}

// TestTransfersThatBreakOff asks that a file is whole or an error.
func TestTransfersThatBreakOff(t *testing.T) {
	e := transporttest.Start(t, patient())
	_, link := begin(t, e)
	report(t, link, 0, task.Artifact{UID: "file-1", Type: task.ArtifactFile, Path: "a"}, strings.Repeat("x", 1<<16))
	for name, fault := range map[string]transporttest.Fault{"cut": {CutAfter: 1000}, "silent": {CutAfter: 1000, Hold: true}} {
		t.Run(name, func(t *testing.T) {
			p := transporttest.StartProxy(t, e.URL, func(_ int, r *http.Request) transporttest.Fault {
				if strings.Contains(r.URL.Path, "/downloads/") {
					return fault
				}
				return pass
			})
			c := with(t, p.URL, client.Options{APIKey: transporttest.AdminKey, StreamIdle: 200 * time.Millisecond})
			var got bytes.Buffer
			err := c.Download(t.Context(), "file-1", &got)
			assert.Assert(t, err != nil)
			assert.Equal(t, got.Len(), 1000)
			if name == "silent" {
				assert.Equal(t, task.CodeOf(err), task.CodeResourceUnavailable)
				assert.ErrorContains(t, err, "silent")
			}
			assert.Assert(t, !strings.Contains(err.Error(), "signature"), "%v", err)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			assert.ErrorIs(t, c.Download(ctx, "file-1", io.Discard), context.Canceled)
		})
	}
}

// site is a server of a test's own, which counts what reaches it and under
// which key.
type site struct {
	*httptest.Server
	hits, keys atomic.Int64
}

func newSite(t *testing.T, start func(http.Handler) *httptest.Server, h http.HandlerFunc) *site {
	s := &site{}
	s.Server = start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		if r.Header.Get("Authorization") != "" || r.Header.Get("Referer") != "" {
			s.keys.Add(1)
		}
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// TestRedirects follows reads, without the key to another origin, and never
// changes.
func TestRedirects(t *testing.T) {
	other := newSite(t, httptest.NewServer, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"run_id":"r-1","task_id":"r-1","state":"QUEUED"}`)
	})
	target := other.URL + "/elsewhere?signature=hunter2"
	for _, status := range []int{301, 302, 303, 307, 308} {
		first := newSite(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target, status) })
		c := connect(t, first.URL)
		other.hits.Store(0)
		run, err := c.Get(t.Context(), "r-1")
		assert.NilError(t, err)
		assert.Equal(t, run.ID, task.ID("r-1"))
		assert.Equal(t, other.hits.Load(), int64(1))
		assert.Equal(t, first.keys.Load(), int64(1))
		assert.Equal(t, other.keys.Load(), int64(0), "the key went to another origin")

		other.hits.Store(0)
		for name, change := range map[string]func() error{
			"submit":    func() error { _, err := c.Submit(t.Context(), oz.Request{Prompt: "x"}); return err },
			"follow-up": func() error { return c.FollowUp(t.Context(), "r-1", oz.Message{Text: "x"}) },
			"secret": func() error {
				_, err := c.CreateSecret(t.Context(), oz.SecretInput{Name: "X_Y", Value: "k3J9-xQ2m-Zp7v"})
				return err
			},
			"delete": func() error { return c.DeleteEnvironment(t.Context(), "x") },
		} {
			err := change()
			assert.ErrorIs(t, err, task.ErrInvalid, "%d %s", status, name)
			assert.ErrorContains(t, err, other.URL+"/elsewhere")
			assert.Assert(t, !strings.Contains(err.Error(), "hunter2"), "%v", err)
		}
		assert.Equal(t, other.hits.Load(), int64(0), "a change was sent on")
	}

	endless := newSite(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) })
	_, err := with(t, endless.URL, client.Options{MaxRetries: -1}).Get(t.Context(), "r-1")
	assert.ErrorContains(t, err, "without end")

	secure := newSite(t, httptest.NewTLSServer, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target, http.StatusFound) })
	other.hits.Store(0)
	_, err = with(t, secure.URL, client.Options{APIKey: "k", HTTPClient: secure.Client(), MaxRetries: -1}).Get(t.Context(), "r-1")
	assert.ErrorContains(t, err, "https")
	assert.Equal(t, other.hits.Load(), int64(0))

	// A redirect within the server keeps the key.
	home := newSite(t, httptest.NewServer, nil)
	home.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/moved" {
			http.Redirect(w, r, "/moved", http.StatusTemporaryRedirect)
			return
		}
		assert.Check(t, r.Header.Get("Authorization") == "Bearer "+transporttest.AdminKey)
		_, _ = io.WriteString(w, `{"run_id":"r-1"}`)
	})
	_, err = connect(t, home.URL).Get(t.Context(), "r-1")
	assert.NilError(t, err)

	// The caller's own client may refuse more.
	first := newSite(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target, http.StatusFound) })
	strict := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("no redirects here") }}
	_, err = with(t, first.URL, client.Options{HTTPClient: strict, MaxRetries: -1}).Get(t.Context(), "r-1")
	assert.ErrorContains(t, err, "no redirects here")
}

// TestOddAnswers reads what is no answer of an Oz API.
func TestOddAnswers(t *testing.T) {
	var status int
	var body string
	s := newSite(t, httptest.NewServer, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
	c := with(t, s.URL, client.Options{MaxRetries: -1})
	for _, tt := range []struct {
		status int
		body   string
		code   task.Code
		says   string
	}{
		{200, "<html>", task.CodeInternal, "answer"},
		{200, "", task.CodeInternal, "answer"},
		{404, "<html>", task.CodeNotFound, "404"},
		{418, `{"error":{"code":7}}`, task.CodeInvalidRequest, "418"},
		{503, `{"error":"no"}`, task.CodeResourceUnavailable, "no"},
		{403, `{"type":"https://docs.warp.dev/errors/budget-exceeded/","title":"Budget exceeded","status":403}`, task.CodeBudgetExceeded, "Budget exceeded"},
		{500, `{"error":"x","detail":"` + strings.Repeat("y", 1<<20) + `"}`, task.CodeInternal, ""},
		{400, `{"error":"x","detail":"` + strings.Repeat("y", 1<<19) + `"}`, task.CodeInvalidRequest, "yyy"},
	} {
		status, body = tt.status, tt.body
		_, err := c.Get(t.Context(), "x")
		assert.ErrorContains(t, err, tt.says)
		assert.Equal(t, task.CodeOf(err), tt.code, "%.300v", err)
		assert.Assert(t, len(err.Error()) < 16<<10)
	}
}

// TestEndlessAnswer asks that a server cannot fill the client's memory.
func TestEndlessAnswer(t *testing.T) {
	chunk := bytes.Repeat([]byte(" "), 64<<10)
	s := newSite(t, httptest.NewServer, func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	_, err := with(t, s.URL, client.Options{MaxAnswerBytes: 1 << 20}).Get(t.Context(), "x")
	assert.ErrorContains(t, err, "MaxAnswerBytes")
	assert.Equal(t, s.hits.Load(), int64(1), "asking again gives the same")
}

// TestPrefix reaches an API that is not at /api/v1.
func TestPrefix(t *testing.T) {
	var got *url.URL
	s := newSite(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) {
		got = r.URL
		_, _ = io.WriteString(w, `{"run_id":"a/b"}`)
	})
	run, err := connect(t, s.URL+"/oz/v2/").Get(t.Context(), "a/b c")
	assert.NilError(t, err)
	assert.Equal(t, run.ID, task.ID("a/b"))
	assert.Equal(t, got.EscapedPath(), "/oz/v2/agent/runs/a%2Fb%20c")
}
