package mcphost

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/permit"
	"github.com/oz-platform/cloudagents/task"
)

// PlatformServer is the name of the server that has the platform's own tools.
const PlatformServer = "oz"

// maxRequest bounds one request of an agent, in bytes.
const maxRequest = 16 << 20

// front is what agents with a client of their own speak to.
type front struct {
	h        *Host
	platform []harness.Tool
	token    [sha256.Size]byte
	life     context.Context // of calls
	end      context.CancelFunc
	http     *http.Server
	serving  chan struct{} // closed when http has ended
	calls    sync.WaitGroup

	mu      sync.Mutex
	closing bool
	made    []*sdk.Server
	ended   *harness.Outcome
	fault   error
	over    chan struct{} // closed when ended or fault is set
}

// Serve opens the servers for agents that have a client of their own: one for
// each of the run's, under its own name, and PlatformServer before them with the
// tools of platform, those of the session's mode. All are on loopback, behind a
// token that is good for this Host only and is redacted. They live until Close.
// It may be called once.
func (h *Host) Serve(ctx context.Context, platform []harness.Tool) ([]harness.MCPServer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.front != nil {
		return nil, errors.New("mcphost: Serve was called before")
	}
	token := rand.Text()
	if err := h.s.Redactor.Add("OZ_MCP_TOKEN", token); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the agent's MCP client: %w", err)
	}
	f := &front{h: h, platform: platform, token: sha256.Sum256([]byte(token)), serving: make(chan struct{}), over: make(chan struct{})}
	f.life, f.end = context.WithCancel(context.WithoutCancel(ctx))
	mux := http.NewServeMux()
	paths := f.routes(mux)
	f.http = &http.Server{Handler: f.guard(mux), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(f.serving)
		_ = f.http.Serve(listener) // it ends by close
	}()
	h.front = f
	var out []harness.MCPServer
	for _, p := range paths {
		out = append(out, harness.MCPServer{Name: p.name, URL: "http://" + listener.Addr().String() + p.path,
			Headers: map[string]string{"Authorization": "Bearer " + token}, StartTimeout: h.opts.StartTimeout})
	}
	return out, nil
}

// route is where one server is found.
type route struct{ name, path string }

// routes puts the servers into mux.
func (f *front) routes(mux *http.ServeMux) []route {
	out := []route{{PlatformServer, "/mcp"}}
	mux.Handle("/mcp", f.handler(f.platformServer))
	for i, v := range f.h.servers {
		at := fmt.Sprintf("/mcp/%d", i+1) // names are anything
		name := safeName(v.name)
		if name == PlatformServer || len(name) > 32 || name != v.name {
			name = fmt.Sprintf("%s_%d", name[:min(len(name), 29)], i+1)
		}
		mux.Handle(at, f.handler(func(context.Context) *sdk.Server { return f.remoteServer(v) }))
		out = append(out, route{name, at})
	}
	return out
}

func (f *front) handler(make func(context.Context) *sdk.Server) http.Handler {
	return sdk.NewStreamableHTTPHandler(func(r *http.Request) *sdk.Server { return make(r.Context()) },
		&sdk.StreamableHTTPOptions{MaxRequestBodyBytes: maxRequest, PropagateRequestCancellation: true})
}

// guard lets nobody in without the token.
func (f *front) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		sum := sha256.Sum256([]byte(given))
		if subtle.ConstantTimeCompare(sum[:], f.token[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the run's MCP token is needed", http.StatusUnauthorized)
			return
		}
		ctx, done, err := f.begin(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		defer done()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// platformServer has the platform's tools of the session's mode.
func (f *front) platformServer(ctx context.Context) *sdk.Server {
	s := f.empty("The tools of the platform that this agent runs on: report results, ask the person, and end the work.")
	mode := f.mode(ctx)
	for _, t := range f.platform {
		if !t.Offered(mode) {
			continue
		}
		s.AddTool(&sdk.Tool{Name: t.Name, Description: t.Description, InputSchema: json.RawMessage(t.Schema),
			Annotations: &sdk.ToolAnnotations{ReadOnlyHint: t.ReadOnly, IdempotentHint: t.Repeatable}},
			func(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
				return f.callPlatform(ctx, t, r.Params.Arguments)
			})
	}
	return s
}

// mode is that of the newest message from a person.
func (f *front) mode(ctx context.Context) task.Mode {
	mode := f.h.s.Task.Mode
	inputs, err := f.h.s.Journal.Inputs(ctx, 0)
	if err != nil {
		return mode // the journal has failed, and the execution ends by that
	}
	for _, e := range inputs {
		if in, ok := e.Payload.(*task.Input); ok && in.Mode != "" {
			mode = in.Mode
		}
	}
	return mode
}

// remoteServer has the tools of one of the run's servers.
func (f *front) remoteServer(v *server) *sdk.Server {
	s := f.empty("")
	for _, t := range v.tools {
		s.AddTool(&sdk.Tool{Name: t.name, Title: t.title, Description: t.description, InputSchema: t.schema,
			Annotations: &sdk.ToolAnnotations{ReadOnlyHint: t.readOnly, IdempotentHint: t.repeatable}},
			func(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
				ctx, done, err := f.begin(ctx)
				if err != nil {
					return f.failed(err), nil
				}
				defer done()
				if err := f.permitted(f.h.names[t], r.Params.Arguments); err != nil {
					return f.failed(err), nil
				}
				res, err := v.call(ctx, t, r.Params.Arguments)
				if err != nil {
					return f.failed(err), nil
				}
				return f.h.content(t, res), nil
			})
	}
	return s
}

// empty makes a server without tools.
func (f *front) empty(instructions string) *sdk.Server {
	name, number := implementation()
	s := sdk.NewServer(&sdk.Implementation{Name: name, Version: number},
		&sdk.ServerOptions{Instructions: instructions, Capabilities: &sdk.ServerCapabilities{Tools: &sdk.ToolCapabilities{}}})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made = append(f.made, s)
	return s
}

// begin makes a call one that close ends and waits for.
func (f *front) begin(ctx context.Context) (context.Context, func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return nil, nil, harness.Refuse("The run has ended.")
	}
	f.calls.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	detach := context.AfterFunc(f.life, cancel)
	return ctx, func() { detach(); cancel(); f.calls.Done() }, nil
}

// callPlatform calls one of the platform's tools.
func (f *front) callPlatform(ctx context.Context, t harness.Tool, input json.RawMessage) (*sdk.CallToolResult, error) {
	ctx, done, err := f.begin(ctx)
	if err != nil {
		return f.failed(err), nil
	}
	defer done()
	if e, _ := f.state(); e != nil {
		return f.failed(harness.Refuse("The work has ended. End your turn now.")), nil
	}
	if err := f.permitted(t.Name, input); err != nil {
		return f.failed(err), nil
	}
	answer, err := t.Run(ctx, harness.ToolCall{Input: input})
	if err != nil {
		return f.failed(err), nil
	}
	if answer.End != nil {
		if err := f.h.s.Journal.Flush(ctx); err != nil { // what it has posted before its end
			return f.failed(err), nil
		}
		f.finish(answer.End, nil)
	}
	text := answer.Text
	if text == "" {
		text = "Done."
	}
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: bounded(clean(f.h.s, text), f.h.opts.MaxTextBytes)}}}, nil
}

// permitted judges a call by the run's agent profile. One that is prohibited
// ends the work where that is the rule. Nobody can be asked here: the agent does
// not wait with a call, so that asking is refusing.
func (f *front) permitted(tool string, input json.RawMessage) error {
	switch v := f.h.s.Permit.Judge(tool, input); v.Decision {
	case permit.Allow:
		return nil
	case permit.Prohibit:
		if f.h.s.Permit.Fails() {
			f.finish(&harness.Outcome{State: task.StateFailed, Status: task.Status{Message: v.Reason, ErrorCode: task.CodeNotAuthorized}}, nil)
		}
		return harness.Deny("%s Nothing was done. Do not try it in another way.", v.Reason)
	default:
		return harness.Deny("%s Nothing was done.", v.Reason)
	}
}

// failed tells the agent of an error. One that is not its own ends the
// execution.
func (f *front) failed(err error) *sdk.CallToolResult {
	var no *harness.ToolError
	text := "The platform has a fault; this run cannot go on."
	if errors.As(err, &no) {
		text = no.Message
	} else if f.life.Err() == nil && !errors.Is(err, context.Canceled) {
		f.finish(nil, err)
	}
	return &sdk.CallToolResult{IsError: true, Content: []sdk.Content{&sdk.TextContent{Text: bounded(clean(f.h.s, text), f.h.opts.MaxTextBytes)}}}
}

// finish keeps the first end.
func (f *front) finish(o *harness.Outcome, fault error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended == nil && f.fault == nil {
		f.ended, f.fault = o, fault
		close(f.over)
	}
}

func (f *front) state() (*harness.Outcome, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended, f.fault
}

// close ends all connections and calls.
func (f *front) close() {
	f.mu.Lock()
	f.closing = true
	f.mu.Unlock()
	f.end()
	_ = f.http.Close() // connections that are open are cut
	<-f.serving
	f.calls.Wait() // from here on no session begins
	f.mu.Lock()
	made := f.made
	f.mu.Unlock()
	for _, s := range made {
		for session := range s.Sessions() {
			_ = session.Close() // its connection is cut already
		}
	}
}

// Over is closed when a tool of the platform, called through Serve, has ended
// the agent's work, or has failed by a fault of the platform; Ended says which.
// It is nil before Serve.
func (h *Host) Over() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.front == nil {
		return nil
	}
	h.front.mu.Lock()
	defer h.front.mu.Unlock()
	return h.front.over
}

// Ended is how a tool of the platform, called through Serve, has ended the
// agent's work: nil while none has. err is the platform's fault that cut a call
// off.
func (h *Host) Ended() (o *harness.Outcome, err error) {
	h.mu.Lock()
	f := h.front
	h.mu.Unlock()
	if f == nil {
		return nil, nil
	}
	return f.state()
}

// Resume forgets an end, for an agent that is sent back to work because a
// message came meanwhile.
func (h *Host) Resume() {
	h.mu.Lock()
	f := h.front
	h.mu.Unlock()
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended != nil {
		f.ended, f.over = nil, make(chan struct{})
	}
}
