package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/internal/servertest"
)

// answers reports that the model has seen the result of a tool.
func answers(r *scripted.Request) bool {
	for _, m := range r.Messages {
		for _, b := range m.Blocks {
			if b.Type == "tool_result" {
				return true
			}
		}
	}
	return false
}

// mender is a model that runs a command and then gives up, so that its changes
// are in no remote.
func mender(command string) scripted.Script {
	finish := map[string]any{"outcome": "failure", "summary": "It is half done."}
	return scripted.Script{Steps: []scripted.Step{
		{Match: func(r *scripted.Request) bool { return !answers(r) }, Text: "I begin.",
			ToolCalls: []scripted.ToolCall{{Name: "run_command", Input: map[string]any{"command": command}}}},
		{Match: answers, Text: "I stop here.", ToolCalls: []scripted.ToolCall{{Name: "finish", Input: finish}}},
	}}
}

// sh runs a shell command in a directory.
func sh(t *testing.T, dir, command string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-ec", command)
	cmd.Dir = dir
	cmd.Env = servertest.Environ("HOME="+dir, "GIT_AUTHOR_NAME=T", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=T", "GIT_COMMITTER_EMAIL=t@example.com")
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, "%s", out)
	return string(out)
}

// TestFork brings a run's branch, commits and uncommitted changes here.
func TestFork(t *testing.T) {
	origin := t.TempDir()
	sh(t, origin, "git init -q -b main . && echo one > README && git add . && git commit -qm first")
	command := "cd $(find . -name README -not -path '*/.git/*' -printf '%h' -quit) && git switch -qc mend && echo two >> README && git -c user.name=A -c user.email=a@example.com commit -qam second && echo draft > notes"
	d := &desk{t: t, dir: t.TempDir(), server: servertest.New(t, filepath.Join(bin, "ozd"), mender(command))}
	d.server.Start()
	env := d.object("environment", "create", "-n", "repo", "-r", "file://"+origin)["uid"].(string)
	id := d.object("agent", "run-cloud", "-p", "mend it", "-e", env)["run_id"].(string)
	assert.Equal(t, d.oz("run", "follow", id).code, exitFailure)

	out := d.ok("run", "fork", id, "--dir", "work")
	repos, err := filepath.Glob(filepath.Join(d.dir, "work", "*", "README"))
	assert.NilError(t, err)
	assert.Equal(t, len(repos), 1, out)
	repo := filepath.Dir(repos[0])
	has(t, out, "on branch mend", "oz agent run -C ", "--conversation "+id)
	assert.Equal(t, sh(t, repo, "git branch --show-current; cat README notes; git status --porcelain; git log --format=%s; git remote get-url origin"),
		"mend\none\ntwo\ndraft\n?? notes\nsecond\nfirst\nfile://"+origin+"\n")
	said, err := os.ReadFile(filepath.Join(d.dir, "work", conversationFile))
	assert.NilError(t, err)
	has(t, string(said), "I stop here.")
	d.fails(exitUsage, "work is not empty", "run", "fork", id, "--dir", "work")

	var f map[string]any
	assert.NilError(t, json.Unmarshal([]byte(d.ok("run", "fork", id, "--output-format", "json")), &f))
	assert.Equal(t, f["directory"], "oz-run-"+id)
	assert.Equal(t, len(f["repositories"].([]any)), 1)
	// The run here knows what was said there.
	r := d.oz("agent", "run", "-C", repo, "--conversation", id, "-p", "go on", "--output-format", "ndjson")
	assert.Equal(t, r.code, exitFailure, r.err) // this model gives up, always
	has(t, r.out, `"run_started"`)
	d.fails(exitFailure, "does not exist", "run", "fork", "nope")
}

func TestShare(t *testing.T) {
	d := newDesk(t)
	key := strings.TrimSpace(d.ok("team", "add", "default", "--email", "ann@example.com", "--name", "Ann", "--issue-key", "--jq", ".key"))
	id := d.object("agent", "run-cloud", "-p", "greet me")["run_id"].(string)
	d.ok("run", "follow", id)
	has(t, d.ok("run", "share", id), "Visibility  team\n")
	has(t, d.ok("run", "share", id, "--visibility", "private"), "Visibility  private\n")
	d.fails(exitFailure, "does not exist", "run", "get", id, "--api-key", key)
	has(t, d.ok("run", "share", id, "--with", "ann@example.com:edit"), "(editor)")
	d.ok("run", "get", id, "--api-key", key)
	ann := strings.TrimSpace(d.ok("whoami", "--api-key", key, "--jq", ".principal.uid"))
	d.ok("run", "share", id, "--remove", ann)
	d.fails(exitFailure, "does not exist", "run", "get", id, "--api-key", key)
	d.fails(exitUsage, "the run is not shared with", "run", "share", id, "--remove", ann)
	has(t, d.ok("run", "share", id, "--with", "public:edit"), "Visibility  link\n", "Link        editor\n")
	d.fails(exitFailure, "nobody@example.com", "run", "share", id, "--with", "nobody@example.com")

	// A run here can be shared from its start.
	d.ok("agent", "run", "-p", "greet me", "--share", "ann@example.com:edit", "--share")
	here := strings.TrimSpace(d.ok("run", "list", "--jq", `.runs[] | select(.execution_location == "LOCAL") | .run_id`))
	assert.Equal(t, d.ok("run", "share", here, "--jq", ".grants[] | .user_uid + \" \" + .role"), ann+" editor\n")
	d.fails(exitFailure, "nobody@example.com", "agent", "run", "-p", "greet me", "--share", "nobody@example.com")
}

func TestArtifacts(t *testing.T) {
	d := newDesk(t)
	id := d.object("agent", "run-cloud", "-p", "greet me")["run_id"].(string)
	d.ok("run", "follow", id)
	report := d.file("report.txt", "measured\n")
	cmd := d.command("artifact", "upload", report, "--description", "what was measured", "--jq", ".artifact_uid")
	cmd.Env = append(cmd.Env, "OZ_RUN_ID="+id)
	r := finish(t, cmd)
	assert.Equal(t, r.code, 0, r.err)
	uid := strings.TrimSpace(r.out)
	has(t, d.ok("artifact", "get", uid), "Name          report.txt\n", "Description   what was measured\n", "Size          9 bytes\n")
	assert.Assert(t, !strings.Contains(d.ok("artifact", "get", uid), "http"), "the signed link is shown")
	has(t, d.ok("run", "get", id), "Artifacts  file report.txt ["+uid+"]\n")
	d.fails(exitUsage, "there is a file already", "artifact", "download", uid)
	assert.Equal(t, d.ok("artifact", "download", uid, "-o", "-"), "measured\n")
	assert.Equal(t, d.ok("artifact", "download", uid, "-o", "copy"), "Saved copy (9 bytes).\n")
	copied, err := os.ReadFile(filepath.Join(d.dir, "copy"))
	assert.NilError(t, err)
	assert.Equal(t, string(copied), "measured\n")
	d.fails(exitUsage, "--run-id or --conversation-id is needed", "artifact", "upload", report)
	d.fails(exitUsage, "no such file", "artifact", "upload", "/nonexistent", "--run-id", id)
	d.fails(exitFailure, "does not exist", "artifact", "get", "nope")
}

// liar stands between oz and its server and changes the entries of the audit
// log; it gives the flag that leads there.
func (d *desk) liar(lie func([]map[string]any) []map[string]any) string {
	d.t.Helper()
	target, err := url.Parse(d.server.URL)
	assert.NilError(d.t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.Request.URL.Path != "/api/v1/oz/audit" {
			return nil
		}
		var page struct {
			Entries []map[string]any `json:"entries"`
		}
		if err := json.NewDecoder(r.Body).Decode(&page); err != nil {
			return err
		}
		page.Entries = lie(page.Entries)
		raw, err := json.Marshal(page)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(string(raw))), int64(len(raw))
		r.Header.Del("Content-Length")
		return err
	}
	s := httptest.NewServer(proxy)
	d.t.Cleanup(s.Close)
	return "--server-root-url=" + s.URL
}

// TestAudit verifies a log, and finds out a server that changes or cuts it.
func TestAudit(t *testing.T) {
	d := newDesk(t)
	for _, name := range []string{"ONE", "TWO", "THREE"} {
		d.ok("secret", "create", name, "-f", d.file("v", "a-long-value-4478"+name))
	}
	has(t, d.ok("audit", "list"), "secret.create", "admin", "done")
	assert.Equal(t, d.ok("audit", "list", "-L", "1", "--jq", ".entries | length"), "1\n")
	has(t, d.ok("audit", "verify"), "The audit log is whole: ")
	head := strings.TrimSpace(d.ok("audit", "verify", "--jq", ".head"))
	d.ok("secret", "delete", "TWO", "--force")
	has(t, d.ok("audit", "verify", "--head", head), "The audit log is whole: ")

	at := d.liar(func(e []map[string]any) []map[string]any {
		for _, x := range e {
			if x["seq"] == 3.0 {
				x["body"] = strings.Replace(x["body"].(string), "admin", "other", 1)
			}
		}
		return e
	})
	r := d.oz("audit", "verify", at)
	assert.Equal(t, r.code, exitFailure)
	has(t, r.err, "the audit log breaks at entry 3: ")
	r = d.oz("audit", "verify", at, "--output-format", "json")
	assert.Equal(t, r.code, exitFailure)
	has(t, r.out, `"ok": false`, `"broken_seq": 3`)
	at = d.liar(func(e []map[string]any) []map[string]any { // the end is cut off
		var kept []map[string]any
		for _, x := range e {
			if x["seq"].(float64) < 3 {
				kept = append(kept, x)
			}
		}
		return kept
	})
	assert.Equal(t, d.oz("audit", "verify", at).code, 0) // the chain alone cannot tell
	d.fails(exitFailure, "it is missing, and all behind it", "audit", "verify", at, "--head", head)
	d.fails(exitUsage, "--head: ", "audit", "verify", "--head", "12")
}
