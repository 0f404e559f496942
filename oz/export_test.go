package oz

import (
	"context"

	"github.com/oz-platform/cloudagents/executor"
)

// Notify puts a notification into a person's mailbox.
func (p *Platform) Notify(ctx context.Context, uid, key string, n Notification) error {
	return p.notify(ctx, uid, key, n)
}

// TerminalPipe is both ends of a terminal within a process.
func TerminalPipe() (a, b executor.TerminalConn) { return terminalPipe() }
