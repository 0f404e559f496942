package ozagent

import (
	"path"
	"path/filepath"
	"strings"

	"github.com/oz-platform/cloudagents/environment/rules"
)

// maxNestedBytes bounds the rules that one call's result has.
const maxNestedBytes = 16 << 10

// nestedRules are the rules of the directories in which files were read or
// changed, each told once (Oz platform, RUL-1). Those at the top of a
// repository and in the working directory are in the prompt. A file that cannot
// be used is as good as none: the prompt's own are the ones that are reported.
func (a *agent) nestedRules(touched []string) string {
	if len(touched) == 0 {
		return ""
	}
	tree, err := rules.Open(a.files.path)
	if err != nil {
		return ""
	}
	defer func() { _ = tree.Close() }() // only read
	var out strings.Builder
	for _, dir := range a.untold(touched) {
		r, _ := tree.In(dir)
		if r.Text == "" {
			a.tellDir(dir)
			continue
		}
		if out.Len() > 0 && out.Len()+len(r.Text) > maxNestedBytes {
			break // the next call that comes here tells the rest
		}
		if len(r.Text) > maxNestedBytes {
			r.Text, r.Cut = strings.ToValidUTF8(r.Text[:maxNestedBytes], ""), true
		}
		a.tellDir(dir)
		abs := func(rel string) string { return filepath.Join(a.files.path, filepath.FromSlash(rel)) }
		r.Path = a.files.show(abs(r.Path))
		out.WriteString("\nRules that count for the files below " + a.files.show(abs(dir)) + "\n" + r.Section())
	}
	return out.String()
}

func (a *agent) tellDir(dir string) {
	if a.told == nil {
		a.told = map[string]bool{}
	}
	a.told[dir] = true
}

// untold lists the directories of files whose rules the model was not told,
// from the top down.
func (a *agent) untold(touched []string) []string {
	var dirs []string
	seen := map[string]bool{}
	for _, file := range touched {
		rel, err := a.files.rel(file)
		if err != nil {
			continue
		}
		dir := path.Dir(filepath.ToSlash(rel))
		top := "."
		if found, ok := a.files.repository(filepath.FromSlash(dir)); ok {
			top = filepath.ToSlash(found)
		}
		for _, d := range rules.Between(top, dir) {
			if !seen[d] && !a.told[d] && filepath.Join(a.files.path, filepath.FromSlash(d)) != a.files.dir {
				seen[d] = true
				dirs = append(dirs, d)
			}
		}
	}
	return dirs
}
