package skill

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// FileName is what a skill's file is called.
const FileName = "SKILL.md"

// Limits. A skill becomes part of every prompt of its run.
const (
	MaxFileBytes = 128 << 10
	// MaxSkills is how many skills of one repository are looked at, and
	// MaxTotalBytes how much of them together: the first in the order of
	// Folders.
	MaxSkills     = 500
	MaxTotalBytes = 2 << 20
)

// Folders are the directories of a repository that hold skills, the strongest
// first: of several skills with one name, the first counts (Oz API, GET /agent).
func Folders() []string {
	return []string{".warp/skills", ".agents/skills", ".claude/skills", ".codex/skills", ".cursor/skills", ".gemini/skills",
		".copilot/skills", ".factory/skills", ".github/skills", ".opencode/skills", ".kiro/skills"}
}

// Split gives folder and directory of the skill whose file is at file; ok is
// false for a file that is not one of a skill.
func Split(file string) (folder, dir string, ok bool) {
	dir, base := path.Split(file)
	folder, dir = path.Split(strings.TrimSuffix(dir, "/"))
	folder = strings.TrimSuffix(folder, "/")
	return folder, dir, base == FileName && dir != "" && slices.Contains(Folders(), folder)
}

// Skill is a skill as its file says.
type Skill struct {
	// Name and Description are of the front matter. The name of one that
	// cannot be read is that of its directory.
	Name, Description string
	// Body is the Markdown after the front matter.
	Body string
	// Path is that of the file in the repository, with slashes.
	Path string
	// Malformed says why the file cannot be read; "" for a sound one.
	Malformed string
}

// Repository is where skills are looked for.
type Repository struct {
	// Owner and Name are its name for people; Owner may be empty.
	Owner, Name string
	// URL is its address.
	URL string
	// Ref is the branch, tag or full commit to look at. Default: the
	// repository's default branch.
	Ref string
	// For is on whose behalf: what one may see is not kept for another.
	For task.Scope
}

// String gives "owner/name", or the name alone.
func (r Repository) String() string { return path.Join(r.Owner, r.Name) }

// ID names a skill of the repository by its file: "owner/repo:path". It is
// stable while the file stays where it is.
func (r Repository) ID(s Skill) string { return r.String() + ":" + s.Path }

// Source finds the skills of repositories. Implementations are safe for
// concurrent use.
type Source interface {
	// Skills returns the skills of a repository, malformed ones too, by path.
	// It may remember an earlier answer, but not with refresh. It fails with
	// task.CodeExternalAuthRequired, task.CodeNotFound or
	// task.CodeResourceUnavailable when the repository cannot be read.
	Skills(ctx context.Context, r Repository, refresh bool) ([]Skill, error)
}
