package gateway

import (
	"fmt"
	"io"
)

// hidden stands where a key would have been shown.
const hidden = "[hidden]"

// Key is a credential that cannot be printed: every way of formatting or
// marshalling it gives "[hidden]". The zero Key is "none".
type Key struct{ value string }

// NewKey wraps a credential.
func NewKey(value string) Key { return Key{value: value} }

// IsZero reports whether there is no credential.
func (k Key) IsZero() bool { return k.value == "" }

// Reveal gives the credential itself, for the one place that sends it.
func (k Key) Reveal() string { return k.value }

// String gives "[hidden]", or "" for the zero Key.
func (k Key) String() string {
	if k.IsZero() {
		return ""
	}
	return hidden
}

// Format writes "[hidden]" whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// MarshalText gives "[hidden]", so that JSON, YAML and log encoders do too.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
