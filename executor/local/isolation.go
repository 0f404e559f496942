//go:build linux

package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor"
)

const (
	// probePatience bounds the probe, which takes as long as a start.
	probePatience = 30 * time.Second

	// namespaces are those that every isolated sandbox has of its own; a network comes for Spec.Network none.
	namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC
)

// view is what an isolated sandbox sees of the host's files.
type view struct {
	// Hide are directories and files in whose place there is nothing. None is below another.
	Hide []string
	// Keep are what is seen all the same of what Hide would hide. None is below another.
	Keep []string
	// NoNetwork gives the sandbox a loopback device and nothing else.
	NoNetwork bool
}

// newView makes the view that all sandboxes of an Executor have in common.
func newView(root string, opts Options) (view, error) {
	hide, err := resolve("Hide", opts.Hide)
	if err != nil {
		return view{}, err
	}
	keep, err := resolve("Visible", opts.Visible)
	if err != nil {
		return view{}, err
	}
	v := view{Hide: outermost(append(hide, root))}
	for _, path := range keep {
		for _, hidden := range append(hide, root) {
			if path != hidden && below(hidden, path) && v.hides(path) {
				return view{}, fmt.Errorf("local executor: Visible: %s holds %s, which must stay hidden; name what is beside it", path, hidden)
			}
		}
	}
	// An agent is mostly this very program.
	if self, err := os.Executable(); err == nil {
		keep = append(keep, self)
	}
	v.Keep = keep
	return v, nil
}

// resolve makes paths absolute and free of links, as the kernel sees them.
func resolve(field string, paths []string) ([]string, error) {
	var resolved []string
	for _, path := range paths {
		if !filepath.IsAbs(path) || filepath.Clean(path) == "/" {
			return nil, fmt.Errorf("local executor: %s: %q must be an absolute path, and not /", field, path)
		}
		real, err := filepath.EvalSymlinks(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			real, err = filepath.Clean(path), nil // it may come to be, or is out of reach for sandboxes as it is for us
		}
		if err != nil {
			return nil, fmt.Errorf("local executor: %s: %w", field, err)
		}
		resolved = append(resolved, real)
	}
	return resolved, nil
}

// with adds what one sandbox needs of its own.
func (v view) with(spec executor.Spec, own ...string) *view {
	keep := append(slices.Clone(v.Keep), own...)
	if filepath.IsAbs(spec.Command[0]) {
		keep = append(keep, filepath.Clean(spec.Command[0]))
	}
	keep = slices.DeleteFunc(keep, func(path string) bool { return !v.hides(path) })
	return &view{Hide: v.Hide, Keep: outermost(keep), NoNetwork: spec.Network == executor.NetworkNone}
}

// hides reports whether path is, or is below, something hidden.
func (v view) hides(path string) bool {
	return slices.ContainsFunc(v.Hide, func(hidden string) bool { return below(path, hidden) })
}

// below reports whether path is dir or below it.
func below(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

// outermost drops paths that are below another one, and sorts the rest.
func outermost(paths []string) []string {
	paths = slices.Sorted(slices.Values(paths)) // a directory comes before what is in it
	var kept []string
	for _, path := range paths {
		if !slices.ContainsFunc(kept, func(dir string) bool { return below(path, dir) }) {
			kept = append(kept, path)
		}
	}
	return kept
}

// String names the namespaces, for the run's record.
func (v *view) String() string {
	switch {
	case v == nil:
		return executor.IsolationNone
	case v.NoNetwork:
		return "namespaces (user, mount, pid, ipc, network)"
	}
	return "namespaces (user, mount, pid, ipc)"
}

// isolated makes the attributes of a process in namespaces of its own, in which each user has the number that it has
// outside. The first process there is the one that all others die with.
func isolated(sys *syscall.SysProcAttr) error {
	users, groups, err := mappings()
	if err != nil {
		return err
	}
	sys.Cloneflags = namespaces
	sys.UidMappings, sys.GidMappings = users, groups
	// Where it is denied already, to allow it is refused.
	setgroups, err := os.ReadFile("/proc/self/setgroups")
	sys.GidMappingsEnableSetgroups = os.Geteuid() == 0 && err == nil && bytes.HasPrefix(setgroups, []byte("allow"))
	// Enough to make mounts and bring a loopback device up, and to give that away again before the agent starts.
	sys.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP}
	return nil
}

// mappings are the users and groups of a user namespace. Who is no root may map itself only.
func mappings() (users, groups []syscall.SysProcIDMap, err error) {
	if os.Geteuid() != 0 {
		return []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}},
			[]syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}, nil
	}
	if users, err = mapped("/proc/self/uid_map"); err == nil {
		groups, err = mapped("/proc/self/gid_map")
	}
	return users, groups, err
}

// mapped maps each number that exists here to itself.
func mapped(path string) ([]syscall.SysProcIDMap, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	maps := parseIDMap(data)
	if len(maps) == 0 {
		return nil, fmt.Errorf("unknown format of %s: %.80q", path, data)
	}
	return maps, nil
}

// parseIDMap reads lines "INSIDE OUTSIDE COUNT", of which the numbers inside are ours.
func parseIDMap(data []byte) []syscall.SysProcIDMap {
	var maps []syscall.SysProcIDMap
	for line := range bytes.Lines(data) {
		var inside, outside, count int
		if n, _ := fmt.Sscan(string(line), &inside, &outside, &count); n != 3 || inside < 0 || count <= 0 {
			return nil
		}
		maps = append(maps, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: count})
	}
	return maps
}

// probe finds out whether this host can isolate sandboxes: it has a supervisor do everything but start a command.
func (e *Executor) probe() error {
	h, err := e.spawn()
	if err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	defer h.dismiss()
	root, err := os.Open(e.root) // stands for a lock
	if err != nil {
		return err
	}
	defer root.Close()
	_ = h.control.SetDeadline(time.Now().Add(probePatience))
	v := e.view
	v.NoNetwork = true
	v.Keep = nil
	if err := h.send(job{Probe: true, View: &v}, root); err != nil {
		return err
	}
	return h.receive()
}

// decide settles whether sandboxes are isolated.
func (e *Executor) decide() error {
	if e.opts.Isolation == IsolationOff {
		e.why = "it is switched off"
		return nil
	}
	var err error
	if e.view, err = newView(e.root, e.opts); err != nil {
		return err
	}
	e.isolate = true
	err = e.probe()
	if err == nil {
		return nil
	}
	e.isolate, e.why = false, err.Error()
	if hint := mend(); hint != "" {
		e.why += "; to mend it: " + hint
	}
	if e.opts.Isolation == IsolationRequire {
		return fmt.Errorf("local executor: Isolation is %q, but this host cannot isolate sandboxes: %s", IsolationRequire, e.why)
	}
	return nil
}

// Isolation says by what sandboxes are kept apart that are started from now on, in words as executor.Isolated has them,
// and why not by more where that is executor.IsolationNone.
func (e *Executor) Isolation() (means, why string) {
	if !e.isolate {
		return executor.IsolationNone, e.why
	}
	return (&view{}).String(), ""
}

// switches are settings of the kernel that keep namespaces from users, with the value that does.
var switches = []struct{ name, closed, open string }{
	{"user.max_user_namespaces", "0", "10000"},
	{"user.max_pid_namespaces", "0", "10000"},
	{"user.max_mnt_namespaces", "0", "10000"},
	{"user.max_net_namespaces", "0", "10000"},
	{"kernel.unprivileged_userns_clone", "0", "1"},
	{"kernel.apparmor_restrict_unprivileged_userns", "1", "0"},
}

// mend says what the operator can do where isolation does not work.
func mend() string {
	var set []string
	for _, s := range switches {
		data, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(s.name, ".", "/"))
		if err == nil && string(bytes.TrimSpace(data)) == s.closed {
			set = append(set, s.name+"="+s.open)
		}
	}
	if len(set) > 0 {
		return "sysctl -w " + strings.Join(set, " ")
	}
	return "a worker in a container needs one that may make user namespaces and has all of /proc (docker run " +
		"--security-opt seccomp=unconfined --security-opt systempaths=unconfined); on a host, a kernel with user, pid, ipc and network namespaces"
}

// pathsOf are the directories of one sandbox that it sees.
func (e *Executor) pathsOf(spec executor.Spec) []string {
	dir := e.sandboxDir(spec.ID)
	return []string{filepath.Join(dir, "home"), filepath.Join(dir, "tmp"), e.workspaceDir(spec.Workspace)}
}
