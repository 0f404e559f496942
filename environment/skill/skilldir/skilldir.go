// Package skilldir finds skills that are on this machine: in checked-out
// repositories, in the home directory, and in directories that are named.
//
//	finder := skilldir.New(skilldir.Root{Dir: home}, skilldir.Root{Dir: checkout, Repo: "app"})
//	found, problems := finder.All(false)
//	...
//	one, err := finder.Find("app:deploy")
//	text, err := one.Read()
//
// No link is followed, nothing outside a root is read, and no more of a file
// than skill.MaxFileBytes.
package skilldir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/environment/skill"
	"github.com/oz-platform/cloudagents/environment/skill/skillmd"
)

const (
	// MaxFound bounds what is found in all roots together.
	MaxFound = 1000
	// MaxSupportBytes bounds a file beside a skill's text, as it is read.
	MaxSupportBytes = 64 << 10
	// MaxSupportFiles bounds the list of files beside a skill's text.
	MaxSupportFiles = 200
	// maxNamed is how many skills an error names.
	maxNamed = 20
	// maxEntries bounds what is looked at in one skill's directory.
	maxEntries = 2000
)

// Root is a directory to look in.
type Root struct {
	// Dir is absolute.
	Dir string
	// Repo is the name of the repository that Dir is in; "" for personal skills,
	// which come before all others.
	Repo string
	// Flat says that Dir holds the skills' directories themselves. Otherwise it
	// has the folders of skill.Folders.
	Flat bool
}

// Variable names directories with further skills, separated by commas (Oz
// platform, SKL-10).
const Variable = "WARP_SKILL_DIRS"

// Named gives the directories of a value of Variable: "~" is home, and what is
// not absolute lies below dir. They are personal.
func Named(value, home, dir string) []Root {
	var out []Root
	for name := range strings.SplitSeq(value, ",") {
		name = strings.TrimSpace(name)
		rest, inHome := strings.CutPrefix(name, "~/")
		switch {
		case name == "" || strings.ContainsRune(name, 0), (name == "~" || inHome) && home == "":
			continue
		case name == "~":
			name = home
		case inHome:
			name = filepath.Join(home, rest)
		case !filepath.IsAbs(name):
			name = filepath.Join(dir, name)
		}
		out = append(out, Root{Dir: filepath.Clean(name), Flat: true})
	}
	return out
}

// Found is a skill and where it is. Its Body is empty: Read gives it.
type Found struct {
	skill.Skill
	// Repo is that of its Root, Dir the directory of its file, and Folder the
	// one of skill.Folders that it was found in; "" in a flat one.
	Repo, Dir, Folder string
	// Root is the directory that was looked in.
	Root string
}

// String names the skill so that Find finds it, unless it is ambiguous.
func (f Found) String() string {
	if f.Repo == "" {
		return f.Name
	}
	return f.Repo + ":" + f.Name
}

// Finder finds skills in roots and remembers them. Safe for concurrent use.
type Finder struct {
	roots []Root

	mu       sync.Mutex
	looked   bool
	found    []Found
	problems []string
}

// New returns a Finder. Earlier roots are stronger.
func New(roots ...Root) *Finder { return &Finder{roots: slices.Clone(roots)} }

// All gives what there is, malformed ones too, and says which roots could not be
// read. It looks again only with refresh.
func (f *Finder) All(refresh bool) (found []Found, problems []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.looked || refresh {
		f.found, f.problems, f.looked = nil, nil, true
		seen := map[string]bool{}
		for _, r := range f.roots {
			if seen[r.Dir] {
				continue
			}
			seen[r.Dir] = true
			more, err := look(r)
			if err != nil {
				f.problems = append(f.problems, fmt.Sprintf("%s cannot be looked into: %v", r.Dir, plainly(err)))
			}
			f.found = append(f.found, more[:min(len(more), MaxFound-len(f.found))]...)
		}
	}
	return slices.Clone(f.found), slices.Clone(f.problems)
}

// look reads one root. One that is not there has none.
func look(r Root) ([]Found, error) {
	root, err := os.OpenRoot(r.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // only read
	discover := skillmd.Discover
	if r.Flat {
		discover = skillmd.DiscoverIn
	}
	list, err := discover(root.FS())
	if err != nil {
		return nil, err
	}
	out := make([]Found, 0, len(list))
	for _, s := range list {
		s.Body = "" // up to 64 MiB that nobody may ask for
		at := Found{Skill: s, Repo: r.Repo, Root: r.Dir, Dir: filepath.Join(r.Dir, filepath.FromSlash(path.Dir(s.Path)))}
		if !r.Flat {
			at.Folder, _, _ = skill.Split(s.Path)
		}
		out = append(out, at)
	}
	return out, nil
}

// Find gives the skill that a spec means: a personal one before those of
// repositories, and in one repository the stronger root's. It looks again when
// there is none. Its error says what there is instead.
func (f *Finder) Find(spec string) (Found, error) {
	s, err := skill.ParseSpec(spec)
	if err != nil {
		return Found{}, fmt.Errorf("the skill's name %w", err)
	}
	for _, refresh := range []bool{false, true} {
		all, _ := f.All(refresh)
		hits := matching(all, s)
		switch {
		case len(hits) == 1 && hits[0].Malformed != "":
			if !refresh {
				continue // it may have been mended
			}
			return Found{}, fmt.Errorf("skill %q cannot be read: %s", spec, hits[0].Malformed)
		case len(hits) == 1:
			return hits[0], nil
		case len(hits) > 1:
			return Found{}, fmt.Errorf("%q means several skills, say which: %s", spec, names(hits))
		case refresh:
			return Found{}, fmt.Errorf("there is no skill %q; there are: %s", spec, names(all))
		}
	}
	return Found{}, errors.New("unreachable")
}

// matching gives those that a spec may mean: one of each repository at most, and
// a personal one alone.
func matching(all []Found, s skill.Spec) []Found {
	var hits []Found
	for _, sound := range []bool{true, false} {
		for _, f := range all {
			if (f.Malformed == "") != sound || !means(s, f) {
				continue
			}
			if f.Repo == "" {
				return []Found{f}
			}
			if !slices.ContainsFunc(hits, func(o Found) bool { return o.Repo == f.Repo }) {
				hits = append(hits, f)
			}
		}
		if len(hits) > 0 {
			break
		}
	}
	return hits
}

// means reports that a spec may mean a skill. Whose a repository is cannot be
// told from its directory: the name decides.
func means(s skill.Spec, f Found) bool {
	if s.Repo != "" && !strings.EqualFold(s.Repo, f.Repo) {
		return false
	}
	if s.Path != "" {
		return s.Path == f.Path
	}
	return s.Name == f.Name
}

func names(list []Found) string {
	var out []string
	for _, f := range list {
		if f.Malformed == "" && !slices.Contains(out, f.String()) {
			out = append(out, f.String())
		}
	}
	if len(out) == 0 {
		return "none"
	}
	more := ""
	if len(out) > maxNamed {
		out, more = out[:maxNamed], " and more"
	}
	return strings.Join(out, ", ") + more
}

// Read gives the skill with its text, as it is now.
func (f Found) Read() (skill.Skill, error) {
	root, err := os.OpenRoot(f.Root)
	if err != nil {
		return skill.Skill{}, plainly(err)
	}
	defer func() { _ = root.Close() }() // only read
	file, err := skillmd.Open(root.FS(), f.Path)
	if err != nil {
		return skill.Skill{}, plainly(err)
	}
	s := skillmd.Parse(file)
	if s.Malformed != "" {
		return s, errors.New(s.Malformed)
	}
	return s, nil
}

// Files lists the files beside the skill's own, by their paths with slashes,
// and says whether these are all.
func (f Found) Files() (list []string, all bool, err error) {
	root, err := f.Open()
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = root.Close() }() // only read
	all = true
	entries := 0
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if entries++; entries > maxEntries || len(list) >= MaxSupportFiles {
			all = false
			return fs.SkipAll
		}
		if err != nil {
			all = false
			return fs.SkipDir
		}
		if d.Type().IsRegular() && name != skill.FileName {
			list = append(list, name)
		}
		return nil
	})
	return list, all, err
}

// File reads the beginning of a file beside the skill's own, at most
// MaxSupportBytes, and says whether that is all of it. It must be text.
func (f Found) File(name string) (text string, all bool, err error) {
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", false, errors.New("must be a path below the skill's directory")
	}
	root, err := f.Open()
	if err != nil {
		return "", false, err
	}
	defer func() { _ = root.Close() }() // only read
	name = filepath.FromSlash(name)
	if info, err := root.Lstat(name); err != nil {
		return "", false, plainly(err)
	} else if !info.Mode().IsRegular() {
		return "", false, errors.New("is no regular file")
	}
	file, err := root.Open(name)
	if err != nil {
		return "", false, plainly(err)
	}
	defer func() { _ = file.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(file, MaxSupportBytes+1))
	if err != nil {
		return "", false, plainly(err)
	}
	if all = len(data) <= MaxSupportBytes; !all {
		data = data[:MaxSupportBytes]
		for i := 0; i < utf8.UTFMax && !utf8.Valid(data); i++ { // a character cut in two
			data = data[:len(data)-1]
		}
	}
	if !utf8.Valid(data) || slices.Contains(data, 0) {
		return "", false, errors.New("is not text in UTF-8")
	}
	return string(data), all, nil
}

// Open opens the skill's directory, by way of its root, which no link leaves.
func (f Found) Open() (*os.Root, error) {
	root, err := os.OpenRoot(f.Root)
	if err != nil {
		return nil, plainly(err)
	}
	defer func() { _ = root.Close() }() // only read
	dir, err := root.OpenRoot(filepath.FromSlash(path.Dir(f.Path)))
	if err != nil {
		return nil, plainly(err)
	}
	return dir, nil
}

// plainly leaves paths out of an error: they are said beside it, or are nobody's
// business.
func plainly(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
