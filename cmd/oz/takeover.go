package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/term"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// leaveKey is Ctrl-], as telnet has it.
	leaveKey = 0x1d
	// windowLook is how often the window's size is looked at.
	windowLook = 250 * time.Millisecond
	// calm takes back what a program may have left a terminal in: another
	// screen, no cursor, mouse and paste reports, colours.
	calm = "\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[0m"
)

// terminal takes over in a terminal of the run's sandbox until the person
// leaves or it ends. The person's own terminal is raw meanwhile, and as it was
// afterwards, however this ends.
func (s *session) terminal(ctx context.Context) error {
	in, ok := s.a.terminal()
	if !ok {
		return errors.New("/terminal needs a terminal on this side, too")
	}
	size := windowOf(in)
	conn, err := s.c.Terminal(ctx, s.id, size)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it may have ended by itself
	s.screen.Lock()                     // what the agent does meanwhile is shown afterwards
	defer s.screen.Unlock()
	fmt.Fprintln(s.a.err, "You have taken over. Ctrl-] leaves.")
	old, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("make the terminal raw: %w", err)
	}
	end, err := s.takeOver(ctx, conn, in, size)
	_, _ = io.WriteString(s.a.out, calm)
	if restored := term.Restore(int(in.Fd()), old); restored != nil {
		return fmt.Errorf("restore the terminal: %w", restored)
	}
	fmt.Fprintf(s.a.err, "\nBack in the run: %s.\n", end)
	return err
}

// windowOf is the size of the person's window, within what is possible.
func windowOf(f *os.File) executor.TerminalSize {
	cols, rows, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return executor.TerminalSize{Cols: 80, Rows: 24}
	}
	return executor.TerminalSize{Cols: min(max(cols, 1), executor.MaxTerminalSize), Rows: min(max(rows, 1), executor.MaxTerminalSize)}
}

// takeOver carries keys and output, and says why it ends.
func (s *session) takeOver(ctx context.Context, conn executor.TerminalConn, in *os.File, size executor.TerminalSize) (string, error) {
	over := make(chan string, 1)
	go func() { over <- s.shown(ctx, conn) }()
	leave := func(why string) (string, error) {
		err := conn.Close()
		<-over
		return why, err
	}
	look := time.NewTicker(windowLook)
	defer look.Stop()
	typed := s.in
	for {
		select {
		case why := <-over:
			return why, nil
		case <-ctx.Done():
			return leave("interrupted")
		case <-look.C:
			now := windowOf(in)
			if now != size && conn.Send(ctx, executor.TerminalFrame{Size: &now}) == nil {
				size = now
			}
		case keys, ok := <-typed:
			if !ok {
				return leave("your terminal has gone")
			}
			before, _, left := bytes.Cut(keys, []byte{leaveKey})
			for part := range slices.Chunk(before, executor.MaxTerminalData) {
				_ = conn.Send(ctx, executor.TerminalFrame{Data: part}) // its end is told by shown
			}
			if left {
				return leave("you have left the terminal")
			}
		}
	}
}

// shown writes what the terminal shows, and gives the reason of its end.
func (s *session) shown(ctx context.Context, conn executor.TerminalConn) string {
	for {
		f, err := conn.Receive(ctx)
		switch {
		case err != nil:
			return "the connection to the server broke off"
		case f.Closed != nil && f.Closed.Code == task.TerminalExited && f.Closed.Exit != nil:
			return fmt.Sprintf("the shell has ended with %d", *f.Closed.Exit)
		case f.Closed != nil:
			return f.Closed.Reason
		}
		if _, err := s.a.out.Write(f.Data); err != nil {
			return "your terminal has gone"
		}
	}
}
