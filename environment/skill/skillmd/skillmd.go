// Package skillmd reads SKILL.md files: Markdown with YAML front matter that
// has name and description.
//
//	skills, err := skillmd.Discover(os.DirFS(checkout))
//
// A file that cannot be read is no error: it is a skill that says why it is
// malformed.
package skillmd

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"

	"github.com/oz-platform/cloudagents/environment/skill"
)

// Limits of the front matter.
const (
	maxFrontMatter = 16 << 10 // bytes
	maxEntries     = 4 << 10  // bytes of the entries name and description together
	maxName        = 100      // characters
)

// File is a skill's file as found. Data is nil if it is larger than
// skill.MaxFileBytes.
type File struct {
	Path string
	Data []byte
}

// Parse reads a skill's file.
func Parse(f File) skill.Skill {
	s := skill.Skill{Path: f.Path, Name: path.Base(path.Dir(f.Path))}
	front, body, err := split(f.Data)
	if err == nil {
		var name string
		if name, s.Description, err = read(front); err == nil {
			s.Name, s.Body = name, body
		}
	}
	if err != nil {
		s.Malformed = err.Error()
	}
	return s
}

var fence = []byte("---")

// split finds the front matter, between two lines of three dashes, and the
// body behind it.
func split(data []byte) (front []byte, body string, err error) {
	switch {
	case data == nil:
		return nil, "", fmt.Errorf("the file has more than %d bytes", skill.MaxFileBytes)
	case !utf8.Valid(data) || bytes.ContainsRune(data, 0):
		return nil, "", errors.New("the file is not text in UTF-8")
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	first, rest, _ := bytes.Cut(data, []byte("\n"))
	if !bytes.Equal(bytes.TrimRight(first, " \t"), fence) {
		return nil, "", errors.New("the file must begin with front matter: a line ---, then name and description, then a line ---")
	}
	for read := 0; read <= min(len(rest), maxFrontMatter); {
		line, _, more := bytes.Cut(rest[read:], []byte("\n"))
		if bytes.Equal(bytes.TrimRight(line, " \t"), fence) {
			return rest[:read], strings.TrimSpace(string(rest[read+len(line):])), nil
		}
		if !more {
			return nil, "", errors.New("the front matter has no end: put a line --- behind it")
		}
		read += len(line) + 1
	}
	return nil, "", fmt.Errorf("the front matter has more than %d bytes", maxFrontMatter)
}

// read gives name and description, which both must be there.
func read(front []byte) (name, description string, err error) {
	var f struct {
		Name        string `yaml:"name"`
		Description string `yaml:"description"`
	}
	entries, err := texts(front)
	if err != nil {
		return "", "", err
	}
	if err := yaml.Unmarshal(entries, &f); err != nil {
		return "", "", fmt.Errorf("the front matter is not valid YAML: %s", strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	f.Name, f.Description = strings.TrimSpace(f.Name), strings.TrimSpace(f.Description)
	switch {
	case f.Name == "":
		return "", "", errors.New("the front matter has no name")
	case f.Description == "":
		return "", "", errors.New("the front matter has no description")
	case utf8.RuneCountInString(f.Name) > maxName:
		return "", "", fmt.Errorf("the name has more than %d characters", maxName)
	case strings.ContainsAny(f.Name, "/:") || strings.ContainsFunc(f.Name, unicode.IsControl) || !utf8.ValidString(f.Name):
		return "", "", errors.New("the name must be one line without slash or colon")
	case !utf8.ValidString(f.Description) || strings.ContainsRune(f.Description, 0):
		return "", "", errors.New("the description is not text")
	}
	return f.Name, f.Description, nil
}

// texts gives the entries name and description of the front matter alone. The
// library takes a minute for a kilobyte of aliases of aliases, and whatever
// else stands there is of no use here.
func texts(front []byte) ([]byte, error) {
	var kept []byte
	var value []byte // of the entry under way
	keep := false
	check := func() error {
		if first := bytes.TrimSpace(value); len(first) > 0 && bytes.IndexByte([]byte("[{&*!%@`"), first[0]) >= 0 {
			return errors.New("name and description must be plain text, in quotes if it begins with a sign")
		}
		value = nil
		return nil
	}
	for line := range bytes.Lines(front) {
		if bytes.IndexByte([]byte(" \t-#\n"), line[0]) < 0 { // a new entry
			if err := check(); err != nil {
				return nil, err
			}
			key, rest, _ := bytes.Cut(line, []byte(":"))
			key = bytes.Trim(key, " \"'")
			keep = string(key) == "name" || string(key) == "description"
			if keep {
				value = bytes.Clone(rest)
			}
		} else if keep {
			value = append(value, line...)
		}
		if keep {
			kept = append(kept, line...)
		}
		if len(kept) > maxEntries {
			return nil, fmt.Errorf("name and description have more than %d bytes together", maxEntries)
		}
	}
	return kept, check()
}

// Collect reads the files of one repository and keeps those that count, in the
// order of skill.Folders and their directories: of several sound ones with one
// name the first, and of the malformed all. At most skill.MaxSkills are read.
func Collect(files []File) []skill.Skill {
	list := slices.DeleteFunc(slices.Clone(files), func(f File) bool { _, _, ok := skill.Split(f.Path); return !ok })
	slices.SortFunc(list, func(a, b File) int { return Compare(a.Path, b.Path) })
	return collect(list)
}

// collect reads the files, which are in their order.
func collect(list []File) []skill.Skill {
	out, seen := []skill.Skill{}, map[string]bool{}
	for _, f := range list[:min(len(list), skill.MaxSkills)] {
		s := Parse(f)
		if s.Malformed == "" && seen[s.Name] {
			continue
		}
		seen[s.Name] = seen[s.Name] || s.Malformed == ""
		out = append(out, s)
	}
	return out
}

// Compare orders the paths of skills' files, the strongest first.
func Compare(a, b string) int {
	folderA, dirA, _ := skill.Split(a)
	folderB, dirB, _ := skill.Split(b)
	order := skill.Folders()
	return cmp.Or(cmp.Compare(slices.Index(order, folderA), slices.Index(order, folderB)), cmp.Compare(dirA, dirB))
}

// Discover finds the skills in a directory that holds a repository's files.
// Links are not followed.
func Discover(repo fs.FS) ([]skill.Skill, error) {
	var files []File
	for _, folder := range skill.Folders() {
		if !isDir(repo, path.Dir(folder)) || !isDir(repo, folder) {
			continue
		}
		more, err := in(repo, folder, skill.MaxSkills-len(files))
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	return Collect(files), nil
}

// DiscoverIn finds the skills in a directory that holds nothing but skills, a
// directory each, by the same rules. The paths are those below dir.
func DiscoverIn(dir fs.FS) ([]skill.Skill, error) {
	files, err := in(dir, ".", skill.MaxSkills)
	if err != nil {
		return nil, err
	}
	return collect(files), nil
}

// in reads the files of at most so many skills in a folder, by their names.
func in(repo fs.FS, folder string, most int) ([]File, error) {
	entries, err := fs.ReadDir(repo, folder)
	if err != nil {
		return nil, fmt.Errorf("look for skills: %w", err)
	}
	var files []File
	for _, e := range entries {
		if !e.IsDir() || len(files) >= most {
			continue
		}
		f, err := Open(repo, path.Join(folder, e.Name(), skill.FileName))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for skills: %w", err)
		}
		files = append(files, f)
	}
	return files, nil
}

// isDir reports a directory that is no link to one.
func isDir(repo fs.FS, name string) bool {
	info, err := fs.Lstat(repo, name)
	return err == nil && info.IsDir()
}

// Open reads a regular file, up to skill.MaxFileBytes. It fails with
// fs.ErrNotExist for what is none.
func Open(repo fs.FS, name string) (File, error) {
	f := File{Path: name}
	if info, err := fs.Lstat(repo, name); err != nil {
		return f, err
	} else if !info.Mode().IsRegular() {
		return f, fs.ErrNotExist
	}
	file, err := repo.Open(name)
	if err != nil {
		return f, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, skill.MaxFileBytes+1))
	if err == nil && len(data) <= skill.MaxFileBytes {
		f.Data = data
	}
	return f, err
}
