// Package termws carries terminals over WebSockets: binary frames are what is
// typed and shown, text frames say all else.
package termws

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// Subprotocol names this protocol; BearerPrefix begins the one by which a page,
// which can send no header, names its key in base64url.
const (
	Subprotocol  = "oz.terminal.v1"
	BearerPrefix = "oz.bearer."
)

const (
	// maxFrame bounds what is read at once: data, or a control frame.
	maxFrame = executor.MaxTerminalData
	// writeTimeout is how long the other end may take none of a frame.
	writeTimeout = 30 * time.Second
	// pingInterval finds a peer that is gone without a word.
	pingInterval = 10 * time.Second
	pingTimeout  = 10 * time.Second

	maxReason = 120 // bytes of a close frame's reason (RFC 6455, section 5.5)
)

// Key finds the key among the subprotocols that a page has asked for; ok is
// false for one that cannot be read.
func Key(protocols []string) (key string, ok bool) {
	for _, line := range protocols {
		for p := range strings.SplitSeq(line, ",") {
			encoded, found := strings.CutPrefix(strings.TrimSpace(p), BearerPrefix)
			if !found {
				continue
			}
			data, err := base64.RawURLEncoding.DecodeString(encoded)
			return string(data), err == nil && len(data) > 0
		}
	}
	return "", true
}

// control is a text frame.
type control struct {
	Type string `json:"type"`
	executor.TerminalSize
	ID     string            `json:"terminal_id,omitempty"`
	Code   task.TerminalCode `json:"code,omitempty"`
	Reason string            `json:"reason,omitempty"`
	Exit   *int              `json:"exit_code,omitempty"`
}

// Kinds of control frame.
const (
	typeResize = "resize"
	typeOpened = "opened"
	typeClosed = "closed"
)

// Conn is a terminal over a WebSocket.
type Conn struct {
	ws   *websocket.Conn
	stop context.CancelFunc
	done chan struct{}
}

var _ executor.TerminalConn = (*Conn)(nil)

// New takes ws over. Close must follow; somebody must Receive, which is also
// how pings are answered.
func New(ws *websocket.Conn) *Conn {
	ws.SetReadLimit(maxFrame)
	ctx, stop := context.WithCancel(context.Background())
	c := &Conn{ws: ws, stop: stop, done: make(chan struct{})}
	go c.ping(ctx)
	return c
}

// ping cuts the connection when the other end does not answer.
func (c *Conn) ping(ctx context.Context) {
	defer close(c.done)
	tick := time.NewTicker(pingInterval) // it is about a real network
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		limited, cancel := context.WithTimeout(ctx, pingTimeout)
		err := c.ws.Ping(limited)
		cancel()
		if err != nil {
			_ = c.ws.CloseNow()
			return
		}
	}
}

// Send implements executor.TerminalConn.
func (c *Conn) Send(ctx context.Context, f executor.TerminalFrame) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if f.Closed == nil && f.Opened == "" && f.Size == nil {
		return c.ws.Write(ctx, websocket.MessageBinary, f.Data)
	}
	if len(f.Data) > 0 {
		if err := c.ws.Write(ctx, websocket.MessageBinary, f.Data); err != nil {
			return err
		}
	}
	data, err := json.Marshal(controlOf(f))
	if err != nil {
		return fmt.Errorf("encode a frame: %w", err)
	}
	if err := c.ws.Write(ctx, websocket.MessageText, data); err != nil {
		return err
	}
	if f.Closed != nil {
		_ = c.ws.Close(websocket.StatusNormalClosure, clip(f.Closed.Reason))
	}
	return nil
}

func controlOf(f executor.TerminalFrame) control {
	k := control{Type: typeResize}
	if f.Size != nil {
		k.TerminalSize = *f.Size
	}
	switch {
	case f.Closed != nil:
		k = control{Type: typeClosed, ID: f.Closed.ID, Code: f.Closed.Code, Reason: f.Closed.Reason, Exit: f.Closed.Exit}
	case f.Opened != "":
		k.Type, k.ID = typeOpened, f.Opened
	}
	return k
}

func clip(s string) string {
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "")
	}
	return s
}

// Receive implements executor.TerminalConn.
func (c *Conn) Receive(ctx context.Context) (executor.TerminalFrame, error) {
	kind, data, err := c.ws.Read(ctx)
	if err != nil {
		return executor.TerminalFrame{}, err
	}
	if kind == websocket.MessageBinary {
		return executor.TerminalFrame{Data: data}, nil
	}
	f, err := Parse(data)
	if err != nil {
		_ = c.ws.Close(websocket.StatusUnsupportedData, clip(err.Error()))
	}
	return f, err
}

// Parse reads a text frame. What a newer peer says beyond the known kinds is an
// empty frame.
func Parse(data []byte) (executor.TerminalFrame, error) {
	var k control
	if err := json.Unmarshal(data, &k); err != nil {
		return executor.TerminalFrame{}, task.Invalid("frame", "must be a JSON object with a type")
	}
	switch k.Type {
	case typeResize:
		size := k.TerminalSize
		return executor.TerminalFrame{Size: &size}, size.Validate()
	case typeOpened:
		size := k.TerminalSize
		return executor.TerminalFrame{Opened: k.ID, Size: &size}, nil
	case typeClosed:
		return executor.TerminalFrame{Closed: &task.Terminal{ID: k.ID, State: task.TerminalClosed, Code: k.Code, Reason: k.Reason, Exit: k.Exit}}, nil
	}
	return executor.TerminalFrame{}, nil
}

// Close implements executor.TerminalConn.
func (c *Conn) Close() error {
	c.stop()
	err := c.ws.CloseNow()
	<-c.done
	return err
}

// Join carries frames both ways until one end has gone or said why it ends, and
// closes both.
func Join(ctx context.Context, a, b executor.TerminalConn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		carry(ctx, a, b)
	}()
	carry(ctx, b, a)
	<-done
}

// carry ends after the last frame, or when either end has gone. It closes the
// end that it sends to, which ends the other direction, too, once that has had
// its last word.
func carry(ctx context.Context, from, to executor.TerminalConn) {
	defer func() { _ = to.Close() }()
	for {
		f, err := from.Receive(ctx)
		if err != nil {
			return
		}
		if to.Send(ctx, f) != nil || f.Closed != nil {
			return
		}
	}
}
