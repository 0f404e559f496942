package ozagent

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/oz-platform/cloudagents/task"
)

const (
	maxQueries      = 10       // of one call
	maxMatches      = 200      // lines given back
	maxGrepBytes    = 32 << 10 // of text given back
	maxGrepLine     = 300      // bytes of one line
	maxGrepContext  = 10       // lines around a match
	maxGlobPatterns = 10       // of one call
	maxGlobFiles    = 500      // paths given back
)

type grepInput struct {
	Queries      []string `json:"queries"`
	Path         string   `json:"path"`
	Include      string   `json:"include"`
	IgnoreCase   bool     `json:"ignore_case"`
	ContextLines int      `json:"context_lines"`
}

func grepTool() tool {
	return define(tool{
		name: "grep", category: task.CategorySearch, repeatable: true,
		description: "Search file contents with regular expressions (RE2 syntax). In a repository it searches what git knows or would add, so nothing that is ignored. Binary files and files over 4 MiB are left out.",
		schema: `{"type":"object","properties":{
			"queries":{"type":"array","items":{"type":"string"},"description":"expressions; a line that matches one is given"},
			"path":{"type":"string","description":"directory or file, default the working directory"},
			"include":{"type":"string","description":"glob of paths to search, such as \"**/*.go\""},
			"ignore_case":{"type":"boolean"},
			"context_lines":{"type":"integer","description":"lines around each match, 0 to 10"}},
			"required":["queries"]}`,
	}, grep)
}

// search is one grep under way.
type search struct {
	a       *agent
	expr    *regexp.Regexp
	around  int
	out     strings.Builder
	matches int
	files   int
	cut     bool
}

func grep(ctx context.Context, a *agent, _ *toolCall, in grepInput) (result, error) {
	expr, err := in.compile()
	if err != nil {
		return result{}, err
	}
	files, more, err := a.list(ctx, in.Path)
	if err != nil {
		return result{}, err
	}
	s := &search{a: a, expr: expr, around: in.ContextLines}
	for _, rel := range files {
		if err := ctx.Err(); err != nil {
			return result{}, err
		}
		path := a.files.show(filepath.Join(a.files.path, rel))
		if in.Include != "" && !included(in.Include, path) {
			continue
		}
		if s.file(path, filepath.Join(a.files.path, rel)); s.cut {
			break
		}
	}
	return s.done(len(files), more), nil
}

func (in grepInput) compile() (*regexp.Regexp, error) {
	switch {
	case len(in.Queries) == 0 || len(in.Queries) > maxQueries:
		return nil, badInput("queries must have 1 to %d expressions", maxQueries)
	case in.ContextLines < 0 || in.ContextLines > maxGrepContext:
		return nil, badInput("context_lines must be 0 to %d", maxGrepContext)
	case in.Include != "" && !doublestar.ValidatePattern(in.Include):
		return nil, badInput("include %q is not a valid glob", bounded(in.Include, 100))
	}
	var parts []string
	for i, q := range in.Queries {
		if q == "" {
			return nil, badInput("queries[%d] is empty", i)
		}
		if _, err := regexp.Compile(q); err != nil {
			return nil, badInput("queries[%d]: %v (escape special characters with a backslash)", i, err)
		}
		parts = append(parts, "(?:"+q+")")
	}
	text := strings.Join(parts, "|")
	if in.IgnoreCase {
		text = "(?i)" + text
	}
	expr, err := regexp.Compile(text)
	if err != nil {
		return nil, badInput("queries: %v", err)
	}
	return expr, nil
}

// included matches a path, or its last part for a pattern without a slash.
func included(pattern, path string) bool {
	if !strings.Contains(pattern, "/") {
		path = filepath.Base(path)
	}
	return doublestar.MatchUnvalidated(pattern, path)
}

// file searches one file. One that cannot be read is no match.
func (s *search) file(path, abs string) {
	data, _, err := s.a.files.read(abs, maxTextBytes)
	if err != nil || isBinary(data) || !s.expr.Match(data) {
		return
	}
	lines := splitLines(string(data))
	shown, found := 0, false
	for i, l := range lines {
		if !s.expr.MatchString(strings.TrimRight(l, "\r\n")) {
			continue
		}
		if s.matches >= maxMatches || s.out.Len() > maxGrepBytes {
			s.cut = true
			return
		}
		if !found {
			found = true
			s.files++
		}
		s.matches++
		if s.around > 0 && shown > 0 && i-s.around > shown {
			s.out.WriteString("--\n")
		}
		for j := max(shown, i-s.around); j <= min(len(lines)-1, i+s.around); j++ {
			sign := "-"
			if j == i || s.expr.MatchString(strings.TrimRight(lines[j], "\r\n")) {
				sign = ":"
			}
			text := strings.ToValidUTF8(strings.TrimRight(lines[j], "\r\n"), "\ufffd")
			fmt.Fprintf(&s.out, "%s%s%d%s%s\n", path, sign, j+1, sign, bounded(text, maxGrepLine))
			shown = j + 1
		}
	}
}

func (s *search) done(listed int, more bool) result {
	out := map[string]any{"matches": s.matches, "files": s.files}
	switch {
	case s.cut:
		fmt.Fprintf(&s.out, "[more matches are not shown: narrow the search with path or include]\n")
	case more:
		fmt.Fprintf(&s.out, "[only the first %d files were searched]\n", listed)
	}
	if s.matches == 0 {
		return resultOK(fmt.Sprintf("No match in %d files.\n%s", listed, s.out.String()), out)
	}
	return resultOK(s.out.String(), out)
}

type fileGlobInput struct {
	Patterns []string `json:"patterns"`
	Path     string   `json:"path"`
}

func fileGlobTool() tool {
	return define(tool{
		name: "file_glob", category: task.CategorySearch, repeatable: true,
		description: "List files by glob patterns such as \"**/*_test.go\". A pattern without a slash matches names in every directory. In a repository ignored files are left out.",
		schema: `{"type":"object","properties":{
			"patterns":{"type":"array","items":{"type":"string"}},
			"path":{"type":"string","description":"directory to list, default the working directory; patterns are relative to it"}},
			"required":["patterns"]}`,
	}, fileGlob)
}

func fileGlob(ctx context.Context, a *agent, _ *toolCall, in fileGlobInput) (result, error) {
	if len(in.Patterns) == 0 || len(in.Patterns) > maxGlobPatterns {
		return result{}, badInput("patterns must have 1 to %d entries", maxGlobPatterns)
	}
	for _, p := range in.Patterns {
		if p == "" || !doublestar.ValidatePattern(p) {
			return result{}, badInput("pattern %q is not a valid glob", bounded(p, 100))
		}
	}
	base, err := a.files.directory(in.Path)
	if err != nil {
		return result{}, err
	}
	files, more, err := a.list(ctx, base)
	if err != nil {
		return result{}, err
	}
	var found []string
	total := 0
	for _, rel := range files {
		abs := filepath.Join(a.files.path, rel)
		below, err := filepath.Rel(base, abs)
		if err != nil || !includedByAny(in.Patterns, below) {
			continue
		}
		if total++; total <= maxGlobFiles {
			found = append(found, a.files.show(abs))
		}
	}
	text := strings.Join(found, "\n")
	switch {
	case total == 0:
		text = fmt.Sprintf("No file matches; %d were looked at.", len(files))
	case total > maxGlobFiles:
		text += fmt.Sprintf("\n[%d more are not shown]", total-maxGlobFiles)
	case more:
		text += fmt.Sprintf("\n[only the first %d files were looked at]", len(files))
	}
	return resultOK(text, map[string]any{"files": total}), nil
}

func includedByAny(patterns []string, path string) bool {
	for _, p := range patterns {
		if included(strings.TrimPrefix(p, "./"), path) {
			return true
		}
	}
	return false
}
