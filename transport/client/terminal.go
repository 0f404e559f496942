package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/termws"
)

// maxRefusal bounds what is read of an answer that is no WebSocket.
const maxRefusal = 64 << 10

// Terminal takes over in a terminal of the run's sandbox: what is sent is typed
// there. The first frame tells its ID, the last one, with Closed, why it ends. It
// fails as oz.Client.OpenTerminal does. The connection must be closed.
func (c *Client) Terminal(ctx context.Context, id task.ID, size executor.TerminalSize) (executor.TerminalConn, error) {
	if err := checkID("run id", string(id)); err != nil {
		return nil, err
	}
	if err := size.Validate(); err != nil {
		return nil, err
	}
	q := url.Values{"cols": {strconv.Itoa(size.Cols)}, "rows": {strconv.Itoa(size.Rows)}}
	return c.dialTerminal(ctx, "/oz/runs/"+url.PathEscape(string(id))+"/terminal?"+q.Encode())
}

// dialTerminal makes the WebSocket of a terminal. It tries once.
func (c *Client) dialTerminal(ctx context.Context, path string) (executor.TerminalConn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	head := http.Header{}
	c.credentials(head)
	client := *c.opts.HTTPClient
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the key is for this server
	ws, answer, err := websocket.Dial(ctx, c.base+path, &websocket.DialOptions{HTTPClient: &client, HTTPHeader: head,
		Subprotocols: []string{termws.Subprotocol}})
	if err != nil {
		return nil, refusedTerminal(answer, err)
	}
	if ws.Subprotocol() != termws.Subprotocol {
		_ = ws.CloseNow()
		return nil, task.Errorf(task.CodeOperationNotSupported, "the server does not speak %s", termws.Subprotocol)
	}
	return termws.New(ws), nil
}

// refusedTerminal gives the server's own words.
func refusedTerminal(answer *http.Response, err error) error {
	if answer == nil || answer.Body == nil || answer.StatusCode == http.StatusSwitchingProtocols {
		return fmt.Errorf("connect the terminal: %w", err)
	}
	body, _ := io.ReadAll(io.LimitReader(answer.Body, maxRefusal)) // the dialer keeps its beginning
	answer.Body = io.NopCloser(bytes.NewReader(body))
	if refused := check(answer, nil); refused != nil {
		return refused
	}
	return fmt.Errorf("connect the terminal: %w", err)
}

var _ executor.Terminals = (*Link)(nil)

// NextTerminal implements executor.Terminals.
func (l *Link) NextTerminal(ctx context.Context, wait time.Duration) (*executor.TerminalRequest, error) {
	answer, err := decode[api.NextTerminalResponse](l.c.raw.NextTerminal(ctx, api.NextTerminalRequest{WaitMs: wait.Milliseconds()}))
	if err != nil || answer.Terminal.TerminalId == "" {
		return nil, err
	}
	return &executor.TerminalRequest{ID: answer.Terminal.TerminalId,
		TerminalSize: executor.TerminalSize{Cols: answer.Terminal.Cols, Rows: answer.Terminal.Rows}}, nil
}

// JoinTerminal implements executor.Terminals.
func (l *Link) JoinTerminal(ctx context.Context, id string) (executor.TerminalConn, error) {
	if err := checkID("terminal id", id); err != nil {
		return nil, err
	}
	return l.c.dialTerminal(ctx, "/oz/executions/current/terminals/"+url.PathEscape(id))
}
