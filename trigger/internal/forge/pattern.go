package forge

import (
	"path"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// MaxValues bounds the values of one field of a filter.
const MaxValues = 100

// CheckValues judges those of a field: each has 1 to 255 bytes, and a pattern
// no wildcard but *. It fails with task.CodeInvalidRequest and where.
func CheckValues(where string, values []string, pattern bool) error {
	if len(values) > MaxValues {
		return task.Invalid(where, "has %d values, at most %d are allowed", len(values), MaxValues)
	}
	for _, v := range values {
		if v == "" || len(v) > 255 {
			return task.Invalid(where, "%.50q must have 1 to 255 bytes", v)
		}
		if pattern && strings.ContainsAny(v, `[]\?`) {
			return task.Invalid(where, "%.50q may have * and no other wildcard", v)
		}
	}
	return nil
}

// In reports whether one of the patterns matches one of the names. Case does
// not count.
func In(patterns []string, names ...string) bool {
	for _, p := range patterns {
		for _, n := range names {
			if strings.EqualFold(p, n) || strings.Contains(p, "*") && glob(strings.ToLower(p), strings.ToLower(n)) {
				return true
			}
		}
	}
	return false
}

// glob lets * stand for anything, slashes too: branches have them.
func glob(pattern, name string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", "\x01"), strings.ReplaceAll(name, "/", "\x01"))
	return ok && err == nil
}
