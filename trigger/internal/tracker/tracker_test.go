package tracker

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

func TestFileKeepsTheNewestComments(t *testing.T) {
	i := Issue{Key: "A-1", Title: "a\nb", Text: strings.Repeat("x", 200<<10), Labels: []string{"l"}}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for n := range 40 {
		i.Comments = append(i.Comments, Comment{Author: "u", At: start.Add(time.Duration(n) * time.Hour), Text: fmt.Sprintf("comment %d. %s", n, strings.Repeat("y", 20<<10))})
	}
	file := string(i.File().Data)
	assert.Assert(t, len(file) < 450<<10, "%d", len(file))
	assert.Assert(t, strings.HasPrefix(file, "# A-1: a b\n"))
	assert.Assert(t, strings.Contains(file, "comment 39.") && !strings.Contains(file, "comment 3."))
	assert.Assert(t, strings.Contains(file, "older comments are left out"))
	assert.Assert(t, strings.Index(file, "comment 38.") < strings.Index(file, "comment 39."))
}

func TestFailedCalls(t *testing.T) {
	for _, c := range []struct {
		status int
		after  string
		later  time.Duration
		giveUp bool
		code   task.Code // of the plan; internal errors are tried again
	}{
		{429, "7", 7 * time.Second, false, task.CodeInternal}, {429, "", 0, false, task.CodeInternal}, {503, "2", 2 * time.Second, false, task.CodeInternal}, {500, "", 0, false, task.CodeInternal}, {408, "", 0, false, task.CodeInternal},
		{429, "99999999", 24 * time.Hour, false, task.CodeInternal}, {429, "-3", 0, false, task.CodeInternal}, {429, "soon", 0, false, task.CodeInternal},
		{401, "", 0, false, task.CodeIntegrationNotConfigured}, {403, "", 0, false, task.CodeIntegrationNotConfigured},
		{404, "", 0, true, task.CodeNotFound}, {400, "", 0, true, task.CodeOperationNotSupported}, {302, "", 0, true, task.CodeOperationNotSupported},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c.after != "" {
				w.Header().Set("Retry-After", c.after)
			}
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(c.status)
		}))
		err := NewCaller(nil, nil).Do(t.Context(), http.MethodGet, server.URL, nil, nil, nil)
		server.Close()
		var status *StatusError
		assert.Assert(t, errors.As(err, &status), "%v", err)
		assert.Equal(t, status.Status, c.status)
		var later *trigger.Later
		if errors.As(ForSend(err), &later) {
			assert.Equal(t, later.After, c.later)
		} else {
			assert.Equal(t, c.later, time.Duration(0), "%d", c.status)
		}
		var giveUp *trigger.GiveUp
		assert.Equal(t, errors.As(ForSend(err), &giveUp), c.giveUp, "%d", c.status)
		assert.Equal(t, task.CodeOf(ForPlan("It", err)), c.code, "%d", c.status)
	}
}

func TestTell(t *testing.T) {
	run := task.Task{ID: "r", Artifacts: []task.Artifact{{Type: task.ArtifactPullRequest, URL: "https://forge/1"}, {Type: task.ArtifactPlan, URL: "x"}}}
	run.RunTime = 90 * time.Second
	run.Status = task.Status{Message: "m", ErrorCode: task.CodeNotFound}
	for signal, want := range map[task.SignalType]string{
		task.SignalSucceeded:  "m\n\nTook 1m30s.\n\nPull request: https://forge/1\n\n[Open the run](page)",
		task.SignalErrored:    "m (`resource_not_found`)\n\nTook 1m30s.\n\nPull request: https://forge/1\n\n[Open the run](page)",
		task.SignalInProgress: "The agent has begun.\n\n[Open the run](page)",
		task.SignalNewMessage: "",
	} {
		a, ok := Tell(trigger.News{Type: trigger.NewsSignal, Task: run, Signal: task.Signal{Type: signal}}, "page")
		assert.Equal(t, ok, want != "")
		if ok {
			assert.Equal(t, a.Markdown(), want)
		}
	}
}
