package mcphost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/oz-platform/cloudagents/environment/mcp"
	"github.com/oz-platform/cloudagents/executor/harness"
)

// Limits of what a server may offer.
const (
	maxTools       = 200 // of one server
	maxSchema      = 64 << 10
	maxDescription = 4 << 10
	maxToolName    = 200
)

// server is one server, with its connection while it has one.
type server struct {
	h      *Host
	name   string
	config mcp.Server // filled
	tools  []*remoteTool
	left   int           // tools that could not be taken
	took   time.Duration // to start

	mu        sync.Mutex
	link      *connection // nil: none
	restarted bool
	closed    bool
}

// remoteTool is one tool of a server.
type remoteTool struct {
	server      *server
	name        string // the server's
	title       string
	description string
	schema      json.RawMessage // an object
	readOnly    bool
	repeatable  bool
}

// connection is one connection to a server. dead is closed when it ends.
type connection struct {
	session *sdk.ClientSession
	process *process // nil without
	end     context.CancelFunc
	dead    chan struct{}
	broken  atomic.Bool // a call has found it unusable, although nobody has closed it
}

// connect starts the server and lists its tools, within its time limit.
func (v *server) connect(ctx context.Context) error {
	begun := v.h.s.Clock.Now()
	limit := v.config.StartTimeout(v.h.opts.StartTimeout)
	starting, cancel := context.WithTimeout(ctx, limit) // real time: it is about a real server
	defer cancel()
	c, err := v.dial(starting)
	if err == nil {
		if err = v.list(starting, c); err != nil {
			err = fmt.Errorf("list its tools: %w", err)
			c.close()
		}
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && starting.Err() != nil:
		return fmt.Errorf("not ready after %s", limit)
	case err != nil:
		return err
	}
	v.took = v.h.s.Clock.Now().Sub(begun)
	v.link = c
	return nil
}

// dial connects. What it starts lives until the connection is closed, and not
// only as long as ctx.
func (v *server) dial(ctx context.Context) (*connection, error) {
	if v.config.Command != "" {
		return v.dialCommand(ctx)
	}
	c, err := v.dialURL(ctx, v.streamable)
	if err == nil || ctx.Err() != nil || errors.Is(err, errRefused) {
		return c, err
	}
	old, oldErr := v.dialURL(ctx, v.sse) // servers of before the protocol of March 2025
	if oldErr != nil {
		return nil, err
	}
	return old, nil
}

func (v *server) dialCommand(ctx context.Context) (*connection, error) {
	p, err := v.startProcess()
	if err != nil {
		return nil, err
	}
	c, err := v.session(ctx, &sdk.IOTransport{Reader: p.out, Writer: p.in, MaxLineLength: v.h.opts.MaxMessageBytes}, p.stop)
	if err != nil {
		return nil, p.explain(err)
	}
	c.process = p
	return c, nil
}

func (v *server) dialURL(ctx context.Context, transport func(*refusals) (sdk.Transport, error)) (*connection, error) {
	seen := &refusals{}
	t, err := transport(seen)
	if err != nil {
		return nil, err
	}
	c, err := v.session(ctx, t, func() {})
	if err != nil {
		return nil, seen.explain(err)
	}
	return c, nil
}

// session begins to speak over a transport. stop ends what is behind it.
func (v *server) session(ctx context.Context, t sdk.Transport, stop func()) (*connection, error) {
	name, number := implementation()
	client := sdk.NewClient(&sdk.Implementation{Name: name, Version: number}, &sdk.ClientOptions{Capabilities: &sdk.ClientCapabilities{}})
	// A transport may hold on to the context that it was connected with.
	living, cancel := context.WithCancel(context.WithoutCancel(ctx))
	detach := context.AfterFunc(ctx, cancel)
	s, err := client.Connect(living, t, nil)
	if !detach() && err == nil { // the time was over just now
		_ = s.Close() // nobody will use it
		err = context.Cause(ctx)
	}
	if err != nil {
		cancel()
		stop()
		return nil, err
	}
	c := &connection{session: s, dead: make(chan struct{}), end: func() { cancel(); stop() }}
	go func() {
		defer close(c.dead)
		_ = s.Wait() // whatever ended it, it has ended
	}()
	return c, nil
}

// close ends the connection and what is behind it.
func (c *connection) close() {
	c.end()
	_ = c.session.Close() // it may be dead already
	<-c.dead
}

// alive reports that the connection has not ended.
func (c *connection) alive() bool {
	select {
	case <-c.dead:
		return false
	default:
		return !c.broken.Load()
	}
}

// list asks for the tools.
func (v *server) list(ctx context.Context, c *connection) error {
	if c.session.InitializeResult().Capabilities.Tools == nil {
		v.tools, v.left = nil, 0
		return nil
	}
	var found []*remoteTool
	left := 0
	seen := map[string]bool{}
	for t, err := range c.session.Tools(ctx, nil) {
		if err != nil {
			return err
		}
		if len(found)+left >= 10*maxTools { // it may go on for ever
			left++
			break
		}
		if !v.config.Allows(t.Name) {
			continue
		}
		r, ok := v.remote(t)
		if !ok || seen[t.Name] || len(found) >= maxTools {
			left++
			continue
		}
		seen[t.Name] = true
		found = append(found, r)
	}
	v.tools, v.left = found, left
	return nil
}

// remote judges a tool that the server offers.
func (v *server) remote(t *sdk.Tool) (*remoteTool, bool) {
	if t.Name == "" || len(t.Name) > maxToolName {
		return nil, false
	}
	schema, err := json.Marshal(t.InputSchema)
	var object struct {
		Type any `json:"type"`
	}
	if err != nil || len(schema) > maxSchema || json.Unmarshal(schema, &object) != nil || object.Type != "object" {
		return nil, false
	}
	s := v.h.s
	if schema, err = s.Redactor.JSON(schema); err != nil {
		return nil, false
	}
	r := &remoteTool{server: v, name: t.Name, title: clean(s, bounded(t.Title, 200)), description: clean(s, bounded(t.Description, maxDescription)), schema: schema}
	if a := t.Annotations; a != nil {
		r.readOnly = a.ReadOnlyHint
		r.repeatable = a.ReadOnlyHint || a.IdempotentHint
	}
	return r, true
}

// connected gives a living connection. A program that has died is started once
// more; a server elsewhere is called again each time.
func (v *server) connected(ctx context.Context) (*connection, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.closed:
		return nil, harness.Refuse("The MCP server %s has been stopped.", v.name)
	case v.link != nil && v.link.alive():
		return v.link, nil
	}
	if v.link != nil {
		v.link.close()
		v.link = nil
	}
	if v.restarted && v.config.Command != "" {
		return nil, harness.Refuse("The MCP server %s has ended again and is not started any more. Go on without it.", v.name)
	}
	v.restarted = true
	starting, cancel := context.WithTimeout(ctx, v.config.StartTimeout(v.h.opts.StartTimeout)) // real time: it is about a real server
	defer cancel()
	c, err := v.dial(starting)
	if ctx.Err() != nil {
		if c != nil {
			c.close()
		}
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, harness.Refuse("The MCP server %s has ended and could not be started again: %s. Go on without it.", v.name, bounded(err.Error(), maxTrouble))
	}
	v.link = c
	return c, v.h.notice(ctx, fmt.Sprintf("MCP server %s had ended and was started again.", v.name))
}

// call calls a tool.
func (v *server) call(ctx context.Context, t *remoteTool, input json.RawMessage) (*sdk.CallToolResult, error) {
	c, err := v.connected(ctx)
	if err != nil {
		return nil, err
	}
	if len(strings.TrimSpace(string(input))) == 0 {
		input = json.RawMessage("{}")
	}
	limited, cancel := context.WithTimeout(ctx, v.h.opts.CallTimeout) // real time: it is about a real server
	defer cancel()
	res, err := c.session.CallTool(limited, &sdk.CallToolParams{Name: t.name, Arguments: input})
	switch {
	case err == nil:
		return res, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case limited.Err() != nil:
		return nil, harness.Refuse("%s of the MCP server %s gave no answer within %s; the call was given up.", t.name, v.name, v.h.opts.CallTimeout)
	}
	var answer *jsonrpc.Error
	if errors.As(err, &answer) && !errors.Is(err, sdk.ErrConnectionClosed) {
		return nil, harness.Refuse("The MCP server %s refused the call: %s", v.name, bounded(answer.Message, maxTrouble))
	}
	c.broken.Store(true)
	return nil, harness.Refuse("The connection to the MCP server %s ended during this call: %s. Whether the call did anything is not known; check before you make it again.",
		v.name, bounded(c.process.explain(err).Error(), maxTrouble))
}

// close ends the server for good.
func (v *server) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	if v.link != nil {
		v.link.close()
		v.link = nil
	}
}
