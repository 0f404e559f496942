// Package containerd runs sandboxes as containers of a containerd on the same
// host, through its Go client. It needs Linux, root, containerd 1.6 or newer
// with runc, and a static binary whose main calls [pid1.Main]:
//
//	exec, err := containerd.Open(ctx, "/var/lib/oz/run", &containerd.Options{Image: "debian:12"})
//
// # A sandbox
//
// Each sandbox is one container with a root file system of its own, a writable
// snapshot of its image. The Runner is mounted read-only at [pid1.Binary] and
// is the container's first process, so that an image needs nothing but what the
// main command needs: musl, distroless and empty images work. The workspace is
// a directory of the host, mounted at /workspace; home and temporary files are
// in the snapshot.
//
// The main command runs as the image's user, or as "agent" (1000, home
// /home/agent) where that is root. It has no capabilities, cannot gain any
// (sudo does not work), and is held by containerd's default seccomp profile. A
// Spec.User of root, or Options.RootUser, keeps root, with the capabilities that
// package managers need.
//
// Command, environment and standard input go to the first process over a socket
// that ends with the call. None of them is in containerd's records.
//
// # What outlives whom
//
// The first process writes output and exit status to files of the host, in
// bounded pieces, by itself. So a worker or a containerd that is killed and
// started again disturbs no sandbox and loses no output: Open and List find
// what there is. A Start that was interrupted has run nothing, and Open of
// this package removes what it left: soon after too, since containerd may still
// be at work for a client that was killed, and then loses a shim. A sandbox whose
// shim is killed ends with Exit.Unknown, unless its status was written before.
//
//	<root>/sandboxes/<id>/state.json   what the next worker must know
//	<root>/sandboxes/<id>/exit.json    how it ended
//	<root>/boxes/<name>/               shared with the first process of the container <name>: output, status
//	<root>/workspaces/<key>/           workspace
//	<root>/network/                    addresses of the bridge
//
//	<root>/warm/<name>/                kept states: workspace, and state.json once whole
//
// Of a run that has ended the workspace alone is kept, for follow-ups or for the
// inspection of what failed, and by the same rules as everywhere (see package
// executor): an operator finds it at <root>/workspaces/<run id>. The container,
// its writable layer (packages that the agent installed, files outside of
// /workspace) and its processes are gone: a follow-up gets a new container from
// the image (or from a kept state), in the old workspace. There are no idle containers, and nobody can
// exec into a failed one.
//
// # Warm starts
//
// With Options.WarmStates a Spec.Warm is honoured: the first Start of its kind
// starts cold and has a state prepared in the background, in a container of its
// own with the same image, user, network, mounts and environment. When that ends
// well, its files are kept as a snapshot, and its workspace as a directory.
// Later sandboxes start from the snapshot, and a new workspace begins as a copy
// (without extended attributes); one that exists stays as it is. A state stands
// for its key, the image's content and all else that made it. States are made
// one at a time, anew when they are old, and bounded in number and disk: the
// least recently used gives way. One that failed is not tried again for 10
// minutes. What a killed process left half-made is removed by Open.
//
// The preparation sees nothing of a run: not its standard input, and so not its
// token, secrets and credentials, see executor.Warm. Spec.Env is for both, so a
// caller must have no secret there. What needs secrets in its preparation fails
// there, and starts cold.
//
// # Ready sandboxes
//
// With Options.PoolSize containers stand ready for Starts like the last ones: made, with their network, on the newest kept
// state of Spec.Warm if there is one, each with a workspace that is a copy of that state's or empty. A Start takes one,
// gives the workspace its key and the first process its job, which takes milliseconds; another is made in its place. Each
// is used once. Nothing of a run is in one before it is taken: no command, environment, input or label. They differ by
// image content, user, network, mounts, limits and state; when the image's content, the state or the rest of a
// Spec.Environment changes, those of before are removed, and so are those of kinds that nobody has asked for lately. A Start
// in a workspace that exists takes none, since a container's mounts cannot change.
//
// A process that ends, by Close or by being killed, takes its ready sandboxes with it: their first processes end at once,
// and Close or the next Open removes the rest. Until the first Start of a kind nothing is ready for it.
//
// # Images
//
// Images are pulled when they are asked for and stay, unless Options.ImageAge or Options.ImageDisk say otherwise: then those
// that were not used for long, or least recently, are removed from time to time, and containerd takes away their files. An
// image counts as used when a Start asks for it, also over restarts.
//
// # Limits
//
// Memory (swap included), CPUs and Processes are the container's control group;
// the first process has 16 threads on top. Memory is at least 32 MiB and
// OpenFiles at least 64. Limits at or beyond what the host has do not hold, and
// are not among Sandbox.Limits. Disk is measured each Options.DiskPeriod, so a
// sandbox may overshoot by what it can write in that time.
//
// # Networks
//
// NetworkHost is the default, because the agent runner must reach the platform,
// which may listen on loopback. It isolates nothing. NetworkBridge needs the
// CNI plugins bridge and host-local, iptables, and a server_url that containers
// reach. Other containers of the same Executor are reachable over it. With
// NetworkNone an agent runner cannot work, other programs can.
//
// # Errors
//
// executor.ErrImage: the name is malformed, the registry has no such image or
// refuses it, or it is for another platform. A registry that cannot be reached,
// a full disk or a containerd that is away are other errors, after which a later
// Start may succeed.
//
// # Concurrency
//
// An Executor is safe for concurrent use. It has one goroutine for each sandbox
// that it started or opened and that has not ended, one more where a disk
// limit is to hold, one for each ready sandbox, one that makes those, one that
// removes leftovers, and one that removes images.
package containerd
