package runner

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/git"
)

func TestRemoteURL(t *testing.T) {
	for raw, want := range map[string]string{
		"":                                   "",
		"https://host/owner/name.git":        "https://host/owner/name.git",
		"https://me:token@host/owner/name":   "https://host/owner/name",
		"ssh://git@host:2222/owner/name.git": "ssh://git@host:2222/owner/name.git",
		"git@host:owner/name.git":            "ssh://git@host/owner/name.git",
		"host:/srv/name.git":                 "ssh://host/srv/name.git",
		"/srv/a b/name.git":                  "file:///srv/a%20b/name.git",
		"../name.git":                        "file:///home/me/name.git",
		"./odd:name":                         "file:///home/me/work/odd:name",
		"file:///srv/name.git":               "file:///srv/name.git",
	} {
		got := remoteURL(raw, "/home/me/work")
		assert.Equal(t, got, want, raw)
		if got != "" {
			assert.NilError(t, git.CheckURL(got), raw)
		}
	}
}
