//go:build linux

package containerd

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	ctd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/image-spec/identity"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/containerd/pid1"
	"github.com/oz-platform/cloudagents/executor/internal/tree"
)

const (
	// bootPatience bounds the time from the start of the first process to its first word. It takes milliseconds.
	bootPatience = 20 * time.Second

	maxBootLog = 2 << 10

	gcRoot = "containerd.io/gc.root"
)

// plan is what a container is made from: what of a Spec is fixed once it is made.
type plan struct {
	image   *image
	user    string
	network executor.NetworkMode
	mounts  []executor.Mount
	limits  executor.Limits // those that will be enforced
	dir     string          // the workspace on the host
	labels  map[string]string
	parent  string // snapshot of a kept state; empty: that of the image
}

// box is a container whose first process waits for its job.
type box struct {
	e      *Executor
	name   string
	plan   plan
	task   ctd.Task
	exited <-chan ctd.ExitStatus
	conn   net.Conn
}

// newBoxName gives the name of a container, a snapshot and a directory.
func newBoxName() string { return boxPrefix + strings.ToLower(rand.Text()[:20]) }

// boot makes a container and waits until its first process asks for a job. After an error nothing of it is left.
func (e *Executor) boot(ctx context.Context, name string, p plan) (b *box, err error) {
	if err := e.room(ctx); err != nil {
		return nil, fmt.Errorf("make the container: %w", err)
	}
	b = &box{e: e, name: name, plan: p}
	e.making(name)
	defer func() {
		if err != nil {
			err = errors.Join(err, e.scrap(ctx, name, p.network == executor.NetworkBridge), e.endShims(context.WithoutCancel(ctx), name))
			b = nil
		}
	}()
	ln, err := b.listen()
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	if err := b.create(ctx); err != nil {
		return nil, err
	}
	if b.exited, err = b.task.Wait(e.ctx); err != nil { // for as long as it runs
		return nil, err
	}
	if p.network == executor.NetworkBridge {
		if err := e.net.connect(ctx, name, b.task.Pid()); err != nil {
			return nil, err
		}
	}
	if err := b.task.Start(ctx); err != nil {
		return nil, fmt.Errorf("start the container: %w", spaceError(err))
	}
	b.conn, err = b.accept(ctx, ln)
	return b, err
}

// listen makes the directory that the first process shares with us, and a socket in it.
func (b *box) listen() (*net.UnixListener, error) {
	dir := b.e.boxDir(b.name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if b.plan.network == executor.NetworkBridge {
		if err := b.e.net.writeFiles(dir, b.name); err != nil {
			return nil, err
		}
	}
	// By way of an open directory: the path may be longer than a socket's address.
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), pid1.Socket)})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // by that name it would not find it
	return ln, nil
}

// create makes snapshot, container and task.
func (b *box) create(ctx context.Context) error {
	sn, err := b.e.snapshotter(ctx)
	if err != nil {
		return err
	}
	labels := map[string]string{labelOwner: b.e.root, gcRoot: time.Now().UTC().Format(time.RFC3339)}
	if _, err := b.e.client.SnapshotService(sn).Prepare(ctx, b.name, cmp.Or(b.plan.parent, b.plan.image.chain), snapshots.WithLabels(labels)); err != nil {
		return fmt.Errorf("make the container's file system: %w", spaceError(err))
	}
	c, err := b.e.client.NewContainer(ctx, b.name,
		withRoot(sn, b.name), ctd.WithImageName(b.plan.image.name),
		ctd.WithContainerLabels(b.e.ownLabels(b.plan.labels)), ctd.WithNewSpec(b.spec()...))
	if err != nil {
		return fmt.Errorf("make the container: %w", spaceError(err))
	}
	// Not with ctx: containerd loses the shim of a task whose making is cut off.
	making, cancel := context.WithTimeout(context.WithoutCancel(ctx), bootPatience)
	defer cancel()
	if b.task, err = c.NewTask(making, cio.LogFile(filepath.Join(b.e.boxDir(b.name), bootLog))); err != nil {
		return fmt.Errorf("make the container: %w", spaceError(err))
	}
	return nil
}

// ownLabels are those of a container: whose it is, and what a Spec says.
func (e *Executor) ownLabels(labels map[string]string) map[string]string {
	own := map[string]string{labelOwner: e.root}
	for k, v := range labels {
		own[labelUser+k] = v
	}
	return own
}

// withRoot names the snapshot that was just made. The client's own option would ask for it once more.
func withRoot(snapshotter, name string) ctd.NewContainerOpts {
	return func(_ context.Context, _ *ctd.Client, c *containers.Container) error {
		c.Snapshotter, c.SnapshotKey = snapshotter, name
		return nil
	}
}

// bootLog is where the first process writes its own faults; normally it is empty.
const bootLog = "boot.log"

// capabilities of the first process. What it starts for an ordinary user has none of them.
var (
	initCaps = []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP"}
	// A main command that is root has these: what package managers and build tools need.
	rootCaps = append([]string{"CAP_FSETID", "CAP_NET_BIND_SERVICE", "CAP_SETFCAP", "CAP_SYS_CHROOT"}, initCaps...)
)

// spec says how the container is made.
func (b *box) spec() []oci.SpecOpts {
	p := b.plan
	caps := initCaps
	if isRoot(p.user) {
		caps = rootCaps
	}
	opts := []oci.SpecOpts{
		oci.WithDefaultSpec(),
		oci.WithProcessArgs(pid1.Binary, pid1.Invocation, pid1.Box),
		oci.WithEnv([]string{"GOMAXPROCS=2", "GOMEMLIMIT=16MiB"}),
		oci.WithProcessCwd("/"),
		oci.WithHostname("sandbox"),
		oci.WithCapabilities(caps),
		seccomp.WithDefaultProfile(), // after the capabilities: it depends on them
		oci.WithMounts(b.mounts()),
		oci.WithCgroup(b.e.cgroup(b.name)),
		withLimits(p.limits),
	}
	if p.network == executor.NetworkHost {
		opts = append(opts, oci.WithHostNamespace(specs.NetworkNamespace))
	}
	return opts
}

// isRoot reports whether a user as Spec and images have it is root.
func isRoot(user string) bool {
	name, _, _ := strings.Cut(user, ":")
	return name == "root" || name == "0"
}

func (b *box) mounts() []specs.Mount {
	bind := func(source, target string, writable bool) specs.Mount {
		mode := "ro"
		if writable {
			mode = "rw"
		}
		return specs.Mount{Type: "bind", Source: source, Destination: target, Options: []string{"rbind", "rprivate", "nosuid", "nodev", mode}}
	}
	dir := b.e.boxDir(b.name)
	list := []specs.Mount{bind(b.plan.dir, workspacePath, true)}
	switch b.plan.network {
	case executor.NetworkHost:
		for _, file := range []string{"/etc/hosts", "/etc/resolv.conf"} {
			if path, err := filepath.EvalSymlinks(file); err == nil {
				list = append(list, bind(path, file, false))
			}
		}
	case executor.NetworkBridge:
		list = append(list, bind(filepath.Join(dir, "hosts"), "/etc/hosts", false),
			bind(filepath.Join(dir, "resolv.conf"), "/etc/resolv.conf", false))
	}
	for _, m := range b.plan.mounts {
		list = append(list, bind(m.Source, m.Target, m.Writable))
	}
	return append(list, bind(b.e.opts.Runner, pid1.Binary, false), bind(dir, pid1.Box, true))
}

// accept waits for the first process, and for its end, in case it never comes.
func (b *box) accept(ctx context.Context, ln *net.UnixListener) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	accepted := make(chan result, 1)
	go func() {
		conn, err := ln.Accept()
		accepted <- result{conn, err}
	}()
	timer := time.NewTimer(bootPatience)
	defer timer.Stop()
	var err error
	select {
	case r := <-accepted:
		return r.conn, r.err
	case s := <-b.exited:
		err = fmt.Errorf("the first process of the container ended with status %d: %s", s.ExitCode(), b.bootLog())
	case <-timer.C:
		err = fmt.Errorf("the first process of the container did not come up in %s: %s", bootPatience, b.bootLog())
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	ln.Close()
	if r := <-accepted; r.conn != nil {
		r.conn.Close()
	}
	return nil, err
}

// bootLog gives the end of what the first process had to say.
func (b *box) bootLog() string {
	data, err := os.ReadFile(filepath.Join(b.e.boxDir(b.name), bootLog))
	if err != nil || len(bytes.TrimSpace(data)) == 0 {
		return "it said nothing"
	}
	return string(bytes.TrimSpace(data[max(0, len(data)-maxBootLog):]))
}

// handOver gives the job to the first process and waits until the main command runs.
func (b *box) handOver(ctx context.Context, j pid1.Job) error {
	defer b.conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = b.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var a pid1.Answer
	err := pid1.WriteJob(b.conn, j)
	if err == nil {
		err = json.NewDecoder(io.LimitReader(b.conn, 64<<10)).Decode(&a)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("hand over the main command: %w: %s", err, b.bootLog())
	case a.Error != "":
		return errors.New(a.Error)
	}
	return nil
}

// started reports whether the main command may have run.
func (b *box) started() bool { return pid1.Started(b.e.boxDir(b.name)) }

// scrap removes everything of a container, whatever state it is in. What is not there is no error. Nobody needs the
// container any more: after an error the sweep removes the rest.
func (e *Executor) scrap(ctx context.Context, name string, bridged bool) error {
	defer e.unmade(name)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupPatience)
	defer cancel()
	return e.scrapNow(ctx, name, bridged)
}

func (e *Executor) scrapNow(ctx context.Context, name string, bridged bool) error {
	if err := e.endTask(ctx, name); err != nil {
		return err
	}
	var left error // an address that cannot be given back must not keep the rest
	if bridged {
		left = e.net.disconnect(ctx, name)
	}
	if err := e.removeSnapshot(ctx, name); err != nil {
		return err
	}
	if err := e.client.ContainerService().Delete(ctx, name); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove the container: %w", err)
	}
	if err := errors.Join(left, tree.Remove(ctx, filepath.Join(e.root, boxesDir), name)); err != nil {
		return err
	}
	e.unmade(name)
	return nil
}

// endTask kills what runs in a container and removes its task. Another process may be doing the same: then the shim goes
// away in the middle of a call, and asking again tells that all is done.
func (e *Executor) endTask(ctx context.Context, name string) error {
	for try := 1; ; try++ {
		_, task, err := e.load(ctx, name)
		if err == nil {
			_, err = task.Delete(ctx, ctd.WithProcessKill)
		}
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		if try == deleteTries || ctx.Err() != nil {
			return fmt.Errorf("remove the container's task: %w", err)
		}
		if err := pause(ctx, minRetry<<try); err != nil {
			return err
		}
	}
}

// deleteTries is how often the removal of a task is tried, within about a second.
const deleteTries = 5

// removeSnapshot removes the file system of a container. It goes before the container: one without the other would be
// collected by containerd, at the same time as by us.
func (e *Executor) removeSnapshot(ctx context.Context, name string) error {
	sn, err := e.snapshotter(ctx)
	if err != nil {
		return err
	}
	service := e.client.SnapshotService(sn)
	e.emptySnapshot(ctx, service, name)
	if err := service.Remove(ctx, name); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove the container's file system: %w", spaceError(err))
	}
	return nil
}

// snapshotter names the one in use. It is asked for once.
func (e *Executor) snapshotter(ctx context.Context) (string, error) {
	e.mu.Lock()
	name := cmp.Or(e.opts.Snapshotter, e.sn)
	e.mu.Unlock()
	if name != "" {
		return name, nil
	}
	name, err := e.client.GetLabel(ctx, defaults.DefaultSnapshotterNSLabel)
	if err != nil {
		return "", err
	}
	name = cmp.Or(name, defaults.DefaultSnapshotter)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sn = name
	return name, nil
}

// cgroup is the path of a container's control group in each hierarchy.
func (e *Executor) cgroup(box string) string { return filepath.Join("/", e.ns, box) }

// withLimits sets what the kernel enforces.
func withLimits(l executor.Limits) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		r := s.Linux.Resources
		if r == nil {
			r = &specs.LinuxResources{}
			s.Linux.Resources = r
		}
		if l.Memory > 0 {
			swap := l.Memory // together: no swap
			r.Memory = &specs.LinuxMemory{Limit: &l.Memory, Swap: &swap}
		}
		if l.CPUs > 0 {
			period := uint64(cpuPeriod)
			quota := max(int64(l.CPUs*cpuPeriod), 1000) // the kernel's smallest
			r.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
		}
		if l.Processes > 0 {
			n := int64(l.Processes) + ownThreads
			r.Pids = &specs.LinuxPids{Limit: &n}
		}
		files := uint64(min(defaultOpenFiles, readHostLimits().openFiles))
		if l.OpenFiles > 0 {
			files = uint64(l.OpenFiles)
		}
		s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: files, Hard: files}}
		return nil
	}
}

const (
	cpuPeriod        = 100_000 // microseconds
	ownThreads       = 16      // of the first process
	minMemory        = 32 << 20
	minOpenFiles     = 64
	defaultOpenFiles = 65_536
)

// enforceable returns the limits that will hold: those below what the host has, and not so low that nothing could start.
func enforceable(l executor.Limits, host hostLimits) executor.Limits {
	if l.Memory > 0 {
		l.Memory = max(l.Memory, minMemory)
	}
	if l.OpenFiles > 0 {
		l.OpenFiles = max(l.OpenFiles, minOpenFiles)
	}
	if l.Memory >= host.memory {
		l.Memory = 0
	}
	if l.CPUs >= host.cpus {
		l.CPUs = 0
	}
	if l.Processes >= host.processes {
		l.Processes = 0
	}
	if l.OpenFiles >= host.openFiles {
		l.OpenFiles = 0
	}
	return l
}

// hostLimits are what this machine has.
type hostLimits struct {
	memory    int64
	cpus      float64
	processes int
	openFiles int
}

func readHostLimits() hostLimits {
	h := hostLimits{memory: 1 << 62, cpus: 1 << 20, processes: readInt("/proc/sys/kernel/pid_max", 1<<22), openFiles: 1 << 20}
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil { // containerd's may differ, but not by much on one host
		h.openFiles = int(min(files.Max, 1<<20))
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		h.memory = int64(info.Totalram) * int64(info.Unit)
	}
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) == nil {
		h.cpus = float64(set.Count())
	}
	return h
}

func readInt(path string, otherwise int) int {
	data, err := os.ReadFile(path)
	if err != nil {
		return otherwise
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || n <= 0 {
		return otherwise
	}
	return n
}

// chainOf is the name of the snapshot with all layers of an image.
func chainOf(ctx context.Context, i ctd.Image) (string, error) {
	layers, err := i.RootFS(ctx)
	if err != nil {
		return "", err
	}
	return identity.ChainID(layers).String(), nil
}
