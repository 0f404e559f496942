package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"unicode/utf8"
)

// Limits. Rules are part of every prompt of a run.
const (
	// MaxFileBytes is how much is told of one rule.
	MaxFileBytes = 32 << 10
	// MaxTotalBytes is how much is told of all rules of a run together.
	MaxTotalBytes = 96 << 10
)

// names are the files of project rules: of two in one directory the first
// wins. Capitals count (Oz platform, RUL-1).
var names = [...]string{"WARP.md", "AGENTS.md"}

// foreign are the rule files of other agents, which count where there is none
// of names (Oz platform, RUL-3).
var foreign = [...]string{"CLAUDE.md", ".cursorrules", "AGENT.md", "GEMINI.md", ".clinerules", ".windsurfrules", ".github/copilot-instructions.md"}

// Rule is one text that agents are to follow.
type Rule struct {
	// Path is that of the file in the tree, with slashes; "" for a rule that
	// is no file.
	Path string
	// Name is what people call a rule that is no file.
	Name string
	// Text is what it says, without space around it. "" is no rule.
	Text string
	// SizeBytes is the size of the whole.
	SizeBytes int64
	// Cut says that Text is only the beginning.
	Cut bool
}

// String names the rule for people.
func (r Rule) String() string {
	s := r.Path
	if s == "" {
		s = r.Name
	}
	if r.Cut {
		s += fmt.Sprintf(" (only the first %d of %d bytes)", len(r.Text), r.SizeBytes)
	}
	return s
}

// Global makes a rule that is no file.
func Global(name, text string) Rule {
	r := Rule{Name: name, SizeBytes: int64(len(text))}
	r.take([]byte(text))
	return r
}

// take cuts text at the last line that fits.
func (r *Rule) take(text []byte) {
	if len(text) > MaxFileBytes {
		text, r.Cut = text[:MaxFileBytes], true
		if i := bytes.LastIndexByte(text, '\n'); i > 0 {
			text = text[:i]
		}
	}
	r.Text = strings.TrimSpace(strings.ToValidUTF8(string(text), "\uFFFD"))
}

// Tree is a directory with rules in it. Safe for concurrent use.
type Tree struct{ root *os.Root }

// Open opens the tree below dir. The caller closes it.
func Open(dir string) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the rules below %s: %w", dir, err)
	}
	return &Tree{root}, nil
}

// Close gives back what Open took.
func (t *Tree) Close() error { return t.root.Close() }

// In returns the rule of one directory, whose path is relative to the tree and
// has slashes. It is the zero Rule where there is none. An error names a file
// that is there and cannot be used; the rule is then that of the next file
// that can.
func (t *Tree) In(dir string) (Rule, error) {
	var problems []error
	for _, name := range append(names[:], foreign[:]...) {
		file := path.Join(dir, name)
		r, err := t.read(file)
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && r.Text == "":
		case err != nil:
			problems = append(problems, fmt.Errorf("%s: %w", file, err))
		default:
			return r, errors.Join(problems...)
		}
	}
	return Rule{}, errors.Join(problems...)
}

// read reads one file. It looks at it first: to open a pipe waits for a writer.
func (t *Tree) read(file string) (Rule, error) {
	info, err := t.root.Stat(file)
	switch {
	case err != nil:
		var at *fs.PathError
		if errors.As(err, &at) { // without the path, which the caller says
			err = at.Err
		}
		if strings.Contains(err.Error(), "escapes") { // os.Root has no error value for it
			err = errors.New("is a link that leads out of the workspace")
		}
		return Rule{}, err
	case !info.Mode().IsRegular():
		return Rule{}, errors.New("is not a regular file")
	}
	f, err := t.root.Open(file)
	if err != nil {
		return Rule{}, err
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+utf8.UTFMax))
	if err := errors.Join(err, f.Close()); err != nil {
		return Rule{}, err
	}
	if bytes.IndexByte(data, 0) >= 0 {
		return Rule{}, errors.New("is not text")
	}
	r := Rule{Path: file, SizeBytes: max(info.Size(), int64(len(data)))}
	r.take(data)
	return r, nil
}

// Between lists the directories from below top down to dir, both relative to
// the tree with slashes: those whose rules count when something in dir is
// changed and the rule of top is known. It is empty when dir is not below top.
func Between(top, dir string) []string {
	top, dir = path.Clean(top), path.Clean(dir)
	var out []string
	for dir != top {
		if dir == "." || dir == "/" || dir == ".." || strings.HasPrefix(dir, "../") {
			return nil
		}
		out = append([]string{dir}, out...)
		dir = path.Dir(dir)
	}
	return out
}
