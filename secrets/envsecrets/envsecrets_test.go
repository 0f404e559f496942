package envsecrets_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/secrets/envsecrets"
	"github.com/oz-platform/cloudagents/secrets/secretstest"
	"github.com/oz-platform/cloudagents/task"
)

var (
	team  = task.Scope{Type: task.ScopeTeam, UID: "t1"}
	other = task.Scope{Type: task.ScopeTeam, UID: "t2"}
	ann   = task.Scope{Type: task.ScopeUser, UID: "ann"}
)

const prefix = "ENVSECRETS_TEST_"

// environment sets variables of this process for the time of a test.
type environment struct{ t *testing.T }

func (e environment) Set(name, value string) error {
	e.t.Setenv(prefix+name, value)
	return nil
}

func (e environment) Delete(name string) error { return os.Unsetenv(prefix + name) }

func TestProvider(t *testing.T) {
	secretstest.Run(t, secretstest.Harness{
		Open: func(t *testing.T) (secrets.Provider, secretstest.Place) {
			p, err := envsecrets.New(team, &envsecrets.Options{Prefix: prefix})
			assert.NilError(t, err)
			return p, environment{t}
		},
		Owner:    team,
		Stranger: ann,
	})
}

func TestNames(t *testing.T) {
	t.Setenv("ENVSECRETS_A", "value-of-a-4711")
	t.Setenv("ENVSECRETS_B", "value-of-b-4712")
	t.Setenv("ENVSECRETS_EMPTY", "")
	t.Setenv(prefix+"ENVSECRETS_A", "prefixed-value-4713")
	t.Setenv(prefix+"ENVSECRETS_EMPTY", "prefixed-value-4714")
	t.Setenv(prefix, "no-name-4715")
	p, err := envsecrets.New(task.Scope{}, &envsecrets.Options{Names: []string{"ENVSECRETS_A", "ENVSECRETS_EMPTY", "ENVSECRETS_UNSET"}, Prefix: prefix})
	assert.NilError(t, err)
	for _, scope := range []task.Scope{team, other} {
		set, err := secrets.Resolve(t.Context(), []secrets.Provider{p}, secrets.Request{Owner: scope})
		assert.NilError(t, err)
		assert.DeepEqual(t, set.Environ(), []string{"ENVSECRETS_A=value-of-a-4711", "ENVSECRETS_EMPTY=prefixed-value-4714"})
	}
	values, err := p.Values(t.Context(), ann)
	assert.NilError(t, err)
	assert.Equal(t, len(values), 0, "a person has no secrets in the server's environment")
}

func TestErrors(t *testing.T) {
	for _, opts := range []*envsecrets.Options{nil, {}, {Names: []string{"PATH"}}, {Names: []string{"A", "9"}}} {
		_, err := envsecrets.New(team, opts)
		assert.ErrorIs(t, err, task.ErrInvalid)
	}
	t.Setenv(prefix+"OZ_API_KEY", "canary-value-4711")
	p, err := envsecrets.New(team, &envsecrets.Options{Prefix: prefix})
	assert.NilError(t, err)
	_, err = p.Values(t.Context(), team)
	assert.ErrorContains(t, err, prefix+"OZ_API_KEY")
	assert.Assert(t, !strings.Contains(err.Error(), "canary"))
}

func ExampleNew() {
	os.Setenv("OZ_SECRET_NPM_TOKEN", "npm_aB3dE5fG7hJ9")
	defer os.Unsetenv("OZ_SECRET_NPM_TOKEN")
	provider, err := envsecrets.New(team, &envsecrets.Options{Prefix: "OZ_SECRET_"})
	if err != nil {
		panic(err)
	}
	values, err := provider.Values(context.Background(), team)
	fmt.Println(values, err)
	// Output: [NPM_TOKEN=(hidden, NPM_TOKEN of Team:t1, version 0)] <nil>
}
