package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"

	"github.com/oz-platform/cloudagents/internal/servertest"
)

// anonymous replaces what a server makes up anew each time.
func anonymous(s string, ids map[string]string) string {
	for id, with := range ids {
		s = strings.ReplaceAll(s, id, with)
	}
	for _, r := range []struct{ pattern, with string }{
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`, "INSTANT"},
		{`"(run_time|run_time_ms|duration_ms)": ?("[^"]*"|\d+)`, `"$1": SPAN`},
		{`\b\d+(s|m\d+s) *\n`, "SPAN\n"},
		{`\d+ tokens.*`, "N tokens"},
		{`"suffix": ?"[^"]*"`, `"suffix": "SUFFIX"`},
		{`wk-\*\*\S+`, "wk-**SUFFIX"},
		{`127\.0\.0\.1:\d+`, "HOST"},
	} {
		s = regexp.MustCompile(r.pattern).ReplaceAllString(s, r.with)
	}
	return steady(s)
}

// TestFormats holds every format of commands that stand for all.
func TestFormats(t *testing.T) {
	d := newDesk(t)
	env := d.object("environment", "create", "-n", "api", "-r", "acme/api", "-c", "go mod download", "--description", "ours")["uid"].(string)
	d.ok("secret", "create", "NPM_TOKEN", "--team", "-f", d.file("v", "a-long-value-99120"))
	key := strings.TrimSpace(d.ok("api-key", "create", "ci", "--no-expiration", "--jq", ".uid"))
	sched := d.object("schedule", "create", "--name", "nightly", "--cron", "0 3 * * *", "-p", "greet me", "--no-environment")["id"].(string)
	d.ok("schedule", "pause", sched)
	ids := map[string]string{env: "ENV", key: "KEY", sched: "SCHEDULE"}
	for i, uid := range strings.Fields(d.ok("api-key", "list", "--jq", ".keys[].uid")) {
		if _, known := ids[uid]; !known {
			ids[uid] = fmt.Sprintf("KEY%d", i)
		}
	}
	var out strings.Builder
	for _, args := range []string{"environment list", "environment get " + env, "secret list", "api-key list", "schedule list", "schedule get " + sched,
		"model list", "whoami", "run list", "mcp list", "environment image list"} {
		for _, format := range []string{"pretty", "text", "json", "ndjson"} {
			text := d.ok(append(strings.Fields(args), "--output-format", format)...)
			if format == "ndjson" {
				for line := range strings.Lines(text) {
					assert.Assert(t, json.Valid([]byte(line)), "%s: %s", args, line)
				}
			}
			assert.Assert(t, !strings.Contains(text, "\x1b"), "%s in %s steers the terminal", args, format)
			out.WriteString("=== oz " + anonymous(args, ids) + " --output-format " + format + "\n" + anonymous(text, ids))
		}
	}
	// Of a run that has ended, the forms for people: the others are the API's.
	run := d.object("agent", "run-cloud", "-p", "greet me", "--no-environment", "-n", "greeter")["run_id"].(string)
	d.ok("run", "follow", run)
	for _, args := range []string{"run list", "run get " + run} {
		for _, format := range []string{"pretty", "text"} {
			text := d.ok(append(strings.Fields(args), "--output-format", format)...)
			out.WriteString("=== oz " + anonymous(args, ids) + " --output-format " + format + "\n" + anonymous(text, ids))
		}
	}
	golden.Assert(t, out.String(), "formats.golden")
}

// TestEveryListIsJSON: whatever lists or shows something takes --jq, and its
// JSON is read by jq itself where there is one.
func TestEveryListIsJSON(t *testing.T) {
	d := newDesk(t)
	run := d.object("agent", "run-cloud", "-p", "greet me")["run_id"].(string)
	d.ok("run", "follow", run)
	jq, err := exec.LookPath("jq")
	if err != nil {
		t.Log("jq is not installed: the JSON is read by this program alone")
	}
	lists := 0
	for _, cmd := range everyCommand(tree()) {
		if cmd.Name() != "list" && cmd.Name() != "get" {
			continue
		}
		assert.Check(t, cmd.Flags().Lookup("jq") != nil, "%s has no --jq", cmd.CommandPath())
		args := strings.Fields(cmd.CommandPath())[1:]
		switch cmd.CommandPath() {
		case "oz run get", "oz run conversation get", "oz run message list", "oz run link list", "oz run edit list":
			args = append(args, run)
		case "oz team get":
			args = append(args, "default")
		case "oz memory list":
			args = append(args, d.object("memory-store", "create", "--name", "facts")["uid"].(string))
		default:
			if cmd.Name() == "get" {
				continue // nothing of it is there
			}
		}
		lists++
		text := d.ok(append(args, "--output-format", "json")...)
		assert.Assert(t, json.Valid([]byte(text)), "%v: %s", args, text)
		assert.Equal(t, d.ok(append(args, "--jq", `"a" + "b"`)...), "ab\n")
		if jq != "" {
			c := exec.CommandContext(t.Context(), jq, ".")
			c.Stdin = strings.NewReader(text)
			out, err := c.CombinedOutput()
			assert.NilError(t, err, "%v: %s", args, out)
		}
		d.fails(exitUsage, "not a jq filter", append(args, "--jq", ".[")...)
	}
	assert.Assert(t, lists > 15, "only %d", lists)
}

// TestGlobals: flags before and after the command, and the environment for both.
func TestGlobals(t *testing.T) {
	d := newDesk(t)
	assert.Equal(t, d.ok("--output-format", "json", "whoami"), d.ok("whoami", "--output-format", "json"))
	cmd := d.command("whoami")
	cmd.Env = append(cmd.Env, "WARP_OUTPUT_FORMAT=ndjson")
	r := finish(t, cmd)
	assert.Equal(t, strings.Count(r.out, "\n"), 1, r.out)
	cmd = d.command("whoami", "--output-format", "pretty")
	cmd.Env = append(cmd.Env, "WARP_OUTPUT_FORMAT=xml") // the flag wins
	assert.Equal(t, finish(t, cmd).code, 0)
	cmd = d.command("whoami", "--api-key", "wrong") // here too
	assert.Equal(t, finish(t, cmd).code, exitFailure)
	d.ok("whoami", "--ws-server-url", "ws://x", "--session-sharing-server-url", "http://x")
	r = d.oz("run", "list", "--debug")
	has(t, r.err, "debug: GET /api/v1/agent/runs: 200")
	for _, text := range []string{r.out, r.err, d.ok("dump-debug-info"), d.ok("--help"), d.ok("agent", "run", "--help")} {
		assert.Assert(t, !strings.Contains(text, servertest.APIKey), "the key is shown")
	}
	assert.Equal(t, d.ok("task", "list"), d.ok("run", "list")) // task is another name of run
}
