package skill

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSpecBytes bounds a Spec: a path of a repository and its name.
const maxSpecBytes = 1024

// Spec says which skill is meant: "name", "repo:name" or "owner/repo:name", and
// each with the path of a file in place of the name (Oz platform, SKL-3).
type Spec struct {
	// Owner and Repo are empty where not said. An owner may have slashes, as
	// groups of some hosts do.
	Owner, Repo string
	// Name is a skill's name, or empty where Path is not.
	Name string
	// Path is that of a skill's file.
	Path string
}

// ParseSpec reads a Spec. Its error says what is wrong with s.
func ParseSpec(s string) (Spec, error) {
	switch {
	case strings.TrimSpace(s) == "":
		return Spec{}, fmt.Errorf("is empty: give name, repo:name or owner/repo:name")
	case len(s) > maxSpecBytes:
		return Spec{}, fmt.Errorf("has %d bytes, at most %d are allowed", len(s), maxSpecBytes)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return Spec{}, fmt.Errorf("must be one line of text")
	}
	var spec Spec
	qualifier, id, qualified := strings.Cut(s, ":")
	if !qualified {
		id = s
	} else if err := spec.qualify(qualifier); err != nil {
		return Spec{}, err
	}
	if strings.TrimSpace(id) == "" {
		return Spec{}, fmt.Errorf("%q names no skill after the colon", s)
	}
	if !strings.Contains(id, "/") {
		spec.Name = id
		return spec, nil
	}
	spec.Path = path.Clean(id)
	if path.Base(spec.Path) != FileName {
		spec.Path = path.Join(spec.Path, FileName)
	}
	if path.IsAbs(spec.Path) || strings.HasPrefix(spec.Path, "../") {
		return Spec{}, fmt.Errorf("%q: the path must be one within the repository", s)
	}
	return spec, nil
}

func (s *Spec) qualify(qualifier string) error {
	i := strings.LastIndexByte(qualifier, '/')
	s.Repo = qualifier[i+1:]
	switch {
	case qualifier == "":
		return fmt.Errorf("has nothing before the colon: give repo:name or owner/repo:name")
	case s.Repo == "" || i == 0:
		return fmt.Errorf("%q must be repo or owner/repo", qualifier)
	case i > 0:
		s.Owner = qualifier[:i]
	}
	return nil
}

// Unqualified reports that s names no repository.
func (s Spec) Unqualified() bool { return s.Repo == "" }

// In reports whether a repository may be the one that s means. Hosts take
// upper and lower case for the same.
func (s Spec) In(r Repository) bool {
	return (s.Repo == "" || strings.EqualFold(s.Repo, r.Name)) && (s.Owner == "" || strings.EqualFold(s.Owner, r.Owner))
}

// Find picks the skill that s means from those of one repository, which are in
// the order of Source.Skills. One that is malformed is found when there is no
// sound one.
func (s Spec) Find(list []Skill) (found Skill, ok bool) {
	for _, k := range list {
		if s.Path != "" && k.Path != s.Path || s.Path == "" && k.Name != s.Name {
			continue
		}
		if k.Malformed == "" {
			return k, true
		}
		found, ok = k, true
	}
	return found, ok
}
