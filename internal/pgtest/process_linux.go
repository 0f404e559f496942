package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// owner is the user who runs PostgreSQL; nil for the present one.
type owner struct{ uid, gid uint32 }

// findOwner picks a user that is not root.
func findOwner() (*owner, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &owner{uint32(uid), uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")
}

// give makes a directory the owner's.
func (o *owner) give(dir string) error {
	if o == nil {
		return nil
	}
	return os.Chown(dir, int(o.uid), int(o.gid))
}

// command prepares a program of the owner's, that ends with its context.
func (o *owner) command(ctx context.Context, dir, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	o.prepare(cmd, dir)
	return cmd
}

// prepare sets what all programs have: a known environment, and PostgreSQL's
// signal for "stop at once" when we die.
func (o *owner) prepare(cmd *exec.Cmd, dir string) {
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC", "HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Setsid: true}
	if o != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: o.uid, Gid: o.gid}
	}
}

// process is a running server.
type process struct {
	cmd   *exec.Cmd
	out   bytes.Buffer
	ended chan struct{}
}

// start starts the server. One thread starts it and waits for it: the kernel
// sends the signal of a parent's death when the thread ends.
func (o *owner) start(dir, path string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(path, args...), ended: make(chan struct{})}
	o.prepare(p.cmd, dir)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.ended)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // its end is asked for by a signal
		}
	}()
	return p, <-started
}

// output is what the server said. It waits for its end.
func (p *process) output() string {
	_ = p.stop(startLimit)
	return p.out.String()
}

// stop ends the server with an immediate shutdown.
func (p *process) stop(limit time.Duration) error {
	if err := p.cmd.Process.Signal(syscall.SIGQUIT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(limit):
		return errors.Join(fmt.Errorf("PostgreSQL did not stop within %s", limit), p.cmd.Process.Kill())
	}
}
