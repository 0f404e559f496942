package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/client"
)

// waiter is a server that may wait for its database.
type waiter struct {
	t      *testing.T
	url    string
	cmd    *exec.Cmd
	out    *servertest.Buffer
	exited chan struct{}
}

func startWaiter(t *testing.T, store, wait string) *waiter {
	t.Helper()
	address := servertest.FreeAddress(t)
	w := &waiter{t: t, url: "http://" + address, out: &servertest.Buffer{}, exited: make(chan struct{}),
		cmd: exec.Command(program, "--listen", address, "--data", t.TempDir(), "--store-wait", wait)}
	w.cmd.Env = servertest.Environ("OZ_STORE="+store, "OZ_BOOTSTRAP_API_KEY="+servertest.APIKey)
	w.cmd.Stdout, w.cmd.Stderr = w.out, w.out
	assert.NilError(t, w.cmd.Start())
	go func() { _ = w.cmd.Wait(); close(w.exited) }()
	t.Cleanup(func() { _ = w.cmd.Process.Kill(); <-w.exited })
	return w
}

// until returns once ok holds of the answer to a health check.
func (w *waiter) until(what string, ok func(*http.Response) bool) {
	w.t.Helper()
	for deadline := time.Now().Add(servertest.Patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		resp, err := http.Get(w.url + "/healthz")
		if err != nil {
			continue // it does not listen yet
		}
		good := ok(resp)
		_ = resp.Body.Close()
		if good {
			return
		}
	}
	w.t.Fatalf("waited in vain for %s:\n%s", what, w.out)
}

// code waits for the end and gives the exit code.
func (w *waiter) code() int {
	w.t.Helper()
	select {
	case <-w.exited:
	case <-time.After(servertest.Patience):
		w.t.Fatalf("it did not end:\n%s", w.out)
	}
	return w.cmd.ProcessState.ExitCode()
}

// refusing reports an answer that tells to try again.
func refusing(resp *http.Response) bool {
	var p api.Problem
	return resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "" &&
		json.NewDecoder(resp.Body).Decode(&p) == nil && p.ErrorCode == api.ErrorCode(task.CodeResourceUnavailable) && *p.Retryable
}

func healthy(resp *http.Response) bool { return resp.StatusCode == http.StatusOK }

// TestStartWaitsForTheDatabase: a server whose database is away says so, tells
// clients to come back, and serves once it is there.
func TestStartWaitsForTheDatabase(t *testing.T) {
	db := pgtest.New(t)
	dsn := db.DSN(t)
	assert.NilError(t, db.Stop())
	w := startWaiter(t, dsn, "10m")
	w.until("a refusal", refusing)
	hasty, err := client.New(w.url, &client.Options{APIKey: servertest.APIKey, MaxRetries: -1})
	assert.NilError(t, err)
	_, err = hasty.Whoami(t.Context())
	assert.ErrorIs(t, err, &task.Error{Code: task.CodeResourceUnavailable})
	assert.ErrorContains(t, err, "waits for its database")

	assert.NilError(t, db.Start(t.Context()))
	w.until("health", healthy)
	assert.NilError(t, whoami(t, w.url, servertest.APIKey))
	assert.Assert(t, strings.Contains(w.out.String(), `"msg":"the database is not available yet: waiting for it","error":"open store: the database cannot be reached`), "%s", w.out)
	assert.NilError(t, w.cmd.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, w.code(), 0, "%s", w.out)
}

// TestStartGivesUp: the wait is bounded, and what waiting cannot mend is no
// reason to wait.
func TestStartGivesUp(t *testing.T) {
	const secret = "hunter2hunter2"
	away := "postgres://oz:" + secret + "@" + servertest.FreeAddress(t) + "/oz?sslmode=disable"
	u, err := url.Parse(pgtest.DSN(t))
	assert.NilError(t, err)
	u.Path = "/nowhere"
	for _, tt := range []struct{ name, store, wait, want string }{
		{"no such database", u.String(), "10m", "there is no such database"},
		{"away", away, "300ms", "the database cannot be reached; check that it runs and its address, then try again (waited 300ms for it; --store-wait says how long)"},
		{"away, no wait", away, "0s", "the database cannot be reached"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := startWaiter(t, tt.store, tt.wait)
			assert.Equal(t, w.code(), 1)
			out := w.out.String()
			assert.Assert(t, strings.Contains(out, "\nozd: ") || strings.HasPrefix(out, "ozd: "), "%s", out)
			assert.Assert(t, strings.Contains(out, tt.want), "%s", out)
			assert.Assert(t, !strings.Contains(out, secret), "%s", out)
		})
	}
	t.Run("stopped", func(t *testing.T) {
		w := startWaiter(t, away, "10m")
		w.until("a refusal", refusing)
		assert.NilError(t, w.cmd.Process.Signal(syscall.SIGTERM))
		assert.Equal(t, w.code(), 0, "%s", w.out)
	})
}
