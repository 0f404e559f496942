package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/servertest"
)

// has asks for every text in what a command printed.
func has(t *testing.T, out string, texts ...string) {
	t.Helper()
	for _, s := range texts {
		assert.Assert(t, strings.Contains(out, s), "%q in\n%s", s, out)
	}
}

// piped runs a command with text on its standard input.
func (d *desk) piped(in string, args ...string) result {
	d.t.Helper()
	cmd := d.command(args...)
	cmd.Stdin = strings.NewReader(in)
	return finish(d.t, cmd)
}

// file makes one in the desk's directory.
func (d *desk) file(name, content string) string {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	assert.NilError(d.t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestSchedules(t *testing.T) {
	d := newDesk(t)
	has(t, d.ok("schedule", "list"), "No schedules. Make one with")
	made := d.object("schedule", "create", "--name", "nightly", "--cron", "0 3 * * *", "-p", "greet me", "--no-environment", "--time-zone", "Europe/Berlin")
	id := made["id"].(string)
	// The short form does the same.
	short := d.object("schedule", "--name", "second", "--cron", "0 4 * * 1", "-p", "greet me", "--model", servertest.Model)
	assert.Equal(t, short["cron_schedule"], "0 4 * * 1")
	for _, o := range []map[string]any{made, short} {
		assert.Equal(t, o["prompt"], "greet me")
		assert.Equal(t, o["enabled"], true)
	}
	assert.Equal(t, d.ok("schedule", "list", "--jq", ".schedules[].name"), "nightly\nsecond\n")
	has(t, d.ok("schedule", "get", id), "Cron      0 3 * * * (Europe/Berlin)\n", "State     enabled\n", "Prompt    greet me\n")

	d.ok("schedule", "update", id, "--cron", "0 5 * * *", "--model", servertest.Model)
	now := d.object("schedule", "get", id)
	assert.Equal(t, now["cron_schedule"], "0 5 * * *")
	assert.Equal(t, now["prompt"], "greet me")
	has(t, d.ok("schedule", "get", id), "Model     "+servertest.Model+"\n")

	has(t, d.ok("schedule", "pause", id), "The schedule is paused.\n", "State     paused\n")
	has(t, d.ok("schedule", "resume", id), "State     enabled\n") // another name of unpause
	has(t, d.ok("schedule", "unpause", id), "State     enabled\n")
	run := d.ok("schedule", "run", id, "--jq", ".run_id")
	d.ok("run", "follow", strings.TrimSpace(run))
	assert.Equal(t, d.ok("run", "list", "--schedule", id, "--jq", ".runs[].run_id"), run)
	has(t, d.ok("schedule", "get", id), strings.TrimSpace(run)+"  SUCCEEDED")
	assert.Equal(t, d.ok("schedule", "history", id), "Nothing was due yet.\n") // a run by hand is no due moment

	d.fails(exitUsage, "--force deletes without asking", "schedule", "delete", id)
	assert.Equal(t, d.ok("schedule", "delete", id, "--force"), "The schedule "+id+" is deleted.\n")
	d.fails(exitFailure, "does not exist", "schedule", "get", id)
	d.fails(exitFailure, "cron", "schedule", "create", "--name", "x", "--cron", "not a cron", "-p", "x")
}

func TestAgentIdentities(t *testing.T) {
	d := newDesk(t)
	d.ok("secret", "create", "TRACKER_TOKEN", "--team", "-f", d.file("token", "a-long-token-5523-xyz"))
	a := d.object("agent", "create", "-n", "triage", "--prompt", "Label issues.", "--description", "labels", "--secret", "TRACKER_TOKEN")
	uid := a["uid"].(string)
	d.ok("agent", "create", "-n", "alpha")
	assert.Equal(t, d.ok("agent", "list", "--jq", ".agents[].name"), "Default agent\nalpha\ntriage\n")
	assert.Equal(t, d.ok("agent", "list", "--sort-by", "created-at", "--jq", ".agents[].name"), "Default agent\ntriage\nalpha\n")
	assert.Equal(t, d.ok("agent", "list", "--sort-order", "desc", "--jq", ".agents[].name"), "triage\nalpha\nDefault agent\n")
	d.ok("secret", "create", "OTHER_TOKEN", "--team", "-f", d.file("token", "a-long-token-5524-xyz"))
	d.ok("agent", "update", uid, "--remove-description", "--remove-secret", "TRACKER_TOKEN", "--add-secret", "OTHER_TOKEN")
	assert.Equal(t, d.ok("agent", "get", uid, "--jq", `.prompt, (.description // ""), .secrets[].name`), "Label issues.\n\nOTHER_TOKEN\n")
	d.ok("agent", "update", uid, "--remove-all-secrets", "--remove-all-skills", "--name", "sorter")
	assert.Equal(t, d.ok("agent", "get", uid, "--jq", ".name, (.secrets // [] | length)"), "sorter\n0\n")

	run := d.object("agent", "run-cloud", "-p", "greet me", "--agent", uid)["run_id"].(string)
	d.ok("run", "follow", run)
	assert.Equal(t, d.ok("run", "get", run, "--jq", ".executor.uid"), uid+"\n")
	d.ok("agent", "delete", uid, "--force")
	d.fails(exitFailure, "does not exist", "agent", "get", uid)
	has(t, d.ok("agent", "skills"), "fix-failing-test", "oz/bundled:fix-failing-test/SKILL.md", "yes")
}

func TestRegistry(t *testing.T) {
	d := newDesk(t)
	p := d.object("prompt", "create", "-n", "hello", "-f", d.file("hello.md", "greet me"))
	prompt := p["uid"].(string)
	has(t, d.ok("prompt", "get", prompt), "Name     hello\n", "\n\ngreet me\n")
	// The stored text runs, by its id or its link; the change reaches the next run only.
	first := d.object("agent", "run-cloud", "--saved-prompt", "https://oz.example.com/prompts/"+prompt)["run_id"].(string)
	d.ok("run", "follow", first)
	d.ok("prompt", "update", prompt, "-p", "greet me again")
	second := d.object("agent", "run-cloud", "--saved-prompt", prompt)["run_id"].(string)
	d.ok("run", "follow", second)
	assert.Equal(t, d.ok("run", "get", first, "--jq", ".prompt, .agent_config.name"), "greet me\nhello\n")
	assert.Equal(t, d.ok("run", "get", second, "--jq", ".prompt"), "greet me again\n")
	d.fails(exitFailure, "--saved-prompt: ", "agent", "run-cloud", "--saved-prompt", "nope")
	// What is kept for later refers to it.
	nightly := d.object("schedule", "create", "--name", "greetings", "--cron", "0 3 * * *", "--saved-prompt", prompt)["id"].(string)
	greeter := d.object("agent", "create", "--name", "greeter", "--saved-prompt", "https://oz.example.com/prompts/"+prompt+"/")["uid"].(string)
	d.ok("schedule", "update", nightly, "--prompt", "something else")
	d.ok("schedule", "update", nightly, "--saved-prompt", prompt)
	d.ok("agent", "update", greeter, "--saved-prompt", prompt)
	assert.Equal(t, d.ok("schedule", "get", nightly, "--jq", ".prompt"), "<prompt:"+prompt+">\n")
	assert.Equal(t, d.ok("agent", "get", greeter, "--jq", ".prompt"), "<prompt:"+prompt+">\n")
	d.fails(exitFailure, "refers to nothing", "schedule", "create", "--name", "x", "--cron", "0 3 * * *", "--saved-prompt", "nope")
	d.fails(exitFailure, "refers to nothing", "agent", "create", "--name", "x", "--saved-prompt", "nope")
	d.fails(exitUsage, "exclude each other", "agent", "update", greeter, "--saved-prompt", prompt, "--remove-prompt")
	d.fails(exitUsage, "no id of a saved prompt", "agent", "update", greeter, "--saved-prompt", "a b")
	d.fails(exitFailure, "refers to nothing", "agent", "run-cloud", "-p", "See <rule:nope>")
	d.ok("prompt", "delete", prompt, "--force")

	has(t, d.ok("agent", "profile", "list"), "NAME", "ID", "Default", "default", "CLI", "cli")
	careful := d.object("agent", "profile", "create", "-n", "careful", "--level", "execute-commands=always_ask", "--allow-command", "go test.*", "--deny-command", "git push.*")["uid"].(string)
	d.ok("agent", "profile", "update", careful, "--deny-tool", "mcp__.*", "-d", "for tests")
	has(t, d.ok("agent", "profile", "get", careful), "command_allowlist: go test.*; command_denylist: git push.*; execute_commands: always_ask; tool_denylist: mcp__.*")
	d.ok("agent", "profile", "update", careful, "--deny-command", "")
	d.ok("agent", "profile", "update", careful, "-d", "still none")
	assert.Equal(t, d.ok("agent", "profile", "get", careful, "--jq", ".permissions.command_denylist"), "[]\n")
	d.fails(exitUsage, "--deny-command[0]: is no regular expression", "agent", "profile", "create", "-n", "x", "--deny-command", "(")
	d.fails(exitUsage, `"fly" is none of apply_diffs`, "agent", "profile", "create", "-n", "x", "--level", "fly=never")
	d.fails(exitFailure, "permissions.read_files", "agent", "profile", "create", "-n", "x", "--level", "read_files=maybe")
	d.fails(exitFailure, "built in", "agent", "profile", "delete", "default", "--force")
	d.fails(exitFailure, `no agent profile "nope"`, "agent", "run", "-p", "greet me", "--profile", "nope")
	d.ok("agent", "profile", "delete", careful, "--force")

	rule := d.object("rule", "create", "-n", "style", "-f", d.file("style.md", "Write plain English."))["uid"].(string)
	d.ok("rule", "update", rule, "-r", "Write short sentences.")
	has(t, d.ok("rule", "get", rule), "Name     style\n", "\n\nWrite short sentences.\n")
	has(t, d.ok("rule", "list"), "style", rule)
	d.fails(exitUsage, "--rule and --file", "rule", "create", "-n", "x")
	d.ok("rule", "delete", rule, "--force")

	d.ok("secret", "create", "HOUSE_KEY", "--team", "-f", d.file("house.key", "house-key-7Rt2Lm9Qx4"))
	prices := d.file("prices.json", `{"models": [{"models": ["coder-*"], "input": 0.5, "output": 1.5, "as_of": "2026-11-01"}]}`)
	house := d.object("model", "endpoint", "create", "-n", "house", "--wire", "openai", "--base-url", "https://models.example.com/v1",
		"--secret", "HOUSE_KEY", "--model", "coder-large", "--prices", prices)["uid"].(string)
	has(t, d.ok("model", "endpoint", "get", house), "Secret   HOUSE_KEY\n", "Prices   coder-*: 0.5 in, 1.5 out\n")
	has(t, d.ok("model", "endpoint", "list"), "https://models.example.com/v1", house)
	has(t, d.ok("model", "list"), "coder-large", "0.5 in, 1.5 out")
	d.fails(exitUsage, "are needed", "model", "endpoint", "create", "-n", "x")
	d.fails(exitUsage, "--prices: open", "model", "endpoint", "create", "-n", "x", "--wire", "openai", "--base-url", "https://x", "--model", "y", "--prices", "/nonexistent")
	d.ok("model", "endpoint", "delete", house, "--force")

	m := d.object("mcp", "create", "-n", "tracker", "--config", `{"url": "https://mcp.example.com"}`, "--team")
	has(t, d.ok("mcp", "list"), "tracker", m["uid"].(string))
	d.ok("mcp", "update", m["uid"].(string), "--config", d.file("files.json", `{"mcpServers": {"files": {"command": "serve", "args": ["--all"]}}}`), "-d", "files")
	has(t, d.ok("mcp", "get", m["uid"].(string)), "Reached by   serve --all\n", "Description  files\n")
	d.ok("mcp", "delete", m["uid"].(string), "--force")

	r := d.object("runner", "create", "-n", "large", "--vcpus", "8", "--memory-gb", "32", "-c", "apt-get update")
	uid := r["uid"].(string)
	d.ok("runner", "create", "-n", "apple", "--os", "macos", "--macos-version", "15")
	assert.Equal(t, d.ok("runner", "list", "--jq", ".runners[].name"), "apple\nlarge\n")
	d.ok("runner", "update", "--name", "large", "--memory-gb", "64") // found by its name
	d.ok("runner", "update", uid, "--name", "huge")                  // gets another one
	assert.Equal(t, d.ok("runner", "get", uid, "--jq", ".name, .config.memory_gb, .config.vcpus, .config.setup_commands[0]"), "huge\n64\n8\napt-get update\n")
	d.fails(exitUsage, `0 runners are called "none"`, "runner", "update", "--name", "none", "--vcpus", "1")
	d.fails(exitUsage, "--docker-image: is for linux only", "runner", "create", "-n", "x", "--os", "macos", "--docker-image", "i")
	d.ok("runner", "delete", uid, "--force")
	has(t, d.ok("worker", "list"), "local")
}

func TestAccounts(t *testing.T) {
	d := newDesk(t)
	has(t, d.ok("team", "list"), "default")
	out := d.ok("team", "add", "default", "--email", "ann@example.com", "--name", "Ann", "--issue-key", "--jq", ".key, .member.user.uid")
	key, ann, _ := strings.Cut(strings.TrimSpace(out), "\n")
	has(t, d.ok("whoami", "--api-key", key), "Name     Ann\n", "E-mail   ann@example.com\n", "Team     default: Default team (member)\n")
	has(t, d.ok("team", "role", "default", ann, "admin"), "Role    admin\n")
	has(t, d.ok("team", "get", "default"), "Ann", "ann@example.com", "admin")
	d.ok("team", "rename", "default", "Core services")
	assert.Equal(t, d.ok("team", "get", "default", "--jq", ".name"), "Core services\n")
	d.ok("team", "create", "Other", "--uid", "other")

	d.ok("budget", "set", "--user", ann, "--usd", "12.5", "--period", "day")
	has(t, d.ok("budget", "list"), "user "+ann, "$12.5", "day")
	d.ok("budget", "delete", "--user", ann, "--force")
	assert.Equal(t, d.ok("budget", "list"), "No budgets.\n")
	d.ok("agent", "run-cloud", "-p", "greet me", "--follow")
	has(t, d.ok("usage", "--group-by", "model"), servertest.Model, "RUNS")
	assert.Equal(t, d.ok("usage", "--jq", ".rows[0].runs"), "1\n")
	has(t, d.ok("stats", "--group-by", "harness", "--bucket", "day"), "KEY", "QUEUED P50/P95", "oz ", "all ", "100%")
	has(t, d.ok("stats", "--bucket", "week"), "- ", " 00:00:00 ")
	assert.Equal(t, d.ok("stats", "--group-by", "source", "--jq", ".groups[0] | .key, .stats.runs, .stats.run_time.count"), "CLI\n1\n1\n")
	assert.Equal(t, d.ok("stats", "--source", "SLACK"), "No runs have ended.\n")
	d.fails(exitUsage, "--group-by", "stats", "--group-by", "colour")
	d.fails(exitUsage, "--from", "stats", "--from", "yesterday")
	d.fails(exitUsage, "bucket", "stats", "--bucket", "year")

	d.ok("api-key", "create", "twin", "--no-expiration")
	d.ok("api-key", "create", "twin", "--expires-in", "1h")
	d.fails(exitUsage, "several keys are called", "api-key", "expire", "twin", "--force")
	assert.Equal(t, d.ok("api-key", "list", "--sort-by", "created-at", "--sort-order", "desc", "--jq", "[.keys[].name][0]"), "twin\n")
	has(t, d.ok("api-key", "list"), "wk-**", "never")
	d.ok("team", "remove", "default", ann, "--force")
	d.fails(exitFailure, "", "budget", "set", "--user", "nobody", "--usd", "1")
}

// TestSecretKinds: values come from pipes, and are shown nowhere.
func TestSecretKinds(t *testing.T) {
	d := newDesk(t)
	const value = "sk-a-long-value-88412"
	for _, args := range [][]string{
		{"secret", "create", "PLAIN"},
		{"secret", "create", "TYPED", "--type", "anthropic-api-key"},
		{"secret", "create", "claude", "api-key", "CLAUDE_KEY", "--team"},
		{"secret", "create", "codex", "api-key", "CODEX_KEY", "--base-url", "https://models.example.com/v1"},
		{"secret", "create", "claude", "bedrock-api-key", "BEDROCK_KEY", "--region", "eu-central-1"},
		{"secret", "create", "claude", "bedrock-access-key", "BEDROCK_ACCESS", "--region", "eu-central-1", "--access-key-id", "AKIAQ7LX5KDV2RT9WMZ4", "--session-token", "fwoGZXIvYXdzEBYaDK3h8Lq"},
	} {
		r := d.piped(value+"\n", append(args, "--debug")...)
		assert.Equal(t, r.code, 0, "%v: %s", args, r.err)
		assert.Assert(t, !strings.Contains(r.out+r.err, value), "%v shows the value", args)
	}
	assert.Equal(t, d.ok("secret", "list", "--jq", `.secrets[] | .name + " " + .type`),
		"BEDROCK_ACCESS anthropic_bedrock_access_key\nBEDROCK_KEY anthropic_bedrock_api_key\nCLAUDE_KEY anthropic_api_key\nCODEX_KEY openai_api_key\nPLAIN raw_value\nTYPED anthropic_api_key\n")
	assert.Equal(t, d.piped(value+"2\n", "secret", "update", "PLAIN", "--value").code, 0)
	r := d.piped(value+"3\n", "secret", "update", "BEDROCK_KEY", "--value")
	assert.Equal(t, r.code, exitFailure)
	has(t, r.err, "has several parts")
	assert.Assert(t, !strings.Contains(r.err, value))
	d.fails(exitUsage, "--region is needed", "secret", "create", "claude", "bedrock-api-key", "X")
	d.fails(exitUsage, "--access-key-id and --region are needed", "secret", "create", "claude", "bedrock-access-key", "X", "--region", "r")
}

// TestLogin: a key is kept for its own server alone, in a file that only its
// owner reads, and printed nowhere.
func TestLogin(t *testing.T) {
	d := newDesk(t)
	bare := func(in string, args ...string) result {
		cmd := d.command(args...)
		cmd.Env = servertest.Environ("HOME="+d.dir, "TZ=UTC")
		cmd.Stdin = strings.NewReader(in)
		return finish(t, cmd)
	}
	at := "--server-root-url=" + d.server.URL
	r := bare("", "whoami", at)
	assert.Equal(t, r.code, exitFailure)
	has(t, r.err, "oz login", "--api-key", "WARP_API_KEY")
	r = bare("", "login", at)
	assert.Equal(t, r.code, exitFailure)
	has(t, r.err, "oz login --with-key")
	r = bare("a wrong key\n", "login", "--with-key", at)
	assert.Equal(t, r.code, exitFailure, r.err)
	assert.Assert(t, !strings.Contains(r.err, "a wrong key"))

	r = bare(servertest.APIKey+"\n", "login", "--with-key", at)
	assert.Equal(t, r.code, 0, r.err)
	assert.Equal(t, r.out, "Signed in to "+d.server.URL+" as Admin.\n")
	path := filepath.Join(d.dir, ".config", "oz", "credentials.json")
	info, err := os.Stat(path)
	assert.NilError(t, err)
	assert.Equal(t, info.Mode().Perm(), os.FileMode(0o600))
	r = bare("", "whoami") // the server is the default now
	assert.Equal(t, r.code, 0, r.err)
	has(t, r.out, "User ID  admin\n")
	has(t, bare("", "login", "--with-key").out, "as Admin already")
	r = bare("", "dump-debug-info", "--output-format", "json", "--debug")
	has(t, r.out, `"api_key": "'oz login'"`, `"server_answer": "fine"`)
	assert.Assert(t, !strings.Contains(r.out+r.err, servertest.APIKey))
	// Another server does not get it.
	r = bare("", "whoami", "--server-root-url", "http://"+servertest.FreeAddress(t))
	has(t, r.err, "not signed in to http://")
	assert.NilError(t, os.Chmod(path, 0o644))
	r = bare("", "whoami", at)
	assert.Equal(t, r.code, exitFailure)
	has(t, r.err, "can be read by others")
	assert.NilError(t, os.Chmod(path, 0o600))

	has(t, bare("", "logout", at).out, "Signed out of "+d.server.URL)
	raw, err := os.ReadFile(path)
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(string(raw), servertest.APIKey))
	has(t, bare("", "logout", at).out, "You are not signed in")
	d.ok("whoami") // a key that was given goes on to be valid
}

// TestMail: runs write to each other, and a person reads along.
func TestMail(t *testing.T) {
	d := newDesk(t)
	from := d.object("agent", "run-cloud", "-p", "wait for it")["run_id"].(string)
	to := d.object("agent", "run-cloud", "-p", "wait for it")["run_id"].(string)
	watch, seen, wait := d.background("run", "message", "watch", to, "--output-format", "ndjson")
	sent := d.ok("run", "message", "send", "--to", to, "--subject", "Interface changed", "--body", "Use v2.\x1b[2J", "--sender-run-id", from, "--jq", ".message_ids[0]")
	id := strings.TrimSpace(sent)
	await(t, "the message", func() bool { return strings.Contains(seen.String(), id) })
	// The watch outlives its server, and shows nothing twice.
	d.server.Kill()
	await(t, "the notice of the loss", func() bool { return strings.Contains(seen.String(), "does not answer; trying again") })
	d.server.Start()
	again := strings.TrimSpace(d.ok("run", "message", "send", "--to", to, "--subject", "Once more", "--body", "x", "--sender-run-id", from, "--jq", ".message_ids[0]"))
	await(t, "the second message", func() bool { return strings.Contains(seen.String(), again) })
	assert.Equal(t, strings.Count(seen.String(), id), 1, seen)
	assert.NilError(t, watch.Process.Signal(os.Interrupt))
	assert.Equal(t, wait(), exitInterrupted)
	var m map[string]any
	assert.NilError(t, json.Unmarshal([]byte(strings.Split(seen.String(), "\n")[0]), &m))
	assert.Equal(t, m["subject"], "Interface changed")
	assert.Equal(t, m["sender_run_id"], from)

	has(t, d.ok("run", "message", "list", to, "--unread"), id, "Interface changed", "unread")
	d.ok("run", "message", "delivered", id)
	out := d.ok("run", "message", "read", id)
	has(t, out, "Subject  Interface changed\n", "\nUse v2.[2J\n")
	assert.Assert(t, !strings.Contains(out, "\x1b"))
	assert.Equal(t, d.ok("run", "message", "list", to, "--unread", "--jq", ".[].message_id"), again+"\n")
	d.letGo()
	d.ok("run", "follow", from)
	d.ok("run", "follow", to)
}

// TestAgentsMemory: which stores an agent's runs have, and which one learns, is
// said by flags; what is not named stays.
func TestAgentsMemory(t *testing.T) {
	d := newDesk(t)
	shop := d.object("memory-store", "create", "-n", "shop", "--team")["uid"].(string)
	house := d.object("memory-store", "create", "-n", "house", "--team")["uid"].(string)
	const shown = `.memory | .auto_memory.enabled, (.attached_stores[] | "\(.uid) \(.access) \(.extract // false) \(.instructions)")`
	const use = defaultStoreUse
	plain := d.object("agent", "create", "-n", "plain", "--no-own-memory", "--memory-store", shop+":learn:Prices: all of them")["uid"].(string)
	assert.Equal(t, d.ok("agent", "get", plain, "--jq", shown), "false\n"+shop+" read_write true Prices: all of them\n")
	d.ok("agent", "update", plain, "--add-memory-store", shop+":read_only", "--add-memory-store", house)
	assert.Equal(t, d.ok("agent", "get", plain, "--jq", shown), "false\n"+shop+" read_only false Prices: all of them\n"+house+" read_write false "+use+"\n")
	has(t, d.ok("agent", "get", plain), shop+" (read-only), "+house+" (read-write)")
	d.ok("agent", "update", plain, "--remove-memory-store", shop, "--description", "one is left")
	assert.Equal(t, d.ok("agent", "get", plain, "--jq", shown), "false\n"+house+" read_write false "+use+"\n")
	d.ok("agent", "update", plain, "--description", "still one")
	d.ok("agent", "update", plain, "--remove-all-memory-stores")
	assert.Equal(t, d.ok("agent", "get", plain, "--jq", shown), "false\n")

	keeper := d.object("agent", "create", "-n", "keeper", "--learn", "--memory-store", house+":read_only")["uid"].(string)
	own := strings.TrimSpace(d.ok("agent", "get", keeper, "--jq", ".memory.auto_memory.store.uid"))
	has(t, d.ok("agent", "get", keeper), "Own memory  "+own, own+" (learns), "+house+" (read-only)")
	has(t, d.ok("memory-store", "list-store-agents", own), "keeper")

	d.fails(exitUsage, `--memory-store: "write" is none of read_only, read_write, learn`, "agent", "create", "-n", "x", "--memory-store", shop+":write")
	d.fails(exitUsage, "--add-memory-store: begins with the uid", "agent", "update", plain, "--add-memory-store", ":learn")
	d.fails(exitUsage, "learn", "agent", "create", "-n", "x", "--no-own-memory", "--learn")
	d.fails(exitFailure, "another store learns already", "agent", "create", "-n", "x", "--learn", "--memory-store", shop+":learn")
	d.fails(exitFailure, "memory.attached_stores[0].uid", "agent", "update", plain, "--add-memory-store", "nope")
}

func TestMemory(t *testing.T) {
	d := newDesk(t)
	store := d.object("memory-store", "create", "-n", "shop", "--team")["uid"].(string)
	d.ok("memory-store", "update", store, "-d", "What we know about the shop")
	has(t, d.ok("memory-store", "get", store), "What we know about the shop")
	has(t, d.ok("memory-store", "list"), "shop", store)
	has(t, d.ok("memory-store", "list-store-agents", store), "No agent has this store.")
	m := d.object("memory", "create", store, "-c", "Releases are cut on Mondays.", "-r", "the team said so")["uid"].(string)
	d.ok("memory", "update", m, "-s", store, "-c", "Releases are cut on Tuesdays.", "-r", "moved", "--version", "1")
	d.fails(exitFailure, "is at version 2 by now", "memory", "update", m, "-s", store, "-c", "x", "-r", "y", "--version", "1")
	has(t, d.ok("memory", "list", store), "Tuesdays", m)
	assert.Equal(t, d.ok("memory", "versions", m, "-s", store, "--jq", ".memories[].content"), "Releases are cut on Tuesdays.\nReleases are cut on Mondays.\n")
	d.fails(exitUsage, "--store is needed", "memory", "versions", m)
	d.fails(exitUsage, "--content and --reason", "memory", "create", store, "-c", "x")
	d.ok("memory", "delete", m, "-s", store, "--force")
	has(t, d.ok("memory", "list", store), "Nothing is remembered.")
	d.ok("memory-store", "delete", store, "--force")
}
