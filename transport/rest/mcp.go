package rest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/mcpserver"
)

// newMCP makes the handler of the Model Context Protocol. It keeps no sessions,
// so that any replica can answer any request.
func (h *Handler) newMCP() http.Handler {
	// One server for all: without sessions each request is a connection of its
	// own, whose context keeps the values of the request's, and so the caller.
	server := mcpserver.NewShared(func(ctx context.Context) mcpserver.Service { return runs{callOf(ctx).client} }, &mcpserver.Options{Logger: h.opts.Logger})
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true, PropagateRequestCancellation: true,
		// A page that was rebound to this address has no key to send.
		DisableLocalhostProtection: true})
}

// runs is the platform as its HTTP client shows it.
type runs struct{ *oz.Client }

// Transcript implements mcpserver.Service.
func (r runs) Transcript(ctx context.Context, id task.ID, w io.Writer, format string) error {
	return r.Client.Transcript(ctx, id, w, oz.TranscriptFormat(format))
}

// Download implements mcpserver.Service.
func (r runs) Download(ctx context.Context, uid string, w io.Writer) error {
	a, _, err := r.Artifact(ctx, uid)
	if err != nil {
		return err
	}
	f, err := r.OpenBlob(ctx, a)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	_, err = io.Copy(w, f)
	return err
}

// CallMCP implements POST /mcp.
func (o operations) CallMCP(ctx context.Context, _ api.CallMCPRequestObject) (api.CallMCPResponseObject, error) {
	select {
	case o.Handler.streams <- struct{}{}: // a call may wait as long as a stream's heartbeat
	default:
		return nil, task.Errorf(task.CodeResourceUnavailable, "the server has %d streams open and takes no more; try again", cap(o.Handler.streams))
	}
	return &mcpAnswer{h: o.Handler, call: callOf(ctx), ctx: ctx}, nil
}

// mcpAnswer answers one message.
type mcpAnswer struct {
	h    *Handler
	call *call
	ctx  context.Context
}

// VisitCallMCPResponse implements api.CallMCPResponseObject.
func (a *mcpAnswer) VisitCallMCPResponse(w http.ResponseWriter) error {
	defer func() { <-a.h.streams }()
	// The server's limit for reading a request would end a call that waits.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	ctx, cancel := context.WithCancel(a.ctx)
	defer cancel()
	go func() { // a server that stops waits for nobody
		select {
		case <-a.h.stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	r := a.call.request.Clone(ctx)
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(a.call.body)), int64(len(a.call.body))
	r.Header.Set("Accept", "application/json, text/event-stream") // it gets JSON, whatever it says
	kept := &keptAnswer{header: http.Header{}, status: http.StatusOK}
	a.h.mcp().ServeHTTP(kept, r)
	if kept.status >= http.StatusBadRequest {
		return &statusError{status: kept.status, err: task.Invalid("", "is no request of the Model Context Protocol: %s", strings.TrimSpace(kept.body.String()))}
	}
	if kind := kept.header.Get("Content-Type"); kind != "" {
		w.Header().Set("Content-Type", kind)
	}
	w.WriteHeader(kept.status)
	_, err := w.Write(kept.body.Bytes())
	return err
}

// keptAnswer keeps an answer, which is bounded, until it is known to be good.
type keptAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (k *keptAnswer) Header() http.Header { return k.header }

// WriteHeader implements http.ResponseWriter.
func (k *keptAnswer) WriteHeader(status int) { k.status = status }

// Write implements http.ResponseWriter.
func (k *keptAnswer) Write(b []byte) (int, error) { return k.body.Write(b) }

// Flush implements http.Flusher.
func (k *keptAnswer) Flush() {}
