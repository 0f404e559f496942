package oz_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"
	"gotest.tools/v3/poll"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

func TestPromptsLifeCycle(t *testing.T) {
	p, _ := newPlatform(t, nil)
	who, ctx := people(t, p), t.Context()
	made, err := who["bob"].CreatePrompt(ctx, oz.PromptInput{Name: "triage", Description: "d", Prompt: "Triage <new> issues"})
	assert.NilError(t, err)
	assert.Equal(t, made.Owner, task.Scope{Type: task.ScopeTeam, UID: "red"})
	assert.Equal(t, made.Creator.UID, "bob")
	assert.Equal(t, made.Revision, int64(1))
	got, err := who["ann"].Prompt(ctx, made.UID)
	assert.NilError(t, err)
	assert.Assert(t, cmp.Equal(got, made), cmp.Diff(made, got))

	changed, err := who["ann"].UpdatePrompt(ctx, made.UID, oz.PromptChange{Name: ptr("sort"), Revision: 1})
	assert.NilError(t, err)
	assert.Equal(t, changed.Name+changed.Description+changed.Prompt, "sort"+"d"+"Triage <new> issues")
	_, err = who["ann"].UpdatePrompt(ctx, made.UID, oz.PromptChange{Prompt: ptr("x"), Revision: 1})
	assert.ErrorIs(t, err, task.ErrConflict)
	_, err = who["ann"].UpdatePrompt(ctx, made.UID, oz.PromptChange{Prompt: ptr(" ")})
	assert.ErrorContains(t, err, "prompt: is empty")

	own, err := who["ann"].CreatePrompt(ctx, oz.PromptInput{Name: "sort", Prompt: "mine", Team: ptr(false)})
	assert.NilError(t, err, "another owner may use the name")
	list, err := who["ann"].Prompts(ctx)
	assert.NilError(t, err)
	assert.Equal(t, len(list), 2)
	list, err = who["bob"].Prompts(ctx)
	assert.NilError(t, err)
	assert.Equal(t, len(list), 1)

	assert.ErrorIs(t, who["bob"].DeletePrompt(ctx, own.UID), task.ErrNotFound)
	assert.NilError(t, who["bob"].DeletePrompt(ctx, made.UID))
	_, err = who["bob"].Prompt(ctx, made.UID)
	assert.ErrorIs(t, err, task.ErrNotFound)
}

// TestRegistryRights: a colleague sees and may not change, a stranger is told
// the same as of what does not exist.
func TestRegistryRights(t *testing.T) {
	p, _ := newPlatform(t, nil)
	who, ctx := people(t, p), t.Context()
	r, err := who["ann"].CreateRunner(ctx, oz.RunnerInput{Name: "large"})
	assert.NilError(t, err)
	_, err = who["bob"].Runner(ctx, r.UID)
	assert.NilError(t, err)
	_, err = who["bob"].UpdateRunner(ctx, r.UID, oz.RunnerChange{Name: ptr("x")})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	assert.Equal(t, task.CodeOf(who["bob"].DeleteRunner(ctx, r.UID)), task.CodeNotAuthorized)
	for _, uid := range []string{r.UID, "0198c0de-0000-7000-8000-000000000000", "nothing"} {
		_, err = who["cid"].Runner(ctx, uid)
		assert.Equal(t, err.Error(), fmt.Sprintf("runner profile %q does not exist, or you may not see it", uid))
		assert.ErrorIs(t, err, task.ErrNotFound)
		assert.ErrorIs(t, who["cid"].DeleteRunner(ctx, uid), task.ErrNotFound)
	}
	list, err := who["cid"].Runners(ctx)
	assert.NilError(t, err)
	assert.Equal(t, len(list), 0)
	_, err = p.Runner(ctx, r.UID) // the embedding program
	assert.NilError(t, err)
}

// TestRegistryNamesAreUnique for one owner, also when many come at once, and
// free again after a change and a deletion.
func TestRegistryNamesAreUnique(t *testing.T) {
	p, _ := newPlatform(t, nil)
	ctx := t.Context()
	var group sync.WaitGroup
	var made atomic.Int64
	for range 10 {
		group.Go(func() {
			_, err := p.CreatePrompt(ctx, oz.PromptInput{Name: "one", Prompt: "x"})
			if err == nil {
				made.Add(1)
			} else {
				assert.Check(t, task.CodeOf(err) == task.CodeConflict, "%v", err)
			}
		})
	}
	group.Wait()
	assert.Equal(t, made.Load(), int64(1))
	list, err := p.Prompts(ctx)
	assert.NilError(t, err)
	assert.Equal(t, len(list), 1)

	two, err := p.CreatePrompt(ctx, oz.PromptInput{Name: "two", Prompt: "x"})
	assert.NilError(t, err)
	_, err = p.UpdatePrompt(ctx, two.UID, oz.PromptChange{Name: ptr("one")})
	assert.ErrorContains(t, err, `called "one" already`)
	_, err = p.UpdatePrompt(ctx, list[0].UID, oz.PromptChange{Name: ptr("three")})
	assert.NilError(t, err)
	_, err = p.UpdatePrompt(ctx, two.UID, oz.PromptChange{Name: ptr("one")})
	assert.NilError(t, err)
	assert.NilError(t, p.DeletePrompt(ctx, two.UID))
	_, err = p.CreatePrompt(ctx, oz.PromptInput{Name: "one", Prompt: "x"})
	assert.NilError(t, err)
	_, err = p.CreatePrompt(ctx, oz.PromptInput{Name: "two", Prompt: "x"})
	assert.NilError(t, err)
}

func TestMCPServersAreJudged(t *testing.T) {
	p, _ := newPlatform(t, nil)
	for i, tt := range []struct{ config, field string }{
		{`{"command":"npx","args":["-y","x"],"env":{"TOKEN":"${TOKEN}"},"working_directory":"/w"}`, ""},
		{`{"url":"https://mcp.example.com/x","headers":{"Authorization":"Bearer ${TOKEN}"},"unknown":1}`, ""},
		{``, "config"}, {`null`, "config"}, {`[]`, "config"}, {`{`, "config"}, {`{"command":1}`, "config"},
		{`{}`, "config"}, {`{"command":"a","url":"http://b"}`, "config"},
		{`{"warp_id":"x"}`, "config.warp_id"},
		{`{"url":"http://b","args":["x"]}`, "config"}, {`{"url":"http://b","env":{"A":"x"}}`, "config"},
		{`{"command":"a","headers":{"A":"x"}}`, "config"},
		{`{"url":"ftp://b"}`, "config.url"}, {`{"url":"/b"}`, "config.url"}, {`{"url":"https://user:secret-word@b"}`, "config.url"},
		{`{"command":"a","env":{"A B":"x"}}`, "config.env"}, {`{"command":"a","env":{"A":"secret-word\u0000"}}`, "config.env"},
		{`{"url":"http://b","headers":{"A b":"x"}}`, "config.headers"}, {`{"url":"http://b","headers":{"A":"secret-word\r\nB: c"}}`, "config.headers"},
		{`{"command":"` + strings.Repeat("x", 70_000) + `"}`, "config"},
	} {
		t.Run(tt.config[:min(len(tt.config), 40)], func(t *testing.T) {
			made, err := p.CreateMCPServer(t.Context(), oz.MCPServerInput{Name: fmt.Sprint("server ", i), Config: json.RawMessage(tt.config)})
			if tt.field == "" {
				assert.NilError(t, err)
				assert.Assert(t, json.Valid(made.Config))
				return
			}
			var e *task.Error
			assert.ErrorType(t, err, e)
			assert.Equal(t, err.(*task.Error).Field, tt.field, "%v", err)
			assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest)
			assert.Assert(t, !strings.Contains(err.Error(), "secret-word"), "%v", err)
		})
	}
}

// TestMCPValuesAreHidden from those who may not change the server (Oz API,
// choice on MCP env and headers).
func TestMCPValuesAreHidden(t *testing.T) {
	p, _ := newPlatform(t, nil)
	who, ctx := people(t, p), t.Context()
	const secret = "k3J9-xQ2m"
	made, err := who["ann"].CreateMCPServer(ctx, oz.MCPServerInput{Name: "tickets", Config: json.RawMessage(`{"URL":"https://x.example","Headers":{"X-Key":"` + secret + `"}}`)})
	assert.NilError(t, err)
	own, err := who["ann"].MCPServer(ctx, made.UID)
	assert.NilError(t, err)
	assert.Equal(t, string(own.Config), `{"url":"https://x.example","headers":{"X-Key":"`+secret+`"}}`)
	seen, err := who["bob"].MCPServer(ctx, made.UID)
	assert.NilError(t, err)
	assert.Equal(t, string(seen.Config), `{"headers":{"X-Key":"***"},"url":"https://x.example"}`)
	list, err := who["bob"].MCPServers(ctx)
	assert.NilError(t, err)
	assert.Assert(t, len(list) == 1 && !strings.Contains(string(list[0].Config), secret))
	assert.Equal(t, string(oz.MaskMCP(json.RawMessage(`{"Env":{"A":"`+secret+`"},"env":["`+secret+`"]}`))), `{"Env":{"A":"***"},"env":{}}`)

	kept, err := who["ann"].UpdateMCPServer(ctx, made.UID, oz.MCPServerChange{Description: ptr("d")})
	assert.NilError(t, err)
	assert.Equal(t, string(kept.Config), string(own.Config))
	_, err = who["ann"].UpdateMCPServer(ctx, made.UID, oz.MCPServerChange{Config: json.RawMessage(`{}`)})
	assert.ErrorIs(t, err, task.ErrInvalid)
}

// TestRunsNameSharedMCPServers: an unknown one is told. The run keeps the name of
// a known one, and only its runner is given what that is made of.
func TestRunsNameSharedMCPServers(t *testing.T) {
	p, _ := newPlatform(t, nil)
	who, ctx := people(t, p), t.Context()
	const secret = "k3J9-xQ2m"
	made, err := who["ann"].CreateMCPServer(ctx, oz.MCPServerInput{Name: "tickets",
		Config: json.RawMessage(`{"url":"https://x.example","headers":{"X-Key":"` + secret + `"},"allowed_tools":["read_*"]}`)})
	assert.NilError(t, err)
	run := func(name, server string) (task.Task, error) {
		return who[name].Submit(ctx, oz.Request{Prompt: "x", Config: task.Config{MCPServers: map[string]json.RawMessage{"m": json.RawMessage(server)}}})
	}
	for _, server := range []string{`{"warp_id":"linear"}`, `{"command":"npx","args":["x"]}`} {
		_, err = run("bob", server)
		assert.NilError(t, err)
	}
	_, cid := run("cid", `{"warp_id":"`+made.UID+`"}`)
	_, none := run("bob", `{"warp_id":"0198c0de-0000-7000-8000-000000000000"}`)
	for _, err := range []error{cid, none} {
		assert.ErrorIs(t, err, task.ErrNotFound)
		assert.ErrorContains(t, err, `config.mcp_servers["m"].warp_id`)
	}
	_, err = run("bob", `{"warp_id":"`+made.UID+`","allowed_tools":["*"]}`)
	assert.ErrorContains(t, err, `config.mcp_servers["m"].allowed_tools[0]`)

	const own = `{"warp_id":"%s","allowed_tools":["read_one","write"]}`
	got, err := run("bob", fmt.Sprintf(own, made.UID))
	assert.NilError(t, err)
	assert.Equal(t, string(got.Config.MCPServers["m"]), fmt.Sprintf(own, made.UID))
	kept, err := p.Get(ctx, got.ID)
	assert.NilError(t, err)
	data, err := json.Marshal(kept)
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(string(data), secret))
}

func TestRunnersAreJudged(t *testing.T) {
	p, _ := newPlatform(t, nil)
	for i, tt := range []struct {
		config oz.RunnerConfig
		field  string
	}{
		{oz.RunnerConfig{OS: "linux", Arch: "aarch64", DockerImage: "ubuntu:22.04", VCPUs: 0.5, MemoryGB: 2, SetupCommands: []string{"make"}}, ""},
		{oz.RunnerConfig{OS: "macos", MacOSVersion: "15", Description: "d"}, ""},
		{oz.RunnerConfig{OS: "plan9"}, "config.os"},
		{oz.RunnerConfig{Arch: "mips"}, "config.arch"},
		{oz.RunnerConfig{OS: "macos", MacOSVersion: "13"}, "config.macos_version"},
		{oz.RunnerConfig{MacOSVersion: "15"}, "config.macos_version"},
		{oz.RunnerConfig{OS: "macos", DockerImage: "x"}, "config.docker_image"},
		{oz.RunnerConfig{DockerImage: "-x"}, "config.docker_image"},
		{oz.RunnerConfig{VCPUs: 2}, "config.vcpus"}, {oz.RunnerConfig{MemoryGB: 2}, "config.vcpus"},
		{oz.RunnerConfig{VCPUs: -1, MemoryGB: 1}, "config.vcpus"}, {oz.RunnerConfig{VCPUs: 1, MemoryGB: -1}, "config.memory_gb"},
		{oz.RunnerConfig{Description: strings.Repeat("ä", 241)}, "config.description"},
		{oz.RunnerConfig{SetupCommands: []string{" "}}, "config.setup_commands[0]"},
	} {
		_, err := p.CreateRunner(t.Context(), oz.RunnerInput{Name: fmt.Sprint("runner ", i), Config: tt.config})
		if tt.field == "" {
			assert.NilError(t, err)
			continue
		}
		e, ok := err.(*task.Error)
		assert.Assert(t, ok, "%v", err)
		assert.Equal(t, e.Field, tt.field, "%v", err)
	}
	for _, name := range []string{"", " x", strings.Repeat("ä", 101), "a\nb"} {
		_, err := p.CreateRunner(t.Context(), oz.RunnerInput{Name: name})
		assert.ErrorContains(t, err, "name: ")
	}
}

// TestRunTakesItsRunner: the run's own profile before that of its environment,
// its commands before those of the environment, and kept when it is changed.
func TestRunTakesItsRunner(t *testing.T) {
	p, _ := newPlatform(t, nil)
	who, ctx := people(t, p), t.Context()
	ann := who["ann"]
	large, err := ann.CreateRunner(ctx, oz.RunnerInput{Name: "large", Config: oz.RunnerConfig{VCPUs: 8, MemoryGB: 16, DockerImage: "large:1", SetupCommands: []string{"first"}}})
	assert.NilError(t, err)
	small, err := ann.CreateRunner(ctx, oz.RunnerInput{Name: "small", Config: oz.RunnerConfig{VCPUs: 1, MemoryGB: 1}})
	assert.NilError(t, err)
	env, err := ann.CreateEnvironment(ctx, environment.Config{Name: "e", DockerImage: "env:1", DefaultRunner: small.UID, SetupCommands: []string{"second"}}, nil)
	assert.NilError(t, err)

	settings := func(r task.Task) (c environment.Config) {
		t.Helper()
		assert.NilError(t, json.Unmarshal(r.Environment, &c))
		return c
	}
	byDefault := submit(t, ann, oz.Request{Prompt: "x", Config: task.Config{EnvironmentID: env.UID}})
	assert.Equal(t, byDefault.Config.RunnerID, small.UID)
	assert.Equal(t, byDefault.Origins["runner_id"], "environment")
	assert.DeepEqual(t, settings(byDefault).SetupCommands, []string{"second"})
	assert.Equal(t, settings(byDefault).DockerImage, "env:1")
	chosen := submit(t, who["bob"], oz.Request{Prompt: "x", Config: task.Config{EnvironmentID: env.UID, RunnerID: large.UID}})
	assert.DeepEqual(t, settings(chosen).SetupCommands, []string{"first", "second"})
	assert.Equal(t, settings(chosen).DockerImage, "large:1")
	bare := submit(t, ann, oz.Request{Prompt: "x", Config: task.Config{RunnerID: large.UID}})
	assert.DeepEqual(t, settings(bare).SetupCommands, []string{"first"})

	assert.NilError(t, ann.DeleteRunner(ctx, large.UID))
	kept, err := ann.Get(ctx, chosen.ID)
	assert.NilError(t, err)
	var shape oz.RunnerConfig
	assert.NilError(t, json.Unmarshal(kept.Runner, &shape))
	assert.Equal(t, shape.VCPUs, 8.0)

	for _, err := range []error{
		submitError(t, ann, oz.Request{Prompt: "x", Config: task.Config{RunnerID: large.UID}}),
		submitError(t, who["cid"], oz.Request{Prompt: "x", Config: task.Config{RunnerID: small.UID}}),
	} {
		assert.ErrorIs(t, err, task.ErrNotFound)
		assert.ErrorContains(t, err, "config.runner_id")
	}
	mine, err := ann.CreateRunner(ctx, oz.RunnerInput{Name: "mine", Team: ptr(false)})
	assert.NilError(t, err)
	assert.ErrorContains(t, submitError(t, ann, oz.Request{Prompt: "x", Config: task.Config{RunnerID: mine.UID}}), "belongs to")
	submit(t, ann, oz.Request{Prompt: "x", Team: ptr(false), Config: task.Config{RunnerID: mine.UID}})
}

func submitError(t *testing.T, s oz.Service, r oz.Request) error {
	t.Helper()
	_, err := s.Submit(t.Context(), r)
	assert.Assert(t, err != nil)
	return err
}

// TestWorkerSaysWhatShapeItDoesNotKeep: a profile that cannot be enforced does
// not fail the run, and nobody takes it for kept (Oz platform, RNR-3).
func TestWorkerSaysWhatShapeItDoesNotKeep(t *testing.T) {
	y := newYard(t)
	p, _ := y.platform("succeed", func(_ *oz.Options, w *oz.LocalWorkerOptions) { w.Limits = executor.Limits{CPUs: 2} })
	r, err := p.CreateRunner(t.Context(), oz.RunnerInput{Name: "large", Config: oz.RunnerConfig{VCPUs: 8, MemoryGB: 1.5}})
	assert.NilError(t, err)
	run := submit(t, p, oz.Request{Prompt: "x", Config: task.Config{RunnerID: r.UID}})
	var notices []string
	for _, e := range follow(t, p, run.ID) {
		if n, ok := e.Payload.(*task.Notice); ok {
			notices = append(notices, n.Text)
		}
	}
	assert.DeepEqual(t, notices, []string{"The runner profile asks for what this worker does not enforce: 8 vCPUs, 1.5 GB of memory."})
	done, err := p.Get(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.Equal(t, done.State, task.StateSucceeded)
}

func TestWorkerList(t *testing.T) {
	p, _ := with(t, &oz.Options{}, newWorker("box-b", 3, nil), newWorker("box-a", 0, nil))
	list, err := p.WorkerList(t.Context())
	assert.NilError(t, err)
	assert.DeepEqual(t, list, []oz.WorkerStatus{{ID: "box-a"}, {ID: "box-b", Capacity: 3}})
	start(t, p)
	poll.WaitOn(t, func(poll.LogT) poll.Result {
		list, err := p.WorkerList(t.Context())
		if err == nil && list[0].Ready && list[1].Ready {
			return poll.Success()
		}
		return poll.Continue("%v %v", list, err)
	}, poll.WithTimeout(time.Minute), poll.WithDelay(time.Millisecond))
}
