package ozagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/executor/harness"
)

const (
	// markName is the variable by which a command's descendants are found
	// again, whatever session or group they moved to.
	markName = "OZ_COMMAND_ID"
	// stopGrace is how long a command may take to end after SIGTERM.
	stopGrace = 500 * time.Millisecond
	// drainGrace is how long the output of a command may stay open after its
	// whole tree was killed; only a process that cleared its environment and
	// left its group can hold it.
	drainGrace = 2 * time.Second
	// maxBackground bounds the commands that run in the background at once.
	maxBackground = 16
)

// processes starts commands and keeps those in the background.
type processes struct {
	s     *harness.Session
	shell string

	mu         sync.Mutex
	count      int
	background map[string]*process
}

func newProcesses(s *harness.Session) *processes {
	shell := "sh"
	if path, err := exec.LookPath("bash"); err == nil {
		shell = path
	}
	return &processes{s: s, shell: shell, background: map[string]*process{}}
}

// process is a command with its whole tree.
type process struct {
	id     string // in the background
	mark   string
	cmd    *exec.Cmd
	stdin  *os.File // nil without
	out    *pieces
	kept   *capture
	exited chan struct{} // closed when the tree is gone and the output is read
	err    error         // of the output; valid once exited is closed
}

// start runs command in dir. Its output goes through the redactor to kept and,
// in pieces, to live, which may be nil.
func (ps *processes) start(dir, command string, interactive bool, kept *capture, live func(string) error) (*process, error) {
	p := &process{mark: uuid.NewString(), kept: kept, exited: make(chan struct{})}
	p.cmd = exec.Command(ps.shell, "-c", command)
	p.cmd.Dir = dir
	p.cmd.Env = append(slices.Clone(ps.s.Env), markName+"="+p.mark)
	p.cmd.SysProcAttr = ownGroup()
	output, err := p.begin(interactive)
	if err != nil {
		return nil, err
	}
	p.out = newPieces(ps.s, func(text string) error {
		kept.write(text)
		if live == nil {
			return nil
		}
		return live(text)
	})
	go p.tend(output, live)
	return p, nil
}

// begin starts the command with its pipes and gives the end to read from.
func (p *process) begin(interactive bool) (*os.File, error) {
	output, into, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = into.Close() }() // the child has its own
	p.cmd.Stdout, p.cmd.Stderr = into, into
	if interactive {
		from, stdin, err := os.Pipe()
		if err != nil {
			_ = output.Close()
			return nil, err
		}
		defer func() { _ = from.Close() }() // the child has its own
		p.cmd.Stdin, p.stdin = from, stdin
	}
	if err := p.cmd.Start(); err != nil {
		_ = output.Close()
		p.closeInput()
		return nil, err
	}
	return output, nil
}

// tend waits for the command, kills what it left behind and ends its output.
func (p *process) tend(output *os.File, live func(string) error) {
	defer close(p.exited)
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(onlyWriter{p.out.redact}, output)
		if err != nil { // nobody reads any more: the command would hang on a full pipe
			killTree(p.cmd.Process.Pid, p.mark)
		}
		copied <- err
	}()
	_ = p.cmd.Wait() // ProcessState has it all
	killTree(p.cmd.Process.Pid, p.mark)
	select {
	case p.err = <-copied:
	case <-time.After(drainGrace): // real time: it is about a real process
		_ = output.Close()
		if err := <-copied; !errors.Is(err, os.ErrClosed) {
			p.err = err
		}
	}
	_ = output.Close()
	p.closeInput()
	rest, err := p.out.end()
	p.kept.write(rest)
	p.kept.close()
	if err == nil && rest != "" && live != nil {
		err = live(rest)
	}
	p.err = errors.Join(p.err, err)
}

// onlyWriter keeps io.Copy from looking for other methods.
type onlyWriter struct{ io.Writer }

func (p *process) closeInput() {
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
}

// stop ends the command's whole tree and waits until it is gone.
func (p *process) stop() {
	terminate(p.cmd.Process.Pid)
	select {
	case <-p.exited:
	case <-time.After(stopGrace): // real time: it is about a real process
		killTree(p.cmd.Process.Pid, p.mark)
		<-p.exited
	}
}

// exitCode is the command's, or 128 plus the signal that ended it, as a shell
// says it. Valid once exited is closed.
func (p *process) exitCode() int {
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

// running reports that the command has not ended.
func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// keep makes p a background command and names it.
func (ps *processes) keep(p *process) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.count++
	p.id = fmt.Sprintf("cmd-%d", ps.count)
	ps.background[p.id] = p
}

// room reports whether another command may run in the background.
func (ps *processes) room() bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	n := 0
	for _, p := range ps.background {
		if p.running() {
			n++
		}
	}
	return n < maxBackground
}

// find gives a background command.
func (ps *processes) find(id string) (*process, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p := ps.background[id]; p != nil {
		return p, nil
	}
	return nil, refuse("There is no background command %q. Commands do not survive a restart of the run; start it again.", bounded(id, 40))
}

// stopAll ends every background command.
func (ps *processes) stopAll() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var all sync.WaitGroup
	for _, p := range ps.background {
		all.Go(p.stop)
	}
	all.Wait()
}

// await waits until p has ended, the limit has passed or ctx has ended.
func (ps *processes) await(ctx context.Context, p *process, limit time.Duration) {
	select {
	case <-p.exited:
	case <-ctx.Done():
	case <-ps.s.Clock.After(limit):
	}
}
