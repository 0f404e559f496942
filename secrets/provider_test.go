package secrets_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// fixed is a provider with given values, keyed by scope; the value of a variable tells
// where it came from.
type fixed map[task.Scope][]secrets.Value

func (f fixed) Values(_ context.Context, owner task.Scope) ([]secrets.Value, error) {
	return f[owner], nil
}

var (
	team  = task.Scope{Type: task.ScopeTeam, UID: "t1"}
	other = task.Scope{Type: task.ScopeTeam, UID: "t2"}
	ann   = task.Scope{Type: task.ScopeUser, UID: "ann"}
	bob   = task.Scope{Type: task.ScopeUser, UID: "bob"}
)

// variable makes one whose plaintext says where it is from.
func variable(scope task.Scope, name, secret, from string) secrets.Value {
	return secrets.Value{Name: name, Secret: secret, Scope: scope}.With(from + "-" + name)
}

func TestResolvePrecedence(t *testing.T) {
	first := fixed{
		team:  {variable(team, "SHARED", "", "team"), variable(team, "TEAM_ONLY", "", "team"), variable(team, "AWS_KEY_ID", "AWS", "team"), variable(team, "AWS_REGION", "AWS", "team")},
		other: {variable(other, "OTHER", "", "other")},
		ann:   {variable(ann, "SHARED", "", "ann"), variable(ann, "ANN_ONLY", "", "ann")},
		bob:   {variable(bob, "BOB_ONLY", "", "bob"), variable(bob, "AWS_KEY_ID", "AWS", "bob")},
	}
	second := fixed{
		team: {variable(team, "TEAM_ONLY", "", "second"), variable(team, "SECOND", "", "second"), variable(team, "SHARED", "", "second")},
		ann:  {variable(ann, "TEAM_ONLY", "", "ann2")},
	}
	list := func(names ...string) *[]string { return &names }
	for _, tt := range []struct {
		name    string
		req     secrets.Request
		want    string
		missing string
	}{
		{"schedule: team only", secrets.Request{Owner: team}, "team-AWS_KEY_ID team-AWS_REGION second-SECOND team-SHARED team-TEAM_ONLY", ""},
		{"person: personal wins", secrets.Request{Owner: team, Person: "ann"}, "ann-ANN_ONLY team-AWS_KEY_ID team-AWS_REGION second-SECOND ann-SHARED ann2-TEAM_ONLY", ""},
		{"a personal secret replaces the whole of the team's", secrets.Request{Owner: team, Person: "bob", Allow: list("AWS")}, "bob-AWS_KEY_ID", ""},
		{"another team", secrets.Request{Owner: other, Person: "ann"}, "ann-ANN_ONLY other-OTHER ann-SHARED ann2-TEAM_ONLY", ""},
		{"a person's own run", secrets.Request{Owner: ann, Person: "ann"}, "ann-ANN_ONLY ann-SHARED ann2-TEAM_ONLY", ""},
		{"a person's own run in a team", secrets.Request{Owner: ann, Team: "t2", Person: "ann"}, "ann-ANN_ONLY other-OTHER ann-SHARED ann2-TEAM_ONLY", ""},
		{"a person's schedule", secrets.Request{Owner: ann}, "", ""},
		{"the environment narrows", secrets.Request{Owner: team, Person: "ann", EnvironmentAllow: list("SHARED", "NOBODY")}, "ann-SHARED", "NOBODY"},
		{"the run beats the environment", secrets.Request{Owner: team, Allow: list("SECOND", "SECOND"), EnvironmentAllow: list("SHARED")}, "second-SECOND", ""},
		{"an empty list is none", secrets.Request{Owner: team, Person: "ann", Allow: list(), EnvironmentAllow: list("SHARED")}, "", ""},
		{"an empty environment is none", secrets.Request{Owner: team, EnvironmentAllow: list()}, "", ""},
		{"another person's secret is missing", secrets.Request{Owner: team, Person: "ann", Allow: list("BOB_ONLY")}, "", "BOB_ONLY"},
		{"nobody", secrets.Request{}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := secrets.Resolve(t.Context(), []secrets.Provider{first, second}, tt.req)
			assert.NilError(t, err)
			var got []string
			for _, v := range set.Values {
				got = append(got, v.Plaintext())
			}
			assert.Equal(t, strings.Join(got, " "), tt.want)
			assert.Equal(t, strings.Join(set.Missing, " "), tt.missing)
		})
	}
}

// broken fails, or hands out what it must not.
type broken struct {
	values []secrets.Value
	err    error
}

func (b broken) Values(context.Context, task.Scope) ([]secrets.Value, error) { return b.values, b.err }

func TestResolveErrors(t *testing.T) {
	down := errors.New("vault is sealed")
	for _, tt := range []struct {
		name     string
		provider broken
		want     string
	}{
		{"fails", broken{err: down}, "vault is sealed"},
		{"another's secret", broken{values: []secrets.Value{variable(bob, "X", "", "canary")}}, "belongs to User:bob"},
		{"reserved name", broken{values: []secrets.Value{variable(team, "LD_PRELOAD", "", "canary")}}, "reserved"},
		{"too long", broken{values: []secrets.Value{secrets.Value{Name: "X", Scope: team}.With(strings.Repeat("canary", 30000))}}, "131072"},
		{"NUL", broken{values: []secrets.Value{secrets.Value{Name: "X", Scope: team}.With("canary\x00canary")}}, "NUL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := secrets.Resolve(t.Context(), []secrets.Provider{fixed{}, tt.provider}, secrets.Request{Owner: team})
			assert.ErrorContains(t, err, tt.want)
			assert.ErrorContains(t, err, "provider 2")
			assert.Assert(t, !strings.Contains(err.Error(), "canary"))
		})
	}
	_, err := secrets.Resolve(t.Context(), []secrets.Provider{broken{err: down}}, secrets.Request{Owner: team})
	assert.ErrorIs(t, err, down)
}

func TestSet(t *testing.T) {
	set := secrets.Set{Values: []secrets.Value{
		secrets.Value{Name: "A", Scope: team}.With("value-of-a-4711"),
		secrets.Value{Name: "REGION", Scope: team, Public: true}.With("eu-central-1"),
	}}
	assert.DeepEqual(t, set.Environ(), []string{"A=value-of-a-4711", "REGION=eu-central-1"})
	r := secrets.NewRedactor(nil)
	assert.NilError(t, set.RedactWith(r))
	assert.Equal(t, r.String("value-of-a-4711 in eu-central-1"), "[redacted:A] in eu-central-1")

	set.Values = append(set.Values, secrets.Value{Name: "PIN", Scope: team}.With("1234"))
	assert.ErrorContains(t, set.RedactWith(r), "PIN")
}

func TestWeakValuesAreRefused(t *testing.T) {
	for _, weak := range []string{"", "1234567", "        x   ", "aaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaab", "abababababab", "12345678", "abcdefgh", "87654321", "qwertyuiop",
		"password", "Password123", "PASSWORD!", "changeme", "your-api-key-here", "hunter2hunter2", "00000000-0000-0000", "true\x00and-more-4711", "localhost", "\x1b[31m\x1b[0mab",
		strings.Repeat("x1", secrets.MaxVariableBytes)} {
		err := secrets.CheckValue(weak)
		assert.ErrorIs(t, err, task.ErrInvalid, "%.40q", weak)
		if weak != strings.ToLower(weak) || strings.ContainsAny(weak, "0123456789") { // words may be in any message
			assert.Assert(t, !strings.Contains(err.Error(), weak), "%v quotes the value", err)
		}
		assert.ErrorContains(t, secrets.NewRedactor(nil).Add("X", weak), "cannot be redacted")
	}
	for _, good := range append(specials(), generated(300)...) {
		assert.NilError(t, secrets.CheckValue(good), "%q", good)
	}
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"A", "_x", "GITHUB_TOKEN", "GIT_TOKEN", "lower_case9", "AWS_REGION", strings.Repeat("N", 255)} {
		assert.NilError(t, secrets.CheckName(good))
	}
	for _, bad := range []string{"", "9A", "A-B", "A B", "A=B", "Ä", "A\n", strings.Repeat("N", 256), "PATH", "path", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "OZ_API_KEY",
		"WARP_TOKEN", "GIT_SSH_COMMAND", "GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "git_askpass", "BASH_ENV", "NODE_OPTIONS", "DYLD_INSERT_LIBRARIES"} {
		assert.ErrorIs(t, secrets.CheckName(bad), task.ErrInvalid, "%q", bad)
	}
	assert.NilError(t, secrets.CheckVariable("N", "kJ3-long-enough"))
	assert.ErrorIs(t, secrets.CheckVariable("PATH", "kJ3-long-enough"), task.ErrInvalid)
	const longest = secrets.MaxVariableBytes - len("NAME=\x00")
	long := strings.Repeat("0123456789abcdefX", longest/17+1)[:longest]
	assert.NilError(t, secrets.CheckVariable("NAME", long))
	assert.ErrorContains(t, secrets.CheckVariable("NAMES", long), "131073 bytes")
}

func TestRequestIsNotChanged(t *testing.T) {
	allow := []string{"B", "A", "B"}
	_, err := secrets.Resolve(t.Context(), nil, secrets.Request{Owner: team, Allow: &allow})
	assert.NilError(t, err)
	assert.DeepEqual(t, allow, []string{"B", "A", "B"})
}
