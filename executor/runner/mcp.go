package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oz-platform/cloudagents/environment/mcp"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/mcphost"
	"github.com/oz-platform/cloudagents/executor/harness/tools"
	"github.com/oz-platform/cloudagents/task"
)

// endGrace is what an agent gets to end its turn after it has ended its work
// through a tool.
const endGrace = 30 * time.Second

// errWorkEnded is the cause of the context of an agent that went on after it had
// ended its work.
var errWorkEnded = errors.New("the agent has ended its work")

// openMCP starts the run's MCP servers and gives their tools, and for agents
// that take none directly the platform's too, to the session.
func (x *execution) openMCP(ctx context.Context, h harness.Harness, s *harness.Session) (*mcphost.Host, error) {
	servers := make(map[string]mcp.Server, len(x.bundle.Task.Config.MCPServers))
	for name, raw := range x.bundle.Task.Config.MCPServers {
		server, err := mcp.Parse(mcp.Field("config.mcp_servers", name), raw)
		if err != nil {
			return nil, err
		}
		servers[name] = server
	}
	secret := x.variables()
	host, err := mcphost.Open(ctx, s, servers, &mcphost.Options{Strict: x.opts.StrictMCP, StartTimeout: x.opts.MCPStartTimeout,
		Secret: func(name string) (string, bool) { value, ok := secret[name]; return value, ok }})
	if err != nil {
		return nil, err
	}
	if _, direct := h.(harness.ToolUser); direct {
		s.Tools = append(s.Tools, host.Tools()...)
		return host, nil
	}
	s.Tools = append(s.Tools, tools.For(s, tools.Foreign)...)
	if s.MCP, err = host.Serve(ctx, s.Tools); err != nil {
		return nil, errors.Join(err, host.Close())
	}
	return host, nil
}

// runWithTools runs the harness. What a tool of the platform, called from
// outside of the harness, said of the work's end stands above what the harness
// makes of it.
func (x *execution) runWithTools(ctx context.Context, h harness.Harness, s *harness.Session, host *mcphost.Host) (harness.Outcome, error) {
	watched, cancel := context.WithCancelCause(ctx)
	over, done := host.Over(), make(chan struct{})
	go func() {
		defer close(done)
		x.watchTools(watched, host, over, cancel)
	}()
	o, err := x.runHarness(watched, h, s)
	cancel(nil)
	<-done
	if ctx.Err() != nil {
		return o, err
	}
	end, fault := host.Ended()
	switch {
	case fault != nil:
		return harness.Outcome{}, fmt.Errorf("a tool of the platform: %w", fault)
	case end == nil, err != nil && !errors.Is(context.Cause(watched), errWorkEnded):
		return o, err
	}
	out := *end
	out.Turns, out.SeenInput = max(1, o.Turns), o.SeenInput
	if err != nil {
		out.SeenInput, err = x.delivered(ctx)
	}
	return out, err
}

// watchTools stops an agent whose work a tool has ended, if it goes on.
func (x *execution) watchTools(ctx context.Context, host *mcphost.Host, over <-chan struct{}, cancel context.CancelCauseFunc) {
	select {
	case <-ctx.Done():
		return
	case <-over:
	}
	if _, fault := host.Ended(); fault != nil {
		cancel(fault)
		return
	}
	select {
	case <-ctx.Done():
	case <-x.opts.Clock.After(endGrace):
		cancel(errWorkEnded)
	}
}

// delivered is the number of the newest message that an agent has been given.
func (x *execution) delivered(ctx context.Context) (int64, error) {
	var newest int64
	for e, err := range x.journal.History(ctx, 0) {
		if err != nil {
			return 0, err
		}
		if p, ok := e.Payload.(*task.Delivered); ok {
			for _, seq := range p.Inputs {
				newest = max(newest, seq)
			}
		}
	}
	return newest, nil
}
