package runner

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/environment/skill/skilldir"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/tools"
)

const (
	// maxTold bounds how many skills the agent is told of beforehand, maxToldBytes
	// all that is said of them, and maxToldEach what is said of one. The others it
	// finds with list_skills.
	maxTold, maxToldBytes, maxToldEach = 50, 8 << 10, 200
)

// skillsAtHand finds the skills that the agent can look up: those of its home
// directory and of the directories that are named (Oz platform, SKL-10), and
// those of the repositories, from their tops down to where it starts (SKL-5).
func (x *execution) skillsAtHand(ws *workspace) *skilldir.Finder {
	home := variable(ws.env, "HOME")
	var roots []skilldir.Root
	if filepath.IsAbs(home) {
		roots = append(roots, skilldir.Root{Dir: filepath.Clean(home)})
	}
	roots = append(roots, skilldir.Named(variable(ws.env, skilldir.Variable), home, ws.dir)...)
	repos := slices.Clone(ws.repos)
	if len(repos) == 0 {
		top := x.ruleRoot()
		repos = []harness.Repo{{Name: filepath.Base(top), Dir: top}}
	}
	// The one where the agent works is first.
	slices.SortStableFunc(repos, func(a, b harness.Repo) int {
		return map[bool]int{true: -1}[within(a.Dir, ws.dir)] - map[bool]int{true: -1}[within(b.Dir, ws.dir)]
	})
	for _, r := range repos {
		for _, dir := range downTo(r.Dir, ws.dir) {
			roots = append(roots, skilldir.Root{Dir: dir, Repo: r.Name})
		}
	}
	return skilldir.New(roots...)
}

// downTo gives the directories from top down to dir, or top alone when dir is
// not below it.
func downTo(top, dir string) []string {
	out := []string{top}
	rel, err := filepath.Rel(top, dir)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return out
	}
	for part := range strings.SplitSeq(rel, string(filepath.Separator)) {
		top = filepath.Join(top, part)
		out = append(out, top)
	}
	return out
}

// toldSkills names the skills at hand to an agent that has none of its own.
func toldSkills(h harness.Harness, f *skilldir.Finder) string {
	if taker, ok := h.(harness.SkillTaker); ok && taker.TakesSkills() {
		return ""
	}
	found, _ := f.All(false)
	var out strings.Builder
	told, more := 0, 0
	for _, k := range found {
		if k.Malformed != "" {
			continue
		}
		line := tools.SkillLine(k, maxToldEach)
		if told == maxTold || out.Len()+len(line) > maxToldBytes {
			more++
			continue
		}
		told++
		out.WriteString(line)
	}
	if told == 0 {
		return ""
	}
	if more > 0 {
		fmt.Fprintf(&out, "%d more: see %s.\n", more, tools.NameListSkills)
	}
	return "Skills\nThese are instructions for kinds of work. When one fits what you are asked to do, read it first with the tool " +
		tools.NameReadSkill + ".\n" + strings.TrimSpace(out.String())
}

// sessionSkills are the sound ones, for agents that have skills of their own.
func sessionSkills(f *skilldir.Finder) []skilldir.Found {
	found, _ := f.All(false)
	return slices.DeleteFunc(found, func(k skilldir.Found) bool { return k.Malformed != "" })
}
