package environment_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/environment/internal/gittest"
)

// startVictim starts this program as another process that does v.
func startVictim(t *testing.T, v victim) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	job, err := json.Marshal(v)
	assert.NilError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimVar+"="+string(job), "TMPDIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	assert.NilError(t, err)
	assert.NilError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, bufio.NewReader(out)
}

// killAt starts v and kills it where it stands still.
func killAt(t *testing.T, v victim) {
	t.Helper()
	cmd, out := startVictim(t, v)
	line, err := out.ReadString('\n')
	assert.NilError(t, err, "the process never came to %q", v.StopAt)
	assert.Equal(t, line, "ready\n")
	assert.NilError(t, cmd.Process.Kill())
	_ = cmd.Wait() // says that it was killed
}

func count(t *testing.T, path, word string) int {
	t.Helper()
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return 0
	}
	assert.NilError(t, err)
	return strings.Count(string(data), word)
}

func TestPrepareResumesAfterKill(t *testing.T) {
	app := gittest.New(t, "app", map[string]string{"a": "1"})
	lib := gittest.New(t, "lib", map[string]string{"b": "1"})
	for _, tt := range []struct {
		stopAt   string
		one, two int // how often the commands have run in the end
	}{
		{"clone 1 started", 1, 1},
		{"clone 2 done", 1, 1},
		{"setup 1 started", 1, 1},
		{"setup 1 done", 2, 1}, // done, but not yet written down
		{"setup 2 started", 1, 1},
		{"setup 2 output", 1, 2},
		{"setup 2 done", 1, 2},
		{"setup 3 done", 1, 1},
	} {
		t.Run(tt.stopAt, func(t *testing.T) {
			dir := t.TempDir()
			o := environment.Options{Dir: dir, Config: config([]string{
				"echo one >> log",
				"echo two >> log; if [ ! -e pids ]; then " + family + "\n[ -e go-on ] || wait; fi",
				"echo three >> log",
			}, app, lib)}
			if !strings.HasPrefix(tt.stopAt, "setup 2 output") {
				gittest.WriteFiles(t, dir, map[string]string{"go-on": ""})
			}
			killAt(t, victim{Options: o, StopAt: tt.stopAt})

			ws, err := newPreparer(t, nil).Prepare(t.Context(), o)
			assert.NilError(t, err)
			assert.Equal(t, len(ws.Checkouts), 2)
			for _, c := range ws.Checkouts {
				assert.Equal(t, gittest.Git(t, c.Dir, "status", "--porcelain", "--branch"), "## main...origin/main")
				gittest.Git(t, c.Dir, "fsck", "--strict")
			}
			log := filepath.Join(dir, "log")
			assert.Equal(t, count(t, log, "one"), tt.one)
			assert.Equal(t, count(t, log, "two"), tt.two)
			assert.Assert(t, count(t, log, "three") >= 1)
			if tt.stopAt == "setup 2 output" || tt.stopAt == "setup 2 done" { // interrupted: nothing of it is left
				for pid := range strings.FieldsSeq(read(t, filepath.Join(dir, "pids"))) {
					gone(t, pid)
				}
			}
			left, err := filepath.Glob(filepath.Join(dir, ".oz", "tmp*"))
			assert.NilError(t, err)
			assert.Equal(t, len(left), 0, "%v", left)
			killFamily(t, dir)
		})
	}
}

// killFamily ends what a finished setup command rightly left running.
func killFamily(t *testing.T, dir string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "pids"))
	if err == nil {
		_ = exec.Command("kill", append([]string{"-9"}, strings.Fields(string(data))...)...).Run()
	}
}

// The process is killed while the objects are on the wire.
func TestPrepareResumesAfterKillInMidClone(t *testing.T) {
	app := gittest.New(t, "app", map[string]string{"a": strings.Repeat("x\n", 100000)})
	inClone, killed := make(chan struct{}), make(chan struct{})
	var first sync.Once
	server := gittest.Serve(t, filepath.Dir(app.Bare), &gittest.Server{Before: func(r *http.Request) {
		if r.Method == http.MethodPost && r.Header.Get("X-Again") == "" {
			first.Do(func() { close(inClone); <-killed })
		}
	}})
	c := config([]string{"cat a > ../copy"}, app)
	c.Repos[0].URL = server.URL + "/app.git"
	o := environment.Options{Dir: t.TempDir(), Config: c}
	cmd, _ := startVictim(t, victim{Options: o})
	<-inClone
	assert.NilError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	_, err := os.Stat(filepath.Join(o.Dir, "app"))
	assert.ErrorIs(t, err, os.ErrNotExist) // nothing half done has the name
	close(killed)

	ws, err := newPreparer(t, nil).Prepare(t.Context(), o)
	assert.NilError(t, err)
	assert.Equal(t, ws.Checkouts[0].From, environment.FromRemote)
	assert.Equal(t, len(read(t, filepath.Join(o.Dir, "copy"))), 200000)
}

// A marker that a crash or a person has spoiled costs a repetition, no more.
func TestPrepareWithASpoiltMarker(t *testing.T) {
	app := gittest.New(t, "app", map[string]string{"a": "1"})
	p := newPreparer(t, nil)
	o := environment.Options{Dir: t.TempDir(), Config: config([]string{"echo x >> ../log"}, app)}
	for i, content := range []string{"", "{", `{"key":1}`, `{"setup_done":-5}`, `null`} {
		gittest.WriteFiles(t, o.Dir, map[string]string{".oz/prepared.json": content})
		_, err := p.Prepare(t.Context(), o)
		assert.NilError(t, err)
		assert.Equal(t, count(t, filepath.Join(o.Dir, "log"), "x"), i+1)
	}
	// Another configuration is another preparation.
	o.Config.SetupCommands = append(o.Config.SetupCommands, "echo y >> ../log")
	_, err := p.Prepare(t.Context(), o)
	assert.NilError(t, err)
	assert.Equal(t, read(t, filepath.Join(o.Dir, "log")), "x\nx\nx\nx\nx\nx\ny\n")
}

// The agent of an execution that died may have written the marker: it must not
// choose where the next one pushes to, or starts.
func TestPrepareBelievesTheConfigOverTheMarker(t *testing.T) {
	app, other := gittest.New(t, "app", map[string]string{"a": "1"}), gittest.New(t, "other", map[string]string{"a": "1"})
	p := newPreparer(t, nil)
	o := environment.Options{Dir: t.TempDir(), Config: config([]string{"echo x >> ../log"}, app)}
	first, err := p.Prepare(t.Context(), o)
	assert.NilError(t, err)
	path := filepath.Join(o.Dir, ".oz", "prepared.json")
	honest := read(t, path)
	for _, change := range [][2]string{
		{`"url":"` + app.URL(), `"url":"` + other.URL()},
		{`"dir":"` + first.Checkouts[0].Dir, `"dir":"` + other.Work},
		{`"working_dir":"` + first.WorkingDir, `"working_dir":"/`},
		{`"checkouts":[`, `"checkouts":[{},`},
	} {
		forged := strings.Replace(honest, change[0], change[1], 1)
		assert.Assert(t, forged != honest, "%s is not in %s", change[0], honest)
		assert.NilError(t, os.WriteFile(path, []byte(forged), 0o600))
		ws, err := p.Prepare(t.Context(), o)
		assert.NilError(t, err)
		assert.Equal(t, ws.Checkouts[0].URL, first.Checkouts[0].URL)
		assert.Equal(t, ws.Checkouts[0].Dir, first.Checkouts[0].Dir)
		assert.Equal(t, ws.WorkingDir, first.WorkingDir)
		assert.Equal(t, len(ws.Checkouts), 1)
	}
	assert.Equal(t, read(t, filepath.Join(o.Dir, "log")), "x\n") // finished commands stay so
}

// TestPrepareResumesAroundRestore: what was cut off while it was restored is
// cloned anew, and what a checkout builds on stays what was cloned, however
// often the rest is taken up again.
func TestPrepareResumesAroundRestore(t *testing.T) {
	app := gittest.New(t, "app", map[string]string{"a": "1"})
	base := app.Head(t, "main")
	dir := t.TempDir()
	var seen []string
	cutOff := true
	o := environment.Options{Dir: dir, Config: config([]string{"[ -e go-on ] || exit 1"}, app)}
	o.Restore = func(_ context.Context, c environment.Checkout) error {
		seen = append(seen, c.Branch+" "+c.Commit+" "+gittest.Git(t, c.Dir, "status", "--porcelain"))
		gittest.Git(t, c.Dir, "checkout", "--quiet", "-b", "oz/work")
		gittest.Git(t, c.Dir, "-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "--allow-empty", "-m", "Never pushed")
		gittest.WriteFiles(t, c.Dir, map[string]string{"b": "2"})
		if cutOff {
			gittest.WriteFiles(t, c.Dir, map[string]string{".git/index.lock": ""})
			return context.Canceled
		}
		return nil
	}
	p := newPreparer(t, nil)
	_, err := p.Prepare(t.Context(), o)
	assert.ErrorIs(t, err, context.Canceled)
	cutOff = false
	_, err = p.Prepare(t.Context(), o)
	assert.ErrorContains(t, err, "setup command")
	gittest.WriteFiles(t, dir, map[string]string{"app/go-on": ""})
	ws, err := p.Prepare(t.Context(), o)
	assert.NilError(t, err)

	assert.DeepEqual(t, seen, []string{"main " + base + " ", "main " + base + " "})
	assert.Equal(t, ws.Checkouts[0].Commit, base, "what was restored is in no remote")
	assert.Equal(t, ws.Checkouts[0].Branch, "main")
	assert.Equal(t, gittest.Git(t, ws.Checkouts[0].Dir, "rev-parse", "--abbrev-ref", "HEAD"), "oz/work")
}
