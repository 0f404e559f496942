package main

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// TestMCP: a uuid, an id, JSON, a file and the wrapper of others name servers.
func TestMCP(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		assert.NilError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	const id = "8f14e45f-ceea-467f-a8f6-21b3d2b1a111"
	for _, tt := range []struct{ spec, name, want string }{
		{id, id, `{"warp_id":"` + id + `"}`},
		{"linear", "linear", `{"warp_id":"linear"}`},
		{`{"url":"http://x"}`, "server", `{"url":"http://x"}`},
		{`{"a":{"command":"x"}}`, "a", `{"command":"x"}`},
		{`{"mcpServers":{"b":{"command":"x","args":["y"]}}}`, "b", `{"command":"x","args":["y"]}`},
		{file("one.json", `{"c":{"url":"http://x"}}`), "c", `{"url":"http://x"}`},
		{file("tracker.json", `{"command":"x"}`), "tracker", `{"command":"x"}`},
	} {
		servers, err := mcpServers(nil, []string{tt.spec})
		assert.NilError(t, err, tt.spec)
		assert.DeepEqual(t, slices.Collect(maps.Keys(servers)), []string{tt.name})
		assert.Equal(t, string(servers[tt.name]), tt.want)
	}
	for spec, want := range map[string]string{
		"":                                      "is empty",
		"{":                                     "is neither a server's uuid, JSON nor a file",
		`{"a":{}}`:                              "needs exactly one of warp_id, command and url",
		`{"a":{"url":"x","warp_id":"y"}}`:       "needs exactly one of warp_id, command and url",
		`{"a":{"url":"x","command":"y"}}`:       "needs exactly one of warp_id, command and url",
		`{"mcpServers":[]}`:                     "mcpServers: ",
		`{"a":"text"}`:                          `server "a": `,
		file("broken.json", `{"mcpServers":3}`): "mcpServers: ",
	} {
		_, err := mcpServers(nil, []string{spec})
		var usage usageError
		assert.Assert(t, errors.As(err, &usage), spec)
		assert.ErrorContains(t, err, want)
	}
	both, err := mcpServers(map[string]json.RawMessage{"a": []byte(`{"url":"old"}`), "z": []byte(`{"url":"kept"}`)}, []string{`{"a":{"url":"new"}}`})
	assert.NilError(t, err)
	assert.DeepEqual(t, both, map[string]json.RawMessage{"a": []byte(`{"url":"new"}`), "z": []byte(`{"url":"kept"}`)})
}

func TestRecipients(t *testing.T) {
	for spec, want := range map[string]recipient{
		"self":          {"self", task.RoleViewer},
		"team":          {"team", task.RoleViewer},
		"team:edit":     {"team", task.RoleEditor},
		"public:view":   {"public", task.RoleViewer},
		"public:edit":   {"public", task.RoleEditor},
		"ann@x.example": {"ann@x.example", task.RoleViewer},
		"a@x:edit":      {"a@x", task.RoleEditor},
	} {
		got, err := parseRecipient(spec)
		assert.NilError(t, err, spec)
		assert.DeepEqual(t, got, want, cmp.AllowUnexported(recipient{}))
	}
	for _, spec := range []string{"", "bob", "bob:edit", "self:edit", "team:", "team:own", "@x", "a@", "a b@x", ":edit"} {
		_, err := parseRecipient(spec)
		assert.Assert(t, err != nil, spec)
	}
}

// TestOptionalValues: a value may stand behind the flags that need none.
func TestOptionalValues(t *testing.T) {
	for in, want := range map[string]string{
		"agent run --share team:edit -p x":          "agent run --share=team:edit -p x",
		"agent run --share -p x --share":            "agent run --share -p x --share",
		"agent run --idle-on-complete 5m":           "agent run --idle-on-complete=5m",
		"agent run --idle-on-fail --share=a@b":      "agent run --idle-on-fail --share=a@b",
		"agent run -- --share team":                 "agent run -- --share team",
		"agent run --share a@b:view --share public": "agent run --share=a@b:view --share=public",
	} {
		assert.Equal(t, strings.Join(joined(strings.Fields(in)), " "), want)
	}
}

func TestRepositoryHeads(t *testing.T) {
	sha := strings.Repeat("0123456789", 4)
	head := func(forge, typ, value string) string {
		return `{"code_forge":"` + forge + `","repo_owner":"o","repo_name":"n","head":{"type":"` + typ + `","value":"` + value + `"}}`
	}
	assert.NilError(t, checkHead(head("GITHUB", "COMMIT_SHA", sha)))
	assert.NilError(t, checkHead(head("GITLAB", "BRANCH", "main")))
	for raw, want := range map[string]string{
		head("GITEA", "BRANCH", "main"):                        "code_forge",
		head("GITHUB", "COMMIT_SHA", strings.ToUpper("a"+sha)): "head.value",
		head("GITHUB", "COMMIT_SHA", sha[1:]):                  "head.value",
		head("GITHUB", "TAG", "v1"):                            "head.type",
		head("GITHUB", "BRANCH", ""):                           "head.value",
		`{"code_forge":"GITHUB"}`:                              "repo_owner",
		`{"forge":"GITHUB"}`:                                   "unknown field",
		`[`:                                                    "unexpected",
	} {
		assert.ErrorContains(t, checkHead(raw), want)
	}
}

// TestFilter: strings without quotes, other values as JSON, one a line, and
// nothing of the environment.
func TestFilter(t *testing.T) {
	t.Setenv("WARP_API_KEY", "not to be seen")
	for program, want := range map[string]string{
		".s":             "text\n",
		".n, .big, .f":   "1\n9007199254740993\n1.5\n",
		".l[]":           "1\n\"2\"\n"[:2] + "2\n",
		".o":             "{\"a\":null}\n",
		".none":          "null\n",
		"empty":          "",
		`env | tojson`:   "{}\n",
		`$ENV | length`:  "0\n",
		`.l | @csv`:      "1,\"2\"\n",
		`1, halt, 2`:     "1\n",
		`"a\u001b[31mb"`: "a\x1b[31mb\n", // for programs: as it is
	} {
		var f filter
		var out strings.Builder
		assert.NilError(t, f.Set(program), program)
		err := f.print(&out, map[string]any{"s": "text", "n": 1, "big": json.Number("9007199254740993"), "f": 1.5, "l": []any{1, "2"}, "o": map[string]any{"a": nil}})
		assert.NilError(t, err, program)
		assert.Equal(t, out.String(), want, program)
	}
	var f filter
	assert.ErrorContains(t, f.Set(".["), "not a jq filter")
	assert.NilError(t, f.Set(".s | error"))
	assert.ErrorContains(t, f.print(&strings.Builder{}, map[string]any{"s": "no"}), "--jq: ")
}
