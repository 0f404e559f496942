package cliagent_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	"github.com/oz-platform/cloudagents/task"
)

// at gives options with the test binary as the program, and short times.
func at(t testing.TB, opts cliagent.Options) *cliagent.Options {
	t.Helper()
	self, err := os.Executable()
	assert.NilError(t, err)
	if opts.Path == "" {
		opts.Path = self
	}
	opts.Poll = 20 * time.Millisecond
	return &opts
}

func lab(t testing.TB, opts harnesstest.LabOptions) *harnesstest.Lab {
	t.Helper()
	opts.NoRepo = true
	opts.Script = scripted.Script{Steps: []scripted.Step{{Text: "unused"}}}
	l := harnesstest.NewLab(t, opts)
	l.Log.Say("FIRST")
	return l
}

// session lets the program's --version act as the fake, too.
func session(t testing.TB, l *harnesstest.Lab, how string) *harness.Session {
	t.Helper()
	s := l.Session(t)
	s.Env = append(s.Env, fakeName+"="+how)
	return s
}

func run(t testing.TB, l *harnesstest.Lab, how string, opts cliagent.Options) harness.Outcome {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	out, err := cliagent.New(program{how}, at(t, opts)).Run(ctx, session(t, l, how))
	assert.NilError(t, err)
	return out
}

func notices(l *harnesstest.Lab) string {
	var all []string
	for _, n := range harnesstest.Payloads[*task.Notice](l.Log) {
		all = append(all, n.Text)
	}
	return strings.Join(all, "\n")
}

func TestAnswer(t *testing.T) {
	l := lab(t, harnesstest.LabOptions{})
	out := run(t, l, "answer", cliagent.Options{})
	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
	assert.Equal(t, out.Status.Message, "said FIRST")
	assert.Equal(t, out.Turns, 1)
	sessions := harnesstest.Payloads[*task.AgentSession](l.Log)
	assert.Equal(t, len(sessions), 1)
	assert.DeepEqual(t, sessions[0], &task.AgentSession{Harness: "fake", ID: "native-1", Version: "1.2.3", Inputs: []int64{1}})

	l.Log.Say("SECOND")
	out = run(t, l, "answer", cliagent.Options{})
	assert.Equal(t, out.Status.Message, "said SECOND")
	assert.Equal(t, out.SeenInput, l.Log.Events()[len(l.Log.Events())-1].Seq-4)
	l.CheckLog(t)
}

// Each way for a program to go wrong has its outcome.
func TestFaults(t *testing.T) {
	for how, want := range map[string]struct {
		state   task.State
		code    task.Code
		message string
		opts    cliagent.Options
	}{
		"hang":    {task.StateError, task.CodeInfrastructureTimeout, "nothing was heard", cliagent.Options{IdleTimeout: 200 * time.Millisecond, StopGrace: time.Second}},
		"deaf":    {task.StateError, task.CodeInfrastructureTimeout, "nothing was heard", cliagent.Options{IdleTimeout: 200 * time.Millisecond, StopGrace: 50 * time.Millisecond}},
		"crash":   {task.StateError, task.CodeAgentProcessFailed, "the sky fell", cliagent.Options{}},
		"half":    {task.StateError, task.CodeAgentProcessFailed, "ended without a result", cliagent.Options{}},
		"circles": {task.StateBlocked, "", "Fake is stuck: its last 30 calls, the newest of tool, were made before with the same results", cliagent.Options{}},
		"noise":   {task.StateSucceeded, "", "said", cliagent.Options{}},
		"large":   {task.StateSucceeded, "", "said", cliagent.Options{}},
	} {
		t.Run(how, func(t *testing.T) {
			const secret = "Tq7-vX2_pL9zKd4Rw8"
			l := lab(t, harnesstest.LabOptions{Secrets: map[string]string{"FAKE_SECRET": secret}})
			out := run(t, l, how, want.opts)
			assert.Equal(t, out.State, want.state, "%+v", out.Status)
			assert.Equal(t, out.Status.ErrorCode, want.code)
			assert.Assert(t, is.Contains(out.Status.Message, want.message))
			assert.Assert(t, !strings.Contains(out.Status.Message, secret))
			l.CheckLog(t)
			switch how {
			case "large":
				assert.Assert(t, is.Contains(notices(l), "too long to be read"))
			case "half":
				assert.Assert(t, is.Contains(notices(l), "in the middle of a record"))
			}
		})
	}
}

// A record of 100 MiB takes no more memory than the limit says.
func TestLargeRecordTakesLittleMemory(t *testing.T) {
	l := lab(t, harnesstest.LabOptions{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	out := run(t, l, "large", cliagent.Options{MaxLineBytes: 1 << 20})
	runtime.ReadMemStats(&after)
	assert.Equal(t, out.State, task.StateSucceeded)
	assert.Assert(t, after.TotalAlloc-before.TotalAlloc < 32<<20, "%d bytes", after.TotalAlloc-before.TotalAlloc)
}

// What a program leaves behind is killed, though it holds the output open.
func TestOrphanIsKilled(t *testing.T) {
	l := lab(t, harnesstest.LabOptions{})
	out := run(t, l, "orphan", cliagent.Options{})
	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
	pid := harnesstest.WaitForFile(t, filepath.Join(l.Root, "pid"))
	assert.Assert(t, !harnesstest.Alive(pid))
}

// A message interrupts an agent that does not read, in the middle of a call
// once patience ends, and is told to it once.
func TestSteeringInterrupts(t *testing.T) {
	l := lab(t, harnesstest.LabOptions{})
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	done := make(chan harness.Outcome, 1)
	s := session(t, l, "tool-hang")
	go func() {
		out, err := cliagent.New(program{"tool-hang"}, at(t, cliagent.Options{SteerPatience: 100 * time.Millisecond, StopGrace: time.Second})).Run(ctx, s)
		assert.Check(t, err)
		done <- out
	}()
	_, err := l.Log.Wait(ctx, func(e task.Event) bool { _, ok := e.Payload.(*task.TurnEnded); return ok })
	assert.NilError(t, err)
	seq := l.Log.Say("SECOND")
	out := <-done
	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
	assert.Equal(t, out.Status.Message, "heard SECOND")
	assert.Equal(t, out.SeenInput, seq)
	l.CheckLog(t)
	results := harnesstest.Payloads[*task.ToolResult](l.Log)
	assert.Equal(t, results[0].State, task.ToolFailed)
}

// A session that the program cannot resume is told anew, once.
func TestUnresumableSessionIsTold(t *testing.T) {
	l := lab(t, harnesstest.LabOptions{})
	out := run(t, l, "no-resume", cliagent.Options{})
	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
	l.Log.Say("SECOND")
	out = run(t, l, "no-resume", cliagent.Options{})
	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
	assert.Assert(t, is.Contains(out.Status.Message, "FIRST"))
	assert.Assert(t, is.Contains(out.Status.Message, "SECOND"))
	assert.Equal(t, strings.Count(out.Status.Message, "User:\nSECOND"), 1)
	l.CheckLog(t)
}

func TestTimeLimit(t *testing.T) {
	l := lab(t, harnesstest.LabOptions{Limits: task.Limits{MaxMinutes: 1}})
	s := session(t, l, "hang")
	s.Execution.BegunAt = time.Now().Add(-59900 * time.Millisecond)
	out, err := cliagent.New(program{"hang"}, at(t, cliagent.Options{StopGrace: 50 * time.Millisecond})).Run(t.Context(), s)
	assert.NilError(t, err)
	assert.Equal(t, out.State, task.StateBlocked, "%+v", out.Status)
	assert.Assert(t, is.Contains(out.Status.Message, "1 minutes"))
}

// A program that is not there, or not the one that is asked for, is refused
// with what to do about it.
func TestProgramIsLookedFor(t *testing.T) {
	self, err := os.Executable()
	assert.NilError(t, err)
	bin, cache := t.TempDir(), t.TempDir()
	assert.NilError(t, os.Symlink(self, filepath.Join(bin, "fake")))
	assert.NilError(t, os.MkdirAll(filepath.Join(cache, "fake", "1.2.3"), 0o755))
	assert.NilError(t, os.Symlink(self, filepath.Join(cache, "fake", "1.2.3", "fake")))
	for name, c := range map[string]struct {
		env  []string
		opts cliagent.Options
		want string // "" for success
	}{
		"in PATH":         {[]string{"PATH=" + bin}, cliagent.Options{}, ""},
		"in the cache":    {[]string{"PATH=/nowhere"}, cliagent.Options{Cache: cache}, ""},
		"named cache":     {[]string{"PATH=/nowhere", "OZ_HARNESS_DIR=" + cache}, cliagent.Options{}, ""},
		"pinned":          {[]string{"PATH=" + bin, "OZ_FAKE_VERSION=1.2.3"}, cliagent.Options{}, ""},
		"missing":         {[]string{"PATH=/nowhere"}, cliagent.Options{}, "npm install -g fake-agent@1.2.3"},
		"not where said":  {[]string{"PATH=" + bin}, cliagent.Options{Path: filepath.Join(bin, "nothing")}, "is not at"},
		"other version":   {[]string{"PATH=" + bin}, cliagent.Options{Version: "2.0.0"}, "is version 1.2.3, and 2.0.0 is asked for"},
		"pinned to other": {[]string{"PATH=" + bin, "OZ_FAKE_VERSION=2.0.0"}, cliagent.Options{}, "is version 1.2.3, and 2.0.0 is asked for"},
		"bad pin":         {[]string{"PATH=" + bin, "OZ_FAKE_VERSION=../x"}, cliagent.Options{}, "is no version"},
		"no program":      {[]string{"PATH=/nowhere"}, cliagent.Options{Path: "/bin/false"}, "does not answer --version"},
		"no npm":          {[]string{"PATH=/nowhere", "OZ_HARNESS_INSTALL=1"}, cliagent.Options{Cache: t.TempDir()}, "install Fake"},
	} {
		t.Run(name, func(t *testing.T) {
			l := lab(t, harnesstest.LabOptions{})
			s := l.Session(t)
			s.Env = append(c.env, fakeName+"=answer", "HOME="+t.TempDir())
			out, err := cliagent.New(program{"answer"}, &c.opts).Run(t.Context(), s)
			assert.NilError(t, err)
			if c.want == "" {
				assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
				return
			}
			assert.Equal(t, out.State, task.StateFailed, "%+v", out.Status)
			assert.Equal(t, out.Status.ErrorCode, task.CodeEnvironmentSetupFailed)
			assert.Assert(t, is.Contains(out.Status.Message, c.want))
		})
	}
}

func TestWireThatIsNotSpoken(t *testing.T) {
	l := lab(t, harnesstest.LabOptions{Wire: "openai"})
	out := run(t, l, "answer", cliagent.Options{})
	assert.Equal(t, out.State, task.StateFailed)
	assert.Equal(t, out.Status.ErrorCode, task.CodeInvalidRequest)
	assert.Assert(t, is.Contains(out.Status.Message, "does not speak the openai wire"))
}

func TestMatcher(t *testing.T) {
	p := func(words string) cliagent.Prompt { return cliagent.Prompt{Words: words} }
	for name, c := range map[string]struct {
		said []string
		want []bool
	}{
		"none":             {nil, []bool{false, false, false}},
		"in order":         {[]string{"x go on", "y stop", "go on"}, []bool{true, true, true}},
		"joined":           {[]string{"go on\n\nstop"}, []bool{true, true, false}},
		"once of two":      {[]string{"go on"}, []bool{true, false, false}},
		"first left out":   {[]string{"stop", "go on"}, []bool{false, true, true}},
		"between the rest": {[]string{"instructions", "go on", "environment"}, []bool{true, false, false}},
	} {
		t.Run(name, func(t *testing.T) {
			m := cliagent.NewMatcher([]cliagent.Prompt{p("go on"), p("stop"), p("go on")})
			for _, s := range c.said {
				m.Said(s)
			}
			assert.DeepEqual(t, m.Received(), c.want)
		})
	}
}
