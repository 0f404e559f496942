package oz

import (
	"context"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// SecretInput asks for a secret.
type SecretInput struct {
	// Name is the environment variable that agents get.
	Name string
	// Value is never given back.
	Value executor.Sensitive
	// Description is for people.
	Description string
	// Type is the kind of secret; default "raw_value".
	Type string
	// Team says whose it is, as in Request.
	Team *bool
}

// SecretChange changes what is not nil.
type SecretChange struct {
	Value       *executor.Sensitive
	Description *string
}

// Secret is what may be known of a secret: everything but its value.
type Secret struct {
	Name        string
	Owner       task.Scope
	Description string
	Type        string
	Version     int
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// CreateSecret seals a new secret.
func (c *Client) CreateSecret(ctx context.Context, in SecretInput) (Secret, error) {
	return Secret{}, notBuilt("", "a store for secrets", "configure one")
}

// UpdateSecret changes a secret.
func (c *Client) UpdateSecret(ctx context.Context, name string, team *bool, change SecretChange) (Secret, error) {
	return Secret{}, notBuilt("", "a store for secrets", "configure one")
}

// DeleteSecret removes a secret.
func (c *Client) DeleteSecret(ctx context.Context, name string, team *bool) error {
	return notBuilt("", "a store for secrets", "configure one")
}

// Secrets lists the secrets that the caller may use, without their values.
func (c *Client) Secrets(ctx context.Context) ([]Secret, error) {
	return nil, notBuilt("", "a store for secrets", "configure one")
}

// variables resolves the secrets of a run and adds them to r.
func (p *Platform) variables(ctx context.Context, t task.Task, r *secrets.Redactor) (vars []executor.Variable, missing []string, err error) {
	p.guardOwn(r)
	return nil, nil, nil
}
