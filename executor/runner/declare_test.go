package runner_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// script writes an executable.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "declare.sh")
	assert.NilError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	return path
}

// with adds variables to the agent's environment.
func with(vars ...string) func(*runner.Options) {
	return func(o *runner.Options) { o.Environ = append(o.Environ, vars...) }
}

// TestDeclaredFiles: what a script declares is kept at the end, beside the
// repositories, and is there again in a new workspace (Oz platform, SNP-1).
func TestDeclaredFiles(t *testing.T) {
	t.Parallel()
	declare := script(t, `d() { printf '{"version":1,"kind":"%s","path":"%s"}\n' "$1" "$2" >>"$OZ_SNAPSHOT_DECLARATIONS_FILE"; }
top=$(cd .. && pwd)
d file "$top/out/report.txt"; d file "$top/out/report.txt"; d file "$top/greeting/notes.txt"
d repo "$top/mine"; d file "$top/mine/inside.txt"; d file "$top/link"; d file "$top/out"; d file "$top/none"
echo 'no json' >>"$OZ_SNAPSHOT_DECLARATIONS_FILE"; echo '{"version":2,"kind":"file","path":"/x"}' >>"$OZ_SNAPSHOT_DECLARATIONS_FILE"
d socket /x; d file relative; d repo /nowhere`)
	r := newRig(t, setup{script: play(command("cd .. && mkdir out && echo measured > out/report.txt && ln -s /etc/passwd link && "+
		"git init -q mine && echo in > mine/inside.txt && git -C mine add . && git -C mine -c user.name=a -c user.email=a@b commit -qm one"),
		finish("Measured."), command("cat ../out/report.txt"), finish("It is there.")), runner: with("OZ_SNAPSHOT_DECLARATIONS_SCRIPT=" + declare)})
	run, events := r.do(prompt, r.environment(nil))
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Head.Status.Message, describe(events))
	taken := payloads[*task.SnapshotTaken](events)[0]
	var got []string
	for _, f := range taken.Files {
		got = append(got, fmt.Sprintf("%s %s %s", f.Kind, f.Name, f.Path))
	}
	assert.DeepEqual(t, got, []string{"file report.txt out/report.txt", "bundle mine.bundle ", "patch mine.patch "})
	skipped := strings.Join(taken.Skipped, "\n")
	for _, want := range []string{"link: is no regular file", "out: is no regular file", "none: no such file", "line 9 of the declarations: is no JSON object",
		"line 10 of the declarations: has version 2", `has the kind "socket"`, "has no absolute path", "nowhere: lies outside the workspace"} {
		assert.Assert(t, is.Contains(skipped, want))
	}
	assert.NilError(t, os.RemoveAll(r.workspace(run.ID)))
	assert.NilError(t, r.FollowUp(t.Context(), run.ID, oz.Message{Text: "Go on."}))
	run, events = r.finish(run.ID)
	assert.Equal(t, run.State, task.StateSucceeded, run.Head.Status.Message)
	results := payloads[*task.ToolResult](events)
	assert.Assert(t, is.Contains(results[len(results)-2].Content, "measured"))
}

// TestDeclarationsStayInTheirLimits: what goes wrong with them is said, and
// changes nothing of the run's outcome (Oz platform, SNP-2).
func TestDeclarationsStayInTheirLimits(t *testing.T) {
	dir := t.TempDir()
	line := func(path string) string { return fmt.Sprintf(`{"version":1,"kind":"file","path":%q}`+"\n", path) }
	var many strings.Builder
	for i := range task.MaxSnapshotFiles + 5 {
		path := filepath.Join(dir, fmt.Sprint("f", i))
		assert.NilError(t, os.WriteFile(path, []byte("x"), 0o600))
		many.WriteString(line(path))
	}
	large := filepath.Join(dir, "large")
	assert.NilError(t, os.WriteFile(large, nil, 0o600))
	assert.NilError(t, os.Truncate(large, task.MaxSnapshotFileBytes+1))
	static := filepath.Join(dir, "static")
	assert.NilError(t, os.WriteFile(static, []byte(line(large)), 0o600))
	listing := filepath.Join(dir, "many")
	assert.NilError(t, os.WriteFile(listing, []byte(many.String()), 0o600))
	for name, tt := range map[string]struct {
		vars  string
		files int
		says  string
	}{
		"a large file in a static list": {"OZ_SNAPSHOT_DECLARATIONS_FILE=" + static, 0, "large: large has"},
		"many files":                    {"OZ_SNAPSHOT_DECLARATIONS_FILE=" + listing, task.MaxSnapshotFiles, "at most 100 files are kept"},
		"no list":                       {"OZ_SNAPSHOT_DECLARATIONS_FILE=" + dir + "/none", 0, "no such file"},
		"a list that is a pipe":         {"OZ_SNAPSHOT_DECLARATIONS_FILE=/dev/zero", 0, "is no regular file"},
		"a script that hangs":           {"OZ_SNAPSHOT_DECLARATIONS_SCRIPT=" + script(t, "sleep 600 & sleep 600"), 0, "took longer than"},
		"a script that fails":           {"OZ_SNAPSHOT_DECLARATIONS_SCRIPT=" + script(t, "exit 3"), 0, "exit status 3"},
		"a script that floods":          {"OZ_SNAPSHOT_DECLARATIONS_SCRIPT=" + script(t, `head -c 2000000 /dev/zero >"$OZ_SNAPSHOT_DECLARATIONS_FILE"`), 0, "has more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{script: play(finish("Done.")), runner: func(o *runner.Options) {
				with(tt.vars)(o)
				o.SnapshotScriptTimeout = 2 * time.Second
			}})
			run, events := r.do(prompt, "")
			assert.Equal(t, run.State, task.StateSucceeded, run.Head.Status.Message)
			taken := payloads[*task.SnapshotTaken](events)[0]
			assert.Equal(t, len(taken.Files), tt.files)
			assert.Assert(t, is.Contains(strings.Join(taken.Skipped, "\n"), tt.says))
		})
	}
}

// TestDeclaredSecret: a declared file that holds a secret is not kept.
func TestDeclaredSecret(t *testing.T) {
	t.Parallel()
	const value = "q7Lw-93nP-xx21-ZZtop"
	list := filepath.Join(t.TempDir(), "list")
	secret := filepath.Join(filepath.Dir(list), "env")
	assert.NilError(t, os.WriteFile(secret, []byte("TOKEN="+value), 0o600))
	assert.NilError(t, os.WriteFile(list, fmt.Appendf(nil, `{"version":1,"kind":"file","path":%q}`, secret), 0o600))
	r := newRig(t, setup{script: play(finish("Done.")), runner: with("OZ_SNAPSHOT_DECLARATIONS_FILE=" + list)})
	_, err := r.CreateSecret(t.Context(), oz.SecretInput{Name: "DEPLOY_TOKEN", Value: value})
	assert.NilError(t, err)
	_, events := r.do(prompt, "")
	taken := payloads[*task.SnapshotTaken](events)[0]
	assert.Equal(t, len(taken.Files), 0)
	assert.Assert(t, is.Contains(taken.Skipped[0], "holds a secret"))
}
