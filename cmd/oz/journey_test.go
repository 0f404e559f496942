package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// TestRunThere is the life of a run on the server, as a person sees it.
func TestRunThere(t *testing.T) {
	d := newDesk(t)
	assert.Equal(t, d.ok("run", "list"), "No runs. Start one with 'oz agent run-cloud --prompt ...'.\n")
	out := d.ok("agent", "run-cloud", "-p", "greet me", "--no-environment", "--follow")
	workspace := filepath.Join(d.server.Dir, "data")
	assert.Assert(t, !strings.Contains(out, workspace))
	assert.Equal(t, steady(out), `Run RUN is QUEUED: greet me
It runs without an environment.
· QUEUED
· PENDING
· CLAIMED by worker local
▸ sandbox
  sandbox took SPAN
· INPROGRESS
  bundle took SPAN
▸ agent
I do it.
› run_command echo hello from the agent
  hello from the agent
  exit 0 after SPAN
It is done.
› finish success
  agent took SPAN (SUCCEEDED)
■ SUCCEEDED  Done: greet.

Verified with: echo hello from the agent
`)
	var listed struct {
		Runs []struct {
			RunID string `json:"run_id"`
			State string `json:"state"`
		} `json:"runs"`
	}
	assert.NilError(t, json.Unmarshal([]byte(d.ok("run", "list", "--output-format", "json")), &listed))
	assert.Equal(t, len(listed.Runs), 1)
	id := listed.Runs[0].RunID
	shown := d.ok("run", "get", id)
	has(t, shown, "Title      greet me\n", "State      SUCCEEDED\n", "Message    Done: greet.", "Creator    Admin\n", "Source     CLI (REMOTE)\n", "Usage      ", " tokens", "Prompt     greet me\n")
	assert.Assert(t, strings.Contains(d.ok("run", "get", id, "--conversation"), "It is done."))
	assert.Equal(t, d.object("run", "get", id)["prompt"], "greet me")
	replay := d.ok("task", "follow", id) // task is another name of run
	assert.Assert(t, strings.HasSuffix(out, replay), replay)
	assert.Equal(t, d.ok("run", "list", "--state", "failed"), "No runs. Start one with 'oz agent run-cloud --prompt ...'.\n")
	assert.Equal(t, strings.Count(d.ok("run", "list", "--output-format", "ndjson"), "\n"), 1)

	d.ok("run", "steer", id, "-m", "greet me again")
	again := d.ok("run", "follow", id)
	assert.Assert(t, strings.Contains(again, "» greet me again\n"), again)
	assert.Equal(t, strings.Count(again, "■ SUCCEEDED"), 2)

	d.fails(exitFailure, "is FAILED", "agent", "run-cloud", "-p", "refuse", "--follow")
	d.fails(exitFailure, "does not exist, or you may not see it", "run", "get", "nope")
	d.fails(exitFailure, `there is no environment "nope"`, "agent", "run-cloud", "-p", "greet", "-e", "nope")
	d.fails(exitFailure, `no model is called "nope"`, "agent", "run-cloud", "-p", "greet", "--model", "nope")
	d.fails(exitFailure, "its key comes from --api-key.", "whoami", "--api-key", "a wrong key")
}

// TestFollowTypes shows some types of a run's events alone.
func TestFollowTypes(t *testing.T) {
	d := newDesk(t)
	id := d.object("agent", "run-cloud", "-p", "greet me")["run_id"].(string)
	d.ok("run", "follow", id)
	kinds := func(args ...string) map[string]int {
		n := map[string]int{}
		for line := range strings.Lines(d.ok(append([]string{"run", "follow", id, "--output-format", "ndjson"}, args...)...)) {
			var e struct {
				Type string `json:"type"`
			}
			assert.NilError(t, json.Unmarshal([]byte(line), &e))
			n[e.Type]++
		}
		return n
	}
	all := kinds()
	assert.Assert(t, len(all) > 1 && all["agent"] > 0, "%v", all)
	assert.DeepEqual(t, kinds("--types", "message"), map[string]int{"agent": all["agent"]})
	d.fails(exitUsage, `"plan" is none of state, phase`, "run", "follow", id, "--types", "plan")
}

// TestRunHere: the agent works in the directory, and the server has the record.
func TestRunHere(t *testing.T) {
	d := newDesk(t)
	r := d.oz("agent", "run", "-p", "greet me", "--output-format", "ndjson")
	assert.Equal(t, r.code, 0, r.err)
	var id string
	var kinds []string
	for line := range strings.Lines(r.out) {
		var o map[string]any
		assert.NilError(t, json.Unmarshal([]byte(line), &o))
		kind := o["type"].(string)
		switch {
		case o["event_type"] == "run_started":
			id = o["run_id"].(string)
		case kind == "tool_result" && o["tool"] == "run_command":
			assert.Equal(t, o["output"], "hello from the agent\n")
			assert.Equal(t, o["exit_code"], 0.0)
		}
		if kind != "system" {
			kinds = append(kinds, kind)
		}
	}
	assert.DeepEqual(t, kinds, []string{"agent", "tool_call", "tool_result", "agent", "tool_call", "tool_result"})
	run := d.object("run", "get", id)
	assert.Equal(t, run["state"], "SUCCEEDED")
	assert.Equal(t, run["execution_location"], "LOCAL")
	d.fails(exitFailure, "is FAILED", "agent", "run", "-p", "refuse")
}

// TestRunThatWaits: whoever starts a run is told that others are before it.
func TestRunThatWaits(t *testing.T) {
	d := newDesk(t, "max_concurrent: 1\n")
	var ids []string
	await(t, "a run that waits", func() bool { // the limit is known once a run was in its way
		run := d.object("agent", "run-cloud", "-p", "wait for it")
		ids = append(ids, run["run_id"].(string))
		return run["at_capacity"] == true
	})
	has(t, d.ok("agent", "run-cloud", "-p", "greet me", "-n", "last"), "The limit of runs at once is reached")
	d.letGo()
	ids = append(ids, strings.TrimSpace(d.ok("run", "list", "--name", "last", "--jq", ".runs[].run_id")))
	for _, id := range ids {
		d.ok("run", "follow", id)
	}
}

// TestThingsAround: environments, secrets, keys, models, by their commands.
func TestThingsAround(t *testing.T) {
	d := newDesk(t)
	assert.Equal(t, d.ok("whoami"), "User ID  admin\nName     Admin\nTeam     default: Default team (owner)\n")
	assert.Assert(t, strings.Contains(d.ok("model", "list"), "scripted-model"))

	assert.Equal(t, d.ok("environment", "list", "--jq", ".environments"), "[]\n")
	env := d.object("environment", "create", "-n", "api", "-r", "acme/api", "-r", "https://git.example.com/x/y.git", "-c", "go mod download")
	id := env["uid"].(string)
	d.ok("environment", "update", id, "--remove-repo", "acme/api", "--description", "ours", "-c", "go test ./...")
	d.fails(exitUsage, `the environment has no "acme/api"`, "environment", "update", id, "--remove-repo", "acme/api")
	assert.Equal(t, steady(strings.ReplaceAll(d.ok("e", "get", id), id, "ID")), `Environment   ID
Name          api
Description   ours
Repositories  x/y https://git.example.com/x/y.git
Setup         1. go mod download; 2. go test ./...
Scope         Team
Creator       Admin
Last edited   TIME
`)
	d.ok("environment", "delete", id, "--force")
	d.fails(exitFailure, "does not exist", "environment", "get", id)

	const value = "a-long-secret-value-7731"
	file := filepath.Join(d.dir, "value")
	assert.NilError(t, os.WriteFile(file, []byte(value+"\n"), 0o600))
	cmd := d.command("secret", "create", "NPM_TOKEN", "--team", "--debug")
	cmd.Stdin = strings.NewReader(value + "\n")
	r := finish(t, cmd)
	assert.Equal(t, r.code, 0, r.err)
	assert.Assert(t, strings.Contains(r.err, "debug: POST /api/v1/"), r.err)
	assert.Assert(t, !strings.Contains(r.out+r.err, value))
	d.ok("secret", "create", "OTHER_TOKEN", "-f", file)
	d.fails(exitFailure, "already has a secret NPM_TOKEN", "secret", "create", "NPM_TOKEN", "-f", file)
	d.ok("secret", "update", "NPM_TOKEN", "-d", "for the registry")
	list := d.ok("secret", "list", "--output-format", "json")
	assert.Assert(t, strings.Contains(list, "for the registry") && !strings.Contains(list, value), list)
	d.fails(exitUsage, "--force deletes without asking", "secret", "delete", "NPM_TOKEN")
	d.ok("secret", "delete", "NPM_TOKEN", "--force")

	key := d.object("api-key", "create", "ci", "--expires-in", "1h")["key"].(string)
	d.ok("whoami", "--api-key", key)
	list = d.ok("api-key", "list")
	assert.Assert(t, strings.Contains(list, "ci") && !strings.Contains(list, key), list)
	d.ok("api-key", "expire", "ci", "--force")
	d.fails(exitFailure, "unknown or was revoked", "whoami", "--api-key", key)
}

// TestRunLinksAndRequests shares a run by a link, which opens it without an
// account where the server says so, and decides on a request to edit.
func TestRunLinksAndRequests(t *testing.T) {
	d := newDesk(t, "run_links: guests\n")
	id := d.object("agent", "run-cloud", "-p", "greet me", "--no-environment")["run_id"].(string)
	d.ok("run", "follow", id)
	has(t, d.ok("run", "link", "list", id), "No links.")
	address := strings.TrimSpace(d.ok("run", "link", "create", id, "--name", "review", "--expires", "1h"))
	assert.Assert(t, strings.HasPrefix(address, d.server.URL+"/runs/"+id+"#link=ozl_"), address)
	has(t, d.ok("run", "link", "list", id), "review", "viewer")
	guest := d.command("session", "attach", address)
	guest.Env = append(guest.Env, "WARP_API_KEY=")
	r := finish(t, guest)
	assert.Equal(t, r.code, 0, r.err)
	has(t, r.out, "You are here as viewer", "hello from the agent", "■ SUCCEEDED")

	uid := strings.TrimSpace(d.ok("run", "link", "list", id, "--jq", ".links[0].uid"))
	assert.Equal(t, d.ok("run", "link", "revoke", id, uid), "Revoked.\n")
	guest = d.command("session", "attach", address)
	guest.Env = append(guest.Env, "WARP_API_KEY=")
	r = finish(t, guest)
	assert.Equal(t, r.code, exitFailure)
	has(t, r.err, "this link opens nothing")
	d.fails(exitFailure, "has no link", "run", "link", "revoke", id, uid)
	d.fails(exitFailure, "expires_in_minutes", "run", "link", "create", id, "--expires", "1m")
	d.fails(exitUsage, "whole minutes", "run", "link", "create", id, "--expires", "90s")

	has(t, d.ok("run", "edit", "list", id), "Nobody asks to edit it.")
	d.fails(exitFailure, "you may edit this run already", "run", "edit", "ask", id)
	d.fails(exitFailure, "has no request", "run", "edit", "approve", id, "nothing")
}

// TestScriptSpeaksItsLastLine to a run that it follows, though no line feed ends
// that.
func TestScriptSpeaksItsLastLine(t *testing.T) {
	d := newDesk(t)
	id := d.object("agent", "run-cloud", "-p", "wait for it", "--no-environment")["run_id"].(string)
	cmd := d.command("session", "attach", id)
	cmd.Stdin = strings.NewReader("/cancel")
	has(t, finish(t, cmd).out, "CANCELLED")
}

// TestTypedLinesAreBounded also while they have no end.
func TestTypedLinesAreBounded(t *testing.T) {
	var shown strings.Builder
	s := &session{a: &app{streams: streams{err: &shown}}}
	rest := ""
	for range 3 {
		var err error
		rest, err = s.lines(t.Context(), rest+strings.Repeat("x", maxTyped))
		assert.NilError(t, err)
		assert.Assert(t, len(rest) <= maxTyped+1, "%d bytes are kept", len(rest))
	}
	rest, err := s.lines(t.Context(), rest+"\n/dance\n/quit")
	assert.NilError(t, err)
	assert.Equal(t, rest, "/quit")
	has(t, shown.String(), "a line has at most 65536 bytes", "there is no /dance")
}
