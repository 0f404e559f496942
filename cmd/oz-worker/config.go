package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/modelenv"
	"github.com/oz-platform/cloudagents/oz"
)

// config is the worker's configuration: flags win over environment variables,
// these over the file, the file over defaults.
type config struct {
	// Server is the root of the server.
	Server string `yaml:"server"`
	// APIKeyFile holds the key, unless WARP_API_KEY does.
	APIKeyFile string `yaml:"api_key_file"`
	// WorkerID is what runs name as worker_host.
	WorkerID string `yaml:"worker_id"`
	// RepositoryBase is the server's setting of that name: what is put before
	// owner/name when a state is prepared. Empty is the platform's default.
	RepositoryBase string `yaml:"repository_base"`
	// Labels are what runs may ask for with worker_labels.
	Labels []string `yaml:"labels"`
	// Cleanup removes workspaces of runs that are over.
	Cleanup bool `yaml:"cleanup"`
	// MaxConcurrentTasks bounds the runs at work; 0 and less is no limit.
	MaxConcurrentTasks int `yaml:"max_concurrent_tasks"`
	// IdleOnComplete bounds how long what a run has left is kept for a
	// follow-up, as a duration; empty is as long as the run asks for.
	IdleOnComplete string `yaml:"idle_on_complete"`
	// IdleOnFail bounds how long what a failed run has left is kept for
	// inspection, as a duration; empty is as long as its environment asks for.
	IdleOnFail string `yaml:"idle_on_fail"`
	// MaxKeptWorkspaces bounds how many workspaces of ended runs are kept; 0 is
	// no limit.
	MaxKeptWorkspaces int `yaml:"max_kept_workspaces"`
	// MinFreeDiskGB is how much of the disk stays free of them; 0 is no bound.
	MinFreeDiskGB float64 `yaml:"min_free_disk_gb"`
	// StateDir holds what the worker must remember.
	StateDir string `yaml:"state_dir"`
	// Listen is the address of /healthz and /metrics; empty for none.
	Listen string `yaml:"listen"`
	// LogLevel is debug, info, warn or error; LogFormat json or console.
	LogLevel  string `yaml:"log_level"`
	LogFormat string `yaml:"log_format"`
	// DrainTimeout is how long a SIGTERM waits for the runs at work.
	DrainTimeout time.Duration `yaml:"drain_timeout"`
	// StopOnShutdown ends the runs that are at work then, and gives them back.
	StopOnShutdown bool          `yaml:"stop_on_shutdown"`
	Backend        backendConfig `yaml:"backend"`

	oneShot     bool
	file        string   // that it was read from
	fileBackend string   // that the file names
	flagBackend string   // that the command line names
	backend     string   // that is used
	env         []string // of -e, as NAME=value or NAME
	volumes     []string // of -v
	targetDir   string   // of --target-dir
	linkURL     string
	sessionURL  string
	key         executor.Sensitive
	keyFrom     string // a flag, a variable or a file
	exposed     bool   // the key is on the command line
}

func defaultConfig() config {
	return config{Server: "http://127.0.0.1:8080", Cleanup: true, LogLevel: "info", LogFormat: "json", DrainTimeout: 30 * time.Second,
		MaxKeptWorkspaces: 100, MinFreeDiskGB: 2}
}

// variables names the environment variable of each flag that has one.
var variables = map[string]string{
	"config-file":  "OZ_WORKER_CONFIG",
	"server":       "WARP_SERVER_ROOT_URL",
	"api-key":      "WARP_API_KEY",
	"api-key-file": "OZ_WORKER_API_KEY_FILE",
	"worker-id":    "OZ_WORKER_ID",
	"state-dir":    "OZ_WORKER_STATE_DIR",
	"listen":       "OZ_WORKER_LISTEN",
	"log-level":    "OZ_LOG_LEVEL",
	"log-format":   "OZ_LOG_FORMAT",
}

// hidden are flags of the official worker for its own developers.
var hidden = []string{"web-socket-url", "server-root-url", "session-sharing-server-url"}

// register makes the flags.
func (c *config) register(f *pflag.FlagSet) {
	*c = defaultConfig()
	f.String("config-file", "", "configuration `file` (YAML)")
	f.StringVar(&c.Server, "server", c.Server, "`URL` of the server's root")
	f.String("api-key", "", "worker key or team `key`; other users of the host can read flags, so better use the variable or a file")
	f.StringVar(&c.APIKeyFile, "api-key-file", "", "`file` that holds the key")
	f.StringVar(&c.WorkerID, "worker-id", "", "`name` that runs give as worker_host")
	f.StringArrayVar(&c.Labels, "label", nil, "`word` or name=value that runs may ask for; repeat")
	f.StringVar(&c.flagBackend, "backend", "", "how agents run: direct, local, containerd or command; default that of the file, or direct")
	f.IntVar(&c.MaxConcurrentTasks, "max-concurrent-tasks", 0, "how many runs work at once; 0 is no limit")
	f.StringVar(&c.IdleOnComplete, "idle-on-complete", "", "longest `time` that the workspace of an ended run is kept, such as 45m; 0s keeps none; default as the run says")
	f.StringVar(&c.IdleOnFail, "idle-on-fail", "", "longest `time` that the workspace of a failed run is kept for inspection; 0s keeps none for that; default as its environment says")
	f.IntVar(&c.MaxKeptWorkspaces, "max-kept-workspaces", c.MaxKeptWorkspaces, "how many workspaces of ended runs are kept; the oldest gives way; 0 is no limit")
	f.Bool("no-cleanup", false, "keep workspaces of runs that are over, and run no teardown command")
	f.StringVar(&c.targetDir, "target-dir", "", "`directory` in which all agents work (direct)")
	f.StringArrayVarP(&c.volumes, "volumes", "v", nil, "`HOST:CONTAINER[:ro]` (back-ends with containers only); repeat")
	f.StringArrayVarP(&c.env, "env", "e", nil, "`NAME=value` for agents, or NAME to pass it on; repeat")
	f.StringVar(&c.StateDir, "state-dir", "", "`directory` of what the worker must remember; default $STATE_DIRECTORY, /var/lib/oz-worker, or ~/.local/state/oz-worker for others than root")
	f.StringVar(&c.Listen, "listen", "", "`address` of /healthz and /metrics; default none")
	f.StringVar(&c.LogLevel, "log-level", c.LogLevel, "debug, info, warn or error")
	f.StringVar(&c.LogFormat, "log-format", c.LogFormat, "json or console")
	f.DurationVar(&c.DrainTimeout, "drain-timeout", c.DrainTimeout, "how `long` SIGTERM waits for the runs at work; 0 is not at all")
	f.BoolVar(&c.StopOnShutdown, "stop-on-shutdown", false, "then stop the runs that are still at work and give them back, instead of leaving them to the next start")
	f.BoolVar(&c.oneShot, "one-shot", false, "take one run, and end after it")
	f.StringVar(&c.linkURL, "web-socket-url", "", "whole address of the link")
	f.String("server-root-url", "", "the same as --server")
	f.StringVar(&c.sessionURL, "session-sharing-server-url", "", "has no effect: the server shares sessions itself")
	for flag, name := range variables {
		f.Lookup(flag).Usage += " (env " + name + ")"
	}
	for _, flag := range hidden {
		_ = f.MarkHidden(flag) // it exists
	}
}

// load puts the layers together. f was made by register and has parsed the
// command line: what it said is put on top of file and environment again.
func (c *config) load(f *pflag.FlagSet, env modelenv.Lookup) error {
	said := said(f)
	lists := map[string]*[]string{"label": &c.Labels, "env": &c.env, "volumes": &c.volumes}
	kept := map[string][]string{}
	for flag, list := range lists {
		if _, ok := said[flag]; ok {
			kept[flag] = *list
		}
		delete(said, flag)
	}
	once := config{flagBackend: c.flagBackend, targetDir: c.targetDir, linkURL: c.linkURL, sessionURL: c.sessionURL, oneShot: c.oneShot}
	*c = defaultConfig()
	c.flagBackend, c.targetDir, c.linkURL, c.sessionURL, c.oneShot = once.flagBackend, once.targetDir, once.linkURL, once.sessionURL, once.oneShot
	if path := cmp.Or(said["config-file"], env(variables["config-file"])); path != "" {
		if err := c.readFile(path); err != nil {
			return err
		}
		c.file = path
	}
	for flag, variable := range variables {
		if value := env(variable); value != "" && flag != "api-key" && flag != "config-file" {
			if err := f.Set(flag, value); err != nil {
				return fmt.Errorf("%s: %w", variable, err)
			}
		}
	}
	for flag, value := range said {
		if err := f.Set(flag, value); err != nil {
			return usageError{fmt.Errorf("--%s: %w", flag, err)}
		}
	}
	for flag, list := range kept {
		*lists[flag] = list
	}
	c.Server = cmp.Or(said["server"], said["server-root-url"], c.Server)
	if said["no-cleanup"] == "true" {
		c.Cleanup = false
	}
	if err := c.readKey(said, env); err != nil {
		return err
	}
	return c.check(env)
}

// said gives the flags that the command line names.
func said(f *pflag.FlagSet) map[string]string {
	m := map[string]string{}
	f.Visit(func(f *pflag.Flag) { m[f.Name] = f.Value.String() })
	return m
}

// makeKey says where a key comes from.
const makeKey = "'oz api-key create NAME --worker --no-expiration' makes a key"

// readKey takes the key from where it is: flag, variable, file of the flag or
// the variable, file of the configuration.
func (c *config) readKey(said map[string]string, env modelenv.Lookup) error {
	c.exposed = said["api-key"] != ""
	_, fileFlag := said["api-key-file"]
	switch {
	case c.exposed:
		c.key, c.keyFrom = executor.Sensitive(said["api-key"]), "--api-key"
	case !fileFlag && env(variables["api-key"]) != "":
		c.key, c.keyFrom = executor.Sensitive(env(variables["api-key"])), variables["api-key"]
	case c.APIKeyFile != "":
		c.keyFrom = c.APIKeyFile
		raw, err := os.ReadFile(c.APIKeyFile)
		if err != nil {
			return fmt.Errorf("api_key_file: %w; %s", err, makeKey)
		}
		if c.key = executor.Sensitive(strings.TrimSpace(string(raw))); c.key == "" {
			return fmt.Errorf("api_key_file: %s is empty; %s", c.APIKeyFile, makeKey)
		}
	default:
		return usageError{errors.New("a worker key or a team key is needed: set WARP_API_KEY, or name a file with --api-key-file; " + makeKey)}
	}
	if err := modelenv.CheckKey("the key", c.key.Reveal()); err != nil {
		return err
	}
	return nil
}

// home is the directory of this worker alone.
func (c *config) home() string { return filepath.Join(c.StateDir, c.WorkerID) }

// stateDir is the default of StateDir.
func stateDir(env modelenv.Lookup) (string, error) {
	if dir := env("STATE_DIRECTORY"); dir != "" { // systemd
		dir, _, _ = strings.Cut(dir, ":")
		return dir, nil
	}
	if os.Getuid() == 0 {
		return "/var/lib/oz-worker", nil
	}
	if dir := env("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "oz-worker"), nil
	}
	if home := env("HOME"); home != "" {
		return filepath.Join(home, ".local", "state", "oz-worker"), nil
	}
	return "", fmt.Errorf("state_dir: name a directory with --state-dir, since HOME is not set")
}

// capacity is what the worker takes at once.
func (c *config) capacity() int {
	switch {
	case c.oneShot:
		return 1
	case c.MaxConcurrentTasks <= 0:
		return oz.NoLimit
	}
	return c.MaxConcurrentTasks
}

// idleLimit is IdleOnComplete as oz.LocalWorkerOptions.IdleLimit has it.
func (c *config) idleLimit() time.Duration { return limitOf(c.IdleOnComplete) }

// failureLimit is IdleOnFail as oz.LocalWorkerOptions.FailureLimit has it.
func (c *config) failureLimit() time.Duration { return limitOf(c.IdleOnFail) }

// maxKept is MaxKeptWorkspaces as oz.LocalWorkerOptions.MaxKept has it.
func (c *config) maxKept() int {
	if c.MaxKeptWorkspaces == 0 {
		return oz.NoLimit
	}
	return c.MaxKeptWorkspaces
}

// minFreeDisk is MinFreeDiskGB as oz.LocalWorkerOptions.MinFreeDisk has it.
func (c *config) minFreeDisk() int64 {
	if c.MinFreeDiskGB == 0 {
		return -1
	}
	return int64(c.MinFreeDiskGB * (1 << 30))
}

// limitOf is a duration that was checked, where 0s is none and empty no limit.
func limitOf(s string) time.Duration {
	if s == "" {
		return 0
	}
	limit, _ := time.ParseDuration(s)
	if limit == 0 {
		return -1
	}
	return limit
}
