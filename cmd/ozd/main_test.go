package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/internal/yamlfile"
)

// program is the server as a binary.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "ozd-test-")
		if err == nil {
			defer os.RemoveAll(dir)
			program = filepath.Join(dir, "ozd")
			err = servertest.Build(dir, "ozd")
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return pgtest.Main(m).Run()
	}())
}

// vars is an environment in a test.
func vars(list ...string) func(string) string {
	return func(name string) string {
		for _, v := range list {
			if n, value, _ := strings.Cut(v, "="); n == name {
				return value
			}
		}
		return ""
	}
}

func newFlags(c *config) *pflag.FlagSet {
	f := pflag.NewFlagSet("ozd", pflag.ContinueOnError)
	c.register(f)
	return f
}

// settingKeys lists the keys of the file, from the structs that hold them.
func settingKeys() []string {
	var keys []string
	for _, t := range []reflect.Type{reflect.TypeFor[config](), reflect.TypeFor[limitsConfig](), reflect.TypeFor[gitConfig](), reflect.TypeFor[workerConfig]()} {
		for i := range t.NumField() {
			if key := t.Field(i).Tag.Get("yaml"); key != "" {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ozd.yaml")
	assert.NilError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// invoke runs the program to its end.
func invoke(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), servertest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = servertest.Environ(env...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	assert.NilError(t, ctx.Err(), "it did not end: %s%s", out.String(), errs.String())
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// indented gives the indented block that follows a line of the help.
func indented(t *testing.T, after string) string {
	t.Helper()
	_, rest, ok := strings.Cut(longHelp, after+"\n\n")
	assert.Assert(t, ok, "the help has no %q", after)
	var block strings.Builder
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, "    ") {
			break
		}
		block.WriteString(strings.TrimPrefix(line, "    "))
	}
	return block.String()
}

// TestHelpIsTrue reads the files that the help shows: the first names every
// setting with its default, the second is valid.
func TestHelpIsTrue(t *testing.T) {
	code, out, _ := invoke(t, nil, "--help")
	assert.Equal(t, code, 0)
	assert.Assert(t, strings.Contains(out, longHelp))
	for flag, variable := range variables {
		assert.Assert(t, strings.Contains(out, "--"+flag+" "), flag)
		assert.Assert(t, strings.Contains(out, "(env "+variable+")"), variable)
	}

	var shown config
	assert.NilError(t, yamlfile.Unmarshal([]byte(indented(t, "All settings of the file, with their defaults:")), &shown))
	if diff := cmp.Diff(defaultConfig(), shown, cmp.AllowUnexported(config{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("defaults and help differ (-code +help):\n%s", diff)
	}
	keys := indented(t, "All settings of the file, with their defaults:")
	for _, key := range settingKeys() {
		assert.Assert(t, strings.Contains(keys, key+":"), "the help does not show %s", key)
	}

	// So does the README.
	readme, err := os.ReadFile("../../README.md")
	assert.NilError(t, err)
	for _, key := range settingKeys() {
		assert.Assert(t, strings.Contains(string(readme), "`"+key+"`"), "the README does not name the setting %s", key)
	}
	for flag, variable := range variables {
		assert.Assert(t, strings.Contains(string(readme), "--"+flag), "the README does not name --%s", flag)
		assert.Assert(t, flag == "config" || strings.Contains(string(readme), "`"+variable+"`"), "the README does not name %s", variable)
	}

	path := writeFile(t, indented(t, "An example with providers and a git host:"))
	key := filepath.Join(t.TempDir(), "house.key")
	assert.NilError(t, os.WriteFile(key, []byte("file-key\n"), 0o600))
	c := defaultConfig()
	assert.NilError(t, c.readFile(path))
	c.Models[1].APIKeyFile = key // instead of one in /etc
	assert.NilError(t, c.check())
	env := vars("ANTHROPIC_API_KEY=k", "GITHUB_TOKEN=t", "GOPROXY=off", "OZ_CLIENT_SECRET=c")
	models, err := c.models(env)
	assert.NilError(t, err)
	assert.Equal(t, models.Default, "claude-sonnet-4-5")
	assert.Equal(t, string(models.Providers[1].APIKey), "file-key")
	credentials, err := c.credentials(env)
	assert.NilError(t, err)
	assert.Equal(t, string(credentials[0].Password), "t")
	assert.DeepEqual(t, c.sandboxEnv(env), []string{"GOPROXY=off"})
	signIn, err := c.signIn(env)
	assert.NilError(t, err)
	assert.Equal(t, signIn.Policy.Team, "default")
}

// TestLayers: flags win over variables, these over the file, it over defaults.
func TestLayers(t *testing.T) {
	path := writeFile(t, "listen: 127.0.0.1:1\nmax_concurrent: 1\nmodel: from-file\nlimits: {max_turns: 7}\n")
	for _, tt := range []struct {
		name string
		args []string
		env  []string
		want func(*config)
	}{
		{"defaults", nil, nil, func(*config) {}},
		{"file by flag", []string{"--config", path}, nil, func(c *config) {
			c.Listen, c.MaxConcurrent, c.Model, c.Limits.MaxTurns, c.file = "127.0.0.1:1", 1, "from-file", 7, path
		}},
		{"variables over file", nil, []string{"OZ_CONFIG=" + path, "OZ_LISTEN=127.0.0.1:2", "OZ_MAX_CONCURRENT=2"}, func(c *config) {
			c.Listen, c.MaxConcurrent, c.Model, c.Limits.MaxTurns, c.file = "127.0.0.1:2", 2, "from-file", 7, path
		}},
		{"flags over all", []string{"--listen", "127.0.0.1:3", "--max-concurrent", "3", "--model", ""},
			[]string{"OZ_CONFIG=" + path, "OZ_LISTEN=127.0.0.1:2", "OZ_MAX_CONCURRENT=2", "OZ_MODEL=from-env"}, func(c *config) {
				c.Listen, c.MaxConcurrent, c.Limits.MaxTurns, c.file = "127.0.0.1:3", 3, 7, path
			}},
		{"a flag with its default counts", []string{"--max-concurrent", "4"}, []string{"OZ_MAX_CONCURRENT=2"}, func(c *config) {}},
		{"every variable", nil, []string{"OZ_DATA=/d", "OZ_PUBLIC_URL=https://oz.example.com", "OZ_LOG_LEVEL=debug",
			"OZ_REPOSITORY_BASE=https://git.example.com", "OZ_GITHUB_URL=https://github.example.com", "OZ_MODEL=m", "OZ_STORE_WAIT=7s", "OZ_BOOTSTRAP_API_KEY=chosen key"}, func(c *config) {
			c.StoreWait, c.GitHubURL = 7*time.Second, "https://github.example.com"
			c.Data, c.PublicURL, c.LogLevel, c.RepositoryBase, c.Model, c.bootstrapKey = "/d", "https://oz.example.com", "debug",
				"https://git.example.com", "m", "chosen key"
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := defaultConfig()
			tt.want(&want)
			var err error
			want.Data, err = filepath.Abs(want.Data)
			assert.NilError(t, err)
			c := defaultConfig()
			f := newFlags(&c)
			assert.NilError(t, f.Parse(tt.args))
			assert.NilError(t, c.load(f, vars(tt.env...)))
			assert.DeepEqual(t, c, want, cmp.AllowUnexported(config{}))
		})
	}
}

// TestMistakes: each has an error that names the setting and the rule.
func TestMistakes(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		args, env  []string
		want       string
		code       int
	}{
		{name: "argument", args: []string{"start"}, want: `unknown argument "start"`, code: 2},
		{name: "flag", args: []string{"--lisen", "x"}, want: "unknown flag: --lisen\nSee 'ozd --help'", code: 2},
		{name: "flag's type", args: []string{"--max-concurrent", "many"}, want: `invalid argument "many" for "--max-concurrent"`, code: 2},
		{name: "variable's type", env: []string{"OZ_MAX_CONCURRENT=many"}, want: `OZ_MAX_CONCURRENT: "many" is not a whole number`},
		{name: "file missing", args: []string{"--config", "/nonexistent/ozd.yaml"}, want: "configuration: open /nonexistent/ozd.yaml: no such file"},
		{name: "key misspelt", file: "listen: :0\nmodles: []", want: `[2:1] unknown field "modles"`},
		{name: "key's type", file: "max_concurrent: many", want: "[1:17] this must be a whole number"},
		{name: "no YAML", file: "listen: [", want: "[1:9]"},
		{name: "listen without port", args: []string{"--listen", "localhost"}, want: `listen: "localhost" must be host:port`},
		{name: "listen on a port too high", args: []string{"--listen", ":70000"}, want: `listen: ":70000" must be host:port`},
		{name: "no data", args: []string{"--data", ""}, want: "data: a directory is needed"},
		{name: "concurrency", args: []string{"--max-concurrent", "0"}, want: "max_concurrent: 0, must be at least 1"},
		{name: "queue", file: "max_waiting: 0", want: "max_waiting: 0, must be at least 1"},
		{name: "wait", args: []string{"--store-wait", "-1s"}, want: "store_wait: must not be negative"},
		{name: "wait's type", env: []string{"OZ_STORE_WAIT=soon"}, want: `OZ_STORE_WAIT: "soon" is not a duration such as 30s`},
		{name: "embeddings", file: "embeddings: embed-1\nmodel: m\nmodels: [{name: a, wire: openai, models: [m, gpt-*]}]", want: `embeddings: no provider of the openai wire lists "embed-1"`},
		{name: "embeddings on another wire", file: "embeddings: embed-1\nmodel: m\nmodels: [{name: a, wire: anthropic, models: [m, embed-*]}]", want: `embeddings: no provider of the openai wire lists "embed-1"`},
		{name: "lease", file: "lease: -1s", want: "lease: must not be negative"},
		{name: "run links", args: []string{"--run-links", "all"}, want: `run_links: "all" is none of off, accounts, guests`},
		{name: "log level", args: []string{"--log-level", "loud"}, want: `log_level: "loud" is none of debug, info, warn, error`},
		{name: "log level of zap only", args: []string{"--log-level", "fatal"}, want: `log_level: "fatal" is none of`},
		{name: "public URL", args: []string{"--public-url", "oz.example.com"}, want: "public_url: must be an http or https URL"},
		{name: "repository base", args: []string{"--repository-base", "github.com"}, want: "repository_base: must be a URL"},
		{name: "GitHub", args: []string{"--github-url", "github.example.com"}, want: "github_url: must be an http or https URL without a path"},
		{name: "GitHub's API", args: []string{"--github-url", "https://github.example.com/api/v3"}, want: "github_url: must be an http or https URL without a path"},
		{name: "no GitHub", file: "github_url: ''", want: "github_url: must be"},
		{name: "origin", file: "allowed_origins: [https://a.example.com, b.example.com]", want: "allowed_origins[1]: must be an origin"},
		{name: "limit", file: "limits: {max_turns: -1}", want: "limits.max_turns: must not be negative"},
		{name: "agent that is not known", file: "disabled_harnesses: [claude, cursor]", want: `disabled_harnesses[1]: "cursor" is none of claude, codex`},
		{name: "agent that is needed", file: "disabled_harnesses: [oz]", want: `disabled_harnesses[0]: "oz" is none of claude, codex`},
		{name: "budget's scope", file: "budgets: [{scope: Planet, limit_usd: 1}]", want: "budgets[0]: scope: a budget is a User's, a Team's or"},
		{name: "budget without a limit", file: "budgets: [{scope: Team}]", want: "budgets[0]: limit_usd: set limit_usd"},
		{name: "plan's owner", file: "plan: {credits: {owners: {default: 1}}}", want: `plan.credits.owners: "default" is neither Team:uid nor User:uid`},
		{name: "plan's feature", file: "plan: {missing: [flying]}", want: `plan: Missing: "flying" is no feature`},
		{name: "plan's pattern", file: "plan: {forbidden: ['(']}", want: "plan.forbidden[0]: error parsing regexp"},
		{name: "sandbox variable", file: "worker: {env: [GOOD, =bad]}", want: "worker.env[1]: must be NAME=value"},
		{name: "worker's URL", file: "worker: {server_url: nowhere}", want: "worker.server_url: must be an http"},
		{name: "provider without name", file: "models: [{wire: openai, models: [m]}]", want: "models[0]: name: is needed"},
		{name: "provider's wire", file: "models: [{name: p, wire: grpc, models: [m]}]", want: `models[0]: wire: "grpc" is none of anthropic, openai, gemini`},
		{name: "provider without models", file: "models: [{name: p, wire: openai}]", want: "models[0]: models: list the ids"},
		{name: "provider's URL", file: "models: [{name: p, wire: openai, base_url: ':', models: [m]}]", want: "models[0]: base_url: must be an http"},
		{name: "key's variable not set", file: "models: [{name: p, wire: openai, api_key_env: NOPE, models: [m]}]", want: "models[0]: api_key_env: the environment variable NOPE is not set"},
		{name: "issuer", file: "identity_issuer: ftp://keys.example.com", want: "identity_issuer: must be an http or https URL"},
		{name: "sign-in without address", file: "sign_in: {issuer: 'https://id.example.com', client_id: oz, domains: [a.example]}", want: "sign_in: needs public_url"},
		{name: "sign-in without issuer", file: "public_url: https://oz.example.com\nsign_in: {client_id: oz, domains: [a.example]}", want: "sign_in: issuer and client_id"},
		{name: "sign-in for nobody", file: "public_url: https://oz.example.com\nsign_in: {issuer: 'https://id.example.com', client_id: oz}", want: "nobody could sign in"},
		{name: "sign-in with odd role", file: "public_url: https://oz.example.com\nsign_in: {issuer: 'https://id.example.com', client_id: oz, domains: [a.example], team: t, role: king}", want: "sign_in.role"},
		{name: "sign-in over plain http", file: "public_url: https://oz.example.com\nsign_in: {issuer: 'http://id.example.com', client_id: oz, domains: [a.example]}", want: "must be https"},
		{name: "key's file missing", file: "models: [{name: p, wire: openai, api_key_file: /nonexistent, models: [m]}]", want: "models[0]: api_key_file: open /nonexistent"},
		{name: "key named twice", file: "models: [{name: p, wire: openai, api_key_env: A, api_key_file: b, models: [m]}]", want: "api_key_env and api_key_file: name a variable or a file, not both"},
		{name: "key with a space", file: "models: [{name: p, wire: openai, api_key_env: K, models: [m]}]", env: []string{"K=a b"}, want: "models[0]: api_key_env or api_key_file: has a space"},
		{name: "patterns only", file: "models: [{name: p, wire: openai, models: ['m*']}]", want: "model: name the default model"},
		{name: "git host", file: "git: {credentials: [{password_env: HOME}]}", env: []string{"HOME=h"}, want: "git.credentials[0]: host: is needed"},
		{name: "git password", file: "git: {credentials: [{host: h}]}", want: "git.credentials[0]: password_env or password_file"},
		{name: "model's address", env: []string{"OPENAI_BASE_URL=nowhere"}, want: "OPENAI_BASE_URL: must be an http or https URL"},
		{name: "chosen key", env: []string{"OZ_BOOTSTRAP_API_KEY=short"}, want: "OZ_BOOTSTRAP_API_KEY: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			env := append([]string{"OZ_DATA=" + data, "OZ_LISTEN=127.0.0.1:0"}, tt.env...)
			args := tt.args
			if tt.file != "" {
				args = append([]string{"--config", writeFile(t, tt.file)}, args...)
			}
			code, out, errs := invoke(t, env, args...)
			assert.Assert(t, strings.Contains(errs, tt.want), "%s", errs)
			assert.Equal(t, code, max(tt.code, 1))
			assert.Equal(t, out, "")
			if tt.name != "chosen key" { // which is looked at with the database open
				_, err := os.Stat(data)
				assert.Assert(t, os.IsNotExist(err), "something was written before the mistake was found")
			}
		})
	}
}

func TestMistakesNeverShowSecrets(t *testing.T) {
	const secret = "hunter2hunter2"
	for _, env := range [][]string{
		{"OZ_BOOTSTRAP_API_KEY=" + strings.Repeat(secret, 100)},
		{"ANTHROPIC_API_KEY=k", "ANTHROPIC_BASE_URL=https://u:" + secret + "@h"},
		{"OZ_PUBLIC_URL=https://u:" + secret + "@h"},
	} {
		code, out, errs := invoke(t, append(env, "OZ_DATA="+t.TempDir(), "OZ_LISTEN=127.0.0.1:0"))
		assert.Equal(t, code, 1)
		assert.Assert(t, !strings.Contains(out+errs, secret), out+errs)
	}
}
