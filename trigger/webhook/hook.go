package webhook

import (
	"encoding/json"
	"net/textproto"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/task"
)

// Limits of hooks (Oz platform, WHK-2, WHK-4 and WHK-9).
const (
	MaxBody     = 256 << 10 // bytes of a payload
	MaxPerOwner = 20
	// DefaultPerMinute is how many deliveries a hook takes in a minute when it
	// does not say; MaxPerMinute is the most that it may say.
	DefaultPerMinute = 60
	MaxPerMinute     = 60_000

	maxName      = 200       // bytes
	maxStored    = 512 << 10 // bytes of what people set, encoded
	maxCondition = 4 << 10   // bytes
	maxSecret    = 4 << 10   // bytes
)

// Mode is how a sender proves who it is (Oz platform, WHK-3).
type Mode string

// The modes: a token in the header Authorization, a secret at the end of the
// address, and a signature.
const (
	ModeToken     Mode = "token"
	ModeURLToken  Mode = "url_token"
	ModeSignature Mode = "signature"
)

// Spec is what people set.
type Spec struct {
	Name    string `json:"name"` // for people, one line
	Enabled bool   `json:"enabled"`
	// Mode defaults to ModeToken and never changes, nor does Provider.
	Mode Mode `json:"auth_mode"`
	// Provider signs; for ModeSignature only.
	Provider Provider `json:"provider,omitempty"`
	// IDHeader names the request header that tells deliveries apart. Default:
	// the provider's, then X-Warp-Delivery-Id, then a hash of the body.
	IDHeader string `json:"delivery_id_header,omitempty"`
	// Filter says which payloads count; see ParseFilter. Empty: all.
	Filter json.RawMessage `json:"filter,omitempty"`
	// Condition says so, too, as an expression: see Options.Compile.
	Condition string `json:"condition,omitempty"`
	// Entity names what in the payload the event is about, as a path such as
	// "issue.id": events about the same thing go on with one run. Empty: each
	// event makes a run.
	Entity string `json:"entity,omitempty"`
	// PerMinute bounds what is taken. Default DefaultPerMinute.
	PerMinute int `json:"rate_per_minute,omitempty"`
	// Untrusted says that the runs get no secrets, and that a person must approve
	// what they push.
	Untrusted bool `json:"untrusted,omitempty"`

	// Prompt, Skill, Config, AgentUID, Metadata and Mode are the runs'.
	Prompt   string            `json:"prompt,omitempty"`
	Skill    string            `json:"skill,omitempty"`
	Config   task.Config       `json:"config,omitzero"`
	AgentUID string            `json:"agent_uid,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	RunMode  task.Mode         `json:"mode,omitempty"`
}

// Hook is a Spec, whose it is and when it changed.
type Hook struct {
	// UID is a UUID, and the end of the hook's address. Owner never changes.
	UID   string     `json:"uid"`
	Owner task.Scope `json:"owner"`
	Spec
	Creator    task.Principal `json:"creator"`
	LastEditor task.Principal `json:"last_editor"`
	// CreatedAt and UpdatedAt are in UTC, to the microsecond.
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// HasSecret says that a sender can prove who it is.
	HasSecret bool `json:"has_secret"`
}

// Source is the hook's name among all that arrives.
func (h Hook) Source() string { return sourcePrefix + h.UID }

// Path is the hook's address on the server, without the secret that
// ModeURLToken puts behind it.
func (h Hook) Path() string { return "/webhooks/w/" + h.UID }

const sourcePrefix = "webhook/"

var (
	headerName = regexp.MustCompile(`^[A-Za-z0-9-]{1,100}$`)
	entityPath = regexp.MustCompile(`^[^.\x00-\x1f]+(\.[^.\x00-\x1f]+){0,15}$`)
)

// Validate judges what concerns the arrival; what concerns the runs is the
// host's business. It fails with task.CodeInvalidRequest and the field's name.
func (s Spec) Validate() error {
	switch {
	case strings.TrimSpace(s.Name) == "" || len(s.Name) > maxName:
		return task.Invalid("name", "must have 1 to %d bytes", maxName)
	case !utf8.ValidString(s.Name) || strings.ContainsFunc(s.Name, unicode.IsControl):
		return task.Invalid("name", "must be one line of valid UTF-8 without control characters")
	case s.Mode != ModeToken && s.Mode != ModeURLToken && s.Mode != ModeSignature:
		return task.Invalid("auth_mode", "%q is none of token, url_token, signature", string(s.Mode))
	case s.Mode == ModeSignature && !s.Provider.known():
		return task.Invalid("provider", "%q is none of %s", string(s.Provider), providerNames())
	case s.Mode != ModeSignature && s.Provider != "":
		return task.Invalid("provider", "goes with auth_mode signature only")
	case s.IDHeader != "" && !headerName.MatchString(s.IDHeader):
		return task.Invalid("delivery_id_header", "must be the name of a request header")
	case secretHeader(s.IDHeader):
		return task.Invalid("delivery_id_header", "%s carries a secret, which would be kept", s.IDHeader)
	case len(s.Condition) > maxCondition:
		return task.Invalid("condition", "has %d bytes, at most %d are allowed", len(s.Condition), maxCondition)
	case len(s.Entity) > maxName || s.Entity != "" && !entityPath.MatchString(s.Entity):
		return task.Invalid("entity", "must be a path of keys with dots between them, such as issue.id")
	case s.PerMinute < 0 || s.PerMinute > MaxPerMinute:
		return task.Invalid("rate_per_minute", "must be 1 to %d, or 0 for %d", MaxPerMinute, DefaultPerMinute)
	}
	_, err := ParseFilter(s.Filter)
	return err
}

// secretHeader reports that a header is one that proves who sends.
func secretHeader(name string) bool {
	switch textproto.CanonicalMIMEHeaderKey(name) {
	case "Authorization", "Cookie", "X-Gitlab-Token":
		return true
	}
	return false
}

func providerNames() string {
	names := make([]string, 0, len(Providers()))
	for _, p := range Providers() {
		names = append(names, string(p))
	}
	return strings.Join(names, ", ")
}
