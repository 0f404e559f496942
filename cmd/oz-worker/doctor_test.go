package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/internal/servertest"
)

// examine runs the doctor, and gives its findings by name.
func examine(t *testing.T, env []string, args ...string) (code int, found map[string]finding, out string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append([]string{"doctor", "--output-format", "json"}, args...)...)
	cmd.Env = servertest.Environ(env...)
	raw, _ := cmd.Output()
	var answer struct {
		OK     bool      `json:"ok"`
		Checks []finding `json:"checks"`
	}
	assert.NilError(t, json.Unmarshal(raw, &answer), "%s", raw)
	found = map[string]finding{}
	for _, f := range answer.Checks {
		if old, ok := found[f.Name]; !ok || old.State == stateOK { // disk has two
			found[f.Name] = f
		}
		assert.Assert(t, f.State != stateFail || f.Mend != "", "%s: no word on how to mend it", f.Name)
	}
	code = cmd.ProcessState.ExitCode()
	assert.Equal(t, answer.OK, code == 0)
	return code, found, string(raw)
}

// TestDoctor looks at this machine and a real server: all that a worker needs
// is there, and nothing is left behind.
func TestDoctor(t *testing.T) {
	r := newRig(t, "")
	code, found, out := examine(t, nil, "--config-file", r.file)
	assert.Equal(t, code, 0, out)
	for _, name := range []string{"version", "configuration", "server", "key", "clock", "state directory", "disk", "kernel", "git"} {
		assert.Assert(t, found[name].State == stateOK || name == "disk" && found[name].State == stateWarn, "%+v", found[name])
	}
	for _, name := range []string{"namespaces", "cgroup", "containerd", "runc", "cni"} {
		assert.Assert(t, found[name].Detail != "", name)
	}
	_, err := os.Stat(filepath.Join(r.Dir, "state"))
	assert.ErrorIs(t, err, os.ErrNotExist, "the doctor made it")
	assert.Assert(t, !strings.Contains(out, r.key))

	cmd := exec.CommandContext(t.Context(), program, "doctor", "--config-file", r.file)
	cmd.Env = servertest.Environ()
	text, err := cmd.Output()
	assert.NilError(t, err)
	assert.Assert(t, is.Contains(string(text), "ok    key              the server takes it\n"))

	wrong := "wrong-key-canary-31"
	code, found, out = examine(t, []string{"WARP_API_KEY=" + wrong}, "--server", r.URL, "--worker-id", "w", "--state-dir", t.TempDir())
	assert.Equal(t, code, 1)
	assert.Equal(t, found["key"].State, stateFail)
	assert.Equal(t, found["server"].State, stateOK)
	assert.Equal(t, found["key"].Detail, "the server refuses it with 401; it is that of WARP_API_KEY")
	assert.Assert(t, is.Contains(found["key"].Mend, "oz api-key create NAME --worker"))
	assert.Assert(t, !strings.Contains(out, wrong))
}

// TestDoctorFinds: what is wrong is named, with its state and how to mend it.
func TestDoctorFinds(t *testing.T) {
	answer := func(code int, body string, header ...string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			fmt.Fprint(w, body)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	const link = "connect with a WebSocket"
	at := func(by time.Duration) string { return time.Now().Add(by).UTC().Format(http.TimeFormat) }
	empty := t.TempDir()
	noGit := []string{"PATH=" + empty}
	for _, tt := range []struct {
		name, finding, state, want string
		server                     string
		env, args                  []string
		file                       string
	}{
		{name: "refused", finding: "server", state: stateFail, want: "connection refused", server: "http://" + servertest.FreeAddress(t)},
		{name: "no such name", finding: "server", state: stateFail, want: "cannot be reached", server: "http://oz.invalid"},
		{name: "certificate", finding: "server", state: stateFail, want: "certificate", server: secure.URL},
		{name: "redirect", finding: "server", state: stateFail, want: "leads elsewhere: https://other.example.com", server: answer(307, "", "Location", "https://other.example.com")},
		{name: "no link", finding: "server", state: stateFail, want: "has no link for workers", server: answer(404, "")},
		{name: "starting", finding: "server", state: stateFail, want: "is starting or stopping", server: answer(503, "")},
		{name: "another server", finding: "server", state: stateFail, want: "answers with 200", server: answer(200, "<html>")},
		{name: "refused key", finding: "key", state: stateFail, want: "refuses it with 403", server: answer(403, "")},
		{name: "clock a little off", finding: "clock", state: stateWarn, want: "away from the server's", server: answer(400, link, "Date", at(time.Minute))},
		{name: "clock far off", finding: "clock", state: stateFail, want: "will not hold", server: answer(400, link, "Date", at(-time.Hour))},
		{name: "no clock", finding: "clock", state: stateNote, want: "does not tell", server: answer(400, link, "Date", "now")},
		{name: "no git", finding: "git", state: stateFail, want: "git does not run", env: noGit},
		{name: "no git needed", finding: "git", state: stateNote, want: "git does not run", env: noGit, file: "backend: {command: {dispatch_command: 'true', cancel_command: 'true'}}"},
		{name: "no containerd", finding: "containerd", state: stateNote, want: "not installed", env: noGit},
		{name: "shared libraries", finding: "runner", state: stateFail, want: "/bin/sh needs shared libraries", file: "backend: {containerd: {runner: /bin/sh}}"},
		{name: "runner that is not there", finding: "runner", state: stateFail, want: "/nonexistent: no such file", file: "backend: {containerd: {runner: /nonexistent}}"},
		{name: "no socket", finding: "containerd", state: stateFail, want: "it does not answer at /nonexistent.sock", file: "backend: {containerd: {address: /nonexistent.sock}}"},
		{name: "state", finding: "state directory", state: stateFail, want: "cannot be made", args: []string{"--state-dir", "/proc/none"}},
		{name: "configuration", finding: "configuration", state: stateFail, want: `unknown field "sever"`, file: "sever: x"},
		{name: "no cancel command", finding: "cancel_command", state: stateWarn, want: "there is none", file: "backend: {command: {dispatch_command: 'true'}}"},
		{name: "dispatch command", finding: "dispatch_command", state: stateFail, want: "/bin/sh cannot read it", file: "backend: {command: {dispatch_command: 'if'}}"},
		{name: "setup command", finding: "setup_command", state: stateFail, want: "/bin/sh cannot read it", file: "backend: {direct: {setup_command: '(('}}"},
		{name: "good setup command", finding: "setup_command", state: stateOK, want: "can read it", file: "backend: {direct: {setup_command: 'touch " + empty + "/ran'}}"},
		{name: "oz_path", finding: "oz_path", state: stateFail, want: "does not run", file: "backend: {direct: {oz_path: /bin/false}}"},
		{name: "cgroup", finding: "backend cgroup", state: stateFail, want: "cannot be managed", file: "backend: {local: {cgroup: /nonexistent}}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.finding == "backend cgroup" {
				if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
					t.Skip("needs cgroup v2: this machine has v1")
				}
			}
			server := tt.server
			if server == "" {
				server = answer(400, link)
			}
			args := append([]string{"--server", server, "--worker-id", "w"}, tt.args...)
			if len(tt.args) == 0 {
				args = append(args, "--state-dir", t.TempDir())
			}
			if tt.file != "" {
				args = append(args, "--config-file", writeFile(t, tt.file))
			}
			code, found, out := examine(t, append([]string{key}, tt.env...), args...)
			f := found[tt.finding]
			assert.Equal(t, f.State, tt.state, out)
			assert.Assert(t, is.Contains(f.Detail, tt.want))
			if tt.state == stateFail {
				assert.Equal(t, code, 1)
			}
			assert.Assert(t, !strings.Contains(out, "the-key"), out)
		})
	}
	_, err := os.Stat(filepath.Join(empty, "ran"))
	assert.ErrorIs(t, err, os.ErrNotExist, "the doctor ran a command of the operator's")
}
