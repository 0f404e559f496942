package sdktest_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// require makes tests fail, rather than skip, when a part is missing.
const require = "OZ_TEST_REQUIRE"

// cases are those of conformance.mjs.
var cases = []string{"create", "list", "cancel", "followups", "environments", "errors", "skills", "schedules", "identities", "messages",
	"handoffAndRedirects", "errorClasses", "retriedCreate"}

// TestPublishedSDK runs the TypeScript SDK as npm has it.
func TestPublishedSDK(t *testing.T) {
	dir := install(t)
	e := transporttest.Start(t, &transporttest.Options{Idle: true, Platform: oz.Options{Models: executor.Models{Default: "claude-sonnet-4-5",
		Providers: []executor.ModelProvider{{Name: "p", Wire: "anthropic", BaseURL: "http://127.0.0.1:1", Models: []string{"claude-*"}}}}}})
	env, err := e.Platform.As(e.Caller(transporttest.AdminKey)).CreateEnvironment(t.Context(), environment.Config{Name: "demo"}, nil)
	assert.NilError(t, err)
	unlucky := transporttest.StartProxy(t, e.URL, func(n int, _ *http.Request) transporttest.Fault {
		return transporttest.Fault{Lose: n == 0}
	})
	failing := transporttest.StartProxy(t, e.URL, func(_ int, r *http.Request) transporttest.Fault {
		status, err := strconv.Atoi(strings.Split(r.URL.Path, "/")[1])
		assert.Check(t, err)
		return transporttest.Fault{Status: status}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "conformance.mjs")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "OZ_API_BASE_URL=" + e.URL + "/api/v1", "WARP_API_KEY=" + transporttest.AdminKey,
		"UNLUCKY=" + unlucky.URL + "/api/v1", "FAILING=" + failing.URL, "ENVIRONMENT=" + env.UID}
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, "%s", out)
	for _, name := range cases {
		assert.Assert(t, strings.Contains(string(out), "ok "+name+"\n"), "case %s did not run: %s", name, out)
	}
	assert.Equal(t, len(unlucky.Seen()), 2)
	assert.Equal(t, unlucky.Seen()[1].Header.Get("X-Stainless-Retry-Count"), "1")
}

// install puts the SDK of the lock file into a directory of its own.
func install(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"npm", "node"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, tool+" is not installed")
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "conformance.mjs"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		assert.NilError(t, err)
		assert.NilError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		missing(t, "npm ci failed, is there a network? "+string(out))
	}
	return dir
}

// missing skips the test, or fails it where every part must be there.
func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv(require) == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}
