//go:build linux

package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	ctd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

const (
	boxPrefix = "box-" // of the names of containers

	// shimPatience is how long a shim may take to end after it was told, before it is killed.
	shimPatience = 2 * time.Second
)

// containerd forgets a shim whose making or whose removal was cut off, because the client had gone or had lost patience: there
// is no task, no container and no file system, but a process that waits for orders for ever. So whoever removes what was
// interrupted looks for the process too.

// shims finds the shims of this Executor's containers: process numbers by container.
func (e *Executor) shims() (map[string][]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	found := map[string][]int{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if name := e.shimOf(pid); name != "" {
			found[name] = append(found[name], pid)
		}
	}
	return found, nil
}

// shimOf gives the container that a process is the shim of; empty if it is none of ours.
func (e *Executor) shimOf(pid int) string {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return "" // it has ended
	}
	return parseShim(data, e.ns, e.opts.Address)
}

// parseShim reads the arguments of a process, each with a NUL behind it.
func parseShim(cmdline []byte, ns, address string) string {
	if !bytes.Contains(cmdline, []byte("containerd-shim")) {
		return ""
	}
	args := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	if !strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") {
		return ""
	}
	flags := map[string]string{}
	for i := 1; i+1 < len(args); i++ {
		if name, ok := strings.CutPrefix(args[i], "-"); ok {
			flags[name] = args[i+1]
		}
	}
	if flags["namespace"] != ns || flags["address"] != address || !strings.HasPrefix(flags["id"], boxPrefix) {
		return ""
	}
	return flags["id"]
}

// endShims ends the shims of a container that has no task.
func (e *Executor) endShims(ctx context.Context, name string) error {
	found, err := e.shims()
	if err != nil {
		return err
	}
	var errs []error
	for _, pid := range found[name] {
		errs = append(errs, e.endShim(ctx, pid, name))
	}
	return errors.Join(errs...)
}

// endShim ends a process if it still is the shim of that container, and removes what containerd keeps for it.
func (e *Executor) endShim(ctx context.Context, pid int, name string) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	bundle, _ := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
	if e.shimOf(pid) != name { // asked after the number was held
		return nil
	}
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} { // it removes its socket if it is told
		if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end the shim of %s: %w", name, err)
		}
		ended, err := awaitProcess(ctx, fd, shimPatience)
		if err != nil {
			return fmt.Errorf("end the shim of %s: %w", name, err)
		}
		if ended {
			return e.dropBundle(bundle, name)
		}
	}
	return fmt.Errorf("the shim of %s, process %d, does not end", name, pid)
}

// awaitProcess waits until a process has ended. It returns false when that took too long.
func awaitProcess(ctx context.Context, fd int, patience time.Duration) (bool, error) {
	for until := time.Now().Add(patience); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 50) // milliseconds, for the sake of ctx
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return false, os.NewSyscallError("poll", err)
		case n > 0:
			return true, nil
		}
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if time.Now().After(until) {
			return false, nil
		}
	}
}

// dropBundle removes the directory that a shim worked in, and the one of containerd's that it leads to. containerd would at
// its next start.
func (e *Executor) dropBundle(bundle, name string) error {
	own := string(filepath.Separator) + filepath.Join(e.ns, name)
	if !filepath.IsAbs(bundle) || !strings.HasSuffix(bundle, own) {
		return nil // removed, or not where containerd has them
	}
	work, _ := os.Readlink(filepath.Join(bundle, "work"))
	if err := unix.Unmount(filepath.Join(bundle, "rootfs"), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil &&
		!errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // no mount, or no directory
		return fmt.Errorf("unmount the file system of %s: %w", name, err)
	}
	if err := os.Remove(filepath.Join(bundle, "rootfs")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err // never what is in it
	}
	err := os.RemoveAll(bundle)
	if strings.HasSuffix(work, own) {
		err = errors.Join(err, os.RemoveAll(work))
	}
	return err
}

// lostTasks gives the tasks whose containers are gone a container again: without one containerd does not let go of them.
func (e *Executor) lostTasks(ctx context.Context, found map[string]bool) error {
	list, err := e.client.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return err
	}
	for _, t := range list.Tasks {
		if found[t.ID] || !strings.HasPrefix(t.ID, boxPrefix) {
			continue
		}
		_, err := e.client.NewContainer(ctx, t.ID, ctd.WithContainerLabels(e.ownLabels(nil)), ctd.WithNewSpec())
		if err != nil && !errdefs.IsAlreadyExists(err) {
			return err
		}
		found[t.ID] = true
	}
	return nil
}

// groups finds control groups of containers, in each hierarchy. name may be a pattern.
func (e *Executor) groups(name string) []string {
	v2, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup", e.cgroup(name))) // the pattern is a good one
	v1, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup/*", e.cgroup(name)))
	return append(v2, v1...)
}

// dropProcesses ends what is left in the control groups of a container without a shim, such as one that runc was just about
// to start, and removes the groups and what runc knows of it.
func (e *Executor) dropProcesses(ctx context.Context, name string) error {
	groups := e.groups(name)
	for try := 1; len(groups) > 0; try++ {
		var left []string
		for _, group := range groups {
			data, _ := os.ReadFile(filepath.Join(group, "cgroup.procs"))
			for _, field := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
					_ = unix.Kill(pid, unix.SIGKILL)
				}
			}
			if err := unix.Rmdir(group); err != nil && !errors.Is(err, unix.ENOENT) {
				left = append(left, group)
			}
		}
		if groups = left; len(groups) > 0 && try == 8 {
			return fmt.Errorf("the control groups of %s cannot be removed: %q", name, groups)
		}
		if len(groups) > 0 {
			if err := pause(ctx, minRetry<<min(try, 4)); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(filepath.Join("/run/containerd/runc", e.ns, name))
}
