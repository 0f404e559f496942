package runner_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// canary is the value of a secret that the agent gives away as best it can.
const canary = "cnry-9fK2+mQ7/zW4=x"

// forms are the canary as programs print it.
func forms() []string {
	return []string{canary, base64.StdEncoding.EncodeToString([]byte(canary)), hex.EncodeToString([]byte(canary)), url.QueryEscape(canary)}
}

// leak prints the canary in all forms, the first one in two writes.
const leak = `printf %s "${CANARY%????????}"; sleep 0.2; printf '%s\n' "${CANARY#???????????}"; ` +
	`printf %s "$CANARY" | base64; printf %s "$CANARY" | od -An -tx1 | tr -d ' \n'; echo; printf %s "$CANARY" | sed 's/+/%2B/;s,/,%2F,;s/=/%3D/'; `

// TestSecretsStayInside: whatever an agent does with a secret, the log, the
// model, the artifacts, the outcome and the remote have nothing of it.
func TestSecretsStayInside(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{cache: true, script: play(
		command(leak+`env; printf %s "$CANARY" > key.txt; touch "$(printf %s "$CANARY" | od -An -tx1 | tr -d ' \n')"`),
		call("read_files", object{"files": []object{{"path": "key.txt"}}}),
		call("git_commit", object{"message": "Add the key"}),                                               // refused
		call("report_artifact", object{"type": "file", "path": "key.txt"}),                                 // refused
		command(`rm key.txt; git add -A; git -c user.name=A -c user.email=a@example.com commit -qm files`), // an empty file has the value as its name
		call("git_push", object{"allow_base_branch": true}),                                                // refused
		command(`git reset -q --hard origin/HEAD; git switch -q -c "b-$(printf %s "$CANARY" | od -An -tx1 | tr -d ' \n')"; git -c user.name=A -c user.email=a@example.com commit -q --allow-empty -m x`),
		call("git_push", object{}), // refused: the branch has the value as its name
		command(`git switch -q -c fine; git -c user.name=A -c user.email=a@example.com commit -q --amend --allow-empty -m "$CANARY"`),
		call("git_push", object{}), // refused: the message
		command(`GIT_COMMITTER_NAME="$CANARY" GIT_COMMITTER_EMAIL=a@example.com git -c user.name=A -c user.email=a@example.com commit -q --amend --allow-empty -m y`),
		call("git_push", object{}), // refused: the committer
		call("finish", object{"outcome": "failure", "summary": "The key is in the log? " + canary}),
	)})
	_, err := r.CreateSecret(t.Context(), oz.SecretInput{Name: "CANARY", Value: canary})
	assert.NilError(t, err)
	run, events := r.finish(r.submit(oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: r.environment(
		func(c *environment.Config) { c.SetupCommands = []string{leak} })}}))
	assert.Equal(t, run.State, task.StateFailed, "%s", describe(events))

	denied := 0
	for _, p := range payloads[*task.ToolResult](events) {
		if p.State == task.ToolDenied {
			denied++
		}
	}
	assert.Equal(t, denied, 6, "%s", describe(events))
	assert.Equal(t, r.git(r.remote, "for-each-ref", "--format=%(refname)"), "refs/heads/main", "nothing was pushed")
	assert.Equal(t, len(run.Artifacts), 0)

	seen := map[string][]byte{"log": []byte(describe(events))}
	for _, e := range events {
		raw, err := e.MarshalJSON()
		assert.NilError(t, err)
		seen["log"] = append(seen["log"], raw...)
	}
	seen["run"], err = json.Marshal(run)
	assert.NilError(t, err)
	for _, q := range r.model.Requests() {
		seen["requests"] = append(seen["requests"], q.Body...)
	}
	for name, data := range seen {
		noCanary(t, name, data)
	}
	assert.Assert(t, bytes.Contains(seen["requests"], []byte("CANARY")), "the name stands in its place")
	// The database, the blobs and the mirror are on disk, and the model's
	// script is not: what is there came from the run.
	noCanaryIn(t, r.dir, "workspaces")
}

// noCanary looks for the canary in every form.
func noCanary(t *testing.T, where string, data []byte) {
	t.Helper()
	for _, f := range forms() {
		if at := bytes.Index(data, []byte(f)); at >= 0 {
			t.Errorf("%s has the secret as %q: ...%q", where, f, data[max(0, at-100):at])
		}
	}
}

// noCanaryIn looks through the names and contents of all files but those below
// except, where the agent itself wrote them.
func noCanaryIn(t *testing.T, dir, except string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == except:
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		files++
		noCanary(t, "a name", []byte(strings.TrimPrefix(path, dir)))
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		data, err := io.ReadAll(f)
		noCanary(t, path, data)
		return err
	})
	assert.NilError(t, err)
	assert.Assert(t, files > 5)
}

// TestCredentialsAreNotTheAgents: the agent's processes have its secrets and
// the gateway's token at most, never a key of the platform or of its user.
func TestCredentialsAreNotTheAgents(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(command("env > ../all.env; echo done"), finish("Done."))})
	dir := filepath.Join(t.TempDir(), "here")
	assert.NilError(t, os.Mkdir(dir, 0o700))
	_, link := r.startHere()
	_, err := runHere(t, r, link, dir)
	assert.NilError(t, err)
	env, err := os.ReadFile(filepath.Join(dir, "..", "all.env"))
	assert.NilError(t, err)
	assert.Assert(t, bytes.Contains(env, []byte("OZ_RUN_ID=")))
	for _, key := range []string{modelKey, "the-users-own-key-1", "another-key-of-hers-2", "sk-oz-"} {
		assert.Assert(t, !bytes.Contains(env, []byte(key)), "%s", env)
	}
}
