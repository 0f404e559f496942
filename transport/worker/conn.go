package worker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

const (
	// writeTimeout bounds the writing of one frame: a peer that takes longer is
	// gone.
	writeTimeout = 10 * time.Second
	// closeWait bounds the goodbye.
	maxWaiting = 1024 // frames that wait to be written to one peer
)

// conn is one WebSocket connection. Its methods are safe for concurrent use,
// but for read.
type conn struct {
	ws      *websocket.Conn
	seen    atomic.Int64 // when the peer was last heard, in nanoseconds of the Unix era
	waiting atomic.Int64 // frames that are to be written
	now     func() time.Time
}

// heard notes a sign of life.
func (c *conn) heard() { c.seen.Store(c.now().UnixNano()) }

// silent is how long the peer has said nothing.
func (c *conn) silent(now time.Time) time.Duration { return now.Sub(time.Unix(0, c.seen.Load())) }

// errCongested says that a peer does not take what is sent.
var errCongested = errors.New("the peer takes nothing of what is sent")

// send writes one frame. A connection on which that fails is closed.
func (c *conn) send(ctx context.Context, kind string, data any) error {
	frame, err := encode(kind, data)
	if err != nil {
		return err
	}
	return c.write(ctx, frame)
}

func (c *conn) write(ctx context.Context, frame []byte) error {
	defer c.waiting.Add(-1)
	if c.waiting.Add(1) > maxWaiting {
		c.kill()
		return errCongested
	}
	// Not ctx's end: a frame that is cut in two would end the connection.
	writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	err := c.ws.Write(writing, websocket.MessageText, frame)
	if err != nil {
		c.kill()
	}
	return err
}

// read waits for the next frame. Binary ones are taken like text.
func (c *conn) read(ctx context.Context) ([]byte, error) {
	_, frame, err := c.ws.Read(ctx)
	if err == nil {
		c.heard()
	}
	return frame, err
}

// kill ends the connection without a goodbye.
func (c *conn) kill() { _ = c.ws.CloseNow() }

// close says goodbye.
func (c *conn) close(code websocket.StatusCode, why string) { _ = c.ws.Close(code, why) }
