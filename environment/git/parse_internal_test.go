package git

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

func FuzzParseRefs(f *testing.F) {
	sha := strings.Repeat("0a", 20)
	f.Add("ref: refs/heads/main\tHEAD\n" + sha + "\tHEAD\n" + sha + "\trefs/heads/main\n")
	f.Add("\t\nref: \tHEAD\nzz\trefs/heads/x\n")
	f.Fuzz(func(t *testing.T, out string) {
		refs := parseRefs(out)
		assert.Assert(t, refs.Head == "" || IsCommit(refs.Head))
		for name, sha := range refs.Branches {
			assert.Assert(t, IsCommit(sha), "%q", name)
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	f.Add(" M a\x00R  new\x00old\x00?? x y\x00")
	f.Add("R  x")
	f.Fuzz(func(t *testing.T, out string) {
		for _, c := range parseStatus(out) {
			assert.Assert(t, len(c.Code) == 2 && c.Path != "")
		}
	})
}

// What CheckURL lets through must be safe to hand to git after "--", and must
// hold no credentials that would end in a configuration file.
func FuzzCheckURL(f *testing.F) {
	for _, s := range []string{"https://example.com/a/b", "ssh://git@host/x", "https://u:p@h/x", "file:///x", "ext::sh"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if CheckURL(raw) != nil {
			return
		}
		assert.Assert(t, len(raw) <= MaxURLBytes && !strings.HasPrefix(raw, "-"))
		scheme, rest, ok := strings.Cut(raw, "://")
		assert.Assert(t, ok, "%q", raw)
		assert.Assert(t, !strings.ContainsAny(raw, " \n\t\x00"))
		authority, _, _ := strings.Cut(rest, "/")
		user, _, hasUser := strings.Cut(authority, "@")
		assert.Assert(t, !hasUser || (strings.EqualFold(scheme, "ssh") && !strings.Contains(user, ":")), "%q", raw)
	})
}

func TestCheckVersion(t *testing.T) {
	for _, good := range []string{"git version 2.32.0", "git version 2.39.5 (Apple Git-154)", "git version 3.0.rc1"} {
		assert.NilError(t, checkVersion(good))
	}
	assert.ErrorContains(t, checkVersion("git version 1.8.3"), "too old")
	assert.ErrorContains(t, checkVersion("git version two"), "version of git")
}

func TestOverHTTPS(t *testing.T) {
	assert.Equal(t, overHTTPS("ssh://git@example.com/team/app.git"), "https://example.com/team/app.git")
	assert.Equal(t, overHTTPS("ssh://git@example.com:7999/app.git"), "ssh://git@example.com:7999/app.git")
	assert.Equal(t, overHTTPS("http://example.com/x"), "http://example.com/x")
}
