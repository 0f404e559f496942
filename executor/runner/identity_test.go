package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// clouds are the providers of the environments of these tests.
var clouds = environment.Providers{AWS: &environment.AWSProvider{RoleARN: "arn:aws:iam::1:role/deploy"},
	GCP: &environment.GCPProvider{ProjectNumber: "42", PoolID: "pool", ProviderID: "oz", ServiceAccountEmail: "a@b.iam.gserviceaccount.com"}}

// curl asks the runner for a token as a program in the sandbox does.
const curl = `curl -sS -H "Authorization: Bearer $OZ_IDENTITY_TOKEN" -d '{"audience":"vault"}' "$OZ_IDENTITY_URL"`

// TestCloudsOfAnEnvironment: setup commands and the agent find what the clouds'
// programs look for, readable by them alone; others get tokens on loopback; none
// is in the log, and nothing is left.
func TestCloudsOfAnEnvironment(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	look := `stat -c %a $AWS_WEB_IDENTITY_TOKEN_FILE $(dirname $AWS_WEB_IDENTITY_TOKEN_FILE); echo $AWS_ROLE_ARN $AWS_ROLE_SESSION_NAME; cat $AWS_WEB_IDENTITY_TOKEN_FILE; ` +
		`cp $AWS_WEB_IDENTITY_TOKEN_FILE ` + out + `/aws; cp $GOOGLE_APPLICATION_CREDENTIALS ` + out + `/gcp.json; cp $(dirname $AWS_WEB_IDENTITY_TOKEN_FILE)/gcp-token ` + out + `/gcp; ` +
		`echo $AWS_WEB_IDENTITY_TOKEN_FILE > ` + out + `/at; test $CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE = $GOOGLE_APPLICATION_CREDENTIALS; env; ` +
		curl + ` | tee ` + out + `/vault; ` + curl + ` > ` + out + `/again; curl -s -o /dev/null -w '%{http_code} ' -d '{"audience":"vault"}' "$OZ_IDENTITY_URL"; ` +
		`curl -sS -H "Authorization: Bearer $OZ_IDENTITY_TOKEN" -d '{"audience":"vault","duration_seconds":1}' "$OZ_IDENTITY_URL"`
	r := newRig(t, setup{public: "https://oz.example.com", script: play(command(look), call("finish", object{"outcome": "failure", "summary": "seen"}))})
	run, events := r.finish(r.submit(oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: r.environment(func(c *environment.Config) {
		c.Providers, c.SetupCommands = &clouds, []string{`test -s "$AWS_WEB_IDENTITY_TOKEN_FILE"`}
	})}}))
	assert.Equal(t, run.State, task.StateFailed, "%s", describe(events))
	log := ""
	for _, p := range payloads[*task.ToolResult](events) {
		log += p.Content
	}
	assert.Assert(t, strings.Contains(log, "600\n700\narn:aws:iam::1:role/deploy Oz_Run_"+string(run.ID)), "%s", log)
	assert.Assert(t, strings.Contains(log, "401 ") && strings.Contains(log, "duration_seconds: is 1"), "%s", log)

	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(out, name))
		assert.NilError(t, err)
		return strings.TrimSpace(string(data))
	}
	var vault executor.IdentityToken
	assert.NilError(t, json.Unmarshal([]byte(read("vault")), &vault))
	assert.Equal(t, vault.Audience, "vault")
	assert.Equal(t, read("vault"), read("again"), "one token for one request")
	raw, err := json.Marshal(events)
	assert.NilError(t, err)
	for _, token := range []string{read("aws"), read("gcp"), vault.Token.Reveal()} {
		assert.Equal(t, strings.Count(token, "."), 2, token)
		assert.Assert(t, !strings.Contains(string(raw), token))
	}
	for _, q := range r.model.Requests() {
		assert.Assert(t, !strings.Contains(string(q.Body), read("aws")))
	}
	var google map[string]any
	assert.NilError(t, json.Unmarshal([]byte(read("gcp.json")), &google))
	file := google["credential_source"].(map[string]any)["file"]
	assert.DeepEqual(t, google, map[string]any{"type": "external_account", "audience": "//iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/pool/providers/oz",
		"subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": "https://sts.googleapis.com/v1/token", "credential_source": map[string]any{"file": file},
		"service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b.iam.gserviceaccount.com:generateAccessToken"})
	for deadline := time.Now().Add(patience); !errors.Is(err, os.ErrNotExist); time.Sleep(time.Millisecond) { // the run is over before its runner
		assert.Assert(t, time.Now().Before(deadline), "nothing is left")
		_, err = os.Stat(filepath.Dir(read("at")))
	}
}

// TestCloudsNeedAnIssuer: where the platform cannot issue tokens, a run whose
// environment needs them ends and says what to set; one that needs none goes on.
func TestCloudsNeedAnIssuer(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(call("finish", object{"outcome": "failure", "summary": "seen"}))})
	run, _ := r.finish(r.submit(oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: r.environment(func(c *environment.Config) { c.Providers = &clouds })}}))
	assert.Equal(t, run.Status.ErrorCode, task.CodeFeatureNotAvailable)
	assert.Assert(t, strings.Contains(run.Status.Message, "sign in to AWS") && strings.Contains(run.Status.Message, "public_url"), run.Status.Message)
	run, _ = r.finish(r.submit(oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: r.environment(func(*environment.Config) {})}}))
	assert.Equal(t, run.State, task.StateFailed)
	assert.Equal(t, run.Status.Message, "seen")
}

// flaky is a link whose identity tokens are made by the test.
type flaky struct {
	executor.Link
	issue func(executor.IdentityRequest) (executor.IdentityToken, error)
}

func (f flaky) IdentityToken(_ context.Context, r executor.IdentityRequest) (executor.IdentityToken, error) {
	return f.issue(r)
}

// hurried is the system's clock, but what waits for a minute or more waits for
// as many milliseconds as it wanted minutes.
type hurried struct{ task.Clock }

func (q hurried) After(d time.Duration) <-chan time.Time {
	if d >= time.Minute {
		d /= 60_000
	}
	return q.Clock.After(d)
}

// TestTokensAreRenewed while the run goes on; when that fails, the log says so
// once, the old token stays, and it is tried again.
func TestTokensAreRenewed(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	made := 0
	issue := func(r executor.IdentityRequest) (executor.IdentityToken, error) {
		mu.Lock()
		defer mu.Unlock()
		if made++; made == 3 || made == 4 {
			return executor.IdentityToken{}, errors.New("the platform is busy")
		}
		return executor.IdentityToken{Token: executor.Sensitive("token-" + strings.Repeat("x", 20+made)), Audience: r.Audience, ExpiresAt: time.Now().Add(time.Hour)}, nil
	}
	wait := `first=$(cat $AWS_WEB_IDENTITY_TOKEN_FILE | wc -c); until [ "$(cat $AWS_WEB_IDENTITY_TOKEN_FILE | wc -c)" -gt $((first+3)) ]; do sleep 0.01; done; echo renewed`
	r := newRig(t, setup{script: play(command(wait), call("finish", object{"outcome": "failure", "summary": "seen"})),
		runner: func(o *runner.Options) { o.Clock = hurried{task.SystemClock()} },
		link:   func(_ task.ExecutionID, l executor.Link) executor.Link { return flaky{l, issue} }})
	only := environment.Providers{AWS: clouds.AWS}
	_, events := r.finish(r.submit(oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: r.environment(func(c *environment.Config) { c.Providers = &only })}}))
	log := describe(events)
	assert.Assert(t, strings.Contains(log, "renewed"), "%s", log)
	failures := 0
	for _, n := range payloads[*task.Notice](events) {
		if strings.Contains(n.Text, "The identity token for AWS could not be renewed") && strings.Contains(n.Text, "the platform is busy") {
			failures++
		}
	}
	assert.Equal(t, failures, 1, "%s", log)
}
