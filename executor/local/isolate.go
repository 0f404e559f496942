//go:build linux

package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// forbidden are what an agent that is root in its user namespace must not have there: with the first it could take away
// what hides files, with the second look into its supervisor, which sees them.
var forbidden = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE}

// apart runs f on a thread of its own, which exists as long as the process: what f does to its namespaces is then true
// for it and for the children that it starts, and for nothing else here. The kernel kills these children with the thread.
func apart(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
		select {}
	}()
	return <-done
}

// enter takes the calling thread, of the first process in new namespaces, to where it sees what v says.
func (v *view) enter() error {
	flags := unix.CLONE_NEWNS
	if v.NoNetwork {
		flags |= unix.CLONE_NEWNET
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("make a mount namespace: %w", os.NewSyscallError("unshare", err))
	}
	// What the host unmounts goes here too, what is mounted here stays here.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return &os.PathError{Op: "mount", Path: "/", Err: err}
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"hide files", v.hideFiles},
		{"mount /proc", mountProc},
		{"mount /dev/shm", mountShared},
		{"protect the kernel's settings", protectKernel},
		{"bring the loopback device up", v.raiseLoopback},
		{"drop privileges", dropPrivileges},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// kept is a part of the file tree that is put back to where it was.
type kept struct {
	path string
	tree int // descriptor
	dir  bool
}

func (v *view) hideFiles() error {
	var trees []kept
	defer func() {
		for _, k := range trees {
			unix.Close(k.tree)
		}
	}()
	for _, path := range v.Keep {
		k, err := keep(path)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "open_tree", Path: path, Err: err}
		}
		trees = append(trees, k)
	}
	for _, path := range v.Hide {
		if err := hide(path, trees); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// keep takes hold of a part of the file tree.
func keep(path string) (kept, error) {
	var info unix.Stat_t
	if err := unix.Lstat(path, &info); err != nil {
		return kept{}, err
	}
	const flags = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE | unix.AT_SYMLINK_NOFOLLOW
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, flags)
	return kept{path: path, tree: tree, dir: info.Mode&unix.S_IFMT == unix.S_IFDIR}, err
}

// hide puts an empty directory in the place of one, with those trees in it that were there; in the place of a file, an
// empty one. What this process cannot reach, its children cannot.
func hide(path string, trees []kept) error {
	var info unix.Stat_t
	err := unix.Stat(path, &info)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode&unix.S_IFMT != unix.S_IFDIR {
		return os.NewSyscallError("mount", unix.Mount("/dev/null", path, "", unix.MS_BIND, ""))
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1m"); err != nil {
		return os.NewSyscallError("mount", err)
	}
	for _, k := range trees {
		if below(k.path, path) {
			if err := k.attach(); err != nil {
				return fmt.Errorf("keep %s: %w", k.path, err)
			}
		}
	}
	return os.NewSyscallError("mount", unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""))
}

// attach puts a tree where it was. Who may go through the directories on the way may not read them.
func (k kept) attach() error {
	dir := k.path
	if !k.dir {
		dir = filepath.Dir(k.path)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if !k.dir {
		file, err := os.OpenFile(k.path, os.O_CREATE|os.O_RDONLY, 0o600)
		if err != nil {
			return err
		}
		file.Close()
	}
	return os.NewSyscallError("move_mount", unix.MoveMount(k.tree, "", unix.AT_FDCWD, k.path, unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// mountProc shows the processes of the sandbox in place of the host's.
func mountProc() error {
	return unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

// mountShared gives the sandbox shared memory of its own.
func mountShared() error {
	err := unix.Mount("tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777")
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// protectKernel keeps root from changing what is the whole host's: these files ask for a user's number, and for no
// capability that a user namespace would not have.
func protectKernel() error {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, path := range []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"} {
		err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, "")
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err == nil {
			err = readOnly(path)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := readOnly("/sys"); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // not mounted
		return fmt.Errorf("/sys: %w", err)
	}
	return hideDisks()
}

func readOnly(path string) error {
	return unix.MountSetattr(unix.AT_FDCWD, path, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// hideDisks keeps root from the raw devices, which hold every hidden file.
func hideDisks() error {
	disks, err := os.ReadDir("/sys/class/block")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, disk := range disks {
		path := filepath.Join("/dev", strings.ReplaceAll(disk.Name(), "!", "/")) // as the kernel writes a slash
		if err := unix.Mount("/dev/null", path, "", unix.MS_BIND, ""); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("hide %s: %w", path, err)
		}
	}
	return nil
}

func (v *view) raiseLoopback() error {
	if !v.NoNetwork {
		return nil
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return os.NewSyscallError("ioctl", unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request))
}

// dropPrivileges sees to it that what this thread starts has none in the user namespace beyond what its user needs.
func dropPrivileges() error {
	for _, capability := range forbidden {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
			return os.NewSyscallError("prctl", err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	return os.NewSyscallError("capset", unix.Capset(&header, &data[0]))
}

// probe does what an isolated sandbox needs, and looks whether that holds.
func (v *view) probe() error {
	if err := v.enter(); err != nil {
		return err
	}
	if self, err := os.Readlink("/proc/self"); err != nil || self != "1" {
		return fmt.Errorf("the new /proc does not show the new processes (%q, %v)", self, err)
	}
	for _, path := range v.Hide {
		if entries, err := os.ReadDir(path); err == nil && len(entries) > 0 {
			return fmt.Errorf("%s is not hidden", path)
		}
	}
	return nil
}
