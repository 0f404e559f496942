// Package bundled holds the skills that come with the platform: fix a failing
// test, review a pull request, update dependencies, triage an issue, refresh
// documentation, add a skill.
//
//	skills, err := bundled.Skills()
//	...
//	platform, err := oz.New(store, &oz.Options{Suggested: skills})
//
// They need no files beside their texts. Their paths begin with their names:
// "fix-failing-test/SKILL.md".
package bundled

import (
	"embed"
	"fmt"
	"io/fs"
	"path"

	"github.com/oz-platform/cloudagents/environment/skill"
	"github.com/oz-platform/cloudagents/environment/skill/skillmd"
)

//go:embed skills/*/SKILL.md
var files embed.FS

// Skills returns them by name. It fails only if the program was built with a
// broken one.
func Skills() ([]skill.Skill, error) {
	dirs, err := fs.ReadDir(files, "skills") // by name
	if err != nil {
		return nil, fmt.Errorf("bundled skills: %w", err)
	}
	out := make([]skill.Skill, 0, len(dirs))
	for _, d := range dirs {
		data, err := files.ReadFile(path.Join("skills", d.Name(), skill.FileName))
		if err != nil {
			return nil, fmt.Errorf("bundled skills: %w", err)
		}
		s := skillmd.Parse(skillmd.File{Path: path.Join(d.Name(), skill.FileName), Data: data})
		if s.Malformed != "" {
			return nil, fmt.Errorf("bundled skill %s: %s", d.Name(), s.Malformed)
		}
		out = append(out, s)
	}
	return out, nil
}
