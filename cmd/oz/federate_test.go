package main

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/servertest"
)

// payload reads what a token says.
func payload(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(strings.TrimSpace(token), ".")
	assert.Equal(t, len(parts), 3, token)
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	assert.NilError(t, err)
	var claims map[string]any
	assert.NilError(t, json.Unmarshal(data, &claims))
	return claims
}

// TestFederate: inside a run, oz gets identity tokens of that run from its runner,
// plain and as Google's libraries read them; the transcript shows none.
func TestFederate(t *testing.T) {
	out := t.TempDir()
	oz := filepath.Join(bin, "oz")
	command := strings.Join([]string{
		oz + " federate issue-token --audience vault --subject-template run_id,principal --duration 15m > " + out + "/plain",
		oz + " federate issue-token --audience vault --output-format json > " + out + "/json",
		"GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE=//iam.googleapis.com/p " + oz + " federate issue-gcp-token --output-file " + out + "/file > " + out + "/gcp",
		oz + " federate issue-gcp-token --audience x --duration 1m > " + out + "/refused; test $? = 1",
		oz + " federate issue-token --audience vault --run-id other; test $? = 2",
		"cat " + out + "/plain"}, "\n")
	d := &desk{t: t, dir: t.TempDir(), server: servertest.New(t, filepath.Join(bin, "ozd"), mender("set -e\n"+strings.ReplaceAll(command, "; test", " || test")))}
	d.configure("public_url: https://oz.example.com\n")
	d.server.Start()
	id := d.object("agent", "run-cloud", "-p", "mend it", "--no-environment")["run_id"].(string)
	followed := d.oz("run", "follow", id)
	assert.Equal(t, followed.code, exitFailure)
	has(t, followed.out, "--run-id: this is part of run "+id, "[redacted:identity-token]")

	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(out, name))
		assert.NilError(t, err, "%s", followed.out)
		return string(data)
	}
	assert.Assert(t, !strings.Contains(followed.out, strings.TrimSpace(read("plain"))))
	claims := payload(t, read("plain"))
	assert.Equal(t, claims["run_id"], id)
	assert.Equal(t, claims["aud"], "vault")
	assert.Assert(t, strings.HasPrefix(claims["sub"].(string), "run_id:"+id+",user:"), "%v", claims)
	assert.Equal(t, claims["exp"].(float64)-claims["iat"].(float64), 900.0)
	var answer struct {
		Token, Issuer, Subject string
	}
	assert.NilError(t, json.Unmarshal([]byte(read("json")), &answer))
	assert.Equal(t, answer.Issuer, "https://oz.example.com/api/v1/oz/identity")
	assert.Equal(t, payload(t, answer.Token)["sub"], answer.Subject)

	var google gcpAnswer
	assert.NilError(t, json.Unmarshal([]byte(read("gcp")), &google))
	assert.Equal(t, read("gcp"), read("file")+"\n")
	assert.Assert(t, google.Success && google.Version == 1 && google.TokenType == "urn:ietf:params:oauth:token-type:jwt")
	assert.Equal(t, payload(t, google.IDToken)["aud"], "https://iam.googleapis.com/p")
	assert.Equal(t, float64(google.Expires), payload(t, google.IDToken)["exp"])
	info, err := os.Stat(filepath.Join(out, "file"))
	assert.NilError(t, err)
	assert.Equal(t, info.Mode().Perm(), os.FileMode(0o600))
	google = gcpAnswer{}
	assert.NilError(t, json.Unmarshal([]byte(read("refused")), &google))
	assert.Assert(t, !google.Success && google.Code == "invalid_request" && strings.Contains(google.Message, "duration_seconds: is 60"), "%+v", google)

	d.fails(1, "identity tokens are for runs", "federate", "issue-token", "--audience", "vault")
	d.fails(2, "--audience is needed", "federate", "issue-token")
	d.fails(2, "GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE, is needed", "federate", "issue-gcp-token")
}

// TestFederateByRunToken: where a worker of another kind put the run's token into
// the environment, the server is asked.
func TestFederateByRunToken(t *testing.T) {
	d := newDesk(t, "public_url: https://oz.example.com\n")
	o := newOfficial(t, d, "w1")
	o.agent = []string{"federate", "issue-token", "--audience", "vault"}
	o.after = []string{"harness-support", "report-shutdown", "--error-category", "other", "--error-message", "done"}
	run := d.object("agent", "run-cloud", "-p", "please greet", "--no-environment", "--host", "w1")
	_, out := o.one(t)
	at := strings.Index(out, "eyJ")
	assert.Assert(t, at >= 0, out)
	claims := payload(t, strings.Fields(out[at:])[0])
	assert.Equal(t, claims["run_id"], run["run_id"])
	assert.Equal(t, claims["host"], "w1")
}
