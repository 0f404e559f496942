package harness

import (
	"encoding/json"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/task"
)

// BranchArtifact is what the run shows of a branch that was pushed to a
// repository's remote. It has the same UID each time, so that reporting it
// again changes nothing.
func BranchArtifact(id task.ID, repo Repo, branch, commit string) task.Artifact {
	meta, _ := json.Marshal(map[string]string{"branch": branch, "commit": commit, "base": repo.Base}) // strings always marshal
	name := strings.Join([]string{string(id), "branch", repo.Name, branch, commit}, "\x00")
	return task.Artifact{
		UID: uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)).String(), Type: task.ArtifactReference,
		ReferenceType: task.ReferenceBranch, Title: branch, URL: BranchURL(repo.Remote, branch), Metadata: meta,
	}
}

// BranchURL is where a person sees the branch: the forge's page where it is
// known, else the repository itself.
func BranchURL(remote, branch string) string {
	if filepath.IsAbs(remote) {
		return (&url.URL{Scheme: "file", Path: remote}).String()
	}
	if host, path, ok := strings.Cut(remote, ":"); ok && !strings.Contains(remote, "://") { // git@host:owner/name
		if _, after, ok := strings.Cut(host, "@"); ok {
			host = after
		}
		remote = "ssh://" + host + "/" + path
	}
	u, err := url.Parse(remote)
	if err != nil || u.Scheme == "" {
		return "git:" + url.PathEscape(remote)
	}
	u.User = nil
	page := strings.TrimSuffix(u.Path, ".git")
	switch host := u.Hostname(); {
	case u.Scheme != "https" && u.Scheme != "http":
	case host == "github.com":
		u.Path = page + "/tree/" + branch
	case strings.Contains(host, "gitlab"):
		u.Path = page + "/-/tree/" + branch
	}
	return u.String()
}
