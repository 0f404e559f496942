package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Build builds the server with crash points into dir, and gives its path. It
// needs the go command and this module around it.
func Build(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "ozd")
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", "crashpoints", "-o", path, "github.com/oz-platform/cloudagents/cmd/ozd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the server: %w\n%s", err, out)
	}
	return path, nil
}

// maxFailures is how often a server may fail by itself before it is given up.
const maxFailures = 10

// server is one ozd, kept running: when it is killed it is started again, as
// an init system would.
type server struct {
	binary, config string
	env            []string
	log            io.Writer
	group          sync.WaitGroup

	mu       sync.Mutex
	process  *os.Process
	next     []string // environment of the next life only
	starts   int
	stopping bool
	errs     []error // how it ended when it should not have
}

// start runs the server until stop.
func (s *server) start() {
	s.group.Go(func() {
		for s.live() {
		}
	})
}

// live is one life of the server. It reports whether there is to be another.
func (s *server) live() bool {
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return false
	}
	cmd := exec.Command(s.binary, "--config", s.config)
	cmd.Env = append(append([]string(nil), s.env...), s.next...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	s.next = nil
	err := cmd.Start()
	if err != nil {
		s.errs = append(s.errs, fmt.Errorf("start the server: %w", err))
		s.mu.Unlock()
		return false
	}
	s.process = cmd.Process
	s.starts++
	s.mu.Unlock()
	err = cmd.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process = nil
	var exit *exec.ExitError
	killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	if err != nil && !killed {
		s.errs = append(s.errs, fmt.Errorf("the server ended by itself: %w", err))
	}
	return !s.stopping && len(s.errs) < maxFailures
}

// arm sets the environment of the next life.
func (s *server) arm(env ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = env
}

// signal sends sig to the present life; false when there is none.
func (s *server) signal(sig syscall.Signal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process != nil && s.process.Signal(sig) == nil
}

// freeze stops the present life for d, and reports whether there was one.
func (s *server) freeze(d time.Duration, group *sync.WaitGroup) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process != nil && freeze(s.process.Pid, d, group)
}

// stop ends the server by SIGTERM and says what was wrong with its ends.
func (s *server) stop() error {
	s.mu.Lock()
	s.stopping = true
	if s.process != nil {
		_ = s.process.Signal(syscall.SIGTERM)
	}
	s.mu.Unlock()
	s.group.Wait()
	err := errors.Join(s.errs...)
	s.errs = nil // said once
	return err
}

// freeze stops a process for d. group waits for its end.
func freeze(pid int, d time.Duration, group *sync.WaitGroup) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	if unix.PidfdSendSignal(fd, unix.SIGSTOP, nil, 0) != nil {
		_ = unix.Close(fd)
		return false
	}
	group.Go(func() {
		time.Sleep(d) // nothing shortens it: a frozen process that is killed needs no thaw
		_ = unix.PidfdSendSignal(fd, unix.SIGCONT, nil, 0)
		_ = unix.Close(fd)
	})
	return true
}
