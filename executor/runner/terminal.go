package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/proc"
	"github.com/oz-platform/cloudagents/task"
)

// How a terminal is served.
const (
	// terminalMark is the variable by which all that was started in a terminal is
	// found at its end.
	terminalMark = "OZ_TERMINAL_ID"

	terminalRead  = 16 << 10  // bytes that are read at once
	terminalBurst = 1 << 20   // bytes that pass at any speed,
	terminalRate  = 256 << 10 // and then those in each second
	terminalLast  = 5 * time.Second
	terminalPause = time.Second // between two questions of which the first was answered at once
)

// takeOver lets persons take over in terminals of the workspace until stop is
// called, if the platform offers that.
func (x *execution) takeOver(ctx context.Context, ws *workspace) (stop func()) {
	desk, ok := x.link.(executor.Terminals)
	if !ok || x.opts.InPlace { // a person's own machine is not to be taken over, whatever a server says
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var open sync.WaitGroup
	open.Go(func() {
		for ctx.Err() == nil {
			asked := x.opts.Clock.Now()
			next, err := desk.NextTerminal(ctx, executor.MaxAwaitMS*time.Millisecond)
			switch {
			case err != nil: // an older platform, or the execution is over
				return
			case next != nil:
				open.Go(func() { x.terminal(ctx, ws, desk, *next) })
			case x.opts.Clock.Now().Sub(asked) < terminalPause:
				select {
				case <-x.opts.Clock.After(terminalPause):
				case <-ctx.Done():
				}
			}
		}
	})
	return func() { cancel(); open.Wait() }
}

// logging does what writes to the log as long as the execution may: not while
// its outcome is reported, and not after that.
func (x *execution) logging(do func() error) error {
	x.ending.RLock()
	defer x.ending.RUnlock()
	if x.ended {
		return &terminalOver{task.Terminal{Code: task.TerminalRunEnded, Reason: "the run is not at work any more"}}
	}
	return do()
}

// keepTape lets the outcome wait until all that a terminal has shown is in the
// log.
func (x *execution) keepTape(k *tape) {
	x.ending.Lock()
	defer x.ending.Unlock()
	if x.tapes == nil {
		x.tapes = map[*tape]bool{}
	}
	x.tapes[k] = true
}

func (x *execution) dropTape(k *tape) {
	x.ending.Lock()
	defer x.ending.Unlock()
	delete(x.tapes, k)
}

// terminal serves one person.
func (x *execution) terminal(ctx context.Context, ws *workspace, desk executor.Terminals, r executor.TerminalRequest) {
	conn, err := desk.JoinTerminal(ctx, r.ID)
	if err != nil {
		return // the person has gone
	}
	t := &terminal{x: x, id: r.ID, conn: conn}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var typing sync.WaitGroup
	end := task.Terminal{Code: task.TerminalLimit, Reason: "no terminal can have this size"}
	if r.Validate() == nil {
		end = t.work(ctx, ws, r.TerminalSize, func() {
			// The connection ends with its reader's context: it is to have the last word.
			typing.Go(func() { stop(t.typed(context.WithoutCancel(ctx))) })
		})
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), terminalLast)
	defer cancel()
	end.ID, end.State = r.ID, task.TerminalClosed
	if end.Code == task.TerminalStopping { // there may be nobody left who writes it down
		_ = x.logging(func() error { return x.journal.Post(last, &end) })
	} else {
		_ = conn.Send(last, executor.TerminalFrame{Closed: &end}) // they may have gone
	}
	_ = conn.Close()
	typing.Wait()
}

// terminal is a shell that a person works in.
type terminal struct {
	x    *execution
	id   string
	conn executor.TerminalConn
	tty  *tty
}

// terminalOver is the end of a terminal as an error.
type terminalOver struct{ task.Terminal }

func (o *terminalOver) Error() string { return o.Reason }

// work starts the shell and shows what it prints, to its end. ready is called
// once it takes what is typed.
func (t *terminal) work(ctx context.Context, ws *workspace, size executor.TerminalSize, ready func()) task.Terminal {
	cmd := exec.Command(shellIn(ws.env), "-i")
	cmd.Dir = ws.dir
	cmd.Env = append(slices.Clone(ws.env), "TERM=xterm-256color", terminalMark+"="+t.id)
	var err error
	if t.tty, err = startTTY(cmd, size); err != nil {
		return task.Terminal{Code: task.TerminalSandboxGone, Reason: t.x.redactor.String(fmt.Sprintf("the sandbox has no terminal: %v", err))}
	}
	ready()
	exited, chunks := make(chan struct{}), make(chan []byte)
	reading, stop := context.WithCancel(ctx)
	var ways sync.WaitGroup
	ways.Go(func() { _ = cmd.Wait(); close(exited) }) // how it ended is asked below
	ways.Go(func() { t.read(reading, chunks) })
	err = t.show(ctx, chunks, exited)
	stop()
	shellEnded := isClosed(exited)
	t.tty.kill(cmd)
	proc.KillMarked(terminalMark, t.id)
	t.tty.close()
	ways.Wait()
	var over *terminalOver
	switch code := cmd.ProcessState.ExitCode(); {
	case errors.As(err, &over):
		return over.Terminal
	case shellEnded:
		return task.Terminal{Code: task.TerminalExited, Reason: "the shell has ended", Exit: &code}
	}
	return task.Terminal{Code: task.TerminalRunEnded, Reason: "the run is not at work any more"}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// shellIn finds a shell by the PATH of an environment.
func shellIn(env []string) string {
	for _, name := range []string{"bash", "sh"} {
		for i := len(env) - 1; i >= 0; i-- {
			path, ok := strings.CutPrefix(env[i], "PATH=")
			if !ok {
				continue
			}
			for _, dir := range filepath.SplitList(path) {
				file := filepath.Join(dir, name)
				if info, err := os.Stat(file); filepath.IsAbs(dir) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
					return file
				}
			}
			break
		}
	}
	return "/bin/sh"
}

// typed passes on what the person types, until the connection ends.
func (t *terminal) typed(ctx context.Context) error {
	for {
		f, err := t.conn.Receive(ctx)
		switch {
		case err != nil:
			return &terminalOver{task.Terminal{Code: task.TerminalStopping, Reason: "the connection to the server broke off"}}
		case f.Closed != nil:
			return &terminalOver{*f.Closed}
		case f.Size != nil:
			t.tty.resize(*f.Size)
		default:
			t.tty.write(f.Data)
		}
	}
}

// read gives what the shell prints, at a bounded rate: what is shown is also
// kept.
func (t *terminal) read(ctx context.Context, chunks chan<- []byte) {
	clock := t.x.opts.Clock
	allowed, since := float64(terminalBurst), clock.Now()
	for {
		chunk := make([]byte, terminalRead)
		n, err := t.tty.read(chunk)
		if n > 0 {
			select {
			case chunks <- chunk[:n]:
			case <-ctx.Done():
				return
			}
		}
		if err != nil { // the other side of the terminal is closed
			return
		}
		now := clock.Now()
		allowed = min(allowed+now.Sub(since).Seconds()*terminalRate, terminalBurst) - float64(n)
		since = now
		if allowed < 0 {
			select {
			case <-clock.After(time.Duration(-allowed / terminalRate * float64(time.Second))):
			case <-ctx.Done():
				return
			}
		}
	}
}

// show passes what is printed on to the person and into the log, until the
// shell has ended, ctx ends, or it was too much.
func (t *terminal) show(ctx context.Context, chunks <-chan []byte, exited <-chan struct{}) error {
	clock := t.x.opts.Clock
	live := newScreen(t.x.redactor, func(p []byte) error { return t.send(ctx, p) })
	kept := newTape(ctx, t)
	t.x.keepTape(kept)
	defer t.x.dropTape(kept)
	endTape := func() error { return t.x.logging(kept.end) }
	var liveQuiet, tapeQuiet, due, drained <-chan time.Time
	total := 0
	for {
		select {
		case chunk := <-chunks:
			if total += len(chunk); total > executor.MaxTerminalOutput {
				return errors.Join(&terminalOver{task.Terminal{Code: task.TerminalLimit,
					Reason: fmt.Sprintf("it has printed more than %d MiB; open another one", executor.MaxTerminalOutput>>20)}}, live.settle(), endTape())
			}
			// First into the log: nobody is to see what is not in it.
			if err := t.x.logging(func() error { return kept.screen.write(chunk) }); err != nil {
				return errors.Join(context.Cause(ctx), err)
			}
			if err := live.write(chunk); err != nil {
				return errors.Join(context.Cause(ctx), err, endTape())
			}
			liveQuiet, tapeQuiet = clock.After(screenQuiet), clock.After(tapeQuietTime)
			if due == nil {
				due = clock.After(tapeInterval)
			}
		case <-liveQuiet:
			if err := live.settle(); err != nil {
				return err
			}
		case <-tapeQuiet:
			if err := endTape(); err != nil {
				return err
			}
		case <-due:
			due = nil
			if err := t.x.logging(func() error { return kept.post(false) }); err != nil {
				return err
			}
		case <-exited:
			exited, drained = nil, clock.After(drainTime)
		case <-drained:
			return errors.Join(live.settle(), endTape())
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), endTape())
		}
	}
}

// send passes on what is shown, in frames.
func (t *terminal) send(ctx context.Context, p []byte) error {
	for part := range slices.Chunk(p, executor.MaxTerminalData) {
		// The frame is the receiver's own.
		if err := t.conn.Send(ctx, executor.TerminalFrame{Data: slices.Clone(part)}); err != nil {
			return &terminalOver{task.Terminal{Code: task.TerminalStopping, Reason: "the connection to the server broke off"}}
		}
	}
	return nil
}
