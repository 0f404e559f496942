package git_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/poll"

	"github.com/oz-platform/cloudagents/environment/git"
)

const orphanVar = "OZ_TEST_GIT_URL"

// A git that waits for a remote ends when this process is killed.
func TestGitDiesWithItsParent(t *testing.T) {
	if url := os.Getenv(orphanVar); url != "" { // the parent to be killed
		g, err := git.Open(context.Background(), nil)
		assert.NilError(t, err)
		_, err = g.RemoteRefs(context.Background(), url)
		assert.NilError(t, err)
		return
	}
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		t.Skip("needs Linux")
	}
	asked := make(chan struct{}, 1)
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{}; <-release }))
	defer server.Close()
	defer close(release)

	cmd := exec.Command(os.Args[0], "-test.run=^TestGitDiesWithItsParent$")
	cmd.Env = append(os.Environ(), orphanVar+"="+server.URL+"/x", "TMPDIR="+t.TempDir())
	assert.NilError(t, cmd.Start())
	<-asked
	assert.Assert(t, strings.Contains(commandLines(t), server.URL)) // it is there
	assert.NilError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	poll.WaitOn(t, func(poll.LogT) poll.Result {
		if strings.Contains(commandLines(t), "ls-remote\x00--quiet\x00--symref\x00--\x00"+server.URL) {
			return poll.Continue("git still runs")
		}
		return poll.Success()
	}, poll.WithTimeout(10*time.Second))
}

func commandLines(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	assert.NilError(t, err)
	var all strings.Builder
	for _, e := range entries {
		if argv, err := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil {
			all.Write(argv)
			all.WriteByte('\n')
		}
	}
	return all.String()
}
