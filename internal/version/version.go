// Package version tells which build of the module a binary is.
package version

import "runtime/debug"

// Number is the release that the source tree is, or becomes.
const Number = "0.1.0"

// String gives the release, and the commit when the build knows it.
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Number
	}
	commit, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			commit = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = ", changed"
		}
	}
	if commit == "" {
		return Number
	}
	return Number + " (" + commit + changed + ")"
}
