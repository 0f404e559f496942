package runner_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/proc"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// seatedPerson sits at a terminal.
type seatedPerson struct {
	keys chan executor.TerminalFrame
	gone chan struct{}
	once sync.Once
	over chan struct{} // closed when Serve has returned

	mu     sync.Mutex
	more   *sync.Cond
	screen string
	last   *task.Terminal
}

// sit opens a terminal of a run and serves it until the test ends.
func (r *rig) sit(id task.ID, size executor.TerminalSize) *seatedPerson {
	r.t.Helper()
	x, err := r.OpenTerminal(r.t.Context(), id, size)
	assert.NilError(r.t, err)
	p := &seatedPerson{keys: make(chan executor.TerminalFrame), gone: make(chan struct{}), over: make(chan struct{})}
	p.more = sync.NewCond(&p.mu)
	go func() {
		defer close(p.over)
		x.Serve(context.WithoutCancel(r.t.Context()), p, nil)
	}()
	r.t.Cleanup(func() { _ = p.Close(); <-p.over })
	return p
}

// Send implements executor.TerminalConn.
func (p *seatedPerson) Send(_ context.Context, f executor.TerminalFrame) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.screen += string(f.Data)
	if f.Closed != nil {
		p.last = f.Closed
	}
	p.more.Broadcast()
	return nil
}

// Receive implements executor.TerminalConn.
func (p *seatedPerson) Receive(ctx context.Context) (executor.TerminalFrame, error) {
	select {
	case f := <-p.keys:
		return f, nil
	case <-p.gone:
	case <-ctx.Done():
	}
	return executor.TerminalFrame{}, io.EOF
}

// Close implements executor.TerminalConn.
func (p *seatedPerson) Close() error {
	p.once.Do(func() { close(p.gone) })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.more.Broadcast()
	return nil
}

func (p *seatedPerson) types(text string) {
	select {
	case p.keys <- executor.TerminalFrame{Data: []byte(text)}:
	case <-p.gone:
	}
}

// sees waits for text on the screen.
func (p *seatedPerson) sees(t *testing.T, text string) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !strings.Contains(p.screen, text) {
		if p.last != nil {
			t.Fatalf("the terminal ended (%s) without %q:\n%s", p.last.Reason, text, p.screen)
		}
		p.more.Wait()
	}
	return p.screen
}

// end waits for the last frame.
func (p *seatedPerson) end() task.Terminal {
	<-p.over
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		return task.Terminal{}
	}
	return *p.last
}

// TestTakeOver works in the sandbox of a run beside its agent: in its
// directory, with its variables, in colour and size; what is shown is in the
// log, what is typed is not.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(command("echo started; until test -e go-on; do sleep 0.02; done; echo went on"), finish("Done."))})
	_, err := r.CreateSecret(t.Context(), oz.SecretInput{Name: "CANARY", Value: canary})
	assert.NilError(t, err)
	id := r.submit(oz.Request{Prompt: prompt})
	r.until(id, prints("started"))
	p := r.sit(id, executor.TerminalSize{Cols: 101, Rows: 31})
	p.types("stty size; pwd; tty; echo $TERM\n")
	p.sees(t, "31 101")
	p.sees(t, r.workspace(id))
	p.sees(t, "/dev/pts/")
	p.sees(t, "xterm-256color")
	p.keys <- executor.TerminalFrame{Size: &executor.TerminalSize{Cols: 77, Rows: 22}}
	p.types("stty size\n")
	p.sees(t, "22 77")

	p.types("stty -echo; read -r password; stty echo; echo length ${#password}\n")
	p.sees(t, "stty -echo")
	p.types("hunter2hunter2\n")
	p.sees(t, "length 14")
	p.types(`echo "the secret is $CANARY"; printf 'gr\303\274n\n'` + "\n")
	screen := p.sees(t, "the secret is [redacted:CANARY]")
	p.sees(t, "grün")
	assert.Assert(t, !strings.Contains(screen, canary))

	p.types("sleep 1000 & trap '' HUP; (sleep 1001 &) ; echo my pid is $$; exit 3\n")
	end := p.end()
	assert.Equal(t, end.Code, task.TerminalExited)
	assert.Equal(t, *end.Exit, 3)

	assert.NilError(t, os.WriteFile(filepath.Join(r.workspace(id), "go-on"), nil, 0o600))
	run, events := r.finish(id)
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Head.Status.Message, describe(events))
	checkLog(t, events)
	log := ""
	for _, o := range payloads[*task.TerminalOutput](events) {
		assert.Equal(t, o.ID, end.ID)
		log += o.Text
	}
	assert.Assert(t, strings.Contains(log, "length 14") && strings.Contains(log, "the secret is [redacted:CANARY]") && strings.Contains(log, "grün"), "%q", log)
	assert.Assert(t, !strings.Contains(describe(events), "hunter2"), "a password that was not shown is in the log")
	assert.Assert(t, !strings.Contains(describe(events), canary))
	marks := payloads[*task.Terminal](events)
	assert.Equal(t, len(marks), 2, "%s", describe(events))
	assert.Equal(t, marks[0].State, task.TerminalOpened)
	assert.Equal(t, marks[1].State, task.TerminalClosed)
	assert.Equal(t, marks[0].By.UID, "system")
	_, after, _ := strings.Cut(log, "my pid is ")
	_, after, ok := strings.Cut(after, "my pid is ") // behind the echo of the command
	assert.Assert(t, ok, "%q", log)
	pid, err := strconv.Atoi(after[:strings.IndexAny(after, "\r\n")])
	assert.NilError(t, err)
	assert.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	assert.Equal(t, len(proc.Marked("OZ_TERMINAL_ID", end.ID)), 0, "what was started in the terminal outlives it")
}

// TestTakeOverEnds ends terminals from all sides.
func TestTakeOverEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(command("echo started; until test -e go-on; do sleep 0.02; done"), finish("Done."))})
	id := r.submit(oz.Request{Prompt: prompt})
	r.until(id, prints("started"))
	size := executor.TerminalSize{Cols: 80, Rows: 24}
	for _, bad := range []executor.TerminalSize{{}, {Cols: 80}, {Cols: 80, Rows: 1001}, {Cols: -1, Rows: 24}} {
		_, err := r.OpenTerminal(t.Context(), id, bad)
		assert.ErrorIs(t, err, task.ErrInvalid)
	}
	var people []*seatedPerson
	for range oz.MaxTerminals {
		p := r.sit(id, size)
		p.types("echo here-$((40+2))\n")
		p.sees(t, "here-42")
		people = append(people, p)
	}
	_, err := r.OpenTerminal(t.Context(), id, size)
	assert.Equal(t, task.CodeOf(err), task.CodeResourceUnavailable)

	p := people[0]
	p.types("exec setsid -w env -i sleep 5\n") // no mark, and no hang-up; it goes by itself
	_ = p.Close()
	assert.Equal(t, p.end().Code, task.TerminalLeft)
	people[1].types(strings.Repeat("x", executor.MaxTerminalData+1))
	assert.Equal(t, people[1].end().Code, task.TerminalLimit)
	p = r.sit(id, size) // there is room again
	p.types("yes > /dev/null & yes | head -c 100000 | tail -c 20; echo done-$((40+3))\n")
	p.sees(t, "done-43")

	assert.NilError(t, os.WriteFile(filepath.Join(r.workspace(id), "go-on"), nil, 0o600))
	run, events := r.finish(id)
	assert.Equal(t, run.State, task.StateSucceeded, "%s", describe(events))
	for _, p := range append(people[2:], p) {
		assert.Equal(t, p.end().Code, task.TerminalRunEnded)
		assert.Equal(t, len(proc.Marked("OZ_TERMINAL_ID", p.end().ID)), 0)
	}
	_, err = r.OpenTerminal(t.Context(), id, size)
	assert.ErrorIs(t, err, task.ErrConflict)
	assert.Assert(t, strings.Contains(err.Error(), "SUCCEEDED"), "%v", err)
	all, err := r.Events(t.Context(), id, 0, 500)
	assert.NilError(t, err)
	opened, closed := 0, map[string]bool{}
	for _, m := range payloads[*task.Terminal](all) {
		if m.State == task.TerminalOpened {
			opened++
		} else {
			closed[m.ID] = true
		}
	}
	assert.Equal(t, opened, oz.MaxTerminals+1)
	assert.Equal(t, len(closed), opened)
}
