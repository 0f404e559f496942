package executor

import (
	"context"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// Terminals is what a Link can do besides, when its platform lets persons take
// over in a terminal of the sandbox. The runner asks for them, so that nobody
// has to reach it.
type Terminals interface {
	// NextTerminal waits for a person who wants a terminal, at most MaxAwaitMS;
	// nil when none has come. Each is given once.
	NextTerminal(ctx context.Context, wait time.Duration) (*TerminalRequest, error)
	// JoinTerminal connects the runner's end of a terminal. It fails with
	// task.ErrNotFound when the person has gone.
	JoinTerminal(ctx context.Context, id string) (TerminalConn, error)
}

// Bounds of terminals.
const (
	MaxTerminalData = 32 << 10 // bytes of TerminalFrame.Data
	MaxTerminalSize = 1000     // columns and rows
	// MaxTerminalOutput is what a terminal may show in its life, in bytes: all of
	// that is in the run's log.
	MaxTerminalOutput = 16 << 20
)

// TerminalRequest is a person who wants a terminal.
type TerminalRequest struct {
	ID string `json:"terminal_id"`
	TerminalSize
}

// TerminalSize is how large a terminal is, in characters.
type TerminalSize struct {
	Cols int `json:"cols"`
	Rows int `json:"rows"`
}

// Validate checks the bounds.
func (s TerminalSize) Validate() error {
	switch {
	case s.Cols < 1 || s.Cols > MaxTerminalSize:
		return task.Invalid("cols", "must be 1 to %d", MaxTerminalSize)
	case s.Rows < 1 || s.Rows > MaxTerminalSize:
		return task.Invalid("rows", "must be 1 to %d", MaxTerminalSize)
	}
	return nil
}

// TerminalFrame is one of these.
type TerminalFrame struct {
	Data   []byte         // what is typed or shown; the receiver's own
	Size   *TerminalSize  // the person's window has changed
	Opened string         // to the person: the terminal's ID
	Closed *task.Terminal // the last frame: why it ends
}

// TerminalConn is one end of a terminal. Send and Close are safe for concurrent
// use, also beside Receive, which is for one goroutine.
type TerminalConn interface {
	// Send waits until the other end has room.
	Send(ctx context.Context, f TerminalFrame) error
	// Receive waits for a frame. It fails when the other end has gone. A context
	// that ends may end the connection.
	Receive(ctx context.Context) (TerminalFrame, error)
	// Close ends the connection; what was sent before arrives if it can.
	Close() error
}
