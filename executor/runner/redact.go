package runner

import (
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/secrets"
)

// newRedactor knows every value of the bundle that must not be shown.
func newRedactor(b *executor.Bundle) (*secrets.Redactor, error) {
	r := secrets.NewRedactor(nil)
	add := func(name string, value executor.Sensitive) error {
		if value == "" {
			return nil
		}
		if err := r.Add(name, value.Reveal()); err != nil {
			return fmt.Errorf("secret %s: %w", name, err)
		}
		return nil
	}
	for _, s := range b.Secrets {
		if err := add(s.Name, s.Value); err != nil {
			return nil, err
		}
	}
	for _, p := range b.Models.Providers {
		if err := add(label("model-key-"+p.Name), p.APIKey); err != nil {
			return nil, err
		}
	}
	for _, c := range b.GitCredentials {
		if err := add(label("git-password-"+c.Host), c.Password); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// label makes a name that can stand in the place of a value.
func label(name string) string {
	name = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' {
			return c
		}
		return '-'
	}, name)
	return name[:min(len(name), secrets.MaxNameBytes)]
}
