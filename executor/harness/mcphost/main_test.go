package mcphost_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/mcp"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	"github.com/oz-platform/cloudagents/executor/harness/mcphost"
	"github.com/oz-platform/cloudagents/task"
)

// kindName is the variable that makes the test binary a server.
const kindName = "OZ_TEST_MCP_SERVER"

func TestMain(m *testing.M) {
	if kind := os.Getenv(kindName); kind != "" {
		serve(kind)
		return
	}
	goleak.VerifyTestMain(m)
}

// serve is a server on standard input and output, good or bad.
func serve(kind string) {
	switch kind {
	case "silent": // never answers
		time.Sleep(time.Hour)
	case "dies":
		fmt.Fprintln(os.Stderr, "no such tenant; the token was", os.Getenv("TOKEN"))
		os.Exit(3)
	case "nonsense":
		fmt.Println("Welcome to the server!")
		fmt.Println(`{"jsonrpc": "2.0", "id": `)
		time.Sleep(time.Hour)
	case "endless": // begins a message that never ends
		out := bufio.NewWriter(os.Stdout)
		fmt.Fprint(out, `{"jsonrpc":"2.0","id":1,"result":{"x":"`)
		for line := strings.Repeat("x", 1<<16); ; {
			if _, err := out.WriteString(line); err != nil {
				return
			}
		}
	default:
		if err := newServer().Run(context.Background(), &sdk.StdioTransport{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

type textInput struct {
	Text string `json:"text,omitempty"`
	N    int    `json:"n,omitempty"`
}

// newServer is a server that is good but for what its tools are asked to do.
func newServer() *sdk.Server {
	s := sdk.NewServer(&sdk.Implementation{Name: "test", Version: "1"}, nil)
	add := func(name string, a *sdk.ToolAnnotations, do func(ctx context.Context, in textInput) *sdk.CallToolResult) {
		sdk.AddTool(s, &sdk.Tool{Name: name, Description: "does " + name, Annotations: a}, func(ctx context.Context, _ *sdk.CallToolRequest, in textInput) (*sdk.CallToolResult, any, error) {
			return do(ctx, in), nil, nil
		})
	}
	say := func(text string) *sdk.CallToolResult {
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: text}}}
	}
	add("echo", &sdk.ToolAnnotations{ReadOnlyHint: true}, func(_ context.Context, in textInput) *sdk.CallToolResult { return say(in.Text) })
	add("token", nil, func(context.Context, textInput) *sdk.CallToolResult { return say("token: " + os.Getenv("TOKEN")) })
	add("grow", nil, func(_ context.Context, in textInput) *sdk.CallToolResult {
		return say(strings.Repeat("0123456789abcdef", in.N/16))
	})
	add("exit", nil, func(context.Context, textInput) *sdk.CallToolResult { os.Exit(7); return nil })
	add("wait", nil, func(ctx context.Context, _ textInput) *sdk.CallToolResult { <-ctx.Done(); return say("gave up") })
	add("fail", nil, func(context.Context, textInput) *sdk.CallToolResult {
		r := say("no such ticket")
		r.IsError = true
		return r
	})
	add("child", nil, func(context.Context, textInput) *sdk.CallToolResult {
		cmd := exec.Command("sleep", "3600")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			return say(err.Error())
		}
		return say(fmt.Sprint(cmd.Process.Pid))
	})
	add("picture", nil, func(context.Context, textInput) *sdk.CallToolResult {
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.ImageContent{MIMEType: "image/png", Data: []byte("\x89PNG")},
			&sdk.EmbeddedResource{Resource: &sdk.ResourceContents{URI: "file:///a", Text: "content of a"}}}}
	})
	return s
}

// self starts the test binary as a server.
func self(t testing.TB, kind string) mcp.Server {
	t.Helper()
	exe, err := os.Executable()
	assert.NilError(t, err)
	return mcp.Server{Command: exe, Env: map[string]string{kindName: kind}}
}

// lab is a run without servers yet.
type lab struct {
	*harnesstest.Lab
	s *harness.Session
}

func newLab(t testing.TB, secrets map[string]string) *lab {
	t.Helper()
	l := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true, Secrets: secrets})
	return &lab{l, l.Session(t)}
}

// open starts servers, which end with the test.
func (l *lab) open(t testing.TB, servers map[string]mcp.Server, opts *mcphost.Options) *mcphost.Host {
	t.Helper()
	h, err := mcphost.Open(t.Context(), l.s, servers, opts)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, h.Close()) })
	return h
}

// notices is all that the log tells people.
func (l *lab) notices(t testing.TB) string {
	t.Helper()
	assert.NilError(t, l.s.Journal.Flush(t.Context()))
	var out []string
	for _, n := range harnesstest.Payloads[*task.Notice](l.Log) {
		out = append(out, n.Text)
	}
	return strings.Join(out, "\n")
}

// call calls a tool by its full name and gives what the model is told.
func call(t testing.TB, h *mcphost.Host, name string, input any) (string, error) {
	t.Helper()
	raw, err := json.Marshal(input)
	assert.NilError(t, err)
	for _, tool := range h.Tools() {
		if tool.Name == name {
			answer, err := tool.Run(t.Context(), harness.ToolCall{ID: "c", Input: raw})
			return answer.Text, err
		}
	}
	t.Fatalf("there is no tool %s", name)
	return "", nil
}

func names(h *mcphost.Host) []string {
	var out []string
	for _, t := range h.Tools() {
		out = append(out, t.Name)
	}
	return out
}

// overHTTP serves the test server over streamable HTTP; seen has the headers of
// the requests.
func overHTTP(t testing.TB, seen func(http.Header)) string {
	t.Helper()
	server := newServer()
	h := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server }, nil)
	endSessions(t, server)
	return listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if seen != nil {
			seen(r.Header)
		}
		h.ServeHTTP(w, r)
	}))
}

// endSessions ends what clients have left open, with the test.
func endSessions(t testing.TB, server *sdk.Server) {
	t.Cleanup(func() {
		for s := range server.Sessions() {
			_ = s.Close() // its client is gone
		}
	})
}

func listen(t testing.TB, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// npmServer finds a program of the MCP servers from npm, which
// internal/tools/mcpservers.sh installs.
func npmServer(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("OZ_MCP_DIR")
	if dir == "" {
		cache, err := os.UserCacheDir()
		assert.NilError(t, err)
		dir = filepath.Join(cache, "oz-mcp")
	}
	found, err := filepath.Glob(filepath.Join(dir, "*", "node_modules", ".bin", name))
	assert.NilError(t, err)
	if len(found) > 0 {
		return found[len(found)-1]
	}
	if os.Getenv("OZ_TEST_REQUIRE") == "1" {
		t.Fatalf("%s is not installed: run internal/tools/mcpservers.sh", name)
	}
	t.Skipf("%s is not installed: run internal/tools/mcpservers.sh", name)
	return ""
}
