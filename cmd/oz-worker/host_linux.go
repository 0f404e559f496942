package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor/local"
)

// diskOf gives the free and all bytes of the file system at path.
func diskOf(path string) (free, total uint64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, 0, err
	}
	return s.Bavail * uint64(s.Bsize), s.Blocks * uint64(s.Bsize), nil
}

// probeArgument makes this program end at once: it was started to see whether
// it can be, in new namespaces.
const probeArgument = "oz-worker-probe"

func probed() bool { return len(os.Args) == 2 && os.Args[1] == probeArgument }

// kernel looks at what sandboxes need of the kernel, or would like.
func (d *doctor) kernel() {
	release := unix.Utsname{}
	if err := unix.Uname(&release); err != nil {
		d.add("kernel", stateFail, err.Error(), "")
		return
	}
	name := unix.ByteSliceToString(release.Release[:])
	if major, minor := numbers(name); major < 5 || major == 5 && minor < 14 {
		d.add("kernel", needed(d.processes()), "Linux "+name+" is older than 5.14", "upgrade it: sandboxes need what 5.14 has")
	} else {
		d.add("kernel", stateOK, "Linux "+name, "")
	}
	d.namespaces()
	d.cgroup()
}

// numbers gives the first two of a kernel's release.
func numbers(release string) (major, minor int) {
	parts := strings.SplitN(release, ".", 3)
	if len(parts) > 1 {
		major, _ = strconv.Atoi(parts[0])
		minor, _ = strconv.Atoi(strings.TrimRight(parts[1], "-abcdefghijklmnopqrstuvwxyz+"))
	}
	return major, minor
}

// namespaces tries each kind, as a sandbox would: within a user namespace.
func (d *doctor) namespaces() {
	self, err := os.Executable()
	if err != nil {
		d.add("namespaces", stateNote, err.Error(), "")
		return
	}
	var have, lack []string
	for _, ns := range []struct {
		name string
		flag uintptr
	}{{"user", 0}, {"mount", unix.CLONE_NEWNS}, {"pid", unix.CLONE_NEWPID}, {"network", unix.CLONE_NEWNET}} {
		cmd := exec.Command(self, probeArgument)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | ns.flag,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
		if cmd.Run() == nil {
			have = append(have, ns.name)
		} else {
			lack = append(lack, ns.name)
		}
	}
	if len(lack) == 0 {
		d.add("namespaces", stateOK, strings.Join(have, ", "), "")
		return
	}
	d.add("namespaces", needed(d.config.isolation() == string(local.IsolationRequire)), fmt.Sprintf("this user cannot make: %s", strings.Join(lack, ", ")),
		"for isolation: sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000, and on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0")
}

// cgroup looks for cgroup v2, without which no limits hold.
func (d *doctor) cgroup() {
	raw, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err != nil {
		detail := "there is no cgroup v2"
		if _, err := os.Stat("/sys/fs/cgroup/unified/cgroup.controllers"); err == nil {
			detail = "cgroup v2 is there only beside v1 (hybrid), without controllers"
		}
		if d.config.backend == backendContainerd { // runc sets them in v1, too
			d.add("cgroup", stateOK, detail+", which containers do not need", "")
			return
		}
		d.add("cgroup", stateNote, detail+": limits of memory and processors do not hold", "boot with systemd.unified_cgroup_hierarchy=1")
		return
	}
	d.add("cgroup", stateOK, "v2 with "+strings.TrimSpace(string(raw)), "")
	if l := d.config.Backend.Local; d.config.backend == backendLocal && l != nil && l.Cgroup != "" {
		if err := unix.Access(filepath.Join(l.Cgroup, "cgroup.subtree_control"), unix.W_OK); err != nil {
			d.add("backend cgroup", stateFail, fmt.Sprintf("%s cannot be managed: %v", l.Cgroup, err), "with systemd: Delegate=yes and DelegateSubgroup=worker in the unit")
		} else {
			d.add("backend cgroup", stateOK, l.Cgroup+" can be managed", "")
		}
	}
}
