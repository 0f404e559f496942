package rest

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/termws"
)

// OpenTerminal implements GET /oz/runs/{runId}/terminal.
func (o operations) OpenTerminal(ctx context.Context, r api.OpenTerminalRequestObject) (api.OpenTerminalResponseObject, error) {
	c := callOf(ctx)
	size := executor.TerminalSize{Cols: cmp.Or(r.Params.Cols, 80), Rows: cmp.Or(r.Params.Rows, 24)}
	if err := c.client.MayOpenTerminal(ctx, task.ID(r.RunId), size); err != nil {
		return nil, err
	}
	if err := o.mayUpgrade(c.request); err != nil {
		return nil, err
	}
	select {
	case o.streams <- struct{}{}:
	default:
		return nil, task.Errorf(task.CodeResourceUnavailable, "the server has %d streams open and takes no more; try again", cap(o.streams))
	}
	t, err := c.client.OpenTerminal(ctx, task.ID(r.RunId), size)
	if err != nil {
		<-o.streams
		return nil, err
	}
	return &terminal{h: o.Handler, ctx: ctx, call: c, t: t}, nil
}

// mayUpgrade judges a request for a WebSocket. A browser says which page makes
// it, and keeps no page from asking: that is for the server.
func (h *Handler) mayUpgrade(r *http.Request) error {
	if !headerHas(r, "Connection", "upgrade") || !headerHas(r, "Upgrade", "websocket") {
		return task.Errorf(task.CodeInvalidRequest, "this is a WebSocket: connect with Upgrade: websocket")
	}
	if !headerHas(r, "Sec-WebSocket-Protocol", termws.Subprotocol) {
		return task.Errorf(task.CodeInvalidRequest, "name the subprotocol %s", termws.Subprotocol)
	}
	switch origin := r.Header.Get("Origin"); {
	case origin == "" && r.Header.Get("Authorization") != "": // no browser
		return nil
	case origin != "" && origin == h.origin(r):
		return nil
	case origin != "" && (h.opts.CORSOrigins == nil || slices.Contains(h.opts.CORSOrigins, origin)):
		if key, _ := termws.Key(r.Header.Values("Sec-WebSocket-Protocol")); key != "" {
			return nil // which no browser sends by itself
		}
	}
	return task.Errorf(task.CodeNotAuthorized, "only a page of this server may open a terminal")
}

// headerHas looks for a word in a header that is a list.
func headerHas(r *http.Request, name, word string) bool {
	for _, line := range r.Header.Values(name) {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), word) {
				return true
			}
		}
	}
	return false
}

// terminal is one that may be connected.
type terminal struct {
	h    *Handler
	ctx  context.Context
	call *call
	t    *oz.Terminal
}

// VisitOpenTerminalResponse implements api.OpenTerminalResponseObject. It lasts
// as long as the connection.
func (t *terminal) VisitOpenTerminalResponse(w http.ResponseWriter) error {
	defer func() { <-t.h.streams }()
	conn := accept(w, t.call.request)
	if conn == nil {
		t.t.Close(t.ctx)
		return nil
	}
	// The request's own context ends when its connection becomes a WebSocket.
	ctx, stop := t.h.whileServing(context.WithoutCancel(t.ctx))
	defer stop()
	t.t.Serve(ctx, conn, func(context.Context) error {
		_, err := t.h.authenticate(t.call.request)
		return err
	})
	return nil
}

// accept makes a request a WebSocket; nil after it has answered that it cannot.
// Origins were judged before.
func accept(w http.ResponseWriter, r *http.Request) *termws.Conn {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{termws.Subprotocol}, InsecureSkipVerify: true})
	if err != nil {
		return nil
	}
	return termws.New(ws)
}

// whileServing ends with the server, too: what waits must not hold its end up.
func (h *Handler) whileServing(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-h.stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(); <-done }
}

// NextTerminal implements POST /oz/executions/current/terminals/next.
func (o operations) NextTerminal(ctx context.Context, r api.NextTerminalRequestObject) (api.NextTerminalResponseObject, error) {
	terminals, err := o.terminals(ctx)
	if err != nil {
		return nil, err
	}
	waiting, stop := o.whileServing(ctx)
	defer stop()
	next, err := terminals.NextTerminal(waiting, time.Duration(r.Body.WaitMs)*time.Millisecond)
	if err != nil && waiting.Err() == nil {
		return nil, err
	}
	if next == nil {
		return api.NextTerminal200JSONResponse{}, ctx.Err()
	}
	return api.NextTerminal200JSONResponse{Terminal: api.TerminalRequest{TerminalId: next.ID, Cols: next.Cols, Rows: next.Rows}}, nil
}

// terminals gives the runner's side of terminals.
func (o operations) terminals(ctx context.Context) (executor.Terminals, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	terminals, ok := link.(executor.Terminals)
	if !ok {
		return nil, task.Errorf(task.CodeFeatureNotAvailable, "this platform has no terminals")
	}
	return terminals, nil
}

// JoinTerminal implements GET /oz/executions/current/terminals/{terminalId}.
func (o operations) JoinTerminal(ctx context.Context, r api.JoinTerminalRequestObject) (api.JoinTerminalResponseObject, error) {
	c := callOf(ctx)
	terminals, err := o.terminals(ctx)
	if err != nil {
		return nil, err
	}
	if err := o.mayUpgrade(c.request); err != nil {
		return nil, err
	}
	conn, err := terminals.JoinTerminal(ctx, r.TerminalId)
	if err != nil {
		return nil, err
	}
	return &joining{h: o.Handler, ctx: ctx, call: c, conn: conn}, nil
}

// joining is the runner's end of a terminal.
type joining struct {
	h    *Handler
	ctx  context.Context
	call *call
	conn executor.TerminalConn
}

// VisitJoinTerminalResponse implements api.JoinTerminalResponseObject. It lasts
// as long as the connection.
func (j *joining) VisitJoinTerminalResponse(w http.ResponseWriter) error {
	defer func() { _ = j.conn.Close() }()
	if ws := accept(w, j.call.request); ws != nil {
		termws.Join(context.WithoutCancel(j.ctx), ws, j.conn)
	}
	return nil
}
