package jira

import (
	"bytes"
	"cmp"
	"encoding/json"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/task"
)

// DefaultLabel starts runs (Oz platform, JIR-1).
const DefaultLabel = "warp-agent"

// Proof is how a webhook proves where it comes from.
type Proof string

// The proofs: an administrator's webhook signs, an OAuth 2.0 app's brings a JWT.
const (
	ProofSignature Proof = "signature"
	ProofJWT       Proof = "jwt"
)

// Settings are those of an integration with Jira.
type Settings struct {
	// Site is the Jira Cloud site, such as https://acme.atlassian.net.
	Site string `json:"site"`
	// Email is of the account whose API token the secret "token" is. Without it
	// that is an OAuth access token, and CloudID names the site.
	Email   string `json:"email,omitempty"`
	CloudID string `json:"cloud_id,omitempty"`
	// Proof defaults to ProofSignature.
	Proof Proof `json:"proof,omitempty"`
	// Label starts runs. Default: DefaultLabel.
	Label string `json:"label,omitempty"`
	// Projects are the keys of those that count. Default: all.
	Projects []string `json:"projects,omitempty"`
}

const maxProjects = 100

var (
	site       = regexp.MustCompile(`^https://[a-z0-9][a-z0-9-]{0,62}\.atlassian\.net$`)
	projectKey = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,49}$`)
)

// word tells whether s has 1 to most characters, no spaces and nothing invisible.
// Not a regular expression: one that repeats such a class 255 times takes
// 10 ms and 10 MB to compile, at each start of each program that links this.
func word(s string, most int) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= most &&
		!strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.C, r) })
}

// email tells whether s looks like an address. A colon would end the name in
// basic authentication.
func email(s string) bool {
	name, host, found := strings.Cut(s, "@")
	return found && word(name, 200) && word(host, 200) && !strings.ContainsAny(s, ":")
}

// Check judges settings. It fails with task.CodeInvalidRequest and the name of
// the field.
func Check(raw json.RawMessage) error {
	_, err := ParseSettings(raw)
	return err
}

// ParseSettings reads settings, and fails as Check does.
func ParseSettings(raw json.RawMessage) (Settings, error) {
	var s Settings
	if len(raw) == 0 || string(raw) == "null" {
		return s, task.Invalid("settings.site", "is missing")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return s, task.Invalid("settings", "are not those of Jira: %w", err)
	}
	if dec.More() {
		return s, task.Invalid("settings", "are more than one JSON object")
	}
	s.Label, s.Proof = cmp.Or(s.Label, DefaultLabel), cmp.Or(s.Proof, ProofSignature)
	return s, s.check()
}

func (s Settings) check() error {
	switch {
	case !site.MatchString(s.Site):
		return task.Invalid("settings.site", "must be the address of a Jira Cloud site, https://<name>.atlassian.net")
	case s.Email == "" && uuid.Validate(s.CloudID) != nil:
		return task.Invalid("settings.cloud_id", "must be the site's UUID, unless email is given")
	case s.Email != "" && s.CloudID != "":
		return task.Invalid("settings.cloud_id", "is for OAuth tokens, and email for API tokens: give one")
	case s.Email != "" && !email(s.Email):
		return task.Invalid("settings.email", "is no e-mail address")
	case s.Proof != ProofSignature && s.Proof != ProofJWT:
		return task.Invalid("settings.proof", "%.50q is none of signature, jwt", string(s.Proof))
	case !word(s.Label, 255):
		return task.Invalid("settings.label", "must have 1 to 255 characters and no spaces")
	case len(s.Projects) > maxProjects:
		return task.Invalid("settings.projects", "has %d entries, at most %d are allowed", len(s.Projects), maxProjects)
	}
	for _, p := range s.Projects {
		if !projectKey.MatchString(p) {
			return task.Invalid("settings.projects", "%.50q is no project key", p)
		}
	}
	return nil
}

// base is where the API is.
func (s Settings) base() string {
	if s.Email != "" {
		return s.Site
	}
	return "https://api.atlassian.com/ex/jira/" + s.CloudID
}
