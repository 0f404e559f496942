package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// canaries are the secrets of TestSecretsReachNoSink. Those of the team and of
// the person are the agent's to use; the others belong to the server.
var canaries = map[string]string{
	"TEAM_CANARY":     "cnry-team-9fK2+mQ7/zW4=x",
	"PERSONAL_CANARY": `cnry-mine-"3tR8&pL5'vB6`,
	"model key":       "cnry-model-7Hq2Xw9Lm4Ns",
	"git password":    "cnry-git-5Yc1Ze8Jd3Uf",
}

// leak prints the agent's canaries in many ways, and with them what it finds
// in the environments of all processes that it may look at.
const leak = `for v in "$TEAM_CANARY" "$PERSONAL_CANARY"; do
  printf '%s\n' "$v"; printf %s "$v" | base64; printf 'x%s' "$v" | base64; printf 'xx%s' "$v" | base64
  printf %s "$v" | od -An -v -tx1 | tr -d ' \n'; echo
  printf %s "$v" | sed 's/%/%25/g;s/+/%2B/g;s,/,%2F,g;s/=/%3D/g;s/"/%22/g;s/&/%26/g;'"s/'/%27/g"; echo
  printf %s "${v%??????????}"; sleep 0.2; printf '%s\n' "${v#??????????????}"
done
env
cat /proc/[0-9]*/environ 2>/dev/null | tr '\0' '\n' | grep -a cnry-
true`

// leaker gives its secrets away wherever an agent can, and then does its job.
func leaker() scripted.Script {
	raw := canaries["TEAM_CANARY"]
	hidden := hex.EncodeToString([]byte(raw))
	call := func(name string, input map[string]any) scripted.Step {
		return scripted.Step{Text: "The secret is " + raw + ", or " + hidden, Thinking: "It is " + raw,
			ToolCalls: []scripted.ToolCall{{Name: name, Input: input}}}
	}
	return scripted.Script{Steps: []scripted.Step{
		call("run_command", map[string]any{"command": leak}),
		call("run_command", map[string]any{"command": leak, "background": true}),
		call("command_output", map[string]any{"command_id": "cmd-1", "wait_seconds": 60}),
		call("write_file", map[string]any{"path": "config.txt", "content": "key=" + raw}),
		call("run_command", map[string]any{"command": `printf %s "$PERSONAL_CANARY" | base64 > key.b64; cat config.txt key.b64`}),
		call("update_todos", map[string]any{"todos": []map[string]any{{"title": "hide " + raw}}}),
		call("git_commit", map[string]any{"message": "Add the key"}),
		call("report_artifact", map[string]any{"type": "file", "path": "key.b64"}),
		call("report_artifact", map[string]any{"type": "reference", "reference_type": "page", "url": "https://example.com/" + hidden}),
		call("run_command", map[string]any{"command": "rm config.txt key.b64"}),
		call("edit_files", map[string]any{"edits": []map[string]any{{"path": "greeting.txt", "search": "helo", "replace": "hello"}}}),
		call("run_command", map[string]any{"command": checkCommand}),
		call("git_commit", map[string]any{"message": "Mend the greeting", "branch": "oz/" + hidden}),
		call("git_commit", map[string]any{"message": "Mend the greeting for " + raw, "branch": branch}),
		call("git_push", map[string]any{}),
		call("report_artifact", map[string]any{"type": "file", "path": "greeting.txt", "title": "For " + raw, "description": "See " + hidden}),
		call("finish", map[string]any{"outcome": "success", "summary": "Mended with " + raw, "verification": []string{checkCommand}}),
	}}
}

// TestSecretsReachNoSink: one canary for each kind of secret, an agent that
// gives them away as best it can, and then a look into everything that the
// journey has left anywhere. None is found, in no form.
func TestSecretsReachNoSink(t *testing.T) {
	t.Parallel()
	r := newRig(t, leaker(), "GIT_PASSWORD="+canaries["git password"])
	r.replaceModelKey(leaker(), canaries["model key"])
	host := r.serveGit("deploy", canaries["git password"])
	r.configure(fmt.Sprintf("git: {credentials: [{host: %q, username: deploy, password_env: GIT_PASSWORD}]}\n", host))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r.serve()
	env := r.secretEnvironment(ctx, host)
	id := r.submit(ctx, oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: env}})
	run, events := r.await(ctx, id)

	// The journey was a whole one: the agent had the secrets, was refused
	// where it had to be, and its work arrived.
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Head.Status.Message, describe(events))
	r.checkLog(events, task.StateSucceeded)
	assert.Equal(t, git(t, r.remote, "show", branch+":greeting.txt"), "hello world")
	assert.Equal(t, len(run.Artifacts), 3, "%+v", run.Artifacts)
	denied := 0
	for _, e := range events {
		if p, ok := e.Payload.(*task.ToolResult); ok && p.State == task.ToolDenied {
			denied++
		}
	}
	assert.Equal(t, denied, 2, "the commit and the upload of what a command wrote\n%s", describe(events))
	log := describe(events)
	for _, name := range []string{"TEAM_CANARY", "PERSONAL_CANARY"} {
		assert.Assert(t, strings.Contains(log, name), "the agent had %s", name)
	}

	r.checkQuiet(ctx)
	s := newScan(t)
	r.scanAnswers(ctx, s, id, env)
	r.scanDisk(s)
	s.look("the server's log", []byte(r.log.String()))
	for _, q := range r.model.Requests() {
		s.look(fmt.Sprintf("request %d to the model", q.N), q.Body)
	}
	r.signal(syscall.SIGKILL) // what was in memory alone is gone; what the next start says is looked at, too
	r.insist(ctx, func() error { _, err := r.client.Get(ctx, id); return err })
	r.scanDisk(s)
	s.look("the server's log", []byte(r.log.String()))
	t.Logf("%d things looked at, %d MiB", s.things, s.bytes>>20)
	assert.Assert(t, s.things > 60)
}

// replaceModelKey makes the model ask for another key, which the server has.
func (r *rig) replaceModelKey(script scripted.Script, key string) {
	r.t.Helper()
	var err error
	r.model, err = scripted.New(script, &scripted.Options{APIKey: key})
	assert.NilError(r.t, err)
	at, err := r.model.Start()
	assert.NilError(r.t, err)
	r.t.Cleanup(func() { _ = at.Close() })
	path := filepath.Join(r.dir, "ozd.yaml")
	config, err := os.ReadFile(path)
	assert.NilError(r.t, err)
	before, rest, _ := strings.Cut(string(config), "base_url: ")
	_, after, _ := strings.Cut(rest, ", ")
	assert.NilError(r.t, os.WriteFile(path, []byte(before+"base_url: "+fmt.Sprintf("%q, ", at.AnthropicURL)+after), 0o600))
	r.env = append(r.env, "MODEL_KEY="+key) // of several the last counts
}

// serveGit serves the remote over HTTP by git's own server, behind a password,
// and gives its host.
func (r *rig) serveGit(user, password string) string {
	r.t.Helper()
	server := httptest.NewServer(r.gitBackend(user, password))
	r.t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// gitBackend is git's own server, behind a password.
func (r *rig) gitBackend(user, password string) http.Handler {
	program, err := exec.LookPath("git")
	assert.NilError(r.t, err)
	backend := &cgi.Handler{Path: program, Args: []string{"http-backend"}, Dir: r.dir, Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + r.dir, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=" + user,
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http.receivepack", "GIT_CONFIG_VALUE_0=true"}}
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if u, p, ok := q.BasicAuth(); !ok || u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		q.Header.Del("Authorization")
		backend.ServeHTTP(w, q)
	})
}

// secretEnvironment stores the agent's secrets, and an environment over the
// remote at host whose setup leaks them.
func (r *rig) secretEnvironment(ctx context.Context, host string) (uid string) {
	r.t.Helper()
	r.insist(ctx, func() error {
		env, err := r.client.CreateEnvironment(ctx, environment.Config{Name: "leaky", SetupCommands: []string{leak},
			Repos: []environment.Repo{{Owner: "demo", Name: "greeting", URL: "http://" + host + "/remote.git"}}}, nil)
		uid = env.UID
		return err
	})
	for name, team := range map[string]bool{"TEAM_CANARY": true, "PERSONAL_CANARY": false} {
		_, err := r.client.CreateSecret(ctx, oz.SecretInput{Name: name, Value: executor.Sensitive(canaries[name]), Team: &team})
		assert.NilError(r.t, err)
	}
	return uid
}

// scanAnswers looks at what the API says, in every way it says it.
func (r *rig) scanAnswers(ctx context.Context, s *scan, id task.ID, env string) {
	r.t.Helper()
	run := "/api/v1/agent/runs/" + string(id)
	paths := []string{"/api/v1/agent/runs", run, run + "/conversation", run + "/transcript", run + "/transcript?format=markdown",
		"/api/v1/oz/runs/" + string(id) + "/events?limit=1000", "/api/v1/oz/runs/" + string(id) + "/executions",
		"/api/v1/agent/environments", "/api/v1/oz/environments/" + env, "/api/v1/oz/secrets", "/api/v1/oz/api-keys",
		"/api/v1/oz/whoami", "/api/v1/agent/models", "/api/v1/openapi.json", "/healthz", "/readyz"}
	for _, p := range paths {
		s.look("GET "+p, r.get(ctx, p, "application/json"))
	}
	s.look("the stream", r.get(ctx, "/api/v1/oz/runs/"+string(id)+"/events", "text/event-stream"))
	got, err := r.client.Get(ctx, id)
	assert.NilError(r.t, err)
	files := 0
	for _, a := range got.Artifacts {
		if a.Type != task.ArtifactFile {
			continue
		}
		files++
		var b bytes.Buffer
		assert.NilError(r.t, r.client.Download(ctx, a.UID, &b))
		assert.Equal(r.t, b.String(), "hello world\n")
		s.look("artifact", b.Bytes())
		s.look("GET artifact", r.get(ctx, "/api/v1/agent/artifacts/"+a.UID, "application/json"))
	}
	assert.Equal(r.t, files, 1)
}

// get asks the API as a person would with curl, and follows redirects.
func (r *rig) get(ctx context.Context, path, accept string) []byte {
	r.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.addr+path, nil)
	assert.NilError(r.t, err)
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	assert.NilError(r.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	assert.NilError(r.t, err)
	assert.Equal(r.t, resp.StatusCode, http.StatusOK, "GET %s: %s", path, body)
	return body
}

// scanDisk looks at the server's files, and into the objects of the remote
// and the mirrors. Workspaces are left out: there the agent wrote itself.
func (r *rig) scanDisk(s *scan) {
	t := r.t
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(filepath.Join(r.dir, "data"), func(path string, d fs.DirEntry, err error) error {
		switch {
		case os.IsNotExist(err): // the server is at work
			return nil
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "workspaces":
			return fs.SkipDir
		}
		s.look("the name "+path, []byte(path))
		if !d.Type().IsRegular() {
			return nil
		}
		names[d.Name()] = true
		data, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		s.look(path, data)
		return err
	})
	assert.NilError(t, err)
	assert.Assert(t, names["oz.db"] && names["oz.db-wal"], "database and write-ahead log: %v", names)

	repos := []string{r.remote}
	mirrors, err := filepath.Glob(filepath.Join(r.dir, "data", "mirrors", "*", "HEAD"))
	assert.NilError(t, err)
	deeper, err := filepath.Glob(filepath.Join(r.dir, "data", "mirrors", "*", "*", "HEAD"))
	assert.NilError(t, err)
	assert.Assert(t, len(mirrors)+len(deeper) > 0, "no mirror")
	for _, head := range append(mirrors, deeper...) {
		repos = append(repos, filepath.Dir(head))
	}
	for _, repo := range repos {
		s.look("objects of "+repo, []byte(git(t, repo, "cat-file", "--batch-all-objects", "--batch", "--unordered")))
		s.look("refs of "+repo, []byte(git(t, repo, "for-each-ref")))
		config, err := os.ReadFile(filepath.Join(repo, "config"))
		assert.NilError(t, err)
		s.look("config of "+repo, config)
	}
}

// scan looks for the canaries in every form.
type scan struct {
	t             *testing.T
	forms         map[string]string // to what it is a form of
	things, bytes int
}

func newScan(t *testing.T) *scan { return newScanOf(t, canaries) }

func newScanOf(t *testing.T, values map[string]string) *scan {
	s := &scan{t: t, forms: map[string]string{}}
	for name, v := range values {
		quoted, err := json.Marshal(v)
		assert.NilError(t, err)
		list := []string{v, hex.EncodeToString([]byte(v)), strings.ToUpper(hex.EncodeToString([]byte(v))), url.QueryEscape(v), url.PathEscape(v),
			string(bytes.Trim(quoted, `"`)), html.EscapeString(v)}
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			for shift := range 3 { // where the value begins among the groups of three bytes
				text := enc.EncodeToString([]byte("xx"[:shift] + v))
				list = append(list, text[(shift*8+5)/6:len(text)-4])
			}
		}
		for _, form := range list {
			s.forms[form] = name
		}
	}
	return s
}

// look reports each canary in data.
func (s *scan) look(where string, data []byte) {
	s.t.Helper()
	s.things++
	s.bytes += len(data)
	for form, at := range s.find(data) {
		s.t.Errorf("%s has the %s as %q, after %q", where, s.forms[form], form, data[max(0, at-200):at])
	}
}

// find gives the forms that are in data, and where.
func (s *scan) find(data []byte) map[string]int {
	found := map[string]int{}
	for form := range s.forms {
		if at := bytes.Index(data, []byte(form)); at >= 0 {
			found[form] = at
		}
	}
	return found
}

// TestScanFinds: the look of TestSecretsReachNoSink is not blind: it finds
// what the leak of that test prints.
func TestScanFinds(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "bash", "-c", leak)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for _, name := range []string{"TEAM_CANARY", "PERSONAL_CANARY"} {
		cmd.Env = append(cmd.Env, name+"="+canaries[name])
	}
	out, err := cmd.Output()
	assert.NilError(t, err)
	s := newScan(t)
	found := map[string]int{}
	for form := range s.find(out) {
		found[s.forms[form]]++
	}
	for _, name := range []string{"TEAM_CANARY", "PERSONAL_CANARY"} { // raw, hexadecimal, quoted for URLs, three of base64
		assert.Assert(t, found[name] >= 6, "%s: %d forms", name, found[name])
	}
}
