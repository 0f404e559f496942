// Package gittest gives tests real git repositories and a real git server on
// loopback.
package gittest

import (
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// Git runs the plain git command in dir, apart from the machine's own
// configuration, and returns what it printed.
func Git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	out, err := Command(dir, args...).CombinedOutput()
	assert.NilError(t, err, "git %s\n%s", strings.Join(args, " "), out)
	return strings.TrimSpace(string(out))
}

// Command makes the plain git command that Git runs.
func Command(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com"}
	return cmd
}

// Repo is a bare remote and a clone to change it from.
type Repo struct {
	Bare string // directory of the remote
	Work string // a clone with its branch main
}

// New makes a remote whose branch main holds files; none makes an empty one.
func New(t testing.TB, name string, files map[string]string) *Repo {
	t.Helper()
	dir := t.TempDir()
	r := &Repo{Bare: filepath.Join(dir, name+".git"), Work: filepath.Join(dir, "work")}
	Git(t, dir, "init", "--quiet", "--bare", "--initial-branch=main", r.Bare)
	Git(t, dir, "init", "--quiet", "--initial-branch=main", r.Work)
	Git(t, r.Work, "remote", "add", "origin", r.Bare)
	if len(files) > 0 {
		r.Commit(t, "main", files)
	}
	return r
}

// URL is the remote's file URL.
func (r *Repo) URL() string { return "file://" + r.Bare }

// Commit writes files, commits them and pushes to branch. It returns the commit.
func (r *Repo) Commit(t testing.TB, branch string, files map[string]string) string {
	t.Helper()
	WriteFiles(t, r.Work, files)
	Git(t, r.Work, "add", "--all")
	Git(t, r.Work, "commit", "--quiet", "--allow-empty", "--message=change")
	Git(t, r.Work, "push", "--quiet", "origin", "HEAD:refs/heads/"+branch)
	return Git(t, r.Work, "rev-parse", "HEAD")
}

// Head returns the remote's commit of branch.
func (r *Repo) Head(t testing.TB, branch string) string {
	t.Helper()
	return Git(t, r.Bare, "rev-parse", "--verify", "refs/heads/"+branch)
}

// WriteFiles writes files below dir.
func WriteFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		assert.NilError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		assert.NilError(t, os.WriteFile(path, []byte(content), 0o644))
	}
}

// Server is git over HTTP on loopback: git's own http-backend.
type Server struct {
	*httptest.Server
	// Username and Password are asked for unless empty.
	Username, Password string
	// Before sees each request that got in.
	Before func(*http.Request)
}

// Serve serves the bare repositories below root. Start it with its own
// fields set: fields must not change while requests run.
func Serve(t testing.TB, root string, s *Server) *Server {
	t.Helper()
	path, err := exec.Command("git", "--exec-path").Output()
	assert.NilError(t, err)
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"),
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http.receivepack", "GIT_CONFIG_VALUE_0=true"},
		InheritEnv: []string{"PATH"},
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if s.Password != "" && (user != s.Username || password != s.Password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		if s.Before != nil {
			s.Before(r)
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}
