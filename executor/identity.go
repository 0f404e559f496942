package executor

import (
	"context"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// Identifier is a Link whose platform vouches for its runs to other services.
// Like all of a Link, its method fails with task.ErrFenced once the execution
// has ended.
type Identifier interface {
	// IdentityToken makes a token that says which run this is (OpenID Connect).
	// It fails with task.CodeInvalidRequest, with task.CodeNotAuthorized for a run
	// that nobody vouches for, with task.CodeFeatureNotAvailable where the platform
	// has no address at which its keys can be fetched, and with
	// task.CodeResourceUnavailable for a run that has asked for too many.
	IdentityToken(ctx context.Context, r IdentityRequest) (IdentityToken, error)
}

// IdentityRequest asks for an identity token.
type IdentityRequest struct {
	// Audience is the service that the token is for, as that service wants it.
	Audience string `json:"audience"`
	// DurationSeconds is how long it is good for: 300 (5 minutes) to 10,800 (3
	// hours); 0 is 1 hour.
	DurationSeconds int `json:"duration_seconds,omitempty"`
	// Subject are the parts that the subject is made of, in order: principal,
	// scoped_principal, email, teams, environment, agent_name, skill_spec, run_id,
	// host. None is principal.
	Subject []string `json:"subject_template,omitempty"`
}

// IdentityToken is one, with what it says that callers need.
type IdentityToken struct {
	// Token is a signed JSON web token.
	Token Sensitive `json:"token"`
	// Issuer, Subject and Audience are its claims of these names.
	Issuer   string `json:"issuer"`
	Subject  string `json:"subject"`
	Audience string `json:"audience"`
	// ExpiresAt is when it is over.
	ExpiresAt time.Time `json:"expires_at"`
}

// IdentityTokenType is what an identity token is where tokens are exchanged
// (RFC 8693, section 3).
const IdentityTokenType = "urn:ietf:params:oauth:token-type:jwt"

// Variables by which the processes of an agent ask their runner for identity
// tokens: POST an IdentityRequest to the address, with the value as bearer token.
// The answer is an IdentityToken, or an IdentityRefusal with the status of its code.
const (
	EnvIdentityURL   = "OZ_IDENTITY_URL"
	EnvIdentityToken = "OZ_IDENTITY_TOKEN"
)

// IdentityRefusal says why a runner gives no token.
type IdentityRefusal struct {
	Code    task.Code `json:"error"`
	Message string    `json:"message"`
}
