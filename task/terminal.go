package task

// TerminalState says whether a terminal is open.
type TerminalState string

// A terminal is opened, then closed, once each.
const (
	TerminalOpened TerminalState = "opened"
	TerminalClosed TerminalState = "closed"
)

// TerminalCode says why a terminal was closed.
type TerminalCode string

// Why a terminal was closed.
const (
	TerminalExited      TerminalCode = "exited"          // its shell has ended
	TerminalLeft        TerminalCode = "left"            // the person has gone
	TerminalIdle        TerminalCode = "idle"            // nothing was typed for too long
	TerminalRevoked     TerminalCode = "revoked"         // the person may not edit any more
	TerminalRunEnded    TerminalCode = "run_ended"       // with its execution
	TerminalSandboxGone TerminalCode = "sandbox_gone"    // the runner is out of reach
	TerminalLimit       TerminalCode = "limit"           // it has printed all that it may
	TerminalStopping    TerminalCode = "server_stopping" // the server stops, or was killed
)

// Terminal records that a person has taken over in a terminal of the sandbox,
// and its end. What they type is not in the log. A terminal that was not closed
// ended with its execution.
type Terminal struct {
	ID     string        `json:"terminal_id"`
	State  TerminalState `json:"state"`
	By     Principal     `json:"by,omitzero"`         // who opened it
	Code   TerminalCode  `json:"code,omitempty"`      // of closed: why
	Reason string        `json:"reason,omitempty"`    // of closed: the same for people
	Exit   *int          `json:"exit_code,omitempty"` // of its shell, if that has ended
}

// Type implements Payload.
func (*Terminal) Type() EventType { return TypeTerminal }

// platformOnly: a runner may tell of an end that the platform does not know of,
// and names nobody.
func (t *Terminal) platformOnly() bool {
	return t.State != TerminalClosed || t.By != Principal{}
}

// TerminalOutput is a piece of what a terminal showed.
type TerminalOutput struct {
	ID   string `json:"terminal_id"` // that of the Terminal
	Text string `json:"text"`        // valid UTF-8, with the escapes of terminals
}

// Type implements Payload.
func (*TerminalOutput) Type() EventType { return TypePrinted }

func (*TerminalOutput) platformOnly() bool { return false }
