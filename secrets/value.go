package secrets

import (
	"fmt"

	"github.com/oz-platform/cloudagents/task"
)

// Value is one environment variable of a secret, with its plaintext. Only Plaintext
// reveals that: printing, logging and encoding a Value show its other fields, and
// reflection finds nothing else. A Value is immutable and safe for concurrent use.
type Value struct {
	// Name is the environment variable: see CheckName.
	Name string `json:"name"`

	// Secret is the name that people manage the secret by, which allow-lists hold.
	// Empty means that it is Name; typed secrets have several variables.
	Secret string `json:"secret,omitempty"`

	// Scope is the team or the person that the secret belongs to.
	Scope task.Scope `json:"scope"`

	// Version counts the values the secret has had, from 1; 0 if the provider
	// keeps no count.
	Version int64 `json:"version,omitempty"`

	// Public marks what comes along with a secret and is none, such as a region:
	// it is injected, but not redacted.
	Public bool `json:"public,omitempty"`

	// reveal is a closure, because neither fmt nor any other reflection looks
	// into one.
	reveal func() string
}

// With returns v with plaintext as its value.
func (v Value) With(plaintext string) Value {
	v.reveal = func() string { return plaintext }
	return v
}

// Plaintext returns the secret itself, for the environment of the agent's process and
// for a Redactor. It belongs nowhere else.
func (v Value) Plaintext() string {
	if v.reveal == nil {
		return ""
	}
	return v.reveal()
}

// Managed returns the name that people manage the secret by.
func (v Value) Managed() string {
	if v.Secret != "" {
		return v.Secret
	}
	return v.Name
}

// String describes v without its plaintext.
func (v Value) String() string {
	return fmt.Sprintf("%s=(hidden, %s of %s, version %d)", v.Name, v.Managed(), v.Scope, v.Version)
}

// GoString is String: %#v shows no more than %v.
func (v Value) GoString() string { return v.String() }
