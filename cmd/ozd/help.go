package main

// longHelp is what ozd --help says. A test reads its two files, so that they
// stay true.
const longHelp = `ozd is the reference server for cloud agents: it records runs, hands them to the
worker in this process, serves the HTTP API at /api/v1 and the web app beside it,
at the address itself. The first start prints a link that signs a browser in, once.

Everything it keeps is in one directory (--data): the database, the key that
seals secrets, artifacts, and the sandboxes of running agents. It needs no
account, no Docker and no other service. With --store postgres://... several
servers share one PostgreSQL database: each needs a data directory of its own and
a copy of the first one's secrets.key (--secrets-key). The first start prints an admin API key,
once; OZ_BOOTSTRAP_API_KEY chooses it instead, and makes it valid again later.

A database that is away while the server works is waited for, and requests are
refused meanwhile with a reason. At its start the server waits for as long as
--store-wait says, answers 503 to every request, /healthz too, and ends with exit
code 1 if the database has not come back.

SIGTERM or SIGINT drains: no new work is taken, and running agents go on without
the server; the next start takes them up again. A second signal kills.

Settings come from flags, then environment variables, then the file named by
--config (YAML), then defaults. Keys and passwords are never written into the
file: it names the variable or the file that holds them.

Environment variables, besides those that the flags name:
  OZ_BOOTSTRAP_API_KEY          the admin's API key, 8 to 1024 bytes
  ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL, OPENAI_API_KEY, OPENAI_BASE_URL
                                model providers, unless the file names some

All settings of the file, with their defaults:

    listen: 127.0.0.1:8080        # address of the HTTP API
    data: oz-data                 # directory of everything the server keeps
    store: ""                     # postgres:// URL of a shared database; else SQLite in the data directory
    store_wait: 2m                # how long a start waits for a PostgreSQL database that is away; 0 is not at all
    secrets_key: ""               # key file that seals secrets; default secrets.key in the data directory
    metrics_listen: ""            # address of /metrics for Prometheus; none unless set
    retention_days: 0             # after which transcripts and artifacts of ended runs go; 0 is never
    public_url: ""                # how people reach the server, for links; clouds find the keys of identity tokens below it
    identity_issuer: ""           # issuer of identity tokens, where it is not <public_url>/api/v1/oz/identity
    no_web: false                 # serve the API alone, without the web app
    run_links: accounts           # who may use links to runs: off, accounts (signed in) or guests (whoever has one)
    web_assets: ""                # directory to read the web app's files from, for whoever works on them
    log_level: info               # debug, info, warn or error
    max_concurrent: 4             # runs at work
    max_waiting: 10000            # runs in the queue; more are refused
    lease: 0s                     # how long an agent may be silent before its run goes to another; 0 is 30s
    max_attempts: 0               # executions in a row that may be lost before a run ends as ERROR; 0 is 3
    repository_base: https://github.com  # put before owner/name
    github_url: https://github.com  # the GitHub of the integrations, such as an Enterprise Server
    no_code_index: false          # make no index of repositories for agents to search
    embeddings: ""                # model that is sent pieces of repositories, for search by meaning; none is off
    model: ""                     # default model; else the first that a provider names
    models: []                    # providers: see the example
    auto_models: {}               # what auto, auto-efficient, auto-genius and auto-open stand for: see the example
    disabled_models: []           # ids that no run may use; a trailing * stands for any rest
    disabled_harnesses: []        # agents that no new run may use: claude, codex, gemini, opencode
    private_model_endpoints: false  # whether teams' own model endpoints may be at private addresses
    limits:                       # of runs that name none; 0 is no limit
      max_turns: 200
      max_minutes: 120
      max_tokens: 0
      max_cost_usd: 0
    budgets: []                   # what teams and people may spend on models: see the example
    plan: null                    # credits, features, content and concurrency by owner: see the example; null allows everything
    git:
      name: ""                    # author of the agents' commits; default Oz Agent
      email: ""
      credentials: []             # see the example
    worker:
      id: ""                      # name of the worker; default local, or a random one with a shared database
      env: []                     # variables of every sandbox: NAME=value, or NAME to pass it on
      server_url: ""              # where sandboxes reach the API; default the address above
      sidecar_image: ""           # image with the agent, for official workers with containers
      max_kept_workspaces: 100    # workspaces of ended runs; the oldest gives way, those of failed runs last; 0 is no limit
      min_free_disk_gb: 2         # while less of the disk is free, they give way, too; 0 is no bound
      executor: local             # what makes its sandboxes: local (processes of this host) or containerd
      isolation: auto             # namespaces around local sandboxes: auto (where the host can), require (or do not start), off
      containerd: {}              # see the example
    sign_in: null                 # lets people sign in with a browser: see the example; null leaves API keys alone
    open_teams: false             # whether every person may make teams, or only who leads one
    allowed_origins: null         # web origins that may call the API; null is all (keys are needed anyway)

An example with providers and a git host:

    listen: 127.0.0.1:8080
    data: /var/lib/oz
    model: claude-sonnet-4-5
    models:
      - name: anthropic
        wire: anthropic           # the protocol: anthropic, openai or gemini
        api_key_env: ANTHROPIC_API_KEY
        models: ["claude-*"]
      - name: house
        wire: openai              # any compatible endpoint
        base_url: https://models.example.com/v1
        api_key_file: /etc/oz/house.key
        models: [coder-large, coder-small]
        bearer_auth: false        # send the key as a bearer token on the other wires, too
        fallback:                 # asked when this one is away
          - {provider: spare}
        prices:                   # USD per million tokens; they win over the built-in ones
          - {models: ["coder-*"], input: 0.2, output: 0.8, context_window: 128000, max_output: 16000, as_of: "2026-10-01"}
      - name: spare
        wire: openai
        base_url: http://10.1.2.3:8000/v1
        models: [coder-large]
    auto_models:
      auto-efficient: [coder-small, claude-haiku-4-5]   # the first that is to be had, the others while it is away
    budgets:
      - {scope: User, limit_tokens: 2000000, period: day}          # each person without a budget of their own
      - {scope: Team, uid: default, limit_usd: 500, period: month} # days and months are those of UTC
    plan:
      credits: {default: 1000, owners: {"Team:default": 50000}, min: 20, usd: 0.01}  # min to start a run; dollars per credit
      concurrent: {default: 2, owners: {"Team:default": 8}}  # runs at work at once; more wait
      missing: [computer_use]                # features that nobody has
      team_only: [integration, worker]       # features for teams
      forbidden: ['(?i)\bxmrig\b']           # no prompt or setup command may match
    git:
      name: Oz
      email: oz@example.com
      credentials:
        - host: github.com
          username: x-access-token
          password_env: GITHUB_TOKEN
    public_url: https://oz.example.com
    sign_in:                      # OpenID Connect; register <public_url>/api/v1/oz/auth/callback at the provider
      name: Example ID            # what people call it
      issuer: https://id.example.com
      client_id: oz
      client_secret_env: OZ_CLIENT_SECRET
      domains: [example.com]      # of verified e-mail addresses; their owners may come unasked
      team: default               # that they join, as
      role: member
      link_email: true            # also whom a team has added by e-mail address
    worker:
      env: [GOPROXY]
      executor: containerd        # needs Linux, root, and this program built with CGO_ENABLED=0
      containerd:
        address: /run/containerd/containerd.sock
        image: debian:12          # of runs whose environment names none; it needs git
        network: host             # or bridge, with server_url an address that containers reach
        warm_states: 8            # prepared states (repositories, setup) kept for later runs to start from; 0: none
        warm_disk_gb: 20          # that they may take together
        mounts: ["/srv/cache:/cache", "/srv/scratch:/scratch:rw"]
        import: [/srv/images/team.tar]           # archives of images, taken in at each start
        registries:
          docker.io: {mirrors: ["https://mirror.example.com"]}
          ghcr.io: {username: robot, password_env: GHCR_TOKEN}
`
