// Package local runs sandboxes as processes of this host. It needs Linux 5.14 or newer with /proc, no root and no
// container engine.
//
//	func main() {
//		if code, ok := local.Supervise(); ok {
//			os.Exit(code)
//		}
//		exec, err := local.New("/var/lib/oz", nil)
//		...
//	}
//
// # How it works
//
// Start runs this program's own binary a second time, as the supervisor of one sandbox; that is why main must call
// [Supervise] first. The supervisor is a small process in a session of its own. It starts the main command, copies its
// output to a file, forwards signals, and, being the subreaper of all that descends from it (prctl(2),
// PR_SET_CHILD_SUBREAPER) or the first process of their namespace, inherits every daemon that double-forks and calls setsid. When the main command ends it
// kills what is left until it has no child any more, which the kernel reports reliably, writes the exit status to a
// file and ends.
//
// A program takes as long to come up as its packages need to initialise. So from the first Start on the Executor keeps
// one supervisor in reserve, in its namespaces already, which waits for its job on a socket and ends with the worker or with Close.
//
// Nothing of this needs the worker. A worker that restarts finds its sandboxes with List and Open, by process number,
// start time and boot, and reads the true exit status. Under systemd that takes KillMode=process in the worker's unit,
// since the default kills everything with the service.
//
//	<root>/sandboxes/<id>/home, tmp      HOME and TMPDIR of the processes
//	<root>/sandboxes/<id>/output*        what they wrote, in bounded pieces
//	<root>/sandboxes/<id>/state.json     identity of the supervisor
//	<root>/sandboxes/<id>/exit           exit status, once ended
//	<root>/sandboxes/<id>/supervisor.log faults of the supervisor itself, normally empty
//	<root>/workspaces/<key>/             workspace
//
// # Killing the whole tree
//
// Three means, each good alone:
//
//   - Ancestry. The supervisor kills its descendants until wait(2) says that it has none.
//   - A mark. All processes of a sandbox carry one number in a resource limit that the kernel has ignored since 2.4.25
//     and still inherits (RLIMIT_LOCKS). Unlike an environment variable, a session or a process group it survives
//     env -i, setsid and exec. If someone kills the supervisor, the main command dies with it (PR_SET_PDEATHSIG) and
//     the worker finds the others by their mark.
//   - A control group, if Options.Cgroup gives one: its cgroup.kill is atomic.
//
// With isolation there is a fourth: the supervisor is the first process of a pid namespace. Whatever is in it dies with it,
// and cannot kill it.
//
// The main command may be stopped, ignore SIGTERM or fork while being killed. A process that changes its mark on
// purpose and has the supervisor killed first escapes when there is no control group.
//
// # Isolation
//
// By default sandboxes get user, mount, pid and ipc namespaces of their own where the kernel lets this process's user make
// them; New finds out by having a child do it, so a sandbox is never silently less isolated than Executor.Isolation says.
// Options.Isolation can make it a condition or switch it off. An isolated sandbox
//
//   - sees its own processes only, and has shared memory of its own;
//   - sees an empty, read-only directory in place of the Executor's root and of Options.Hide, in which there are only
//     its home, temporary directory and workspace, its program, and Options.Visible. All paths are those of the host.
//     They are mounts of their own: renaming from one to another is refused (EXDEV), as between two disks;
//   - has the numbers of users and groups that the host has, but as an ordinary user only its own: files of others seem to
//     belong to nobody, which ssh(1) dislikes of files below /etc/ssh/ssh_config.d;
//   - as root has no right over the host beyond files: it cannot mount, reach raw disks, kernel settings or devices
//     of the network, nor change the owner of what hides files from it;
//   - has the host's network, or with Spec.Network none a loopback device of its own.
//
// A supervisor keeps what it had when it was started: a worker with other Options adopts it all the same.
// Sandbox.Isolation says what that was.
//
// # Not a security boundary
//
// Sandboxes run as the worker's user and see the rest of the host's files, its network and, without isolation, its processes.
// Root may change the host's programs. They are kept tidy, not kept out: use a container driver for code that is
// not trusted, and an ordinary user for the worker. Set-uid programs such as sudo do not work (no_new_privs): what
// they started, the worker could not kill.
//
// Spec.Image, Mounts and User, and any network but the host's and, with isolation, none, fail with executor.ErrUnsupported: a sandbox that
// silently had the host's files in place of an image's would be another one than was asked for. Labels and Warm are
// ignored.
//
// # Limits
//
// Limits.OpenFiles holds always (at least 64). Disk never does. Memory, Processes
// and CPUs need Options.Cgroup with these controllers:
// resource limits cannot stand in, RLIMIT_AS breaks programs that reserve address space (Go, Node, Java) and
// RLIMIT_NPROC counts all processes of the user, other sandboxes included. There are no core files, the umask is 077,
// and the kernel's out-of-memory killer prefers a sandbox to the worker (oom_score_adj +500).
//
// Output beyond Options.OutputLimit loses its middle: the first half of the limit is kept, and of the rest the last
// three to four eighths. Writing never blocks on a reader, and a full disk loses output, with a note, but stops nobody.
//
// # Concurrency
//
// An Executor is safe for concurrent use. For each sandbox that it started it has one goroutine, without a thread, which
// ends with the sandbox. A supervisor holds what the program's packages allocate when they initialise: 2 MiB for a small
// program, 6 MiB for one with a database, two model clients and an HTTP server in it; the code is shared.
// One Executor at a time owns a root; a sandbox is started once even if two try.
package local
