package cliagent

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// markName is the variable by which everything that the program starts is
	// found again, whatever session or group it moved to.
	markName = "OZ_AGENT_PROCESS"
	// drainGrace is how long the output may stay open after the whole tree was
	// killed; only a process that escaped it can hold it.
	drainGrace = 2 * time.Second
	// stderrBytes is how much of what a program says beside its records is kept.
	stderrBytes = 8 << 10
)

// process is the program with all that it has started.
type process struct {
	cmd    *exec.Cmd
	tree   *tree
	stdin  *feeder      // nil unless live
	events chan []Event // closed at the end of the output
	stderr tail
	heard  atomic.Int64  // when the last line came, on the session's clock
	gone   chan struct{} // closed when the tree is gone and the output is read
	quit   chan struct{} // closed when nobody takes events any more
	once   sync.Once
	aside  sync.WaitGroup // goroutines beside read and tend
}

// start starts the program. What it prints goes through parser.
func start(s *harness.Session, path string, c Command, live bool, maxLine int, parser Parser) (*process, error) {
	mark := uuid.NewString()
	p := &process{events: make(chan []Event, 16), gone: make(chan struct{}), quit: make(chan struct{})}
	p.cmd = exec.Command(path, c.Args...)
	p.cmd.Dir = s.Dir
	p.cmd.Env = append(environ(s.Env, c), markName+"="+mark)
	p.cmd.SysProcAttr = ownGroup()
	p.cmd.Stderr = &p.stderr
	p.cmd.WaitDelay = drainGrace
	if live {
		in, err := p.cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		p.stdin = newFeeder(in)
	} else {
		p.cmd.Stdin = strings.NewReader(string(c.Stdin))
	}
	from, into, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout = into
	err = p.cmd.Start() // closes the pipe of stdin if it fails
	_ = into.Close()    // the child has its own
	if err != nil {
		_ = from.Close()
		return nil, err
	}
	if live {
		p.aside.Go(p.stdin.run)
	}
	p.tree = newTree(p.cmd.Process.Pid, mark)
	p.heard.Store(s.Clock.Now().UnixNano())
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read(newLines(from, maxLine), parser, s.Clock)
	}()
	go p.tend(from, read)
	return p, nil
}

// environ lays the command's variables over the session's.
func environ(base []string, c Command) []string {
	env := slices.DeleteFunc(slices.Clone(base), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		if _, set := c.Env[name]; set {
			return true
		}
		return slices.ContainsFunc(c.Drop, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
	})
	for name, value := range c.Env {
		env = append(env, name+"="+value)
	}
	return env
}

// read turns the output into events until it ends.
func (p *process) read(in *lines, parser Parser, clock task.Clock) {
	defer close(p.events)
	for {
		line, dropped, err := in.next()
		p.heard.Store(clock.Now().UnixNano())
		var events []Event
		switch {
		case err != nil:
			if dropped > 0 && errors.Is(err, io.EOF) {
				events = append(events, Noted{cutRecord(dropped)})
			}
			p.send(append(events, parser.End()...))
			return
		case dropped > 0:
			events = []Event{Noted{overlongRecord(dropped)}}
		default:
			events = parser.Line(line)
		}
		p.send(events)
	}
}

// send passes events on, or drops them when nobody takes them any more: the
// output is read to its end in any case, lest its writer hang on a full pipe.
func (p *process) send(events []Event) {
	if len(events) == 0 {
		return
	}
	select {
	case p.events <- events:
	case <-p.quit:
	}
}

// tend waits for the program, kills what it left behind and ends its output.
func (p *process) tend(from *os.File, read <-chan struct{}) {
	defer close(p.gone)
	_ = p.cmd.Wait() // ProcessState has it all
	p.tree.kill()
	if p.stdin != nil {
		p.stdin.abandon()
	}
	select {
	case <-read:
	case <-time.After(drainGrace): // real time: it is about a real process
	}
	_ = from.Close()
	<-read
}

// write hands a live program something to read, without waiting for it.
func (p *process) write(data []byte) { p.stdin.add(data) }

// closeInput tells a live program that no more messages come.
func (p *process) closeInput() {
	if p.stdin != nil {
		p.stdin.finish()
	}
}

// leave ends the program if it has not left after the time, while its events
// are still taken.
func (p *process) leave(after, grace time.Duration) {
	p.aside.Go(func() {
		select {
		case <-p.gone:
		case <-time.After(after): // real time: it is about a real process
			p.end(grace)
		}
	})
}

// stop interrupts the program and kills what has not ended after the grace. It
// returns when all is gone.
func (p *process) stop(grace time.Duration) {
	p.once.Do(func() { close(p.quit) })
	p.end(grace)
	p.aside.Wait()
}

// end is stop for who still takes the events.
func (p *process) end(grace time.Duration) {
	p.tree.look() // while the parents are there
	interrupt(p.cmd.Process.Pid)
	select {
	case <-p.gone:
		return
	case <-time.After(grace): // real time: it is about a real process
	}
	p.tree.kill()
	<-p.gone
}

// how says how the process ended, for people.
func (p *process) how() string {
	text := p.cmd.ProcessState.String()
	if said := strings.TrimSpace(p.stderr.String()); said != "" {
		text += "; it said: " + said
	}
	return text
}

// feeder writes to a program's standard input, so that nobody else waits for a
// program that does not read. Safe for concurrent use.
type feeder struct {
	to   io.WriteCloser
	some chan struct{} // holds one signal that there is something new

	mu      sync.Mutex
	pending [][]byte
	done    bool // nothing more comes
}

func newFeeder(to io.WriteCloser) *feeder {
	return &feeder{to: to, some: make(chan struct{}, 1)}
}

func (f *feeder) signal() {
	select {
	case f.some <- struct{}{}:
	default:
	}
}

func (f *feeder) add(data []byte) {
	f.mu.Lock()
	f.pending = append(f.pending, data)
	f.mu.Unlock()
	f.signal()
}

// finish closes the input when all is written.
func (f *feeder) finish() {
	f.mu.Lock()
	f.done = true
	f.mu.Unlock()
	f.signal()
}

// abandon ends run, whatever is left to write.
func (f *feeder) abandon() {
	_ = f.to.Close() // a Write under way fails
	f.mu.Lock()
	f.pending, f.done = nil, true
	f.mu.Unlock()
	f.signal()
}

// run writes until finish or abandon.
func (f *feeder) run() {
	defer func() { _ = f.to.Close() }() // the program's end says more
	for range f.some {
		for {
			f.mu.Lock()
			if len(f.pending) == 0 {
				done := f.done
				f.mu.Unlock()
				if done {
					return
				}
				break
			}
			data := f.pending[0]
			f.pending = f.pending[1:]
			f.mu.Unlock()
			_, _ = f.to.Write(data) // a program that is gone has its end told otherwise
		}
	}
}

// tail keeps the end of what is written to it. Safe for concurrent use.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b[max(0, len(b)-stderrBytes):]...)
	if over := len(t.buf) - stderrBytes; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

// String gives what is kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(string(t.buf), "\uFFFD")
}

// scratch makes a directory for one launch.
func scratch(s *harness.Session) (dir string, remove func(), err error) {
	base := os.TempDir()
	if t := variable(s.Env, "TMPDIR"); filepath.IsAbs(t) {
		base = t
	}
	dir, err = os.MkdirTemp(base, "oz-agent-")
	return dir, func() { _ = os.RemoveAll(dir) }, err
}
