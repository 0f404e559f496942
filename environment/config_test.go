package environment_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/task"
)

func ptr[T any](v T) *T { return &v }

// full is a configuration with every field set.
func full() environment.Config {
	return environment.Config{
		Name: "backend", Description: "All that\nthe tests need", DockerImage: "registry.example.com:5000/team/go:1.26@sha256:" + strings.Repeat("a", 64),
		Repos: []environment.Repo{
			{Owner: "team", Name: "app"},
			{Owner: "group/sub", Name: "lib.go", URL: "https://git.example.com/group/sub/lib.go.git", Ref: "release/1.2"},
			{Name: "local", URL: "file:///srv/git/local.git", Ref: strings.Repeat("0a", 20)},
		},
		SetupCommands: []string{"make deps", "cat <<'EOF' > x\n\ttabs & \"quotes\"\nEOF"},
		Secrets:       &[]string{"API_KEY"},
		Providers: &environment.Providers{
			GCP: &environment.GCPProvider{ProjectNumber: "1", PoolID: "p", ProviderID: "q", ServiceAccountEmail: "x@example.com"},
			AWS: &environment.AWSProvider{RoleARN: "arn:aws:iam::1:role/x"},
		},
		FailureSessionRetentionMinutes: ptr(60),
	}
}

func TestConfigOnTheWire(t *testing.T) {
	assert.NilError(t, full().Validate())
	data, err := json.Marshal(environment.Config{Name: "n", Repos: []environment.Repo{{Owner: "o", Name: "r"}}, SetupCommands: []string{"x"}})
	assert.NilError(t, err)
	assert.Equal(t, string(data), `{"name":"n","github_repos":[{"owner":"o","repo":"r"}],"setup_commands":["x"]}`)
	var back environment.Config
	data, err = json.Marshal(full())
	assert.NilError(t, err)
	assert.NilError(t, json.Unmarshal(data, &back))
	assert.DeepEqual(t, back, full())
}

func TestValidateNamesTheField(t *testing.T) {
	repo := func(r environment.Repo) func(*environment.Config) {
		return func(c *environment.Config) { c.Repos = []environment.Repo{r} }
	}
	for _, tt := range []struct {
		name   string
		change func(*environment.Config)
		field  string
		says   string
	}{
		{"no name", func(c *environment.Config) { c.Name = " " }, "name", "is required"},
		{"long name", func(c *environment.Config) { c.Name = strings.Repeat("ü", environment.MaxNameRunes+1) }, "name", "at most 100"},
		{"line in name", func(c *environment.Config) { c.Name = "a\nb" }, "name", "U+000A"},
		{"name not UTF-8", func(c *environment.Config) { c.Name = "\xff" }, "name", "UTF-8"},
		{"long description", func(c *environment.Config) { c.Description = strings.Repeat("x", 241) }, "description", "has 241 characters, at most 240"},
		{"escape in description", func(c *environment.Config) { c.Description = "\x1b[31m" }, "description", "U+001B"},
		{"image like a flag", func(c *environment.Config) { c.DockerImage = "--privileged" }, "docker_image", "image reference"},
		{"image with space", func(c *environment.Config) { c.DockerImage = "a b" }, "docker_image", "image reference"},
		{"retention", func(c *environment.Config) { c.FailureSessionRetentionMinutes = ptr(61) }, "failure_session_retention_minutes", "1 to 60"},
		{"no repo name", repo(environment.Repo{Owner: "o"}), "github_repos[0].repo", "1 to 100 letters"},
		{"repo like a flag", repo(environment.Repo{Owner: "o", Name: "-x"}), "github_repos[0].repo", "not beginning with '-'"},
		{"repo with a path", repo(environment.Repo{Owner: "o", Name: "../x"}), "github_repos[0].repo", "letters"},
		{"repo ..", repo(environment.Repo{Owner: "o", Name: ".."}), "github_repos[0].repo", "meaning of its own"},
		{"repo .git", repo(environment.Repo{Owner: "o", Name: ".GIT"}), "github_repos[0].repo", "meaning of its own"},
		{"repo .oz", repo(environment.Repo{Owner: "o", Name: ".oz"}), "github_repos[0].repo", "meaning of its own"},
		{"no owner", repo(environment.Repo{Name: "x"}), "github_repos[0].owner", "owner/repo"},
		{"owner ..", repo(environment.Repo{Owner: "a/..", Name: "x"}), "github_repos[0].owner", "letters"},
		{"owner with @", repo(environment.Repo{Owner: "u:p@host", Name: "x"}), "github_repos[0].owner", "letters"},
		{"ext URL", repo(environment.Repo{Name: "x", URL: "ext::sh"}), "github_repos[0].url", "must begin with"},
		{"URL with password", repo(environment.Repo{Name: "x", URL: "https://u:canary@h/x"}), "github_repos[0].url", "credentials"},
		{"ref like a flag", repo(environment.Repo{Owner: "o", Name: "x", Ref: "--upload-pack=id"}), "github_repos[0].checkout_ref", "must not begin with '-'"},
		{"same directory", func(c *environment.Config) {
			c.Repos = []environment.Repo{{Owner: "a", Name: "app"}, {Owner: "b", Name: "App"}}
		}, "github_repos[1]", "same directory"},
		{"many repos", func(c *environment.Config) { c.Repos = make([]environment.Repo, environment.MaxRepos+1) }, "github_repos", "at most 50"},
		{"empty command", func(c *environment.Config) { c.SetupCommands = []string{"x", "\n"} }, "setup_commands[1]", "is empty"},
		{"long command", func(c *environment.Config) {
			c.SetupCommands = []string{strings.Repeat("x", environment.MaxCommandBytes+1)}
		}, "setup_commands[0]", "8193 bytes"},
		{"NUL in command", func(c *environment.Config) { c.SetupCommands = []string{"a\x00b"} }, "setup_commands[0]", "U+0000"},
		{"many commands", func(c *environment.Config) { c.SetupCommands = make([]string, environment.MaxSetupCommands+1) }, "setup_commands", "at most 100"},
		{"much setup", func(c *environment.Config) {
			c.SetupCommands = nil
			for range environment.MaxSetupBytes/environment.MaxCommandBytes + 1 {
				c.SetupCommands = append(c.SetupCommands, strings.Repeat("x", environment.MaxCommandBytes))
			}
		}, "setup_commands", "together"},
		{"secret name", func(c *environment.Config) { c.Secrets = &[]string{"A", "B=C"} }, "secrets[1]", "name of a secret"},
		{"GCP", func(c *environment.Config) { c.Providers.GCP.PoolID = "" }, "providers.gcp.workload_identity_federation_pool_id", "is required"},
		{"AWS", func(c *environment.Config) { c.Providers.AWS.RoleARN = "\x00" }, "providers.aws.role_arn", "U+0000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := full()
			tt.change(&c)
			var e *task.Error
			assert.Assert(t, errors.As(c.Validate(), &e))
			assert.Equal(t, e.Code, task.CodeInvalidRequest)
			assert.Equal(t, e.Field, tt.field)
			assert.ErrorContains(t, e, tt.says)
			assert.Assert(t, !strings.Contains(e.Error(), "canary"))
		})
	}
}

func TestParseRepo(t *testing.T) {
	for s, want := range map[string]environment.Repo{
		"team/app":                           {Owner: "team", Name: "app"},
		" https://example.com/team/app.git ": {Owner: "team", Name: "app", URL: "https://example.com/team/app.git"},
		"https://example.com/a/b/app":        {Owner: "b", Name: "app", URL: "https://example.com/a/b/app"},
		"ssh://git@example.com/team/app.git": {Owner: "team", Name: "app", URL: "ssh://git@example.com/team/app.git"},
		"file:///srv/git/app.git":            {Name: "app", URL: "file:///srv/git/app.git"},
	} {
		got, err := environment.ParseRepo(s)
		assert.NilError(t, err, s)
		assert.DeepEqual(t, got, want)
	}
	for _, bad := range []string{"", "app", "a/b/c", "git@example.com:a/b", "https://example.com/", "ftp://x/y/z", "../.."} {
		_, err := environment.ParseRepo(bad)
		assert.ErrorIs(t, err, task.ErrInvalid, "%q", bad)
	}
	assert.Equal(t, environment.Repo{Owner: "o", Name: "r"}.Address("https://forge.example/"), "https://forge.example/o/r")
}

// A configuration that passes must fit in a record, and must name no place
// outside the workspace and no argument that git would take for an option.
func FuzzValidateConfig(f *testing.F) {
	data, err := json.Marshal(full())
	assert.NilError(f, err)
	f.Add(data)
	f.Add([]byte(`{"name":"x","github_repos":[{"owner":"a","repo":"b"},{"owner":"c","repo":"B"}]}`))
	f.Add([]byte(`{"name":"x","github_repos":[{"repo":"..","url":"ext::sh -c id"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c environment.Config
		if json.Unmarshal(data, &c) != nil {
			return
		}
		if err := c.Validate(); err != nil {
			assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest)
			return
		}
		dirs := map[string]bool{}
		for _, r := range c.Repos {
			assert.Assert(t, r.Dir() != "" && r.Dir() != "." && r.Dir() != ".." && !strings.ContainsAny(r.Dir(), "/\\\x00"), "%q", r.Dir())
			assert.Assert(t, !dirs[r.Dir()])
			dirs[r.Dir()] = true
			for _, arg := range []string{r.Dir(), r.Ref, r.Address("https://forge.example")} {
				assert.Assert(t, !strings.HasPrefix(arg, "-"), "%q", arg)
			}
		}
		out, err := json.Marshal(c)
		assert.NilError(t, err)
		var back environment.Config
		assert.NilError(t, json.Unmarshal(out, &back))
		assert.NilError(t, back.Validate())
	})
}
