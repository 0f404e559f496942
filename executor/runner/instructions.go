package runner

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/environment/rules"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// How the notices begin that list the rules of a run, which so are references
// of its conversation (Oz platform, RUL-3), and that name a file which is none.
const (
	rulesNotice = "Rules: "
	ruleLeftOut = "A rule file was left out: "
)

// instructions is what the agent is told beside its own system prompt, the
// same for every agent.
func (x *execution) instructions(ctx context.Context, h harness.Harness, ws *workspace, skills string) (string, error) {
	var parts []string
	if base := strings.TrimSpace(x.bundle.Task.Config.BasePrompt); base != "" {
		parts = append(parts, "Instructions of this agent\n"+base)
	}
	found, problems := x.projectRules(h, ws)
	var list []rules.Rule
	for _, r := range x.bundle.Rules {
		list = append(list, rules.Global(r.Name, r.Text))
	}
	text, used := rules.Compose(append(list, found...))
	if text != "" {
		parts = append(parts, strings.TrimSpace(text))
	}
	if skills != "" {
		parts = append(parts, skills)
	}
	if known := x.memories(); known != "" {
		parts = append(parts, known)
	}
	return strings.Join(parts, "\n\n"), x.announceRules(ctx, used, problems)
}

// projectRules reads the rules at the top of each repository and in the
// working directory, the strongest last (Oz platform, RUL-2), without those
// that the agent reads by itself.
func (x *execution) projectRules(h harness.Harness, ws *workspace) (found []rules.Rule, problems []string) {
	root := x.ruleRoot()
	tree, err := rules.Open(root)
	if err != nil {
		return nil, []string{err.Error()}
	}
	defer func() { _ = tree.Close() }() // only read
	for _, dir := range ruleDirs(root, ws) {
		r, err := tree.In(dir)
		if err != nil {
			problems = append(problems, strings.Split(err.Error(), "\n")...)
		}
		if r.Text != "" && !readsItself(h, filepath.Join(root, filepath.FromSlash(dir)), ws.dir, r) {
			found = append(found, r)
		}
	}
	return found, problems
}

// ruleRoot is the workspace, or for a run in a directory of a person's own
// repository, the top of that.
func (x *execution) ruleRoot() string {
	if !x.opts.InPlace {
		return x.opts.Root
	}
	for dir := x.opts.Root; ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return x.opts.Root
		}
	}
}

// ruleDirs are where rules always count, relative to root.
func ruleDirs(root string, ws *workspace) []string {
	dirs := []string{"."}
	for _, r := range append(slices.Clone(ws.repos), harness.Repo{Dir: ws.dir}) {
		rel, err := filepath.Rel(root, r.Dir)
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		rel = filepath.ToSlash(rel)
		// One that is named twice counts as the stronger of both.
		dirs = append(slices.DeleteFunc(dirs, func(d string) bool { return d == rel }), rel)
	}
	return dirs
}

// readsItself reports that the agent reads the rule without being told: its
// file is one of those that it looks for where it starts.
func readsItself(h harness.Harness, dir, start string, r rules.Rule) bool {
	reader, ok := h.(harness.RuleReader)
	return ok && dir == filepath.Clean(start) && slices.Contains(reader.ReadsRules(), path.Base(r.Path))
}

// announceRules puts into the log which rules the agent is told of, unless an
// earlier execution has said the same.
func (x *execution) announceRules(ctx context.Context, used []rules.Rule, problems []string) error {
	var names, notices []string
	for _, r := range used {
		names = append(names, r.String())
	}
	if len(names) > 0 {
		notices = append(notices, rulesNotice+strings.Join(names, ", "))
	}
	for _, p := range problems {
		notices = append(notices, ruleLeftOut+p+".")
	}
	for _, text := range notices {
		if x.history.said(text) {
			continue
		}
		if err := x.journal.Post(ctx, &task.Notice{Text: text}); err != nil {
			return err
		}
	}
	return nil
}
