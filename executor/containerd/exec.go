//go:build linux

package containerd

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	ctd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oz-platform/cloudagents/executor"
)

// Exec implements executor.Execer.
func (s *sandbox) Exec(ctx context.Context, x executor.ExecSpec) (executor.Exit, error) {
	if err := ctx.Err(); err != nil {
		return executor.Exit{}, err
	}
	if s.isRemoved() || s.ended() {
		return executor.Exit{}, fmt.Errorf("exec in sandbox %s: it has ended: %w", s.id, executor.ErrNotFound)
	}
	check := executor.Spec{ID: s.id, Workspace: s.id, Command: x.Command, Env: x.Env}
	if err := check.Validate(); err != nil {
		return executor.Exit{}, err
	}
	exit, err := s.exec(s.e.with(ctx), x)
	if errdefs.IsNotFound(err) {
		err = fmt.Errorf("it has ended: %w", executor.ErrNotFound)
	}
	if err != nil {
		return executor.Exit{}, fmt.Errorf("exec in sandbox %s: %w", s.id, plainError(err))
	}
	return exit, nil
}

func (s *sandbox) exec(ctx context.Context, x executor.ExecSpec) (exit executor.Exit, err error) {
	container, task, err := s.e.load(ctx, s.state.Box)
	if err != nil {
		return exit, err
	}
	spec, err := container.Spec(ctx)
	if err != nil {
		return exit, err
	}
	main, err := mainProcess(ctx, task.Pid())
	if err != nil {
		return exit, err
	}
	p := main.like(*spec.Process, x)
	fifos := filepath.Join(s.e.boxDir(s.state.Box), "exec")
	stdin, stdout, stderr := x.Stdin, x.Stdout, x.Stderr
	if stdin == nil {
		stdin = bytes.NewReader(nil)
	}
	ended := &endReader{r: stdin, end: make(chan struct{})}
	io := cio.NewCreator(cio.WithFIFODir(fifos), cio.WithStreams(ended, cmp.Or(stdout, discard), cmp.Or(stderr, discard)))
	proc, err := task.Exec(ctx, "exec-"+strings.ToLower(rand.Text()[:16]), &p, io)
	if err != nil {
		return exit, err
	}
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupPatience)
		defer cancel()
		if err != nil {
			_ = proc.Kill(late, syscall.SIGKILL) // it may not run
		}
		_, _ = proc.Delete(late) // gone with the sandbox, perhaps
	}()
	exited, err := proc.Wait(context.WithoutCancel(ctx))
	if err != nil {
		return exit, err
	}
	// Not with ctx: what is cut off here may come to life afterwards.
	starting, cancel := context.WithTimeout(context.WithoutCancel(ctx), bootPatience)
	defer cancel()
	if err := proc.Start(starting); err != nil {
		return exit, err
	}
	return follow(ctx, proc, exited, ended.end)
}

// like describes a process beside the agent's: what x says, as the same user,
// with the environment that the agent has.
func (m process) like(p specs.Process, x executor.ExecSpec) specs.Process {
	p.Args, p.Cwd, p.User = x.Command, workspacePath, m.user
	p.Env = lastOfEach(append(m.env, x.Env...))
	for _, v := range m.env { // those that lastOfEach takes for an image's
		if name, _, _ := strings.Cut(v, "="); name == executor.EnvHome || name == executor.EnvTempDir || name == executor.EnvSandboxID {
			p.Env = append(p.Env, v)
		}
	}
	if m.user.UID != 0 {
		p.Capabilities = &specs.LinuxCapabilities{}
	}
	return p
}

// follow waits for a started process, whose input is over when inputEnd is
// closed. It kills the process when ctx ends first.
func follow(ctx context.Context, proc ctd.Process, exited <-chan ctd.ExitStatus, inputEnd <-chan struct{}) (exit executor.Exit, err error) {
	for over := inputEnd; ; {
		select {
		case <-over: // the process sees the end of its input only when containerd is told
			over = nil
			_ = proc.CloseIO(ctx, ctd.WithStdinCloser)
		case status := <-exited:
			code, _, err := status.Result()
			if err != nil {
				return exit, err
			}
			proc.IO().Wait()
			return exitOf(int(code)), nil
		case <-ctx.Done():
			_ = proc.Kill(context.WithoutCancel(ctx), syscall.SIGKILL)
			<-exited
			return exit, context.Cause(ctx)
		}
	}
}

// exitOf reads an exit status as shells give it.
func exitOf(code int) executor.Exit {
	x := executor.Exit{Code: code}
	if code > 128 && code <= 128+64 {
		x.Signal = syscall.Signal(code - 128)
	}
	return x
}

// process is what a further command has in common with the main command.
type process struct {
	env  []string
	user specs.User
}

// mainProcess looks at the child of the container's first process: what it runs with is kept nowhere else, since
// environments may hold secrets.
func mainProcess(ctx context.Context, first uint32) (process, error) {
	var p process
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", first, first))
	if err != nil {
		return p, err
	}
	// The main command was started by a thread of its own, and so it is a child of that one or, since that one has
	// ended, of another.
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", first))
	if err != nil {
		return p, err
	}
	for _, path := range tasks {
		more, err := os.ReadFile(path)
		if err == nil {
			children = append(append(children, ' '), more...)
		}
	}
	oldest, start := 0, int64(0)
	for _, f := range strings.Fields(string(children)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			continue
		}
		if at, err := startTime(pid); err == nil && (oldest == 0 || at < start) {
			oldest, start = pid, at
		}
	}
	if oldest == 0 {
		return p, executor.ErrNotFound
	}
	if p.env, err = environment(ctx, oldest); err != nil {
		return p, err
	}
	p.user, err = credentials(oldest)
	return p, err
}

// environmentTries is how often an environment is looked for, within about a second.
const environmentTries = 10

// environment reads that of a process. While it becomes another program it has none for a moment, and none for ever once
// it has ended: ours always have one.
func environment(ctx context.Context, pid int) ([]string, error) {
	for try := range environmentTries {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil {
			return nil, err
		}
		if env := parseEnvironment(data); len(env) > 0 {
			return env, nil
		}
		if err := pause(ctx, time.Millisecond<<try); err != nil {
			return nil, err
		}
	}
	return nil, executor.ErrNotFound
}

// parseEnvironment leaves out what is no variable: programs may write over theirs.
func parseEnvironment(data []byte) (env []string) {
	for v := range strings.SplitSeq(string(data), "\x00") {
		if name, _, ok := strings.Cut(v, "="); ok && name != "" {
			env = append(env, v)
		}
	}
	return env
}

// startTime is when a process was started, in the kernel's ticks.
func startTime(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	end := bytes.LastIndexByte(data, ')') // of the name, which may hold anything
	fields := strings.Fields(string(data[end+1:]))
	if end < 0 || len(fields) < 20 {
		return 0, errors.New("unreadable stat")
	}
	return strconv.ParseInt(fields[19], 10, 64)
}

// credentials reads user and groups of a process.
func credentials(pid int) (specs.User, error) {
	var u specs.User
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(data)) {
		name, rest, _ := strings.Cut(line, ":")
		var ids []uint32
		for _, f := range strings.Fields(rest) {
			if n, err := strconv.ParseUint(f, 10, 32); err == nil {
				ids = append(ids, uint32(n))
			}
		}
		switch {
		case name == "Uid" && len(ids) > 0:
			u.UID = ids[0]
		case name == "Gid" && len(ids) > 0:
			u.GID = ids[0]
		case name == "Groups":
			u.AdditionalGids = ids
		}
	}
	return u, nil
}
