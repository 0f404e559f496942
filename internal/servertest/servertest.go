// Package servertest runs the commands of this module as real processes for
// tests: the server ozd over a scripted model, stopped and started at will.
package servertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/transport/client"
)

// APIKey is the admin's.
const APIKey = "servertest-admin-key"

// Model is the id of the scripted model.
const Model = "scripted-model"

// Patience bounds what should take a moment.
const Patience = 90 * time.Second

// Build compiles commands of this module, such as "ozd", into dir, static and
// stripped as they are shipped. It works
// from the directory of any package two levels below the module's.
func Build(dir string, commands ...string) error {
	args := []string{"build", "-tags", "grpcnotrace", "-ldflags=-s -w", "-o", dir + string(filepath.Separator)}
	for _, c := range commands {
		args = append(args, "../../cmd/"+c)
	}
	build := exec.Command("go", args...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Server is ozd with its data, its address and its model.
type Server struct {
	// Dir holds the configuration ozd.yaml and the data directory data.
	Dir string
	// URL is the server's root, the same after every start.
	URL string

	t       testing.TB
	program string
	process *exec.Cmd
	ended   chan struct{} // closes when process has ended
	output  *Buffer
}

// New prepares a server of the binary program that plays script; Start starts
// it. At the end of the test it is stopped, and must have nothing left running.
func New(t testing.TB, program string, script scripted.Script) *Server {
	t.Helper()
	model, err := scripted.New(script, nil)
	assert.NilError(t, err)
	at, err := model.Start()
	assert.NilError(t, err)
	t.Cleanup(func() { _ = at.Close() })
	address := FreeAddress(t)
	s := &Server{Dir: t.TempDir(), URL: "http://" + address, t: t, program: program, output: &Buffer{}}
	config := fmt.Sprintf("listen: %s\ndata: %s\nmodels:\n  - {name: script, wire: anthropic, base_url: %q, models: [%s]}\n",
		address, filepath.Join(s.Dir, "data"), at.AnthropicURL, Model)
	assert.NilError(t, os.WriteFile(filepath.Join(s.Dir, "ozd.yaml"), []byte(config), 0o600))
	t.Cleanup(func() {
		if s.process != nil {
			assert.Check(t, s.Stop())
		}
		s.checkQuiet()
	})
	return s
}

// FreeAddress names a loopback address that was free just now, and stays so
// while the server is down: with 127.0.0.1, an outgoing connection of some
// program might take the port.
func FreeAddress(t testing.TB) string {
	t.Helper()
	own := net.IPv4(127, 0, 0, 1)
	if runtime.GOOS == "linux" { // which has all of 127.0.0.0/8
		own = net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254)))
	}
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: own})
	assert.NilError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// Start starts the server and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	p, ended := exec.Command(s.program, "--config", filepath.Join(s.Dir, "ozd.yaml")), make(chan struct{})
	p.Env = Environ("HOME="+s.Dir, "OZ_BOOTSTRAP_API_KEY="+APIKey)
	p.Stdout, p.Stderr = s.output, s.output
	assert.NilError(s.t, p.Start())
	s.process, s.ended = p, ended
	go func() { _ = p.Wait(); close(ended) }() // end waits for it
	if err := AwaitHealthy(s.t.Context(), s.URL, ended); err != nil {
		s.t.Fatalf("%v\n%s", err, s.output)
	}
}

// AwaitHealthy returns once the server at url answers, or ended is closed.
func AwaitHealthy(ctx context.Context, url string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/healthz", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ended:
			return errors.New("the server ended before it answered")
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

// Stop drains the server and waits for its end, which must be a clean one.
func (s *Server) Stop() error { return s.end(syscall.SIGTERM) }

// Kill ends the server at once, without any chance to clean up.
func (s *Server) Kill() { _ = s.end(syscall.SIGKILL) }

func (s *Server) end(sig syscall.Signal) error {
	p := s.process
	s.process = nil
	if err := p.Process.Signal(sig); err != nil {
		return fmt.Errorf("the server had ended by itself: %w\n%s", err, s.output)
	}
	<-s.ended
	if code := p.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the server's exit code is %d\n%s", code, s.output)
	}
	return nil
}

// Output is what all starts have printed.
func (s *Server) Output() string { return s.output.String() }

// Client talks to the server as the admin.
func (s *Server) Client() *client.Client {
	s.t.Helper()
	c, err := client.New(s.URL, &client.Options{APIKey: APIKey, MaxRetries: 8})
	assert.NilError(s.t, err)
	return c
}

// Runners lists the agent runners that are at work for this server, as process
// id and command line.
func (s *Server) Runners() []string {
	return slices.DeleteFunc(s.sandboxed(), func(p string) bool { return !strings.Contains(p, " oz-agent-runner ") })
}

// sandboxed lists the processes in sandboxes of this server.
func (s *Server) sandboxed() []string {
	var list []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		env, err := os.ReadFile(filepath.Join(d, "environ"))
		if err == nil && bytes.Contains(env, []byte("OZ_SANDBOX_ID=")) && bytes.Contains(env, []byte(s.Dir)) {
			args, _ := os.ReadFile(filepath.Join(d, "cmdline"))
			list = append(list, filepath.Base(d)+" "+strings.ReplaceAll(string(args), "\x00", " "))
		}
	}
	return list
}

// checkQuiet waits until no sandbox has a process any more.
func (s *Server) checkQuiet() {
	s.t.Helper()
	deadline := time.Now().Add(Patience)
	for left := s.sandboxed(); len(left) > 0; left = s.sandboxed() {
		if s.t.Failed() || time.Now().After(deadline) {
			s.t.Errorf("left over, now killed: %q", left)
			for _, p := range left {
				id, _, _ := strings.Cut(p, " ")
				if pid, err := strconv.Atoi(id); err == nil {
					_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended meanwhile
				}
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Environ is a small environment for a process: what finding programs needs,
// and vars.
func Environ(vars ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}, vars...)
}

// Buffer collects the output of a process. Safe for concurrent use.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String gives what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
