package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/servertest"
)

// bin holds the binaries oz and ozd.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "oz-test-")
		if err == nil {
			defer os.RemoveAll(dir)
			bin = dir
			err = servertest.Build(dir, "oz", "ozd")
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// desk is a person at a terminal with a server.
type desk struct {
	t       *testing.T
	server  *servertest.Server
	release string // the file that ends a run told to wait
	dir     string // where commands are run
}

// newDesk starts a server; settings are added to its configuration.
func newDesk(t *testing.T, settings ...string) *desk {
	t.Helper()
	release := filepath.Join(t.TempDir(), "release")
	d := &desk{t: t, release: release, dir: t.TempDir(), server: servertest.New(t, filepath.Join(bin, "ozd"), servertest.Talker(release))}
	d.configure(settings...)
	d.server.Start()
	return d
}

// configure adds settings to the server's configuration.
func (d *desk) configure(settings ...string) {
	d.t.Helper()
	f, err := os.OpenFile(filepath.Join(d.server.Dir, "ozd.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	assert.NilError(d.t, err)
	_, err = f.WriteString(strings.Join(settings, ""))
	assert.NilError(d.t, errors.Join(err, f.Close()))
}

// command prepares oz with the server's address and key in the environment.
func (d *desk) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(d.t.Context(), filepath.Join(bin, "oz"), args...)
	cmd.Dir = d.dir
	cmd.Env = servertest.Environ("HOME="+d.dir, "TZ=UTC", "WARP_SERVER_ROOT_URL="+d.server.URL, "WARP_API_KEY="+servertest.APIKey)
	return cmd
}

// result is what a command left.
type result struct {
	code     int
	out, err string
}

func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

func (d *desk) oz(args ...string) result {
	d.t.Helper()
	return finish(d.t, d.command(args...))
}

// ok runs a command that must succeed and gives its output.
func (d *desk) ok(args ...string) string {
	d.t.Helper()
	r := d.oz(args...)
	assert.Equal(d.t, r.code, 0, "oz %v: %s%s", args, r.out, r.err)
	return r.out
}

// object runs a command that prints one JSON object.
func (d *desk) object(args ...string) map[string]any {
	d.t.Helper()
	var o map[string]any
	assert.NilError(d.t, json.Unmarshal([]byte(d.ok(append(args, "--output-format", "json")...)), &o))
	return o
}

// fails runs a command that must fail with a message.
func (d *desk) fails(code int, message string, args ...string) {
	d.t.Helper()
	r := d.oz(args...)
	assert.Equal(d.t, r.code, code, "oz %v: %s%s", args, r.out, r.err)
	assert.Assert(d.t, strings.Contains(r.err, message), "oz %v: %s", args, r.err)
}

// steady replaces what differs from run to run.
func steady(s string) string {
	for pattern, with := range map[string]string{
		`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`: "RUN",
		`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`:                                "TIME",
		`\b[\d.]+(ms|µs|s)\b`:                                           "SPAN",
		` \(isolation: .*\)`:                                            "", // by what this host can do
	} {
		s = regexp.MustCompile(pattern).ReplaceAllString(s, with)
	}
	return s
}

// TestMistakes are found before anything is asked of a server: exit code 2, the
// rule, and where to read on.
func TestMistakes(t *testing.T) {
	d := &desk{t: t, dir: t.TempDir(), server: &servertest.Server{URL: "http://127.0.0.1:1"}}
	config := filepath.Join(d.dir, "run.yaml")
	assert.NilError(t, os.WriteFile(config, []byte("name: x\nmodle_id: m\n"), 0o600))
	big := filepath.Join(d.dir, "big")
	f, err := os.Create(big)
	assert.NilError(t, err)
	assert.NilError(t, errors.Join(f.Truncate(maxAttachmentBytes+1), f.Close()))
	for _, tt := range []struct{ want, args string }{
		{`unknown command or argument "shedule" for "oz"; did you mean schedule?`, "shedule"},
		{"See 'oz run --help'", "run frobnicate"},
		{"unknown flag: --frobnicate", "whoami --frobnicate"},
		{"exactly one run id is needed\nSee 'oz run get --help'", "run get"},
		{"exactly one run id is needed", "run follow a b"},
		{`"xml" is none of pretty, text, json, ndjson`, "whoami --output-format xml"},
		{"--server-root-url: must be an http or https URL", "whoami --server-root-url nowhere"},
		{"--server-root-url: must be an http or https URL without credentials", "dump-debug-info --server-root-url http://ann:secret@example.com"},
		{"--prompt, --saved-prompt or --skill is needed", "agent run-cloud"},
		{"--prompt, --saved-prompt or --skill is needed", "agent run"},
		{"--environment and --no-environment exclude each other", "agent run-cloud -p x -e e --no-environment"},
		{"--team and --personal exclude each other", "agent run-cloud -p x --team --personal"},
		{"--attach: stat /nonexistent", "agent run-cloud -p x --attach /nonexistent"},
		{"at most 10485760 are allowed", "agent run-cloud -p x --attach " + big},
		{"6 files, at most 5 are allowed", "agent run-cloud -p x" + strings.Repeat(" --attach "+big, 6)},
		{`[2:1] unknown field "modle_id"`, "agent run-cloud -p x -f " + config},
		{"--file: open /nonexistent", "agent run -p x -f /nonexistent"},
		{"--cwd: /nonexistent is not a directory", "agent run -p x -C /nonexistent"},
		{"--task-id excludes --prompt", "agent run --task-id t -p x"},
		{`--state: "BOGUS" is no state`, "run list --state bogus"},
		{"--limit: must be at least 1", "run list --limit 0"},
		{"--limit: must be 1 to 500", "run list --limit 501"},
		{`--sort-order: "up" is neither asc nor desc`, "run list --sort-order up"},
		{"--created-after: \"yesterday\" is not a time", "run list --created-after yesterday"},
		{"--cursor: is not a cursor", "run list --cursor x"},
		{"--message is needed", "run steer r"},
		{"--with public and --visibility exclude each other", "run share r --with public --visibility team"},
		{"name: is required", "environment create"},
		{`--repo: "just-a-name" is neither owner/repo nor a URL`, "environment create -n n -r just-a-name"},
		{"at most 240 are allowed", "environment create -n n -r o/r --description " + strings.Repeat("d", 241)},
		{"exactly one of --expires-in, --expires-at and --no-expiration", "api-key create ci"},
		{"--expires-in must be positive", "api-key create ci --expires-in -1h"},
		{"is not a future time", "api-key create ci --expires-at 2020-01-01T00:00:00Z"},
		{"--value, --value-file or --description is needed", "secret update S"},
		{"--value-file: open /nonexistent", "secret create S -f /nonexistent"},
		{"the value is empty", "secret create S"},
		{`shell: "tcsh" is none of`, "completions tcsh"},
		{"there is no completion for elvish", "completions elvish"},
		{"--prompt and --saved-prompt exclude each other", "agent run-cloud --prompt x --saved-prompt y"},
		{"--computer-use and --no-computer-use exclude each other", "agent run-cloud -p x --computer-use --no-computer-use"},
		{"--claude-auth-secret: is for --harness claude only", "agent run-cloud -p x --claude-auth-secret s"},
		{"--codex-auth-secret: is for --harness codex only", "agent run-cloud -p x --codex-auth-secret s --harness claude"},
		{`--harness: "emacs" is none of oz, claude, codex, opencode, gemini`, "agent run -p x --harness emacs"},
		{`--share: "bob" is none of team, public and an e-mail address`, "agent run -p x --share bob"},
		{`--share: "team:own": "own" is neither view nor edit`, "agent run -p x --share team:own"},
		{`--mcp: server "a": needs exactly one of warp_id, command and url`, `agent run -p x --mcp {"a":{"url":"http://x","command":"y"}}`},
		{"--mcp: open /nonexistent", "agent run-cloud -p x --mcp /nonexistent"},
		{"--skip-initial-turn needs --task-id and --idle-on-complete", "agent run -p x --skip-initial-turn"},
		{"--bedrock-inference-role and --bedrock-role-region are needed together", "agent run -p x --bedrock-inference-role arn"},
		{"--repository-head-override-json: code_forge", `agent run -p x --repository-head-override-json {}`},
		{`--mcp-server: "x" is no uuid`, "agent run -p x --mcp-server x"},
		{"--name is needed", "agent create"},
		{"name something to change", "agent update UID"},
		{"--add-secret and --remove-all-secrets exclude each other", "agent update UID --remove-all-secrets --add-secret x"},
		{"--environment and --remove-environment exclude each other", "agent update UID -e x --remove-environment"},
		{`--sort-by: "size" is none of name, created-at`, "agent list --sort-by size"},
		{`--sort-order: "up" is neither asc nor desc`, "api-key list --sort-order up"},
		{"--name and --cron are needed", "schedule create -p x"},
		{"--name and --cron are needed", "schedule --name x"},
		{"--prompt, --saved-prompt or --skill is needed", "schedule create --name x --cron y"},
		{"name something to change", "schedule update ID"},
		{"--environment and --no-environment exclude each other", "schedule create --name n --cron c -p x -e e --no-environment"},
		{"--to is needed", "run message send --subject s --body b --sender-run-id r"},
		{"--sender-run-id is needed", "run message send --to t --subject s --body b"},
		{"--limit: must be at least 1", "run message list r --limit 0"},
		{"--since: \"noon\" is not a time", "run message list r --since noon"},
		{"--since-sequence: must be at least 0", "run message watch r --since-sequence -1"},
		{`--visibility: "all" is none of private, team, link`, "run share r --visibility all"},
		{`--share: "bob" is none of`, "run share r --with bob"},
		{"--run-id and --conversation-id exclude each other", "artifact upload x --run-id a --conversation-id b"},
		{`--type: "pin" is none of raw-value`, "secret create S --type pin"},
		{"--base-url: must be an http or https URL", "secret create codex api-key S --base-url nowhere"},
		{"--team and --agent exclude each other", "api-key create k --team --agent a --no-expiration"},
		{"--after: must be at least 0", "audit list --after -1"},
		{"--limit: must be 1 to 1000", "audit list -L 1001"},
		{`--head: "x" is not SEQ:HASH`, "audit verify --head x"},
		{`--group-by: "moon" is none of total, day`, "usage --group-by moon"},
		{"--after: \"noon\" is not a time", "usage --after noon"},
		{"exactly one of --user and --team is needed", "budget set --usd 1"},
		{"--usd or --tokens is needed", "budget set --user u"},
		{`--period: "week" is none of day, month, total`, "budget set --user u --usd 1 --period week"},
		{"exactly one of --email and --user is needed", "team add t"},
		{`the role: "boss" is none of owner, admin, member`, "team role t u boss"},
		{"exactly these arguments are needed: team uid, name", "team rename t"},
		{"--name and --config are needed", "mcp create -n x"},
		{"--config: names 2 servers", `mcp create -n x --config {"a":{"url":"http://x"},"b":{"url":"http://y"}}`},
		{"--name and one of --prompt and --file are needed", "prompt create -n x"},
		{"--prompt and --file exclude each other", "prompt create -n x -p y -f z"},
		{"--vcpus and --memory-gb are needed together", "runner create -n x --vcpus 2"},
		{`--arch: "vax" is none of auto, x86-64, aarch64`, "runner create -n x --arch vax"},
		{"--macos-version: is for --os macos only", "runner create -n x --macos-version 15"},
		{"--description: has 241 characters, at most 240", "runner create -n x -d " + strings.Repeat("d", 241)},
		{"--description: has 241 characters, at most 240", "environment update e --description " + strings.Repeat("d", 241)},
		{"a runner uid or --name is needed", "runner update --vcpus 2"},
		{"not a jq filter", "whoami --jq .["},
		{"--key-file: is for --with-key", "login --key-file x"},
		{"Known keys: name, environment_id, runner_id, model_id", "agent run-cloud -p x -f " + config},
	} {
		t.Run(tt.args[:min(len(tt.args), 40)], func(t *testing.T) {
			t.Parallel()
			d := *d
			d.t = t
			d.fails(exitUsage, tt.want, strings.Fields(tt.args)...)
		})
	}
}

// TestNotAvailable: what the Oz command line has and nothing here can do is
// refused, and never ignored.
func TestNotAvailable(t *testing.T) {
	d := newDesk(t)
	for args, want := range map[string]string{
		"agent run -p x --gui":                                   "--gui is not available here yet",
		"agent run -p x --remove-repository-origins":             "--remove-repository-origins is not available here yet",
		"agent run -p x --configure-git-credentials-with-github": "is not available here yet",
		"agent run-cloud -p x --no-snapshot":                     "--no-snapshot is not available here yet",
	} {
		d.fails(exitFailure, want, strings.Fields(args)...)
	}
	// What only saves time is taken.
	d.ok("agent", "run", "-p", "greet me", "--sandboxed", "--idle-on-complete", "5m", "--idle-on-fail", "--no-snapshot", "--strict-mcp-startup", "--mcp-startup-timeout", "5s")
}

// TestUnreachable: no command waits for a server that is not there.
func TestUnreachable(t *testing.T) {
	d := &desk{t: t, dir: t.TempDir(), server: &servertest.Server{URL: "http://" + servertest.FreeAddress(t)}}
	for _, args := range []string{"whoami", "run follow 01a21412-22a1-7a12-9598-7c0f2a0ef0f6"} {
		d.fails(exitFailure, "Is the server running?", strings.Fields(args)...)
	}
	cmd := d.command("whoami")
	cmd.Env = servertest.Environ()
	r := finish(t, cmd)
	assert.Equal(t, r.code, exitFailure)
	assert.Assert(t, strings.Contains(r.err, "--api-key, or set WARP_API_KEY"), r.err)
}

func TestHelpAndCompletion(t *testing.T) {
	d := &desk{t: t, dir: t.TempDir(), server: &servertest.Server{URL: "http://127.0.0.1:1"}}
	help := d.ok("--help")
	for _, word := range []string{"agent", "run", "environment", "secret", "api-key", "model", "whoami", "completions", "Exit codes:", "WARP_API_KEY"} {
		assert.Assert(t, strings.Contains(help, word), word)
	}
	assert.Assert(t, !strings.Contains(help, servertest.APIKey), "the help shows the key")
	assert.Equal(t, d.ok("-V"), d.ok("--version"))
	assert.Equal(t, d.ok("help", "run", "list"), d.ok("run", "list", "--help"))
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		assert.Assert(t, strings.Contains(d.ok("completions", shell), "oz"), shell)
	}
	cmd := d.command("completions")
	cmd.Env = append(cmd.Env, "SHELL=/usr/bin/bash")
	assert.Equal(t, finish(t, cmd).out, d.ok("completions", "bash"))

	// The script really completes.
	script := filepath.Join(d.dir, "oz.bash")
	assert.NilError(t, os.WriteFile(script, []byte(d.ok("completions", "bash")), 0o600))
	assert.Assert(t, strings.Contains(d.ok("__complete", "run", "fol"), "follow\tShow a run's transcript live"), "oz __complete")
	out, err := exec.CommandContext(t.Context(), "bash", "-n", script).CombinedOutput()
	assert.NilError(t, err, "%s", out)
}

// await polls a condition that another process makes true.
func await(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(servertest.Patience); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never happened: " + what)
		}
	}
}

// background starts a command and gives its output so far, and a function that
// waits for its end.
func (d *desk) background(args ...string) (cmd *exec.Cmd, out *servertest.Buffer, wait func() int) {
	d.t.Helper()
	cmd, out = d.command(args...), &servertest.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	assert.NilError(d.t, cmd.Start())
	return cmd, out, func() int { _ = cmd.Wait(); return cmd.ProcessState.ExitCode() }
}

func (d *desk) letGo() {
	d.t.Helper()
	assert.NilError(d.t, os.WriteFile(d.release, nil, 0o600))
}

// TestFollowOutlivesTheServer: a restart in the middle is said, nothing is
// missed or shown twice, and the exit code is the run's.
func TestFollowOutlivesTheServer(t *testing.T) {
	d := newDesk(t)
	id := d.object("agent", "run-cloud", "-p", "wait for it")["run_id"].(string)
	_, out, wait := d.background("run", "follow", id)
	await(t, "the agent at work", func() bool { return strings.Contains(out.String(), "  waiting\n") })
	d.server.Kill()
	await(t, "the notice of the loss", func() bool { return strings.Contains(out.String(), "does not answer; trying again") })
	d.letGo()
	d.server.Start()
	assert.Equal(t, wait(), 0, out.String())
	for _, once := range []string{"  waiting\n", "  released\n", "the server is back", "■ SUCCEEDED", "▸ agent", "does not answer"} {
		assert.Equal(t, strings.Count(out.String(), once), 1, "%q in\n%s", once, out)
	}
}

// TestInterrupt: it ends the watching of a run there, and the run here.
func TestInterrupt(t *testing.T) {
	d := newDesk(t)
	id := d.object("agent", "run-cloud", "-p", "wait for it")["run_id"].(string)
	follow, out, wait := d.background("run", "follow", id)
	await(t, "the agent at work", func() bool { return strings.Contains(out.String(), "  waiting\n") })
	assert.NilError(t, follow.Process.Signal(syscall.SIGINT))
	assert.Equal(t, wait(), exitInterrupted)
	assert.Assert(t, strings.Contains(out.String(), "The run goes on. Stop it with 'oz run cancel "+id+"'."), out)
	assert.Equal(t, d.object("run", "get", id)["state"], "INPROGRESS")
	assert.Equal(t, d.ok("run", "cancel", id), "Run "+id+" is cancelled.\n")
	assert.Equal(t, d.object("run", "get", id)["state"], "CANCELLED")
	d.fails(exitFailure, "it is CANCELLED", "run", "cancel", id)
	d.fails(exitFailure, "is CANCELLED", "run", "follow", id)

	here, out, wait := d.background("agent", "run", "-p", "wait for it")
	await(t, "the agent at work here", func() bool { return strings.Contains(out.String(), "  waiting\n") })
	assert.NilError(t, here.Process.Signal(syscall.SIGINT))
	assert.Equal(t, wait(), exitInterrupted, out.String())
	assert.Assert(t, strings.Contains(out.String(), "■ CANCELLED"), out)
}
