//go:build linux

package e2e_test

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestTakeOverSurvivesServer takes over beside an agent in a sandbox of
// processes; see takeOver.
func TestTakeOverSurvivesServer(t *testing.T) {
	t.Parallel()
	takeOver(t, newRig(t, servertest.Talker("go-on")), "")
}

// TestTakeOverInContainer does the same in a container.
func TestTakeOverInContainer(t *testing.T) {
	t.Parallel()
	r, d := containerRig(t, servertest.Talker("go-on"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	takeOver(t, r, "1000")
	r.checkContainersGone(ctx, d)
}

// takeOver works in the sandbox of a run whose agent waits for a file, loses
// the server, comes back, and makes the file: so the agent goes on. uid is whom
// the shell belongs to, if that is known.
func takeOver(t *testing.T, r *rig, uid string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r.serve()
	id := r.submit(ctx, oz.Request{Prompt: "wait for it"})
	for e, err := range r.client.Watch(ctx, id, 0) {
		assert.NilError(t, err, r.log.String())
		if o, ok := e.Payload.(*task.ToolOutput); ok && strings.Contains(o.Text, "waiting") {
			break
		}
	}
	first := r.terminal(ctx, id)
	first.types(ctx, "id -u; tty\n")
	assert.NilError(t, first.until(ctx, "/dev/pts/"))
	if uid != "" {
		assert.Assert(t, strings.Contains(first.screen, "\n"+uid+"\r"), "%q", first.screen)
	}
	first.types(ctx, "sleep 987 & echo left-$((1+1))\n")
	assert.NilError(t, first.until(ctx, "left-2"))
	r.signal(syscall.SIGKILL)
	assert.ErrorContains(t, first.until(ctx, "never"), "")

	second := r.terminal(ctx, id)
	second.types(ctx, "touch go-on; echo made-$((2+2))\n")
	assert.NilError(t, second.until(ctx, "made-4"))
	run, events := r.await(ctx, id)
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", describe(events), r.log.String())
	states := map[string]string{}
	shown := ""
	for _, e := range events {
		switch p := e.Payload.(type) {
		case *task.Terminal:
			states[p.ID] += string(p.State) + " " + string(p.Code) + " "
		case *task.TerminalOutput:
			shown += p.Text
		}
	}
	assert.Equal(t, states[first.id], "opened  closed server_stopping ", "%v", states)
	assert.Assert(t, strings.Contains(shown, "left-2") && strings.Contains(shown, "made-4"), "%q", shown)
	for left := r.processesLeft(); len(left) > 0; left = r.processesLeft() { // the runner is about to end
		assert.NilError(t, ctx.Err(), "%v", left)
		time.Sleep(20 * time.Millisecond)
	}
}

// remoteTerminal is a person at a terminal of a run.
type remoteTerminal struct {
	r      *rig
	conn   executor.TerminalConn
	id     string
	screen string
}

// terminal opens one, again while the server is away.
func (r *rig) terminal(ctx context.Context, id task.ID) *remoteTerminal {
	r.t.Helper()
	x := &remoteTerminal{r: r}
	for {
		conn, err := r.client.Terminal(ctx, id, executor.TerminalSize{Cols: 80, Rows: 24})
		if err == nil {
			x.conn = conn
			break
		}
		assert.NilError(r.t, ctx.Err(), "%v", err)
	}
	r.t.Cleanup(func() { _ = x.conn.Close() })
	assert.NilError(r.t, x.until(ctx, ""))
	return x
}

func (x *remoteTerminal) types(ctx context.Context, text string) {
	x.r.t.Helper()
	assert.NilError(x.r.t, x.conn.Send(ctx, executor.TerminalFrame{Data: []byte(text)}))
}

// until waits for a text on the screen.
func (x *remoteTerminal) until(ctx context.Context, text string) error {
	for {
		f, err := x.conn.Receive(ctx)
		switch {
		case err != nil:
			return err
		case f.Opened != "":
			x.id = f.Opened
		}
		x.screen += string(f.Data)
		if strings.Contains(x.screen, text) {
			return nil
		}
	}
}
