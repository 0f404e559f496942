package mcp_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/environment/mcp"
	"github.com/oz-platform/cloudagents/task"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct{ config, field string }{
		{`{"command":"npx","args":["-y","x"],"env":{"TOKEN":"${TOKEN}"},"working_directory":"/w","allowed_tools":["a","b_*"],"denied_tools":["*"]}`, ""},
		{`{"url":"https://mcp.example.com/x","headers":{"Authorization":"Bearer {{TOKEN}}"},"type":"http"}`, ""},
		{`{"url":"https://mcp.example.com/x","oauth":{"client_id":"a","client_secret":"${S}","scopes":["read:all"],"token_url":"https://id.example.com/t"},"required":true,"startup_timeout_seconds":600}`, ""},
		{`{"warp_id":"linear"}`, ""}, {`{"warp_id":"x","allowed_tools":["a"],"required":true}`, ""},
		{``, "m"}, {`null`, "m"}, {`[]`, "m"}, {`{`, "m"}, {`{"command":1}`, "m"}, {`{}`, "m"},
		{`{"command":"a","url":"http://b"}`, "m"}, {`{"command":"a","warp_id":"b"}`, "m"},
		{`{"url":"http://b","args":["x"]}`, "m"}, {`{"url":"http://b","working_directory":"x"}`, "m"}, {`{"command":"a","headers":{"A":"x"}}`, "m"},
		{`{"command":"a","oauth":{"client_id":"a","client_secret":"b"}}`, "m"}, {`{"command":"a\u0000"}`, "m"},
		{`{"command":"a","env":{"A B":"x"}}`, "m.env"}, {`{"command":"a","env":{"A":"secret-word\u0000"}}`, "m.env"},
		{`{"url":"http://b","headers":{"A b":"x"}}`, "m.headers"}, {`{"url":"http://b","headers":{"A":"secret-word\r\nB: c"}}`, "m.headers"},
		{`{"url":"http://b","headers":{"mcp-session-id":"x"}}`, "m.headers"},
		{`{"url":"http://b","headers":{"authorization":"x"},"oauth":{"client_id":"a","client_secret":"b"}}`, "m.headers"},
		{`{"url":"ftp://b"}`, "m.url"}, {`{"url":"file:///b"}`, "m.url"}, {`{"url":"/b"}`, "m.url"}, {`{"url":"https://user:secret-word@b"}`, "m.url"},
		{`{"url":"http://b","oauth":{"client_id":"a"}}`, "m.oauth"}, {`{"url":"http://b","oauth":{"client_id":"a","client_secret":"b","scopes":["a b"]}}`, "m.oauth.scopes[0]"},
		{`{"url":"http://b","oauth":{"client_id":"a","client_secret":"secret-word","token_url":"b"}}`, "m.oauth.token_url"},
		{`{"command":"a","allowed_tools":["a*b"]}`, "m.allowed_tools[0]"}, {`{"command":"a","denied_tools":["x",""]}`, "m.denied_tools[1]"},
		{`{"command":"a","startup_timeout_seconds":-1}`, "m.startup_timeout_seconds"}, {`{"command":"a","startup_timeout_seconds":601}`, "m.startup_timeout_seconds"},
		{`{"command":"` + strings.Repeat("x", 70_000) + `"}`, "m"}, {`{"command":"a","args":[` + strings.Repeat(`"",`, 300) + `""]}`, "m"},
		{`{"command":"a","env":{"A":{"secret-word":1}}}`, "m"},
	} {
		_, err := mcp.Parse("m", json.RawMessage(tt.config))
		if tt.field == "" {
			assert.NilError(t, err, tt.config)
			continue
		}
		assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest, "%s: %v", tt.config, err)
		assert.Equal(t, err.(*task.Error).Field, tt.field, "%s: %v", tt.config, err)
		assert.Assert(t, !strings.Contains(err.Error(), "secret-word"), "%v", err)
	}
}

// TestServers: a map of servers, bare or as people paste it.
func TestServers(t *testing.T) {
	for _, raw := range []string{`{"a":{"command":"x"},"b":{"url":"http://b"}}`, `{"mcpServers":{"a":{"command":"x"},"b":{"url":"http://b"}}}`} {
		got, err := mcp.Servers("mcp_servers", json.RawMessage(raw))
		assert.NilError(t, err)
		assert.Assert(t, len(got) == 2 && got["a"].Command == "x" && got["b"].URL == "http://b", raw)
	}
	for raw, field := range map[string]string{`[]`: "mcp_servers", `{"mcpServers":[]}`: `mcp_servers["mcpServers"]`, `{"":{"command":"x"}}`: "mcp_servers", `{"a":{}}`: `mcp_servers["a"]`} {
		_, err := mcp.Servers("mcp_servers", json.RawMessage(raw))
		assert.Equal(t, err.(*task.Error).Field, field, "%v", err)
	}
}

func TestExpand(t *testing.T) {
	lookup := func(name string) (string, bool) {
		v, ok := map[string]string{"A": "one", "B_2": "${A} {{A}}"}[name]
		return v, ok
	}
	for in, want := range map[string]string{
		"":                             "",
		"Bearer ${A}":                  "Bearer one",
		"{{A}}/{{ A }}/${A}":           "one/one/one",
		"${B_2}":                       "${A} {{A}}", // what was put in is taken as it is
		`\u007b\u007BA\u007d\u007D`:    "one",
		`$\u007bA\u007d`:               "one",
		"$A ${} {{}} ${a b} ${A:-x} {": "$A ${} {{}} ${a b} ${A:-x} {",
		"${A}}":                        "one}",
		"{{{A}}}":                      "{one}",
	} {
		got, missing := mcp.Expand(in, lookup)
		assert.Equal(t, got, want, in)
		assert.Equal(t, len(missing), 0, in)
	}
	got, missing := mcp.Expand("${Z} {{Y}} ${Z} ${A}", lookup)
	assert.Equal(t, got, "${Z} {{Y}} ${Z} one")
	assert.DeepEqual(t, missing, []string{"Y", "Z"})
}

func TestFill(t *testing.T) {
	s := mcp.Server{URL: "http://b", Headers: map[string]string{"Authorization": "Bearer ${T}", "X": "plain"}, OAuth: &mcp.OAuth{ClientID: "c", ClientSecret: "{{S}}"}}
	assert.DeepEqual(t, s.Placeholders(), []string{"S", "T"})
	got, err := s.Fill(func(name string) (string, bool) { return "v-" + name, true })
	assert.NilError(t, err)
	assert.Equal(t, got.Headers["Authorization"]+got.Headers["X"]+got.OAuth.ClientSecret, "Bearer v-Tplainv-S")
	assert.Equal(t, s.OAuth.ClientSecret, "{{S}}") // the configuration is not changed
	_, err = s.Fill(func(string) (string, bool) { return "secret-word\n", true })
	assert.ErrorContains(t, err, "headers.Authorization")
	assert.Assert(t, !strings.Contains(err.Error(), "secret-word"))
	_, err = s.Fill(func(string) (string, bool) { return "", false })
	assert.ErrorContains(t, err, "the secret T, which this run does not have")
}

// TestSensitive: what stands spelled out where a credential belongs.
func TestSensitive(t *testing.T) {
	s := mcp.Server{Env: map[string]string{"GITHUB_TOKEN": "abc", "LOG_LEVEL": "debug", "API_KEY": "${K}", "DB_PASSWORD": "p"}}
	assert.DeepEqual(t, s.Sensitive(), map[string]string{"env.GITHUB_TOKEN": "abc", "env.DB_PASSWORD": "p"})
	s = mcp.Server{Headers: map[string]string{"Authorization": "Bearer abc", "X-Api-Key": "k", "Accept": "a"}, OAuth: &mcp.OAuth{ClientSecret: "s"}}
	assert.DeepEqual(t, s.Sensitive(), map[string]string{"headers.Authorization": "abc", "headers.X-Api-Key": "k", "oauth.client_secret": "s"})
}

func TestMask(t *testing.T) {
	got := mcp.Mask(json.RawMessage(`{"url":"http://b","Headers":{"A":"secret-word"},"env":["secret-word"],"oauth":{"client_id":"c","client_secret":"secret-word"}}`))
	assert.Equal(t, string(got), `{"Headers":{"A":"***"},"env":{},"oauth":{"client_id":"c","client_secret":"***"},"url":"http://b"}`)
	assert.Equal(t, string(mcp.Mask(json.RawMessage(`"secret-word"`))), `{}`)
	assert.Equal(t, string(mcp.Mask(json.RawMessage(`{"oauth":"secret-word"}`))), `{"oauth":{}}`)
}

func TestAllowed(t *testing.T) {
	for _, tt := range []struct {
		allow, deny []string
		want        string
	}{
		{nil, nil, "read write"}, {[]string{}, nil, ""}, {[]string{"read"}, nil, "read"}, {[]string{"*"}, []string{"wri*"}, "read"},
		{[]string{"read", "write"}, []string{"*"}, ""}, {[]string{"rea"}, nil, ""},
	} {
		var got []string
		for _, name := range []string{"read", "write"} {
			if mcp.Allowed(name, tt.allow, tt.deny) {
				got = append(got, name)
			}
		}
		assert.Equal(t, strings.Join(got, " "), tt.want, "%v %v", tt.allow, tt.deny)
	}
}

// TestOver: a run narrows a shared server, and never widens it.
func TestOver(t *testing.T) {
	shared := mcp.Server{Command: "x", AllowedTools: []string{"read_*", "list"}, DeniedTools: []string{"read_secret"}, StartupTimeoutSeconds: 5}
	got, err := mcp.Over("m", mcp.Server{WarpID: "u", AllowedTools: []string{"read_a", "write", "list", "read_*"}, DeniedTools: []string{"list"}, Required: true}, shared)
	assert.NilError(t, err)
	assert.DeepEqual(t, got.AllowedTools, []string{"read_a", "list", "read_*"})
	assert.Assert(t, got.Required && got.Command == "x" && got.WarpID == "")
	assert.Assert(t, got.Allows("read_a") && !got.Allows("list") && !got.Allows("write") && !got.Allows("read_secret"))
	assert.Equal(t, got.StartTimeout(time.Minute), 5*time.Second)
	_, err = mcp.Over("m", mcp.Server{AllowedTools: []string{"*"}}, shared)
	assert.Assert(t, is.Contains(err.Error(), "m.allowed_tools[0]"))
	assert.Equal(t, mcp.Server{}.StartTimeout(0), 20*time.Second)
}

// FuzzParse: no configuration makes it panic, repeat a value in an error, or let
// through what breaks its own rules.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"command":"a","env":{"A":"${B}"}}`, `{"url":"http://b","headers":{"A":"{{B}}"},"oauth":{"client_id":"a","client_secret":"b"}}`, `{"warp_id":"linear"}`, `{"Env":[1]}`, "{"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		masked := mcp.Mask(json.RawMessage(raw))
		assert.Assert(t, json.Valid(masked))
		s, err := mcp.Parse("m", json.RawMessage(raw))
		if err != nil {
			assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest)
			return
		}
		assert.NilError(t, s.Check("m"))
		again, err := json.Marshal(s)
		assert.NilError(t, err)
		_, err = mcp.Parse("m", again)
		if len(again) <= mcp.MaxConfigBytes {
			assert.NilError(t, err)
		}
		filled, err := s.Fill(func(string) (string, bool) { return "v", true })
		assert.NilError(t, err)
		assert.NilError(t, filled.Check("m"))
	})
}

// FuzzExpand: no text makes it panic, and without placeholders it stays.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{"${A}", "{{A}}", `\u007b\u007bA\u007d\u007d`, "$${A}", "{{{{A}}}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		out, missing := mcp.Expand(text, func(string) (string, bool) { return "", false })
		if !strings.Contains(text, `\u007`) {
			assert.Equal(t, out, text)
		}
		for _, m := range missing {
			assert.Assert(t, strings.Contains(out, m))
		}
	})
}

func ExampleServer_Fill() {
	servers, err := mcp.Servers("mcp_servers", json.RawMessage(`{"mcpServers": {"tracker": {"url": "https://mcp.example.com", "headers": {"Authorization": "Bearer ${TRACKER}"}}}}`))
	if err != nil {
		panic(err)
	}
	ready, err := servers["tracker"].Fill(func(name string) (string, bool) { return "value of " + name, true })
	fmt.Println(ready.Headers["Authorization"], err)
	_, err = servers["tracker"].Fill(func(string) (string, bool) { return "", false })
	fmt.Println(err)
	// Output:
	// Bearer value of TRACKER <nil>
	// headers.Authorization: asks for the secret TRACKER, which this run does not have
}
