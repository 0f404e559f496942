package main

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

// start runs the server until the function that it returns is called, which
// drains it and gives what it printed.
func start(t *testing.T, env []string, args ...string) (url string, stop func() string) {
	t.Helper()
	address := servertest.FreeAddress(t)
	cmd := exec.Command(program, append([]string{"--listen", address}, args...)...)
	cmd.Env = servertest.Environ(env...)
	out := &servertest.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	assert.NilError(t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	stop = func() string {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		assert.Equal(t, cmd.ProcessState.ExitCode(), 0, "%s", out)
		return out.String()
	}
	if err := servertest.AwaitHealthy(t.Context(), "http://"+address, ended); err != nil {
		_ = cmd.Process.Kill()
		t.Fatalf("%v\n%s", err, out)
	}
	return "http://" + address, stop
}

func whoami(t *testing.T, url, key string) error {
	t.Helper()
	c, err := client.New(url, &client.Options{APIKey: key})
	assert.NilError(t, err)
	_, err = c.Whoami(t.Context())
	return err
}

// TestFirstStartShowsTheKeyOnce: the key that is printed works, now and after
// a restart, and only the first start prints it.
func TestFirstStartShowsTheKeyOnce(t *testing.T) {
	data := filepath.Join(t.TempDir(), "new", "data")
	url, stop := start(t, nil, "--data", data)
	defer stop()
	first := stop()
	found := regexp.MustCompile(`shown this once:\n  (\S+)\n`).FindStringSubmatch(first)
	assert.Assert(t, found != nil, first)
	key := found[1]
	assert.Assert(t, strings.Contains(first, "ozd serves "+url+"/api/v1\n"), first)
	assert.Assert(t, strings.Contains(first, "WARP_API_KEY="+key+" WARP_SERVER_ROOT_URL="+url), first)
	assert.Assert(t, strings.Contains(first, "Open "+url+"/#sign-in=ozc_"), first)
	assert.Assert(t, strings.Contains(first, "set ANTHROPIC_API_KEY, OPENAI_API_KEY or GEMINI_API_KEY"), first)

	url, stop = start(t, nil, "--data", data)
	assert.NilError(t, whoami(t, url, key))
	second := stop()
	assert.Assert(t, !strings.Contains(second, key), second)
	assert.Assert(t, strings.Contains(second, "Open "+url+"/\n") && !strings.Contains(second, "sign-in="), second)
	assert.Assert(t, strings.Contains(second, "choose one with OZ_BOOTSTRAP_API_KEY"), second)

	// A lost key is replaced by choosing one.
	url, stop = start(t, []string{"OZ_BOOTSTRAP_API_KEY=chosen later"}, "--data", data)
	assert.NilError(t, whoami(t, url, "chosen later"))
	assert.NilError(t, whoami(t, url, key))
	assert.ErrorIs(t, whoami(t, url, "another key"), &task.Error{Code: task.CodeAuthenticationRequired})
	third := stop()
	assert.Assert(t, !strings.Contains(third, "chosen later") && strings.Contains(third, "that of OZ_BOOTSTRAP_API_KEY"), third)
}

// TestWebApp: the pages are beside the API, unless they are left out.
func TestWebApp(t *testing.T) {
	get := func(address string) (int, string, string) {
		resp, err := http.Get(address)
		assert.NilError(t, err)
		defer resp.Body.Close()
		page, err := io.ReadAll(resp.Body)
		assert.NilError(t, err)
		return resp.StatusCode, resp.Header.Get("Content-Type"), string(page)
	}
	url, stop := start(t, nil, "--data", t.TempDir())
	status, kind, page := get(url + "/runs")
	assert.Equal(t, status, http.StatusOK)
	assert.Equal(t, kind, "text/html; charset=utf-8")
	assert.Assert(t, strings.Contains(page, `<meta name="oz-api" content="/api/v1">`), page)
	status, _, _ = get(url + "/api/v1/runs")
	assert.Equal(t, status, http.StatusNotFound, "the API answers for itself")
	stop()

	assets := t.TempDir()
	assert.NilError(t, os.WriteFile(filepath.Join(assets, "index.html"), []byte("<p>mine {{api}}"), 0o600))
	assert.NilError(t, os.WriteFile(filepath.Join(assets, "terminal.html"), []byte("x"), 0o600))
	url, stop = start(t, nil, "--data", t.TempDir(), "--web-assets", assets, "--public-url", "https://x.example/oz")
	_, _, page = get(url + "/")
	assert.Equal(t, page, "<p>mine /oz/api/v1")
	stop()

	url, stop = start(t, nil, "--data", t.TempDir(), "--no-web")
	status, kind, _ = get(url + "/")
	assert.Equal(t, status, http.StatusNotFound)
	assert.Equal(t, kind, "application/problem+json")
	out := stop()
	assert.Assert(t, !strings.Contains(out, "Open "), out)

	code, _, errs := invoke(t, nil, "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--web-assets", assets+"/none")
	assert.Equal(t, code, 1)
	assert.Assert(t, strings.Contains(errs, "web_assets: "), errs)
}

// TestGreetingSaysWhatIsMissing: without git or a model, runs would only fail.
func TestGreetingSaysWhatIsMissing(t *testing.T) {
	_, stop := start(t, []string{"PATH=/nonexistent", "OPENAI_API_KEY=a-long-model-key-4711"}, "--data", t.TempDir())
	out := stop()
	assert.Assert(t, strings.Contains(out, "git     not found in PATH"), out)
	assert.Assert(t, strings.Contains(out, "models  openai (default gpt-"), out)
	assert.Assert(t, !strings.Contains(out, "a-long-model-key-4711"), out)
}

// TestFilesAreForTheOwnerAlone: the directory holds keys and the database.
func TestFilesAreForTheOwnerAlone(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	_, stop := start(t, nil, "--data", data)
	stop()
	for _, name := range []string{"", "oz.db", "secrets.key"} {
		info, err := os.Stat(filepath.Join(data, name))
		assert.NilError(t, err)
		assert.Equal(t, info.Mode().Perm()&0o077, os.FileMode(0), "%s is %s", name, info.Mode())
	}
}

// TestObstacles: what stands in the way of a start is named with what to do.
func TestObstacles(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer ln.Close()
	used := t.TempDir()
	_, stop := start(t, nil, "--data", used)
	defer stop()

	file := writeFile(t, "a file")
	newer, junk, badKey := t.TempDir(), t.TempDir(), t.TempDir()
	_, stopNewer := start(t, nil, "--data", newer)
	stopNewer()
	db, err := sql.Open("sqlite", filepath.Join(newer, "oz.db"))
	assert.NilError(t, err)
	_, err = db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)")
	assert.NilError(t, err)
	assert.NilError(t, db.Close())
	assert.NilError(t, os.WriteFile(filepath.Join(junk, "oz.db"), []byte(strings.Repeat("no database ", 1000)), 0o600))
	assert.NilError(t, os.WriteFile(filepath.Join(badKey, "secrets.key"), []byte("short"), 0o600))

	for _, tt := range []struct{ name, data, listen, want string }{
		{"address in use", t.TempDir(), ln.Addr().String(), "is in use, perhaps by another ozd: stop that one, or choose another address with --listen"},
		{"data in use", used, "127.0.0.1:0", "the database is in use by another process"},
		{"data is a file", file, "127.0.0.1:0", "data directory: mkdir " + file + ": not a directory"},
		{"data cannot be made", "/proc/oz-data", "127.0.0.1:0", "data directory: mkdir /proc/oz-data: "},
		{"newer database", newer, "127.0.0.1:0", "use a newer program, or restore an older backup"},
		{"no database", junk, "127.0.0.1:0", "file is not a database"},
		{"broken key", badKey, "127.0.0.1:0", "this is no Tink key set in JSON; restore it from a backup"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out, errs := invoke(t, nil, "--data", tt.data, "--listen", tt.listen)
			assert.Equal(t, code, 1)
			assert.Equal(t, out, "")
			assert.Assert(t, strings.Contains(errs, tt.want), "%s", errs)
		})
	}
}

// TestRunsOutliveTheServer: a drain leaves the agent at work, and the next
// server takes it up again; so does one after a kill.
func TestRunsOutliveTheServer(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*servertest.Server)
	}{
		{"drained", func(s *servertest.Server) { assert.NilError(t, s.Stop()) }},
		{"killed", (*servertest.Server).Kill},
	} {
		t.Run(tt.name, func(t *testing.T) {
			release := filepath.Join(t.TempDir(), "release")
			s := servertest.New(t, program, servertest.Talker(release))
			s.Start()
			ctx, cancel := context.WithTimeout(t.Context(), servertest.Patience)
			defer cancel()
			run, err := s.Client().Submit(ctx, oz.Request{Prompt: "wait for me"})
			assert.NilError(t, err)
			awaitOutput(ctx, t, s, run.ID, "waiting")
			at := s.Runners()
			assert.Equal(t, len(at), 1)

			tt.end(s)
			assert.DeepEqual(t, s.Runners(), at)
			assert.NilError(t, os.WriteFile(release, nil, 0o600))
			s.Start()
			results := 0
			for e, err := range s.Client().Watch(ctx, run.ID, 0) {
				assert.NilError(t, err)
				if p, ok := e.Payload.(*task.ToolResult); ok && p.Name == "run_command" {
					results++
				}
			}
			run, err = s.Client().Get(ctx, run.ID)
			assert.NilError(t, err)
			assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Head.Status.Message, s.Output())
			assert.Equal(t, results, 1)
			executions, err := s.Client().Executions(ctx, run.ID)
			assert.NilError(t, err)
			assert.Equal(t, len(executions), 1)
		})
	}
}

// awaitOutput returns once a tool of the run has printed text.
func awaitOutput(ctx context.Context, t *testing.T, s *servertest.Server, id task.ID, text string) {
	t.Helper()
	for e, err := range s.Client().Watch(ctx, id, 0) {
		assert.NilError(t, err)
		if p, ok := e.Payload.(*task.ToolOutput); ok && strings.Contains(p.Text, text) {
			return
		}
	}
	t.Fatalf("the run ended without printing %q\n%s", text, s.Output())
}

// TestSkillsAreFound: the server looks into repositories by itself.
func TestSkillsAreFound(t *testing.T) {
	forge := t.TempDir()
	file := filepath.Join(forge, "acme", "app", ".agents", "skills", "deploy", "SKILL.md")
	assert.NilError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	assert.NilError(t, os.WriteFile(file, []byte("---\nname: deploy\ndescription: Ships it\n---\nShip it.\n"), 0o644))
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-qm", "x"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = filepath.Join(forge, "acme", "app")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com"}
		out, err := cmd.CombinedOutput()
		assert.NilError(t, err, "%s", out)
	}
	url, stop := start(t, []string{"OZ_BOOTSTRAP_API_KEY=the chosen key"}, "--data", filepath.Join(t.TempDir(), "data"), "--repository-base", "file://"+forge)
	defer stop()
	c, err := client.New(url, &client.Options{APIKey: "the chosen key"})
	assert.NilError(t, err)
	list, err := c.Skills(t.Context(), oz.SkillQuery{Repo: "acme/app"})
	assert.NilError(t, err)
	assert.Equal(t, len(list.Skills), 1)
	assert.Equal(t, list.Skills[0].Variants[0].BasePrompt, "Ship it.")
}

// TestWhatFailsFirstIsTold: of what is opened side by side the error is told of
// what failed, though the rest is cut off for it and may say so sooner.
func TestWhatFailsFirstIsTold(t *testing.T) {
	cause := errors.New("no such store")
	for range 200 {
		ctx, cancel := context.WithCancelCause(t.Context())
		wait := func() error { <-ctx.Done(); return ctx.Err() }
		err := sideBySide(ctx, cancel, wait, func() error { return cause }, wait)
		assert.ErrorIs(t, err, cause)
	}
	ctx, stop := context.WithCancel(t.Context())
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop()
	assert.ErrorIs(t, sideBySide(inner, cancel, func() error { return errors.New("interrupted") }), context.Canceled)
	whole, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	assert.NilError(t, sideBySide(whole, cancel, func() error { return nil }))
	assert.NilError(t, whole.Err(), "what was opened goes on")
}
