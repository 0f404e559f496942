package cliagent

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/environment/skill/skilldir"
)

// Skilled is an Agent whose program has skills of its own: those at hand are
// put where it looks for a person's (Oz platform, SKL-10).
type Skilled interface {
	Agent
	// SkillRoot is where the program looks for a person's skills, a directory
	// each, when its home is state.
	SkillRoot(state string) string
	// ReadsSkills names the folders, such as ".claude/skills", that the program
	// looks into by itself from the directory where it starts up to the top of
	// its repository.
	ReadsSkills() []string
}

const (
	// published marks a directory that was made here, with a file of that name.
	published = ".oz-published"
	// Limits of what is put there: skills, files and bytes of each, bytes of all.
	maxPublished, maxPublishedFiles            = 100, 200
	maxPublishedBytes, maxPublishedTotal int64 = 2 << 20, 20 << 20
)

// publish puts the session's skills where the program finds them, in the place
// of those that were put there before. The user's files stay as they are.
func (r *run) publish() error {
	a, ok := r.h.agent.(Skilled)
	if !ok {
		return nil
	}
	root := a.SkillRoot(r.state)
	if err := withdraw(root); err != nil {
		return fmt.Errorf("remove old skills: %w", err)
	}
	taken := map[string]bool{}
	left := maxPublishedTotal
	for _, k := range r.s.Skills {
		if len(taken) == maxPublished || left <= 0 {
			return nil
		}
		if slices.Contains(a.ReadsSkills(), k.Folder) && below(k.Root, r.s.Dir) {
			continue
		}
		name := directory(k.Name, taken)
		size, err := copySkill(k, filepath.Join(root, name), min(left, maxPublishedBytes))
		if err != nil {
			return fmt.Errorf("publish skill %s: %w", k, err)
		}
		left -= size
	}
	return nil
}

// withdraw removes what was published before.
func withdraw(root string) error {
	entries, err := os.ReadDir(root)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		if _, err := os.Lstat(filepath.Join(dir, published)); err != nil || !e.IsDir() {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// below reports that path is dir or lies below it.
func below(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

var notInDirectory = regexp.MustCompile(`[^a-z0-9]+`)

// directory makes a name that is not taken of a skill's, in the letters that
// the programs allow.
func directory(name string, taken map[string]bool) string {
	base := strings.Trim(notInDirectory.ReplaceAllString(strings.ToLower(name), "-"), "-")
	base = strings.TrimRight(base[:min(len(base), 50)], "-")
	if base == "" {
		base = "skill"
	}
	out := base
	for i := 2; taken[out]; i++ {
		out = fmt.Sprintf("%s-%d", base, i)
	}
	taken[out] = true
	return out
}

// copySkill copies the regular files of a skill, as far as most bytes go: its
// text first. What is a link, or is not there any more, is left out.
func copySkill(k skilldir.Found, to string, most int64) (size int64, err error) {
	root, err := k.Open()
	if err != nil {
		return 0, nil // it went away: nothing to publish
	}
	defer func() { _ = root.Close() }() // only read
	if err := os.MkdirAll(to, 0o700); err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(to, published), nil, 0o600); err != nil {
		return 0, err
	}
	list, _, err := k.Files()
	if err != nil {
		return 0, nil
	}
	files := append([]string{filepath.Base(k.Path)}, list...)
	for _, name := range files[:min(len(files), maxPublishedFiles)] {
		n, err := copyFile(root, name, filepath.Join(to, filepath.FromSlash(name)), most-size)
		if err != nil {
			return size, err
		}
		size += n
	}
	return size, nil
}

// copyFile copies a regular file of at most so many bytes; a longer one is left
// out.
func copyFile(root *os.Root, name, to string, most int64) (int64, error) {
	name = filepath.FromSlash(name)
	info, err := root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > most {
		return 0, nil
	}
	in, err := root.Open(name)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = in.Close() }() // only read
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return 0, err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600|info.Mode().Perm()&fs.FileMode(0o100))
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(out, io.LimitReader(in, most))
	if closed := out.Close(); err == nil {
		err = closed
	}
	return n, err
}
