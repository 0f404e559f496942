package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/internal/modelenv"
	"github.com/oz-platform/cloudagents/internal/version"
)

const doctorHelp = `Look at this host and its configuration, and say what is missing for a worker
and how to mend it. Takes the worker's own flags, and changes nothing.

  ok     as it should be
  note   worth knowing; nothing that this back-end needs
  warn   agents will work, but less well
  FAIL   the worker, or its agents, will not work

The exit code is 0 when nothing has failed, and 1 otherwise.`

// The states of a finding.
const (
	stateOK   = "ok"
	stateNote = "note"
	stateWarn = "warn"
	stateFail = "fail"
)

// finding is what was found out about one thing.
type finding struct {
	Name   string `json:"name"`
	State  string `json:"state"` // ok, note, warn or fail
	Detail string `json:"detail"`
	Mend   string `json:"mend,omitempty"`
}

// checkTimeout bounds one check.
const checkTimeout = 15 * time.Second

func doctorCommand(signals <-chan os.Signal, env modelenv.Lookup, stdout io.Writer) *cobra.Command {
	var c config
	var format string
	cmd := &cobra.Command{
		Use: "doctor", Short: "Say what is missing on this host, and how to mend it", Long: doctorHelp,
		Example: "  oz-worker doctor --server https://oz.example.com --worker-id build-1\n  oz-worker doctor --output-format json",
		Args:    noArguments,
	}
	c.register(cmd.Flags())
	cmd.Flags().StringVar(&format, "output-format", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if format != "text" && format != "json" {
			return usageError{fmt.Errorf("--output-format: %q is neither text nor json", format)}
		}
		ctx, cancel := context.WithCancel(cmd.Context())
		defer cancel()
		go func() {
			select {
			case <-signals:
				cancel()
			case <-ctx.Done():
			}
		}()
		d := doctor{config: &c, env: env}
		d.examine(ctx, c.load(cmd.Flags(), env))
		if err := d.tell(stdout, format); err != nil {
			return err
		}
		if d.failed() {
			return errTold
		}
		return nil
	}
	return cmd
}

// doctor examines a host.
type doctor struct {
	config   *config
	env      modelenv.Lookup
	findings []finding
}

func (d *doctor) add(name, state, detail, mend string) {
	d.findings = append(d.findings, finding{name, state, detail, mend})
}

// processes says that agents are processes of this host.
func (d *doctor) processes() bool {
	return d.config.backend != backendCommand && d.config.backend != backendContainerd
}

// needed is a failure if a back-end needs the thing, and else a note.
func needed(yes bool) string {
	if yes {
		return stateFail
	}
	return stateNote
}

// examine looks at everything. What depends on a configuration that could not
// be read is looked at as far as it goes.
func (d *doctor) examine(ctx context.Context, bad error) {
	d.add("version", stateOK, "oz-worker "+version.String(), "")
	if bad != nil {
		d.add("configuration", stateFail, bad.Error(), "see oz-worker --help")
	} else {
		d.add("configuration", stateOK, fmt.Sprintf("worker %s, back-end %s", d.config.WorkerID, d.config.backend), "")
	}
	if d.config.StateDir == "" {
		d.config.StateDir, _ = stateDir(d.env)
	}
	d.server(ctx)
	d.directory()
	d.disk()
	d.kernel()
	d.git(ctx)
	d.containers(ctx)
	if bad == nil {
		d.commands(ctx)
	}
}

// directory finds out whether the worker can keep what it must.
func (d *doctor) directory() {
	dir := d.config.StateDir
	if dir == "" {
		return // the configuration's finding says so
	}
	mend := fmt.Sprintf("make it for the worker's user: install -d -m 0700 -o USER %s; or name another with --state-dir", dir)
	at := existing(dir)
	if at != dir {
		if err := writable(at); err != nil {
			d.add("state directory", stateFail, fmt.Sprintf("%s does not exist and cannot be made: %v", dir, err), mend)
			return
		}
		d.add("state directory", stateOK, dir+" will be made", "")
		return
	}
	if err := writable(dir); err != nil {
		d.add("state directory", stateFail, err.Error(), mend)
		return
	}
	d.add("state directory", stateOK, dir+" can be written", "")
}

// existing gives the nearest directory above path that exists, or path.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// writable makes a file and removes it.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".oz-worker-doctor-")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// wantedDisk is how much should be free, in bytes: less is worth a warning.
const wantedDisk = 5 << 30

// disk finds out how much room agents have.
func (d *doctor) disk() {
	places := []string{d.config.StateDir}
	if c := d.config.Backend.Direct; c != nil && c.WorkspaceRoot != "" {
		places = append(places, c.WorkspaceRoot)
	}
	for _, place := range places {
		if place == "" {
			continue
		}
		free, total, err := diskOf(existing(place))
		if err != nil {
			d.add("disk", stateNote, fmt.Sprintf("%s: %v", place, err), "")
			continue
		}
		state, mend := stateOK, ""
		switch {
		case free < leastDisk:
			state, mend = stateFail, "make room, or name a place on a larger disk"
		case free < wantedDisk:
			state, mend = stateWarn, "clones and builds need room: 5 GiB or more should be free"
		}
		d.add("disk", state, fmt.Sprintf("%s: %.1f of %.1f GiB are free", place, gib(free), gib(total)), mend)
	}
}

func gib(n uint64) float64 { return float64(n) / (1 << 30) }

// git finds out whether repositories can be cloned.
func (d *doctor) git(ctx context.Context) {
	out, err := output(ctx, "git", "--version")
	if err != nil {
		d.add("git", needed(d.processes()), "git does not run: "+err.Error(), "install it: apt-get install git, dnf install git, or apk add git")
		return
	}
	d.add("git", stateOK, out, "")
}

// containers looks for what the back-end containerd uses.
func (d *doctor) containers(ctx context.Context) {
	missing, cni, socket := needed(d.config.backend == backendContainerd), stateNote, "/run/containerd/containerd.sock"
	if c := d.config.Backend.Containerd; c != nil && d.config.backend == backendContainerd {
		socket, cni = cmp.Or(c.Containers.Address, socket), needed(c.Containers.Network == "bridge")
		d.ownContainers(c)
	}
	if out, err := output(ctx, "containerd", "--version"); err != nil {
		d.add("containerd", missing, "not installed", "for containers: apt-get install containerd runc containernetworking-plugins")
	} else if err := dialUnix(ctx, socket); err != nil {
		d.add("containerd", missing, fmt.Sprintf("%s, but it does not answer at %s: %v", out, socket, err), "systemctl enable --now containerd; or name its socket as backend.containerd.address")
	} else {
		d.add("containerd", stateOK, fmt.Sprintf("%s, at %s", out, socket), "")
	}
	if out, err := output(ctx, "runc", "--version"); err != nil {
		d.add("runc", missing, "not installed", "for containers: apt-get install runc")
	} else {
		first, _, _ := strings.Cut(out, "\n")
		d.add("runc", stateOK, first, "")
	}
	for _, dir := range []string{"/opt/cni/bin", "/usr/lib/cni"} {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			d.add("cni", stateOK, "plugins in "+dir, "")
			return
		}
	}
	d.add("cni", cni, "no network plugins in /opt/cni/bin or /usr/lib/cni", "for containers with a network of their own: apt-get install containernetworking-plugins")
}

// ownContainers looks at what a worker with containers must be itself.
func (d *doctor) ownContainers(c *containerdConfig) {
	if os.Geteuid() != 0 {
		d.add("user", stateFail, "containers need a worker that runs as root", "run it as root; its agents are ordinary users in their containers")
	} else {
		d.add("user", stateOK, "root", "")
	}
	if err := c.Containers.CheckRunner(); err != nil {
		d.add("runner", stateFail, err.Error(), "CGO_ENABLED=0 go install ./cmd/oz-worker; or name a static build as backend.containerd.runner")
	} else {
		d.add("runner", stateOK, "can be mounted into any image", "")
	}
}

// commands parses the operator's shell commands without running them, and
// starts the program that was named for agents.
func (d *doctor) commands(ctx context.Context) {
	named := map[string]string{}
	switch b := d.config.Backend; d.config.backend {
	case backendDirect:
		named["setup_command"], named["teardown_command"] = b.Direct.SetupCommand, b.Direct.TeardownCommand
		if path := b.Direct.OzPath; path != "" {
			if out, err := output(ctx, path, "--version"); err != nil {
				d.add("oz_path", stateFail, fmt.Sprintf("%s does not run: %v", path, err), "leave it out: this program is its own agent runner")
			} else {
				d.add("oz_path", stateOK, out, "")
			}
		}
	case backendCommand:
		named["dispatch_command"], named["cancel_command"] = b.Command.DispatchCommand, b.Command.CancelCommand
		if b.Command.CancelCommand == "" {
			d.add("cancel_command", stateWarn, "there is none: a cancelled run goes on until its agent's next report is refused", "name a command that stops what the dispatch command has started")
		}
	}
	for _, key := range []string{"setup_command", "teardown_command", "dispatch_command", "cancel_command"} {
		text := named[key]
		if text == "" {
			continue
		}
		if out, err := output(ctx, "/bin/sh", "-n", "-c", text); err != nil {
			d.add(key, stateFail, strings.TrimSpace(fmt.Sprintf("/bin/sh cannot read it: %v %s", err, out)), "mend its syntax")
		} else {
			d.add(key, stateOK, "/bin/sh can read it", "")
		}
	}
}

// output runs a program for what it prints.
func output(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (d *doctor) failed() bool {
	for _, f := range d.findings {
		if f.State == stateFail {
			return true
		}
	}
	return false
}

// tell shows the findings.
func (d *doctor) tell(w io.Writer, format string) error {
	if format == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(map[string]any{"ok": !d.failed(), "checks": d.findings})
	}
	for _, f := range d.findings {
		state := f.State
		if state == stateFail {
			state = "FAIL"
		}
		if _, err := fmt.Fprintf(w, "%-5s %-16s %s\n", state, f.Name, strings.ReplaceAll(f.Detail, "\n", "\n                       ")); err != nil {
			return err
		}
		if f.Mend != "" {
			fmt.Fprintf(w, "                       -> %s\n", f.Mend)
		}
	}
	return nil
}
