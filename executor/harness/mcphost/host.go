package mcphost

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/environment/mcp"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/internal/version"
	"github.com/oz-platform/cloudagents/task"
)

// Options holds what a Host can do without. The zero value is ready to use.
type Options struct {
	// Secret gives the value of a secret of the run; nil knows none.
	Secret func(name string) (string, bool)
	// Strict makes every server a required one: Open fails when one does not
	// start.
	Strict bool
	// StartTimeout bounds the start of servers that do not say. Default
	// mcp.DefaultStartTimeout.
	StartTimeout time.Duration
	// CallTimeout bounds one call of a tool. Default 10 min.
	CallTimeout time.Duration
	// MaxMessageBytes bounds one message of a server. A longer one ends the
	// connection. Default 16 MiB.
	MaxMessageBytes int
	// MaxTextBytes bounds the text of one result. Default 256 KiB.
	MaxTextBytes int
}

func (o *Options) withDefaults() Options {
	if o == nil {
		o = &Options{}
	}
	out := *o
	if out.Secret == nil {
		out.Secret = func(string) (string, bool) { return "", false }
	}
	out.StartTimeout = cmp.Or(out.StartTimeout, mcp.DefaultStartTimeout)
	out.CallTimeout = cmp.Or(out.CallTimeout, 10*time.Minute)
	out.MaxMessageBytes = cmp.Or(out.MaxMessageBytes, 16<<20)
	out.MaxTextBytes = cmp.Or(out.MaxTextBytes, 256<<10)
	return out
}

// Host is a run's servers. Make one with Open.
type Host struct {
	s       *harness.Session
	opts    Options
	servers []*server // those that started, by name
	names   map[*remoteTool]string

	mu    sync.Mutex
	front *front // of Serve
}

// Open starts the servers and lists their tools. It posts a notice for each to
// the session's log. It fails with task.CodeEnvironmentSetupFailed when a
// required server does not start, after all the others were ended.
func Open(ctx context.Context, s *harness.Session, servers map[string]mcp.Server, opts *Options) (*Host, error) {
	h := &Host{s: s, opts: opts.withDefaults(), names: map[*remoteTool]string{}}
	list := slices.Sorted(maps.Keys(servers))
	started := make([]*server, len(list))
	troubles := make([]error, len(list))
	var all sync.WaitGroup
	for i, name := range list {
		all.Go(func() { started[i], troubles[i] = h.start(ctx, name, servers[name]) })
	}
	all.Wait()
	for _, v := range started {
		if v != nil {
			h.servers = append(h.servers, v)
		}
	}
	if err := h.tell(ctx, list, servers, started, troubles); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	h.nameTools()
	return h, nil
}

// start brings up one server.
func (h *Host) start(ctx context.Context, name string, config mcp.Server) (*server, error) {
	switch {
	case mcp.WellKnown(config.WarpID):
		return nil, fmt.Errorf("no %s integration is connected", config.WarpID)
	case config.WarpID != "":
		return nil, fmt.Errorf("the shared server %s does not exist any more, or does not fit the run's lists of tools", config.WarpID)
	}
	for key, value := range config.Sensitive() {
		// What is too short or too plain to be redacted is no secret.
		_ = h.s.Redactor.Add(label(name+"."+key), value)
	}
	filled, err := config.Fill(h.opts.Secret)
	if err != nil {
		return nil, err
	}
	v := &server{h: h, name: name, config: filled}
	if err := v.connect(ctx); err != nil {
		return nil, err
	}
	return v, nil
}

// tell puts into the log what became of each server, and fails if a required
// one is not there.
func (h *Host) tell(ctx context.Context, list []string, servers map[string]mcp.Server, started []*server, troubles []error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var missing []string
	for i, name := range list {
		if troubles[i] == nil {
			v := started[i]
			text := fmt.Sprintf("MCP server %s is ready after %s: %s.", name, v.took.Round(time.Millisecond), tools(len(v.tools)))
			if v.left > 0 {
				text += fmt.Sprintf(" %s cannot be used and were left out.", tools(v.left))
			}
			if err := h.notice(ctx, text); err != nil {
				return err
			}
			continue
		}
		reason := strings.TrimSuffix(bounded(troubles[i].Error(), maxTrouble), ".")
		if h.opts.Strict || servers[name].Required {
			missing = append(missing, fmt.Sprintf("%s: %s", name, reason))
			continue
		}
		if err := h.notice(ctx, fmt.Sprintf("MCP server %s did not start, and the run goes on without it: %s.", name, reason)); err != nil {
			return err
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return task.Errorf(task.CodeEnvironmentSetupFailed, "MCP servers that the run needs did not start: %s. Mend their configuration in config.mcp_servers, or make them optional",
		h.s.Redactor.String(strings.Join(missing, "; ")))
}

// maxTrouble bounds what is said of one failure, in bytes.
const maxTrouble = 1000

func tools(n int) string {
	if n == 1 {
		return "1 tool"
	}
	return fmt.Sprintf("%d tools", n)
}

func (h *Host) notice(ctx context.Context, text string) error {
	return h.s.Journal.Post(ctx, &task.Notice{Text: clean(h.s, text)})
}

// Close ends the servers and what Serve has opened, and waits until their
// processes are gone. It may be called again.
func (h *Host) Close() error {
	h.mu.Lock()
	f := h.front
	h.front = nil
	h.mu.Unlock()
	if f != nil {
		f.close()
	}
	var all sync.WaitGroup
	for _, v := range h.servers {
		all.Go(v.close)
	}
	all.Wait()
	return nil
}

// clean makes text fit for every store, without secrets.
func clean(s *harness.Session, text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s.Redactor.String(text), "\ufffd"), "\x00", "")
}

// bounded cuts text to at most n bytes, in its middle.
func bounded(text string, n int) string {
	if len(text) <= n {
		return text
	}
	head, tail := text[:n/2], text[len(text)-n/2:]
	return strings.ToValidUTF8(head, "") + fmt.Sprintf(" [... %d bytes left out ...] ", len(text)-len(head)-len(tail)) + strings.ToValidUTF8(tail, "")
}

// label makes a name that can stand in the place of a value.
func label(name string) string {
	name = "mcp." + strings.Map(func(c rune) rune {
		if c < 128 && (safe(byte(c)) || c == '.') {
			return c
		}
		return '-'
	}, name)
	return name[:min(len(name), 200)]
}

// safe is what every model takes in the name of a tool.
func safe(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// implementation is what servers are told of us.
func implementation() (name, v string) { return "oz-cloudagents", version.String() }
