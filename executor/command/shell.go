//go:build linux

package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/proc"
)

// wrapper runs the dispatch command $1 and leaves its status in the file $2, also when the worker is gone by then.
const wrapper = `/bin/sh -c "$1"; s=$?; echo "$s" >"$2.new" && mv "$2.new" "$2"; exit "$s"`

// outputCheck is how often it is looked whether a command's output has grown too much.
const outputCheck = 100 * time.Millisecond

// launch starts the dispatch command of a new sandbox, and a goroutine that sees it to its end.
func (s *sandbox) launch(p *Payload) error {
	raw, err := p.encode()
	if err != nil {
		return err
	}
	stdin, err := memoryFile(raw)
	if err != nil {
		return err
	}
	defer stdin.Close()
	out, err := s.openOutput()
	if err != nil {
		return err
	}
	defer out.Close()
	ctx, cancel := context.WithCancel(context.Background()) // the command outlives whoever called Start
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", wrapper, "sh", s.ex.dispatch, filepath.Join(s.dir, statusFile))
	proc.Group(cmd)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, out, out
	cmd.Env = s.environment("OZ_SERVER_ROOT_URL="+p.ServerRootURL, "OZ_DOCKER_IMAGE="+p.DockerImage)
	if err := cmd.Start(); err != nil {
		cancel()
		return fmt.Errorf("start the dispatch command: %w", err)
	}
	s.running = make(chan struct{})
	go func() { // ends at the deadline at the latest
		defer cancel()
		s.watchDispatch(cmd)
	}()
	return nil
}

// memoryFile gives a file in memory, which has no name that anybody could open.
func memoryFile(content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("payload", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "payload")
	if _, err = f.Write(content); err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("hand over the payload: %w", err), f.Close())
	}
	return f, nil
}

// environment is that of both commands.
func (s *sandbox) environment(more ...string) []string {
	o := s.ex.opts
	env := append(append([]string{}, o.Inherit...), o.Environment...)
	env = append(env, "OZ_RUN_ID="+string(s.run()), "OZ_EXECUTION_ID="+s.id, "OZ_WORKER_BACKEND=command", executor.EnvSandboxID+"="+s.id)
	return append(env, more...) // of several with one name, exec takes the last
}

// watchDispatch waits for the dispatch command and writes down how it ended.
func (s *sandbox) watchDispatch(cmd *exec.Cmd) {
	defer close(s.running)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // received from below
	late := s.ex.opts.Clock.After(s.left())
	for {
		select {
		case err := <-ended:
			x := exitOf(cmd, err)
			if !x.Success() {
				s.note("the dispatch command ended with status %d: the work was refused", x.Code)
			}
			s.dispatched(x)
			return
		case <-s.ex.opts.Clock.After(outputCheck):
			s.trimOutput()
			continue
		case <-s.abort:
			s.dispatched(s.killDispatch(cmd, ended, "stopped"))
		case <-late:
			s.dispatched(s.killDispatch(cmd, ended, fmt.Sprintf("did not end within %s", s.ex.opts.DispatchTimeout)))
		}
		return
	}
}

// killDispatch ends the command with all that it has started.
func (s *sandbox) killDispatch(cmd *exec.Cmd, ended <-chan error, why string) executor.Exit {
	_ = proc.KillGroup(cmd)
	<-ended
	proc.KillMarked(executor.EnvSandboxID, s.id)
	s.note("the dispatch command %s: killed, with all its processes", why)
	return killed
}

// killed is how a dispatch command ends that was killed by us.
var killed = executor.Exit{Code: 128 + int(unix.SIGKILL), Signal: unix.SIGKILL}

func exitOf(cmd *exec.Cmd, err error) executor.Exit {
	state := cmd.ProcessState
	if err == nil {
		return executor.Exit{}
	}
	if state == nil {
		return executor.Exit{Code: -1, Unknown: true}
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return executor.Exit{Code: 128 + int(ws.Signal()), Signal: ws.Signal()}
	}
	return executor.Exit{Code: state.ExitCode()}
}

// awaitStatus is watchDispatch for a command that an earlier process has started: it is no child of ours, so its status
// is in a file or nowhere.
func (s *sandbox) awaitStatus(ctx context.Context) error {
	for s.state() == dispatching {
		if code, ok := status(s.dir); ok {
			s.dispatched(executor.Exit{Code: code})
			return nil
		}
		gone := len(proc.Marked(executor.EnvSandboxID, s.id)) == 0
		if late := s.left() <= 0; gone || late {
			if code, ok := status(s.dir); ok { // written just now
				s.dispatched(executor.Exit{Code: code})
				return nil
			}
			proc.KillMarked(executor.EnvSandboxID, s.id)
			s.note("the status of the dispatch command is lost")
			s.dispatched(executor.Exit{Code: -1, Unknown: true})
			return nil
		}
		s.trimOutput()
		select {
		case <-s.ex.opts.Clock.After(outputCheck):
		case <-s.abort:
			proc.KillMarked(executor.EnvSandboxID, s.id)
			s.note("the dispatch command stopped: killed, with all its processes")
			s.dispatched(killed)
		case <-s.ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// cancel runs the cancel command, whose success confirms that nothing runs.
func (s *sandbox) cancel(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, s.ex.opts.CancelTimeout)
	defer stop()
	out, err := s.openOutput()
	if err != nil {
		return err
	}
	defer out.Close()
	mark := executor.EnvSandboxID + "=" + s.id + "-cancel" // apart from what the dispatch command has left
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", s.ex.opts.CancelCommand)
	proc.Group(cmd)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(s.environment(), mark)
	err = cmd.Run()
	s.trimOutput()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		proc.KillMarked(executor.EnvSandboxID, s.id+"-cancel")
		return fmt.Errorf("the cancel command did not end within %s: %w", s.ex.opts.CancelTimeout, context.Cause(ctx))
	}
	return fmt.Errorf("the cancel command has not confirmed: %w", err)
}
