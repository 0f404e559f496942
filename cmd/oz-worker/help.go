package main

// longHelp is what oz-worker --help says. A test reads its files, so that they
// stay true.
const longHelp = `oz-worker joins the pool of a server and runs agents on this host. It connects
out, to the server's one address, and needs no port of its own.

Runs come to it that name it (worker_host), that ask for its labels, or that name
no worker at all. It needs a worker key, or a team key, of the team whose runs it
is to take:

    oz api-key create build-1 --worker --no-expiration

Back-ends, of which one is used:

    direct    agents are processes of this host, with commands of yours around them
    local     the same without these commands, and with limits by cgroup v2
    containerd  each agent has a container of its own, by this host's containerd
    command   a command of yours hands each run over to a system of yours

Runs at work outlive the worker: after a restart, an upgrade or a crash it takes
them up again. SIGTERM or SIGINT drains: nothing new is taken, and runs at work
have --drain-timeout to end. Those that are left go on without the worker, until
its next start; with --stop-on-shutdown they are stopped instead, and given to
others. A second signal stops waiting.

Settings come from flags, then environment variables, then the file named by
--config-file (YAML), then defaults. The file is that of the official worker,
with more keys; of its back-ends docker and kubernetes are not driven here.

Environment variables, besides those that the flags name:
  STATE_DIRECTORY               set by systemd; the default of --state-dir
  HTTPS_PROXY, NO_PROXY         the way to the server
  OTEL_METRICS_EXPORTER=prometheus, OTEL_EXPORTER_PROMETHEUS_HOST and _PORT
                                as --listen (default localhost:9464)

Exit codes: 0 stopped or drained, 1 a bad configuration or a back-end that cannot
be used, 80 a mistake in the command line.

All settings of the file, with their defaults:

    server: http://127.0.0.1:8080 # root of the server
    api_key_file: ""              # file of the key, unless WARP_API_KEY holds it
    worker_id: ""                 # name of this worker; needed
    repository_base: ""           # the server's, if it is another than https://github.com: for prepared states (containers)
    labels: []                    # what runs may ask for: words, or name=value
    cleanup: true                 # remove workspaces, and run teardown commands
    max_concurrent_tasks: 0       # runs at work; 0 is no limit
    idle_on_complete: ""          # longest time that a workspace is kept for follow-ups, such as 45m; "" is as the run says
    idle_on_fail: ""              # longest time that one of a failed run is kept for inspection; "" is as its environment says
    max_kept_workspaces: 100      # how many are kept at once; the oldest gives way, those of failed runs last; 0 is no limit
    min_free_disk_gb: 2           # while less of the disk is free, they give way, too; 0 is no bound
    state_dir: ""                 # what the worker must remember; see --state-dir
    listen: ""                    # address of /healthz and /metrics
    log_level: info               # debug, info, warn or error
    log_format: json              # json or console
    drain_timeout: 30s            # how long SIGTERM waits for runs at work
    stop_on_shutdown: false       # stop those that are left, instead of leaving them to the next start
    backend: {}                   # at most one: see the examples

An example that runs agents on this host:

    server: https://oz.example.com
    api_key_file: /etc/oz/worker.key
    worker_id: build-1
    labels: [gpu, zone=eu]
    max_concurrent_tasks: 4
    listen: 127.0.0.1:9464
    backend:
      direct:
        workspace_root: /var/lib/oz/workspaces   # gets a directory of this worker's own
        target_dir: ""                           # or a directory in which all agents work
        oz_path: ""                              # the program oz; default this one
        setup_command: ./prepare                 # before each agent, in its directory; may write $OZ_ENVIRONMENT_FILE
        teardown_command: ./save-caches          # after each agent
        teardown_timeout: 5m
        isolation: auto                          # namespaces around agents: auto (where the host can), require (or do not start), off
        environment:
          - {name: GOPROXY, value: "https://proxy.example.com"}
          - {name: GOFLAGS}                      # passed on from the worker's own

An example with limits (Delegate=yes in the unit):

    server: https://oz.example.com
    worker_id: build-2
    backend:
      local:
        root: /var/lib/oz/sandboxes
        cgroup: /sys/fs/cgroup/system.slice/oz-worker.service/agents
        isolation: require        # or auto, off: see above
        memory_gb: 8
        cpus: 4
        processes: 2000
        environment: []

An example with containers (Linux, root, containerd, a worker built with CGO_ENABLED=0):

    server: https://oz.example.com
    worker_id: build-3
    backend:
      containerd:
        root: /var/lib/oz/containers
        address: /run/containerd/containerd.sock
        namespace: oz-build-3     # in containerd, of this worker alone
        image: debian:12          # of runs whose environment names none; images need git
        import: [/srv/images/team.tar]           # archives of images, taken in at each start
        network: bridge           # or host, where the server is on this host's loopback
        subnet: 10.90.0.0/16      # of the bridge
        image_days: 30            # after which an image goes that no run uses; 0: none does
        image_disk_gb: 50         # that images may take; beyond it the least recently used go; 0: no bound
        warm_states: 8            # prepared states (repositories, setup) kept for later runs to start from; 0: none
        warm_disk_gb: 20          # that they may take together
        warm_pool: 2              # sandboxes of each environment that stand ready, in its prepared state; 0: none
        warm_pool_environments: 4 # that it is so for, those used last
        root_user: false          # whether root stays where an image says so
        runner: ""                # a static build of this program; default this one
        memory_gb: 8
        cpus: 4
        processes: 2000
        disk_gb: 20
        mounts: ["/srv/cache:/cache"]
        registries:
          ghcr.io: {username: robot, password_env: GHCR_TOKEN}      # or password_file: PATH
          registry.internal:5000: {plain_http: true}
          docker.io: {mirrors: ["https://mirror.example.com"]}

An example that hands runs over:

    server: https://oz.example.com
    worker_id: queue-1
    max_concurrent_tasks: 50      # counted until an agent has reported its end
    backend:
      command:
        dispatch_command: /usr/local/bin/enqueue   # gets the run as JSON on its standard input
        cancel_command: /usr/local/bin/dequeue "$OZ_RUN_ID"
        dispatch_timeout: 60s
        cancel_timeout: 10s
        lifetime: 24h             # a hand-over that nobody ends counts as lost then
        environment: []
`
