package tools

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/environment/codeindex"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// indexPatience is for how long a search waits for the index of a repository,
// at most (Oz platform, CTX-2).
const indexPatience = 60 * time.Second

// Codebase is the index of one repository of the workspace.
type Codebase struct {
	Dir   string // absolute
	Index *codeindex.Repository
}

// SearchCodebase makes the tool that finds code in indexed repositories. A run
// without any has none.
func SearchCodebase(list []Codebase) harness.ToolSet {
	return func(s *harness.Session) []harness.Tool {
		if len(list) == 0 {
			return nil
		}
		return []harness.Tool{searchCodebase(s, list)}
	}
}

func searchCodebase(s *harness.Session, list []Codebase) harness.Tool {
	type input struct {
		Query string `json:"query"`
		Limit int    `json:"limit"`
	}
	return harness.DefineTool(harness.Tool{
		Name: NameSearchCodebase, Category: task.CategorySearch, Repeatable: true, ReadOnly: true,
		Description: "Find where something is in the repositories: names, words, a question in words. Definitions and rare words come first. What stands in quotation marks is looked for as it is.",
		Schema: `{"type":"object","properties":{"query":{"type":"string","description":"At most 1024 bytes."},
			"limit":{"type":"integer","description":"How many places, at most 50; default 10."}},"required":["query"]}`,
	}, func(ctx context.Context, _ harness.ToolCall, in input) (harness.ToolAnswer, error) {
		switch {
		case strings.TrimSpace(in.Query) == "" || len(in.Query) > codeindex.MaxQueryBytes:
			return harness.ToolAnswer{}, harness.BadInput("query must have 1 to %d bytes", codeindex.MaxQueryBytes)
		case in.Limit < 0 || in.Limit > codeindex.MaxHits:
			return harness.ToolAnswer{}, harness.BadInput("limit must be 1 to %d", codeindex.MaxHits)
		case in.Limit == 0:
			in.Limit = 10
		}
		return lookEverywhere(ctx, s, list, in.Query, in.Limit)
	})
}

// lookEverywhere searches all repositories, and says which could not be.
func lookEverywhere(ctx context.Context, s *harness.Session, list []Codebase, query string, limit int) (harness.ToolAnswer, error) {
	patience, cancel := context.WithTimeout(ctx, indexPatience)
	defer cancel()
	var out, notes strings.Builder
	count := 0
	for _, c := range list {
		found, err := c.Index.Find(patience, query, limit)
		if found.Note != "" {
			fmt.Fprintf(&notes, "(%s: %s.)\n", shownPath(s, c.Dir), found.Note)
		}
		if ctx.Err() != nil {
			return harness.ToolAnswer{}, context.Cause(ctx)
		}
		switch {
		case errors.Is(err, codeindex.ErrNotReady):
			fmt.Fprintf(&out, "%s: the index is not ready yet; search with grep, or try again later.\n", shownPath(s, c.Dir))
		case err != nil:
			fmt.Fprintf(&out, "%s: cannot be searched (%v); use grep.\n", shownPath(s, c.Dir), err)
		}
		for _, h := range found.Hits {
			count++
			writeHit(&out, shownPath(s, filepath.Join(c.Dir, filepath.FromSlash(h.Path))), h)
		}
	}
	if count == 0 && out.Len() == 0 {
		out.WriteString("Nothing was found. Try other words, or grep.\n")
	}
	out.WriteString(notes.String())
	return harness.ToolAnswer{Text: out.String(), Output: map[string]any{"places": count}}, nil
}

func writeHit(out *strings.Builder, path string, h codeindex.Hit) {
	if h.Line == 0 {
		fmt.Fprintf(out, "== %s\n", path)
		return
	}
	fmt.Fprintf(out, "== %s:%d\n", path, h.Line)
	for i, line := range strings.Split(strings.TrimSuffix(h.Text, "\n"), "\n") {
		fmt.Fprintf(out, "%6d\t%s\n", h.First+i, line)
	}
}

// shownPath is a path as the agent spells it.
func shownPath(s *harness.Session, abs string) string {
	if rel, err := filepath.Rel(s.Dir, abs); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return abs
}
